"""Figures of the methods side by side: against votes, against the answers to a question, against bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from proofs_check.rlhf.convergence import TheoremOne
from proofs_check.rlhf.ensembles import Ensemble, Method, ensemble
from proofs_check.rlhf.fedavg import FedAvg
from proofs_check.rlhf.landscape import Landscape, points
from tabular_fedrl.algorithms.fedavg_s2zpo import fedavg_s2zpo
from tabular_fedrl.algorithms.par_s2zpo import par_s2zpo
from tabular_fedrl.algorithms.preference_feedback import Feedback
from tabular_fedrl.algorithms.zpg import zbcpg, zpg
from tabular_fedrl.algorithms.zspo import zspo
from tabular_fedrl.claims import StudyData
from tabular_fedrl.claims.curves import Curve, Panel, power_study, profile_study
from tabular_fedrl.instances import load_episodic
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import comparison_of, majority

ARMS = "episodic-bandit:A=2"
TWELVE = "episodic-garnet:S=3,A=2,H=2"
"""Two logits, and twelve."""
STEPS: dict[Method, float] = {par_s2zpo: 8.0, fedavg_s2zpo: 8.0, zspo: 8.0, zpg: 16.0, zbcpg: 16.0}
"""Multiples of the theory's steps in the figure on bits: chosen after looking, so that all methods arrive."""
ROUNDS, RUNS = 200, 16


def rate_study(mark: str) -> StudyData:
    """The mean norm over a whole run against its votes: exact with its bound, and of twenty runs."""
    curves = []
    exact, sampled = 2 ** np.arange(4, 9), 48 * 2 ** np.arange(4)
    pages: tuple[tuple[TheoremOne | FedAvg, str, str, tuple[int, ...]], ...] = (
        (TheoremOne(), "Par-S2ZPO", r"mean $\|\nabla V\|_{PK}$ (reward)", (1, 2)),
        (FedAvg(), "FedAvg-S2ZPO", r"mean $\|\nabla V\|_2$ (reward)", (1, 2, 4)),
    )
    for page, name, norm, agents in pages:
        axes = Panel(f"{name}, 2 logits, exact", norm)
        for K in agents:
            sides = [page.stationary.function(page, _walk(page, K, int(M))) for M in exact]
            mean, bound = (Measured.stack([side[i] for side in sides]) for i in (0, 1))
            curves.append(Curve(axes, f"K = {K}", exact, mean, bound))
    methods: tuple[tuple[Method, str, tuple[int, ...]], ...] = (
        (par_s2zpo, "Par", (1, 4, 12)), (fedavg_s2zpo, "FedAvg", (4, 12)),
    )  # fmt: skip
    for method, name, agents in methods:
        for K in agents:
            means = Measured(np.array([_mean_norm(method, K, int(M)) for M in sampled]))
            label = "both, K = 1" if K == 1 else f"{name}, K = {K}"
            axes = Panel("12 logits, 20 runs", r"mean $\|\nabla V\|_2$ (reward)")
            curves.append(Curve(axes, label, sampled, means))
    return power_study("Many answers to a question", mark, "votes of a run, KT", curves)


