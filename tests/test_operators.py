"""Neurons and products of spikes as operators of torch: what compiles, exports, traces, transforms,
checkpoints or prints a network sees them and gets the values and gradients of the plain call."""

from __future__ import annotations

import copy
import io
import logging
import sys
import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.fx.experimental.proxy_tensor import make_fx
from torch.library import opcheck
from torch.utils import checkpoint

from lavalike import fused, slayer, snn
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.lif import LIF
from lavalike.dynamics.ops import above, reset
from lavalike.errors import InputError
from lavalike.fused import Training, operators, products, scan, triton
from lavalike.fused.surrogate import Atan, FastSigmoid

logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*Function'> should not be instant:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
]
TORCHS_OWN = pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
DYNAMOS_OWN = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
SCAN = torch.ops.lavalike.scan.default
X = torch.rand(7, 3, 4, generator=torch.Generator().manual_seed(3)) * 2
WEIGHT = torch.rand(7, 3, 4, generator=torch.Generator().manual_seed(4))


@pytest.fixture(autouse=True)
def _anew():
    """What another test compiled is no part of this one."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Net(nn.Module):
    """A layer and a neuron over a sequence."""

    def __init__(self, neuron=None):
        super().__init__()
        torch.manual_seed(1)
        self.fc = nn.Linear(4, 4)
        self.neuron = neuron or snn.Leaky(0.8, threshold=0.4, learn_beta=True)

    def forward(self, x):
        out, states = self.neuron.sequence(self.fc(x))
        return out[next(iter(out))], states[-1]


class Steps(Net):
    """The same, step by step."""

    def forward(self, x):
        states, out = [], []
        snn.reset(self)
        for now in x:
            if self.neuron.init_hidden:
                spikes = self.neuron(self.fc(now))
            else:
                spikes, *states = self.neuron(self.fc(now), *states)
            out.append(spikes)
        y = torch.stack(out)
        return y, states[-1] if states else y[-1]


def answers(function, x, parameters):
    """Outputs and the gradients of their weighted sum."""
    out = function(x)
    out = out if isinstance(out, tuple) else (out,)
    weights = torch.Generator().manual_seed(5)
    loss = sum((y * torch.rand(y.shape, generator=weights)).sum() for y in out)
    return [*(y.detach() for y in out), *torch.autograd.grad(loss, parameters, allow_unused=True)]


def same(got, wanted, **tolerance):
    assert any(bool((w != 0).any()) for w in wanted[1:] if w is not None)
    for a, b in zip(got, wanted, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            torch.testing.assert_close(a, b, **(tolerance or {"rtol": 0, "atol": 0}))


def compiled(net, backend="aot_eager", **options):
    return torch.compile(net, backend=backend, fullgraph=True, **options)


def trained(net):
    return [p for p in net.parameters() if p.requires_grad]


def names(graph):
    return [str(n.target) for n in graph.graph.nodes if n.op == "call_function"]


# -- torch.compile ---------------------------------------------------------------------------------


def test_a_network_is_one_graph_with_one_operator_a_neuron():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    net = nn.Sequential(*(Net() for _ in range(1)))
    same(answers(compiled(net, backend), X, trained(net)), answers(net, X, trained(net)))
    assert len(graphs) == 1
    assert names(graphs[0]).count("lavalike.scan.default") == 1


def test_sequences_compile():
    net = Net(snn.Synaptic(0.8, 0.7, threshold=0.3, learn_alpha=True, reset_grad="full"))
    same(answers(compiled(net, "eager"), X, trained(net)), answers(net, X, trained(net)))


def test_steps_compile_to_plain_operations():
    neuron = snn.Leaky(0.8, threshold=0.4, learn_beta=True, init_hidden=True)
    net, x, seen = Steps(neuron), X[:2], []

    def look(graph, inputs):
        seen.append(names(graph))
        return graph.forward

    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    whole = aot_autograd(fw_compiler=lambda g, i: make_boxed_func(look(g, i)))
    same(answers(compiled(net, whole), x, trained(net)), answers(net, x, trained(net)))
    assert not any("lavalike" in n for ns in seen for n in ns)
    assert any("aten.gt" in n for ns in seen for n in ns)


def test_a_layer_with_weights_in_its_loop_compiles():
    net = Steps(snn.RLeaky(0.8, threshold=0.3, linear_features=4))
    same(answers(compiled(net, "eager"), X[:2], trained(net)), answers(net, X[:2], trained(net)))


def test_networks_that_are_made_alike_are_compiled_once():
    counter = CompileCounter()

    def run(neuron, x):
        return neuron.sequence(x)[0]["s_out"]

    function = torch.compile(run, backend=counter, fullgraph=True)
    neuron = snn.Leaky(0.8, threshold=0.4)
    for n in (neuron, copy.deepcopy(neuron), snn.Leaky(0.7, threshold=0.4)):
        function(n, X)
    assert counter.frame_count == 1
    other = snn.Leaky(0.8, threshold=0.4, spike_grad=FastSigmoid(3.0))
    function(other, X)
    assert counter.frame_count == 2


def test_a_surrogate_that_is_set_is_seen_by_what_is_compiled():
    net = Net()
    function = compiled(net, "eager")
    before = answers(function, X, trained(net))
    net.neuron.spike_grad = FastSigmoid(3.0)
    after = answers(function, X, trained(net))
    same(after, answers(net, X, trained(net)))
    assert not torch.equal(before[2], after[2])


def test_any_length_compiles():
    net = Net()
    function = compiled(net, "aot_eager", dynamic=True)
    for steps in (5, 20, 33):
        x = torch.rand(steps, 3, 4, generator=torch.Generator().manual_seed(steps))
        same(answers(function, x, trained(net)), answers(net, x, trained(net)))


def test_the_plain_loop_is_compiled_within_plain_loops():
    net, graphs = Net(), []

    def backend(graph, inputs):
        graphs.append(names(graph))
        return graph.forward

    wanted = answers(net, X[:3], trained(net))
    with fused.plain_loops():
        got = answers(compiled(net, backend), X[:3], trained(net))
    same(got, wanted, rtol=1e-5, atol=1e-6)  # sums of 3 steps of numbers near 1
    assert not any("lavalike.scan" in n for n in graphs[0])
    function = compiled(net, backend)
    function(X[:3])
    assert any("lavalike.scan" in n for n in graphs[-1])
    block = slayer.block.cuba.Dense(CUBA, 6, 5)
    with (
        fused.plain_loops(),
        pytest.raises(Exception, match=r"plain_loops\(\) under torch.compile is for neurons in"),
    ):
        compiled(block, "eager")(torch.rand(3, 6, 9))


CUBA = {"threshold": 0.3, "current_decay": 0.3, "voltage_decay": 0.2}
ADAPTS = {"threshold_step": 0.1, "threshold_decay": 0.1, "refractory_decay": 0.1}
TURNS = {"threshold": 0.3, "period": 5, "decay": 0.1}
MEAN = slayer.neuron.norm.MeanOnlyBatchNorm
BLOCKS = {
    "cuba, weight norm, norm, delay": lambda b: b.cuba.Dense(
        {**CUBA, "norm": MEAN}, 6, 5, weight_norm=True, delay=True
    ),
    "lif, event rate": lambda b: b.lif.Dense(
        {"threshold": 0.3, "voltage_decay": 0.2}, 6, 5, count_log=True
    ),
    "alif": lambda b: b.alif.Dense({**CUBA, **ADAPTS}, 6, 5, weight_norm=True),
    "sigma_delta": lambda b: b.sigma_delta.Dense(
        {"threshold": 0.05, "requires_grad": True, "norm": MEAN}, 6, 5, weight_norm=True
    ),
    "sigma_delta, tanh": lambda b: b.sigma_delta.Dense(
        {"threshold": 0.05, "activation": torch.tanh}, 6, 5
    ),
    "adrf": lambda b: b.adrf.Dense({**TURNS, **ADAPTS}, 6, 5),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_slayer_compile(name):
    torch.manual_seed(2)
    block = BLOCKS[name](slayer.block)
    x = torch.rand(3, 6, 9)
    if block.delay is not None:
        block.delay.fit(5)
        block.delay.delay.data = torch.tensor([0.0, 1.2, 3.7, 8.0, 70.0])
    other = copy.deepcopy(block)
    wanted = answers(block, x, trained(block))
    same(answers(compiled(other, "eager"), x, trained(other)), wanted)
    for a, b in zip(block.buffers(), other.buffers(), strict=True):
        assert torch.equal(a, b)  # running means and counts as well


def test_a_convolutional_network_of_slayer_compiles_with_its_backward():
    torch.manual_seed(2)
    b = slayer.block
    net = nn.Sequential(
        b.lif.Conv({"threshold": 0.3, "voltage_decay": 0.2}, 2, 3, 3, weight_norm=True),
        b.lif.Flatten(),
        b.lif.Dense({"threshold": 0.3, "voltage_decay": 0.2, "requires_grad": True}, 27, 4),
    )
    x = torch.rand(2, 2, 5, 5, 6)
    net(x)
    other = copy.deepcopy(net)
    same(
        answers(compiled(other), x, trained(other)),
        answers(net, x, trained(net)),
        rtol=1e-5,  # a convolution may take its sums, of 18 numbers near 1, in another order
        atol=1e-5,
    )


@pytest.mark.parametrize("central", ["forward", "central"])
def test_a_delay_that_cannot_be_looked_at_is_the_same(central):
    delay = slayer.axon.Delay(max_delay=12, channels=5, delay_gradient=central, grad_scale=2)
    delay.delay.data = torch.tensor([0.0, 1.2, 3.7, 8.0, 11.0])
    x = torch.rand(2, 5, 3, 9, requires_grad=True)
    wanted = answers(delay, x, [x, delay.delay])
    got = answers(compiled(delay, "eager"), x, [x, delay.delay])
    assert torch.equal(got[0], wanted[0])
    same(got, wanted, rtol=1e-5, atol=1e-5)  # sums of 54 numbers near 1
    rest, after = delay.stream(x.detach())
    two = torch.func.vmap(delay.stream)(torch.stack([x.detach(), x.detach()]))
    half, state = two[0][0], {"past": two[1]["past"][0]}
    assert torch.equal(half, rest)
    assert torch.equal(state["past"][..., -after["past"].shape[-1] :], after["past"])
    more = torch.rand(2, 5, 3, 4)
    assert torch.equal(delay.stream(more, state)[0], delay.stream(more, after)[0])
    with pytest.raises(Exception, match="need max_delay, the steps of the input that a state"):
        compiled(slayer.axon.Delay(channels=5), "eager")(x)


def test_products_of_spikes_compile_as_the_operator():
    x = (torch.rand(300, 100) < 0.1).float().requires_grad_()
    w = torch.rand(70, 100, requires_grad=True)
    assert x.numel() * len(w) >= products.WORTH
    wanted = answers(lambda x: products.linear(x, w), x, [x, w])
    graphs = []

    def backend(graph, inputs):
        graphs.append(names(graph))
        return graph.forward

    same(answers(compiled(lambda x: products.linear(x, w), backend), x, [x, w]), wanted)
    assert graphs == [["lavalike.product.default"]]
    same(answers(compiled(lambda x: products.linear(x, w)), x, [x, w]), wanted)
    many = torch.func.vmap(torch.ops.lavalike.product.default, (None, 0))(
        x, torch.stack([w, 2 * w])
    )
    torch.testing.assert_close(many[1], 2 * wanted[0], rtol=1e-5, atol=1e-4)  # sums of some 10


# -- the operators themselves ----------------------------------------------------------------------


def arguments(keeps=False, **more):
    training = Training(Atan(), more.pop("reset_grad", "full"), more.pop("arithmetic", "float"))
    made = operators.spec(LIF, training)
    numbers = list(training.numbers.values())
    known = {"keep_u": 0.6, "keep_v": 0.8, "gain": 1.0, "bias": 0.0, "vth": 0.5}
    params = [torch.tensor(known[p], requires_grad=p != "gain") for p in made.made.parameters]
    params[0] = torch.full((12,), 0.6, requires_grad=True)
    firsts = [torch.full((12,), 0.1, requires_grad=True), torch.empty(0)]
    rest = (numbers, made.key, more.pop("record", ""), more.pop("shift", False), -1, -1)
    return ([X.clone().requires_grad_()], firsts, params, *rest, keeps)


def test_torchs_own_check_of_the_operator():
    opcheck(SCAN, arguments(record="u,v", arithmetic="grid", shift=True))


def test_torchs_own_check_of_the_backward_operator():
    xs, firsts, params, *rest = arguments(keeps=True)
    with torch.no_grad():
        out = SCAN(xs, firsts, params, *rest)
    n = 1 + len(firsts)
    kept, grads = out[n + 1 :], [torch.rand_like(out[0]), torch.rand_like(out[1])]
    grads = [g.requires_grad_() for g in grads]
    wanted = [p.requires_grad for p in params]
    given = [True, True, False]
    call = (xs, firsts, kept, params, grads, given, wanted, *rest[:-1])
    some = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(torch.ops.lavalike.scan_backward.default, call, test_utils=some)


def test_torchs_own_check_of_the_product():
    x = (torch.rand(40, 100) < 0.1).float().requires_grad_()
    w = torch.rand(70, 100, requires_grad=True)
    opcheck(torch.ops.lavalike.product.default, (x, w))
    g = torch.rand(40, 70, requires_grad=True)
    opcheck(torch.ops.lavalike.product_backward.default, (g, x, w, True, True))


def test_the_gradient_of_an_operator_called_without_keeping():
    """A graph that was traced without gradients has them when it is run with them."""
    values = arguments()
    out = SCAN(*values)
    assert len(out) == 4
    assert out[0].requires_grad
    (g,) = torch.autograd.grad(out[0].sum(), values[0])
    with torch.no_grad():
        assert not SCAN(*values)[0].requires_grad
    made = operators.find(values[4])
    call = operators._call(*values[3:-1])
    assert call.spec is made
    plain = operators.run(call, [*values[0], values[1][0], None, *values[2]])
    torch.testing.assert_close(g, torch.autograd.grad(plain[0].sum(), values[0])[0])


# -- keys ------------------------------------------------------------------------------------------


def leaky(x, v, beta):
    v = beta * v + x
    s = above(v, 0.6)
    return s, reset(s, v, 0)


def declared(step):
    beta = Parameter("beta", 0.9, 0, 1, trained=True)
    return Dynamics(step, ("x",), ("s",), ("v",), fixed=False, parameters=(beta,))


def test_a_key_is_a_hash_of_contents():
    def other(x, v, beta):
        v = beta * v + x
        s = above(v, 0.7)
        return s, reset(s, v, 0)

    other.__name__ = other.__qualname__ = "leaky"
    one, two = declared(leaky), declared(leaky)
    keys = [
        operators.spec(d, t).key
        for d, t in (
            (one, Training(Atan())),
            (two, Training(Atan(3.0))),  # numbers are arguments
            (declared(other), Training(Atan())),
            (one, Training(FastSigmoid())),
            (one, Training(Atan(), "full")),
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_a_key_of_another_process_is_found_by_what_is_declared(monkeypatch):
    key = operators.spec(declared(leaky), Training(Atan())).key
    dynamics = declared(leaky)
    monkeypatch.setattr(operators, "_specs", {})
    operators._spec.cache_clear()
    assert operators.find(key).dynamics.name == "leaky"
    del dynamics
    gone = key[:-4] + "0000"
    with pytest.raises(InputError, match=r"no neuron 'leaky' of tests.test_operators with surr.*"):
        operators.find(gone)
    with pytest.raises(InputError, match=r"lavalike::scan: no neuron in this process"):
        operators.find("")
    assert "antigravity" not in sys.modules
    with pytest.raises(InputError, match="no neuron 'leaky' of antigravity"):
        operators.find(key.replace("tests.test_operators", "antigravity"))
    assert "antigravity" not in sys.modules


# -- torch.export ----------------------------------------------------------------------------------


def test_export_of_any_length_and_batch():
    net = Net()
    dims = ({0: torch.export.Dim("T", min=2), 1: torch.export.Dim("B", min=2)},)
    program = torch.export.export(net, (X,), dynamic_shapes=dims)
    assert any("lavalike.scan" in n for n in names(program.graph_module))
    for x in (X, torch.rand(11, 2, 4, generator=torch.Generator().manual_seed(2))):
        module = program.module()
        same(answers(module, x, trained(module)), answers(net, x, trained(net)))
    strictly = torch.export.export(net, (X,), strict=True).module()
    assert torch.equal(strictly(X)[0], net(X)[0])
    lowered = program.run_decompositions().module()
    for a, b in zip(lowered(X), net(X), strict=True):
        torch.testing.assert_close(a, b)


def test_an_exported_file_is_loaded_where_the_neuron_has_not_been_called(monkeypatch):
    """As by another process, which has the library alone."""
    net, file = Net(snn.Synaptic(0.8, 0.7, threshold=0.3)), io.BytesIO()
    torch.export.save(torch.export.export(net, (X,)), file)
    wanted = answers(net, X, trained(net))
    monkeypatch.setattr(operators, "_specs", {})
    operators._spec.cache_clear()
    operators._handle.cache_clear()
    file.seek(0)
    loaded = torch.export.load(file).module()
    same(answers(loaded, X, trained(loaded)), wanted)


def test_an_exported_step_is_torchs_own_operations():
    program = torch.export.export(Steps(), (X[:2],))
    assert not any("lavalike" in n for n in names(program.graph_module))
    for a, b in zip(program.module()(X[:2]), Steps()(X[:2]), strict=True):
        torch.testing.assert_close(a, b)


def test_a_block_of_slayer_is_exported_by_torch():
    block = slayer.block.cuba.Dense({**CUBA, "norm": MEAN}, 6, 5, weight_norm=True).eval()
    x = torch.rand(3, 6, 9)
    program = torch.export.export(block, (x,))
    assert torch.equal(program.module()(x), block(x))


def test_onnx_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    with pytest.raises(InputError, match="ONNX has no operator for a neuron over time") as told:
        torch.export.export(Net(), (X,))
    assert "\n" not in str(told.value)
    with fused.plain_loops():
        program = torch.export.export(Net(), (X[:3],))
    assert not any("lavalike" in n for n in names(program.graph_module))
    torch.testing.assert_close(program.module()(X[:3])[0], Net()(X[:3])[0])


# -- traces ----------------------------------------------------------------------------------------


@TORCHS_OWN
def test_a_jit_trace_takes_other_lengths():
    net = Net()
    traced = torch.jit.trace(net, (X,))
    for x in (X, X.repeat(3, 2, 1).flip(0)):
        same(answers(traced, x, trained(net)), answers(net, x, trained(net)))
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    assert torch.equal(torch.jit.load(file)(X)[0], net(X)[0])


@TORCHS_OWN
def test_tensorboard_draws_the_graph():
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard._pytorch_graph import graph

    drawn, _ = graph(Net(), (X,))
    assert any("lavalike::scan" in n.op for n in drawn.node)


@TORCHS_OWN
def test_a_graph_for_tensorboard_can_be_traced():
    """add_graph traces like this, and reads the kinds of nodes."""
    traced = torch.jit.trace(Net(), (X,), strict=False)
    kinds = {n.kind() for n in traced.inlined_graph.nodes()}
    assert "lavalike::scan" in kinds


def test_make_fx_of_a_gradient_has_both_operators():
    net = Net()

    def loss(x):
        return (net(x)[0] * WEIGHT).sum()

    graph = make_fx(torch.func.grad(loss))(X)
    assert {"lavalike.scan.default", "lavalike.scan_backward.default"} <= {*names(graph)}
    x = (1.5 * X).requires_grad_()
    torch.testing.assert_close(graph(1.5 * X), torch.autograd.grad(loss(x), x)[0])


# -- transforms ------------------------------------------------------------------------------------


def test_gradients_of_each_sample_by_the_operator():
    net = Net()
    parameters = dict(net.named_parameters())

    def loss(p, x):
        return torch.func.functional_call(net, p, (x[:, None],))[0].sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), (None, 1))
    got = per_sample(parameters, X)
    for k in range(3):
        (net(X[:, k : k + 1])[0].sum()).backward()
        for name, p in net.named_parameters():
            torch.testing.assert_close(got[name][k], p.grad, rtol=1e-5, atol=1e-6)
            p.grad = None
    assert got["neuron.beta"].abs().sum() > 0
    called = set(names(make_fx(per_sample)(parameters, X)))
    assert {"lavalike.scan.default", "lavalike.scan_backward.default"} <= called


def test_an_ensemble_over_parameters_and_states():
    """vmap over one number, over one a neuron, and over states; shared inputs; gradients through
    torch's autograd outside."""
    neuron = snn.Leaky(0.8, threshold=torch.full((4,), 0.5), learn_beta=True)
    betas = torch.tensor([0.3, 0.6, 0.9], requires_grad=True)
    thresholds = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)) + 0.3
    mems = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(2))

    def run(beta, vth, mem):
        named = {"beta": beta, "vth": vth}
        call = torch.func.functional_call(_Sequence(neuron), _inside(named), (X, mem))
        return call[0]["s_out"], call[1][0]

    got = torch.func.vmap(run)(betas, thresholds, mems)
    want = [run(b, v, m) for b, v, m in zip(betas, thresholds, mems, strict=True)]
    for k, a in enumerate(got):
        torch.testing.assert_close(a, torch.stack([w[k] for w in want]))
    (g,) = torch.autograd.grad(got[0].sum() + got[1].sum(), betas)
    (h,) = torch.autograd.grad(sum(a.sum() + b.sum() for a, b in want), betas)
    assert h.abs().min() > 0
    torch.testing.assert_close(g, h, rtol=1e-5, atol=1e-5)


