"""lavalike.events: files that people have, structured arrays, frames, the simulated camera; and the
data sets of events."""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lavalike import InputError, events
from lavalike.events import Event, Frames
from tests.conftest import ROOT

X, Y, P, T = [3, 4, 127], [7, 0, 1], [1, 0, 1], [0, 1500, 2250]  # of three events, t in us
EVENT = Event(X, Y, P, np.array(T) / 1000)


def same(a: Event, b: Event) -> bool:
    pairs = ((a.x, b.x), (a.y, b.y), (a.c, b.c), (a.t, b.t), (a.p, b.p))
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in pairs)


def refused(problem: str, call, *args, **kwargs) -> None:
    """InputError of one line that says ``problem``."""
    with pytest.raises(InputError, match=problem) as e:
        call(*args, **kwargs)
    assert "\n" not in str(e.value)


def test_events_need_no_torch(tmp_path):
    """Nor numba, h5py or matplotlib: reading and framing a recording is NumPy's."""
    events.write(tmp_path / "e.csv", EVENT)
    code = (
        "import sys; from lavalike import events; e = events.read(sys.argv[1]);"
        "print(sum(f.sum() for f in events.frames(e, 1.0)), len(events.EventCamera()(__import__('numpy').ones((2, 2, 2)))));"
        "print({'torch', 'numba', 'h5py', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "e.csv")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["3.0 0", "set()"]


# -- structured arrays -----------------------------------------------------------------------------

TONIC = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
PROPHESEE = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])


def structured(dtype) -> np.ndarray:
    out = np.zeros(3, dtype)
    for name, values in zip("xypt", (X, Y, P, T), strict=True):
        out[name] = values
    return out


@pytest.mark.parametrize(
    "dtype",
    [
        TONIC,
        PROPHESEE,
        np.dtype([("t", "f8"), ("p", "i1"), ("y", "u1"), ("x", "u1")]),  # any order, any kinds
        np.dtype(
            {"names": list("xypt"), "formats": ["u2"] * 3 + ["u4"], "offsets": [8, 4, 20, 12]}
        ),
    ],
)
def test_structured_arrays_are_read_by_name(dtype):
    assert same(Event.from_structured(structured(dtype)), EVENT)


def test_structured_arrays_both_ways():
    tonic, prophesee = EVENT.to_structured(), EVENT.to_structured("prophesee")
    assert tonic.dtype.names == ("x", "y", "t", "p")
    assert prophesee.dtype == PROPHESEE
    for a in (tonic, prophesee):
        assert [a[n].tolist() for n in "xypt"] == [X, Y, P, T]
        assert same(Event.from_structured(a), EVENT)
    audio = Event([5, 699], None, [0, 0], [0.0, 1.5]).to_structured()
    assert audio.dtype == np.dtype([("t", "i8"), ("x", "i8"), ("p", "i8")])
    assert Event.from_structured(audio).dim == 1
    assert EVENT.to_structured(unit=1e-3)["t"].tolist() == [0, 2, 2]  # whole ms, halves to even


def test_other_names_and_polarities_are_known():
    a = np.array(
        [(1, 5, 2, -1), (2, 6, 3, 1)], [("ts", "i8"), ("x", "i2"), ("y", "i2"), ("polarity", "i1")]
    )
    assert Event.from_structured(a, unit=1e-3).t.tolist() == [1, 2]
    assert Event.from_structured(a).c.tolist() == [0, 1]
    ms = np.array([(0, 1.5)], [("neuron", "i4"), ("t_ms", "f8")])
    assert Event.from_structured(ms).t.tolist() == [1.5]  # the name says the unit


