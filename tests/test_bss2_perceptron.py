"""Perceptron mode: hxtorch's mock arithmetic, the emulated array, layers, errors."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from lavalike import bss2
from lavalike.bss2 import Chip, Noise, analog, converters, facts, normal, perceptron as p
from lavalike.bss2.chip.analog import mock_product, product
from lavalike.bss2.errors import NoChipError, OperandError, RangeError, RecordingError
from lavalike.bss2.perceptron import nn, trace
from lavalike.bss2.tiles import Tile, tiles
from lavalike.errors import InputError, InputTypeError, RunError
from tests.conftest import ROOT
from tests.tolerance import assert_products_close

MODEL = p.MockParameter(noise_std=0.0, gain=0.002)


@pytest.fixture
def recorded(conformance):
    return json.loads(conformance("bss2/neurons_and_mac.json").read_text())


@pytest.fixture(autouse=True)
def _defaults():
    before = p.get_mock_parameter()
    torch.manual_seed(0)
    yield
    p.set_mock_parameter(before)


def formula(x, w, gain, noise_std, num_sends, noise=()):
    """bss2.md 1.3, written out."""
    qw, qx = torch.round(w), torch.round(x)
    res = 0
    for part, (xi, wi) in enumerate(zip(qx.split(128, -1), qw.split(128, 0), strict=True)):
        value = xi @ wi * (float(num_sends) * gain)
        if noise_std > 0:
            value += noise[part] * noise_std
        res = res + value.floor().clamp(-128, 127)
    return res.clamp(-128, 127)


def operands(b, k, n, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(b, k, generator=g) * 31, (torch.rand(k, n, generator=g) - 0.5) * 126


def drawn(**changes):
    """Noise without any spread but ``changes``."""
    none = {f: 0.0 for f in Noise.__dataclass_fields__ if f not in ("floor", "knee")}
    return Noise(**{**none, "knee": None, **changes})


# -- mock arithmetic -------------------------------------------------------------------------------


def test_recorded_products(recorded):
    p.set_mock_parameter(MODEL)
    for case in recorded["mac_mock_gain.002_noise0"]:
        x, w = torch.full((1, case["K"]), case["x"]), torch.full((case["K"], 1), case["w"])
        assert p.matmul(x, w, num_sends=case["num_sends"], mock=True).item() == case["out"], case


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("k", [1, 128, 129, 300])
@pytest.mark.parametrize("n", [3, 256, 257])
def test_mock_is_the_formula_bit_for_bit(k, n, noise):
    """With the noise that was drawn: one number for each output and part of rows."""
    x, w = operands(9, k, n)
    torch.manual_seed(3)
    drawn_ = [normal.draw(9 * n, key).reshape(9, n) for key in normal.keys(-(-k // 128))]
    torch.manual_seed(3)
    assert torch.equal(
        mock_product(x, w, 0.0031, noise, 3), formula(x, w, 0.0031, noise, 3, drawn_)
    )


@pytest.mark.parametrize(("k", "n"), [(1, 3), (128, 256), (129, 257), (300, 300)])
def test_levels_without_spreads_equal_mock(k, n):
    """With the same seed also the noise is the same."""
    x, w = operands(9, k, n)
    for noise, level, std in (
        (Noise.none(), "emulated", 0.0),
        (Noise(), "quantised", 0.0),
        (drawn(trial=2.0), "emulated", 2.0),
    ):
        p.set_mock_parameter(p.MockParameter(std, 0.0031))
        torch.manual_seed(3)
        want = p.matmul(x, w, num_sends=2, mock=True)
        torch.manual_seed(3)
        with bss2.use(Chip(level=level, noise=noise, gain=0.0031)):
            assert torch.equal(p.matmul(x, w, num_sends=2), want)


@given(
    k=st.integers(1, 300), n=st.integers(1, 300), sends=st.integers(1, 4), seed=st.integers(0, 99)
)
@settings(max_examples=25, deadline=None)
def test_tile_formula_at_zero_noise(k, n, sends, seed):
    """The product of any size equals the tiles', each saturated on its own, added, saturated
    once."""
    x, w = operands(3, k, n, seed)
    total = torch.zeros(3, n)
    for t in tiles(k, n):
        rows, columns = slice(t.rows.start, t.rows.stop), slice(t.columns.start, t.columns.stop)
        charge = x[:, rows].round() @ w[rows, columns].round()
        total[:, columns] += (charge * (float(sends) * 0.002)).floor().clamp(-128, 127)
    assert torch.equal(product(x, w, Chip(noise=Noise.none()), sends), total.clamp(-128, 127))


def test_half_to_even():
    x = torch.tensor([[0.5, 1.5, 2.5, 30.5, 31.49]])
    p.set_mock_parameter(p.MockParameter(0.0, 1.0))
    assert [p.mac(row, torch.ones(1, 1), mock=True).item() for row in x.t()] == [0, 2, 2, 30, 31]


@pytest.mark.parametrize("name", ["relu", "converting_relu_shift1"])
def test_recorded_digital_operations(recorded, name):
    x = torch.tensor(recorded[name]["x"])
    out = (
        p.relu(x, mock=True) if name == "relu" else p.converting_relu(x, shift=1)
    )  # no chip: the same
    assert out.tolist() == recorded[name]["out"]


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_converting_relu_is_two_roundings(values, shift):
    x = torch.tensor(values)
    two = torch.floor(torch.floor(x).clamp(0, 127) / 2**shift).clamp(0, 31)
    assert torch.equal(p.converting_relu(x, shift), two)


def test_add_and_argmax():
    a, b = torch.tensor([[-130.0, 1.7, 100.0], [0.0, -0.5, 127.9]]), torch.tensor([5.9, 1.2, 60.0])
    assert p.add(a, b).tolist() == [[-123.0, 2.0, 127.0], [5.0, 0.0, 127.0]]
    assert p.argmax(torch.tensor([[1.2, 1.9, 300.0, 127.0]]), dim=1, keepdim=True).tolist() == [[2]]
    assert p.argmax(torch.tensor([1, 3, 2])).dtype == torch.int64
    for ties in (
        [127.0, 300.0],
        [300.0, 127.0],
        [-128.0, -129.0],
        [-300.0, -128.0],
        [5.1, 5.9],
    ):  # limited and rounded down, they are
        assert p.argmax(torch.tensor(ties)).item() == 0


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["mock", "ideal", "quantised", "emulated"])
def test_gradient_is_the_linear_model(where):
    """Of un-rounded operands, not masked at saturation, with the gain in force at forward."""
    x, w = (v.requires_grad_() for v in operands(5, 140, 7))
    p.set_mock_parameter(p.MockParameter(2.0, 0.003))
    with bss2.use(Chip(level=where if where != "mock" else "emulated", gain=0.004)):
        out = p.matmul(x, w, num_sends=30, mock=where == "mock")
    p.set_mock_parameter(p.MockParameter(2.0, 0.9))
    assert where == "ideal" or out.abs().max() >= 127
    g = torch.randn(out.shape)
    dx, dw = torch.autograd.grad(out, (x, w), g)
    assert_products_close(dx, g @ w.detach().t() * 0.003 * 30, g, w.t(), 0.003 * 30)
    assert_products_close(dw, x.detach().t() @ g * 0.003 * 30, x.t(), g, 0.003 * 30)


def test_product_uses_the_chips_gain_for_gradients():
    x, w = (v.requires_grad_() for v in operands(5, 10, 7))
    out = product(x, w, Chip(gain=0.004), num_sends=2)
    ones = torch.ones(5, 7)
    assert_products_close(
        torch.autograd.grad(out.sum(), x)[0],
        w.detach().sum(1).expand(5, -1) * 0.008,
        ones,
        w.t(),
        0.008,
    )


def test_gradients_of_digital_operations():
    x = torch.tensor([-3.0, 0.0, 0.4, 5.0, 200.0], requires_grad=True)
    assert torch.autograd.grad(p.relu(x).sum(), x)[0].tolist() == [0, 0, 1, 1, 1]
    assert torch.autograd.grad(p.converting_relu(x, 2).sum(), x)[0].tolist() == [
        0,
        0,
        0.25,
        0.25,
        0.25,
    ]
    a, b = torch.zeros(4, 3, requires_grad=True), torch.full((3,), 500.0, requires_grad=True)
    ga, gb = torch.autograd.grad(p.add(a, b).sum(), (a, b))
    assert ga.tolist() == [[1.0] * 3] * 4
    assert gb.tolist() == [4.0] * 3


@pytest.mark.parametrize("level", ["mock", "quantised", "emulated"])
def test_convolution_gradients_follow_the_mock_parameters_gain(level):
    """On a chip of another gain as well: what it was told, as products do."""
    p.set_mock_parameter(p.MockParameter(0.0, 0.003))
    x, w = torch.rand(2, 3, 6, 5).requires_grad_(), torch.rand(4, 3, 2, 2).requires_grad_()
    with bss2.use(Chip(level="emulated" if level == "mock" else level, gain=0.004)):
        out = p.conv2d(x, w, num_sends=2, mock=level == "mock")
    for ours, want in zip(
        torch.autograd.grad(out.sum(), (x, w)),
        torch.autograd.grad(functional.conv2d(x, w).sum(), (x, w)),
        strict=True,
    ):
        torch.testing.assert_close(ours, want * 0.003 * 2)


# -- the emulated chip -----------------------------------------------------------------------------


def test_emulated_product_is_the_documented_sum():
    """Fixed pattern by tile: row gains, column gains and offsets of the hemisphere, the late pulse,
    the bent negative side."""
    chip = Chip(seed=5, noise=Noise(trial=0.0, pulse_offset=0.4), gain=0.003)
    x, w = operands(11, 300, 300)
    x[:, ::7] = 0
    total = np.zeros((11, 300))
    for t in tiles(300, 300):
        xt = np.round(x.numpy()[:, t.rows.start : t.rows.stop]).astype(float)
        wt = np.round(
            w.numpy()[t.rows.start : t.rows.stop, t.columns.start : t.columns.stop]
        ).astype(float)
        columns, n = chip.columns(t.hemisphere), len(t.columns)
        charge = (xt + 0.4 * (xt > 0)) @ (wt * chip.rows(t.hemisphere)[: len(t.rows), None])
        v = charge * (0.003 * 2) * columns.gain[:n] + columns.offset[:n]
        span = -80.0 - columns.floor[:n]
        v = np.where(v < -80, -80 - span * (1 - np.exp(np.minimum(80 + v, 0) / span)), v)
        total[:, t.columns.start : t.columns.stop] += np.clip(np.floor(v), -128, 127)
    got = product(x, w, chip, 2).numpy()
    different = got != np.clip(total, -128, 127)
    assert np.abs(got - np.clip(total, -128, 127)).max() <= 1  # float32 and a floor
    assert different.mean() < 0.002


def test_negative_side_bends_to_the_columns_floor():
    chip = Chip(noise=Noise(trial=0.0, column_gain=0.0, column_offset=0.0, row_gain=0.0), gain=1.0)
    w = torch.full((1, 256), -1.0)
    out = torch.cat(
        [product(torch.tensor([[float(v)]]), w, chip, sends) for sends in (1, 5, 40) for v in (31,)]
    )
    assert (out[0] == -31).all()
    assert (out[1] < -80).all()
    assert (out[1] > -128).all()
    assert torch.equal(out[2], torch.tensor(chip.columns(0).floor).floor())
    below = product(torch.tensor([[8.0]]), w, chip, 10)
    assert (below == -80).all()


@pytest.mark.parametrize("mode", ["plain", "pattern", "bent"])
def test_compiled_and_torch_passes_agree(mode):
    """What other devices compute."""
    chip = Chip(
        seed=2, noise=Noise(knee=None) if mode == "pattern" else Noise(pulse_offset=0.3), gain=0.003
    )
    g = torch.Generator().manual_seed(1)
    read = analog._pattern(chip if mode != "plain" else Chip(level="quantised"), 300, 21).parts[0][
        1
    ]
    charge, total = (torch.randn(13, 21, generator=g) * s for s in (60.0, 40.0))
    noise = normal.draw(13 * 21, 5).reshape(13, 21)
    read = converters.Readout(read.factor, read.offset, 2.0, read.knee, read.span, read.rate)
    for total_, last in ((None, True), (total.round(), False), (total.round(), True)):
        here = converters.digitise(
            charge.clone(), read, 5, None if total_ is None else total_.clone(), last
        )
        there = converters._digitise_torch(
            charge.clone(), noise, read, None if total_ is None else total_.clone(), last
        )
        assert torch.equal(here, there)
        # a convolution's values lie column by column
        apart = [None if v is None else v.t().unsqueeze(0).contiguous() for v in (charge, total_)]
        noise_apart = normal.draw(13 * 21, 5).reshape(1, 21, 13)
        here = converters.digitise(
            apart[0].clone(), read, 5, None if total_ is None else apart[1].clone(), last
        )
        assert torch.equal(
            here, converters._digitise_torch(apart[0], noise_apart, read, apart[1], last)
        )


def test_noise_follows_manual_seed():
    x, w = operands(9, 200, 3)
    for f in (lambda: mock_product(x, w, 0.002, 2.0), lambda: product(x, w, Chip())):
        torch.manual_seed(1)
        a, b = f(), f()
        torch.manual_seed(1)
        assert torch.equal(f(), a)
        assert not torch.equal(a, b)


def test_same_chip_same_pattern_in_another_process():
    code = (
        "from lavalike.bss2 import Chip; c = Chip(7);"
        "print(*[v.sum().item() for v in (c.columns(1).gain, c.columns(0).offset, c.rows(1), c.columns(1).floor)])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    c = Chip(7)
    here = [c.columns(1).gain, c.columns(0).offset, c.rows(1), c.columns(1).floor]
    assert other.stdout.split() == [str(v.sum().item()) for v in here]


def test_other_chips_differ():
    def gains(seed):
        return product(
            torch.full((1, 128), 15.0),
            torch.full((128, 256), 21.0),
            Chip(seed, noise=Noise(trial=0.0)),
        )[0].numpy()

    assert abs(np.corrcoef(gains(1), gains(2))[0, 1]) < 0.2


def test_batch_order_and_neighbours_do_not_matter():
    chip, (x, w) = Chip(3, noise=Noise(trial=0.0)), operands(40, 200, 30)
    order = torch.randperm(40)
    assert torch.equal(product(x[order], w, chip), product(x, w, chip)[order])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        big = product(x.repeat(400, 1), w, chip)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(big[-40:], product(x, w, chip))


def test_repetitions_show_trial_noise_and_pattern():
    """Per column the temporal deviation is that of the trial noise and of rounding; columns differ
    by the pattern."""
    chip = Chip(11, noise=drawn(trial=2.0, column_gain=0.05, column_offset=2.0))
    out = product(torch.full((200, 128), 15.0), torch.full((128, 256), 15.0), chip)
    assert out.std(0).mean().item() == pytest.approx(math.sqrt(4 + 1 / 12), rel=0.05)
    columns = chip.columns(0)
    expected = 15 * 15 * 128 * 0.002 * columns.gain + columns.offset - 0.5
    assert np.abs(out.mean(0).numpy() - expected).max() < 0.7


def test_sends_multiply_the_signal_only():
    chip = Chip(noise=drawn(trial=2.0))
    x, w = torch.full((4000, 100), 10.0), torch.full((100, 8), 5.0)
    one, four = (product(x, w, chip, n) for n in (1, 4))
    assert four.mean().item() + 0.5 == pytest.approx(4 * (one.mean().item() + 0.5), abs=0.2)
    assert four.std(0).mean().item() == pytest.approx(one.std(0).mean().item(), rel=0.05)


def test_averaging_columns_averages_noise():
    layer = nn.Linear(100, 8, bias=False, num_sends=1, avg=5)
    torch.nn.init.constant_(layer.weight, 5.0)
    with bss2.use(Chip(noise=drawn(trial=2.0))), torch.no_grad():
        deviation = layer(torch.full((4000, 100), 10.0)).std(0).mean().item()
    assert deviation == pytest.approx(math.sqrt((4 + 1 / 12) / 5), rel=0.05)


@pytest.mark.parametrize("gain", [0.0012, 0.002, 0.0034, 0.02])
def test_measured_parameters(gain):
    with bss2.use(Chip(6, noise=Noise(trial=1.5), gain=gain)):
        found = p.measure_mock_parameter()
    assert found.gain == pytest.approx(gain, rel=0.05)
    assert found.noise_std == pytest.approx(1.5, rel=0.1)


def test_the_chip_is_measured_whatever_the_mode():
    for mode in (True, False, None):
        with bss2.use(Chip(6, noise=Noise(trial=0.0))), p.mock_mode(mode):
            assert p.measure_mock_parameter().noise_std == 0


def test_several_chips_have_patterns_of_their_own():
    """Tiles on another chip meet that chip's columns; the result is that chip's."""
    chip = Chip(1, noise=Noise(trial=0.0))
    x, w = operands(4, 128, 20)
    there = [Tile("", 0, 1, 0, range(128), range(20))]
    assert torch.equal(product(x, w, chip, tiles=there), product(x, w, chip.neighbour(1)))


def test_ideal_is_floating_point():
    x, w = torch.randn(4, 300) * 99, torch.randn(300, 5) * 99
    out = product(x, w, Chip(level="ideal"))
    assert_products_close(out, x @ w * 0.002, x, w, 0.002)
    assert out.unique().numel() == 20


def test_digital_operations_are_floating_point_at_ideal():
    """And only there: mock_mode and the other levels round and limit."""
    x, y = (
        torch.tensor([[-300.5, 0.25, 4.75, 300.5]], requires_grad=True),
        torch.tensor([0.25, 0.5, -100.0, 300.0]),
    )
    operations = (
        (lambda: p.add(x, y), x + y),
        (lambda: p.relu(x), x.relu()),
        (lambda: p.converting_relu(x, 3), x.relu() / 8),
    )
    for op, want in operations:
        with bss2.use(Chip(level="ideal")):
            got = op()
            with p.mock_mode(True):
                mock = op()
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), x), torch.autograd.grad(want.sum(), x)
        )
        for other in (Chip(level="quantised"), Chip()):
            with bss2.use(other):
                assert torch.equal(op(), mock)
        assert torch.equal(mock, mock.floor())
        assert not torch.equal(mock, got)
    with bss2.use(Chip(level="ideal")):
        assert p.argmax(torch.tensor([127.0, 300.0])).item() == 1


def test_layers_at_ideal_are_torchs():
    layer, x = nn.Linear(140, 6, num_sends=20, avg=2), torch.randn(5, 140) * 99
    with bss2.use(Chip(level="ideal")):
        torch.testing.assert_close(
            layer(x),
            functional.linear(x, layer.weight) * 0.002 * 20 + layer.bias,
            rtol=1e-4,
            atol=0.02,
        )


# -- whatever torch is set to ----------------------------------------------------------------------


def everything(level, x, w, image, kernel):
    """Results and gradients of the operations."""
    torch.manual_seed(1)
    mock, out = level == "mock", []
    with bss2.use(Chip(2, level="emulated" if mock else level)):
        for f, given in ((p.matmul, (x, w)), (p.conv2d, (image, kernel))):
            given = [v.clone().requires_grad_() for v in given]
            y = f(*given, num_sends=2, mock=mock)
            out += [
                y,
                *torch.autograd.grad(y.sum(), given),
                p.relu(y, mock),
                p.converting_relu(y, 1, mock),
                p.add(y, y, mock=mock),
            ]
    return out


@pytest.mark.parametrize("level", ["mock", "ideal", "quantised", "emulated"])
def test_autocast_and_the_default_dtype_change_nothing(level):
    given = (
        *operands(60, 140, 50),
        torch.rand(2, 3, 40, 40) * 31,
        (torch.rand(4, 3, 3, 3) - 0.5) * 126,
    )
    want = everything(level, *given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = everything(level, *given)
    try:
        torch.set_default_dtype(torch.float64)
        double = everything(level, *given)
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b, c in zip(want, cast, double, strict=True):
        assert a.dtype == b.dtype == c.dtype == torch.float32
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_measuring_and_biases_are_float32_whatever_the_default():
    with bss2.use(Chip(6)):
        torch.manual_seed(1)
        want = p.measure_mock_parameter()
        try:
            torch.set_default_dtype(torch.float64)
            torch.manual_seed(1)
            assert p.measure_mock_parameter() == want
            assert normal.draw(5, 1).dtype == torch.float32
            layers = [
                nn.Linear(4, 3),
                nn.Conv1d(1, 3, 2),
                nn.ExpandedConv1d(1, 3, 2),
                nn.Conv2d(1, 3, 2),
            ]
            assert {layer.weight.dtype for layer in layers} == {torch.float64}
            out = [
                layer(torch.ones(1, 1, *(4,) * max(1, layer.weight.dim() - 2))) for layer in layers
            ]
        finally:
            torch.set_default_dtype(torch.float32)
    assert {y.dtype for y in out} == {torch.float32}


def test_reading_takes_float32_only():
    for charge in (torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(3, 2).t()):
        with pytest.raises(OperandError, match="contiguous float32 tensors are expected"):
            converters.digitise(charge, converters.Readout(1.0))


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12,), (5, 12), (2, 3, 12), (2, 1, 3, 12)])
def test_matmul_folds_and_unfolds(shape):
    p.set_mock_parameter(MODEL)
    x, w = torch.randint(0, 32, shape).float(), torch.randint(-63, 64, (12, 7)).float()
    out = p.matmul(x, w, num_sends=5, mock=True)
    assert out.shape == (*shape[:-1], 7)
    assert out.is_contiguous()
    assert torch.equal(out.reshape(-1, 7), formula(x.reshape(-1, 12), w, 0.002, 0, 5))
    assert torch.equal(p.matmul(x, w[:, 0], num_sends=5, mock=True), out[..., 0])


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_convolutions_equal_torchs_at_ideal(stride):
    x, w, b = torch.randn(3, 4, 13, 11), torch.randn(6, 4, 3, 5), torch.randn(6)
    with bss2.use(Chip(level="ideal")):
        torch.testing.assert_close(
            p.conv2d(x, w, b, stride, num_sends=500),
            functional.conv2d(x, w, b, stride),
            rtol=1e-4,
            atol=1e-4,
        )
        one = stride if isinstance(stride, int) else stride[1]
        want = functional.conv1d(x[:, :, 0], w[:, :, 0], b, one)
        torch.testing.assert_close(
            p.conv1d(x[:, :, 0], w[:, :, 0], b, [one], num_sends=500), want, rtol=1e-4, atol=1e-4
        )
        for times in (1, 2, 5):
            expanded = p.expanded_conv1d(x[:, :, 0], w[:, :, 0], b, one, times, num_sends=500)
            torch.testing.assert_close(expanded, want, rtol=1e-4, atol=1e-4)


def test_expanded_convolution_uses_other_columns():
    """On an emulated chip each copy of the kernel has columns of its own; without spreads nothing
    changes."""
    x, w = torch.full((1, 1, 20), 20.0), torch.full((2, 1, 8), 60.0)
    for noise, same in ((Noise.none(), True), (Noise(trial=0.0), False)):
        with bss2.use(Chip(noise=noise)):
            plain, expanded = (
                p.conv1d(x, w, num_sends=2),
                p.expanded_conv1d(x, w, num_expansions=4, num_sends=2),
            )
        assert plain.shape == expanded.shape
        assert torch.equal(plain, expanded) is same


@pytest.mark.parametrize("channels", [1, 3, 40])
def test_convolution_is_the_product_of_what_each_output_sees(channels):
    """Also where the kernel is cut by 128 rows, and with a chip's fixed pattern."""
    x, w = torch.rand(2, channels, 9, 8) * 31, (torch.rand(5, channels, 3, 2) - 0.5) * 126
    seen = functional.unfold(x, (3, 2), stride=(2, 1)).transpose(1, 2).reshape(-1, channels * 6)
    for chip in (None, Chip(noise=Noise.none()), Chip(3, noise=Noise(trial=0.0, pulse_offset=0.3))):
        p.set_mock_parameter(MODEL)
        with bss2.use(chip or Chip()):
            out = p.conv2d(x, w, stride=(2, 1), num_sends=3, mock=chip is None)
            want = p.matmul(seen, w.flatten(1).t(), num_sends=3, mock=chip is None)
        want = want.reshape(2, 28, 5).transpose(1, 2).reshape(out.shape)
        assert out.is_contiguous()
        assert (out - want).abs().max() <= (
            1 if chip is not None and chip.noise.column_gain else 0
        )  # sums in another order, then a floor
        assert (out != want).float().mean() < 0.01


