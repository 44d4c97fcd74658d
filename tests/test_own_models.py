"""A user's own model: what would be silently wrong is refused with its line, what goes wrong in a
run is told by process and step."""

from __future__ import annotations

import numba
import numpy as np
import pytest

import lavalike as lv
from lavalike.dynamics import Dynamics, Parameter
from lavalike.errors import GradedMessageWarning
from lavalike.proc import (
    LIF,
    Conv,
    ConvTranspose,
    DelayDense,
    Dense,
    Sigma,
    SigmaDelta,
    Sparse,
    io,
    neuron_process,
)

X = np.arange(12.0).reshape(3, 4) + 1
FIXED = lv.RunConfig(precision="fixed_pt")


def model(step, name="M", backend="numba", base=None, **kwargs):
    """A process of three neurons with a state, two parameters and the model whose step is
    ``step``."""

    class P(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out, self.v = lv.InPort((3,)), lv.OutPort((3,)), lv.Var((3,), 0.0)
            self.w, self.m = (
                lv.Var((3,), 1.0, role="parameter"),
                lv.Var((2, 3), 1.0, role="parameter"),
            )

    lv.implements(P, backend=backend, **kwargs)(
        type(name, (base or lv.NumbaModel,), {"step": step} if callable(step) else step)
    )
    return P()


@numba.njit
def put(a, k):
    a[k] = 1.0


@numba.njit
def double(a, out):
    for i in range(a.size):
        out[i] = 2 * a[i]


@numba.njit
def rows_of(a):
    return a


# -- refused when it is compiled -------------------------------------------------------------------


def returned(a_in, s_out):
    return a_in * 2


def returned_sometimes(t, a_in, s_out):
    s_out[:] = a_in
    return s_out if t > 2 else None


def returned_of_a_call(a_in, s_out):
    s_out[:] = a_in
    return np.sum(a_in)


def yielded(a_in, s_out):
    s_out[:] = a_in
    yield 1


def rebound(a_in, s_out):
    s_out = a_in * 2  # noqa: F841


def rebound_state(a_in, s_out, v):
    s_out[:] = v
    if a_in[0] > 1:
        v = v + a_in


def rebound_by_a_loop(a_in, s_out):
    for s_out in a_in:  # noqa: B007
        pass


def never_written(a_in, s_out, v):
    v[:] = a_in


def copy_written(a_in, s_out):
    out = s_out.copy()
    out[:] = a_in


def reads_only(a_in, s_out):
    for i in range(3):
        a_in[i] * s_out[i]


def parameter_written(a_in, s_out, w):
    s_out[:] = a_in
    w[0] += 1


def parameter_rows(a_in, s_out, m):
    s_out[:] = a_in
    for row in m:
        row += 1


def parameter_handed_over(a_in, s_out, w):
    s_out[:] = a_in
    put(w, 1)


def parameter_in_place(a_in, s_out, w):
    s_out[:] = a_in
    w += 1


def parameter_view(a_in, s_out, m):
    s_out[:] = a_in
    flat = m.reshape(-1)
    flat[1:3] = 0


def input_written(a_in, s_out):
    s_out[:] = a_in
    a_in[0] = 1


REFUSED = {
    returned: "returns a value",
    returned_sometimes: "returns a value",
    returned_of_a_call: "returns a value",
    yielded: "returns a value",
    rebound: "name of the OutPort s_out",
    rebound_state: "name of the state v",
    rebound_by_a_loop: "name of the OutPort s_out",
    never_written: "never writes the OutPort s_out",
    copy_written: "never writes the OutPort s_out",
    reads_only: "never writes the OutPort s_out",
    parameter_written: "writes w, which P declares a parameter",
    parameter_rows: "writes m, which P declares a parameter",
    parameter_handed_over: "writes w",
    parameter_in_place: "writes w",
    parameter_view: "writes m",
    input_written: "writes the InPort a_in",
}


@pytest.mark.parametrize("step", REFUSED, ids=lambda f: f.__name__)
@pytest.mark.parametrize("debug", [False, True], ids=["compiled", "python"])
def test_a_step_that_would_be_silently_wrong_is_refused(step, debug):
    with pytest.raises(
        lv.GraphError, match=rf"^P: .*test_own_models.py:\d+\) .*{REFUSED[step]}"
    ) as caught:
        lv.simulate(model(step), {"a_in": X}, config=lv.RunConfig(debug=debug))
    line = int(str(caught.value).split(".py:")[1].split(")")[0])
    code = step.__code__
    assert code.co_firstlineno <= line <= code.co_firstlineno + 5


def test_the_line_is_that_of_the_mistake_and_needs_no_source():
    scope = {}
    exec(
        compile(
            "\n\ndef step(a_in, s_out, v):\n    s_out[:] = v\n    v = v + a_in\n",
            "<prompt>",
            "exec",
        ),
        scope,
    )
    with pytest.raises(
        lv.GraphError, match=r"<prompt>:5\) gives the name of the state v to something else"
    ):
        lv.simulate(model(scope["step"]), {"a_in": X})


# -- and what must not be refused ------------------------------------------------------------------


def by_a_helper(a_in, s_out):
    double(a_in, s_out)


def by_a_helper_at_the_end(a_in, s_out):
    return double(a_in, s_out)


def by_what_a_helper_returns(a_in, s_out):
    out = rows_of(s_out)
    out[:] = 2 * a_in


def by_a_view(a_in, s_out):
    out = s_out.reshape(-1)
    for i in range(out.size):
        out[i] = 2 * a_in.flat[i]


def by_flat(a_in, s_out):
    for i in range(a_in.size):
        s_out.flat[i] = 2 * a_in.flat[i]


def by_an_entry(a_in, s_out):
    (out, x) = (s_out, a_in)
    for k in range(1):
        out[k:] = 2 * x[k:]


def by_a_loop_over_ports(a_in, s_out):
    for out in (s_out,):
        out[:] = 2 * a_in


def by_out(a_in, s_out):
    np.multiply(a_in, 2, s_out)


def in_place(a_in, s_out, v):
    v += 2 * a_in
    s_out[:] = v
    v -= v


def with_a_local_of_a_parameters_name(a_in, s_out, w):
    w = w.copy()
    w[0] = 1
    s_out[:] = a_in * (w + 1)


def in_conditions(a_in, s_out, w):
    if a_in[0] < 0:
        s_out[:] = 0
        return
    for i in range(3):
        for k in range(2):
            if k:
                s_out[i] = a_in[i] * (k + w[i])


FINE = [
    by_a_helper,
    by_a_helper_at_the_end,
    by_what_a_helper_returns,
    by_a_view,
    by_flat,
    by_an_entry,
    by_a_loop_over_ports,
    by_out,
    in_place,
    with_a_local_of_a_parameters_name,
    in_conditions,
]


@pytest.mark.parametrize("step", FINE, ids=lambda f: f.__name__)
def test_ways_to_write_are_seen(step):
    # the same look at the step in both; those are compiled that hand arrays on or write them as a
    # whole
    compiled = step not in (
        by_a_view,
        by_an_entry,
        by_a_loop_over_ports,
        with_a_local_of_a_parameters_name,
        in_conditions,
    )
    for debug in (False, True) if compiled else (True,):
        np.testing.assert_array_equal(
            lv.simulate(model(step), {"a_in": X}, config=lv.RunConfig(debug=debug))["s_out"], 2 * X
        )


def test_what_derive_returned_is_each_samples_own_where_a_step_writes_it():
    def step(a_in, s_out, work):
        for k in range(3):
            work[k] += a_in[k]
            s_out[k] = work[k]

    x = np.broadcast_to(X, (4, 3, 4)) * np.arange(4)[:, None, None]
    process = model(
        {"step": step, "derive": lambda self, values: {"work": np.zeros(3, np.float32)}}
    )
    for threads in (1, 2):
        got = lv.simulate(process, {"a_in": x}, config=lv.RunConfig(threads=threads))["s_out"]
        np.testing.assert_array_equal(got, x.cumsum(-1))


# -- ports -----------------------------------------------------------------------------------------


class Inhibited(LIF):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inh = lv.InPort(self.shape)


class Reporting(LIF):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.more = lv.OutPort(self.shape)


class InhibitedDense(Dense):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inh = lv.InPort((2,))


@pytest.mark.parametrize("backend", ["numba", "torch", "bss2"])
def test_a_port_that_the_model_does_not_know_is_an_error(backend):
    config = lv.RunConfig(backend=backend)
    lif, source = Inhibited(shape=(2,)), io.source.RingBuffer(data=np.ones((2, 3)))
    if backend == "numba":
        lif.run(lv.RunSteps(1))  # nothing is sent there: it is legal
        lif.stop()
    source.s_out.connect(lif.inh)
    with pytest.raises(
        lv.GraphError,
        match=r"Inhibited.inh: .*s_out is sent there, which \w+, the model of Inhibited, does not read",
    ):
        lif.run(lv.RunSteps(1), config)
    with pytest.raises(
        lv.GraphError,
        match=r"Reporting.more: an OutPort which \w+, the model of Reporting, does not write",
    ):
        Reporting(shape=(2,)).run(lv.RunSteps(1), config)


def test_an_input_of_simulate_counts_as_sent():
    with pytest.raises(lv.GraphError, match=r"Inhibited.inh: an input is sent there"):
        lv.simulate(Inhibited(shape=(2,)), {"inh": np.ones((2, 3))})


TORCH = {
    "returns no OutPort s_out": lambda self, t, inputs, state, c: ({}, state),
    "returns 's_oot', which is no OutPort; did you mean 's_out'": lambda self, t, i, state, c: (
        {"s_out": i["a_in"], "s_oot": 1},
        state,
    ),
    "returns no state v": lambda self, t, inputs, state, c: ({"s_out": inputs["a_in"]}, {}),
    "returns Tensor; it returns two dicts": lambda self, t, inputs, state, c: inputs["a_in"],
    "does not read the InPort a_in": lambda self, t, inputs, state, c: (
        {"s_out": state["v"]},
        state,
    ),
}


@pytest.mark.parametrize("text", TORCH)
def test_a_torch_step_that_forgets_is_told(text):
    process = model(TORCH[text], backend="torch", base=lv.TorchModel)
    with pytest.raises(lv.GraphError, match=rf"P: M.step \(.*test_own_models.py:\d+\) {text}"):
        lv.simulate(process, {"a_in": X}, config=lv.RunConfig(backend="torch"), record=["v"])


# -- indices and exceptions ------------------------------------------------------------------------


def beyond(a_in, s_out):
    for i in range(3):
        s_out[i] = a_in[i + 1]


def far_beyond(a_in, s_out):
    s_out[10**8] = 1.0


def beyond_in_a_helper(a_in, s_out):
    put(s_out, 3)


def beyond_in_flat(a_in, s_out):
    for i in range(4):
        s_out.flat[i] = a_in[0]


@pytest.mark.parametrize(
    ("step", "index"),
    [(beyond, 3), (far_beyond, 10**8), (beyond_in_a_helper, 3), (beyond_in_flat, 3)],
)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "batch"])
def test_an_index_out_of_bounds_is_an_error(step, index, batch):
    x = np.broadcast_to(X, (*batch, *X.shape))
    with pytest.raises(
        IndexError,
        match=rf"P, step 1.*: index {index} is out of bounds .*s_out has shape \(3,\).*\.py:\d+",
    ) as caught:
        lv.simulate(model(step), {"a_in": x}, config=lv.RunConfig(threads=1))
    assert isinstance(caught.value, lv.RunError)


