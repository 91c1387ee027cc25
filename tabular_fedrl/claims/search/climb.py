r"""The sequence of points at which a search evaluates.

Restart after restart, each aimed at one claim in turn. A restart begins either afresh, from the best of a
pool of random, sparse and extreme instances of several structures, or (every second time a claim has its
turn) from the best point known for it, perhaps with another value of a whole-number parameter. It then climbs
by CMA-ES (Hansen; the package ``cma``) and polishes the best point: rows of P and policies to vertices,
signals to 0 and 1, then ever smaller exchanges of single coordinates.

Restart r draws from its own random stream, seeded by (seed, r), and depends on earlier ones only through the
best points: the sequence is the same for every budget, which only says where it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tabular_fedrl.claims.search.budget import Budget
from tabular_fedrl.claims.search.coding import Coding
from tabular_fedrl.claims.search.objective import Objective
from tabular_fedrl.claims.search.space import Space
from tabular_fedrl.measured import Array

POOL = {True: 64, False: 512}
"""Instances of a fresh restart's pool, with the page itself and with batches."""
STRUCTURES = 8
"""Structures among them."""
POPULATION = {True: 16, False: 32}
"""Points of a generation of CMA-ES (at least; it has its own idea for many coordinates)."""
CHUNK = {True: 8, False: 128}
"""Points evaluated together when polishing."""
SPREAD = {True: 0.25, False: 0.05}
"""Initial standard deviation of CMA-ES after a fresh start, and around a known point."""
GENERATIONS, PATIENCE = 200, 15
"""Generations of a climb at most, and without progress."""
PROGRESS = 1e-4
"""Relative improvement that counts as progress."""
SWEEPS = 3
"""Passes of the polish over all moves of one size, at most."""
STEPS = (0.1, 0.03, 0.01, 0.003, 0.001)
"""Sizes of the polish's exchanges."""
KEPT, SPACING = 32, 0.01
"""Improvements found by batches that are kept until the page has seen the best of them, and how far apart."""
OUTSIDE = 1e-3
"""Weight of the squared distance from the coordinates that mean something: it decides between equals."""


@dataclass(frozen=True)
class Point:
    """A point and the ratio of one claim there; ``evaluations``: how many had been made when it was found."""

    ratio: float
    coding: Coding
    x: Array
    evaluations: int


class Exhausted(Exception):
    """The budget is used up."""


