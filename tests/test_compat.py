"""lavalike.compat: programs in Lava's spelling, and that nothing else knows of it."""

from __future__ import annotations

import copy
import gc
import importlib
import subprocess
import sys
import types

import numpy as np
import pytest

import lavalike
import lavalike as lv
from lavalike.compat import install, table, uninstall
from lavalike.errors import ChannelDeadlockError, ConnectError, VarError
from lavalike.proc import LIF as CoreLIF
from tests.conftest import ROOT


@pytest.fixture(scope="module", autouse=True)
def lava():
    """Lava's names, while these tests run."""
    install()
    yield
    uninstall()


@pytest.fixture
def names(lava):
    """What most programs import."""
    wanted = {
        "lava.magma.core.process.process": ["AbstractProcess", "LogConfig", "ProcessServer"],
        "lava.magma.core.process.ports.ports": ["InPort", "OutPort", "RefPort", "VarPort"],
        "lava.magma.core.process.variable": ["Var"],
        "lava.magma.core.run_configs": ["RunConfig", "Loihi1SimCfg", "Loihi2SimCfg", "Loihi2HwCfg"],
        "lava.magma.core.run_conditions": ["RunSteps", "RunContinuous"],
        "lava.magma.core.decorator": ["implements", "requires", "tag"],
        "lava.magma.core.model.sub.model": ["AbstractSubProcessModel"],
        "lava.magma.core.sync.protocols.loihi_protocol": ["LoihiProtocol"],
        "lava.magma.core.resources": ["CPU"],
        "lava.magma.core.model.py.model": ["PyLoihiProcessModel"],
        "lava.magma.core.model.py.ports": ["PyInPort", "PyOutPort", "PyRefPort"],
        "lava.magma.core.model.py.type": ["LavaPyType"],
        "lava.proc.lif.process": ["LIF", "TernaryLIF"],
        "lava.proc.lif.models": ["PyLifModelFloat", "PyLifModelBitAcc"],
        "lava.proc.dense.process": ["Dense"],
        "lava.proc.sparse.process": ["Sparse"],
        "lava.proc.monitor.process": ["Monitor"],
        "lava.proc": ["io"],
    }
    return types.SimpleNamespace(
        **{n: getattr(importlib.import_module(m), n) for m, ns in wanted.items() for n in ns}
    )


# -- names


def test_every_name_of_the_table_is_there():
    missing = []
    for module, names in table.TABLE.items():
        for name in names:
            try:
                getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError) as e:
                missing.append((module, name, str(e)))
    assert missing == []


def test_a_name_that_is_not_there_says_what_is():
    with pytest.raises(
        ImportError, match=r"no LIFF of lava.proc.lif.process; did you mean 'LIF'\?"
    ):
        from lava.proc.lif.process import LIFF  # noqa: F401
    with pytest.raises(ImportError, match="of Intel's chips"):
        import lava.magma.core.model.nc.model
    with pytest.raises(ImportError, match=r"in lava\.proc there are"):
        import lava.proc.nothing  # noqa: F401
    import lava.proc.lif.process as lif

    assert not hasattr(lif, "LIFF")
    assert "TernaryLIF" in dir(lif)
    assert set(lif.__all__) == {*table.TABLE["lava.proc.lif.process"]}


def test_the_finder_answers_nothing_else():
    from lavalike.compat.finder import Finder

    finder = Finder()
    assert [finder.find_spec(n) for n in ("lavalike.proc", "lavaland", "numpy", "json")] == [
        None
    ] * 4
    assert finder.find_spec("lava.proc.lif.process").loader is finder


def test_netx_is_netx():
    import lava.lib.dl.netx as theirs
    import lava.lib.dl.netx.hdf5 as hdf5

    import netx

    assert theirs.hdf5 is hdf5
    assert issubclass(hdf5.Network, netx.Network)
    for name in ("Input", "Dense", "RecurrentDense", "ComplexDense", "Conv"):
        own = getattr(netx.blocks.process, name)
        assert issubclass(getattr(theirs.blocks.process, name), own)


def test_other_packages_of_lava_lib_lie_on_disk(tmp_path, monkeypatch):
    (tmp_path / "lava/lib/other").mkdir(parents=True)
    (tmp_path / "lava/lib/other/thing.py").write_text("from lava.proc.lif.process import LIF\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lava.lib", raising=False)
    from lava.lib.other.thing import LIF

    assert LIF.__name__ == "LIF"


def test_it_refuses_beside_lava_itself(monkeypatch):
    uninstall()
    try:
        real = types.ModuleType("lava")
        real.__file__ = "somewhere/lava/__init__.py"
        monkeypatch.setitem(sys.modules, "lava", real)
        with pytest.raises(ImportError, match="somewhere/lava"):
            install()
        monkeypatch.delitem(sys.modules, "lava")
        importlib.reload(importlib.import_module("lavalike.compat.lava"))
        assert importlib.import_module("lava.proc.lif.process").LIF
    finally:
        install()


