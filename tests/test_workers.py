"""A graph over worker processes: the bits of one process, errors as they are, and nothing left
behind.

Workers that a test lets go of are the next test's, so that two are started for all.
"""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends import get_backend
from lavalike.compiler.cut import cut
from lavalike.compiler.flat import flatten
from lavalike.learning import STDP
from lavalike.proc import (
    LIF,
    Conv,
    DelayDense,
    DelaySparse,
    Dense,
    LearningDense,
    Monitor,
    RandomSynapses,
    Recorder,
    Sparse,
    io,
)
from lavalike.proc.io import channel
from lavalike.process.process import component, walk
from lavalike.process.refs import RefPort
from lavalike.runtime import parcel, wiring, worker, workers
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")

TWO = {"workers": 2, "partition": {"l0": 0, "l1": 1}}


@pytest.fixture(scope="module", autouse=True)
def nothing_left():
    yield
    gc.collect()  # graphs that errors kept
    workers._end_idle()
    assert not multiprocessing.active_children()


def ring(pops=2, n=6, seed=0, fixed=False, kinds=(Dense,)):
    """Populations in a ring, each with itself and the next; ``kinds`` of connections in turn."""
    g = np.random.default_rng(seed)
    drive = g.integers(20, 60, n) if fixed else g.random(n) * 0.3
    decay = {"du": 1200, "dv": 400, "vth": 1} if fixed else {"du": 0.3, "dv": 0.1, "vth": 1.0}
    lifs = [LIF(shape=(n,), bias_mant=drive + k * 0, name=f"l{k}", **decay) for k in range(pops)]
    count = 0
    for k, lif in enumerate(lifs):
        for j in dict.fromkeys((k, (k + 1) % pops)):
            kind = kinds[count % len(kinds)]
            count += 1
            shape = (n, n)
            w = g.integers(-3, 6, shape) if fixed else g.normal(0.1, 0.5, shape)
            delays = {"delays": g.integers(1, 4, shape)} if "Delay" in kind.__name__ else {}
            joint = kind(weights=w, name=f"d{k}{j}", **delays)
            lif.s_out.connect(joint.s_in)
            joint.a_out.connect(lifs[j].a_in)
    return lifs


def walk_all(of):
    return [p for top in component(of) for p in walk(top)]


def everything(of):
    """All that a graph holds, by path."""
    return {
        v.path: v.get()
        for top in component(of)
        for p in walk(top)
        for v in p.vars
        if v.value.dtype.kind != "U"
    }


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], key, strict=True)


def program(of):
    found = of.runtime.program
    assert isinstance(found, workers.Workers)
    return found


# -- the bits of one process -----------------------------------------------------------------------


def all_kinds(fixed):
    lifs = ring(4, 8, fixed=fixed, kinds=(Dense, Sparse, DelaySparse, Dense, DelayDense))
    source = io.source.Poisson(shape=(8,), rate=0.3, name="poisson")
    image = Conv(
        weight=np.arange(18).reshape(2, 3, 3, 1) % 5 - 1,
        input_shape=(4, 4, 1),
        name="conv",
    )
    seen = LIF(shape=image.a_out.shape, du=4095 if fixed else 1.0, vth=2, name="seen")
    first = Dense(weights=np.ones((16, 8), int), name="spread")
    source.s_out.connect(first.s_in)
    first.a_out.reshape((4, 4, 1)).connect(image.s_in)
    image.a_out.connect(seen.a_in)
    back = Dense(weights=np.full((8, seen.s_out.size), 1), name="back")
    seen.s_out.flatten().connect(back.s_in)
    back.a_out.connect(lifs[2].a_in)
    return lifs, seen


def through_it(make, config):
    """A run in pieces, with all that comes between."""
    lifs, seen = make()
    monitor, recorder = Monitor(), Recorder()
    monitor.probe(lifs[2].v, 100)
    for target in (lifs[1].a_in, seen.s_out, lifs[3].v):
        recorder.add(target)
    net = lifs[0]
    net.run(lv.RunSteps(7), config)
    lifs[1].v.set(lifs[1].v.get() + 1)
    next(p for p in walk_all(net) if p.name == "d00").weights.set(np.ones((8, 8), int))
    net.run(lv.RunSteps(6))
    net.mark()
    net.run(lv.RunSteps(4))
    net.reset()
    assert net.step == 13
    recorder.add(seen.v)  # without another program
    net.run(lv.RunSteps(1))
    net.run(lv.RunSteps(5), config)
    out = everything(net)
    for k, probe in enumerate(p for top in component(net) for q in walk(top) for p in q.probes):
        out[f"probe {k}"] = probe.data()
    assert len(recorder[seen.v]) == 6
    out["step"] = np.array(net.step)
    net.stop()
    same({k: v for k, v in out.items() if "." in k}, everything(net))
    return out


