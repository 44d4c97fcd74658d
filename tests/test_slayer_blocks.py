"""slayer's blocks: every block of every family trains, streams, loads, exports; lava-dl's defects
stay out."""

from __future__ import annotations

import copy
import pickle

import h5py
import numpy as np
import pytest
import torch

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm, WgtScaleBatchNorm
from tests.test_slayer_conformance import load, set_parameters
from tests.test_slayer_neurons import FAMILIES, PARAMS, RESONATORS

EXACT = lv.RunConfig(precision="fixed_pt")
NAMES = (
    "Input",
    "Flatten",
    "Average",
    "TimeDecimation",
    "Dense",
    "Affine",
    "Conv",
    "ConvT",
    "Pool",
    "Unpool",
    "Recurrent",
    "KWTA",
    "Output",
)
CASES = [(f, n) for f in FAMILIES for n in NAMES if hasattr(getattr(slayer.block, f), n)]
SPATIAL = ("Flatten", "Conv", "ConvT", "Pool", "Unpool")
DELAYED = ("Dense", "Conv", "ConvT", "Pool", "Unpool", "Recurrent")
TIME = 8
cu, sd, rf = slayer.block.cuba, slayer.block.sigma_delta, slayer.block.rf
C, S, R = PARAMS["cuba"], PARAMS["sigma_delta"], PARAMS["rf"]


def family_of(name):
    return getattr(slayer.block, name)


def make(family, name, params=None, **options):
    """A block with small arguments, and the shape of its input."""
    cls = getattr(family_of(family), name)
    params = {**PARAMS[family], **(params or {})}
    shape = (2, 4, 6) if name in SPATIAL else (8,)
    scale = {"weight_scale": 3}
    args = {
        "Input": ((params, 1.25, 0.125), {}),
        "Flatten": ((), {}),
        "Average": ((4,), {}),
        "TimeDecimation": ((4,), {}),
        "Dense": ((params, 8, 5), scale),
        "Affine": ((params, 8, 5), scale),
        "Conv": ((params, 2, 4, 3), {"padding": (1, 0), "groups": 2, **scale}),
        "ConvT": ((params, 2, 4, (2, 3)), {"stride": 2, "padding": (0, 1), "groups": 2, **scale}),
        "Pool": ((params, 2), {"weight_scale": 0.5}),
        "Unpool": ((params, (1, 2)), {"weight_scale": 0.5}),
        "Recurrent": ((params, 8, 5), scale),
        "KWTA": ((params, 8, 5, 2), scale),
        "Output": ((params, 8, 5), scale),
    }[name]
    torch.manual_seed(0)
    return cls(*args[0], **{**args[1], **options}), shape


