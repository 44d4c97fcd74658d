"""accelerate: what a network does besides operations on tensors acts as in the plain loop, or is
refused by name."""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as modules
from torch.nn.utils import parametrizations, prune, weight_norm

import lavalike as lv
from lavalike import snn
from lavalike.errors import InputError, InputTypeError
from tests.test_accelerate import (
    BATCH,
    CLASSES,
    HIDDEN,
    SIZE,
    STEPS,
    Net,
    compare,
    constant,
    error,
    labels,
    moving,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def simple(net, x):
    mem, out = None, []
    for t in range(STEPS):
        spk, mem = net.lif1(net.fc1(x[t] if x.dim() == 3 else x), mem)
        out.append(spk + mem)
    return torch.stack(out)


def refused(net, *words, x=None):
    """The whole message of the refusal; nothing of the network has changed by it."""
    before = {(n, k): v for n, m in net.named_modules() for k, v in vars(m).items()}
    with pytest.raises(InputError) as e:
        snn.accelerate(net, error)(moving() if x is None else x, labels())
    for word in words:
        assert word in str(e.value), str(e.value)
    for n, m in net.named_modules():
        for k, v in vars(m).items():
            assert before[n, k] is v or before[n, k] == v, (n, k)
    return str(e.value)


def trained(net, x, y, loss, optimizer, accelerated, calls=3):
    """Losses of some steps, and the network."""
    step = torch.optim.SGD(net.parameters(), 0.1) if optimizer else None
    model = snn.accelerate(net, loss(net), step) if accelerated else None
    losses = []
    for _ in range(calls):
        if model is not None:
            losses.append(model(x, y)[1].item())
            continue
        net.zero_grad()
        value = loss(net)(net(x), y)
        value.backward()
        if step is not None:
            step.step()
        losses.append(value.item())
    return losses


# -- DistributedDataParallel -----------------------------------------------------------------------


@pytest.fixture
def alone():
    """A process group of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_ddp_reduces_gradients_as_in_the_loop(alone):
    """A communication hook stands for the other ranks: it sees every gradient once a step, and what
    it makes of them is the gradient."""
    nets = [Net(lambda net, x: simple(net, x) @ net.fc2.weight.T + net.fc2.bias) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    wrapped = [nn.parallel.DistributedDataParallel(n) for n in nets]
    seen = [[], []]

    def third(state, bucket):
        state.append(bucket.buffer().numel())
        future = torch.futures.Future()
        future.set_result(bucket.buffer() / 3)
        return future

    for w, s in zip(wrapped, seen, strict=True):
        w.register_comm_hook(s, third)
    model = snn.accelerate(wrapped[0], error, torch.optim.SGD(wrapped[0].parameters(), 0.1))
    plain = torch.optim.SGD(wrapped[1].parameters(), 0.1)
    for seed in range(3):
        output, value = model(moving(seed), labels())
        plain.zero_grad()
        want = wrapped[1](moving(seed))
        error(want, None).backward()
        plain.step()
        torch.testing.assert_close(output, want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(value, error(want, None).detach(), rtol=1e-5, atol=1e-5)
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    parameters = sum(p.numel() for p in nets[0].parameters())
    assert sum(seen[0]) == sum(seen[1]) == 3 * parameters
    with wrapped[0].no_sync():
        model(moving(), labels())
    assert sum(seen[0]) == 3 * parameters


def test_other_wrappers_are_refused_by_name(alone):
    inner = Net(simple)
    inner.fc1 = nn.parallel.DistributedDataParallel(inner.fc1)
    with pytest.raises(
        InputError,
        match=r"fc1 \(DistributedDataParallel\) is inside the network; wrap the whole network",
    ):
        snn.accelerate(inner, error)

    class FullyShardedDataParallel(nn.Module):
        """As torch's, whose import and sharding want more than a test has."""

    net = Net(simple, shard=FullyShardedDataParallel())
    with pytest.raises(
        InputError,
        match=r"shard \(FullyShardedDataParallel\) is sharded by FSDP.*use DistributedDataParallel",
    ):
        snn.accelerate(net, error)
    net = Net(simple)
    model = snn.accelerate(net, error)
    net.shard = FullyShardedDataParallel()
    with pytest.raises(InputError, match="FSDP"):
        model(moving(), labels())

    class OptimizedModule(nn.Module):
        """torch.compile's, which takes seconds to import."""

    with pytest.raises(InputError, match=r"fc1 \(OptimizedModule\) is compiled"):
        snn.accelerate(Net(simple, fc1=OptimizedModule()), error)


# -- random numbers --------------------------------------------------------------------------------

RNG, PYTHON = np.random.default_rng(0), random.Random(0)


def drawing():
    """A helper that the network only names."""
    return float(RNG.random())


class Noise:
    def __init__(self):
        self.generators = {"one": np.random.RandomState(0)}

    def __call__(self):
        return self.generators["one"].rand()


OTHERS = {
    "numpy": (
        lambda net: torch.from_numpy(np.random.rand(BATCH, SIZE).astype("f")),  # noqa: NPY002
        "numpy.random drew",
    ),
    "random": (lambda net: random.random(), "random drew"),
    "normal of random": (lambda net: random.gauss(0, 1), "random drew"),
    "numpy's generator": (lambda net: net.rng.normal(), "a numpy.Generator drew"),
    "a global generator": (lambda net: drawing(), "a numpy.Generator drew"),
    "an object's generator": (lambda net: net.noise_source(), "a numpy.RandomState drew"),
    "a global of random": (lambda net: PYTHON.random(), "a random.Random drew"),
    "in place": (lambda net: torch.empty(SIZE).uniform_(), "uniform_"),
    "gamma": (
        lambda net: torch.distributions.Gamma(torch.ones(SIZE), 1.0).sample(),
        "clamp_: torch.distributions.gamma draws",
    ),
    "exponential": (
        lambda net: torch.distributions.Exponential(torch.ones(SIZE)).sample(),
        "exponential_",
    ),
    "dirichlet": (
        lambda net: torch.distributions.Dirichlet(torch.ones(SIZE)).sample(),
        "_Dirichlet",
    ),
}


@pytest.mark.parametrize(("noise", "words"), OTHERS.values(), ids=OTHERS)
def test_random_numbers_that_would_be_frozen_are_refused(noise, words):
    def forward(net, x):
        mem, out = None, []
        for _ in range(STEPS):
            more = net.noise(net)
            _, mem = net.lif1(net.fc1(x + more), mem)
            out.append(mem)
        return torch.stack(out)

    net = Net(forward, noise_source=Noise())
    net.noise, net.rng = noise, np.random.default_rng(0)
    message = refused(net, words, "test_accelerate_sees.py:", x=constant())
    assert "+ more" in message or "lambda net" in message


KNOWN = {
    "binomial": lambda: torch.binomial(
        torch.full((BATCH, SIZE), 20.0), torch.full((BATCH, SIZE), 0.25)
    ),
    "normal": lambda: torch.distributions.Normal(5.0, 2.0).sample((BATCH, SIZE)),
    "bernoulli": lambda: (
        torch.distributions.Bernoulli(torch.full((BATCH, SIZE), 0.25)).sample() * 20
    ),
    "poisson": lambda: torch.distributions.Poisson(torch.full((BATCH, SIZE), 5.0)).sample(),
    "binomial's": lambda: torch.distributions.Binomial(
        20, torch.full((BATCH, SIZE), 0.25)
    ).sample(),
    "uniform": lambda: torch.distributions.Uniform(0.0, 10.0).sample((BATCH, SIZE)),
    "a generator of torch": lambda: torch.rand(BATCH, SIZE, generator=GENERATOR) * 10,
}
GENERATOR = torch.Generator()


@pytest.mark.parametrize("draw", KNOWN.values(), ids=KNOWN)
def test_what_torch_draws_is_new_in_every_step_and_call(draw):
    def forward(net, x):
        mem, out = None, []
        for _ in range(STEPS):
            now = draw()
            _, mem = net.lif1(net.fc1(x * now), mem)
            out.append(now)
        return torch.stack(out), mem

    model = snn.accelerate(Net(forward), error)
    rows = torch.cat([model.forward(constant())[0] for _ in range(3)])
    assert len({tuple(r.flatten().tolist()) for r in rows}) == 3 * STEPS
    assert rows.mean().item() == pytest.approx(
        5, abs=1
    )  # 864 numbers, deviation at most 8.7, so .3 of their mean


# -- hooks -----------------------------------------------------------------------------------------


def scaled(module, grad_in, grad_out):
    return (grad_in[0] * 0.5, *grad_in[1:])


LOG = []
HOOKED = {
    "forward hook": lambda m: m.register_forward_hook(lambda module, args, out: LOG.append(out)),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(lambda module, args: None),
    "backward hook, scaled": lambda m: m.register_full_backward_hook(scaled),
    "full backward pre-hook": lambda m: m.register_full_backward_pre_hook(
        lambda module, grad: None
    ),
}


@pytest.mark.parametrize("place", ["fc1", "lif1"])
@pytest.mark.parametrize(("words", "register"), HOOKED.items(), ids=HOOKED)
def test_hooks_inside_are_refused_by_name(words, register, place):
    net = Net(simple)
    model = snn.accelerate(net, error)
    model(moving(), labels())
    handle = register(getattr(net, place))
    with pytest.raises(
        InputError,
        match=rf"accelerate: {place} \({type(getattr(net, place)).__name__}\) has a {words}",
    ):
        model(moving(), labels())
    handle.remove()
    model(moving(), labels())
    assert not LOG


def test_hooks_on_all_modules_are_refused():
    handle = modules.register_module_forward_hook(lambda module, args, out: None)
    try:
        refused(Net(simple), "a hook on all modules")
    finally:
        handle.remove()


def test_hooks_of_the_whole_network_and_of_parameters_act():
    outputs, grads, results = [], [], []
    for folded in (False, True):
        torch.manual_seed(0)
        net = Net(simple)
        net.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
        net.register_forward_hook(
            lambda module, args, out: outputs.append(out.detach().clone()) or out * 3
        )
        net.register_full_backward_hook(lambda module, into, of: grads.append(of[0].clone()))
        net.fc1.weight.register_hook(lambda g: g * 0.25)
        net.fc1.bias.register_post_accumulate_grad_hook(lambda p: grads.append(p.grad.clone()))
        model = snn.accelerate(net, error) if folded else None
        x = moving().requires_grad_()
        if model is None:
            error(net(x), None).backward()
        else:
            model(x, labels())
            assert "forward" not in vars(net)
        results.append(
            [
                x.grad,
                *(p.grad for p in net.lif1.parameters()),
                net.fc1.weight.grad,
                net.fc1.bias.grad,
            ]
        )
    assert len(outputs) == 2
    assert len(grads) == 4
    for a, b in [
        (outputs[0], outputs[1]),
        (grads[0], grads[2]),
        (grads[1], grads[3]),
        *zip(*results, strict=True),
    ]:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_hooks_of_tensors_inside_are_refused():
    def forward(net, x):
        mem = None
        for now in x:
            spk, mem = net.lif1(net.fc1(now), mem)
            spk.register_hook(lambda g: g * 2)
        return spk

    refused(
        Net(forward),
        "register_hook: hooks and gradients of single tensors",
        "spk.register_hook(lambda g: g * 2)",
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: parametrizations.weight_norm(m),
        lambda m: prune.random_unstructured(m, "weight", 0.5),
        pytest.param(weight_norm, marks=pytest.mark.filterwarnings("ignore:.*weight_norm")),
    ],
    ids=["parametrization", "prune", "weight_norm"],
)
def test_utilities_of_torch_are_recorded(wrap):
    net = Net(simple, fc1=wrap(nn.Linear(SIZE, HIDDEN)))
    plain = Net(simple, fc1=wrap(nn.Linear(SIZE, HIDDEN)))
    plain.load_state_dict(net.state_dict())
    losses = [
        trained(n, moving(), labels(), lambda net: error, True, folded)
        for n, folded in ((plain, False), (net, True))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)
    torch.testing.assert_close(net.fc1.weight, plain.fc1.weight, rtol=1e-4, atol=1e-5)