@pytest.mark.parametrize("fixed", [False, True])
def test_all_kinds_of_connections(fixed):
    kinds = {"precision": "fixed_pt"} if fixed else {"dtype": "float64"}
    kinds["seed"] = 3
    one = through_it(lambda: all_kinds(fixed), lv.RunConfig(**kinds))
    assert one["probe 0"].any()
    two = through_it(
        lambda: all_kinds(fixed),
        lv.RunConfig(**kinds, workers=2, partition={"l0": 0, "l1": 1, "l2": 0, "l3": 1, "seen": 1}),
    )
    same(one, two)


def test_four_workers_by_themselves():
    one, four = ring(4), ring(4)
    one[0].run(lv.RunSteps(40))
    config = lv.RunConfig(workers=4, partition={"l0": 3})
    four[0].run(lv.RunSteps(40), config)
    same(everything(one[0]), everything(four[0]))
    assert len(program(four[0]).hands) == 4
    four[0].stop()


def learned(config):
    """Plastic synapses between two populations, driven by noise."""
    lifs = ring(2, 5)
    noise = io.source.Noise(shape=(5,), std=0.4, name="noise")
    noise.s_out.connect(lifs[0].a_in)
    rule = STDP(a_plus=0.5, a_minus=-0.25, tau_plus=8, tau_minus=4)
    joint = LearningDense(weights=np.full((5, 5), 0.2), learning_rule=rule, name="learns")
    lifs[0].s_out.connect(joint.s_in)
    joint.a_out.connect(lifs[1].a_in)
    lifs[1].s_out.connect(joint.s_in_bap)
    np.random.seed(5)  # noqa: NPY002  (which a run without seed draws from, once)
    lifs[0].run(lv.RunSteps(30), lv.RunConfig(**config))
    out = everything(lifs[0])
    assert (out["learns.weights"] != 0.2).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lv.RecompileWarning)
        lifs[0].run(lv.RunSteps(9), lv.RunConfig(**config, check="finite"))  # another program
    out |= {f"then {k}": v for k, v in everything(lifs[0]).items()}
    lifs[0].stop()
    return out


def test_learning_and_noise_of_a_seed_that_is_drawn():
    f64 = {"dtype": "float64"}  # whose kernels other tests compile, too
    same(learned(f64), learned(TWO | f64))


def test_a_batch_is_simulated():
    x = (np.random.default_rng(0).random((3, 5, 20)) < 0.4).astype(float)

    def run(**config):
        lifs = ring(2, 5)
        first = Dense(weights=np.eye(5), name="first")
        first.a_out.connect(lifs[0].a_in)
        rec = lv.simulate(
            lifs[0],
            {first.s_in: x},
            config=lv.RunConfig(**config),
            record=[lifs[1].v, lifs[1].a_in, first.s_in],
        )
        np.testing.assert_array_equal(rec[first.s_in], x.astype(np.float32))  # which no share sends
        return {"s": rec[lifs[0].s_out], "v": rec[lifs[1].v], "a": rec[lifs[1].a_in]}

    same(run(), run(**TWO))
    assert not multiprocessing.active_children() or len(workers._idle) >= 2  # they were let go of


class Late(lv.AbstractProcess):
    """Sends what it got a step before, plus one."""

    def __init__(self, name, n=2):
        super().__init__(name=name)
        self.inp, self.out = lv.InPort((n,)), lv.OutPort((n,))
        self.held, self.fails = lv.Var((n,), 0.0), lv.Var((1,), -1.0)


@lv.implements(Late, backend="numpy")
class LateModel(lv.NumpyModel):
    def run_spk(self):
        self.out.send(self.held)
        self.held[:] = self.inp.recv() + 1
        if self.time_step == self.fails[0]:
            raise KeyError("python")
        if self.fails[0] == self.time_step + 0.5:
            threading.Event().wait()
        if self.fails[0] == -self.time_step - 1:
            self.request_pause()


