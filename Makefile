# `make verify` and `make test` are all a reader needs; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
# Test processes side by side; 0 runs the tests in one.
WORKERS ?= auto
VERIFY_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
# -qq: an installer that succeeds says nothing; its errors still show.
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
# worksteal hands out neighbouring items together: the claims of one case share its run.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# Parallelism is over processes: a second thread pool inside each of them only slows all of them down.
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
export NUMBA_NUM_THREADS := 1
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev verify test test-slow figures paper docs test-site bench lint format wheel clean distclean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  while IFS='|' read -r target text; do printf '%-18s %s\n' "$$target" "$$text"; done

setup: $(VENV)/.installed ## create the virtual environment with the pinned versions
setup-dev: $(VENV)/.installed-dev ## the same, with the tools for tests and lint

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 or newer is needed, and '$(PYTHON)' is not one; name one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@echo "Setting up $(VENV) (a minute or two, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) hatchling
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@

$(VENV)/.installed-paper: $(VENV)/.installed
	@$(PIP) --no-build-isolation -e '.[paper]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(PIP) --no-build-isolation -e '.[docs]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@$(PIP) --no-build-isolation -e '.[bench]'
	@touch $@

verify: $(VENV)/.installed ## verify every theorem over the default suite; writes report/
	$(BIN)/tabular-fedrl verify --report report $(VERIFY_ARGS)

test: $(VENV)/.installed-dev ## run the test-suite without the slow tests
	$(PYTEST)

test-slow: $(VENV)/.installed-dev ## run the slow tests only
	$(PYTEST) -m slow || [ $$? -eq 5 ] # 5: there is none

figures: $(VENV)/.installed ## draw all figures again, into figures/out/
	$(BIN)/python -m figures

# A report that is older than the package is made anew.
report/results.json: $(shell find tabular_fedrl proofs_check -name '*.py') | $(VENV)/.installed
	$(MAKE) verify

paper: $(VENV)/.installed-paper report/results.json ## the paper, into paper/out/paper.pdf; needs latexmk
	$(BIN)/python -m paper

docs: $(VENV)/.installed-docs ## the site: tutorials, theorems, reference; into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -j 2 -b html docs docs/_build/html
	$(BIN)/python docs/check.py docs/_build/html

test-site: $(VENV)/.installed-dev docs ## build the site and open its pages in a browser; needs Chromium
	SITE=docs/_build/html $(PYTEST) tests/test_site.py

bench: $(VENV)/.installed-bench ## speed against peers, minutes; BENCH_ARGS=--full: twenty-five minutes
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lint: $(VENV)/.installed-dev ## style, types and the order of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: $(VENV)/.installed-dev ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean: ## remove what the commands wrote, but not the virtual environment
	rm -rf report figures/out paper/generated paper/out docs/_build docs/_generated build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environment too
	rm -rf $(VENV)
