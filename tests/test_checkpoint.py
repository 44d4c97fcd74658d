"""A run goes on from a file to the bits that it would have had, whatever became of who wrote it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

import lavalike as lv
from lavalike import (
    GraphFileError,
    InputError,
    RunConfig,
    RunContinuous,
    RunError,
    RunSteps,
    container,
)
from lavalike.contents import contents
from lavalike.learning import LearningRule, Trace
from lavalike.proc import LIF, DelayDense, Dense, LearningDense, Recorder, io
from lavalike.proc.io import source
from lavalike.process.process import component, walk
from tests.conftest import ROOT

STEPS, BROKEN = 41, 23
LONG = pytest.mark.skipif(
    np.dtype(np.longdouble).itemsize == 8, reason="no number is longer than a float64 here"
)


class Net(lv.AbstractProcess):
    """Noise, synapses that learn, a loop with delays."""

    def __init__(self, vth=0.9, rate=0.4, back=0.4, rule="2^-4 * x1 * y0 - 2^-5 * y1 * x0"):
        super().__init__()
        self.noise = source.Poisson(shape=(3,), rate=rate)
        learning = LearningRule(dw=rule, x1=Trace(1, 5), y1=Trace(1, 7), epoch=3)
        self.synapses = LearningDense(weights=np.full((4, 3), 0.3), learning_rule=learning)
        self.lif = LIF(shape=(4,), du=0.3, dv=0.1, vth=vth)
        delays = np.arange(16).reshape(4, 4) % 5
        self.back = DelayDense(weights=np.eye(4)[::-1] * back, delays=delays)
        self.out = lv.OutPort((4,))
        self.noise.s_out.connect(self.synapses.s_in)
        self.synapses.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.synapses.s_in_bap)
        self.lif.s_out.connect(self.back.s_in)
        self.back.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


def values(process):
    return {v.path: v.get() for top in component(process) for p in walk(top) for v in p.vars} | {
        "step": process.step
    }


def same(a, b):
    assert a.keys() == b.keys()
    for path, value in a.items():
        np.testing.assert_array_equal(value, b[path], err_msg=path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def broken_off(path, make=Net, config=None, every=5, steps=BROKEN):
    net = make()
    net.run(RunSteps(steps), config, checkpoint=path, every=every)
    return net


def test_it_goes_on_to_the_same_bits_in_pieces_of_any_length(path):
    np.random.seed(3)  # noqa: NPY002  (which gives the seed: it is in the file)
    whole, spikes = Net(), Recorder()
    spikes.add(whole.out)
    whole.run(RunSteps(7))
    whole.lif.vth.set(0.8)  # constants are derived anew, and once only in who goes on
    whole.run(RunSteps(STEPS - 7))
    assert values(whole)["Net.synapses.weights"].std() > 0.01
    np.random.seed(3)  # noqa: NPY002
    first = Net()
    first.run(RunSteps(7))
    first.lif.vth.set(0.8)
    first.run(RunSteps(BROKEN - 7), checkpoint=path, every=5)
    np.random.seed(99)  # noqa: NPY002
    again, rows = Net(), Recorder()
    again.lif.vth.set(0.8)
    rows.add(again.out)
    assert lv.resume(again, path) == again.step == BROKEN
    again.run(RunSteps(STEPS - BROKEN))
    same(values(whole), values(again))
    np.testing.assert_array_equal(rows[again.out], spikes[whole.out][BROKEN:])
    again.reset()  # to where it was made
    assert again.step == 0
    np.testing.assert_array_equal(again.synapses.weights.get(), np.full((4, 3), 0.3, np.float32))


def test_reset_goes_back_to_the_mark_of_then(path):
    net, config = Net(), RunConfig(seed=1)
    net.run(RunSteps(6), config)
    net.mark()
    net.run(RunSteps(6), checkpoint=path)
    net.reset()
    net.run(RunSteps(10))
    again = Net()
    assert lv.resume(again, path, config) == 12
    again.reset()
    assert again.step == 6
    again.run(RunSteps(10))
    same(values(net), values(again))


def test_it_is_written_where_every_divides_the_step_and_at_the_end(path, monkeypatch):
    seen = []
    written = container.written
    monkeypatch.setattr(container, "written", lambda *a: (seen.append(net.step), written(*a)))
    net, config = Net(), RunConfig(seed=1)
    net.run(RunSteps(3), config)
    net.run(RunSteps(9), checkpoint=path, every=4)
    assert seen == [4, 8, 12]
    net.run(RunSteps(3), checkpoint=path)
    assert seen == [4, 8, 12, 15]


@pytest.mark.parametrize("condition", [RunSteps(2**40, blocking=False), RunContinuous()])
def test_a_run_that_is_paused_is_written(path, condition):
    net, config = Net(), RunConfig(seed=1)
    net.run(condition, config, checkpoint=path)
    net.pause()
    again = Net()
    assert lv.resume(again, path, config) == net.step
    same(values(net), values(again))


PROGRAM = """
import os, random, signal, sys
import numpy as np
import lavalike as lv
from lavalike.proc import LIF, Dense
from lavalike.proc.io import source