def mixed(config, steps=6):
    """Python, torch and numba in a ring over two workers."""
    lifs = ring(2, 2)
    late, other = Late("late"), Late("other")
    across, back = (Dense(weights=np.eye(2) * 0.3, name=n) for n in ("across", "back"))
    late.out.connect(across.s_in)
    across.a_out.connect(lifs[1].a_in)
    lifs[1].s_out.connect(back.s_in)
    back.a_out.connect(other.inp)
    slow = DelayDense(weights=np.ones((2, 2)), delays=np.full((2, 2), 2), name="slow")
    other.out.connect(slow.s_in)
    slow.a_out.connect(late.inp)
    recorder = Recorder()
    recorder.add(late.inp)
    recorder.add(lifs[1].u)
    lifs[0].run(lv.RunSteps(steps), config)
    return lifs, late, other, recorder


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_models_of_other_backends(backend):
    if backend == "torch":
        pytest.importorskip("torch")
    select = {"l1": backend, "d11": backend, "d01": backend}
    out = []
    place = int(backend == "torch")  # then worker 0 has numba's alone, in one table
    for config in ({}, {"workers": 2, "partition": {"l0": 0, "l1": 1, "other": 1, "late": place}}):
        lifs, late, _other, recorder = mixed(lv.RunConfig(**config, select=select), 9)
        lifs[1].v.set(0.5)
        lifs[0].run(lv.RunSteps(4))
        out.append(everything(lifs[0]))
        out[-1] |= {"heard": recorder[late.inp], "u": recorder[lifs[1].u]}
        if config:
            late.fails.set(-16)  # asks for a pause in step 15, of all
            lifs[0].run(lv.RunSteps(10))
            assert lifs[0].step == 15
            late.fails.set(18)
            with pytest.raises(KeyError, match="python") as e:
                lifs[0].run(lv.RunSteps(10))
            notes = "\n".join(e.value.__notes__)
            assert "late" in notes
            assert "run_spk" in notes
            assert "step 18" in notes
            assert "in a worker process" in notes
            assert "LateModel" not in str(e.value)
        lifs[0].stop()
    same(*out)


class Raises(Late):
    """Late, which raises a Var of another by 1/4 in every step."""

    def __init__(self, name, var):
        super().__init__(name)
        self.other = RefPort(var.shape)
        self.other.connect_var(var)


@lv.implements(Raises, backend="numpy")
class RaisesModel(LateModel):
    def post_guard(self):
        return True

    def run_post_mgmt(self):
        self.other.write(self.other.read() + 0.25)


def test_a_parameter_that_steps_change_is_read_where_they_do(tmp_path):
    """By whoever asks, among them a checkpoint, and it stays after stop()."""
    out = []
    for config in ({}, {"workers": 2, "partition": {"l0": 0, "l1": 1}}):
        lifs = ring(2, 2)
        raises = Raises("raises", lifs[1].bias_mant)
        lifs[1].s_out.connect(raises.inp)
        path = tmp_path / f"{len(config)}.h5"
        lifs[0].run(lv.RunSteps(3), lv.RunConfig(seed=1, **config), checkpoint=path)
        out.append(everything(lifs[0]))
        lifs[0].run(lv.RunSteps(2))
        out[-1] |= {f"then {k}": v for k, v in everything(lifs[0]).items()}
        lifs[0].stop()
        out[-1] |= {f"stopped {k}": v for k, v in everything(lifs[0]).items()}
        lv.resume(lifs[0], path, lv.RunConfig(seed=1, **config))
        lifs[0].run(lv.RunSteps(2))
        out[-1] |= {f"resumed {k}": v for k, v in everything(lifs[0]).items()}
        lifs[0].stop()
    same(*out)
    assert (out[1]["stopped l1.bias_mant"] - out[1]["l1.bias_mant"] == 0.5).all()
    np.testing.assert_array_equal(out[1]["stopped l1.v"], out[1]["resumed l1.v"])


class Leaky(lv.AbstractProcess):
    def __init__(self, name, n=3):
        super().__init__(name=name)
        self.a_in, self.s_out = lv.InPort((n,)), lv.OutPort((n,))
        self.v, self.at = lv.Var((n,), 0.0), lv.Var((1,), 0, role="parameter")


@lv.implements(Leaky, backend="numba")
class LeakyModel(lv.NumbaModel):
    def step(a_in, s_out, v, at, t):
        for i in range(v.size):
            v[i] = 0.5 * v[i] + a_in[i] + 1
        if t == at[0]:
            raise ValueError("a step of a user's")
        for i in range(v.size):
            s_out[i] = v[i] > 1.2


