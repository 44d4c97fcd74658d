"""Kinds of programs that Lava's family libraries are made of (lava-optimization, lava-dnf), through
lavalike.compat."""

from __future__ import annotations

import importlib
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lavalike.compat import errors, install, uninstall
from lavalike.errors import GraphError, LavalikeError


@pytest.fixture(scope="module", autouse=True)
def names():
    """Lava's names, while these tests run."""
    install()
    core, model = "lava.magma.core.", "lava.magma.core.model."
    wanted = {
        f"{core}decorator": ["implements", "requires", "tag"],
        f"{model}py.model": ["PyLoihiProcessModel"],
        f"{model}py.ports": ["PyInPort", "PyOutPort", "PyRefPort"],
        f"{model}py.type": ["LavaPyType"],
        f"{model}sub.model": ["AbstractSubProcessModel"],
        f"{core}process.ports.ports": ["InPort", "OutPort", "RefPort"],
        f"{core}process.process": ["AbstractProcess"],
        f"{core}process.variable": ["Var"],
        f"{core}resources": ["CPU"],
        f"{core}run_conditions": ["RunSteps"],
        f"{core}run_configs": ["Loihi1SimCfg", "Loihi2SimCfg"],
        f"{core}sync.protocols.loihi_protocol": ["LoihiProtocol"],
        "lava.proc.dense.process": ["Dense"],
        "lava.proc.lif.process": ["LIF"],
    }
    yield types.SimpleNamespace(
        **{n: getattr(importlib.import_module(m), n) for m, ns in wanted.items() for n in ns}
    )
    uninstall()


def counter(lava, members, attributes=None, variables=None):
    """A process that sends what ``run_spk`` of its model makes, and that model."""

    def __init__(self):
        lava.AbstractProcess.__init__(self)
        self.s_out = lava.OutPort((2,))
        for name, init in (variables or {}).items():
            setattr(self, name, lava.Var(np.shape(init) or (1,), init))

    process = type("Count", (lava.AbstractProcess,), {"__init__": __init__})
    own = {"s_out": lava.LavaPyType(lava.PyOutPort.VEC_DENSE, float), **members}
    if attributes:

        def made(self, proc_params):
            lava.PyLoihiProcessModel.__init__(self, proc_params)
            vars(self).update(attributes)

        own["__init__"] = made
    model = type("CountModel", (lava.PyLoihiProcessModel,), own)
    lava.implements(proc=process, protocol=lava.LoihiProtocol)(lava.requires(lava.CPU)(model))
    return process, model


@pytest.mark.parametrize(
    "name", ["state", "config", "delay", "process", "precision", "lag", "bind"]
)
def test_vars_and_attributes_of_a_model_have_any_name(names, name):
    def step(self):
        setattr(self, name, getattr(self, name) + self.time_step)
        self.s_out.send(np.array([1.0, 2.0]))

    held, _ = counter(
        names,
        {"run_spk": step, name: names.LavaPyType(np.ndarray, float)},
        variables={name: np.zeros(2)},
    )
    p = held()
    p.run(names.RunSteps(num_steps=3), run_cfg=names.Loihi1SimCfg())
    np.testing.assert_array_equal(getattr(p, name).get(), [6, 6])
    p.run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())
    np.testing.assert_array_equal(getattr(p, name).get(), [10, 10])

    def told(self):
        step(self)
        self.total = np.array([getattr(self, name)], float)

    plain, _ = counter(
        names,
        {"run_spk": told, "total": names.LavaPyType(np.ndarray, float)},
        attributes={name: 5},
        variables={"total": 0.0},
    )
    p = plain()
    p.run(names.RunSteps(num_steps=3), run_cfg=names.Loihi1SimCfg())
    assert p.total.get()[0] == 11
    of_class, _ = counter(
        names,
        {"run_spk": told, "total": names.LavaPyType(np.ndarray, float), name: 6},
        variables={"total": 0.0},
    )
    p = of_class()
    p.run(names.RunSteps(num_steps=3), run_cfg=names.Loihi1SimCfg())
    assert p.total.get()[0] == 12


