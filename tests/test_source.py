"""The SOURCE syntax: what each form gives, which overrides do what, and one clear line for everything
else."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import TEXTBOOK, families, garnet, load, notes, random_mdp, save, windy_cliff
from tabular_fedrl.instances.text import parse_number


@pytest.mark.parametrize(
    "source, problem",
    [
        ("windy-cliff:ncost=2", lambda: windy_cliff(ncost=2)),
        ("windy-cliff", windy_cliff),
        ("windy-cliff:", windy_cliff),
        ("random-mdp:seed=7", lambda: random_mdp(seed=7)),
        ("garnet:S=50,A=4,b=5,m=3,seed=1", lambda: garnet(50, 4, 5, 3, 1)),
        ("garnet:sparse=true,gamma=0.5", lambda: garnet(gamma=0.5, sparse=True)),
        ("garnet,gamma=1/2", lambda: garnet(gamma=0.5)),
        ("windy-cliff:wind=1/4", lambda: windy_cliff(wind=0.25)),
    ],
)
def test_families(source, problem):
    assert load(source).cmdp == problem()


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook(name):
    assert load(f"textbook:{name}") == TEXTBOOK[name].build()


def test_overrides():
    problem = load("textbook:two-arm,gamma=0.25,d=1/4,rho=uniform,agents=3")
    assert problem.cmdp.gamma == 0.25
    assert problem.cmdp.d.tolist() == [0.25]
    assert problem.visible == ((0,), (0,), (0,))
    assert load("garnet:m=3,d=1e+0+2+-3.5e-1").cmdp.d.tolist() == [1, 2, -0.35]
    assert load("garnet:m=3,visible=0/1/2+0").visible == ((0,), (1,), (0, 2))
    assert load("garnet:rho=3").cmdp.rho[3] == 1
    assert load("garnet:m=0,agents=2").visible == ((), ())


@pytest.mark.parametrize(
    "m, N, visible",
    [
        (4, 4, ((0,), (1,), (2,), (3,))),
        (4, 1, ((0, 1, 2, 3),)),
        (5, 2, ((0, 2, 4), (1, 3))),
        (2, 5, ((0,), (1,), (0,), (1,), (0,))),
    ],
)
def test_agents_take_turns(m, N, visible):
    assert load(f"garnet:S=4,b=2,m={m},agents={N},d={'+'.join(['9'] * m)}").visible == visible


def test_default_is_one_agent_per_constraint():
    assert load("windy-cliff:ncost=3").visible == ((0,), (1,), (2,))


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem = load("windy-cliff")
    names = ["plain.npz", "comma,and=equals.npz", "gym:odd.npz", "windy-cliff", "sub folder/x.npz"]
    os.mkdir("sub folder")
    save("plain.npz", problem)
    for name in names[1:]:
        Path(name).write_bytes(Path("plain.npz").read_bytes())
    for name in names:
        assert load(name) == problem
        assert load(tmp_path / name) == problem
        assert load(f"{name},gamma=0.5").cmdp.gamma == 0.5
    # A file called like a family comes first; with a colon the family is meant.
    save("plain.npz", windy_cliff(gamma=0.3))
    Path("windy-cliff").write_bytes(Path("plain.npz").read_bytes())
    assert load("windy-cliff").cmdp.gamma == 0.3
    assert load("windy-cliff:").cmdp.gamma == 0.9


@pytest.mark.parametrize(
    "source, message",
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a\0b", "unreadable"),
        ("x" * 100_000, "no file"),
        ("missing.npz", "no file 'missing.npz'"),
        ("missing.drn,gamma=0.9", "no file 'missing.drn'"),
        ("windy-clif", "did you mean 'windy-cliff'"),
        ("windycliff:ncost=1", "did you mean 'windy-cliff'"),
        ("textbok:two-arm", "did you mean 'textbook'"),
        ("textbook:two-arms", "did you mean 'two-arm'"),
        ("textbook:", "no textbook example"),
        ("garnet:seeds=1", "garnet: unknown key 'seeds'; did you mean 'seed'?"),
        ("garnet:whatever", "'whatever' is not key=value"),
        ("garnet:,", "not key=value"),
        ("garnet:=1", "not key=value"),
        ("garnet:S=5,S=6", "S is given twice"),
        ("garnet:S=", "'' is not a whole number"),
        ("garnet:S=5.0", "'5.0' is not a whole number"),
        ("garnet:S=99999999999999999999", "is not a whole number"),
        ("garnet:sparse=yes", "neither true nor false"),
        ("garnet:gamma=1", "gamma = 1 is outside"),
        ("garnet:gamma=-0.1", "outside"),
        ("garnet:gamma=nan", "'nan' is not a number"),
        ("garnet:gamma=inf", "'inf' is not a number"),
        ("garnet:gamma=0_1", "is not a number"),
        ("random-mdp:gamma=two", "random-mdp: gamma: 'two' is not a number"),
        ("windy-cliff:ncost=0,d=1", "no constraints"),
        ("windy-cliff,d=1+2", "2 thresholds for 1 constraints"),
        ("windy-cliff,d=", "'' is not a number"),
        ("windy-cliff,d=1e999999", "too large"),
        ("windy-cliff,agents=0", "0 is below 1"),
        ("windy-cliff,agents=1000000", "over the limit"),
        ("windy-cliff,agents=1,visible=0", "not both"),
        ("windy-cliff,visible=1", "constraint 1"),
        ("windy-cliff,visible=", "sees no constraint"),
        ("windy-cliff,visible=a", "'a' is not a whole number"),
        ("windy-cliff,rho=40", "state 40, but there are 40"),
        ("windy-cliff,rho=-1", "-1 is below 0"),
        ("windy-cliff,reward=r", "DRN"),
        ("textbook:two-arm,costs=c", "DRN"),
        ("textbook:two-arm,seed=1", "unknown key 'seed'"),
        ("unheard:at=all", "unknown family 'unheard'; known: gym"),
        (".", "not a regular file"),
        ("/dev/zero", "not a regular file"),
    ],
)
def test_one_clear_line_for_everything_else(source, message):
    with pytest.raises(InvalidProblem) as caught:
        load(source)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text


def test_files_of_another_kind(tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n")
    with pytest.raises(InvalidProblem, match=r"neither \.npz nor \.drn"):
        load(tmp_path / "x.csv")


def test_notes_of_families_and_examples():
    for name in families:
        assert notes(name) == list(families[name].notes)
    assert notes("textbook:three-state")[-1] == "by hand: V* = 1.25"
    assert notes("textbook:infeasible")[-1] == "by hand: infeasible"


@given(text=st.text(max_size=40))
def test_any_text_is_a_problem_or_one_line(text):
    try:
        load("textbook:two-arm," + text)
    except InvalidProblem as error:
        message = str(error)
    else:
        message = ""
    assert len(message.splitlines()) <= 1


@given(x=st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_back_exactly(x):
    assert parse_number(repr(x), "x") == x


@given(p=st.integers(-(10**30), 10**30), q=st.integers(1, 10**30))
def test_fractions_are_rounded_once(p, q):
    """Python's int / int is correctly rounded: the oracle for the nearest float."""
    assert parse_number(f"{p}/{q}", "x") == p / q


@pytest.mark.parametrize("text", ["1e999999999", "1/3/4", "0x10", "1 2", "١", "1e5/3", "--1", "1" * 401, ""])
def test_strange_numbers(text):
    with pytest.raises(InvalidProblem, match=r"^x: "):
        parse_number(text, "x")