def test_convolution_gradients():
    x, w, b = torch.rand(2, 3, 9, 8) * 31, torch.rand(4, 3, 2, 3) * 20, torch.zeros(4)
    given = [v.requires_grad_() for v in (x, w, b)]
    g = torch.randn(2, 4, 4, 6)
    ours = torch.autograd.grad(p.conv2d(*given, stride=(2, 1), mock=True), given, g)
    want = torch.autograd.grad(functional.conv2d(*given, stride=(2, 1)), given, g)
    for a, b, scale in zip(ours, want, (0.002, 0.002, 1.0), strict=True):
        torch.testing.assert_close(a, b * scale)


# -- layers ----------------------------------------------------------------------------------------


def test_recorded_number_of_sends(recorded):
    for case in recorded["num_sends"]:
        p.set_mock_parameter(p.MockParameter(gain=case["gain"]))
        assert nn.Linear(case["fan_in"], 5).num_sends == case["num_sends"], case


def test_notebooks_number_of_sends():
    p.set_mock_parameter(p.MockParameter(gain=0.0034))
    assert [nn.Linear(4, 128).num_sends, nn.Linear(128, 3).num_sends] == [20, 4]


def test_initial_weights():
    def drawn_with(std):
        """What weights drawn with ``std`` and cut at 63 deviate by; of 51,200 of them within five
        of its own standard deviations."""
        b = 63 / std
        inside = math.erf(b / math.sqrt(2))
        cut = std * math.sqrt(1 - 2 * b * math.exp(-b * b / 2) / math.sqrt(2 * math.pi) / inside)
        return pytest.approx(cut, rel=5 / math.sqrt(2 * 128 * 400))

    p.set_mock_parameter(p.MockParameter(gain=0.002))
    layer = nn.Linear(128, 400)
    std = 2 * math.sqrt(2) / 0.002 / math.sqrt(128) / layer.num_sends
    assert layer.weight.abs().max() <= 63
    assert layer.weight.std().item() == drawn_with(std)
    bound = std * layer.num_sends / (31 / math.sqrt(3))
    assert 0.95 * bound < layer.bias.abs().max().item() <= bound
    layer.reset_parameters(weight_mean=20.0)
    assert layer.weight.mean().item() > 10
    for shift in (0, 1, 2, 3):
        layer.num_sends = None
        layer.reset_parameters(relu_shift=shift)
        wanted = 2**shift * math.sqrt(2) / 0.002 / math.sqrt(128)
        assert layer.num_sends == math.ceil(wanted / 21)
        assert layer.weight.std().item() == drawn_with(wanted / layer.num_sends)
        assert layer.bias.abs().max().item() == pytest.approx(
            wanted / (31 / math.sqrt(3)), rel=0.05
        )