def test_what_a_structured_array_cannot_be():
    read = Event.from_structured
    back = structured(TONIC)[::-1]
    refused(
        r"t runs backwards, 2 times of 3, first at event 1 \(1500 after 2250\); sort=True",
        read,
        back,
    )
    assert same(read(back, sort=True), EVENT)
    unsigned = np.array([(1, 5), (1, 3)], [("x", "u2"), ("t", "u4")])
    refused("t runs backwards, 1 times", read, unsigned)  # a difference of unsigned numbers is not
    refused(
        r"x = 127 of event 2 is beyond the sensor of 100 x 100 \(1 events",
        read,
        structured(TONIC),
        sensor=(100, 100),
    )
    refused("no field for x .* among", read, np.zeros(2, [("y", int), ("t", int)]))
    refused("no field for t", read, np.zeros(2, [("y", int), ("x", int)]))
    refused(
        "field 'pp' is none of an event's", read, np.zeros(2, [("x", int), ("t", int), ("pp", int)])
    )
    refused(
        "two fields for t, 't' and 'ts'", read, np.zeros(2, [("x", int), ("t", int), ("ts", int)])
    )
    refused("field 'x' holds numbers", read, np.zeros(2, [("x", "U3"), ("t", int)]))
    refused("one axis of events", read, np.zeros((2, 2), TONIC))
    refused("structured NumPy array", read, np.zeros((2, 4)))
    refused(
        "field 'x' of prophesee's arrays is uint16",
        Event([70000], [0], [0], [0]).to_structured,
        "prophesee",
    )
    refused("no payloads", Event([1], [0], [0], [0], [2.0]).to_structured)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["e.npy", "e.npz", "e.csv", "e.txt", "e.bin"])
def test_files_both_ways(tmp_path, name):
    events.write(tmp_path / name, EVENT)
    assert same(events.read(tmp_path / name), EVENT)
    if name != "e.bin":
        line = Event([5, 699], None, [0, 0], [0.0, 1.5])
        events.write(tmp_path / name, line)
        assert same(events.read(tmp_path / name), line)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 255), st.integers(0, 255), st.integers(0, 1), st.integers(0, 2**23 - 1)
        ),
        max_size=8,
    )
)
@settings(max_examples=8, deadline=None)
def test_times_of_microseconds_survive_every_file(tmp_path_factory, rows):
    x, y, p, t = np.array(sorted(rows, key=lambda r: r[3]), np.int64).reshape(-1, 4).T
    y = np.where(y == 240, 0, y)  # N-Caltech101's mark
    event, folder = Event(x, y, p, t / 1000), tmp_path_factory.mktemp("e")
    for name in ("e.npy", "e.csv", "e.bin"):
        events.write(folder / name, event)
        assert same(events.read(folder / name), event), name


def test_a_file_that_is_written_again_is_never_half_of_one(tmp_path):
    """A second name of the old file keeps what was in it: the new one takes its place whole."""
    for name in ("e.npy", "e.csv", "e.bin"):
        events.write(tmp_path / name, EVENT)
        (tmp_path / f"old_{name}").hardlink_to(tmp_path / name)
        events.write(tmp_path / name, Event([1], [1], [0], [0.0]))
        assert same(events.read(tmp_path / f"old_{name}"), EVENT)


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_text_files(tmp_path):
    path = tmp_path / "e.csv"
    for content in (
        "t,x,y,p\n0,3,7,1\n1500,4,0,0\n2250,127,1,1\n",
        "# x y p t\n3 7 1 0\n4 0 0 1500\n127 1 1 2250\n",
        "\ufeffPolarity;Timestamp;X;Y\n1;0;3;7\n\n# a remark\n0;1500;4;0\n1;2250;127;1\n",
        'x,y,p,"time [ms]"\n3,7,1,0\n4,0,0,1.5\n127,1,1,2.25\n',
    ):
        assert same(events.read(text(path, content)), EVENT)
    bare = text(path, "0,3,7,1\n1500,4,0,0\n2250,127,1,1\n")
    assert same(events.read(bare, order="txyp"), EVENT)
    spikes = events.read(text(path, "neuron,time_s\n5,0.001\n2,0.25\n"))
    assert (spikes.dim, spikes.x.tolist(), spikes.t.tolist()) == (1, [5, 2], [1, 250])
    assert len(events.read(text(path, "x,t\n"))) == 0