class _Sequence(nn.Module):
    def __init__(self, neuron):
        super().__init__()
        self.neuron = neuron

    def forward(self, x, *states):
        return self.neuron.sequence(x, *states)


def _inside(named):
    return {f"neuron.{n}": v for n, v in named.items()}


def test_slayer_under_transforms():
    torch.manual_seed(0)
    block = slayer.block.cuba.Dense({**CUBA, "requires_grad": True}, 6, 5, delay=True)
    x = torch.rand(4, 3, 6, 9)
    block(x[0])
    got = torch.func.vmap(block)(x)
    assert torch.equal(got, torch.stack([block(v) for v in x]))
    parameters = {n: p.detach() for n, p in block.named_parameters()}

    def loss(p):
        return (torch.func.functional_call(block, p, (x[0],)) ** 2).sum()

    got = torch.func.grad(loss)(parameters)
    (block(x[0]) ** 2).sum().backward()
    for name, p in block.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(got[name], p.grad, rtol=1e-5, atol=1e-5)
    assert block.neuron.overflows == 0


# -- second derivatives ----------------------------------------------------------------------------


def second(function, x, parameters):
    first = torch.autograd.grad((function(x)[0] * WEIGHT).sum(), parameters, create_graph=True)
    return torch.autograd.grad(sum((g * g).sum() for g in first), parameters)