def test_both_doors_run_a_program(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom lava.proc.lif.process import LIF\nfrom beside import N\n"
        "print(sys.argv[1:], LIF(shape=(N,)).v.shape, __name__)\n"
    )
    (tmp_path / "beside.py").write_text("N = 3\n")
    out = subprocess.run(
        [sys.executable, "-m", "lavalike.compat", str(script), "a", "-b"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split("\n")[0] == "['a', '-b'] (3,) __main__"


def test_nothing_else_knows_of_it():
    files = [p for d in ("lavalike", "netx") for p in (ROOT / d).rglob("*.py")]
    outside = [p for p in files if (ROOT / "lavalike/compat") not in p.parents]
    assert len(outside) > 100
    assert [p.name for p in outside if "lavalike.compat" in p.read_text()] == []


def test_the_page_has_the_table():
    page = (ROOT / "docs/from_lava.md").read_text()
    assert table.markdown() in page, (
        "run python -m lavalike.compat.table and put it into docs/from_lava.md"
    )
    assert page.count(table.BEGIN) == 1


# -- processes, Vars, ports


def test_ids_names_and_collections(names):
    names.ProcessServer().reset_server()

    class Net(names.AbstractProcess):
        def __init__(self, **kwargs):
            super().__init__(gain=3, **kwargs)
            self.z = names.Var((2,), init=[1, 2])
            self.a = names.Var((1,), init=4)
            self.b_out = names.OutPort((2,))
            self.a_in = names.InPort((2,))
            self.reads = names.RefPort((2,))
            self.lent = names.VarPort(self.z)
            self.proc_params["later"] = 5

    net, other = Net(), Net(name="other")
    assert (net.id, net.name, other.id, other.name) == (0, "Process_0", 1, "other")
    assert net.vars.member_names == ["a", "z"]
    assert net.vars.z is net.z
    assert net.in_ports.members == [net.a_in]
    assert net.ref_ports.reads.process is net
    assert net.var_ports.member_names == ["lent"]
    assert net.procs.is_empty()
    with pytest.raises(AttributeError, match="there are \\['a', 'z'\\]"):
        _ = net.vars.y
    assert net.proc_params["later"] == 5
    with pytest.raises(KeyError, match="overwrite"):
        net.proc_params["gain"] = 4
    net.proc_params.overwrite("gain", 4)
    assert net.proc_params.get("gain") == 4
    assert names.ProcessServer().processes == [net, other]
    del net, other
    gc.collect()
    assert names.ProcessServer().processes == []


def test_a_library_process_has_what_it_was_given(names):
    lif = names.LIF(shape=(3,), du=0.5, bias_mant=np.arange(3), name="x")
    assert lif.name == "x"
    assert lif.proc_params["shape"] == (3,)
    assert lif.proc_params["vth"] == 10
    assert lif.du.init == 0.5
    assert lif.bias_mant.init.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="vth_lo"):
        names.TernaryLIF(shape=(1,), vth_lo=3, vth_hi=2)


def test_a_var_is_its_init_until_it_is_compiled(names):
    lif = names.LIF(shape=(2,), vth=1000, bias_mant=np.zeros(2, int))
    lif.bias_mant.init[...] = 3
    with pytest.raises(VarError, match="give it init="):
        lif.v.set([1, 2])
    lif.run(names.RunSteps(2), names.Loihi2SimCfg())
    assert lif.v.get().dtype == np.float64
    np.testing.assert_array_equal(lif.v.get(), [6, 6])
    lif.v.set([1.5, 2])
    np.testing.assert_array_equal(lif.v.get(), [1.5, 2])
    assert lif.v.get([1]) == [2.0]
    lif.stop()
    np.testing.assert_array_equal(lif.v.get(), [1.5, 2])
    assert np.isnan(names.Var((2,), init=np.nan).init)


def test_ports_say_what_is_wrong_as_lava_does(names):
    from lava.magma.core.process.ports import exceptions as ex
    from lava.magma.core.process.ports.ports import ConcatPort, TransposePort

    a, b, c = names.OutPort((2, 3)), names.InPort((2, 3)), names.InPort((3, 2))
    a.connect(b)
    turned = a.transpose()
    turned.connect(c)
    assert a.out_connections == [b, c]
    assert c.in_connections == [turned]
    assert isinstance(turned, TransposePort)
    assert c.get_src_ports() == [a]
    assert a.get_dst_ports() == [b, c]
    assert isinstance(a.concat_with(names.OutPort((2, 3)), axis=1), ConcatPort)
    for kind, call in [
        (AssertionError, lambda: a.connect(names.InPort((5,)))),
        (AssertionError, lambda: b.connect(a)),
        (ex.DuplicateConnectionError, lambda: a.connect(b)),
        (ex.ReshapeError, lambda: a.reshape((4,))),
        (ex.ConcatIndexError, lambda: a.concat_with(names.OutPort((2, 3)), axis=2)),
        (ex.ConcatShapeError, lambda: a.concat_with(names.OutPort((2, 4)), axis=0)),
        (ex.TransposeIndexError, lambda: a.transpose((0, 2))),
        (ex.TransposeShapeError, lambda: a.transpose((0, 1, 2))),
        (TypeError, lambda: names.RefPort((2, 3)).connect(b)),
        (TypeError, lambda: b.connect_from(names.RefPort((2, 3)))),
        (ex.VarNotSharableError, lambda: names.VarPort(names.Var((1,), shareable=False))),
    ]:
        with pytest.raises(kind) as error:
            call()
        assert isinstance(error.value, ConnectError)


def test_sparse_weights_are_a_matrix(names):
    scipy = pytest.importorskip("scipy.sparse")
    w = np.array([[0, 2, 0], [4, 0, 6]])
    sparse = names.Sparse(weights=scipy.csr_matrix(w))
    assert (sparse.weights.init.toarray() == w).all()
    lif = names.LIF(shape=(2,))
    sparse.a_out.connect(lif.a_in)
    sparse.run(names.RunSteps(1), names.Loihi2SimCfg(select_tag="fixed_pt"))
    sparse.weights.set(scipy.csr_matrix(2 * w))
    assert (sparse.weights.get().toarray() == 2 * w).all()
    with pytest.raises(VarError, match="same 3 places"):
        sparse.weights.set(scipy.csr_matrix(np.ones((2, 3))))


# -- runs


def chain(names, weights, bias=(3, 5), **kwargs):
    first = names.LIF(shape=(2,), bias_mant=bias, vth=10, name="first")
    dense = names.Dense(weights=weights)
    second = names.LIF(shape=(2,), vth=100000, name="second", **kwargs)
    first.s_out.connect(dense.s_in)
    dense.a_out.connect(second.a_in)
    return first, dense, second


def test_a_network_is_lavalikes_own(names):
    weights = np.array([[4, -6], [2, 8]])
    first, _, second = chain(names, weights, bias=[300, 500], du=1)
    monitor = names.Monitor()
    monitor.probe(second.u, 12)
    monitor.probe(first.s_out, 12)
    for _ in range(3):  # a configuration for each run compiles nothing anew
        first.run(
            condition=names.RunSteps(num_steps=4), run_cfg=names.Loihi1SimCfg(select_tag="fixed_pt")
        )
    got = monitor.get_data()

    own = lavalike.proc.LIF(shape=(2,), bias_mant=[300, 500], vth=10)
    dense = lavalike.proc.Dense(weights=weights)
    last = lavalike.proc.LIF(shape=(2,), vth=100000, du=1)
    own.s_out.connect(dense.s_in)
    dense.a_out.connect(last.a_in)
    record = lavalike.proc.Monitor()
    record.probe(last.u, 12)
    record.probe(own.s_out, 12)
    own.run(lavalike.RunSteps(12), lavalike.RunConfig(precision="fixed_pt", dtype="float64"))
    expected = record.get_data()
    np.testing.assert_array_equal(got["second"]["u"], expected["LIF"]["u"])
    np.testing.assert_array_equal(got["first"]["s_out"], expected["LIF#2"]["s_out"])
    assert got["first"]["s_out"].any()
    assert first.runtime._is_started
    first.stop()


def test_two_spellings_connect(names):
    lif, dense = names.LIF(shape=(2,), bias_mant=20), lavalike.proc.Dense(weights=np.eye(2))
    lif.s_out.connect(dense.s_in)
    lif.run(names.RunSteps(2), lavalike.RunConfig(dtype="float64"))
    assert dense.a_buff.get().tolist() == [1, 1]


def layer(names):
    class Layer(names.AbstractProcess):
        def __init__(self, weights):
            super().__init__(weights=weights)
            self.s_in = names.InPort((2,))
            self.s_out = names.OutPort((2,))
            self.u = names.Var((2,), init=1)
            self.weights = names.Var((2, 2), init=weights)

    @names.implements(proc=Layer, protocol=names.LoihiProtocol)
    class LayerModel(names.AbstractSubProcessModel):
        def __init__(self, proc):
            self.dense = names.Dense(weights=proc.proc_params["weights"])
            self.lif = names.LIF(shape=(2,), u=7, vth=3)
            proc.in_ports.s_in.connect(self.dense.in_ports.s_in)
            self.dense.a_out.connect(self.lif.a_in)
            self.lif.s_out.connect(proc.out_ports.s_out)
            proc.vars.u.alias(self.lif.vars.u)
            proc.vars.weights.alias(self.dense.vars.weights)

    return Layer, LayerModel


def test_a_model_of_processes(names):
    Layer, LayerModel = layer(names)
    first = names.LIF(shape=(2,), bias_mant=[20, 0])
    net = Layer(np.array([[4, 0], [2, 1]]))
    first.s_out.connect(net.s_in)
    executable = net.compile(run_cfg=names.Loihi2SimCfg())
    assert net.model_class is LayerModel
    assert [type(p).__name__ for p in executable.process_list] == ["LIF", "Dense", "LIF"] or len(
        executable.proc_builders
    ) == 3
    net.run(names.RunSteps(2), names.Loihi2SimCfg())
    assert net.u.get().tolist() == [11, 9]  # the inner one's 7, and 4 and 2 of the first step
    net.weights.set(np.eye(2))
    assert net.procs.members[0].weights.get().tolist() == [[1, 0], [0, 1]]
    with pytest.raises(AssertionError, match="shapes"):
        net.u.alias(names.Var((3,)))


def test_models_are_chosen_as_lava_does(names):
    class P(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.s_out = names.OutPort((1,))

    def model(*tags):
        @names.implements(proc=P)
        @names.requires(names.CPU)
        @names.tag(*tags)
        class Model(names.AbstractSubProcessModel):
            def __init__(self, proc):
                self.lif = names.LIF(shape=(1,))
                self.lif.s_out.connect(proc.s_out)

        return Model

    a, b = model("x", "one"), model("x", "two")
    config = names.Loihi2SimCfg
    p = P()

    def chosen(**kwargs):
        return config(**kwargs).select(p, [a, b])

    assert chosen(select_sub_proc_model=True) is a
    assert chosen(select_sub_proc_model=True, select_tag="two") is b
    assert chosen(exception_proc_model_map={P: b}) is b
    assert config(exception_proc_model_map={p: b}).select(p, [a, b]) is b
    assert config(select_tag="other").select(p, [model()]) is not None
    for kwargs, why in [
        ({}, "select_sub_proc_model=True"),
        ({"select_sub_proc_model": True, "select_tag": "none"}, "no model of P has tag 'none'"),
    ]:
        with pytest.raises(AssertionError, match=why):
            chosen(**kwargs)
    assert a.tags == ["x", "one"]
    assert a.required_resources == [names.CPU]

    class Own(names.RunConfig):
        def select(self, process, models):
            return next(m for m in models if "fixed_pt" in m.tags)

    lif = names.LIF(shape=(1,), bias_mant=5)
    lif.run(names.RunSteps(1), Own())
    assert lif.model_class is names.PyLifModelBitAcc
    lif = names.LIF(shape=(1,), du=2000)
    lif.run(
        names.RunSteps(1),
        names.Loihi2SimCfg(exception_proc_model_map={names.LIF: names.PyLifModelBitAcc}),
    )
    assert lif.du.get() == 2000  # fixed_pt counts in 1/4096
    with pytest.raises(ValueError, match="run_cfg is a run configuration"):
        names.LIF(shape=(1,)).run(names.RunSteps(1))
    with pytest.raises(LookupError, match="no model of Bare is there"):
        type("Bare", (P,), {"lava_models": []}) and _bare(names).run(names.RunSteps(1), config())


def _bare(names):
    class Bare(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = names.Var((1,))

    return Bare()


def doubler(names):
    class Doubler(names.AbstractProcess):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.a_in, self.s_out = names.InPort((2,)), names.OutPort((2,))
            self.total = names.Var((2,), init=[0.9, 0])
            self.count = names.Var((1,), init=0)
            self.reads = names.RefPort((2,))
            self.alone = names.RefPort((1,))

    @names.implements(proc=Doubler, protocol=names.LoihiProtocol)
    @names.requires(names.CPU)
    class DoublerModel(names.PyLoihiProcessModel):
        a_in = names.LavaPyType(names.PyInPort.VEC_DENSE, bool)
        s_out = names.LavaPyType(names.PyOutPort.VEC_DENSE, np.int16)
        reads = names.LavaPyType(names.PyRefPort.VEC_DENSE, float)
        total = names.LavaPyType(np.ndarray, int)
        count = names.LavaPyType(int, int)

        def __init__(self, proc_params):
            super().__init__(proc_params)
            self.gain = proc_params["gain"]
            self.seen = []

        def run_spk(self):
            x = self.a_in.recv()
            self.total += x
            self.count += 1
            if self.time_step == proc_fails[0]:
                raise KeyError("broken")
            self.s_out.send(self.gain * x)

        def post_guard(self):
            return self.time_step % 2 == 0

        def run_post_mgmt(self):
            self.seen.append((self.reads.read().tolist(), self.alone.read().tolist()))
            self.proc_params.overwrite("seen", self.seen)

    proc_fails = [0]
    return Doubler, proc_fails


def test_python_models_in_lavas_spelling(names):
    Doubler, fails = doubler(names)
    lif = names.LIF(shape=(2,), bias_mant=[20, 0])
    double = Doubler(gain=3)
    last = names.LIF(shape=(2,), vth=1000)
    lif.s_out.connect(double.a_in)
    double.s_out.connect(last.a_in)
    double.reads.connect_var(last.u)
    for _ in range(2):
        double.run(names.RunSteps(2), names.Loihi2SimCfg(select_tag="fixed_pt"))
    assert lif.model_class is names.PyLifModelBitAcc
    assert double.count.get() == [4]
    assert double.total.get().tolist() == [0, 0]
    assert double.proc_params["seen"] == [([0, 0], [0]), ([0, 0], [0])]
    fails[0] = 6
    with pytest.raises(
        RuntimeError, match=r"1 Exception\(s\) occurred.*broken.*run_spk, step 6"
    ) as e:
        double.run(names.RunSteps(5), names.Loihi2SimCfg(select_tag="fixed_pt"))
    assert isinstance(e.value.__cause__, KeyError)
    double.stop()
    assert not double.runtime._is_running


def test_a_message_goes_through_a_python_model(names):
    Doubler, _ = doubler(names)
    source = names.io.source.RingBuffer(data=np.array([[1, 0, 1], [0, 0, 2]]))
    double = Doubler(gain=3)
    sink = names.io.sink.RingBuffer(shape=(2,), buffer=3)
    source.s_out.connect(double.a_in)
    double.s_out.connect(sink.a_in)
    sink.run(names.RunSteps(3), names.Loihi1SimCfg(select_tag="fixed_pt"))
    assert sink.data.get().tolist() == [[3, 0, 3], [0, 0, 6]]
    assert double.total.get().tolist() == [2, 2]  # declared int: 0.9 begins as 0
    sink.stop()


def test_weights_are_cut_for_fixed_pt_and_said_so(names):
    dense = names.Dense(weights=np.array([[0.5, -300], [3, 7]]))
    with pytest.warns(UserWarning, match="by at most 44"):
        dense.run(names.RunSteps(1), names.Loihi2SimCfg(select_tag="fixed_pt"))
    assert dense.weights.init.tolist() == [[0, -256], [3, 7]]


def test_hardware_is_simulated_and_said_so(names):
    from lava.utils.loihi import is_installed
    from lava.utils.system import Loihi2

    assert not Loihi2.is_loihi2_available
    assert not is_installed()
    lif = names.LIF(shape=(1,), du=2000)
    with pytest.warns(UserWarning, match="simulated in fixed_pt"):
        config = names.Loihi2HwCfg()
    lif.run(names.RunSteps(1), config)
    assert lif.model_class is names.PyLifModelBitAcc
    with pytest.raises(AssertionError, match="callback_fxs"):
        names.Loihi2HwCfg(callback_fxs=[object()])


def test_models_are_found_beside_the_process(names, tmp_path, monkeypatch):
    package = tmp_path / "found_here"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "process.py").write_text(
        "from lava.magma.core.process.process import AbstractProcess\n"
        "from lava.magma.core.process.ports.ports import OutPort\n"
        "class Source(AbstractProcess):\n"
        "    def __init__(self):\n        super().__init__()\n        self.s_out = OutPort((1,))\n"
    )
    (package / "models.py").write_text(
        "from found_here.process import Source\n"
        "from lava.magma.core.decorator import implements\n"
        "from lava.magma.core.model.sub.model import AbstractSubProcessModel\n"
        "from lava.proc.lif.process import LIF\n"
        "@implements(proc=Source)\nclass SourceModel(AbstractSubProcessModel):\n"
        "    def __init__(self, proc):\n        self.lif = LIF(shape=(1,), bias_mant=11)\n"
        "        self.lif.s_out.connect(proc.s_out)\n"
    )
    (package / "script.py").write_text("raise SystemExit('run by chance')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = importlib.import_module("found_here.process").Source()
    lif = names.LIF(shape=(1,), vth=50)
    source.s_out.connect(lif.a_in)
    lif.run(names.RunSteps(3), names.Loihi2SimCfg())
    assert lif.u.get() == [3.0]
    for name in [n for n in sys.modules if n.startswith("found_here")]:
        del sys.modules[name]


def test_saving_and_compiling_ahead(names, tmp_path):
    from lava.magma.compiler.compiler import Compiler
    from lava.utils.serialization import load, save

    first, _, second = chain(names, np.eye(2))
    executable = Compiler().compile(first, names.Loihi2SimCfg())
    assert len(executable.proc_builders) == 3
    save([first, second], str(tmp_path / "net"), executable)
    procs, loaded = load(str(tmp_path / "net.pickle"))
    assert [p.name for p in procs] == ["first", "second"]
    procs[0].create_runtime(executable=loaded)
    assert not procs[0].runtime._is_started
    procs[0].run(names.RunSteps(5))
    assert procs[0].v.get().tolist() == [3, 10]
    for wrong in (lambda: save(3, "x"), lambda: save([], 3), lambda: load(3)):
        with pytest.raises(TypeError):
            wrong()


# -- helpers


@pytest.mark.parametrize("order", ["NWHC", "NCHW", "HWCN"])
def test_a_convolution_as_synapses(order):
    from lava.proc.conv.utils import TensorOrder, conv_scipy, conv_to_sparse

    rng = np.random.default_rng(0)
    kernel, image = rng.integers(-9, 9, (4, 2, 3, 1)), rng.integers(0, 5, (6, 7, 2))
    how = {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 1)}
    out = conv_scipy(image, kernel, (2, 3), **how, groups=2)
    lies = {"NWHC": (0, 1, 2), "NCHW": (2, 1, 0), "HWCN": (1, 0, 2)}[order]
    given = {"NWHC": kernel, "NCHW": kernel[:, ::-1, ::-1].transpose(0, 3, 2, 1)}
    given["HWCN"] = kernel[:, ::-1, ::-1].transpose(2, 1, 3, 0)
    turn = slice(None) if order == "NWHC" else slice(None, None, -1)
    x, y = image.transpose(lies), out.transpose(lies)
    dst, src, w = conv_to_sparse(
        x.shape,
        y.shape,
        given[order],
        **{k: v[turn] for k, v in how.items()},
        group=2,
        order=TensorOrder[order],
    )
    summed = np.zeros(y.size)
    np.add.at(summed, dst, w * x.reshape(-1)[src])
    np.testing.assert_array_equal(summed, y.reshape(-1))


def test_bits_of_weights():
    from lava.utils.weightutils import (
        SignMode,
        clip_weights,
        optimize_weight_bits,
        truncate_weights,
    )

    made = optimize_weight_bits(np.array([10, 10]), SignMode.EXCITATORY, loihi2=True)
    assert (made.weights.tolist(), made.weight_exp, made.num_weight_bits) == ([5, 5], -4, 3)
    with pytest.raises(ValueError, match=r"-256\.\.255"):
        optimize_weight_bits(np.array([300]), SignMode.MIXED)
    assert truncate_weights(np.array([-3, 5]), SignMode.MIXED, 8).tolist() == [-4, 4]
    assert truncate_weights(np.array([-3]), SignMode.INHIBITORY, 7).tolist() == [-2]
    assert clip_weights(np.array([-300, 300]), SignMode.MIXED, 8).tolist() == [-256, 255]


def test_a_raster_plot():
    plt = pytest.importorskip("matplotlib.pyplot")
    from lava.utils.plots import raster_plot

    fig = raster_plot(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]]), stride=2)
    x, y = fig.gca().lines[0].get_data()
    assert (list(x), list(y)) == ([1, 2, 0], [0, 0, 2])
    plt.close(fig)
    with pytest.raises(ValueError, match="0 or 1"):
        raster_plot(np.array([[2]]), stride=1)


