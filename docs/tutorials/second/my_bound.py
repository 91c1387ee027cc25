from tabular_fedrl.claims import Case, Theorem, hypothesis, upper
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve


class MyBound(Theorem):
    r"""The averaged gap of FedNPG falls like one over the root of T.

    **Statement.** With the steps of the theory, the mean gap of the first T policies
    is at most :math:`2/((1-\gamma)^2 \sqrt T)`.
    """

    id, mark = "mine.gap", "ours"
    suite = (Case("textbook:three-state"), Case("windy-cliff:ncost=2"))
    small = {"rounds": 5}
    family = "cmdp:S=1..2,A=2,m=1,N=1,gamma=0..0.9"
    space = {"rounds": (2, 20)}

    @hypothesis("some policy is strictly feasible")
    def slater(self, problem):
        return (solve(problem.cmdp).slater_slack or 0) > 0

    def setup(self, problem, rounds=200):
        return run("fednpg", problem, rounds=rounds)

    @upper(r"V_r^\star - \bar V_r \le 2/((1-\gamma)^2 \sqrt T)")
    def gap(self, x):
        return x.gap, 2 * x.problem.cmdp.horizon**2 / x.rounds**0.5
