r"""How many random rounds bear out each statement about DRPO, with both regularisers and with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from proofs_check.drpo.drift_terms import drift
from proofs_check.drpo.laws import Law, total_variation
from proofs_check.drpo.step import Round, rounds
from tabular_fedrl.algorithms.drpo_steps import regularised_values
from tabular_fedrl.claims import StudyData
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured

LARGE = 1e4
"""Weights in units of the largest span of U, where a statement is about large ones."""


def ablation_study(source: str, draws: int) -> StudyData:
    """The share of ``draws`` rounds on a problem and its variations in which each statement holds."""
    problem = load(source)
    drawn = rounds(problem, 2 * draws, 0, noise=2.0)[::2]
    crossed = rounds(problem, 2 * draws, 1, support="crossing")[::2]
    kinds = [(crossed if on_zeros else drawn, holds) for on_zeros, holds in STATEMENTS.values()]
    share = np.array(
        [[np.mean([holds(keep(x)) for x in some]) for keep in SETTINGS.values()] for some, holds in kinds]
    )
    arrays = {
        "statements": np.array(list(STATEMENTS)),
        "settings": np.array(list(SETTINGS)),
        "share": share,
        "name": np.array(f"{draws} random rounds of three clients on variations of {source}"),
    }
    lines = (", ".join(f"{name} {x:.0%}" for name, x in zip(SETTINGS, row)) for row in share)
    return StudyData(arrays, dict(zip(STATEMENTS, lines)))


def _improves(x: Round) -> bool:
    return float(x.improvement(x.arithmetic)) > 0


def _exact(x: Round) -> Round:
    return replace(x, Q=Measured.stack([x.q] * x.N))


def _large(x: Round, times: float = LARGE) -> Round:
    """With a large weight: of the server if it has one, else of the data."""
    grown = Measured(times * float(x.R_U))
    return replace(x, beta=grown) if float(x.beta) > 0 else replace(x, alpha=grown)


def _balanced(x: Round) -> bool:
    far = _large(x)
    return bool(np.sign(float(far.improvement(far.arithmetic))) == np.sign(float(far.C_bar)))


def _short(x: Round) -> bool:
    return float(total_variation(_large(x).clients, x.old).max()) < 0.01


def _second_order(x: Round) -> bool:
    near, far = (float(drift(r, r.clients)) for r in (_large(x, 300.0), _large(x, 600.0)))
    return abs(far / near - 0.25) < 0.05


def _regularised(x: Round) -> bool:
    critics = [regularised_values(x.cmdp, x.log_pi, log_b, x.alpha.plain)[1] for log_b in x.log_b]
    stepped = replace(x, Q=Measured.stack(critics))
    return _objective(x, stepped.geometric) > _objective(x, x.old)


def _objective(x: Round, law: Law) -> float:
    """J_alpha"""
    values = [regularised_values(x.cmdp, law.plain, log_b, x.alpha.plain)[0] for log_b in x.log_b]
    return float(sum(w * float((v * x.cmdp.rho).sum()) for w, v in zip(x.weights.value, values)))


SETTINGS: dict[str, Callable[[Round], Round]] = {
    "both": lambda x: x,
    "server only (alpha = 0)": lambda x: replace(x, alpha=Measured(0.0)),
    "data only (beta = 0)": lambda x: replace(x, beta=Measured(0.0)),
}

STATEMENTS: dict[str, tuple[bool, Callable[[Round], bool]]] = {
    "exact critics: J improves (A)": (False, lambda x: _improves(_exact(x))),
    "critics in error: J improves (A)": (False, _improves),
    "large weight: the gain has the sign of C-bar (C)": (False, _balanced),
    "large weight: the steps become short (C)": (False, _short),
    "large weight: the drift falls by the square (D3)": (False, _second_order),
    "regularised critics: J_alpha improves (E1)": (False, _regularised),
    "the linear rate is below 1 (E2)": (False, lambda x: float(x.alpha) > 0),
    "zeros: steps stay within their data (CE3)": (
        True,
        lambda x: bool((x.clients.support <= x.behaviour.support).all()),
    ),
    "zeros: steps keep all actions of the server": (
        True,
        lambda x: bool((x.old.support <= x.clients.support).all()),
    ),
}
"""Whether a statement is about policies with zeros, and whether it holds in a round."""
