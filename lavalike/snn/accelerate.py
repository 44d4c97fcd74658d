"""A loop of steps with its time folded: ``accelerate(net, loss, optimizer)``, what
poptorch.trainingModel was on the IPU.

The network's forward is recorded once for a shape of input (:mod:`lavalike.snn.record`) and then
run with time as an axis: what is the same in every step is computed once, layers see all steps as
one batch, neurons run their fused loops, a constant input is read once. The numbers are those of
the loop up to the order of float sums.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import numbers
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from lavalike.arguments import FUNCTION, arguments, choice, instance, optional, shown
from lavalike.errors import InputError, kind_error
from lavalike.fused import products
from lavalike.snn import outside
from lavalike.snn.neuron import Neuron, reset
from lavalike.snn.record import RUNNING, Op, Record, Symbol, Value, argument, filled, leaves

SPATIAL = {
    torch.conv1d: 1,
    torch.conv2d: 2,
    torch.conv3d: 3,
    torch.conv_transpose1d: 1,
    torch.conv_transpose2d: 2,
    torch.conv_transpose3d: 3,
    functional.max_pool1d: 1,
    functional.max_pool2d: 2,
    functional.max_pool3d: 3,
    functional.avg_pool1d: 1,
    functional.avg_pool2d: 2,
    functional.avg_pool3d: 3,
    functional.adaptive_avg_pool1d: 1,
    functional.adaptive_avg_pool2d: 2,
    functional.adaptive_max_pool2d: 2,
}
MULTIPLY = {
    "linear",
    "bilinear",
    "matmul",
    "__matmul__",
    "__rmatmul__",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "einsum",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
}
UNBATCHED = {
    "binomial",
    "_standard_gamma",
    "_sample_dirichlet",
}  # vmap resizes their outputs, and says so
KEPT = 16  # that are kept, those used last


class Group:
    """The same operation, or the same neuron, in every step, one node each.

    ``serial``: its steps are done one after the other, because they need one another or differ in
    an argument. ``pieces`` of a neuron's steps, (begin, end, states that are cut off the graph
    before, with gradient), are sequences of their own.
    """

    def __init__(self, nodes: list[Op], cuts: Sequence[tuple[str, ...]] = ()) -> None:
        self.nodes = nodes
        self.first = nodes[0]
        self.serial = False
        self.grad = any(n.grad for n in nodes)
        begins = [
            t
            for t in range(len(nodes))
            if t == 0 or (cuts and cuts[t]) or nodes[t].grad != nodes[t - 1].grad
        ]
        self.pieces = [
            (a, b, cuts[a] if cuts else (), nodes[a].grad)
            for a, b in zip(begins, [*begins[1:], len(nodes)], strict=True)
        ]


class FoldedRun:
    """A recorded network, in an order in which it can be run over all steps at once.

    Attributes: ``steps``, how many; ``serial``, the lines that are done step by step all the same.
    """

    def __init__(
        self,
        nodes: list[Op],
        inputs: list[Any],
        output: Any,
        left: Sequence[tuple[nn.Module, str, Any]] = (),
        live: Sequence[torch.Tensor] = (),
    ) -> None:
        """``left``: attributes that the forward sets; ``live``: parameters and buffers, kept so
        that ids stay theirs."""
        self.inputs, self.output, self.left, self.live = (
            inputs,
            output,
            left,
            {id(t): t for t in live},
        )
        self.results = [output, *(value for _, _, value in left)]
        self.nodes = _needed(nodes, self.results)
        self.cuts: dict[Op, tuple[str, ...]] = {}
        self.chains = self._chains()
        self.steps = len(self.chains[0])
        self.groups: dict[Op, Group] = {}
        self._find_groups()
        self.before = self._counted_before()
        self.serial: tuple[str, ...] = ()
        self.unmapped: set[Group] = set()  # operations that torch has no batched form of
        self.order = self._order()
        self.list_serial(g.first.line for g in self.groups.values() if g.serial)
        self.recorded = {chain[0]: self._read(chain) for chain in self.chains}

    def list_serial(self, lines: Iterable[str]) -> None:
        self.serial = tuple(dict.fromkeys((*self.serial, *lines)))

    # -- neurons -----------------------------------------------------------------------------------

    def _chains(self) -> list[list[Op]]:
        """The steps of each neuron, found by the states it passes on."""
        chain_of: dict[Op, list[Op]] = {}
        chains: list[list[Op]] = []
        for node in self.nodes:
            if not node.neuron:
                continue
            before = self._before(node)
            if before is None:
                chain: list[Op] = []
                chains.append(chain)
            else:
                chain = chain_of[before]
                if chain[-1] is not before:
                    raise InputError(
                        f"accelerate: {node.name}: the states given are older than the last step\n  {node.line}"
                    )
            chain.append(node)
            chain_of[node] = chain
        if not chains:
            raise InputError("accelerate: the network calls no neuron of lavalike.snn")
        begun: dict[Any, Op] = {}
        for chain in chains:
            first = chain[0]
            other = begun.get((first.function, first.site))
            if (
                other is not None and len(chain) == 1 and other not in self._made_of(first)
            ):  # else layers that share the module
                raise InputError(
                    f"accelerate: {first.name} begins anew in every step; give it the states that it returned in the step "
                    f"before, as they are\n  {first.line}"
                )
            begun[first.function, first.site] = first
        if len({len(c) for c in chains}) != 1:
            each = "".join(f"\n  {c[0].name} {len(c)} times: {c[0].line}" for c in chains)
            raise InputError(f"accelerate: all neurons take the same number of steps; here{each}")
        return chains

    def _before(self, node: Op) -> Op | None:
        """The step whose states this one is given."""
        names = node.function.state_names
        owners: list[Op | None] = []
        cut = []
        for name, state in zip(names, node.args[1:], strict=True):
            s = state
            while isinstance(s, Value) and s.node is not None and s.node.name == "detach":
                s = s.node.args[0]
            owner = (
                s.node if isinstance(s, Value) and s.node is not None and s.node.neuron else None
            )
            owners.append(owner)
            if owner is None:
                if isinstance(s, Value) and s.node is not None:
                    self._check_begin(node, name, s.node)
                continue
            if owner.function is not node.function:
                raise InputError(
                    f"accelerate: {node.name}: for its state {name} it is given what another neuron ({owner.line}) returned"
                    f"\n  {node.line}"
                )
            if s is not owner.outputs[1 + names.index(name)]:
                got = f"its {names[s.index - 1]}" if s.index else "its output"
                raise InputError(
                    f"accelerate: {node.name}: for its state {name} it is given {got}\n  {node.line}"
                )
            if s is not state:
                cut.append(name)
        if any(o is not owners[0] for o in owners):
            raise InputError(
                f"accelerate: {node.name}: its states are of different steps, or some begin anew\n  {node.line}"
            )
        self.cuts[node] = tuple(cut)
        return owners[0]

    def _check_begin(self, node: Op, name: str, maker: Op) -> None:
        """A state that an operation made may be the first one, but not of the neuron's own of the
        step before."""
        if any(n.function is node.function for n in self._made_of(maker)):
            raise InputError(
                f"accelerate: {node.name}: its state {name} is changed between the steps by {maker.name}, which cannot "
                "be folded (only detach can): a neuron is given the states that it returned in the step before, as they are. "
                "A custom step is lavalike.snn.Neuron with a Dynamics; or train with the plain loop\n  "
                f"{maker.line}\n  {node.line}"
            )

    def _made_of(self, node: Op) -> set[Op]:
        """The neurons' steps that went into a node."""
        seen, queue = {node}, [node]
        while queue:
            for v in leaves((queue[-1].args, queue.pop().kwargs)):
                if isinstance(v, Value) and v.node is not None and v.node not in seen:
                    seen.add(v.node)
                    queue.append(v.node)
        return {n for n in seen if n.neuron} - ({node} if node.neuron else set())

    def _read(self, chain: list[Op]) -> tuple[str, ...]:
        """States that something else than the neuron itself reads."""
        own = set(chain)
        read = [s for n in self.nodes if n not in own for s in leaves((n.args, n.kwargs))] + leaves(
            self.results
        )
        used = {s.index for s in read if isinstance(s, Value) and s.node in own}
        return tuple(n for k, n in enumerate(chain[0].function.state_names, 1) if k in used)

    # -- which nodes are one operation over time ---------------------------------------------------

    def _find_groups(self) -> None:
        for chain in self.chains:
            self._add(chain, [self.cuts[n] for n in chain])
        if self.steps == 1:
            return
        # Guesses of what belongs together: what a group's nodes are given decides afterwards how it
        # is run.
        sites: dict[Any, list[Op]] = {}
        for node in self.nodes:
            if not node.neuron:
                sites.setdefault((node.site, node.function), []).append(node)
        for nodes in sites.values():
            if len(nodes) == self.steps:
                for t, node in enumerate(nodes):
                    node.step = t
        for node in self.nodes:
            steps = [
                self._step_of(s) for s in leaves((node.args, node.kwargs)) if isinstance(s, Value)
            ]
            if node.step is None:
                node.step = max((t for t in steps if t is not None), default=None)
        for nodes in sites.values():
            each = len(nodes) // self.steps
            if each * self.steps != len(nodes):
                continue
            rows: list[list[Op]] = [[] for _ in range(self.steps)]
            for node in nodes:
                rows[node.step or 0].append(node)
            if any(len(r) != each for r in rows):  # in the order of time
                rows = [nodes[t * each : (t + 1) * each] for t in range(self.steps)]
            for column in zip(*rows, strict=True):
                self._add(list(column))

    def _add(self, nodes: list[Op], cuts: Sequence[tuple[str, ...]] = ()) -> None:
        for t, node in enumerate(nodes):
            node.step = t
        group = Group(nodes, cuts)
        self.groups.update(dict.fromkeys(nodes, group))

    def _step_of(self, symbol: Value) -> int | None:
        """The step a value belongs to, if any; of a value cut from a tensor, which part it is."""
        node = symbol.node
        if node is None:
            return None
        return (
            symbol.index
            if node.step is None
            and self.steps <= len(node.outputs) > 1
            and symbol.index < self.steps
            else node.step
        )

    def aligned(self, values: Sequence[Any]) -> tuple[str, Any]:
        """What one place among the arguments of an operation holds over the steps: ("same", value),
        ("sequence", (group, output)), ("parts", node), its outputs in order, ("gathered", symbols),
        ("constants", tensors) or ("different", None)."""
        first = values[0]
        if all(v is first for v in values):
            return "same", first
        if all(isinstance(v, Value) and v.node is not None for v in values):
            group = self.groups.get(first.node)
            if group is not None and all(
                v.node is n and v.index == first.index
                for v, n in zip(values, group.nodes, strict=True)
            ):
                return "sequence", (group, first.index)
            if group is None and all(
                v.node is first.node and v.index == k for k, v in enumerate(values)
            ):
                return "parts", first.node
            if (
                len({(v.node.site, v.node.function, v.index) for v in values}) == 1
            ):  # of one operation, in some other order
                return "gathered", list(values)
            return "different", None
        if any(isinstance(v, torch.Tensor) for v in values):
            alike = (
                all(isinstance(v, torch.Tensor) for v in values)
                and len({(v.shape, v.dtype) for v in values}) == 1
            )
            return ("constants", list(values)) if alike else ("different", None)
        return (
            ("same", first)
            if all(type(v) is type(first) and v == first for v in values)
            else ("different", None)
        )

    def inputs_of(self, group: Group) -> list[tuple[str, Any]] | None:
        """For every leaf of the arguments, how it goes on over the steps; None where the steps do
        not have the same leaves."""
        rows = [leaves((n.args, n.kwargs)) for n in group.nodes]
        if len({len(r) for r in rows}) != 1 or len({n.grad for n in group.nodes}) != 1:
            return None
        return [self.aligned(column) for column in zip(*rows, strict=True)]

    def cut_of(self, group: Group) -> tuple[Any, int, int] | None:
        """(x, axis, begin) where the steps are ``x[t]``, ``x[:, t]``, ``x.select(axis, t)`` of one
        x, in order."""
        if group.first.name not in ("__getitem__", "select"):
            return None
        kind, x = self.aligned([n.args[0] for n in group.nodes])
        places = [_place(n) for n in group.nodes]
        if kind != "same" or places[0] is None or places[0][1] < 0:
            return None
        axis, begin = places[0]
        return (
            (x, axis, begin) if places == [(axis, begin + t) for t in range(len(places))] else None
        )

    # -- an order ----------------------------------------------------------------------------------

    def _needs(self, item: Group | Op) -> list[Group | Op]:
        """What must have run before."""
        nodes = item.nodes if isinstance(item, Group) else [item]
        values = [
            v
            for n in nodes
            for v in leaves((n.args[:1] if n.neuron and n.step else n.args, n.kwargs))
        ]
        needs = [self._item(v.node) for v in values if isinstance(v, Value) and v.node is not None]
        needs += [
            b for n in nodes if n in self.before and (b := self._item(self.before[n])) is not item
        ]
        return list(dict.fromkeys(needs))

    def _counted_before(self) -> dict[Op, Op]:
        """For each call that updates running means, the one before it that updates the same: their
        order counts."""
        last: dict[int, Op] = {}
        before = {}
        for node in self.nodes:
            if (
                node.name in RUNNING
                and argument(node.function, node.args, node.kwargs, "training", True) is not False
            ):
                for v in leaves((node.args, node.kwargs)):
                    if id(v) in self.live and not v.requires_grad and v.dim():
                        if id(v) in last:
                            before[node] = last[id(v)]
                        last[id(v)] = node
        return before

    def _item(self, node: Op) -> Group | Op:
        group = self.groups.get(node)
        return node if group is None or group.serial else group

    def _order(self) -> list[Group | Op]:
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
                around = e.args[1]
            cycle = [i for i in around if isinstance(i, Group)]
            if not cycle or any(g.first.neuron for g in cycle):
                counted = [
                    n
                    for i in around
                    for n in (i.nodes if isinstance(i, Group) else [i])
                    if n in self.before
                ]
                if counted:
                    self.before = {}
                    self._order()  # an error of its own where it is not their order
                    lines = "\n  ".join(dict.fromkeys(n.line for n in counted))
                    raise InputError(
                        f"accelerate: {counted[0].name}: several places in a step update the same running means, whose order "
                        f"cannot be kept; give each place a module of its own, or call eval() on it\n  {lines}"
                    )
                lines = "\n  ".join(dict.fromkeys(g.first.line for g in cycle))
                raise InputError(
                    "accelerate: this goes back into the next step; only a neuron's own states may (RLeaky and RSynaptic have "
                    f"recurrence of their own)\n  {lines}"
                )
            for group in cycle:
                group.serial = True

    def _check_input(self, group: Group) -> None:
        """Inputs that each step makes in its own way (a stimulus, then silence) are made one by
        one."""
        values = [n.args[0] for n in group.nodes]
        if self.aligned(values)[0] == "different":
            lines = dict.fromkeys(
                v.node.line for v in values if isinstance(v, Value) and v.node is not None
            )
            if len({(v.shape, v.dtype) for v in values}) != 1:
                raise InputError(
                    f"accelerate: {group.first.name}: its input is not of one shape and dtype in every step\n"
                    f"  {group.first.line}\nmade by\n  " + "\n  ".join(list(lines)[:4])
                )
            self.list_serial(lines)


