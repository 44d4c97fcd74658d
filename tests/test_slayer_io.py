"""slayer.io: events to tensors and files and back, without loss; the faults of lava-dl's reader are
not here."""

from __future__ import annotations

import contextlib

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from lavalike import InputError
from lavalike.plot import film as film_module
from lavalike.slayer import io

matplotlib.use("Agg")


@st.composite
def events(draw, kind: int):
    """(x, y, c, t in whole microseconds) that ``kind``-D files hold."""
    bits = {1: (16, 0, 1, 23), 2: (8, 8, 1, 23), 3: (12, 12, 8, 24)}[kind]
    n = draw(st.integers(0, 20))
    x, y, c, t = (
        np.array(draw(st.lists(st.integers(0, 2**b - 1), min_size=n, max_size=n)), np.int64)
        for b in bits
    )
    return io.Event(x, None if kind == 1 else y, c, t / 1000)


def same(a: io.Event, b: io.Event) -> bool:
    pairs = ((a.x, b.x), (a.y, b.y), (a.c, b.c), (a.t, b.t), (a.p, b.p))
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


def sort(e: io.Event) -> io.Event:
    order = np.lexsort((e.x, e.t, e.c, *(() if e.y is None else (e.y,))))
    return io.Event(
        e.x[order],
        None if e.y is None else e.y[order],
        e.c[order],
        e.t[order],
        None if e.p is None else e.p[order],
    )


@pytest.mark.filterwarnings("ignore:.*earlier than the one before")  # random times
@pytest.mark.parametrize(
    ("kind", "encode", "read"),
    [
        (1, io.encode_1d_spikes, io.read_1d_spikes),
        (2, io.encode_2d_spikes, io.read_2d_spikes),
        (3, io.encode_3d_spikes, io.read_3d_spikes),
    ],
)
def test_binary_files_round_trip(tmp_path, kind, encode, read):
    @given(events(kind))
    @settings(max_examples=60, deadline=None)
    def check(event):
        encode(tmp_path / "e.bin", event)
        assert (tmp_path / "e.bin").stat().st_size == len(event) * (7 if kind == 3 else 5)
        assert same(read(tmp_path / "e.bin"), event)

    check()


def test_binary_layout(tmp_path):
    """Big-endian fields in the order the formats' documentation gives."""
    io.encode_1d_spikes(tmp_path / "1", io.Event([0xABCD], None, [1], [0x012345 / 1000]))
    io.encode_2d_spikes(tmp_path / "2", io.Event([0xAB], [0xCD], [0], [0x7FFFFF / 1000]))
    io.encode_3d_spikes(tmp_path / "3", io.Event([0xABC], [0xDEF], [0x12], [0x345678 / 1000]))
    assert [(tmp_path / n).read_bytes().hex() for n in "123"] == [
        "abcd812345",
        "abcd7fffff",
        "abcdef12345678",
    ]


def test_x_beyond_255_survives(tmp_path):
    """lava-dl lost the upper byte of 1-D addresses."""
    io.encode_1d_spikes(
        tmp_path / "e", io.Event([255, 256, 700, 65535], None, [0, 1, 0, 1], [0, 1, 2, 3])
    )
    assert io.read_1d_spikes(tmp_path / "e").x.tolist() == [255, 256, 700, 65535]


@pytest.mark.parametrize("name", ["e.npy", "e.npz"])
@pytest.mark.parametrize("kind", [1, 3])
def test_numpy_files_round_trip(tmp_path, name, kind):
    @given(events(kind), st.sampled_from([1e-3, 1e-6, 1.0]))
    @settings(max_examples=25, deadline=None)
    def check(event, unit):
        io.encode_np_spikes(tmp_path / name, event, time_unit=unit)
        back = io.read_np_spikes(tmp_path / name, time_unit=unit)
        np.testing.assert_allclose(back.t, event.t, rtol=1e-14)
        assert same(io.Event(back.x, back.y, back.c, event.t), event)

    check()


def test_numpy_columns(tmp_path):
    np.save(tmp_path / "e.npy", np.array([[3, 4, 1, 2500], [5, 6, 0, 7]]))
    event = io.read_np_spikes(tmp_path / "e.npy", "xypt", time_unit=1e-6)
    assert (event.x.tolist(), event.y.tolist(), event.c.tolist(), event.t.tolist()) == (
        [3, 5],
        [4, 6],
        [1, 0],
        [2.5, 0.007],
    )
    assert io.read_np_spikes(tmp_path / "e.npy").t.tolist() == [2500, 7]


