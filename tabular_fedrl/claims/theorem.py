r"""A theorem is a page: its statement, hypotheses, both sides of each claim, and the chain of its proof.

.. code-block:: python

    class MyBound(Theorem):
        r"\"\"The averaged gap of FedNPG is at most 7/((1-gamma)^2 sqrt T).\"\""
        id, mark = "mine.gap", "ours"

        @hypothesis("some policy is strictly feasible")
        def slater(self, problem):
            return solve(problem.cmdp).slater_slack > 0

        def setup(self, problem, rounds=200):
            return run("fednpg", problem, rounds=rounds)

        @upper(r"V_r^\star - \bar V_r \le 7/((1-\gamma)^2 \sqrt T)")
        def gap(self, x):
            return x.gap, 7 / ((1 - x.problem.cmdp.gamma) ** 2 * x.rounds**0.5)

``setup`` runs whatever the claims talk about; its keyword parameters are the theorem's free parameters. Each
claim receives what ``setup`` returned and gives back ``(lhs, rhs)`` or ``(lhs, rhs, trivial range of lhs)``:
floats, arrays or :class:`~tabular_fedrl.measured.Measured` enclosures (arrays: the claim is made for every
entry).

The worst-case search (:mod:`tabular_fedrl.claims.search`) varies the instance, and the free parameters that
``space`` names; ``family`` says among which instances it looks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from tabular_fedrl.claims.verdict import Kind, Mark
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.instances import Problem
from tabular_fedrl.measured import Array

Method = Callable[..., Any]
Rows = Sequence[Sequence[float]]
"""A free parameter that is a table ``(S, A)``, as nested lists, so that it can be written to a file."""


class Table(StrEnum):
    """What a table ``(S, A)`` among the free parameters holds."""

    POLICY = "policy"
    """every row is a law on the actions"""
    SIGNAL = "signal"
    """entries in [0, 1]"""


Range = tuple[int, int] | tuple[float, float] | list[Any] | Table
"""What the search may set a free parameter to: a pair of whole numbers or of reals, both ends included (on a
logarithmic scale where the lower one is positive), a list to choose from, or a table. A choice may be such a
pair of reals: ``[None, (1e-3, 1.0)]``."""

TOLERANCE = 1e-9
"""Default tolerance of identities, relative to ``max(1, |lhs|, |rhs|)``."""
LINK_TOLERANCE = 1e-8
"""The same for the links of a proof, which may be equalities."""


class Case:
    """An instance with values for the theorem's free parameters.

    ``source``: a SOURCE (see ``tabular_fedrl.instances``) or a problem.
    """

    def __init__(self, source: str | Problem, **parameters: Any) -> None:
        self.source = source
        self.parameters = parameters

    @property
    def instance(self) -> str:
        """The SOURCE, or a short name made from the problem's content."""
        if isinstance(self.source, str):
            return self.source
        if isinstance(self.source, CMDP | FederatedCMDP):
            cmdp = self.source.cmdp if isinstance(self.source, FederatedCMDP) else self.source
            return f"cmdp-{cmdp.digest[:8]}"
        return f"episodic-{self.source.digest[:8]}"

    @property
    def label(self) -> str:
        """The instance and the parameters, for ids and tables."""
        settings = ",".join(f"{k}={_shown(v)}" for k, v in self.parameters.items())
        return f"{self.instance};{settings}" if settings else self.instance

    def __repr__(self) -> str:
        return f"Case({self.label})"


@dataclass(frozen=True)
class Claim:
    """An inequality or identity of a theorem; ``function(theorem, x)`` gives its sides.

    ``constant``: the leading constant of the right side, if the statement has one that the search may compare
    with.
    """

    name: str
    kind: Kind
    statement: str
    function: Method
    tolerance: float = TOLERANCE
    confidence: float | None = None
    attained: Case | None = None
    constant: float | None = None


@dataclass(frozen=True)
class Control:
    """A statement that must fail on ``case``: what is wrong with it, or which hypothesis it drops."""

    name: str
    kind: Kind
    shows: str
    case: Case
    function: Method
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Hypothesis:
    """A condition, ``function(theorem, problem, **parameters) -> bool``; ``only`` names the claims that
    need it (empty: all)."""

    name: str
    text: str
    function: Method
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """The chain of a proof: ``function(theorem, x)`` yields ``(reason, value)``, values not decreasing."""

    name: str
    of: str
    function: Method


@dataclass(frozen=True)
class Study:
    """Data of a figure: ``function(theorem)`` returns a :class:`StudyData`."""

    name: str
    plot: str
    function: Method


@dataclass(frozen=True)
class StudyData:
    """Arrays of a figure and the numbers worth a line in the report.

    The report shows ``summary["slopes"]`` and ``summary["tables"]`` (each with ``title``, ``head`` and
    ``rows``) as tables.
    """

    arrays: dict[str, Array | np.ndarray[Any, Any]]
    summary: dict[str, Any] = field(default_factory=dict)


