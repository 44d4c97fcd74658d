"""simulate: a run in one call, from arrays to arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from lavalike.arguments import (
    Rule,
    arguments,
    as_numbers,
    did_you_mean,
    instance,
    integer,
    optional,
    shown,
)
from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.errors import InputError, InputTypeError, NotRecordedError, RunError
from lavalike.model.config import RunConfig
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.process import AbstractProcess, component, walk
from lavalike.process.var import Var, resolved
from lavalike.runtime.engine import Engine
from lavalike.runtime.runtime import Stretches
from lavalike.runtime.workers import Workers, compiled

Target = Port | Var
Inputs = (
    Mapping[str, Any] | Mapping[InPort, Any] | Mapping[Port | str, Any]
)  # a Mapping's key is invariant
INPUTS, RECORD = "simulate: inputs: ", "simulate: record: "  # how errors about them begin
MOST_NAMES = 40  # in a message

_STEPS = integer(1)
TARGETS = Rule(
    "a list of ports, Vars or names",
    lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | Port | Var | Mapping),
)


class AmbiguousError(InputError):
    """Several parts go by the name.

    Causes: a name that more than one process, port or Var has.
    Remedy: the port or Var itself, or its path (``net.hidden.v``).
    """


class Recording(Mapping[Any, np.ndarray]):
    """What a run recorded: ``rec["out"]``, ``rec[port]``, ``rec[var]``, arrays
    ``(batch, *shape, time)``, without the batch axis where the inputs had none. ``program`` is what
    ran; RunError where that was elsewhere (simulate_many).

    What was not recorded is a NotRecordedError (InputError and KeyError), so that ``in`` and
    ``get`` act as those of a dict.

    Example:
        >>> lif = proc.LIF(shape=(3,), vth=1.0)
        >>> rec = lv.simulate(lif, {"a_in": np.ones((2, 3, 20))}, record=[lif.v])
        >>> rec["s_out"].shape, rec[lif.v].shape, lif.u in rec
        ((2, 3, 20), (2, 3, 20), False)
    """

    def __init__(
        self,
        process: AbstractProcess,
        arrays: dict[Target, np.ndarray],
        batched: bool,
        program: Engine | Workers | None,
    ) -> None:
        self._process, self._arrays, self._batched, self._program = (
            process,
            arrays,
            batched,
            program,
        )

    @property
    def program(self) -> Engine | Workers:
        if self._program is None:
            raise RunError(
                "Recording.program: simulate_many computed this in a copy of the network, and hands on what was recorded only; "
                "simulate keeps the program"
            )
        return self._program

    def __getitem__(self, key: Target | str) -> np.ndarray:
        target = self._target(key)
        if target not in self._arrays:
            raise NotRecordedError(
                f"{target!r} was not recorded; recorded are {self._paths()}; simulate(record=[...]) asks for more"
            )
        rows = self._arrays[target]
        full = np.moveaxis(rows.reshape(*rows.shape[:2], *target.shape), 0, -1)
        return full if self._batched else full[0]

    def _target(self, key: Target | str) -> Target:
        if not isinstance(key, Port | Var | str):
            raise InputTypeError(
                f"Recording: a port, a Var or a name is expected, got {shown(key)} ({type(key).__name__}); "
                f"recorded are {self._paths()}"
            )
        if not isinstance(key, str):
            return resolved(key)
        try:
            return resolved(find(self._process, key, Port | Var))
        except AmbiguousError:
            raise
        except InputError as e:
            raise NotRecordedError(f"{e}; recorded are {self._paths()}") from None

    def _paths(self) -> str:
        return ", ".join(t.path for t in self._arrays) or "none"

    def __contains__(self, key: object) -> bool:
        try:
            return self._target(key) in self._arrays  # type: ignore[arg-type]  # what is no key is told
        except (NotRecordedError, InputTypeError):
            return False

    def __iter__(self) -> Iterator[Target]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return (
            "Recording("
            + ", ".join(f"{t.path}: {self[t].shape} {self[t].dtype}" for t in self)
            + ")"
        )


def find(process: AbstractProcess, key: Any, kind: Any, argument: str = "") -> Any:
    """The port or Var meant by ``key``: itself, a name on ``process``, a dotted path from it, or a
    name that is unique among everything connected to it. Errors begin with ``argument``."""
    where = f"{argument}{process.path}"
    if isinstance(key, Port | Var):
        if not isinstance(key, kind):
            raise InputTypeError(
                f"{where}: {_kind_name(kind)} expected, got {type(key).__name__} {key!r}"
            )
        if key.process is None:
            raise InputError(
                f"{where}: {_kind_name(kind)} of a process expected, got {key!r}, which belongs to none"
            )
        return key
    if not isinstance(key, str):
        raise InputTypeError(
            f"{where}: {_kind_name(kind)}, or the name of one, expected, got {shown(key)} ({type(key).__name__})"
        )
    own: Any = process
    for name in key.split("."):  # through attributes, as in net.in_layer.neuron.a_in
        at, own = (
            own,
            getattr(own, name, None)
            if name.isidentifier() and isinstance(own, AbstractProcess)
            else None,
        )
        if isinstance(own, AbstractProcess) and own.name.startswith(f"{name}#"):
            alike = [p.path for p in at.procs if p.name == name or p.name.startswith(f"{name}#")]
            raise AmbiguousError(
                f"{where}: {key!r} is ambiguous: several processes were assigned to {at.path}.{name}, {', '.join(alike)}; "
                "give the path or the object"
            )
    if isinstance(own, kind):
        return own
    everything = [p for top in component(process) for p in walk(top)]
    parts = [
        x for p in everything for x in (*p.in_ports, *p.out_ports, *p.vars) if isinstance(x, kind)
    ]
    prefix = f"{process.path}."
    hits = [x for x in parts if key in (x.path, x.path.removeprefix(prefix))] or [
        x for x in parts if x.name == key
    ]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise AmbiguousError(
            f"{where}: {key!r} is ambiguous: {', '.join(x.path for x in hits)}; give the path or the object"
        )
    near = did_you_mean(
        key,
        dict.fromkeys([*(x.name for x in parts), *(x.path.removeprefix(prefix) for x in parts)]),
    )
    paths = sorted(x.path for x in parts)
    some = ", ".join(paths[:MOST_NAMES]) + (
        f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
    )
    raise InputError(
        f"{where}: no {_kind_name(kind).split(' ', 1)[1]} called {shown(key)}{near}; there are {some or 'none'}"
    )


def recorded(process: AbstractProcess, record: Iterable[Target | str]) -> list[Target]:
    """The OutPorts of ``process``, and what ``record`` names besides."""
    named = (resolved(find(process, r, Port | Var, RECORD)) for r in record)
    return list(dict.fromkeys([*process.out_ports, *named]))


def _kind_name(kind: Any) -> str:
    return {InPort: "an InPort", OutPort: "an OutPort", Port: "a port", Var: "a Var"}.get(
        kind, "a port or Var"
    )


@arguments(
    process=instance(AbstractProcess, words="a process"),
    inputs=optional(
        Rule("a dict of InPorts, or their names, to arrays", lambda v: isinstance(v, Mapping))
    ),
    config=optional(instance(RunConfig)),
    record=TARGETS,
)
def simulate(
    process: AbstractProcess,
    inputs: Inputs | None = None,
    steps: int | None = None,
    config: RunConfig | None = None,
    record: Iterable[Target | str] = (),
) -> Recording:
    """Run everything connected to ``process`` from its Vars' present values and count of steps, and
    leave the processes as they were.

    Args:
        process: usually the network.
        inputs: InPorts (or names) to arrays ``(*port.shape, time)``, or
            ``(batch, *port.shape, time)`` for a whole batch at once. InPorts that nothing sends to
            can be fed, unconnected or behind unconnected ones (``net.in_layer.neuron.a_in`` behind
            ``net.inp``: nothing but that port gets it then); others read zeros.
        steps: how many; default the inputs' length. Longer inputs are cut, shorter ones are an
            error.
        config: default ``RunConfig()``.
        record: ports and Vars to record besides the OutPorts of ``process``, which always are. A
            Var is recorded as it stands at the end of each step. Memory: steps x batch x size x
            itemsize bytes each.

    Returns:
        A :class:`Recording`.

    Raises InputError (InputTypeError for a wrong kind) for inputs, steps and records that do not
    fit, RunError while another thread runs the process, and what compiling and running raise.
    """
    config = config or RunConfig()
    fed = {
        find(process, key, InPort, INPUTS): _numbers(key, value)
        for key, value in (inputs or {}).items()
    }
    if len(fed) < len(inputs or {}):
        raise InputError(
            f"{INPUTS}{process.path}: two inputs for one port: {[str(k) for k in inputs or {}]}"
        )
    for port in fed:
        _check_free(port, fed)
    steps, batch = _extent(fed, steps)
    flat = flatten(process, config, get_backend, fed)
    targets = recorded(process, record)
    known = {id(p) for p in flat.processes}
    for argument, part in (*((INPUTS, p) for p in fed), *((RECORD, t) for t in targets)):
        if id(part.process) not in known:
            raise InputError(f"{argument}{part!r} is not connected to {process.path}")
    program = compiled(flat, batch or 1, targets, get_backend)
    arrays: dict[Target, np.ndarray] = {}
    for target in targets:
        dtype = program.dtype_of(target)
        shape = (steps, batch or 1, target.size)
        try:
            arrays[target] = np.empty(shape, dtype)
        except (MemoryError, ValueError, OverflowError):  # beyond what there is, or can be
            size = math.prod(shape) * dtype.itemsize / 2**30
            raise InputError(
                f"{RECORD}{target!r} needs {size:.1f} GiB; record less or run fewer steps"
            ) from None
    rows = {port: _rows(port, x, steps, batch, flat.dtype_of(port)) for port, x in fed.items()}
    stretches, done = Stretches(program), 0
    while done < steps:
        n = int(min(stretches.size, steps - done))
        part = slice(done, done + n)
        stretches.run(
            program,
            n,
            {p: r[part] for p, r in rows.items()},
            {t: a[part] for t, a in arrays.items()},
        )
        done += n
        if program.request:  # a model ended it
            done = program.step - flat.step
            arrays = {t: a[:done] for t, a in arrays.items()}
            break
    program.close()
    return Recording(process, arrays, batch is not None, program)


def _numbers(key: Port | str, value: Any) -> np.ndarray:
    array = as_numbers(value)
    if array is None or array.dtype.kind == "c":
        kind = (
            f"has dtype {array.dtype}"
            if array is not None
            else f"is {shown(value)} ({type(value).__name__})"
        )
        needs_grad = getattr(value, "requires_grad", False) is True
        remedy = "no gradient passes here: detach() it" if needs_grad else "an array without gaps"
        raise InputTypeError(f"{INPUTS}the input of {key} {kind}; expected real numbers, {remedy}")
    return array


def _check_free(port: InPort, fed: Mapping[InPort, Any]) -> None:
    """InputError where something else sends to ``port``."""
    todo, senders = [source for view in port.sources for source in view.ports], []
    while todo:
        source = todo.pop()
        if source in fed:
            raise InputError(
                f"{INPUTS}{port!r} gets what {source!r} gets, and both are fed; feed one of them"
            )
        inner = [s for view in source.sources for s in view.ports]
        todo += inner
        if not inner and isinstance(source, OutPort):
            senders.append(repr(source))
    if senders:
        raise InputError(
            f"{INPUTS}{port!r} is connected already, to {', '.join(dict.fromkeys(senders))}; only an InPort that nothing "
            "sends to can be fed"
        )


def _extent(fed: Mapping[InPort, np.ndarray], steps: int | None) -> tuple[int, int | None]:
    """Steps and batch size (None: no batch axis) on which all inputs agree."""
    batches: dict[InPort, int | None] = {}
    for port, x in fed.items():
        n = len(port.shape)
        if x.ndim not in (n + 1, n + 2) or x.shape[x.ndim - n - 1 : -1] != port.shape:
            raise InputError(
                f"{INPUTS}{port!r}: input has shape {x.shape}; expected {(*port.shape, 'time')} or "
                f"{('batch', *port.shape, 'time')}"
            )
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise InputError(
                f"{INPUTS}{port!r}: input has {int((~np.isfinite(x)).sum())} NaN or infinite values"
            )
        batches[port] = x.shape[0] if x.ndim == n + 2 else None
    sizes = set(batches.values())
    if len(sizes) > 1:
        raise InputError(
            f"{INPUTS}these differ in batch size: { ({p.path: b for p, b in batches.items()}) }"
        )
    if 0 in sizes:
        raise InputError(f"{INPUTS}these have a batch of 0")
    if steps is None:
        if not fed:
            raise InputError("simulate: steps is needed where no input gives the length")
        steps = min(x.shape[-1] for x in fed.values())
        lengths = {p.path: x.shape[-1] for p, x in fed.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"{INPUTS}these differ in length: {lengths}; make them equal or give steps"
            )
    _STEPS.check("simulate", "steps", steps)
    for port, x in fed.items():
        if x.shape[-1] < steps:
            raise InputError(f"{INPUTS}{port!r}: input has {x.shape[-1]} steps, the run {steps}")
    return int(steps), next(iter(sizes), None)


def _rows(
    port: InPort, x: np.ndarray, steps: int, batch: int | None, dtype: np.dtype
) -> np.ndarray:
    """Time-major rows (steps, batch, size) in ``dtype``, that of the messages of who hears them."""
    x = x[..., :steps]
    with np.errstate(invalid="ignore", over="ignore"):  # too large for the dtype: told below
        rows = np.ascontiguousarray(np.moveaxis(x, -1, 0), dtype).reshape(
            steps, batch or 1, port.size
        )
    fixed = dtype.kind == "i"
    if (
        fixed
        and x.dtype.kind in "iuf"
        and not np.array_equal(rows.reshape(-1), np.moveaxis(x, -1, 0).reshape(-1))
    ):
        raise InputError(f"{INPUTS}{port!r}: fixed_pt needs whole numbers within 32 bits")
    if (
        not fixed
        and x.dtype.kind == "f"
        and x.dtype.itemsize > dtype.itemsize
        and not np.isfinite(rows).all()
    ):
        worst = x.reshape(-1)[np.argmax(np.abs(x))]
        remedy = "; RunConfig(dtype='float64') holds it" if dtype == np.float32 else ""
        raise InputError(f"{INPUTS}{port!r}: {worst:g} is beyond {dtype}{remedy}")
    return rows
