"""CUDA without a device: the kernels in Numba's simulator, compiled to PTX, and what is said without either.

Whether Numba simulates is decided when it is first imported, so every one of these runs in a process of its
own.
"""

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
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_in_the_simulator(file):
    done = python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(file), simulate="1")
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
    """Asked for on a machine that has none: what to install, in one line."""
    code = (
        "import numpy as np\n"
        "from tabular_fedrl.errors import NoDevice\n"
        "from tabular_fedrl.instances import load\n"
        "from tabular_fedrl.runner import run\n"
        "try:\n"
        "    run('fednpg', load('ring:S=20,A=2,b=2'), 2, backend='cuda')\n"
        "except NoDevice as error:\n"
        "    print('told:', error)\n"
    )
    done = python("-c", code, simulate="0", CUDA_VISIBLE_DEVICES="")
    assert re.search(r"told: no CUDA device .* pip install 'tabular-fedrl\[cuda\]'", done.stdout), done.stdout


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
        "print([x for x in sys.modules if x.startswith('tabular_fedrl') and 'cuda' in x])\n"
    )
    assert python("-c", code, simulate=None).stdout.split()[-1] == "[]"
