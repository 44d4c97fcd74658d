"""The torch backend: same numbers in both precisions, gradients, and what is learnt goes back into
the Vars."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import lavalike as lv
import lavalike.backends.torch
from lavalike.backends.torch import program
from lavalike.dynamics.ops import above, reset
from lavalike.proc import (
    ALIF,
    LIF,
    RF,
    RF_IZ,
    Conv,
    ConvTranspose,
    Delay,
    DelayDense,
    DelayLine,
    Delta,
    Dense,
    LIFRefractory,
    LIFReset,
    Sigma,
    SigmaDelta,
    Sparse,
    TernaryLIF,
    neuron_process,
)
from lavalike.proc.io import source

F64 = lv.RunConfig(dtype="float64")
TORCH = lv.RunConfig(backend="torch", dtype="float64")


def rng(seed=0):
    return np.random.default_rng(seed)


PROCESSES = {
    "LIF": lambda: LIF(
        shape=(4,), du=0.3, dv=[0.1, 0.2, 0.3, 0.4], vth=0.7, bias_mant=[0, 0.1, 0.2, 0.3]
    ),
    "LIFReset": lambda: LIFReset(
        shape=(4,), du=0.3, dv=0.1, vth=2, reset_interval=5, reset_offset=2
    ),
    "LIFRefractory": lambda: LIFRefractory(
        shape=(4,), du=0.3, dv=0.1, vth=0.5, refractory_period=3
    ),
    "TernaryLIF": lambda: TernaryLIF(shape=(4,), du=0.3, dv=0.1, vth_hi=0.5, vth_lo=-0.5),
    "RF": lambda: RF(shape=(4,), period=6, alpha=0.05, vth=0.4),
    "RF_IZ": lambda: RF_IZ(shape=(4,), period=6, alpha=0.05, vth=0.4),
    "Sigma": lambda: Sigma(shape=(4,)),
    "Delta": lambda: Delta(shape=(4,), vth=0.6),
    "Delta cumulative": lambda: Delta(shape=(4,), vth=0.6, cum_error=True),
    "SigmaDelta": lambda: SigmaDelta(shape=(4,), vth=0.6, bias=[0, 0.1, 0.2, 0.3]),
    "SigmaDelta late": lambda: SigmaDelta(shape=(4,), vth=0.6, bias=0.5, bias_start=3),
    "Dense": lambda: Dense(weights=rng().normal(size=(3, 4)), num_message_bits=8),
    "DelayDense": lambda: DelayDense(
        weights=rng().normal(size=(3, 4)), delays=rng().integers(0, 4, (3, 4)), num_message_bits=8
    ),
    "Conv": lambda: Conv(
        weight=rng().normal(size=(4, 3, 2, 1)),
        input_shape=(5, 6, 2),
        stride=(2, 1),
        padding=(1, 0),
        dilation=(1, 2),
        groups=2,
        num_message_bits=8,
    ),
    "Delay": lambda: Delay(shape=(4,)),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_equals_numba(name):
    """Outputs and states in float64 agree to 1e-9, for a batch."""
    process = PROCESSES[name]()
    inputs = {
        p.name: rng(k + 1).normal(size=(2, *p.shape, 25)) for k, p in enumerate(process.in_ports)
    }
    record = [v for v in process.vars if v.role == "state"]
    a, b = (lv.simulate(process, inputs, config=c, record=record) for c in (F64, TORCH))
    whole = lv.simulate(process, inputs, config=TORCH)
    for target in (*process.out_ports, *record):
        np.testing.assert_allclose(a[target], b[target], rtol=1e-9, atol=1e-9, err_msg=target.name)
    for port in process.out_ports:
        np.testing.assert_allclose(a[port], whole[port], rtol=1e-9, atol=1e-9)


class Net(lv.AbstractProcess):
    """Two layers, the hidden one recurrent."""

    def __init__(self, recurrent):
        super().__init__()
        g = rng(5)
        self.inp = lv.InPort((6,))
        self.first = Dense(weights=g.normal(size=(12, 6)) * 0.6)
        self.hidden = LIF(shape=(12,), du=0.4, dv=0.2, vth=1.0)
        self.second = Dense(weights=g.normal(size=(2, 12)) * 0.5)
        self.last = LIF(shape=(2,), du=0.4, dv=0.2, vth=1.0)
        self.out = lv.OutPort((2,))
        self.inp.connect(self.first.s_in)
        self.first.a_out.connect(self.hidden.a_in)
        self.hidden.s_out.connect(self.second.s_in)
        self.second.a_out.connect(self.last.a_in)
        self.last.s_out.connect(self.out)
        if recurrent:
            self.back = Dense(weights=g.normal(size=(12, 12)) * 0.1)
            self.hidden.s_out.connect(self.back.s_in)
            self.back.a_out.connect(self.hidden.a_in)


@pytest.mark.parametrize("recurrent", [False, True])
def test_train_write_back_and_run_on_numba(recurrent):
    """A graph trained as an nn.Module learns, and runs on numba with what it learnt: outputs agree
    to 1e-9."""
    torch.manual_seed(0)
    net = Net(recurrent)
    x = (torch.rand(32, 6, 20, dtype=torch.float64) < 0.4).double()
    target = (x[:, :3].sum((1, 2)) > x[:, 3:].sum((1, 2))).long()
    module = lv.to_torch(net, dtype="float64")
    names = {name for name, _ in module.named_parameters()}
    assert {"Net/first/weights", "Net/second/weights", "Net/hidden/bias_mant"} <= names
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    losses = []
    for _ in range(70):
        loss = torch.nn.functional.cross_entropy(module(x).sum(-1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    old = net.first.weights.get()
    with torch.no_grad():
        learnt = module(x).numpy()
    module.write_back()
    assert not np.array_equal(net.first.weights.get(), old)
    rec = lv.simulate(net, {"inp": x.numpy()}, config=F64)
    np.testing.assert_allclose(rec["out"], learnt, atol=1e-9)


def test_gradients_are_finite_and_reach_every_weight():
    module = lv.to_torch(Net(True), surrogate=lv.backends.torch.fast_sigmoid(5.0))
    module(torch.rand(3, 6, 15)).sum().backward()
    for name, p in module.named_parameters():
        assert torch.isfinite(p.grad).all(), name
    assert all(p.grad.abs().sum() > 0 for name, p in module.named_parameters() if "weights" in name)


def test_inputs_are_checked():
    module = lv.to_torch(Net(False))
    with pytest.raises(
        lv.InputError,
        match=r"Net\.inp \(6,\): input has shape \(3, 5, 9\); expected \('batch', 6, 'time'\)",
    ):
        module(torch.zeros(3, 5, 9))
    with pytest.raises(lv.InputError, match="an unconnected InPort"):
        lv.to_torch(lv.proc.io.source.RingBuffer(data=np.zeros((1, 1))))


FIXED = {
    "LIF": lambda: LIF(
        shape=(4,), du=300, dv=[100, 20, 3, 0], vth=70, bias_mant=[0, 100, -200, 3], bias_exp=3
    ),
    "LIFReset": lambda: LIFReset(
        shape=(4,), du=30, dv=10, vth=200, reset_interval=5, reset_offset=2, bias_mant=1000
    ),
    "TernaryLIF": lambda: TernaryLIF(shape=(4,), du=300, dv=100, vth_hi=50, vth_lo=-50),
    "ALIF": lambda: ALIF(
        shape=(4,),
        du=300,
        dv=100,
        vth=70,
        threshold_step=5,
        threshold_decay=100,
        refractory_decay=200,
        bias_mant=30,
    ),
    "RF": lambda: RF(shape=(4,), period=6, alpha=0.05, vth=40, state_exp=3, decay_bits=12),
    "RF_IZ": lambda: RF_IZ(shape=(4,), period=6, alpha=0.05, vth=40, state_exp=3, decay_bits=12),
    "Sigma": lambda: Sigma(shape=(4,)),
    "Delta": lambda: Delta(shape=(4,), vth=3, spike_exp=2, state_exp=3),
    "SigmaDelta": lambda: SigmaDelta(
        shape=(4,), vth=6, bias=[0, 1, 2, 3], spike_exp=2, state_exp=1
    ),
    "SigmaDelta late": lambda: SigmaDelta(
        shape=(4,), vth=6, bias=5, bias_start=3, spike_exp=2, state_exp=1, cum_error=False
    ),
    "Dense": lambda: Dense(
        weights=rng().integers(-100, 100, (3, 4)), num_message_bits=8, weight_exp=-3
    ),
    "Dense of spikes": lambda: Dense(weights=rng().integers(-100, 100, (3, 4)), weight_exp=2),
    "Sparse": lambda: Sparse(
        weights=rng().integers(-9, 9, (3, 4)), num_message_bits=8, weight_exp=-2
    ),
    "DelayDense": lambda: DelayDense(
        weights=rng().integers(-100, 100, (3, 4)),
        delays=rng().integers(0, 4, (3, 4)),
        num_message_bits=8,
        weight_exp=-1,
    ),
    "Conv": lambda: Conv(
        weight=rng().integers(-100, 100, (4, 3, 2, 1)),
        input_shape=(5, 6, 2),
        stride=(2, 1),
        padding=(1, 0),
        dilation=(1, 2),
        groups=2,
        num_message_bits=24,
    ),
    "ConvTranspose": lambda: ConvTranspose(
        weight=rng().integers(-100, 100, (2, 3, 2, 4)), input_shape=(5, 6, 2), num_message_bits=24
    ),
    "Delay": lambda: Delay(shape=(4,)),
    "DelayLine": lambda: DelayLine(shape=(4,), delays=[0, 1, 2, 3]),
}
NUMBA_FIXED = lv.RunConfig(precision="fixed_pt", threads=1)
TORCH_FIXED = lv.RunConfig(backend="torch", precision="fixed_pt")


@pytest.mark.filterwarnings("ignore::lavalike.errors.GradedMessageWarning")
@pytest.mark.parametrize("size", [100, 3_000_000])  # the latter wraps and saturates at 24 bits
@pytest.mark.parametrize("name", FIXED)
def test_fixed_point_has_numbas_bits(name, size):
    process = FIXED[name]()
    inputs = {
        p.name: rng(k + 1).integers(-size, size, (2, *p.shape, 40))
        for k, p in enumerate(process.in_ports)
    }
    record = [v for v in process.vars if v.role == "state"]
    exact = lv.simulate(process, inputs, config=NUMBA_FIXED, record=record)
    assert all(exact[p].any() for p in process.out_ports)
    for more in ((), record):  # all steps at once, and one by one
        got = lv.simulate(process, inputs, config=TORCH_FIXED, record=more)
        for target in (*process.out_ports, *more):
            np.testing.assert_array_equal(got[target], exact[target], err_msg=target.name)
    assert {got[p].dtype for p in process.out_ports} == {np.dtype(np.int32)}


def whole_net():
    """A recurrent network in Loihi's integers."""
    net = Net(True)
    for dense, w in ((net.first, 40), (net.second, 60), (net.back, 20)):
        dense.weights.set(rng(w).integers(-w, 2 * w, dense.weights.shape))
    for layer in (net.hidden, net.last):
        layer.du.set(400)
        layer.dv.set(200)
        layer.vth.set(50)
        layer.bias_mant.set(300)
    return net