def leaky(**config):
    a, b = Leaky("l0"), Leaky("l1")
    for k, (source, target) in enumerate(((a, b), (b, a), (a, a))):
        joint = Dense(weights=np.eye(3) * 0.7, name=f"d{k}")
        source.s_out.connect(joint.s_in)
        joint.a_out.connect(target.a_in)
    recorder = Recorder()
    recorder.add(a.v)
    a.run(lv.RunSteps(1), lv.RunConfig(**config))
    return a, b, recorder


@pytest.mark.parametrize("who", [0, 1])
def test_what_a_worker_raises(who):
    """As itself, with process, step and traceback; all are after the last whole step."""
    one = leaky()
    one[0].at.set(3)
    with pytest.raises(ValueError, match="l0, step 3") as alone:
        one[0].run(lv.RunSteps(5))
    two = leaky(**TWO)
    two[who].at.set(3)
    with pytest.raises(ValueError, match=f"l{who}, step 3: a step of a user's") as e:
        two[0].run(lv.RunSteps(5))
    assert type(e.value).__mro__[1:] == type(alone.value).__mro__[1:]
    assert "test_workers.py" in "\n".join(e.value.__notes__)
    assert two[0].step == 2
    assert len(two[2][two[0].v]) == 2
    two[0].stop()
    one[0].stop()
    same(
        {k: v for k, v in everything(one[0]).items() if "at" not in k},
        {k: v for k, v in everything(two[0]).items() if "at" not in k},
    )
    two[who].at.set(0)
    two[0].run(lv.RunSteps(1))
    two[0].stop()


def slowly(**config):
    """Users' steps as plain Python, with delays of two steps at least in between."""
    a, b = Leaky("l0"), Leaky("l1")
    for k, (source, target) in enumerate(((a, b), (b, a), (a, a))):
        joint = DelayDense(weights=np.eye(3) * 0.7, delays=np.full((3, 3), 2), name=f"d{k}")
        source.s_out.connect(joint.s_in)
        joint.a_out.connect(target.a_in)
    recorder = Recorder()
    recorder.add(a.v)
    recorder.add(b.a_in)
    a.run(lv.RunSteps(1), lv.RunConfig(debug=True, **config))
    return a, b, recorder


def test_as_many_steps_as_the_shortest_delay_are_exchanged_at_once():
    one, two = slowly(), slowly(**TWO)
    made = program(two[0]).cut
    assert made.interval == made.lag == 3
    for pair in (one, two):
        pair[0].run(lv.RunSteps(10))
        pair[1].at.set(16)  # in the middle of what is exchanged at once
        with pytest.raises(ValueError, match="l1, step 16: a step of a user's"):
            pair[0].run(lv.RunSteps(10))
        assert pair[0].step == 15
        pair[0].stop()
        pair[1].at.set(0)
        pair[0].run(lv.RunSteps(4))
    same(everything(one[0]), everything(two[0]))
    same(*({"v": r[a.v], "a": r[b.a_in]} for a, b, r in (one, two)))
    two[0].stop()
    mixed_ways = cut(
        flatten(one[0], lv.RunConfig(select={"l0": "numba"}), get_backend), 2, TWO["partition"]
    )
    assert (mixed_ways.interval, mixed_ways.lag) == (1, 3)  # rows of tables exchange in every step


# -- faults ----------------------------------------------------------------------------------------


def ended(net, sig):
    """What a run raises of which the second worker gets ``sig`` within."""
    hand = program(net).hands[1]
    timer = threading.Timer(0.05, os.kill, (hand.pid, sig))
    timer.start()
    with pytest.raises(lv.WorkerError) as e:
        net.run(lv.RunSteps(10**9))
    timer.join()
    assert not any(h.process.is_alive() for h in program(net).hands)
    return str(e.value)


def test_a_worker_that_is_killed():
    lifs = ring()
    lifs[0].run(lv.RunSteps(3), lv.RunConfig(**TWO))
    text = ended(lifs[0], signal.SIGKILL)
    assert "worker 1" in text
    assert "SIGKILL" in text
    with pytest.raises(lv.WorkerError, match=r"stop\(\)"):
        lifs[0].run(lv.RunSteps(1))
    lifs[0].stop()
    assert lifs[0].step == 0
    assert not lifs[0].v.get().any()
    one = ring()
    one[0].run(lv.RunSteps(4))
    lifs[0].run(lv.RunSteps(4))
    same(everything(one[0]), everything(lifs[0]))
    assert "does not answer" in ended(lifs[0], signal.SIGSTOP)
    lifs[0].stop()


