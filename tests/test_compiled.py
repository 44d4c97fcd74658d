"""lv.compile: what runs, is explained, saved and loaded is the same graph; a file is not
trusted."""

from __future__ import annotations

import dataclasses
import json
import pickle
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import lavalike as lv
import lavalike.fixed
from lavalike import container
from lavalike.backends import get_backend
from lavalike.compiled import explain, store
from lavalike.compiler.flat import flatten
from lavalike.compiler.parts import cut
from lavalike.dynamics.ops import above, leak
from lavalike.proc import LIF, DelayDense, Dense, Monitor, Recorder, Sparse, neuron_process
from lavalike.proc.io import sink, source
from lavalike.proc.io.dataloader import StateDataloader
from lavalike.proc.io.reset import Reset
from lavalike.testing.samples import SAMPLES


class Net(lv.AbstractProcess):
    """Synapses with delays, neurons that hear themselves, by constructor alone."""

    def __init__(self, weights, *, du=0.5):
        super().__init__()
        self.inp = lv.InPort((weights.shape[1],))
        delays = np.arange(weights.size).reshape(weights.shape) % 3
        self.dense = DelayDense(weights=weights, delays=delays)
        self.lif = LIF(shape=(weights.shape[0],), du=du, dv=0.1, vth=1.0)
        self.rec = Dense(weights=weights @ weights.T * 0.1)
        self.inp.connect(self.dense.s_in)
        for synapse in (self.dense, self.rec):
            synapse.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.rec.s_in)


class Gain(lv.AbstractProcess):
    """Multiplies in Python, and looks at a Var of another."""

    def __init__(self, gain):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
        self.gain, self.seen = lv.Var((3,), gain), lv.Var((3,), 0.0)
        self.looks = lv.RefPort((3,))


@lv.implements(Gain, backend="numpy")
class GainModel(lv.NumpyModel):
    def run_spk(self):
        self.s_out.send(self.a_in.recv() * self.gain)

    def post_guard(self):
        return self.time_step % 2 == 0

    def run_post_mgmt(self):
        self.seen[:] = self.looks.read()


class Layer(lv.AbstractProcess):
    """A graph of others by its model."""

    def __init__(self, w):
        super().__init__()
        self.s_in, self.a_out, self.w = lv.InPort((3,)), lv.OutPort((3,)), lv.Var(w.shape, w)


@lv.implements(Layer)
class LayerModel(lv.SubProcessModel):
    def __init__(self, process):
        self.dense = Dense(weights=process.w.get())
        self.lif = LIF(shape=(3,), vth=1.0, du=0.3, dv=0.2)
        process.s_in.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(process.a_out)
        process.w.alias(self.dense.weights)


def mixed():
    """Every way of being connected: slices, several summands, a RefPort, Python, a model that is a
    graph, what records."""
    rng = np.random.default_rng(1)
    data = source.RingBuffer(data=(rng.random((6, 7)) > 0.5).astype(float))
    noise = source.Noise(shape=(3,), std=0.2)
    net, gain, layer = Net(rng.normal(size=(3, 5)), du=0.3), Gain(2.0), Layer(np.eye(3) * 3)
    data.s_out[1:].connect(net.inp)
    noise.s_out.connect(net.lif.a_in)
    net.lif.s_out.connect(gain.a_in)
    gain.s_out.connect(layer.s_in)
    gain.looks.connect_var(net.lif.v)
    out = sink.RingBuffer(shape=(2,), buffer=20)
    layer.a_out[:2].connect(out.a_in)
    monitor, recorder = Monitor(), Recorder()
    monitor.probe(net.lif.s_out, 40)
    recorder.add(net.lif.u, every=2, index=slice(0, 2))
    return net, monitor, recorder


CONFIG = lv.RunConfig(seed=3, dtype="float64", debug=True, select={LIF: lv.Choice(backend="numba")})
HERE = [__name__]


