"""Process graphs as Mermaid and DOT, and what notebooks show: escaped, light, folded when large."""

from __future__ import annotations

import html
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

import lavalike as lv
from lavalike import html as view
from lavalike.bss2 import Chip, Noise
from lavalike.proc import LIF, Dense, Monitor, Recorder
from lavalike.process import drawing
from tests.conftest import ROOT

EVIL = '<script>alert("&")</script>'


class Layer(lv.AbstractProcess):
    """A connection with a neuron that hears itself."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
        self.dense, self.lif = Dense(weights=np.eye(2)), LIF(shape=(2,))
        self.back = Dense(weights=np.eye(2))
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.back.s_in)
        self.back.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


class Net(lv.AbstractProcess):
    def __init__(self, name=None):
        super().__init__(name=name)
        self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
        self.layers = [Layer(), Layer()]
        self.inp.connect(self.layers[0].inp)
        self.layers[0].out.connect(self.layers[1].inp)
        self.layers[1].out.connect(self.out)


def chain(count):
    class Chain(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.parts = [LIF(shape=(2,)) for _ in range(count)]
            for a, b in zip(self.parts, self.parts[1:], strict=False):
                a.s_out.connect(b.a_in)

    return Chain()


def boxes(text):
    """Number to label, of either language."""
    found = re.findall(r'^ +n(\d+)[\[(]+"(.*?)"[\])]+$', text, re.M)
    found += re.findall(r'^ +n(\d+) \[label="(.*?)"', text, re.M)
    return {int(n): label.replace("<br/>", " ").replace("\\n", " ") for n, label in found}


def arrows(text):
    named = boxes(text)
    found = re.findall(r'^ +n(\d+) (?:-->|-\.->|-\.-o)(?:\|"(.*?)"\|)? n(\d+)$', text, re.M)
    found += [
        (a, label, b)
        for a, b, label in re.findall(r'^ +n(\d+) -> n(\d+) \[label="(.*?)"', text, re.M)
    ]
    return sorted((named[int(a)], label, named[int(b)]) for a, label, b in found)


INSIDE = [
    ("back Dense", "a_out → a_in", "lif LIF"),
    ("back Dense", "a_out → a_in", "lif LIF"),
    ("dense Dense", "a_out → a_in", "lif LIF"),
    ("dense Dense", "a_out → a_in", "lif LIF"),
    ("inp", "s_in", "dense Dense"),
    ("lif LIF", "s_out", "out"),
    ("lif LIF", "s_out → s_in", "back Dense"),
    ("lif LIF", "s_out → s_in", "back Dense"),
    ("lif LIF", "s_out → s_in", "dense Dense"),
]


@pytest.mark.parametrize("write", ["to_mermaid", "to_dot"])
def test_connections_go_from_leaf_to_leaf(write):
    assert arrows(getattr(Net(), write)()) == INSIDE


@pytest.mark.parametrize("write", ["to_mermaid", "to_dot"])
def test_folded_processes_keep_what_passes_between_them(write):
    net = Net()
    assert arrows(getattr(net, write)(depth=1)) == [
        (
            "inp",
            "inp",
            "layers#91;0#93; Layer 3 processes inside"
            if write == "to_mermaid"
            else "layers[0] Layer 3 processes inside",
        ),
        *(
            [
                (
                    "layers#91;0#93; Layer 3 processes inside",
                    "out → inp",
                    "layers#91;1#93; Layer 3 processes inside",
                ),
                ("layers#91;1#93; Layer 3 processes inside", "out", "out"),
            ]
            if write == "to_mermaid"
            else [
                (
                    "layers[0] Layer 3 processes inside",
                    "out → inp",
                    "layers[1] Layer 3 processes inside",
                ),
                ("layers[1] Layer 3 processes inside", "out", "out"),
            ]
        ),
    ]
    assert list(boxes(getattr(net, write)(depth=0)).values()) == ["Net 8 processes inside"]
    assert arrows(getattr(net, write)(depth=0)) == []


def test_an_inner_process_is_drawn_alone_and_an_outer_one_with_all_it_is_connected_to():
    a, b = Layer("a"), Layer("b")
    a.out.connect(b.inp)
    assert "subgraph" in a.to_mermaid()
    assert a.to_mermaid().count("subgraph") == b.to_mermaid().count("subgraph") == 2
    net = Net()
    inner = net.layers[1].to_mermaid()
    assert inner.count("subgraph") == 1
    assert arrows(inner) == sorted({*INSIDE} - {("lif LIF", "s_out → s_in", "dense Dense")})
    assert boxes(net.layers[0].lif.to_dot()) == {1: "lif LIF"}


@pytest.mark.parametrize("write", ["to_mermaid", "to_dot"])
def test_a_neuron_that_hears_itself_and_who_records_it(write):
    lif = LIF(shape=(2,), name="cell")
    lif.s_out.connect(lif.a_in)
    recorder, monitor = Recorder(name="rows"), Monitor(name="eye")
    recorder.add(lif.v)
    monitor.probe(lif.s_out, 5)
    text = getattr(lif, write)()
    assert arrows(text) == [
        ("cell LIF", "s_out", "eye Monitor"),
        ("cell LIF", "s_out → a_in", "cell LIF"),
        ("cell LIF", "v", "rows Recorder"),
    ]
    assert ("-.-o" if write == "to_mermaid" else "style=dotted") in text


def test_what_is_recorded_of_an_open_process_comes_from_within():
    net, eye = Layer("a"), Monitor(name="eye")
    eye.probe(net.out, 5)
    assert ("lif LIF", "out", "eye Monitor") in arrows(net.to_mermaid())


def test_a_refport_is_dashed_to_the_process_of_its_var():
    class Reader(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.ref = lv.RefPort((2,))

    reader, lif = Reader(), LIF(shape=(2,), name="cell")
    reader.ref.connect_var(lif.v)
    text = reader.to_mermaid()
    assert arrows(text) == [("Reader", "ref → v", "cell LIF")]
    assert "-.->" in text
    assert "style=dashed" in reader.to_dot()


def test_a_process_that_hands_on_is_an_edge_from_end_to_end():
    class Wire(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
            self.lif = LIF(shape=(2,))
            self.inp.connect(self.out)

    assert arrows(Wire().to_mermaid()) == [("inp", "", "out")]


def test_names_are_escaped():
    net = Layer(name=EVIL + '\n"]; n1 --> n2\\')
    mermaid, dot = net.to_mermaid(), net.to_dot()
    assert "<script" not in mermaid
    assert mermaid.count("\n") == Layer("x").to_mermaid().count("\n")
    assert (
        '"#60;script#62;alert#40;#34;#38;#34;#41;#60;/script#62; #34;#93;; n1 --#62; n2#92;: Layer"'
        in mermaid
    )
    assert r'label="<script>alert(\"&\")</script> \"]; n1 --> n2\\: Layer"' in dot
    assert dot.count("\n") == Layer("x").to_dot().count("\n")


def test_a_large_graph_is_folded():
    one = chain(150)
    text = one.to_mermaid()
    assert list(boxes(text).values()) == ["150 of LIF parts#91;0#93; and others"]
    assert arrows(text)[0][1] == "s_out → a_in"
    assert len(boxes(one.to_mermaid(depth=1))) == 150  # as it was asked for

    class Deep(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a = [chain(40) for _ in range(4)]

    assert len(boxes(Deep().to_mermaid())) == 4
    assert len(boxes(Deep().to_mermaid(depth=2))) == 160


def test_depth_is_checked():
    with pytest.raises(lv.InputError, match="to_dot: depth is an integer >= 0 or None, got -1"):
        Net().to_dot(depth=-1)


def test_a_process_may_call_a_var_so():
    class Own(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.to_dot = lv.Var((1,))

    assert "to_dot" in Own()._repr_html_()


# -- notebooks -------------------------------------------------------------------------------------


class Checked(HTMLParser):
    """Every tag is closed, none runs or loads anything."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in {
            "div",
            "span",
            "strong",
            "em",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
        }
        assert all(name in ("style", "open") for name, _ in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def test_a_process_shows_ports_vars_and_what_is_inside():
    net = Net(name=EVIL)
    text = Checked(net._repr_html_()).text
    assert EVIL in text
    assert "2 processes inside" in text
    inner = Checked(net.layers[1]._repr_html_()).text
    assert f"{EVIL}.layers[0].out" in inner
    lif = Checked(net.layers[0].lif._repr_html_()).text
    assert re.search(r"v +state +2 +", lif)
    assert html.escape(EVIL) in net._repr_html_()


def test_a_thousand_processes_are_shown_fast_and_small():
    """50 ms and 200 kB; the first of several, as a busy machine may be at something else."""
    net = chain(1000)
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        shown = net._repr_html_()
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.05
    assert len(shown.encode()) < 200_000
    assert "and 900 more" in Checked(shown).text


def test_a_process_of_ten_thousand_ports_is_shown():
    class Wide(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            for k in range(2000):
                setattr(self, f"p{k}", lv.InPort((1,)))

    shown = Wide()._repr_html_()
    assert len(shown) < 200_000
    assert "and 1,900 more" in shown


def test_a_run_config_shows_what_is_not_default():
    lif = LIF(shape=(2,), name=EVIL)
    text = Checked(lv.RunConfig(seed=3, select={lif: "fixed_pt"})._repr_html_()).text
    assert re.search(r"seed +3 ", text)
    assert "numba" in text
    assert EVIL in text
    assert "threads" not in text


def test_a_chip_and_a_placement():
    torch = pytest.importorskip("torch")
    from lavalike.bss2.perceptron import nn
    from lavalike.bss2.placement import place

    text = Checked(Chip(seed=7, noise=Noise(column_gain=0.5))._repr_html_()).text
    assert "emulated chip 7" in text
    assert "noise, changed" in text
    assert re.search(r"column_gain +0.5", text)
    placed = place(torch.nn.Sequential(nn.Linear(100, 50)), (100,))
    shown = Checked(placed._repr_html_()).text
    assert shown == Checked(placed.report()._repr_html_()).text
    for word in ("1 chip, 1 run", "layers", "tiles", "instances"):
        assert word in shown
    head, *_ = str(placed).split("\n")
    assert head in shown


def test_a_network_of_a_file():
    import netx

    net = netx.hdf5.Network(ROOT / "tests/data/lavalike-0.3/sdnn.net")
    text = Checked(net._repr_html_()).text
    assert "3 layers, lavalike file" in text
    assert re.search(r"dense +6 +5 +SigmaDelta +30 +1 ", text)
    assert str(net).split("\n")[0] == "sdnn.net: 3 layers, lavalike file"


def test_a_table_counts_what_it_leaves_out():
    text = view.table(["a", "b"], ([k, EVIL] for k in range(500)), 500, 3)
    assert Checked(text).text.count(EVIL) == 3
    assert "and 497 more" in text
    assert view.escape("x" * 500).endswith("...")
    assert len(view.escape("x" * 500)) == view.LONGEST


def test_no_box_is_lost_where_all_is_drawn():
    net = Net()
    made = drawing.Drawing(net, depth=9)
    assert sorted(b.name for b in made.boxes) == sorted(
        ["dense", "lif", "back"] * 2 + ["inp", "out"]
    )
    assert [g.name for g in made.top.groups[0].groups] == ["layers[0]", "layers[1]"]
