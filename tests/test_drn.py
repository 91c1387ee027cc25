"""Storm's DRN format: exact round trips, the grammar's corners, errors that name file, line and state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import drn_parser, load, notes, save
from tabular_fedrl.instances.drn_writer import overrides
from tabular_fedrl.validation import LARGEST
from tests.strategies import federations

MODEL = """\
// Exported by storm
// Original model type: MDP
@type: MDP
@value_type: double
@parameters

@reward_models
energy time
@nr_states
3
@nr_choices
6
@model
state 0 [1, 0] init ready
//[x=0]
\taction go [0.5, 1]
\t\t1 : 0.5
\t\t2 : 0.5
\taction wait [0, 1]
\t\t0 : 1
state 1 [0, 0] "half way"
\taction wait [0, 2]
\t\t1 : 1
\taction go [-1, 1/4]
\t\t0 : 1/3
\t\t2 : 2/3
state 2 [0, 0] done
\taction go [0, 0]
\t\t2 : 1
\taction wait [0, 0]
\t\t2 : 1
"""


@pytest.fixture
def write(tmp_path):
    def writer(text=MODEL, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "model.drn"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return writer


def refusal(source):
    with pytest.raises(InvalidProblem) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


# ---- reading --------------------------------------------------------------------------------------------
def test_every_number_lands_where_it_belongs(write):
    problem = load(write() + ",gamma=0.9,d=2").cmdp
    assert problem.action_names == ("go", "wait")
    assert problem.state_names == ("ready", "half way", "done")
    assert problem.P[0].tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
    assert problem.P[1].tolist() == [
        [1 / 3, 0, 2 / 3],
        [0, 1, 0],
    ]  # state 1 lists its actions the other way round
    assert problem.r.tolist() == [[1.5, 1], [-1, 0], [0, 0]]  # state reward plus action reward
    assert problem.c.tolist() == [[[1, 1], [0.25, 2], [0, 0]]]
    assert problem.rho.tolist() == [1, 0, 0]
    assert (problem.gamma, problem.d.tolist()) == (0.9, [2])


def test_named_reward_models_are_chosen(write):
    problem = load(write() + ",reward=time,costs=energy+time,gamma=0.5,d=1+2").cmdp
    assert problem.r.tolist() == [[1, 1], [0.25, 2], [0, 0]]
    assert problem.c[0].tolist() == [[1.5, 1], [-1, 0], [0, 0]]
    assert problem.c[1].tolist() == problem.r.tolist()
    assert load(write() + ",reward=time,costs=,gamma=0.5").cmdp.m == 0
    assert load(write() + ",reward=time,gamma=0.5,d=1").cmdp.c[0, 0, 0] == 1.5
    assert notes(write() + ",gamma=0.5,d=1")[:2] == ["r is energy", "cost 0 is time"]


def test_actions_without_common_names_match_by_position(write):
    path = write(MODEL, ("action wait [0, 2]", "action sleep [0, 2]"))
    problem = load(path + ",gamma=0.9,d=2").cmdp
    assert problem.action_names is None
    assert problem.P[1, 0].tolist() == [0, 1, 0]
    unlabelled = MODEL.replace("action go", "action __NOLABEL__").replace("action wait", "action __NOLABEL__")
    assert load(write(unlabelled) + ",gamma=0.9,d=2").cmdp.action_names is None


def test_dtmc_without_action_lines(write):
    text = "@type: DTMC\n@reward_models\nr\n@nr_states\n2\n@model\nstate 0 [1] init\n0 : 0.5\n1 : 0.5\n"
    text += "state 1 [0]\n1 : 1\n"
    problem = load(write(text) + ",gamma=0.5").cmdp
    assert (problem.S, problem.A, problem.m) == (2, 1, 0)
    assert problem.r.tolist() == [[1], [0]]


def test_unnamed_reward_models_are_called_as_in_storm(write):
    path = write(MODEL, ("@reward_models\nenergy time\n", "@reward_models\n\n"))
    assert load(path + ",reward=rew1,costs=rew0,gamma=0.5,d=1").cmdp.c[0, 0, 0] == 1.5


def test_placeholders(write):
    text = MODEL.replace("@reward_models", "@placeholders\n$0 : 1/3\n$1 : 2/3\n@reward_models")
    text = text.replace("0 : 1/3\n", "0 : $0\n").replace("2 : 2/3", "2 : $1")
    text = text.replace("$0 : $0", "$0 : 1/3")
    assert load(write(text) + ",gamma=0.9,d=2") == load(write() + ",gamma=0.9,d=2")


def test_several_initial_states_are_uniform_and_rho_overrides(write):
    path = write(MODEL, ('"half way"', 'init "half way"'))
    assert load(path + ",gamma=0.9,d=2").cmdp.rho.tolist() == [0.5, 0.5, 0]
    assert load(path + ",gamma=0.9,d=2,rho=2").cmdp.rho.tolist() == [0, 0, 1]
    assert load(path + ",gamma=0.9,d=2,rho=uniform").cmdp.rho == pytest.approx(1 / 3)


def test_printed_digits_are_rescaled_and_noted(write):
    path = write(MODEL, ("1/3", "0.333333"), ("2/3", "0.666666"))
    problem = load(path + ",gamma=0.9,d=2").cmdp
    assert problem.P[1, 0] == pytest.approx([1 / 3, 0, 2 / 3], abs=1e-6)
    assert problem.P[1, 0].sum() == pytest.approx(1, abs=1e-15)
    assert "1 rows of P miss 1 by up to 1.0e-06" in notes(path + ",gamma=0.9,d=2")[-1]


def test_large_kernels_are_sparse(tmp_path):
    problem = load("garnet:S=1500,A=2,b=2,m=1,sparse=true,rho=0")
    save(tmp_path / "x.drn", problem)
    again = load(f"{tmp_path / 'x.drn'}{overrides(problem)}")
    assert again.cmdp.is_sparse
    assert again == problem


# ---- round trips ----------------------------------------------------------------------------------------
@settings(max_examples=60)
@given(problem=federations(), data=st.data())
def test_round_trip_is_exact(problem, data, tmp_path_factory):
    S = problem.cmdp.S
    started = sorted(data.draw(st.sets(st.integers(0, S - 1), min_size=1)))
    rho = np.zeros(S)
    rho[started] = 1 / len(started)
    problem = FederatedCMDP(problem.cmdp.replace(rho=rho), problem.visible)
    path = tmp_path_factory.mktemp("drn") / "x.drn"
    save(path, problem)
    again = load(f"{path}{overrides(problem)}")
    assert again == problem


finite = st.floats(-LARGEST, LARGEST)


@settings(max_examples=60)
@given(values=st.lists(finite, min_size=4, max_size=4))
def test_any_float_that_a_problem_may_hold_survives(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("drn") / "x.drn"
    problem = CMDP(np.ones((1, 2, 1)), [values[:2]], [[values[2:]]], [0.0], [1.0], 0.5)
    save(path, problem)
    again = load(f"{path},gamma=0.5,d=0").cmdp
    assert np.array_equal(again.signals, problem.signals)


@pytest.mark.parametrize(
    "source", ["textbook:two-budgets", "windy-cliff:ncost=2", "gym:FrozenLake-v1", "random-mdp:seed=7"]
)
def test_names_and_agents_survive(source, tmp_path):
    problem = load(source)
    save(tmp_path / "x.drn", problem)
    again = load(f"{tmp_path / 'x.drn'}{overrides(problem)}")
    assert again == problem
    assert again.cmdp.state_names == problem.cmdp.state_names
    assert again.cmdp.action_names == problem.cmdp.action_names
    assert overrides(problem) in (tmp_path / "x.drn").read_text()


@pytest.mark.parametrize(
    "names",
    [["init", "b"], ['quo"te', "b"], ["", "b"], ["two  spaces", "b"], ["line\nbreak", "b"], ["a", "a"]],
)
def test_names_the_format_cannot_hold_are_left_out(names, tmp_path):
    problem = CMDP(
        np.eye(2)[:, None], np.ones((2, 1)), [], [], [1, 0], 0.5, state_names=names, action_names=["x y"]
    )
    save(tmp_path / "x.drn", problem)
    again = load(f"{tmp_path / 'x.drn'},gamma=0.5").cmdp
    assert again == problem
    assert again.state_names is None
    assert again.action_names is None


def test_other_initial_distributions_cannot_be_written(tmp_path):
    problem = CMDP(np.eye(2)[:, None], np.ones((2, 1)), [], [], [0.25, 0.75], 0.5)
    with pytest.raises(InvalidProblem, match="rho is not uniform"):
        save(tmp_path / "x.drn", problem)
    assert not list(tmp_path.iterdir())


def test_storm_reads_what_we_write(tmp_path):
    """Storm itself as the oracle, where its Python bindings are installed."""
    stormpy = pytest.importorskip("stormpy")
    problem = load("garnet:S=12,A=3,b=4,m=2,seed=5,rho=0").cmdp
    save(tmp_path / "x.drn", problem)
    model = stormpy.build_model_from_drn(str(tmp_path / "x.drn"))
    assert (model.nr_states, model.nr_choices, list(model.initial_states)) == (12, 36, [0])
    rows = np.zeros((36, 12))
    for k in range(36):
        for entry in model.transition_matrix.get_row(k):
            value = entry.value
            rows[k, entry.column] = value() if callable(value) else value
    assert np.array_equal(rows, problem.rows)
    for name, signal in zip(["reward", "cost0", "cost1"], problem.signals):
        stored = list(model.reward_models[name].state_action_rewards)
        assert stored == pytest.approx(signal.ravel(), abs=1e-15)


# ---- refusals -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "old, new, message",
    [
        ("@type: MDP", "@type: CTMC", "model.drn:3: the model is a CTMC"),
        ("@type: MDP", "@type: Markov Automaton", "the model is a Markov Automaton"),
        ("@type: MDP", "@type: POMDP", "the model is a POMDP"),
        ("@type: MDP\n", "", "@type must come before @model"),
        ("double", "double-interval", "values are double-interval"),
        ("@parameters\n\n", "@parameters\np q\n", "parametric (p, q)"),
        ("@nr_states\n3", "@nr_states\n4", "3 states, but @nr_states is 4: truncated?"),
        ("@nr_states\n3", "@nr_states\nmany", "'many' is not a whole number"),
        ("@nr_states\n3", "@nr_states\n99999999999999999999", "is not a whole number"),
        ("@nr_states\n3\n", "", "@nr_states must come before @model"),
        ("@nr_states\n3", "@nr_states\n2", "successor 2, but @nr_states is 2"),
        ("@nr_choices\n6", "@nr_choices\n7", "6 choices, but @nr_choices is 7: truncated?"),
        ("@model\n", "", "is not part of a DRN header"),
        ("\taction go [0, 0]\n\t\t2 : 1\n", "", "5 choices, but @nr_choices is 6"),
        ("state 1 ", "state 2 ", "model.drn:21: state 2 follows 1 states"),
        ("state 1 ", "state x ", "'x' is not a whole number"),
        ("state 1 ", "state -1 ", "-1 is below 0"),
        ("state 1 [0, 0]", "state 1 [0, 0", "']' is missing"),
        ("state 1 ", "states ", "state needs a name"),
        ("\t\t1 : 0.5", "\t\t3 : 0.5", "model.drn:17: successor 3, but @nr_states is 3"),
        ("\t\t1 : 0.5", "\t\t1 : 0.4", "model.drn:16: the probabilities of state 0, action go sum to 0.9"),
        ("\t\t1 : 0.5", "\t\t1 : -0.5", "the probability -0.5 is negative"),
        ("\t\t1 : 0.5", "\t\t1 : half", "'half' is not a number"),
        ("\t\t1 : 0.5", "\t\t1 : nan", "'nan' is not a number"),
        ("\t\t1 : 0.5", "\t\t1 : 1/0", "divides by zero"),
        ("\t\t1 : 0.5", "\t\t1 : $9", "the placeholder $9 is not defined"),
        ("\t\t1 : 0.5", "\t\t1 0.5", "neither a state, an action nor"),
        ("\t\t0 : 1\n", "", "action wait sum to 0, not to 1"),
        ("[0.5, 1]", "[0.5, x]", "model.drn:16: 'x' is not a number"),
        ("@model\n", "@model\n\taction go\n", "an action before the first state"),
        ("energy time", "", "model.drn holds no gamma"),
    ],
)  # fmt: skip
def test_refusals_name_the_place(write, old, new, message):
    assert message in refusal(write(MODEL, (old, new)))


def test_a_state_with_fewer_actions_is_named(write):
    text = MODEL.replace("\taction wait [0, 2]\n\t\t1 : 1\n", "").replace("@nr_choices\n6", "@nr_choices\n5")
    message = refusal(write(text) + ",gamma=0.9,d=2")
    assert "model.drn:21: state 1 (half way) has 1 of 2 actions" in message
    deadlock = text.replace("\taction go [-1, 1/4]\n\t\t0 : 1/3\n\t\t2 : 2/3\n", "").replace("\n5\n", "\n4\n")
    assert "state 1 (half way) has 0 of 2 actions" in refusal(write(deadlock) + ",gamma=0.9,d=2")


def test_what_the_format_lacks_must_be_given(write):
    assert "holds no gamma" in refusal(write() + ",d=2")
    assert "holds no d: add ,d=... with 1 thresholds" in refusal(write() + ",gamma=0.9")
    assert "2 thresholds for 1 constraints" in refusal(write() + ",gamma=0.9,d=1+2")
    assert "no reward model is called 'tim'; did you mean 'time'?" in refusal(write() + ",reward=tim")
    assert "no reward model is called 'cash'" in refusal(write() + ",costs=cash")
    assert "holds no rho" in refusal(write(MODEL, (" init", "")) + ",gamma=0.9,d=1")
    bare = "@type: MDP\n@nr_states\n1\n@model\nstate 0 init\naction 0\n0 : 1\n"
    assert "no reward model: nothing to maximise" in refusal(write(bare))


@pytest.mark.parametrize("lines", range(len(MODEL.splitlines())))
def test_truncated_after_any_line(write, lines):
    """Cut off after any line but the last, the file is refused."""
    text = "".join(MODEL.splitlines(keepends=True)[:lines])
    assert "model.drn" in refusal(write(text) + ",gamma=0.9,d=2")


def test_not_text_and_too_long(tmp_path, monkeypatch):
    path = tmp_path / "model.drn"
    path.write_bytes(b"@type: MDP\n\xff\xfe\x00")
    assert "not a text file" in refusal(path)
    path.write_bytes(b"")
    assert "no @model section" in refusal(path)
    path.write_text("@type: MDP" + " " * 2_000_000)
    assert "longer than" in refusal(path)
    monkeypatch.setattr(drn_parser, "MAX_BYTES", 1000)
    assert "larger than the limit of 1000 bytes" in refusal(path)