def test_a_loaded_graph_goes_on_with_the_same_bits(tmp_path):
    net, monitor, recorder = mixed()
    compiled = lv.compile(net, CONFIG)
    assert net.step == 0
    compiled.run(lv.RunSteps(8))
    twin, seen, _ = mixed()
    twin.run(lv.RunSteps(8), CONFIG)
    got, expected = (m.get_data()["Net.lif"]["s_out"] for m in (monitor, seen))
    np.testing.assert_array_equal(got, expected)
    assert expected.any()

    compiled.save(tmp_path / "graph.h5")
    loaded = lv.Compiled.load(tmp_path / "graph.h5", allow=HERE)
    assert (loaded.process.step, loaded.config.seed, loaded.config.dtype) == (8, 3, "float64")
    for graph in (compiled, loaded):
        graph.run(lv.RunSteps(9))
    assert list(loaded.processes) == list(compiled.processes)
    for path, process in compiled.processes.items():
        for var, other in zip(process.vars, loaded[path].vars, strict=True):
            assert other.get().dtype == var.get().dtype
            np.testing.assert_array_equal(other.get(), var.get(), err_msg=var.path)
    rows = loaded["Monitor"].get_data()["Net.lif"]["s_out"]  # recorded since it was loaded
    np.testing.assert_array_equal(rows, monitor.get_data()["Net.lif"]["s_out"][8:])
    kept = loaded["Recorder"][loaded["Net.lif"].u]
    np.testing.assert_array_equal(kept, recorder[net.lif.u][4:])
    loaded.process.reset()
    assert loaded.process.step == 8


def test_what_it_came_to_is_told():
    compiled = lv.compile(mixed()[0], CONFIG)
    text = compiled.explain()
    assert repr(compiled) == f"Compiled({', '.join(compiled.processes)})"
    lines = {line.split()[1]: line.split() for line in text.splitlines() if line[:1].isdigit()}
    said = "DelayDense DelayDenseModel numba floating_pt float64 1..3 1 RingBuffer.s_out"
    assert " ".join(lines["Net.dense"][2:]) == said
    assert "Net.dense.a_out, Net.rec.a_out, Noise.s_out" in text  # what the neurons hear, in order
    assert "run_post_mgmt where post_guard is true: Gain" in text
    assert "Gain.looks -> Net.lif.v" in text
    assert "Net.lif.u by Recorder: every 2. step, 2 of 3 elements" in text
    assert "step by step" in text

    dense, lif = Dense(weights=np.ones((2, 2)) * 2), LIF(shape=(2,), name="out")
    dense.a_out.connect(lif.a_in)
    config = lv.RunConfig(precision="fixed_pt", select={LIF: "torch"})
    flat = flatten(lif, config, get_backend)
    text = explain.text(SimpleNamespace(plan=cut(flat), flat=flat, cut=None))
    assert "part 1 -> part 2: Dense.a_out, settled 1 step before" in text
    assert "torch: out; any number of steps at once" in text


@pytest.mark.parametrize("name", [n for n in SAMPLES if n != "neuron_process"])
def test_a_process_of_the_library_is_made_again(name, tmp_path):
    fixed = "floating_pt" not in SAMPLES[name].precisions
    process = SAMPLES[name].make(fixed)
    writer = store._Writer("here")
    text = json.dumps(writer.top(process))
    reader = store._Reader(tmp_path / "one.h5", ["lavalike.testing"], False)
    reader.arrays = {str(k): a for k, a in enumerate(writer.arrays)}
    again = reader.make(json.loads(text), 0)
    for var, other in zip(process.vars, again.vars, strict=True):
        assert (other.name, other.shape) == (var.name, var.shape)
        np.testing.assert_array_equal(other.get(), var.get())


def test_what_a_file_cannot_say_is_told_when_it_is_saved(tmp_path):
    path = tmp_path / "graph.h5"

    def told(process, text, config=None):
        with pytest.raises(lv.GraphFileError, match=text):
            lv.compile(process, config).save(path)
        assert not any(tmp_path.iterdir())

    class Local(LIF):
        pass

    told(Local(shape=(2,)), "class .*Local is not found in module .*; define it")
    later = Net(np.ones((3, 2)))
    later.more = lv.Var((2,), 1.0)
    told(later, "Net: .*no Var 'more'.*added to them later")
    inside = Net(np.ones((3, 2)))
    inside.another = LIF(shape=(2,))
    told(inside, "cannot be made again: .*process inside another")
    lif = LIF(shape=(2,))
    told(lif, "no file holds a function", lv.RunConfig(select={lambda p: True: "numba"}))
    recorder = Recorder(to=tmp_path.parent / f"{tmp_path.name}.rows.h5")
    recorder.add((recorded := LIF(shape=(2,))).v)
    told(recorded, "records to a file")
    recorder.close()
    copied = pickle.loads(pickle.dumps(Net(np.ones((3, 2)))))
    told(copied, "argument weights: .* not there any more")