def test_columns_without_names_need_an_order_and_wrong_ones_are_told(tmp_path):
    rows = np.array([[0, 3, 7, 1], [1500, 4, 0, 0], [2250, 127, 1, 1]])  # t, x, y, p
    np.save(tmp_path / "e.npy", rows)
    bare = text(tmp_path / "e.csv", "0,3,7,1\n1500,4,0,0\n2250,127,1,1\n")
    for path in (tmp_path / "e.npy", bare):
        refused(rf"{path.name}.*order=", events.read, path)
        assert same(events.read(path, order="txyp"), EVENT)
        wrong = "takes column 3 for t, which runs backwards, while column 0 never runs backwards and goes furthest"
        refused(wrong, events.read, path, order="xypt")
        refused("order 'tx' names 2 columns, there are 4", events.read, path, order="tx")
        refused(
            "p, which holds whole numbers in 0..255, and it holds 3..127|holds whole",
            events.read,
            path,
            order="pxyt",
        )
        refused("order is the columns' letters", events.read, path, order="xyzt")
    assert same(events.from_array(rows, "txyp"), EVENT)
    steady = np.array([[0, 3, 7, 1], [1500, 4, 0, 1], [2250, 5, 1, 1]])  # one polarity only
    refused("which stands still, while column 0", events.from_array, steady, "xypt")
    refused(
        "x, which holds whole numbers in 0..65535, and it holds 0..70000",
        events.from_array,
        np.array([[0, 1], [70000, 2]]),
        "xt",
    )
    refused("x, which holds whole", events.from_array, np.array([[0.5, 1]]), "xt")


def test_times_that_cannot_be_microseconds_want_a_unit(tmp_path):
    """As of text files with seconds in front: 0.003811 33 39 1."""
    path = text(tmp_path / "events.txt", "0.003811 33 39 1\n0.0042 34 40 0\n")
    problem = r"t = 0\.003811 of event 0 is no whole number of microseconds; .* unit=1 for seconds"
    refused(problem, events.read, path, order="txyp")
    assert events.read(path, order="txyp", unit=1).t.tolist() == [3.811, 4.2]
    ms = np.array([(1, 0.5)], [("x", "i4"), ("t", "f4")])
    refused("no whole number of microseconds", Event.from_structured, ms)
    assert Event.from_structured(ms, unit=1e-3).t.tolist() == [0.5]
    refused("no whole number", events.from_array, np.array([[1, 0.5]]), "xt")


def test_what_lava_dl_loaded_swapped(tmp_path):
    """Rows t, x, y, p read as x, y, p, t."""
    from lavalike.slayer import io

    rows = np.array([[0, 3, 7, 1], [1500, 4, 0, 0], [2250, 127, 1, 1]])
    np.save(tmp_path / "e.npy", rows)
    refused(
        "fmt='xypt' takes column 3 for t, which runs backwards, while column 0",
        io.read_np_spikes,
        tmp_path / "e.npy",
    )
    assert same(io.read_np_spikes(tmp_path / "e.npy", "txyp", 1e-6), EVENT)
    np.save(tmp_path / "e.npy", EVENT.to_structured())
    assert same(io.read_np_spikes(tmp_path / "e.npy"), EVENT)  # names decide, times in us
    refused("leave fmt='xypt' out", io.read_np_spikes, tmp_path / "e.npy", "xypt")