def test_a_process_of_lavas_knows_that_lavalike_runs_it(names):
    """Whoever started the run: values are the program's, set() acts, a program's own attributes
    stay its own."""
    lif = names.LIF(shape=(1,), du=1.0, dv=0.0, vth=100, bias_mant=3)
    lif.plan, lif.stopped, lif.compiled = "mine", "mine", "mine"
    lif.run(lv.RunSteps(2), lv.RunConfig())
    assert lif.v.get().tolist() == [6.0]
    lif.v.set(np.array([50.0]))
    lif.run(lv.RunSteps(1), lv.RunConfig())
    assert lif.v.get().tolist() == [53.0]
    lif.stop()
    assert (lif.plan, lif.stopped, lif.compiled) == ("mine", "mine", "mine")


def test_init_counts_however_it_is_compiled_and_is_looked_at_then_only(names, monkeypatch):
    def made():
        lif = names.LIF(shape=(1,), du=1.0, dv=0.0, vth=100, bias_mant=3)
        lif.bias_mant.init = 4
        return lif

    lif = made()
    assert lv.simulate(lif, steps=2, record=[lif.v])[lif.v].tolist() == [[4.0, 8.0]]
    looked = []
    settle = type(lif.bias_mant).settle
    monkeypatch.setattr(
        type(lif.bias_mant), "settle", lambda self: looked.append(self.name) or settle(self)
    )
    lif = made()
    for steps, v in ((2, 8.0), (1, 12.0), (1, 16.0)):
        lif.run(lv.RunSteps(steps), lv.RunConfig())
        assert lif.v.get().tolist() == [v]
    assert looked.count("bias_mant") == 1


