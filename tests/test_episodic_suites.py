"""Suites of clients: what their environments have in common and what not."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import SUITES, load_episodic, save
from tabular_fedrl.instances.episodic_suites import frozen_lakes, opposed_grid, success_garnet


@pytest.mark.parametrize("name", SUITES)
def test_sources_give_what_their_builders_give(name, tmp_path):
    suite = SUITES[name]
    problem = load_episodic(name)
    assert problem == suite.build(**suite.parameters)
    assert suite.parameters["clients"] == problem.N
    r = problem.r
    assert (r[:, :-1] == 0).all()
    assert ((r[:, -1] >= 0) & (r[:, -1] <= 1)).all()


def test_a_grid_is_the_same_for_all_but_for_the_goal():
    grid = opposed_grid(side=3, clients=3, opposed=1, H=2, slip=0.2)
    assert all((m.P == grid.mdps[0].P).all() for m in grid.mdps)
    assert grid.mdps[0] == grid.mdps[1] != grid.mdps[2]
    # The middle cell, a move to the right: 0.8 as meant, a twentieth in each direction.
    np.testing.assert_allclose(grid.mdps[0].P[0, 4, 0, [5, 3, 7, 1]], [0.85, 0.05, 0.05, 0.05])
    # From the goal's corner two moves in four stay.
    assert grid.mdps[0].r[1, 8, 0] == pytest.approx(0.8 + 0.1)
    assert grid.mdps[2].r[1, 8, 0] == 0


def test_heterogeneity_mixes_one_set_of_draws():
    common, own, half = (success_garnet(heterogeneity=x, clients=3, seed=4) for x in (0.0, 1.0, 0.5))
    assert common.mdps[0] == common.mdps[1] == common.mdps[2]
    assert len(set(own.mdps)) == 3
    np.testing.assert_allclose(half.P, (common.P + own.P) / 2, atol=1e-15)


def test_lakes_have_different_layouts_and_gymnasiums_dynamics():
    lakes = frozen_lakes(clients=5, H=3, seed=2)
    letters = ["".join(name[-2] for name in m.state_names or ()) for m in lakes.mdps]
    assert len(set(letters)) == 5
    for mdp, cells in zip(lakes.mdps, letters):
        assert (cells[0], cells[-1]) == ("S", "G")
        rows = [cells[i : i + 4] for i in range(0, 16, 4)]
        env = gymnasium.make("FrozenLake-v1", desc=rows, is_slippery=True).unwrapped
        for s in range(16):
            for a in range(4):
                law = np.zeros(16)
                for p, successor, _, _ in env.P[s][a]:
                    law[successor] += p
                np.testing.assert_allclose(mdp.P[0, s, a], law, atol=1e-15)
                assert mdp.r[2, s, a] == pytest.approx(law[15])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("opposed-grid:opposed=9", "opposed = 9 of clients = 6"),
        ("opposed-grid:side=1", "side = 1 is below 2"),
        ("opposed-grid:slip=2", "slip = 2"),
        ("success-garnet:b=13", "b = 13"),
        ("success-garnet:heterogeneity=1.5", "heterogeneity = 1.5 is not between 0 and 1"),
        ("frozen-lakes:side=2", "side = 2 has only 3 layouts"),
        ("frozen-lakes:side=50", "side = 50"),
        ("frozen-lakes:H=100000000", "entries are over the limit"),
        ("success-garnet:H=20000", "H = 20000 is over the limit of 10000 steps"),
    ],
)
def test_bad_parameters_are_named(source, message):
    with pytest.raises(InvalidProblem, match=message):
        load_episodic(source)


def test_a_suite_can_be_kept_in_a_file(tmp_path):
    problem = load_episodic("opposed-grid:side=2,clients=3,opposed=1")
    save(tmp_path / "suite.npz", problem)
    assert load_episodic(tmp_path / "suite.npz") == problem