def test_files_that_are_not_what_they_should_be(tmp_path):
    for name in ("e.npy", "e.csv", "e.aedat", "e.bin"):
        with pytest.raises(FileNotFoundError, match=rf"{name}: no such file; a file of events is"):
            events.read(tmp_path / name)
        refused("no such file", events.read, tmp_path / name)
    refused("is a folder", events.read, tmp_path)
    for name, content, problem in (
        ("e.npy", b"\x93NUMPY\x01\x00v", "no NumPy file of events, or damaged"),
        ("e.csv", b"\xff\xfe\x00", "no text file"),
        ("e.csv", b"\n\n", "is empty"),
        ("e.csv", b"x,t\n1,2\n3\n", r"line 3 is '3'; 2 numbers are expected"),
        ("e.csv", b"x,t\n1,two\n", r"line 2 is '1,two'"),
        ("e.csv", b"x,t\n1,nan\n", "times are finite"),
        ("e.csv", b"x,t\n1,5\n1,4\n", r"e\.csv: t runs backwards, 1 times of 2, first at event 1"),
        ("e.csv", b"a,b\n1,5\n", "column 'a' is none of an event's"),
        ("e.bin", bytes(7), r"7 bytes are no whole number of 2-D events of 5 bytes"),
        ("e.bin", b"\x93NUMPY0000", "no such|NumPy"),
        ("e.aedat", b"hello", "no AEDAT file"),
        ("e.h5", b"\x89HDF\r\n\x1a\n", r"an HDF5 file; events\.SpikeFile"),
        ("e.mp4", b"0", r"its name ends in '\.mp4'; files of events are"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(problem, events.read, tmp_path / name)
    np.save(tmp_path / "o.npy", np.array([[1, None]]), allow_pickle=True)
    refused("no NumPy file of events, or damaged", events.read, tmp_path / "o.npy")
    events.write(tmp_path / "e.npy", EVENT)
    refused("its fields .* have names; order='txyp'", events.read, tmp_path / "e.npy", order="txyp")
    refused(
        r"camera='DVS128' says nothing of a file of this kind \(npy\)",
        events.read,
        tmp_path / "e.npy",
        camera="DVS128",
    )
    refused("beyond the sensor of 64 x 64", events.read, tmp_path / "e.npy", sensor=(64, 64))
    for name, problem in (("e.aedat", "ends in '.aedat'"), ("no/e.npy", "cannot be written")):
        refused(problem, events.write, tmp_path / name, EVENT)
    refused(r"\.bin files count microseconds", events.write, tmp_path / "e.bin", EVENT, unit=1e-3)
    refused("s, ms, us or ns; unit=0.1", events.write, tmp_path / "e.csv", EVENT, unit=0.1)


@pytest.mark.parametrize("name", ["e.csv", "e.npy", "e.bin", "e.aedat"])
def test_any_damage_to_a_file_is_an_input_error(tmp_path, name):
    if name == "e.aedat":
        (tmp_path / name).write_bytes(aedat3([packet(T, X, Y, P)]))
    else:
        events.write(tmp_path / name, EVENT)
    whole = (tmp_path / name).read_bytes()

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255), st.booleans())
    @settings(max_examples=30, deadline=None)
    def check(at, flip, cut):
        damaged = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        (tmp_path / name).write_bytes(damaged)
        with contextlib.suppress(InputError):
            events.read(tmp_path / name)

    check()


# -- AEDAT -----------------------------------------------------------------------------------------


def aedat2(words, head=b"# AEChip: net.sf.jaer.DVS128\r\n") -> bytes:
    return b"#!AER-DAT2.0\r\n" + head + b"".join(struct.pack(">II", a, t) for a, t in words)


def packet(t, x, y, p, overflow=0, valid=None) -> bytes:
    valid = [1] * len(t) if valid is None else valid
    head = struct.pack("<hhiiiiii", 1, 0, 8, 4, overflow, len(t), len(t), sum(valid))
    rows = zip(t, x, y, p, valid, strict=True)
    return head + b"".join(
        struct.pack("<II", a << 17 | b << 2 | c << 1 | v, s) for s, a, b, c, v in rows
    )


def aedat3(packets, form=b"RAW", source=b"DVS128", version=b"3.1") -> bytes:
    head = b"#!AER-DAT%s\r\n#Format: %s\r\n#Source 0: %s\r\n#!END-HEADER\r\n"
    return head % (version, form, source) + b"".join(packets)


def test_aedat_2(tmp_path):
    """Addresses by the published tables; y from below in the file, from above in an Event."""
    path = tmp_path / "e.aedat"
    dvs = [((127 - y) << 8 | x << 1 | p, t) for x, y, p, t in zip(X, Y, P, T, strict=True)]
    path.write_bytes(aedat2([*dvs, (1 << 15, 2300)]))  # the last: an external signal
    assert same(events.read(path), EVENT)
    davis = [
        ((259 - y) << 22 | x << 12 | p << 11, t) for x, y, p, t in zip(X, Y, P, T, strict=True)
    ]
    other = [(1 << 31 | 7, 2250), (1 << 10, 2250)]
    path.write_bytes(
        aedat2([*davis, *other], b"# AEChip: eu.seebetter.ini.chips.davis.Davis346blue\r\n")
    )
    assert same(events.read(path), EVENT)
    path.write_bytes(aedat2(dvs, b""))
    refused(
        "names no camera known here, .* give camera=, one of DVS128, DAVIS240", events.read, path
    )
    assert same(events.read(path, camera="DVS128"), EVENT)
    path.write_bytes(aedat2([(0, 2**32 - 5), (0, 3)]))
    assert np.diff(events.read(path).t).tolist() == pytest.approx([0.008])  # the counter's 32 bits
    path.write_bytes(aedat2(dvs)[:-3])
    refused("is truncated, or damaged: 21 bytes after the header", events.read, path)
    path.write_bytes(aedat2(dvs[::-1]))
    refused("t runs backwards, 2 times of 3", events.read, path)
    davis240 = aedat2([(200 << 22 | 3 << 12, 0)], b"# AEChip: Davis240C\r\n")
    path.write_bytes(davis240)
    refused(r"y = -21 of event 0 is beyond the sensor of 240 x 180", events.read, path)


