"""TorchProgram: a ProcessModule behind the runtime's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lavalike.backends.base import one_for_all
from lavalike.backends.torch.module import (
    ProcessModule,
    States,
    Tensors,
    Values,
    held_by,
    states_of,
    torch_model,
    whole,
)
from lavalike.compiler.flat import Node
from lavalike.compiler.parts import Part
from lavalike.errors import InputError, RunError
from lavalike.process import OutPort, Port, Var

Snapshot = tuple[int, list[Tensors]]  # steps done, and the states of each node
ROOM = 0.5  # of a device's free memory that the messages of one stretch may take


def device_of(name: str | None) -> torch.device:
    """The device of this name; InputError where torch has none that computes."""
    try:
        device = torch.device(name or "cpu")
        torch.ones(1, device=device).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise InputError(
            f"RunConfig: device={name!r}: torch {torch.__version__} does not compute there: {why}; "
            "leave device out for the CPU"
        ) from e
    return device


class TorchProgram:
    """See :class:`lavalike.backends.base.Program`."""

    def __init__(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> None:
        self.part, self.batch, self.step, self.check = (
            part,
            batch,
            part.step,
            part.target.options.check,
        )
        self.device = device_of(part.target.options.device)
        self.module = ProcessModule(part.processes[0], part).to(self.device)
        self.states: States = self.module.initial(batch)

    def run(
        self,
        steps: int,
        heard: Mapping[Port, np.ndarray],
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        most = self._most(steps)
        for first in range(0, steps, most):
            here = slice(first, min(first + most, steps))
            self._run(
                here.stop - first,
                {p: x[here] for p, x in heard.items()},
                {t: x[here] for t, x in recordings.items()},
            )

    def _most(self, steps: int) -> int:
        """Steps whose messages the device has room for."""
        if self.device.type != "cuda":
            return steps
        sizes = sum(p.size for n in self.part.nodes for p in n.process.out_ports)
        sizes += sum(p.size for p in self.part.hears)
        # what a port sends, its currents, and copies in another order: four of each
        each = 4 * self.module.dtype.itemsize * self.batch * max(sizes, 1)
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(1, min(steps, int(free * ROOM / each)))

    @torch.no_grad()
    def _run(
        self,
        steps: int,
        heard: Mapping[Port, np.ndarray],
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        m, constants = self.module, self.module.constants()
        fed = {
            p: torch.from_numpy(np.ascontiguousarray(heard[p]))
            .unflatten(-1, p.shape)
            .to(self.device)
            for p in self.part.hears
        }
        if m.feedback or any(isinstance(t, Var) for t in recordings) or self.check:
            self._steps(steps, fed, constants, recordings)
            return
        last = {p: x.movedim(0, -1) for p, x in fed.items()}
        try:
            values, states = m.sequence(self.step + 1, steps, last, self.states, constants)
        except RunError:  # states are those of the step before
            self._steps(steps, fed, constants, recordings)
            raise
        self.states = states
        self.step += steps
        for port in (t for t in recordings if isinstance(t, Port)):
            total = m.total(self.part.terms(port), port, values, self.batch, steps).reshape(
                self.batch, -1, steps
            )
            recordings[port][...] = total.permute(2, 0, 1).cpu().numpy()

    def _steps(
        self,
        steps: int,
        fed: Values,
        constants: Mapping[Node, Mapping[str, object]],
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        """One after the other."""
        m = self.module
        ports = {t: self.part.terms(t) for t in recordings if isinstance(t, Port)}
        varied = [t for t in recordings if isinstance(t, Var)]
        for k in range(steps):
            values, states = m.step(
                self.step + 1, {p: x[k] for p, x in fed.items()}, self.states, constants
            )
            if self.check:
                self._finite(values, states)
            self.states = states
            self.step += 1
            for port, terms in ports.items():
                recordings[port][k] = (
                    m.total(terms, port, values, self.batch).reshape(self.batch, -1).cpu().numpy()
                )
            for var in varied:
                recordings[var][k] = self.values(var).reshape(self.batch, -1)

    def record(self, recordable: Sequence[Port | Var]) -> None:
        """Let runs record these too: nothing is prepared for it."""

    def _finite(self, values: Mapping[Port, torch.Tensor], states: States) -> None:
        """RunError where a port or a state of this step is NaN or infinite."""
        for node in self.part.nodes:
            held = {p.path: values[p] for p in node.process.out_ports} | {
                f"{node.process.path}.{n}": x for n, x in states[node].items()
            }
            for path, x in held.items():
                if not x.isfinite().all():
                    sample, index = divmod(
                        int((~x.isfinite()).reshape(-1).nonzero()[0]), x[0].numel()
                    )
                    where = f", sample {sample}" if self.batch > 1 else ""
                    raise RunError(
                        f"{path}, step {self.step + 1}{where}: {x[sample].reshape(-1)[index]} at flat index {index}, the first "
                        "NaN or infinity of this run"
                    )

    def values(self, var: Var) -> np.ndarray:
        """The Var over the batch."""
        node = self.part.node_of(var.process)
        if node is not None and var.name in torch_model(node).ends:
            return (
                self.states[node][torch_model(node).ends[var.name]].cpu().double().numpy()
                + self.step
            )
        if node is not None and var.name in torch_model(node).complexes:
            re, im = (self.states[node][n] for n in states_of(node, var))
            return torch.complex(re.contiguous(), im.contiguous()).cpu().numpy()
        state = self.states[node].get(var.name) if node is not None else None
        if state is not None:
            return state.cpu().numpy().astype(self.dtype_of(var), copy=False)
        return np.broadcast_to(var.value, (self.batch, *var.shape))

    def dtype_of(self, target: Port | Var) -> np.dtype:
        if isinstance(target, Port):
            return self.part.dtype_of(target)
        node = self.part.node_of(target.process)
        if node is None or target.role == "parameter":
            return target.value.dtype
        if target.name in torch_model(node).complexes:
            return np.result_type(node.model.config.message_dtype, np.complex64)
        if target.name in torch_model(node).kinds:
            return self.states[node][target.name][:0].cpu().numpy().dtype
        ends = torch_model(node).ends
        return np.dtype(np.float64) if target.name in ends else node.model.config.message_dtype

    @torch.no_grad()
    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        node = self.part.node_of(port.process)
        assert node is not None
        constants = self.module.constants([node])[node]
        sent = torch_model(node).ahead(self.states[node], constants, port.name, steps)
        return np.stack(
            [x.expand(self.batch, *port.shape).reshape(self.batch, -1).cpu().numpy() for x in sent]
        )

    def snapshot(self) -> Snapshot:
        # tensors are replaced, never changed
        return self.step, [dict(self.states[n]) for n in self.part.nodes]

    def restore(self, snapshot: Snapshot) -> None:
        self.step, states = snapshot
        self.states = dict(zip(self.part.nodes, map(dict, states), strict=True))

    def read(self, var: Var) -> np.ndarray:
        return self.values(var)[0] if var.role == "state" else var.value

    def write(self, var: Var, value: np.ndarray) -> None:
        self.put(var, value, None)

    @torch.no_grad()
    def put(self, var: Var, value: np.ndarray, sample: int | None) -> None:
        """Set the Var, a state also in one sample alone."""
        node = self.part.node_of(var.process)
        if node is None:
            return
        if var.role == "state":
            whole(node, var, value)
            name = torch_model(node).ends.get(var.name)
            dtype = self.module.dtype_for(node)
            kept = var.name in torch_model(node).kinds
            held = torch.tensor(
                value if name is None else value.astype(np.float64) - self.step,
                dtype=self.states[node][var.name].dtype
                if kept
                else dtype.to_complex()
                if value.dtype.kind == "c"
                else dtype,
                device=self.device,
            )
            for part, x in held_by(node, var, held):
                each = x.expand(self.batch, *var.shape)
                if sample is not None:
                    each = self.states[node][part].clone()
                    each[sample] = x
                self.states[node][part] = each
            return
        if sample is not None:
            raise one_for_all(var.path)
        held = self.module.tensor(var)
        old, held.data = held.data, self.module.as_tensor(var, value).to(self.device)
        try:
            self.module.constants()
        except Exception:
            held.data = old
            raise
