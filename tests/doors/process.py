"""Processes, ports, Vars, models and runs."""

import functools

import numpy as np

import lavalike as lv
from lavalike.dynamics.ops import above
from lavalike.proc import LIF, Dense, Monitor
from tests.doors.plot import axes
from tests.doors.table import (
    CHOICE,
    COUNT,
    FLAG,
    FOLDER,
    INDEX,
    INF,
    NAN,
    NUMBERS,
    OBJECT,
    PATH,
    POSITIVE,
    SHAPE,
    TEXT,
    Bad,
    also,
    bad,
    optional,
    row,
)

NAME = TEXT


def layer():
    """A Dense that feeds a LIF."""
    dense, lif = Dense(weights=np.ones((2, 3))), LIF(shape=(2,))
    dense.a_out.connect(lif.a_in)
    return dense


def leaky(a_in, v, beta):
    v = beta * v + a_in
    return above(v, 1), v


@functools.cache
def fixed():
    return lv.to_fixed(layer(), {"s_in": np.ones((3, 4))})


def compiled():
    return lv.compile(LIF(shape=(2,)))


@functools.cache
def stored():
    """A file of a compiled graph."""
    path = FOLDER / "stored.h5"
    compiled().save(path)
    return path


@functools.cache
def checkpointed():
    """A file of a run."""
    path = FOLDER / "checkpoint.h5"
    LIF(shape=(2,)).run(lv.RunSteps(2), checkpoint=path)
    return path


@functools.cache
def recorded():
    """What a run recorded."""
    return lv.simulate(LIF(shape=(2,)), {"a_in": np.ones((2, 3))})


@functools.cache
def kept():
    """A file of a recording."""
    path = FOLDER / "kept.h5"
    recorded().save(path)
    return path


