"""Threads and processes: of several runs at once each does its steps or is refused before the
first, and no fork inherits half a run."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import warnings

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba import kernels
from lavalike.proc import LIF, Dense, Monitor, Sigma, io
from lavalike.runtime import runtime

EXACT = lv.RunConfig(precision="fixed_pt")


def loop():
    """A LIF that excites itself through a Dense."""
    lif, dense = (
        LIF(shape=(20,), du=0.1, dv=0.05, vth=1.0, bias_mant=0.1),
        Dense(weights=np.full((20, 20), 0.01)),
    )
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif, dense


def counter():
    """A Sigma that counts the steps done."""
    sigma, source = Sigma(shape=(1,)), io.source.RingBuffer(data=np.ones((1, 1)))
    source.s_out.connect(sigma.a_in)
    return sigma


@pytest.fixture
def restless():
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*calls):
    """The calls in a thread each, begun together: what each returned or raised."""
    gate, out = threading.Barrier(len(calls)), [None] * len(calls)

    def go(k):
        gate.wait()
        try:
            out[k] = calls[k]()
        except Exception as e:
            out[k] = e

    threads = [threading.Thread(target=go, args=(k,)) for k in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not any(t.is_alive() for t in threads)
    return out


@pytest.mark.parametrize(
    "config",
    [EXACT, lv.RunConfig(backend="torch"), lv.RunConfig(debug=True)],
    ids=["numba", "torch", "debug"],
)
@pytest.mark.parametrize("first", ["fresh", "compiled"])
def test_each_run_does_its_steps_or_is_refused(restless, config, first):
    for _ in range(15):
        sigma = counter()
        if first == "compiled":
            sigma.run(lv.RunSteps(5), config)
        said = together(*[lambda s=sigma: s.run(lv.RunSteps(5), config)] * 3)
        assert all(x is None or type(x) is lv.RunError for x in said), said
        done = said.count(None) + (first == "compiled")
        assert done > 0
        assert sigma.sigma.get() == 5 * done


def test_each_run_with_another_config_does_its_steps_or_is_refused(restless):
    """Compiled anew by one thread while others run what was there."""
    other = lv.RunConfig(dtype="float64")
    for _ in range(15):
        sigma = counter()
        sigma.run(lv.RunSteps(5))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lv.RecompileWarning)
            said = together(
                lambda s=sigma: s.run(lv.RunSteps(5), other),
                *[lambda s=sigma: s.run(lv.RunSteps(5))] * 2,
            )
        assert all(x is None or type(x) is lv.RunError for x in said), said
        assert sigma.sigma.get() == 5 + 5 * said.count(None)


def test_a_run_from_each_end_of_a_graph(restless):
    for _ in range(15):
        lif, dense = loop()
        said = together(lambda p=lif: p.run(lv.RunSteps(5)), lambda p=dense: p.run(lv.RunSteps(5)))
        assert all(x is None or type(x) is lv.RunError for x in said), said
        assert lif.runtime is dense.runtime
        assert lif.runtime.program.step == 5 * said.count(None)
        dense.run(lv.RunSteps(1))
        lif.run(lv.RunSteps(1))
        assert lif.runtime.program.step == 5 * said.count(None) + 2


def test_stop_get_and_set_beside_runs(restless):
    """A run beside stop() begins from the Vars or is refused, or ends early; a value set is there
    afterwards, or set() was refused."""
    for k in range(15):
        sigma = counter()
        sigma.run(lv.RunSteps(5))
        said = together(
            lambda s=sigma: s.run(lv.RunSteps(5)),
            sigma.stop,
            lambda s=sigma: s.sigma.get(),
            lambda s=sigma, k=k: s.sigma.set(100 * (k + 1)),
        )
        assert all(not isinstance(x, Exception) or type(x) is lv.RunError for x in said)
        ran, was_set = said[0] is None, said[3] is None
        least = 100 * (k + 1) if was_set else 5
        assert least <= int(sigma.sigma.get()[0]) <= least + 5 * ran


class Held:
    """A backend that waits while it builds, until it is let go; or raises."""

    def __init__(self, real, error=None):
        self.options = real.options
        self.real, self.error, self.began, self.go = (
            real,
            error,
            threading.Event(),
            threading.Event(),
        )

    def general_model(self, process):
        return self.real.general_model(process)

    def build(self, *args):
        self.began.set()
        if self.error is not None:
            raise self.error
        assert self.go.wait(60)
        return self.real.build(*args)


@pytest.fixture
def held(monkeypatch):
    def hold(error=None):
        backend = Held(lv.backends.get_backend("numba"), error)
        monkeypatch.setattr(runtime, "get_backend", lambda name: backend)
        return backend

    return hold


def test_while_a_first_run_compiles_it_is_the_only_one(held):
    backend, sigma = held(), counter()
    sigma.sigma.set(100)
    thread = threading.Thread(target=lambda: sigma.run(lv.RunSteps(5)))
    thread.start()
    assert backend.began.wait(60)
    try:
        with pytest.raises(
            lv.RunError, match=r"cannot run .*another thread is just starting its run"
        ):
            sigma.run(lv.RunSteps(5))
        with pytest.raises(
            lv.RunError, match=r"cannot set Sigma\.sigma while the process is running"
        ):
            sigma.sigma.set(0)
        assert sigma.sigma.get() == 100
        assert lv.simulate(sigma, steps=3, record=["sigma"])["sigma"].tolist() == [[101, 102, 103]]
    finally:
        backend.go.set()
        thread.join(60)
    assert sigma.sigma.get() == 105
    sigma.run(lv.RunSteps(1))
    assert sigma.sigma.get() == 106


@pytest.mark.parametrize("error", [lv.GraphError("no"), KeyboardInterrupt()])
def test_a_first_run_that_fails_while_it_compiles_can_be_repeated(held, monkeypatch, error):
    sigma = counter()
    held(error)
    with pytest.raises(type(error)):
        sigma.run(lv.RunSteps(5))
    monkeypatch.undo()
    sigma.run(lv.RunSteps(5))
    assert sigma.sigma.get() == 5
    held(error)
    with pytest.raises(type(error)), pytest.warns(lv.RecompileWarning):
        sigma.run(lv.RunSteps(5), EXACT)
    assert sigma.sigma.get() == 5
    sigma.run(lv.RunSteps(5))
    assert sigma.sigma.get() == 10


def test_a_non_blocking_run_is_waited_for_paused_and_stopped_from_other_threads():
    sigma = counter()
    sigma.run(lv.RunContinuous())
    with pytest.raises(lv.RunError, match="cannot run while the process is running"):
        sigma.run(lv.RunSteps(1))
    with pytest.raises(
        lv.RunError, match=r"cannot read Sigma\.sigma while the process is running"
    ):  # set() looks at its dtype
        sigma.sigma.set(0)
    with pytest.raises(lv.RunError, match="cannot read"):
        lv.simulate(sigma, steps=1)
    assert together(sigma.pause, sigma.wait, sigma.pause, sigma.stop, sigma.stop)[-1] is None
    assert sigma.runtime is None
    n = int(sigma.sigma.get()[0])
    sigma.run(lv.RunSteps(5, blocking=False))
    assert together(sigma.wait, sigma.wait) == [None, None]
    assert sigma.sigma.get() == n + 5
    assert not any(t.name == "lavalike-run" for t in threading.enumerate())


def test_a_blocking_run_is_paused_by_another_thread():
    sigma = counter()
    sigma.run(lv.RunSteps(1))
    monitor = Monitor()
    thread = threading.Thread(target=lambda: sigma.run(lv.RunSteps(10**12)))
    thread.start()
    while not sigma.running:
        pass
    sigma.pause()
    thread.join(60)
    assert not thread.is_alive()
    assert sigma.sigma.get() == sigma.runtime.program.step < 10**12
    assert monitor.get_data() == {}


class Calls(lv.AbstractProcess):
    """Its step, in Python, calls ``what``."""

    def __init__(self, what):
        super().__init__(what=what)
        self.s_out, self.count = lv.OutPort((1,)), lv.Var((1,), 0)


CALLED = []


@lv.implements(Calls, backend="numba")
class CallsModel(lv.NumbaModel):
    def step(s_out, count):
        count[0] += 1
        s_out[0] = 0
        CALLED[0]()


@pytest.mark.parametrize(
    ("what", "match"),
    [
        (lambda p: p.run(lv.RunSteps(1)), "cannot run from within a step"),
        (lambda p: p.run(lv.RunSteps(1), EXACT), "from within a step"),
        (lambda p: p.stop(), "cannot stop from within a step"),
    ],
)
def test_from_within_a_step_run_and_stop_are_refused(what, match):
    """They would wait for themselves."""
    p = Calls(None)
    CALLED[:] = [lambda: None]
    debug = lv.RunConfig(debug=True)
    p.run(lv.RunSteps(1), debug)
    CALLED[:] = [lambda: what(p)]
    with pytest.raises(lv.RunError, match=match):
        p.run(lv.RunSteps(1))
    CALLED[:] = [lambda: None]
    p.stop()
    p.run(lv.RunSteps(2), debug)
    assert p.count.get() == 3  # a step that raises leaves the states of the one before


def test_from_within_a_step_pause_and_wait_end_the_run_after_it():
    p = Calls(None)
    CALLED[:] = [lambda: (p.wait(), p.pause() if p.count.get() == 3 else None)]
    p.run(lv.RunSteps(1), lv.RunConfig(debug=True))
    p.run(lv.RunContinuous())
    p.wait()
    assert p.count.get() == p.runtime.program.step >= 3


# -- fork ------------------------------------------------------------------------------------------


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def in_child(call):
    """What ``call`` returns, or the error that it raises, in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if not child:
        try:
            try:
                out = call()
            except BaseException as e:
                out = e
            with os.fdopen(write, "wb") as pipe:
                pipe.write(pickle.dumps(out))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(content)