def test_aedat_3(tmp_path):
    path = tmp_path / "e.aedat"
    special = struct.pack("<hhiiiiii", 0, 0, 8, 4, 0, 1, 1, 1) + bytes(8)
    frame = struct.pack("<hhiiiiii", 2, 0, 60, 12, 0, 1, 1, 1) + bytes(60)
    first, second = packet(T[:1], X[:1], Y[:1], P[:1]), packet(T[1:], X[1:], Y[1:], P[1:])
    path.write_bytes(aedat3([special, first, frame, second]))
    assert same(events.read(path), EVENT)
    path.write_bytes(aedat3([packet(T, X, Y, P, valid=[1, 0, 1])]))
    assert events.read(path).x.tolist() == [3, 127]  # the mark of validity
    path.write_bytes(aedat3([packet(T, X, Y, P, valid=[0, 0, 0])]))
    refused("none of its 3 polarity events is marked as valid", events.read, path)
    path.write_bytes(aedat3([first, packet([5], [1], [1], [1], overflow=1)]))
    assert events.read(path).t.tolist() == [0, (2**31 + 5) / 1000]
    path.write_bytes(aedat3([packet([0], [128], [1], [1])]))
    refused("x = 128 of event 0 is beyond the sensor of 128 x 128", events.read, path)
    path.write_bytes(aedat3([packet([0], [300], [1], [1])], source=b"Unknown"))
    assert events.read(path).x.tolist() == [300]
    path.write_bytes(aedat3([second, first]))
    refused("t runs backwards, 1 times", events.read, path)
    assert same(events.read(path, sort=True), EVENT)
    for content, problem in (
        (
            aedat3([first])[:-2],
            "the packet at byte 61: the file is truncated: 1 events of 8 bytes are declared, and 6 bytes",
        ),
        (aedat3([first, second[:20]]), "truncated: it ends within the packet's header"),
        (aedat3([first], form=b"Serial-TS"), "format Serial-TS is compressed and not read here"),
        (
            aedat3([], version=b"4.0"),
            "AEDAT version 4.0 is not read here, 2.0 and 3.1 are; export it from DV",
        ),
        (aedat3([], version=b"9.7"), "AEDAT version 9.7 is not read here"),
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "its header has no #!END-HEADER"),
        (
            aedat3([struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, -1, -1, 0)]),
            "is damaged: it is of type 1 with -1 events",
        ),
        (
            aedat3([struct.pack("<hhiiiiii", 1, 0, 12, 8, 0, 0, 0, 0)]),
            "polarity events have 8 bytes",
        ),
    ):
        path.write_bytes(content)
        refused(problem, events.read, path)


# -- many samples ----------------------------------------------------------------------------------

SPOKEN = [
    (Event([5, 699, 0], None, [0, 0, 0], np.array([0.0, 500.0, 1250.0])), 3),
    (Event([], None, [], []), 19),
    (Event([1], None, [0], [250.0]), 0),
]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A file in SHD's layout; a child process looks at it once."""
    path = tmp_path_factory.mktemp("shd") / "shd_train.h5"
    events.write_spike_file(path, SPOKEN)
    return path


def test_spike_files_both_ways(spoken):
    from lavalike import datasets

    data = datasets.SHD(spoken.parent)
    assert (len(data), data.targets.tolist()) == (3, [3, 19, 0])
    for (event, label), (want, number) in zip((data[k] for k in range(3)), SPOKEN, strict=True):
        assert same(event, want)
        assert label == number
    again = pickle.loads(pickle.dumps(data.file))  # to a loader's workers
    assert same(again[-1][0], SPOKEN[2][0])
    with pytest.raises(IndexError, match="index 3 is beyond the 3 samples"):
        data.file[3]
    binned = Frames(data.file, dt=250.0, shape=(1, 1, 700), steps=6)
    assert binned[0][0].shape == (1, 1, 700, 6)
    assert [tuple(map(int, a)) for a in np.argwhere(binned[0][0])] == [
        (0, 0, 0, 5),
        (0, 0, 5, 0),
        (0, 0, 699, 2),
    ]
    with pytest.raises(FileNotFoundError, match=r"shd_test\.h5: no such file"):
        datasets.SHD(spoken.parent, train=False)