def test_what_belongs_to_lavalikes_process_stays_its(names):
    """It is held, recorded and copied, and is no part of who holds it."""
    own = CoreLIF(shape=(1,), du=1.0, dv=0.0, vth=100, bias_mant=3)
    holder = names.AbstractProcess()
    kinds = type(own.v), type(own.s_out)
    holder.var, holder.port = own.v, own.s_out
    assert (type(own.v), type(own.s_out)) == kinds
    monitor = names.Monitor()
    monitor.probe(own.v, 3)
    own.run(lv.RunSteps(3))
    (data,) = monitor.get_data().values()
    assert data["v"].ravel().tolist() == [3.0, 6.0, 9.0]
    assert [*copy.copy(holder.vars)] == [*holder.vars]


def test_what_a_package_of_lava_lib_lacks_is_told_as_a_module(names):
    with pytest.raises(
        ModuleNotFoundError, match="of lava-dl there are slayer, bootstrap and netx"
    ):
        import lava.lib.dl.decolle
    import lava.lib.dl.bootstrap.block.cuba as there

    from lavalike import bootstrap

    assert there.Dense is bootstrap.block.cuba.Dense
    with pytest.raises(ModuleNotFoundError, match=r"no module lava\.proc\.nothing"):
        import lava.proc.nothing  # noqa: F401


