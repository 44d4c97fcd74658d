"""A loop of steps with its time folded: ``accelerate(net, loss, optimizer)``, what poptorch.trainingModel was on the IPU.

The network's forward is recorded once for a shape of input (:mod:`lavalike.snn.record`) and then run with time as an
axis: what is the same in every step is computed once, layers see all steps as one batch, neurons run their fused loops,
a constant input is read once. The numbers are those of the loop up to the order of float sums.
"""

from __future__ import annotations

import functools
import numbers
import subprocess
import sys
from collections.abc import Callable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from lavalike.errors import InputError
from lavalike.fused import products
from lavalike.snn.neuron import Neuron, reset
from lavalike.snn.record import RUNNING, Node, Record, Symbol, leaves

SPATIAL = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3,
           torch.conv_transpose1d: 1, torch.conv_transpose2d: 2, torch.conv_transpose3d: 3,
           functional.max_pool1d: 1, functional.max_pool2d: 2, functional.max_pool3d: 3,
           functional.avg_pool1d: 1, functional.avg_pool2d: 2, functional.avg_pool3d: 3,
           functional.adaptive_avg_pool1d: 1, functional.adaptive_avg_pool2d: 2, functional.adaptive_max_pool2d: 2}
MULTIPLY = {"linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum",
            "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


class Group:
    """The same operation, or the same neuron, in every step, one node each.

    ``serial``: its steps are done one after the other, because they need one another or differ in an argument.
    """

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.first = nodes[0]
        self.serial = False


class Plan:
    """A recorded network, in an order in which it can be run over all steps at once.

    Attributes: ``steps``, how many; ``serial``, the lines that are done step by step all the same.
    """

    def __init__(self, nodes: list[Node], inputs: list[Any], output: Any) -> None:
        self.inputs, self.output = inputs, output
        self.nodes = _needed(nodes, output)
        self.chains = self._chains()
        self.steps = len(self.chains[0])
        self.groups: dict[Node, Group] = {}
        self._find_groups()
        self.order = self._order()
        self.serial = tuple(dict.fromkeys(g.first.line for g in self.groups.values() if g.serial))
        self.recorded = {chain[0]: self._read(chain) for chain in self.chains}

    # -- neurons -----------------------------------------------------------------------------------------------------

    def _chains(self) -> list[list[Node]]:
        """The steps of each neuron, found by the states it passes on."""
        chain_of: dict[Node, list[Node]] = {}
        chains: list[list[Node]] = []
        for node in self.nodes:
            if not node.neuron:
                continue
            before = self._before(node)
            if before is None:
                chain: list[Node] = []
                chains.append(chain)
            else:
                chain = chain_of[before]
                if chain[-1] is not before:
                    raise InputError(f"accelerate: {node.name}: the states given are older than the last step\n  {node.line}")
            chain.append(node)
            chain_of[node] = chain
        if not chains:
            raise InputError("accelerate: the network calls no neuron of lavalike.snn")
        begun: dict[Any, Node] = {}
        for chain in chains:
            first = chain[0]
            if begun.setdefault((first.function, first.site), first) is not first:
                raise InputError(f"accelerate: {first.name} begins anew in every step; give it the states that it returned in the step "
                                 f"before, as they are\n  {first.line}")
        if len({len(c) for c in chains}) != 1:
            each = "".join(f"\n  {c[0].name} {len(c)} times: {c[0].line}" for c in chains)
            raise InputError(f"accelerate: all neurons take the same number of steps; here{each}")
        return chains

    def _before(self, node: Node) -> Node | None:
        """The step whose states this one is given."""
        names = node.function.state_names
        owners = [s.node if isinstance(s, Symbol) and s.node is not None and s.node.neuron else None for s in node.args[1:]]
        for name, s, owner in zip(names, node.args[1:], owners, strict=True):
            if owner is None:
                continue
            if owner.function is not node.function:
                raise InputError(f"accelerate: {node.name}: for its state {name} it is given what another neuron ({owner.line}) returned"
                                 f"\n  {node.line}")
            if s is not owner.outputs[1 + names.index(name)]:
                got = (f"its {names[s.index - 1]}" if s.index else "its output")
                raise InputError(f"accelerate: {node.name}: for its state {name} it is given {got}\n  {node.line}")
        if any(o is not owners[0] for o in owners):
            raise InputError(f"accelerate: {node.name}: its states are of different steps, or some begin anew\n  {node.line}")
        return owners[0]

    def _read(self, chain: list[Node]) -> tuple[str, ...]:
        """States that something else than the neuron itself reads."""
        own = set(chain)
        read = [s for n in self.nodes if n not in own for s in leaves((n.args, n.kwargs))] + leaves(self.output)
        used = {s.index for s in read if isinstance(s, Symbol) and s.node in own}
        return tuple(n for k, n in enumerate(chain[0].function.state_names, 1) if k in used)

    # -- which nodes are one operation over time -----------------------------------------------------------------

    def _find_groups(self) -> None:
        for chain in self.chains:
            self._add(chain)
        if self.steps == 1:
            return
        # Guesses of what belongs together: what a group's nodes are given decides afterwards how it is run.
        sites: dict[Any, list[Node]] = {}
        for node in self.nodes:
            if not node.neuron:
                sites.setdefault((node.site, node.function), []).append(node)
        for nodes in sites.values():
            if len(nodes) == self.steps:
                for t, node in enumerate(nodes):
                    node.step = t
        for node in self.nodes:
            steps = [self._step_of(s) for s in leaves((node.args, node.kwargs)) if isinstance(s, Symbol)]
            if node.step is None:
                node.step = max((t for t in steps if t is not None), default=None)
        for nodes in sites.values():
            each = len(nodes) // self.steps
            if each * self.steps != len(nodes):
                continue
            rows: list[list[Node]] = [[] for _ in range(self.steps)]
            for node in nodes:
                rows[node.step or 0].append(node)
            if any(len(r) != each for r in rows):  # in the order of time
                rows = [nodes[t * each : (t + 1) * each] for t in range(self.steps)]
            for column in zip(*rows, strict=True):
                self._add(list(column))

    def _add(self, nodes: list[Node]) -> None:
        for t, node in enumerate(nodes):
            node.step = t
        group = Group(nodes)
        self.groups.update(dict.fromkeys(nodes, group))

    def _step_of(self, symbol: Symbol) -> int | None:
        """The step a value belongs to, if any; of a value cut from a tensor, which part it is."""
        node = symbol.node
        if node is None:
            return None
        return symbol.index if node.step is None and self.steps <= len(node.outputs) > 1 and symbol.index < self.steps else node.step

    def aligned(self, values: Sequence[Any]) -> tuple[str, Any]:
        """What one place among the arguments of an operation holds over the steps: ("same", value), ("sequence", (group, output)),
        ("parts", node), its outputs in order, ("gathered", symbols), ("constants", tensors) or ("different", None)."""
        first = values[0]
        if all(v is first for v in values):
            return "same", first
        if all(isinstance(v, Symbol) and v.node is not None for v in values):
            group = self.groups.get(first.node)
            if group is not None and all(v.node is n and v.index == first.index for v, n in zip(values, group.nodes, strict=True)):
                return "sequence", (group, first.index)
            if group is None and all(v.node is first.node and v.index == k for k, v in enumerate(values)):
                return "parts", first.node
            if len({(v.node.site, v.node.function, v.index) for v in values}) == 1:  # of one operation, in some other order
                return "gathered", list(values)
            return "different", None
        if any(isinstance(v, torch.Tensor) for v in values):
            alike = (all(isinstance(v, torch.Tensor) and not isinstance(v, Symbol) for v in values)
                     and len({(v.shape, v.dtype) for v in values}) == 1)
            return ("constants", list(values)) if alike else ("different", None)
        return ("same", first) if all(type(v) is type(first) and v == first for v in values) else ("different", None)

    def inputs_of(self, group: Group) -> list[tuple[str, Any]] | None:
        """For every leaf of the arguments, how it goes on over the steps; None where the steps do not have the same leaves."""
        rows = [leaves((n.args, n.kwargs)) for n in group.nodes]
        if len({len(r) for r in rows}) != 1 or len({n.grad for n in group.nodes}) != 1:
            return None
        return [self.aligned(column) for column in zip(*rows, strict=True)]

    def cut_of(self, group: Group) -> tuple[Any, int, int] | None:
        """(x, axis, begin) where the steps are ``x[t]``, ``x[:, t]``, ``x.select(axis, t)`` of one x, in order."""
        if group.first.name not in ("__getitem__", "select"):
            return None
        kind, x = self.aligned([n.args[0] for n in group.nodes])
        places = [_place(n) for n in group.nodes]
        if kind != "same" or places[0] is None or places[0][1] < 0:
            return None
        axis, begin = places[0]
        return (x, axis, begin) if places == [(axis, begin + t) for t in range(len(places))] else None

    # -- an order ----------------------------------------------------------------------------------------------------

    def _needs(self, item: Group | Node) -> list[Group | Node]:
        """What must have run before."""
        nodes = item.nodes if isinstance(item, Group) else [item]
        values = [v for n in nodes for v in leaves((n.args[:1] if n.neuron and n.step else n.args, n.kwargs))]
        return list(dict.fromkeys(self._item(v.node) for v in values if isinstance(v, Symbol) and v.node is not None))

    def _item(self, node: Node) -> Group | Node:
        group = self.groups.get(node)
        return node if group is None or group.serial else group

    def _order(self) -> list[Group | Node]:
        for group in dict.fromkeys(self.groups.values()):
            if group.first.neuron:
                self._check_input(group)
            elif self.cut_of(group) is None:
                inputs = self.inputs_of(group)
                group.serial = inputs is None or any(kind == "different" for kind, _ in inputs)
        while True:
            items = dict.fromkeys(self._item(n) for n in self.nodes)
            try:
                return list(TopologicalSorter({i: self._needs(i) for i in items}).static_order())
            except CycleError as e:
                cycle = [i for i in e.args[1] if isinstance(i, Group)]
            if any(g.first.neuron for g in cycle):
                lines = "\n  ".join(dict.fromkeys(g.first.line for g in cycle))
                raise InputError("accelerate: this goes back into the next step; only a neuron's own states may (RLeaky and RSynaptic have "
                                 f"recurrence of their own)\n  {lines}")
            for group in cycle:
                group.serial = True

    def _check_input(self, group: Group) -> None:
        values = [n.args[0] for n in group.nodes]
        if self.aligned(values)[0] == "different":
            lines = dict.fromkeys(v.node.line for v in values if isinstance(v, Symbol) and v.node is not None)
            raise InputError(f"accelerate: {group.first.name}: its input is not made by the same operation in every step\n"
                             f"  {group.first.line}\nmade by\n  " + "\n  ".join(list(lines)[:4]))


def _needed(nodes: list[Node], output: Any) -> list[Node]:
    """The nodes that the output needs, neurons, and those that count their calls."""
    needed: set[Node] = set()
    roots = {s.node for s in leaves(output) if isinstance(s, Symbol)}
    for node in reversed(nodes):
        if node in needed or node in roots or node.neuron or node.name in RUNNING or node.name == "add_":
            needed.add(node)
            needed |= {s.node for s in leaves((node.args, node.kwargs)) if isinstance(s, Symbol) and s.node is not None}
    return [n for n in nodes if n in needed]


def _place(node: Node) -> tuple[int, int] | None:
    """(axis, index) of ``x[..., index, ...]`` or ``x.select(axis, index)``."""
    if node.name == "select":
        axis, index = (*node.args[1:], *node.kwargs.values()) if len(node.args) + len(node.kwargs) == 3 else (None, None)
        return (axis, index) if isinstance(axis, int) and isinstance(index, int) else None
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    at = [k for k, i in enumerate(index) if isinstance(i, numbers.Integral) and not isinstance(i, bool)]
    if len(at) != 1 or any(not (i is Ellipsis or (isinstance(i, slice) and i == slice(None))) for k, i in enumerate(index) if k != at[0]):
        return None
    from_the_end = any(i is Ellipsis for i in index[:at[0]])
    return at[0] - len(index) if from_the_end else at[0], int(index[at[0]])


class _Run:
    """One pass through a plan. Products and neurons are in ``narrow`` (bfloat16), if given."""

    def __init__(self, plan: Plan, inputs: Sequence[Any], narrow: torch.dtype | None) -> None:
        self.plan, self.narrow = plan, narrow
        self.given = {id(s): v for s, v in zip(plan.inputs, inputs, strict=True) if isinstance(s, Symbol)}
        self.sequences: dict[tuple[Group, int], torch.Tensor] = {}
        self.single: dict[tuple[Node, int], torch.Tensor] = {}
        self._steps: dict[tuple[Group, int], tuple[torch.Tensor, ...]] = {}
        self._narrowed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def result(self) -> Any:
        for item in self.plan.order:
            with torch.set_grad_enabled(torch.is_grad_enabled() and (item.first if isinstance(item, Group) else item).grad):
                if isinstance(item, Node):
                    self._node(item)
                elif item.first.neuron:
                    self._neuron(item)
                else:
                    self._group(item)
        return self._filled(self.plan.output)

    # -- values ------------------------------------------------------------------------------------------------------

    def _value(self, symbol: Symbol) -> torch.Tensor:
        """What a symbol stands for."""
        node = symbol.node
        if node is None:
            return self.given[id(symbol)]
        if (node, symbol.index) in self.single:
            return self.single[node, symbol.index]
        key = self.plan.groups[node], symbol.index
        if key not in self._steps:  # cut once: a cut for each step would cost the square of their number backward
            self._steps[key] = _wide(self.sequences[key]).unbind(0)
        return self._steps[key][node.step]  # type: ignore[index]

    def _filled(self, value: Any) -> Any:
        """``value`` with its symbols replaced."""
        if isinstance(value, list | tuple):
            items = [self._filled(v) for v in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, dict):
            return {k: self._filled(v) for k, v in value.items()}
        return self._value(value) if isinstance(value, Symbol) else value

    def _over_time(self, kind: str, what: Any) -> Any:
        """A value of all steps, time first; one that is the same in all of them as it is."""
        if kind == "same":
            return self._value(what) if isinstance(what, Symbol) else what
        if kind == "constants":
            return torch.stack(what)
        if kind == "gathered":
            return torch.stack([self._value(s) for s in what])
        if kind == "parts":
            return torch.stack([self.single[what, k] for k in range(self.plan.steps)])
        group, index = what
        if what not in self.sequences:
            self.sequences[what] = torch.stack([self.single[n, index] for n in group.nodes])
        return self.sequences[what]

    def _narrow(self, x: Any) -> Any:
        if self.narrow is None or not isinstance(x, torch.Tensor) or x.dtype != torch.float32:
            return x
        if id(x) not in self._narrowed:
            self._narrowed[id(x)] = x, x.to(self.narrow)
        return self._narrowed[id(x)][1]

    # -- operations ----------------------------------------------------------------------------------------------------

    def _node(self, node: Node) -> None:
        if node.function is torch.stack and len(node.args) + len(node.kwargs) <= 2 and isinstance(node.args[0], list | tuple):
            items = node.args[0]
            kind, what = self.plan.aligned(items) if len(items) == self.plan.steps else ("different", None)
            if kind == "sequence" and not what[0].serial:
                dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
                self.single[node, 0] = _wide(self.sequences[what]).movedim(0, dim)
                return
        args, kwargs = self._filled(node.args), self._filled(node.kwargs)
        if node.name in MULTIPLY:
            args, kwargs = tree_map(self._narrow, args), tree_map(self._narrow, kwargs)
        out = _linear(*args, **kwargs) if node.function is functional.linear else node.function(*args, **kwargs)
        for k, v in enumerate([out] if node.single else out):
            self.single[node, k] = v

    def _group(self, group: Group) -> None:
        node, steps = group.first, self.plan.steps
        cut = self.plan.cut_of(group)
        if cut is not None:
            x, axis, begin = cut
            self.sequences[group, 0] = self._over_time("same", x).narrow(axis, begin, steps).movedim(axis, 0)
            return
        inputs = self.plan.inputs_of(group) or []
        values = [self._over_time(kind, what) for kind, what in inputs]
        moving = [kind != "same" for kind, _ in inputs]
        if node.name in MULTIPLY:
            values = [self._narrow(v) for v in values]

        def call(row: Sequence[Any]) -> Any:
            rest = iter(row)
            return node.function(*_refill(node.args, rest), **_refill(node.kwargs, rest))

        spatial = SPATIAL.get(node.function)
        if moving[:1] == [True] and not any(moving[1:]) and node.single and (spatial is not None or node.function is functional.linear):
            x = values[0]
            if spatial is None:
                out: Any = _linear(x, *values[1:])
            elif x.dim() == spatial + 3:
                out = call([x.flatten(0, 1), *values[1:]]).unflatten(0, x.shape[:2])
            else:  # without a batch: the steps are it
                out = call(values)
        elif node.name in RUNNING or not any(moving):  # running means, random numbers: one step after the other
            columns = [v.unbind(0) if m else [v] * steps for v, m in zip(values, moving, strict=True)]
            rows = [call(row) for row in zip(*columns, strict=True)] if columns else [call([]) for _ in range(steps)]
            out = torch.stack(rows) if node.single else [torch.stack(column) for column in zip(*rows, strict=True)]
        else:
            out = self._mapped(node, call, values, [k for k, m in enumerate(moving) if m])
        for k, v in enumerate([out] if node.single else out):
            self.sequences[group, k] = v

    def _mapped(self, node: Node, call: Callable[[Sequence[Any]], Any], values: list[Any], places: list[int]) -> Any:
        def one(*parts: torch.Tensor) -> Any:
            row = list(values)
            for k, p in zip(places, parts, strict=True):
                row[k] = p
            return call(row)

        try:
            return torch.vmap(one, randomness="different")(*(values[k] for k in places))
        except (RuntimeError, ValueError) as e:
            raise InputError(f"accelerate: {node.name} cannot be folded over time: {e}\n  {node.line}") from e

    def _neuron(self, group: Group) -> None:
        plan, node = self.plan, group.first
        kind, what = plan.aligned([n.args[0] for n in group.nodes])
        x = self._over_time(kind, what)
        if self.narrow is not None and x.dtype == torch.float32:
            x = x.to(self.narrow)
        states = [self._value(s) if isinstance(s, Symbol) else s for s in node.args[1:]]
        module: Neuron = node.function
        held = {"steps": plan.steps} if kind == "same" else {}
        outputs, _ = module.sequence(x.unsqueeze(0) if held else x, *states, record=plan.recorded[node], **held)
        self.sequences[group, 0] = outputs[module.dynamics.outputs[0]]
        for k, name in enumerate(module.state_names, 1):
            if name in outputs:
                self.sequences[group, k] = outputs[name]


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    if x.dim() == 1:
        return functional.linear(x, weight, bias)
    return products.linear(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


def _wide(x: torch.Tensor) -> torch.Tensor:
    """What leaves the loop leaves it in float32."""
    return x.float() if x.dtype == torch.bfloat16 else x


def _refill(template: Any, values: Any) -> Any:
    if isinstance(template, list | tuple):
        items = [_refill(v, values) for v in template]
        return type(template)(*items) if hasattr(template, "_fields") else type(template)(items)
    if isinstance(template, dict):
        return {k: _refill(v, values) for k, v in template.items()}
    return next(values)


class Accelerated:
    """A network with its time folded. ``output, loss = model(data, labels)`` is one training step; made by :func:`accelerate`."""

    def __init__(self, net: nn.Module, loss: Callable[..., torch.Tensor] | None, optimizer: torch.optim.Optimizer | None,
                 precision: str) -> None:
        if precision not in ("float32", "bfloat16"):
            raise InputError(f"accelerate: precision is 'float32' or 'bfloat16', got {precision!r}")
        self.net, self.loss, self.optimizer = net, loss, optimizer
        self.narrow = torch.bfloat16 if precision == "bfloat16" else None
        self._plans: dict[Any, tuple[Plan, list[torch.Tensor]]] = {}
        if self.narrow is not None:
            _try_bfloat16(next((p.device for p in net.parameters()), torch.device("cpu")))
        if optimizer is not None:
            _fuse(optimizer)
        if optimizer is None or not optimizer.state:
            _input_major(net)

    def plan(self, *inputs: Any) -> Plan:
        """How a call with inputs like these is run: recorded at the first one of their shapes, of ``net.train()`` or ``net.eval()``, and
        of the network's parameters and buffers."""
        strange = [type(x).__name__ for x in inputs if not isinstance(x, torch.Tensor | int | float | str | None)]
        if strange:
            raise InputError(f"accelerate: the network's inputs are tensors, numbers, strings or None; got {', '.join(strange)}")
        live = [*self.net.parameters(), *self.net.buffers()]
        key = (*(m.training for m in self.net.modules()), *map(id, live),
               *((x.shape, x.dtype, x.device) if isinstance(x, torch.Tensor) else x for x in inputs))
        if key not in self._plans:
            device = next((x.device for x in inputs if isinstance(x, torch.Tensor)), torch.device("cpu"))
            record = Record(device, live)
            symbols = [Symbol.make(x, None, 0) if isinstance(x, torch.Tensor) else x for x in inputs]
            reset(self.net)
            try:
                output = record.run(self.net, *symbols)
            finally:
                reset(self.net)
            self._plans[key] = Plan(record.nodes, symbols, output), live  # kept, so that ids stay theirs
        return self._plans[key][0]

    def forward(self, *inputs: Any) -> Any:
        """What the network returns for these inputs, differentiable."""
        return _Run(self.plan(*inputs), inputs, self.narrow).result()

    def __call__(self, data: torch.Tensor, labels: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """One training step: forward, loss, backward, and the optimizer's step if there is one. Returns (output, loss), detached."""
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
        if self.loss is None:
            output = self.forward(data, labels)
            if not isinstance(output, tuple) or len(output) != 2 or not isinstance(output[1], torch.Tensor) or output[1].numel() != 1:
                raise InputError("accelerate: without a loss the network's forward(data, labels) returns (output, loss); give accelerate "
                                 "the loss, or net.train()")
            output, loss = output
        else:
            output = self.forward(data)
            loss = self.loss(output, labels)
        loss.backward()
        if self.optimizer is not None:
            self.optimizer.step()
        return tree_map(lambda v: v.detach() if isinstance(v, torch.Tensor) else v, output), loss.detach()


TRIAL = """
import torch
for n in (64, 50):
    torch.nn.functional.linear(torch.ones(n, n, dtype=torch.bfloat16), torch.ones(n, n, dtype=torch.bfloat16))
"""


@functools.cache
def _bfloat16_problem() -> str:
    """What goes wrong in a bfloat16 product on this CPU; nothing if nothing does.

    Tried once, in a process of its own: where AMX is announced but may not be used, products of whole tiles end the process, and others
    fail and leave oneDNN unable to do anything else.
    """
    done = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return f"ended by signal {-done.returncode}" if done.returncode < 0 else (done.stderr.strip().splitlines() or ["without a message"])[-1]


def _try_bfloat16(device: torch.device) -> None:
    problem = _bfloat16_problem() if device.type == "cpu" else ""
    if problem:
        raise InputError("accelerate: precision 'bfloat16' cannot be had here: torch's bfloat16 product on the CPU fails "
                         f"({problem}). Where AMX is not usable set the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before "
                         "torch is imported; or take precision='float32'")


def _fuse(optimizer: torch.optim.Optimizer) -> None:
    """Let Adam, AdamW and SGD pass through memory once, where the user has not chosen otherwise and has not begun."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD) or optimizer.state:
        return
    for group in optimizer.param_groups:
        fits = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in group["params"])
        if fits and group["fused"] is None and group["foreach"] is None and not group["differentiable"]:
            group["fused"] = True


def _input_major(net: nn.Module) -> None:
    """Lay the weights of Linear out as products with spikes read them, a row an input; values, shapes and parameters stay."""
    for module in net.modules():
        if type(module) is nn.Linear and module.out_features >= products.NARROW and module.weight.device.type == "cpu":
            module.weight.data = module.weight.data.t().contiguous().t()


def accelerate(net: nn.Module, loss: Callable[..., torch.Tensor] | None = None, optimizer: torch.optim.Optimizer | None = None,
               precision: str = "float32") -> Accelerated:
    """Fold the time of a network that loops over steps with neurons of :mod:`lavalike.snn`.

    ``net.forward`` is run once for each shape of input, on tensors without data, to record what it does; from then on only the recording
    is run. So what Python does in it is done once, and a changed attribute (``net.num_steps``) wants a new ``accelerate``.

    Args:
        net: its ``forward(data)`` (or ``forward(data, labels)`` returning (output, loss), where the loss is inside) takes the same
            steps whatever the values: layers from step to step feed forward, and only a neuron's own states go from
            one step to the next. Steps may be counted (``for step in range(T)``), or cut from the data (``for x in data``,
            ``data[t]``, ``data[:, t]``). Every call begins with the states that forward begins with; states that
            init_hidden keeps are forgotten.
        loss: ``loss(output, labels)``.
        optimizer: stepped in every call, if given. Adam, AdamW and SGD whose ``fused`` and ``foreach`` were left open are made
            ``fused=True``: the same numbers in one pass through memory. Unless it has begun, weights of Linear are laid out
            input-major in memory.
        precision: "float32", or "bfloat16" for matrix products, currents and spikes (states are float32 while time passes, and
            what the network returns is).

    Returns an object: ``output, loss = model(data, labels)`` trains a step; ``model.forward(data)`` only computes;
    ``model.plan(data).serial`` lists the lines that could not be folded but were harmless: sums over steps outside neurons and
    operations with another constant in every step, which are done step by step.

    Raises:
        InputError: naming the line, for what cannot be folded: in-place changes, questions about values (``if mem > 1``), other
            feedback between steps, steps that differ; for bfloat16 where torch cannot multiply it.
    """
    return Accelerated(net, loss, optimizer, precision)
