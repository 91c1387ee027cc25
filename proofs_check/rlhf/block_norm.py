r"""The block norm in which the rate of Par-S2ZPO is stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofs_check.rlhf.landscape import points, policies
from tabular_fedrl.algorithms.preference_feedback import blocks
from tabular_fedrl.claims import Case, Theorem, control, tight
from tabular_fedrl.episodic import EpisodicMDP, gradient
from tabular_fedrl.measured import Array, Measured

ONE_BLOCK = Case("episodic-bandit:A=2", agents=1)
EQUAL_BLOCKS = Case("episodic-bandit:A=2", agents=2)


@dataclass(frozen=True)
class Blocks:
    """Vectors ``v (n, H, S, A)`` and indicators ``own (K, H, S, A)`` of K blocks."""

    v: Any
    own: Array

    @property
    def norm(self) -> Any:
        r""":math:`\|v\|_2`, ``(n,)``"""
        return (self.v * self.v).sum((-3, -2, -1)).sqrt()

    @property
    def block_norm(self) -> Any:
        r""":math:`\|v\|_{PK}`, ``(n,)``"""
        squares = (self.v * self.v)[:, None] * self.own
        return squares.sum((-3, -2, -1)).sqrt().sum(-1)

    @property
    def K(self) -> int:
        return len(self.own)


class BlockNorm(Theorem):
    r"""The block norm lies between the Euclidean norm and the root of the number of blocks times it.

    **Statement.** For disjoint blocks :math:`I_1, \ldots, I_K` that cover all coordinates and
    :math:`\|v\|_{PK} = \sum_k \|v \circ e_{I_k}\|_2`,

    .. math:: \|v\|_2 \le \|v\|_{PK} \le \sqrt K\, \|v\|_2 .

    Checked for gradients of V at ``count`` random logits. The left side is attained where v lives on one
    block, the right one where all blocks are equally long, as the two arms of a bandit are.

    **Proof.** The squares of the blocks' norms add up to :math:`\|v\|_2^2`; the square of a sum of K
    non-negative numbers is at least the sum of their squares and, by the inequality of Cauchy and Schwarz, at
    most K times that.

    **Source.** Wang, Zhang, Ying (2026).
    """

    id = "rlhf.block-norm"
    mark = "paper"
    source = "Wang, Zhang, Ying 2026"
    problem_type = EpisodicMDP
    suite = (
        ONE_BLOCK,
        EQUAL_BLOCKS,
        Case("episodic-bandit:A=6", agents=3),
        Case("episodic-chain:H=4", agents=4),
        Case("episodic-tree:H=3", agents=6),
        Case("episodic-garnet:S=3,A=2,H=4", agents=8),
        Case("episodic-garnet:S=5,A=4,H=6,b=3", agents=20),
    )
    certified = (EQUAL_BLOCKS, Case("episodic-garnet:S=3,A=2,H=4", agents=8, count=2))
    small = {"count": 2, "agents": None}

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int | None = 2,
        count: int = 10,
        spread: float = 1.0,
        seed: int = 0,
    ) -> Blocks:
        """``agents`` None: a block for each state at each step."""
        K = problem.H * problem.S if agents is None else agents
        slopes = gradient(problem, policies(points(problem, count, spread, seed)))
        return Blocks(slopes, blocks(slopes.shape[1:], K))

    @tight(r"\|v\|_2 \le \|v\|_{PK}", attained=ONE_BLOCK)
    def at_least(self, x: Blocks) -> tuple[Measured, Measured]:
        return x.norm, x.block_norm

    @tight(r"\|v\|_{PK} \le \sqrt K\,\|v\|_2", attained=EQUAL_BLOCKS)
    def at_most(self, x: Blocks) -> tuple[Measured, Measured]:
        return x.block_norm, x.norm * Measured(float(x.K)).sqrt()

    @control("the root of K cannot be left out", EQUAL_BLOCKS)
    def without_the_root(self, x: Blocks) -> tuple[Measured, Measured]:
        return x.block_norm, x.norm

    @control("the blocks must be disjoint: two agents who both own everything", EQUAL_BLOCKS)
    def overlapping(self, x: Blocks) -> tuple[Measured, Measured]:
        both = Blocks(x.v, x.own * 0.0 + 1.0)
        return both.block_norm, both.norm * Measured(float(both.K)).sqrt()

    @control("nor may a block be left out", EQUAL_BLOCKS)
    def uncovered(self, x: Blocks) -> tuple[Measured, Measured]:
        return x.norm, Blocks(x.v, x.own[:1]).block_norm
