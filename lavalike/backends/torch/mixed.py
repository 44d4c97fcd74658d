"""A process graph that several backends compute forward, part by part, as an nn.Module.

A part of another backend sends what that backend's program computes. Gradients are those of the
torch backend's models of the same nodes, each of which hears what the program's nodes sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from lavalike.backends import get_backend
from lavalike.backends.base import Program
from lavalike.backends.torch.module import Extent, ProcessModule, Values
from lavalike.backends.torch.terms import gathered
from lavalike.compiler.flat import Flat
from lavalike.compiler.parts import Part, cut
from lavalike.errors import GraphError, InputError, ModelSelectionError
from lavalike.fused.surrogate import Derivative, Surrogate
from lavalike.process import AbstractProcess, OutPort, Port, Var, claims


@dataclass(eq=False)
class _Compiled:
    """A part's program, as it was before its first step, and the values of its Vars that it has."""

    program: Program
    first: Any
    values: dict[Var, np.ndarray]


class MixedModule(ProcessModule):
    """See :func:`lavalike.to_torch`.

    Args:
        process: of the graph.
        part: the whole graph with the torch backend's models; its parameters are the module's.
        flat: the same with the models and targets that compute it forward.
        modelled: backends whose parts the torch backend's models compute.
    """

    def __init__(
        self,
        process: AbstractProcess,
        part: Part,
        flat: Flat,
        surrogate: Surrogate | Derivative | None = None,
        modelled: Sequence[str] = ("torch",),
    ) -> None:
        super().__init__(process, part, surrogate)
        self.plan, self.modelled = cut(flat), modelled
        for node in flat.nodes:
            if node.model.inline:
                raise InputError(
                    f"to_torch({process.path}): {node.process.path} is a model in Python ({type(node.model).__name__}), which has "
                    "no gradient; run it beforehand (simulate), and give the module what it sends"
                )
            if part.node_of(node.process) is None:
                raise ModelSelectionError(
                    f"to_torch({process.path}): {node.process.path} is computed forward by {type(node.model).__name__}, and the gradient "
                    "would be that of what is inside it, or around it, on the torch backend; let select name a SubProcessModel, "
                    "which both are made of, or write such a model of the torch backend (lavalike.implements)"
                )
        for first, *others in self.plan.groups:
            if others:
                raise GraphError(
                    f"to_torch({process.path}): {first!r} is in a loop with {others[0]!r}, and a gradient goes through parts one "
                    "after the other; let select put all of the loop on one backend"
                )
        self.outputs = {p: flat.terms(p) for p in process.out_ports}
        needed = [t.source for terms in self.outputs.values() for t in terms] + [
            p for s in self.plan.parts for p in s.hears
        ]
        self.needed = list(dict.fromkeys(p for p in needed if isinstance(p, OutPort)))
        self._programs: dict[tuple[Part, int], _Compiled] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_programs": {}}  # compiled when it is called

    def _recast(self, dtype: Literal["float32", "float64"]) -> None:
        super()._recast(dtype)
        self.plan.flat.recast(dtype)
        self._programs.clear()

    def results(self, batch: int, steps: int, fed: Values) -> dict[str, torch.Tensor]:
        sent: Values = {
            p: x.flatten(1, -2).movedim(-1, 0) for p, x in fed.items()
        }  # (time, batch, size)
        for section in self.plan.parts:
            self.section(section, (steps, batch), sent)
        like = next(iter(fed.values()))
        return {
            p.name: gathered(terms, p.size, sent, (steps, batch), like)
            .movedim(0, -1)
            .unflatten(1, p.shape)
            for p, terms in self.outputs.items()
        }

    def section(self, section: Part, extent: Extent, sent: Values) -> None:
        """Put what ``section`` sends to what others have ``sent``, (time, batch, size) each."""
        computed = section.target.backend not in self.modelled
        found = self._computed(section, extent, sent) if computed else {}
        if not computed or torch.is_grad_enabled():
            found = self._modelled(section, extent, sent, found)
        for p in self.needed:
            if p in found:
                sent[p] = found[p].flatten(1, -2).movedim(-1, 0)

    def _modelled(self, section: Part, extent: Extent, sent: Values, instead: Values) -> Values:
        """What the torch backend's models of ``section`` send, (batch, *shape, time) each, with
        ``instead`` in its place."""
        steps, batch = extent
        nodes = [n for n in self.graph.nodes if section.node_of(n.process) is not None]
        ports = [p for p in self.needed if section.node_of(p.process) is not None]
        fed = {p: sent[p].movedim(0, -1).unflatten(1, p.shape) for p in section.hears}

        def read(values: Values, steps: int | None) -> Values:
            return {p: values[p] for p in ports}

        found = self.over(extent, fed, read, nodes, instead)
        return {p: x.expand(batch, *p.shape, steps) for p, x in found.items()}

    # -- other backends' programs --------------------------------------------------------------

    def _computed(self, section: Part, extent: Extent, sent: Values) -> Values:
        """What the program of ``section`` sends from each of its ports, (batch, *shape, time)
        each."""
        steps, batch = extent
        heard = {
            p: np.ascontiguousarray(sent[p].detach().cpu().numpy(), section.dtype_of(p))
            for p in section.hears
        }
        program = self._program(section, batch)
        rows: dict[Port | Var, np.ndarray] = {
            p: np.empty((steps, batch, p.size), program.dtype_of(p)) for p in _ports(section)
        }
        program.run(steps, heard, rows)
        return {
            p: torch.from_numpy(x)
            .to(self._device(), torch.float64 if x.dtype.kind == "i" else self.dtype)
            .movedim(0, -1)
            .unflatten(1, p.shape)
            for p, x in rows.items()
            if isinstance(p, Port)
        }

    def _program(self, section: Part, batch: int) -> Program:
        """The program of ``section`` before its first step, with the values that its Vars have
        here."""
        with self._lent(section) as values:
            made = self._programs.get((section, batch))
            changed = [] if made is None else _changed(made.values, values)
            if made is None or any(v.role == "state" for v in changed):
                built = get_backend(section.target.backend).build(section, batch, _ports(section))
                made = _Compiled(built, built.snapshot(), values)
                self._programs[section, batch] = made
                return built
            made.program.restore(made.first)
            for var in changed:
                made.program.write(var, values[var])
                made.values[var] = values[var]
            return made.program

    @contextmanager
    def _lent(self, section: Part) -> Iterator[dict[Var, np.ndarray]]:
        """Within, the Vars of ``section`` have the values that they have here."""
        before = {v: v.value for n in section.nodes for v in n.process.vars}
        with claims.looking:
            try:
                here = {v: self.value(v) for v in before}
                for var, value in here.items():
                    var.value = value
                yield here
            finally:
                for var, value in before.items():
                    var.value = value


def _ports(section: Part) -> list[OutPort]:
    return [p for n in section.nodes for p in n.process.out_ports]


def _changed(old: Mapping[Var, np.ndarray], new: Mapping[Var, np.ndarray]) -> list[Var]:
    return [v for v, x in new.items() if x is not old[v] and not np.array_equal(x, old[v])]