def _needed(nodes: list[Op], output: Any) -> list[Op]:
    """The nodes that the output needs, neurons, and those that count their calls."""
    needed: set[Op] = set()
    roots = {s.node for s in leaves(output) if isinstance(s, Value)}
    for node in reversed(nodes):
        if (
            node in needed
            or node in roots
            or node.neuron
            or node.name in RUNNING
            or node.name == "add_"
        ):
            needed.add(node)
            needed |= {
                s.node
                for s in leaves((node.args, node.kwargs))
                if isinstance(s, Value) and s.node is not None
            }
    return [n for n in nodes if n in needed]


def _place(node: Op) -> tuple[int, int] | None:
    """(axis, index) of ``x[..., index, ...]`` or ``x.select(axis, index)``."""
    if node.name == "select":
        axis, index = (
            (*node.args[1:], *node.kwargs.values())
            if len(node.args) + len(node.kwargs) == 3
            else (None, None)
        )
        return (axis, index) if isinstance(axis, int) and isinstance(index, int) else None
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    at = [
        k
        for k, i in enumerate(index)
        if isinstance(i, numbers.Integral) and not isinstance(i, bool)
    ]
    if len(at) != 1 or any(
        not (i is Ellipsis or (isinstance(i, slice) and i == slice(None)))
        for k, i in enumerate(index)
        if k != at[0]
    ):
        return None
    from_the_end = any(i is Ellipsis for i in index[: at[0]])
    return at[0] - len(index) if from_the_end else at[0], int(index[at[0]])