SPIKES = st.tuples(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2**31),
    st.booleans(),
)


@given(SPIKES, st.sampled_from([1, 0.5, 2, 10]))
@settings(max_examples=60, deadline=None)
def test_tensors_round_trip(spec, ms):
    c, h, w, t, seed, graded = spec
    rng = np.random.default_rng(seed)
    tensor = (rng.random((c, h, w, t)) < 0.3) * (rng.normal(size=(c, h, w, t)) if graded else 1.0)
    event = io.tensor_to_event(tensor, ms)
    np.testing.assert_array_equal(event.to_tensor(ms, tensor.shape), tensor)
    np.testing.assert_array_equal(
        event.fill_tensor(torch.zeros(tensor.shape, dtype=torch.float64), ms), tensor
    )
    assert same(io.tensor_to_event(torch.from_numpy(tensor), ms), event)
    smallest = event.to_tensor(ms)
    np.testing.assert_array_equal(smallest, tensor[tuple(slice(n) for n in smallest.shape)])
    flat = tensor[:, 0]  # (channel, width, time): one dimension
    one = io.tensor_to_event(flat, ms)
    assert one.dim == 1
    np.testing.assert_array_equal(one.fill_tensor(np.zeros(flat.shape), ms), flat)
    np.testing.assert_array_equal(one.to_tensor(ms, (c, 1, w, t))[:, 0], flat)