def test_a_recurrent_graph_in_fixed_point_runs_and_goes_on():
    """Feedback is stepped; run, pause and run go on where they were, Vars hold whole numbers."""
    a, b = whole_net(), whole_net()
    x = rng(1).integers(0, 2, (6, 30))
    exact, got = (
        lv.simulate(net, {"inp": x}, config=c) for net, c in ((a, NUMBA_FIXED), (b, TORCH_FIXED))
    )
    np.testing.assert_array_equal(got["out"], exact["out"])
    assert 5 < exact["out"].sum() < exact["out"].size
    for net, config in ((a, NUMBA_FIXED), (b, TORCH_FIXED)):
        net.run(lv.RunSteps(7), config)
        net.hidden.v.set(np.arange(12) * 100)
        net.run(lv.RunSteps(9), config)
    np.testing.assert_array_equal(b.hidden.v.get(), a.hidden.v.get())
    assert a.hidden.v.get().any()
    with pytest.raises(
        lv.VarError, match=r"LIF\.v: fixed_pt holds whole numbers of 32 bits, not 0\.5"
    ):
        lv.simulate(LIF(shape=(1,), v=0.5), steps=1, config=TORCH_FIXED)


@pytest.mark.parametrize("record", [(), ("u",)])
def test_what_leaves_32_bits_is_told_where(record):
    x = np.zeros((3, 1, 9), np.int64)
    x[1, 0, 5] = 2**30
    with pytest.raises(lv.RunError, match="LIF, step 6, sample 1: a sum left the 32 bits"):
        lv.simulate(LIF(shape=(1,)), {"a_in": x}, config=TORCH_FIXED, record=record)
    with pytest.raises(lv.RunError, match="Dense, step 6, sample 1: a sum left the 32 bits"):
        lv.simulate(
            Dense(weights=[[100]], num_message_bits=32),
            {"s_in": x},
            config=TORCH_FIXED,
            record=["a_buff"] if record else (),
        )


