"""Recorder: what is kept of which steps, where it goes, what it costs, how it is refused."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba.program import NumbaProgram
from lavalike.bss2 import Chip, RecordingError
from lavalike.errors import MissingExtraError
from lavalike.proc import LIF, Dense, Monitor, Recorder, Sigma, io
from lavalike.process import monitor as probes
from lavalike.runtime import runtime
from lavalike.testing.samples import SAMPLES
from tests.conftest import ROOT
from tests.test_running import Whole, WholeModel

EXACT = lv.RunConfig(precision="fixed_pt")


def counting(size=6, config=None):
    """Neurons of which number k holds k times the step."""
    return LIF(
        shape=(2, size // 2), bias_mant=np.arange(1, size + 1).reshape(2, -1), vth=1e9, name="lif"
    )


def wanted(steps, size=6):
    return (np.asarray(steps)[:, None] * np.arange(1, size + 1)).reshape(-1, 2, size // 2)


WHERE = {"memory": {}, "ring": {"ring": 10**4}, "file": {"to": "run.h5"}}
each_place = pytest.mark.parametrize("where", WHERE)


def recorder(where, tmp_path, **kwargs):
    options = WHERE[where] | kwargs
    return Recorder(**options | ({"to": tmp_path / "run.h5"} if where == "file" else {}))


@each_place
@pytest.mark.parametrize("cut", [(100,), (1,) * 7 + (3, 50, 40)])
def test_rows_are_those_of_the_steps(where, cut, tmp_path):
    """However the runs are cut; after a clear and a reset steps are told right."""
    lif, rec = counting(), recorder(where, tmp_path)
    sigma = Sigma(shape=(2, 3))
    lif.s_out.connect(sigma.a_in)
    rec.add(lif.v)
    rec.add(lif.u, every=7)
    rec.add(sigma.sigma, every=3, index=(0, slice(1, None)))
    rec.add(lif.bias_mant, every=50, index=[1])
    rec.add(lif.s_out, packed=True)
    for n in cut:
        lif.run(lv.RunSteps(n))
    np.testing.assert_array_equal(rec[lif.v], wanted(np.arange(1, 101)))
    assert rec.steps("lif.v").tolist() == list(range(1, 101))
    assert rec.steps(lif.u).tolist() == list(range(7, 101, 7))
    assert rec[lif.u].shape == (14, 2, 3)
    assert rec[sigma.sigma].shape == (33, 2)
    assert rec["lif.bias_mant"].tolist() == [[[4, 5, 6]]] * 2
    assert rec[lif.s_out].shape == (100, 2, 3)
    assert rec[lif.s_out].dtype == bool
    if where == "file":
        rec.close()
        np.testing.assert_array_equal(rec[lif.v], wanted(np.arange(1, 101)))
        with h5py.File(tmp_path / "run.h5") as file:
            np.testing.assert_array_equal(file["lif/v"], wanted(np.arange(1, 101)))
            assert dict(file["lif/u"].attrs)["every"] == 7
            assert file["lif/s_out"].shape == (100, 1)
        return
    rec.clear()
    assert rec[lif.v].shape == (0, 2, 3)
    lif.run(lv.RunSteps(5))
    lif.reset()
    lif.run(lv.RunSteps(9))
    assert rec.steps(lif.v).tolist() == [101, 102, 103, 104, 105, *range(1, 10)]
    np.testing.assert_array_equal(rec[lif.v], wanted(rec.steps(lif.v)))
    assert rec.steps(lif.u).tolist() == [105, 7]


@each_place
def test_its_bytes_are_told_before_the_run(where, tmp_path):
    lif, rec = counting(), recorder(where, tmp_path)
    rec.add(lif.v, every=10)
    rec.add(lif.s_out, packed=True)
    rec.add(lif.du, every=7)  # float64, as it was given
    assert rec.nbytes(100) == 10 * 6 * 4 + 100 + 14 * 8
    assert rec.nbytes(100, lv.RunConfig(dtype="float64")) == 10 * 6 * 8 + 100 + 14 * 8
    lif.run(lv.RunSteps(95))
    assert rec.nbytes(5) == 24 + 5 + 8
    if where != "file":
        held = sum(rec._track(t).sink.read(0).nbytes for t in (lif.v, lif.s_out, lif.du))
        assert held == 9 * 24 + 95 + 13 * 8
    rec.close()


def test_a_ring_keeps_the_last_rows():
    lif, rec = counting(), Recorder(ring=4)
    rec.add(lif.v)
    rec.add(lif.u, every=5)
    assert rec.nbytes(100) == 2 * 4 * 24
    for n in (2, 1, 30, 3, 5):
        lif.run(lv.RunSteps(n))
        last = np.arange(max(1, lif.step - 3), lif.step + 1)
        assert rec.steps(lif.v).tolist() == last.tolist()
        np.testing.assert_array_equal(rec[lif.v], wanted(last))
    assert rec.steps(lif.u).tolist() == [25, 30, 35, 40]


@pytest.mark.parametrize(
    "config",
    [EXACT, lv.RunConfig(backend="torch"), lv.RunConfig(debug=True)],
    ids=["fixed", "torch", "python"],
)
def test_every_backend_and_monitors_beside(config):
    lif, rec, other, monitor = (
        LIF(shape=(3,), bias_mant=[1, 2, 3], vth=100),
        Recorder(),
        Recorder(),
        Monitor(),
    )
    monitor.probe(lif.v, 20)
    rec.add(lif.v, every=2)
    other.add(lif.v, index=1)
    other.add(lif.s_out)
    for n in (3, 8, 1, 8):
        lif.run(lv.RunSteps(n), config)
    want = np.arange(1, 21)[:, None] * [1, 2, 3]
    np.testing.assert_array_equal(monitor.get_data()["LIF"]["v"], want)
    np.testing.assert_array_equal(rec[lif.v], want[1::2])
    np.testing.assert_array_equal(other[lif.v], want[:, 1])
    assert not other[lif.s_out].any()
    assert rec[lif.v].dtype == (np.int32 if config.fixed else np.float32)


def test_a_chips_run_is_one_stretch(monkeypatch):
    """However little is staged."""
    monkeypatch.setattr(probes, "STAGED", 1)
    sizes, run = [], runtime.Stretches.run
    monkeypatch.setattr(
        runtime.Stretches,
        "run",
        lambda self, program, n, *rows: (sizes.append(n), run(self, program, n, *rows)),
    )
    source, dense, lif = (
        io.source.RingBuffer(data=[[1, 0, 0], [0, 1, 1]]),
        Dense(weights=[[0.6, 0.5]]),
        LIF(shape=(1,), dv=0.1, vth=1.0),
    )
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    rec, monitor = Recorder(), Monitor()
    rec.add(lif.s_out, every=2)
    monitor.probe(lif.s_out, 12)
    lif.run(lv.RunSteps(12), lv.RunConfig(backend="bss2", chip=Chip(level="ideal")))
    assert sizes == [12]
    np.testing.assert_array_equal(rec[lif.s_out], monitor.get_data()["LIF"]["s_out"][1::2])


def test_a_stream_beside_the_run():
    lif, rec = counting(), Recorder()
    rec.add(lif.v)
    lif.run(lv.RunSteps(5))
    lif.run(lv.RunContinuous())
    got = []
    try:
        for rows in rec.stream(lif.v):
            got.append(rows)
            if sum(map(len, got)) > 200:
                threading.Thread(target=lif.pause).start()
    finally:
        lif.pause()
    rows = np.concatenate(got)
    assert len(rows) > 200
    np.testing.assert_array_equal(rows, rec[lif.v][: len(rows)])
    assert sum(map(len, rec.stream(lif.v))) == lif.step


def test_a_thousand_short_runs_fill_one_array():
    lif, rec = counting(), Recorder()
    rec.add(lif.v)
    sizes = set()
    for _ in range(1000):
        lif.run(lv.RunSteps(1))
        sizes.add(len(rec.tracks[0].sink.rows))
    assert len(sizes) < 8  # it doubles
    assert len(rec.tracks[0].spans) == 1
    np.testing.assert_array_equal(rec[lif.v], wanted(np.arange(1, 1001)))


def test_runs_go_on_filling_whatever_comes_between():
    """The program keeps where the next row is; a set, a clear, another limit, another probe and a
    reset are seen all the same."""
    lif, rec, monitor = counting(), Recorder(), Monitor()
    rec.add(lif.v)
    steps = []

    def run(*cut):
        for n in cut:
            lif.run(lv.RunSteps(n))
            steps.extend(range(lif.step - n + 1, lif.step + 1))
        np.testing.assert_array_equal(rec.steps(lif.v), steps)
        np.testing.assert_array_equal(rec[lif.v], wanted(steps))

    run(1, 1, 2)
    lif.vth.set(2e9)
    lif.v.set(lif.v.get())
    run(1, 1)
    rec.clear()
    steps.clear()
    run(1, 1)
    monitor.probe(lif.v, 2)
    run(1, 1)
    with pytest.raises(lv.InputError, match="1 more were asked"):
        lif.run(lv.RunSteps(1))
    monitor.probe(lif.v, 4)
    run(2)
    lif.reset()
    with pytest.raises(lv.InputError):
        lif.run(lv.RunSteps(1))
    monitor.probe(lif.v, 10**6)
    run(1, 300, 1, 1)
    np.testing.assert_array_equal(monitor.get_data()["lif"]["v"], wanted(steps[2:]))


PARTS = {"a part each": Dense, "neurons on torch": LIF}


@pytest.mark.parametrize("backend", ["numba", "torch", *PARTS])
def test_a_probe_that_comes_later_compiles_nothing(backend):
    """Nor does one that goes: the program is the same. Ports are as sent, also those that sum. So
    in a graph of several parts."""
    config = (
        lv.RunConfig(select={PARTS[backend]: "torch"})
        if backend in PARTS
        else lv.RunConfig(backend=backend)
    )
    lif, dense, rec, monitor = (
        LIF(shape=(2,), bias_mant=0.3, vth=1.0),
        Dense(weights=[[0.2, 0.1], [0.1, 0.2]]),
        Recorder(),
        Monitor(),
    )
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    want = lv.simulate(
        lif,
        steps=12,
        record=[lif.v, lif.s_out, dense.a_out, lif.a_in],
        config=config,
    )
    lif.run(lv.RunSteps(2), config)
    program = lif.runtime.program
    rec.add(lif.v)
    rec.add(dense.a_out)
    lif.run(lv.RunSteps(4))
    monitor.probe(lif.s_out, 6)
    rec.add(lif.a_in)
    lif.run(lv.RunSteps(6))
    np.testing.assert_array_equal(rec[lif.v], want[lif.v].T[2:])
    np.testing.assert_array_equal(rec[dense.a_out], want[dense.a_out].T[2:])
    np.testing.assert_array_equal(rec[lif.a_in], want[lif.a_in].T[6:])
    np.testing.assert_array_equal(monitor.get_data()["LIF"]["s_out"], want[lif.s_out].T[6:])
    rec.close()
    with pytest.raises(lv.InputError, match="probed for 6 steps"):
        lif.run(lv.RunSteps(1))
    assert lif.runtime.program is program


ANOTHER_FORM = (
    "DelayDense DelaySparse DelayLine DelayLearningSparse LearningDense S4d sink.RingBuffer"
)


@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
@pytest.mark.parametrize("kind", ANOTHER_FORM.split())
def test_states_of_another_form_are_recorded_in_stretches(kind, fixed, monkeypatch):
    """Rings that turn, weights that lie by input, parts of complex numbers: as they are read after
    each step, and no step is a call."""
    sample, steps = SAMPLES[kind], 23
    # the kernels that tests of all backends have
    config = lv.RunConfig(precision="fixed_pt" if fixed else "floating_pt", dtype="float64")
    process = sample.make(fixed)
    if config.precision not in sample.precisions:
        return
    g, most = np.random.default_rng(3), 2 if sample.spikes else 9
    x = {p: g.integers(0, most, (3, *p.shape, steps)) for p in process.in_ports[:1]}
    states = [v for v in process.vars if v.role == "state"]
    stretches, run = [], NumbaProgram.run

    def counted(self, n, *args):
        stretches.append(n)
        run(self, n, *args)

    monkeypatch.setattr(NumbaProgram, "run", counted)
    monkeypatch.setattr(runtime, "STRETCH_SECONDS", 60)
    many = lv.simulate(process, x, config=config, record=states)
    assert stretches[0] == 1
    assert len(stretches) <= 4
    in_python = dataclasses.replace(config, debug=True)
    second = {p: rows[1] for p, rows in x.items()}
    debug = lv.simulate(process, second, config=in_python, record=states)
    for p, rows in second.items():
        io.source.RingBuffer(data=rows).s_out.connect(p)
    rec = Recorder()
    for var in states:
        rec.add(var, every=2, index=(..., slice(1, None)))
    for k in range(steps):
        process.run(lv.RunSteps(1), config)
        for var in states:
            now = var.get()
            np.testing.assert_array_equal(many[var][1][..., k], now)
            np.testing.assert_array_equal(debug[var][..., k], now)
            if k % 2:
                np.testing.assert_array_equal(rec[var][-1], now[..., 1:])
    assert any(many[var].any() for var in states)
    assert {many[var].dtype for var in states} >= {debug[var].dtype for var in states}


def test_a_probe_that_comes_later_beside_a_chip_compiles_nothing():
    """On the chip and on its host; what a chip does not show is refused, and the program stays."""
    source, dense, lif, sigma, rec = (
        io.source.RingBuffer(data=[[1, 0, 0], [0, 1, 1]]),
        Dense(weights=[[0.6, 0.5], [0.3, 0.9]]),
        LIF(shape=(2,), dv=0.1, vth=1.0),
        Sigma(shape=(2,)),
        Recorder(),
    )
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    lif.s_out.connect(sigma.a_in)
    config = lv.RunConfig(backend="bss2", chip=Chip(level="ideal"))
    want = lv.simulate(lif, steps=12, record=[lif.s_out, lif.v, sigma.sigma], config=config)
    lif.run(lv.RunSteps(3), config)
    program = lif.runtime.program
    rec.add(lif.v)
    rec.add(sigma.sigma)
    lif.run(lv.RunSteps(4))
    refused = Recorder()
    refused.add(dense.a_out)
    with pytest.raises(RecordingError, match="is not recorded"):
        lif.run(lv.RunSteps(1))
    refused.close()
    rec.add(lif.s_out)
    lif.run(lv.RunSteps(5))
    assert lif.runtime.program is program
    np.testing.assert_array_equal(rec[lif.v], want[lif.v].T[3:])
    np.testing.assert_array_equal(rec[sigma.sigma], want[sigma.sigma].T[3:])
    np.testing.assert_array_equal(rec[lif.s_out], want[lif.s_out].T[7:])
    assert rec[lif.s_out].any()


def test_a_closed_one_records_no_more_and_a_copy_its_own(tmp_path):
    lif, rec = counting(), Recorder()
    rec.add(lif.v)
    lif.run(lv.RunSteps(3))
    twin = pickle.loads(pickle.dumps(copy.deepcopy(lif)))
    twin.run(lv.RunSteps(2))
    assert len(twin.probes[0].owner[twin.v]) == 5
    with rec:
        pass
    lif.run(lv.RunSteps(2))
    assert len(rec[lif.v]) == 3
    with Recorder(to=tmp_path / "a.h5") as to:
        to.add(twin.v)
        with pytest.raises(
            lv.RunError, match=r"cannot copy what records to .*a\.h5; close\(\) the Recorder first"
        ):
            copy.deepcopy(twin)
    copy.deepcopy(twin)


def test_to_xarray():
    pytest.importorskip("xarray")
    lif, rec = counting(), Recorder()
    rec.add(lif.v)
    rec.add(lif.s_out)
    lif.run(lv.RunSteps(4))
    data = rec.to_xarray()
    assert data["lif.v"].sel(step=3).values.tolist() == [[3, 6, 9], [12, 15, 18]]
    rec.add(lif.u, every=2)
    lif.run(lv.RunSteps(2))
    assert rec.to_xarray()["lif.u"].dims[0] == "step of lif.u"


def test_without_xarray_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(
        MissingExtraError,
        match=r"Recorder.to_xarray needs xarray: pip install 'lavalike\[xarray\]'",
    ):
        Recorder().to_xarray()


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r, p: r.add(p.v, every=0), "every is an integer >= 1, got 0"),
        (lambda r, p: r.add(p), "target is a Var or port of a process"),
        (lambda r, p: r.add(lv.Var((1,))), "this belongs to none"),
        (lambda r, p: (r.add(p.v), r.add(p.v)), r"lif\.v .*: it is recorded already"),
        (lambda r, p: r.add(p.v, index=7), r"lif\.v .*: index 7: "),
        (lambda r, p: r.add(p.v, index=slice(2, 2)), "takes nothing of shape"),
        (lambda r, p: Recorder(ring=0), "ring is an integer >= 1"),
        (lambda r, p: Recorder(ring=3, to="x.h5"), "to a ring or to a file"),
        (lambda r, p: Recorder(to="/no/where/x.h5"), "cannot be made"),
        (lambda r, p: r[p.v], r"lif\.v .* is not recorded; recorded are none"),
        (lambda r, p: r[3], "a port, a Var or a path is expected, got 3"),
    ],
)
def test_what_is_wrong_is_told(call, match):
    lif = counting()
    with pytest.raises(lv.InputError, match=match):
        call(Recorder(), lif)
    lif.run(lv.RunSteps(1))


def test_a_file_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "run.h5").write_bytes(b"mine")
    with pytest.raises(lv.InputError, match=r"run\.h5' exists; give another name"):
        Recorder(to=tmp_path / "run.h5")
    assert (tmp_path / "run.h5").read_bytes() == b"mine"


def test_more_than_there_is_memory_for_is_told_before_the_run():
    lif, rec = LIF(shape=(10**6,)), Recorder()
    rec.add(lif.v)
    with pytest.raises(
        lv.InputError,
        match=r"LIF\.v .* needs .* GiB for 1000+ rows; record less, .*every=, index=, a smaller ring= or to=",
    ):
        lif.run(lv.RunSteps(10**14))
    assert lif.step == 0


def test_bits_of_what_is_no_spike_end_the_run():
    dense, rec, other = Dense(weights=[[3.0]], num_message_bits=8, name="d"), Recorder(), Recorder()
    lif = LIF(shape=(1,), bias_mant=0.3, vth=1.0, name="lif")
    lif.s_out.connect(dense.s_in)
    rec.add(dense.a_out, packed=True)
    other.add(dense.a_out)
    with pytest.raises(
        lv.RunError, match=r"d\.a_out .* holds 3\.0 in step 5, and packed=True keeps 0 and 1 only"
    ):
        lif.run(lv.RunSteps(50))
    assert other.steps(dense.a_out)[-1] == lif.step  # what others record is theirs


def test_a_target_that_a_model_hides_is_told():
    whole, rec = Whole(), Recorder()
    rec.add(whole.lif.v)
    with pytest.raises(
        lv.InputError,
        match=r"Whole\.lif\.v .* is not in what runs: WholeModel computes Whole as a whole",
    ):
        whole.run(lv.RunSteps(2), lv.RunConfig(select={Whole: WholeModel}))
    whole.run(lv.RunSteps(2))
    assert len(rec[whole.lif.v]) == 2


FULL = """
import resource, signal, sys
import numpy as np, lavalike as lv, h5py
from lavalike.proc import LIF, Recorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
lif = LIF(shape=(1000,), bias_mant=1.0, vth=1e9)
recorder = Recorder(to=sys.argv[1])
recorder.add(lif.v)
try:
    lif.run(lv.RunSteps(2000))
