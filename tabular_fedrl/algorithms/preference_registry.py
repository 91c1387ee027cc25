"""The methods that learn from preferences, by name: their parameters, steps, memory, rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tabular_fedrl.algorithms.fedavg_s2zpo import fedavg_s2zpo
from tabular_fedrl.algorithms.par_s2zpo import par_s2zpo
from tabular_fedrl.algorithms.preference_feedback import Feedback, PreferenceRound
from tabular_fedrl.algorithms.zpg import zbcpg, zpg
from tabular_fedrl.algorithms.zspo import DIRECTIONS, zspo
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.preferences import TIES, comparison_of, link_of

Values = Mapping[str, Any]

LINKS = ("linear", "clipped", "logistic", "weibull")

PARAMETERS: dict[str, Any] = {
    "agents": 1,
    "mu": 0.1,
    "step": None,
    "stationary": False,
    "link": "logistic",
    "scale": None,
    "people": 1,
    "panel_ties": "fair",
    "batch": 1,
    "questions": 1,
    "ties": "fair",
}
"""Of all methods. ``step`` None: :math:`\\alpha_t = c/\\sqrt t`, c as each method's theory has it; ``scale``
None: that of the link is twice the largest difference of returns. ``stationary``: logits shared by all
steps."""


@dataclass(frozen=True)
class PreferenceAlgorithm:
    """One method.

    parameters: name -> default. rounds: from the feedback, the logits, the random stream, the ledger and the
    parameters. step_scale: c, from d, H and K. memory: numbers that an agent keeps beside its policy, from d
    and K. choices: parameters that are one of a few words.
    """

    name: str
    summary: str
    parameters: Values
    rounds: Callable[..., Iterator[PreferenceRound]]
    step_scale: Callable[[int, int, int], float]
    memory: Callable[[int, int], int]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def feedback(self, mdp: EpisodicMDP, given: Values) -> Feedback:
        """Who learns from whom, from the parameters."""
        names = ("link", "scale", "people", "panel_ties", "batch", "questions", "ties")
        d = mdp.S * mdp.A * (1 if given["stationary"] else mdp.H)
        return Feedback(
            mdp,
            comparison_of(mdp, **{name: given[name] for name in names}),
            agents=given["agents"],
            mu=given["mu"],
            step=given["step"],
            scale=self.step_scale(d, mdp.H, given["agents"]),
            sampled=given.get("sampled", False),
        )


def _signs(
    name: str,
    summary: str,
    rounds: Callable[..., Iterator[PreferenceRound]],
    averaged: bool,
    memory: Callable[[int, int], int],
    **own: tuple[str, ...],
) -> PreferenceAlgorithm:
    """A method that learns signs: votes exact or ``sampled``; ``own``: words of its parameters, the first the
    default."""
    words = {"link": LINKS, "panel_ties": TIES, "ties": TIES, **own}
    return PreferenceAlgorithm(
        name,
        summary,
        {**PARAMETERS, "sampled": False, **{key: options[0] for key, options in own.items()}},
        rounds,
        lambda d, H, K: (H * (K if averaged else 1) / d) ** 0.5,
        memory,
        words,
    )


def _inverting(
    name: str,
    summary: str,
    rounds: Callable[..., Iterator[PreferenceRound]],
    memory: Callable[[int, int], int],
) -> PreferenceAlgorithm:
    """A method that inverts the link it believes in, of the same scale as the true one."""

    def believing(feedback: Feedback, theta: Any, rng: Any, ledger: Any, given: Values) -> Any:
        believed = given["believed"]
        same = comparison_of(feedback.mdp, given["link"], given["scale"]).panel.link
        link = same if believed == "true" else _like(feedback.mdp, believed, given["scale"])
        return rounds(feedback, theta, rng, ledger, link)

    words = {"link": LINKS, "panel_ties": TIES, "ties": TIES, "believed": ("true", *LINKS)}
    return PreferenceAlgorithm(
        name,
        summary,
        {**PARAMETERS, "people": 9, "believed": "true"},
        believing,
        lambda d, H, K: H**0.5 / d,
        memory,
        words,
    )


def _like(mdp: EpisodicMDP, name: str, scale: float | None) -> Any:
    return link_of(name, scale) if scale is not None else comparison_of(mdp, name).panel.link


PREFERENCE_ALGORITHMS: dict[str, PreferenceAlgorithm] = {
    a.name: a
    for a in (
        _signs(
            "par-s2zpo",
            "preferences: signs of perturbed blocks, one for each agent (Par-S2ZPO)",
            lambda f, theta, rng, ledger, _: par_s2zpo(f, theta, rng, ledger),
            False,
            lambda d, K: d // K,
        ),
        _signs(
            "fedavg-s2zpo",
            "preferences: signs of whole perturbations, averaged",
            lambda f, theta, rng, ledger, _: fedavg_s2zpo(f, theta, rng, ledger),
            True,
            lambda d, _: d,
        ),
        _signs(
            "shared-seed-s2zpo",
            "preferences: the same with perturbations regenerated from shared seeds",
            lambda f, theta, rng, ledger, _: partial(fedavg_s2zpo, shared_seeds=True)(f, theta, rng, ledger),
            True,
            lambda d, _: d,
        ),
        _signs(
            "zspo",
            "preferences: one agent, signs of Gaussian perturbations or from the sphere (ZSPO)",
            lambda f, theta, rng, ledger, given: zspo(f, theta, rng, ledger, given["directions"]),
            False,
            lambda d, _: d,
            directions=DIRECTIONS,
        ),
        _inverting(
            "zpg",
            "preferences: one agent, differences of values by a link believed, on the sphere (ZPG)",
            zpg,
            lambda d, _: d,
        ),
        _inverting(
            "zbcpg",
            "preferences: the same on one of so many blocks in a round (ZBCPG)",
            zbcpg,
            lambda d, K: d // K,
        ),
    )
}
"""Every method that learns from preferences by its name."""
