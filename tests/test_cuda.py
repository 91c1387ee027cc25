"""CUDA without a device: the kernels in Numba's simulator, compiled to PTX, and what is said without either.

Whether Numba simulates is decided when it is first imported, so every one of these runs in a process of its
own.
"""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "cuda").glob("test_*.py"))

needs_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="numba-cuda is missing: pip install 'tabular-fedrl[dev]'"
)


def python(*arguments, simulate, **environment):
    """Run Python with the given switch (None: not set); its result, output and errors in one."""
    env = {name: x for name, x in os.environ.items() if not name.startswith("PYTEST_")} | environment
    env.pop("NUMBA_ENABLE_CUDASIM", None)
    if simulate is not None:
        env["NUMBA_ENABLE_CUDASIM"] = simulate
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=env, cwd=HERE.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@needs_cuda
@pytest.mark.parametrize("part", [0, 1])
def test_in_the_simulator(part):
    files = map(str, FILES[part::2])
    done = python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, simulate="1")
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert "skipped" not in done.stdout


@needs_cuda
def test_every_kernel_compiles_for_a_device():
    """The simulator is Python; what it forgives (types, shapes that are no constants) the compiler does
    not."""
    done = python(str(HERE / "cuda" / "compile_kernels.py"), simulate="0")
    if "cannot compile here" in done.stdout:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-6000:]


@needs_cuda
def test_without_a_device():
    """Asked for on a machine that has none: what to install, in one line, before any optimum is sought."""
    code = (
        "from tabular_fedrl.errors import NoDevice\n"
        "from tabular_fedrl.instances import load\n"
        "from tabular_fedrl.runner import drive\n"
        "drive.solve = lambda cmdp: print('solved first')\n"
        "try:\n"
        "    drive.run('fednpg', load('ring:S=20,A=2,b=2,m=0'), 2, backend='cuda', eta=0.1)\n"
        "except NoDevice as error:\n"
        "    print('told:', error)\n"
    )
    done = python("-c", code, simulate="0", CUDA_VISIBLE_DEVICES="")
    assert re.match(r"told: no CUDA device .* pip install 'tabular-fedrl\[cuda\]'", done.stdout), done.stdout


def test_without_the_package():
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'numba_cuda' else find(name, *rest)\n"
        "from tabular_fedrl.errors import NoDevice\n"
        "try:\n"
        "    import tabular_fedrl.loops.cuda\n"
        "except NoDevice as error:\n"
        "    print('told:', error)\n"
    )
    done = python("-c", code, simulate=None)
    assert "told: CUDA needs the package numba-cuda" in done.stdout, done.stdout


def test_nothing_of_cuda_is_imported_unasked():
    code = (
        "import sys\n"
        "import tabular_fedrl.cli, tabular_fedrl.runner, tabular_fedrl.loops\n"
        "print([x for x in sys.modules if x.startswith(('numba.cuda', 'numba_cuda', 'cuda.'))])\n"
    )
    assert python("-c", code, simulate=None).stdout.strip() == "[]"


@needs_cuda
@pytest.mark.slow
def test_the_benchmark_runs_dry(tmp_path):
    """Every line of it but the device's timings, which the simulator has not; and every kernel there is."""
    code = (
        "import sys\n"
        "from benchmarks import gpu\n"
        "sys.argv = ['gpu', '--simulate', '--out', sys.argv[1]]\n"
        "ran, find = set(), gpu.import_module\n"
        "def noting(name):\n"
        "    from numba.cuda.simulator.kernel import FakeCUDAKernel as Kernel\n"
        "    call = Kernel.__call__\n"
        "    Kernel.__call__ = lambda self, *x: (ran.add(f'{self.fn.__module__}:{self.fn.__qualname__}'),"
        " call(self, *x))[1]\n"
        "    return find(name)\n"
        "gpu.import_module = noting\n"
        "code = gpu.main()\n"
        "print('ran', *sorted(ran))\n"
        "sys.exit(code)\n"
    )
    done = python("-c", code, str(tmp_path), simulate=None)
    assert done.returncode == 0, done.stdout
    ran = {name.replace(".<locals>", "") for name in done.stdout.splitlines()[-1].split()[1:]}
    assert ran == set(kernels())
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert len(found["checks"]) > 70
    assert not found["skipped"]
    assert {x["kernel"] for x in found["kernels"]} >= {
        "transposed sweep",
        "mean of log-policies",
        "dot products",
    }
    assert {x["storage"] for x in found["kernels"]} == {"float64", "float32"}
    assert {x["states"] for x in found["kernels"]} == {x["states"] for x in found["optima"]} == {6, 9}
    assert len(found["optima"]) == 4
    assert (tmp_path / "gpu.md").read_text() in done.stdout


