"""Hypothesis strategies for small problems, shared by the pytest plugin and the tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import log_softmax


@st.composite
def cmdps(
    draw: st.DrawFn,
    max_states: int = 4,
    max_actions: int = 3,
    max_constraints: int = 2,
    min_constraints: int = 0,
) -> CMDP:
    """Small CMDPs with r, c in [0, 1] on a grid, rows with zeros, and a policy that is strictly feasible.

    Thresholds lie above the costs of a drawn anchor policy, so that every draw has a Slater point.
    """
    S = draw(st.integers(1, max_states))
    A = draw(st.integers(2, max_actions))
    m = draw(st.integers(min_constraints, max_constraints))
    gamma = draw(st.sampled_from([0.0, 0.3, 0.5, 0.9]))
    P = np.array([[draw(_laws(S)) for _ in range(A)] for _ in range(S)])
    unit = st.integers(0, 8).map(lambda k: k / 8)
    r = _table(draw, unit, (S, A))
    c = _table(draw, unit, (m, S, A))
    anchor = log_softmax(_table(draw, st.integers(-2, 2).map(float), (S, A)))
    free = CMDP(P, r, c, np.full(m, np.inf if m == 0 else 1 / (1 - gamma)), draw(_laws(S)), gamma)
    costs = evaluate(free, anchor).at_rho.value[1:]
    room = np.array([draw(st.sampled_from([0.05, 0.2, 0.5])) for _ in range(m)])
    return free.replace(d=costs + room * np.maximum(1 / (1 - gamma) - costs, 0.2))


@st.composite
def federations(draw: st.DrawFn, /, max_agents: int = 3, **sizes: int) -> FederatedCMDP:
    """Small federated CMDPs with any overlap of the Gamma_i."""
    cmdp = draw(cmdps(**sizes))
    N = draw(st.integers(1, max_agents))
    if cmdp.m == 0:
        return FederatedCMDP(cmdp, [()] * N)
    sets = [draw(st.sets(st.integers(0, cmdp.m - 1), min_size=1)) for _ in range(N)]
    missing = set(range(cmdp.m)) - set().union(*sets)
    return FederatedCMDP(cmdp, [sorted(sets[0] | missing), *(sorted(s) for s in sets[1:])])


@st.composite
def episodic_mdps(
    draw: st.DrawFn,
    max_states: int = 3,
    max_actions: int = 3,
    max_steps: int = 3,
    max_environments: int = 1,
) -> FederatedEpisodicMDP:
    """Small finite-horizon problems with r in {0, 1/4, ..., 1} and rows with zeros, time-dependent or not."""
    S, A = draw(st.integers(1, max_states)), draw(st.integers(2, max_actions))
    H, N = draw(st.integers(1, max_steps)), draw(st.integers(1, max_environments))
    steps = draw(st.sampled_from([(), (H,)]))
    quarter = st.integers(0, 4).map(lambda k: k / 4)

    def environment() -> EpisodicMDP:
        rows = [draw(_laws(S)) for _ in range(int(np.prod(steps)) * S * A)]
        return EpisodicMDP(
            np.reshape(rows, (*steps, S, A, S)), _table(draw, quarter, (*steps, S, A)), draw(_laws(S)), H
        )

    return FederatedEpisodicMDP([environment() for _ in range(N)])


def problems(of_type: type) -> st.SearchStrategy[FederatedCMDP | FederatedEpisodicMDP]:
    """Small problems of the type that a theorem is about; several environments where it takes them."""
    if of_type is FederatedCMDP:
        return federations()
    return episodic_mdps(max_environments=3 if of_type is FederatedEpisodicMDP else 1)


def log_policies(S: int, A: int) -> st.SearchStrategy[Array]:
    """Log-policies with logits in [-5, 5]."""
    logit = st.integers(-20, 20).map(lambda k: k / 4)
    return st.lists(logit, min_size=S * A, max_size=S * A).map(lambda x: log_softmax(np.reshape(x, (S, A))))


def _laws(size: int) -> st.SearchStrategy[Array]:
    """Probability vectors with weights in {0..4}, not all zero."""
    weights = st.lists(st.integers(0, 4), min_size=size, max_size=size).filter(any)
    return weights.map(lambda w: np.array(w) / np.sum(w))


def _table(draw: st.DrawFn, entry: st.SearchStrategy[float], shape: tuple[int, ...]) -> Array:
    count = int(np.prod(shape))
    return np.array(draw(st.lists(entry, min_size=count, max_size=count)), dtype=np.float64).reshape(shape)