@pytest.mark.parametrize(
    "make",
    [
        lambda: snn.Leaky(0.8, threshold=0.4, learn_beta=True, reset_grad="full"),
        lambda: snn.Synaptic(
            torch.rand(4, generator=torch.Generator().manual_seed(1)),
            0.7,
            threshold=torch.full((4,), 0.4),
            learn_alpha=True,
            learn_threshold=True,
            spike_grad=FastSigmoid(2.0),
        ),
    ],
    ids=["leaky", "synaptic"],
)
def test_second_derivatives_are_those_of_the_plain_loop(make):
    net = Net(make()).double()
    x = X.double().requires_grad_()
    got = second(net, x, [x, *trained(net)])
    with fused.plain_loops():
        wanted = second(net, x, [x, *trained(net)])
    assert all(bool(w.abs().sum() > 0) for w in wanted)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_second_derivatives_over_states_and_late_outputs_and_time_innermost():
    training = Training(Atan(), "full")
    parameters = {
        p: torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for p, v in (("keep_u", 0.6), ("keep_v", 0.8), ("gain", 1.0), ("bias", 0.1), ("vth", 0.5))
    }
    state = torch.full((3, 4), 0.2, dtype=torch.float64, requires_grad=True)
    lies_last = X.double().movedim(0, -1).contiguous().movedim(-1, 0)

    def twice(x, **more):
        x = x.detach().requires_grad_()
        of = [x, state, *parameters.values()]
        out = scan(LIF, training, {"a_in": x}, parameters, {"v": state}, **more)
        loss = (out.outputs["s_out"] * WEIGHT).sum() + out.states["u"].pow(2).sum()
        first = torch.autograd.grad(loss, of, create_graph=True)
        again = torch.autograd.grad(sum((g * g).sum() for g in first), of)
        return [*(g.detach() for g in first), *again]

    for x, more in (
        (X.double(), {"shift": True}),
        (lies_last, {}),
        (X.double(), {"record": ("u",)}),
    ):
        got = twice(x, **more)
        with fused.plain_loops():
            wanted = twice(x, **more)
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_second_derivatives_by_transforms_and_of_products():
    net = Net(snn.Leaky(0.8, threshold=0.4, reset_grad="full"))

    def loss(x):
        return (net(x)[0] * WEIGHT).sum()

    got = torch.func.grad(lambda x: torch.func.grad(loss)(x).pow(2).sum())(X)
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(x), x, create_graph=True)
    torch.testing.assert_close(got, torch.autograd.grad((g * g).sum(), x)[0], rtol=1e-4, atol=1e-5)
    x = torch.rand(300, 100, requires_grad=True)
    w = torch.rand(70, 100, requires_grad=True)

    def of_product(linear):
        (g,) = torch.autograd.grad((linear(x, w) ** 3).mean(), w, create_graph=True)
        return torch.autograd.grad((g * g).sum(), [x, w])

    for a, b in zip(of_product(products.linear), of_product(nn.functional.linear), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# -- checkpoints of torch --------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant):
    net = Net()
    x = X.clone().requires_grad_()
    wanted = answers(net, x, [x])
    net.zero_grad()
    y, state = checkpoint.checkpoint(net, x, use_reentrant=reentrant)
    weights = torch.Generator().manual_seed(5)
    loss = sum((v * torch.rand(v.shape, generator=weights)).sum() for v in (y, state))
    loss.backward()
    assert torch.equal(x.grad, wanted[2])


def test_selective_checkpointing_sees_the_operator():
    net, seen = Net(), []
    wanted = answers(net, X, trained(net))

    def policy(ctx, op, *args, **kwargs):
        seen.append((op, ctx.is_recompute))
        keep = op is SCAN
        return checkpoint.CheckpointPolicy.MUST_SAVE if keep else checkpoint.CheckpointPolicy(3)

    def contexts():
        return checkpoint.create_selective_checkpoint_contexts(policy)

    def run(x):
        return checkpoint.checkpoint(net, x, use_reentrant=False, context_fn=contexts)

    same(answers(run, X, trained(net)), wanted)
    assert (SCAN, False) in seen


# -- numbers of a captured graph -------------------------------------------------------------------


def test_numbers_that_a_captured_graph_reads_are_kept(monkeypatch):
    monkeypatch.setattr(triton, "_recent", {})
    monkeypatch.setattr(triton, "_captured", {})
    monkeypatch.setattr(triton, "RECENT", 4)
    cpu = torch.device("cpu")

    def number(value, capturing=False):
        return triton._number(value, torch.float64, cpu, capturing)

    first, other = number(0.5), number(0.25)
    assert first.tolist() == [0.5]
    assert number(0.5, True) is first  # its place is what the graph reads
    for k in range(20):
        number(float(k))
    assert number(0.5) is first
    assert number(0.25) is not other  # one that no graph reads is forgotten
    assert len(triton._recent) == 4
    written = number(0.75, True)  # by the graph, in its memory
    assert number(0.75) is not written


# -- what modules print ----------------------------------------------------------------------------


def test_modules_print_their_parameters_and_shapes():
    text = repr(snn.Leaky(0.8, learn_beta=True, init_hidden=True))
    assert text.startswith("Leaky(")
    parts = ("beta=0.8 (learnt)", "threshold=1", "reset_mechanism='subtract'", "init_hidden=True")
    assert all(part in text for part in (*parts, "spike_grad=Atan(alpha=2.0)"))
    text = repr(snn.Synaptic(torch.rand(3), 0.7))
    assert "alpha=(3,)" in text
    assert "beta=0.7" in text
    assert "learnt" not in text
    assert "beta=()" in repr(snn.Leaky(0.8).to("meta"))
    own = snn.Neuron(declared(leaky))
    assert repr(own) == "Neuron(beta=0.9 (learnt), spike_grad=Atan(alpha=2.0))"
    b = slayer.block
    conv = b.cuba.Conv(
        {**CUBA, "requires_grad": True, "norm": MEAN},
        2,
        3,
        3,
        stride=2,
        weight_norm=True,
        delay=True,
    )
    conv(torch.rand(1, 2, 5, 5, 4))
    text = repr(conv)
    for part in (
        "shape=(3, 2, 2), delay_shift=True",
        "threshold=0.296875, current_decay=0.3 (learnt), voltage_decay=0.2 (learnt), scale=64",
        "MeanOnlyBatchNorm(num_features=3, momentum=0.1)",
        "Delay(channels=3, max_delay=62)",
        "Conv(weight=(3, 2, 3, 3, 1), stride=(2, 2), weight_norm=True)",
    ):
        assert part in text
    assert "Delta(threshold=0.1, scale=4096)" in repr(b.sigma_delta.Dense({"threshold": 0.1}, 5, 3))
    soft = b.soft_lif.Dense({**CUBA, "noise": 0.02}, 6, 5)
    assert "scale=64, softness=0.002, noise=0.02)" in repr(soft)
    slayer.neuron.soft_lif.soften(soft, False)
    assert "noise=0.02, soft=False)" in repr(soft)
    assert "current_decay=(5,)" in repr(b.cuba.Dense({**CUBA, "shared_param": False}, 6, 5))


def test_a_network_prints_on_fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with warnings.catch_warnings(), FakeTensorMode():
        assert "beta=()" in repr(snn.Leaky(0.8))


# -- ONNX, EventProp and straight-through steps before others look on ------------------------------


class OneStep(Net):
    def forward(self, x):
        return self.neuron(self.fc(x))[0]


@TORCHS_OWN
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's exporter
@pytest.mark.parametrize("net", [Net, OneStep, lambda: slayer.block.cuba.Dense(CUBA, 3, 5)])
def test_onnx_of_a_jit_trace_is_refused_in_one_line(net, capsys):
    net = net()
    x = X[0] if isinstance(net, OneStep) else X
    with pytest.raises(InputError, match=r"no operator for a neuron over .*plain_loops") as told:
        torch.onnx.export(net, (x,), io.BytesIO(), dynamo=False)
    assert "\n" not in str(told.value)
    assert "graph" not in capsys.readouterr().out


@pytest.mark.parametrize("over", [False, True])
def test_a_quantised_state_compiles_with_its_gradient(over):
    q = snn.functional.quant.state_quant(num_bits=4)
    neuron = snn.Leaky(0.9, state_quant=q)
    x = X.clone().requires_grad_()
    call = (lambda v: neuron.sequence(v)[0]["s_out"]) if over else (lambda v: neuron(v[0])[1])
    same(answers(compiled(call), x, [x]), answers(call, x, [x]))
    big = torch.tensor([float("inf"), -0.0, 3.0], requires_grad=True)
    assert torch.equal(compiled(q)(big), q(big))


def by_times():
    kept = {"reset_mechanism": "zero", "reset_delay": False, "gradient": "eventprop"}
    return Net(snn.Synaptic(0.9, 0.8, threshold=0.4, **kept))


@TORCHS_OWN
def test_eventprop_where_no_gradient_is_asked_is_the_plain_scan():
    net = by_times()
    wanted = net(X)[0].detach()
    assert wanted.any()
    with torch.no_grad():
        assert torch.equal(compiled(net)(X)[0], wanted)
        assert torch.equal(torch.jit.trace(net, (X,))(X)[0], wanted)
        assert torch.equal(torch.export.export(net, (X,)).module()(X)[0], wanted)
        assert torch.equal(torch.func.vmap(net)(X[None])[0][0], wanted)
    frozen = net.requires_grad_(False)
    assert torch.equal(torch.func.vmap(frozen)(X[None])[0][0], wanted)


@TORCHS_OWN
def test_eventprop_under_transforms_is_refused_where_a_gradient_is_asked():
    net = by_times()
    for call in (
        lambda: torch.jit.trace(net, (X,)),
        lambda: torch.export.export(net, (X,)),
        lambda: torch.func.vmap(net)(X[None]),
        lambda: torch.func.grad(lambda x: net(x)[0].sum())(X),
    ):
        with pytest.raises(InputError, match=r"EventProp.*torch.no_grad\(\)"):
            call()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, at a break
def test_torch_compile_breaks_at_eventprop_and_at_nothing_else_afterwards():
    net, plain = by_times(), Net()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="EventProp's gradient is no operation"):
        compiled(net)(X)
    same(
        answers(torch.compile(net, backend="aot_eager"), X, trained(net)),
        answers(net, X, trained(net)),
    )
    same(answers(compiled(plain), X, trained(plain)), answers(plain, X, trained(plain)))