def _walk(page: TheoremOne | FedAvg, K: int, M: int) -> object:
    """M votes in M/K rounds with the theory's step, on two logits."""
    averages = isinstance(page, FedAvg)
    step = float(np.sqrt((K if averages else 1) / (2 * (M // K))))
    mu = 2.0**-14 / (K**0.5 if averages else 1.0)
    problem = load_episodic(ARMS).mdp
    return page.setup(problem, agents=K, rounds=M // K, alpha=step, mu=mu, questions=10**18)


def _mean_norm(method: Method, K: int, M: int) -> float:
    averages, T = method is fedavg_s2zpo, M // K
    step = 2 * float(np.sqrt(2 * (K if averages else 1) / (12 * T)))
    mu = 2.0**-6 * (1.0 if averages else K**0.5)
    return float(ensemble(method, _feedback(10**8, 1, K, mu, step), T, 20, 0).norms.mean())


def progress_study(mark: str) -> StudyData:
    """How much a round promises, exactly, against the number of answers to a question."""
    N = 10 ** np.arange(9)
    curves, K = [], 4
    problem, theta = load_episodic(TWELVE).mdp, points(load_episodic(TWELVE).mdp, 2, 0.5, 0)
    for mu in (0.5, 4.0):
        axes = Panel(rf"4 agents, $\mu_{{Par}}$ = {mu:g}", "growth a round promises (reward)")
        for label, blocks, size in (
            ("Par-S2ZPO", K, mu),
            (r"FedAvg, $\mu = \mu_{Par}/2$: as long", 1, mu / K**0.5),
            (r"FedAvg, $\mu = \mu_{Par}$", 1, mu),
        ):
            at = Landscape(problem, comparison_of(problem, "linear"), theta, blocks, size)
            promised = [_promised(at, int(n), K) for n in N]
            curves.append(Curve(axes, label, N, Measured(np.array(promised))))
    return profile_study(f"{TWELVE}, no draws", mark, "answers to a question, N", curves)


def _promised(at: Landscape, questions: int, K: int) -> float:
    r""":math:`(E\langle\nabla V, g\rangle)^2/(2L\,E\|g\|_2^2)`, the growth that smoothness promises for the
    best step, a mean over the policies; of the average of K agents where ``at`` has one block."""
    vote = majority(at.answer.value, questions) * 2
    aligned = (at.inner.value * vote).mean(axis=1).sum(axis=-1)
    square = float(at.d)
    if at.K == 1:
        mean = (vote * at.parts.reshape(-1, at.d)).mean(axis=1)
        square = at.d / K + (1 - 1 / K) * (mean**2).sum(axis=-1)
    return float((np.maximum(aligned, 0.0) ** 2 / (2 * at.L.value * square)).mean())


def bits_study(mark: str) -> StudyData:
    """The mean norm before a round against what was sent until then, and the bits until it is a half."""
    curves, rows = [], []
    for words, questions, mu in (("many answers to a question", 501, 2.0**-3), ("few answers", 5, 0.5)):
        axes = Panel(words, r"$\|\nabla V\|_2$ before a round (reward)")
        for name, found in _runs(questions, mu):
            norms, at = found.norms.mean(axis=0), _spread(ROUNDS)
            curves.append(Curve(axes, name, found.bits[at] + 1.0, Measured(norms[at])))
            first = np.flatnonzero(norms <= norms[0] / 2)
            if not len(first):
                rows.append([words, name, "not reached", "not reached"])
                continue
            rows.append([words, name, str(first[0]), str(found.bits[first[0]])])
    data = profile_study(f"{TWELVE}, means of {RUNS} runs", mark, "bits sent so far", curves)
    table = {
        "title": "Until the mean norm of the gradient is half of that at the start",
        "head": ["answers", "method", "rounds", "bits"],
        "rows": rows,
    }
    return StudyData(data.arrays, {"tables": [table]})


def _runs(questions: int, mu: float) -> Iterator[tuple[str, Ensemble]]:
    """Every method by name; perturbations of all are equally long."""
    shared = partial(fedavg_s2zpo, shared_seeds=True)
    methods: tuple[tuple[str, Method, Method, int, float], ...] = (
        ("Par-S2ZPO, K = 4", par_s2zpo, par_s2zpo, 4, 2.0),
        ("FedAvg-S2ZPO, K = 4", fedavg_s2zpo, fedavg_s2zpo, 4, 1.0),
        ("the same, shared seeds", fedavg_s2zpo, shared, 4, 1.0),
        ("ZSPO, Gaussian", zspo, zspo, 1, 1.0),
        ("ZPG", zpg, zpg, 1, 12.0**0.5),
        ("ZBCPG, 4 blocks", zbcpg, zbcpg, 4, 2.0),
    )
    for name, kind, method, K, wider in methods:
        step = STEPS[kind] * float(np.sqrt(2 / (12 * ROUNDS)))
        yield name, ensemble(method, _feedback(questions, 9, K, mu * wider, step), ROUNDS, RUNS, 0)


def _feedback(questions: int, people: int, K: int, mu: float, step: float) -> Feedback:
    problem = load_episodic(TWELVE).mdp
    comparison = comparison_of(problem, "linear", people=people, questions=questions)
    return Feedback(problem, comparison, K, mu, step)


def _spread(T: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Thirty-two rounds, evenly on a logarithmic scale as far as there are so many."""
    return np.round(np.geomspace(1, T, 32)).astype(np.int64) - 1