def test_arguments_that_are_gone_are_read_from_the_vars(tmp_path):
    lif = pickle.loads(pickle.dumps(LIF(shape=(3,), vth=np.arange(3.0))))
    sparse = Sparse(weights=np.array([[0, 2.0, 0], [1, 0, 3], [0, 0, 0]]))
    sparse.a_out.connect(lif.a_in)
    sparse.weights.set([5.0, 6.0, 7.0])
    lv.compile(lif).save(tmp_path / "graph.h5")
    loaded = lv.Compiled.load(tmp_path / "graph.h5")
    np.testing.assert_array_equal(loaded.process.vth.get(), np.arange(3.0))
    expected = [[0, 5, 0], [6, 0, 7], [0, 0, 0]]
    np.testing.assert_array_equal(loaded["Sparse"].to_dense(), expected)


def test_what_reads_and_sets_a_var_is_kept(tmp_path):
    lif = LIF(shape=(3,), bias_mant=np.ones(3), vth=30.0)
    data = [(np.full(3, k), k) for k in range(5)]
    for process, var in (
        (sink.Read(buffer=4, interval=3), lif.v),
        (Reset(reset_value=0.5, interval=7), lif.u),
        (StateDataloader(dataset=data, interval=5), lif.bias_mant),
    ):
        process.connect_var(var)
    compiled = lv.compile(lif, lv.RunConfig(debug=True))
    compiled.run(lv.RunSteps(4))
    compiled.save(tmp_path / "graph.h5")
    loaded = lv.Compiled.load(tmp_path / "graph.h5")
    for graph in (compiled, loaded):
        graph.run(lv.RunSteps(12))
    for path, process in compiled.processes.items():
        for var in process.vars:
            got = getattr(loaded[path], var.name).get()
            np.testing.assert_array_equal(got, var.get(), err_msg=var.path)
    assert loaded["Read"].data.get()[:, 0].any()


class Converted(lv.AbstractProcess):
    """What to_fixed makes of it has another scale than its class gives it, and is checked."""

    def __init__(self):
        super().__init__()
        self.dense = Dense(weights=np.array([[0.5, -0.3], [0.1, 0.9]]))
        self.own = neuron_process(LEAKY)(shape=(2,))
        self.dense.a_out.connect(self.own.a_in)


def _leaky(a_in, v, beta, vth):
    v = leak(v, beta) + a_in
    return above(v, vth), v


BETA, VTH = (lv.Parameter(n, 0.5, counts=c) for n, c in (("beta", "decay"), ("vth", "state")))
LEAKY = lv.Dynamics(_leaky, ("a_in",), ("s_out",), ("v",), parameters=(BETA, VTH))


def test_a_converted_network_keeps_what_it_counts_in(tmp_path, monkeypatch):
    for name in ("FLOATING", "FIXED"):
        config = dataclasses.replace(getattr(lavalike.fixed, name), debug=True)
        monkeypatch.setattr(lavalike.fixed, name, config)
    net = Converted()
    fixed = lv.to_fixed(net, {net.dense.s_in: np.ones((2, 20))}).net
    lv.compile(fixed, lavalike.fixed.FIXED).save(tmp_path / "graph.h5")
    again = lv.Compiled.load(tmp_path / "graph.h5", allow=HERE).process
    scale = fixed.own.proc_params["scale"]
    assert scale != net.own.proc_params["scale"]
    assert again.own.proc_params == fixed.own.proc_params
    fixed.own.proc_params["more"] = object()
    with pytest.raises(lv.GraphFileError, match=r"own: proc_params \['more'\] are no numbers"):
        lv.compile(fixed, lavalike.fixed.FIXED).save(tmp_path / "graph.h5")


@pytest.fixture
def saved(tmp_path):
    dense, lif = Dense(weights=np.ones((3, 2))), LIF(shape=(3,))
    dense.a_out[::-1].connect(lif.a_in)
    lv.compile(lif).save(tmp_path / "graph.h5")
    return tmp_path / "graph.h5"


