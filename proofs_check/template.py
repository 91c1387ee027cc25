r"""A page to copy: a small theorem with every part a page can have.

Copy this file, change class and id, and run ``tabular-fedrl verify my_theorem.py`` or
``pytest my_theorem.py``.
"""

from collections.abc import Iterator

from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import Run, run


class Template(Theorem):
    r"""FedNPG that ignores all costs improves the reward in every round.

    **Statement.** With E = 1 and :math:`\lambda = 0`, :math:`V_r(\bar\pi_k) \le V_r(\bar\pi_{k+1})`, and the
    last policy is ahead of the average by no more than it is ahead of the first.

    **Proof.** All agents take the same step from the same policy, so the mean changes nothing, and a
    natural-gradient step is monotone (L2).
    """  # The first line is the title in tables and reports; the rest is the page.

    id, mark = "mine.template", "ours"  # marks: "paper", "code", "ours", "recalled"
    source = "where the statement comes from"
    # problem_type = EpisodicMDP would make it a theorem about finite-horizon problems.
    # Instances (any SOURCE, or a CMDP), each with values for parameters of setup.
    suite = (Case("random-mdp:seed=1"), Case("gym:FrozenLake-v1", rounds=50, eta=0.01))
    # Parameters for tiny random problems, drawn by pytest; None: the theorem is about fixed instances.
    small = {"rounds": 5}
    # What `tabular-fedrl search my_theorem.py` varies besides the instance, and among which it looks.
    space = {"rounds": (2, 20), "eta": (1e-3, 10.0)}
    family = "cmdp:S=1..2,A=2,m=0,N=1,gamma=0..0.9"

    @hypothesis("a positive step")  # a predicate; only=["claim"] would restrict it to some claims
    def positive(self, problem: FederatedCMDP, eta: float) -> bool:
        return eta > 0

    def setup(self, problem: FederatedCMDP, rounds: int = 20, eta: float = 0.1) -> Run:
        """Runs what the claims talk about; they receive the result as x."""
        return run("fednpg", problem, rounds=rounds, eta=eta, dual_cap=0.0, compare=False)

    # Kinds: identity, tight (may hold with equality), upper, conjecture. Arrays: one statement per entry.
    @tight(r"V_r(\bar\pi_k) \le V_r(\bar\pi_{k+1})")
    def monotone(self, x: Run) -> tuple[Measured, Measured]:
        return x.value[:-1], x.value[1:]

    @upper(r"V_r(\bar\pi_{K-1}) - \overline{V_r} \le V_r(\bar\pi_{K-1}) - V_r(\bar\pi_0)")
    def average(self, x: Run) -> tuple[Measured, Measured, float]:
        """Left side, right side and, to tell vacuous bounds, the trivial range of the left side."""
        last = x.value[-1]
        return last - x.average_value, last - x.value[0], x.problem.cmdp.horizon

    @chain("average")  # the proof of a claim: reasons and values that never decrease
    def average_chain(self, x: Run) -> Iterator[tuple[str, Measured]]:
        last = x.value[-1]
        yield "left side", last - x.average_value
        yield "the average is at least the smallest", last - x.value.min()
        yield "values increase", last - x.value[0]

    @control("the improvement does not double in every round", Case("random-mdp:seed=1"))
    def doubled(self, x: Run) -> tuple[Measured, Measured]:
        """A statement that is wrong on purpose, or drops a hypothesis: it must fail."""
        gain = x.value[1:] - x.value[:-1]
        return gain[:-1] * 2.0, gain[1:]