# -- values left on modules ------------------------------------------------------------------------


def leaving(net, x):
    mem, spikes = None, []
    net.lif1.recorded = []
    for now in x:
        spk, mem = net.lif1(net.fc1(now), mem)
        spikes.append(spk)
        net.lif1.recorded.append(mem)
    net.spikes, net.last, net.steps = torch.stack(spikes), {"mem": mem, "input": x}, len(x)
    return net.fc2(mem)


def test_values_left_on_modules_are_those_of_the_call():
    def loss(net):
        return lambda o, y: (
            error(o, y)
            + 0.1 * net.spikes.mean()
            + net.last["mem"].pow(2).mean()
            + net.lif1.recorded[2].sum() / 9
        )

    plain, net = Net(leaving), Net(leaving)
    net.load_state_dict(plain.state_dict())
    losses = [
        trained(n, moving(), labels(), loss, True, folded)
        for n, folded in ((plain, False), (net, True))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-4)
    for a, b in zip(plain.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    model = snn.accelerate(net, error)
    model.plan(moving()[:4])
    kept = net.spikes
    assert kept.device.type == "cpu"
    x = moving(3)[:4]
    model.forward(x)
    plain(x)
    torch.testing.assert_close(net.spikes, plain.spikes)
    torch.testing.assert_close(net.last, plain.last)
    torch.testing.assert_close(net.lif1.recorded, plain.lif1.recorded)
    assert net.steps == 4
    assert type(net.spikes) is torch.Tensor
    model.forward(moving())
    assert net.steps == STEPS


def counting(net, x):
    net.calls = getattr(net, "calls", 0) + 1
    return simple(net, x)


def carrying(net, x):
    mem = getattr(net, "mem", None)
    for now in x:
        spk, mem = net.lif1(net.fc1(now), mem)
    net.mem = mem.detach()
    return spk


def growing(net, x):
    out = simple(net, x)
    net.log.append(out)
    return out


def caching(net, x):
    if net.cached is None:
        net.cached = net.fc1.weight * 2
    return simple(net, x) @ net.cached


def annealing(net, x):
    net.scale = net.scale * 0.9
    return simple(net, x) * net.scale


def annealing_in_place(net, x):
    net.scale.mul_(0.9)
    return simple(net, x) * net.scale


def tracing(net, x):
    out = simple(net, x)
    net.trace = 0.9 * net.trace + out.mean()
    return out


def writing(net, x):
    net.trace = simple(net, x).mean()
    return net.trace


OUTSIDE = []


def logging(net, x):
    out = simple(net, x)
    OUTSIDE.append(out.mean())
    return out


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (counting, "calls (Net) is set by forward to something else in every call"),
        (carrying, "a value of the call before is used in this one"),
        (growing, "log (Net) is set by forward to something else in every call"),
        (writing, "trace (Net) is set by forward to something else in every call"),
        (caching, "a value of the call before is used in this one"),
        (annealing, "scale (Net) is set by forward to something else in every call"),
        (annealing_in_place, "scale (Net) is changed in place in forward"),
        (tracing, "a value of the call before is used in this one"),
        (logging, "a value of forward is kept where a later call cannot put its own"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_a_forward_carries_into_the_next_call_is_refused(forward, words):
    net = Net(forward)
    net.log, net.cached, net.scale = [], None, torch.ones(1)
    net.register_buffer("trace", torch.zeros(()))
    message = refused(net, words)
    assert net.log == []
    assert net.trace.device.type == "cpu"
    assert not hasattr(net, "mem")
    if forward is logging:
        assert "OUTSIDE.append(out.mean())" in message
        OUTSIDE.clear()


def test_a_constant_kept_by_the_first_call_may_stay():
    def forward(net, x):
        if net.weights is None:
            net.weights = torch.linspace(0, 1, HIDDEN)
        return simple(net, x) * net.weights

    net = Net(forward)
    net.weights = None
    compare(net, moving())


# -- outputs ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Result:
    spikes: torch.Tensor
    more: list
    steps: int = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    mem: torch.Tensor


class Pair(NamedTuple):
    first: Result
    second: Frozen


def test_dataclasses_and_other_containers_are_returned():
    def forward(net, x):
        mem, out = None, []
        for now in x:
            spk, mem = net.lif1(net.fc1(now), mem)
            out.append(mem)
        ordered = collections.OrderedDict(b=spk, a=mem)
        return Pair(Result(torch.stack(out), [mem, {"spk": spk}], len(out)), Frozen(mem)), ordered

    def loss(output, y):
        (first, second), ordered = output
        return error([first.spikes, first.more[1]["spk"], second.mem, ordered["b"]], y)

    net = Net(forward)
    plain = copy.deepcopy(net)
    want = plain(moving())
    loss(want, None).backward()
    got, value = snn.accelerate(net, loss)(moving(), labels())
    assert value.item() == pytest.approx(loss(want, None).item(), rel=1e-4, abs=1e-4)
    assert [type(v) for v in (got, got[0], *got[0], got[1])] == [
        tuple,
        Pair,
        Result,
        Frozen,
        collections.OrderedDict,
    ]
    assert got[0].first.steps == STEPS
    assert not got[0].first.spikes.requires_grad
    torch.testing.assert_close(got[0].first.spikes, want[0].first.spikes.detach())
    torch.testing.assert_close(got[0].second.mem, want[0].second.mem.detach())
    torch.testing.assert_close(got[1]["a"], want[1]["a"].detach())
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        assert (a.grad is None) is (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_an_output_that_cannot_be_filled_is_refused():
    class Bag:
        pass

    def forward(net, x):
        bag = Bag()
        bag.out = simple(net, x)
        return bag

    refused(Net(forward), "an output that is no tensor, list, tuple, dict or dataclass")


def test_a_later_call_leaves_what_an_earlier_one_returned():
    """Also what is large enough to lie in memory that is used again, constants, and views as NumPy
    arrays."""

    def forward(net, x):
        mem, out, table = None, [], torch.arange(4.0)
        for now in x:
            _, mem = net.lif1(net.fc1(now), mem)
            out.append(mem)
        return torch.stack(out), out, mem, table

    net = Net(forward)
    net.fc1 = nn.Linear(SIZE, 512)
    model = snn.accelerate(net, error)
    kept, wanted = [], []
    for seed in range(4):
        output, _ = model(
            torch.rand(STEPS, 64, SIZE, generator=torch.Generator().manual_seed(seed)), labels()
        )
        kept.append((output[0].numpy(), *output[1], output[2], output[3]))
        wanted.append([np.asarray(v).copy() for v in kept[-1]])
        del output
    for a, b in zip(kept, wanted, strict=True):
        for v, w in zip(a, b, strict=True):
            np.testing.assert_array_equal(v, w)
    kept[0][-1].add_(1)
    assert model.forward(moving())[3].tolist() == [0, 1, 2, 3]


def test_copies_of_what_it_returns_are_of_their_own():
    net = Net(simple)
    model = snn.accelerate(net, error, torch.optim.SGD(net.parameters(), 0.1))
    model(moving(), labels())
    other = copy.deepcopy(model)
    before = [p.clone() for p in net.parameters()]
    for _ in range(2):
        other(moving(), labels())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    assert not torch.equal(other.net.fc1.weight, net.fc1.weight)
    for _ in range(2):
        model(moving(), labels())
    torch.testing.assert_close(other.net.fc1.weight, net.fc1.weight)
    sequential = snn.accelerate(Steps())
    sequential.forward(moving())
    again = pickle.loads(pickle.dumps(sequential))
    assert torch.equal(again.forward(moving()), sequential.forward(moving()))


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(SIZE, HIDDEN), snn.Leaky(0.9)

    def forward(self, x):
        return simple(self, x)


def test_plans_are_bounded():
    net = Net(lambda net, x, factor=1.0: simple(net, x) * factor)
    model = snn.accelerate(net)
    first = model.plan(moving(), 0.0)
    for k in range(40):
        model.plan(moving(), float(k))
        assert model.plan(moving(), 0.0) is first  # used all the time
    assert len(model._plans) == 16
    torch.testing.assert_close(model.forward(moving(), 5.0), net(moving(), 5.0))
    net.fc1.weight = nn.Parameter(torch.zeros(HIDDEN, SIZE))
    model.plan(moving(), 0.0)
    assert len(model._plans) == 1  # those of a parameter that is gone are gone


# -- layers and loops ------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("x", [moving(), constant()], ids=["moving", "constant"])
def test_multi_head_attention(weights, x):
    def forward(net, x):
        mem, out = None, []
        for t in range(STEPS):
            now = (x[t] if x.dim() == 3 else x).unsqueeze(1).expand(-1, 3, -1)
            seen, w = net.attention(now * net.scale, now, now, need_weights=weights)
            assert (w is None) is not weights
            _, mem = net.lif1(net.fc1(seen), mem)
            out.append(mem if w is None else mem + w.mean())
        return torch.stack(out)

    net = Net(forward, attention=nn.MultiheadAttention(SIZE, 2, batch_first=True))
    net.scale = nn.Parameter(torch.linspace(0, 2, 3).unsqueeze(1))
    compare(net, x, tolerance=1e-4)


DROPPING = {
    "attention": (lambda net, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), False),
    "multi-head": (lambda net, x: net.attention(x, x, x)[0], True),
    "multi-head, no weights": (lambda net, x: net.attention(x, x, x, need_weights=False)[0], True),
    "encoder": (lambda net, x: net.encoder(x), True),
    "lstm": (lambda net, x: net.lstm(x)[0], True),
}


@pytest.mark.parametrize(("layer", "trains"), DROPPING.values(), ids=DROPPING)
def test_dropout_inside_layers_draws_a_mask_a_step(layer, trains):
    def forward(net, x):
        mem, out = None, []
        for _ in range(STEPS):
            now = layer(net, x)
            _, mem = net.lif1(now, mem)
            out.append(now)
        return torch.stack(out)

    net = Net(
        forward,
        attention=nn.MultiheadAttention(SIZE, 2, dropout=0.5, batch_first=True),
        encoder=nn.TransformerEncoderLayer(SIZE, 2, 16, 0.5, batch_first=True),
        lstm=nn.LSTM(SIZE, SIZE, 2, dropout=0.5, batch_first=True),
    )
    model = snn.accelerate(net, error)
    x = torch.rand(BATCH, 5, SIZE)
    rows = torch.cat([model.forward(x), model.forward(x)]).detach()
    assert len({tuple(r.flatten().tolist()) for r in rows}) == 2 * STEPS
    if trains:
        net.eval()
        rows = model.forward(x)
        assert all(torch.equal(r, rows[0]) for r in rows)
        torch.testing.assert_close(rows, net(x), rtol=1e-4, atol=1e-5)


def test_an_operation_that_cannot_be_batched_runs_step_by_step_and_is_listed():
    def forward(net, x):
        mem, out = None, []
        for now in x:
            more, (h, c) = net.lstm(now.unsqueeze(1))
            _, mem = net.lif1(more.squeeze(1) + h[0] + c[0], mem)
            out.append(mem)
        return torch.stack(out)

    net = Net(forward, lstm=nn.LSTM(SIZE, HIDDEN, batch_first=True))
    compare(net, moving(), tolerance=1e-4)
    model = snn.accelerate(net, error)
    for _ in range(2):
        model(moving(), labels())
        assert ["net.lstm(now.unsqueeze(1))" in line for line in model.plan(moving()).serial] == [
            True
        ]


def silence(net, x):
    mem, out = None, []
    for t in range(STEPS):
        now = (net.fc1(x[t] if x.dim() == 3 else x)) if t < 3 else torch.zeros(BATCH, HIDDEN)
        _, mem = net.lif1(now, mem)
        out.append(mem)
    return torch.stack(out)


def differing(net, x):
    mem, out = None, []
    for t in range(STEPS):
        now = x[t] if x.dim() == 3 else x
        spk, mem = net.lif1(net.fc1(now) if t < 2 else net.other(now) * t, mem)
        out.append(spk + mem)
    return out


def each_its_layer(net, x):
    mem1 = mem2 = None
    out = []
    for t in range(STEPS):
        spk, mem1 = net.lif1(net.norms[t](net.linears[t](x[t] if x.dim() == 3 else x)), mem1)
        spk, mem2 = net.lif2(net.fc2(spk), mem2)
        out.append(spk + mem2)
    return out


@pytest.mark.parametrize("x", [moving(), constant()], ids=["moving", "constant"])
@pytest.mark.parametrize(
    ("forward", "line"),
    [(silence, "if t < 3 else"), (differing, "if t < 2 else"), (each_its_layer, "net.norms[t](")],
)
def test_steps_that_differ_are_made_one_by_one(forward, line, x):
    net = Net(
        forward,
        other=nn.Linear(SIZE, HIDDEN),
        linears=nn.ModuleList(nn.Linear(SIZE, HIDDEN) for _ in range(STEPS)),
        norms=nn.ModuleList(nn.BatchNorm1d(HIDDEN) for _ in range(STEPS)),
    )
    compare(net, x, tolerance=1e-4)
    assert any(line in text for text in snn.accelerate(net, error).plan(x).serial)


@pytest.mark.parametrize(
    "x", [moving(), constant(), moving()[:1]], ids=["moving", "constant", "one step"]
)
def test_one_neuron_in_several_layers_of_an_inner_loop(x):
    def forward(net, x):
        states, out = [(None, None)] * 3, []
        for t in range(len(x) if x.dim() == 3 else STEPS):
            h = x[t] if x.dim() == 3 else x
            for i, fc in enumerate(net.layers):
                h, *states[i] = net.lif(fc(h), *states[i])
            out.append(h + states[2][1] + states[0][0].mean())
        return torch.stack(out)

    compare(
        Net(
            forward,
            lif=snn.Synaptic(0.5, 0.8, threshold=0.3, learn_beta=True),
            layers=nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(3)),
        ),
        x,
    )


def every_step(t):
    return True


def every_third(t):
    return t % 3 == 0


@pytest.mark.parametrize("when", [every_step, every_third])
@pytest.mark.parametrize("x", [moving(), constant()], ids=["moving", "constant"])
def test_states_detached_between_steps_cut_the_gradient(when, x):
    def forward(net, x):
        states, spk2, mem2, out = None, None, None, []
        for t in range(STEPS):
            if states is not None and when(t):
                states = [s.detach() for s in states]
                mem2 = mem2.detach()
            spk, *states = net.syn(net.fc1(x[t] if x.dim() == 3 else x), *(states or ()))
            spk2, mem2 = net.rec(net.fc2(spk), spk2, mem2)
            out.append(spk2 + mem2)
        return torch.stack(out)

    net = Net(
        forward,
        syn=snn.Synaptic(0.5, 0.8, threshold=0.3, learn_beta=True),
        rec=snn.RLeaky(0.8, linear_features=CLASSES, threshold=0.3),
    )
    plain = compare(net, x, tolerance=1e-4)
    whole = copy.deepcopy(net)
    whole.loop = lambda net, x: forward(net, x)
    gradient = plain.fc1.weight.grad.clone()
    plain.zero_grad()
    free = copy.deepcopy(plain)
    when_never = lambda net, x: unbroken(net, x)  # noqa: E731
    free.loop = when_never
    error(free(x), None).backward()
    assert not torch.allclose(free.fc1.weight.grad, gradient, rtol=1e-3)


def unbroken(net, x):
    states, spk2, mem2, out = None, None, None, []
    for t in range(STEPS):
        spk, *states = net.syn(net.fc1(x[t] if x.dim() == 3 else x), *(states or ()))
        spk2, mem2 = net.rec(net.fc2(spk), spk2, mem2)
        out.append(spk2 + mem2)
    return torch.stack(out)


@pytest.mark.parametrize("x", [moving(), constant()], ids=["moving", "constant"])
def test_steps_without_gradient_before_those_with(x):
    def forward(net, x):
        mem, out = None, []
        with torch.no_grad():
            for t in range(2):
                _, mem = net.lif1(net.fc1(x[t] if x.dim() == 3 else x), mem)
        for t in range(2, STEPS):
            _, mem = net.lif1(net.fc1(x[t] if x.dim() == 3 else x), mem)
            out.append(mem)
        return torch.stack(out)

    compare(Net(forward), x)


def test_a_batch_norm_in_two_places_keeps_the_order_of_its_means():
    def forward(net, x):
        mem1 = mem2 = None
        for now in x:
            a, b = net.bn(net.fc1(now)), net.bn(net.other(now))
            _, mem1 = net.lif1(a, mem1)
            _, mem2 = net.lif2(b, mem2)
        return mem1 + mem2

    net = Net(forward, bn=nn.BatchNorm1d(HIDDEN, momentum=0.5), other=nn.Linear(SIZE, HIDDEN))
    compare(net, moving(), tolerance=1e-4)
    assert net.bn.num_batches_tracked == 2 * STEPS

    def through(net, x):
        mem1 = mem2 = None
        for now in x:
            spk, mem1 = net.lif1(net.bn(net.fc1(now)), mem1)
            _, mem2 = net.lif2(net.bn(net.again(spk)), mem2)
        return mem2

    net = Net(through, bn=nn.BatchNorm1d(HIDDEN), again=nn.Linear(HIDDEN, HIDDEN))
    refused(
        net,
        "batch_norm: several places in a step update the same running means",
        "net.bn(net.again(spk))",
    )
    net.eval()
    compare(net, moving())


def test_operations_without_a_meta_kernel_are_named_with_their_line():
    def forward(net, x):
        mem = None
        for now in x:
            _, mem = net.lif1(
                net.fc1(now) + torch.bincount((now[0] * 10).long(), minlength=HIDDEN)[:HIDDEN], mem
            )
        return mem

    message = refused(
        Net(forward),
        "bincount: torch cannot tell its shape without data (it has no meta kernel)",
        "torch.bincount((now[0]",
    )
    assert len(message) < 500


@pytest.mark.parametrize("x", [moving(), constant()], ids=["moving", "constant"])
def test_fake_quantization_of_weights_and_activations(x):
    def forward(net, x):
        mem, out = None, []
        for t in range(STEPS):
            weight = torch.fake_quantize_per_channel_affine(
                net.fc1.weight, net.scale, net.zero, 0, -8, 7
            )
            now = torch.fake_quantize_per_tensor_affine(x[t] if x.dim() == 3 else x, 0.1, 0, 0, 15)
            _, mem = net.lif1(F.linear(now, weight), mem)
            out.append(mem)
        return torch.stack(out)

    net = Net(forward)
    net.register_buffer("scale", torch.linspace(0.05, 0.1, HIDDEN))
    net.register_buffer("zero", torch.zeros(HIDDEN, dtype=torch.int32))
    compare(net, x)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_cannot_be_seen_is_refused():
    net = Net(simple, fc1=torch.jit.script(nn.Linear(SIZE, HIDDEN)))
    with pytest.raises(InputError, match=r"fc1 \(RecursiveScriptModule\) is compiled"):
        snn.accelerate(net, error)
    function = torch.jit.script(leaky)

    def scripted(net, x):
        mem = None
        for now in x:
            _, mem = net.lif1(function(net.fc1(now)), mem)
        return mem

    refused(
        Net(scripted),
        "a tensor comes from an operation that cannot be recorded (TorchScript",
        "function(net.fc1(now))",
    )

    def forward(net, x):
        mem = None
        for now in x:
            with torch._C.DisableTorchFunction():
                now = now * 2
            _, mem = net.lif1(now, mem)
        return mem

    refused(
        Net(forward),
        "a tensor comes from an operation that cannot be recorded (TorchScript",
        "net.lif1(now, mem)",
    )


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, x * 0.1)


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"net": 3}, InputTypeError, "accelerate: net is a torch module, got 3 (int)"),
        ({"loss": 1.0}, InputTypeError, "accelerate: loss is a function or None, got 1.0 (float)"),
        (
            {"optimizer": "adam"},
            InputTypeError,
            "accelerate: optimizer is a torch optimizer or None, got 'adam' (str)",
        ),
        (
            {"precision": 16},
            InputTypeError,
            "accelerate: precision is 'float32' or 'bfloat16', got 16 (int)",
        ),
        ({"precision": "bfloat"}, InputError, "did you mean 'bfloat16'?"),
        (
            {"optimiser": None},
            InputTypeError,
            "accelerate: no argument 'optimiser'; did you mean 'optimizer'?",
        ),
    ],
)
def test_arguments(given, kind, words):
    with pytest.raises(kind) as e:
        lv.accelerate(**{"net": Net(simple), **given})
    assert words in str(e.value)
    assert isinstance(e.value, TypeError) is (kind is InputTypeError)


def test_inputs_of_a_wrong_kind():
    with pytest.raises(
        InputTypeError, match="the network's inputs are tensors, numbers, strings or None; got dict"
    ):
        snn.accelerate(Net(simple)).forward({"x": 1})