except lv.RunError as e:
    print(e)
    assert "File too large" in str(e), e
rows = recorder["LIF.v"]
lif.stop()
assert lif.v.get()[0] == lif.step > 0
recorder.close()
with h5py.File(sys.argv[1], "r", swmr=True) as file:
    rows = file["LIF/v"][...]
print(len(rows))
assert len(rows) >= 64 and (rows == np.arange(1, len(rows) + 1)[:, None]).all(), rows[:, 0]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a file's size is limited here")
def test_a_full_disk_ends_the_run_and_what_was_written_is_readable(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "run.h5")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "rows of LIF/v were written and can be read" in done.stdout


@pytest.mark.parametrize("where", ["file", "ring"])
def test_a_stream_has_every_row_once_while_a_run_writes(where, tmp_path):
    lif, rec = counting(), recorder(where, tmp_path, **({"ring": 10**5} if where == "ring" else {}))
    rec.add(lif.v)
    steps = 60_000  # some chunks of a file
    lif.run(lv.RunSteps(steps, blocking=False))
    rows = np.concatenate([*rec.stream(lif.v)])
    lif.wait()
    assert len(rows) == steps
    np.testing.assert_array_equal(rows[:, 0, 0], np.arange(1, steps + 1))


def test_what_a_file_cannot_take_is_told_before_the_run(tmp_path):
    lif, rec = LIF(shape=(2, 3), vth=100, name="lif"), Recorder(to=tmp_path / "run.h5")
    rec.add(lif.v)
    lif.run(lv.RunSteps(2))
    lif.stop()
    with pytest.raises(lv.RunError, match="has rows of float32, and this run's are of int32"):
        lif.run(lv.RunSteps(2), EXACT)
    assert lif.step == 2
    lif.stop()
    lif.run(lv.RunSteps(2), lv.RunConfig(precision="floating_pt"))
    rec.close()
    with pytest.raises(lv.InputError, match="closed; record to another file"):
        rec.add(lif.u)
    lif.run(lv.RunSteps(2))
    assert len(rec[lif.v]) == 4


