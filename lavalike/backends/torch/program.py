"""TorchProgram: a ProcessModule behind the runtime's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lavalike.backends.torch.module import ProcessModule, States
from lavalike.compiler.flat import not_held
from lavalike.compiler.parts import Part
from lavalike.errors import RunError
from lavalike.process import OutPort, Port, Var


class TorchProgram:
    """See :class:`lavalike.backends.base.Program`."""

    def __init__(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> None:
        self.part, self.batch, self.step, self.check = part, batch, part.step, part.target.options.check
        self.module = ProcessModule(part.processes[0], part)
        self.states: States = self.module.initial(batch)

    @torch.no_grad()
    def run(self, steps: int, heard: Mapping[Port, np.ndarray], recordings: Mapping[Port | Var, np.ndarray]) -> None:
        m, constants = self.module, self.module.constants()
        fed = {p: self._taken(p, heard[p]).unflatten(-1, p.shape) for p in self.part.hears}
        ports = {t: self.part.terms(t) for t in recordings if isinstance(t, Port)}
        varied = [t for t in recordings if isinstance(t, Var)]
        if m.feedback or varied or self.check:
            for k in range(steps):
                values, states = m.step(self.step + 1, {p: x[k] for p, x in fed.items()}, self.states, constants)
                if self.check:
                    self._finite(values, states)
                self.states = states
                self.step += 1
                for port, terms in ports.items():
                    recordings[port][k] = m.total(terms, port, values, self.batch).reshape(self.batch, -1).numpy()
                for var in varied:
                    recordings[var][k] = self._value(var).reshape(self.batch, -1)
            return
        last = {p: x.movedim(0, -1) for p, x in fed.items()}
        values, self.states = m.sequence(self.step + 1, steps, last, self.states, constants)
        self.step += steps
        for port, terms in ports.items():
            total = m.total(terms, port, values, self.batch, steps).reshape(self.batch, -1, steps)
            recordings[port][...] = total.permute(2, 0, 1).numpy()

    def _taken(self, port: Port, rows: np.ndarray) -> torch.Tensor:
        """What is heard, in this module's dtype; RunError where that does not hold a whole number."""
        if rows.dtype.kind == "i" and self.module.dtype == torch.float32 and (lost := np.abs(rows) >= 2**24).any():
            k, sample, index = np.argwhere(lost)[0]
            where = f"step {self.step + 1 + k}" + (f", sample {sample}" if self.batch > 1 else "")
            target = next(f"{n.process.path}.{name}" for n in self.part.nodes for name, terms in n.inputs.items()
                          if any(t.source is port for t in terms))
            raise not_held(port.path, target, np.dtype(np.float32), where, rows[k, sample, index], int(index))
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.module.dtype)

    def _finite(self, values: Mapping[Port, torch.Tensor], states: States) -> None:
        """RunError where a port or a state of this step is NaN or infinite."""
        for node in self.part.nodes:
            held = {p.path: values[p] for p in node.process.out_ports} | {f"{node.process.path}.{n}": x for n, x in states[node].items()}
            for path, x in held.items():
                if not x.isfinite().all():
                    sample, index = divmod(int((~x.isfinite()).reshape(-1).nonzero()[0]), x[0].numel())
                    where = f", sample {sample}" if self.batch > 1 else ""
                    raise RunError(f"{path}, step {self.step + 1}{where}: {x[sample].reshape(-1)[index]} at flat index {index}, the first "
                                   "NaN or infinity of this run")

    def _value(self, var: Var) -> np.ndarray:
        """The Var over the batch."""
        node = self.part.node_of(var.process)
        state = self.states[node].get(var.name) if node is not None else None
        if state is not None:
            return state.numpy()
        return np.broadcast_to(var.value, (self.batch, *var.shape))

    def dtype_of(self, target: Port | Var) -> np.dtype:
        if isinstance(target, Port):
            return self.part.dtype_of(target)
        return target.value.dtype if target.role == "parameter" else np.dtype(str(self.module.dtype).removeprefix("torch."))

    @torch.no_grad()
    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        node = self.part.node_of(port.process)
        assert node is not None
        constants = self.module.constants([node])[node]
        sent = node.model.send(self.states[node], constants)[port.name]  # type: ignore[attr-defined]
        return sent.expand(self.batch, *port.shape).reshape(1, self.batch, -1).numpy()

    def snapshot(self) -> tuple[int, States]:
        return self.step, {n: dict(s) for n, s in self.states.items()}  # tensors are replaced, never changed

    def restore(self, snapshot: tuple[int, States]) -> None:
        self.step, states = snapshot
        self.states = dict(zip(self.states, (dict(s) for s in states.values()), strict=True))

    def read(self, var: Var) -> np.ndarray:
        return self._value(var)[0] if var.role == "state" else var.value

    def write(self, var: Var, value: np.ndarray) -> None:
        node = self.part.node_of(var.process)
        if node is None:
            return
        if var.role == "state":
            self.states[node][var.name] = torch.tensor(value, dtype=self.module.dtype).expand(self.batch, *var.shape)
            return
        held = self.module.tensor(var)
        old, held.data = held.data, self.module.as_tensor(var, value)
        try:
            self.module.constants()
        except Exception:
            held.data = old
            raise