def data(family, name, shape, batch=2, time=TIME, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if family == "sigma_delta" or name == "Input":
        x = (torch.randn(batch, *shape, time, generator=generator) * 16).round() / 32
        return torch.complex(x, x.flip(1)) if name == "Input" and family in RESONATORS else x
    return (torch.rand(batch, *shape, time, generator=generator) < 0.4).float()


def parts(y):
    return y if isinstance(y, tuple) else (y,)


def both_equal(a, b):
    for x, y in zip(parts(a), parts(b), strict=True):
        np.testing.assert_array_equal(x.detach(), y.detach())


@pytest.mark.parametrize(("family", "name"), CASES)
def test_every_block_trains_and_tells_its_shape(family, name):
    """In lava-dl 86 of 164 such cases raised."""
    options = {"delay": True} if name in DELAYED else {}
    block, shape = make(
        family, name, {"requires_grad": True, "norm": MeanOnlyBatchNorm}, count_log=True, **options
    )
    x = data(family, name, shape)
    y, rate = block(x)
    assert all(v.shape[1:-1] == block.shape == block.output_shape(shape) for v in parts(y))
    assert rate.dtype == torch.float32
    assert 0 < float(rate) <= 1
    assert float(rate) == pytest.approx(
        sum(float((v != 0).sum()) for v in parts(y)) / sum(v.numel() for v in parts(y))
    )
    if any(v.requires_grad for v in parts(y)):
        sum(
            (v * torch.randn(v.shape, generator=torch.Generator().manual_seed(1))).sum()
            for v in parts(y)
        ).backward()
    for key, p in block.named_parameters():
        if p.requires_grad and not (
            name == "Output" and key.startswith("neuron.")
        ):  # a sum has no threshold
            assert p.grad is not None, key
            assert p.grad.isfinite().all(), key


@pytest.mark.parametrize(
    ("family", "name"),
    [(f, n) for f, n in CASES if n not in ("Flatten", "Average", "TimeDecimation", "Output")],
)
@torch.no_grad()
def test_delay_shift_is_one_step(family, name):
    early, shape = make(family, name, delay_shift=False)
    late, _ = make(family, name, delay_shift=True)
    x = data(family, name, shape)
    a, b = early(x), late(x)
    for u, v in zip(parts(a), parts(b), strict=True):
        np.testing.assert_array_equal(u[..., :-1].detach(), v[..., 1:].detach())
        assert not v[..., 0].any()
    default = make(family, name)[0].delay_shift
    assert default == (family != "sigma_delta" and name != "Affine")


@pytest.mark.parametrize(("family", "name"), CASES)
@torch.no_grad()
def test_streams_and_persistent_states_equal_the_whole_call(family, name):
    options = {"delay": True} if name in DELAYED else {}
    block, shape = make(family, name, **options)
    if options:
        block(data(family, name, shape))
        block.delay.delay.copy_(torch.arange(len(block.delay.delay)) % 3 + 0.5)
    block.eval()
    x = data(family, name, shape)
    whole, state, pieces = block(x), None, []
    for a, b in ((0, 4), (4, TIME)):
        y, state = block.stream(x[..., a:b], state)
        pieces.append(parts(y))
    both_equal(tuple(torch.cat(p, -1) for p in zip(*pieces, strict=True)), tuple(parts(whole)))
    if not hasattr(block, "neuron"):
        return
    keeping, _ = make(family, name, {"persistent_state": True}, **options)
    keeping.load_state_dict(block.state_dict())
    keeping.eval()
    halves = parts(keeping(x[..., :5])), parts(keeping(x[..., 5:]))
    both_equal(tuple(torch.cat(p, -1) for p in zip(*halves, strict=True)), tuple(parts(whole)))
    three = data(family, name, shape, batch=3, seed=1)
    both_equal(keeping(three), block(three))  # another batch: a new beginning
    keeping.reset_state()
    both_equal(keeping(x), whole)
    assert set(keeping.state_dict()) == set(block.state_dict())


@pytest.mark.parametrize(("family", "name"), CASES)
@torch.no_grad()
def test_a_fresh_network_loads_before_its_first_call(family, name):
    options = {"delay": True} if name in DELAYED else {}
    params = {"shared_param": False, "norm": MeanOnlyBatchNorm}
    block, shape = make(family, name, params, **options)
    x = data(family, name, shape)
    block(x)
    block.eval()
    fresh, _ = make(family, name, params, **options)
    fresh.load_state_dict(block.state_dict())
    fresh.eval()
    both_equal(fresh(x), block(x))
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        both_equal(other(x), block(x))


REFUSED = {
    "TimeDecimation": "TimeDecimation: a process graph has one step",
    "KWTA": "KWTA: its bias acts on the current",
}


@pytest.mark.parametrize(
    ("family", "name", "channels"),
    [(f, n, c) for f, n in CASES for c in (False, True) if not c or n in ("Dense", "Conv")],
)
@torch.no_grad()
def test_export_without_a_call_loads_and_equals_or_is_refused_by_name(
    family, name, channels, tmp_path
):
    options = {"delay": True} if name in DELAYED else {}
    params = {"norm": MeanOnlyBatchNorm} if name not in ("Input", "Output") else {}
    block, shape = make(family, name, {**params, "shared_param": not channels}, **options)
    for norm in block.neuron.norms if hasattr(block, "neuron") else ():
        norm.fit(block.output_shape(shape)[0])
        norm.running_mean.uniform_(-0.3, 0.3)
    blocks = [block]
    if name in ("Flatten", "Input"):
        blocks.append(
            family_of(family).Dense(PARAMS[family], int(np.prod(shape)), 5, weight_scale=3)
        )
    path = tmp_path / "n.net"
    refusal = REFUSED.get(name) or (
        r"Input: a resonator's \(real, imag\) input"
        if name == "Input" and family in RESONATORS
        else None
    )
    if refusal is not None:
        with pytest.raises(lv.ExportError, match=rf"{family}\.{refusal}"):
            slayer.export_hdf5(blocks, path, input_shape=shape)
        assert not path.exists()
        return
    slayer.export_hdf5(blocks, path, input_shape=shape)
    if options:
        block.delay.delay.mul_(5)  # longer than at construction
        slayer.export_hdf5(blocks, path)
    net = torch.nn.Sequential(*blocks).eval()
    assert all(v.any() for v in parts(net(data(family, name, shape, time=30))))
    report = netx.compare(net, path)
    assert report, str(report)


def test_recurrent_recording(conformance):
    d = load(conformance, "block_cuba_Recurrent")
    params = {"threshold": 0.4, "current_decay": 0.3, "voltage_decay": 0.1, "requires_grad": True}
    block = slayer.block.cuba.Recurrent(params, 12, 7, weight_scale=4, bptt=False)
    set_parameters(block, d)
    x = d["x"].clone().requires_grad_()
    y = block(x)
    np.testing.assert_array_equal(y.detach(), d["out"])
    y.backward(d["g"])
    np.testing.assert_allclose(
        x.grad, d["grad_x"], rtol=1e-5, atol=1e-6 * float(d["grad_x"].abs().max())
    )
    own = dict(block.named_parameters())
    for name in ("input_synapse.weight", "recurrent_synapse.weight"):
        want = d[f"gp_{name}"]
        np.testing.assert_allclose(
            own[name].grad, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()), err_msg=name
        )
    # from rest again: lava-dl's neurons went on where the call before ended
    np.testing.assert_array_equal(block(d["x"]).detach(), d["out"])


