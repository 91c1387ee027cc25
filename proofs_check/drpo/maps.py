r"""Data of figures: gains of one round of DRPO over the plane of the weights, by the library's own steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proofs_check.drpo.anchor import Pull
from proofs_check.drpo.drift_terms import curvature, drift, most
from proofs_check.drpo.laws import tempered
from proofs_check.drpo.step import informed
from tabular_fedrl.algorithms.drpo_balance import Balance, balance
from tabular_fedrl.algorithms.drpo_steps import aggregate, reverse_step
from tabular_fedrl.claims import StudyData
from tabular_fedrl.claims.slopes import slope
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.offline.behaviours import mixtures

MEANS = ("arithmetic", "geometric", "mixture")


@dataclass(frozen=True)
class Start:
    """Where a round starts: log-policies ``(S, A)`` and ``(N, S, A)``, and critics, exact ones."""

    cmdp: CMDP
    log_pi: Array
    log_b: Array

    @property
    def critics(self) -> Array:
        q = evaluate(self.cmdp, self.log_pi, self.cmdp.r[None]).Q.value[0]
        return np.stack([q] * len(self.log_b))

    @property
    def balance(self) -> Balance:
        return balance(self.cmdp, self.log_pi, self.log_b, self.critics)

    @property
    def critical(self) -> float:
        r"""The alpha at which :math:`\bar C = 0`; NaN where no positive one does it."""
        found = self.balance.alpha_crit
        return float(found) if found is not None and float(found) > 0 else np.nan

    def assured(self, alpha: Array) -> Array:
        r"""The beta from which on Theorem C assures an improvement; NaN where it never does."""
        known = self.balance
        out = np.full(alpha.shape, np.nan)
        for i, a in enumerate(alpha):
            C, R_U = float(known.C_bar(a)), float(known.R_U(a))
            if C > 0:
                out[i] = R_U**2 * float(known.R_Q) / (8 * (1 - self.cmdp.gamma) * C) - a
        return out

    def gains(self, alpha: Array, beta: Array, kinds: Sequence[str]) -> Array:
        """The gain for every kind of mean, ``(kinds, beta, alpha)``."""
        critics, n = self.critics, len(self.log_b)
        steps = np.array(
            [[reverse_step(self.log_pi, self.log_b, critics, a, b) for a in alpha] for b in beta]
        )
        out = []
        for kind in kinds:
            if kind == "mixture":
                out.append(self._J(steps).mean(axis=-1))
            else:
                flat = steps.reshape(-1, n, *self.log_pi.shape)
                means = np.array([aggregate(kind, laws) for laws in flat])
                out.append(self._J(means).reshape(len(beta), len(alpha)))
        return np.array(out) - self._J(self.log_pi)

    def _J(self, log_policies: Array) -> Array:
        return evaluate(self.cmdp, log_policies, self.cmdp.r[None]).at_rho.value[..., 0]


def graded(source: str, policy: float, data: Iterable[float]) -> Start:
    """A global policy and clients that play the expert with these probabilities, and at random otherwise."""
    problem = load(source)
    shares = [[1.0 - x, 0.0, x] for x in (policy, *data)]
    laws: Any = mixtures(problem, shares)
    return Start(problem.cmdp, laws[0], laws[1:])


def balance_map() -> StudyData:
    """Gains of one round on two arms (CE1) and on a random problem."""
    alpha, beta, fine = np.logspace(-2, 1, 37), np.logspace(-2, 3, 41), np.logspace(-2, 1, 601)
    arms = load("textbook:two-arm").cmdp
    ahead, fair = np.log([[0.9, 0.1]]), np.log([[[0.5, 0.5]]])
    source = "garnet:S=30,A=4,b=4,seed=3"
    starts = [Start(arms, ahead, fair), graded(source, 0.7, (0.1, 0.3, 0.5))]
    arrays = {
        "names": np.array(["two arms, one client (CE1)", f"{source}, three clients"]),
        "alpha": alpha,
        "beta": beta,
        "gain": np.array([start.gains(alpha, beta, ["arithmetic"])[0] for start in starts]),
        "critical": np.array([start.critical for start in starts]),
        "fine": fine,
        "assured": np.array([start.assured(fine) for start in starts]),
        "name": np.array("one round with exact critics, arithmetic mean"),
    }
    agree = [_agreement(arrays["gain"][i], alpha, start.critical) for i, start in enumerate(starts)]
    return StudyData(arrays, {name: line for name, line in zip(arrays["names"].tolist(), agree)})


def _agreement(gain: Array, alpha: Array, critical: float) -> str:
    """Where the sign of the gain is that of C-bar: over the whole plane, and in its last row."""
    expected = np.where(alpha < critical, 1.0, -1.0)
    same = np.sign(gain) == expected
    return (
        f"alpha_crit = {critical:.4g}; the gain has the sign of C-bar at {same.mean():.1%} of the weights, "
        f"at the largest beta at {same[-1].mean():.0%}"
    )


def heterogeneity() -> StudyData:
    """The two tiers and the gains of a round against the spread of the clients' data."""
    source, policy, weights = "garnet:S=30,A=4,b=4,seed=3", 0.7, (0.5, 0.25)
    spread = np.linspace(0.0, 1.0, 21)
    starts = [graded(source, policy, _around(0.5, s)) for s in spread]
    tiers = np.array([_tiers(start, *weights) for start in starts]).T
    one = [start.gains(np.array(weights[:1]), np.array(weights[1:]), MEANS)[:, 0, 0] for start in starts]
    alpha, beta = np.logspace(-2, 1, 31), np.logspace(-2, 2, 33)
    shown = [0, 8, 16]
    arrays = {
        "spread": spread,
        "between": tiers[0],
        "to_server": tiers[1],
        "labels": np.array(["A1, arithmetic", "A2, geometric", "A3, episodes"]),
        "gain": np.array(one).T,
        "alpha": alpha,
        "beta": beta,
        "map": starts[shown[-1]].gains(alpha, beta, MEANS),
        "critical": np.array([starts[k].critical for k in shown]),
        "at": spread[shown],
        "name": np.array(
            f"{source}; above: alpha = {weights[0]}, beta = {weights[1]}; below: spread {spread[shown[-1]]:g}"
        ),
    }
    summary = {
        f"{key} at spread 0 and 1": f"{x[0]:.4g}, {x[-1]:.4g}"
        for key, x in zip(("alpha H_b", "beta D_w"), tiers)
    }
    return StudyData(arrays, {"instance": source, **summary})


