"""The backends and their engines."""

from __future__ import annotations

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.runner import engine_cuda, engine_large, engine_numpy, engine_offline, engine_small
from tabular_fedrl.runner.engine import Asked, Engine

ENGINES: dict[str, tuple[Engine, ...]] = {
    "numpy": (engine_numpy.ENGINE,),
    "numba": (engine_small.ENGINE, engine_large.ENGINE, engine_offline.ENGINE),
    "cuda": (engine_cuda.ENGINE,),
}
"""By backend, in order of preference."""


def choose(backend: str, asked: Asked) -> Engine:
    """The first engine of the backend that can run what is asked.

    Raises
    ------
    InvalidProblem: none can; the message holds the reason of each that knows the algorithm, or which ones
        the backend knows. NoDevice: one could, on another machine.
    """
    name, engines, reasons = asked.algorithm.name, ENGINES[backend], []
    for engine in engines:
        if engine.algorithms is not None and name not in engine.algorithms:
            continue
        reason = engine.refuses(asked)
        if reason is None:
            return engine
        reasons.append(f"{engine.name}: {reason}")
    known = dict.fromkeys(known for engine in engines for known in engine.algorithms or ())
    why = "; ".join(reasons) or f"it runs {', '.join(known)}"
    raise InvalidProblem(f"backend {backend!r} cannot run {name}: {why}")