def test_reprs():
    assert (
        repr(nn.Linear(4, 128, num_sends=20, mock=True))
        == "Linear(in_features=4, out_features=128, num_sends=20, mock=True)"
    )
    assert (
        repr(nn.Linear(3, 2, bias=False, num_sends=1, avg=5))
        == "Linear(in_features=3, out_features=2, bias=None, num_sends=1, avg=5)"
    )
    assert repr(nn.ConvertingReLU(shift=1)) == "ConvertingReLU(shift=1)"
    assert repr(nn.ConvertingReLU()) == "ConvertingReLU()"
    assert repr(nn.ReLU(mock=True)) == "ReLU(mock=True)"
    assert (
        repr(nn.Conv2d(1, 4, 3, num_sends=2))
        == "Conv2d(in_channels=1, out_channels=4, kernel_size=(3, 3), num_sends=2)"
    )
    assert repr(nn.Conv1d(1, 4, 3, 2, num_sends=2, input_transform=nn.scale_input)) == (
        "Conv1d(in_channels=1, out_channels=4, kernel_size=(3,), stride=(2,), num_sends=2, input_transform=scale_input)"
    )
    assert "num_expansions=42" in repr(nn.ExpandedConv1d(1, 6, 3, 3))
    for layer in (
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Conv1d(2, 3, 2, 2, padding_mode="circular"),
        nn.Linear(4, 2, bias=False, avg=3),
    ):
        assert repr(pickle.loads(pickle.dumps(layer))) == repr(layer)


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride"),
    [(1, 2, 8, 1), (1, 6, 3, 3), (3, 4, 5, 2), (4, 2, 40, 1), (128, 2, 1, 1), (1, 300, 3, 1)],
)
def test_expansions_fill_one_tile_and_no_more(channels, outputs, kernel, stride):
    times = nn.ExpandedConv1d(channels, outputs, kernel, stride).num_expansions
    rows, columns = channels * (kernel + (times - 1) * stride), times * outputs
    assert times == 1 or (rows <= 128 and columns <= 256)
    assert rows + channels * stride > 128 or columns + outputs > 256
    p.set_mock_parameter(MODEL)
    layers = [
        kind(channels, outputs, kernel, stride, num_sends=3, mock=True)
        for kind in (nn.ExpandedConv1d, nn.Conv1d)
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randint(0, 32, (2, channels, 150)).float()
    if rows <= 128:
        assert torch.equal(layers[0](x), layers[1](x))


def test_expanded_kernels_lie_in_hxtorchs_columns():
    """Copy i of kernel o in column o * num_expansions + i."""
    chip = Chip(noise=Noise(trial=0.0, row_gain=0.0, knee=None), gain=1.0)
    with bss2.use(chip):
        out = p.expanded_conv1d(
            torch.full((1, 1, 6), 10.0), torch.full((2, 1, 1), 6.0), num_expansions=3
        )
    columns = chip.columns(0)
    values = np.floor(60 * columns.gain[:6] + columns.offset[:6]).reshape(2, 3)
    assert out[0].tolist() == np.tile(values, 2).tolist()


def test_linear_is_its_recipe():
    p.set_mock_parameter(MODEL)
    layer = nn.Linear(140, 6, num_sends=7, mock=True, avg=3)
    x = torch.randint(0, 32, (2, 5, 140)).float()
    out = p.matmul(x, layer.weight.t().repeat_interleave(3, -1), num_sends=7, mock=True)
    pooled = functional.avg_pool1d(out.flatten(0, 1).unsqueeze(0), 3).reshape(2, 5, 6)
    assert torch.equal(layer(x), p.add(pooled, layer.bias, mock=True))
    assert torch.equal(layer(x[0, 0]), layer(x)[0, 0])


def test_convolution_layer_is_its_recipe():
    p.set_mock_parameter(MODEL)
    for layer, plain, pad in (
        (nn.Conv2d(2, 3, 3, 2, 1, num_sends=2, mock=True), p.conv2d, (1, 1, 1, 1)),
        (
            nn.Conv1d(2, 3, 4, 2, 2, num_sends=2, mock=True, padding_mode="circular"),
            p.conv1d,
            (2, 2),
        ),
        (nn.ExpandedConv1d(1, 3, 4, 2, 2, num_sends=2, mock=True), p.conv1d, (2, 2)),
    ):
        x = torch.randint(0, 32, (5, layer.in_channels, *(9,) * (layer.weight.dim() - 2))).float()
        padded = functional.pad(
            x, pad, mode="circular" if layer.padding_mode == "circular" else "constant"
        )
        torch.testing.assert_close(
            layer(x), plain(padded, layer.weight, layer.bias, 2, 2, mock=True)
        )


def test_transforms():
    x, w = torch.tensor([0.5, 2.0]), torch.tensor([[1.0, -4.0]])
    assert nn.scale_input(x).tolist() == [7.75, 31.0]
    assert nn.scale_weight(w).tolist() == [[15.75, -63.0]]
    assert nn.scale_weight(torch.zeros(2)).tolist() == [0, 0]
    layer = nn.Linear(2, 1, bias=False, num_sends=1, mock=True, input_transform=nn.scale_input)
    layer.weight.data = torch.tensor([[500.0, -70.0]])
    p.set_mock_parameter(MODEL)
    layer(torch.rand(3, 2))
    assert layer.weight.tolist() == [[63.0, -63.0]]  # for good
    layer.weight_transform = None
    layer.weight.data = torch.tensor([[64.0, 0.0]])
    with pytest.raises(
        RangeError,
        match=r"Linear\(2, 1\): weights must round to -63..63 .* got 64 in one of 1 of 2 outside; clip",
    ):
        layer(torch.rand(3, 2))


def test_transforms_may_be_modules():
    """They move with the layer, and their parameters learn."""

    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.by = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            return x * self.by

    for kind, sizes, x in (
        (nn.Linear, (4, 2), torch.ones(1, 4)),
        (nn.Conv1d, (1, 2, 2), torch.ones(1, 1, 4)),
        (nn.Conv2d, (1, 2, 2), torch.ones(1, 1, 4, 4)),
        (nn.ExpandedConv1d, (1, 2, 2), torch.ones(1, 1, 4)),
    ):
        layer = kind(
            *sizes, mock=True, input_transform=Scale(), weight_transform=torch.nn.Hardtanh(-63, 63)
        )
        assert "input_transform.by" in layer.state_dict()
        layer(x).sum().backward()
        assert layer.input_transform.by.grad is not None


def test_state_moves_between_mock_chip_and_torch():
    a, b, c = nn.Linear(5, 4, mock=True), nn.Linear(5, 4), torch.nn.Linear(5, 4)
    b.load_state_dict(a.state_dict())
    c.load_state_dict(b.state_dict())
    assert torch.equal(a.weight, c.weight)


def test_mock_for_a_whole_run():
    p.set_mock_parameter(MODEL)
    x, layers = (
        torch.randint(0, 32, (2, 4)).float(),
        [nn.Linear(4, 3, bias=False, num_sends=9, mock=m) for m in (True, False)],
    )
    layers[1].load_state_dict(layers[0].state_dict())
    with p.mock_mode(True):
        assert torch.equal(layers[1](x), layers[0](x))
    with bss2.use(Chip(level="ideal")), p.mock_mode(False):
        assert torch.equal(layers[1](x), layers[0](x))
        with p.mock_mode(None):
            assert torch.equal(layers[1](x).floor(), layers[0](x))
            assert not torch.equal(layers[1](x), layers[0](x))


def test_training_in_the_loop_learns_the_chip():
    """The forward pass has the chip's offsets; the gradient of the model moves the bias against
    them."""
    chip = Chip(4, noise=drawn(column_offset=12.0))
    layer = nn.Linear(8, 16, num_sends=4)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), 0.5)
    with bss2.use(chip):
        for _ in range(60):
            loss = layer(torch.full((1, 8), 9.0)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.item() < 4


# -- state, records, traces ------------------------------------------------------------------------


def test_mock_parameter():
    assert p.get_mock_parameter() == p.MockParameter(2.0, 0.002) == p.MockParameter()
    assert repr(p.MockParameter()) == "MockParameter(noise_std=2.0, gain=0.002)"
    own = p.MockParameter(gain=0.0043)
    p.set_mock_parameter(own)
    own.gain = 0.5
    assert p.get_mock_parameter().gain == 0.0043
    for wrong in (2000, 0, -1.0, float("nan")):
        with pytest.raises(
            OverflowError,
            match=r"^set_mock_parameter: gain must be above 0 and at most 1 LSB, got .*; measure_mock_parameter",
        ):
            p.set_mock_parameter(p.MockParameter(gain=wrong))
        own.gain = wrong  # set since
        with pytest.raises(OverflowError, match=r"^set_mock_parameter: gain must be above 0"):
            p.set_mock_parameter(own)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(RangeError, match="set_mock_parameter: noise_std must be at least 0"):
            p.set_mock_parameter(p.MockParameter(noise_std=wrong))
    for wrong in ({"gain": "a"}, {"noise_std": None}, {"gain": True}):
        with pytest.raises(
            InputTypeError,
            match=r"MockParameter: a MockParameter\(noise_std, gain\) of two numbers is expected, got",
        ):
            p.MockParameter(**wrong)
    for wrong in (None, 0.002):
        with pytest.raises(
            InputTypeError,
            match=r"set_mock_parameter: a MockParameter\(noise_std, gain\) of two numbers is expected, got",
        ):
            p.set_mock_parameter(wrong)


def test_another_thread_has_the_defaults():
    p.set_mock_parameter(p.MockParameter(gain=0.5))
    seen = []
    thread = threading.Thread(target=lambda: seen.append(p.get_mock_parameter()))
    thread.start()
    thread.join()
    assert seen == [p.MockParameter()]


def test_observe():
    p.set_mock_parameter(MODEL)
    model = torch.nn.Sequential(
        nn.Linear(200, 6, num_sends=3, mock=True),
        nn.ConvertingReLU(),
        nn.Linear(6, 2, num_sends=1, mock=True),
    )
    model[0].weight.data.fill_(80.0)
    x = torch.zeros(10, 200)
    x[:, :130] = 31
    with p.observe(model) as seen:
        model(x)
        p.matmul(torch.ones(2, 3), torch.ones(3, 4), mock=True)
    model(x)
    assert [(o.layer, o.inputs, o.outputs, o.rows) for o in seen] == [
        ("0", 200, 6, 10),
        ("2", 6, 2, 10),
        ("matmul", 3, 4, 2),
    ]
    assert (
        seen[0].clipped,
        seen[0].saturated,
        seen[0].nonzero,
        seen[0].num_sends,
        seen[0].wait,
    ) == (1200, 1.0, (128.0, 2.0), 3, 5)
    assert seen[2].saturated == 0


def test_observe_counts_convolutions():
    """Rows are the places the kernel is put at, events what it sees there."""
    p.set_mock_parameter(MODEL)
    model = torch.nn.Sequential(
        nn.Conv2d(2, 3, (2, 3), 2, num_sends=2, mock=True),
        nn.ConvertingReLU(),
        torch.nn.Flatten(2),
        nn.Conv1d(3, 4, 5, num_sends=1, mock=True),
    )
    model[0].weight.data.fill_(70.0)
    x = torch.zeros(5, 2, 6, 7)
    x[:, 0] = 31
    with p.observe(model) as seen:
        model(x)
    found = [(o.layer, o.inputs, o.outputs, o.rows, o.num_sends, o.wait) for o in seen]
    assert found == [("0", 12, 3, 5 * 9, 2, 5), ("3", 15, 4, 5 * 5, 1, 5)]
    assert (seen[0].clipped, seen[0].nonzero, seen[0].saturated) == (36, (6.0,), 0.0)
    assert seen[1].nonzero == (15.0,)
    assert torch.equal(
        model[:1](x),
        torch.full((5, 3, 3, 3), math.floor(6 * 31 * 63 * 0.004)) + model[0].bias.reshape(-1, 1, 1),
    )


def test_inference_trace(tmp_path):
    p.set_mock_parameter(MODEL)
    x = torch.randint(0, 32, (4, 12)).float()
    model = torch.nn.Sequential(
        nn.Linear(12, 8, mock=True), nn.ConvertingReLU(mock=True), nn.Linear(8, 3, mock=True)
    )
    tracer = p.InferenceTracer(str(tmp_path / "trace"))
    tracer.start()
    with pytest.raises(RunError, match="this tracer is recording already"):
        tracer.start()
    want = p.argmax(model(x), dim=np.int64(1), keepdim=True, mock=True)
    assert tracer.stop() == ["mac", "add", "converting_relu", "mac", "add", "argmax"]
    assert torch.equal(p.inference_trace(x, str(tmp_path / "trace")), want)
    with pytest.raises(RunError, match="start"):
        tracer.stop()


@pytest.mark.parametrize("where", ["mock", "ideal", "emulated"])
def test_traces_run_again_where_they_were_recorded(where, tmp_path):
    """Batches of more dimensions, 1-D weights and numpy's numbers too."""
    p.set_mock_parameter(p.MockParameter(0.0, 0.03))
    x, w, v = (
        torch.randint(0, 32, (2, 5, 8)).float(),
        torch.randint(-9, 64, (8, 6)).float(),
        torch.randint(-9, 64, (6,)).float(),
    )
    tracer, mock = p.InferenceTracer(str(tmp_path / "trace")), where == "mock"
    with bss2.use(Chip(level="emulated" if mock else where, gain=0.03, noise=Noise(trial=0.0))):
        tracer.start()
        y = p.converting_relu(
            p.matmul(x, w, num_sends=np.int64(2), wait_between_events=np.int32(4), mock=mock),
            np.int64(1),
            mock=mock,
        )
        y = p.add(p.relu(p.matmul(y, v, mock=mock), mock=mock), torch.tensor(1.5), mock=mock)
        assert tracer.stop() == ["mac", "converting_relu", "mac", "relu", "add"]
        assert torch.equal(p.inference_trace(x, str(tmp_path / "trace")), y)
    assert y.shape == (2, 5)


def test_a_trace_that_cannot_be_written_is_kept(tmp_path):
    tracer = p.InferenceTracer(str(tmp_path / "nowhere" / "trace"))
    tracer.start()
    p.relu(torch.ones(3))
    with pytest.raises(
        RecordingError, match=r"cannot be written .*the recording is kept: set \.filename"
    ):
        tracer.stop()
    p.relu(torch.ones(2))  # not recorded any more
    tracer.filename = str(tmp_path / "trace")
    assert tracer.stop() == ["relu"]
    assert p.inference_trace(torch.ones(3) * 7.5, tracer.filename).tolist() == [7, 7, 7]
    with pytest.raises(RunError, match="not recording"):
        tracer.stop()


def test_traces_are_chains(tmp_path):
    for use, match in (
        ((lambda a: (p.relu(a), p.relu(a + 1))), "only chains"),
        ((lambda a: p.argmax(a)), "dim=1 and keepdim=True"),
    ):
        tracer = p.InferenceTracer(str(tmp_path / "t"))
        tracer.start()
        try:
            with pytest.raises(RuntimeError, match=match):
                use(torch.randn(4, 5))
        finally:
            tracer.stop()


def test_tracers_nest(tmp_path):
    """Each records what passes while it is open; the inner one may break the outer one's chain,
    which is told by that one's stop()."""
    outer, inner, broken = (
        p.InferenceTracer(str(tmp_path / n)) for n in ("outer", "inner", "broken")
    )
    x = torch.randn(4, 5) * 50
    outer.start()
    y = p.relu(x)
    with inner:
        z = p.converting_relu(y)
    assert outer.stop() == ["relu", "converting_relu"]
    assert torch.equal(p.inference_trace(x, outer.filename), z)
    assert torch.equal(p.inference_trace(y, inner.filename), z)
    broken.start()
    p.relu(x)
    inner.start()
    p.relu(x + 1)
    assert inner.stop() == ["relu"]
    with pytest.raises(RecordingError, match="only chains"):
        broken.stop()
    with pytest.raises(RunError, match="not recording"):
        broken.stop()


def fails_in_an_operation(tracer, x):
    tracer.start()
    p.relu(x)
    p.matmul(x, torch.ones(3, 3), mock=True)


def fails_in_the_first_operation(tracer, x):
    tracer.start()
    p.matmul(x, torch.ones(3, 3), mock=True)


def breaks_the_chain(tracer, x):
    tracer.start()
    p.relu(x)
    p.relu(x + 1)


def fails_elsewhere(tracer, x):
    with tracer:
        p.relu(x)
        raise RuntimeError("elsewhere")


@pytest.mark.parametrize(
    "fails",
    [fails_in_an_operation, fails_in_the_first_operation, breaks_the_chain, fails_elsewhere],
)
def test_a_tracer_left_open_by_an_error_disturbs_no_later_call(tmp_path, fails):
    tracer, x = p.InferenceTracer(str(tmp_path / "left")), torch.randn(4, 5) * 50
    with pytest.raises(RuntimeError):
        fails(tracer, x)
    for _ in range(3):
        p.relu(x)
        p.relu(x + 1)
    with p.InferenceTracer(str(tmp_path / "next")) as following:
        want = p.relu(x)
        p.relu(want)
    assert torch.equal(p.inference_trace(x, following.filename), want)
    if fails in (fails_in_an_operation, fails_in_the_first_operation):
        with pytest.raises(RecordingError, match="only chains"):
            tracer.stop()
    assert trace._recording() == []


def test_a_forgotten_tracer_records_no_more(tmp_path):
    x = torch.randn(4, 5)

    def forgets():
        tracer = p.InferenceTracer(str(tmp_path / "t"))
        tracer.start()
        p.relu(x)
        raise ValueError

    with contextlib.suppress(ValueError):
        forgets()
    gc.collect()
    assert not trace.tracing()
    p.relu(x + 1)


def test_a_handled_error_leaves_the_recording_whole(tmp_path):
    x, tracer = torch.randn(4, 5) * 50, p.InferenceTracer(str(tmp_path / "t"))
    tracer.start()
    y = p.relu(x)
    with pytest.raises(RuntimeError):
        p.matmul(y, torch.ones(3, 3), mock=True)
    p.relu(y)
    assert tracer.stop() == ["relu", "relu"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "no such file"),
        (b"hello", "no inference trace, or damaged"),
        ("foreign", "expected 'lav"),
    ],
)
def test_foreign_traces(tmp_path, content, match):
    path = tmp_path / "t.npz"
    if content == "foreign":
        np.savez(path, meta=np.array(json.dumps({"format": "x", "version": 9, "operations": []})))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=match):
        p.inference_trace(torch.ones(1, 2), str(path))


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.51, 31.5, 99.0, float("nan"), float("inf")])
@pytest.mark.parametrize("level", ["mock", "quantised", "emulated"])
def test_inputs_outside(value, level):
    x = torch.zeros(3, 40)
    x[1, 17] = value
    layer = nn.Linear(40, 2, num_sends=1, mock=level == "mock")
    with (
        bss2.use(Chip(level=level if level != "mock" else "emulated")),
        pytest.raises(OverflowError) as e,
    ):
        layer(x)
    assert isinstance(e.value, InputError)
    assert str(e.value).startswith("Linear(40, 2): inputs must round to 0..31 (5 bits), got")
    assert "one of 1 of 120" in str(e.value)
    assert "scale_input" in str(e.value)