def _claim(kind: Kind) -> Callable[..., Callable[[Method], Claim]]:
    def decorator(
        statement: str,
        *,
        tolerance: float = TOLERANCE,
        confidence: float | None = None,
        attained: Case | None = None,
        constant: float | None = None,
    ) -> Callable[[Method], Claim]:
        def mark(function: Method) -> Claim:
            name = function.__name__
            return Claim(name, kind, statement, function, tolerance, confidence, attained, constant)

        return mark

    decorator.__doc__ = f"Decorator: a method giving the sides of {kind.value!r} claim ``statement`` (LaTeX)."
    return decorator


identity = _claim(Kind.IDENTITY)
tight = _claim(Kind.TIGHT)
upper = _claim(Kind.UPPER)
conjecture = _claim(Kind.CONJECTURE)


def control(
    shows: str, on: Case, *, kind: Kind = Kind.UPPER, tolerance: float = TOLERANCE
) -> Callable[[Method], Control]:
    """Decorator: a method giving the sides of a statement that must fail on the case ``on``."""
    return lambda function: Control(function.__name__, kind, shows, on, function, tolerance)


def hypothesis(text: str, *, only: Sequence[str] = ()) -> Callable[[Method], Hypothesis]:
    """Decorator: a predicate on the problem (and on any of ``setup``'s parameters it names)."""
    return lambda function: Hypothesis(function.__name__, text, function, tuple(only))


def chain(of: str) -> Callable[[Method], Chain]:
    """Decorator: the chain of inequalities that proves the claim ``of``."""
    return lambda function: Chain(function.__name__, of, function)


def study(plot: str) -> Callable[[Method], Study]:
    """Decorator: a method computing the data of a figure; ``plot`` is a name in ``tabular_fedrl.plots``."""
    return lambda function: Study(function.__name__, plot, function)


class Theorem:
    """Base class. Subclasses set ``id`` and ``mark`` and, if they like, ``source`` and ``suite``."""

    id: ClassVar[str]
    mark: ClassVar[Mark | str]
    source: ClassVar[str] = ""
    """Where the statement comes from."""
    about: ClassVar[str] = ""
    """The algorithm of whose run with the theory's steps its claims ``gap`` and ``violation`` speak, if any:
    their right sides are drawn beside its curves."""
    rescaled: ClassVar[bool] = False
    """Whether its claims speak of values of the problem rescaled to rewards and costs in [0, 1]."""
    suite: ClassVar[Iterable[Case]] = (
        Case("random-mdp:seed=1"),
        Case("textbook:three-state"),
        Case("windy-cliff:ncost=2"),
    )
    """The cases of the default verification."""
    certified: ClassVar[Iterable[Case]] = ()
    """Cases that the default verification decides in exact rationals and balls: small ones."""
    problem_type: ClassVar[type[FederatedCMDP | FederatedEpisodicMDP | EpisodicMDP]] = FederatedCMDP
    """What ``setup`` and the hypotheses are given; where a problem is of another type no claim applies. A
    source of a single environment may be taken as an EpisodicMDP or as a federation of one."""
    small: ClassVar[dict[str, Any] | None] = {}
    """Parameters for many tiny random problems (property-based items); None: fixed instances only."""
    space: ClassVar[Mapping[str, Range]] = {}
    """Free parameters that the worst-case search varies, and where."""
    family: ClassVar[str] = "cmdp:S=1..3,A=2..3,m=1,N=1,gamma=0..0.95"
    """The instances among which it looks unless told otherwise (see ``tabular_fedrl.claims.search``)."""
    effort: ClassVar[int] = 0
    """Evaluations of the search in the default verification; 0: none."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "id" in cls.__dict__:
            cls.mark = Mark(cls.mark)
            if not all(isinstance(case, Case) for case in (*cls.suite, *cls.certified)):
                raise TypeError(f"{cls.id}: suite and certified hold cases, as in suite = (Case(SOURCE),)")

    def setup(self, problem: Any) -> Any:
        """What the claims talk about; by default the problem itself, of ``problem_type``."""
        return problem

    # ---- the parts of the page, in the order they are written --------------------------------------------
    @classmethod
    def _parts(cls, sort: type) -> list[Any]:
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, sort):
                    found[name] = value
                else:
                    found.pop(name, None)
        return list(found.values())

    @classmethod
    def claims(cls) -> list[Claim]:
        return cls._parts(Claim)

    @classmethod
    def controls(cls) -> list[Control]:
        return cls._parts(Control)

    @classmethod
    def hypotheses(cls) -> list[Hypothesis]:
        return cls._parts(Hypothesis)

    @classmethod
    def chains(cls) -> list[Chain]:
        return cls._parts(Chain)

    @classmethod
    def studies(cls) -> list[Study]:
        return cls._parts(Study)

    @classmethod
    def title(cls) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(cls) or cls.__name__).splitlines()[0].rstrip(".")

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """Free parameters with their defaults, read from ``setup``'s signature."""
        signature = list(inspect.signature(cls.setup).parameters.values())[2:]
        return {p.name: p.default for p in signature}


def _shown(value: Any) -> str:
    """A parameter in a label: tables by their shape."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return f"<{len(value)}x{len(value[0])}>"
    return str(value)