@fork
def test_a_child_forked_between_runs_goes_on_from_there():
    sigma = counter()
    sigma.run(lv.RunSteps(5))

    def go_on():
        sigma.run(lv.RunSteps(3))
        sigma.run(lv.RunSteps(2, blocking=False))
        sigma.wait()
        return int(sigma.sigma.get()[0])

    assert in_child(go_on) == 10
    sigma.run(lv.RunSteps(1))
    assert sigma.sigma.get() == 6


@fork
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.run(lv.RunSteps(1)),
        lambda s: s.run(lv.RunSteps(1), EXACT),
        lambda s: s.sigma.get(),
        lambda s: s.sigma.set(1),
        lambda s: s.wait(),
        lambda s: s.pause(),
        lambda s: s.stop(),
        lambda s: lv.simulate(s, steps=1),
    ],
    ids=["run", "run anew", "get", "set", "wait", "pause", "stop", "simulate"],
)
def test_a_child_forked_during_a_run_is_told(call):
    """It has none of the threads that do the steps; other networks run in it. The parent's run goes
    on."""
    sigma, other = counter(), counter()
    other.run(lv.RunSteps(2))
    sigma.run(lv.RunContinuous())

    def both():
        other.run(lv.RunSteps(3))
        assert other.sigma.get() == 5
        assert not sigma.running
        return call(sigma)

    error = in_child(both)
    assert type(error) is lv.RunError
    assert "when this process was forked" in str(error)
    sigma.pause()
    assert sigma.sigma.get() == sigma.runtime.program.step


@fork
def test_a_child_forked_while_a_first_run_compiles_is_told(held, monkeypatch):
    backend, sigma = held(), counter()
    thread = threading.Thread(target=lambda: sigma.run(lv.RunSteps(5)))
    thread.start()
    assert backend.began.wait(60)
    try:
        error = in_child(lambda: sigma.run(lv.RunSteps(5)))
    finally:
        backend.go.set()
        thread.join(60)
    assert type(error) is lv.RunError
    assert "another thread was just starting its run when this process was forked" in str(error)
    assert sigma.sigma.get() == 5


@fork
def test_a_child_forked_while_a_kernel_compiles_compiles_none(monkeypatch):
    """Whoever compiles holds locks that nobody opens in the child; kernels that are there are
    used."""
    sigma = counter()
    sigma.run(lv.RunSteps(5))
    monkeypatch.setattr(kernels, "_compiling", [threading.get_ident() + 1])

    def go_on():
        sigma.run(lv.RunSteps(5))
        assert sigma.sigma.get() == 10
        kernels._load.cache_clear()
        counter().run(lv.RunSteps(5))

    error = in_child(go_on)
    assert type(error) is lv.RunError
    assert "forked while another thread compiled" in str(error)