def changed(path: Path, new: Path, change) -> Path:
    new.write_bytes(path.read_bytes())
    with h5py.File(new, "r+") as f:
        change(f)
    return new


def outside(f):
    del f["labels"]
    f["labels"] = h5py.ExternalLink("other.h5", "/labels")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda f: f.__delitem__("labels"),
            "labels: is not there; a file in the layout of SHD has",
        ),
        (outside, r"(labels|).*[Ll]ink"),
    ],
)
def test_damaged_spike_files_are_told(spoken, tmp_path, change, problem):
    refused(problem, events.SpikeFile, changed(spoken, tmp_path / "changed.h5", change))


def test_damaged_samples_are_told(tmp_path):
    """Each when it is read; of one file, as each opened has a child look through it."""
    damage = [
        ("times", [0.0, 0.5], "2 times and 3 units"),
        ("times", [0.5, 0.25, 1.0], "t runs backwards, 1 times of 3"),
        ("times", [0.5, np.nan, 1.0], "times: are finite"),
        ("units", [1, 700, 2], "units: 700 is beyond the 700 there are"),
    ]
    path = tmp_path / "damaged.h5"
    events.write_spike_file(path, [SPOKEN[0]] * 5)
    with h5py.File(path, "r+") as f:
        for k, (name, values, _) in enumerate(damage):
            kind = np.float32 if name == "times" else np.uint16
            f[f"spikes/{name}"][k] = np.array(values, kind)
    file = events.SpikeFile(path)
    for k, (_, _, problem) in enumerate(damage):
        refused(f"sample {k}: {problem}", file.__getitem__, k)
    refused("sample 0: 2 times", list, file)
    assert same(file[4][0], SPOKEN[0][0])


def test_foreign_and_cut_files_are_told(spoken, tmp_path):
    path = tmp_path / "a.h5"
    whole = spoken.read_bytes()
    for content in (b"", b"hello", whole[:3000], whole.replace(b"GCOL", b"GCOX")):
        path.write_bytes(content)
        refused(r"a\.h5", events.SpikeFile, path)
    path.with_name("b.h5.gz").write_bytes(b"0")
    refused(
        r"no such file, but b\.h5\.gz is there: unpack it first",
        events.SpikeFile,
        path.with_name("b.h5"),
    )
    two = Event([1], [1], [0], [0.0])
    refused("the layout has units and times only", events.write_spike_file, path, [(two, 0)])


def test_nmnist(tmp_path):
    from lavalike import datasets

    for digit in (0, 7):
        folder = tmp_path / "Train" / str(digit)
        folder.mkdir(parents=True)
        events.write(folder / "00002.bin", Event([33, 2], [0, 33], [1, 0], [0.0, 8388.607]))
    data = datasets.NMNIST(tmp_path)
    assert (len(data), data.targets.tolist(), data[1][1]) == (2, [0, 7], 7)
    assert data[0][0].t.tolist() == [0, 8388.607]
    events.write(tmp_path / "Train/7/00002.bin", Event([34], [0], [1], [0.0]))
    refused(r"00002\.bin: x = 34 of event 0 is beyond the sensor of 34 x 34", lambda: data[1])
    marked = Event([1, 0, 2], [1, 240, 2], [0, 0, 1], [8.0, 8.19, 0.1])  # N-Caltech101's overflow
    events.write(tmp_path / "m.bin", marked)
    assert events.read(tmp_path / "m.bin").t.tolist() == [8.0, 8.292]
    refused(r"Test: no \.bin files in folders 0\.\.9", datasets.NMNIST, tmp_path, False)


