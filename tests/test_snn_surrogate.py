"""Surrogates: derivatives of their documented primitives, finite everywhere, plain values."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import lavalike as lv
import lavalike.backends.torch
from lavalike.errors import InputError
from lavalike.fused import llvm
from lavalike.fused.trace import trace
from lavalike.proc import LIF
from lavalike.snn import surrogate as sg

ROOT = Path(__file__).resolve().parent.parent
ALL = [
    sg.straight_through_estimator(),
    sg.fast_sigmoid(),
    sg.fast_sigmoid(slope=3),
    sg.sigmoid(),
    sg.sigmoid(0.7),
    sg.atan(),
    sg.atan(0.3),
    sg.triangular(),
    sg.triangular(0.4),
    sg.boxcar(),
    sg.boxcar(2.5),
    sg.slayer_exponential(),
    sg.slayer_exponential(0.3, 2.0),
    sg.heaviside(),
    sg.LSO(),
    sg.SFS(),
    sg.SFS(5, 0.4),
    sg.spike_rate_escape(),
]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
cases = pytest.mark.parametrize("surrogate", ALL, ids=repr)


@cases
def test_the_derivative_is_that_of_the_documented_primitive(surrogate):
    """In float64, away from the corners at 0, +-threshold, +-width / 2 and +-B."""
    x = (torch.linspace(-4, 4, 801, dtype=torch.float64) + 0.00137).requires_grad_()
    (expected,) = torch.autograd.grad(surrogate.primitive(x).sum(), x)
    np.testing.assert_allclose(
        surrogate.derivative(x).detach(), expected.detach(), rtol=1e-10, atol=1e-13
    )


def finite(surrogate, dtype):
    largest = torch.finfo(dtype).max
    x = torch.tensor([0, 1e-3, 1, 3.6, 1e3, min(1e30, largest), largest], dtype=dtype)
    d = surrogate.derivative(torch.cat([x, -x]))
    return d.dtype == dtype and d.shape == (14,) and bool(torch.isfinite(d).all())


@cases
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_derivatives_are_finite_everywhere_and_keep_the_dtype(surrogate, dtype):
    assert finite(surrogate, dtype)


def test_the_textbook_sigmoid_would_not_pass():
    """exp(-k x) overflows below x = -3.5: NaN in float32 (training.md 1.3)."""

    def textbook(x):
        return 25 * torch.exp(-25 * x) / (torch.exp(-25 * x) + 1) ** 2

    assert not finite(sg.custom_surrogate(textbook), torch.float32)
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    np.testing.assert_allclose(sg.sigmoid().derivative(x), textbook(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("surrogate", "x", "expected"),
    [
        (sg.fast_sigmoid(), 0.5, 1 / 13.5**2),
        (sg.sigmoid(), 0.0, 6.25),
        (sg.atan(), 0.0, 1.0),
        (sg.atan(), 1 / math.pi, 0.5),
        (sg.triangular(), -0.25, 0.75),
        (sg.triangular(0.5), 0.25, 1.0),
        (sg.triangular(0.5), 0.6, 0.0),
        (sg.boxcar(0.5), 0.2, 2.0),
        (sg.boxcar(0.5), -0.25, 0.0),
        (sg.straight_through_estimator(), -7.0, 1.0),
        (sg.slayer_exponential(), 0.0, 0.5),
        (sg.slayer_exponential(2.0, 4.0), -2.0, math.exp(-1)),
        (sg.heaviside(), 0.0, 0.0),
        (sg.heaviside(), 0.1, 1.0),
        (sg.LSO(), -3.0, 0.1),
        (sg.SFS(), 0.5, 1 / 13.5**2),
        (sg.SFS(), 1.5, 0.0),
        (sg.spike_rate_escape(beta=2, slope=3), 0.5, 3 * math.exp(-1)),
    ],
)
def test_known_values(surrogate, x, expected):
    assert surrogate.derivative(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(
        expected, rel=1e-12
    )


@given(number=st.floats(0.05, 50), x=st.floats(-100, 100))
@settings(max_examples=60, deadline=None)
def test_bumps_are_even_not_negative_and_highest_at_the_threshold(number, x):
    x = torch.tensor([x, -x, 0.0], dtype=torch.float64)
    for make in (
        sg.fast_sigmoid,
        sg.sigmoid,
        sg.atan,
        sg.triangular,
        sg.boxcar,
        sg.slayer_exponential,
    ):
        here, there, peak = make(number).derivative(x)
        assert 0 <= here == there <= peak * (1 + 1e-15)


@cases
def test_called_it_spikes_above_zero_and_gives_its_derivative_backward(surrogate):
    x = torch.tensor([-2.0, -0.1, 0.0, 1e-6, 0.3, 5.0], dtype=torch.float64)
    spikes, back = torch.func.vjp(surrogate, x)
    assert spikes.tolist() == [0, 0, 0, 1, 1, 1]
    g = torch.arange(1.0, 7.0, dtype=torch.float64)
    assert torch.equal(back(g)[0], g * surrogate.derivative(x))
    half = x.half().requires_grad_()
    surrogate(half).sum().backward()
    assert half.grad.dtype == surrogate(half).dtype == torch.float16
    one_by_one = torch.func.vmap(torch.func.grad(surrogate))(x)
    assert torch.equal(one_by_one, surrogate.derivative(x))


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's compiler does that itself
def test_a_spike_compiles_as_one_graph():
    surrogate = sg.atan()
    x = torch.tensor([-0.5, 0.5], requires_grad=True)
    torch.compile(lambda v: 3 * surrogate(v), backend="aot_eager", fullgraph=True)(
        x
    ).sum().backward()
    torch.testing.assert_close(x.grad, 3 * surrogate.derivative(x.detach()))


def test_a_number_made_whole_is_cut_and_truth_is_no_number():
    """``x.to(int32)`` is not ``x != 0``, and ``where(c, True, False)`` not
    ``where(c, 1.0, 0.0)``."""
    code = trace(lambda x: x.to(torch.int32) * 1.0, ("x",), "test", llvm.WORDS)
    assert [op.op for op in code.ops] == ["trunc"]

    def both(x):
        c = x > 0.5
        number = torch.where(c, torch.ones_like(x), torch.zeros_like(x))
        return number + torch.where(torch.where(c, c, c < 0), x, -x)

    code = trace(both, ("x",), "test", llvm.WORDS)
    assert {op.real for op in code.ops if op.op == "where"} == {True, False}


@cases
def test_derivatives_are_traced_element_by_element(surrogate):
    """Without branches or constants of their own: the fused kernels print them as they are."""
    assert trace(lambda x: surrogate.derivative(x), ("x",), "test", llvm.WORDS).arguments == ("x",)


@cases
def test_surrogates_are_values(surrogate):
    """Frozen, equal and hashable by their numbers, copied and pickled."""
    twin = dataclasses.replace(surrogate)
    assert twin == surrogate
    assert hash(twin) == hash(surrogate)
    assert pickle.loads(pickle.dumps(surrogate)) == copy.deepcopy(surrogate) == surrogate
    with pytest.raises(dataclasses.FrozenInstanceError):
        surrogate.slope = 1.0
    assert sg.fast_sigmoid(25) == sg.fast_sigmoid() != sg.fast_sigmoid(24)
    assert sg.fast_sigmoid() != sg.sigmoid()


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "1", True, None])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(
        InputError, match="surrogate FastSigmoid: slope is a finite number > 0, got"
    ):
        sg.fast_sigmoid(value)


def test_other_errors_name_the_surrogate():
    with pytest.raises(InputError, match="LeakyStep: slope is a finite number >= 0, got -1"):
        sg.LSO(-1)
    with pytest.raises(InputError, match="spike_rate_escape: beta is a number > 0, got 0"):
        sg.spike_rate_escape(beta=0)
    with pytest.raises(InputError, match=r"Atan: input has dtype torch\.int64"):
        sg.atan()(torch.tensor([1]))


def slope_two(x):
    return torch.full_like(x, 2.0)


def test_a_custom_surrogate_is_its_derivative():
    custom = sg.custom_surrogate(slope_two)
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    (custom(x) * torch.tensor([1.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [2, 6]
    assert custom == sg.custom_surrogate(slope_two) == pickle.loads(pickle.dumps(custom))
    assert custom != sg.custom_surrogate(torch.ones_like)
    with pytest.raises(InputError, match="only its derivative is known"):
        custom.primitive(x)
    with pytest.raises(InputError, match="function takes x alone and gives the derivative"):
        sg.custom_surrogate(lambda input_, grad_input: grad_input)
    with pytest.raises(InputError, match="function is a callable"):
        sg.custom_surrogate(3)


@pytest.mark.parametrize("make", [sg.fast_sigmoid, sg.slayer_exponential])
def test_to_torch_takes_a_surrogate_or_the_function_of_its_derivative(make):
    """Equal gradients either way, and those of the numbers given."""
    gradients = []
    for surrogate in (make(2.0), make(2.0).derivative, make(0.5)):
        module = lv.to_torch(
            LIF(shape=(3,), du=0.3, dv=0.1, vth=0.7), dtype="float64", surrogate=surrogate
        )
        x = torch.full((1, 3, 8), 0.4, dtype=torch.float64, requires_grad=True)
        module(x).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])


def test_training_loads_no_backend():
    loaded = "any(n.startswith('lavalike.backends.') or n == 'numba' for n in sys.modules)"
    code = f"import sys, lavalike.snn, lavalike.slayer; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_surrogates_of_graphs_are_those_of_training():
    """One class, wherever it is imported from."""
    assert lv.backends.torch.exponential(0.5) == sg.slayer_exponential(0.5)
    assert isinstance(sg.atan(), lv.backends.torch.Surrogate)
