"""``.npz`` problems: exact round trips, strangers' files refused in one line, nothing half-written."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load, notes, save, windy_cliff
from tests.strategies import federations

SOUND = {
    "P": np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.25, 0.75]]]),
    "r": np.array([[1.0, 0.0], [0.5, 2.0]]),
    "c": np.array([[[0.0, 1.0], [1.0, 0.0]]]),
    "d": np.array([1.5]),
    "rho": np.array([1.0, 0.0]),
    "gamma": np.array(0.9),
}


@pytest.fixture
def write(tmp_path):
    """Write the sound problem with some keys changed (None: left out); the path as text."""

    def writer(**changes):
        path = tmp_path / "problem.npz"
        np.savez(path, **{key: x for key, x in (SOUND | changes).items() if x is not None})
        return str(path)

    return writer


def refusal(source):
    with pytest.raises(InvalidProblem) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


# ---- round trips ----------------------------------------------------------------------------------------
@settings(max_examples=60)
@given(problem=federations())
def test_round_trip_is_exact(problem, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "problem.npz"
    save(path, problem)
    assert load(path) == problem
    assert load(path).visible == problem.visible


@pytest.mark.parametrize(
    "source", ["garnet:S=9,sparse=true,seed=2", "textbook:two-budgets", "windy-cliff", "gym:Taxi-v4,d=1"]
)
def test_round_trip_keeps_kind_and_names(source, tmp_path):
    problem = load(source)
    save(tmp_path / "x.npz", problem)
    again = load(tmp_path / "x.npz")
    assert again == problem
    assert again.cmdp.is_sparse == problem.cmdp.is_sparse
    assert again.cmdp.state_names == problem.cmdp.state_names
    assert again.cmdp.action_names == problem.cmdp.action_names


def test_keys_are_the_documented_ones(tmp_path):
    save(tmp_path / "x.npz", windy_cliff())
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert {"P", "r", "c", "d", "rho", "gamma", "visible"} <= set(arrays.files)
        assert arrays["visible"].dtype == bool
    save(tmp_path / "y.npz", load("garnet:sparse=true"))
    with np.load(tmp_path / "y.npz", allow_pickle=False) as arrays:
        assert {"P_data", "P_indices", "P_indptr"} <= set(arrays.files)


def test_plain_file_gives_one_agent_per_constraint(write):
    problem = load(write())
    assert problem == FederatedCMDP(CMDP(**SOUND), [[0]])
    two = load(write(c=np.ones((2, 2, 2)), d=np.ones(2)))
    assert two.visible == ((0,), (1,))


def test_visible_overlaps(write):
    mask = np.array([[True, False], [True, True]])
    assert load(write(c=np.ones((2, 2, 2)), d=np.ones(2), visible=mask)).visible == ((0,), (0, 1))


def test_problem_without_constraints_needs_no_costs(write):
    assert load(write(c=None, d=None)).cmdp.m == 0


def test_fractions_are_read_as_the_nearest_floats(write):
    P = np.array([[["1/3", "2/3"], ["1", "0"]], [["0.0", "1e0"], ["1/4", "3/4"]]])
    problem = load(write(P=P, gamma=np.array("9/10"), d=np.array(["3/2"]))).cmdp
    assert problem.P[0, 0].tolist() == [1 / 3, 2 / 3]
    assert problem.gamma == 0.9
    assert problem.d.tolist() == [1.5]


def test_integers_and_small_floats_are_numbers(write):
    problem = load(write(r=np.array([[1, 0], [0, 2]]), d=np.array([1.5], dtype=np.float32))).cmdp
    assert problem.r.dtype == np.float64


def test_fortran_order(write):
    assert load(write(P=np.asfortranarray(SOUND["P"]))) == load(write())


def test_overrides_fill_gaps(write):
    assert load(write(gamma=None) + ",gamma=0.9") == load(write())
    assert load(write(d=None) + ",d=1.5") == load(write())
    assert load(write(rho=None) + ",rho=0") == load(write())
    assert "holds no gamma" in refusal(write(gamma=None))
    assert "holds no d" in refusal(write(d=None))
    assert "holds no rho" in refusal(write(rho=None))


def test_ignored_keys_are_noted(write):
    assert notes(write(extra=np.ones(2))) == ["ignored keys: extra"]


# ---- bad content ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"r": None}, "key 'r' is missing"),
        ({"P": None}, "key 'P' is missing"),
        ({"c": None}, "key 'c' is missing"),
        ({"r": np.ones(3)}, "r has shape (3,)"),
        ({"r": np.ones((0, 2))}, "r has shape (0, 2)"),
        ({"r": np.array([[1.0, np.nan], [0, 0]])}, "r[0, 1] = nan is not finite"),
        ({"P": np.ones((2, 2))}, "P has 2 dimensions"),
        ({"P": np.ones((2, 2, 3))}, "P has shape (2, 2, 3)"),
        ({"P": SOUND["P"] * 0.9}, "sums to 0.9"),
        ({"P": np.array([[[1.5, -0.5], [1, 0]], [[0, 1], [0, 1]]])}, "P[s=0, a=0, s'=1] = -0.5 is negative"),
        ({"P": np.array([[[np.inf, 0], [1, 0]], [[0, 1], [0, 1]]])}, "is not finite"),
        ({"rho": np.array([0.5, 0.4])}, "rho sums to 0.9"),
        ({"rho": np.array([1.0])}, "rho has 1 entries"),
        ({"d": np.ones(2)}, "expected (2, 2, 2)"),
        ({"d": np.ones((1, 1))}, "d has 2 dimensions"),
        ({"gamma": np.array(1.0)}, "gamma = 1 is outside [0, 1)"),
        ({"gamma": np.array([0.9, 0.9])}, "gamma has shape (2,)"),
        ({"gamma": np.array(0.9j)}, "key 'gamma' holds complex128"),
        ({"r": np.array([[b"1", b"2"], [b"1", b"2"]])}, "key 'r' holds |S1"),
        ({"r": np.array([["1", "x"], ["1", "2"]])}, "key 'r': 'x' is not a number"),
        ({"r": np.array([["1", "1/0"], ["1", "2"]])}, "divides by zero"),
        ({"r": np.array([["1", "1e999999"], ["1", "2"]])}, "is too large"),
        ({"r": np.array([["1", "nan"], ["1", "2"]])}, "'nan' is not a number"),
        ({"r": np.array([["1", "9" * 300 + "/1"], ["1", "2" * 1200]])}, "texts of 1200 characters"),
        ({"visible": np.ones((1, 1))}, "key 'visible' holds float64, expected booleans"),
        ({"visible": np.ones((1, 2), dtype=bool)}, "expected (N, m)"),
        ({"visible": np.zeros((1, 1), dtype=bool)}, "agent 0 sees no constraint"),
        ({"visible": np.zeros((0, 1), dtype=bool)}, "at least one agent"),
        ({"state_names": np.array(["only one"])}, "state_names holds 1 names for 2"),
        ({"state_names": np.array([1, 2])}, "expected text"),
        ({"action_names": np.array([["a", "b"]])}, "expected a list of names"),
        ({"format_version": np.array(99)}, "format_version is 99"),
    ],
)  # fmt: skip
def test_bad_content_names_file_and_key(write, changes, message):
    text = refusal(write(**changes))
    assert message in text
    assert "problem.npz" in text


SPARSE = {
    "P": None,
    "P_data": np.array([0.5, 0.5, 1.0, 1.0, 1.0]),
    "P_indices": np.array([0, 1, 0, 1, 1]),
    "P_indptr": np.array([0, 2, 3, 4, 5]),
}


def test_sparse_keys(write):
    assert load(write(**SPARSE)).cmdp.rows.toarray().tolist() == [[0.5, 0.5], [1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"P_indptr": None}, "key 'P_indptr' is missing"),
        ({"P_indptr": np.array([0, 2, 3, 4])}, "P_indptr must rise"),
        ({"P_indptr": np.array([0, 3, 2, 4, 5])}, "P_indptr must rise"),
        ({"P_indptr": np.array([0, 2, 3, 4, 50])}, "P_indptr must rise"),
        ({"P_indptr": np.array([-1, 2, 3, 4, 5])}, "P_indptr must rise"),
        ({"P_indices": np.array([0, 1, 0, 1, 2])}, "P_indices must hold 5 states in 0..1"),
        ({"P_indices": np.array([0, 1, 0, 1, -1])}, "P_indices must hold 5 states in 0..1"),
        ({"P_indices": np.array([0, 1, 0, 1])}, "P_indices must hold"),
        ({"P_indices": np.array([0, 1, 0, 1, 0.5])}, "P_indices is float64"),
        ({"P_indptr": np.array([[0, 2, 3, 4, 5]])}, "P_indptr is int64 of shape"),
        ({"P_data": np.array([0.5, 0.4, 1.0, 1.0, 1.0])}, "sums to 0.9"),
    ],
)
def test_bad_sparse_kernels(write, changes, message):
    assert message in refusal(write(**(SPARSE | changes)))


# ---- bad files ------------------------------------------------------------------------------------------
def test_no_pickle_is_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.savez(tmp_path / "x.npz", **(SOUND | {"r": np.array([Trap()], dtype=object)}))
    assert "key 'r' holds object" in refusal(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files(write, fraction):
    path = write()
    with open(path, "r+b") as stream:
        stream.truncate(int(os.path.getsize(path) * fraction))
    assert "truncated, corrupt or not an .npz file" in refusal(path)


def test_flipped_bytes_never_load_wrong_numbers(write):
    """Any single flipped byte is noticed, or falls where the format ignores it and the problem is
    unchanged."""
    path = write()
    sound, original = load(path), Path(path).read_bytes()
    draw = np.random.default_rng(0)
    messages = []
    for place in draw.choice(len(original), size=150, replace=False):
        damaged = bytearray(original)
        damaged[place] ^= 0x41
        with open(path, "wb") as stream:
            stream.write(damaged)
        try:
            again = load(path)
        except InvalidProblem as error:
            messages.append(str(error))
        else:
            assert again == sound
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)


def test_text_called_npz(tmp_path):
    (tmp_path / "x.npz").write_text("P = 1\n")
    assert "not an .npz file" in refusal(tmp_path / "x.npz")


def archive(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, content in members.items():
            out.writestr(f"{name}.npy", content)


def header(shape, descr="<f8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (header((10**15,)), "declares (1000000000000000,)"),
        (header((2**62, 8)), "declares"),
        (header((10**10, 0)) + b"x", "declares"),
        (header((-1,)), "declares" ),
        (b"", "is not an array"),
        (b"\x93NUMPY\x07\x00", "is not an array"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, "is not an array"),
        (header((2, 2), "|O"), "holds object"),
        (b"garbage", "is not an array"),
    ],
)  # fmt: skip
def test_absurd_headers_are_refused_before_allocation(tmp_path, content, message):
    archive(tmp_path / "x.npz", r=content)
    assert message in refusal(tmp_path / "x.npz")


def test_zip_bomb_is_refused_by_its_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr("tabular_fedrl.archive.MAX_BYTES", 10_000)
    archive(tmp_path / "x.npz", zipfile.ZIP_DEFLATED, r=header((5000,)) + bytes(40_000))
    assert os.path.getsize(tmp_path / "x.npz") < 1000
    assert "over the limit of 1e+04" in refusal(tmp_path / "x.npz")


def test_encrypted_flag_is_refused(write):
    path = write()
    data = bytearray(Path(path).read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = -1
        while (place := data.find(signature, place + 1)) >= 0:
            data[place + offset] |= 1
    Path(path).write_bytes(data)
    assert "corrupt" in refusal(path)


# ---- writing --------------------------------------------------------------------------------------------
def fail_half_way(temporary, error):
    temporary.write_text("half")
    raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        fail_half_way(temporary, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_success_replaces_at_once(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_links_are_followed(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.parametrize("path", ["/dev/null", "{tmp}", "{tmp}/none/x.npz"])
def test_places_that_cannot_be_written(tmp_path, path):
    with pytest.raises(InvalidProblem, match="cannot write"), atomic_path(path.format(tmp=tmp_path)):
        pass
    assert os.listdir(tmp_path) == []


def test_save_refuses_unknown_endings(tmp_path):
    with pytest.raises(InvalidProblem, match=r"must end in \.npz or \.drn"):
        save(tmp_path / "x.json", windy_cliff())
    with pytest.raises(InvalidProblem, match="does not exist"):
        save(tmp_path / "none" / "x.npz", windy_cliff())
    assert os.listdir(tmp_path) == []