def test_a_checked_process_tells_what_leaves_24_bits():
    x = np.zeros((1, 9))
    x[0, 2] = 2**18
    for config in (NUMBA_FIXED, TORCH_FIXED):
        with pytest.raises(lv.OverflowError24, match="LIF, step 3: an accumulator left 24 bits"):
            lv.simulate(LIF(shape=(1,), checked=True), {"a_in": x}, config=config)
        assert not lv.simulate(LIF(shape=(1,), vth=2**17), {"a_in": x}, config=config)[
            "s_out"
        ].all()


def test_the_states_after_an_error_are_those_of_the_step_before():
    class Fed(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.source = source.RingBuffer(data=[[1, 2, 3, 2**30, 5]])
            self.lif = LIF(shape=(1,))
            self.source.s_out.connect(self.lif.a_in)

    good, net = Fed(), Fed()
    good.run(lv.RunSteps(3), NUMBA_FIXED)
    with pytest.raises(lv.RunError, match=r"Fed\.lif, step 4: a sum left the 32 bits"):
        net.run(lv.RunSteps(5), TORCH_FIXED)
    assert (net.lif.u.get(), net.lif.v.get()) == (good.lif.u.get(), good.lif.v.get()) != (0, 0)


def test_fixed_point_without_a_form_is_refused_with_candidates():
    with pytest.raises(
        lv.ModelSelectionError,
        match="FloatingDynamicsModel: precision 'floating_pt', asked for 'fixed_pt'",
    ):
        lv.simulate(LIFRefractory(shape=(1,)), steps=1, config=TORCH_FIXED)


# -- all steps in one loop -------------------------------------------------------------------------


def stepped(module):
    """``module`` with its neurons called step by step."""
    for node in module.graph.nodes:
        node.model.traceable = False
    return module


@pytest.mark.parametrize(
    "name", [n for n in PROCESSES if n not in ("Dense", "DelayDense", "Conv", "Delay")]
)
def test_the_fused_loop_has_the_values_and_gradients_of_steps(name):
    """Of inputs and of what is trained, in float64, to 1e-12."""
    results = []
    for change in (lambda m: m, stepped):
        module = change(lv.to_torch(PROCESSES[name](), dtype="float64"))
        x = {
            p.name: torch.from_numpy(rng(k + 1).normal(size=(2, *p.shape, 40))).requires_grad_()
            for k, p in enumerate(module.process.in_ports)
        }
        y = module(x if len(x) > 1 else next(iter(x.values())))
        (y * torch.from_numpy(rng(9).normal(size=y.shape))).sum().backward()
        results.append(
            [y.detach(), *(v.grad for v in x.values()), *(p.grad for p in module.parameters())]
        )
    assert results[0][0].any()
    assert results[0][1].any()
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class Counted(TorchDispatchMode):
    """Counts torch's operations."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_operations_do_not_grow_with_time():
    """Two layers and the neuron's own loop: the same calls for 16 steps and for 128."""
    module = lv.to_torch(Net(False))
    counts = []
    for steps in (4, 16, 128):
        with Counted() as counted:
            module(torch.rand(3, 6, steps)).sum().backward()
        counts.append(counted.count)
    assert counts[1] == counts[2] < 300


def by_kind(a_in, v, decay, kind):
    v = v * decay + a_in if kind > 0 else v + a_in
    s_out = above(v, 1.0)
    return s_out, reset(s_out, v, 0)


def test_a_step_that_cannot_be_traced_runs_step_by_step():
    Kind = neuron_process(lv.Dynamics(by_kind, ("a_in",), ("s_out",), ("v",), fixed=False), "Kind")
    x = rng().normal(size=(2, 3, 20))
    for kind in (0, 1):
        neuron = Kind(shape=(3,), decay=0.5, kind=kind)
        a, b = (lv.simulate(neuron, {"a_in": x}, config=c)["s_out"] for c in (F64, TORCH))
        np.testing.assert_array_equal(a, b)
        assert b.any()


def test_the_step_count_goes_on_beyond_what_float32_holds():
    """LIFReset clears in steps that are 2 modulo 5, also in float32 behind 2**24."""
    neuron = LIFReset(shape=(1,), vth=1e9, reset_interval=5, reset_offset=2)
    first = 2**24 + 6
    (node,) = lv.to_torch(neuron).graph.nodes
    values = {v.name: torch.from_numpy(np.array(v.value)).float() for v in neuron.vars}
    constants = node.model.constants(
        {v.name: values[v.name] for v in neuron.vars if v.role == "parameter"}
    )
    state = {n: torch.ones(1, 1) for n in ("u", "v")}
    a = {"a_in": torch.ones(1, 1, 11)}
    _, fused_states = node.model.sequence(a, state, constants, first, 11)
    node.model.traceable = False
    _, exact = node.model.sequence(a, state, constants, first, 11)
    assert fused_states["v"] == exact["v"] > 0


def test_only_var_and_states_of_a_call_are_independent():
    """A call changes nothing: the same input gives the same output twice."""
    module = lv.to_torch(Net(True))
    x = torch.rand(2, 6, 12)
    with torch.no_grad():
        assert torch.equal(module(x), module(x))


def excited(recurrent=True):
    """A module that spikes, an input for it, and what it answers."""
    net = Net(recurrent)
    net.last.bias_mant.set([2.4, 3.2])
    module = lv.to_torch(net)
    x = (torch.rand(3, 6, 25, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    y = module(x)
    assert 20 < y.sum() < y.numel()
    return module, x, y


def saved(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "copied",
    [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, saved],
    ids=["pickle", "deepcopy", "save"],
)
def test_a_copy_made_after_a_call_answers_and_learns_alike(copied, recurrent):
    module, x, y = excited(recurrent)
    other = copied(module)
    assert torch.equal(other(x), y)
    for m in (module, other):
        m(x).sum().backward()
    for (name, p), q in zip(module.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name
    with torch.no_grad():
        other.get_parameter("Net/first/weights").mul_(2)
    other.write_back()  # to the copy's own process
    np.testing.assert_allclose(
        other.process.first.weights.get(), 2 * module.process.first.weights.get(), rtol=1e-6
    )  # through float32


def test_double_computes_in_float64():
    module, x, y = excited()
    wide = copy.deepcopy(module).double()
    z = wide(x)
    assert (
        {t.dtype for states in wide.initial(1).values() for t in states.values()}
        == {z.dtype}
        == {torch.float64}
    )
    constants = [
        c
        for node in wide.constants().values()
        for c in node.values()
        if isinstance(c, torch.Tensor)
    ]
    assert {c.dtype for c in constants if c.is_floating_point()} == {torch.float64}
    exact = lv.simulate(
        wide.process, {"inp": x.double().numpy()}, config=F64
    )  # its weights were never float32: spikes may move
    assert (z.detach().numpy() != exact["out"]).mean() < 0.02
    assert module(x).dtype == wide.float()(x).dtype == torch.float32
    assert torch.equal(wide(x), y)


@pytest.mark.parametrize(
    "convert",
    [
        lambda m: m.bfloat16(),
        lambda m: m.half(),
        lambda m: m.to(torch.bfloat16),
        lambda m: torch.nn.Sequential(m).half(),
    ],
)
def test_half_precision_is_refused_and_changes_nothing(convert):
    module, x, y = excited()
    with pytest.raises(
        lv.InputError,
        match=r"to_torch\(Net\): a graph is computed in float32 or float64, not in torch\.b?float16",
    ):
        convert(module)
    assert torch.equal(module(x), y)


def test_tensors_without_data_are_refused():
    module, x, _ = excited()
    with pytest.raises(
        lv.InputError, match=r"to_torch\(Net\): .* fake, meta and traced tensors have none"
    ):
        copy.deepcopy(module).to("meta")(x.to("meta"))
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        pytest.raises(lv.InputError, match="fake, meta and traced tensors have none"),
    ):
        module(x)


def test_a_number_that_was_changed_in_whatever_way_is_the_one_computed_with():
    """Constants of one number are made once, for as long as it is the same."""
    x = torch.rand(1, 3, 12, generator=torch.Generator().manual_seed(2))
    module = lv.to_torch(LIF(shape=(3,), du=0.5, dv=0.1, vth=0.8))
    module(x)
    for change in (lambda t: t.data.fill_(0.25), lambda t: t.mul_(2)):
        change(getattr(module, "LIF/du"))
        du = float(getattr(module, "LIF/du"))
        want = lv.to_torch(LIF(shape=(3,), du=du, dv=0.1, vth=0.8))(x)
        assert torch.equal(module(x), want), du
    getattr(module, "LIF/du").fill_(2)
    with pytest.raises(lv.VarError, match=r"LIF.du: 2.0 is outside 0..1"):
        module(x)


@pytest.mark.filterwarnings("ignore:to_torch:UserWarning")
def test_keys_of_processes_of_one_name_stay_those_of_older_files():
    first, second = (Dense(weights=np.eye(2)) for _ in range(2))
    first.a_out.connect(second.s_in)
    keys = [*lv.to_torch(first).state_dict()]
    assert keys == ["Dense/weights", "Dense/weights#2"]


# -- devices ---------------------------------------------------------------------------------------


def two_layers():
    g = np.random.default_rng(0)
    first, second = Dense(weights=g.random((5, 3))), DelayDense(weights=g.random((5, 5)), delays=2)
    lifs = [LIF(shape=(5,), du=0.4, dv=0.1, vth=1.0) for _ in range(2)]
    first.a_out.connect(lifs[0].a_in)
    lifs[0].s_out.connect(second.s_in)
    second.a_out.connect(lifs[1].a_in)
    return first, lifs


def on_device(**config):
    first, lifs = two_layers()
    x = np.random.default_rng(1).random((4, 3, 20))
    config = lv.RunConfig(backend="torch", **config)
    kept = lv.simulate(lifs[1], {first.s_in: x}, config=config, record=[lifs[1].a_in])
    return kept["s_out"], kept[lifs[1].a_in]


def test_a_device_is_named_and_a_run_is_cut_to_fit_it(monkeypatch):
    """(Another than the CPU: tests have none.)"""
    whole = on_device()
    assert whole[0].any()
    for config in ({"device": "cpu:0"}, {"options": {"device": "cpu"}}):
        np.testing.assert_array_equal(on_device(**config), whole)
    monkeypatch.setattr(program.TorchProgram, "_most", lambda self, steps: 3)
    np.testing.assert_array_equal(on_device(), whole)


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        (
            {"device": "nonsense"},
            lv.InputError,
            "device='nonsense': torch .* does not compute there",
        ),
        ({"device": "meta"}, lv.InputError, "device='meta': torch .* does not compute there"),
        ({"device": 0}, lv.InputError, "device is a text or None, got 0"),
        (
            {"device": "cpu", "backend": "numba"},
            lv.InputError,
            "device belongs to the torch backend",
        ),
    ],
)
def test_devices_that_do_not_compute(config, error, text):
    first, lifs = two_layers()
    with pytest.raises(error, match=text):
        lv.simulate(
            lifs[1],
            {first.s_in: np.ones((3, 4))},
            config=lv.RunConfig(**{"backend": "torch", **config}),
        )


def flat_pair():
    """A Dense into a LIF, with nothing around them."""
    dense, lif = Dense(weights=np.full((2, 3), 0.5), name="syn"), LIF(shape=(2,), name="lif")
    dense.a_out.connect(lif.a_in)
    return dense, lif


def test_a_flat_graph_is_told_to_put_a_process_around_it():
    dense, lif = flat_pair()
    with pytest.raises(lv.InputError, match=r"to_torch\(lif\): a process with an uncon") as told:
        lv.to_torch(lif)
    hint = "\n".join(line.strip() for line in str(told.value).split("\n")[1:])
    hint = hint.replace("first, ..., last", "first, last")
    named = {"lv": lv, "first": dense, "last": lif}
    exec(compile(hint, "hint", "exec"), named)
    module = lv.to_torch(named["net"])
    module(torch.ones(1, 3, 20)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_what_would_be_trained_behind_what_is_returned_is_told():
    dense, _ = flat_pair()
    with pytest.warns(
        UserWarning, match=r"to_torch\(syn\).*sends, and lif\.bias_mant would be"
    ) as w:
        module = lv.to_torch(dense)
    assert w[0].filename == __file__
    module(torch.ones(1, 3, 4)).sum().backward()
    assert dict(module.named_parameters())["lif/bias_mant"].grad is None


@pytest.mark.filterwarnings("ignore:to_torch:UserWarning")
def test_a_module_prints_its_processes_and_their_shapes():
    text = repr(lv.to_torch(flat_pair()[0]))
    assert "(syn): Dense(s_in(3,), a_out(2,), weights=(2, 3) (learnt))" in text
    assert "(lif): LIF(a_in(2,), s_out(2,), bias_mant=(2,) (learnt))" in text
