"""A neuron's first call in every state that torch can be in: the values and gradients are those of
the plain state, or an error says why.

Each call uses dynamics that nothing has traced before (a fresh copy of the step), so that the
tracing itself happens in that state.
"""

from __future__ import annotations

import threading
import types
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from lavalike import fused, slayer, snn
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.lif import LIF
from lavalike.dynamics.ops import above, gate, reset
from lavalike.errors import InputError
from lavalike.fused import Training, cpu, products, reference, scan
from lavalike.fused.scan import code
from lavalike.fused.surrogate import Atan, FastSigmoid

TORCHS_OWN = pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning"
)  # jvp of torch uses it as well
GENERATOR = torch.Generator().manual_seed(3)
X = torch.rand(5, 4, generator=GENERATOR)
XS = torch.rand(6, 5, 4, generator=GENERATOR)


def leaky(x, v, beta):
    v = beta * v + x
    s = above(v, 0.6)
    return s, reset(s, v, 0)


def fresh(reset_grad="detach"):
    """A neuron that has never been traced."""
    step = types.FunctionType(leaky.__code__, leaky.__globals__, "leaky")
    dynamics = Dynamics(
        step,
        ("x",),
        ("s",),
        ("v",),
        fixed=False,
        parameters=(Parameter("beta", 0.9, 0, 1, trained=True),),
    )
    return snn.Neuron(dynamics, spike_grad=FastSigmoid(4.0), reset_grad=reset_grad)


def answers(neuron, x=XS):
    """Spikes, final membranes, and the gradients of their weighted sum to the input and to beta: of
    the loop over steps."""
    x = x.clone().requires_grad_()
    neuron.zero_grad()
    v, out = None, []
    for now in x:
        s, v = neuron(now, v)
        out.append(s)
    (torch.stack(out) * XS).sum().add(v.sum()).backward()
    return torch.stack(out).detach(), v.detach(), x.grad, neuron.beta.grad


EXPECTED = answers(fresh())


def agree(got, wanted=EXPECTED):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-5, atol=1e-6
        )  # sums of 6 steps of numbers near 1, those over 20 neurons in float64


def weighted(neuron, x):
    out, (v,) = neuron.sequence(x)
    return (out["s"] * XS).sum() + v.sum()


def test_the_expected_neuron_spikes():
    assert 20 < EXPECTED[0].sum() < 100
    assert all(bool(e.abs().sum() > 0) for e in EXPECTED)


def test_anomaly_detection_for_the_first_step():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow
        with torch.autograd.detect_anomaly():
            agree(answers(fresh()))
            assert torch.is_anomaly_enabled()
            assert torch.is_anomaly_check_nan_enabled()
            dense = slayer.block.cuba.Dense(
                {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.2}, 4, 3
            )
            dense(torch.rand(2, 4, 9)).sum().backward()
            assert bool(torch.isfinite(dense.synapse.weight.grad).all())
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize(
    "state",
    [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.enable_grad,
        torch.random.fork_rng,
        lambda: torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t),
        lambda: torch.device("cpu"),
        lambda: torch.autograd.graph.save_on_cpu(),
    ],
)
def test_other_states_for_the_first_step(state):
    with state():
        agree(answers(fresh()))


@pytest.mark.parametrize("state", [torch.inference_mode, torch.no_grad])
def test_without_gradients_first_and_with_them_after(state):
    neuron = fresh()
    with state():
        out, (v,) = neuron.sequence(XS)
        torch.testing.assert_close(out["s"], EXPECTED[0])
        torch.testing.assert_close(v, EXPECTED[1])
    agree(answers(neuron))


@pytest.mark.parametrize(
    ("set_", "value", "old"),
    [
        (torch.set_default_dtype, torch.float64, torch.float32),
        (torch.use_deterministic_algorithms, True, False),
    ],
)
def test_defaults_that_are_set_for_the_first_step(set_, value, old):
    neuron = fresh()
    set_(value)
    try:
        agree(answers(neuron))
    finally:
        set_(old)