def test_a_model_lists_its_ports_by_kind(names):
    found = []

    def step(self):
        found.extend(isinstance(p, names.PyOutPort) for p in self.py_ports)
        found.extend(issubclass(type(p), names.PyInPort) for p in self.py_ports)

    process, _ = counter(names, {"run_spk": step})
    process().run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())
    assert found == [True, False]


def test_a_var_holds_python_objects(names):
    space = np.array([["real", 0.5, None], ["text", 2, [1, 2]]], dtype=object)

    def step(self):
        self.log.append((self.time_step, self.space[0, 0]))
        self.notes[0] = [*(self.notes[0] or ()), self.time_step]

    process, _ = counter(
        names,
        {
            "run_spk": step,
            "space": names.LavaPyType(np.ndarray, np.ndarray),
            "notes": names.LavaPyType(np.ndarray, object),
        },
        attributes={"log": []},
        variables={"space": space},
    )
    p = process()
    p.notes = names.Var((1,), np.array([[None]]))
    assert p.notes.get()[0].shape == (1,)
    p.run(names.RunSteps(num_steps=2), run_cfg=names.Loihi1SimCfg())
    assert p.space.get().tolist() == space.tolist()
    assert p.notes.get()[0] == [1, 2]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("flaot", "str"), (None, "NoneType"), ([1], "list"), (lambda: 0, "function")],
)
def test_a_dtype_of_lava_py_type_is_one(names, dtype, kind):
    with pytest.raises(
        TypeError, match=rf"LavaPyType: dtype is a dtype of numbers or texts.*{kind}"
    ):
        names.LavaPyType(names.PyInPort.VEC_DENSE, dtype)


def test_the_class_of_lava_py_type_fits_what_it_declares(names):
    with pytest.raises(TypeError, match=r"cls is PyInPort\.VEC_DENSE.*; PyInPort\.VEC_DENSE"):
        names.LavaPyType(names.PyInPort, float)
    with pytest.raises(TypeError, match=r"got 'int' \(str\)|got 'int'"):
        names.LavaPyType("int", float)
    for declared, fits in (
        ({"s_out": names.LavaPyType(names.PyInPort.VEC_DENSE, float)}, "PyOutPort.VEC_DENSE"),
        ({"s_out": names.LavaPyType(np.ndarray, float)}, "PyOutPort.VEC_DENSE"),
        ({"v": names.LavaPyType(names.PyOutPort.VEC_DENSE, float)}, "np.ndarray or"),
    ):
        process, _ = counter(
            names, {"run_spk": lambda self: None, **declared}, variables={"v": np.zeros(2)}
        )
        with pytest.raises(
            GraphError, match=rf"{next(iter(declared))}: CountModel declares.*{fits}"
        ):
            process().run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())


def test_a_model_without_its_step_and_a_name_that_the_process_does_not_have_are_told(names):
    process, _ = counter(names, {"run_spike": lambda self: None})
    p, lif = process(), names.LIF(shape=(2,))
    p.s_out.connect(lif.a_in)
    with pytest.raises(
        GraphError, match=r"CountModel, its model, has no run_spk.*did you mean 'run"
    ):
        lif.run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())
    process, _ = counter(
        names, {"run_spk": lambda self: None, "vlotage": names.LavaPyType(np.ndarray, float)}
    )
    with pytest.raises(GraphError, match="declares 'vlotage'"):
        process().run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())


