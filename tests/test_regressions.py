"""Mistakes that were made once, each with the rule it broke."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import lavalike as lv
from lavalike.proc import LIF, RF, Delay, Dense, Monitor, Sigma, io
from tests.conftest import ROOT
from tests.test_models import Layer, LayerModel, Twice

EXACT = lv.RunConfig(precision="fixed_pt")


def counter(**kwargs):
    """A LIF that adds up a bias of 1 and never spikes."""
    return LIF(shape=(3,), bias_mant=1.0, vth=1e9, **kwargs)


def test_two_monitors_may_probe_one_target():
    lif, first, second = counter(), Monitor(), Monitor()
    first.probe(lif.v, 50)
    second.probe(lif.v, 50)
    lif.run(lv.RunSteps(40))
    for monitor in (first, second):
        np.testing.assert_array_equal(monitor.get_data()["LIF"]["v"][:, 0], np.arange(1, 41))


def test_a_full_probe_can_be_widened():
    lif, monitor = counter(), Monitor()
    monitor.probe(lif.v, 5)
    lif.run(lv.RunSteps(5))
    monitor.probe(lif.v, 8)
    lif.run(lv.RunSteps(3))
    np.testing.assert_array_equal(monitor.get_data()["LIF"]["v"][:, 0], np.arange(1, 9))


@pytest.mark.parametrize("batch", [None, 2])
def test_programs_never_write_into_the_users_arrays(batch):
    v = np.zeros(3, np.float32)
    lif = counter(v=v)
    inputs = {"a_in": np.zeros((3, 5) if batch is None else (batch, 3, 5))}
    for _ in range(2):
        got = lv.simulate(lif, inputs, record=[lif.v])[lif.v]
        np.testing.assert_array_equal(got, np.broadcast_to(np.arange(1, 6), got.shape))
    assert not v.any()


def test_processes_of_one_name_keep_apart_on_torch_and_in_monitors():
    first, dense, second = (
        LIF(shape=(1,), vth=0.5, bias_mant=1.0),
        Dense(weights=[[1.0]]),
        LIF(shape=(1,), vth=100.0),
    )
    first.s_out.connect(dense.s_in)
    dense.a_out.connect(second.a_in)
    a, b = (
        lv.simulate(first, steps=6, config=lv.RunConfig(backend=name), record=[second.v])[second.v]
        for name in ("numba", "torch")
    )
    np.testing.assert_array_equal(a, b)
    assert a.any()
    monitor = Monitor()
    monitor.probe(first.v, 3)
    monitor.probe(second.v, 3)
    first.run(lv.RunSteps(3))
    assert set(monitor.get_data()) == {"LIF", "LIF#2"}


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_an_integer_default_may_be_set_to_a_fraction(backend):
    lif = LIF(shape=(1,), u=1.0, vth=1000)
    lif.run(lv.RunSteps(1), lv.RunConfig(backend=backend))
    lif.du.set(0.5)
    lif.run(lv.RunSteps(1))
    assert lif.u.get() == 0.5


def test_a_blocking_run_is_running_for_other_threads():
    lif = LIF(shape=(1,), bias_mant=1.0, vth=1e30)
    runner = threading.Thread(
        target=lif.run, args=(lv.RunSteps(10**12), lv.RunConfig(dtype="float64"))
    )
    runner.start()
    while not lif.running:
        pass
    with pytest.raises(lv.RunError, match="pause"):
        lif.v.get()
    with pytest.raises(lv.RunError, match="pause"):
        lif.run(lv.RunSteps(1))
    lif.pause()
    assert not lif.running
    assert lif.v.get()[0] == lif.runtime.program.step
    runner.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is a Unix call")
def test_threads_survive_a_fork():
    code = """
import os, numpy as np, lavalike as lv
from lavalike.proc import Delay
run = lambda: lv.simulate(Delay(shape=(2,)), {"s_in": np.ones((4, 2, 3))}, config=lv.RunConfig(threads=2))["a_out"].sum()
assert run() == 16
child = os.fork()
if child == 0:
    os._exit(0 if run() == 16 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120, cwd=ROOT)


def test_a_changed_helper_of_a_model_is_compiled_anew(tmp_path):
    """What a model imports from elsewhere is a part of it."""
    (tmp_path / "mymodel.py").write_text("""
import lavalike as lv
from helpers import GAIN, scaled
class P(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.s_out = lv.OutPort((1,))
@lv.implements(P, backend="numba")
class PModel(lv.NumbaModel):
    def step(s_out):
        s_out[0] = scaled(GAIN)
""")
    env = {
        **os.environ,
        "LAVALIKE_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    run = [
        sys.executable,
        "-c",
        "import mymodel, lavalike as lv; print(lv.simulate(mymodel.P(), steps=1)['s_out'][0, 0])",
    ]
    for gain, factor in ((3, 1), (5, 1), (5, 7)):
        (tmp_path / "helpers.py").write_text(
            f"import numba\nGAIN = {gain}\n@numba.njit\ndef scaled(x):\n    return {factor} * x\n"
        )
        assert (
            float(subprocess.run(run, env=env, capture_output=True, text=True, check=True).stdout)
            == gain * factor
        )


