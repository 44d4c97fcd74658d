"""NIR graphs as data, and their files: read as untrusted, written whole."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import lavalike as lv
from netx.nir import Graph, NirWarning, Node, from_nir, read, write
from netx.nir.file import _place
from netx.nir.graph import components

ONE = np.ones(4)
LIF = {"tau": 2e-3 * ONE, "r": ONE, "v_leak": 0 * ONE, "v_threshold": 0.1 * ONE, "v_reset": 0 * ONE}
DATA = Path(__file__).parent / "data" / "nir"


def node(kind, **params):
    return Node(kind, params)


def chain(*nodes, shape=(4,), out=None, **named):
    """Input, ``nodes`` called n0, n1, ..., Output."""
    made = {"in": node("Input", shape=shape)}
    made |= {f"n{k}": n for k, n in enumerate(nodes)} | named
    made["out"] = node("Output", shape=out or shape)
    names = list(made)
    return Graph(made, list(itertools.pairwise(names)))


def layered():
    """One of each kind of value that a file holds."""
    g = np.random.default_rng(0)
    conv = {
        "weight": g.normal(size=(3, 1, 3, 5)).astype(np.float32),
        "bias": g.normal(size=3),
        "stride": (2, 1),
        "padding": "same",
        "dilation": (1, 2),
        "groups": 2,
        "input_shape": (6, 7),
    }
    conv["stride"] = (1, 1)
    conv["weight"] = g.normal(size=(4, 1, 3, 5))
    conv["bias"] = g.normal(size=4)
    pool = node("AvgPool2d", kernel_size=(2, 3), stride=(2, 3), padding=(0, 1))
    flat = node("Flatten", start_dim=0, end_dim=-1, input_type=(4, 3, 3))
    dense = node("Affine", weight=g.normal(size=(4, 36)), bias=g.normal(size=4))
    graph = chain(
        node("Conv2d", **conv), pool, flat, dense, node("LIF", **LIF), shape=(2, 6, 7), out=(4,)
    )
    graph.metadata.update(
        {
            "author": "é",
            "lavalike": {"dt": 1e-4, "many": [1, 2], "names": ["a", "bé"], "late": True},
        }
    )
    return Graph.of(graph)


# -- graphs ----------------------------------------------------------------------------------------


def test_shapes_take_each_axis_by_itself():
    found = layered().shapes()
    assert found["n0"] == ((2, 6, 7), (4, 6, 7))  # 'same', grouped, 3 x 5
    assert found["n1"].output == (4, 3, 3)
    assert found["n2"].output == (36,)
    strided = node(
        "Conv2d",
        weight=np.ones((4, 2, 3, 5)),
        bias=np.zeros(4),
        stride=2,
        padding=1,
        dilation=1,
        groups=1,
    )
    shapes = Graph.of(chain(strided, shape=(2, 8, 9), out=(4, 4, 4))).shapes()
    assert shapes["n0"].output == (4, 4, 4)
    assert shapes["out"] == ((4, 4, 4), (4, 4, 4))


@pytest.mark.parametrize(
    ("start", "end", "out"), [(0, -1, (24,)), (1, -1, (2, 12)), (0, 1, (6, 4)), (-2, -1, (2, 12))]
)
def test_flatten_counts_axes_without_a_batch(start, end, out):
    flat = node("Flatten", start_dim=start, end_dim=end)
    assert Graph.of(chain(flat, shape=(2, 3, 4), out=out)).shapes()["n0"].output == out


def test_one_number_stands_for_all_neurons_and_a_missing_reset_is_zero():
    p = {"tau": 2e-3, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.1}
    graph = Graph.of(chain(node("LIF", **p)))
    assert graph.shapes()["n0"] == ((4,), (4,))
    assert graph.nodes["n0"].params["v_reset"] == 0
    cuba = {"tau_syn": ONE, "tau_mem": ONE, "r": ONE, "v_leak": ONE, "v_threshold": ONE}
    made = Graph.of(chain(node("CubaLIF", **cuba))).nodes["n0"]
    assert np.array_equal(made.params["w_in"], ONE)
    assert np.array_equal(made.params["v_reset"], 0 * ONE)


def test_an_object_is_read_and_stays_as_it_was():
    lif = type("LIF", (), {})()
    lif.__dict__ |= {
        **LIF,
        "input_type": {"input": np.array([4])},
        "output_type": {},
        "metadata": {},
    }
    entry = type("Input", (), {})()
    entry.input_type = {"input": np.array([4])}
    leave = type("Output", (), {})()
    leave.output_type = {"output": np.array([4])}
    given = SimpleNamespace(
        nodes={"in": entry, "lif": lif, "out": leave},
        edges=[("in", "lif"), ("lif", "out")],
        metadata={"x": 1},
    )
    before = copy.deepcopy(vars(lif))
    graph = Graph.of(given)
    assert graph.shapes()["lif"] == ((4,), (4,))
    assert graph.metadata == {"x": 1}
    lif.tau[0] = 9  # a copy was taken
    assert graph.nodes["lif"].params["tau"][0] == 2e-3
    assert vars(lif).keys() == before.keys()
    with pytest.raises(ValueError, match="read-only"):
        graph.nodes["lif"].params["tau"][0] = 1


def test_a_graph_is_equal_to_its_copies():
    graph = layered()
    assert pickle.loads(pickle.dumps(graph)) == copy.deepcopy(graph) == Graph.of(graph) == graph
    other = Graph.of(chain(node("LIF", **{**LIF, "r": 2 * ONE})))
    assert Graph.of(chain(node("LIF", **LIF))) != other
    with pytest.raises(TypeError):
        hash(graph)


def inner():
    """A recurrent subgraph."""
    sub = {
        "input": node("Input", shape=(4,)),
        "lif": node("LIF", **LIF),
        "w": node("Linear", weight=np.eye(4)),
        "output": node("Output", shape=(4,)),
    }
    return Graph(sub, [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")])


def test_subgraphs_are_flattened_and_their_ports_bridged():
    flat = Graph.of(chain(inner(), inner())).flat()
    assert set(flat.nodes) == {"in", "out", "n0/lif", "n0/w", "n1/lif", "n1/w"}
    assert ("n0/lif", "n1/lif") in flat.edges
    assert ("in", "n0/lif") in flat.edges
    assert ("n1/lif", "out") in flat.edges
    assert len(flat.edges) == 7


def test_bridging_keeps_how_often_an_edge_counts_and_where_a_loop_closes():
    graph = chain(inner())
    graph.edges.append(("in", "n0"))
    assert Graph.of(graph).flat().edges.count(("in", "n0/lif")) == 2
    # what comes back to an inner Input from which two edges go out goes back for both
    sub = Graph(
        {
            "input": node("Input", shape=(4,)),
            "a": node("LIF", **LIF),
            "b": node("LIF", **LIF),
            "output": node("Output", shape=(4,)),
        },
        [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")],
    )
    looped = Graph(
        {"in": node("Input", shape=(4,)), "s": sub, "out": node("Output", shape=(4,))},
        [("in", "s"), ("s", "s"), ("s", "out")],
    )
    flat = Graph.of(looped).flat()
    assert flat.nodes["s/input"].type == "Scale"
    assert ("s/input", "b") not in flat.edges
    assert ("s/input", "s/b") in flat.edges


def test_ports_of_a_subgraph_are_named_where_there_are_several():
    sub = Graph(
        {
            "x": node("Input", shape=(4,)),
            "y": node("Input", shape=(4,)),
            "lif": node("LIF", **LIF),
            "z": node("Output", shape=(4,)),
        },
        [("x", "lif"), ("y", "lif"), ("lif", "z")],
    )
    graph = Graph(
        {"in": node("Input", shape=(4,)), "s": sub, "out": node("Output", shape=(4,))},
        [("in", "s.y"), ("s.z", "out")],
    )
    assert Graph.of(graph).flat().edges == [("s/lif", "out"), ("in", "s/lif")]
    graph.edges[0] = ("in", "s")
    with pytest.raises(lv.NirError, match=r"2 Input nodes.*s\.x, s\.y"):
        Graph.of(graph).flat()


def test_a_name_that_only_one_node_can_be_is_told():
    graph = chain(node("LIF", **LIF), node("Linear", weight=np.eye(4)))
    graph.edges[:] = [("in", "lif"), ("lif", "n1"), ("n1", "out")]
    with pytest.warns(NirWarning, match=r"'lif', which is not there; 'n0'"):
        fixed = Graph.of(graph)
    assert fixed.edges == [("in", "n0"), ("n0", "n1"), ("n1", "out")]
    graph.edges.append(("other", "out"))
    with pytest.raises(lv.NirError, match=r"name 'lif', and no node is called that"):
        Graph.of(graph)


def test_an_output_of_as_many_numbers_is_told():
    graph = Graph.of(chain(node("LIF", **LIF), out=(1, 4, 1)))
    with pytest.warns(NirWarning, match=r"shape is \(1, 4, 1\), and \(4,\) arrives"):
        assert graph.shapes()["out"].output == (4,)
    with pytest.raises(lv.NirError, match=r"out: shape: is \(5,\), and \(4,\) arrives"):
        Graph.of(chain(node("LIF", **LIF), out=(5,))).shapes()


def test_loops_are_found_without_recursion():
    n = 5000
    edges = [(str(k), str(k + 1)) for k in range(n)] + [(str(n), "0"), ("a", "a")]
    found = components([*map(str, range(n + 1)), "a", "b"], edges)
    assert sorted(map(len, found)) == [1, n + 1]


CONV = {"weight": np.ones((4, 2, 3, 3)), "bias": np.zeros(4), "stride": 1, "padding": 0}
CONV |= {"dilation": 1, "groups": 1}
WRONG = {
    "unknown type": (node("LIFF", **LIF), "type", "LIFF.*did you mean"),
    "unknown parameter": (node("LIF", **LIF, tua=ONE), "tua", "is no parameter of LIF.*tau"),
    "missing": (node("LIF", tau=ONE), "r", "is missing"),
    "shapes differ": (node("LIF", **{**LIF, "r": np.ones(3)}), "", "differ in shape.*r \\(3,\\)"),
    "NaN": (node("LIF", **{**LIF, "tau": np.nan * ONE}), "tau", "holds nan"),
    "infinite": (node("LIF", **{**LIF, "r": np.inf * ONE}), "r", "holds inf"),
    "text": (node("LIF", **{**LIF, "tau": "long"}), "tau", "numbers are expected"),
    "complex": (node("LIF", **{**LIF, "tau": 1j * ONE}), "tau", "numbers are expected"),
    "empty": (node("LIF", **{**LIF, "tau": np.ones(0)}), "tau", "numbers are expected"),
    "weight": (node("Linear", weight=ONE), "weight", r"has shape \(4,\)"),
    "bias": (node("Affine", weight=np.eye(4), bias=np.ones(3)), "bias", r"has shape \(3,\)"),
    "padding": (node("Conv2d", **{**CONV, "padding": "full"}), "padding", "'same' or 'valid'"),
    "negative": (node("Conv2d", **{**CONV, "padding": -1}), "padding", "at least 0"),
    "stride": (node("Conv2d", **{**CONV, "stride": 0}), "stride", "at least 1"),
    "fraction": (node("Conv2d", **{**CONV, "stride": 1.5}), "stride", "whole numbers"),
    "three": (
        node("Conv2d", **{**CONV, "stride": (1, 1, 1)}),
        "stride",
        "one whole number an axis",
    ),
    "groups": (node("Conv2d", **{**CONV, "groups": 3}), "groups", "a divisor of the 4 outputs"),
    "same, strided": (
        node("Conv2d", **{**CONV, "stride": 2, "padding": "same"}),
        "stride",
        "only 1",
    ),
    "axes": (node("Conv2d", **{**CONV, "weight": np.ones((4, 2, 3))}), "weight", "H, W"),
    "bomb": (node("Input", shape=(1 << 20, 1 << 20)), "shape", "positive whole numbers"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_node_is_told_by_name(what):
    wrong, parameter, text = WRONG[what]
    with pytest.raises(lv.NirError, match=text) as e:
        Graph.of(chain(wrong))
    assert e.value.node == "n0"
    assert e.value.parameter == parameter
    assert isinstance(e.value, lv.NetFileError)
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (
            chain(node("Linear", weight=np.ones((4, 5)))),
            r"hears shape \(4,\) of 'in' and takes \(5,\)",
        ),
        (chain(node("Conv2d", **CONV), shape=(3, 8, 8)), "in 1 groups hears a message"),
        (chain(node("Conv2d", **CONV), shape=(2, 2, 2)), "is larger than what it hears"),
        (chain(node("Flatten", start_dim=2, end_dim=-1)), "flattens axes 2 to -1"),
        (
            Graph(
                {"in": node("Input"), "p": node("Scale", scale=2.0), "out": node("Output")},
                [("in", "p"), ("p", "out")],
            ),
            "nothing tells the shape",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_told_by_name(graph, text):
    with pytest.raises(lv.NirError, match=text):
        Graph.of(graph).shapes()


def test_what_is_no_graph_is_told():
    for given, text in (
        (3, "has no nodes and edges"),
        ({"nodes": {}}, "has no nodes and edges"),
        ({"nodes": {}, "edges": [("a",)]}, "no pairs of names"),
        ({"type": "LIF", "nodes": {}, "edges": []}, "the outermost node is a NIRGraph"),
        ({"nodes": {"a/b": node("Input", shape=(1,))}, "edges": []}, "without '/'"),
    ):
        with pytest.raises(lv.NirError, match=text):
            Graph.of(given)
    deep = chain(node("LIF", **LIF))
    for _ in range(40):
        deep = chain(deep)
    with pytest.raises(lv.NirError, match="nested deeper than 32"):
        Graph.of(deep)


# -- files -----------------------------------------------------------------------------------------


def test_a_file_holds_the_graph_and_the_same_graph_is_the_same_bytes(tmp_path):
    graph = layered()
    first, second = write(tmp_path / "a.nir", graph), write(tmp_path / "b.nir", graph)
    assert first.read_bytes() == second.read_bytes()
    found = read(first)
    assert dict(found.nodes) == graph.nodes
    assert found.edges == graph.edges
    assert found.metadata["author"] == "é"
    noted = found.metadata["lavalike"]
    assert noted["names"].tolist() == ["a", "bé"]
    assert noted["dt"] == 1e-4
    assert bool(noted["late"]) is True
    assert list(tmp_path.glob(".*")) == []


def test_subgraphs_and_duplicate_edges_are_written(tmp_path):
    graph = chain(inner())
    graph.edges.append(("in", "n0"))
    found = read(write(tmp_path / "a.nir", graph))
    assert found == Graph.of(graph)
    assert found.edges.count(("in", "n0")) == 2


def test_a_reset_to_zero_is_not_written_as_nir_before_105_has_none(tmp_path):
    write(tmp_path / "a.nir", chain(node("LIF", **LIF)))
    write(tmp_path / "b.nir", chain(node("LIF", **{**LIF, "v_reset": -ONE})))
    with h5py.File(tmp_path / "a.nir") as a, h5py.File(tmp_path / "b.nir") as b:
        assert "v_reset" not in a["node/nodes/n0"]
        assert (b["node/nodes/n0/v_reset"][()] == -1).all()
    assert (read(tmp_path / "a.nir").nodes["n0"].params["v_reset"] == 0).all()


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "a.nir", chain(node("LIF", **LIF)))
    before = path.read_bytes()
    for bad in ({"x": object()}, {"a/b": 1}, {"x": {"y": {"z": {"u": {"v": {"w": 1}}}}}}):
        graph = chain(node("LIF", **LIF))
        graph.metadata.update(bad)
        with pytest.raises(lv.ExportError, match="metadata"):
            write(path, graph)
    with pytest.raises(lv.ExportError, match="cannot be written"):
        write(tmp_path / "no" / "a.nir", chain(node("LIF", **LIF)))
    assert path.read_bytes() == before


@pytest.fixture
def made(tmp_path):
    return write(tmp_path / "net.nir", layered())


def damage(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def put(key, value, **kwargs):
    def change(file):
        if key in file:
            del file[key]
        file.create_dataset(key, data=value, **kwargs)

    return change


def link(key, target):
    def change(file):
        if key in file:
            del file[key]
        file[key] = target

    return change


def virtual(file):
    layout = h5py.VirtualLayout((4,), np.float64)
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    del file["node/nodes/n4/tau"]
    file.create_virtual_dataset("node/nodes/n4/tau", layout)


def external(file):
    del file["node/nodes/n4/tau"]
    file.create_dataset("node/nodes/n4/tau", (4,), np.float64, external=[("other.bin", 0, 32)])


def slashed(file):
    group = file.create_group("node/nodes/a/b")
    group.create_dataset("type", data="Input")


def nested(file):
    at = file["node"]
    for _ in range(200):
        at = at.create_group("nodes/deep")
        at.create_dataset("type", data="NIRGraph")
        at.create_dataset("edges", data=np.zeros((0, 2)))


def inflated(file):
    del file["node/nodes/n3/weight"]
    file.create_dataset(
        "node/nodes/n3/weight", (4096, 4096), "f4", chunks=(512, 512), compression="gzip"
    )[:, :1] = 1


ATTACKS = {
    "soft link": (link("node/nodes/n4/tau", h5py.SoftLink("/node/nodes/n4/r")), "n4", "SoftLink"),
    "external link": (
        link("node/nodes/n4/tau", h5py.ExternalLink("other.nir", "/node")),
        "n4",
        "ExternalLink",
    ),
    "external link as a node": (
        link("node/nodes/n4", h5py.ExternalLink("other.nir", "/node/nodes/n4")),
        "n4",
        "ExternalLink",
    ),
    "virtual data": (virtual, "n4", "outside the file"),
    "external storage": (external, "n4", "outside the file"),
    "name with a slash": (slashed, "a", "has no type; was it a/b"),
    "200 nested graphs": (nested, "deep", "nested deeper than"),
    "inflates": (inflated, "n3", "declares 67108864 bytes"),
    "text for numbers": (put("node/nodes/n4/tau", "x"), "n4", "numbers are expected"),
    "complex": (put("node/nodes/n4/tau", np.ones(4, complex)), "n4", "complex"),
    "compound": (put("node/nodes/n4/tau", np.ones(4, [("a", "f8")])), "n4", "compound|dtype"),
    "references": (
        put("node/nodes/n4/tau", h5py.Reference(), dtype=h5py.ref_dtype),
        "n4",
        "reference|dtype",
    ),
    "NaN": (put("node/nodes/n4/tau", np.nan * ONE), "n4", "holds nan"),
    "no number": (put("node/nodes/n4/tau", np.ones(0)), "n4", "numbers are expected"),
    "half": (put("node/nodes/n4/tau", np.ones(2)), "n4", "differ in shape"),
    "numbers for a type": (put("node/nodes/n4/type", 3), "n4", "no node of NIR"),
    "numbers for edges": (put("node/edges", np.ones((3, 2))), "", "texts of shape"),
    "triples": (put("node/edges", np.array([[b"in", b"n0", b"n1"]])), "", "texts of shape"),
    "edge to nobody": (put("node/edges", np.array([[b"in", b"x"], [b"y", b"out"]])), "", "no node"),
    "a group for a parameter": (
        lambda f: (f.__delitem__("node/nodes/n4/tau"), f.create_group("node/nodes/n4/tau"))[0],
        "n4",
        "numbers are expected",
    ),
    "version 2": (put("version", "2.0.0"), "", "known are the files of NIR 0 and 1"),
    "version of text": (put("version", "new"), "", "one as '1.0.8' is expected"),
    "version of numbers": (put("version", 1.0), "", "one as '1.0.8' is expected"),
    "no node": (lambda f: f.__delitem__("node"), "", "node: is missing"),
    "no nodes": (lambda f: f.__delitem__("node/nodes"), "", "a graph has a group 'nodes'"),
    "linked twice": (
        lambda f: f.__setitem__("node/nodes/again", f["node/nodes/n4"]),
        "n4",
        "twice",
    ),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_a_hostile_file_is_refused_by_name(made, what):
    change, where, text = ATTACKS[what]
    (made.parent / "other.nir").write_bytes(made.read_bytes())
    damage(made, change)
    with pytest.raises(lv.NirError, match=text) as e:
        read(made)
    assert e.value.node.split("/")[0] == where
    assert e.value.file == str(made)


@pytest.mark.parametrize(
    ("bomb", "where"),
    [
        (chain(node("Scale", scale=2.0), shape=(1 << 14, 1 << 16)), "in"),
        (
            chain(node("SumPool2d", kernel_size=1, stride=1, padding=1 << 14), shape=(1, 1, 1)),
            "n0",
        ),
    ],
)
def test_shapes_that_ask_for_more_than_the_file_may_are_refused_by_name(tmp_path, bomb, where):
    del bomb.nodes["out"].params["shape"]
    with pytest.raises(lv.NirError, match=r"a file of .* bytes may ask for") as e:
        read(write(tmp_path / "a.nir", bomb))
    assert e.value.node == where


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(lv.NirError, match="there is no such file"):
        from_nir(tmp_path / "no.nir", dt=1e-4)
    (tmp_path / "a.nir").write_text("hello")
    with pytest.raises(lv.NirError, match="not a readable HDF5 file"):
        read(tmp_path / "a.nir")


def test_an_unknown_key_and_a_missing_version_are_told(made):
    damage(made, put("extra", 1))
    damage(made, lambda f: f.__delitem__("version"))
    with pytest.warns(NirWarning) as told:
        read(made)
    assert [("version" in str(w.message), "extra" in str(w.message)) for w in told] == [
        (True, False),
        (False, True),
    ]


def test_other_byte_orders_and_compression_are_read(made):
    before = read(made)
    value = before.nodes["n3"].params["weight"]
    damage(made, put("node/nodes/n3/weight", value.astype(">f8"), compression="gzip"))
    found = read(made).nodes["n3"].params["weight"]
    assert np.array_equal(found, value)
    assert found.dtype.isnative


def test_a_place_is_a_node_and_a_parameter():
    assert _place("node/nodes/a/nodes/b/tau") == ("a/b", "tau")
    assert _place("node/nodes/a.b/type") == ("a.b", "type")
    assert _place("node/edges") == ("", "edges")
    assert _place("version") == ("", "version")


def test_damaged_files_are_refused_or_the_same(tmp_path):
    """A short sample of ``python -m benchmarks.fuzz_files --nir``."""
    from benchmarks.fuzz_files import damaged

    original = write(tmp_path / "a.nir", chain(inner(), node("LIF", **LIF)))
    kinds = {n: x.type for n, x in read(original).flat().nodes.items()}
    target, named = tmp_path / "b.nir", set()
    g, refused, alike = np.random.default_rng(0), 0, 0
    for _ in range(20):
        damaged([original], target, g)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NirWarning)
                found = read(target)
        except lv.NirError as e:
            refused += 1
            named.add(e.file)
            continue
        # nothing vouches for a number; what the graph is made of is told by names and types
        if {n: x.type for n, x in found.flat().nodes.items()} == kinds:
            alike += 1
    assert named == {str(target)}
    assert refused > 7
    assert refused + alike > 17


@pytest.mark.parametrize("path", sorted(DATA.glob("*.nir")), ids=lambda p: p.stem)
def test_the_files_of_the_paper_are_written_again(path, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NirWarning)
        graph = read(path)
        again = read(write(tmp_path / "a.nir", graph))
    assert again == graph


def test_the_package_nir_reads_what_we_write(tmp_path):
    nir = pytest.importorskip("nir")
    lif = nir.LIF(**LIF)
    theirs = nir.NIRGraph(
        {"in": nir.Input(np.array([4])), "lif": lif, "out": nir.Output(np.array([4]))},
        [("in", "lif"), ("lif", "out")],
    )
    ours = Graph.of(theirs)
    found = nir.read(write(tmp_path / "a.nir", ours))
    assert Graph.of(found) == ours
    nir.write(tmp_path / "b.nir", theirs)
    assert read(tmp_path / "b.nir") == ours