def edited(path: Path, change) -> Path:
    """The file with its description changed."""
    with h5py.File(path) as file:
        found = json.loads(bytes(file["graph"][()]))
        arrays = {name: a[()] for name, a in file["arrays"].items()}
    change(found, arrays)
    text = json.dumps(found).encode()
    with h5py.File(path, "w") as file:
        file["graph"], file["digest"] = (
            np.frombuffer(text, np.uint8),
            container.digest(text, arrays),
        )
        for name, value in arrays.items():
            file[f"arrays/{name}"] = value
    return path


def _top(**changes):
    return lambda x, _: x["tops"][0].update(changes)


def _far(x, arrays):
    for _, views in x["sources"]:
        for _, index in views:
            if index is not None:
                arrays[str(index["array"])][0] = 7


def _other(x, arrays):
    x["vars"][0][1][0][1] = {"texts": ["a"] * 3, "shape": [3]}


def _of(path, **kwargs):
    """An outermost process more."""
    return {"class": f"lavalike.proc.{path}", "name": "more", "args": [], "kwargs": kwargs}


def _held(**array):
    return lambda x, _: x["vars"][0][1].append(["u", array])


def _two(x, _):
    for _, views in x["sources"]:
        views[0][:] = [views[0][0] * 2, None]


_rule = {"value": "lavalike.learning.rule:LearningRule", "fields": {"dw": "1e99999999 * x0"}}
_empty = {"array": 0, "dtype": "float64", "shape": [0]}
_sparse = {"sparse": [_empty] * 3, "shape": [1, 1 << 29]}