PORTS = bad(3, "x", None)
WORD = bad(3, None, values=("not a name",))
NAMES = bad(3, "a_in", None, (3,), values=(("not a name",),))
LEAKY = {"step": leaky, "inputs": ("a_in",), "outputs": ("s_out",), "states": ("v",)}
ROWS = [
    row("lavalike.InPort", {"shape": (2,)}, shape=SHAPE),
    row("lavalike.OutPort", {"shape": (2,)}, shape=SHAPE),
    row("lavalike.RefPort", {"shape": (2,)}, shape=SHAPE),
    row(
        "lavalike.RefPort.connect_var",
        lambda: {"var": LIF(shape=(2,)).v},
        lambda: lv.RefPort((2,)),
        var=bad(3, "v", None, LIF(shape=(2,)).a_in),
    ),
    row(
        "lavalike.VarPort",
        lambda: {"var": LIF(shape=(2,)).v},
        var=bad(3, "v", None, LIF(shape=(2,)).a_in),
    ),
    row(
        "lavalike.Declared",
        {"dtype": int, "number": True},
        dtype=bad(3, None, "no dtype", object),
        number=FLAG,
    ),
    row(
        "lavalike.process.Port.connect",
        lambda: {"ports": LIF(shape=(2,)).a_in},
        lambda: LIF(shape=(2,)).s_out,
        ports=PORTS,
    ),
    row(
        "lavalike.process.Port.connect_from",
        lambda: {"ports": LIF(shape=(2,)).s_out},
        lambda: LIF(shape=(2,)).a_in,
        ports=PORTS,
    ),
    row(
        "lavalike.process.Port.reshape",
        {"new_shape": (2, 1)},
        lambda: LIF(shape=(2,)).s_out,
        new_shape=bad("3", 2.5, None, values=((3, 3),)),
    ),
    row(
        "lavalike.process.Port.transpose",
        {"axes": (1, 0)},
        lambda: LIF(shape=(2, 3)).s_out,
        axes=bad("x", 1.5, values=((0, 0), (0, 1, 2))),
    ),
    row(
        "lavalike.process.Port.concat_with",
        lambda: {"ports": LIF(shape=(2,)).s_out},
        lambda: LIF(shape=(2,)).s_out,
        ports=PORTS,
        axis=bad("x", 1.5, None, values=(7,)),
    ),
    row(
        "lavalike.Var",
        {"shape": (2,)},
        shape=SHAPE,
        init=bad(*NUMBERS.kinds[1:], values=NUMBERS.values),  # a text is right
        shareable=FLAG,
        name=NAME,
        role=CHOICE,
        trainable=FLAG,
        time_last=FLAG,
    ),
    row(
        "lavalike.process.Var.set",
        {"value": 1},
        lambda: LIF(shape=(2,)).v,
        value=bad("a", None, values=(NAN, [1, 2, 3])),
        idx=bad("x", 1.5, values=(7,)),
    ),
    row("lavalike.process.Var.get", {}, lambda: LIF(shape=(2,)).v, idx=bad("x", 1.5, values=(7,))),
    row(
        "lavalike.compile",
        lambda: {"process": LIF(shape=(2,))},
        process=OBJECT,
        config=OBJECT,
    ),
    row(
        "lavalike.to_fixed",
        lambda: {"net": layer(), "sample_inputs": {"s_in": np.ones((3, 4))}, "steps": 4},
        net=OBJECT,
        sample_inputs=bad(3, "x", None),
        steps=optional(COUNT),
    ),
    row(
        "lavalike.Fixed.encode",
        {"inputs": {"s_in": np.ones((3, 4))}},
        fixed,
        inputs=bad(3, "x", None),
    ),
    row("lavalike.Compiled.save", {"path": FOLDER / "graph.h5"}, compiled, path=PATH),
    row(
        "lavalike.Compiled.load",
        lambda: {"path": stored()},
        path=PATH,
        allow=bad(3, "mine", None, [3]),
        config=OBJECT,
    ),
    row("lavalike.RunSteps", {"num_steps": 3}, num_steps=COUNT, blocking=FLAG),
    row("lavalike.RunContinuous", {}),
    row(
        "lavalike.RunConfig",
        {},
        backend=CHOICE,
        precision=bad(3, values=("floating", "fixed")),
        select=bad(3, "x", [LIF], values=({LIF: 3},)),
        dtype=bad(3, values=("float16", "flaot32")),
        seed=optional(INDEX),
        threads=optional(COUNT),
        debug=FLAG,
        check=bad(3, values=("finit",)),
        chip=OBJECT,
        dt=bad("1", None, True, values=(0.0, NAN, INF)),
        options=bad(3, "x", [1], values=({"thread": 1}, {"threads": 0})),
        workers=optional(COUNT),
        partition=bad(3, "x", [1], values=({"x": 0},)),
        device=bad(3),
        timeout=bad("1", values=(0.0, NAN, INF)),
    ),
    row(
        "lavalike.Choice",
        {},
        backend=bad(3, values=("nubma",)),
        precision=bad(3, values=("fixed",)),
        model=bad(3, "x", values=(int, LIF)),
    ),
    row(
        "lavalike.AbstractProcess.run",
        {"condition": lv.RunSteps(1)},
        lambda: LIF(shape=(2,)),
        condition=bad(3, "x", None),
        run_cfg=OBJECT,
        checkpoint=optional(PATH),
        every=optional(COUNT),
    ),
    row("lavalike.AbstractProcess.to_mermaid", {}, lambda: LIF(shape=(2,)), depth=optional(INDEX)),
    row("lavalike.AbstractProcess.to_dot", {}, lambda: LIF(shape=(2,)), depth=optional(INDEX)),
    row("lavalike.Recording.save", {"path": FOLDER / "recorded.h5"}, recorded, path=PATH),
    row("lavalike.Recording.load", lambda: {"path": kept()}, path=PATH),
    row(
        "lavalike.Recording.plot",
        lambda: {"of": "s_out", "ax": axes()},
        recorded,
        of=bad(3, values=("nothing",), name="recorded"),
        sample=also(INDEX, values=(7,)),
        dt=optional(POSITIVE),
        ax=bad(3, "x"),
    ),
    row(
        "lavalike.resume",
        lambda: {"process": LIF(shape=(2,)), "path": checkpointed()},
        process=bad(3, "x", None),
        path=PATH,
        config=OBJECT,
    ),
    row(
        "lavalike.simulate",
        lambda: {"process": layer(), "inputs": {"s_in": np.ones((3, 4))}},
        process=bad(3, "x", None),
        inputs=bad(3, "x", values=({"s_in": np.full((3, 4), NAN)},)),
        steps=optional(COUNT),
        config=OBJECT,
        record=bad(3, values=(["nothing"],)),
        progress=FLAG,
    ),
    row(
        "lavalike.simulate_many",
        lambda: {"process": layer(), "inputs": [{"s_in": np.ones((3, 4))}]},
        process=bad(3, "x", None),
        inputs=bad(3, "x", None, {}),
        steps=optional(COUNT),
        config=OBJECT,
        record=bad(3, values=(["nothing"],)),
        executor=OBJECT,
        to=optional(PATH),
        progress=FLAG,
        ahead=optional(COUNT),
    ),
    row(
        "lavalike.implements",
        {"process": LIF, "backend": "numba"},
        process=bad(3, "x", None),
        backend=bad(3),
        precision=bad(3, values=("fixed",)),
        delay=bad("x", 1.5, None, values=(2, -1)),
        bounds=FLAG,
    ),
    row(
        "lavalike.Parameter",
        {"name": "beta", "default": 0.5},
        name=bad(3, None, values=("not a name",)),
        default=bad("x", values=(NAN,)),
        low=bad("x", None, values=(NAN, 1)),
        high=bad("x", None, values=(NAN, 0)),
        trained=FLAG,
        unit=TEXT,
        counts=CHOICE,
        argument=WORD,
        offset=bad("3", 2.5, None, values=(1,)),  # of a "loss" alone
        shift=WORD,
        per=CHOICE,
        onset=WORD,
        key=TEXT,
        training=WORD,
        tau=TEXT,
        doc=TEXT,
    ),
    row(
        "lavalike.dynamics.Units",
        {},
        loihi=FLAG,
        checked=FLAG,
        scale=POSITIVE,
        own=bad(3, "x", None),
    ),
    row(
        "lavalike.Dynamics",
        LEAKY,
        step=bad(3, None, print),
        inputs=NAMES,
        outputs=NAMES,
        states=NAMES,
        constants=bad(3),
        per_neuron=Bad(NAMES.kinds, (*NAMES.values, ("a_in",))),
        accumulators=bad(3, (3,)),
        rests=FLAG,
        fixed=FLAG,
        graded=Bad(NAMES.kinds, (*NAMES.values, ("v",))),
        parameters=bad(3, (3,)),
        loihi=FLAG,
        kind=TEXT,
        reset=CHOICE,
        ends=bad(3, (3,), values=((("v",),), (("v", "end"),))),  # goes with fixed=False
        complexes=bad(3, (3,), values=((("z", "v"),), (("z", "v", "v"),))),  # likewise
    ),
    row(
        "lavalike.proc.neuron_process",
        {"dynamics": lv.Dynamics(**LEAKY)},
        dynamics=bad(3, None, leaky),
        name=bad(3, values=("not a name",)),
    ),
    row(
        "lavalike.proc.Monitor.probe",
        lambda: {"target": LIF(shape=(2,)).v, "num_steps": 3},
        Monitor,
        target=bad(3, "v", None),
        num_steps=COUNT,
    ),
    row(
        "lavalike.operations.count",
        lambda: {"connection": Dense(weights=np.ones((2, 3))), "messages": np.ones((1, 3, 5))},
        connection=bad(3, None),
        messages=bad(
            "x",
            None,
            values=(np.ones(4), np.ones((3, 2, 5)), np.ones((1, 3, 0)), np.full((1, 3, 5), NAN)),
        ),
    ),
    row(
        "lavalike.operations.fan_out",
        lambda: {"connection": Dense(weights=np.ones((2, 3)))},
        connection=bad(3, None),
    ),
]
EXEMPT = {
    "lavalike.compat.install": "takes no arguments",
    "lavalike.compat.uninstall": "takes no arguments",
    "lavalike.model.NodeConfig": "made from a RunConfig and a Choice, whose rows have its arguments",
    "lavalike.backends.numba.NumbaOptions": "made from a RunConfig, whose row has its arguments",
    "lavalike.backends.torch.TorchOptions": "made from a RunConfig, whose row has its arguments",
    "lavalike.Fixed": "made by to_fixed, which has a row",
    "lavalike.Compiled": "made by compile and Compiled.load, which have rows",
    "lavalike.AbstractProcess": "takes every keyword: a process's own parameters; the rows of its subclasses look at name",
    "lavalike.process.Port": "base of InPort and OutPort, which have rows",
    "lavalike.process.View": "made by ports' indices and by their reshape, flatten, transpose and concat_with, which have rows",
    "lavalike.backends.torch.ConnectionModel": "subclassed, and made by the compiler only",
    "lavalike.backends.torch.FloatingDynamicsModel": "made by the compiler only",
    "lavalike.ProcessModel": "subclassed, and made by the compiler only",
    "lavalike.SubProcessModel": "subclassed, and made by the compiler only",
    "lavalike.AsyncModel": "subclassed, and made by the compiler only",
    "lavalike.NumpyModel": "subclassed, and made by the compiler only",
    "lavalike.backends.numpy.Inlet": "made by the compiler only",
    "lavalike.backends.numpy.Outlet": "made by the compiler only",
    "lavalike.backends.numpy.Ref": "made by the compiler only",
    "lavalike.backends.numpy.NumpyBackend": "made once, by its module",
    "lavalike.backends.numpy.NumpyProgram": "made by the compiler only",
    "lavalike.NumbaModel": "subclassed, and made by the compiler only",
    "lavalike.TorchModel": "subclassed, and made by the compiler only",
    "lavalike.Recording": "what simulate returns",
    "lavalike.backends.numba.DynamicsModel": "made by the compiler only",
    "lavalike.backends.numba.FloatingDynamicsModel": "made by the compiler only",
    "lavalike.backends.numba.NumbaBackend": "found by its name, takes nothing",
    "lavalike.backends.numba.NumbaProgram": "made by the compiler only",
    "lavalike.backends.numba.ThreadedProgram": "made by the compiler only",
    "lavalike.dynamics.integral": "of the compiler; its words stand in a Dynamics' constants",
    "lavalike.dynamics.within": "of the compiler; its words stand in a Dynamics' constants",
    "lavalike.operations.Operations": "what count returns",
}
