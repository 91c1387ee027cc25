"""What is measured: the rows of the comparison, and the series of growing problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tabular_fedrl.loops.variants import SINGLE

UNCONSTRAINED = ("quantecon-mpi", "quantecon-pi", "mdpsolver", "storm")
QUICKEST = "quantecon-mpi"
"""The one that a million states do not keep from ending in time."""

PROGRAMS = ("lp-highs", "lp-clarabel", "lp-scs", "storm-multi")
STRONGEST = ("lp-clarabel", "storm-multi")
"""The programs that get furthest; the others do not end in time where these are asked alone."""

SOLVERS = ("scipy-splu", "scipy-bicgstab")

RELATIVES = (*(name for name in SINGLE if name != "fednpg"), "drpo")
"""Algorithms with compiled loops, beside FedNPG."""

SLOW = {name: {"rounds": 20} for name in ("sampled-fednpg", "fedppo", "pmd-pd", "entropy-dual")}
"""Fewer rounds of a batch where one round is long: a batch of them ends well within a call's limit."""


@dataclass(frozen=True)
class Row:
    """One problem (a SOURCE) and who solves it; ``methods``: names of
    :data:`benchmarks.contenders.ENTRIES`, ours first; ``tolerance``: the error, in units of value, up to
    which an answer counts as one; ``settings``: keywords for every method's preparation."""

    job: str
    problem: str
    methods: tuple[str, ...]
    tolerance: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The problem and the settings, if there are any."""
        return " ".join([self.problem, *(f"{name}={value}" for name, value in self.settings.items())])

    @property
    def name(self) -> str:
        return f"{self.job}/{self.title}"


@dataclass(frozen=True)
class Series:
    """A job whose problem grows in one ``parameter``: ``problem`` holds ``{x}`` where it stands, or the
    preparation's keyword ``setting`` does; ``settings``: its other keywords."""

    title: str
    job: str
    parameter: str
    problem: str
    values: tuple[int, ...]
    setting: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"growth/{self.parameter}/{self.title}"

    def row(self, x: int) -> Row:
        settings = {**self.settings, **({self.setting: x} if self.setting else {})}
        return Row(self.job, self.problem.format(x=x), (self.job,), None, settings)


def garnet(S: int | str, m: int | str = 0, A: int | str = 5) -> str:
    """Successors anywhere: no order of the states makes neighbours near."""
    return f"garnet:S={S},A={A},b=5,m={m},seed=1,gamma=0.99,sparse=true"


def ring(S: int | str, m: int | str = 0, A: int | str = 5) -> str:
    """Successors near by on a circle: it mixes slowly."""
    return f"ring:S={S},A={A},b=5,m={m},seed=1,gamma=0.99"


def grid(side: int | str, m: int | str = 0, A: int | str = 5) -> str:
    """Successors near by in the plane."""
    return f"grid:rows={side},columns={side},A={A},b=5,m={m},seed=1,gamma=0.99"


def small(S: int | str = 20, A: int | str = 5, m: int | str = 4, agents: int | str = 4) -> str:
    """What a theorist iterates on, dense."""
    return f"garnet:S={S},A={A},b=5,m={m},seed=1,agents={agents}"