HOSTILE = {
    "a function": (_top(**{"class": "os:system", "args": ["true"], "kwargs": {}}), "not allowed"),
    "a module": (_top(**{"class": "antigravity:x"}), "module antigravity, which is not allowed"),
    "no process": (_top(**{"class": "lavalike.proc.recorder:Told"}), "no AbstractProcess"),
    "what ours imports": (_top(**{"class": "lavalike.proc.recorder:os.system"}), "no class"),
    "a file": (
        _top(**{"class": "lavalike.proc.recorder:Recorder", "kwargs": {"to": "/tmp/x.h5"}}),
        "Recorder to a file",
    ),
    "a rule": (
        lambda x, _: x["tops"].append(
            _of("learning:LearningDense", weights=[[1]], learning_rule=_rule)
        ),
        "a number has at most 300 digits",
    ),
    "many sizes": (
        lambda x, _: x["tops"].extend([_of("io.source:Noise", shape=1 << 26)] * 3),
        "process 3: Noise: .*asks for more than the",
    ),
    "two sizes": (
        lambda x, _: x["tops"].append(_of("io.sink:RingBuffer", shape=[1 << 15], buffer=1 << 20)),
        "process 2: RingBuffer: .*asks for more than the",
    ),
    "a sparse size": (
        lambda x, _: x["tops"].append(_of("sparse:Sparse", weights=_sparse)),
        "shape .1, 536870912. asks for more than",
    ),
    "a size that is a text": (_held(array=0, dtype="float64", shape=["a", 1 << 40]), "is no shape"),
    "long texts": (
        _held(texts=["a" * 1000] + [""] * 140_000, shape=[140_001]),
        "140001 texts ask for more",
    ),
    "a number": (_top(kwargs={"shape": 3, "vth": {"float": "0x1p9999"}}), "vth: OverflowError"),
    "a seed": (lambda x, _: x.update(drawn=-1), "drawn -1"),
    "a port that is dropped": (_two, "is damaged: ValueError"),
    "a size": (_top(kwargs={"shape": [1 << 20, 1 << 20]}), "asks for more than"),
    "a nest": (_top(kwargs={"shape": json.loads("[" * 40 + "]" * 40)}), "nested deeper"),
    "an index": (_far, "index of .*7 into 3 elements"),
    "a text": (_other, "does not fit"),
    "another format": (lambda x, _: x.update(format=9), "is of format 9"),
    "a rest": (lambda x, _: x.pop("vars"), "is damaged: KeyError: 'vars'"),
    "a step": (lambda x, _: x.update(step=-1), "step -1"),
    "a dataclass": (
        _top(kwargs={"shape": {"value": "lavalike.proc.recorder:Told", "fields": {}}}),
        "no frozen dataclass",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused(what, saved):
    change, text = HOSTILE[what]
    with pytest.raises(lv.GraphFileError, match=text):
        lv.Compiled.load(edited(saved, change))
    assert "antigravity" not in sys.modules


def test_arrays_that_lie_on_each_other_are_refused(saved):
    """A small file would be read into any number of times its size."""
    with h5py.File(saved, "r+") as file:
        for k in range(1000, 1100):
            file[f"arrays/{k}"] = np.zeros(1)
        file["arrays/1100"] = np.zeros(2000)
        at = {name: a.id.get_offset() for name, a in file["arrays"].items()}
    raw = bytearray(saved.read_bytes())
    for k in range(1000, 1100):
        layout = raw.index(struct.pack("<QQ", at[str(k)], 8))
        raw[layout : layout + 16] = struct.pack("<QQ", at["1100"], 16000)
        space = raw.rindex(struct.pack("<QQQ", 0x101_01, 1, 1), 0, layout)
        raw[space + 8 : space + 24] = struct.pack("<QQ", 2000, 2000)
    saved.write_bytes(raw)
    with h5py.File(saved) as file:
        assert file["arrays/1000"].shape == (2000,)
    with pytest.raises(lv.GraphFileError, match="its arrays lie on each other"):
        lv.Compiled.load(saved)


def test_a_file_of_another_form_is_refused(tmp_path):
    with h5py.File(tmp_path / "new.h5", "w", libver="latest") as file:
        file["graph"] = np.zeros(3, np.uint8)
    with pytest.raises(lv.GraphFileError, match=r"form that Compiled.save writes \(superblock"):
        lv.Compiled.load(tmp_path / "new.h5")


GIVEN = {
    "a list": (lambda: LIF(shape=(4,), vth=[2000, 3000, 4000, 5000]), "vth"),
    "a large number": (lambda: LIF(shape=(2,), vth=1 << 28), "vth"),
    "a large matrix of few entries": (
        lambda: Sparse(rows=[0], cols=[1], data=[2.0], shape=(1 << 14, 1 << 14)),
        "weights",
    ),
    "the other order of bytes": (lambda: LIF(shape=(2,), vth=np.array([1, 2.5], ">f8")), "vth"),
}


@pytest.mark.parametrize("what", GIVEN)
def test_arguments_of_any_size_are_kept(what, tmp_path):
    make, name = GIVEN[what]
    process = make()
    lv.compile(process).save(tmp_path / "graph.h5")
    again = lv.Compiled.load(tmp_path / "graph.h5").process
    np.testing.assert_array_equal(getattr(again, name).get(), getattr(process, name).get())
    assert again.in_ports[0].shape == process.in_ports[0].shape


def test_a_class_of_ones_own_is_allowed_by_name(tmp_path):
    path = tmp_path / "graph.h5"
    gain, lif = Gain(1.0), LIF(shape=(3,))
    gain.looks.connect_var(lif.v)
    lv.compile(gain).save(path)
    with pytest.raises(lv.GraphFileError, match=f"module {__name__}, which is not allowed"):
        lv.Compiled.load(path)
    assert type(lv.Compiled.load(path, allow=[Gain, GainModel]).process) is Gain
    assert lv.Compiled.load(path, config=lv.RunConfig(seed=7), allow=HERE).config.seed == 7


def test_damage_is_told(saved):
    whole = saved.read_bytes()
    for count in (0, 50, 300, len(whole) // 2):
        saved.write_bytes(whole[:count])
        with pytest.raises(lv.GraphFileError, match=r"graph\.h5"):
            lv.Compiled.load(saved)
    with h5py.File(saved, "w") as file:
        file["graph"] = np.zeros(3, np.uint8)
    with pytest.raises(lv.GraphFileError, match="no graph is in it"):
        lv.Compiled.load(saved)
    at = whole.index(np.ones(6).tobytes())  # the weights
    saved.write_bytes(whole[:at] + np.full(6, 2.0).tobytes() + whole[at + 48 :])
    with pytest.raises(lv.GraphFileError, match="digest: does not fit"):
        lv.Compiled.load(saved)
    with pytest.raises(lv.GraphFileError, match="no such file"):
        lv.Compiled.load(saved.with_name("other.h5"))
