"""A process graph as an nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lavalike.arguments import did_you_mean, shown
from lavalike.backends.base import check_real, int32
from lavalike.backends.torch.model import Heard, Tensors, TorchModel
from lavalike.backends.torch.terms import summed
from lavalike.compiler import order
from lavalike.compiler.flat import Node, Term, not_held
from lavalike.compiler.parts import Part
from lavalike.errors import GraphError, InputError, InputTypeError, VarError
from lavalike.fused.ambient import stored, unreadable
from lavalike.fused.arithmetic import straight
from lavalike.fused.surrogate import Derivative, Surrogate
from lavalike.process import AbstractProcess, Port, Var

States = dict[Node, Tensors]
Values = dict[Port, torch.Tensor]
Extent = tuple[int, int]  # steps, batch


class ProcessModule(nn.Module):
    """The graph of a process as a differentiable module; made by :func:`lavalike.to_torch`.

    Parameters are the trainable Vars, under their paths with ``/`` for ``.``; a call starts from
    the states of the Vars and changes nothing. ``clamp_`` keeps what is trained within what the
    Vars can hold, ``write_back`` gives what was learnt to them.

    Example:
        >>> dense = proc.Dense(weights=np.ones((2, 3)))
        >>> module = lv.to_torch(dense)
        >>> module(torch.ones(4, 3, 5)).shape  # (batch, inputs, time)
        torch.Size([4, 2, 5])
    """

    def __init__(
        self, process: AbstractProcess, part: Part, surrogate: Surrogate | Derivative | None = None
    ) -> None:
        super().__init__()
        self.process, self.graph = process, part
        # of floating_pt; fixed_pt's integers are held in float64
        self.dtype = (
            torch.float64
            if all(n.model.config.fixed for n in part.nodes)
            else getattr(torch, part.flat.config.dtype)
        )
        own = [v for node in part.nodes for v in node.process.vars]
        keys = order.unique(v.path.replace(".", "/") for v in own)
        self._keys: dict[Var, str] = dict(zip(own, keys, strict=True))
        for node in part.nodes:
            if surrogate is not None:
                node.model.surrogate = surrogate  # type: ignore[attr-defined]  # of torch models
            for var in node.process.vars:
                key = self._keys[var]
                if var.role == "state":
                    whole(node, var, var.value)
                value = self.held(var)
                if var.trainable:
                    self.register_parameter(key, nn.Parameter(value))
                else:
                    self.register_buffer(key, value, persistent=False)
        self._terms: dict[Port, list[Term]] | None = None  # of the OutPorts, in a call
        self._order = order.upstream_first(part.nodes, order.senders(part.nodes))
        self.feedback = len(self._order) < len(part.nodes)
        self._seen: set[Node] = (
            set()
        )  # nodes whose models were seen to read and write all that they should

    def _apply(
        self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> ProcessModule:
        """What .double(), .to(...) and the like do: models compute in the dtype asked for, float32
        or float64."""
        dtype = fn(torch.empty(0, dtype=self.dtype, device=self._device())).dtype
        if dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"to_torch({self.process.path}): a graph is computed in float32 or float64, not in {dtype}; leave it in "
                "one of them and convert inputs and outputs"
            )
        super()._apply(fn, recurse)
        if dtype != self.dtype:
            self.dtype = dtype
            self._recast("float32" if dtype == torch.float32 else "float64")
        return self

    def _recast(self, dtype: Literal["float32", "float64"]) -> None:
        self.graph.flat.recast(dtype)

    # -- the graph on tensors ----------------------------------------------------------------------

    def tensor(self, var: Var) -> torch.Tensor:
        """The parameter or buffer that holds ``var``."""
        return getattr(self, self._keys[var])

    def held(self, var: Var) -> torch.Tensor:
        """What holds the present value of ``var``: a step that something ends in is kept as how far
        it lies ahead."""
        ends = self._ends(var)
        return self.as_tensor(
            var, var.value.astype(np.float64) - self.graph.step if ends else var.value
        )

    def value(self, var: Var) -> np.ndarray:
        """The value of ``var`` here; whole where it was trained in fixed_pt."""
        tensor = self.tensor(var).detach().cpu()
        if torch.equal(tensor, self.held(var).to(tensor.dtype)):
            return var.value
        if self._ends(var):
            return tensor.double().numpy() + self.graph.step
        return tensor.round().long().numpy() if self._rounded(var) else tensor.clone().numpy()

    def _rounded(self, var: Var) -> bool:
        """Whether ``var`` is a whole number that is trained."""
        node = self.graph.node_of(var.process)
        return (
            var.trainable
            and node is not None
            and node.model.config.fixed
            and torch_model(node).whole(var.name)
        )

    def _ends(self, var: Var) -> bool:
        node = self.graph.node_of(var.process)
        return node is not None and var.name in torch_model(node).ends

    def dtype_for(self, node: Node) -> torch.dtype:
        """What ``node`` is computed in."""
        return torch.float64 if node.model.config.fixed else self.dtype

    def as_tensor(self, var: Var, value: np.ndarray) -> torch.Tensor:
        """A Var's value as models take it: whole numbers as they are unless they are trained."""
        node = self.graph.node_of(var.process)
        dtype = self.dtype if node is None else self.dtype_for(node)
        own = node is not None and not torch_model(node).trusted
        if value.dtype.kind == "c" and node is not None and (own or torch_model(node).complexes):
            return torch.tensor(value, dtype=dtype.to_complex())
        if value.dtype.kind == "b" and own:
            return torch.tensor(value)
        check_real(
            var.path,
            value,
            "models of the torch backend take",
            "keep it in an attribute of the process, or real and imaginary "
            "parts in Vars of their own",
        )
        out = torch.tensor(
            value, dtype=dtype if value.dtype.kind == "f" or var.trainable else torch.int64
        )
        if value.dtype.kind == "f" and not out.isfinite().all():
            raise VarError(
                f"{var.path}: {value[~out.isfinite().numpy()].flat[0]} is beyond {dtype}; dtype='float64' holds it"
            )
        return out

    def constants(
        self, nodes: Sequence[Node] | None = None, training: bool = False
    ) -> dict[Node, Mapping[str, object]]:
        """What the models' steps take besides inputs and states; VarError. ``training``: what is
        trained in fixed_pt counts as the nearest whole number."""
        out: dict[Node, Mapping[str, object]] = {}
        for node in self.graph.nodes if nodes is None else nodes:
            values = {v.name: self.tensor(v) for v in node.process.vars if v.role == "parameter"}
            if training:
                whole_ones = [v.name for v in node.process.vars if self._rounded(v)]
                values |= {n: straight(values[n], values[n].round()) for n in whole_ones}
            try:
                out[node] = torch_model(node).constants(values)
            except ValueError as e:
                remedy = (
                    "; after optimizer.step(), module.clamp_() brings back what is trained"
                    if training and "is outside" in str(e)
                    else ""
                )
                raise VarError(f"{node.process.path}.{e}{remedy}") from None
        return out

    def initial(self, batch: int, nodes: Sequence[Node] | None = None) -> States:
        """The states before the first step. ``nodes``: of some of the graph's."""
        return {
            n: {
                name: (x if v.name in torch_model(n).kinds else x.to(self.dtype_for(n))).expand(
                    batch, *v.shape
                )
                for v in n.process.vars
                if v.role == "state"
                for name, x in held_by(n, v, self.tensor(v))
            }
            for n in (self.graph.nodes if nodes is None else nodes)
        }

    def step(
        self,
        t: int,
        fed: Values,
        states: States,
        constants: Mapping[Node, Mapping[str, object]],
        nodes: Sequence[Node] | None = None,
        instead: Mapping[Port, torch.Tensor] | None = None,
    ) -> tuple[Values, States]:
        """One step: what every OutPort sends, and the new states. ``nodes``: some of the graph's,
        ``fed`` what they hear of others. ``instead``: what ports send in the place of what their
        models do, whose gradient it has."""
        values, instead = dict(fed), instead or {}
        new: States = {}
        nodes = self.graph.nodes if nodes is None else nodes
        batch = self._batch(fed, states)
        delayed = [n for n in nodes if n.model.delay]
        for node in delayed:
            sent = torch_model(node).send(states[node], constants[node])
            self._sent(node, "send", sent)
            for name, x in sent.items():
                port = _port(node, name)
                values[port] = straight(x, instead[port]) if port in instead else x
        for node in nodes:
            inputs = {
                name: self.total(terms, _port(node, name), values, batch, None, t, node)
                for name, terms in node.inputs.items()
            }
            inputs = self._listening(node, inputs)
            if node.model.delay:
                new[node] = torch_model(node).receive(t, inputs, states[node], constants[node])
                self._done(node, "receive", inputs, new[node])
                _check_kinds(node, "receive", new[node])
                continue
            outputs, new[node] = self._pair(
                node, "step", torch_model(node).step(t, inputs, states[node], constants[node])
            )
            self._sent(node, "step", outputs)
            self._done(node, "step", inputs, new[node])
            _check_kinds(node, "step", new[node])
            for name, x in outputs.items():
                port = _port(node, name)
                x = _expanded(x, (batch, *port.shape))
                values[port] = straight(x, instead[port]) if port in instead else x
        return values, new

    def sequence(
        self,
        first: int,
        steps: int,
        fed: Values,
        states: States,
        constants: Mapping[Node, Mapping[str, object]],
        nodes: Sequence[Node] | None = None,
        instead: Mapping[Port, torch.Tensor] | None = None,
    ) -> tuple[Values, States]:
        """All steps, node after node; for graphs without feedback. ``nodes`` and ``instead`` as in
        :meth:`step`."""
        values, new, instead = dict(fed), {}, instead or {}
        batch = self._batch(fed, states)
        if nodes is None:
            nodes = self._order
        else:
            nodes = order.upstream_first(nodes, order.senders(nodes))
        for node in nodes:
            inputs = {
                name: self.total(terms, _port(node, name), values, batch, steps, first, node)
                for name, terms in node.inputs.items()
            }
            inputs = self._listening(node, inputs)
            outputs, new[node] = self._pair(
                node,
                "step",
                torch_model(node).sequence(inputs, states[node], constants[node], first, steps),
            )
            self._sent(node, "step", outputs)
            self._done(node, "step", inputs, new[node])
            _check_kinds(node, "step", new[node])
            for name, x in outputs.items():
                port = _port(node, name)
                x = _expanded(x, (batch, *port.shape, steps))
                values[port] = straight(x, instead[port]) if port in instead else x
        return values, new

    def over(
        self,
        extent: Extent,
        fed: Values,
        read: Callable[[Values, int | None], Values],
        nodes: Sequence[Node] | None = None,
        instead: Mapping[Port, torch.Tensor] | None = None,
    ) -> Values:
        """What ``read`` takes from what is sent in all steps, time last, from the states of the
        Vars on: from the values of all steps at once, with their count, or where there is feedback
        of one step after another, with None. ``nodes`` and ``instead`` as in :meth:`step`."""
        steps, batch = extent
        states, constants = self.initial(batch, nodes), self.constants(nodes, training=True)
        first = self.graph.step + 1
        if not (self.feedback if nodes is None else order.has_feedback(nodes)):
            values, _ = self.sequence(first, steps, fed, states, constants, nodes, instead)
            return read(values, steps)
        heard, put = ({p: x.unbind(-1) for p, x in v.items()} for v in (fed, instead or {}))
        rows: dict[Port, list[torch.Tensor]] = {}
        for k in range(steps):
            now, then = ({p: c[k] for p, c in v.items()} for v in (heard, put))
            values, states = self.step(first + k, now, states, constants, nodes, then)
            for p, x in read(values, None).items():
                rows.setdefault(p, []).append(x)
        return {p: torch.stack(r, -1) for p, r in rows.items()}

    # -- what a user's model forgets is told, once

    def _listening(self, node: Node, inputs: Tensors) -> Tensors:
        return (
            inputs
            if node in self._seen or node.model.port_names() is not None
            else Heard.of(inputs, set())
        )

    def _pair(self, node: Node, method: str, result: Any) -> tuple[Tensors, Tensors]:
        if node not in self._seen and not (
            isinstance(result, tuple)
            and len(result) == 2
            and all(isinstance(x, Mapping) for x in result)
        ):
            raise _forgets(
                node,
                method,
                f"returns {type(result).__name__}; it returns two dicts, of outputs and of states",
            )
        return result

    def _sent(self, node: Node, method: str, outputs: Tensors) -> None:
        if node not in self._seen:
            _named(node, method, "OutPort", {p.name for p in node.process.out_ports}, outputs)

    def _done(self, node: Node, method: str, inputs: Tensors, state: Tensors) -> None:
        if node in self._seen:
            return
        _named(
            node,
            method,
            "state",
            {n for v in node.process.vars if v.role == "state" for n in states_of(node, v)},
            state,
        )
        for name, terms in node.inputs.items():
            if isinstance(inputs, Heard) and terms and name not in inputs.names:
                raise _forgets(
                    node,
                    method,
                    f"does not read the InPort {name}, to which {terms[0].source.path} is sent",
                )
        self._seen.add(node)

    def total(
        self,
        terms: list[Term],
        port: Port,
        values: Values,
        batch: int,
        steps: int | None = None,
        first: int = 1,
        node: Node | None = None,
    ) -> torch.Tensor:
        """The sum of ``terms``: (batch, *port.shape), with steps (batch, *port.shape, steps); as
        ``node`` takes it, from step ``first`` on."""
        time = () if steps is None else (steps,)
        shape = (batch, *port.shape, *time)

        def sent(source: Port) -> torch.Tensor:
            x = values[source]
            x = x if node is None else self._taken(x, source, port, node, first)
            return x if x.shape == whole else x.reshape(batch, source.size, *time)

        # one sender as it is, which is a view less for gradients to go through
        alone = len(terms) == 1 and terms[0].src is None and terms[0].dst is None
        whole = torch.Size(shape if alone else (batch, port.size, *time))
        out = summed(terms, port.size, sent, 1)
        if out is None:
            dtype = self.dtype if node is None else self.dtype_for(node)
            return torch.zeros(shape, dtype=dtype, device=self._device())
        return out if out.shape == shape else out.reshape(shape)

    def _taken(
        self, x: torch.Tensor, source: Port, port: Port, node: Node, first: int
    ) -> torch.Tensor:
        """Messages (batch, *shape), or with a last axis of steps, in what ``node`` computes in;
        RunError where that does not hold one."""
        fixed, whole = node.model.config.fixed, self.graph.dtype_of(source).kind == "i"
        if fixed == whole:
            return x.to(self.dtype_for(node))
        if fixed:
            bad = (x != x.trunc()) | ~(x.abs() < 2.0**31)
        else:
            bad = (
                x.abs() >= 2**24
                if self.dtype == torch.float32
                else torch.zeros((), dtype=torch.bool)
            )
        if bad.any():
            rows = bad.reshape(len(x), source.size, -1)
            k, sample, index = (int(i) for i in rows.permute(2, 0, 1).nonzero()[0])
            place = f"step {first + k}" + (f", sample {sample}" if len(rows) > 1 else "")
            value = x.reshape(rows.shape)[sample, index, k].item()
            raise not_held(
                source.path,
                port.path,
                np.dtype(np.int32 if fixed else np.float32),
                place,
                value,
                index,
            )
        return x.to(self.dtype_for(node))

    def _batch(self, fed: Values, states: States) -> int:
        return next(
            (
                x.shape[0]
                for x in (*fed.values(), *(x for s in states.values() for x in s.values()))
            ),
            1,
        )

    def _device(self) -> torch.device:
        held = (*self._parameters.values(), *self._buffers.values())
        return next((x.device for x in held if x is not None), torch.device("cpu"))

    # -- as a module -------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The processes and the shapes of what they take, send and learn."""
        rows = []
        for node in self.graph.nodes:
            p = node.process
            ports = [f"{port.name}{tuple(port.shape)}" for port in (*p.in_ports, *p.out_ports)]
            trained = [
                f"{v.name}={tuple(self.tensor(v).shape)} (learnt)" for v in p.vars if v.trainable
            ]
            rows.append(f"({p.path}): {type(p).__name__}({', '.join([*ports, *trained])})")
        return "\n".join(rows)

    def forward(
        self, x: torch.Tensor | Mapping[str, torch.Tensor]
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """From inputs ``(batch, *shape, time)`` to outputs of the same layout.

        One InPort: a tensor, else a dict by name; likewise the OutPorts.
        """
        fed_ports = self.graph.hears
        given = {fed_ports[0].name: x} if isinstance(x, torch.Tensor) and len(fed_ports) == 1 else x
        if not isinstance(given, Mapping) or not all(
            isinstance(v, torch.Tensor) for v in given.values()
        ):
            raise InputTypeError(
                f"{self.process.path}: x is a tensor or, by name, tensors for {[p.name for p in fed_ports]}, got "
                f"{shown(x)} ({type(x).__name__})"
            )
        if {p.name for p in fed_ports} != set(given):
            raise InputError(
                f"{self.process.path}: inputs by name expected for {[p.name for p in fed_ports]}"
            )
        held = (*given.values(), *self._parameters.values(), *self._buffers.values())
        if unreadable() or not all(stored(t) for t in held if t is not None):
            raise InputError(
                f"to_torch({self.process.path}): the values of a graph are looked at in every call, and fake, meta and "
                "traced tensors have none; call it on tensors with data"
            )
        fed: Values = {}
        for port in fed_ports:
            value = given[port.name]
            if (
                value.dim() != len(port.shape) + 2
                or tuple(value.shape[1:-1]) != port.shape
                or 0 in value.shape
            ):
                expected = ("batch", *port.shape, "time")
                raise InputError(
                    f"{port!r}: input has shape {tuple(value.shape)}; expected {expected}, none of them 0"
                )
            if value.is_complex():
                raise InputError(f"{port!r}: input has dtype {value.dtype}; expected real numbers")
            fixed = self.graph.dtype_of(port).kind == "i"
            if fixed and not bool(((value == value.round()) & (value.abs() < 2**31)).all()):
                raise InputError(f"{port!r}: fixed_pt needs whole numbers within 32 bits")
            fed[port] = value.to(torch.float64 if fixed else self.dtype)
        sizes = {(v.shape[0], v.shape[-1]) for v in fed.values()}
        if len(sizes) != 1:
            raise InputError(
                f"{self.process.path}: inputs differ in batch or time: {sorted(sizes)}"
            )
        ((batch, steps),) = sizes
        results = self.results(batch, steps, fed)
        outs = self.process.out_ports
        return results if len(outs) != 1 else results[outs[0].name]

    def results(self, batch: int, steps: int, fed: Values) -> dict[str, torch.Tensor]:
        """What every OutPort of the process sends, (batch, *shape, time) by name."""
        if self._terms is None:
            self._terms = {p: self.graph.terms(p) for p in self.process.out_ports}
        terms = self._terms

        def read(values: Values, steps: int | None) -> Values:
            return {p: self.total(of, p, values, batch, steps) for p, of in terms.items()}

        return {p.name: x for p, x in self.over((steps, batch), fed, read).items()}

    def clamp_(self) -> None:
        """Bring what is trained back into what its Vars can hold, in place: in fixed_pt weights of
        so many bits and biases of 24, a parameter of one's own between its limits. For after each
        ``optimizer.step()``; a call with values beyond them is a VarError."""
        with torch.no_grad():
            for node in self.graph.nodes:
                for var in node.process.vars:
                    if var.trainable:
                        self.tensor(var).clamp_(*torch_model(node).limits(var.name))

    def write_back(self) -> None:
        """Set the trainable Vars to what was learnt, in fixed_pt to the nearest whole numbers; the
        graph then computes what the module did, on every backend."""
        for var in self._keys:
            if var.trainable:
                var.set(self.value(var))


def states_of(node: Node, var: Var) -> tuple[str, ...]:
    """The names of the states of ``node``'s model that hold ``var``."""
    model = torch_model(node)
    return model.complexes.get(var.name) or (model.ends.get(var.name, var.name),)


def held_by(node: Node, var: Var, value: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The states that hold ``value`` of ``var``."""
    names = states_of(node, var)
    return zip(names, (value.real, value.imag) if len(names) == 2 else (value,), strict=True)


def whole(node: Node, var: Var, value: np.ndarray) -> None:
    """VarError where ``node`` is of fixed_pt, which cannot hold ``value`` of a state."""
    if node.model.config.fixed and var.name not in torch_model(node).kinds:
        int32(var.path, value)


def _check_kinds(node: Node, method: str, states: Mapping[str, torch.Tensor]) -> None:
    """GraphError where a user's step returns a state that is no float in another kind than it
    has."""
    for name, kind in torch_model(node).kinds.items():
        dtype = states[name].dtype
        got = (
            "b"
            if dtype == torch.bool
            else "c"
            if dtype.is_complex
            else "f"
            if dtype.is_floating_point
            else "i"
        )
        if got != kind:
            what = {"b": "booleans", "i": "whole numbers", "c": "complex numbers"}[kind]
            raise _forgets(
                node,
                method,
                f"returns the state {name} as {dtype}, and the Var was given {what}; convert it there, or give Var(..., init=) floats",
            )


def torch_model(node: Node) -> TorchModel:
    """The model of ``node``; InputError for one of another backend."""
    if not isinstance(node.model, TorchModel):
        raise InputError(f"{node.process.path}: {type(node.model).__name__} is no TorchModel")
    return node.model


def _named(node: Node, method: str, kind: str, wanted: set[str], got: Mapping[str, Any]) -> None:
    if not isinstance(got, Mapping):
        raise _forgets(
            node, method, f"returns {type(got).__name__} where a dict of {kind}s is needed"
        )
    for name in sorted(wanted ^ {*got}):
        raise _forgets(
            node,
            method,
            f"returns no {kind} {name}"
            if name in wanted
            else f"returns {name!r}, which is no {kind}{did_you_mean(name, wanted)}; there are {sorted(wanted)}",
        )


def _forgets(node: Node, method: str, why: str) -> GraphError:
    function = getattr(type(node.model), method)
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return GraphError(f"{node.process.path}: {type(node.model).__name__}.{method}{where} {why}")


def _expanded(x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """``x`` in ``shape``; as it is where it has that, which is a view less for gradients to go
    through."""
    return x if x.shape == shape else x.expand(shape)


def _port(node: Node, name: str) -> Port:
    return getattr(node.process, name)
