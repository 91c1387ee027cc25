"""What the CUDA kernels reach on the device at hand: ``python -m benchmarks.gpu``, under eight minutes.

Checks every kernel against the specification on fresh inputs and stops if one is off; then measures the
device's copy bandwidth, what share of it the sweeps and steps reach, many small problems a second, and the
time to a certified optimum. Prints a table and writes ``gpu.json`` and ``gpu.md`` into ``--out``. With
``--simulate`` a tiny dry run in Numba's simulator, whose times mean nothing.

A share counts the bytes that must move once (indices, weights, probabilities, each vector once) over the
measured time, against a copy's bytes read and written. Inputs rotate, so that no cache serves them twice.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.errors import NoDevice

RESULTS = Path(__file__).parent / "results"


def markdown(found: dict[str, Any]) -> str:
    """The results as tables."""

    def head(titles: str) -> list[str]:
        return ["", f"| {titles} |", "|---" * (1 + titles.count("|")) + "|"]

    lines = [f"Measured on {found['device']}; copies move {found['copy_bandwidth'] / 1e9:.0f} GB/s."]
    lines += head("kernel | states | neighbours | storage | time | share of copy bandwidth")
    lines += [
        f"| {x['kernel']} | {x['states']:,} | {x['neighbours']} | {x['storage']} "
        f"| {x['seconds'] * 1e3:.3f} ms | {x['share']:.0%} |"
        for x in found["sweeps"]
    ]
    lines += head("small problems | states | rounds | where | problems/s | rounds/s")
    lines += [
        f"| {x['problems']:,} | {x['states']} | {x['rounds']} | {x['where']} "
        f"| {x['problems'] / x['seconds']:,.0f} | {x['problems'] * x['rounds'] / x['seconds']:,.0f} |"
        for x in found["throughput"]
    ]
    lines += head("optimum, states | neighbours | time | sweeps | width | one evaluation")
    lines += [
        f"| {x['states']:,} | {x['neighbours']} | {x['seconds'] * 1e3:.1f} ms | {x['sweeps']} "
        f"| {x['width']:.1e} | {x['seconds_of_one_evaluation'] * 1e3:.1f} ms |"
        for x in found["optima"]
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path, found: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("gpu.json", json.dumps(found, indent=1) + "\n"), ("gpu.md", markdown(found))):
        with atomic_path(folder / name) as path:
            Path(path).write_text(text, encoding="utf-8")


def run(cuda: Any, folder: Path, seed: int, budget: float) -> int:
    """Check, measure, write; ``cuda`` is :mod:`benchmarks.gpu_measure`."""
    began, g = time.monotonic(), np.random.default_rng(seed)
    found: dict[str, Any] = {**cuda.describe(), "seed": seed}
    found |= {name: [] for name in ("checks", "sweeps", "throughput", "optima")}

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:3.0f} s] {text}", flush=True)

    say(f"{found['device']}, seed {seed}")
    for name, apart, allowed in cuda.all_checks(g, *cuda.CHECKED):
        good = bool(apart <= allowed)
        found["checks"].append({"check": name, "difference": apart, "allowed": allowed, "good": good})
        if not good:
            say(f"WRONG {name}: {apart:.3g}, allowed {allowed:.3g}")
    wrong = [x for x in found["checks"] if not x["good"]]
    if wrong:
        print(f"{len(wrong)} of {len(found['checks'])} checks fail; nothing is measured", file=sys.stderr)
        return 1
    say(f"{len(found['checks'])} checks pass")
    found["copy_bandwidth"] = copy = cuda.copy_bandwidth()
    for part, rows in cuda.parts(g, copy):
        if time.monotonic() - began > budget:
            say(f"no time left for {part}")
            continue
        for x in rows:
            found[x.pop("table")].append(x)
        write(folder, found)
        say(f"{part} done")
    found["seconds"] = time.monotonic() - began
    write(folder, found)
    print(markdown(found), end="")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--seed", type=int, help="of the inputs; default: another one each time")
    parser.add_argument("--budget", type=float, default=400.0, help="seconds after which nothing is begun")
    parser.add_argument("--simulate", action="store_true", help="a tiny dry run in Numba's simulator")
    given = parser.parse_args()
    if given.simulate:
        # Numba decides when it is first imported, which is below.
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
        sys.setswitchinterval(1e-5)
    try:
        cuda = import_module("benchmarks.gpu_measure")
        cuda.require_device()
    except NoDevice as missing:
        print(missing, file=sys.stderr)
        return 2
    seed = int(time.time()) if given.seed is None else given.seed
    return run(cuda, given.out, seed, given.budget)


if __name__ == "__main__":
    sys.exit(main())