@pytest.mark.parametrize("reset_grad", ["detach", "full", "slayer"])
def test_func_grad_is_backward(reset_grad):
    wanted = answers(fresh(reset_grad))
    agree([torch.func.grad(lambda x: weighted(fresh(reset_grad), x))(XS)], [wanted[2]])
    neuron = fresh(reset_grad)
    of_beta = torch.func.grad(
        lambda p: torch.func.functional_call(_Weighted(neuron), {"neuron.beta": p}, (XS,))
    )(neuron.beta.detach())
    agree([of_beta], [wanted[3]])


class _Weighted(nn.Module):
    def __init__(self, neuron):
        super().__init__()
        self.neuron = neuron

    def forward(self, x):
        return weighted(self.neuron, x)


def test_vmap_is_a_batch():
    neuron = fresh()
    got = torch.func.vmap(lambda x: neuron(x)[1], in_dims=1)(
        XS
    )  # over the batch; a step on (6, 4) each
    torch.testing.assert_close(got, torch.stack([fresh()(XS[:, k])[1] for k in range(5)]))


def test_gradients_of_each_sample():
    net, neuron = nn.Linear(4, 3), fresh()

    def loss(p, x):
        return neuron(torch.func.functional_call(net, p, x[None]))[0].sum()

    parameters = dict(net.named_parameters())
    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, X)
    for k, x in enumerate(X):
        net.zero_grad()
        neuron(net(x[None]))[0].sum().backward()
        agree([got[n][k] for n in parameters], [p.grad for p in net.parameters()])


def test_an_ensemble_keeps_learnt_values_within_their_limits():
    """stack_module_state: beta of each, one of them outside its limits."""
    neurons = [fresh() for _ in range(3)]
    for n, beta in zip(neurons, (0.3, 0.8, 1.5), strict=True):
        n.beta.data.fill_(beta)
    stacked, _ = torch.func.stack_module_state(neurons)
    got = torch.func.vmap(lambda p: torch.func.functional_call(fresh(), p, (X, X))[1])(stacked)
    torch.testing.assert_close(got, torch.stack([n(X, X)[1] for n in neurons]))
    assert neurons[2].beta == 1


def delta(x, before, th):
    d = x - before
    return gate(d, d, th), x


@pytest.mark.parametrize(
    "dynamics",
    [fresh().dynamics, Dynamics(delta, ("x",), ("s",), ("before",)), LIF],
    ids=["leaky", "delta", "LIF"],
)
@pytest.mark.parametrize("arithmetic", ["float", "grid"])
@TORCHS_OWN
def test_forward_mode_is_the_transpose_of_backward(dynamics, arithmetic):
    """<J t, g> = <t, J^T g>, J t from jvp and from dual numbers, J^T g from the compiled loops."""
    training = Training(FastSigmoid(4.0), "full", arithmetic, 64.0)
    known = {
        "beta": 0.9,
        "th": 0.2,
        "keep_u": 0.6,
        "keep_v": 0.8,
        "gain": 1.0,
        "bias": 0.0,
        "vth": 0.5,
    }
    unit = (
        {"keep_u": 4096.0, "keep_v": 4096.0, "vth": 64.0, "th": 64.0}
        if arithmetic == "grid"
        else {}
    )
    parameters = {
        p: torch.tensor(known[p] * unit.get(p, 1.0), dtype=torch.float64)
        for p in dynamics.constant_names
    }
    x, t = (
        XS.double(),
        torch.rand(XS.shape, generator=torch.Generator().manual_seed(5)).double() - 0.5,
    )
    (name,) = dynamics.outputs

    def run(x):
        return scan(dynamics, training, {dynamics.inputs[0]: x}, parameters).outputs[name]

    free = x.clone().requires_grad_()
    y = run(free)
    g = torch.rand(y.shape, generator=torch.Generator().manual_seed(6)).double()
    y.backward(g)
    value, tangent = torch.func.jvp(run, (x,), (t,))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(run(forward_ad.make_dual(x, t)))
    for out in (value, dual.primal):
        torch.testing.assert_close(out, y.detach())
    for j in (tangent, dual.tangent):
        assert (j * g).sum().abs() > 1e-3
        torch.testing.assert_close((j * g).sum(), (t * free.grad).sum(), rtol=1e-9, atol=1e-9)