def test_injector_and_extractor_in_lavas_spelling(names):
    from lava.proc.io import utils
    from lava.proc.io.extractor import Extractor, VarWire
    from lava.proc.io.injector import Injector, PyLoihiInjectorModel

    injector, extractor = Injector((2,), 5), Extractor(shape=(2,))
    assert isinstance(injector.proc_params["channel_config"], utils.ChannelConfig)
    lif = names.LIF(shape=(2,), du=1.0, dv=1.0, vth=1)
    wire = VarWire()
    injector.out_port.connect(lif.a_in)
    lif.s_out.connect(extractor.in_port)
    wire.connect_var(lif.u)
    for x in ([1, 2], [3, 0]):
        injector.send(np.array(x))
    lif.run(names.RunSteps(num_steps=2), names.Loihi2SimCfg())
    assert injector.model_class is PyLoihiInjectorModel
    assert [extractor.receive().tolist() for _ in range(2)] == [[0, 1], [1, 0]]
    assert [wire.receive().tolist() for _ in range(2)] == [[1, 2], [3, 0]]
    with pytest.raises(TypeError, match="shape is a tuple"):
        Injector(shape=4)
    before = names.LIF(shape=(1,)).id
    utils.validate_shape((2,))
    utils.validate_buffer_size(3)
    assert names.LIF(shape=(1,)).id == before + 1  # what looks makes no process
    for value, kind in (
        ([2], TypeError),
        ((2.5,), TypeError),
        ((0,), ValueError),
        ((), ValueError),
    ):
        with pytest.raises(kind, match="validate_shape: shape is a tuple of integers >= 1, got"):
            utils.validate_shape(value)
    with pytest.raises(ValueError, match="buffer_size is an integer >= 1, got 0"):
        utils.validate_buffer_size(0)


