"""The vocabulary: what is accepted, what is refused and in which words, identity, views."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem, TabularFedRLError
from tests.problems import random_cmdp

S, A, M = 3, 2, 1


def data(**changes) -> dict:
    """A valid problem's arguments, some exchanged."""
    P = np.full((S, A, S), 1 / 3)
    out = {
        "P": P,
        "r": np.ones((S, A)),
        "c": np.ones((M, S, A)),
        "d": [1.0],
        "rho": [0.5, 0.25, 0.25],
        "gamma": 0.9,
    }
    return out | changes


def edited(name: str, place: tuple[int, ...], x: float) -> dict:
    array = np.array(data()[name], dtype=float)
    array[place] = x
    return data(**{name: array})


BAD = [
    (edited("P", (1, 0, 2), np.nan), r"P\[s=1, a=0, s'=2\] = nan is not finite"),
    (edited("P", (1, 0, 2), np.inf), r"P\[s=1, a=0, s'=2\] = inf is not finite"),
    (edited("P", (2, 1, 0), -0.25), r"P\[s=2, a=1, s'=0\] = -0\.25 is negative"),
    (edited("P", (2, 1, 0), 0.5), r"row P\[s=2, a=1\] sums to 1\.1666666666\d*, not to 1"),
    (data(P=np.full((S, A, S + 1), 0.25)), r"P has shape \(3, 2, 4\): expected \(S, A, S\) = \(3, 2, 3\)"),
    (data(P=np.ones((S, S))), r"P has 2 dimensions \(shape \(3, 3\)\): expected 3"),
    (data(P="kernel"), "P is not an array of numbers"),
    (
        data(P=sp.csr_array(np.full((S, S), 1 / 3))),
        r"sparse P has shape \(3, 3\): expected \(S\*A, S\) = \(6, 3\)",
    ),
    (edited("r", (0, 1), np.nan), r"r\[0, 1\] = nan is not finite"),
    (edited("r", (2, 0), -np.inf), r"r\[2, 0\] = -inf is not finite"),
    (data(r=np.ones(S)), "r has 1 dimensions"),
    (data(r=np.ones((0, 0))), r"r has shape \(0, 0\): at least one state and one action"),
    (data(r=[[1, 2], [3]]), "r is not an array of numbers"),
    (edited("c", (0, 2, 1), np.nan), r"c\[0, 2, 1\] = nan is not finite"),
    (data(c=np.ones((2, S, A))), r"c has shape \(2, 3, 2\).* d holds 1 thresholds: expected \(1, 3, 2\)"),
    (data(c=np.ones((M, A, S))), r"c has shape \(1, 2, 3\)"),
    (data(c=[]), r"c has shape \(0, 3, 2\).* d holds 1 thresholds"),
    (data(d=[np.inf]), r"d\[0\] = inf is not finite"),
    (data(d=1.0), "d has 0 dimensions"),
    (data(rho=[0.5, 0.5]), "rho has 2 entries but there are 3 states"),
    (data(rho=[0.5, 0.75, -0.25]), r"rho\[2\] = -0\.25 is negative"),
    (data(rho=[0.5, 0.5, 0.5]), "rho sums to 1.5, not to 1"),
    (data(rho=[0.5, 0.5, np.nan]), r"rho\[2\] = nan is not finite"),
    (data(gamma=1.0), r"gamma = 1 is outside \[0, 1\)"),
    (data(gamma=-0.1), r"gamma = -0\.1 is outside \[0, 1\)"),
    (data(gamma=float("nan")), r"gamma = nan is outside \[0, 1\)"),
    (data(gamma="high"), "gamma = 'high' is not a number"),
    (data(gamma=None), "gamma = None is not a number"),
    (data() | {"state_names": ["a"]}, "state_names holds 1 names for 3"),
    (data() | {"action_names": ["a", "b", "c"]}, "action_names holds 3 names for 2"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_data_are_refused_by_place_and_number(arguments, message):
    with pytest.raises(InvalidProblem, match=message) as caught:
        CMDP(**arguments)
    assert isinstance(caught.value, TabularFedRLError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [(-0.25, r"P\[s=2, a=1, s'=0\] = -0\.25 is negative"), (0.5, r"row P\[s=2, a=1\] sums to 1\.16666"),
     (np.nan, r"P\[s=2, a=1, s'=0\] = nan is not finite")],
)  # fmt: skip
def test_bad_sparse_kernels_too(x, message):
    P = np.full((S * A, S), 1 / 3)
    P[5, 0] = x
    with pytest.raises(InvalidProblem, match=message):
        CMDP(**data(P=sp.csr_array(P)))


def test_names_appear_in_messages():
    names = {"state_names": ["start", "cliff", "goal"], "action_names": ["left", "right"]}
    with pytest.raises(InvalidProblem, match=r"row P\[s=2 \(goal\), a=1 \(right\)\] sums to"):
        CMDP(**edited("P", (2, 1, 0), 0.5), **names)
    with pytest.raises(InvalidProblem, match=r"rho\[2 \(goal\)\] = -0.25 is negative"):
        CMDP(**data(rho=[0.5, 0.75, -0.25]), **names)


def test_nearly_normalised_rows_are_normalised_and_good_ones_left_alone():
    near = CMDP(
        **data(P=np.full((S, A, S), 1 / 3) * (1 + 1e-10), rho=np.array([0.5, 0.25, 0.25]) * (1 - 1e-10))
    )
    assert abs(near.P.sum(axis=-1) - 1).max() <= 4e-16
    assert abs(near.rho.sum() - 1) <= 4e-16
    again = CMDP(near.P, near.r, near.c, near.d, near.rho, near.gamma)
    assert again == near
    assert near.row_error < 1e-14


def test_objects_are_frozen():
    cmdp = CMDP(**data())
    with pytest.raises(AttributeError, match="frozen"):
        cmdp.gamma = 0.5
    for array in (cmdp.P, cmdp.r, cmdp.c, cmdp.d, cmdp.rho, cmdp.signals):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(AttributeError, match="frozen"):
        federated(cmdp).visible = ()


def test_the_callers_arrays_are_not_shared():
    arguments = data()
    cmdp = CMDP(**arguments)
    before = cmdp.digest
    arguments["P"][:] = 0
    arguments["r"][:] = 5
    assert cmdp.r.max() == 1
    assert CMDP(**data()).digest == before


@pytest.mark.parametrize("sparse", [False, True])
def test_a_changed_copy_shares_what_has_been_checked(sparse):
    """The kernel and the initial distribution; another's arrays, equal or not, are copied and checked."""
    arguments = data()
    if sparse:
        arguments["P"] = sp.csr_array(np.reshape(arguments["P"], (-1, len(arguments["rho"]))))
    cmdp = CMDP(**arguments)
    other = cmdp.replace(r=2 * cmdp.r, c=cmdp.c[:0], d=[])
    assert other.P is cmdp.P
    assert other.rho is cmdp.rho
    assert other == CMDP(**arguments | {"r": 2 * cmdp.r, "c": [], "d": []})
    apart = cmdp.only([])
    assert apart.P is not cmdp.P
    assert apart.rho is not cmdp.rho
    for name, message in (("P", "P has shape"), ("rho", "rho has 3 entries")):
        given = {"P": np.full((5, 2, 5), 0.2), "rho": [0.2] * 5, name: getattr(cmdp, name)}
        with pytest.raises(InvalidProblem, match=message):
            CMDP(**given, r=np.zeros((5, 2)), c=[], d=[], gamma=0.9)
    with pytest.raises(InvalidProblem, match="rho"):
        cmdp.replace(rho=None)


@given(st.integers(0, 1000), st.sampled_from(["P", "r", "c", "d", "rho", "gamma"]))
def test_hash_by_content(seed, field):
    cmdp = random_cmdp(seed, S=3, A=2, m=2, gamma=0.5)
    same = random_cmdp(seed, S=3, A=2, m=2, gamma=0.5)
    assert cmdp == same
    assert hash(cmdp) == hash(same)
    other = random_cmdp(seed + 1, S=3, A=2, m=2, gamma=0.75)
    changed = cmdp.replace(**{field: getattr(other, field)})
    assert changed != cmdp
    assert cmdp != "something else"


def test_dense_and_sparse_hold_the_same_numbers():
    dense = random_cmdp(1, S=4, A=3, m=1, gamma=0.9)
    sparse = random_cmdp(1, S=4, A=3, m=1, gamma=0.9, sparse=True)
    assert np.array_equal(sparse.rows.toarray(), dense.rows)
    assert sparse.is_sparse
    assert not dense.is_sparse
    assert sparse.max_row == dense.max_row == np.count_nonzero(dense.P, axis=2).max()
    assert repr(dense) == "CMDP(S=4, A=3, m=1, gamma=0.9, dense P)"
    assert "sparse P" in repr(sparse)


def test_pickle_keeps_content_and_drops_what_was_computed():
    cmdp = random_cmdp(2, S=4, A=3, m=1, gamma=0.9)
    assert cmdp.signals.shape == (2, 4, 3)
    back = pickle.loads(pickle.dumps(cmdp))
    assert back == cmdp
    assert back.horizon == cmdp.horizon == pytest.approx(10)


def test_replace_and_only():
    cmdp = random_cmdp(3, S=3, A=2, m=3, gamma=0.9)
    part = cmdp.only([2, 0])
    assert np.array_equal(part.c, cmdp.c[[2, 0]])
    assert part.m == 2
    assert cmdp.only([]).m == 0
    with pytest.raises(InvalidProblem, match="no field 'discount'"):
        cmdp.replace(discount=0.5)


def test_utilities_enter_as_negative_costs():
    """V_g >= b is V_{-g} <= -b."""
    g = np.array([[[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]])
    cmdp = CMDP.from_utilities(np.full((S, A, S), 1 / 3), np.ones((S, A)), g, [2.0], [1, 0, 0], 0.5)
    assert np.array_equal(cmdp.c, -g)
    assert cmdp.d.tolist() == [-2.0]


@pytest.mark.parametrize("kept", [[], [1], [2, 0]])
def test_a_part_of_the_constraints_is_what_building_it_anew_gives(kept):
    cmdp = random_cmdp(5, S=4, A=3, m=3, gamma=0.9).replace(state_names=list("abcd"))
    part = cmdp.only(kept)
    again = cmdp.replace(c=cmdp.c[kept], d=cmdp.d[kept])
    assert part == again
    assert (part.m, part.state_names, part.action_names) == (len(kept), tuple("abcd"), None)
    np.testing.assert_array_equal(part.signals, again.signals)
    assert (part.row_error, part.max_row) == (again.row_error, again.max_row)
    assert part.replace(r=part.r + 1.0).P is part.P
    for name in ("P", "r", "c", "d", "rho"):
        assert not getattr(part, name).flags.writeable
        assert not np.shares_memory(getattr(part, name), getattr(cmdp, name))


def test_who_sees_what():
    cmdp = random_cmdp(4, S=3, A=2, m=3, gamma=0.9)
    shared = FederatedCMDP(cmdp, [[0, 1], [1, 2], [2, 2]])
    assert shared.visible == ((0, 1), (1, 2), (2,))
    assert (shared.N, shared.pairs) == (3, 5)
    assert shared.observers.tolist() == [1, 2, 2]
    assert shared == FederatedCMDP(cmdp, shared.mask)
    assert hash(shared) == hash(FederatedCMDP(cmdp, shared.mask))
    assert federated(cmdp).visible == ((0,), (1,), (2,))
    assert federated(shared) is shared
    assert federated(cmdp.only([])).visible == ((),)
    view = shared.view(1)
    assert np.array_equal(view.c, cmdp.c[1:])
    assert not np.shares_memory(view.c, cmdp.c)


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        ([[0, 1]], "constraint 2 is seen by no agent"),
        ([[0, 1, 2], []], "agent 1 sees no constraint"),
        ([[0, 1, 2], [3]], r"agent 1 sees constraint 3, but there are 3 \(0\.\.2\)"),
        ([[0, 1, 2, -1]], "agent 0 sees constraint -1"),
        ([], "visible is empty"),
        (np.ones((2, 2), dtype=bool), r"visible has shape \(2, 2\): expected \(N, m\) with m = 3"),
        (np.array([[True, True, True], [False, False, False]]), "agent 1 sees no constraint"),
    ],
)
def test_bad_visibility_is_refused(visible, message):
    with pytest.raises(InvalidProblem, match=message):
        FederatedCMDP(random_cmdp(4, S=3, A=2, m=3, gamma=0.9), visible)
