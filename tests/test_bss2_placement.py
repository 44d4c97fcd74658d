"""Where networks lie: every weight in one tile, every neuron on circuits of its own, and a refusal
that says why for the rest."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lavalike import bss2, proc
from lavalike.bss2 import facts, perceptron
from lavalike.bss2.chip.analog import product
from lavalike.bss2.perceptron import nn as layers
from lavalike.bss2.placement import (
    Population,
    circuits,
    neurons_per_chip,
    place,
    place_populations,
    tiles,
)
from lavalike.bss2.report import SHOWN, SpikeRecord
from lavalike.errors import InputError

# -- tiles -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 700), n=st.integers(1, 700), chips=st.integers(1, 5))
def test_every_weight_lies_in_one_tile_and_no_two_tiles_in_one_place(k, n, chips):
    held = np.zeros((k, n), int)
    cut = tiles(k, n, "fc", chips)
    for t in cut:
        assert len(t.rows) <= 128
        assert len(t.columns) <= 256
        assert t.layer == "fc"
        held[t.rows.start : t.rows.stop, t.columns.start : t.columns.stop] += 1
    assert (held == 1).all()
    places = [(t.run, t.chip, t.hemisphere) for t in cut]
    assert len(set(places)) == len(places)
    assert {t.chip for t in cut} <= set(range(chips))
    assert len(cut) == math.ceil(k / 128) * math.ceil(n / 256)
    assert 1 + max(t.run for t in cut) == math.ceil(len(cut) / (2 * chips))


def test_the_order_of_tiles():
    cut = tiles(300, 300)
    assert [(t.rows, t.columns) for t in cut] == [
        (range(a, b), range(c, d))
        for c, d in ((0, 256), (256, 300))
        for a, b in ((0, 128), (128, 256), (256, 300))
    ]
    assert [(t.run, t.chip, t.hemisphere) for t in cut] == [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (1, 0, 1),
        (2, 0, 0),
        (2, 0, 1),
    ]
    assert [(t.run, t.chip) for t in tiles(300, 300, chips=2)] == [
        (0, 0),
        (0, 0),
        (0, 1),
        (0, 1),
        (1, 0),
        (1, 0),
    ]


@pytest.mark.parametrize("chips", [1, 4])
def test_a_placed_product_is_the_tile_formula(chips):
    """bss2.md 5: each tile is rounded down and saturated on its own, the sum once more."""
    k, n = 300, 300
    torch.manual_seed(0)
    x, w = torch.randint(0, 32, (20, k)).float(), torch.randint(-63, 64, (k, n)).float()
    gain, expected = 0.004, torch.zeros(20, n)
    for t in tiles(k, n, chips=chips):
        rows, columns = slice(t.rows.start, t.rows.stop), slice(t.columns.start, t.columns.stop)
        expected[:, columns] += (x[:, rows] @ w[rows, columns] * gain).floor().clamp(-128, 127)
    expected = expected.clamp(-128, 127)
    chip = bss2.Chip(noise=bss2.Noise.none(), gain=gain)
    assert torch.equal(product(x, w, chip, tiles=tiles(k, n, chips=chips)), expected)
    assert not torch.equal(expected, (x @ w * gain).floor().clamp(-128, 127))


# -- modules ---------------------------------------------------------------------------------------


def test_a_dense_network_on_one_and_on_four_chips():
    model = nn.Sequential(
        layers.Linear(784, 512), layers.ConvertingReLU(), layers.Linear(512, 10, avg=3)
    )
    one, four = (place(model, (784,), chips=c, batch=100) for c in (1, 4))
    assert (one.runs, four.runs) == (9, 3)
    assert [(x.name, x.k, x.n, len(x.tiles), x.vectors) for x in one.layers] == [
        ("0", 784, 512, 14, 100),
        ("2", 512, 30, 4, 100),
    ]
    assert [t.chip for t in four.tiles] == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 0, 0, 1, 1]
    assert min(t.run for t in four["2"].tiles) == 2  # begins when the layer before has been read
    assert one.report().reconfigurations == four.report().reconfigurations == 9
    assert one.report().time > four.report().time


def test_convolutions_present_every_position():
    model = nn.Sequential(
        layers.Conv2d(1, 8, 5, stride=2, padding=1),
        layers.ConvertingReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(288, 10),
    )
    p = place(model, (1, 28, 28), batch=3)
    assert (p["0"].k, p["0"].n, p["0"].vectors) == (25, 8, 3 * 13 * 13)
    assert (p["4"].k, p["4"].kind, p["4"].vectors) == (288, "Linear", 3)
    assert place(nn.Linear(6, 2), (7, 6)).layers[0].vectors == 7


def test_an_expanded_convolution_lies_on_the_diagonal():
    layer = layers.ExpandedConv1d(1, 8, 5, stride=2, num_expansions=4)
    placed = place(layer, (1, 29)).layers[0]
    assert (placed.k, placed.n, placed.weights) == (5 + 3 * 2, 32, (5 * 8 * 4,))
    assert placed.vectors == 4  # 13 outputs, 4 at a time
    wide = place(layers.ExpandedConv1d(3, 8, 5, stride=2, num_expansions=32), (3, 100)).layers[0]
    held = np.zeros((3 * (5 + 31 * 2), 32 * 8), int)
    for e in range(32):
        for c in range(3):
            held[c * 67 + 2 * e : c * 67 + 2 * e + 5, 8 * e : 8 * e + 8] = 1
    assert [int(held[t.rows.start : t.rows.stop].sum()) for t in wide.tiles] == list(wide.weights)
    with bss2.use(bss2.Chip()), perceptron.observe(layer) as records:
        layer(torch.ones(2, 1, 29))
    assert place(layer, (1, 29)).report(records).layers[0].vectors == 8


def test_a_layer_called_twice_is_placed_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = layers.Linear(10, 10)
            self.relu = layers.ConvertingReLU()

        def forward(self, x):
            return self.fc(self.relu(self.fc(x)))

    model = Twice()
    p = place(model, (10,))
    assert [x.name for x in p.layers] == ["fc", "fc#2"]
    assert p.runs == 2
    with bss2.use(bss2.Chip(noise=bss2.Noise.none())), perceptron.observe(model) as records:
        model(torch.full((4, 10), 31.0))
        model(torch.full((6, 10), 31.0))
    first, second = p.report(records).layers
    assert (first.vectors, second.vectors) == (10, 10)
    assert first.events == 10
    assert second.events < 10


def test_placing_changes_nothing_of_the_model():
    model = nn.Sequential(layers.Linear(20, 8, bias=False), nn.BatchNorm1d(8), nn.Dropout())
    model.train()
    with torch.no_grad():
        model[0].weight[0, 0] = 100.0
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(1)
    p = place(model, (20,))
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    for k, v in model.state_dict().items():
        assert torch.equal(v, before[k]), k
    assert all(m.training for m in model.modules())
    assert "forward" not in model[0].__dict__
    assert p["0"].clipped == 1


def test_rounding_is_what_six_bits_take():
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.5, -2.25], [70.0, 3.0]]))
    placed = place(layer, (2,)).layers[0]
    assert placed.clipped == 1
    assert placed.rounding == pytest.approx(math.sqrt((0.25 + 0.0625) / 4))


def test_a_process_graph_is_placed():
    source, dense, lif = (
        proc.LIF(shape=(200,), du=0.2, dv=0.1),
        proc.Dense(weights=np.ones((30, 200))),
        proc.LIF(shape=(30,), du=0.2, dv=0.1),
    )
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    p = place(lif)
    assert [(x.size, x.fan_in, x.circuits.shape[1]) for x in p.populations] == [(30, 200, 2)]


@pytest.mark.parametrize(
    ("model", "shape", "kind", "says"),
    [
        (
            nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)),
            (4, 8, 8),
            bss2.RoutingError,
            "layer '0': a convolution on the chip has groups 1 and dilation 1, got groups 2",
        ),
        (
            nn.Conv1d(4, 4, 3, dilation=2),
            (4, 8),
            bss2.RoutingError,
            "dilation (2,); use a convolution",
        ),
        (
            nn.Sequential(nn.Conv3d(1, 2, 3)),
            (1, 8, 8, 8),
            bss2.RoutingError,
            "layer '0': Conv3d cannot be placed; Linear, Conv1d and Conv2d can",
        ),
        (
            nn.Sequential(nn.LSTM(4, 4)),
            (4, 4),
            bss2.RoutingError,
            "layer '0': LSTM cannot be placed",
        ),
        (nn.Sequential(nn.ReLU()), (4,), bss2.RoutingError, "there is nothing to place"),
        (
            nn.Sequential(nn.Linear(4, 2)),
            (5,),
            InputError,
            "layer '0': inputs have 4 features, got shape (1, 5); correct input_shape",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 2, 5)),
            (1, 4, 4),
            InputError,
            "layer '0': Conv2d does not take inputs of shape (1, 1, 4, 4)",
        ),
        (nn.Linear(4, 2), None, InputError, "input_shape"),
        (3, (4,), InputError, "model is a torch.nn.Module or a process, got int"),
    ],
)
def test_what_cannot_be_placed_is_refused_by_name(model, shape, kind, says):
    with pytest.raises(kind) as e:
        place(model, shape)
    assert says in str(e.value)


def test_weights_that_are_no_numbers_are_refused():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = math.nan
    with pytest.raises(bss2.RangeError, match="layer 'Linear': weights are finite and within"):
        place(layer, (2,))


@pytest.mark.parametrize(
    "call",
    [
        lambda: tiles(0, 3),
        lambda: tiles(3, 3, chips=0),
        lambda: place(nn.Linear(2, 2), (2,), batch=0),
        lambda: place(nn.Linear(2, 2), (2,))["other"],
    ],
)
def test_bad_arguments(call):
    with pytest.raises(InputError, match=r"is an integer >= 1, got 0|nothing named"):
        call()


# -- populations -----------------------------------------------------------------------------------


def test_circuits_and_neurons_of_a_chip():
    assert [circuits(k) for k in (0, 1, 128, 129, 256, 784)] == [1, 1, 1, 2, 2, 7]
    assert [neurons_per_chip(c) for c in (1, 2, 7, 512)] == [512, 256, 73, 1]


@settings(max_examples=40, deadline=None)
@given(c=st.integers(1, 512))
def test_a_chip_holds_as_many_neurons_as_the_formula_says(c):
    size = neurons_per_chip(c)
    p = place_populations([Population("a", size, 1, circuits=c, sources=())])
    assert len(p.instances) == 1
    if size < 512:
        assert (
            len(place_populations([Population("a", size + 1, 1, circuits=c, sources=())]).instances)
            == 2
        )


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 800)), min_size=1, max_size=4),
    chips=st.integers(1, 3),
)
def test_no_circuit_is_used_twice_and_joined_ones_are_neighbours(sizes, chips):
    p = place_populations(
        [Population(f"p{i}", size, k) for i, (size, k) in enumerate(sizes)], chips
    )
    used = Counter()
    for x, (size, k) in zip(p.populations, sizes, strict=True):
        assert x.circuits.shape[0] == size
        assert x.circuits.shape[1] >= math.ceil(k / 128)
        for neuron in range(size):
            used.update((int(x.instance[neuron]), int(c)) for c in x.circuits[neuron])
            for h in (0, 1):
                here = np.sort(x.circuits[neuron][x.circuits[neuron] // 256 == h])
                assert (np.diff(here) == 1).all()
            columns = [x.circuits[neuron][x.circuits[neuron] // 256 == h] % 256 for h in (0, 1)]
            if all(map(len, columns)):
                assert set(columns[0]) & set(columns[1])  # hemispheres meet in common columns
        if len(set(x.instance)) > 1:
            assert sum(set(x.instance) & set(y.instance) != set() for y in p.populations) == 1
    assert max(used.values()) == 1
    assert {c for _, c in used} <= set(range(512))
    assert {i.chip for i in p.instances} <= set(range(chips))
    places = [(i.run, i.chip) for i in p.instances]
    assert len(set(places)) == len(places)


def test_hemispheres_that_end_apart_are_not_joined():
    """101 circuits across both leave 4 and 3 columns that end one apart; 3 and 2 more leave two
    single ones that are no neighbours."""
    sizes = [(5, 101), (1, 3), (1, 2), (1, 2)]
    p = place_populations(
        [Population(f"p{i}", size, 1, circuits=c, sources=()) for i, (size, c) in enumerate(sizes)]
    )
    assert [set(x.instance.tolist()) for x in p.populations] == [{0}, {0}, {0}, {1}]


def test_mnist_takes_five_instances_and_the_small_one_a_chip():
    """bss2.md 5: 784-256-10 are 4 + 1 instances; 256-246-10 with neurons of two circuits uses all
    512."""
    large = place_populations([Population("hidden", 256, 784), Population("out", 10, 256)])
    assert len(large.instances) == 5
    assert Counter(large["hidden"].instance.tolist()) == {0: 64, 1: 64, 2: 64, 3: 64}
    assert set(large["out"].instance) == {4}
    four = place_populations([Population("hidden", 256, 784), Population("out", 10, 256)], chips=4)
    assert [(i.run, i.chip) for i in four.instances] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    small = place_populations([Population("hidden", 246, 256), Population("out", 10, 246)])
    assert len(small.instances) == 1
    assert small.report().instances[0].circuits == 512


def test_buses_from_the_same_chip_ask_for_more_circuits():
    """A neuron takes 32 signed inputs a circuit from each of 4 buses; source neuron column c sends
    on bus (c // 32) % 4."""
    one = place_populations([Population("a", 128, 20), Population("b", 2, 128)])
    assert one["b"].circuits.shape[1] == 1  # columns 0..127: 32 on each bus
    # three circuits a neuron: the first columns 0, 3, 6, ... of 86 neurons, 11 in two of the blocks
    # of 32 columns
    three = place_populations([Population("a", 128, 300), Population("b", 2, 128)])
    bus = np.bincount(three["a"].circuits[:, 0] % 256 // 32 % 4)
    assert bus.max() == 33
    assert three["b"].circuits.shape[1] == 2
    with pytest.raises(
        bss2.RoutingError,
        match="population 'b': neurons of 1 circuits take 32 signed inputs from one PADI bus",
    ):
        place_populations([Population("a", 128, 300), Population("b", 2, 128, circuits=1)])
    apart = place_populations(
        [Population("a", 128, 300, instance="x"), Population("b", 2, 128, instance="y", circuits=1)]
    )
    assert apart["b"].circuits.shape == (2, 1)


def test_populations_that_hear_each_other_share_a_chip():
    chain = [
        Population("a", 300, 10, sources=()),
        Population("b", 100, 200, sources=("a", "c")),
        Population("c", 100, 200, sources=("b",)),
        Population("d", 10, 100),
    ]
    p = place_populations(chain)
    assert set(p["b"].instance) == set(p["c"].instance) != set(p["a"].instance)
    assert [i.run for i in p.instances] == [0, 1]
    recurrent = place_populations([Population("r", 256, 256, sources=("r",))])
    assert recurrent["r"].circuits.shape == (256, 2)


def test_instances_run_in_the_order_of_their_spikes():
    p = place_populations(
        [
            Population("out", 10, 20, instance="late", sources=("in",)),
            Population("in", 20, 5, instance="early", sources=()),
        ],
        2,
    )
    assert {i.name: (i.run, i.chip) for i in p.instances} == {"late": (1, 0), "early": (0, 0)}


@pytest.mark.parametrize(
    ("populations", "says"),
    [
        (
            [Population("a", 1, 129, circuits=1)],
            "population 'a': neurons of 1 circuits take 128 signed inputs, got 129; join 2 circuits",
        ),
        (
            [Population("a", 513, 10, instance="x")],
            "population 'a': instance 'x' has 512 circuits, 0 of them taken, got 513 x 1 = 513 more",
        ),
        (
            [Population("a", 300, 10, instance="x"), Population("b", 213, 10, instance="x")],
            "300 of them taken, got 213 x 1 = 213 more",
        ),
        (
            [Population("a", 300, 256, recurrent=True)],
            "populations 'a': a recurrent network has to fit one chip of 512 circuits, got 300 x 2 = 600; use fewer neurons",
        ),
        (
            [Population("a", 200, 200, sources=("b",)), Population("b", 200, 200)],
            "populations 'a', 'b': a recurrent network has to fit one chip",
        ),
        (
            [Population("a", 1, 1, circuits=513)],
            "1 to 512 circuits (128 signed inputs each), got 513 for 1 inputs",
        ),
        (
            [Population("a", 1, 10, inputs=8193)],
            "at most 8192 sources (64 labels on each of 128 synapse drivers) can be told apart, got 8193",
        ),
        (
            [
                Population("a", 5, 5, instance="x", sources=("b",)),
                Population("b", 5, 5, instance="y"),
            ],
            "hear each other and have to lie on one chip, got instances x, y",
        ),
        (
            [
                Population("a", 5, 5, instance="x", sources=()),
                Population("b", 5, 5, instance="y"),
                Population("c", 5, 5, instance="x"),
            ],
            "instances x, y hear each other",
        ),
    ],
)
def test_populations_that_do_not_fit_are_refused(populations, says):
    with pytest.raises(bss2.RoutingError) as e:
        place_populations(populations)
    assert says in str(e.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: place_populations([]),
        lambda: place_populations([Population("a", 1, 1), Population("a", 1, 1)]),
        lambda: place_populations([Population("a", 1, 1, sources=("z",))]),
        lambda: Population("a", 0, 1),
        lambda: Population("a", 1, 2.5),
        lambda: Population("a", True, 1),
        lambda: Population("a", 3, 3, circuits=1.5),
        lambda: Population("a", 3, 3, chip=-1),
        lambda: place_populations([Population("a", 1, 1)], 0),
    ],
)
def test_populations_that_make_no_sense(call):
    with pytest.raises(InputError, match=r"expected, got|are not among|is an integer >= [01], got"):
        call()


def test_neurons_have_1_to_512_circuits():
    with pytest.raises(bss2.RoutingError, match="1 to 512 circuits, got 0"):
        neurons_per_chip(0)


def test_populations_lie_on_the_chips_they_name():
    def lay(*chips):
        return place_populations(
            [Population(f"p{i}", 100, 1, chip=c, sources=()) for i, c in enumerate(chips)], 3
        )

    assert [set(x.chip.tolist()) for x in lay(2, 2, None, 0).populations] == [{2}, {2}, {0}, {0}]
    p = lay(2, 1, 2, None)
    places = [(i.run, i.chip) for i in p.instances]
    assert len(set(places)) == len(places)
    split = place_populations([Population("a", 1200, 1, chip=1, sources=())], 3)
    assert [(i.run, i.chip) for i in split.instances] == [(0, 1), (1, 1), (2, 1)]
    with pytest.raises(
        bss2.RoutingError,
        match="population 'b': what lies in one instance lies on one chip, got chip 1 and 0",
    ):
        place_populations(
            [
                Population("a", 1, 1, instance="i", chip=0),
                Population("b", 1, 1, instance="i", chip=1),
            ],
            2,
        )


# -- report ----------------------------------------------------------------------------------------


def test_time_on_chip_is_that_of_the_hemisphere_with_most_events():
    layer = layers.Linear(200, 10, num_sends=3, wait_between_events=7)
    p = place(layer, (200,), batch=5)
    assert p.report().time == pytest.approx(5 * (128 * 7 * 3 * 8e-9 + facts.CADC_PERIOD))
    x = torch.zeros(5, 200)
    x[:, :10], x[:, 130:170] = 3, 2
    with bss2.use(bss2.Chip()), perceptron.observe(layer) as records:
        layer(x)
    r = p.report(records)
    assert r.time == pytest.approx(5 * (40 * 7 * 3 * 8e-9 + facts.CADC_PERIOD))
    assert r.layers[0].events == 50


def test_a_report_counts_what_is_used_and_what_saturated():
    layer = layers.Linear(128, 100, num_sends=1)
    with torch.no_grad():
        layer.weight.fill_(63)
        layer.bias.zero_()
    chip = bss2.Chip(noise=bss2.Noise.none())
    p = place(layer, (128,))
    with bss2.use(chip), perceptron.observe(layer) as records:
        layer(torch.full((2, 128), 31.0))
        r = p.report(records)
    assert r.layers[0].saturated == 1
    assert (r.chip, r.runs, r.chips) == ("emulated chip 0", 1, 1)
    (use,) = r.instances
    assert (use.circuits, use.rows, use.synapses) == (100, 256, 2 * 128 * 100)
    assert r.tiles[0].utilisation == pytest.approx(100 / 256)
    assert p.report().layers[0].saturated is None
    assert p.report().chip is None


def test_a_spiking_report_takes_what_was_counted():
    p = place_populations([Population("h", 246, 256), Population("o", 10, 246)])
    r = p.report([SpikeRecord("h", 100, 90, 10, 2e6)], bss2.Chip(seed=5), duration=1e-4)
    assert (r.populations[0].dropped, r.populations[1].dropped) == (10, None)
    assert r.time == pytest.approx(1e-4)
    many = p.report(duration=1e-4, samples=20)
    assert many.time == pytest.approx(2e-3)
    assert "time on chip 2.00 ms for 20 samples" in str(many)
    assert p.report().time is None
    assert sum(t.synapses for t in r.tiles) == r.instances[0].synapses == 2 * (246 * 256 + 10 * 246)
    said = str(r)
    assert "emulated chip 5" in said
    assert "2 M/s" in said
    with pytest.raises(
        InputError, match="records of x, and no such population was placed; there are h, o"
    ):
        p.report([SpikeRecord("x", 1, 1, 0, 1.0)])
    with pytest.raises(InputError, match="duration is a number > 0 or None, got 0"):
        p.report(duration=0)


def test_records_of_another_model_are_refused():
    a, b = layers.Linear(4, 4), nn.Sequential(layers.Linear(4, 5))
    with bss2.use(bss2.Chip()), perceptron.observe(a) as records, torch.no_grad():
        a(torch.ones(1, 4))
    with pytest.raises(
        InputError, match="layer '0' was placed with 4 x 5 weights, the record has 4 x 4"
    ):
        place(b, (4,)).report(records)
    with pytest.raises(
        InputError,
        match=r"a record of layer 'x', and no such layer was placed; there are 0\. perceptron\.observe",
    ):
        place(b, (4,)).report([replace(records[0], layer="x")])


def test_the_table_has_every_layer_and_says_what_it_leaves_out():
    p = place(nn.Sequential(nn.Linear(2000, 600), nn.ReLU(), nn.Linear(600, 3)), (2000,))
    said = str(p)
    assert "1 chip, 27 runs, 27 reconfigurations" in said
    assert f"... and {53 - SHOWN} more in .tiles" in said
    assert "time on chip" in said


def test_the_picture_shows_both_hemispheres_of_every_instance(tmp_path):
    r = place(nn.Linear(300, 300), (300,)).report()
    figure = r.picture(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
    shown = [a for a in figure.axes if a.axison]
    assert len(shown) == 6
    assert [len(a.patches) for a in shown] == [1] * 6
    patch = next(
        a for a in shown if a.get_title().startswith("run 2, chip 0, hemisphere 1")
    ).patches[0]
    assert (patch.get_width(), patch.get_height()) == (44, 44)
