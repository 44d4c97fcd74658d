"""Processes as a NIR graph, so that what reads it computes the same spikes.

What NIR computes in a step, as :func:`netx.nir.from_nir` reads it, has no delay but one step on an
edge back in a loop. A connection of ours delivers one step later by default. Both agree where each
node of the graph is what the process does some steps later: that *lag* grows along a chain and is
left out of the file; where branches or loops differ in it, and where a neuron is driven from the
first step on, a Delay node takes the difference.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavalike import proc
from lavalike.arguments import FLAG, PATH, arguments, instance, optional, real
from lavalike.compiler.flat import _resolve
from lavalike.dynamics import membrane
from lavalike.dynamics.lif import SCALE
from lavalike.errors import NirError
from lavalike.proc import nir as neurons
from lavalike.proc.io.source import Constant
from lavalike.process import AbstractProcess
from lavalike.process.ports import Port
from lavalike.process.process import component, walk
from lavalike.process.units import Units
from netx.nir.file import write
from netx.nir.graph import Graph, NirWarning, Node, Shape, components
from netx.nir.lower import ordered

STEP = real(above=0)
ULPS = 4  # so far from the first guess a number is looked for
MAX_SELECTION = 1 << 24  # weights of a matrix that only selects
Fail = Callable[[str, str, str, str], NirError]


@arguments(process=instance(AbstractProcess), path=optional(PATH), dt=STEP, strict=FLAG)
def to_nir(
    process: AbstractProcess,
    path: str | os.PathLike[str] | None = None,
    dt: float = 1e-4,
    strict: bool = True,
) -> Graph:
    """Processes as a NIR graph, whose neurons compute in steps of ``dt`` what the processes do in
    floating_pt: ``from_nir(to_nir(p))`` sends the same messages.

    Neurons: :class:`lavalike.proc.LIF` (``du=1``: a LIF or, without leak, an IF; else a CubaLIF,
    or where NIR has no such neuron a leaky integrator before one), those of
    :mod:`lavalike.proc.nir`, and those of a loaded .net file. Connections: Dense, Sparse and Conv;
    biases are those of neurons, or of :class:`lavalike.proc.io.source.Constant`. Messages are
    (channel, height, width), where a Conv's are (width, height, channel).

    Args:
        process: a process, or a network as :class:`netx.Network` or of :func:`from_nir`; all that
            it is connected with is written. Ports to which nothing is sent, or that sources of
            :mod:`lavalike.proc.io` feed, are Inputs, ports that nobody hears, or such sinks only,
            Outputs; where there is none, the process's own in the loop at the end, or that of the
            one neuron there.
        path: a file to write, ".nir". Default None: none.
        dt: seconds that a step stands for. Default 1e-4, what most readers of NIR take.
        strict: refuse what NIR has no word for (below). False: write what is nearest, note the rest
            in ``metadata["lavalike"]``, and tell by a NirWarning.

    NIR has no reset by subtraction, no reset one step late and no ``>=``: these are written as they
    are with a NirWarning, and noted in ``metadata["lavalike"]``, which ``from_nir`` reads, with
    ``dt``; ``lag``, how many steps an Output is ahead of the process's port; and
    ``gain = "rounded"``, where r dt / tau is 1 but for its last bit.

    Returns:
        The graph.

    Raises:
        NirError: strict, and NIR cannot say it: sigma-delta, resonators, adaptive thresholds,
            refractory periods, resets by the clock, delays of single synapses, a state that does
            not begin at 0. Always: a process of another kind, random numbers, views that repeat or
            leave out elements of large messages.

    Example:
        >>> import numpy as np
        >>> import lavalike as lv
        >>> from netx.nir import to_nir
        >>> synapses = lv.proc.Dense(weights=np.eye(2), delay=0, name="synapses")
        >>> neurons = lv.proc.LIF(shape=(2,), du=1, dv=0.04, vth=1, name="neurons")
        >>> _ = synapses.a_out.connect(neurons.a_in)
        >>> graph = to_nir(neurons, dt=1e-4)
        >>> [node.type for node in graph.nodes.values()]
        ['Input', 'Linear', 'LIF', 'Output']
        >>> round(float(graph.nodes["neurons"].params["tau"][0]), 12)
        0.0025
    """
    graph = Lift(process, dt, strict).graph()
    if path is not None:
        write(path, graph)
    return graph


# -- numbers ---------------------------------------------------------------------------------------


def near(guess: np.ndarray, of: Callable[[np.ndarray], np.ndarray], want: np.ndarray) -> np.ndarray:
    """The numbers nearest to ``guess`` for which ``of`` them is ``want``; ``guess`` where none of
    the next few is."""
    out, found = guess.copy(), of(guess) == want
    for direction in (np.inf, -np.inf):
        at = guess
        for _ in range(ULPS):
            at = np.nextafter(at, direction)
            hit = ~found & (of(at) == want)
            out, found = np.where(hit, at, out), found | hit
    return out


def time_constant(keep: np.ndarray, dt: float) -> np.ndarray:
    """tau of which a step of Euler's leaves ``keep``, to the bit where there is one: infinite for
    1."""
    with np.errstate(divide="ignore"):
        return near(dt / (1 - keep), lambda tau: 1 - dt / tau, keep)


def factor(taken: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """What ``taken``, times it, is ``gain``."""
    return near(gain / taken, lambda r: taken * r, gain)


def rounded(nodes: Iterable[Node], dt: float) -> bool:
    """Whether the gain of a neuron is 1 but for rounding, as no r of float64's makes it so: what
    reads the graph is told that it is 1."""
    close = 4 * np.finfo(np.float64).eps
    for node in nodes:
        p = node.params
        pairs = {"LIF": (("tau", "r"),), "CubaLIF": (("tau_syn", "w_in"), ("tau_mem", "r"))}
        for tau, r in pairs.get(node.type, ()):
            gain = (1 - (1 - dt / p[tau])) * p[r]
            if ((gain != 1) & (np.abs(gain - 1) <= close)).any():
                return True
    return False


@dataclass
class Made:
    """A leaf process as nodes, one hearing the other.

    Attributes: ``nodes``, by what their names end in; ``delay``, steps by which the last sends
    later; ``scale``, what the weights before it are multiplied by; ``begins``, the step at which it
    is driven without any input, or None; ``notes``, of how it spikes; ``bias``, to be added to its
    input.
    """

    nodes: list[tuple[str, str, dict[str, Any]]]
    delay: int = 0
    scale: float = 1.0
    begins: int | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    bias: np.ndarray | None = None
    back: bool = False  # it hands on what it hears, ``delay`` steps later


def spiking(
    keep_u: np.ndarray | None,
    gain_u: np.ndarray,
    keep: np.ndarray,
    bias: np.ndarray,
    vth: np.ndarray,
    v_reset: np.ndarray,
    dt: float,
    fail: Callable[[str, str, str], NirError],
) -> Made:
    """Nodes of ``u = keep_u u + gain_u x; v = keep v + u + bias``, which spikes; without a current
    ``u = gain_u x``."""
    fires = {"v_threshold": vth, "v_reset": v_reset}
    driven = 0 if np.any(bias) else None
    leaks = _all_or_none(keep < 1, "dv", fail)
    if keep_u is None:
        if leaks:
            tau = time_constant(keep, dt)
            taken = 1 - keep
            r, v_leak = factor(taken, gain_u), factor(taken, bias)
            return Made(
                [("", "LIF", {"tau": tau, "r": r, "v_leak": v_leak, **fires})], begins=driven
            )
        r = near(gain_u / dt, lambda x: dt * x, gain_u)
        made = Made([("", "IF", {"r": r, **fires})], begins=driven)
        if driven is not None:
            made.bias = near(bias / gain_u, lambda x: x * gain_u, bias)
        return made
    current = _all_or_none(keep_u < 1, "du", fail)
    if leaks and current:
        taken_u, taken = 1 - keep_u, 1 - keep
        ones = np.ones_like(taken)
        params = {
            "tau_syn": time_constant(keep_u, dt),
            "tau_mem": time_constant(keep, dt),
            "r": factor(taken, ones),
            "v_leak": factor(taken, bias),
            "w_in": factor(taken_u, gain_u),
        }
        return Made([("", "CubaLIF", params | fires)], begins=driven)
    # NIR's CubaLIF leaks twice: the current by itself, then a membrane that hears it
    if current:
        first: tuple[str, str, dict[str, Any]] = (
            ".current",
            "LI",
            {
                "tau": time_constant(keep_u, dt),
                "r": factor(1 - keep_u, gain_u),
                "v_leak": np.zeros_like(keep_u),
            },
        )
    else:
        first = (".current", "I", {"r": near(gain_u / dt, lambda x: dt * x, gain_u)})
    made = spiking(None, np.ones_like(keep), keep, bias, vth, v_reset, dt, fail)
    if made.bias is not None:
        raise fail(
            "bias_mant",
            "is not 0, and neither current nor membrane have a leak that could hold it",
            "give the neuron a leak, or its bias to a Constant on a connection",
        )
    return Made([first, *made.nodes], begins=made.begins)


def _all_or_none(which: np.ndarray, name: str, fail: Callable[[str, str, str], NirError]) -> bool:
    if which.all() or not which.any():
        return bool(which.all())
    raise fail(
        name,
        "is 0 for some neurons only; with and without a leak are different nodes in NIR",
        "split the process in two",
    )


# -- layouts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Layout:
    """How a port's message lies in NIR: its shape there, and at each place of it, in order, the
    place in the port (None: the same)."""

    shape: Shape
    order: np.ndarray | None = None

    def places(self) -> np.ndarray:
        return np.arange(math.prod(self.shape)) if self.order is None else self.order

    def array(self, value: Any, shape: Shape) -> np.ndarray:
        """An array of the port's shape as NIR has it."""
        flat = np.broadcast_to(np.asarray(value, np.float64), shape).reshape(-1)
        return (flat if self.order is None else flat[self.order]).reshape(self.shape)