def test_a_circle_of_reads_is_told_and_reads_of_each_other_after_the_step_are_not(names):
    class Reads(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.x, self.other = names.Var((1,), 1.0), names.RefPort((1,))

    class Hears(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = names.InPort((1,)), names.OutPort((1,))

    @names.implements(proc=Reads, protocol=names.LoihiProtocol)
    class ReadsModel(names.PyLoihiProcessModel):
        x: np.ndarray = names.LavaPyType(np.ndarray, float)
        other = names.LavaPyType(names.PyRefPort.VEC_DENSE, float)

        def post_guard(self):
            return True

        def run_post_mgmt(self):
            self.x[:] = self.other.read() + 1

    @names.implements(proc=Hears, protocol=names.LoihiProtocol)
    class HearsModel(names.PyLoihiProcessModel):
        a_in = names.LavaPyType(names.PyInPort.VEC_DENSE, float)
        s_out = names.LavaPyType(names.PyOutPort.VEC_DENSE, float)

        def run_spk(self):
            self.s_out.send(self.a_in.recv())

    a, b = Reads(), Reads()
    a.other.connect_var(b.x)
    b.other.connect_var(a.x)
    a.run(names.RunSteps(num_steps=2), run_cfg=names.Loihi1SimCfg())
    assert [a.x.get()[0], b.x.get()[0]] == [4, 5]
    c, d = Hears(), Hears()
    c.s_out.connect(d.a_in)
    d.s_out.connect(c.a_in)
    with pytest.raises(RuntimeError, match=f"{c.name}.*{d.name}"):
        c.run(names.RunSteps(num_steps=1), run_cfg=names.Loihi1SimCfg())


def test_an_exception_map_names_a_model_of_a_class_made_while_the_program_runs(names):
    class Base(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = names.Var((2,), 0)

    class Solver(names.AbstractSubProcessModel):
        def __init__(self, proc):
            self.lif = names.LIF(shape=(2,), bias_mant=3, vth=100)
            proc.vars.v.alias(self.lif.v)

    process = type("Made", (Base,), {})()
    Solver.implements_process = process  # as lava-optimization marks it
    config = names.Loihi1SimCfg(exception_proc_model_map={process: Solver})
    process.run(names.RunSteps(num_steps=2), run_cfg=config)
    np.testing.assert_array_equal(process.v.get(), [6, 6])


def test_an_exception_map_may_name_any_model_and_leaves_the_class_as_it_is(names):
    class Held(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = names.Var((1,), 0)

    def model(by):
        def run_spk(self):
            self.v[:] += by

        own = {"v": names.LavaPyType(np.ndarray, float), "run_spk": run_spk}
        return type(f"By{by}", (names.PyLoihiProcessModel,), own)

    one, ten = model(1), model(10)
    for named, v in ((one, 2), (ten, 20), (one, 2)):  # nobody marked them
        held = Held()
        held.run(names.RunSteps(2), names.Loihi2SimCfg(exception_proc_model_map={Held: named}))
        assert held.v.get().tolist() == [v]
    with pytest.raises(LookupError, match="no model of Held is there"):
        Held().run(names.RunSteps(2), names.Loihi2SimCfg())
    names.implements(proc=Held)(model(100))
    names.implements(proc=type("Other", (Held,), {}))(others := model(5))
    held = Held()
    held.run(names.RunSteps(2), names.Loihi2SimCfg(exception_proc_model_map={held: others}))
    assert held.v.get().tolist() == [10]


def test_inner_processes_of_a_model_lie_where_it_puts_them(names):
    """In attributes of plain objects, and in a list that the model gives to its process."""

    @dataclass
    class Parts:
        lif: Any = None

    class Net(names.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = names.Var((2,), (1,))
            self.w = names.Var((2,), 0)

    @names.implements(proc=Net, protocol=names.LoihiProtocol)
    class NetModel(names.AbstractSubProcessModel):
        def __init__(self, proc):
            parts = Parts()
            parts.lif = names.LIF(shape=(2,), bias_mant=3, vth=2, name="first")
            dense = names.Dense(weights=np.eye(2))
            parts.lif.s_out.connect(dense.s_in)
            self.parts = parts
            second = names.LIF(shape=(2,), vth=100, name="second")
            dense.a_out.connect(second.a_in)
            proc.cells = [second]
            proc.vars.v.alias(parts.lif.v)
            proc.vars.w.alias(second.v)
            names.LIF(shape=(5,))  # connected with nothing: no part of it

    net = Net()
    net.run(names.RunSteps(num_steps=3), run_cfg=names.Loihi1SimCfg(select_sub_proc_model=True))
    assert sorted(p.path for p in net.procs)[-2:] == [f"{net.name}.first", f"{net.name}.second"]
    assert len(net.procs) == 3
    assert net.cells[0].parent is net
    np.testing.assert_array_equal(net.v.get(), [0, 0])
    np.testing.assert_array_equal(net.w.get(), [3, 3])  # u = 1 in step 2, 2 in step 3


def test_a_programs_select_sees_lavas_names_and_tags(names):
    from lava.proc.lif.models import LIF, PyLifModelBitAcc, PyLifModelFloat

    assert LIF is names.LIF  # modules of models have the processes' names too
    seen = {}

    class Config(names.Loihi2SimCfg):
        def select(self, process, models):
            seen[type(process).__name__] = models
            return next(m for m in models if "fixed_pt" in m.tags)

    lif, dense = names.LIF(shape=(2,), vth=3), names.Dense(weights=np.eye(2))
    lif.s_out.connect(dense.s_in)
    lif.run(names.RunSteps(num_steps=1), run_cfg=Config())
    assert seen["LIF"] == [PyLifModelFloat, PyLifModelBitAcc]
    assert [m.__name__ for m in seen["Dense"]] == ["PyDenseModelFloat", "PyDenseModelBitAcc"]
    for models in seen.values():
        for model in models:
            assert issubclass(model, names.PyLoihiProcessModel)
            assert model.implements_protocol is names.LoihiProtocol
            assert names.CPU in model.required_resources


def test_a_subclass_of_a_library_model_says_that_its_step_would_not_run(names):
    from lava.proc.lif.models import PyLifModelFloat

    with pytest.raises(errors.NoModelError, match=r"Mine\.run_spk would never be called.*PyLoihiP"):
        type("Mine", (PyLifModelFloat,), {"run_spk": lambda self: None})


def test_small_things_that_programs_rely_on(names):
    from lava.proc.io.source import RingBuffer
    from lava.proc.sparse.process import Sparse
    from lava.proc.spiker.process import Spiker
    from lava.utils import loihi
    from lava.utils.profiler import Profiler

    assert loihi.host is None
    with pytest.raises(NotImplementedError, match=r"Loihi2SimCfg runs on this computer.*perf_coun"):
        Profiler.init(names.Loihi2SimCfg())
    spiker = Spiker(shape=(3,), period=2, payload=7)
    assert (spiker.rate.shape, spiker.payload.shape) == ((3,), (3,))
    for wrong, text in (
        ({"period": [1, 2]}, r"period: value of shape \(2,\) does not"),
        ({"shape": "a"}, "shape is a shape"),
    ):
        with pytest.raises(LavalikeError, match=text):
            Spiker(**{"shape": (3,), **wrong})
    source = RingBuffer(data=np.zeros((2, 1)))
    dense = names.Dense(weights=np.eye(2), num_message_bits=64)
    assert dense.proc_params["num_message_bits"] == 64
    source.s_out.connect(dense.s_in)
    dense._log_config.level = 20
    dense.run(names.RunSteps(num_steps=4), run_cfg=names.Loihi1SimCfg())
    assert dense.runtime.num_steps == 4
    source.data.set(np.array([[5.0, 6.0]]))  # as many elements in another shape
    assert source.data.get().shape == (2, 1)
    dense.run(names.RunSteps(num_steps=2), run_cfg=names.Loihi1SimCfg())
    dense.stop()
    assert dense.runtime.num_steps == 2
    assert Sparse(weights=np.eye(2), num_message_bits=np.int64(33)).num_message_bits.init == 32


@pytest.mark.parametrize(
    ("module", "name", "text"),
    [
        ("lava.proc.lif.models", "PyLifModelFlaot", "did you mean 'PyLifModelFloat'"),
        ("lava.proc.dense.ncmodels", "NcModelDense", "no module lava.proc.dense.ncmodels"),
        ("lava.magma.core.model.nc.model", "AbstractNcProcessModel", "of Intel's chips"),
        ("lava.magma.core.model.c.model", "CLoihiProcessModel", "compiled for processors of Intel"),
        ("lava.proc.embedded_io.state", "Read", "processors of Intel's chips"),
        ("lava.utils.loihi2_state_probes", "StateProbe", "states of Intel's chips"),
    ],
)
def test_a_name_that_is_not_there_says_whether_it_is_hardware(names, module, name, text):
    with pytest.raises(ImportError, match=text):
        exec(f"from {module} import {name}")
