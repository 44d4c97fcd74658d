"""Nodes of a NIR graph as processes: numbers by algebra, loops by their edges.

What a node sends is a list of *terms*, views of ports that whoever hears the node adds up; a node
that computes nothing, as Flatten, hands on views of what it hears. Every edge that closes a loop
costs one step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavalike.dynamics.membrane import LEAKY, SYNAPTIC
from lavalike.proc import LIF, Conv, Delay, DelayLine, Dense, Sparse, nir
from lavalike.proc.custom import neuron_process
from lavalike.proc.io.source import Constant
from lavalike.process import AbstractProcess, InPort, OutPort
from lavalike.process.ports import Port, View, as_view
from netx.nir.convention import Convention
from netx.nir.graph import (
    NEURONS,
    Graph,
    NirWarning,
    Node,
    Shape,
    Shapes,
    components,
    pair,
    vector,
)

GRADED = 32  # bits of messages that count by their values
LEAKLESS = ("I", "IF")
CURRENT = ("CubaLI", "CubaLIF")
SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
FIRING = ("IF", "LIF", "CubaLIF")
THROUGH = ("Input", "Output", "Flatten", "Delay")  # they hand on what they hear
NEUTRAL = {"r": 1.0, "v_reset": 0.0}  # values of parameters that a convention may have no use for
WHOLE = 1e-6  # how far from a whole number of steps a delay may be, of itself
# a step of the style whose reset comes one step late, by whether the neuron has a current
LATE = {
    (kind, cuba): neuron_process((SYNAPTIC if cuba else LEAKY)[kind])
    for kind in ("subtract", "zero")
    for cuba in (False, True)
}


# -- numbers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """What a neuron computes with, arrays of its shape: ``keep``, ``gain`` and so on as
    :mod:`lavalike.dynamics.nir` names them.

    Attributes: ``values``; ``rates``, dt over the time constants of u (where there is one) and v;
    ``v``, at the start; ``unit``, whether an input counts as it is, to within the rounding of what
    the file holds; ``ignored``, the parameters that the convention has no use for and that are not
    neutral.
    """

    values: Mapping[str, np.ndarray]
    rates: Mapping[str, np.ndarray]
    v: np.ndarray
    unit: bool
    ignored: tuple[str, ...]


def numbers(
    graph: Graph, name: str, node: Node, shape: Shape, dt: float, convention: Convention
) -> Numbers:
    """The numbers of a neuron in steps of ``dt``.

    Raises NirError where a time constant is too short for the step.
    """
    p = {n: vector(node, n, shape) for n in node.params}
    for tau in (n for n in p if n.startswith("tau")):
        _stable(graph, name, tau, p[tau], dt, convention)
    zeros, ones = np.zeros(shape), np.ones(shape)
    ignored: list[str] = []
    v_leak = p.get("v_leak", zeros)
    rates = {
        state: dt / (p[tau] * convention.tau) if tau in p else zeros
        for state, tau in (("u", "tau_syn"), ("v", "tau_mem" if "tau_mem" in p else "tau"))
    }
    if node.type in CURRENT:
        keep_u, taken_u = convention.taken(rates["u"])
        keep, taken = convention.taken(rates["v"])
        jumps = convention.synapse == "jump"
        gains = [(ones if jumps else rates["u"]) * p["w_in"], rates["v"] * p["r"]]
        values = {"keep_u": keep_u, "gain_u": p["w_in"] if jumps else taken_u * p["w_in"]}
        values |= {"keep": keep, "gain": taken, "r": p["r"], "v_leak": v_leak}
        of_input = "gain_u"
    else:
        leaks = node.type not in LEAKLESS
        keep, taken = convention.taken(rates["v"]) if leaks else (ones, dt * ones)
        of_input = "gain"
        if convention.gain in ("nir", "rounded"):
            gain = taken * p["r"]
            gains = [rates["v"] * p["r"] if leaks else gain]
        else:
            ignored.append("r")
            gain = taken if convention.gain == "norse" and leaks else ones
            gains = [gain]
        values = {"keep": keep, "gain": gain, "drive": taken * v_leak}
    if node.type in FIRING:
        values["vth"] = held(p["v_threshold"])
        if convention.reset == "value":
            values["v_reset"] = p["v_reset"]
        else:
            ignored.append("v_reset")
            if convention.reset == "zero":
                values["v_reset"] = zeros
    start = {"zero": zeros, "leak": v_leak, "reset": p.get("v_reset", zeros)}[convention.v_init]
    told = [a for n, a in node.params.items() if n in ("r", "w_in") or n.startswith("tau")]
    single = any(np.asarray(a).dtype == np.float32 for a in told)
    close = 4 * np.finfo(np.float32 if single else np.float64).eps
    unit = [bool((np.abs(g - 1) <= close).all()) for g in gains]
    if convention.gain == "rounded" and unit[0]:
        values[of_input] = ones
    return Numbers(
        values, rates, start, all(unit), tuple(n for n in ignored if np.any(p[n] != NEUTRAL[n]))
    )


def held(threshold: np.ndarray) -> np.ndarray:
    """Thresholds as numbers that a Var holds in any dtype: the largest stands for infinity."""
    most = float(np.finfo(np.float32).max)
    return np.clip(threshold, -most, most)


def canonical(numbers: Numbers, cuba: bool, convention: Convention) -> dict[str, np.ndarray] | None:
    """The neuron as parameters of :class:`lavalike.proc.LIF`, which fixed_pt, .net files and chips
    have too, or None where it is no such neuron, to the last bit or as the convention says."""
    values, rates = numbers.values, numbers.rates
    exact = not cuba and bool((values["gain"] == 1).all())
    if (
        not (exact or (numbers.unit and convention.gain == "rounded"))
        or convention.integrator != "euler"
        or convention.reset == "subtract"
        or convention.compare != ">"
        or np.any(values["v_reset"] != 0)
        or any((rate > 1).any() for rate in rates.values())
    ):
        return None
    bias = values["gain"] * values["v_leak"] if cuba else values["drive"]
    du = rates["u"] if cuba else np.ones_like(bias)
    return {"du": du, "dv": rates["v"], "bias_mant": bias, "vth": values["vth"]}


def _stable(
    graph: Graph, name: str, tau: str, value: np.ndarray, dt: float, convention: Convention
) -> None:
    scaled = value * convention.tau
    least = dt / 2 if convention.integrator == "euler" else 0.0
    if not (scaled > least).all():
        bad = value[~(scaled > least)].flat[0]
        euler = least > 0 and bad > 0
        raise graph.error(
            name,
            tau,
            f"is {bad:g} s, "
            + (
                f"and a step of {dt:g} s of Euler's is stable above {least:g}"
                if euler
                else "no time"
            ),
            "take a shorter dt, or Convention(integrator='exp')"
            if euler
            else "time constants are above 0",
        )


def delays(graph: Graph, name: str, node: Node, shape: Shape, dt: float) -> np.ndarray:
    """The steps of a Delay node; NirError where they are not whole."""
    exact = vector(node, "delay", shape) / dt
    steps = np.rint(exact)
    off = np.abs(exact - steps) > WHOLE * np.maximum(1, steps)
    if off.any() or (steps < 0).any():
        bad = exact[off | (steps < 0)].flat[0]
        raise graph.error(
            name,
            "delay",
            f"is {bad * dt:g} s, {bad:g} steps of {dt:g} s",
            "delays are whole numbers of steps, at least 0: take a dt that divides them",
        )
    return steps.astype(np.int64)


def evenly(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """``values`` as one number each where all are the same for all neurons, else as arrays: a
    kernel is compiled for each mixture."""
    if all((a == a.flat[0]).all() for a in values.values()):
        return {n: float(a.flat[0]) for n, a in values.items()}
    return {n: np.ascontiguousarray(a) for n, a in values.items()}


# -- loops -----------------------------------------------------------------------------------------


def ordered(graph: Graph, dt: float) -> tuple[list[str], set[tuple[str, str]]]:
    """The nodes of a flat graph in the order of a step, and the edges back in it, found depth first
    from the Inputs along the edges as they stand.

    Raises NirError for a loop in which nothing takes time.
    """
    _takes_time(graph, dt)
    after: dict[str, list[str]] = {n: [] for n in graph.nodes}
    for a, b in dict.fromkeys(graph.edges):
        after[a].append(b)
    inputs = [
        n for n, node in graph.nodes.items() if isinstance(node, Node) and node.type == "Input"
    ]
    state: dict[str, bool] = {}  # False: below it is looked, True: done
    post: list[str] = []
    back: set[tuple[str, str]] = set()
    for root in (*inputs, *graph.nodes):
        if root in state:
            continue
        state[root] = False
        work = [(root, iter(after[root]))]
        while work:
            node, rest = work[-1]
            nxt = next(rest, None)
            if nxt is None:
                work.pop()
                state[node] = True
                post.append(node)
            elif nxt not in state:
                state[nxt] = False
                work.append((nxt, iter(after[nxt])))
            elif not state[nxt]:
                back.add((node, nxt))
    return post[::-1], back


def _takes_time(graph: Graph, dt: float) -> None:
    """NirError, which names it, for a loop without a neuron or a Delay."""
    timeless = {
        n
        for n, node in graph.nodes.items()
        if isinstance(node, Node)
        and node.type not in NEURONS
        and not (node.type == "Delay" and np.min(node.params["delay"]) >= dt / 2)
    }
    within = [(a, b) for a, b in graph.edges if a in timeless and b in timeless]
    for group in components(timeless, within):
        cycle = _cycle(min(group, key=list(graph.nodes).index), within, set(group))
        raise graph.error(
            cycle[0],
            "edges",
            f"the loop {' -> '.join(cycle)} has no neuron and no Delay, so no value follows from it",
            "put a Delay node of at least one step into it",
        )


def _cycle(start: str, edges: list[tuple[str, str]], group: set[str]) -> list[str]:
    """The shortest way from ``start`` back to it within a strongly connected ``group``."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for a, b in edges:
            if a == way[-1] and b in group and b not in seen:
                seen.add(b)
                ways.append([*way, b])
                if b == start:
                    return ways[-1]
    raise AssertionError("a strongly connected group has a cycle through each of its nodes")


