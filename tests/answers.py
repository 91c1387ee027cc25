"""The right answers to the exercises of the students' notebooks, computed in other ways than there.

``python -m tests.answers`` prints what ``tabular_fedrl/examples/exercises.json`` must hold; the hints stay.
"""

import itertools
import json
from importlib.resources import files

import numpy as np

from tabular_fedrl.claims import Status
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.examples.exercises import fingerprint
from tabular_fedrl.instances import TEXTBOOK, load
from tabular_fedrl.policies import log_policy
from tabular_fedrl.solvers import solve


def hike(d):
    problem = load("textbook:three-state").cmdp.replace(d=np.array([d]))
    return problem, solve(problem)


def feasible_corners():
    problem, _ = hike(0.25)
    pure = (np.eye(2)[list(actions)] for actions in itertools.product([0, 1], repeat=3))
    return sum(bool(evaluate(problem, log_policy(pi, 3, 2)).at_rho.value[1] <= 0.25) for pi in pure)


def climbing(d):
    occupancy = hike(d)[1].occupancy
    return float(occupancy[1, 1] / occupancy[1].sum())


def free_threshold():
    """Cost of the cheapest policy of the best reward: the value stops growing there."""
    best = float(hike(10.0)[1].value)
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if float(hike(middle)[1].value) > best - 1e-9 else (middle, high)
    return high


def softmax(x):
    p = np.exp(x - np.max(x))
    return p / p.sum()


def natural_steps():
    r, t = np.array([1.0, 0.6, 0.0]), 0
    while softmax(0.5 * t * r)[0] < 0.99:
        t += 1
    return t


def ordinary_steps():
    r, theta, t = np.array([1.0, 0.6, 0.0]), np.zeros(3), 0
    while softmax(theta)[0] < 0.99:
        p = softmax(theta)
        theta, t = theta + 0.5 * p * (r - p @ r), t + 1
    return t


def offline_step(Q):
    """The maximiser, looked for on a grid."""
    p = np.linspace(1e-6, 1 - 1e-6, 2_000_001)

    def kl(b):
        return p * np.log(p / b) + (1 - p) * np.log((1 - p) / (1 - b))

    return float(p[np.argmax(p * Q - 0.5 * kl(0.5) - 0.5 * kl(0.2))])


HETEROGENEOUS = TEXTBOOK["heterogeneous-bandit"].answer
ANSWERS = {
    "three-state.feasible": (feasible_corners, 0),
    "three-state.value": (lambda: float(hike(0.1)[1].value), 3),
    "three-state.coin": (lambda: climbing(0.1), 3),
    "three-state.free": (free_threshold, 2),
    "simplex.factor": (lambda: np.exp(0.5 * (1 - 0.6)), 3),
    "simplex.natural": (natural_steps, 0),
    "simplex.ordinary": (ordinary_steps, 0),
    "two-agents.violation": (lambda: 1 / 2 - 0.2, 1),
    "two-agents.reward": (lambda: np.array([0.5, 0.5, 0]) @ [1, 1, 0.9], 1),
    "two-agents.price": (lambda: HETEROGENEOUS.multipliers[0], 1),
    "local-steps.numbers": (lambda: 6000 // 20 * 3, 0),
    "local-steps.move": (lambda: np.abs(softmax(np.array([0.1, 0])) - 0.5).sum(), 4),
    "local-steps.largest": (lambda: max(E for E in range(1, 1000) if 0.5 * 0.05 * E * 0.5 <= 0.2 + 1e-12), 0),
    "offline.step": (lambda: offline_step(1.0), 3),
    "offline.pulls": (lambda: offline_step(0.0), 3),
    "offline.rounds": (lambda: next(k for k in range(99) if softmax(np.array([2.0 * k, 0]))[0] > 0.999), 0),
    "wrong-theorem.repaired": (lambda: str(Status.HOLDS), None),
    "wrong-theorem.steps": (lambda: next(K for K in range(1, 999) if np.log(4) / (2 * K) <= 0.01), 0),
    "wrong-theorem.smallest": (
        lambda: next(K for K in range(1, 999) if (np.log(2) / 10 + 100) / K < 10), 0,
    ),
}  # fmt: skip
"""By exercise: how to compute the answer, and to how many decimals it is asked for (None: a word)."""

if __name__ == "__main__":
    path = files("tabular_fedrl.examples").joinpath("exercises.json")
    hints = {name: entry["hint"] for name, entry in json.loads(path.read_text(encoding="utf-8")).items()}
    entries = {}
    for name, (answer, decimals) in ANSWERS.items():
        print_ = fingerprint(name, answer(), decimals)
        entries[name] = {"decimals": decimals, "fingerprint": print_, "hint": hints[name]}
    print(json.dumps(entries, indent=1, ensure_ascii=False))
