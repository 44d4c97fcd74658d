"""What hangs or crashes in Lava, in its own words: here each is an answer or an error, in less than
two seconds of work.

The numbers are those of ../shared/reference/lava.md, section 4. Number 8, LearningLIF's s_out_bap,
is with the learning rules.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import types
import weakref

import numpy as np
import pytest

import lavalike as lv
from lavalike import logs, proc
from lavalike.compat import install, uninstall
from lavalike.errors import ChannelDeadlockError, GraphError, InputError, RunError
from tests.conftest import ROOT


@pytest.fixture(scope="module", autouse=True)
def lava():
    """Lava's names, while these tests run, and kernels that are compiled already."""
    install()
    core = "lava.magma.core."
    wanted = {
        f"{core}decorator": ["implements", "requires", "tag"],
        f"{core}model.py.model": ["PyLoihiProcessModel"],
        f"{core}model.py.ports": ["PyInPort", "PyOutPort", "PyRefPort"],
        f"{core}model.py.type": ["LavaPyType"],
        f"{core}process.ports.ports": ["InPort", "OutPort", "RefPort"],
        f"{core}process.process": ["AbstractProcess"],
        f"{core}process.variable": ["Var"],
        f"{core}run_conditions": ["RunSteps", "RunContinuous"],
        f"{core}run_configs": ["Loihi1SimCfg"],
        f"{core}sync.protocols.loihi_protocol": ["LoihiProtocol"],
        "lava.proc.dense.process": ["Dense"],
        "lava.proc.lif.process": ["LIF"],
        "lava.proc.monitor.process": ["Monitor"],
    }
    names = types.SimpleNamespace(
        **{n: getattr(importlib.import_module(m), n) for m, ns in wanted.items() for n in ns}
    )
    lif, _ = chain(names)
    lif.run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())
    yield names
    uninstall()


def within(what, seconds=2.0):
    """What ``what()`` returns or raises; an AssertionError where it hangs or works longer than
    that."""
    out = []

    def run():
        began = time.thread_time()
        try:
            out.append((what(), None))
        except BaseException as e:
            out.append((None, e))
        out.append(time.thread_time() - began)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    (value, error), took = out
    assert took < seconds
    if error is not None:
        raise error
    return value


def chain(names):
    lif, dense = names.LIF(shape=(2,), bias_mant=3, vth=5), names.Dense(weights=np.eye(2))
    lif.s_out.connect(dense.s_in)
    return lif, dense


def python(names, variables=None, ins=(), outs=(), refs=(), types_=None, **members):
    """A process of Lava's, with a model in Python."""

    def __init__(self):
        names.AbstractProcess.__init__(self)
        for name, value in (variables or {}).items():
            setattr(self, name, names.Var((1,), value))
        for kind, given in ((names.InPort, ins), (names.OutPort, outs), (names.RefPort, refs)):
            for name in given:
                setattr(self, name, kind((1,)))

    cls = type("P", (names.AbstractProcess,), {"__init__": __init__})
    ends = ((names.PyInPort, ins), (names.PyOutPort, outs), (names.PyRefPort, refs))
    known = {n: names.LavaPyType(k.VEC_DENSE, float) for k, given in ends for n in given}
    known |= {n: names.LavaPyType(np.ndarray, float) for n in variables or {}}
    model = type("PModel", (names.PyLoihiProcessModel,), {**known, **(types_ or {}), **members})
    names.implements(proc=cls, protocol=names.LoihiProtocol)(model)
    return cls()


def run(names, process, steps=2):
    return within(
        lambda: process.run(names.RunSteps(num_steps=steps), run_cfg=names.Loihi1SimCfg())
    )