class Loop(torch.nn.Module):
    """A recurrent cuba layer as plain torch, every operation differentiated by autograd."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v, th, tau, scale):
            ctx.save_for_backward(v)
            ctx.numbers = th, tau, scale
            return (v > th).to(v.dtype)

        @staticmethod
        def backward(ctx, grad):
            (v,), (th, tau, scale) = ctx.saved_tensors, ctx.numbers
            return grad * scale / (2 * tau) * torch.exp(-(v - th).abs() / tau), None, None, None

    def forward(self, x, w, r, du, dv, th, tau):
        def rounded(v):
            return v + (torch.trunc(v * 4096) / 4096 - v).detach()

        def leak(v, d):
            exact = v * (4096 - d) / 4096
            return exact + (torch.trunc(exact * 4096) / 4096 - exact).detach()

        u = v = s = torch.zeros(x.shape[0], len(w), dtype=x.dtype)
        out = []
        for now in x.unbind(-1):
            u = leak(u, du) + rounded(now @ w.T + s @ r.T)
            v = leak(v, dv) + u
            s = self.Spike.apply(v, th, tau * 100, 0.1)
            v = v - (v * s).detach()  # slayer's reset: the gradient passes
            out.append(s)
        return torch.stack(out, -1)


def test_recurrent_gradients_are_those_of_backpropagation_through_time():
    torch.manual_seed(0)
    params = {
        "threshold": 0.4,
        "current_decay": 0.3,
        "voltage_decay": 0.1,
        "requires_grad": True,
        "tau_grad": 0.05,
    }
    block = slayer.block.cuba.Recurrent(params, 6, 5, weight_scale=4, delay_shift=False)
    x = (torch.rand(2, 6, 15) < 0.4).float().requires_grad_()
    g = torch.randn(2, 5, 15)
    y = block(x)
    y.backward(g)
    q = block.neuron.quantize_8bit
    leaves = [
        p.detach().double().requires_grad_()
        for p in (
            x,
            q(block.input_synapse.weight)[:, :, 0, 0, 0],
            q(block.recurrent_synapse.weight)[:, :, 0, 0, 0],
            block.neuron.current_decay.round(),
            block.neuron.voltage_decay.round(),
        )
    ]
    want = Loop()(*leaves, 25 / 64, 0.05 * 25 / 64)
    np.testing.assert_array_equal(y.detach(), want.detach())
    want.backward(g.double())
    got = [
        x,
        block.input_synapse.weight,
        block.recurrent_synapse.weight,
        block.neuron.current_decay,
        block.neuron.voltage_decay,
    ]
    for a, b in zip(got, leaves, strict=True):
        np.testing.assert_allclose(
            a.grad.reshape(b.shape), b.grad, rtol=1e-4, atol=1e-6 * float(b.grad.abs().max())
        )


# -- what was wrong in lava-dl ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "name"),
    [(f, n) for f, n in CASES if n not in ("Flatten", "Average", "TimeDecimation")],
)
def test_the_params_dict_of_the_caller_is_never_changed(family, name):
    """lava-dl set norm=None (Pool, Unpool) and persistent_state=True (Recurrent, KWTA) in it."""
    params = {**PARAMS[family], "norm": MeanOnlyBatchNorm, "dropout": slayer.neuron.Dropout(0.1)}
    kept = dict(params)
    cls = getattr(family_of(family), name)
    cls(
        params,
        *{
            "Input": (),
            "Conv": (2, 3, 2),
            "ConvT": (2, 3, 2),
            "Pool": (2,),
            "Unpool": (2,),
            "KWTA": (4, 3, 1),
        }.get(name, (4, 3)),
    )
    assert params == kept


def test_output_is_exported_with_the_weights_it_has(tmp_path):
    """lava-dl wrote those of the last call before load_state_dict."""
    first, block = (sd.Output(S, 8, 4, weight_scale=k, weight_norm=True) for k in (2, 1))
    block(torch.rand(1, 8, 3))
    block.load_state_dict(first.state_dict())
    slayer.export_hdf5(block, tmp_path / "n.net")
    with h5py.File(tmp_path / "n.net") as f:
        want = first.neuron.quantize_8bit(first.synapse.raw_weight(), descale=True)[:, :, 0, 0, 0]
        np.testing.assert_array_equal(f["layer/0/weight"], want.detach())
    assert block.synapse.weight_norm  # and training can go on


def test_a_resonators_input_is_a_pair_or_complex():
    """lava-dl took the two halves of the batch for real and imag."""
    block = slayer.block.rf.Input(PARAMS["rf"], delay_shift=False)
    real, imag = torch.randn(4, 3, 10), torch.randn(4, 3, 10)
    want = block.neuron(block.quantize(real), block.quantize(imag))
    for x in ((real, imag), [real, imag], torch.complex(real, imag)):
        np.testing.assert_array_equal(block(x).detach(), want.detach())
    with pytest.raises(
        lv.InputError, match=r"rf\.Input: a resonator takes \(real, imag\) or a complex tensor"
    ):
        block(torch.randn(2, 3, 10))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_input_without_a_neuron(family):
    """lava-dl raised at its default delay_shift."""
    x = torch.linspace(-1, 1, 8).reshape(1, 2, 4)
    y = family_of(family).Input()(x)
    np.testing.assert_array_equal(y, (x * 32).round() / 32)
    late = family_of(family).Input(delay_shift=True)
    np.testing.assert_array_equal(late(x)[..., 1:], y[..., :-1])
    a, state = late.stream(x[..., :2])
    np.testing.assert_array_equal(torch.cat([a, late.stream(x[..., 2:], state)[0]], -1), late(x))


def test_a_shifted_complex_state_streams():
    block, shape = make("rf", "Affine", delay_shift=True)
    x = data("rf", "Affine", shape)
    whole = block(x)
    assert len(whole) == 2
    a, state = block.stream(x[..., :5])
    b, _ = block.stream(x[..., 5:], state)
    both_equal(tuple(torch.cat(p, -1) for p in zip(a, b, strict=True)), whole)


def test_flatten_of_flat_messages_and_an_average_of_them():
    x = torch.rand(2, 6, 5)
    np.testing.assert_array_equal(slayer.block.cuba.Flatten()(x), x)
    np.testing.assert_allclose(slayer.block.cuba.Average(2)(x)[:, 1], x[:, 3:].mean(1), rtol=1e-6)
    np.testing.assert_allclose(
        slayer.block.cuba.TimeDecimation(4)(x)[..., 1], x[..., 4:].sum(-1) / 4, rtol=1e-6
    )


def test_gradients_of_persistent_blocks_stay_within_a_call():
    """lava-dl raised under autograd: an in-place write on a view."""
    for name in ("Dense", "Recurrent", "KWTA"):
        block, shape = make("cuba", name, {"persistent_state": True, "requires_grad": True})
        for seed in range(3):
            block(data("cuba", name, shape, seed=seed)).sum().backward()
        assert block.neuron.current_decay.grad.isfinite().all()


def test_relu_is_relu_as_a_module_too(tmp_path):
    block, shape = make("sigma_delta", "Dense", {"activation": torch.nn.ReLU()})
    slayer.export_hdf5(block, tmp_path / "n.net", input_shape=shape)
    assert netx.compare([block], tmp_path / "n.net")


def test_recurrent_state_does_not_leak_from_call_to_call():
    block, shape = make("cuba", "Recurrent")
    x = data("cuba", "Recurrent", shape)
    np.testing.assert_array_equal(block(x).detach(), block(x).detach())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pools_of_any_stride_stay_within_their_channels(k):
    """lava-dl folded channels into height: windows of other strides straddled them."""
    pool = slayer.synapse.Pool(k + 1, stride=k, padding=1)
    x = torch.rand(2, 3, 7, 8, 4)
    want = (
        torch.nn.functional.avg_pool2d(x.movedim(-1, 1).flatten(0, 1), k + 1, k, 1) * (k + 1) ** 2
    )
    np.testing.assert_allclose(pool(x).movedim(-1, 1).flatten(0, 1), want, rtol=1e-5)


def test_a_dense_of_a_shape_takes_spatial_inputs():
    torch.manual_seed(0)
    block = slayer.block.cuba.Dense(PARAMS["cuba"], (4, 6, 2), 5, weight_scale=3)
    x = (torch.rand(2, 2, 4, 6, 9) < 0.4).float()
    y = block(x)
    assert y.shape == (2, 5, 9)
    np.testing.assert_array_equal(y.detach(), block(x.flatten(1, -2)).detach())


def test_a_mask_of_booleans_or_numpy():
    mask = np.array([[True, False, True], [False, False, True]])
    for m in (mask, torch.as_tensor(mask)):
        block = slayer.block.cuba.Dense(PARAMS["cuba"], 3, 2, weight_scale=5, mask=m)
        block(torch.ones(1, 3, 5)).sum().backward()
        assert not block.synapse.weight.grad[..., 0, 0, 0][~torch.as_tensor(mask)].any()


def test_positional_arguments_are_lava_dls():
    """(family, block) -> the names in lava-dl 0.6's order; what is ours comes after them."""
    import inspect

    synapse, kernel = (
        ["weight_scale", "weight_norm", "pre_hook_fx"],
        ["kernel_size", "stride", "padding", "dilation"],
    )
    order = {
        "Input": ["neuron_params", "weight", "bias", "delay_shift", "count_log"],
        "Flatten": ["count_log"],
        "Average": ["num_outputs", "count_log"],
        "TimeDecimation": ["factor", "count_log"],
        "Dense": [
            "neuron_params",
            "in_neurons",
            "out_neurons",
            *synapse,
            "delay",
            "delay_shift",
            "mask",
            "count_log",
        ],
        "Affine": [
            "neuron_params",
            "in_neurons",
            "out_neurons",
            *synapse,
            "dynamics",
            "mask",
            "count_log",
        ],
        "Conv": [
            "neuron_params",
            "in_features",
            "out_features",
            *kernel,
            "groups",
            *synapse,
            "delay",
            "delay_shift",
            "count_log",
        ],
        "ConvT": [
            "neuron_params",
            "in_features",
            "out_features",
            *kernel,
            "groups",
            *synapse,
            "delay",
            "delay_shift",
            "count_log",
        ],
        "Pool": ["neuron_params", *kernel, *synapse, "delay", "delay_shift", "count_log"],
        "Unpool": ["neuron_params", *kernel, *synapse, "delay", "delay_shift", "count_log"],
        "Recurrent": [
            "neuron_params",
            "in_neurons",
            "out_neurons",
            *synapse,
            "requires_grad",
            "delay",
            "delay_shift",
            "count_log",
        ],
        "KWTA": [
            "neuron_params",
            "in_neurons",
            "out_neurons",
            "num_winners",
            "self_excitation",
            *synapse,
            "delay_shift",
            "requires_grad",
            "count_log",
        ],
        "Output": [
            "neuron_params",
            "in_neurons",
            "out_neurons",
            "weight_scale",
            "weight_norm",
            "count_log",
        ],
    }
    for family, name in CASES:
        names = list(inspect.signature(getattr(family_of(family), name)).parameters)
        assert names[: len(order[name])] == order[name], (family, name)
    tail = [
        "tau_grad",
        "scale_grad",
        "scale",
        "norm",
        "dropout",
        "shared_param",
        "persistent_state",
        "requires_grad",
        "graded_spike",
    ]
    leading = {
        "cuba": ["threshold", "current_decay", "voltage_decay"],
        "rf": ["threshold", "period", "decay"],
        "alif": [
            "threshold",
            "threshold_step",
            "current_decay",
            "voltage_decay",
            "threshold_decay",
            "refractory_decay",
        ],
        "adrf": [
            "threshold",
            "threshold_step",
            "period",
            "decay",
            "threshold_decay",
            "refractory_decay",
        ],
    }
    leading |= {"rf_iz": leading["rf"], "adrf_iz": leading["adrf"]}
    for family, names in leading.items():
        got = list(inspect.signature(getattr(slayer.neuron, family).Neuron).parameters)
        assert got[: len(names) + len(tail)] == names + tail, family
    got = list(inspect.signature(slayer.neuron.sigma_delta.Neuron).parameters)
    assert got == ["threshold", "activation", *tail[:3], "cum_error", *tail[3:-1]]