def test_external_pipes_reach_any_port(names):
    lif = names.LIF(shape=(1,), du=1.0, dv=1.0, vth=1)
    lif.a_in.flag_external_pipe()
    lif.s_out.flag_external_pipe(buffer_size=2)
    send, receive = lif.a_in.external_pipe_csp_send_port, lif.s_out.external_pipe_csp_recv_port
    for x in (1, 2):
        assert send.probe()
        send.send(np.array([x]))
    assert not receive.probe()
    assert not hasattr(receive, "send")
    with pytest.raises(ChannelDeadlockError, match="no step has sent a message"):
        receive.peek()
    lif.run(names.RunSteps(num_steps=2), names.Loihi2SimCfg())
    assert receive.peek().tolist() == [0.0]
    assert [receive.recv().tolist() for _ in range(2)] == [[0.0], [1.0]]


def test_reset_read_and_dataloaders_in_lavas_spelling(names):
    from lava.proc.bit_check.process import BitCheck
    from lava.proc.io.dataloader import SpikeDataloader
    from lava.proc.io.reset import Reset
    from lava.proc.io.sink import Read

    loader = SpikeDataloader(dataset=[(np.ones((1, 2)), 0)], interval=2)
    lif = names.LIF(shape=(1,), vth=100, du=1.0)
    loader.s_out.connect(lif.a_in)
    read, reset, check = Read(buffer=6), Reset(interval=3, offset=2), BitCheck(bits=3)
    for watches in (read, reset):
        watches.connect_var(lif.v)
    check.state.connect_var(lif.v)
    lif.run(names.RunSteps(num_steps=6), names.Loihi2SimCfg(select_tag="floating_pt"))
    assert read.data.get()[0].tolist() == [0, 1, 2, 1, 2, 3]  # it was connected first
    assert lif.v.get() == 0
    assert check.layerid.init is None
    assert not check.overflowed