def test_a_worker_that_is_stopped_between_runs_is_replaced(monkeypatch):
    monkeypatch.setattr(workers, "ANSWERS", 0.3)
    lifs = ring()
    lifs[0].run(lv.RunSteps(3), lv.RunConfig(**TWO))
    hands = program(lifs[0]).hands
    first, second = hands[1], hands[0]
    os.kill(first.pid, signal.SIGSTOP)
    lifs[0].runtime.program.close()  # as when the graph is collected
    assert first.ended
    other = ring()
    os.kill(second.pid, signal.SIGSTOP)  # one that waits for a graph
    other[0].run(lv.RunSteps(3), lv.RunConfig(**TWO))
    assert second.ended
    one = ring()
    one[0].run(lv.RunSteps(3))
    other[0].stop()
    same(everything(one[0]), everything(other[0]))


class TwoThings(ValueError):
    """An error that is not made of its ``args``."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.b = b


def test_an_error_of_any_class_comes_back_as_itself():
    error = worker.unpacked(*worker.packed(TwoThings(1, [2])))
    assert type(error) is TwoThings
    assert str(error) == "1 and [2]"
    assert error.b == [2]
    error.lock = threading.Lock()  # what no pickle takes
    assert isinstance(worker.unpacked(*worker.packed(error)), lv.RunError)


def test_ctrl_c_and_pause_end_all_at_one_step():
    lifs = ring()
    lifs[0].run(lv.RunSteps(3), lv.RunConfig(**TWO))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        lifs[0].run(lv.RunSteps(10**9))
    timer.join()
    lifs[0].run(lv.RunContinuous())
    lifs[0].pause()
    lifs[0].run(lv.RunSteps(5))
    one = ring()
    one[0].run(lv.RunSteps(lifs[0].step))
    same(everything(one[0]), everything(lifs[0]))
    lifs[0].stop()


SCRIPT = """
import os, signal, threading
import lavalike as lv
from tests.test_workers import TWO, program, ring

def main():
    net = ring()[0]
    net.run(lv.RunSteps(1), lv.RunConfig(**TWO))
    print(*(h.pid for h in program(net).hands), flush=True)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
    net.run(lv.RunSteps(10**9))