def test_what_was_recorded_before_an_error_is_kept():
    class Fails(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.s_out = lv.OutPort((1,))

    @lv.implements(Fails, backend="numba")
    class FailsModel(lv.NumbaModel):
        def step(t, s_out):
            if t == 50:
                raise ValueError("fifty")
            s_out[0] = t

    process, monitor = Fails(), Monitor()
    monitor.probe(process.s_out, 100)
    with pytest.raises(lv.RunError, match="step 50"):
        process.run(lv.RunSteps(100))
    np.testing.assert_array_equal(monitor.get_data()["Fails"]["s_out"][:, 0], np.arange(1, 50))
    with pytest.raises(lv.RunError, match=r"the last run failed within a step \(Fails, step 50"):
        process.run(lv.RunSteps(1))


def test_an_alias_is_recorded_where_its_value_is():
    layer = Layer(np.array([[0.2, 0.2]]))
    rec = lv.simulate(layer, {"s_in": np.ones((2, 4))}, record=["v"])
    np.testing.assert_allclose(rec["v"][0], [0, 0.4, 0.6, 0.7], rtol=1e-6)
    assert layer.expansion is not None
    assert isinstance(layer.expansion, LayerModel)


def test_simulate_starts_from_the_present_values():
    lif = counter()
    lif.run(lv.RunSteps(5))
    np.testing.assert_array_equal(lv.simulate(lif, steps=1, record=[lif.v])[lif.v][:, 0], [6, 6, 6])
    np.testing.assert_array_equal(lif.v.get(), [5, 5, 5])


def test_a_failed_recompile_leaves_the_run_where_it_was():
    source, sigma = io.source.RingBuffer(data=np.arange(10)[None]), LIF(shape=(1,), du=0.5, vth=1e9)
    source.s_out.connect(sigma.a_in)
    sigma.run(lv.RunSteps(5))
    u = sigma.u.get()
    with pytest.warns(lv.RecompileWarning), pytest.raises(lv.VarError):
        sigma.run(lv.RunSteps(1), EXACT)
    sigma.run(lv.RunSteps(1))
    np.testing.assert_array_equal(sigma.u.get(), u / 2 + 5)


@pytest.mark.parametrize("kwargs", [{"v": 0.9}, {"v": 2.0**33}])
def test_fixed_point_states_are_whole_and_fit(kwargs):
    with pytest.raises(lv.VarError, match=r"LIF\.v: fixed_pt holds whole numbers of 32 bits"):
        lv.simulate(LIF(shape=(1,), **kwargs), steps=1, config=EXACT)


def test_an_indexed_set_is_checked_like_a_whole_one():
    dense = Dense(weights=np.zeros((2, 2), np.int8))
    with pytest.raises(lv.VarError, match="300 cannot be held"):
        dense.weights.set(300, (0, 0))


def test_python_kernels_compute_the_compiled_ones_bits():
    """debug=True runs in float32 as well."""
    g = np.random.default_rng(0)
    lif = LIF(shape=(20,), du=0.3, dv=0.07, vth=0.9, bias_mant=0.013)
    x = g.normal(size=(20, 40))
    a, b = (
        lv.simulate(lif, {"a_in": x}, config=lv.RunConfig(debug=debug), record=[lif.u, lif.v])
        for debug in (False, True)
    )
    np.testing.assert_array_equal(a[lif.v], b[lif.v])
    np.testing.assert_array_equal(a[lif.u], b[lif.u])


def test_unsigned_parameters_and_stateless_graphs_run():
    lv.simulate(LIF(shape=(3,), vth=np.array([1, 2, 3], np.uint8)), steps=1)
    rf, dense = RF(shape=(2,)), Dense(weights=np.eye(2))
    rf.s_out.connect(dense.s_in)
    lv.simulate(rf, steps=3, config=lv.RunConfig(backend="torch"))


def test_a_port_may_arrive_twice_in_two_orders():
    delay, sigma = Delay(shape=(2, 2)), Sigma(shape=(2, 2))
    sigma.a_in.connect_from([delay.a_out, delay.a_out.transpose()])
    x = np.arange(4).reshape(2, 2, 1).repeat(2, -1)
    np.testing.assert_array_equal(
        lv.simulate(sigma, {delay.s_in: x}, config=EXACT)["s_out"][..., 1], [[0, 3], [3, 6]]
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LIF(shape=(3,), vht=5), TypeError, "vht"),
        (
            lambda: LIF(shape=(3,)).s_out.connect(Dense(weights=np.eye(3))),
            lv.ConnectError,
            "expected a port or a list of ports",
        ),
        (
            lambda: LIF(shape=(4,)).s_out.reshape(3),
            lv.ConnectError,
            "4 elements do not reshape to new_shape 3",
        ),
        (
            lambda: setattr(LIF(shape=(1,)), "vth", 3),
            lv.VarError,
            r"LIF\.vth: a Var is not replaced by 3; LIF\.vth\.set\(value\)",
        ),
        (lambda: lv.RunSteps("ab"), lv.InputError, "integer >= 1, got 'ab'"),
        (lambda: lv.RunSteps(1.5), lv.InputError, "integer >= 1"),
        (lambda: Dense(weights=[[1 + 2j]]), lv.VarError, "weights: an array of real numbers"),
        (
            lambda: Dense(weights=[[1]], sign_mode=7),
            lv.VarError,
            r"sign_mode is an integer in 0\.\.3, got 7",
        ),
        (
            lambda: lv.RunConfig(select={LIF: 3}),
            lv.InputError,
            "LIF: select maps to model classes, backends, precisions or Choices, got 3",
        ),
        (
            lambda: lv.RunConfig(select={LIF: "nubma"}),
            lv.InputError,
            "'nubma' is no precision and no backend.*did you mean 'numba'",
        ),
        (
            lambda: lv.simulate(Twice(), steps=1, config=lv.RunConfig(select={"lfi": LayerModel})),
            lv.ModelSelectionError,
            "'lfi' is no process",
        ),
        (
            lambda: lv.simulate(
                LIF(shape=(1,)), steps=1, config=lv.RunConfig(backend="torch", threads=2)
            ),
            lv.InputError,
            "the numba backend",
        ),
    ],
)
def test_ordinary_mistakes_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