@dataclass
class Climb:
    """A search under way.

    ``best``: for each claim the best point, evaluated by the page itself; ``restart``: the one under way;
    ``evaluations``: made so far; ``begun``: evaluations and best points when the restart began, from where a
    later run can go on.
    """

    objective: Objective
    space: Space
    seed: int
    budget: Budget
    best: dict[str, Point] = field(default_factory=dict)
    restart: int = 0
    evaluations: int = 0
    on_progress: Callable[[Climb], None] = lambda _: None
    begun: tuple[int, dict[str, Point]] = (0, {})
    pending: dict[str, list[Point]] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Climb until the budget is used up; ``best`` holds the answer, also after an interrupt."""
        try:
            while True:
                self.begun = (self.evaluations, dict(self.best))
                self._restart()
                self.settle()
                self.restart += 1
        except Exhausted:
            self.settle()

    def settle(self) -> None:
        """Evaluate by the page what the batches found: the best point, or, where the page does not agree
        that the claim applies to it, the one before it."""
        for name, points in self.pending.items():
            known = self.best[name].ratio if name in self.best else -np.inf
            for point in reversed(points):
                if point.ratio <= known or self._confirmed(point, name):
                    break
        self.pending = {}
        self.on_progress(self)

    def _confirmed(self, point: Point, name: str) -> bool:
        problems, parameters = point.coding.decode(point.x[None])
        row = self.objective.page(problems.problem(0), point.coding.parameters_of(parameters, 0))
        for claim, ratio in zip(self.objective.claims, row):
            if ratio > (self.best[claim.name].ratio if claim.name in self.best else -np.inf):
                self.best[claim.name] = replace(point, ratio=ratio)
        return row[[claim.name for claim in self.objective.claims].index(name)] > -np.inf

    def why(self) -> str:
        """Why the claims do not apply, by the page, on some instance."""
        rng = np.random.default_rng(self.seed)
        coding = self.space.draw(rng)
        problems, parameters = coding.decode(coding.random(rng, 1))
        self.objective.page(problems.problem(0), coding.parameters_of(parameters, 0))
        return self.objective.reason or "it applies to some; the budget was too small to find them"

    # ---- one restart ------------------------------------------------------------------------------------
    def _restart(self) -> None:
        rng = np.random.default_rng([self.seed, self.restart])
        claims = self.objective.claims
        target = claims[self.restart % len(claims)].name
        known = self.best.get(target)
        fresh = known is None or (self.restart // len(claims)) % 2 == 0
        point = self._pool(rng, target) if known is None or fresh else self._elsewhere(known, target)
        if point is None:
            return
        point = self._climb(rng, point, target, SPREAD[fresh])
        self._polish(rng, point, target)

    def _pool(self, rng: np.random.Generator, target: str) -> Point | None:
        """The best of a pool, None if no instance in it is of use."""
        best: Point | None = None
        size, useful = POOL[self._by_page], 0
        for _ in range(4 * STRUCTURES):
            coding = self.space.draw(rng)
            # A structure to which the claim does not apply costs one look.
            first = self._better(None, coding, coding.random(rng, size // STRUCTURES // 4), target)
            if first is not None:
                best = first if best is None or first.ratio > best.ratio else best
                more = coding.random(rng, size // STRUCTURES - size // STRUCTURES // 4)
                best = self._better(best, coding, more, target)
                useful += 1
            if useful == STRUCTURES:
                break
        return best

    def _elsewhere(self, known: Point, target: str) -> Point:
        """The known point, or the same one with another value of a parameter if that is better."""
        best: Point | None = known
        for coding in self.space.neighbours(known.coding):
            best = self._better(best, coding, known.x[None], target)
        return best or known

    def _climb(self, rng: np.random.Generator, point: Point, target: str, spread: float) -> Point:
        # Importing it takes most of a second (it brings matplotlib along).
        import cma

        coding = point.coding
        population = max(POPULATION[self._by_page], 4 + int(3 * np.log(coding.size)))
        options = {
            "popsize": population,
            "verbose": -9,
            "verb_log": 0,
            "seed": np.nan,
            "randn": lambda *shape: rng.standard_normal(shape),
        }
        strategy = cma.CMAEvolutionStrategy(point.x, spread, options)
        last, mark = 0, point.ratio
        for generation in range(GENERATIONS):
            asked = np.array(strategy.ask())
            X = coding.project(asked)
            column = self._column(coding, X, target)
            found = int(np.argmax(column))
            if column[found] > point.ratio:
                point = Point(float(column[found]), coding, X[found], self.evaluations)
            if point.ratio > mark + PROGRESS * abs(mark):
                last, mark = generation, point.ratio
            strategy.tell(asked, _fitness(column, ((asked - X) ** 2).sum(axis=1)))
            if generation - last >= PATIENCE or strategy.stop() or point.ratio == np.inf:
                break
        return point

    def _polish(self, rng: np.random.Generator, point: Point, target: str) -> None:
        """Single moves that help, until none does: to vertices and ends first, then smaller and smaller."""
        coding = point.coding
        for size in (None, *STEPS):
            moves: Sequence[Any] = coding.places if size is None else coding.exchanges
            chunk = CHUNK[self._by_page]
            for _ in range(SWEEPS):
                before = point.ratio
                order = rng.permutation(len(moves))
                for at in range(0, len(order), chunk):
                    some = [moves[i] for i in order[at : at + chunk]]
                    X = np.array([coding.moved(point.x, move, size) for move in some])
                    point = self._better(point, coding, coding.project(X), target) or point
                if not point.ratio > before + PROGRESS * abs(before):
                    break

    # ---- evaluation -------------------------------------------------------------------------------------
    @property
    def _by_page(self) -> bool:
        """Whether instances are evaluated one at a time."""
        return not hasattr(self.objective.theorem, "batch")

    def _better(self, best: Point | None, coding: Coding, X: Array, target: str) -> Point | None:
        column = self._column(coding, X, target)
        i = int(np.argmax(column))
        if column[i] > (best.ratio if best else -np.inf):
            return Point(float(column[i]), coding, X[i], self.evaluations)
        return best

    def _column(self, coding: Coding, X: Array, target: str) -> Array:
        """Ratios of the target at projected coordinates; those of all claims are noted on the way."""
        left = self.budget.left(self.evaluations, time.monotonic() - self.start)
        if left <= 0:
            raise Exhausted
        ratios, by_page = self.objective.ratios(coding, X[:left], target)
        self._note(coding, X, ratios, by_page)
        self.evaluations += len(ratios)
        self.on_progress(self)
        if len(ratios) < len(X):
            raise Exhausted
        names = [claim.name for claim in self.objective.claims]
        return ratios[:, names.index(target)]

    def _note(self, coding: Coding, X: Array, ratios: Array, by_page: bool) -> None:
        """Keep the best points; those of batches until the page has seen them."""
        for k, claim in enumerate(self.objective.claims):
            i, name = int(np.argmax(ratios[:, k])), claim.name
            point = Point(float(ratios[i, k]), coding, X[i], self.evaluations + i + 1)
            if by_page:
                if point.ratio > (self.best[name].ratio if name in self.best else -np.inf):
                    self.best[name] = point
            else:
                earlier = self.pending.setdefault(name, [])
                if point.ratio > (earlier[-1].ratio if earlier else -np.inf):
                    # Spread out, so that some stand clear of a border that all the last ones crowd.
                    close = len(earlier) > 1 and point.ratio < earlier[-2].ratio + SPACING * abs(point.ratio)
                    self.pending[name] = [*(earlier[:-1] if close else earlier[1 - KEPT :]), point]


def _fitness(column: Array, outside: Array) -> Array:
    """What CMA-ES minimises: only its order counts."""
    usable = column[np.isfinite(column)]
    scale = float(np.abs(usable).max(initial=0.0)) or 1.0
    loss = np.where(np.isfinite(column), -column / scale, np.where(column > 0, -1e6, 1e6))
    return np.asarray(loss + OUTSIDE * outside)
