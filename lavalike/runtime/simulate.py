"""simulate: a run in one call, from arrays to arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lavalike.backends import get_backend
from lavalike.backends.base import Program
from lavalike.compiler.graph import flatten
from lavalike.errors import InputError
from lavalike.model.config import RunConfig
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.process import AbstractProcess, component, walk
from lavalike.process.var import Var, resolved
from lavalike.runtime.runtime import Stretches

Target = Port | Var


class Recording(Mapping[Any, np.ndarray]):
    """What a run recorded: ``rec["out"]``, ``rec[port]``, ``rec[var]``, arrays ``(batch, *shape, time)``, without
    the batch axis where the inputs had none. ``program`` is what ran."""

    def __init__(self, process: AbstractProcess, arrays: dict[Target, np.ndarray], batched: bool, program: Program) -> None:
        self._process, self._arrays, self._batched, self.program = process, arrays, batched, program

    def __getitem__(self, key: Target | str) -> np.ndarray:
        target = resolved(find(self._process, key, Port | Var) if isinstance(key, str) else key)
        if target not in self._arrays:
            raise KeyError(f"{target!r} was not recorded; recorded are {[t.path for t in self._arrays]}")
        rows = self._arrays[target]
        full = np.moveaxis(rows.reshape(*rows.shape[:2], *target.shape), 0, -1)
        return full if self._batched else full[0]

    def __iter__(self) -> Iterator[Target]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return "Recording(" + ", ".join(f"{t.path}: {self[t].shape} {self[t].dtype}" for t in self) + ")"


def find(process: AbstractProcess, key: Any, kind: Any) -> Any:
    """The port or Var meant by ``key``: itself, a name on ``process``, a dotted path from it, or a name that is
    unique among everything connected to it."""
    if isinstance(key, Port | Var):
        if key.process is None or not isinstance(key, kind):
            raise InputError(f"{key!r} is not a {_kind_name(kind)} of a process here")
        return key
    if not isinstance(key, str):
        raise InputError(f"expected a port, a Var or a name, got {key!r}")
    own = getattr(process, key, None) if key.isidentifier() else None
    if isinstance(own, kind):
        return own
    everything = [p for top in component(process) for p in walk(top)]
    parts = [x for p in everything for x in (*p.in_ports, *p.out_ports, *p.vars) if isinstance(x, kind)]
    prefix = f"{process.path}."
    hits = [x for x in parts if key in (x.path, x.path.removeprefix(prefix))] or [x for x in parts if x.name == key]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise InputError(f"{process.path}: {key!r} is ambiguous: {', '.join(x.path for x in hits)}; give the path or the object")
    raise InputError(f"{process.path}: no {_kind_name(kind)} called {key!r}; there are {', '.join(sorted(x.path for x in parts))}")


def _kind_name(kind: Any) -> str:
    return {InPort: "InPort", OutPort: "OutPort", Port: "port", Var: "Var"}.get(kind, "port or Var")


def simulate(process: AbstractProcess, inputs: Mapping[Port | str, Any] | None = None, steps: int | None = None,
             config: RunConfig | None = None, record: Sequence[Target | str] = ()) -> Recording:
    """Run everything connected to ``process`` from its Vars' present values, and leave the processes as they were.

    Args:
        process: usually the network.
        inputs: InPorts (or names) to arrays ``(*port.shape, time)``, or ``(batch, *port.shape, time)`` for a whole
            batch at once. Only unconnected InPorts can be fed; other unconnected ones read zeros.
        steps: how many; default the inputs' length. Longer inputs are cut, shorter ones are an error.
        config: default ``RunConfig()``.
        record: ports and Vars to record besides the OutPorts of ``process``, which always are. A Var is recorded
            as it stands at the end of each step. Memory: steps x batch x size x itemsize bytes each.

    Returns:
        A :class:`Recording`.
    """
    config = config or RunConfig()
    fed = {find(process, key, InPort): np.asarray(value) for key, value in (inputs or {}).items()}
    if len(fed) < len(inputs or {}):
        raise InputError(f"{process.path}: two inputs for one port: {[str(k) for k in inputs or {}]}")
    for port in fed:
        if port.sources:
            senders = ", ".join(map(repr, port.sources))
            raise InputError(f"{port!r} is connected already, to {senders}; only an unconnected InPort can be fed")
    steps, batch = _extent(fed, steps)
    backend = get_backend(config.backend)
    graph = flatten(process, config, backend.general_model, fed)
    targets = list(dict.fromkeys([*process.out_ports, *(resolved(find(process, r, Port | Var)) for r in record)]))
    known = {id(p) for p in graph.processes}
    for part in (*fed, *targets):
        if id(part.process) not in known:
            raise InputError(f"{part!r} is not connected to {process.path}")
    program = backend.build(graph, batch or 1, targets)
    arrays: dict[Target, np.ndarray] = {}
    for target in targets:
        dtype = program.dtype_of(target)
        shape = (steps, batch or 1, target.size)
        try:
            arrays[target] = np.empty(shape, dtype)
        except MemoryError:
            size = np.prod(shape) * dtype.itemsize / 2**30
            raise InputError(f"recording {target!r} needs {size:.1f} GiB; record less or run fewer steps") from None
    rows = {port: _rows(port, x, steps, batch, config) for port, x in fed.items()}
    stretches, done = Stretches(program), 0
    while done < steps:
        n = min(stretches.size, steps - done)
        part = slice(done, done + n)
        stretches.run(program, n, {p: r[part] for p, r in rows.items()}, {t: a[part] for t, a in arrays.items()})
        done += n
    return Recording(process, arrays, batch is not None, program)


def _extent(fed: Mapping[InPort, np.ndarray], steps: int | None) -> tuple[int, int | None]:
    """Steps and batch size (None: no batch axis) on which all inputs agree."""
    batches: dict[InPort, int | None] = {}
    for port, x in fed.items():
        n = len(port.shape)
        if x.ndim not in (n + 1, n + 2) or x.shape[x.ndim - n - 1:-1] != port.shape:
            raise InputError(f"{port!r}: input has shape {x.shape}; expected {(*port.shape, 'time')} or {('batch', *port.shape, 'time')}")
        if x.dtype.kind not in "biuf":
            raise InputError(f"{port!r}: input has dtype {x.dtype}; expected real numbers")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise InputError(f"{port!r}: input has {int((~np.isfinite(x)).sum())} NaN or infinite values")
        batches[port] = x.shape[0] if x.ndim == n + 2 else None
    sizes = set(batches.values())
    if len(sizes) > 1:
        raise InputError(f"inputs differ in batch size: {({p.path: b for p, b in batches.items()})}")
    if 0 in sizes:
        raise InputError("inputs have a batch of 0")
    if steps is None:
        if not fed:
            raise InputError("simulate: steps is needed where no input gives the length")
        steps = min(x.shape[-1] for x in fed.values())
        lengths = {p.path: x.shape[-1] for p, x in fed.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"inputs differ in length: {lengths}; make them equal or give steps")
    if isinstance(steps, bool) or steps != int(steps) or steps < 1:
        raise InputError(f"simulate: steps is an integer >= 1, got {steps!r}")
    for port, x in fed.items():
        if x.shape[-1] < steps:
            raise InputError(f"{port!r}: input has {x.shape[-1]} steps, the run {steps}")
    return int(steps), next(iter(sizes), None)


def _rows(port: InPort, x: np.ndarray, steps: int, batch: int | None, config: RunConfig) -> np.ndarray:
    """Time-major rows (steps, batch, size) in the dtype of messages."""
    x = x[..., :steps]
    dtype = np.dtype(np.int32 if config.fixed else config.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # too large for the dtype: told below
        rows = np.ascontiguousarray(np.moveaxis(x, -1, 0), dtype).reshape(steps, batch or 1, port.size)
    if config.fixed and x.dtype.kind in "iuf" and not np.array_equal(rows.reshape(-1), np.moveaxis(x, -1, 0).reshape(-1)):
        raise InputError(f"{port!r}: fixed_pt needs whole numbers within 32 bits")
    if not config.fixed and x.dtype.kind == "f" and x.dtype.itemsize > dtype.itemsize and not np.isfinite(rows).all():
        worst = x.reshape(-1)[np.argmax(np.abs(x))]
        raise InputError(f"{port!r}: {worst:g} is beyond {dtype}" + ("; RunConfig(dtype='float64') holds it" if config.dtype == "float32"
                                                                       else ""))
    return rows