class Gate(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((3,)), lv.OutPort((3,))
        self.count = lv.Var((3,), 0)

@lv.implements(Gate, backend="numpy")
class GateModel(lv.NumpyModel):
    def __init__(self, process, config):
        super().__init__(process, config)
        self.mine, self.drawing = {"seen": [0.5]}, np.random.default_rng(4)
    def run_spk(self):
        x = self.inp.recv() + self.drawing.random(3) + np.random.random() + random.random()
        self.count = self.count + (x > 1)
        self.mine["seen"].append(float(x.sum()))
        self.out.send(x + self.mine["seen"][-2] / 8)
        if self.time_step == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)

class Program(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.noise = source.Noise(shape=(3,), std=0.3)
        self.gate, self.dense = Gate(), Dense(weights=np.eye(3) / 3)
        self.lif = LIF(shape=(3,), du=0.5, dv=0.25, vth=1.0)
        self.noise.s_out.connect(self.gate.inp)
        self.gate.out.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)

def go(file, killed, steps=60):
    global KILLED
    KILLED = killed
    np.random.seed(5)
    random.seed(6)
    net, config = Program(), lv.RunConfig(seed=2)
    if os.path.exists(file):
        np.random.seed(77)
        lv.resume(net, file, config)
        assert net.step == 30, net.step
    net.run(lv.RunSteps(steps - net.step), config, checkpoint=file, every=10)
    return np.concatenate([net.lif.v.get(), net.lif.u.get(), net.gate.count.get()])

