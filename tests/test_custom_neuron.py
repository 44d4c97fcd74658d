"""A neuron of one's own: the same step as a layer, a process and an equation; what a step may be,
and how it is told otherwise."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st

import lavalike as lv
from lavalike import fused, slayer
from lavalike.dynamics import Dynamics, Parameter, adaptive, delta, lif, membrane, ops, resonator
from lavalike.dynamics.dynamics import bind
from lavalike.dynamics.ops import above, absolute, exp, leak, lower, reset, where
from lavalike.errors import ExportError, InputError, ModelSelectionError, VarError
from lavalike.fused import Training
from lavalike.proc import neuron_process
from lavalike.slayer.block import base
from lavalike.slayer.neuron import Custom

surrogate = slayer.spike.Slayer(0.5, 1.0)


def tired(w, rho):
    return leak(w, rho)


def bursting(a_in, v, w, beta, rho, jump, vth):
    """A spike makes the next one harder."""
    w = tired(w, rho)
    v = leak(v, beta) + a_in - w
    s_out = above(v, vth)
    return s_out, reset(s_out, v, 0), where(s_out, w + jump, w)


BURSTING = Dynamics(
    bursting,
    ("a_in",),
    ("s_out",),
    ("v", "w"),
    parameters=(
        Parameter("beta", 0.9, 0, 1, trained=True, counts="decay"),
        Parameter("rho", 0.8, 0, 1, trained=True, counts="decay"),
        Parameter("jump", 0.25, 0, 10, counts="state"),
        Parameter("vth", 1.0, 0, 100, counts="state"),
    ),
)


def two_inputs(a_in, b_in, v, k):
    v = v * k + a_in - absolute(b_in) / 4
    s = above(v, 1)
    return s, lower(s, v, 1)


TWO = Dynamics(
    two_inputs,
    ("a_in", "b_in"),
    ("s_out",),
    ("v",),
    fixed=False,
    parameters=(Parameter("k", 0.9, 0, 1, True),),
)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


# -- as a layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("arithmetic", ["float", "grid"])
def test_the_layer_is_the_plain_loop(arithmetic):
    neuron = Custom(
        BURSTING, {"vth": [1.0, 1.5, 0.5]}, surrogate=surrogate, arithmetic=arithmetic
    ).double()
    x = noise(2, 3, 4, 25, dtype=torch.float64).requires_grad_()
    y = neuron(x)
    g = noise(*y.shape, seed=1, dtype=torch.float64)
    got = torch.autograd.grad(y, [x, neuron.values["beta"], neuron.values["rho"]], g)
    # as the class says: parameters in 1/4096 on the grid, states in 1/4096 too
    unit = {"float": 1.0, "grid": 4096.0}[arithmetic]
    beta, rho = (neuron.values[n].detach().clone().requires_grad_() for n in ("beta", "rho"))
    counted = {
        n: v * unit + ((v * unit).round() - v * unit).detach() if unit > 1 else v
        for n, v in (("beta", beta), ("rho", rho))
    }
    vth = torch.tensor([1.0, 1.5, 0.5], dtype=torch.float64).reshape(3, 1)
    want = (
        fused.reference(
            BURSTING,
            Training(surrogate, "slayer", arithmetic, 4096.0),
            {"a_in": x.movedim(-1, 0)},
            {**counted, "jump": 0.25 * unit, "vth": vth * unit},
        )
        .outputs["s_out"]
        .movedim(0, -1)
    )
    assert torch.equal(y, want)
    assert 30 < float(y.detach().sum()) < 0.9 * y.numel()
    for a, b in zip(got, torch.autograd.grad(want, [x, beta, rho], g), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_between_synapses_it_learns():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        slayer.synapse.Dense(4, 20),
        Custom(BURSTING, surrogate=surrogate),
        slayer.synapse.Dense(20, 2),
        Custom(BURSTING, surrogate=surrogate),
    )
    assert sorted(n for n, p in net.named_parameters() if p.requires_grad and "values" in n) == [
        f"{k}.values.{n}" for k in (1, 3) for n in ("beta", "rho")
    ]
    x, label = noise(30, 4, 20) + 0.3, torch.arange(30) % 2
    x[label == 1, :2] += 1
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(net(x).sum(-1), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_trained_value_stays_within_its_limits():
    neuron = Custom(BURSTING)
    with torch.no_grad():
        neuron.values["beta"].fill_(1.2)
    neuron(noise(1, 2, 5)).sum().backward()
    assert neuron.values["beta"].item() == 1
    assert neuron.values["beta"].grad is not None


def test_it_streams_and_persists():
    x = noise(2, 3, 30)
    neuron = Custom(BURSTING, persistent_state=True)
    whole = Custom(BURSTING)(x)
    first, state = neuron.stream(x[..., :11])
    second, _ = neuron.stream(x[..., 11:], state=state)
    assert torch.equal(torch.cat([first, second], -1), whole)
    assert torch.equal(torch.cat([neuron(x[..., :11]), neuron(x[..., 11:])], -1), whole)
    late, _ = neuron.stream(x, shift=True)
    assert torch.equal(late[..., 1:], whole[..., :-1])


def test_two_inputs_and_a_norm_for_each():
    neuron = Custom(
        TWO, norm=slayer.neuron.norm.MeanOnlyBatchNorm, dropout=slayer.neuron.Dropout(0.0)
    )
    a, b = noise(4, 3, 10) + 1, noise(4, 3, 10, seed=1)
    y = neuron(a, b)
    assert y.shape == a.shape
    assert [len(n.running_mean) for n in neuron.norms] == [3, 3]
    assert not torch.equal(neuron.norms[0].running_mean, neuron.norms[1].running_mean)
    with pytest.raises(InputError, match="takes 2 inputs"):
        neuron(a)


def test_a_state_dict_and_a_copy_are_the_neuron():
    one, other = Custom(BURSTING, {"beta": 0.3}), Custom(BURSTING)
    other.load_state_dict(one.state_dict())
    x = noise(2, 3, 20)
    assert torch.equal(one(x), other(x))
    assert torch.equal(copy.deepcopy(one)(x), one(x))


class Dense(base.Dense):
    neuron_class = Custom


def test_blocks_take_it():
    torch.manual_seed(0)
    block = Dense(
        {"dynamics": BURSTING, "arithmetic": "grid", "surrogate": surrogate}, 4, 6, weight_scale=3
    )
    y = block(noise(2, 4, 20) + 1)
    assert y.shape == (2, 6, 20)
    assert y.detach().sum() > 0
    assert not y[..., 0].detach().any(), "a step late"
    with pytest.raises(ExportError, match="process"):
        block.device_params()
    with pytest.raises(InputError, match="has no threshold known to all neurons"):
        block.neuron.threshold  # noqa: B018


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"values": {"beta": 1.5}}, r"Custom\(bursting\): values: beta is in 0..1, got 1.5"),
        ({"values": {"vht": 1.0}}, "values: no parameter 'vht' among .*did you mean 'vth'"),
        ({"learn": ["tau"]}, "learn: no parameter 'tau' among"),
        ({"values": {"vth": float("nan")}}, "vth is in 0..100, got nan"),
        ({"values": {"vth": np.ones((2, 2))}}, r"one number or one a channel, got shape \(2, 2\)"),
        ({"arithmetic": "int8"}, "arithmetic is 'float' or 'grid', got 'int8'"),
        ({"reset_grad": "none"}, "reset_grad is"),
        ({"scale": 0}, r"scale is an integer in 1\.\.4096, got 0"),
        ({"dynamics": lif.FIRE}, r"one output, got \('s_out', 'v_out'\)"),
        ({"dynamics": lif.LIF_LATE_BIAS}, "depends on the time step t"),
        (
            {"dynamics": TWO, "arithmetic": "grid"},
            "fixed-point form, which the step does not have: /",
        ),
        (
            {"dynamics": membrane.LEAKY["none"], "values": {"vth": 0.5}},
            r"values: .* are needed, \['beta'\] missing",
        ),
    ],
)
def test_what_a_layer_refuses(kwargs, told):
    with pytest.raises(InputError, match=told):
        Custom(**{"dynamics": BURSTING} | kwargs)


def test_as_many_values_as_channels():
    with pytest.raises(
        InputError, match=r"vth has 2 values, one a channel; the input has shape \(1, 3, 5\)"
    ):
        Custom(BURSTING, {"vth": [1.0, 2.0]})(noise(1, 3, 5))


# -- as a process ----------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.integers(0, 999))
def test_the_process_computes_what_the_layer_did(beta, rho, jump, seed):
    values = {"beta": beta, "rho": rho, "jump": jump, "vth": [0.5, 0.8, 1.1]}
    layer = Custom(BURSTING, values).double()
    x = noise(2, 3, 40, seed=seed, dtype=torch.float64)
    with torch.no_grad():
        spikes = layer(x).numpy()
    for backend in ("numba", "torch"):
        rec = lv.simulate(
            layer.process((3,)),
            {"a_in": x.numpy()},
            config=lv.RunConfig(backend=backend, dtype="float64"),
        )
        np.testing.assert_array_equal(rec["s_out"], spikes)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.integers(0, 999))
def test_fixed_point_computes_what_the_grid_did(beta, rho, jump, seed):
    layer = Custom(
        BURSTING,
        {"beta": beta, "rho": rho, "jump": jump, "vth": [0.5, 0.8, 1.1]},
        arithmetic="grid",
    )
    x = noise(2, 3, 40, seed=seed)
    with torch.no_grad():
        spikes, state = layer.stream(x)
    process = layer.process((3,))
    fed = {"a_in": np.trunc(x.numpy() * layer.s_scale).astype(np.int64)}
    rec = lv.simulate(process, fed, config=lv.RunConfig(precision="fixed_pt"), record=[process.v])
    np.testing.assert_array_equal(rec["s_out"], spikes.numpy())
    np.testing.assert_array_equal(rec[process.v][..., -1] / 4096, state["v"].numpy())
    assert layer.integer("beta") == round(float(np.float32(beta)) * 4096)


def test_a_process_goes_between_others():
    Bursting = neuron_process(BURSTING)
    assert Bursting is neuron_process(BURSTING)
    assert Bursting.__name__ == "Bursting"
    assert "v[t] = beta v[t-1] + a_in[t] - w[t]" in Bursting.__doc__
    one, two = (
        Bursting(shape=(2,), vth=0.3, v=[0.2, 0.1]),
        Bursting(shape=(3,), beta=[0.1, 0.2, 0.3]),
    )
    dense = lv.proc.Dense(weights=np.ones((3, 2)) * 0.7)
    one.s_out.connect(dense.s_in)
    dense.a_out.connect(two.a_in)
    rec = lv.simulate(one, {"a_in": np.abs(noise(2, 20).numpy())}, record=[two.s_out])
    assert rec["s_out"].sum() > 5
    assert rec[two.s_out].sum() > 5
    module = lv.to_torch(Bursting(shape=(2,)))
    assert len([*module.parameters()]) == 2, "beta and rho"


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"beta": 1.5}, r"Bursting.beta: 1.5 is outside 0..1"),
        ({"tau": 1.5}, r"unknown \['tau'\]"),
        ({"scale": 0}, "scale is > 0"),
        ({"vth": [1, 2, 3]}, "does not fit shape"),
    ],
)
def test_what_a_process_refuses(kwargs, told):
    with pytest.raises(VarError, match=told):
        neuron_process(BURSTING)(shape=(2,), **kwargs)


def test_a_value_set_later_is_checked():
    process = neuron_process(BURSTING)(shape=(2,))
    process.beta.set(7.0)
    with pytest.raises(VarError, match=r"beta: 7\.0 is outside 0\.\.1"):
        lv.simulate(process, {"a_in": np.zeros((2, 3))})


def test_what_has_no_fixed_point_form():
    with pytest.raises(ModelSelectionError, match="fixed_pt"):
        lv.simulate(
            neuron_process(TWO)(shape=(2,)), steps=2, config=lv.RunConfig(precision="fixed_pt")
        )
    with pytest.raises(InputError, match="no fixed-point form has /"):
        neuron_process(Dynamics(two_inputs, ("a_in", "b_in"), ("s_out",), ("v",)))
    plain = neuron_process(Dynamics(bursting, ("a_in",), ("s_out",), ("v", "w")))
    with pytest.raises(VarError, match=r"beta: whole numbers are needed, got 0\.9"):
        lv.simulate(
            plain(shape=(2,), beta=0.9, rho=0, jump=0, vth=1),
            steps=2,
            config=lv.RunConfig(precision="fixed_pt"),
        )
    with pytest.raises(VarError, match=r"missing \['beta', 'rho', 'jump', 'vth'\]"):
        plain(shape=(2,))


def named(a_in, run, shape):
    return above(a_in, run), run * shape


def test_what_no_process_is_made_of():
    with pytest.raises(
        InputError, match=r"\['run', 'shape'\] are names that every process has already"
    ):
        neuron_process(Dynamics(named, ("a_in",), ("s_out",), ("run",)))
    with pytest.raises(InputError, match="derives them from Vars of its own"):
        neuron_process(lif.LIF)


# -- what a step may be ----------------------------------------------------------------------------


over = above


def alias(a_in, v):
    return over(a_in, 1), v


def helper_default(a_in, v, gain=2.0):
    return leak(v, 0.5) + a_in * gain


def with_helper(a_in, v):
    v = helper_default(a_in, v)
    return above(v, 1), v


def inner(a_in, v):
    def add(x):
        return leak(x, 0.5) + a_in

    return above(add(v), 1), add(v)


def closing(k, word):
    def step(a_in, v):
        v = tired(v, k) + a_in
        return word(v, 1), v

    return step


def times(a, b):
    return leak(a, b)


def run_words(step):
    """The outputs of five steps: unbound, and fused."""
    d = Dynamics(step, ("a_in",), ("s_out",), ("v",))
    x = noise(5, 7, dtype=torch.float64) + 0.5
    state, rows = np.zeros(7), []
    for now in x.numpy():
        s, state = step(now, state)
        rows.append(np.asarray(s, float))
    got = fused.scan(d, Training(surrogate), {"a_in": x}, {}).outputs["s_out"].numpy()
    process = neuron_process(dataclasses.replace(d, fixed=False), "Odd")(shape=(7,))
    compiled = lv.simulate(process, {"a_in": x.numpy().T}, config=lv.RunConfig(dtype="float64"))
    return np.stack(rows), got, compiled["s_out"].T


def nameless():
    return lambda a_in, v: (above(a_in + v, 1), leak(v, 0.5) + a_in)


@pytest.mark.parametrize(
    "step",
    [alias, with_helper, inner, closing(0.5, above), nameless()],
    ids=["alias", "helper with defaults", "inner function", "closure", "lambda"],
)
def test_steps_that_work(step):
    plain, scanned, compiled = run_words(step)
    np.testing.assert_array_equal(scanned, plain)
    np.testing.assert_array_equal(compiled, plain)
    assert 0 < plain.sum() < plain.size


partial = functools.partial(times, b=0.5)
cached = functools.lru_cache(times)


class Namespace:
    leak = staticmethod(leak)


class Callable:
    def __call__(self, a, b):
        return leak(a, b)


instance = Callable()


def through_module(a_in, v):
    return ops.above(a_in, 1), v


def through_helper_module(a_in, v):
    return lif.membrane(a_in, v, 0.5, 0), v


def through_class(a_in, v):
    return Namespace.leak(a_in, 1), v


def through_partial(a_in, v):
    return partial(a_in), v


def through_cache(a_in, v):
    return cached(a_in, v), v


def through_instance(a_in, v):
    return instance(a_in, v), v


def word_as_default(a_in, v):
    return given_word(a_in, v), v


def given_word(a, b, word=leak):
    return word(a, b)


def imports(a_in, v):
    from lavalike.dynamics.ops import above as late

    return late(a_in, 1), v


def endless(a_in, v):
    return endless(leak(a_in, 1), v)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            through_module,
            "ops.above is reached through ops; .*from lavalike.dynamics.ops import above",
        ),
        (
            through_helper_module,
            "lif.membrane is reached through lif; .*from lavalike.dynamics.lif import membrane",
        ),
        (through_class, "Namespace.leak is reached through Namespace"),
        (through_partial, "partial is a partial; a helper is a plain function"),
        (through_cache, "helper cached is a _lru_cache_wrapper"),
        (through_instance, "helper instance is a Callable"),
        (word_as_default, "given_word: a function as a default value"),
        (imports, "import inside the step"),
        (endless, "calls itself"),
    ],
)
def test_words_that_would_stay_unbound(step, told):
    with pytest.raises(InputError, match=told):
        bind(step, {n: f for n, f in vars(ops).items() if isinstance(f, types.FunctionType)})


def default(a_in, v, k=0.5):
    return a_in * k, v


def starred(a_in, v, *rest):
    return a_in, v


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"step": functools.partial(default, k=1)}, "step is a plain function"),
        ({"step": default}, r"'k=0.5' of the step.*Parameter\('k'"),
        ({"step": starred}, r"'\*rest' of the step"),
        ({"states": ("v", "w")}, r"\['w'\] are inputs or states"),
        ({"outputs": ("v",)}, "share a name"),
        ({"parameters": (Parameter("tau", 1.0),)}, r"parameters \['tau'\] are not among"),
    ],
)
def test_a_declaration_that_does_not_fit(kwargs, told):
    with pytest.raises(InputError, match=told):
        Dynamics(
            **{"step": alias, "inputs": ("a_in",), "outputs": ("s_out",), "states": ("v",)} | kwargs
        )


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [({"counts": "volts"}, "counts is"), ({"low": 2.0}, "its default 1.0 is outside 2.0..inf")],
)
def test_a_parameter_that_does_not_fit(kwargs, told):
    with pytest.raises(InputError, match=told):
        Parameter("k", 1.0, **kwargs)


# -- as an equation --------------------------------------------------------------------------------


def rare(a_in, v, w, k):
    drive = exp(-absolute(v)) * (w - 1)
    v, w = w, v + a_in
    w += drive * math.pi
    return where((v > 0) & (w < k), drive, 0), v**2 / k, max(w, 0.5)


RARE = Dynamics(rare, ("a_in",), ("y_out",), ("v", "w"), fixed=False)


@pytest.mark.parametrize(
    ("dynamics", "lines"),
    [
        (
            lif.LIF,
            [
                "u[t] = keep_u u[t-1] + gain a_in[t]",
                "v[t] = keep_v v[t-1] + u[t] + bias",
                "s_out[t] = v[t] > vth",
                "v[t] = 0 where s_out[t]",
            ],
        ),
        (
            resonator.RF,
            [
                "real[t] = cos real[t-1] - sin imag[t-1] + gain a_real_in[t]",
                "imag[t] = sin real[t-1] + cos imag[t-1] + gain a_imag_in[t]",
                "s_out[t] = real[t] >= vth and imag[t] >= 0 > imag[t-1]",
            ],
        ),
        (
            delta.DELTA,
            [
                "d[t] = gain a_in[t] - act[t-1] + residue[t-1]",
                "s[t] = d[t] where |d[t]| >= vth, else 0",
                "s_out[t] = out_scale s[t]",
                "act[t] = gain a_in[t]",
                "residue[t] = d[t] - s[t]",
            ],
        ),
        (
            BURSTING,
            [
                "w[t] = rho w[t-1]",
                "v[t] = beta v[t-1] + a_in[t] - w[t]",
                "s_out[t] = v[t] > vth",
                "v[t] = 0 where s_out[t]",
                "w[t] = w[t] + jump where s_out[t]",
            ],
        ),
        (
            membrane.LEAKY["subtract"],
            ["mem[t] = beta mem[t-1] + a_in[t] - vth (mem[t-1] > vth)", "s_out[t] = mem[t] > vth"],
        ),
        (
            membrane.LEAKY_NOW["subtract"],
            [
                "mem[t] = beta mem[t-1] + a_in[t]",
                "s_out[t] = mem[t] > vth",
                "mem[t] = mem[t] - vth where s_out[t]",
            ],
        ),
        # a value before its change is named where it is asked for after it
        (
            resonator.RF_IZ,
            [
                "new_real[t] = cos real[t-1] - sin imag[t-1] + gain a_real_in[t]",
                "new_imag[t] = sin real[t-1] + cos imag[t-1] + gain a_imag_in[t]",
                "s_out[t] = new_imag[t] >= vth",
                "real[t] = 0 where s_out[t], else new_real[t]",
                "imag[t] = after where s_out[t], else new_imag[t]",
            ],
        ),
        # r is raised by the threshold before the threshold's own step
        (
            adaptive.ALIF,
            [
                "u[t] = keep_u u[t-1] + gain a_in[t] + bias",
                "v[t] = keep_v v[t-1] + u[t]",
                "offset[t] = keep_theta offset[t-1]",
                "r[t] = keep_r r[t-1]",
                "theta[t] = vth + offset[t] + r[t]",
                "s_out[t] = v[t] >= theta[t]",
                "r[t] = r[t] + 2 (vth + offset[t]) where s_out[t]",
                "offset[t] = offset[t] + step where s_out[t]",
            ],
        ),
        (
            lif.TERNARY_LIF,
            [
                "u[t] = keep_u u[t-1] + gain a_in[t]",
                "v[t] = keep_v v[t-1] + u[t] + bias",
                "up[t] = v[t] > vth_hi",
                "down[t] = -v[t] > -vth_lo",
                "s_out[t] = up[t] - down[t]",
                "v[t] = 0 where up[t], else (0 where down[t], else v[t])",
            ],
        ),
        (
            RARE,
            [
                "drive[t] = exp(-|v[t-1]|) (w[t-1] - 1)",
                "v[t] = w[t-1]",
                "w_1[t] = v[t-1] + a_in[t]",
                "w[t] = w_1[t] + pi drive[t]",
                "y_out[t] = drive[t] where v[t] > 0 and w[t] < k, else 0",
                "v[t] = v[t]^2 / k",
                "w[t] = max(w[t], 0.5)",
            ],
        ),
        (
            Dynamics(with_helper, ("a_in",), ("s_out",), ("v",)),
            ["v[t] = 0.5 v[t-1] + 2.0 a_in[t]", "s_out[t] = v[t] > 1"],
        ),
    ],
    ids=lambda x: x.name if isinstance(x, Dynamics) else "",
)
def test_equations(dynamics, lines):
    assert dynamics.equation.splitlines() == lines


def looping(a_in, v):
    for _ in range(3):
        v = v + a_in
    return above(v, 1), v


@pytest.mark.parametrize(
    ("step", "told"), [(looping, "no equation for 'for _ in"), (nameless(), "write it as a def")]
)
def test_no_equation(step, told):
    with pytest.raises(InputError, match=told):
        _ = Dynamics(step, ("a_in",), ("s_out",), ("v",)).equation


def test_no_source():
    scope = {"above": above}
    exec("def step(a_in, v): return above(v, 1), v", scope)
    with pytest.raises(InputError, match="step: the source of step is not at hand"):
        _ = Dynamics(scope["step"], ("a_in",), ("s_out",), ("v",)).equation