def test_models_beside_the_steps_in_lavas_spelling(names):
    from lava.magma.core.model.py.model import PyAsyncProcessModel
    from lava.magma.core.sync.protocols.async_protocol import AsyncProtocol

    class Doubling(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = names.InPort((1,)), names.OutPort((1,))

    @names.implements(proc=Doubling, protocol=AsyncProtocol)
    class DoublingModel(PyAsyncProcessModel):
        a_in = names.LavaPyType(names.PyInPort.VEC_DENSE, float)
        s_out = names.LavaPyType(names.PyOutPort.VEC_DENSE, float)

        def run_async(self):
            for _ in range(self.num_steps):
                self.s_out.send(2 * self.a_in.recv())

    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    doubling, sink = Doubling(), Sink(shape=(1,), buffer=3)
    source = Source(data=np.arange(3.0).reshape(1, 3))
    source.s_out.connect(doubling.a_in)
    doubling.s_out.connect(sink.a_in)
    sink.run(names.RunSteps(num_steps=3), names.Loihi2SimCfg())
    assert sink.data.get().tolist() == [[0, 2, 4]]


def test_virtual_ports_of_a_programs_own(names):
    from lava.magma.core.process.ports.ports import AbstractPort, AbstractVirtualPort

    class Turned(AbstractVirtualPort, AbstractPort):
        def __init__(self, shape, turn):
            AbstractPort.__init__(self, shape)
            self.turn = turn

        def get_transform_func_fwd(self):
            return self.turn

    a, b = names.LIF(shape=(2, 3), bias_mant=np.arange(6).reshape(2, 3)), names.LIF(shape=(3, 2))
    port = Turned((3, 2), np.transpose)
    a.s_out._connect_forward([port], AbstractPort, [None], assert_same_shape=False)
    port.connect(b.a_in)
    assert b.a_in.sources[0].index.tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ConnectError, match="is to reorder elements"):
        a.s_out._connect_forward([Turned((2, 3), lambda x: 2 * x)], AbstractPort, [None])