def test_dvs_gesture(tmp_path):
    from lavalike import datasets

    t = [100, 900, 1000, 1999, 2000, 3000]
    recording = packet(t, range(6), range(6), [1, 0] * 3)
    (tmp_path / "user01_lab.aedat").write_bytes(aedat3([recording]))
    labels = "class,startTime_usec,endTime_usec\n1,900,2000\n11,2000,4000\n"
    csv = text(tmp_path / "user01_lab_labels.csv", labels)
    text(tmp_path / "trials_to_train.txt", "user01_lab.aedat\n\n")
    data = datasets.DVSGesture(tmp_path)
    assert data.targets.tolist() == [0, 10]
    event, label = data[0]
    assert (label, event.x.tolist(), event.t.tolist()) == (0, [1, 2, 3], [0, 0.1, 1.099])
    assert data[1][0].x.tolist() == [4, 5]
    for content, problem in (
        ("a,b\n", "line 1 is 'a,b'; class,startTime_usec,endTime_usec is expected"),
        ("class,startTime_usec,endTime_usec\n1,x,2\n", "line 2 is '1,x,2'; three whole numbers"),
        ("class,startTime_usec,endTime_usec\n12,1,2\n", r"line 2: class is in 1\.\.11"),
        ("class,startTime_usec,endTime_usec\n1,3,2\n", "line 2: class is in"),
    ):
        text(csv, content)
        refused(problem, datasets.DVSGesture, tmp_path)
    csv.unlink()
    refused(r"user01_lab_labels\.csv: no such file", datasets.DVSGesture, tmp_path)
    text(tmp_path / "trials_to_train.txt", "../../etc/passwd\n")
    refused("is no recording's name", datasets.DVSGesture, tmp_path)
    refused("no such folder", datasets.DVSGesture, tmp_path / "none")


# -- frames and steps ------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.5, 1.0, 3.0]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_frames_are_the_tensor_and_places_the_frames(seed, dt, add):
    """Times k dt, as tensor_to_event gives them, stay in step k."""
    rng = np.random.default_rng(seed)
    tensor = (rng.random((2, 3, 4, 9)) < 0.2) * 1.0
    event = events.tensor_to_event(tensor, dt)
    event = Event(*(np.concatenate([a, a]) for a in (event.x, event.y, event.c, event.t)))
    tensor = tensor * (2 if add else 1)
    mode = "SUM" if add else "OR"
    settings = {"dt": dt, "shape": (2, 3, 4), "steps": 9, "mode": mode}
    got = list(events.frames(event, **settings))
    assert got[0].dtype == np.float32
    np.testing.assert_array_equal(np.stack(got, -1), tensor)
    view = Frames([(event, 1), event], **settings)
    np.testing.assert_array_equal(view[0][0], tensor)
    np.testing.assert_array_equal(view[1], tensor)
    for places, frame in zip(events.sparse_steps(event, **settings), got, strict=True):
        np.testing.assert_array_equal(places.place, np.flatnonzero(frame))
        np.testing.assert_array_equal(places.value, frame.ravel()[places.place])
    sparse, label = Frames([(event, 1)], **settings, sparse=True)[0]
    assert (label, len(sparse)) == (1, 9)


def test_a_step_is_an_interval():
    event = Event([0, 0, 0, 0], None, [0] * 4, [5.0, 5.9, 6.0, 9.9])
    assert [int(f.sum()) for f in events.frames(event, 1.0, mode="SUM", start=None)] == [
        2,
        1,
        0,
        0,
        1,
    ]
    assert [int(f.sum()) for f in events.frames(event, 1.0, mode="SUM", start=5.0, steps=3)] == [
        2,
        1,
        0,
    ]
    graded = Event([1, 1], None, [0, 0], [0.0, 0.5], [0.5, -2.0])
    assert next(events.frames(graded, 1.0)).ravel().tolist() == [0, -1.5]
    assert list(events.frames(Event([], [], [], []), 1.0)) == []
    thirds = Event([0, 0, 0], None, [0] * 3, np.array([300, 600, 700]) / 1000)  # 0.3 / 0.1 < 3
    assert [k for k, f in enumerate(events.frames(thirds, 0.1)) if f.any()] == [3, 6, 7]
    array = EVENT.to_structured()
    assert [len(p.place) for p in events.sparse_steps(array, 1.0)] == [1, 1, 1]


