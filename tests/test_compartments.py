"""Multi-compartment neurons: against the exact solution of their equations, on every backend, and
what a tree may be."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import lavalike as lv
from lavalike.backends.torch import exponential
from lavalike.dynamics import Units
from lavalike.dynamics.adex import neuron
from lavalike.dynamics.compartments import Branch, tree_dynamics
from lavalike.errors import ModelSelectionError, VarError
from lavalike.fused import Training, reference
from lavalike.proc import Compartment, Dense, MultiCompartment
from lavalike.process import AbstractProcess, InPort, OutPort

SILENT = 1e9  # a threshold that nothing reaches
DOUBLE = lv.RunConfig(dtype="float64")


def chain() -> dict[str, Compartment]:
    """Soma, apical dendrite, its tip, and a basal dendrite."""
    return {
        "soma": Compartment(threshold=SILENT, dv=0.02),
        "apical": Compartment("soma", g=0.03, dv=0.01, leak=0.5),
        "tip": Compartment("apical", g=0.05, dv=0.015, leak=-1.0),
        "basal": Compartment("soma", g=0.08, dv=0.03),
    }


def conductances(tree: dict[str, Compartment]) -> tuple[np.ndarray, np.ndarray]:
    """dv/dt = A v + b of the passive membranes, in steps."""
    names = list(tree)
    a, b = np.zeros((len(names),) * 2), np.zeros(len(names))
    for k, c in enumerate(tree.values()):
        a[k, k] -= c.dv
        b[k] = c.dv * c.leak
        if c.parent is not None:
            j = names.index(c.parent)
            a[[k, j], [k, j]] -= c.g
            a[[k, j], [j, k]] += c.g
    return a, b


def voltages(process: MultiCompartment, rec: lv.simulate) -> np.ndarray:
    """(compartments, neurons, time)"""
    return np.stack([rec[f"v_{n}"] for n in process.tree])


def names(process: MultiCompartment) -> list[str]:
    return [f"v_{n}" for n in process.tree]


def test_the_steady_state_is_that_of_the_conductances():
    tree = chain()
    neuron = MultiCompartment(shape=(1,), tree=tree)
    x = np.full((1, 4000), 0.004)  # arrives as a current of x / du
    rec = lv.simulate(neuron, {"basal_in": x}, config=DOUBLE, record=names(neuron))
    a, b = conductances(tree)
    injected = np.array([0, 0, 0, 0.004 / 0.1])
    np.testing.assert_allclose(
        voltages(neuron, rec)[:, 0, -1], np.linalg.solve(a, -(b + injected)), rtol=1e-9
    )


def test_passive_decay_is_the_matrix_exponential_and_its_step_the_matrix():
    from scipy.linalg import expm

    tree = {
        n: Compartment(c.parent, c.g / 20, c.du, c.dv / 20, 0, c.threshold)
        for n, c in chain().items()
    }
    neuron = MultiCompartment(shape=(1,), tree=tree)
    first = np.array([0.0, 1.0, 0.0, -0.4])
    for n, v in zip(tree, first, strict=True):
        getattr(neuron, f"v_{n}").set(v)
    steps = 1000
    rec = lv.simulate(neuron, steps=steps, config=DOUBLE, record=names(neuron))
    a, _ = conductances(tree)
    got = voltages(neuron, rec)[:, 0, -1]
    np.testing.assert_allclose(got, np.linalg.matrix_power(np.eye(4) + a, steps) @ first, rtol=1e-9)
    np.testing.assert_allclose(got, expm(a * steps) @ first, rtol=5e-3)


def test_charge_is_conserved_where_nothing_leaks():
    tree = {n: Compartment(c.parent, c.g, c.du, 0, 0, c.threshold) for n, c in chain().items()}
    neuron = MultiCompartment(shape=(1,), tree=tree)
    x = np.zeros((1, 3000))
    x[0, 5] = 1.0
    rec = lv.simulate(neuron, {"tip_in": x}, config=DOUBLE, record=names(neuron))
    v = voltages(neuron, rec)[:, 0, -1]
    np.testing.assert_allclose(v.sum(), 1 / 0.1, rtol=1e-9)  # one event is a charge of 1 / du
    np.testing.assert_allclose(v, v.mean(), rtol=1e-6)


def random_inputs(
    neuron: MultiCompartment, steps: int = 120, batch: int = 3
) -> dict[str, np.ndarray]:
    g = np.random.default_rng(0)
    return {
        p.name: (g.random((batch, *p.shape, steps)) < 0.1)
        * g.random((batch, *p.shape, steps))
        * 0.5
        for p in neuron.in_ports
    }


def active(shape: tuple[int, ...] = (5,)) -> MultiCompartment:
    per_neuron = np.linspace(0.02, 0.2, shape[0])
    return MultiCompartment(
        shape=shape,
        tree={
            "soma": Compartment(threshold=1.0, reset=-0.2, period=3),
            "tip": Compartment("apical", dv=0.2),
            "apical": Compartment("soma", g=per_neuron, threshold=1.0, reset=2.5, period=15),
        },
    )


def test_backends_agree_and_the_fused_loop():
    torch = pytest.importorskip("torch")
    from lavalike import fused
    from lavalike.snn import surrogate

    neuron = active()
    x = random_inputs(neuron)
    runs = [
        lv.simulate(
            neuron, x, config=lv.RunConfig(backend=b, dtype="float64"), record=names(neuron)
        )
        for b in ("numba", "torch")
    ]
    assert runs[0]["s_out"].sum() > 20
    np.testing.assert_array_equal(runs[0]["s_out"], runs[1]["s_out"])
    np.testing.assert_allclose(
        voltages(neuron, runs[0]), voltages(neuron, runs[1]), rtol=1e-9, atol=1e-12
    )
    d = neuron.dynamics
    constants = d.derive({v.name: v.value for v in neuron.vars}, Units(), False)
    training = fused.Training(surrogate.fast_sigmoid(), "detach")
    inputs = {k: torch.from_numpy(v).movedim(-1, 0).contiguous() for k, v in x.items()}
    got = fused.scan(
        d,
        training,
        inputs,
        {k: torch.as_tensor(v, dtype=torch.float64) for k, v in constants.items()},
    )
    np.testing.assert_array_equal(got.outputs["s_out"].movedim(0, -1).numpy(), runs[0]["s_out"])


def test_a_spike_holds_the_soma_and_a_plateau_the_dendrite():
    neuron = MultiCompartment(
        shape=(1,),
        tree={
            "soma": Compartment(threshold=1.0, reset=0.25, period=4),
            "dendrite": Compartment("soma", g=0.2, dv=0.05, threshold=1.0, reset=3.0, period=30),
        },
    )
    x = np.zeros((1, 80))
    x[0, 2] = 0.4
    rec = lv.simulate(neuron, {"dendrite_in": x}, config=DOUBLE, record=names(neuron))
    dendrite, soma = rec["v_dendrite"][0], rec["v_soma"][0]
    assert np.flatnonzero(dendrite == 3.0).tolist() == [
        *range(6, 37)
    ]  # once, for the step it came in and 30 more
    assert (dendrite[37:] < 3.0).all()
    spikes = np.flatnonzero(rec["s_out"][0])
    assert len(spikes) >= 4
    assert np.diff(spikes).min() > 4
    for t in spikes:
        assert (soma[t : t + 5] == 0.25).all()


def test_it_detects_coincidence():
    """Either input alone stays below; both together make the dendrite's plateau and the soma's
    burst; far apart they do not."""
    apical = Compartment("soma", g=0.12, du=0.2, threshold=0.8, reset=3.0, period=25)
    neuron = MultiCompartment(
        shape=(1,), tree={"soma": Compartment(threshold=1.0), "apical": apical}
    )
    counts = {}
    for case, (soma, dendrite) in {
        "soma": ([20], []),
        "dendrite": ([], [20]),
        "apart": ([20], [60]),
        "together": ([20], [20]),
    }.items():
        x = {"soma_in": np.zeros((1, 100)), "apical_in": np.zeros((1, 100))}
        x["soma_in"][0, soma] = 0.28
        x["apical_in"][0, dendrite] = 0.33
        counts[case] = int(lv.simulate(neuron, x)["s_out"].sum())
    assert counts == {"soma": 0, "dendrite": 0, "apart": 0, "together": 8}


def test_gradients_reach_every_compartment():
    torch = pytest.importorskip("torch")
    module = lv.to_torch(active(), dtype="float64")
    x = {k: torch.tensor(v).requires_grad_() for k, v in random_inputs(module.process).items()}
    module(x).sum().backward()
    assert all(float(v.grad.abs().sum()) > 0 for v in x.values())


def test_its_equation_can_be_read():
    text = tree_dynamics(active().branches).equation
    assert (
        "\nv_tip[t] = v_tip[t-1] + i_tip[t] + dv_tip (leak_tip - v_tip[t-1]) + g_tip (v_apical[t-1] - v_tip[t-1])\n"
        in text
    )


def test_within_a_network():
    class Net(AbstractProcess):
        def __init__(self) -> None:
            super().__init__()
            self.inp = InPort((3,))
            self.dense = Dense(weights=np.full((5, 3), 0.3))
            self.neuron = active()
            self.out = OutPort((5,))
            self.inp.connect(self.dense.s_in)
            self.dense.a_out.connect(self.neuron.apical_in)
            self.neuron.s_out.connect(self.out)

    x = np.ones((3, 50))
    assert lv.simulate(Net(), {"inp": x})["out"].sum() > 10


def test_trees_with_equal_arguments_are_different_neurons():
    """Two chains whose compartments only hang differently: their kernels must not be taken for each
    other."""

    def hang(parent: str) -> MultiCompartment:
        soma = Compartment(threshold=SILENT)
        return MultiCompartment(
            shape=(1,), tree={"soma": soma, "a": Compartment("soma"), "b": Compartment(parent)}
        )

    x = np.zeros((1, 5))
    x[0, 0] = 1
    one, two = (
        lv.simulate(hang(p), {"b_in": x}, config=DOUBLE, record=["v_soma"])["v_soma"]
        for p in ("soma", "a")
    )
    assert one[0, 1] > 0
    assert two[0, 1] == 0


BAD = {
    "no soma": (
        {"a": Compartment("b", threshold=1), "b": Compartment("a")},
        "one compartment has no parent, the soma; here none",
    ),
    "two": ({"a": Compartment(threshold=1), "b": Compartment(threshold=1)}, r"here \['a', 'b'\]"),
    "deaf": ({"a": Compartment()}, "'a' needs a threshold"),
    "unknown": ({"a": Compartment(threshold=1), "b": Compartment("c")}, "parent 'c'; there are"),
    "island": (
        {"a": Compartment(threshold=1), "b": Compartment("c"), "c": Compartment("b")},
        r"\['b', 'c'\] are joined to each other",
    ),
    "two of a name": (
        {"v": Compartment(threshold=1), "in": Compartment("v")},
        "'v' and 'in': the port v_in has the name of a Var",
    ),
    "name": ({"a b": Compartment(threshold=1)}, "identifier"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_tree_is_told(case):
    tree, message = BAD[case]
    with pytest.raises(VarError, match=message):
        MultiCompartment(shape=(1,), tree=tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": Compartment(threshold=1, dv=1.5)}, r"a?dv_a: 1.5 is outside 0..1"),
        (
            {"a": Compartment(threshold=1, dv=0.4), "b": Compartment("a", g=0.7, dv=0.1)},
            r"dv_a: with the conductances at a it sums to 1.1",
        ),
        ({"a": Compartment(threshold=1, period=-1)}, "period_a: -1 is outside"),
    ],
)
def test_values_out_of_range_are_told_when_it_is_compiled(tree, message):
    with pytest.raises(VarError, match=message):
        lv.simulate(MultiCompartment(shape=(2,), tree=tree), steps=1)


def test_names_may_look_like_the_equations():
    branches = MultiCompartment(
        shape=(1,),
        tree={
            "soma": Compartment(threshold=1),
            "rec_soma": Compartment("soma", threshold=1),
            "out": Compartment("soma", threshold=1),
        },
    ).branches
    dynamics = tree_dynamics(branches, True, True)
    assert dynamics.outputs == ("s_out", "spike_rec_soma", "spike_out")
    assert len(set(dynamics.inputs + dynamics.states)) == 6 + 3 + 9


@pytest.mark.parametrize(("soma", "other"), [("spike", "in"), ("keep", "in"), ("n", "in")])
def test_a_name_that_the_equation_has_is_told(soma, other):
    tree = {soma: Compartment(threshold=1), other: Compartment(soma, threshold=1)}
    with pytest.raises(VarError, match=f"the port {soma}_in has the name of a Var"):
        MultiCompartment(shape=(1,), tree=tree)


@pytest.mark.parametrize("move", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_it_is_copied_and_pickled_with_what_it_has_done(move):
    """Its equation is made again of its branches, and is the same object."""
    neuron = active()
    x = {"apical_in": np.full((5, 20), 0.2)}
    lv.simulate(neuron, x, config=DOUBLE)
    other = move(neuron)
    assert other.dynamics is neuron.dynamics
    runs = [lv.simulate(n, x, config=DOUBLE, record=names(n)) for n in (neuron, other)]
    assert runs[0]["s_out"].sum() > 0
    np.testing.assert_array_equal(voltages(neuron, runs[0]), voltages(other, runs[1]))


def test_a_period_is_whole_steps():
    tree = {"a": Compartment(threshold=1, period=2.5)}
    with pytest.raises(VarError, match=r"period_a: whole numbers are needed, got 2\.5"):
        lv.simulate(MultiCompartment(shape=(1,), tree=tree), steps=1)


def test_it_has_no_fixed_point_form():
    with pytest.raises(ModelSelectionError, match="precision 'floating_pt', asked for 'fixed_pt'"):
        lv.simulate(active(), steps=1, config=lv.RunConfig(precision="fixed_pt"))


@pytest.mark.parametrize("period", [0.0, 3.0])
def test_one_compartment_in_the_chips_order_is_the_chips_neuron(period):
    x = torch.rand(60, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.2
    constants = {"dv": 0.15, "leak": 0.1, "keep": 0.8, "vth": 0.9, "reset": -0.2, "period": period}
    start = torch.full((4, 5), 0.1, dtype=torch.float64)
    training = Training(exponential())
    chip = reference(
        neuron(refractory=True), training, {"a_in": x}, constants | {"gain": 1.0}, {"v": start}
    )
    tree = reference(
        tree_dynamics((Branch("soma", None, True),), chip=True),
        training,
        {"soma_in": x},
        {f"{n}_soma": v for n, v in constants.items()},
        {"v_soma": start},
    )
    assert chip.outputs["s_out"].sum() > 50
    torch.testing.assert_close(tree.outputs["s_out"], chip.outputs["s_out"], rtol=0, atol=0)
    torch.testing.assert_close(tree.states["v_soma"], chip.states["v"])