def test_sum_counts_duplicates_and_or_does_not():
    """lava-dl's SUM gave 1 for any number of equal events."""
    event = io.Event([1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [2.0, 2.1, 1.9, 0])
    for empty in (torch.zeros(1, 1, 2, 4), np.zeros((1, 1, 2, 4))):
        assert event.fill_tensor(empty, binning_mode="SUM") is empty
        assert float(empty[0, 0, 1, 2]) == 3
        assert float(empty.sum()) == 4
    assert event.fill_tensor(torch.zeros(1, 1, 2, 4)).sum() == 2
    graded = io.Event([0, 0], None, [0, 0], [1, 1], [0.5, -2])
    assert graded.graded
    assert graded.fill_tensor(torch.zeros(1, 1, 2))[0, 0, 1] == -1.5  # payloads are always summed
    assert graded.to_tensor()[0, 0, 0, 1] == -1.5


def test_channels_keep_their_numbers_and_arrays_stay_the_callers():
    """lava-dl subtracted the smallest channel, in the caller's own array."""
    x, y, c, t, p = (
        np.array([1, 2]),
        np.array([3, 4]),
        np.array([5, 7]),
        np.array([0.0, 1.0]),
        np.array([2.0, 3.0]),
    )
    event = io.Event(x, y, c, t, p)
    assert event.c.tolist() == [5, 7]
    event.x[0], event.c[0], event.t[0], event.p[0] = 9, 9, 9, 9
    assert (x[0], c[0], t[0], p[0]) == (1, 5, 0, 2)
    tensor = np.zeros((10, 5, 10, 10))
    event.fill_tensor(tensor)
    assert event.c.tolist() == [9, 7]


def test_events_outside_the_tensor_are_left_out_and_counted():
    event = io.Event([0, 5, 0], [0, 0, 0], [0, 0, 0], [-1, 0, 99])
    with pytest.warns(
        UserWarning, match=r"3 of 3 events are outside .*: x 0\.\.5 of 2, t -1\.\.99 of 3"
    ):
        assert (
            event.fill_tensor(torch.zeros(1, 1, 2, 3)).sum() == 0
        )  # a negative time is no step from the end
    with pytest.warns(
        UserWarning, match=r"1 of 3 events are outside .*: x 0\.\.5 of 2 \("
    ):  # times are what random_shift moves
        event.fill_tensor(torch.zeros(1, 1, 2, 3), random_shift=True)


@pytest.mark.parametrize("t", [[1.6e12, 1.6e12 + 5], [0, 4e9]])
def test_times_of_another_unit_or_epoch_are_told_before_memory_is_asked_for(t):
    with pytest.raises(
        InputError,
        match=r"GiB\. Times are in ms from the recording's begin: subtract the first .* sampling_time, or dim",
    ):
        io.Event([1, 2], [1, 2], [0, 1], t).to_tensor()
    with pytest.raises(InputError, match="no memory for an array of shape"):
        io.Event([1, 2], [1, 2], [0, 1], t).to_tensor(dim=(2, 3, 3, 1 << 60))


def test_files_of_another_format_are_told(tmp_path):
    event = io.Event(np.arange(40), np.arange(40), np.arange(40) % 2, np.arange(40))
    np.save(tmp_path / "e.npy", np.zeros((5, 4)))
    with pytest.raises(InputError, match="no file of 2-D events, but a NumPy file: read_np_spikes"):
        io.read_2d_spikes(tmp_path / "e.npy")
    io.encode_3d_spikes(tmp_path / "3", event)  # 280 bytes: a whole number of 5-byte events too
    with pytest.warns(
        UserWarning, match="events are earlier than the one before: is this a file of 1-D events"
    ):
        io.read_1d_spikes(tmp_path / "3")
    assert io.read_3d_spikes(tmp_path / "3").t.tolist() == event.t.tolist()


@pytest.mark.parametrize(("length", "spread"), [(50, 0), (50, 30), (10, 30)])
def test_random_shift(length, spread):
    event = io.Event([0, 0], None, [0, 0], [20, 20 + spread])
    starts = set()
    for seed in range(200):
        torch.manual_seed(seed)
        tensor = event.fill_tensor(torch.zeros(1, 1, length), random_shift=True)
        if spread < length:
            assert tensor.sum() == (2 if spread else 1)
        starts.update(tensor[0, 0].nonzero().ravel()[:1].tolist())
    if spread < length:
        assert (min(starts), max(starts)) == (0, length - 1 - spread)
    torch.manual_seed(3)
    a = event.fill_tensor(torch.zeros(1, 1, length), random_shift=True)
    torch.manual_seed(3)
    assert torch.equal(event.fill_tensor(torch.zeros(1, 1, length), random_shift=True), a)


def test_empty_events(tmp_path):
    """lava-dl raised."""
    for y in (None, []):
        event = io.Event([], y, [], [])
        assert event.to_tensor().size == 0
        assert event.fill_tensor(torch.zeros(2, 3, 4, 5), random_shift=True).sum() == 0
        io.encode_np_spikes(tmp_path / "e.npy", event)
        assert len(io.read_np_spikes(tmp_path / "e.npy")) == 0
    io.encode_1d_spikes(tmp_path / "e", io.Event([], None, [], []))
    assert len(io.read_1d_spikes(tmp_path / "e")) == 0
    assert len(io.tensor_to_event(np.zeros((0, 2, 3, 0)))) == 0


E1, E2 = io.Event([1], None, [0], [1]), io.Event([1], [300], [0], [1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: io.Event([1, 2], None, [0], [0, 1]),
            r"got shapes \{'x_event': \(2,\), 'c_event': \(1,\), 't_event': \(2,\)\}",
        ),
        (
            lambda p: io.Event([-1], None, [0], [0]),
            r"x_event are whole numbers in 0\.\.2\^31 - 1, got -1\.\.-1",
        ),
        (lambda p: io.Event([0], [0.5], [0], [0]), "y_event are whole"),
        (lambda p: io.Event([0], None, [0], [np.nan]), "times are finite"),
        (lambda p: io.Event(["a"], None, [0], [0]), "x_event is a list of numbers"),
        (lambda p: E1.to_tensor(0), "sampling_time is a number > 0, got 0"),
        (
            lambda p: E1.fill_tensor(torch.zeros(1, 1, 2, 2), binning_mode="AND"),
            "'OR' or 'SUM', got 'AND'",
        ),
        (
            lambda p: E2.fill_tensor(torch.zeros(1, 2, 2)),
            r"\(channel, height, width, time\) is expected, got \(1, 2, 2\)",
        ),
        (lambda p: io.tensor_to_event(np.zeros((2, 2))), r"got \(2, 2\)"),
        (lambda p: io.tensor_to_event(np.full((1, 1, 1), np.nan)), "NaN"),
        (lambda p: io.Event([0], None, [0], [1e300]).to_tensor(), "beyond 2\\^53"),
        (
            lambda p: io.encode_2d_spikes(p, E2),
            r"in 2-D files y has 8 bits, 0\.\.255; got 300\.\.300",
        ),
        (lambda p: io.encode_2d_spikes(p, E1), "2-D files hold events of 2 dimensions, got 1"),
        (lambda p: io.encode_1d_spikes(p, io.Event([1], None, [2], [1])), "c has 1 bits"),
        (
            lambda p: io.encode_1d_spikes(p, io.Event([1], None, [1], [8388.608])),
            r"0\.\.8388607 microseconds; got 8388608",
        ),
        (lambda p: io.encode_1d_spikes(p, io.Event([1], None, [1], [-1])), "t has 23 bits"),
        (lambda p: io.encode_1d_spikes(p, io.Event([1], None, [1], [1], [3])), "no payloads"),
        (lambda p: io.encode_np_spikes(p, io.Event([1], None, [1], [1], [3])), "no payloads"),
        (lambda p: io.encode_np_spikes(p, E1, "txyp"), "fmt is 'xypt', got 'txyp'"),
        (lambda p: io.read_np_spikes(p, time_unit=0), "time_unit is a number > 0"),
    ],
)
def test_bad_input_is_told(tmp_path, call, message):
    with pytest.raises(InputError, match=message):
        call(tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_damaged_files_are_told(tmp_path):
    path = tmp_path / "e"
    path.write_bytes(b"1234567")
    for read in (io.read_1d_spikes, io.read_2d_spikes):
        with pytest.raises(
            InputError, match=r"7 bytes are no whole number of .-D events of 5 bytes"
        ):
            read(path)
    for content, message in (
        (np.array([[1, 2, 3, None]]), "damaged"),
        (np.zeros((2, 5)), r"got float64 of shape \(2, 5\)"),
        (np.array([["a", "b", "c"]]), "got <U1"),
        (np.array([[0.5, 0, 0]]), "x_event are whole"),
        (np.array([[0, 0, np.inf]]), "times are finite"),
    ):
        np.save(path.with_suffix(".npy"), content, allow_pickle=True)
        with pytest.raises(InputError, match=message):
            io.read_np_spikes(path.with_suffix(".npy"))
    np.savez(tmp_path / "two.npz", a=np.zeros((1, 4)), b=np.zeros((1, 4)))
    with pytest.raises(InputError, match=r"one array, this one \['a', 'b'\]"):
        io.read_np_spikes(tmp_path / "two.npz")
    with pytest.raises(FileNotFoundError):
        io.read_np_spikes(tmp_path / "none.npy")


@pytest.mark.parametrize("name", ["e.npy", "e.npz"])
def test_any_damage_to_a_numpy_file_is_an_input_error(tmp_path, name):
    path = tmp_path / name
    io.encode_np_spikes(path, io.Event([1, 2], [3, 4], [0, 1], [5, 6]))
    whole = path.read_bytes()

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255), st.booleans())
    @settings(max_examples=150, deadline=None)
    def check(at, flip, cut):
        path.write_bytes(
            whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        )
        with contextlib.suppress(InputError):
            io.read_np_spikes(path)

    check()


@pytest.mark.parametrize("y", [None, [0, 3, 1]])
@pytest.mark.parametrize("eager", [True, False])
def test_views(tmp_path, monkeypatch, y, eager):
    from matplotlib import pyplot as plt

    monkeypatch.delenv("DISPLAY", raising=False)
    event = io.Event([0, 5, 2], y, [0, 1, 12], [0, 90, 200])
    film = event.anim(fig=3, frame_rate=20, pre_compute_frames=eager, repeat=False)
    assert (
        film._save_count == 5
    )  # 200 ms at 20 frames a second, the last event in a frame of its own
    film.save(tmp_path / "film.gif", writer="pillow", dpi=20)
    assert (tmp_path / "film.gif").stat().st_size > 0
    event.show(fig=4)
    assert plt.fignum_exists(4)
    plt.close("all")
    if y is not None:
        picture = film_module.picture(event, np.array([False, True, False]))
        assert picture.shape == (4, 6, 3)
        assert (picture.reshape(-1, 3) != 1).any(1).sum() == 1
        assert (picture[3, 5] != 1).any()