def test_limits_are_those_of_rounding():
    x, w = torch.tensor([[-0.5, 31.49]]), torch.tensor([[63.49], [-63.49]])
    assert p.matmul(x, w, mock=True).shape == (1, 1)
    for bad in (63.5, -64.0, float("nan")):
        with pytest.raises(OverflowError, match=r"matmul: weights must round to -63..63"):
            p.matmul(x, torch.tensor([[0.0], [bad]]), mock=True)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: p.matmul(torch.tensor(1.0), torch.ones(2), mock=True), "at least one dimension"),
        (lambda: p.matmul(torch.ones(2), torch.ones(2, 2, 2), mock=True), "not implemented yet"),
        (lambda: p.matmul(torch.ones(2, 3), torch.ones(4, 2), mock=True), "differ"),
        (lambda: p.mac(torch.ones(2, 3, 4), torch.ones(4, 2), mock=True), "1 or 2"),
        (lambda: p.mac(torch.ones(4), torch.ones(4), mock=True), "1 or 2"),
        (
            lambda: p.mac(torch.ones(4), torch.ones(4, 1), mock=True, madc_recording_path="x"),
            "level 'hardware' only, not as mock",
        ),
        (
            lambda: p.mac(torch.ones(4), torch.ones(4, 1), num_sends=0, mock=True),
            "num_sends is an integer >= 1",
        ),
        (
            lambda: p.mac(torch.ones(4), torch.ones(4, 1), wait_between_events=0, mock=True),
            r"wait_between_events \(FPGA cycles\) is",
        ),
        (lambda: p.matmul(torch.ones(4), torch.ones(4, 0), mock=True), "N >= 1"),
        (
            lambda: p.conv1d(torch.ones(1, 1, 3), torch.ones(1, 1, 4), mock=True),
            "larger than the input",
        ),
        (lambda: p.conv2d(torch.ones(1, 2, 3, 3), torch.ones(1, 1, 2, 2), mock=True), "groups"),
        (lambda: p.conv2d(torch.ones(2, 3, 3), torch.ones(1, 1, 2, 2), mock=True), "2 more"),
        (lambda: p.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 2), stride=0, mock=True), "stride"),
        (
            lambda: p.expanded_conv1d(
                torch.ones(1, 1, 5), torch.ones(1, 1, 2), num_expansions=0, mock=True
            ),
            "num_expansions",
        ),
        (lambda: p.add(torch.ones(2), torch.ones(2), alpha=2, mock=True), "alpha"),
        (lambda: p.add(torch.ones(2), torch.ones(3, 2)), "more dimensions"),
        (lambda: p.add(torch.ones(2), torch.ones(3), mock=True), "do not match"),
        (lambda: p.converting_relu(torch.ones(2), shift=-1), "shift"),
        (
            lambda: p.matmul(torch.zeros(2, 3, 0), torch.ones(0, 3), mock=True),
            "matmul: weights .K, N. need K, N >= 1",
        ),
        (
            lambda: p.mac(torch.ones(4), torch.ones(4, 1), num_sends=2.5, mock=True),
            "num_sends is an integer >= 1, got 2.5",
        ),
        (
            lambda: p.conv2d(torch.ones(1, 1, 3, 3), torch.ones(0, 1, 2, 2), mock=True),
            "at least one output, channel and row",
        ),
        (
            lambda: p.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 0, 2), mock=True),
            "at least one output, channel and row",
        ),
        (
            lambda: p.conv1d(torch.ones(1, 1, 5), torch.ones(3, 1, 2), torch.ones(1), mock=True),
            r"a bias of shape \(3,\) is expected",
        ),
        (
            lambda: p.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 2), stride="a", mock=True),
            "conv1d: stride is an integer >= 1, got 'a'",
        ),
        (
            lambda: p.conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 2), stride=(1, 2), mock=True),
            "stride is one number or 1",
        ),
        (
            lambda: p.conv1d(
                torch.ones(1, 1, 5), torch.ones(1, 1, 2), wait_between_events=0, mock=True
            ),
            "FPGA cycles",
        ),
    ],
)
def test_operands(call, match):
    with pytest.raises(RuntimeError, match=match) as e:
        call()
    assert isinstance(e.value, InputError)


