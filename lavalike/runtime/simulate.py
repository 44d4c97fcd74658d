"""simulate: a run in one call, from arrays to arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from lavalike.arguments import (
    FLAG,
    Rule,
    arguments,
    as_numbers,
    instance,
    integer,
    optional,
    shown,
)
from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.errors import InputError, InputTypeError
from lavalike.model.config import RunConfig
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.process import AbstractProcess
from lavalike.process.var import Var, resolved
from lavalike.progress import Progress
from lavalike.runtime.recording import AmbiguousError as AmbiguousError, Recording, Target, find
from lavalike.runtime.runtime import Stretches
from lavalike.runtime.workers import compiled

Inputs = (
    Mapping[str, Any] | Mapping[InPort, Any] | Mapping[Port | str, Any]
)  # a Mapping's key is invariant
INPUTS, RECORD = "simulate: inputs: ", "simulate: record: "  # how errors about them begin

_STEPS = integer(1)
TARGETS = Rule(
    "a list of ports, Vars or names",
    lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | Port | Var | Mapping),
)


def recorded(process: AbstractProcess, record: Iterable[Target | str]) -> list[Target]:
    """The OutPorts of ``process``, and what ``record`` names besides."""
    named = (resolved(find(process, r, Port | Var, RECORD)) for r in record)
    return list(dict.fromkeys([*process.out_ports, *named]))


@arguments(
    process=instance(AbstractProcess, words="a process"),
    inputs=optional(
        Rule("a dict of InPorts, or their names, to arrays", lambda v: isinstance(v, Mapping))
    ),
    config=optional(instance(RunConfig)),
    record=TARGETS,
    progress=FLAG,
)
def simulate(
    process: AbstractProcess,
    inputs: Inputs | None = None,
    steps: int | None = None,
    config: RunConfig | None = None,
    record: Iterable[Target | str] = (),
    progress: bool = False,
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
        progress: show on stderr how many steps are done, by tqdm where it is installed. What
            computes all steps at once (a chip) shows none between. Default False.

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
    with Progress("simulate", steps) if progress else nullcontext() as bar:
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
            if bar is not None:
                bar.update(n)
            if program.request:  # a model ended it
                done = program.step - flat.step
                arrays = {t: a[:done] for t, a in arrays.items()}
                break
    program.close()
    return Recording(process, arrays, batch is not None, program, flat.step + 1)


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