def kernels():
    """Everything that is compiled for a device, by module and name."""
    for path in sorted((HERE.parent / "tabular_fedrl/kernels/cuda").glob("*.py")):
        outside = [("", ast.parse(path.read_text(encoding="utf-8")))]
        while outside:
            name, node = outside.pop()
            for inner in ast.iter_child_nodes(node):
                if isinstance(inner, ast.FunctionDef):
                    called = f"{name}.{inner.name}".strip(".")
                    outside.append((called, inner))
                    if any(
                        "jit" in ast.unparse(x) or "limited" in ast.unparse(x) for x in inner.decorator_list
                    ):
                        yield f"tabular_fedrl.kernels.cuda.{path.stem}:{called}"


@needs_cuda
def test_the_benchmark_measures_nothing_where_a_check_fails(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from benchmarks import gpu, gpu_measure\n"
        "gpu_measure.all_checks = lambda *_: [('a sweep', 0.25, 1e-12), ('a sum', float('nan'), 1e-12)]\n"
        "sys.exit(gpu.run(gpu_measure, Path(sys.argv[1]), 0, 100.0))\n"
    )
    done = python("-c", code, str(tmp_path), simulate="1")
    assert done.returncode == 1
    assert "WRONG a sweep: 0.25, allowed 1e-12" in done.stdout
    assert "2 of 2 checks fail" in done.stdout
    assert not any(tmp_path.iterdir())


PARTS = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from benchmarks import gpu, gpu_measure as g\n"
    "g.all_checks, g.copy_bandwidth, g.launch_seconds = lambda *_: [], lambda: 1.0, lambda: 1e-6\n"
    "row = {'states': 7, 'neighbours': '-', 'storage': 'float64', 'seconds': 1.0, 'share': 0.5}\n"
    "def rows(name, seconds):\n"
    "    yield {'kernel': name, **row}\n"
    "    time.sleep(seconds)\n"
    "    yield {'kernel': 'after ' + name, **row}\n"
    "def parts(*_):\n"
    "    yield from (g.Part('kernels', *x, rows(x[0], s)) for *x, s in WHICH)\n"
    "g.parts = parts\n"
)


def measured(tmp_path, which, code):
    """What the benchmark says and leaves behind about parts ``(kind, states, seconds)``."""
    done = python("-c", PARTS.replace("WHICH", repr(which)) + code, str(tmp_path), simulate="1")
    return done, json.loads((tmp_path / "gpu.json").read_text())


@needs_cuda
def test_the_benchmark_keeps_to_its_time(tmp_path):
    """A part is not begun that would take too long by what its kind took, and none is when time is up; one is
    cut short between two rows."""
    which = [("a", 1, 0.0), ("a", 10, 0.5), ("a", 1000, 0.0), ("b", 1, 3.0), ("c", 1, 0.0)]
    code = "sys.exit(gpu.run(g, Path(sys.argv[1]), 0, 3.0))\n"
    done, found = measured(tmp_path, which, code)
    assert done.returncode == 0, done.stdout
    assert [x["kernel"] for x in found["kernels"]] == ["a", "after a"] * 2 + ["b", "after b"]
    assert found["skipped"] == [
        "Left out: a, 1,000 states: no time left.",
        "Cut short: b, 1 states, after after b.",
        "Left out: c, 1 states: no time left.",
    ]
    assert all(line in done.stdout.splitlines() for line in found["skipped"])


@needs_cuda
def test_the_benchmark_ends_at_its_limit(tmp_path):
    """Whatever hangs; the rows measured by then are kept."""
    code = "gpu.LIMIT = 2.0\nsys.argv = ['gpu', '--out', sys.argv[1]]\nsys.exit(gpu.main())\n"
    done, found = measured(tmp_path, [("a", 1, 60.0)], code)
    assert done.returncode == 1
    assert "Timeout" in done.stdout
    assert [x["kernel"] for x in found["kernels"]] == ["a"]


def test_the_benchmark_says_what_to_install(tmp_path):
    """From anywhere, by one command, in an interpreter that has nothing."""
    script = HERE.parent / "benchmarks" / "gpu.py"
    done = python("-S", "-E", str(script), "--out", str(tmp_path), simulate=None)
    assert done.stdout == "numpy is missing; in the checkout: pip install -e '.[cuda]'\n"
    assert done.returncode == 1