def test_layers_that_cannot_be():
    x = torch.ones(1, 2, 9)
    for layer in (
        nn.Conv1d(2, 2, 2, dilation=2, mock=True),
        nn.Conv1d(2, 2, 2, groups=2, mock=True),
    ):
        with pytest.raises(
            ValueError,
            match=r"^Conv1d\(\d, 2\): dilation and groups must be 1, got dilation=\(\d,\), groups=\d; fill",
        ):
            layer(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2, 3, avg=0), "Linear: avg is an integer >= 1, got 0"),
        (lambda: nn.Linear(0, 3), "Linear: in_features is an integer >= 1, got 0"),
        (lambda: nn.Linear(3, 0), "Linear: out_features is an integer >= 1, got 0"),
        (lambda: nn.Linear(3, 2.5), "Linear: out_features is an integer >= 1, got 2.5 (float)"),
        (
            lambda: nn.Linear(3, 2, num_sends=0),
            "Linear: num_sends is an integer >= 1 or None, got 0",
        ),
        (
            lambda: nn.Linear(3, 2, num_sends=2.5),
            "Linear: num_sends is an integer >= 1 or None, got 2.5 (float)",
        ),
        (
            lambda: nn.Linear(3, 2, wait_between_events=-1),
            "Linear: wait_between_events is an integer >= 1, got -1",
        ),
        (lambda: nn.Conv1d(1, 0, 3), "Conv1d: out_channels is an integer >= 1, got 0"),
        (
            lambda: nn.Conv2d(1, 2, (3, 0)),
            "Conv2d: kernel_size is an integer >= 1 or a sequence of 2 of: an integer >= 1, got (3, 0)",
        ),
        (
            lambda: nn.Conv2d(1, 2, 3, 0),
            "Conv2d: stride is an integer >= 1 or a sequence of 2 of: an integer >= 1, got 0",
        ),
        (
            lambda: nn.ExpandedConv1d(1, 2, 3, num_expansions=0),
            "ExpandedConv1d: num_expansions is an integer >= 1 or None, got 0",
        ),
    ],
)
def test_sizes_of_layers(make, message):
    with pytest.raises(InputError) as e:
        make()
    assert str(e.value) == message