def rows(full: bool) -> list[Row]:
    """The comparison; ``full`` adds the sizes that take minutes."""
    sizes = [(1000, 32), (10_000, 100), *([(100_000, 316)] if full else [])]
    families = [family for S, side in sizes for family in (garnet(S), ring(S), grid(side))]
    optimum = [
        Row("optimum", problem, ("optimum", "optimum-one-thread", *UNCONSTRAINED), 1e-8)
        for problem in families
    ]
    if full:
        optimum += [Row("optimum", garnet(1_000_000), ("optimum", "optimum-one-thread", QUICKEST), 1e-8)]
    evaluation = [
        Row("evaluation", problem, ("evaluation", "evaluation-values", *SOLVERS), 1e-8)
        for problem in families
    ]
    given = [garnet(1000, 1), ring(1000, 1), garnet(1000, 5), garnet(10_000, 1), ring(10_000, 1)]
    hard = [grid(100, 1), garnet(10_000, 10), ring(10_000, 10), grid(100, 10)]
    hard += [garnet(100_000, 1), ring(100_000, 1), grid(316, 1)]
    constrained = [Row("constrained", problem, ("constrained", *PROGRAMS), 1e-6) for problem in given]
    if full:
        constrained += [Row("constrained", problem, ("constrained", *STRONGEST), 1e-6) for problem in hard]
    relatives = RELATIVES if full else ("npg-pd", "drpo")
    return [
        *optimum,
        *evaluation,
        *constrained,
        # A short run, which pays for a call, and a long one.
        Row("rounds", small(), ("rounds", "rounds-numpy"), 1e-10),
        Row("rounds", small(), ("rounds", "rounds-numpy"), 1e-10, {"rounds": 3000}),
        Row("batch", small(), ("batch", "rounds-numpy"), 1e-10),
        Row(
            "batch", small(m=2, agents=3), ("batch", "rounds-numpy"), 1e-10, {"local_steps": 5, "rounds": 60}
        ),
        *(Row("rounds", small(), ("rounds", "rounds-numpy"), 1e-10, {"algorithm": x}) for x in relatives),
        *(
            Row("rounds", small(), ("rounds", "rounds-numpy"), 1e-10, {"algorithm": x, "rounds": 3000})
            for x in relatives
            if x not in SLOW
        ),
        *(
            Row("batch", small(), ("batch", "rounds-numpy"), 1e-10, {"algorithm": x, **SLOW.get(x, {})})
            for x in relatives
        ),
        Row("verification", "random-mdp:seed=1", ("verification", "verification-run")),
        Row("verification", small(), ("verification", "verification-run")),
    ]


def series() -> list[Series]:
    """Cost against S, A, m, N and E, one at a time."""
    states = (1000, 3000, 10_000, 30_000, 100_000)
    actions = (2, 4, 8, 16, 32)
    doubling = (1, 2, 4, 8, 16)

    def iterated(
        parameter: str, problem: str, values: tuple[int, ...], rounds: int, setting: str | None = None
    ) -> Series:
        # So many rounds that what comes before them does not count.
        settings = {"rounds": rounds, "every": rounds}
        return Series("FedNPG rounds, dense", "rounds", parameter, problem, values, setting, settings)

    return [
        Series("optimum, garnet", "optimum", "S", garnet("{x}"), states),
        Series("optimum, ring", "optimum", "S", ring("{x}"), states),
        Series("CMDP optimum, garnet", "constrained", "S", garnet("{x}", 1), states),
        Series("CMDP optimum, ring", "constrained", "S", ring("{x}", 1), states),
        Series(
            "FedNPG rounds, sparse",
            "rounds",
            "S",
            garnet("{x}", 2),
            states,
            settings={"rounds": 10, "every": 10},
        ),
        iterated("S", small(S="{x}"), (8, 16, 32, 64), 3000),
        Series("optimum, garnet", "optimum", "A", garnet(10_000, A="{x}"), actions),
        Series("CMDP optimum, garnet", "constrained", "A", garnet(10_000, 1, A="{x}"), actions),
        iterated("A", small(A="{x}"), actions, 3000),
        Series("CMDP optimum, garnet", "constrained", "m", garnet(10_000, "{x}"), (1, 2, 4, 8, 10)),
        iterated("m", small(m="{x}"), doubling, 3000),
        iterated("N", small(agents="{x}"), doubling, 3000),
        # The first local step uses the server's evaluation: cost is affine in E, straight only for large E.
        iterated("E", small(), (4, 8, 16, 32, 64), 300, setting="local_steps"),
    ]