def test_bounds_can_be_turned_off():
    def step(a_in, s_out):
        s_out[:] = a_in[3 - 1 + (a_in[0] > 99)]

    fast = model(step, bounds=False)
    assert not type(fast).models[0].bounds
    np.testing.assert_array_equal(
        lv.simulate(fast, {"a_in": X})["s_out"], np.broadcast_to(X[2], (3, 4))
    )


class Custom(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (ValueError, "'rate too high'"),
        (KeyError, "'rate too high'"),
        (OSError, "'rate too high'"),
        (ZeroDivisionError, "'rate too high'"),
        (Custom, "1, 'rate too high'"),
    ],
)
def test_what_a_step_raises_reaches_the_caller(kind, args):
    """And the states are those of the step before, in every process."""
    scope = {"kind": kind}
    exec(
        f"def step(t, a_in, s_out, v):\n    v += a_in\n    s_out[:] = 0\n    if t == 4:\n        raise kind({args})\n",
        scope,
    )
    process, before = model(scope["step"]), Sigma(shape=(3,))
    source = io.source.RingBuffer(data=np.ones((3, 9)))
    source.s_out.connect(before.a_in)
    before.s_out.connect(process.a_in)
    for debug in (
        (False, True) if kind in (ValueError, Custom) else (True,)
    ):  # a kernel knows no kinds
        process.reset()
        with pytest.raises(lv.RunError, match=r"P, step 4: .*rate too high") as caught:
            process.run(lv.RunSteps(9), lv.RunConfig(debug=debug))
        assert "rate too high" in str(caught.value.__cause__)
        assert type(caught.value.__cause__) is kind
        assert isinstance(caught.value, kind) or kind is Custom
        process.stop()
        np.testing.assert_array_equal(before.sigma.get(), [3, 3, 3])
        np.testing.assert_array_equal(process.v.get(), [6, 6, 6])