if __name__ == "__main__":
    print(*map(float.hex, map(float, go(sys.argv[1], int(sys.argv[2])))))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_what_a_killed_program_left_goes_on_in_another(tmp_path, monkeypatch):
    """Python models with data of their own and generators, beside kernels."""
    program, file = tmp_path / "checkpointed.py", tmp_path / "run.h5"
    program.write_text(PROGRAM)

    def run(killed):
        return subprocess.run(
            [sys.executable, program, file, str(killed)],
            *(),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert run(37).returncode == -signal.SIGKILL
    found = run(0)
    assert found.returncode == 0, found.stderr
    monkeypatch.syspath_prepend(tmp_path)
    state = np.random.get_state()  # noqa: NPY002
    try:
        import checkpointed

        want = checkpointed.go(str(tmp_path / "whole.h5"), 0)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert found.stdout.split() == [float(x).hex() for x in want]


class Chain(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.noise = source.Poisson(shape=(3,), rate=0.4, seed=2)
        self.dense = Dense(weights=np.full((2, 3), 0.5))
        self.lif = LIF(shape=(2,), du=1.0, dv=0.1, vth=1.0)
        self.noise.s_out.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)


def test_a_chip_goes_on_and_is_not_cut(path):
    torch = pytest.importorskip("torch")
    from lavalike.bss2.chip import Chip

    config = RunConfig(backend="bss2", chip=Chip(seed=3))
    torch.manual_seed(0)
    whole = Chain()
    whole.run(RunSteps(8), config)
    whole.run(RunSteps(8))
    torch.manual_seed(0)
    first = broken_off(path, Chain, config, None, 8)
    torch.manual_seed(8)
    again = Chain()
    lv.resume(again, path, config)
    again.run(RunSteps(8))
    same(values(whole), values(again))
    with pytest.raises(InputError, match=r"every=2 cuts a run, and a chip does all steps"):
        first.run(RunSteps(8), checkpoint=path, every=2)
    with pytest.raises(GraphFileError, match=r"Chain\.lif: its chip is other"):
        lv.resume(Chain(), path, RunConfig(backend="bss2", chip=Chip(seed=4)))


def test_two_of_one_name_on_a_chip_are_two(path):
    torch = pytest.importorskip("torch")
    from lavalike.bss2.chip import Chip

    config = RunConfig(backend="bss2", chip=Chip(seed=3))

    def make():
        drive, own = Dense(weights=np.full((2, 2), 0.5)), []
        source.Poisson(shape=(2,), rate=0.4, seed=2).s_out.connect(drive.s_in)
        for dv in (0.1, 0.2):
            own.append(LIF(shape=(2,), du=1.0, dv=dv, vth=1.0, name="one"))
            drive.a_out.connect(own[-1].a_in)
        return own

    torch.manual_seed(0)
    first, *_ = whole = make()
    first.run(RunSteps(8), config, checkpoint=path)
    lv.resume((again := make())[0], path, config)
    for a, b in zip(whole, again, strict=True):
        np.testing.assert_array_equal(a.v.get(), b.v.get())
    assert not np.array_equal(whole[0].v.get(), whole[1].v.get())


class Setter(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.ref = lv.RefPort((1,))


@lv.implements(Setter, backend="numpy")
class SetterModel(lv.NumpyModel):
    def run_spk(self):
        if self.time_step == 3:
            self.ref.write(np.array([0.25]))


def referring():
    setter, lif = Setter(), LIF(shape=(1,), du=1.0, dv=0.0, bias_mant=0.125, vth=2.0)
    setter.ref.connect_var(lif.vth)
    return lif


def test_a_parameter_that_a_step_has_set_is_in_the_file(path):
    whole = referring()
    whole.run(RunSteps(9))
    broken_off(path, referring, steps=5)
    again = referring()
    lv.resume(again, path)
    assert again.vth.get() == 0.25
    again.run(RunSteps(4))
    same(values(whole), values(again))


def test_a_file_of_workers_leaves_what_one_process_has_as_it_was(path):
    broken_off(path, referring, steps=5)
    _, found, arrays = contents(path, "checkpoint", "run")
    text = json.dumps({**found, "shares": [["Setter_0"], ["LIF_0"]]}).encode()
    container.written(path, "checkpoint", text, [arrays[str(k)] for k in range(len(arrays))])
    net = referring()
    before = values(net)
    with pytest.raises(GraphFileError, match="written by 2 workers, and none compute"):
        lv.resume(net, path)
    same(values(net), before)


class Keeping(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.out = lv.Var((1,), 0.0)


@lv.implements(Keeping, backend="numpy")
class KeepingModel(lv.NumpyModel):
    """Its attributes have a generator and a list in common; its history is of NumPy's numbers."""

    def __init__(self, process, config):
        super().__init__(process, config)
        self.drawing = np.random.default_rng(4)
        self.sources = {"own": self.drawing, "kept": ([0.5], np.array(["a", "b"], "U5"))}
        self.seen = self.sources["kept"][0]

    def run_spk(self):
        self.seen.append(self.drawing.random() + np.float64(self.seen[-1]) / 2)
        other = self.sources["own"].random() + self.sources["kept"][0][-1]
        self.sources["kept"][1][0] = f"{len(self.seen):b}"  # 4 letters where it breaks off, then 5
        self.out = np.array([other + len(self.sources["kept"][1][0])])


def test_what_is_at_two_places_of_a_model_is_one_again(path):
    whole = Keeping()
    whole.run(RunSteps(20))
    first = broken_off(path, Keeping, steps=9)
    assert first.out.get() != whole.out.get()
    again = Keeping()
    lv.resume(again, path)
    again.run(RunSteps(11))
    same(values(whole), values(again))


def test_a_long_history_is_read_again(path):
    with h5py.File(broken_off(path, Keeping, steps=300) and path) as file:
        assert len(file["arrays"]) < 10  # numbers are none of HDF5's data sets
    assert lv.resume(Keeping(), path) == 300


def test_numbers_of_numpys_are_numbers(path):
    def make(vth):
        return LIF(shape=(2,), vth=vth, bias_mant=0.3)

    broken_off(path, lambda: make(0.5), RunConfig(seed=np.int64(3)), np.int64(5), np.int64(7))
    assert lv.resume(make(np.float64(0.5)), path, RunConfig(seed=3)) == 7


def test_a_whole_number_of_numpys_is_an_argument(path):
    def make(seed):
        return source.Poisson(shape=(2,), rate=0.5, seed=seed)

    broken_off(path, lambda: make(np.int64(3)), steps=7)
    assert lv.resume(make(3), path) == 7
    with pytest.raises(GraphFileError, match="its arguments is other"):
        lv.resume(make(np.int64(4)), path)


# -- what is refused ---------------------------------------------------------------------------


def more():
    net = Net()
    net.lif.s_out.connect(LIF(shape=(4,)).a_in)
    return net


@pytest.mark.parametrize(
    ("make", "config", "problem"),
    [
        (lambda: Net(vth=0.8), None, r"Net\.lif: its (arguments|Var vth) is other \(\w+\) there"),
        (lambda: Net(back=0.2), None, r"Net\.back: its Var weights is other"),
        (lambda: Net(rule="2^-4 * x1 * y0"), None, r"Net\.synapses: its arguments is other"),
        (more, None, r"there is .* here|here only"),
        (Chain, None, r"there is Chain\.|here only|there only"),
        (Net, RunConfig(seed=3), r"RunConfig\.seed is 2 there and 3 here"),
        (Net, RunConfig(seed=2, dtype="float64"), r"its precision is float32 there and float64"),
        (Net, RunConfig(seed=2, backend="torch"), r".*"),
    ],
)
def test_another_graph_is_refused_by_place(path, make, config, problem):
    broken_off(path, config=RunConfig(seed=2))
    net = make()
    with pytest.raises(lv.LavalikeError, match=problem):
        lv.resume(net, path, config or RunConfig(seed=2))
    assert net.step == 0


def test_damage_is_told(path, tmp_path):
    broken_off(path)
    data = path.read_bytes()
    compiled = tmp_path / "graph.h5"
    lv.compile(LIF(shape=(2,))).save(compiled)
    for what, problem in [
        (data[: len(data) // 2], "."),
        (data[:-200] + bytes(200), "."),
        (b"", "."),
        (b"x" * 5000, "not a readable HDF5 file"),
        (compiled.read_bytes(), r"no checkpoint is in it, as run\(checkpoint=\) writes one"),
    ]:
        other = tmp_path / "other.h5"
        other.write_bytes(what)
        with pytest.raises(GraphFileError, match=problem):
            lv.resume(Net(), other)
    at = data.index(b'"step"')
    other.write_bytes(data[:at] + b'"stop"' + data[at + 6 :])
    with pytest.raises(GraphFileError, match="digest: does not fit"):
        lv.resume(Net(), other)
    with pytest.raises(GraphFileError, match="there is no such file"):
        lv.resume(Net(), tmp_path / "none.h5")


def test_a_disk_that_is_full_leaves_the_last_one_and_the_run(path, monkeypatch):
    net, config, written = Net(), RunConfig(seed=1), container.written

    def full(draft, *rest):
        if net.step > 10:
            draft.write_bytes(b"some")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(draft, *rest)

    monkeypatch.setattr(container, "written", full)
    with pytest.raises(RunError, match=r"after step 15 cannot be written: .*No space.* step 10"):
        net.run(RunSteps(30), config, checkpoint=path, every=5)
    monkeypatch.undo()
    assert [p.name for p in path.parent.iterdir()] == ["run.h5"]
    assert net.step == 15
    again = Net()
    assert lv.resume(again, path, config) == 10
    again.run(RunSteps(6))
    net.run(RunSteps(1))
    same(values(net), values(again))
    for where in (path.parent, path.parent / "none" / "run.h5"):
        with pytest.raises(RunError, match="cannot be written"):
            net.run(RunSteps(1), checkpoint=where)


class Own(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.out = lv.OutPort((1,))


@lv.implements(Own, backend="numpy")
class OwnModel(lv.NumpyModel):
    def __init__(self, process, config):
        super().__init__(process, config)
        self.kept = {"set": {1}}

    def run_spk(self):
        self.out.send(np.zeros(1))


class Deep(Own):
    pass


@lv.implements(Deep, backend="numpy")
class DeepModel(OwnModel):
    def __init__(self, process, config):
        super().__init__(process, config)
        self.kept = []
        self.kept.append(self.kept)


class Wide(Own):
    pass


@lv.implements(Wide, backend="numpy")
class WideModel(OwnModel):
    def __init__(self, process, config):
        super().__init__(process, config)
        self.kept = np.zeros(2, np.longdouble)


class Many(Own):
    pass


@lv.implements(Many, backend="numpy")
class ManyModel(OwnModel):
    def __init__(self, process, config):
        super().__init__(process, config)
        self.kept = [np.zeros(1) for _ in range(30)]


class Beside(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.out = lv.OutPort((1,))


@lv.implements(Beside, backend="numpy")
class BesideModel(lv.AsyncModel):
    def run_async(self):
        while not self.over():
            self.out.send(np.zeros(1))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Own, r"what changes in Own.*'kept'.*'set'.* is of class set, which no file holds"),
        (Beside, r"Beside runs beside the steps"),
        (Deep, r"what changes in Deep.*: data are nested deeper than 32"),
        pytest.param(Wide, r"'kept'. is of class ndarray, which no file", marks=LONG),
        (Many, r"run\.h5: 3\d arrays and .* a file has at most 20 and"),
    ],
)
def test_what_no_file_holds_is_told_before_the_first_step(path, make, problem, monkeypatch):
    monkeypatch.setattr(container, "MAX_ARRAYS", 20)
    net = make()
    with pytest.raises(GraphFileError, match=problem):
        net.run(RunSteps(3), checkpoint=path, every=1)
    assert net.step == 0
    assert not path.exists()


def test_every_belongs_to_a_checkpoint():
    with pytest.raises(InputError, match=r"every=3 says when .*give checkpoint="):
        LIF(shape=(1,)).run(RunSteps(1), every=3)


def test_rows_that_act_on_a_var_go_on(path):
    def make():
        lif = LIF(shape=(5,), vth=9.0, du=0.2, dv=0.1, bias_mant=np.linspace(0.1, 0.9, 5))
        reset, read = io.Reset(interval=7, offset=3), io.Read(buffer=6, interval=4)
        reset.connect_var(lif.v)
        read.connect_var(lif.v)
        return lif

    whole = make()
    whole.run(RunSteps(STEPS))
    broken_off(path, make)
    again = make()
    lv.resume(again, path)
    again.run(RunSteps(STEPS - again.step))
    same(values(whole), values(again))