@pytest.mark.parametrize(
    ("kind", "dtype", "init"), [(float, float, 10.5), (int, np.int64, 7), (int, int, 7)]
)
def test_1_2_3_scalars_are_got_and_set(lava, kind, dtype, init):
    def step(self):
        self.x = self.x + 1

    p = python(lava, {"x": init}, types_={"x": lava.LavaPyType(kind, dtype)}, run_spk=step)
    run(lava, p)
    assert within(lambda: p.x.get())[0] == init + 2
    within(lambda: p.x.set(np.array([20])))
    assert within(lambda: p.x.get())[0] == 20
    run(lava, p, 1)
    assert p.x.get()[0] == 21
    assert p.x.get([0])[0] == 21
    p.stop()


def test_4_an_error_beside_one_that_waits_is_told_with_its_cause(lava):
    def fails(self):
        raise KeyError("mine")

    sender = python(lava, outs=("out",), run_spk=fails)
    waits = python(lava, ins=("inp",), run_spk=lambda self: self.inp.recv())
    sender.out.connect(waits.inp)
    with pytest.raises(RuntimeError, match=rf"1 Exc.*KeyError: 'mine'.*{sender.name}, run") as told:
        run(lava, waits)
    assert isinstance(told.value.__cause__, KeyError)


@pytest.mark.parametrize("alone", [True, False])
def test_5_a_cycle_without_a_delay(lava, alone):
    first = lava.LIF(shape=(1,))
    second = first if alone else lava.LIF(shape=(1,))
    first.s_out.connect(second.a_in)
    if not alone:
        second.s_out.connect(first.a_in)
    with pytest.raises(GraphError, match=rf"{first.name}.*->"):
        run(lava, first)


def test_6_a_ref_port_is_read_in_run_spk(lava):
    def reads(self):
        self.seen[:] = self.ref.read()

    def counts(self):
        self.x += 1

    reader = python(lava, {"seen": 0.0}, refs=("ref",), run_spk=reads)
    owner = python(lava, {"x": 5.0}, run_spk=counts)
    reader.ref.connect_var(owner.x)
    run(lava, reader, 3)
    assert reader.seen.get()[0] == 7  # as the step before left it


def test_7_two_read_each_other_after_the_step(lava):
    members = {
        "post_guard": lambda self: True,
        "run_post_mgmt": lambda self: self.x.__iadd__(self.ref.read()),
        "run_spk": lambda self: None,
    }
    a, b = (python(lava, {"x": 1.0}, refs=("ref",), **members) for _ in range(2))
    a.ref.connect_var(b.x)
    b.ref.connect_var(a.x)
    run(lava, a)
    assert (a.x.get()[0], b.x.get()[0]) == (5, 8)


def test_9_steps_after_a_pause(lava):
    lif, dense = chain(lava)
    config = lava.Loihi1SimCfg()
    within(lambda: lif.run(lava.RunContinuous(), run_cfg=config))
    within(lif.pause)
    before = lif.step
    within(lambda: lif.run(lava.RunSteps(num_steps=3), run_cfg=config))
    assert lif.step == before + 3
    within(lambda: lif.run(lava.RunContinuous(), run_cfg=config))
    within(dense.stop)


def test_10_a_script_without_stop_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from lava.proc.lif.process import LIF\n"
        "from lava.magma.core.run_conditions import RunContinuous, RunSteps\n"
        "from lava.magma.core.run_configs import Loihi1SimCfg\n"
        "for condition in (RunSteps(num_steps=2), RunSteps(2, blocking=False), RunContinuous()):\n"
        "    LIF(shape=(2,)).run(condition, run_cfg=Loihi1SimCfg())\n"
        "print('ends')\n"
    )
    command = [sys.executable, "-m", "lavalike.compat", str(script)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    out = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=True)
    assert out.stdout == "ends\n"


def test_11_a_run_after_stop(lava):
    lif, _ = chain(lava)
    run(lava, lif)
    within(lif.stop)
    run(lava, lif)
    assert lif.step == 4
    assert within(lif.v.get).shape == (2,)