# -- processes -------------------------------------------------------------------------------------


@dataclass
class Lowered:
    """A node as processes.

    Attributes: ``process``, what computes it, or None; ``hears``, the port that takes what arrives;
    ``turn``, what arrives as that port takes it; ``sends``, terms; ``sides``, processes beside it.
    """

    process: AbstractProcess | None = None
    hears: Port | None = None
    turn: Callable[[View], View] = field(default=lambda view: view)
    sends: list[View] = field(default_factory=list)
    sides: list[AbstractProcess] = field(default_factory=list)


class Lowering:
    """A flat graph as processes, connected by :meth:`wire`, before which ``inputs`` and ``outputs``
    become ports of a process.

    Attributes: ``layers``, the processes by the names of their nodes, in the order of a step;
    ``sides``, what stands beside them (biases, delays of loops, sums); ``inputs`` and ``outputs``,
    ports by the names of Input and Output nodes; ``order`` and ``back`` as :func:`ordered` tells.
    """

    def __init__(self, graph: Graph, dt: float, convention: Convention) -> None:
        self.graph, self.dt, self.convention = graph, dt, convention
        self.nodes = {n: node for n, node in graph.nodes.items() if isinstance(node, Node)}
        self.shapes: dict[str, Shapes] = graph.shapes()
        self.order, self.back = ordered(graph, dt)
        self.before: dict[str, list[str]] = {n: [] for n in self.nodes}
        for a, b in graph.edges:
            self.before[b].append(a)
        self.lowered: dict[str, Lowered] = {}
        self.layers: dict[str, AbstractProcess] = {}
        self.sides: list[AbstractProcess] = []
        self.sums: dict[str, View] = {}
        self.late: dict[str, Delay] = {}
        self.inputs = {n: InPort(self.shapes[n].output) for n in self.nodes_of("Input")}
        self.outputs = {n: OutPort(self.shapes[n].input) for n in self.nodes_of("Output")}

    def nodes_of(self, kind: str) -> list[str]:
        return [n for n, node in self.nodes.items() if node.type == kind]

    def wire(self) -> None:
        """Make the processes and connect them."""
        # what goes back arrives one step later; it is connected when its sender is there
        self.late = {a: Delay(shape=self.shapes[a].output) for a, _ in sorted(self.back)}
        self.sides += self.late.values()
        for name in self.order:
            self.lowered[name] = self.lower(name, self.nodes[name])
        for name, delay in self.late.items():
            for view in self.lowered[name].sends:
                self.connect(view, delay.s_in)

    def heard(self, name: str) -> list[str]:
        """The nodes that a node hears, in words."""
        counts: dict[str, int] = {}
        for a in self.before[name]:
            counts[a] = counts.get(a, 0) + 1
        return [
            f"{a}{f' x{k}' if k > 1 else ''}{' a step late' if (a, name) in self.back else ''}"
            for a, k in counts.items()
        ]

    # -- nodes -------------------------------------------------------------------------------------

    def lower(self, name: str, node: Node) -> Lowered:
        shape = self.shapes[name]
        kind = node.type
        if kind == "Input":
            made = self._input(name)
        elif kind == "Output":
            made = Lowered(hears=self.outputs[name])
        elif kind == "Flatten":
            made = Lowered(sends=[v.reshape(shape.output) for v in self.arriving(name)])
        elif kind in ("Affine", "Linear"):
            made = self._matrix(name, node)
        elif kind in ("Conv1d", "Conv2d"):
            made = self._convolution(name, node, shape)
        elif kind in ("SumPool2d", "AvgPool2d"):
            made = self._pool(name, node, shape)
        else:
            made = self._elementwise(name, node, shape.output)
        if made.process is not None:
            self.layers[name] = made.process
        self.sides += made.sides
        if made.hears is not None:
            for view in self.arriving(name):
                self.connect(made.turn(view), made.hears)
        return made

    def arriving(self, name: str) -> list[View]:
        """The terms that a node hears, edge by edge. A sum that is not the first one is added up
        by itself before, as rounding goes by order."""
        terms: list[View] = []
        for a in self.before[name]:
            if (a, name) in self.back:
                terms.append(as_view(self.late[a].a_out))
                continue
            sent = self.lowered[a].sends
            if terms and len(sent) > 1:
                if a not in self.sums:
                    self.sums[a] = self.copy(sent)
                sent = [self.sums[a]]
            terms += sent
        return terms

    def copy(self, terms: list[View]) -> View:
        """The sum of ``terms``, by a process of its own."""
        same = nir.Scale(shape=terms[0].shape)
        self.sides.append(same)
        for view in terms:
            self.connect(view, same.a_in)
        return as_view(same.s_out)

    def connect(self, view: View, port: Port) -> None:
        """Send ``view`` to ``port``, once more where it arrives there already: edges count."""
        (self.copy([view]) if port.connected(view) else view).connect(port)

    def _input(self, name: str) -> Lowered:
        if self.before[name]:
            raise self.graph.error(
                name, "edges", f"an Input hears {self.before[name][0]!r}", "an Input hears nobody"
            )
        return Lowered(sends=[as_view(self.inputs[name])])

    def _elementwise(self, name: str, node: Node, shape: Shape) -> Lowered:
        if node.type == "Scale":
            factor = evenly({"factor": vector(node, "scale", shape)})
            return _plain(nir.Scale(shape=shape, **factor))
        if node.type == "Threshold":
            return _plain(
                nir.Threshold(
                    shape=shape, **evenly({"vth": held(vector(node, "threshold", shape))})
                )
            )
        if node.type == "Delay":
            steps = delays(self.graph, name, node, shape, self.dt)
            line = DelayLine(shape=shape, delays=evenly({"": steps})[""])
            return Lowered(line, line.s_in, sends=[as_view(line.s_out)])
        neuron = self.neuron(name, node, shape)
        made = _plain(neuron)
        if node.type in CURRENT and self.convention.order == "old":
            # the current of the last step is that of an input one step later
            late = Delay(shape=shape)
            late.a_out.connect(neuron.a_in)
            made.hears = late.s_in
            made.sides.append(late)
        return made

    def neuron(self, name: str, node: Node, shape: Shape) -> Any:
        """The process of a neuron."""
        n = numbers(self.graph, name, node, shape, self.dt, self.convention)
        for parameter in n.ignored:
            warnings.warn(
                f"{self.graph.source}: {name}: {parameter}: this convention has no use for it, and it is "
                f"{np.ravel(node.params[parameter])[0]:g}; the network computes as if it were {NEUTRAL[parameter]:g}",
                NirWarning,
                stacklevel=8,
            )
        cuba, convention = node.type in CURRENT, self.convention
        values, start = evenly(n.values), evenly({"v": n.v})
        if node.type not in FIRING:
            integrator = nir.CubaLI if cuba else nir.LI
            return integrator(shape=shape, **values, **start)
        if convention.late:
            return self._late(name, n, cuba)
        form = canonical(n, cuba, convention)
        if form is not None:
            return LIF(shape=shape, **evenly(form), **start)
        made = nir.CubaLIF if cuba else nir.LIF
        return made(
            shape=shape,
            **values,
            **start,
            lower=convention.reset == "subtract",
            inclusive=convention.compare == ">=",
        )

    def _late(self, name: str, n: Numbers, cuba: bool) -> AbstractProcess:
        """A neuron whose reset happens one step later."""
        found = None
        if np.any(n.values["v_leak" if cuba else "drive"] != 0):
            found = "v_leak", "is not 0"
        elif np.any(n.values.get("v_reset", np.zeros(1)) != 0):
            found = "v_reset", "is not 0"
        elif not n.unit:
            found = "r", "gives the input another gain than 1"
        if found is not None:
            raise self.graph.error(
                name,
                *found,
                "snnTorch's neurons, whose reset is late, have none such; use Convention(late=False)",
            )
        names = {"keep": "beta", "vth": "vth"} | ({"keep_u": "alpha"} if cuba else {})
        values = evenly({to: n.values[own] for own, to in names.items()} | {"mem": n.v})
        reset = "subtract" if self.convention.reset == "subtract" else "zero"
        return LATE[reset, cuba](shape=n.v.shape, **values)

    def _matrix(self, name: str, node: Node) -> Lowered:
        weight: Any = node.params["weight"]
        bits = self.bits(name)
        made: Any
        if weight.ndim == 2:
            made = Dense(weights=weight, num_message_bits=bits, delay=0)
            turn: Callable[[View], View] = _as_is
        else:  # a matrix for each leading index: blocks of one
            from scipy.sparse import block_diag

            blocks = weight.reshape(-1, *weight.shape[-2:])
            made = Sparse(weights=block_diag(list(blocks), "csr"), num_message_bits=bits, delay=0)
            turn = View.flatten
        sent = as_view(made.a_out).reshape(self.shapes[name].output)
        return self.biased(node, Lowered(made, made.s_in, turn, [sent]))

    def _convolution(self, name: str, node: Node, shape: Shapes) -> Lowered:
        p: Any = node.params
        axes = len(shape.input) - 1
        weight = p["weight"]
        pad = p["padding"]
        stride, dilation = p["stride"], p["dilation"]
        if axes == 1:  # one row
            weight = weight[:, :, None]
            stride, dilation = (1, *stride), (1, *dilation)
        kernel = weight.shape[2:]
        cut = (0, 0)
        if isinstance(pad, str):
            if any(s != 1 for s in stride):
                raise self.graph.error(
                    name, "padding", f"is 'same' with stride {p['stride']}", "give it in numbers"
                )
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            # what is left over is padded at the end: one row more at both, and the first one cut
            pad, cut = [-(-t // 2) for t in total], tuple(t % 2 for t in total)
        elif axes == 1:
            pad = (0, *pad)
        # NIR's kernel is a correlation's on (C, H, W); ours a convolution's on (H, W, C)
        flipped = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)[:, ::-1, ::-1])
        size = shape.input if axes == 2 else (shape.input[0], 1, shape.input[1])
        return self.biased(
            node, self._conv(name, flipped, size, pad, stride, dilation, p["groups"], cut, shape)
        )

    def _pool(self, name: str, node: Node, shape: Shapes) -> Lowered:
        p: Any = node.params
        kernel = pair(p["kernel_size"])
        one = 1.0 if node.type == "SumPool2d" else 1.0 / (kernel[0] * kernel[1])
        channels = shape.input[0]
        weight = np.full((channels, *kernel, 1), one)
        return self._conv(
            name, weight, shape.input, p["padding"], p["stride"], (1, 1), channels, (0, 0), shape
        )

    def _conv(
        self,
        name: str,
        weight: np.ndarray,
        size: Shape,
        padding: Any,
        stride: Any,
        dilation: Any,
        groups: int,
        cut: tuple[int, ...],
        shape: Shapes,
    ) -> Lowered:
        made = Conv(
            weight=weight,
            input_shape=(*size[1:], size[0]),
            padding=pair(padding),
            stride=pair(stride),
            dilation=pair(dilation),
            groups=groups,
            num_message_bits=self.bits(name),
            delay=0,
        )
        sent = as_view(made.a_out)
        if any(cut):
            sent = sent[cut[0] :, cut[1] :]
        sent = sent.transpose((2, 0, 1)).reshape(shape.output)
        return Lowered(
            made, made.s_in, lambda view: view.reshape(size).transpose((1, 2, 0)), [sent]
        )

    def biased(self, node: Node, made: Lowered) -> Lowered:
        """``made`` with the node's bias as a further term, unless all of it is 0."""
        bias: Any = node.params.get("bias")
        if bias is not None and np.any(bias):
            (sent,) = made.sends
            if node.type.startswith("Conv"):
                bias = bias.reshape(-1, *(1,) * (len(sent.shape) - 1))
            value = np.broadcast_to(np.asarray(bias, np.float64), sent.shape)
            constant = Constant(shape=sent.shape, value=np.ascontiguousarray(value))
            made.sides.append(constant)
            made.sends.append(as_view(constant.s_out))
        return made

    # -- messages ----------------------------------------------------------------------------------

    def bits(self, name: str) -> int:
        """0 where only spikes arrive, one at a time."""
        return 0 if self._spikes(self.before[name]) else GRADED

    def _spikes(self, senders: list[str]) -> bool:
        while len(senders) == 1:
            kind = self.nodes[senders[0]].type
            if kind not in THROUGH:
                return kind in SPIKING
            senders = self.before[senders[0]]
        return False


def _plain(process: Any) -> Lowered:
    return Lowered(process, process.a_in, sends=[as_view(process.s_out)])


def _as_is(view: View) -> View:
    return view