"""


def test_a_parent_that_is_killed(tmp_path):
    (tmp_path / "s.py").write_text(SCRIPT + '\nif __name__ == "__main__":\n    main()\n')
    (tmp_path / "bare.py").write_text(SCRIPT + "\nmain()\n")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, tmp_path / "s.py"], env=env, capture_output=True, text=True
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    pids = ran.stdout.split()  # all its pipes are closed: workers have them too
    assert len(pids) == 2
    assert all(wiring.state_of(int(pid)) in "Z" for pid in pids)
    ran = subprocess.run(
        [sys.executable, tmp_path / "bare.py"], env=env, capture_output=True, text=True
    )
    assert "WorkerError" in ran.stderr
    assert '__name__ == "__main__"' in ran.stderr
    assert ran.stdout == ""


# -- bad input -------------------------------------------------------------------------------------


def compiled(net, **config):
    return lv.compile(net, lv.RunConfig(**config))


def test_partitions_that_do_not_fit():
    lifs = ring()
    with pytest.raises(lv.InputError, match="workers=3, and the graph of l0 falls into 2 parts"):
        compiled(lifs[0], workers=3)
    with pytest.raises(lv.InputError, match="'lo' is no process of the graph of l0"):
        compiled(lifs[0], workers=2, partition={"lo": 0})
    with pytest.raises(lv.InputError, match="worker 2, and workers=2"):
        compiled(lifs[0], workers=2, partition={"l0": 2})
    with pytest.raises(lv.InputError, match="nothing for worker 1"):
        compiled(lifs[0], workers=2, partition={"l0": 0, "l1": 0})
    with pytest.raises(lv.GraphError, match=r"d01.a_out -> l1.a_in, which has no delay"):
        compiled(lifs[0], workers=2, partition={"l0": 0, "l1": 1, "d01": 0})
    with pytest.raises(lv.InputError, match=r"partition=.* is of a graph over several workers"):
        lv.RunConfig(partition={"l0": 0})
    with pytest.raises(lv.InputError, match=r"timeout=3.* is of a graph over several workers"):
        lv.RunConfig(timeout=3, workers=1)


def test_what_no_process_can_be_sent():
    class Local(Leaky):
        pass

    a, b = Local("l0"), Leaky("l1")
    joint = Dense(weights=np.eye(3))
    a.s_out.connect(joint.s_in)
    joint.a_out.connect(b.a_in)
    before = {h.pid for h in workers._idle}
    with pytest.raises(lv.WorkerError, match=r"l0: it cannot be sent.*importable"):
        compiled(a, **TWO)
    lifs = ring()
    lifs[1].lock = threading.Lock()
    with pytest.raises(lv.WorkerError, match=r"l1: it cannot be sent.*lock"):
        compiled(lifs[0], **TWO)
    assert {h.pid for h in workers._idle} <= before


class Beside(Leaky):
    pass


@lv.implements(Beside, backend="numpy")
class BesideModel(lv.AsyncModel):
    def run_async(self):
        pass


def test_what_is_not_computed_in_a_worker():
    """What deals with the program around the graph, and what has a state that no other process
    gets."""
    lifs = ring()
    joint = Dense(weights=np.eye(6), name="from")
    io.Injector(shape=(6,), name="injector").out_port.connect(joint.s_in)
    joint.a_out.connect(lifs[0].a_in)
    with pytest.raises(lv.GraphError, match=r"injector: InjectorModel deals with the program"):
        compiled(lifs[0], **TWO)
    lifs = ring(n=3)
    Beside("beside").s_out.connect(lifs[0].a_in)
    with pytest.raises(lv.GraphError, match=r"beside: BesideModel deals with the program"):
        compiled(lifs[0], **TWO)
    late, other = Late("l0"), Late("l1")
    for a, b in ((late, other), (other, late)):
        joint = Dense(weights=np.eye(2))
        a.out.connect(joint.s_in)
        joint.a_out.connect(b.inp)
    late.run(lv.RunSteps(1), lv.RunConfig())
    with pytest.warns(lv.RecompileWarning), pytest.raises(lv.GraphError, match=r"stop\(\) first"):
        late.run(lv.RunSteps(1), lv.RunConfig(**TWO))
    late.stop()


def test_a_step_that_takes_long_and_a_value_that_does_not_fit():
    lifs, late, *_ = mixed(lv.RunConfig(workers=2, partition={"l0": 0, "other": 1}, timeout=1), 2)
    with pytest.raises(lv.VarError, match=r"l1.vth"):
        lifs[1].vth.set("much")
    late.fails.set(4.5)  # it sleeps in step 4
    with pytest.raises(lv.WorkerError, match=r"no step was done within timeout=1 s"):
        lifs[0].run(lv.RunSteps(9))
    lifs[0].stop()


def test_a_worker_has_its_share_only():
    """What is sent to one holds no weights of the other's."""
    lifs = ring(n=200)
    made = cut(flatten(lifs[0], lv.RunConfig(), get_backend), 2)
    layout = wiring.Layout(made, 1)
    sizes = [
        sum(x.nbytes for x in parcel.packed(parcel.parcel(made, k, layout))[1]) for k in (0, 1)
    ]
    both = sum(p.weights.get().nbytes for p in walk_all(lifs[0]) if isinstance(p, Dense))
    assert all(0.5 * both <= size < 0.52 * both for size in sizes)


def _weights(rng, n):
    return rng.normal(0.1, 0.3, n).astype(np.float32)


def drawn(data):
    """Two populations, and synapses between them that a rule draws."""
    lifs = ring(2, 20)
    rule = RandomSynapses((20, 20), probability=0.3, data=data, delays=2)
    joints = [DelaySparse(chunks=rule, shape=(20, 20), max_delay=3, name=f"s{k}") for k in range(2)]
    for k, joint in enumerate(joints):
        lifs[k].s_out.connect(joint.s_in)
        joint.a_out.connect(lifs[1 - k].a_in)
    return lifs, joints


