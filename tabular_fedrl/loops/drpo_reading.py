"""What the compiled rounds of DRPO and the offline baselines are told, hold and leave.

Arrays are tables ``(R, A, W)`` as :mod:`tabular_fedrl.kernels.layout` has them.
"""

from __future__ import annotations

from typing import NamedTuple

from tabular_fedrl.measured import Array

REVERSE, FORWARD, ENTROPY, OPTIMUM, CONFINED, CAUTIOUS, FIXED = range(7)
PLAIN, REGULARISED, CQL = range(3)
ARITHMETIC, GEOMETRIC, MIXTURE, WORTH = range(4)


class Reading(NamedTuple):
    """What a round does.

    step: ``REVERSE``, ``FORWARD``, ``ENTROPY`` (forward, with entropy), ``OPTIMUM`` (of the critic's model);
        ``CONFINED`` (from the policy confined to the behaviour's support: fedavg-cql), ``CAUTIOUS`` (reverse,
        abstaining where the global policy has lost all of the client's actions: fedora), ``FIXED`` (the
        behaviours as they are: behaviour-cloning and what else is computed once).
    critic: ``PLAIN``, ``REGULARISED`` or ``CQL``. mean: ``ARITHMETIC``, ``GEOMETRIC``, ``MIXTURE`` of
        episodes, or ``WORTH`` (arithmetic, in favour of policies that look good to their clients: fedora).
    theorem_c: the weights of Theorem C. shared: all clients plan in the true problem.
    """

    step: int
    critic: int
    mean: int
    theorem_c: bool
    shared: bool


class Block(NamedTuple):
    """W problems in lanes, or one.

    ``P (S, A, S, W)`` (one: ``(S, A, S, 1)``), ``f (1+m, R, A, W)``, ``d (m, W)``, ``rho (R, W)``,
    ``gamma (W,)``: the problems; ``models (M, *P.shape)`` and ``signals (M, 1+m, R, A, W)``: what the clients
    plan in, one for all of them or one for each; ``log_b (N, R, A, W)``, ``seen (N, R, W)`` (1 or 0),
    ``omega (N, R, W)``: the clients and their weights; ``alpha``, ``beta (rounds or 1, W)``; ``cql``,
    ``entropy``, ``temperature (W,)``; ``eta_dual``, ``dual_cap (m, W)``.
    """

    P: Array
    f: Array
    d: Array
    rho: Array
    gamma: Array
    models: Array
    signals: Array
    log_b: Array
    seen: Array
    omega: Array
    alpha: Array
    beta: Array
    cql: Array
    entropy: Array
    temperature: Array
    eta_dual: Array
    dual_cap: Array


class Moving(NamedTuple):
    """What a round changes: ``log_pi (R, A, W)``, ``multipliers (N, m, W)``; ``V (N, R, W)``: where the next
    search for the clients' optima starts."""

    log_pi: Array
    multipliers: Array
    V: Array


class Kept(NamedTuple):
    """What is kept of every round (or nothing: n = 0): ``log_pi (n, R, A, W)``,
    ``local (n, N, E+1, R, A, W)``, ``multipliers (n, N, E, m, W)``."""

    log_pi: Array
    local: Array
    multipliers: Array


class Work(NamedTuple):
    """The clients' side of a round: policies ``log_p``, ``p``, behaviours ``log_b``, critics ``Q``
    ``(N, R, A, W)``; the states they ``know`` something of and their ``omega`` ``(N, R, W)``; the round's
    ``alpha``, ``beta (W,)``."""

    log_p: Array
    p: Array
    log_b: Array
    Q: Array
    known: Array
    omega: Array
    alpha: Array
    beta: Array
