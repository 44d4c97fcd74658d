"""What a parameter means stands once: signatures, documentation, files and the table follow from
it."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import lavalike as lv
from lavalike.dynamics import (
    Dynamics,
    Parameter,
    Units,
    adaptive,
    adex,
    compartments,
    delta,
    graded,
    lif,
    membrane,
    resonator,
    s4d,
    spiker,
)
from lavalike.dynamics.composition import Call, composed, composition
from lavalike.dynamics.ops import above, clear, discharge, exp, leak, reset
from lavalike.errors import InputError
from lavalike.proc import (
    LIF,
    Compartment,
    LIFLateBias,
    MultiCompartment,
    SigmaDelta,
    neuron_process,
    table,
)
from lavalike.proc.neuron import KINDS, declaration, declared

NEURONS = table.neurons()
LIBRARY = [
    (f"{module.__name__.rsplit('.', 1)[1]}.{name}", d)
    for module in (adaptive, delta, graded, lif, membrane, resonator, s4d, spiker)
    for name, found in vars(module).items()
    for d in (found.values() if isinstance(found, dict) else [found])
    if isinstance(d, Dynamics)
]


@pytest.mark.parametrize("cls", NEURONS, ids=lambda c: c.__name__)
def test_a_signature_is_whole_and_what_is_declared(cls):
    signature = inspect.signature(cls)
    assert not [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY], (
        "no *args, no **kwargs"
    )
    for p in declaration(cls).parameters:
        assert p.name in signature.parameters
        assert p.default is None or signature.parameters[p.name].default == p.default
        assert p.name in cls.__doc__
        assert p.doc
    needed = {n: 1 for n, p in signature.parameters.items() if p.default is p.empty}
    made = cls(**needed | {"shape": (2,)})
    late = {"bias_start"} if cls is SigmaDelta else set()  # there with a bias that begins late
    names = (
        {n for c in cls.__mro__ for n in vars(c).get("__annotations__", ())}
        - {"name", "parent", "models", "dynamics", "_taken"}
        - late
    )
    assert names <= {*vars(made)}, "what an editor shows is there"
    assert {v.name for v in (*made.vars, *made.in_ports, *made.out_ports)} <= names, (
        "and what is there, it shows"
    )


def test_a_signature_that_says_something_else_is_refused():
    with pytest.raises(TypeError, match="vth is declared with default 10, its signature says 1"):

        @declared(lif.LIF)
        def __init__(
            self, *, shape, u=0, v=0, du=0, dv=0, bias_mant=0, bias_exp=0, vth=1, name=None
        ): ...


def test_every_neuron_declares_its_parameters():
    assert len(LIBRARY) > 50
    halves = (
        "lif.FIRE",
        "lif.INTEGRATE",
        "resonator.ROTATE",
        "adaptive.FOLLOW",
        "adaptive.FOLLOW_PHASE",
    )  # of neurons, which training alone uses
    for name, d in LIBRARY:
        made = {p.argument for p in d.parameters}
        assert d.parameters or not d.constant_names or name in halves, name
        assert d.constants is not None or made >= {*d.constant_names} or name in halves, name
    assert adex.ADJOINT.parameters == (), "a backward pass has no user"


@pytest.mark.parametrize("fire", [True, False])
@pytest.mark.parametrize("terms", [(), ("exponential",), ("adapting", "refractory"), ("spikes",)])
def test_the_chips_neuron_declares_its_terms(fire, terms):
    d = adex.neuron(fire, **dict.fromkeys(terms, True))
    assert {p.argument for p in d.parameters} == {*d.constant_names}
    assert all(p.doc for p in d.parameters)
    assert {p.tau for p in d.parameters if p.tau} >= {"tau_mem", "tau_syn"}


def test_the_chips_neuron_makes_a_process():
    """A current of 1 a step brings the membrane to i (1 - keep_w) / (dv (1 - keep_w) + pull): the
    adaptation takes its part."""
    d = adex.neuron(False, adapting=True)
    made = neuron_process(d)(
        shape=(1,), gain=0.5, du=1, dv=0.2, leak=0, dw=0.1, pull=0.03, e_adapt=0
    )
    rec = lv.simulate(made, {"a_in": np.ones((1, 400))}, config=lv.RunConfig(dtype="float64"))
    np.testing.assert_allclose(rec["v_out"][0, -1], 1 * 0.1 / (0.2 * 0.1 + 0.03), rtol=1e-9)


def test_a_compartment_is_what_is_declared():
    signature = inspect.signature(Compartment)
    for p in compartments.COMPARTMENT:
        name = "threshold" if p.name == "vth" else p.name
        assert signature.parameters[name].default == p.default
        assert name in Compartment.__doc__
    net = MultiCompartment(shape=(2,), tree={"a": Compartment(threshold=1), "b": Compartment("a")})
    assert [p.name for p in net.dynamics.parameters] == [
        *("du_a", "dv_a", "leak_a", "vth_a", "reset_a", "period_a"),
        *("g_b", "du_b", "dv_b", "leak_b"),
    ]


def test_a_step_may_be_composed():
    """The same numbers on every backend, the equation of its parts, and the words that it has."""
    calls = [
        Call(leak, ("v", "k"), ("less",)),
        Call(plus, ("less", "a_in"), ("v",)),
        Call(above, ("v", "one"), ("s_out",)),
        Call(split, ("v", "s_out"), ("v", "more")),
    ]
    step = composed(
        "put", __name__, ("a_in", "v", "more", "k", "one"), calls, ("s_out", "v", "more")
    )
    assert composition(step).results == ("s_out", "v", "more")
    assert composition(plus) is None
    d = Dynamics(
        step,
        ("a_in",),
        ("s_out",),
        ("v", "more"),
        fixed=False,
        parameters=(Parameter("k", 0.5), Parameter("one", 1)),
    )
    assert d.arguments == ("a_in", "v", "more", "k", "one")
    assert d.floating == ("exp",)
    assert d.equation.splitlines() == [
        "v[t] = k v[t-1] + a_in[t]",
        "s_out[t] = v[t] > one",
        "more[t] = exp(v[t])",
        "v[t] = 0 where s_out[t]",
    ]
    x = np.random.default_rng(0).random((3, 20))
    made = [
        lv.simulate(
            neuron_process(d)(shape=(3,)),
            {"a_in": x},
            config=lv.RunConfig(dtype="float64", **backend),
            record=["v", "more"],
        )
        for backend in (
            {"backend": "numba"},
            {"backend": "numba", "debug": True},
            {"backend": "torch"},
        )
    ]
    v, rows = np.zeros(3), []
    for t in range(20):
        v = 0.5 * v + x[:, t]
        rows.append((v > 1, np.exp(v), v := np.where(v > 1, 0, v)))
    s, more, v = (np.stack(r, -1) for r in zip(*rows, strict=True))
    assert s.any()
    assert not s.all()
    for got in made:
        np.testing.assert_array_equal(got["s_out"], s)
        np.testing.assert_allclose(got["more"], more, rtol=1e-14)
        np.testing.assert_array_equal(got["v"], v)


def plus(x, y):
    return x + y


def split(v, s):
    return reset(s, v, 0), exp(v)


def test_the_table_is_the_declarations():
    page = (Path(__file__).parents[1] / "docs" / "neurons.md").read_text(encoding="utf-8")
    assert page == table.page(), "python -m lavalike.proc.table > docs/neurons.md"


def test_a_file_has_the_keys_of_the_declaration():
    netx = pytest.importorskip("netx")
    assert netx.reader.neuron_keys("CUBA") == {
        "iDecay": (0, 4096),
        "vDecay": (0, 4096),
        "vThMant": (0, (1 << 18) - 1),
    }
    assert netx.reader.neuron_keys("LOIHI") == netx.reader.neuron_keys("CUBA")
    assert netx.reader.neuron_keys("RF_PHASE") == {
        "cosDecay": (-4096, 4096),
        "sinDecay": (-4096, 4096),
        "vThMant": (0, (1 << 18) - 1),
    }
    assert {*netx.reader.neuron_keys("ADRF_PHASE")} - {*netx.reader.neuron_keys("RF_PHASE")} == {
        "thDecay",
        "refDecay",
        "vThStep",
    }
    assert {k for k, c in KINDS.items() if c.__module__.startswith("lavalike")} == {
        "CUBA",
        "ALIF",
        "SDNN",
        "RF_PHASE",
        "RF_IZHIKEVICH",
        "ADRF_PHASE",
        "ADRF_IZHIKEVICH",
    }


def test_units():
    assert Units.of({"loihi_units": True, "checked": False}) == Units(loihi=True)
    assert Units.of({"scale": 64, "gain": 3}) == Units(scale=64, own={"gain": 3})
    assert Units.of({"scale": "large"}) == Units(own={"scale": "large"}), (
        "a user's process may call something else so"
    )
    with pytest.raises(InputError, match="scale"):
        Units(scale=-1)


def late(a_in, v, k, drive):
    v = leak(v, k) + a_in + drive
    return above(v, 1), v


def test_any_parameter_may_have_an_onset():
    d = Dynamics(
        late,
        ("a_in",),
        ("s_out",),
        ("v",),
        fixed=False,
        parameters=(
            Parameter("k", 0.5, 0, 1, counts="decay"),
            Parameter("drive", 1.0, onset="begins"),
        ),
    )
    assert (
        d.equation
        == "v[t] = k v[t-1] + a_in[t] + (drive where t > begins, else 0)\ns_out[t] = v[t] > 1"
    )
    kind = neuron_process(d)
    process = kind(shape=(2,), begins=[0, 2])
    x = lv.simulate(process, steps=3, record=[process.v], config=lv.RunConfig(dtype="float64"))
    assert x[process.v].tolist() == [[1.0, 1.5, 1.75], [0.0, 0.0, 1.0]]
    assert LIFLateBias(shape=(2,)).bias_start.get().tolist() == [0]
    assert lif.LIF_LATE_BIAS.step.__name__ == "lif_late"
    with pytest.raises(lv.VarError, match=r"begins: whole numbers are needed, got 0\.5"):
        lv.simulate(kind(shape=(2,), begins=0.5), steps=2)


def tired(a_in, w, v, k, vth):
    v = leak(v, k) + a_in
    s = above(v, vth)
    return s, clear(s, w + 1), discharge(s, v, vth)


@pytest.mark.parametrize(
    ("kind", "v", "w"), [("subtract", 0.5, 1), ("zero", 0.0, 0), ("none", 1.5, 1)]
)
def test_a_reset_is_a_word(kind, v, w):
    d = Dynamics(tired, ("a_in",), ("s_out",), ("w", "v"), fixed=False, reset=kind)
    process = neuron_process(d)(shape=(1,), k=0.5, vth=1.0)
    got = lv.simulate(process, {"a_in": [[1.5]]}, record=[process.v, process.w])
    assert (float(got[process.v][0, 0]), float(got[process.w][0, 0])) == (v, w)
    with pytest.raises(InputError, match="reset is 'subtract' or 'zero' or 'none'"):
        Dynamics(tired, ("a_in",), ("s_out",), ("w", "v"), reset="half")


def test_a_decay_may_be_what_is_lost():
    p = Parameter("dv", 0.25, 0, 1, counts="loss", argument="k")
    d = Dynamics(
        tired,
        ("a_in",),
        ("s_out",),
        ("w", "v"),
        parameters=(p, Parameter("vth", 1.0, counts="state")),
    )
    values = {"dv": lif.np.array(0.25), "vth": lif.np.array(1.0)}
    assert {k: float(v) for k, v in d.derive(values, Units(), False).items()} == {
        "k": 0.75,
        "vth": 1.0,
    }
    assert {k: int(v) for k, v in d.derive(values, Units(scale=4096), True).items()} == {
        "k": 3072,
        "vth": 4096,
    }


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"counts": "bits"},
            "counts is '', 'decay', 'loss', 'state', 'message' or 'step', got 'bits'",
        ),
        ({"offset": 1}, "offset is of a 'loss'"),
        ({"low": 1.0}, r"its default 0\.5 is outside 1\.0"),
        ({"per": "all"}, "per is '' or 'one' or 'neuron'"),
    ],
)
def test_what_a_parameter_refuses(more, told):
    with pytest.raises(InputError, match=told):
        Parameter("k", 0.5, **more)


def test_an_editor_gets_the_class_it_called():
    import typing

    assert typing.get_type_hints(lv.AbstractProcess.__new__)["return"] is typing.Self
    assert [*inspect.signature(LIF).parameters] == [
        "shape",
        "u",
        "v",
        "du",
        "dv",
        "bias_mant",
        "bias_exp",
        "vth",
        "loihi_units",
        "checked",
        "name",
    ]