def test_numpys_integers_are_integers():
    n, x, w = (
        np.int64(2),
        torch.randint(0, 32, (1, 1, 9, 9)).float(),
        torch.randint(-63, 64, (3, 1, 2, 2)).float(),
    )
    p.set_mock_parameter(MODEL)
    assert torch.equal(p.conv2d(x, w, None, n, n, n, True), p.conv2d(x, w, None, 2, 2, 2, True))
    assert torch.equal(p.converting_relu(x, n), p.converting_relu(x, 2))
    line, kernel = x[0, :, :1], w[:, :, 0]
    assert torch.equal(
        p.expanded_conv1d(line, kernel, None, n, n, mock=True),
        p.conv1d(line, kernel, None, 2, mock=True),
    )
    assert "num_sends=2," in repr(
        nn.Linear(4, n, num_sends=n, wait_between_events=n, mock=True, avg=n)
    )


@pytest.mark.parametrize("observed", [False, True])
def test_empty_batches(observed):
    """Of every layer, with gradients of zero, also where windows are unfolded."""
    layers = [
        nn.Linear(200, 4, mock=True, avg=2, input_transform=nn.scale_input),
        nn.Conv1d(1, 2, 3, mock=True),
        nn.ExpandedConv1d(1, 2, 3, mock=True),
        nn.Conv2d(3, 2, 3, mock=True),
    ]
    shapes = [(200,), (1, 9), (1, 9), (3, 9, 9)]
    for layer, shape in zip(layers, shapes, strict=True):
        x = torch.zeros(0, *shape, requires_grad=True)
        with p.observe() if observed else contextlib.nullcontext([]) as seen:
            out = p.converting_relu(layer(x), mock=True)
        assert out.shape == (0, *layer(torch.zeros(1, *shape)).shape[1:])
        out.sum().backward()
        assert x.grad.shape == x.shape
        assert not layer.weight.grad.any()
        assert all(o.rows == 0 and o.saturated == 0 for o in seen)