def test_an_untrained_recurrent_synapse_stays():
    block = slayer.block.cuba.Recurrent(PARAMS["cuba"], 4, 3, requires_grad=False)
    block(torch.rand(2, 4, 5)).sum().backward()
    assert block.recurrent_synapse.weight.grad is None
    assert block.input_synapse.weight.grad is not None
    assert not slayer.block.cuba.KWTA(
        PARAMS["cuba"], 4, 3, 1, requires_grad=False
    ).self_excitation.requires_grad


def test_winners_take_all():
    torch.manual_seed(0)
    params = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 1.0}
    block = slayer.block.cuba.KWTA(params, 6, 6, 2, delay_shift=False)
    with torch.no_grad():
        block.input_synapse.weight.copy_(torch.eye(6)[:, :, None, None, None] * 1.5)
    y = block(torch.ones(1, 6, 4))
    assert y[0, :, 0].sum() == 6  # nobody was inhibited yet
    assert y[0, :, 1].sum() == 0  # each was, by the others


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cu.Dense(C, 3, 2)((torch.zeros(1, 3, 4), torch.zeros(()))),
            r"cuba\.Dense: takes one tensor, got tuple \(.*count_log=True",
        ),
        (
            lambda: cu.Input(C)((torch.zeros(1, 3, 4), torch.zeros(1, 3, 4))),
            r"cuba\.Input: takes one tensor",
        ),
        (
            lambda: cu.Dense(C, 3, 2)(torch.zeros(1, 3, 4, dtype=torch.int32)),
            r"cuba\.Dense: input has dtype torch.int32; expected floating",
        ),
        (
            lambda: cu.Conv(C, 3, 2, 3)(torch.zeros(1, 8, 8, 3, 5)),
            r"synapse\.Conv: .*\(1, 8, 8, 3, 5\); expected \(batch, 3, height, width",
        ),
        (
            lambda: cu.Conv(C, 3, 2, 5)(torch.zeros(1, 3, 4, 8, 5)),
            r"an input of \(4, 8\) is smaller than the kernel \(5, 5\)",
        ),
        (
            lambda: cu.Dense(C, 3, 2)(torch.full((1, 3, 4), float("nan"))),
            r"cuba\.Neuron: .*NaN or infinite",
        ),
        (lambda: cu.TimeDecimation(3), r"cuba\.TimeDecimation: factor is a power of two, got 3"),
        (lambda: cu.TimeDecimation(4).stream(torch.zeros(1, 2, 6)), "whole bins of 4 steps, got 6"),
        (lambda: cu.Average(3)(torch.zeros(1, 4, 5)), r"expected \(batch, a multiple of 3, time\)"),
        (lambda: cu.KWTA(C, 4, 3, 4), r"num_winners is in 1\.\.3"),
        (lambda: cu.KWTA(C, 4, 3, 1, 1.5), r"self_excitation is a number in 0\.\.1"),
        (
            lambda: cu.Dense(C, 3, 2, mask=torch.ones(3, 2)),
            r"mask has shape \(3, 2\); expected \(2, 3\)",
        ),
        (lambda: cu.Pool(C, 2, weight_norm=True), "its weight is fixed"),
        (lambda: cu.Conv(C, 3, 2, 3, groups=2), "2 groups do not divide 3 and 2"),
        (lambda: cu.Dense(C, 0, 2), "in_neurons is an integer >= 1"),
        (lambda: rf.Affine(R, 3, 2, delay=True), r"delay is not available for \(real, imag\)"),
    ],
)
def test_wrong_inputs_are_told(call, message):
    with pytest.raises(lv.InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (
            lambda: [cu.Dense({**C, "graded_spike": True}, 4, 3)],
            r"layer/0: cuba\.Dense: graded spikes have no process",
        ),
        (
            lambda: [sd.Dense({**S, "cum_error": True}, 4, 3)],
            r"layer/0: sigma_delta\.Dense: cum_error cannot be exported",
        ),
        (
            lambda: [sd.Dense({**S, "activation": torch.tanh}, 4, 3)],
            "activation 'tanh' has no process; relu has",
        ),
        (
            lambda: [rf.Affine(R, 4, 3, dynamics=False)],
            r"rf\.Affine: complex currents without a neuron",
        ),
        (lambda: [cu.Dense(C, 4, 3, pre_hook_fx=lambda w: w)], "weights are not integers of 1/64"),
        (
            lambda: [cu.Input(None, delay_shift=True), cu.Dense(C, 4, 3)],
            r"cuba\.Input: delay_shift needs a neuron",
        ),
        (lambda: [cu.Dense(C, 4, 4), cu.Average(2), cu.Dense(C, 2, 2)], "layer/2"),
        (
            lambda: [cu.Conv(C, 4, 3, 5)],
            r"cuba\.Conv: input_shape is \(channels, height, width\), got \(4,\)",
        ),
        (lambda: [cu.Conv(C, 2, 3, (1, 2, 2))], "three-dimensional kernels have no process"),
    ],
)
def test_what_no_file_holds_is_refused_by_name(blocks, message, tmp_path):
    with pytest.raises(lv.ExportError, match=message):
        slayer.export_hdf5(
            blocks(), tmp_path / "n.net", input_shape=(2, 2, 4, 4) if "three" in message else (4,)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_norm_that_scales_weights_is_refused_until_its_factor_is_one(tmp_path):
    block = cu.Dense({**C, "norm": WgtScaleBatchNorm}, 4, 3)
    slayer.export_hdf5(block, tmp_path / "n.net")
    assert netx.compare([block], tmp_path / "n.net")
    block.neuron.norm.running_var.fill_(3.0)
    with pytest.raises(
        lv.ExportError,
        match=r"layer/0: cuba\.Dense: WgtScaleBatchNorm scales .* by 0\.5; .*MeanOnlyBatchNorm",
    ):
        slayer.export_hdf5(block, tmp_path / "n.net")


def test_spikes_of_one_family_drive_another(tmp_path):
    torch.manual_seed(0)
    k = {"weight_scale": 4}
    blocks = [
        rf.Dense(R, 6, 8, **k),
        cu.Dense(C, 8, 5, **k),
        slayer.block.alif.Dense(PARAMS["alif"], 5, 3, **k),
    ]
    slayer.export_hdf5(blocks, tmp_path / "n.net")
    report = netx.compare(blocks, tmp_path / "n.net")
    assert report, str(report)