@TORCHS_OWN
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning"
)  # the length is fixed, as of every traced loop
def test_jit_trace_follows_the_inputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.neuron = nn.Linear(4, 4), fresh()

        def forward(self, x):
            return self.neuron.sequence(self.fc(x))[0]["s"]

    net = Net()
    traced = torch.jit.trace(net, (XS,))
    for x in (XS, 2 * XS.flip(0)):
        torch.testing.assert_close(traced(x), net(x))
    assert net(2 * XS).sum() > 0


def test_make_fx_follows_the_inputs():
    neuron = fresh()
    graph = make_fx(lambda x: neuron.sequence(x)[0]["s"])(XS)
    torch.testing.assert_close(graph(2 * XS), neuron.sequence(2 * XS)[0]["s"])
    assert not torch.equal(graph(2 * XS), graph(XS))


@pytest.mark.parametrize(
    "make", [fresh, lambda: snn.Leaky(0.9, threshold=0.6, spike_grad=FastSigmoid(4.0))]
)
def test_many_threads_make_the_first_call(make):
    """Each traces dynamics of its own, and all of them the same."""
    shared, got, failed = fresh(), [], []
    (wanted,) = snn.Leaky(0.9, threshold=0.6).sequence(XS)[0].values()
    start = threading.Barrier(8)

    def work():
        try:
            start.wait()
            for neuron in (make(), shared):
                out, _ = neuron.sequence(XS)
                (spikes,) = out.values()
                got.append(spikes.detach())
                if spikes.requires_grad:
                    spikes.sum().backward()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert len(got) == 16
    assert all(torch.equal(s, EXPECTED[0]) or torch.equal(s, wanted) for s in got)


def test_a_step_that_cannot_be_traced_says_so_in_every_state():
    def branches(x, v):
        return (x, v) if x.sum() > 0 else (v, x)

    with pytest.raises(InputError, match=r"branches: its step cannot be traced"):
        code(Dynamics(branches, ("x",), ("s",), ("v",)), Training(Atan()))
    assert not torch.is_anomaly_enabled()


# -- tensors without storage -----------------------------------------------------------------------


def fake():
    return FakeTensorMode(allow_non_fake_inputs=True)


@pytest.mark.parametrize("real", [False, True])
def test_fake_tensors_give_shapes_and_leave_nothing_behind(real):
    neuron = fresh()
    x = XS.clone()
    with fake():
        out, (v,) = neuron.sequence(x if real else torch.rand(6, 5, 4))
        assert (out["s"].shape, v.shape) == ((6, 5, 4), (5, 4))
        assert snn.Leaky(0.8, learn_beta=True).sequence(torch.rand(7, 3, 4))[0]["s_out"].shape == (
            7,
            3,
            4,
        )
        assert products.linear(torch.rand(400, 100), torch.rand(200, 100)).shape == (400, 200)
    agree(answers(neuron))


def test_a_fake_input_after_its_mode_has_ended():
    mode = FakeTensorMode()
    x = mode.from_tensor(XS)
    with pytest.raises(
        Exception, match=r"fake|Fake"
    ):  # torch's own: the neuron's parameters are real
        fresh().sequence(x)


def test_meta_tensors_give_shapes_and_gradients_of_that_shape():
    neuron = fresh().to("meta")
    x = torch.rand(6, 5, 4, device="meta", requires_grad=True)
    out, (v,) = neuron.sequence(x)
    assert (out["s"].shape, v.shape, out["s"].device.type) == ((6, 5, 4), (5, 4), "meta")
    out["s"].sum().backward()
    assert (x.grad.shape, neuron.beta.grad.shape) == ((6, 5, 4), ())
    w = torch.rand(300, 100, device="meta")
    assert products.linear(torch.rand(400, 100, device="meta"), w).shape == (400, 300)