def plain(shape: Shape) -> Layout:
    return Layout(tuple(shape))


def turned(shape: Shape, axes: tuple[int, ...]) -> Layout:
    places = np.arange(math.prod(shape)).reshape(shape).transpose(axes)
    return Layout(places.shape, places.reshape(-1))


def level(shape: Shape) -> Layout:
    return Layout((math.prod(shape),))


AXES = ((2, 1, 0), (2, 0, 1))  # (x, y, channel) and (y, x, channel) as (channel, height, width)


# -- graphs ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Edge:
    """What a node hears: ``map`` says for each place of the receiver's message which of the
    sender's, None all in order; ``steps`` are those of delay processes between."""

    source: str
    target: str
    map: np.ndarray | None
    steps: int = 0


class Lift:
    """All that is connected with a process, as a graph."""

    def __init__(self, process: AbstractProcess, dt: float, strict: bool) -> None:
        self.process, self.dt, self.strict = process, dt, strict
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.notes: dict[str, dict[str, Any]] = {}
        self.hints: dict[str, dict[str, Any]] = {}
        tops = component(process)
        parts = [p for top in tops for p in walk(top)]
        self.leaves = [p for p in parts if not p.own_procs and self._counts(p)]
        self.known: Any = dict.fromkeys(self.leaves)
        self.called = self._names(parts)
        self.inputs: dict[Port, str] = {}
        self.outputs: dict[Port, str] = {}
        self._ends(tops)

    def fail(self, process: AbstractProcess, parameter: str, found: str, remedy: str) -> NirError:
        return NirError("to_nir", self.called.get(process, process.path), parameter, found, remedy)

    def _counts(self, p: AbstractProcess) -> bool:
        return bool(p.in_ports or p.out_ports) and not _listens(p)

    def _names(self, parts: Sequence[AbstractProcess]) -> dict[AbstractProcess, str]:
        """Names that nodes have: of a network's layers those it gives them, else the processes'."""
        given: dict[AbstractProcess, str] = {}
        for p in parts:
            layers = getattr(p, "layers", None)
            if isinstance(layers, Mapping):  # of from_nir
                given |= {layer: str(n) for n, layer in layers.items() if n}
            elif isinstance(layers, list | tuple) and p.own_procs:  # of netx.Network
                for k, layer in enumerate(layers):
                    for part in ("synapse", "synapse_rec", "neuron", "delay"):
                        inner = getattr(layer, part, None)
                        if isinstance(inner, AbstractProcess):
                            given[inner] = f"{k}.{part}"
        taken: set[str] = set()
        out: dict[AbstractProcess, str] = {}
        for p in (
            *(p for p in given if p in self.known),
            *(p for p in self.leaves if p not in given),
        ):
            out[p] = self._free(given.get(p, p.name or type(p).__name__.lower()), taken)
        self.taken = taken
        return out

    @staticmethod
    def _free(name: str, taken: set[str]) -> str:
        name = name.replace("/", "_")
        new, k = name, 1
        while new in taken:
            k += 1
            new = f"{name}_{k}"
        taken.add(new)
        return new

    def _ends(self, tops: Sequence[AbstractProcess]) -> None:
        """Inputs and Outputs: ports of the outermost processes to which nothing is sent, and that
        nobody hears."""
        stimuli = [port for top in tops for port in top.in_ports if not port.sources and port.size]
        # a source that plays what it was given is an Input, too
        players = [
            p.out_ports[0]
            for p in self.leaves
            if not p.in_ports
            and not isinstance(p, Constant)
            and len(p.out_ports) == 1
            and type(p).__module__.startswith("lavalike.proc.io")
            and not hasattr(p, "seed")
        ]
        own: dict[Port, str] = {}
        for top in tops:  # of from_nir
            for ports in (getattr(top, "inputs", None), getattr(top, "outputs", None)):
                if isinstance(ports, Mapping):
                    own |= {port: str(n) for n, port in ports.items() if isinstance(port, Port)}
        for port in (*stimuli, *players):
            many = len(stimuli) + len(players) > 1
            name = f"{port.process.name}_{port.name}" if many and port.process else "input"
            self.inputs[port] = self._free(own.get(port, name), self.taken)
        self.stimuli: set[Port] = {*self.inputs}
        self.terms: dict[Port, list[Any]] = {}
        heard: set[Port] = set()
        for leaf in self.leaves:
            for port in leaf.in_ports:
                self.terms[port] = _resolve(port, self.known, self.stimuli)
                heard.update(t.source for t in self.terms[port])
        ends: list[Port] = []
        for top in tops:
            for out in top.out_ports:
                if out in self.stimuli:
                    continue
                if top in self.known:
                    if out not in heard:
                        ends.append(out)
                elif all(t.process is not None and _listens(t.process) for t in out.targets):
                    ends.append(out)
        if not ends:
            ends = self._last(heard)
        sent = [p for p in ends if p.size]
        if not sent or not self.inputs:
            raise NirError(
                "to_nir",
                self.process.path,
                "",
                f"there is no {'Input: every port is sent to' if sent else 'Output: nothing sends'}",
                "leave a port open, or connect what plays an input (lavalike.proc.io)",
            )
        for port in sent:
            many = len(sent) > 1
            name = f"{port.process.name}_{port.name}" if many and port.process else "output"
            self.outputs[port] = self._free(own.get(port, name), self.taken)
            if port.process not in self.known:
                self.terms[port] = _resolve(port, self.known, self.stimuli)

    def _last(self, heard: set[Port]) -> list[Port]:
        """The Output where every port is heard: of the loop at the end the process's own, or that
        of the one neuron there."""
        if not heard or self.process not in self.known:
            return list(self.process.out_ports[:1])
        edges = [
            (self.called[t.source.process], self.called[leaf])
            for leaf in self.leaves
            for port in leaf.in_ports
            for t in self.terms[port]
            if t.source.process in self.known
        ]
        loops = [set(group) for group in components(self.called.values(), edges)]
        last = {n for g in loops if not any(a in g and b not in g for a, b in edges) for n in g}
        there = [p for p in self.leaves if self.called[p] in last]
        handing = proc.Connection | proc.Delay | proc.DelayLine | neurons.Scale
        some = [p for p in there if not isinstance(p, handing)]
        if self.process not in there and len(some) != 1:
            raise self.fail(
                self.process,
                "",
                "is heard, as all ports are, and does not stand in the loop at the end",
                f"give the process that is the Output: one of {', '.join(sorted(last))}",
            )
        return list((self.process if self.process in there else some[0]).out_ports[:1])

    # -- leaves ------------------------------------------------------------------------------------

    def graph(self) -> Graph:
        self.made = {p: self._leaf(p) for p in self.leaves if not self._still(p)}
        self._lay_out()
        self.consumers: dict[str, int] = {}
        for leaf in self.made:
            self._place(leaf)
        for port, name in self.inputs.items():
            self.nodes[name] = Node("Input", {"shape": self.layouts[port].shape})
        for leaf, made in self.made.items():
            if leaf.in_ports:
                self._hear(leaf.in_ports[0], self.first[leaf], made.scale)
        for port, name in self.outputs.items():
            self.nodes[name] = Node("Output", {"shape": self.layouts[port].shape})
            self._hear(port, name, 1.0)
        self._biases()
        return self._timed()

    def _still(self, p: AbstractProcess) -> bool:
        """Whether a leaf is an Input, or a bias."""
        return isinstance(p, Constant) or any(port in self.inputs for port in p.out_ports)

    def _leaf(self, p: AbstractProcess) -> Made:
        fail: Callable[[str, str, str], NirError] = lambda a, b, c: self.fail(p, a, b, c)  # noqa: E731
        values = {v.name: np.asarray(v.get()) for v in p.vars}
        for v in p.vars:
            if v.role == "state" and np.any(values[v.name]):
                raise fail(v.name, "is not 0", "a NIR neuron begins at 0: reset the process before")
        if isinstance(p, proc.Connection):
            return self._connection(p, values)
        if isinstance(p, proc.Delay):
            return Made([], delay=1, back=True)
        if isinstance(p, proc.DelayLine):
            steps = np.broadcast_to(values["delays"], p.s_in.shape)
            return Made([("", "Delay", {"delay": steps * self.dt})])
        if isinstance(p, neurons.Scale):
            if (values["factor"] == 1).all() and not np.any(values["bias"]):  # a sum by itself
                return Made([], back=True)
            made = Made([("", "Scale", {"scale": values["factor"]})])
            if np.any(values["bias"]):
                raise fail(
                    "bias", "is not 0, and NIR's Scale has none", "use a Dense and a Constant"
                )
            return made
        if isinstance(p, neurons.Threshold):
            return Made([("", "Threshold", {"threshold": values["vth"]})])
        return self._neuron(p, values, fail)

    def _neuron(
        self,
        p: AbstractProcess,
        values: Mapping[str, np.ndarray],
        fail: Callable[[str, str, str], NirError],
    ) -> Made:
        dynamics = p.dynamics
        if dynamics is None or len(p.in_ports) != 1 or len(p.out_ports) != 1:
            raise fail(
                "",
                f"is a {type(p).__name__}, and NIR has no node that computes it",
                "NIR has LIF, IF, CubaLIF and their integrators, connections, Scale, Threshold and Delay",
            )
        shape = p.out_ports[0].shape
        units = Units.of(p.proc_params)
        c = {
            n: np.broadcast_to(np.asarray(v, np.float64), shape)
            for n, v in dynamics.derive(values, units, False).items()
        }
        zeros = np.zeros(shape)
        if isinstance(p, neurons.LI | neurons.LIF | neurons.CubaLI | neurons.CubaLIF):
            return self._own(p, c, fail)
        for kind, steps in (("LIF", membrane.LEAKY), ("LIF", membrane.LEAKY_NOW)):
            for reset, known in steps.items():
                if dynamics is known:
                    late = steps is membrane.LEAKY
                    made = spiking(
                        None, zeros + 1, c["beta"], zeros, c["vth"], zeros, self.dt, fail
                    )
                    made.notes = reset_notes(reset, late, kind, fail)
                    return made
        for steps in (membrane.SYNAPTIC, membrane.SYNAPTIC_NOW):
            for reset, known in steps.items():
                if dynamics is known:
                    late = steps is membrane.SYNAPTIC
                    made = spiking(
                        c["alpha"], zeros + 1, c["beta"], zeros, c["vth"], zeros, self.dt, fail
                    )
                    made.notes = reset_notes(reset, late, "CubaLIF", fail)
                    return made
        hints: dict[str, Any] = {}
        if type(p) in (proc.LIF, proc.LIFLateBias):
            pass
        elif not self.strict and isinstance(p, proc.LIFReset | proc.LIFRefractory):
            hints = {
                "process": type(p).__name__,
                **{
                    n: values[n]
                    for n in ("reset_interval", "reset_offset", "refractory_period")
                    if n in values
                },
            }
        else:
            raise fail(
                "",
                f"is a {type(p).__name__}, and NIR has no neuron that computes it",
                "strict=False writes it as a CubaLIF, and the rest as a hint that no reader computes"
                if isinstance(p, proc.LIFReset | proc.LIFRefractory)
                else "NIR has LIF, IF, CubaLIF and their integrators",
            )
        if hints:
            self.hints[self.called[p]] = hints
        bias, vth, gain = c["bias"], c["vth"], c["gain"]
        scale = 1.0
        if units.loihi:  # powers of two apart from what was trained
            scale, bias, vth, gain = 1 / SCALE, bias / SCALE**2, vth / SCALE**2, gain / SCALE
            senders = [t.source.process for t in self._terms(p)]
            if not all(isinstance(s, proc.Connection | Constant) for s in senders):
                scale, gain = 1.0, gain / SCALE  # no weights before it
        keep_u = c["keep_u"]
        made = spiking(
            None if not np.any(keep_u) else keep_u,
            gain,
            c["keep_v"],
            bias,
            vth,
            zeros,
            self.dt,
            fail,
        )
        made.scale = scale
        start = values.get("bias_start")
        if made.begins is not None and start is not None:
            starts = np.unique(np.broadcast_to(start, shape)[np.broadcast_to(bias, shape) != 0])
            if len(starts) > 1:
                raise fail("bias_start", "differs from neuron to neuron", "give all one")
            made.begins = int(starts[0])
        return made

    def _own(
        self, p: Any, c: Mapping[str, np.ndarray], fail: Callable[[str, str, str], NirError]
    ) -> Made:
        """A neuron of :mod:`lavalike.proc.nir`."""
        fires = isinstance(p, neurons.LIF | neurons.CubaLIF)
        leaks = _all_or_none(c["keep"] < 1, "keep", fail)
        params: dict[str, np.ndarray] = {}
        if isinstance(p, neurons.CubaLI | neurons.CubaLIF):
            kind = "CubaLIF" if fires else "CubaLI"
            current = _all_or_none(c["keep_u"] < 1, "keep_u", fail)
            taken = 1 - c["keep"]
            if not leaks or not current or not np.array_equal(c["gain"], taken):
                raise fail(
                    "gain",
                    "is not what a step takes, 1 - keep, of a current and a membrane that leak",
                    f"a {kind} of NIR adds dt / tau_mem of r u + v_leak",
                )
            taken_u = 1 - c["keep_u"]
            params = {
                "tau_syn": time_constant(c["keep_u"], self.dt),
                "tau_mem": time_constant(c["keep"], self.dt),
                "r": c["r"],
                "v_leak": c["v_leak"],
                "w_in": factor(taken_u, c["gain_u"]),
            }
            driven = np.any(c["v_leak"])
        elif leaks:
            kind, taken = ("LIF" if fires else "LI"), 1 - c["keep"]
            params = {
                "tau": time_constant(c["keep"], self.dt),
                "r": factor(taken, c["gain"]),
                "v_leak": factor(taken, c["drive"]),
            }
            driven = np.any(c["drive"])
        else:
            kind, driven = ("IF" if fires else "I"), np.any(c["drive"])
            params = {"r": near(c["gain"] / self.dt, lambda r: self.dt * r, c["gain"])}
        made = Made([("", kind, params)], begins=0 if driven else None)
        if driven and kind in ("IF", "I"):
            made.bias = near(c["drive"] / c["gain"], lambda x: x * c["gain"], c["drive"])
        if fires:
            params["v_threshold"] = c["vth"]
            params["v_reset"] = c.get("v_reset", np.zeros_like(c["vth"]))
            # chosen with the equation, which has no other mark
            name = p.dynamics.step.__name__
            made.notes = {
                "reset": "subtract" if "lower" in name else "value",
                "compare": ">=" if "inclusive" in name else ">",
            }
        return made

    def _connection(self, p: proc.Connection, values: Mapping[str, np.ndarray]) -> Made:
        two = 2.0 ** float(np.ravel(values.get("weight_exp", 0))[0])
        if isinstance(p, proc.Conv):
            weight = values["weight"].astype(np.float64)[:, ::-1, ::-1, :] * two
            return Made([("", "Conv2d", {"weight": weight})], delay=p.delay)
        if type(p) in (proc.Dense, proc.Sparse):
            dense = p.to_dense() if isinstance(p, proc.Sparse) else values["weights"]
            return Made([("", "Linear", {"weight": dense.astype(np.float64) * two})], delay=p.delay)
        late = isinstance(p, proc.DelayDense | proc.DelaySparse)
        raise self.fail(
            p,
            "delays" if late else "",
            "of single synapses are nothing that NIR has"
            if late
            else f"is a {type(p).__name__}, and NIR has Linear and Conv2d",
            "use Dense and a DelayLine behind the neurons" if late else "use Dense, Sparse or Conv",
        )

    # -- layouts -----------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        """How each message lies in NIR, so that what is sent is heard as it lies."""
        self.layouts: dict[Port, Layout] = {}
        # a convolution that hears (x, y, channel) as it is says what all three axes are
        spatial = any(
            t.src is None and t.dst is None and not isinstance(t.source.process, proc.Conv)
            for p in self.made
            if isinstance(p, proc.Conv)
            for t in self.terms[p.s_in]
        )
        for port in self.inputs:
            three = spatial and len(port.shape) == 3
            self.layouts[port] = turned(port.shape, AXES[0]) if three else plain(port.shape)
        todo: list[Any] = list(self.made)
        while todo:
            # those first whose senders are laid out
            ready = [p for p in todo if all(self._laid(t) for t in self._terms(p))]
            some = [p for p in todo if any(self._laid(t) for t in self._terms(p))]
            p = (ready or some or todo)[0]
            todo.remove(p)
            self._choose(p)
        for port in self.outputs:
            if port not in self.layouts:
                options = [
                    plain(port.shape),
                    *(turned(port.shape, a) for a in AXES if len(port.shape) == 3),
                ]
                self.layouts[port] = max(options, key=lambda o: self._fit(port, o))

    def _terms(self, p: AbstractProcess) -> list[Any]:
        return [t for port in p.in_ports[:1] for t in self.terms[port]]

    def _laid(self, term: Any) -> bool:
        return term.source in self.layouts or isinstance(term.source.process, Constant)

    def _choose(self, p: Any) -> None:
        port: Any = p.in_ports[0] if p.in_ports else None
        out = p.out_ports[0]
        if isinstance(p, proc.Conv):
            axes = max(AXES, key=lambda a: self._fit(port, turned(port.shape, a)))
            self.layouts[port], self.layouts[out] = (
                turned(port.shape, axes),
                turned(out.shape, axes),
            )
            return
        if isinstance(p, proc.Connection):
            self.layouts[port], self.layouts[out] = plain(port.shape), plain(out.shape)
            return
        options = [plain(out.shape), level(out.shape)]
        if len(out.shape) == 3:
            options += [turned(out.shape, a) for a in AXES]
        best = options[0] if port is None else max(options, key=lambda o: self._fit(port, o))
        self.layouts[out] = best
        if port is not None:
            self.layouts[port] = best

    def _fit(self, port: Port, layout: Layout) -> int:
        """How many of a port's terms are heard as they lie; those that need a Flatten count
        less."""
        score = 0
        for term in self.terms.get(port, ()):
            if term.source in self.layouts and self._map(term, port, layout) is None:
                score += 2 if self.layouts[term.source].shape == layout.shape else 1
        return score

    def _map(self, term: Any, port: Port, layout: Layout) -> np.ndarray | None:
        """For each place of ``port`` in NIR the sender's there, -1 where it sends nothing; None:
        all in order."""
        source = self.layouts[term.source]
        sent = np.full(port.size, -1)
        places = np.arange(port.size) if term.dst is None else term.dst
        sent[places] = np.arange(term.source.size) if term.src is None else term.src
        at = sent[layout.places()]
        if source.order is not None:
            back = np.empty_like(source.order)
            back[source.order] = np.arange(source.order.size)
            at = np.where(at < 0, -1, back[at])
        return None if np.array_equal(at, np.arange(term.source.size)) else at

    # -- nodes and edges ---------------------------------------------------------------------------

    def _place(self, p: Any) -> None:
        """The nodes of a leaf."""
        self.first = getattr(self, "first", {})
        self.last = getattr(self, "last", {})
        made, name, out = self.made[p], self.called[p], p.out_ports[0]
        if made.back:
            self.first[p] = self.last[p] = name
            return
        layout = self.layouts[out]
        before = ""
        for end, kind, params in made.nodes:
            at = self._free(f"{name}{end}", self.taken) if end else name
            if kind == "Conv2d":
                kind, params = pooled(self._kernel(p, params["weight"]))
            elif kind != "Linear":
                params = {n: layout.array(v, out.shape) for n, v in params.items()}
            self.nodes[at] = Node(kind, params)
            if before:
                self.edges.append(Edge(before, at, None))
            else:
                self.first[p] = at
            before = at
        self.last[p] = before
        if made.notes:
            self.notes[before] = made.notes

    def _kernel(self, p: proc.Conv, weight: np.ndarray) -> dict[str, Any]:
        """A convolution of (a, b, channel) as NIR's correlation of (channel, height, width)."""
        places = self.layouts[p.a_out]
        turn = places.order is not None and np.array_equal(
            places.order, turned(p.a_out.shape, AXES[0]).places()
        )
        flip = (lambda pair: tuple(pair)[::-1]) if turn else tuple
        return {
            "weight": np.ascontiguousarray(
                weight.transpose((0, 3, 2, 1) if turn else (0, 3, 1, 2))
            ),
            "bias": np.zeros(weight.shape[0]),
            "stride": flip(p.stride),
            "padding": flip(p.padding),
            "dilation": flip(p.dilation),
            "groups": p.groups,
            "input_shape": self.layouts[p.s_in].shape[1:],
        }

    def _hear(self, port: Port, target: str, scale: float) -> None:
        """Edges of what a port hears."""
        layout = self.layouts[port]
        terms = self.terms.get(port)
        if port in self.inputs:
            self.edges.append(Edge(self.inputs[port], target, None))
            return
        if terms is None:  # an Output that is a leaf's own port
            self.edges.append(Edge(self.last[port.process], target, None))
            return
        for term in terms:
            sender = term.source.process
            if isinstance(sender, Constant):
                self._constant(term, port, target, layout, scale)
                continue
            source = self.inputs.get(term.source) or self.last[sender]
            if scale != 1:
                self._rescale(source, scale)
            at = self._map(term, port, layout)
            self._edge(source, target, at, self.layouts[term.source], layout, port, sender)

    def _edge(
        self,
        source: str,
        target: str,
        at: np.ndarray | None,
        sent: Layout,
        heard: Layout,
        port: Port,
        sender: Any,
    ) -> None:
        node = self.nodes.get(target)
        if at is not None and node is not None and node.type == "Linear" and self._alone(port):
            weight = node.params["weight"]  # a matrix may as well hear its inputs in another order
            if (at >= 0).all() and len(np.unique(at)) == at.size == math.prod(sent.shape):
                self.nodes[target] = Node("Linear", {"weight": weight[:, np.argsort(at)]})
                at = None
        flat = level(sent.shape)
        if at is not None:
            if at.size * flat.shape[0] > MAX_SELECTION:
                raise self.fail(
                    port.process or self.process,
                    port.name,
                    f"hears {flat.shape[0]} numbers of {source!r} in another order, or some of them",
                    "NIR has no such view: connect whole ports",
                )
            select = np.zeros((at.size, flat.shape[0]))
            there = np.flatnonzero(at >= 0)
            select[there, at[there]] = 1
            source, sent = self._through(source, sent, flat), flat
            name = self._free(f"{source}.view", self.taken)
            self.nodes[name] = Node("Linear", {"weight": select})
            self.edges.append(Edge(source, name, None))
            source, sent = name, Layout((at.size,))
        if sent.shape != heard.shape:
            if len(heard.shape) != 1:
                raise self.fail(
                    port.process or self.process,
                    port.name,
                    f"takes shape {heard.shape}, and {sent.shape} is sent",
                    "NIR has Flatten and no other change of shape",
                )
            source = self._through(source, sent, heard)
        self.edges.append(Edge(source, target, None))

    def _alone(self, port: Port) -> bool:
        return len(self.terms[port]) == 1

    def _through(self, source: str, sent: Layout, flat: Layout) -> str:
        """A Flatten behind ``source``."""
        if sent.shape == flat.shape:
            return source
        name = f"{source}.flatten"
        if name not in self.nodes:
            self.nodes[name] = Node(
                "Flatten", {"start_dim": 0, "end_dim": -1, "input_type": sent.shape}
            )
            self.taken.add(name)
            self.edges.append(Edge(source, name, None))
        return name

    def _rescale(self, name: str, scale: float) -> None:
        self.scaled = getattr(self, "scaled", {})
        if self.scaled.setdefault(name, scale) != scale:
            raise NirError(
                "to_nir",
                name,
                "weight",
                "is heard by neurons in different units",
                "use one of them",
            )
        node = self.nodes[name]
        if not node.metadata.get("scaled"):
            self.nodes[name] = Node(
                node.type,
                {**node.params, "weight": node.params["weight"] * scale},
                {"scaled": True},
            )

    # -- biases ------------------------------------------------------------------------------------

    def _constant(self, term: Any, port: Port, target: str, layout: Layout, scale: float) -> None:
        source: Any = term.source.process
        value = np.broadcast_to(source.value.get(), source.s_out.shape).reshape(-1)
        full = np.zeros(port.size)
        full[slice(None) if term.dst is None else term.dst] = (
            value if term.src is None else value[term.src]
        ) * scale
        starts = np.unique(np.broadcast_to(source.start.get(), source.s_out.shape))
        if len(starts) > 1:
            raise self.fail(source, "start", "differs from element to element", "give one")
        self.constants = getattr(self, "constants", [])
        self.constants.append((target, layout.array(full, (port.size,)), int(starts[0])))

    def _biases(self) -> None:
        """Biases into the connections before them."""
        self.begins: dict[str, int] = {}
        wanted = list(getattr(self, "constants", []))
        for p, made in self.made.items():
            if made.begins is not None and made.bias is None:
                self.begins[self.last[p]] = made.begins
            if made.bias is not None:
                bias = self.layouts[p.out_ports[0]].array(made.bias, p.out_ports[0].shape)
                wanted.append((self.first[p], bias, made.begins or 0))
        for target, bias, begins in wanted:
            if np.any(bias):
                self._bias(target, bias, begins)

    def _bias(self, target: str, bias: np.ndarray, begins: int) -> None:
        """Add a bias that acts after step ``begins`` to what ``target`` hears: in the node of a
        connection, which must begin to send then, or in one of its own."""
        later = {self.last[p]: m.delay for p, m in self.made.items()}
        for e in self.edges:
            sender = self.nodes.get(e.source)
            if e.target != target or sender is None:
                continue
            begin = begins - later.get(e.source, 0)
            if [x.source for x in self.edges].count(e.source) != 1 or begin < 0:
                continue
            if self.begins.get(e.source, begin) != begin:
                continue
            if sender.type in ("Linear", "Affine"):
                old = sender.params.get("bias", 0.0)
                self.nodes[e.source] = Node(
                    "Affine", {"weight": sender.params["weight"], "bias": old + bias.reshape(-1)}
                )
                self.begins[e.source] = begin
                return
            if sender.type == "Conv2d":
                each = bias.reshape(bias.shape[0], -1)
                if (each == each[:, :1]).all():
                    self.nodes[e.source] = Node(
                        "Conv2d", {**sender.params, "bias": sender.params["bias"] + each[:, 0]}
                    )
                    self.begins[e.source] = begin
                    return
        if bias.ndim != 1 or bias.size**2 > MAX_SELECTION:
            raise NirError(
                "to_nir",
                target,
                "bias",
                "differs within a channel, or has no connection to stand in",
                "give it to the neurons, or one a channel",
            )
        name = self._free(f"{target}.bias", self.taken)
        self.nodes[name] = Node("Affine", {"weight": np.eye(bias.size), "bias": bias.copy()})
        for e in self.edges:
            if e.target == target:
                e.target = name
        self.edges.append(Edge(name, target, None))
        self.begins[name] = begins

    # -- time --------------------------------------------------------------------------------------

    def _timed(self) -> Graph:
        """The graph: without what only delays, and with Delay nodes where lags differ."""
        later = {self.last[p]: m.delay for p, m in self.made.items() if not m.back and m.delay}
        passing = {self.called[p]: m.delay for p, m in self.made.items() if m.back}
        edges = self._contracted(passing)
        plain_edges = [(e.source, e.target) for e in edges]
        ends = {"Input": 0, "Output": 2}  # found in this order, whatever they are called
        names = sorted(self.nodes, key=lambda n: ends.get(self.nodes[n].type, 1))
        graph = Graph({n: self.nodes[n] for n in names}, plain_edges, {}, "to_nir")
        order, back = ordered(graph, self.dt)
        try:
            lag = self._lags(edges, later, back)
        except NirError:  # unless what delays stands where the step of a loop does
            lag = self._lags(edges, later, back, whole=True)
        lines: dict[tuple[str, int], str] = {}
        out: list[tuple[str, str]] = []
        nodes = {n: graph.nodes[n] for n in order}
        for e in edges:
            rest = lag[e.source] + self._steps(e, later) - self._implied(e, back) - lag[e.target]
            source = e.source
            if rest:
                if (source, rest) not in lines:
                    name = self._free(f"{source}.delay", self.taken)
                    lines[source, rest] = name
                    shape = graph.shapes()[source].output
                    nodes[name] = Node("Delay", {"delay": np.full(shape, rest * self.dt)})
                    out.append((source, name))
                source = lines[source, rest]
            out.append((source, e.target))
        for n, node in nodes.items():
            if isinstance(node, Node) and "scaled" in node.metadata:
                nodes[n] = Node(node.type, node.params)
        made = Graph.of(
            Graph(nodes, out, {"lavalike": self._metadata(lag)}, "to_nir"), source="to_nir"
        )
        made.shapes()
        return Graph(made.nodes, made.edges, made.metadata)

    def _contracted(self, passing: Mapping[str, int]) -> list[Edge]:
        """Edges without the nodes that only hand on, with the steps that those take."""
        edges = [e for e in self.edges if e.source not in passing]
        todo, out, guard = list(edges), [], 0
        while todo:
            e = todo.pop(0)
            if e.target not in passing:
                out.append(e)
                continue
            guard += 1
            if guard > 1 << 16:
                raise NirError(
                    "to_nir", e.target, "", "is a loop of delays", "put a neuron into it"
                )
            todo += [
                Edge(e.source, f.target, None, e.steps + passing[e.target])
                for f in self.edges
                if f.source == e.target
            ]
        position = {id(e): k for k, e in enumerate(self.edges)}
        return sorted(out, key=lambda e: position.get(id(e), len(position)))

    def _steps(self, e: Edge, later: Mapping[str, int]) -> int:
        return e.steps + later.get(e.source, 0)

    @staticmethod
    def _implied(e: Edge, back: set[tuple[str, str]]) -> int:
        return 1 if (e.source, e.target) in back else 0

    def _lags(
        self,
        edges: Sequence[Edge],
        later: Mapping[str, int],
        back: set[tuple[str, str]],
        whole: bool = False,
    ) -> dict[str, int]:
        """How many steps later the process does what the node does: as few as its senders allow,
        and no more than it may wait for its own drive. What delays is a Delay of the graph, or with
        ``whole`` such a lag, too."""
        lag: dict[str, float] = {
            n: 0 if node.type == "Input" else self.begins.get(n, math.inf)
            for n, node in self.nodes.items()
        }
        for turn in range(len(self.nodes) + 2):
            moved = False
            for e in edges:
                implied = self._implied(e, back)
                steps = later.get(e.source, 0) + (e.steps if implied or whole else 0) - implied
                if lag[e.source] + steps < lag[e.target]:
                    lag[e.target] = lag[e.source] + steps
                    moved = True
            if not moved:
                break
            if turn > len(self.nodes):
                raise NirError(
                    "to_nir",
                    e.target,
                    "edges",
                    "stands in loops that one step together delays, which NIR takes for one each",
                    "give the connections in the loops delay=1",
                )
        for n, begins in self.begins.items():
            if lag[n] != begins and not (lag[n] == math.inf):
                raise NirError(
                    "to_nir",
                    n,
                    "bias",
                    f"begins after step {begins}, and the first input comes after step {lag[n]:g}",
                    "NIR's neurons are driven from the first step on",
                )
        return {n: 0 if value == math.inf else int(value) for n, value in lag.items()}

    def _metadata(self, lag: Mapping[str, int]) -> dict[str, Any]:
        found: dict[str, Any] = {"dt": float(self.dt)}
        for name in ("reset", "late", "compare"):
            values = {n: note[name] for n, note in self.notes.items() if name in note}
            neutral = {"reset": "value", "late": False, "compare": ">"}[name]
            fires = [n for n, x in self.nodes.items() if "v_threshold" in x.params]
            kinds = {values.get(n, neutral) for n in fires}
            if len(kinds) > 1:
                n = next(n for n in fires if values.get(n, neutral) != neutral)
                raise NirError(
                    "to_nir",
                    n,
                    name,
                    f"is {values[n]!r} here and {neutral!r} elsewhere",
                    "NIR has no word for it, and one note for the graph: use one kind of neuron",
                )
            if kinds - {neutral}:
                (found[name],) = kinds
                warnings.warn(
                    f"to_nir: NIR cannot say {TOLD[name](found[name])}; metadata say it, which "
                    "netx.nir.from_nir reads and others do not",
                    NirWarning,
                    stacklevel=6,
                )
        if rounded(self.nodes.values(), self.dt):
            found["gain"] = "rounded"
        if self.hints:
            found["hints"] = self.hints
            warnings.warn(
                f"to_nir: {', '.join(self.hints)}: NIR cannot say what these do; metadata hint at it",
                NirWarning,
                stacklevel=6,
            )
        lags = {n: lag[n] for n, node in self.nodes.items() if node.type == "Output"}
        if any(lags.values()):
            found["lag"] = next(iter(lags.values())) if len(lags) == 1 else lags
        return found


