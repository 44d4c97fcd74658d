"""The torch backend: same numbers, gradients, and what is learnt goes back into the Vars."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import lavalike as lv
import lavalike.backends.torch
from lavalike.proc import LIF, RF, RF_IZ, Conv, Delay, DelayDense, Delta, Dense, LIFRefractory, LIFReset, Sigma, SigmaDelta, TernaryLIF

F64 = lv.RunConfig(dtype="float64")
TORCH = lv.RunConfig(backend="torch", dtype="float64")


def rng(seed=0):
    return np.random.default_rng(seed)


PROCESSES = {
    "LIF": lambda: LIF(shape=(4,), du=0.3, dv=[0.1, 0.2, 0.3, 0.4], vth=0.7, bias_mant=[0, 0.1, 0.2, 0.3]),
    "LIFReset": lambda: LIFReset(shape=(4,), du=0.3, dv=0.1, vth=2, reset_interval=5, reset_offset=2),
    "LIFRefractory": lambda: LIFRefractory(shape=(4,), du=0.3, dv=0.1, vth=0.5, refractory_period=3),
    "TernaryLIF": lambda: TernaryLIF(shape=(4,), du=0.3, dv=0.1, vth_hi=0.5, vth_lo=-0.5),
    "RF": lambda: RF(shape=(4,), period=6, alpha=0.05, vth=0.4),
    "RF_IZ": lambda: RF_IZ(shape=(4,), period=6, alpha=0.05, vth=0.4),
    "Sigma": lambda: Sigma(shape=(4,)),
    "Delta": lambda: Delta(shape=(4,), vth=0.6),
    "Delta cumulative": lambda: Delta(shape=(4,), vth=0.6, cum_error=True),
    "SigmaDelta": lambda: SigmaDelta(shape=(4,), vth=0.6, bias=[0, 0.1, 0.2, 0.3]),
    "SigmaDelta late": lambda: SigmaDelta(shape=(4,), vth=0.6, bias=0.5, bias_start=3),
    "Dense": lambda: Dense(weights=rng().normal(size=(3, 4)), num_message_bits=8),
    "DelayDense": lambda: DelayDense(weights=rng().normal(size=(3, 4)), delays=rng().integers(0, 4, (3, 4)), num_message_bits=8),
    "Conv": lambda: Conv(weight=rng().normal(size=(4, 3, 2, 1)), input_shape=(5, 6, 2), stride=(2, 1), padding=(1, 0),
                         dilation=(1, 2), groups=2, num_message_bits=8),
    "Delay": lambda: Delay(shape=(4,)),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_equals_numba(name):
    """Outputs and states in float64 agree to 1e-9, for a batch."""
    process = PROCESSES[name]()
    inputs = {p.name: rng(k + 1).normal(size=(2, *p.shape, 25)) for k, p in enumerate(process.in_ports)}
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
    """A graph trained as an nn.Module learns, and runs on numba with what it learnt: outputs agree to 1e-9."""
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
    with pytest.raises(lv.InputError, match=r"Net\.inp \(6,\): input has shape \(3, 5, 9\); expected \('batch', 6, 'time'\)"):
        module(torch.zeros(3, 5, 9))
    with pytest.raises(lv.InputError, match="an unconnected InPort"):
        lv.to_torch(lv.proc.io.source.RingBuffer(data=np.zeros((1, 1))))


def test_fixed_point_is_refused_with_candidates():
    with pytest.raises(lv.ModelSelectionError, match="DynamicsModel: precision 'floating_pt', asked for 'fixed_pt'"):
        lv.simulate(LIF(shape=(1,)), steps=1, config=lv.RunConfig(backend="torch", precision="fixed_pt"))


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
@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, saved], ids=["pickle", "deepcopy", "save"])
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
    np.testing.assert_allclose(other.process.first.weights.get(), 2 * module.process.first.weights.get(), rtol=1e-6)  # through float32


def test_double_computes_in_float64():
    module, x, y = excited()
    wide = copy.deepcopy(module).double()
    z = wide(x)
    assert {t.dtype for states in wide.initial(1).values() for t in states.values()} == {z.dtype} == {torch.float64}
    constants = [c for node in wide.constants().values() for c in node.values() if isinstance(c, torch.Tensor)]
    assert {c.dtype for c in constants if c.is_floating_point()} == {torch.float64}
    exact = lv.simulate(wide.process, {"inp": x.double().numpy()}, config=F64)  # its weights were never float32: spikes may move
    assert (z.detach().numpy() != exact["out"]).mean() < 0.02
    assert module(x).dtype == wide.float()(x).dtype == torch.float32
    assert torch.equal(wide(x), y)


@pytest.mark.parametrize("convert", [lambda m: m.bfloat16(), lambda m: m.half(), lambda m: m.to(torch.bfloat16),
                                     lambda m: torch.nn.Sequential(m).half()])
def test_half_precision_is_refused_and_changes_nothing(convert):
    module, x, y = excited()
    with pytest.raises(lv.InputError, match=r"to_torch\(Net\): a graph is computed in float32 or float64, not in torch\.b?float16"):
        convert(module)
    assert torch.equal(module(x), y)


def test_tensors_without_data_are_refused():
    module, x, _ = excited()
    with pytest.raises(lv.InputError, match=r"to_torch\(Net\): .* fake, meta and traced tensors have none"):
        copy.deepcopy(module).to("meta")(x.to("meta"))
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(lv.InputError, match="fake, meta and traced tensors have none"):
        module(x)