def test_neurons_are_made_on_meta_and_filled_later():
    with torch.device("meta"):
        nets = [
            snn.Leaky(0.8, learn_beta=True),
            snn.Alpha(0.9, 0.8),
            snn.Lapicque(0.8),
            snn.RLeaky(0.8, linear_features=4),
            snn.SLSTM(4, 4),
            snn.Leaky(torch.rand(4)),
        ]
        assert all(net(torch.rand(2, 4))[0].shape == (2, 4) for net in nets)
    net = nets[0].to_empty(device="cpu")
    net.load_state_dict(snn.Leaky(0.7, learn_beta=True).state_dict())
    assert torch.equal(net.beta, torch.tensor(0.7))
    torch.testing.assert_close(net(X, X)[1], 0.7 * X + X)


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning"
)  # torch's own, of making the loss fake
def test_backward_under_a_mode_without_memory_is_an_error():
    x = XS.clone().requires_grad_()
    out, _ = fresh().sequence(x)
    loss = out["s"].sum()
    with (
        fake(),
        pytest.raises(InputError, match=r"leaky: backward of a compiled loop reads memory"),
    ):
        loss.backward()


def test_gradients_in_a_batch_of_their_own():
    """torch.autograd.grad(is_grads_batched=True), as jacobian(vectorize=True): the plain loop does
    it, the compiled one says so."""

    def spikes(x):
        return fresh().sequence(x)[1][0].sum(0)

    with fused.plain_loops():
        wanted = torch.autograd.functional.jacobian(spikes, XS)
        torch.testing.assert_close(
            torch.autograd.functional.jacobian(spikes, XS, vectorize=True), wanted
        )
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(spikes, XS), wanted, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(
        InputError, match=r"leaky: gs_v: .* has no memory .* within lavalike.fused.plain_loops"
    ):
        torch.autograd.functional.jacobian(spikes, XS, vectorize=True)


@pytest.mark.parametrize("what", ["parameter", "state"])
def test_tensors_on_another_device_are_named(what):
    neuron = fresh()
    if what == "parameter":
        neuron.beta = nn.Parameter(torch.rand(4, device="meta"))
        given = (X,)
    else:
        given = (X, torch.rand(5, 4, device="meta"))
    name = {"parameter": "beta", "state": "v"}[what]
    with pytest.raises(InputError, match=rf"leaky: {what} {name} is on meta, the input on cpu"):
        neuron(*given)


def test_every_launch_looks_at_its_memory():
    made = code(LIF, Training(Atan()))
    with pytest.raises(
        InputError, match=r"lif: p_keep_u: a Tensor on meta of shape \(2, 3\) has no memory"
    ):
        cpu.launch(
            made,
            cpu.Variant("float32"),
            "forward",
            dict.fromkeys(
                cpu.kernel(made, cpu.Variant("float32"), "forward").names,
                torch.zeros(2, 3, device="meta"),
            ),
            2,
            3,
        )


def test_the_plain_loop_runs_on_every_device():
    """Meta stands for the others: nothing of it may be made on the CPU."""
    for arithmetic in ("float", "grid", "messages"):
        training = Training(Atan(), arithmetic=arithmetic)
        parameters = {
            "keep_u": torch.rand(4, device="meta"),
            "keep_v": 0.9,
            "gain": torch.tensor(1.0),
            "bias": 0.0,
            "vth": 1.0,
        }
        with fused.plain_loops():
            result = scan(
                LIF,
                training,
                {"a_in": torch.rand(6, 5, 4, device="meta")},
                parameters,
                {"u": torch.rand(5, 4, device="meta")},
            )
        tensors = (*result.outputs.values(), *result.states.values(), result.overflows)
        assert {t.device.type for t in tensors} == {"meta"}


def test_the_plain_loop_counts_what_leaves_24_bits():
    training = Training(Atan(), arithmetic="grid")
    parameters = {"keep_u": 4096.0, "keep_v": 4096.0, "gain": 1.0, "bias": 0.0, "vth": 2.0**40}
    x = {"a_in": torch.rand(9, 5, 4, generator=torch.Generator().manual_seed(1)) * 2000}
    compiled, plain = scan(LIF, training, x, parameters), reference(LIF, training, x, parameters)
    assert compiled.overflows > 20
    assert torch.equal(plain.overflows, compiled.overflows)