def _listens(p: AbstractProcess) -> bool:
    """Whether a process only keeps what it hears."""
    return isinstance(p, proc.Recorder | proc.Monitor) or (
        not p.out_ports and type(p).__module__.startswith("lavalike.proc.io")
    )


def pooled(params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A convolution's type and parameters; one that adds up each channel by itself is a pool."""
    weight = params["weight"]
    channels, _, *kernel = weight.shape
    each = weight.flat[0]
    kinds = {1.0: "SumPool2d", 1.0 / math.prod(kernel): "AvgPool2d"}
    if (
        params["groups"] != channels
        or weight.shape[1] != 1
        or params["dilation"] != (1, 1)
        or each not in kinds
        or (weight != each).any()
    ):
        return "Conv2d", params
    return kinds[each], {
        "kernel_size": tuple(kernel),
        "stride": params["stride"],
        "padding": params["padding"],
    }


TOLD: dict[str, Callable[[Any], str]] = {
    "reset": lambda value: f"that a spike sets v by {value!r}",
    "late": lambda value: "that a reset comes one step after its spike",
    "compare": lambda value: "that v = threshold is a spike",
}


def reset_notes(
    reset: str, late: bool, kind: str, fail: Callable[[str, str, str], NirError]
) -> dict[str, Any]:
    """How a neuron of the step style resets, in words of a convention."""
    if reset == "none":
        raise fail("reset_mechanism", "is 'none'", f"a {kind} of NIR resets: take an integrator")
    return {"reset": "subtract" if reset == "subtract" else "value", "late": late}