def test_collections_configurations_and_factors(names):
    from lava.proc.rf.process import RF

    class Counting(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.count, self.index = (importlib.import_module(VAR).Var((1,), k) for k in (1, 2))

    assert [Counting().vars.count.init, Counting().vars.index.init] == [1, 2]

    class Own(names.Loihi2SimCfg):
        def __init__(self, values):
            super().__init__()
            self.values = values

    rf = RF(shape=(1,), period=4.0, alpha=0.5)
    for _ in range(2):  # of equal arrays: another configuration, and no error
        rf.run(names.RunSteps(num_steps=1), Own(np.ones(2)))
    np.testing.assert_allclose(rf.sin_decay.get(), 0.5)
    np.testing.assert_allclose(rf.cos_decay.get(), 0, atol=1e-15)
    lif = names.LIF(shape=(1,), du=4096)
    with pytest.warns(UserWarning, match="4096 is taken for 4095"):
        lif.run(names.RunSteps(num_steps=1), names.Loihi2SimCfg(select_tag="fixed_pt"))
    assert lif.runtime.get_var(lif.du.id) == 4095


VAR = "lava.magma.core.process.variable"


def test_what_lies_between_chip_and_host_hands_on(names):
    from lava.proc import embedded_io as eio
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    source, sink = Source(data=np.arange(3).reshape(1, 3)), Sink(shape=(1,), buffer=3)
    there, back = eio.spike.PyToNxAdapter(shape=(1,)), eio.spike.NxToPyAdapter(shape=(1,))
    source.s_out.connect(there.inp)
    there.out.connect(back.inp)
    back.out.connect(sink.a_in)
    sink.run(names.RunSteps(num_steps=3), names.Loihi2SimCfg(select_tag="fixed_pt"))
    assert sink.data.get().tolist() == [[0, 1, 2]]
    with pytest.raises(ImportError, match=r"no module lava\.proc\.embedded_io\.state: it lies on"):
        from lava.proc.embedded_io.state import Read  # noqa: F401


def test_a_learning_lif_takes_no_argument_that_nobody_reads(names):
    from lava.proc.lif.process import LearningLIF

    with pytest.raises(TypeError, match=r"LearningLIF: no argument 'vht'; did you mean 'vth'"):
        LearningLIF(shape=(1,), vht=3)

    class Mine(LearningLIF):
        """Whose models read what it was made with."""

    assert Mine(shape=(1,), reward=3).proc_params["reward"] == 3