# -- names -----------------------------------------------------------------------------------------

NAMES = (
    "i",
    "n",
    "t",
    "k",
    "np",
    "bad",
    "wide",
    "result",
    "block",
    "first",
    "last",
    "busy",
    "still",
    "slots",
    "kernel",
    "function",
    "uint64",
    "int64",
    "range",
    "x_i",
    "a_i",
    "min",
    "abs",
)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_clashes_with_the_generated_loop(name):
    """As a state, as an input and as a parameter of a Dynamics, and as a Var of a model of one's
    own."""
    scope = {}
    exec(
        f"def leaky(a_in, {name}, keep):\n    {name} = {name} * keep + a_in\n    return {name}, {name}\n"
        + (
            f"def fed({name}, v):\n    v = v + {name}\n    return v, v\n"
            f"def scaled(a_in, v, {name}):\n    v = v * {name} + a_in\n    return v, v\n"
            if name != "t"
            else ""
        ),
        scope,
    )
    config = lv.RunConfig(
        debug=name not in ("i", "n")
    )  # what is compiled is what is run as Python there
    want = np.zeros((3, 4))
    for k in range(4):
        want[:, k] = 0.5 * want[:, k - 1] * (k > 0) + X[:, k]
    P = neuron_process(
        Dynamics(
            scope["leaky"],
            ("a_in",),
            ("s_out",),
            (name,),
            parameters=(Parameter("keep", 0.5),),
            fixed=False,
        )
    )
    np.testing.assert_allclose(
        lv.simulate(P(shape=(3,)), {"a_in": X}, config=config)["s_out"], want, rtol=1e-6
    )
    if name != "t":
        P = neuron_process(Dynamics(scope["fed"], (name,), ("s_out",), ("v",)))
        np.testing.assert_array_equal(
            lv.simulate(P(shape=(3,)), {name: X}, config=config)["s_out"], X.cumsum(1)
        )
        P = neuron_process(
            Dynamics(
                scope["scaled"],
                ("a_in",),
                ("s_out",),
                ("v",),
                parameters=(Parameter(name, 0.5),),
                fixed=False,
            )
        )
        np.testing.assert_allclose(
            lv.simulate(P(shape=(3,)), {"a_in": X}, config=config)["s_out"], want, rtol=1e-6
        )


