"""The fused loops against the plain one: random neurons, every option of a scan, and the words and
products they are made of."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import HealthCheck, Phase, assume, given, settings, strategies as st
from torch.nn import functional

from lavalike.dynamics import Dynamics, ops
from lavalike.dynamics.lif import FIRE, LIF, LIF_RESET
from lavalike.dynamics.ops import (
    above,
    absolute,
    clip,
    exp,
    leak,
    lesser,
    log,
    reset,
    sigmoid,
    sqrt,
    tanh,
    wrap,
)
from lavalike.dynamics.resonator import RF_IZ
from lavalike.errors import InputError
from lavalike.fused import Training, cpu, memory, products, reference, scan, sparse
from lavalike.fused.operators import _traced, code
from lavalike.fused.surrogate import Atan, Boxcar, Exponential, FastSigmoid, Sigmoid

EXAMPLES = int(os.environ.get("LAVALIKE_EXAMPLES", "4"))
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # shrinking takes minutes
    derandomize="LAVALIKE_EXAMPLES" not in os.environ,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
MANY = settings(QUIET, max_examples=10 * EXAMPLES)
SURROGATES = [Atan(), Sigmoid(3.0), FastSigmoid(2.0), Exponential(0.7, 1.0), Boxcar(1.5)]
SMOOTH = ("exp", "tanh", "sigmoid", "sqrt", "log")  # words whose last bits are a library's own


# -- random neurons --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """A step as text, and its declaration."""

    text: str
    dynamics: Dynamics

    @property
    def exact(self) -> bool:
        return not any(f"{word}(" in self.text for word in SMOOTH)

    def __repr__(self) -> str:
        return "\n" + self.text


def draw_term(draw: Any, names: list[str], depth: int, smooth: bool) -> str:
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        name = draw(st.sampled_from(names))
        return draw(
            st.sampled_from(
                [name, name, name, f"(1.25 * {name})", f"({name} - 2.0)", f"(0.5 - {name})"]
            )
        )
    a, b, c = (draw_term(draw, names, depth - 1, smooth) for _ in range(3))
    forms = [
        f"({a} + {b})",
        f"({a} - {b})",
        f"({a} * {b})",
        f"{a} / (1.5 + absolute({b}))",
        f"leak({a}, {b})",
        f"absolute({a})",
        f"where({a} > {b}, {b}, {c})",
        f"where(above({a}, {b}), {a}, {c})",
        f"(-{a})",
        f"positive({a})",
        f"carried({a})",
    ]
    forms += [
        f"lesser({a}, {b})",
        f"greater({a}, {b})",
        f"lesser({a}, 0.5)",
        f"(reaches({a}, {b}) * {c})",
        f"where(({a} > {b}) & ({b} < {c}), 1, {c})",
    ]
    if smooth:
        forms += [f"exp(-absolute({a}))", f"tanh({a})", f"sigmoid({a})"]
    return draw(st.sampled_from(forms))


@st.composite
def programs(draw: Any, smooth: bool | None = None) -> Program:
    """1-3 states, 1-2 inputs, 1-3 parameters; one spike, with a reset, and at times a second
    output. States stay bounded."""
    smooth = draw(st.booleans()) if smooth is None else smooth
    states, inputs, params = (
        [f"{k}{j}" for j in range(draw(st.integers(1, n)))]
        for k, n in (("v", 3), ("x", 2), ("p", 3))
    )
    names = [*inputs, *states, *params]
    lines = [f"def step({', '.join(names)}):"]
    for s in states:
        term = f"{s} * 0.5 + {draw_term(draw, names, 2, smooth)} + {draw(st.sampled_from(inputs))}"
        bounded = draw(
            st.sampled_from(
                ["lesser(greater({t}, -3.0), 3.0)", "({t}) / (1.0 + absolute({t}) * 0.25)"]
            )
        )
        lines.append(f"    {s} = {bounded.format(t=term)}")
    lines.append(
        f"    s = {draw(st.sampled_from(['above', 'reaches']))}({states[0]}, {draw(st.sampled_from([params[0], '0.75']))})"
    )
    ends = [
        draw(
            st.sampled_from(
                [
                    f"reset(s, {v}, {draw(st.sampled_from(['0', '0.5', params[-1]]))})",
                    f"lower(s, {v}, {params[0]})",
                    v,
                ]
            )
        )
        for v in states
    ]
    more = draw(st.sampled_from([[], [], [draw_term(draw, [*states, *inputs], 1, smooth)]]))
    lines.append(f"    return {', '.join(['s', *more, *ends])}")
    text = "\n".join(lines) + "\n"
    scope = {n: f for n, f in vars(ops).items() if callable(f)}
    exec(compile(text, "<program>", "exec"), scope)
    return Program(
        text,
        Dynamics(scope["step"], tuple(inputs), ("s_out", "y_out")[: 1 + len(more)], tuple(states)),
    )


@dataclass
class Setting:
    """What a scan is called with, and which gradients are looked at."""

    inputs: dict[str, torch.Tensor]
    parameters: dict[str, torch.Tensor]
    states: dict[str, torch.Tensor]
    record: tuple[str, ...]
    shift: bool
    steps: int
    weights: dict[str, torch.Tensor]

    def __repr__(self) -> str:
        return (
            f"{[(n, tuple(x.shape)) for n, x in (*self.inputs.items(), *self.parameters.items(), *self.states.items())]}, "
            f"{self.record}, {self.shift}, {self.steps}, {list(self.weights)}"
        )

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [*self.inputs.values(), *self.parameters.values(), *self.states.values()]


@st.composite
def calls(draw: Any, d: Dynamics, dtype: torch.dtype) -> Setting:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    shape = draw(st.sampled_from([(1,), (3,), (5, 7), (17,), (70,), (513,)]))
    steps = draw(st.sampled_from([1, 2, 15, 16, 17, 33, 40]))

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=dtype).requires_grad_()

    def subset(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(n for n in names if draw(st.booleans()))

    held, record = subset(d.inputs), subset(d.states)
    inputs = {n: random(1 if n in held else steps, *shape) for n in d.inputs}
    per_neuron = subset(d.constant_names)
    parameters = {n: random(*(shape if n in per_neuron else ())) for n in d.constant_names}
    states = {n: random(*shape) for n in subset(d.states)}
    seen = subset((*d.outputs, *record)) or d.outputs[:1]
    weights = {n: torch.randn(steps, *shape, generator=generator, dtype=dtype) for n in seen}
    weights |= {
        f"last {n}": torch.randn(*shape, generator=generator, dtype=dtype) for n in subset(d.states)
    }
    return Setting(inputs, parameters, states, record, draw(st.booleans()), steps, weights)


def run(
    engine: Any, d: Dynamics, training: Training, c: Setting
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Outputs, recorded and final states; gradients of all leaves."""
    r = engine(d, training, c.inputs, c.parameters, c.states, c.record, c.shift, c.steps)
    out = r.outputs | {f"last {n}": s for n, s in r.states.items()}
    loss = sum((out[n] * w).sum() for n, w in c.weights.items())
    got = (
        torch.autograd.grad(loss, c.leaves, allow_unused=True)
        if loss.requires_grad
        else [None] * len(c.leaves)
    )
    return {n: v.detach() for n, v in out.items()}, [
        torch.zeros_like(x) if g is None else g for g, x in zip(got, c.leaves, strict=True)
    ]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The greatest, as a share of the greatest value."""
    return float((a.double() - b.double()).abs().max() / max(float(b.abs().max()), 1e-3))


@QUIET
@given(
    st.data(),
    programs(),
    st.sampled_from(["slayer", "detach", "full"]),
    st.sampled_from(SURROGATES),
    st.booleans(),
)
def test_a_random_neuron_is_its_plain_loop(data, program, reset_grad, surrogate, double):
    training = Training(surrogate, reset_grad)
    c = data.draw(calls(program.dynamics, torch.float64 if double else torch.float32))
    want, want_grads = run(reference, program.dynamics, training, c)
    assume(all(bool(torch.isfinite(v).all()) for v in (*want.values(), *want_grads)))
    got, grads = run(scan, program.dynamics, training, c)
    assert got.keys() == want.keys()
    for name, value in want.items():
        if program.exact:
            assert torch.equal(got[name], value), name
        else:
            assert difference(got[name], value) < (1e-11 if double else 1e-5), name
    for g, w in zip(grads, want_grads, strict=True):
        assert difference(g, w) < (1e-10 if double else 1e-4)


# -- what a scan promises --------------------------------------------------------------------------


def leaky(a_in, v, keep, vth):
    v = leak(v, keep) + a_in
    s = above(v, vth)
    return s, reset(s, v, 0)


LEAKY = Dynamics(leaky, ("a_in",), ("s_out",), ("v",))
LEAK = {"keep": 0.9, "vth": 1.0}


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


@pytest.mark.parametrize(
    ("reset_grad", "slope"),
    [
        ("slayer", lambda s, v, g: 1),
        ("detach", lambda s, v, g: 1 - s),
        ("full", lambda s, v, g: 1 - s - v * g),
    ],
)
@pytest.mark.parametrize("first", [0.4, 1.3])
def test_what_a_reset_is_differentiated_to(reset_grad, slope, first):
    surrogate = Exponential(0.7, 1.0)
    x = torch.tensor([[first], [0.8]], dtype=torch.float64, requires_grad=True)
    s = scan(LEAKY, Training(surrogate, reset_grad), {"a_in": x}, LEAK).outputs["s_out"]
    s[1, 0].backward()
    # v1 = x1; v2 = keep reset(v1) + x2
    v1, s1 = first, float(first > 1)
    v2 = 0.9 * (0.0 if s1 else v1) + 0.8
    g1, g2 = (
        float(surrogate.derivative(torch.tensor(v - 1.0, dtype=torch.float64))) for v in (v1, v2)
    )
    assert x.grad.flatten().tolist() == pytest.approx([g2 * 0.9 * slope(s1, v1, g1), g2], rel=1e-12)


@settings(QUIET, max_examples=2)
@given(programs(smooth=False), st.integers(0, 1000))
def test_bfloat16_is_float32_rounded(program, seed):
    d, training = program.dynamics, Training(Atan())
    inputs = {n: noise(20, 37, seed=seed + j, dtype=torch.bfloat16) for j, n in enumerate(d.inputs)}
    parameters = dict.fromkeys(d.constant_names, 0.7)
    half = scan(d, training, inputs, parameters, record=d.states)
    full = scan(d, training, {n: x.float() for n, x in inputs.items()}, parameters, record=d.states)
    for name, y in full.outputs.items():
        assert half.outputs[name].dtype == torch.bfloat16
        assert torch.equal(half.outputs[name], y.bfloat16()), name
    for name, y in full.states.items():  # states are float32 whatever the storage
        assert torch.equal(half.states[name], y)


GRID = {
    LIF: {"keep_u": 3072.0, "keep_v": 3900.0, "gain": 1.0, "bias": 16.0, "vth": 4096.0},
    FIRE: {"keep_v": 3500.0, "vth": 4096.0},
    RF_IZ: {
        "cos": 3600.0,
        "sin": 1400.0,
        "bits": 12.0,
        "gain": 1.0,
        "vth": 4096.0,
        "after": 4095.0,
    },
}


@settings(QUIET, max_examples=EXAMPLES)
@given(
    st.sampled_from([*GRID]),
    st.sampled_from(["slayer", "detach", "full"]),
    st.integers(1, 40),
    st.integers(1, 600),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_grid_is_its_plain_loop(d, reset_grad, steps, width, shift, dtype):
    training = Training(Exponential(0.5, 1.0), reset_grad, "grid", 4096.0)
    inputs = {
        n: (noise(steps, width, seed=steps + j, dtype=dtype) * 0.8).requires_grad_()
        for j, n in enumerate(d.inputs)
    }
    parameters = {
        n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in GRID[d].items()
    }
    weights = {n: noise(steps, width, seed=7, dtype=dtype) for n in (*d.outputs, *d.states)}
    states = {s: (noise(width, seed=9, dtype=dtype) * 4096).round() / 4096 for s in d.states}
    c = Setting(inputs, parameters, states, d.states, shift, steps, weights)
    for s in c.states.values():
        s.requires_grad_()
    want, want_grads = run(reference, d, training, c)
    got, grads = run(scan, d, training, c)
    for name, value in want.items():
        assert torch.equal(got[name], value), name
    for g, w in zip(grads, want_grads, strict=True):
        assert difference(g, w) < (1e-10 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("steps", "shape"), [(2, (2, 3)), (16, (1, 16)), (17, (5, 7)), (40, (129,)), (33, (3, 200))]
)
def test_inputs_whose_time_lies_innermost_have_the_same_bits(steps, shape, dtype):
    """Tiles of 16 steps and neurons, whole ones and parts: outputs, states and all gradients;
    outputs lie as the inputs do."""
    results = []
    for major in (True, False):
        columns = {
            n: noise(*shape, steps, seed=j, dtype=dtype).movedim(-1, 0)
            for j, n in enumerate(RF_IZ.inputs)
        }
        inputs = {n: (x.contiguous() if major else x).requires_grad_() for n, x in columns.items()}
        own = noise(shape[-1], seed=5, dtype=torch.float64).requires_grad_()
        parameters = {"cos": 0.8, "sin": 0.5, "bits": 0.0, "gain": 1.0, "vth": own, "after": 0.4}
        r = scan(
            RF_IZ,
            Training(Exponential()),
            inputs,
            parameters,
            {s: noise(*shape, seed=6) for s in RF_IZ.states},
        )
        (r.outputs["s_out"] * noise(steps, *shape, seed=7, dtype=dtype)).sum().backward()
        results.append(
            [r.outputs["s_out"], *r.states.values(), *(x.grad for x in inputs.values()), own.grad]
        )
        assert r.outputs["s_out"].is_contiguous() == major
    assert 0 < results[0][0].mean() < 1
    for k, (a, b) in enumerate(zip(*results, strict=True)):
        # a sum over the neurons' samples is taken in other blocks
        assert torch.equal(a, b) if k < 5 else torch.allclose(a, b, rtol=1e-12), k


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_neuron_may_ask_for_the_step(dtype):
    """Values and gradients are the plain loop's, in the first steps and beyond 2**24, where float32
    counts no longer."""
    parameters = {
        "keep_u": 0.7,
        "keep_v": 0.9,
        "gain": 1.0,
        "bias": 0.3,
        "vth": 2.0,
        "bias_start": 4.0,
        "interval": 5.0,
        "offset": 2.0,
    }
    for first in (1, 2**24 + 6):
        results = []
        for engine, kind in ((scan, dtype), (reference, torch.float64)):
            x = noise(40, 19, dtype=dtype).to(kind).requires_grad_()
            r = engine(
                LIF_RESET, Training(Exponential(), "detach"), {"a_in": x}, parameters, first=first
            )
            r.outputs["s_out"].sum().backward()
            results.append((r.outputs["s_out"].double(), x.grad.double()))
        assert torch.equal(results[0][0], results[1][0])
        assert difference(results[0][1], results[1][1]) < 1e-5
    with pytest.raises(InputError, match="depends on the time step t"):
        scan(LIF_RESET, Training(Exponential()), {"a_in": x}, parameters)
    with pytest.raises(
        InputError, match="first is t in the first step, and leaky does not ask for t"
    ):
        scan(LEAKY, Training(Exponential()), {"a_in": x}, LEAK, first=1)


def test_overflows_are_counted():
    x = noise(30, 200) * 900
    training = Training(Exponential(), arithmetic="grid")
    parameters = GRID[LIF] | {"vth": 2.0**30}
    result = scan(LIF, training, {"a_in": x}, parameters, record=("u", "v"))
    u, v = (
        torch.cat([torch.zeros(1, 200), result.outputs[n]])[:-1].double() * 4096 for n in ("u", "v")
    )
    new_u = torch.trunc(u * 3072 / 4096) + torch.trunc(x.double() * 4096)
    new_v = torch.trunc(v * 3900 / 4096) + new_u + 16
    expected = sum(int((n.abs() >= 2**23).sum()) for n in (new_u, new_v))
    assert int(result.overflows) == expected > 100


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_no_bit(threads):
    d = LIF
    numbers = {"keep_u": 0.7, "keep_v": 0.9, "gain": 1.0, "bias": 0.01, "vth": 1.0}
    values = {n: torch.tensor(v, requires_grad=True) for n, v in numbers.items()}
    x = noise(40, 3001).requires_grad_()
    results = []
    for count in (1, 2):
        threads(count)
        c = Setting(
            {"a_in": x},
            values,
            {},
            ("v",),
            False,
            40,
            {"s_out": noise(40, 3001, seed=1), "v": noise(40, 3001, seed=2)},
        )
        results.append(run(scan, d, Training(Atan(), "detach"), c))
    for name, value in results[0][0].items():
        assert torch.equal(value, results[1][0][name])
    for one, two in zip(results[0][1], results[1][1], strict=True):
        assert torch.equal(one, two)


def test_nothing_is_compiled_twice():
    def once(steps, shape, tau, vth):
        x = noise(steps, *shape).requires_grad_()
        result = scan(
            LEAKY, Training(Exponential(tau, 1.0), "detach"), {"a_in": x}, {"keep": 0.9, "vth": vth}
        )
        result.outputs["s_out"].sum().backward()
        return x.grad

    narrow = once(3, (4,), 0.5, 1.0)
    before = cpu.kernel.cache_info().misses, _traced.cache_info().misses
    for steps, shape in [(1, (1,)), (17, (3, 5)), (40, (2, 300))]:
        once(steps, shape, 0.3, 0.8)
    wide = once(3, (4,), 2.0, 1.0)
    assert (cpu.kernel.cache_info().misses, _traced.cache_info().misses) == before
    # and yet the number counts
    assert not torch.equal(narrow, wide)
    assert code(LEAKY, Training(Exponential(0.1))) is code(LEAKY, Training(Exponential(0.2)))
    assert code(LEAKY, Training(Exponential())) is not code(LEAKY, Training(Atan()))


def test_a_scan_is_pure():
    x, v = noise(5, 3), noise(3, seed=1)
    kept = x.clone(), v.clone()
    first, second = (scan(LEAKY, Training(Atan()), {"a_in": x}, LEAK, {"v": v}) for _ in range(2))
    assert torch.equal(x, kept[0])
    assert torch.equal(v, kept[1])
    assert torch.equal(first.states["v"], second.states["v"])


def test_layouts_do_not_matter():
    x = noise(3, 7, 20).permute(2, 0, 1)  # time is the last axis in memory
    a, b = (
        scan(LEAKY, Training(Atan()), {"a_in": y}, LEAK).outputs["s_out"]
        for y in (x, x.contiguous())
    )
    assert torch.equal(a, b)


def test_two_halves_are_the_whole():
    x = noise(33, 5)
    whole = scan(LEAKY, Training(Atan()), {"a_in": x}, LEAK)
    first = scan(LEAKY, Training(Atan()), {"a_in": x[:14]}, LEAK)
    second = scan(LEAKY, Training(Atan()), {"a_in": x[14:]}, LEAK, first.states)
    assert torch.equal(
        torch.cat([first.outputs["s_out"], second.outputs["s_out"]]), whole.outputs["s_out"]
    )
    assert torch.equal(second.states["v"], whole.states["v"])


# -- what is refused -------------------------------------------------------------------------------


def remainder(a_in, v, p):
    return a_in % p, v


def running(a_in, v, p):
    return torch.cumsum(a_in * p, 0), v


def branch(a_in, v, p):
    return (a_in if v > p else v), v


def short(a_in, v, p):
    return a_in * p


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (remainder, "remainder"),
        (running, "cumsum"),
        (branch, "branch: its step cannot be traced"),
        (short, "short: .*returns 1 values"),
    ],
)
def test_what_cannot_be_printed_is_named(step, told):
    with pytest.raises(InputError, match=told):
        scan(
            Dynamics(step, ("a_in",), ("s_out",), ("v",)),
            Training(Atan()),
            {"a_in": noise(3, 2)},
            {"p": 1.0},
        )


def scaling(a_in, v, scale):
    v = v + a_in * scale
    return above(v, 1), v


def test_a_name_of_trainings_own_numbers_is_refused():
    dynamics = Dynamics(scaling, ("a_in",), ("s_out",), ("v",))
    with pytest.raises(InputError, match=r"scaling: \['scale'\] are names of training's own"):
        scan(dynamics, Training(Atan()), {"a_in": torch.ones(1, 2, 3)}, {"scale": 0.5})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            {"inputs": {"a_in": torch.zeros(3, 2, dtype=torch.int64)}},
            "dtype torch.int64; expected float32, float64 or bfloat16",
        ),
        ({"inputs": {"a_in": torch.zeros(0, 2)}}, "0 steps; none may be 0"),
        ({"inputs": {"a_in": torch.zeros(3, 0)}}, "none may be 0"),
        ({"parameters": {"keep": 0.5}}, r"no value for \['vth'\]"),
        (
            {"parameters": LEAK | {"vth": torch.ones(3)}},
            r"shape \(3,\) does not broadcast to neurons of shape \(2,\)",
        ),
    ],
)
def test_a_wrong_call_is_told(call, told):
    with pytest.raises(InputError, match=told):
        scan(
            **{
                "dynamics": LEAKY,
                "training": Training(Atan()),
                "inputs": {"a_in": noise(3, 2)},
                "parameters": LEAK,
            }
            | call
        )


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [({"reset_grad": "none"}, "reset_grad is"), ({"arithmetic": "int8"}, "arithmetic is")],
)
def test_a_wrong_training_is_told(kwargs, told):
    with pytest.raises(InputError, match=told):
        Training(Atan(), **kwargs)


# -- words -----------------------------------------------------------------------------------------


def all_words(a_in):
    return (
        exp(a_in),
        tanh(a_in),
        sigmoid(a_in),
        sqrt(absolute(a_in)),
        log(absolute(a_in)),
        wrap(clip(lesser(a_in, 0.5))),
    )


WORDS = Dynamics(all_words, ("a_in",), ("exp", "tanh", "sigmoid", "sqrt", "log", "lesser"), ())


def words(x):
    out = scan(WORDS, Training(Atan()), {"a_in": x.reshape(1, -1)}, {}).outputs
    return {n: y[0] for n, y in out.items()}


def test_exponentials_are_right_to_their_last_bits():
    x = torch.linspace(-87, 88, 200_001)
    exact = torch.exp(x.double())
    ulp = torch.from_numpy(np.spacing(exact.float().numpy())).double()
    assert float(((words(x)["exp"].double() - exact).abs() / ulp).max()) <= 2
    x = torch.linspace(-700, 709, 100_001, dtype=torch.float64)
    exact = np.exp(x.numpy().astype(np.longdouble))
    assert float((np.abs(words(x)["exp"].numpy() - exact) / exact).max()) < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_words_are_those_of_torch(dtype):
    x = torch.linspace(-12, 12, 4001, dtype=dtype)
    got = words(x)
    close = 3e-7 if dtype == torch.float32 else 1e-15
    for name in ("tanh", "sigmoid", "sqrt", "log"):
        of = x if name in ("tanh", "sigmoid") else x.abs()
        want = getattr(torch, name)(of)
        finite = torch.isfinite(want)
        assert torch.allclose(got[name][finite], want[finite], rtol=close, atol=close), name


def test_values_beyond_all_bounds():
    got = words(torch.tensor([math.nan, math.inf, -math.inf, 1e30, -1e30]))
    assert all(bool(y[0].isnan()) for n, y in got.items() if n != "lesser"), "NaN stays NaN"
    assert got["tanh"][1:].tolist() == [1, -1, 1, -1]
    assert got["sigmoid"][1:].tolist() == pytest.approx([1, 0, 1, 0], abs=1e-37)
    # an exponential stays within what float32 holds
    assert got["exp"][[2, 4]].tolist() == pytest.approx([0, 0], abs=1e-37)
    assert bool((got["exp"][[1, 3]] > 1e38).all())


# -- products --------------------------------------------------------------------------------------


@MANY
@given(
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    st.booleans(),
    st.integers(0, 999),
)
def test_sparse_products_are_dense_ones(rows, inner, width, density, half, seed):
    dtype = torch.bfloat16 if half else torch.float32
    x = (
        noise(rows, inner, seed=seed)
        * (torch.rand(rows, inner, generator=torch.Generator().manual_seed(seed)) < density)
    ).to(dtype)
    x[rows // 2] = 0
    dense = noise(inner, width, seed=seed + 1, dtype=dtype)
    s = sparse.sparse(x, 1.0)
    assert s is not None
    assert s.begin.tolist() == [0, *torch.cumsum((x != 0).sum(1), 0).tolist()]
    assert torch.equal(s.value, x[x != 0].float())
    close = {"rtol": 1e-2, "atol": 1e-2} if half else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(
        sparse.multiply(s, dense), (x.float() @ dense.float()).to(dtype), **close
    )
    back = noise(rows, width, seed=seed + 2, dtype=dtype)
    torch.testing.assert_close(
        sparse.multiply(sparse.transpose(s), back),
        (x.float().t() @ back.float()).to(dtype),
        **close,
    )


def test_a_matrix_beyond_the_limit_is_not_sparse():
    x = torch.zeros(4, 10)
    x[0, :5] = 1
    assert sparse.sparse(x, 0.1) is None
    assert sparse.sparse(x, 0.125) is not None


@pytest.mark.parametrize("density", [0.0, 0.05, 1.0])
def test_linear_is_torchs(density, threads):
    x = noise(397, 601) * (
        torch.rand(397, 601, generator=torch.Generator().manual_seed(0)) < density
    )
    weight, bias, g = noise(130, 601, seed=1) / 8, noise(130, seed=2), noise(397, 130, seed=3)
    assert x.numel() * 130 > products.WORTH
    results = []
    for function, count in ((products.linear, 1), (products.linear, 2), (functional.linear, 1)):
        threads(count)
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y = function(*leaves)
        results.append([y.detach(), *torch.autograd.grad(y, leaves, g)])
    one, two, want = results
    for a, b, w in zip(one, two, want, strict=True):
        if density < products.DENSITY:  # dense ones are torch's own
            assert torch.equal(a, b)
        assert difference(a, w) < 1e-5


def test_memory_in_use_is_not_given_out_again():
    shape = (700, 999)
    y = memory.empty(shape, torch.float32)
    y.fill_(1)
    address, tail = y.data_ptr(), y[300:]
    del y
    other = memory.empty(shape, torch.float32)
    other.fill_(2)
    assert bool((tail == 1).all())
    assert other.data_ptr() != address
    del tail
    again = memory.empty(shape, torch.float32)
    assert again.data_ptr() == address, "what is free is used again"
    memory.release()
    assert bool((other == 2).all())


class InWorker(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, k):
        return scan(LEAKY, Training(Atan()), {"a_in": noise(40, 3001, seed=k)}, LEAK).outputs[
            "s_out"
        ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_scans(threads):
    threads(2)
    here = [InWorker()[k] for k in range(2)]  # with threads, before the fork
    there = list(
        torch.utils.data.DataLoader(
            InWorker(), batch_size=None, num_workers=1, timeout=60, multiprocessing_context="fork"
        )
    )
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
