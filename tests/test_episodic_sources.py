"""Finite-horizon problems as SOURCEs, files, instances of theorems and certificates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tabular_fedrl.claims import Case, Theorem, upper, verify
from tabular_fedrl.claims.certificate import write_certificates
from tabular_fedrl.claims.certify import certify
from tabular_fedrl.claims.recheck import recheck
from tabular_fedrl.claims.strategies import problems
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, exact, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import episodic_families, load, load_any, load_episodic, load_exact, notes, save
from tabular_fedrl.instances.rational_json import from_json, to_json
from tabular_fedrl.instances.strict_json import sha256
from tabular_fedrl.policies import enclosed
from tests.commandline import call
from tests.strategies import episodic_mdps

SOUND: dict[str, Any] = {
    "P": np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.25, 0.75]]]),
    "r": np.array([[1.0, 0.0], [0.5, 2.0]]),
    "rho": np.array([1.0, 0.0]),
    "H": np.array(3),
}


@pytest.fixture
def write(tmp_path):
    """Write the sound problem with some keys changed (None: left out); the path as text."""

    def writer(**changes):
        path = tmp_path / "problem.npz"
        np.savez(path, **{key: x for key, x in (SOUND | changes).items() if x is not None})
        return str(path)

    return writer


# ---- sources ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", episodic_families)
def test_families_and_their_round_trip(name, tmp_path):
    problem = load_episodic(name)
    assert problem.mdp == episodic_families[name].build(**episodic_families[name].parameters)
    save(tmp_path / "x.npz", problem)
    again = load_episodic(tmp_path / "x.npz")
    assert again == problem
    assert again.mdp.state_names == problem.mdp.state_names
    assert load_any(name, exact=True) == exact(problem)


def test_parameters_and_the_start():
    problem = load_episodic("episodic-garnet:S=5,A=3,H=4,b=2,levels=2,seed=7,varying=false,rho=1").mdp
    assert (problem.S, problem.A, problem.H, problem.is_stationary) == (5, 3, 4, True)
    assert problem.rho.tolist() == [0, 1, 0, 0, 0]
    assert set(np.unique(problem.r)) <= {0.0, 0.5, 1.0}
    assert (np.count_nonzero(problem.P, axis=-1) == 2).all()
    assert load_episodic("episodic-garnet:seed=1") != load_episodic("episodic-garnet:seed=2")


@pytest.mark.parametrize(
    "source", ["garnet:S=6,A=2,b=2", "gym:FrozenLake-v1", "textbook:three-state", "ring:S=9"]
)
def test_another_source_for_some_steps(source):
    cmdp = load(source).cmdp
    mdp = load_episodic(f"episodic:{source},H=4,rho=uniform").mdp
    dense = cmdp.P.toarray().reshape(cmdp.S, cmdp.A, cmdp.S) if cmdp.is_sparse else cmdp.P
    assert mdp.H == 4
    assert (dense == mdp.P).all()
    assert (mdp.r == cmdp.r).all()
    assert mdp.rho == pytest.approx(1 / cmdp.S)
    assert mdp.action_names == cmdp.action_names
    assert "without discount" in notes(f"episodic:{source},H=4")[0]


def test_what_is_written_as_text_is_taken_exactly(write):
    path = write(P=np.array([[["1/3", "2/3"], ["1", "0"]], [["0", "1"], ["1/7", "6/7"]]]))
    held = load_any(path, exact=True).mdp
    assert str(held.P.items[2, 1, 1, 0]) == "1/7"


@pytest.mark.parametrize(
    "source, message",
    [
        ("episodic:garnet", "add ,H=5"),
        ("episodic:garnet,H=2,H=3", "add ,H=5 or another number of steps, once"),
        ("episodic:garnet,H=1.5", "H: '1.5' is not a whole number"),
        ("episodic:garnet,H=0", "H: 0 is below 1"),
        ("episodic:garnet,H=2,gamma=0.5", "a finite-horizon problem has no gamma"),
        ("episodic:episodic-chain,H=2", "episodic-chain is a finite-horizon problem already"),
        ("episodic:no-such,H=2", "no file 'no-such'"),
        ("episodic:ring:S=100000,H=2", "a dense kernel of 4e"),
        ("episodic-garnet:b=9", "b = 9 distinct successors do not exist"),
        ("episodic-garnet:gamma=0.5", "unknown key 'gamma'"),
        ("episodic-chain:H=1000000", "over the limit of 10000 steps"),
        ("episodic-bandit:A=1000000000", "1e.09 entries are over the limit"),
        ("episodic-chain:H=1000000000000", "over the limit of 1e"),
        ("episodic-tree:H=40", "over the limit of 10"),
        ("episodic-chain:rho=5", "rho: state 5, but there are 2"),
    ],
)
def test_bad_sources_in_one_line(source, message):
    with pytest.raises(InvalidProblem, match=message) as caught:
        load_episodic(source)
    assert "\n" not in str(caught.value)


def test_each_kind_where_the_other_is_needed():
    for reader in (load, load_exact):
        with pytest.raises(InvalidProblem, match="episodic-chain is a finite-horizon problem, where a disc"):
            reader("episodic-chain")
    with pytest.raises(InvalidProblem, match="garnet is a discounted problem, where a finite-horizon one"):
        load_episodic("garnet")


# ---- files ------------------------------------------------------------------------------------------------
@settings(max_examples=30)
@given(problem=episodic_mdps(max_environments=3))
def test_round_trip_is_exact(problem, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "problem.npz"
    save(path, problem)
    assert load_episodic(path) == problem


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gamma": np.array(0.9)}, "key 'gamma' does not go with key 'H'"),
        ({"d": np.zeros(1)}, "key 'd' does not go with key 'H'"),
        ({"H": np.array([2, 3])}, "H has shape"),
        ({"H": np.array(0)}, "H = 0"),
        ({"H": np.array(1e9)}, "over the limit of 10000 steps"),
        ({"H": np.array("x")}, "key 'H': 'x' is not a number"),
        ({"r": None}, "key 'r' is missing"),
        ({"P": SOUND["P"] * 2}, "sums to 2"),
        ({"rho": np.full((2, 2), 0.5)}, r"of N environments they are \(N, S\)"),
        ({"P": np.zeros((2, 2, 2, 2))}, "P has 2 steps"),
    ],
)
def test_strangers_files_in_one_line(changes, message, write):
    with pytest.raises(InvalidProblem, match=message) as caught:
        load_episodic(write(**changes))
    assert "problem.npz" in str(caught.value)


def test_drn_holds_no_episodes(tmp_path):
    with pytest.raises(InvalidProblem, match="goes into an"):
        save(tmp_path / "x.drn", load_episodic("episodic-chain"))


# ---- theorems ---------------------------------------------------------------------------------------------
class AtMostH(Theorem):
    r"""The value of a problem with rewards in [0,1] is at most H."""

    id, mark = "tiny.episodes", "ours"
    problem_type = EpisodicMDP

    def setup(self, problem: EpisodicMDP, seed: int = 0) -> Any:
        theta = np.random.default_rng(seed).normal(size=(problem.H, problem.S, problem.A))
        return problem, start_value(problem, enclosed(theta)[1])

    @upper(r"V \le H")
    def bound(self, x: Any) -> Any:
        return x[1], float(x[0].H)


class OfMany(AtMostH):
    r"""The same, of a federation."""

    id = "tiny.federation"
    problem_type = FederatedEpisodicMDP

    def setup(self, problem: FederatedEpisodicMDP, seed: int = 0) -> Any:
        theta = np.random.default_rng(seed).normal(size=(problem.N, problem.H, problem.S, problem.A))
        return problem, start_value(problem, enclosed(theta)[1])


def test_a_theorem_gets_the_problem_that_it_is_about():
    two = FederatedEpisodicMDP([load_episodic(f"episodic-garnet:seed={k}").mdp for k in (1, 2)])
    assert [str(verify(t, "episodic-garnet")[0].status) for t in (AtMostH, OfMany)] == ["holds", "holds"]
    assert verify(OfMany, two)[0].entries == 2
    assert "of a single environment" in verify(AtMostH, two)[0].reason
    assert "a finite-horizon problem" in verify(OfMany, "textbook:two-arm")[0].reason
    assert Case(two).instance == f"episodic-{two.digest[:8]}"
    assert (
        verify("lemmas.performance-difference", two)[0].reason == "hypothesis not met: a discounted problem"
    )


def test_random_small_problems_are_of_the_type_asked_for():
    def drawn(wanted):
        seen = set()

        @settings(max_examples=25, derandomize=True, database=None)
        @given(problems(wanted))
        def draw(problem):
            seen.add((type(problem), problem.N))

        draw()
        return seen

    assert {t for t, _ in drawn(FederatedCMDP)} == {FederatedCMDP}
    assert drawn(EpisodicMDP) == {(FederatedEpisodicMDP, 1)}
    assert drawn(FederatedEpisodicMDP) == {(FederatedEpisodicMDP, N) for N in (1, 2, 3)}


# ---- certificates -----------------------------------------------------------------------------------------
@settings(max_examples=15)
@given(episodic_mdps(max_environments=2))
def test_json_round_trip(problem):
    held = exact(problem)
    assert from_json(json.loads(json.dumps(to_json(held)))) == held


def test_certificates_are_decided_again(tmp_path):
    proved = [certify(AtMostH, Case("episodic-garnet")), certify(OfMany, Case("episodic-chain:H=4", seed=2))]
    for path in write_certificates(proved, tmp_path):
        assert recheck(path, [AtMostH, OfMany]).confirmed
        data = json.loads(path.read_text())
        data["instance"]["environments"][0]["r"][-1][0] = ["1/2", "1/3"]
        data["sha256"] = sha256({key: x for key, x in data.items() if key != "sha256"})
        path.write_text(json.dumps(data))
        changed = recheck(path, [AtMostH, OfMany])
        assert "lhs: stated" in changed.mismatch


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps: '0' is not a whole number of at least 1"),
        ({"steps": 10**6}, "holds 5 tables for 1000000 steps"),
        ({"actions": 3}, "holds 2 entries, not 3"),
        ({"environments": []}, "at least one"),
        ({"gamma": "1/2"}, "'gamma' is unknown"),
        ({"steps": 7}, "holds 5 tables for 7 steps"),
    ],
)
def test_json_of_strangers(change, message):
    data = to_json(exact(load_episodic("episodic-chain")))
    with pytest.raises(InvalidProblem, match=message):
        from_json(data | change)


# ---- the command line -------------------------------------------------------------------------------------
def test_show(capsys):
    data = call(capsys, "show", "episodic-chain:H=4", "--json").data
    assert (data["steps"], data["environments"][0]["uniform_value"]) == (4, 1 / 16)
    assert data["environments"][0]["returns"] == {"unit": "1", "count": 2}
    said = call(capsys, "show", "episodic:garnet:S=4,b=2,H=2")
    assert said.code == 0
    assert "no grid" in said.out


@pytest.mark.parametrize("command", ["solve", "run fednpg", "compare npg --on"])
def test_commands_for_discounted_problems_say_so(command, capsys):
    said = call(capsys, *command.split(), "episodic-chain", "--json")
    assert (said.code, said.data["status"]) == (2, "error")
    assert "a finite-horizon problem, where a discounted one is needed" in said.data["message"]