def test_a_parameter_called_t_is_the_users():
    class Q(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out, self.t = (
                lv.InPort((3,)),
                lv.OutPort((3,)),
                lv.Var((1,), 7.0, role="parameter"),
            )

    def step(a_in, s_out, t):
        s_out[:] = a_in * t[0]

    lv.implements(Q, backend="numba")(type("M", (lv.NumbaModel,), {"step": step}))
    np.testing.assert_array_equal(lv.simulate(Q(), {"a_in": X})["s_out"], 7 * X)


# -- numbers ---------------------------------------------------------------------------------------


def overflowing():
    """Two messages of 1e30 times weights of 1e30 and -1e30: NaN in step 3."""
    dense, lif = Dense(weights=[[1e30, -1e30]], num_message_bits=24), LIF(shape=(1,), vth=1e38)
    data = np.zeros((2, 5))
    data[:, 2] = 1e30
    source = io.source.RingBuffer(data=data)
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif


@pytest.mark.parametrize(
    "config",
    [{"check": "finite"}, {"debug": True}, {"check": "finite", "backend": "torch"}],
    ids=str,
)
def test_a_run_stops_at_the_first_nan(config):
    lif = overflowing()
    lif.run(lv.RunSteps(2), lv.RunConfig(**config))
    with pytest.raises(
        lv.RunError,
        match=r"Dense.a_(out|buff), step 3: (nan|inf) at flat index 0, the first NaN or infinity",
    ):
        lif.run(lv.RunSteps(5))
    lif.stop()
    assert lif.v.get() == 0
    lif = overflowing()
    lif.run(lv.RunSteps(5))
    assert np.isnan(lif.v.get()).all()  # unasked, nothing looks


def test_check_is_refused_where_it_cannot_be_had():
    with pytest.raises(lv.InputError, match=r"check belongs to the numba and torch backends"):
        overflowing().run(lv.RunSteps(1), lv.RunConfig(backend="bss2", check="finite"))


def set_in_a_run(name, idx=None):
    lif = LIF(shape=(2,))
    lif.run(lv.RunSteps(1))
    getattr(lif, name).set(1e300, idx)


BEYOND = {
    "LIF.a_in": lambda: lv.simulate(LIF(shape=(2,)), {"a_in": np.full((2, 3), 1e300)}),
    "LIF.u": lambda: LIF(shape=(2,), u=1e300).run(lv.RunSteps(2)),
    "LIF.vth": lambda: LIF(shape=(2,), vth=1e300).run(lv.RunSteps(2)),
    "LIF.v": lambda: set_in_a_run("v"),
    "LIF.v ": lambda: set_in_a_run("v", 0),
    "LIF.bias": lambda: set_in_a_run("bias_mant"),
    "Dense.weights": lambda: Dense(weights=[[1e300]]).run(lv.RunSteps(1)),
    "Dense.weights ": lambda: Dense(weights=[[1e300]]).run(
        lv.RunSteps(1), lv.RunConfig(backend="torch")
    ),
    "Conv.weight": lambda: Conv(weight=np.full((1, 1, 1, 1), 1e300), input_shape=(1, 1, 1)).run(
        lv.RunSteps(1)
    ),
    "RingBuffer.data": lambda: io.source.RingBuffer(data=[[1e300]]).run(lv.RunSteps(1)),
}


@pytest.mark.parametrize("where", BEYOND)
def test_numbers_beyond_float32_are_an_error(where):
    with pytest.raises(
        (lv.InputError, lv.VarError),
        match=rf"{where.strip()}.*: 1e\+300 is beyond .*float32.*float64",
    ):
        BEYOND[where]()


def test_float64_holds_them():
    got = lv.simulate(
        LIF(shape=(2,), du=1.0),
        {"a_in": np.full((2, 3), 1e300)},
        config=lv.RunConfig(dtype="float64"),
        record=["u"],
    )
    assert (got["u"] == 1e300).all()


def test_values_behind_a_mask_are_not_taken():
    masked = np.ma.masked_array([[1.0, 2.0]], [[False, True]])
    for call in (
        lambda: Dense(weights=masked),
        lambda: lv.Var((1, 2), masked),
        lambda: io.source.RingBuffer(data=masked),
        lambda: LIF(shape=(2,), u=masked[0]),
    ):
        with pytest.raises(lv.VarError, match=r"mask|without gaps"):
            call()
    np.testing.assert_array_equal(
        Dense(weights=np.ma.masked_array([[1.0, 2.0]])).weights.get(), [[1, 2]]
    )


@pytest.mark.parametrize(
    "connection",
    [Dense, Sparse, lambda **k: DelayDense(delays=0, **k)],
    ids=["dense", "sparse", "delays"],
)
def test_fixed_sums_beyond_32_bits_are_errors(connection):
    """A message of 24 bits times 254 leaves 32 bits; sums that fit are right, also where the bound
    alone would not say so."""
    big = 2**24 - 1
    with pytest.raises(lv.RunError, match=r"step 1: a sum left the 32 bits"):
        lv.simulate(
            connection(weights=[[254]], num_message_bits=24),
            {"s_in": np.full((1, 3), big)},
            config=FIXED,
        )
    fits = lv.simulate(
        connection(weights=[[126]], num_message_bits=24),
        {"s_in": np.full((1, 3), big)},
        config=FIXED,
    )["a_out"]
    assert fits.tolist() == [[0, 126 * big, 126 * big]]
    if connection is not Dense and connection is not Sparse:
        return
    cancels = connection(weights=[[254, -254, 2]], num_message_bits=24)
    got = lv.simulate(cancels, {"s_in": np.full((3, 2), big)}, config=FIXED)["a_out"]
    assert got.tolist() == [[0, 2 * big]]
    shifted = connection(weights=[[254]], num_message_bits=24, weight_exp=-8)
    assert lv.simulate(shifted, {"s_in": np.full((1, 2), big)}, config=FIXED)["a_out"].tolist() == [
        [0, 254 * big >> 8]
    ]
    with pytest.raises(lv.RunError, match=r"a sum left the 32 bits"):
        lv.simulate(
            connection(weights=[[254]], weight_exp=24), {"s_in": np.ones((1, 2), int)}, config=FIXED
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda w, **k: Conv(weight=w, input_shape=(1, 1, w.shape[3]), **k),
        lambda w, **k: Conv(
            weight=np.concatenate([w, w]), input_shape=(1, 1, 2 * w.shape[3]), groups=2, **k
        ),
        lambda w, **k: ConvTranspose(
            weight=w.transpose(3, 1, 2, 0), input_shape=(1, 1, w.shape[3]), **k
        ),
    ],
    ids=["conv", "groups", "transposed"],
)
def test_fixed_sums_of_convolutions_beyond_32_bits(make):
    """Whose neuron looks for 24 bits: an error or the sum itself; else the sum's low 24 bits, as in
    Lava."""
    big = 2**24 - 1

    def sums(weights, checked, value=big):
        process = make(np.reshape(weights, (1, 1, 1, -1)), checked=checked, num_message_bits=24)
        got = lv.simulate(
            process, {"s_in": np.full((*process.s_in.shape, 2), value)}, config=FIXED
        )["a_out"]
        assert (got[0, 0, :, 0] == 0).all()
        return {*got[0, 0, :, 1].tolist()}

    with pytest.raises(lv.RunError, match=r"step 1: a sum left the 32 bits"):
        sums([127, 127], True)
    assert sums([127, 127, -127], True) == {127 * big}
    assert sums([127, 127], False) == {-254}  # of 254 * 2**24 - 254
    assert sums([127, 127, -127], False) == {-127}
    # the factor of two that weights have in common: message times factor leaves 32 bits, and as an
    # int32 is 0
    with pytest.raises(lv.RunError, match=r"step 1: a sum left the 32 bits"):
        sums([256, 512], True, 2**24)
    assert sums([256, -256, 3], True, 2**24) == {3 * 2**24}
    assert sums([256, 512], False, 2**24) == {0}
    assert sums([256, 512], False, 2**23 + 2**14) == {3 * 2**22 - 2**24}


