"""The worst-case search among finite-horizon problems whose episodes succeed or fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tabular_fedrl.claims import Rows, Table, Theorem, upper
from tabular_fedrl.claims.search import search
from tabular_fedrl.claims.search.episodic import EpisodicCoding
from tabular_fedrl.claims.search.family import EpisodicShape, parse_family
from tabular_fedrl.claims.search.space import Space
from tabular_fedrl.episodic import FederatedEpisodicMDP, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load_episodic
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, log_policy

FAMILY = "success:S=1..2,A=2,H=1..2,N=1..2"


class Half(Theorem):
    """No policy succeeds in more than three episodes of four: wrong, where the goal is easy."""

    id, mark, family = "test.half", "ours", FAMILY
    problem_type = FederatedEpisodicMDP
    space = {"law": Table.POLICY}

    def setup(self, problem: FederatedEpisodicMDP, law: Rows | None = None) -> Measured:
        rows = (problem.H * problem.S, problem.A)
        log = log_policy(np.full(rows, 0.5) if law is None else law, *rows)
        p = enclosed(log)[1].reshape(1, problem.H, problem.S, problem.A)
        return start_value(problem, Measured.concatenate([p] * problem.N))

    @upper(r"J \le 3/4")
    def small(self, x: Measured) -> tuple[Measured, float]:
        return x, 0.75


def coding(text: str = "success:S=3,A=2,H=3,N=2") -> EpisodicCoding:
    space = Space.of(Half, parse_family(text), {})
    found = space.draw(np.random.default_rng(0))
    assert isinstance(found, EpisodicCoding)
    return found


def test_a_family_is_what_it_says():
    family = parse_family(FAMILY)
    assert str(parse_family(str(family))) == str(family)
    drawn = {family.draw(np.random.default_rng(s)) for s in range(200)}
    assert drawn == {EpisodicShape(S, 2, H, N) for S in (1, 2) for H in (1, 2) for N in (1, 2)}
    with pytest.raises(InvalidProblem, match="unknown key 'gamma'"):
        parse_family("success:gamma=0.5")
    with pytest.raises(InvalidProblem, match="H=0"):
        parse_family("success:H=0")


@pytest.mark.parametrize("text", ["success:S=3,A=2,H=3,N=2", "success:S=1,A=3,H=1,N=1"])
def test_coordinates_are_problems(text):
    structure = coding(text)
    X = structure.random(np.random.default_rng(1), 6)
    problems, parameters = structure.decode(X)
    for i in range(6):
        problem = problems.problem(i)
        shape = structure.shape
        assert (problem.S, problem.A, problem.H, problem.N) == (shape.S, shape.A, shape.H, shape.N)
        assert (problem.r[:, :-1] == 0).all()
        law = np.array(structure.parameters_of(parameters, i)["law"])
        assert law.shape == (shape.H * shape.S, shape.A)
        np.testing.assert_allclose(law.sum(-1), 1, atol=1e-12)


def test_every_coordinate_means_something():
    structure = coding()
    x = structure.project(np.full((1, structure.size), 0.4))[0]
    base = [a.copy() for a in vars(structure.decode(x[None])[0]).values()]
    for block in structure.blocks:
        for at in range(block.start, block.stop):
            y = x.copy()
            y[at] += 0.2
            problems, parameters = structure.decode(structure.project(y[None]))
            now = [*vars(problems).values(), parameters["law"]]
            then = [*base, structure.decode(x[None])[1]["law"]]
            assert any(np.abs(a - b).max() > 0.01 for a, b in zip(now, then)), (block.name, at)


def test_a_wrong_statement_is_refuted_with_a_proof_and_kept(tmp_path):
    out = tmp_path / "worst.npz"
    answer = search(Half, budget=600, out=out)
    (found,) = answer.found
    assert answer.exit_code == 1
    assert found.counterexample
    assert found.ratio == pytest.approx(1 / 0.75, rel=1e-6)
    assert set(found.to_dict()["sizes"]) == {"S", "A", "H", "N"}
    assert load_episodic(out) == found.problem
    # Going on from the file gives what an uninterrupted search gives.
    search(Half, budget=300, out=tmp_path / "half.npz")
    again = search(Half, budget=600, out=tmp_path / "half.npz", resume=True)
    assert again.found[0].ratio == found.ratio
    state = json.loads((tmp_path / "half.json").read_text())
    assert state["family"] == FAMILY