def test_no_chip():
    with pytest.raises(
        NoChipError,
        match=r"Linear\(2, 3\) was asked for with mock=False.*init_hardware.*mock=True needs none",
    ):
        nn.Linear(2, 3)(torch.ones(1, 2))
    with pytest.raises(NoChipError, match="measure_mock_parameter"):
        p.measure_mock_parameter()
    assert p.relu(torch.ones(2)).tolist() == [1, 1]


def test_membranes_are_recorded_on_hardware_only():
    with (
        bss2.use(Chip()),
        pytest.raises(RecordingError, match="emulated chip 0; leave madc_recording_path empty"),
    ):
        p.matmul(torch.ones(4), torch.ones(4, 1), madc_recording_path="x")


def test_tiles_must_cover_the_layer():
    with pytest.raises(
        OperandError, match=r"the tiles hold 128 weights, the layer has 200 x 1 = 200"
    ):
        product(torch.ones(1, 200), torch.ones(200, 1), Chip(), tiles=tiles(128, 1))


def test_constants():
    assert (facts.WEIGHT_MAX, facts.INPUT_MAX, facts.SIGNED_ROWS, facts.COLUMNS) == (
        63,
        31,
        128,
        256,
    )


# -- hardware, against a stand-in with hxtorch's signatures ----------------------------------------