@pytest.mark.parametrize("data", [_weights, lambda rng, n: _weights(rng, n)], ids=["rule", "array"])
def test_synapses_by_a_rule_are_drawn_by_the_worker_that_has_them(data):
    """Or, where the rule is of a function that no other process finds, before they are sent."""
    out = []
    for config in ({}, TWO):
        lifs, joints = drawn(data)
        assert [v.nbytes for v in (joints[0].weights, joints[0].delays)] == [
            4 * joints[0].weights.size,
            joints[0].weights.size,
        ]
        assert all(v.untouched for j in joints for v in (j.weights, j.delays))
        lifs[0].run(lv.RunSteps(12), lv.RunConfig(seed=1, **config))
        lifs[0].stop()
        if config and data is _weights:
            assert all(v.untouched for j in joints for v in (j.weights, j.delays))
            assert not any(j._placed.made for j in joints)
        joints[0].weights.set(joints[0].weights.get() / 2)
        lifs[0].run(lv.RunSteps(5), lv.RunConfig(seed=1, **config))
        out.append(everything(lifs[0]))
    same(*out)


def test_synapses_by_a_rule_that_were_set_or_copied():
    lifs, joints = drawn(_weights)
    before = pickle.loads(pickle.dumps(joints[0]))  # which holds arrays
    assert not before.weights.untouched
    np.testing.assert_array_equal(before.weights.get(), drawn(_weights)[1][0].weights.get())
    joints[1].weights.set(0.25)
    lifs[0].run(lv.RunSteps(9), lv.RunConfig(seed=1, **TWO))
    two = everything(lifs[0])
    assert (two["s1.weights"] == 0.25).all()
    lifs, joints = drawn(_weights)
    joints[1].weights.set(0.25)
    lifs[0].run(lv.RunSteps(9), lv.RunConfig(seed=1))
    same(two, everything(lifs[0]))


