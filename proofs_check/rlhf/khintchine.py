r"""Khintchine's inequality, Lemma 4 of Par-S2ZPO: the constant of the paper and the best one."""

from __future__ import annotations

from collections.abc import Iterator

from proofs_check.rlhf.gradients import Vectors
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, identity, tight, upper
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.measured import Measured

TWO_EQUAL = Case("episodic-bandit:A=2", size=2)
SINGLE = Case("episodic-bandit:A=2", size=1)
SUITE = (
    TWO_EQUAL,
    SINGLE,
    Case("episodic-bandit:A=8"),
    Case("episodic-chain:H=3"),
    Case("episodic-tree:H=2", size=12),
    Case("episodic-garnet:S=3,A=3,H=2", size=11),
    Case("episodic-garnet:S=2,A=2,H=3", size=9, spread=4.0),
)
CERTIFIED = (TWO_EQUAL, Case("episodic-garnet:S=3,A=3,H=2", size=5, count=2))


class Khintchine(Theorem):
    r"""The mean size of a sum with random signs is about the Euclidean norm (Lemma 4).

    **Statement.** For independent uniform signs :math:`v_i` and every vector a,

    .. math:: \tfrac{1}{\sqrt 3} \|a\|_2 \le E\Big|\sum_i a_i v_i\Big| \le \|a\|_2 .

    Checked for the first ``size`` coordinates of gradients of V at ``count`` random logits, all sign vectors
    enumerated. The right side is attained where a has a single entry.

    **Proof.** Let :math:`X = \sum_i a_i v_i`. Then :math:`E X^2 = \|a\|_2^2` and
    :math:`E X^4 = 3 \|a\|_2^4 - 2 \sum_i a_i^4 \le 3 (E X^2)^2`. On the right, Jensen's inequality. On the
    left, Hölder's inequality :math:`E X^2 = E |X|^{2/3} |X|^{4/3} \le (E|X|)^{2/3} (E X^4)^{1/3}`.

    **Source.** Wang, Zhang, Ying (2026), lemma 4.
    """

    id = "rlhf.khintchine"
    mark = "paper"
    source = "Wang, Zhang, Ying 2026, lemma 4"
    problem_type = EpisodicMDP
    suite = SUITE
    certified = CERTIFIED
    small = {"count": 2, "size": 6}

    def setup(
        self, problem: EpisodicMDP, size: int = 8, count: int = 6, spread: float = 1.0, seed: int = 0
    ) -> Vectors:
        return Vectors.of(problem, size, count, spread, seed)

    @upper(r"\|a\|_2/\sqrt 3 \le E|\sum_i a_i v_i|")
    def at_least(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.norm / Measured(3.0).sqrt(), x.moment(1)

    @tight(r"E|\sum_i a_i v_i| \le \|a\|_2", attained=SINGLE)
    def at_most(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.moment(1), x.norm

    @identity(r"E(\sum_i a_i v_i)^4 = 3\|a\|_2^4 - 2\sum_i a_i^4")
    def fourth_moment(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.moment(4), _fourth(x)

    @chain("at_least")
    def proof(self, x: Vectors) -> Iterator[tuple[str, Measured]]:
        yield "the left side", x.norm / Measured(3.0).sqrt()
        yield "the fourth moment is at most three times the squared second", x.norm**3 / _fourth(x).sqrt()
        yield "Hölder's inequality", x.moment(1)

    @control("the constant cannot be 3/4: two equal coordinates", TWO_EQUAL)
    def three_quarters(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.norm * 0.75, x.moment(1)

    @control("nor is the mean size smaller than the norm by any factor: a single coordinate", SINGLE)
    def smaller(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.moment(1), x.norm * 0.99

    @control(
        "the fourth powers of the entries count: signs are no Gaussian variables",
        TWO_EQUAL,
        kind=Kind.IDENTITY,
    )
    def gaussian(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.moment(4), x.norm**4 * 3.0


def _fourth(x: Vectors) -> Measured:
    return x.norm**4 * 3.0 - (x.a**4).sum(-1) * 2.0


class BestKhintchine(Theorem):
    r"""The best constant of Khintchine's inequality is the root of one half.

    **Statement.** :math:`\|a\|_2/\sqrt 2 \le E|\sum_i a_i v_i|`, attained by two equal entries.

    It would improve Lemma 2 of Par-S2ZPO and with it the first term of the rate. Checked as
    ``rlhf.khintchine`` is.

    **Source.** Szarek (1976); recalled, not proved here.
    """

    id = "rlhf.khintchine-best"
    mark = "recalled"
    source = "Szarek 1976"
    problem_type = EpisodicMDP
    suite = SUITE
    certified = CERTIFIED
    small = {"count": 2, "size": 6}

    def setup(
        self, problem: EpisodicMDP, size: int = 8, count: int = 6, spread: float = 1.0, seed: int = 0
    ) -> Vectors:
        return Vectors.of(problem, size, count, spread, seed)

    @tight(r"\|a\|_2/\sqrt 2 \le E|\sum_i a_i v_i|", attained=TWO_EQUAL)
    def at_least(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.norm / Measured(2.0).sqrt(), x.moment(1)

    @control("no larger constant will do", TWO_EQUAL)
    def larger(self, x: Vectors) -> tuple[Measured, Measured]:
        return x.norm * 0.708, x.moment(1)