def test_at_level_hardware_everything_goes_to_hxtorch(monkeypatch):
    from tests.hxtorch_standin import arrays, connection

    def forget():
        for name in [n for n in sys.modules if n.split(".")[0] == "hxtorch"]:
            del sys.modules[name]
        connection.held.clear()

    forget()
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "hxtorch_standin" / "perceptron"))
    monkeypatch.setenv("HXTORCH_STANDIN_CHIP", "1")
    p.set_mock_parameter(p.MockParameter(0.0, 0.0025))
    model = torch.nn.Sequential(
        nn.Conv2d(1, 3, 3, num_sends=2),
        nn.ConvertingReLU(),
        torch.nn.Flatten(),
        nn.Linear(48, 4, num_sends=3, avg=2),
    )
    x = torch.randint(0, 32, (5, 1, 6, 6)).float()
    try:
        bss2.init_hardware()
        out = model(x)
        assert arrays.get_mock_parameter().gain == 0.0025  # its gradients read this
        assert p.measure_mock_parameter() == p.MockParameter(1.9, 0.00186)
        assert p.argmax(out, dim=1).shape == (5,)
        with p.mock_mode(True):
            assert torch.equal(model(x), out)  # the stand-in has no noise
        with pytest.raises(OperandError, match="hardware"):
            product(x[0, 0], torch.ones(6, 2), bss2.current_chip())
    finally:
        bss2.release_hardware()
        forget()
