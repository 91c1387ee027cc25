"""What the CUDA kernels reach on the device at hand: ``python benchmarks/gpu.py``, under eight minutes.

Checks every kernel against the specification on fresh inputs and stops if one is off; then measures the
device's copy bandwidth, what share of it every kernel of the large loop reaches, many small problems a
second, and the time to a certified optimum. Prints a table and writes ``gpu.json`` and ``gpu.md`` into
``--out``, anew after every row. What no time or memory is left for is skipped, and the table says so; at
:data:`LIMIT` the process ends. With ``--simulate`` a tiny dry run in Numba's simulator, whose times mean
nothing.

A share counts the bytes that must move once (indices, weights, probabilities, each vector once) over the
measured time, against a copy's bytes read and written. Inputs rotate, so that no cache serves them twice.
Kernels shorter than a launch from Python, which the table gives too, show the launch.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    import numpy as np

    from tabular_fedrl.atomic import atomic_path
    from tabular_fedrl.errors import NoDevice
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing; in the checkout: pip install -e '.[cuda]'")

RESULTS = Path(__file__).parent / "results"

LIMIT = 465.0
"""Seconds after which the process ends, whatever it does; what was written by then stays."""

CONSTRAINED = (
    "The optima are of the reward alone. No kernel seeks the optimum under constraints: it is found on the "
    "processor (`make bench`, the rows `constrained/`)."
)


def markdown(found: dict[str, Any]) -> str:
    """The results as tables."""

    def head(titles: str) -> list[str]:
        return ["", f"| {titles} |", "|---" * (1 + titles.count("|")) + "|"]

    sizes = sorted({x["states"] for x in found["kernels"]})
    cells: dict[tuple[str, ...], dict[int, str]] = {}
    for x in found["kernels"]:
        cell = f"{x['share']:.0%} ({x['seconds'] * 1e3:.3f} ms)"
        cells.setdefault((x["kernel"], x["neighbours"], x["storage"]), {})[x["states"]] = cell
    lines = [
        f"Measured on {found['device']}; copies move {found['copy_bandwidth'] / 1e9:.0f} GB/s, a launch "
        f"alone takes {found['launch_seconds'] * 1e3:.4f} ms. Shares of the copy bandwidth (time):"
    ]
    lines += head(" | ".join(["kernel", "neighbours", "storage", *(f"{S:,} states" for S in sizes)]))
    lines += [
        "| " + " | ".join([*names, *(cell.get(S, "") for S in sizes)]) + " |" for names, cell in cells.items()
    ]
    lines += head("small problems | states | rounds | where | problems/s | rounds/s")
    lines += [
        f"| {x['problems']:,} | {x['states']} | {x['rounds']} | {x['where']} "
        f"| {x['problems'] / x['seconds']:,.0f} | {x['problems'] * x['rounds'] / x['seconds']:,.0f} |"
        for x in found["throughput"]
    ]
    lines += head("certified optimum, states | neighbours | time | sweeps | width | one evaluation")
    lines += [
        f"| {x['states']:,} | {x['neighbours']} | {x['seconds'] * 1e3:.1f} ms | {x['sweeps']} "
        f"| {x['width']:.1e} | {x['seconds_of_one_evaluation'] * 1e3:.1f} ms |"
        for x in found["optima"]
    ]
    lines += ["", *found["skipped"]] if found["skipped"] else []
    return "\n".join([*lines, "", CONSTRAINED]) + "\n"


def write(folder: Path, found: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("gpu.json", json.dumps(found, indent=1) + "\n"), ("gpu.md", markdown(found))):
        with atomic_path(folder / name) as path:
            Path(path).write_text(text, encoding="utf-8")


def run(cuda: Any, folder: Path, seed: int, budget: float) -> int:
    """Check, measure, write; ``cuda`` is :mod:`benchmarks.gpu_measure`."""
    began, g = time.monotonic(), np.random.default_rng(seed)
    found: dict[str, Any] = {**cuda.describe(), "seed": seed}
    found |= {name: [] for name in ("checks", "kernels", "throughput", "optima", "skipped")}

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
    found["launch_seconds"] = cuda.launch_seconds()
    write(folder, found)
    took: dict[str, list[float]] = {}

    def left_out(part: Any) -> str | None:
        """Why a part is not begun. The first of a kind also compiles, and foretells nothing."""
        if part.states and (where := cuda.too_large(part.states)):
            return f"it does not fit into {where}"
        known = took.get(part.kind, [])
        needed = known[-1] * part.states if len(known) > 1 else 0.0
        return "no time left" if time.monotonic() - began + needed > budget else None

    def skip(text: str) -> None:
        found["skipped"].append(text)
        say(text)

    for part in cuda.parts(g, copy):
        if reason := left_out(part):
            skip(f"Left out: {part.name}: {reason}.")
        else:
            start = time.monotonic()
            for x in part.rows:
                found[part.table].append(x)
                write(folder, found)
                if time.monotonic() - began > budget:
                    skip(f"Cut short: {part.name}, after {x.get('kernel', x.get('where', 'its row'))}.")
                    break
            else:
                say(f"{part.name}: done")
            took.setdefault(part.kind, []).append((time.monotonic() - start) / max(1, part.states))
        found["seconds"] = time.monotonic() - began
        write(folder, found)
    print(markdown(found), end="")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--seed", type=int, help="of the inputs; default: another one each time")
    parser.add_argument(
        "--budget",
        type=float,
        default=400.0,
        help="seconds after which nothing is begun",
    )
    parser.add_argument("--simulate", action="store_true", help="a tiny dry run in Numba's simulator")
    given = parser.parse_args()
    if given.simulate:
        # Numba decides when it is first imported, which is below.
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
        sys.setswitchinterval(1e-5)
    else:
        # It needs no lock of the interpreter's, which a compiled loop may hold.
        faulthandler.dump_traceback_later(LIMIT, exit=True)
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