class _Run:
    """One pass through a folded run. Products and neurons are in ``narrow`` (bfloat16), if
    given."""

    def __init__(
        self, folded: FoldedRun, inputs: Sequence[Any], narrow: torch.dtype | None
    ) -> None:
        self.folded, self.narrow = folded, narrow
        self.given = {
            id(s): v for s, v in zip(folded.inputs, inputs, strict=True) if isinstance(s, Value)
        }
        self.sequences: dict[tuple[Group, int], torch.Tensor] = {}
        self.single: dict[tuple[Op, int], torch.Tensor] = {}
        self._steps: dict[tuple[Group, int], tuple[torch.Tensor, ...]] = {}
        self._narrowed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def result(self) -> Any:
        for item in self.folded.order:
            with torch.set_grad_enabled(torch.is_grad_enabled() and item.grad):
                if isinstance(item, Op):
                    self._node(item)
                elif item.first.neuron:
                    self._neuron(item)
                else:
                    self._group(item)
        for module, name, value in self.folded.left:
            setattr(module, name, self._returned(value))
        return self._returned(self.folded.output)

    # -- values ------------------------------------------------------------------------------------

    def _value(self, symbol: Value) -> torch.Tensor:
        """What a symbol stands for."""
        node = symbol.node
        if node is None:
            return self.given[id(symbol)]
        if (node, symbol.index) in self.single:
            return self.single[node, symbol.index]
        key = self.folded.groups[node], symbol.index
        if (
            key not in self._steps
        ):  # cut once: a cut for each step would cost the square of their number backward
            self._steps[key] = _wide(self.sequences[key]).unbind(0)
        return self._steps[key][node.step]  # type: ignore[index]  # a node of a sequence has a step

    def _filled(self, value: Any) -> Any:
        """``value`` with what a run computes in its places."""
        return filled(value, lambda v: self._value(v) if isinstance(v, Value) else v)

    def _returned(self, value: Any) -> Any:
        """The same of what leaves the network: constants of the recording are copied, so that the
        caller's are his own."""
        live = self.folded.live
        return filled(
            value,
            lambda v: (
                self._value(v)
                if isinstance(v, Value)
                else v.clone()
                if isinstance(v, torch.Tensor) and id(v) not in live
                else v
            ),
        )

    def _over_time(self, kind: str, what: Any) -> Any:
        """A value of all steps, time first; one that is the same in all of them as it is."""
        if kind == "same":
            return self._value(what) if isinstance(what, Value) else what
        if kind == "constants":
            return torch.stack(what)
        if kind == "gathered":
            return torch.stack([self._value(s) for s in what])
        if kind == "parts":
            return torch.stack([self.single[what, k] for k in range(self.folded.steps)])
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

    # -- operations --------------------------------------------------------------------------------

    def _node(self, node: Op) -> None:
        if (
            node.function is torch.stack
            and len(node.args) + len(node.kwargs) <= 2
            and isinstance(node.args[0], list | tuple)
        ):
            items = node.args[0]
            kind, what = (
                self.folded.aligned(items)
                if len(items) == self.folded.steps
                else ("different", None)
            )
            if kind == "sequence" and what is not None and not what[0].serial:
                dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
                self.single[node, 0] = _wide(self.sequences[what]).movedim(0, dim)
                return
        args, kwargs = self._filled(node.args), self._filled(node.kwargs)
        if node.name in MULTIPLY:
            args, kwargs = tree_map(self._narrow, args), tree_map(self._narrow, kwargs)
        out = (
            _linear(*args, **kwargs)
            if node.function is functional.linear
            else node.function(*args, **kwargs)
        )
        for k, v in enumerate(_tensors(node, out)):
            self.single[node, k] = v

    def _group(self, group: Group) -> None:
        node, steps = group.first, self.folded.steps
        cut = self.folded.cut_of(group)
        if cut is not None:
            x, axis, begin = cut
            self.sequences[group, 0] = (
                self._over_time("same", x).narrow(axis, begin, steps).movedim(axis, 0)
            )
            return
        inputs = self.folded.inputs_of(group) or []
        values = [self._over_time(kind, what) for kind, what in inputs]
        moving = [kind != "same" for kind, _ in inputs]
        if node.name in MULTIPLY:
            values = [self._narrow(v) for v in values]

        def call(row: Sequence[Any]) -> Any:
            rest = iter(row)
            return node.function(*_refill(node.args, rest), **_refill(node.kwargs, rest))

        spatial = SPATIAL.get(node.function)
        if (
            moving[:1] == [True]
            and not any(moving[1:])
            and node.single
            and (spatial is not None or node.function is functional.linear)
        ):
            x = values[0]
            if spatial is None:
                out: Any = _linear(x, *values[1:])
            elif x.dim() == spatial + 3:
                out = call([x.flatten(0, 1), *values[1:]]).unflatten(0, x.shape[:2])
            else:  # without a batch: the steps are it
                out = call(values)
        elif node.name in RUNNING | UNBATCHED or not any(moving):
            # running means, random numbers, what vmap does wrong: one step after the other
            out = self._one_by_one(node, call, values, moving)
        else:
            out = self._mapped(group, call, values, [k for k, m in enumerate(moving) if m])
        for k, v in enumerate([out] if isinstance(out, torch.Tensor) else out):
            self.sequences[group, k] = v

    def _one_by_one(
        self, node: Op, call: Callable[[Sequence[Any]], Any], values: list[Any], moving: list[bool]
    ) -> list[torch.Tensor]:
        columns = [
            v.unbind(0) if m else [v] * self.folded.steps
            for v, m in zip(values, moving, strict=True)
        ]
        rows = [
            _tensors(node, call(row))
            for row in (zip(*columns, strict=True) if columns else [()] * self.folded.steps)
        ]
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    def _mapped(
        self,
        group: Group,
        call: Callable[[Sequence[Any]], Any],
        values: list[Any],
        places: list[int],
    ) -> Any:
        node = group.first

        def one(*parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
            row = list(values)
            for k, p in zip(places, parts, strict=True):
                row[k] = p
            return tuple(_tensors(node, call(row)))

        if group not in self.folded.unmapped:
            try:
                with _rules_only():
                    return torch.vmap(one, randomness="different")(*(values[k] for k in places))
            except (
                RuntimeError,
                ValueError,
            ):  # there is no rule for this operation, or the error of the loop, which comes again
                pass
        try:
            out = self._one_by_one(node, call, values, [k in places for k in range(len(values))])
        except (RuntimeError, ValueError) as e:
            raise InputError(f"accelerate: {node.name}: {e}\n  {node.line}") from e
        if group not in self.folded.unmapped:
            self.folded.unmapped.add(group)
            self.folded.list_serial([node.line])
        return out

    def _neuron(self, group: Group) -> None:
        plan, node = self.folded, group.first
        kind, what = plan.aligned([n.args[0] for n in group.nodes])
        if kind == "different":
            x = torch.stack(
                [
                    self._value(v) if isinstance(v, Value) else v
                    for v in (n.args[0] for n in group.nodes)
                ]
            )
        else:
            x = self._over_time(kind, what)
        if self.narrow is not None and x.dtype == torch.float32:
            x = x.to(self.narrow)
        states = tuple(self._value(s) if isinstance(s, Value) else s for s in node.args[1:])
        module: Neuron = node.function
        parts = []
        for begin, end, cut, grad in group.pieces:
            if cut:
                states = tuple(
                    s.detach() if n in cut else s
                    for n, s in zip(module.state_names, states, strict=True)
                )
            held = {"steps": end - begin} if kind == "same" else {}
            part = x.unsqueeze(0) if held else x if len(group.pieces) == 1 else x[begin:end]
            with torch.set_grad_enabled(torch.is_grad_enabled() and grad):
                outputs, states = module.sequence(part, *states, record=plan.recorded[node], **held)
            parts.append(outputs)
        outputs = (
            parts[0] if len(parts) == 1 else {n: torch.cat([p[n] for p in parts]) for n in parts[0]}
        )
        self.sequences[group, 0] = outputs[module.dynamics.outputs[0]]
        for k, name in enumerate(module.state_names, 1):
            if name in outputs:
                self.sequences[group, k] = outputs[name]


@contextlib.contextmanager
def _rules_only() -> Iterator[None]:
    """vmap raises where it has no rule for an operation; it would warn and go step by step
    inside."""
    functorch: Any = torch._C._functorch  # without stubs
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    try:
        yield
    finally:
        functorch._set_vmap_fallback_enabled(before)


def _tensors(node: Op, out: Any) -> list[torch.Tensor]:
    """Those among what an operation returned, in order."""
    return [out] if node.single else [v for v in leaves(out) if isinstance(v, torch.Tensor)]


def _linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
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
    """A network with its time folded. ``output, loss = model(data, labels)`` is one training step;
    made by :func:`accelerate`.

    Example:
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc, self.lif = torch.nn.Linear(10, 5), snn.Leaky(0.9)
        ...     def forward(self, x):
        ...         mem, out = self.lif.init_leaky(), []
        ...         for k in range(x.shape[0]):
        ...             spk, mem = self.lif(self.fc(x[k]), mem)
        ...             out.append(spk)
        ...         return torch.stack(out)
        ...
        >>> fast = snn.accelerate(Net())
        >>> with torch.no_grad():
        ...     print(fast.forward(torch.rand(20, 4, 10)).shape)
        ...
        torch.Size([20, 4, 5])
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[..., torch.Tensor] | None,
        optimizer: torch.optim.Optimizer | None,
        precision: str,
    ) -> None:
        self.net, self.loss, self.optimizer = net, loss, optimizer
        self.root = outside.root(net)
        self.narrow = torch.bfloat16 if precision == "bfloat16" else None
        self._plans: OrderedDict[Any, FoldedRun] = OrderedDict()
        self._forward: Callable[..., Any] | None = (
            None  # the root's own while it has the folded one
        )
        if self.narrow is not None:
            _try_bfloat16(next((p.device for p in net.parameters()), torch.device("cpu")))
        if optimizer is not None:
            _fuse(optimizer)
        if (
            optimizer is None or not optimizer.state
        ) and self.root is net:  # DistributedDataParallel has seen how the weights lie
            _input_major(net)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": OrderedDict()}  # a copy records its own network

    def plan(self, *inputs: Any) -> FoldedRun:
        """How a call with inputs like these is run: recorded at the first one of their shapes, of
        ``net.train()`` or ``net.eval()``, and of the network's parameters and buffers. The last 16
        are kept."""
        strange = [x for x in inputs if not isinstance(x, torch.Tensor | int | float | str | None)]
        if strange:
            raise kind_error(InputError)(
                "accelerate: the network's inputs are tensors, numbers, strings or None; got "
                f"{type(strange[0]).__name__} {shown(strange[0])}"
            )
        training, hooked = [], []
        for module in self.root.modules():
            training.append(module.training)
            if outside.hooked(module):
                hooked.append(module)
        if hooked or outside.hooked_everywhere():
            outside.refuse_hooks(hooked, self.root)
        live = [*self.root.parameters(), *self.root.buffers()]
        key = (
            *training,
            *map(id, live),
            *(
                (x.shape, x.dtype, x.device) if isinstance(x, torch.Tensor) else (type(x), x)
                for x in inputs
            ),
        )
        plan = self._plans.pop(key, None)
        if plan is None:
            outside.root(self.net)
            plan = _record(self.root, self._forward or self.root.forward, inputs, live)
            self._plans = OrderedDict(
                (k, p)
                for k, p in [*self._plans.items()][1 - KEPT :]
                if p.live.keys() == plan.live.keys()
            )
        self._plans[key] = plan  # the last used is the last
        return plan

    def forward(self, *inputs: Any) -> Any:
        """What the network returns for these inputs, differentiable."""
        if self.root is self.net and not outside.hooked(self.net):
            return self._fold(*inputs)
        # DistributedDataParallel and the network's own hooks do their part around the folded
        # forward
        own = self.root.__dict__.get("forward")
        self._forward, self.root.forward = self.root.forward, self._fold
        try:
            return self.net(*inputs)
        finally:
            self._forward = None
            if own is None:
                del self.root.forward
            else:
                self.root.forward = own

    def _fold(self, *inputs: Any) -> Any:
        return _Run(self.plan(*inputs), inputs, self.narrow).result()

    def __call__(self, data: torch.Tensor, labels: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """One training step: forward, loss, backward, and the optimizer's step if there is one.
        Returns (output, loss), detached."""
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
        if self.loss is None:
            output = self.forward(data, labels)
            if (
                not isinstance(output, tuple)
                or len(output) != 2
                or not isinstance(output[1], torch.Tensor)
                or output[1].numel() != 1
            ):
                raise InputError(
                    "accelerate: without a loss the network's forward(data, labels) returns (output, loss); give accelerate "
                    "the loss, or net.train()"
                )
            output, loss = output
        else:
            output = self.forward(data)
            loss = self.loss(output, labels)
        loss.backward()
        if self.optimizer is not None:
            self.optimizer.step()
        return filled(
            output, lambda v: v.detach() if isinstance(v, torch.Tensor) else v
        ), loss.detach()


def _record(
    net: nn.Module, forward: Callable[..., Any], inputs: Sequence[Any], live: list[torch.Tensor]
) -> FoldedRun:
    """What ``forward`` of ``net`` does with inputs like these. Its attributes stay what they were,
    whether it can be folded or not."""
    device = next((x.device for x in inputs if isinstance(x, torch.Tensor)), torch.device("cpu"))
    attributes, generators = outside.Attributes(net), outside.Generators(net, forward, device)
    try:
        record, values, output = _once(net, forward, inputs, Record(device, live))
        if generators.drew():
            generators.restore()
            attributes.restore()
            record, values, output = _once(
                net, forward, inputs, Record(device, live, generators.drew)
            )  # which line it was
        records, kept = [record], []
        left = attributes.left()
        if left:  # does a second call leave the same?
            record, values, output = _once(net, forward, inputs, Record(device, live))
            records.append(record)
            again = attributes.left()
            for at in dict.fromkeys((*left, *again)):
                if (
                    at[1] in at[0]._buffers
                    or at not in left
                    or at not in again
                    or not outside.repeats(left[at], again[at], record.mine)
                ):
                    raise InputError(
                        f"accelerate: {attributes.named(*at)} is set by forward to something else in every call; a recording "
                        "does so once. Hand it to forward as an input and return the new one"
                    )
            kept = [(*at, filled(again[at], record.value)) for at in again]
            left.clear()
            again.clear()
        attributes.restore()
    except BaseException:
        attributes.restore()
        raise
    if any(r.alive() for r in records):
        gc.collect()
    for symbol in (s for r in records for s in r.alive()):
        node = symbol.value.node
        raise InputError(
            "accelerate: a value of forward is kept where a later call cannot put its own (a list or object outside the "
            "network's attributes, or an output that is no tensor, list, tuple, dict or dataclass); return it, or set it as "
            f"self.name = ...\n  {'an input' if node is None else node.line}"
        )
    return FoldedRun(record.nodes, values, output, kept, live)


def _once(
    net: nn.Module, forward: Callable[..., Any], inputs: Sequence[Any], record: Record
) -> tuple[Record, list[Any], Any]:
    symbols = [
        record.symbol(x, None, k) if isinstance(x, torch.Tensor) else x
        for k, x in enumerate(inputs)
    ]
    values = [s.value if isinstance(s, Symbol) else s for s in symbols]
    reset(net)
    try:
        return record, values, record.run(forward, *symbols)
    finally:
        reset(net)


TRIAL = """
import torch
for n in (64, 50):
    torch.nn.functional.linear(torch.ones(n, n, dtype=torch.bfloat16), torch.ones(n, n, dtype=torch.bfloat16))
"""


@functools.cache
def _bfloat16_problem() -> str:
    """What goes wrong in a bfloat16 product on this CPU; nothing if nothing does.

    Tried once, in a process of its own: where AMX is announced but may not be used, products of
    whole tiles end the process, and others fail and leave oneDNN unable to do anything else.
    """
    done = subprocess.run(
        [sys.executable, "-c", TRIAL], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    return (
        f"ended by signal {-done.returncode}"
        if done.returncode < 0
        else (done.stderr.strip().splitlines() or ["without a message"])[-1]
    )


def _try_bfloat16(device: torch.device) -> None:
    problem = _bfloat16_problem() if device.type == "cpu" else ""
    if problem:
        raise InputError(
            "accelerate: precision 'bfloat16' cannot be had here: torch's bfloat16 product on the CPU fails "
            f"({problem}). Where AMX is not usable set the environment variable ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before "
            "torch is imported; or take precision='float32'"
        )


def _fuse(optimizer: torch.optim.Optimizer) -> None:
    """Let Adam, AdamW and SGD pass through memory once, where the user has not chosen otherwise and
    has not begun."""
    if (
        type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
        or optimizer.state
    ):
        return
    for group in optimizer.param_groups:
        fits = all(
            p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in group["params"]
        )
        if (
            fits
            and group["fused"] is None
            and group["foreach"] is None
            and not group["differentiable"]
        ):
            group["fused"] = True


def _input_major(net: nn.Module) -> None:
    """Lay the weights of Linear out as products with spikes read them, a row an input; values,
    shapes and parameters stay."""
    for module in net.modules():
        if (
            type(module) is nn.Linear
            and module.out_features >= products.NARROW
            and module.weight.device.type == "cpu"
        ):
            module.weight.data = module.weight.data.t().contiguous().t()


@arguments(
    net=instance(nn.Module, words="a torch module"),
    loss=optional(FUNCTION),
    optimizer=optional(instance(torch.optim.Optimizer, words="a torch optimizer")),
    precision=choice("float32", "bfloat16"),
)
def accelerate(
    net: nn.Module,
    loss: Callable[..., torch.Tensor] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    precision: str = "float32",
) -> Accelerated:
    """Fold the time of a network that loops over steps with neurons of :mod:`lavalike.snn`.

    ``net.forward`` is run once for each shape of input, on tensors without data, to record what it
    does; from then on only the recording is run. So what Python does in it is done once, and a
    changed attribute (``net.num_steps``) wants a new ``accelerate``.

    Args:
        net: its ``forward(data)`` (or ``forward(data, labels)`` returning (output, loss), where the
            loss is inside) takes the same steps whatever the values: layers from step to step feed
            forward, and only a neuron's own states go from one step to the next. Steps may be
            counted (``for step in range(T)``), or cut from the data (``for x in data``,
            ``data[t]``, ``data[:, t]``). Every call begins with the states that forward begins
            with; states that init_hidden keeps are forgotten. ``self.name = ...`` in forward holds,
            after every call, that call's tensors. May be wrapped in DistributedDataParallel, whose
            averages, hooks and no_sync() act; hooks on ``net`` itself act too.
        loss: ``loss(output, labels)``.
        optimizer: stepped in every call, if given. Adam, AdamW and SGD whose ``fused`` and
            ``foreach`` were left open are made ``fused=True``: the same numbers in one pass through
            memory. Unless it has begun, weights of Linear are laid out input-major in memory.
        precision: "float32", or "bfloat16" for matrix products, currents and spikes (states are
            float32 while time passes, and what the network returns is).

    Returns an object: ``output, loss = model(data, labels)`` trains a step; ``model.forward(data)``
    only computes; ``model.plan(data).serial`` lists the lines that could not be folded but were
    harmless: sums over steps outside neurons and operations with another constant in every step,
    which are done step by step.

    Raises:
        InputError: naming the line, for what cannot be folded: in-place changes, questions about
            values (``if mem > 1``), other feedback between steps, states changed between steps
            (``detach`` may be), random numbers of NumPy, ``random`` or in place (torch's functions
            draw anew in every step and call), values kept from call to call; naming the module, for
            hooks inside, FSDP, compiled modules; for bfloat16 where torch cannot multiply it.
    """
    return Accelerated(net, loss, optimizer, precision)