def test_no_room_for_shared_memory(monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(workers._idle)
    monkeypatch.setattr(wiring.os, "posix_fallocate", full)
    with pytest.raises(lv.WorkerError, match=r"no .* MiB of shared memory.*No space left"):
        compiled(ring()[0], **TWO)
    assert len(workers._idle) == before


def test_a_small_graph_stays_in_one_process(caplog):
    lifs = ring()
    with caplog.at_level(logging.INFO, "lavalike"):
        one = compiled(lifs[0], workers=2)
    assert not isinstance(lifs[0].runtime.program, workers.Workers)
    assert "stays in one process: a step takes about" in caplog.text
    assert "all in one process: a step takes" in one.explain()
    flat = flatten(lifs[0], lv.RunConfig(), get_backend)
    made = cut(flat, 2, {"l1": 1})
    assert [[n.process.name for n in s.nodes] for s in made.shares] == [
        ["l0", "d00", "d10"],
        ["l1", "d01", "d11"],
    ]
    assert [p.path for p in made.shares[0].hears] == ["l1.s_out"]
    assert made.block(0) == 24
    assert made.lag == 1
    with compiled(ring()[0], **TWO) as two:
        text = two.explain()
    assert "0 -> 1: l0.s_out, 24 bytes" in text
    assert "predicted" in text


def test_records_and_warnings_of_workers_come_here(caplog):
    lifs = ring()
    source = io.source.RingBuffer(data=np.full((6, 3), 2), name="source")
    joint = Dense(weights=np.eye(6), name="counts")
    source.s_out.connect(joint.s_in)
    joint.a_out.connect(lifs[1].a_in)
    with caplog.at_level(logging.INFO, "lavalike"):
        compiled(lifs[0], workers=2, partition={"l0": 0, "source": 0, "l1": 1})
    with pytest.warns(lv.errors.GradedMessageWarning, match="counts: messages arrive"):
        lifs[0].run(lv.RunSteps(3))
    assert lifs[0].step == 3
    lifs[0].stop()
    told = [r.getMessage() for r in caplog.records if r.name == "lavalike.runtime.worker"]
    assert sorted(told) == ["worker 0: 4 processes", "worker 1: 4 processes"]


def test_workers_go_on_from_a_checkpoint(tmp_path):
    config, path = lv.RunConfig(seed=3, **TWO), tmp_path / "run.h5"
    whole = ring(kinds=(Dense, DelayDense))
    whole[0].run(lv.RunSteps(12), config)
    first = ring(kinds=(Dense, DelayDense))
    first[0].run(lv.RunSteps(7), config, checkpoint=path, every=3)
    first[0].stop()
    again = ring(kinds=(Dense, DelayDense))
    assert lv.resume(again[0], path, config) == 7
    again[0].run(lv.RunSteps(5))
    same(everything(again[0]), everything(whole[0]))
    whole[0].stop()
    again[0].stop()
    with pytest.raises(lv.GraphFileError, match="written by 2 workers, and none compute"):
        lv.resume(ring(kinds=(Dense, DelayDense))[0], path, lv.RunConfig(seed=3))


def _managed():
    """Two populations in a ring, whose states are reset and read at set steps."""
    g = np.random.default_rng(0)
    a = LIF(shape=(12,), bias_mant=g.random(12), vth=3.0, dv=0.05, du=0.3, name="a")
    b = LIF(shape=(9,), vth=2.0, dv=0.05, du=0.3, name="b")
    there, back = Dense(weights=g.random((9, 12))), Dense(weights=0.1 * g.random((12, 9)))
    a.s_out.connect(there.s_in)
    there.a_out.connect(b.a_in)
    b.s_out.connect(back.s_in)
    back.a_out.connect(a.a_in)
    reset, read = io.Reset(interval=7, offset=3), io.Read(buffer=8, interval=5)
    reset.connect_var(b.v)
    read.connect_var(a.v)
    return a, b, read


def test_what_acts_on_a_var_goes_where_that_is():
    states, before = [], {*threading.enumerate()}
    for config in (lv.RunConfig(), lv.RunConfig(workers=2, partition={"a": 0, "b": 1})):
        a, b, read = _managed()
        a.run(lv.RunSteps(40), config)
        states.append((a.v.get(), b.v.get(), read.data.get()))
        a.stop()
    for one, two in zip(*states, strict=True):
        assert (one == two).all()
    assert states[0][2].any()
    # who waits for a channel does not wait for what is left of workers
    left = {*threading.enumerate()} - before
    assert all(t.name.startswith(channel.SERVANTS) for t in left)


MAIN = """
from lavalike.runtime import workers

def main():
    try:
        workers._check_main()
        print("fine")
    except workers.WorkerError as e:
        print("told", e)

"""


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ('if __name__ == "__main__":\n    main()\n', False),
        ('try:\n    if __name__ == "__main__":\n        main()\nfinally:\n    pass\n', False),
        ('if __name__ == "__main__" and True:\n    main()\n', False),
        ('if __name__ == "builtins" or True:\n    main()\n', True),
        ('if __name__ != "x":\n    main()\n', True),
        ("main()\n", True),
    ],
)
def test_a_program_that_workers_would_run_again_is_told(program, told, tmp_path):
    path = tmp_path / "p.py"
    path.write_text(MAIN + program)
    out = subprocess.run(
        [sys.executable, path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.startswith("told" if told else "fine")


def test_a_program_without_a_file_is_told_before_a_process_starts(monkeypatch):
    class Main:
        __file__ = "<stdin>"
        __spec__ = None

    monkeypatch.setitem(sys.modules, "__main__", Main)
    with pytest.raises(lv.WorkerError, match="<stdin>, which worker processes cannot import"):
        workers._check_main()
    Main.__spec__ = type("Spec", (), {"name": "package.__main__"})  # which spawn leaves out
    workers._check_main()


class Drawn(lv.AbstractProcess):
    """Adds what NumPy's and Python's global generators give."""

    def __init__(self, name, n=2):
        super().__init__(name=name)
        self.a_in, self.s_out = lv.InPort((n,)), lv.OutPort((n,))
        self.v = lv.Var((n,), 0.0)


@lv.implements(Drawn, backend="numpy")
class DrawnModel(lv.NumpyModel):
    def run_spk(self):
        self.v[:] = self.a_in.recv() + np.random.random(2) + random.random()  # noqa: NPY002
        self.s_out.send(self.v > 0.5)


def drawing():
    a, b = Drawn("a"), Drawn("b")
    for one, other in ((a, b), (b, a)):
        dense = Dense(weights=np.eye(2), name=f"{one.name}_{other.name}")
        one.s_out.connect(dense.s_in)
        dense.a_out.connect(other.a_in)
    return a, b


def test_global_generators_of_workers_repeat_and_are_in_a_checkpoint(tmp_path):
    config = lv.RunConfig(seed=3, workers=2, partition={"a": 0, "b": 1})
    ends = []
    for file in ("1.h5", "2.h5"):
        nets = drawing()
        nets[0].run(lv.RunSteps(4), config, checkpoint=tmp_path / file)
        nets[0].run(lv.RunSteps(3))
        ends.append([p.v.get() for p in nets])
        nets[0].stop()
    nets = drawing()
    lv.resume(nets[0], tmp_path / "1.h5", config)
    nets[0].run(lv.RunSteps(3))
    ends.append([p.v.get() for p in nets])
    nets[0].stop()
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], ends[2])
    assert (ends[0][0] != ends[0][1]).all()
