r"""Evaluating the dual once a round repairs the geometric mean, and not the arithmetic one."""

from __future__ import annotations

from dataclasses import dataclass

from proofs_check.fednpg.named import is_named
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import Run, run

BANDIT = "textbook:heterogeneous-bandit"
STEP, CAP = 0.05, 10.0


@dataclass(frozen=True)
class Repair:
    """FedNPG and its variant with one dual evaluation a round, with both means."""

    plain: dict[str, Run]
    repaired: dict[str, Run]


class RoundDual(Theorem):
    r"""A dual evaluated at the broadcast policy sees the averaged policy: enough for one mean only.

    **Setting.** The bandit of ``fednpg.heterogeneous-duals``: r = (1, 1, 0.9), each agent must keep the
    other's favourite arm at or below 0.2. Averages over the second half of the rounds.

    **Algorithm** (ours). FedNPG whose multipliers move once a round, by E dual steps at
    :math:`\bar\pi_k`.

    **Statement** (*measured* at the E of the cases).

    * Geometric mean: the violation that FedNPG shows disappears; for large E the policy becomes conservative.
    * Arithmetic mean: at E = 1000 nothing is repaired. An agent's E steps take it to the better of its own
      arm and the third one, and its own arm is better for every multiplier: it is the *other* arm that the
      multiplier makes dear. The mean of two collapsed policies plays each arm with probability 1/2: with
      :math:`x = \eta E` a round leaves at most :math:`2e^{-x/20}` of the odds of the third arm, and rounds
      leave nothing once :math:`x > 20 \log 2`.

    **Proof of the last point.** By symmetry :math:`\bar\pi = (p, p, q)`. Whatever its multiplier, an
    agent's steps multiply the weight of its own arm by :math:`e^{x/2}` and that of the third by
    :math:`e^{0.45x}`; its share of the third is at most :math:`q/(q + p e^{x/20})`. So is the mean's,
    :math:`q'`, and each other arm has :math:`p' = (1-q')/2`:
    :math:`q'/p' = 2q'/(1-q') \le 2e^{-x/20} q/p`.

    **Source.** Theory notes, fednpg section 6.
    """

    id = "fednpg.round-dual"
    mark = "ours"
    source = "theory notes, fednpg section 6"
    suite = (Case(BANDIT), Case(BANDIT, local_steps=100, rounds=100))
    certified = (Case(BANDIT, rounds=4),)
    small = None

    @hypothesis("the bandit of the setting")
    def the_bandit(self, problem: FederatedCMDP) -> bool:
        return is_named(problem, BANDIT)

    @hypothesis("E of at least 100, at least 4 rounds and 2000 local steps")
    def settled(self, problem: FederatedCMDP, local_steps: int, rounds: int) -> bool:
        return local_steps >= 100 and rounds >= 4 and local_steps * rounds >= 2000

    @hypothesis("E = 1000 (the arithmetic mean is repaired at moderate E)", only=["arithmetic"])
    def many_local_steps(self, problem: FederatedCMDP, local_steps: int) -> bool:
        return local_steps >= 1000

    def setup(self, problem: FederatedCMDP, local_steps: int = 1000, rounds: int = 20) -> Repair:
        both = {
            name: {
                how: run(
                    name,
                    problem,
                    rounds,
                    local_steps=local_steps,
                    aggregation=how,
                    eta=STEP,
                    eta_dual=STEP,
                    dual_cap=CAP,
                    compare=False,
                )
                for how in ("arithmetic", "geometric")
            }
            for name in ("fednpg", "round-dual")
        }
        return Repair(both["fednpg"], both["round-dual"])

    @upper(r"[\mathrm{avg}\,V_{c_j} - d_j]_+ \le 0.02 \text{ repaired, geometric mean}")
    def geometric(self, x: Repair) -> tuple[Measured, float, float]:
        return _violation(x.repaired["geometric"]), 0.02, 0.8

    @upper(r"0.02 \le [\mathrm{avg}\,V_{c_j} - d_j]_+ \text{ without the repair, either mean}")
    def needed(self, x: Repair) -> tuple[float, Measured]:
        return 0.02, Measured.stack([_violation(r) for r in x.plain.values()])

    @upper(
        r"\tfrac1N - d_j \le [\mathrm{avg}\,V_{c_j} - d_j]_+ + 0.01 \text{ in spite of it, arithmetic mean}"
    )
    def arithmetic(self, x: Repair) -> tuple[Measured, Measured]:
        result = x.repaired["arithmetic"]
        collapsed = Measured(1.0) / float(result.problem.N) - result.problem.cmdp.d
        return collapsed, _violation(result) + 0.01

    @control("the repair does not help the arithmetic mean", Case(BANDIT))
    def arithmetic_repaired(self, x: Repair) -> tuple[Measured, float]:
        return _violation(x.repaired["arithmetic"]), 0.02


def _violation(result: Run) -> Measured:
    """Of the averaged policies, second half of the rounds, ``(m,)``."""
    return (result.costs[result.rounds // 2 :].mean(0) - result.problem.cmdp.d).positive()