def test_fixed_sums_of_ports_and_states_beyond_32_bits_are_errors():
    net = lv.AbstractProcess()
    net.sources = [io.source.RingBuffer(data=np.full((2, 1), 2**30)) for _ in range(2)]
    net.delay = lv.proc.Delay(shape=(2,))
    for source in net.sources:
        source.s_out.connect(net.delay.s_in)
    with pytest.raises(lv.RunError, match=r"delay.s_in, step 1: a sum left the 32 bits"):
        net.run(lv.RunSteps(1), FIXED)
    for process in (Sigma(shape=(2,)), SigmaDelta(shape=(2,), vth=1)):
        with pytest.raises(lv.RunError, match=r"step 3: a sum left the 32 bits"):
            lv.simulate(process, {"a_in": np.full((2, 5), 2**30 - 1)}, config=FIXED)
        assert (
            lv.simulate(process, {"a_in": np.full((2, 2), 2**30 - 1)}, config=FIXED)["s_out"][0, 0]
            == 2**30 - 1
        )


@pytest.mark.parametrize(
    "config",
    [FIXED, lv.RunConfig(), lv.RunConfig(backend="torch")],
    ids=["fixed", "float", "torch"],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: Dense(weights=np.ones((1, 2))),
        lambda: Sparse(weights=np.ones((1, 2))),
        lambda: DelayDense(weights=np.ones((1, 2)), delays=0),
        lambda: Conv(weight=np.ones((1, 1, 1, 2)), input_shape=(1, 1, 2)),
    ],
    ids=["dense", "sparse", "delays", "conv"],
)
def test_graded_messages_that_count_as_spikes_warn_once(make, config, recwarn):
    x = np.ones((2, 3)).reshape(*make().s_in.shape, 3)
    assert lv.simulate(make(), {"s_in": x}, config=config)["a_out"].ravel().tolist() == [0, 2, 2]
    assert not recwarn.list  # spikes
    with pytest.warns(
        GradedMessageWarning, match=r"neither 0 nor 1.*num_message_bits=24 takes their values"
    ) as told:
        got = lv.simulate(make(), {"s_in": 5 * np.tile(x, 40)}, config=config)["a_out"]
    assert len(told) == 1
    assert got.ravel()[1:].tolist() == [2] * 119
    graded = make()
    graded.num_message_bits.set(8)
    recwarn.clear()
    assert lv.simulate(graded, {"s_in": 5 * x}, config=config)["a_out"].ravel().tolist() == [
        0,
        10,
        10,
    ]
    assert not recwarn.list


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"threads": "a"}, TypeError, "threads is an integer >= 1 or None"),
        ({"threads": 1.5}, TypeError, "threads"),
        ({"debug": "no"}, TypeError, "debug is True or False"),
        ({"select": None}, TypeError, "select is a dict"),
        ({"precision": "fixed"}, ValueError, "did you mean 'fixed_pt'"),
        ({"dtype": "flaot32"}, ValueError, "did you mean 'float32'"),
        ({"dtpye": "float32"}, TypeError, "no argument 'dtpye'; did you mean 'dtype'"),
        ({"check": "finit"}, ValueError, "did you mean 'finite'"),
        ({"backend": "numbaa"}, ValueError, "no backend called 'numbaa'.*did you mean 'numba'"),
        ({"dt": np.nan}, ValueError, "dt is a number > 0"),
    ],
)
def test_options_of_a_run_are_looked_at(options, kind, text):
    with pytest.raises(lv.InputError, match=text) as caught:
        lv.RunConfig(**options)
    assert isinstance(caught.value, kind)