def drift_scaling() -> StudyData:
    """Drift and bound of D3 against the temperature, with alpha fixed and at a fixed ratio of the weights."""
    source, alpha, ratio = "garnet:S=30,A=4,b=4,seed=3", 0.5, 0.5
    start = graded(source, 0.7, _around(0.5, 0.8))
    tau = alpha * np.logspace(0.2, 4.2, 25)
    x = informed(start.cmdp, start.log_pi, start.log_b, alpha, 1.0)
    fixed = [replace(x, beta=Measured(t - alpha)) for t in tau]
    tied = [replace(x, alpha=Measured(ratio * t), beta=Measured((1 - ratio) * t)) for t in tau]
    arrays = {"tau": tau, "name": np.array(f"{source}, three clients, exact critics")}
    for name, rounds in (("fixed", fixed), ("tied", tied)):
        arrays[name] = np.array([abs(float(drift(r, r.clients))) for r in rounds])
        arrays[f"{name}_bound"] = np.array([float(most(r, r.clients)) for r in rounds])
    arrays["second"] = np.array(abs(float(curvature(x))))
    arrays["limit"] = np.array(abs(float(drift(x, tempered(x.behaviour, x.old, Measured(ratio))))))
    slopes = [
        {"curve": label, "instance": source, **slope(tau, arrays[key])}
        for label, key in (
            ("drift, alpha fixed", "fixed"),
            ("bound, alpha fixed", "fixed_bound"),
            ("drift, ratio fixed", "tied"),
            ("bound, ratio fixed", "tied_bound"),
        )
    ]
    return StudyData(arrays, {"instance": source, "slopes": slopes, "|L|": float(arrays["second"])})


def _around(middle: float, spread: float) -> Array:
    """Three clients' probabilities of playing the expert."""
    return middle + 0.48 * spread * np.array([-1.0, 0.0, 1.0])


def _tiers(start: Start, alpha: float, beta: float) -> tuple[float, float]:
    """Both tiers of Lemma 2, averaged over the visits of the global policy."""
    x = informed(start.cmdp, start.log_pi, start.log_b, alpha, beta)
    pull = Pull(x, x.old)
    between = pull.H_b * alpha
    return tuple(float(x.expected(x.old, part)) for part in (between, pull.tiers - between))  # type: ignore[return-value]