def test_events_that_have_no_place_are_told():
    one = Event([5], [2], [1], [3.0])
    refused(
        r"frames: x = 5 of event 0 is beyond shape=\(2, 3, 5\)", events.frames, one, 1.0, (2, 3, 5)
    )
    refused("p = 1 of event 0", events.frames, one, 1.0, (1, 3, 6))
    early = Event([1, 2], None, [0, 0], [-1.0, 3.0])
    refused(
        "t = -1 ms of event 0 is before start=0; 1 events are. start=None",
        events.frames,
        early,
        1.0,
    )
    assert [int(f.sum()) for f in events.frames(early, 1.0, start=2.0)] == [0, 1]
    assert Frames([early], 1.0, start=2.0)[0].sum() == 1
    late = Event([5, 5], [2, 2], [1, 1], [1.6e12, 1.6e12 + 5])
    refused("start=None begins with the first", events.frames, late, 1.0)
    assert len(list(events.frames(late, 1.0, start=None))) == 6
    refused("a time of 1e.300 steps is beyond", events.frames, Event([0], None, [0], [1e300]), 1.0)
    view = Frames([(one, 0), ("x", 1)], 1.0, (2, 3, 5))
    refused("Frames: item 0: x = 5", lambda: view[0])
    refused("item 1 is an Event, or a structured array of events or .*, got str", lambda: view[1])


def test_a_torch_loader_takes_frames_of_any_dataset():
    import torch

    data = Frames([(EVENT.to_structured(), k) for k in range(4)], 1.0, (2, 128, 128), 3)
    (x, y), _ = torch.utils.data.DataLoader(data, batch_size=2)
    assert (tuple(x.shape), x.dtype, y.tolist()) == ((2, 2, 128, 128, 3), torch.float32, [0, 1])
    assert float(x.sum()) == 6


# -- the camera ------------------------------------------------------------------------------------


def test_the_camera_counts_thresholds():
    """A ramp of log intensity by 1.05 in 10 ms crosses a threshold of 0.1 ten times: at 1/1.05 ms
    and so on."""
    film = np.exp(np.linspace(0, 1.05, 11))[:, None, None] * np.array([[1, 0.5]])
    camera = events.EventCamera(0.1, mismatch=0, refractory=0, noise=0)
    up, down = camera(film, 1.0), camera(film[::-1], 1.0)
    for event, on in ((up, 1), (down, 0)):
        assert event.c.tolist() == [on] * 20
        for pixel in (0, 1):
            t = event.t[event.x == pixel]
            np.testing.assert_allclose(t, np.arange(1, 11) / 1.05, atol=1e-3)
    assert len(camera(film[::5], 5.0)) == 20  # a log intensity that goes on straight
    slow = events.EventCamera(0.1, mismatch=0, refractory=2, noise=0)(film, 1.0)
    assert (np.diff(slow.t[slow.x == 0]) >= 2 - 2e-3).all()
    assert len(slow) == 8
    assert len(camera(np.ones((5, 4, 4)))) == 0


def test_the_cameras_noise_and_mismatch():
    still = np.ones((101, 20, 20))
    noisy = events.EventCamera(noise=50, seed=1)(still, 1.0)
    want = 50 * 0.1 * 400
    assert abs(len(noisy) - want) < 5 * np.sqrt(want)
    assert (np.diff(noisy.t) >= 0).all()
    assert 0.4 < noisy.c.mean() < 0.6
    film = np.exp(np.linspace(0, 1, 11))[:, None, None] * np.ones((1, 20, 20))
    counts = np.bincount(events.EventCamera(0.1, mismatch=0.2, noise=0, refractory=0)(film).x)
    assert counts.std() > 0
    assert same(events.EventCamera(seed=3)(film), events.EventCamera(seed=3)(film))
    refused("more than 1000; a higher threshold", events.EventCamera(1e-4), film)


def test_moving_shapes():
    from lavalike import datasets

    data = datasets.MovingShapes(samples=8, duration=20.0)
    assert np.bincount(data.targets).tolist() == [2, 2, 2, 2]
    event, label = data[0]
    assert (type(label), event.dim) == (int, 2)
    assert all(len(e) > 50 and e.x.max() < 24 and e.t.max() <= 20 for e in data.events)
    assert same(datasets.MovingShapes(samples=8, duration=20.0)[3][0], data[3][0])
    other = datasets.MovingShapes(train=False, samples=8, duration=20.0)
    assert not same(other[0][0], event)
    calm = datasets.MovingShapes(samples=8, duration=20.0, camera=events.EventCamera(noise=0))
    assert sum(map(len, calm.events)) < sum(map(len, data.events))