def test_a_misspelt_choice_of_model_is_named():
    with pytest.raises(lv.ModelSelectionError, match=r"'LIV' is no process.*did you mean 'LIF'"):
        LIF(shape=(2,)).run(lv.RunSteps(1), lv.RunConfig(select={"LIV": "torch"}))


DOORS = {
    "weights": (lambda: Dense(weights=[[1, 2], [3]]), TypeError),
    "delays": (lambda: DelayDense(weights=np.ones((2, 2)), delays="a"), TypeError),
    "delays ": (lambda: DelayDense(weights=np.ones((2, 2)), delays=None), TypeError),
    "stride": (
        lambda: Conv(weight=np.ones((4, 3, 3, 2)), input_shape=(8, 8, 2), stride="a"),
        TypeError,
    ),
    "groups": (
        lambda: Conv(weight=np.ones((4, 3, 3, 2)), input_shape=(8, 8, 2), groups=1.5),
        TypeError,
    ),
    "weight_exp": (lambda: Dense(weights=np.ones((2, 2)), weight_exp=1.5), TypeError),
    "shape": (lambda: LIF(shape=(2**40,)), ValueError),
    "vth": (lambda: LIF(shape=(3,), vth=[1, 2]), ValueError),
    "u": (lambda: LIF(shape=(3,), u="a"), TypeError),
    "vht": (lambda: LIF(shape=(3,), vht=1), TypeError),
    "checked": (lambda: LIF(shape=(3,), checked="no"), TypeError),
    "num_steps": (lambda: lv.RunSteps(2**70), ValueError),
    "run_cfg": (lambda: LIF(shape=(3,)).run(lv.RunSteps(1), "fixed_pt"), TypeError),
    "condition": (lambda: LIF(shape=(3,)).run(5), TypeError),
    "role": (lambda: lv.Var((2,), role="param"), ValueError),
    "ports": (lambda: LIF(shape=(3,)).s_out.connect("x"), TypeError),
    "idx": (lambda: LIF(shape=(3,)).v.get("x"), TypeError),
    "delay": (lambda: lv.implements(LIF, backend="numba", delay=2), ValueError),
    "period": (lambda: lv.proc.Compartment(period="a"), TypeError),
    "act_mode": (lambda: SigmaDelta(shape=(2,), vth=1, act_mode=9), ValueError),
}


@pytest.mark.parametrize("name", DOORS)
def test_wrong_arguments_are_named(name):
    call, kind = DOORS[name]
    with pytest.raises(lv.LavalikeError, match=rf"\b{name.strip()}\b") as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError) == (kind is TypeError)
