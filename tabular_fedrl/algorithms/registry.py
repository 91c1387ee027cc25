"""Every algorithm by name: its parameters with their defaults, its steps, its rounds.

A new algorithm is a module with a generator of rounds, and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tabular_fedrl.algorithms import drpo_choice, offline_baselines
from tabular_fedrl.algorithms.averaging import averaging_steps, mean_kernel, policy_averaging
from tabular_fedrl.algorithms.crpo import crpo, rectified_steps
from tabular_fedrl.algorithms.decentralised import (
    GRAPHS,
    decentralised_fednpg,
    decentralised_steps,
    degrees,
    mixing_matrix,
)
from tabular_fedrl.algorithms.drpo import drpo
from tabular_fedrl.algorithms.entropy_dual import entropy_dual, smooth_steps
from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.fedpg import fedpg, gradient_steps
from tabular_fedrl.algorithms.fedppo import fedppo, ppo_steps
from tabular_fedrl.algorithms.isolated import isolated
from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.offline_clients import DATA, clients_of, offline_problem
from tabular_fedrl.algorithms.opg_pd import opg_pd, optimistic_steps
from tabular_fedrl.algorithms.pmd_pd import pmd_pd, proximal_steps
from tabular_fedrl.algorithms.regularised import regularised_fednpg, regularised_steps, rpg_pd
from tabular_fedrl.algorithms.round_dual import round_dual
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.sampled import sampled_fednpg, sampled_steps
from tabular_fedrl.algorithms.sequential_shared import sequential_shared
from tabular_fedrl.algorithms.step_sizes import federated_steps, single_steps
from tabular_fedrl.algorithms.unconstrained import (
    entropy_npg,
    entropy_steps,
    mirror_descent,
    mirror_steps,
    npg_steps,
    reward_alone,
)
from tabular_fedrl.algorithms.unit_form import unit_steps
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.federation import Direction, Federation, PublicSteps, Traffic
from tabular_fedrl.measured import Array

Values = dict[str, Any]

MEANS = ("arithmetic", "geometric")

STEPS: Values = {"eta": None, "eta_dual": None, "dual_cap": None, "initial_multipliers": 0.0}
MEAN: Values = {"aggregation": "arithmetic", "weights": None}
LOCAL: Values = {"local_steps": 1}
REWARD: Values = {"eta": None, "initial_multipliers": 0.0}
DUAL: Values = {"eta_dual": None, "dual_cap": None, "initial_multipliers": 0.0}

OFFLINE: Values = {
    "natural": False,
    "zeros": True,
    "whole": {"local_steps": 1, "clients": 0, "transitions": 1, "data_seed": 0, "least_count": 1},
    "acts": offline_problem,
}
"""What the offline algorithms have in common."""


@dataclass(frozen=True)
class Algorithm:
    """One algorithm.

    summary: a line for the list. parameters: name -> default (None: the theory's value).
    steps: from the problem, the number of rounds and the parameters to the public constants.
    rounds: from a federation and the parameters to the rounds.
    central: one agent that sees everything. share: there is a global policy. sends: in every round
    each agent receives it and returns its own, and nothing else; neighbours: from N and the parameters, to
    how many others each sends its policy and its tracker in every round (by both, a compiled run enters the
    messages). natural: every local step is an exact natural-gradient step, so that its softmax normaliser is
    meaningful. zeros: a policy may have probabilities 0, else one that has is a sign of absurd steps.
    whole: parameters that are whole numbers, with the least one. choices: parameters that are one of a few
    words. acts: from the problem and the parameters to the federation it runs in, if not the given one.
    start: its theory's averages count the policy that it starts from. counted: from the multipliers after
    every step ``(R, m)`` to which of the policies before them these averages count, if not all.
    """

    name: str
    summary: str
    parameters: Mapping[str, Any]
    steps: Callable[[FederatedCMDP, int, Values], PublicSteps]
    rounds: Callable[[Federation, Values], Iterator[Round]]
    central: bool = False
    share: bool = True
    sends: bool = False
    neighbours: Callable[[int, Mapping[str, Any]], Sequence[int]] | None = None
    natural: bool = True
    zeros: bool = False
    whole: Mapping[str, int] = field(default_factory=lambda: {"local_steps": 1, "samples": 1})
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"aggregation": MEANS})
    acts: Callable[[FederatedCMDP, Values], FederatedCMDP] | None = None
    start: bool = True
    counted: Callable[[Array], np.ndarray[Any, np.dtype[np.bool_]]] | None = None

    @property
    def reward_factor(self) -> float | None:
        """Weight of the reward in each agent's Lagrangian; None for 1/N."""
        return None if self.share else 1.0

    def traffic(self, N: int, given: Mapping[str, Any]) -> list[Traffic]:
        """What is sent in every round of a compiled run."""
        if self.neighbours is not None:
            counts = list(enumerate(self.neighbours(N, given)))
            return [("up", kind, i, count) for kind in ("policy", "tracker") for i, count in counts]
        ways: tuple[Direction, Direction] = ("down", "up")
        return [(way, "policy", i, 1) for way in ways for i in range(N)] if self.sends else []

    def acts_on(self, problem: FederatedCMDP, given: Values) -> FederatedCMDP:
        """The federation it runs in: the given one, a single agent with all constraints, or its own."""
        if self.acts is not None:
            return self.acts(problem, given)
        return FederatedCMDP(problem.cmdp, [range(problem.cmdp.m)]) if self.central else problem


def _baseline(name: str, summary: str, own: Values, function: str, **further: Any) -> Algorithm:
    """A baseline of :mod:`tabular_fedrl.algorithms.offline_baselines` with parameters ``own``, which its
    ``function`` takes after the federation and the clients."""
    rounds = getattr(offline_baselines, function)
    return Algorithm(
        name,
        f"offline: {summary}",
        {**own, **DATA, "weights": None, "initial_multipliers": 0.0},
        offline_baselines.baseline_steps,
        lambda federation, given: rounds(
            federation, clients_of(federation, given), *(given[key] for key in own)
        ),
        **further,
        **OFFLINE,
    )


ALGORITHMS: dict[str, Algorithm] = {
    a.name: a
    for a in (
        Algorithm(
            "fednpg",
            "federated natural policy gradient under constraint heterogeneity",
            {**LOCAL, **MEAN, **STEPS},
            federated_steps,
            lambda federation, _: fednpg(federation),
            sends=True,
        ),
        Algorithm(
            "npg-pd",
            "centralised natural policy gradient primal-dual: one agent, all constraints",
            STEPS,
            unit_steps,
            lambda federation, _: npg_pd(federation),
            central=True,
        ),
        Algorithm(
            "isolated",
            "agents with their own constraint only, without communication",
            {**LOCAL, **STEPS},
            single_steps,
            lambda federation, _: isolated(federation),
            share=False,
        ),
        Algorithm(
            "omniscient",
            "one agent that sees all constraints, with FedNPG's kind of steps",
            {**LOCAL, **STEPS},
            single_steps,
            lambda federation, _: npg_pd(federation),
            central=True,
        ),
        Algorithm(
            "sequential-shared",
            "FedNPG as the public code runs it: one table, updated by the agents in turn",
            {**LOCAL, **STEPS},
            federated_steps,
            lambda federation, _: sequential_shared(federation),
            sends=True,
        ),
        Algorithm(
            "round-dual",
            "FedNPG with the multipliers updated once a round, at the broadcast policy",
            {**LOCAL, **MEAN, **STEPS},
            federated_steps,
            lambda federation, _: round_dual(federation),
            sends=True,
        ),
        Algorithm(
            "sampled-fednpg",
            "FedNPG from rollouts of a generative simulator",
            {**LOCAL, "samples": 1, **MEAN, **STEPS},
            sampled_steps,
            lambda federation, given: sampled_fednpg(federation, given["samples"]),
            natural=False,
            sends=True,
        ),
        Algorithm(
            "fedpg",
            "FedNPG along the vanilla policy gradient",
            {**LOCAL, **MEAN, **STEPS},
            gradient_steps,
            lambda federation, _: fedpg(federation),
            natural=False,
            sends=True,
        ),
        Algorithm(
            "fedppo",
            "clipped surrogates, a few epochs each, logits averaged",
            {"clip": 0.2, "epochs": 10, "target": 0.02, **LOCAL, **STEPS, "aggregation": "geometric"},
            ppo_steps,
            lambda federation, given: fedppo(federation, given["clip"], given["epochs"], given["target"]),
            natural=False,
            whole={"local_steps": 1, "epochs": 1},
            sends=True,
        ),
        Algorithm(
            "regularised-fednpg",
            "FedNPG with entropy and a quadratic dual term, one local step: last-iterate guarantee",
            {"tau": 0.1, **MEAN, "eta": None, "dual_cap": None, "initial_multipliers": 0.0},
            regularised_steps,
            lambda federation, given: regularised_fednpg(federation, given["tau"]),
            natural=False,
            sends=True,
        ),
        Algorithm(
            "rpg-pd",
            "regularised policy gradient primal-dual: one agent, all constraints, last-iterate guarantee",
            {"tau": 0.1, "eta": None, "dual_cap": None, "initial_multipliers": 0.0},
            regularised_steps,
            lambda federation, given: rpg_pd(federation, given["tau"]),
            central=True,
            natural=False,
        ),
        Algorithm(
            "crpo",
            "one agent without multipliers: up the reward, or down a cost that is exceeded",
            {"tolerance": None, "eta": None, "initial_multipliers": 0.0},
            rectified_steps,
            lambda federation, given: crpo(federation, given["tolerance"]),
            central=True,
            natural=False,
            counted=lambda multipliers: (multipliers == 0).all(axis=-1),
        ),
        Algorithm(
            "pmd-pd",
            "one agent, policy steps solved exactly, rate 1/T",
            {"eta_dual": None, "initial_multipliers": 0.0},
            proximal_steps,
            lambda federation, _: pmd_pd(federation),
            central=True,
            natural=False,
            start=False,
        ),
        Algorithm(
            "opg-pd",
            "one agent, optimistic steps with Euclidean projections: linear convergence of the last iterate",
            {"eta": None, "dual_cap": None, "initial_multipliers": 0.0},
            optimistic_steps,
            lambda federation, _: opg_pd(federation),
            central=True,
            natural=False,
            zeros=True,
        ),
        Algorithm(
            "entropy-dual",
            "one agent, accelerated descent on the dual function with entropy",
            {"tau": 0.1, **DUAL},
            smooth_steps,
            lambda federation, given: entropy_dual(federation, given["tau"]),
            central=True,
            natural=False,
        ),
        Algorithm(
            "decentralised-fednpg",
            "agents on a graph, each with its costs as prices, that track the mean of their Q functions",
            {"graph": "ring", "graph_seed": 0, "tau": 0.0, **REWARD},
            decentralised_steps,
            lambda federation, given: decentralised_fednpg(
                federation,
                mixing_matrix(given["graph"], len(federation.agents), given["graph_seed"]),
                given["tau"],
            ),
            share=False,
            neighbours=lambda N, given: degrees(mixing_matrix(given["graph"], N, given["graph_seed"])),
            natural=False,
            whole={"graph_seed": 0},
            choices={"graph": GRAPHS},
        ),
        Algorithm(
            "policy-averaging",
            "agents in kernels of their own, their policies averaged; the reward alone",
            {"spread": 0.1, "kernel_seed": 0, **LOCAL, **MEAN, **REWARD},
            averaging_steps,
            lambda federation, given: policy_averaging(federation, given["spread"], given["kernel_seed"]),
            natural=False,
            sends=True,
            whole={"local_steps": 1, "kernel_seed": 0},
            acts=mean_kernel,
        ),
        Algorithm(
            "npg",
            "natural policy gradient on the reward alone",
            REWARD,
            npg_steps,
            lambda federation, _: npg_pd(federation),
            acts=reward_alone,
        ),
        Algorithm(
            "entropy-npg",
            "natural policy gradient on the reward with entropy",
            {"tau": 0.1, **REWARD},
            entropy_steps,
            lambda federation, given: entropy_npg(federation, given["tau"]),
            natural=False,
            acts=reward_alone,
        ),
        Algorithm(
            "mirror-descent",
            "policy mirror descent on the reward, steps growing geometrically",
            {"theta": None, **REWARD},
            mirror_steps,
            lambda federation, given: mirror_descent(federation, given["theta"]),
            natural=False,
            acts=reward_alone,
        ),
        Algorithm(
            "drpo",
            "offline: regularised to each client's data and to the global policy (DRPO)",
            {**drpo_choice.PARAMETERS, **DATA, **LOCAL, **MEAN, **DUAL},
            drpo_choice.drpo_steps,
            lambda federation, given: drpo(
                federation, clients_of(federation, given), drpo_choice.choice_of(given)
            ),
            choices=drpo_choice.CHOICES,
            sends=True,
            **OFFLINE,
        ),
        _baseline(
            "behaviour-cloning", "the clients' behaviours, averaged", {}, "behaviour_cloning", sends=True
        ),
        _baseline("fedavg-cql", "CQL steps, averaged", {"beta": 1.0, "cql": 1.0}, "fedavg_cql", sends=True),
        _baseline(
            "local-only",
            "each client's own regularised optimum, never sent",
            {"alpha": 1.0},
            "local_only",
            share=False,
        ),
        _baseline(
            "pooled-oracle",
            "the regularised optimum of everybody's data together",
            {"alpha": 1.0},
            "pooled_oracle",
        ),
        _baseline(
            "spibb",
            "best policies that follow the behaviour where data are few, averaged",
            {"least_count": 10},
            "spibb",
            sends=True,
        ),
        _baseline(
            "fedora",
            "DRPO's steps, averaged in favour of clients that do well",
            {"alpha": 1.0, "beta": 1.0, "temperature": 1.0},
            "fedora",
            sends=True,
        ),
    )
}
"""Every algorithm by its name."""