def test_monitors_take_two_targets_and_more_steps_than_they_were_told(lava):
    lif, dense = chain(lava)
    monitor = lava.Monitor()
    monitor.probe(lif.v, 2)
    monitor.probe(dense.a_out, 2)
    with pytest.raises(InputError, match=r"probed for 2 steps.*3 more.*a larger num_steps"):
        run(lava, lif, 3)
    run(lava, lif, 2)
    assert {k: [*v] for k, v in monitor.get_data().items()} == {
        lif.name: ["v"],
        dense.name: ["a_out"],
    }


def test_a_var_is_not_set_while_it_runs(lava):
    lif, _ = chain(lava)
    lif.run(lava.RunContinuous(), run_cfg=lava.Loihi1SimCfg())
    with pytest.raises(RunError, match="while the process is running; pause"):
        within(lambda: lif.v.set(np.array([1.0, 2.0])))
    lif.stop()


def test_processes_are_let_go_and_the_root_logger_is_left_alone(lava):
    before = list(logging.getLogger().handlers)
    lif, _ = chain(lava)
    lif.run(lava.RunSteps(num_steps=1), run_cfg=lava.Loihi1SimCfg())
    gone = weakref.ref(lif)
    del lif, _
    gc.collect()
    assert gone() is None
    assert logging.getLogger().handlers == before


# -- a hundred cycles of build, run, close


class Echo(lv.AbstractProcess):
    """Sends back what it hears."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((8,)), lv.OutPort((8,))


@lv.implements(Echo, backend="numpy")
class EchoModel(lv.NumpyModel):
    """In the same step."""

    def run_spk(self):
        self.out.send(self.inp.recv())


def cycle(k):
    lif, dense, echo = (
        proc.LIF(shape=(8,), bias_mant=0.5, vth=1.0),
        proc.Dense(weights=np.eye(8)),
        Echo(),
    )
    lif.s_out.connect(dense.s_in)
    if k % 2:
        dense.a_out.connect(echo.inp)
        echo.out.connect(lif.a_in)
    else:
        dense.a_out.connect(lif.a_in)
    recorder = proc.Recorder()
    recorder.add(lif.s_out)
    with lif:
        lif.run(lv.RunSteps(3))
        lif.run(lv.RunSteps(5, blocking=k % 3 != 0))
        lif.wait()
        if k % 4 == 0:
            lif.run(lv.RunContinuous())
            lif.pause()
    if k % 5 == 0:
        alone = Echo()
        alone.out.connect(alone.inp)
        with pytest.raises(lv.DeadlockError):
            alone.run(lv.RunSteps(1))
    assert recorder[lif.s_out].any()
    return weakref.ref(lif)


def level():
    gc.collect()
    where = "/dev/fd" if os.path.isdir("/dev/fd") else None
    files = len(os.listdir(where)) if where else 0
    return files, threading.active_count(), tracemalloc.get_traced_memory()[0]


def test_a_hundred_cycles_leave_descriptors_threads_and_memory_as_they_were():
    for k in range(10):  # what is made once: kernels, caches
        cycle(k)
    tracemalloc.start()
    try:
        for k in range(10, 20):
            cycle(k)
        before = level()
        alive = [cycle(k) for k in range(20, 120)]
        after = level()
    finally:
        tracemalloc.stop()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 64 << 10
    assert [ref() for ref in alive] == [None] * 100


@pytest.mark.parametrize("left", ["backends.numba", "fused", "logs"])
def test_threads_that_the_library_left_are_not_waited_for(left, monkeypatch):
    if left == "logs":
        monkeypatch.setattr(logs.LOGGER, "handlers", [logging.StreamHandler()])
        if not logs.install():
            pytest.skip("the platform does not fork")
    else:
        if left == "fused":
            pytest.importorskip("torch")
        importlib.import_module(f"lavalike.{left}.threads")._pool(2).submit(int).result()
    injector, extractor = (
        proc.io.Injector(shape=(1,), buffer_size=1),
        proc.io.Extractor(shape=(1,), buffer_size=1),
    )
    injector.out_port.connect(extractor.in_port)
    try:
        with pytest.raises(ChannelDeadlockError, match="no step has sent a message"):
            extractor.receive(timeout=1)
    finally:
        logs.uninstall()