def test_names_that_are_one_path_of_a_file_are_refused_before_the_run(tmp_path):
    outer, inner = counting(), Sigma(shape=(2, 3))
    outer.name, inner.name = "x", "x.v"
    outer.s_out.connect(inner.a_in)
    rec = Recorder(to=tmp_path / "run.h5")
    rec.add(outer.v)
    rec.add(inner.sigma)
    with pytest.raises(lv.RunError, match=r"x/v/sigma in .*cannot be made"):
        outer.run(lv.RunSteps(2))
    assert outer.step == 0
    rec.close()


def test_a_ring_without_room_is_told_before_the_run():
    lif, rec = counting(), Recorder(ring=10**12)
    rec.add(lif.v)
    with pytest.raises(lv.InputError, match="GiB for 1000000000000 rows"):
        lif.run(lv.RunSteps(2))
    assert lif.step == 0


def test_bits_before_the_value_that_is_none_are_kept():
    lif, rec = counting(), Recorder()
    rec.add(lif.v, packed=True)  # k times the step: 1..6 in the first
    with pytest.raises(lv.RunError, match="in step 1, and packed=True"):
        lif.run(lv.RunSteps(3))
    sigma, rec = Sigma(shape=(2,)), Recorder()
    source = io.source.RingBuffer(data=[[0, 1, 0, 4, 0], [1, 0, 0, 0, 0]])
    source.s_out.connect(sigma.a_in)
    rec.add(source.s_out, packed=True)
    with pytest.raises(lv.RunError, match=r"holds 4.* in step 4"):
        sigma.run(lv.RunSteps(5))
    np.testing.assert_array_equal(rec[source.s_out], [[0, 1], [1, 0], [0, 0]])
