"""What passes through the operations: recorded to be run again (hxtorch's inference tracer), or
counted for a report."""

from __future__ import annotations

import functools
import json
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch

from lavalike.arguments import PATH, TENSOR, arguments, instance, optional
from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RecordingError
from lavalike.errors import RunError

FORMAT, VERSION = "lavalike inference trace", 1
F = TypeVar("F", bound=Callable[..., Any])
TRACED = ("mac", "add", "argmax", "relu", "converting_relu")

# -- recorded, to be run again ---------------------------------------------------------------------


class InferenceTracer:
    """Records the operations between :meth:`start` and :meth:`stop` into a file that
    :func:`inference_trace` runs.

    They must be a chain: each one's input is the output of the one before (leading dimensions may
    be folded), else RecordingError (RuntimeError). argmax is recorded in the form dim=1,
    keepdim=True of a matrix only.

    Tracers nest: each records what passes while it is open. One that an error left open disturbs no
    later call: after a failed operation a break of the chain ends the recording and is told by
    :meth:`stop`; a tracer that nobody holds any more records no more; as a context manager, which
    writes the file at its end, it records no more after any error.

    Example:
        >>> layer = bss2.nn.Linear(20, 10, mock=True)
        >>> with bss2.InferenceTracer("trace.npz"):
        ...     out = layer(torch.full((4, 20), 10.0))
        ...

    Args:
        filename: of the file that :meth:`stop` writes.
    """

    @arguments(filename=PATH)
    def __init__(self, filename: str) -> None:
        self.filename = str(filename)
        self._steps: list[dict[str, Any]] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._last: torch.Tensor | None = None
        self._written = True
        self._problem: RecordingError | None = None
        self._failed = False  # an operation has failed since start()

    def start(self) -> None:
        """Record from here on. RunError while this tracer records."""
        if any(t is self for t in _recording()):
            raise RunError(
                "InferenceTracer.start: this tracer is recording already; stop() it first"
            )
        self._steps, self._arrays, self._last, self._written, self._problem, self._failed = (
            [],
            {},
            None,
            False,
            None,
            False,
        )
        _open.set((*_open.get(), weakref.ref(self)))

    def end(self) -> None:
        """Record no more; what was recorded is kept for :meth:`stop`."""
        _open.set(tuple(ref for ref in _open.get() if ref() not in (None, self)))

    def stop(self) -> list[str]:
        """End the recording and write the file; the names of what was recorded. RunError if this
        tracer is not recording.

        RecordingError where the file cannot be written; the recording is kept, and stop() writes it
        to another ``filename``. Also where the chain broke in a call that was not to be disturbed:
        after a failed operation, or within a tracer opened later.
        """
        self.end()
        if self._written:
            raise RunError("InferenceTracer.stop: this tracer is not recording; start() it first")
        if self._problem is not None:
            self._written = True
            raise self._problem
        meta = json.dumps(
            {"format": FORMAT, "version": VERSION, "operations": self._steps},
            default=lambda v: v.item(),
        )  # numpy's numbers
        try:
            with open(self.filename, "wb") as file:
                arrays: dict[str, Any] = {"meta": np.array(meta), **self._arrays}
                np.savez(file, **arrays)
        except OSError as e:
            raise RecordingError(
                f"InferenceTracer.stop: {self.filename} cannot be written ({e}); the recording is kept: set .filename to "
                "another path and stop() again"
            ) from e
        self._written = True
        return [s["operation"] for s in self._steps]

    def __enter__(self) -> InferenceTracer:
        self.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        if error is None:
            self.stop()
        else:
            self.end()

    def add(
        self,
        operation: str,
        input: torch.Tensor,
        output: torch.Tensor,
        tensors: Mapping[str, torch.Tensor],
        settings: dict[str, Any],
    ) -> None:
        """One more operation."""
        if self._last is not None and not _same(self._last, input):
            raise RecordingError(
                f"InferenceTracer: the input of {operation} (number {len(self._steps)}, {tuple(input.shape)}) is not the "
                f"output of {self._steps[-1]['operation']} before it, {tuple(self._last.shape)}; only chains of "
                "operations can be recorded"
            )
        if operation == "argmax" and (
            input.dim() != 2 or settings["dim"] != 1 or not settings["keepdim"]
        ):
            raise RecordingError(
                "InferenceTracer: argmax is recorded for 2-D inputs with dim=1 and keepdim=True, "
                f"got {input.dim()}-D, dim={settings['dim']}, keepdim={settings['keepdim']}"
            )
        for name, tensor in tensors.items():
            self._arrays[f"{len(self._steps)}.{name}"] = tensor.detach().cpu().numpy().copy()
        self._steps.append({"operation": operation, "tensors": list(tensors), "settings": settings})
        self._last = output.detach().clone()


# innermost last; a tracer that nobody holds any more is open no more
_open: ContextVar[tuple[weakref.ref[InferenceTracer], ...]] = ContextVar(
    "inference_tracers", default=()
)


def _recording() -> list[InferenceTracer]:
    return [tracer for ref in _open.get() if (tracer := ref()) is not None]


def tracing() -> bool:
    return bool(_recording())


def traced(operation: F) -> F:
    """Decorator of an operation: tracers are told where it fails."""

    @functools.wraps(operation)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return operation(*args, **kwargs)
        except BaseException:
            for tracer in _recording():
                tracer._failed = True
            raise

    return called  # type: ignore[return-value]  # as the operation is called


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (
        a.numel() == b.numel()
        and a.shape[-1:] == b.shape[-1:]
        and torch.equal(a.reshape(-1), b.detach().reshape(-1))
    )


def record(
    operation: str,
    input: torch.Tensor,
    output: torch.Tensor,
    tensors: Mapping[str, torch.Tensor] | None = None,
    **settings: Any,
) -> None:
    """Tell the tracers that record."""
    tracers = _recording()
    for tracer in tracers:
        try:
            tracer.add(operation, input, output, tensors or {}, settings)
        except RecordingError as e:
            tracer.end()
            if tracer is tracers[-1] and not tracer._failed:
                raise
            tracer._problem = e


@arguments(input=TENSOR, filename=PATH)
def inference_trace(input: torch.Tensor, filename: str) -> torch.Tensor:
    """Run what an :class:`InferenceTracer` wrote, each operation as mock or on the chip as it was
    recorded.

    RecordingError for a file that is none.
    """
    from lavalike.bss2.perceptron import functional

    x = input
    for operation, tensors, settings in _read(str(filename)):
        # matmul takes what mac does, and 1-D weights and batches of more dimensions
        x = getattr(functional, operation if operation != "mac" else "matmul")(
            x, *tensors, **settings
        )
    return x


def _read(filename: str) -> list[tuple[str, list[torch.Tensor], dict[str, Any]]]:
    try:
        with np.load(filename, allow_pickle=False) as file:
            arrays = {k: file[k] for k in file.files}
        meta = json.loads(str(arrays["meta"]))
        if (meta["format"], meta["version"]) != (FORMAT, VERSION):
            raise RecordingError(
                f"{filename}: expected {FORMAT!r} version {VERSION}, found {meta['format']!r} version {meta['version']}"
            )
        steps = []
        for k, step in enumerate(meta["operations"]):
            if step["operation"] not in TRACED:
                raise RecordingError(
                    f"{filename}: operation {k} is {step['operation']!r}, expected one of {', '.join(TRACED)}"
                )
            steps.append(
                (
                    step["operation"],
                    [torch.from_numpy(arrays[f"{k}.{t}"]) for t in step["tensors"]],
                    dict(step["settings"]),
                )
            )
    except FileNotFoundError as e:
        raise RecordingError(
            f"{filename}: no such file; InferenceTracer(filename).stop() writes one"
        ) from e
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as e:
        if isinstance(e, RecordingError):
            raise
        raise RecordingError(
            f"{filename}: no inference trace, or damaged ({e}); record it again with InferenceTracer"
        ) from e
    return steps


# -- counted, for a report -------------------------------------------------------------------------


@dataclass(frozen=True)
class Observation:
    """One product of one layer.

    Example:
        >>> model = torch.nn.Sequential(bss2.nn.Linear(20, 10, mock=True))
        >>> with bss2.perceptron.observe(model) as seen:
        ...     out = model(torch.full((4, 20), 10.0))
        ...
        >>> seen[0].inputs, seen[0].outputs, seen[0].rows
        (20, 10, 4)

    Args:
        layer: its name in the observed model, or its kind and sizes.
        inputs, outputs: K and N of the product.
        rows: how many vectors were multiplied.
        num_sends, wait: as the operation was told.
        clipped: weights beyond +-63 that the weight transform brought back.
        saturated: share of outputs at -128 or 127.
        nonzero: inputs above 0, of each part of 128 rows, mean of a vector: the events of one send.
    """

    layer: str
    inputs: int
    outputs: int
    rows: int
    num_sends: int
    wait: int
    clipped: int
    saturated: float
    nonzero: tuple[float, ...]


@dataclass
class _Observer:
    names: dict[int, str]
    seen: list[Observation] = field(default_factory=list)


_observer: ContextVar[_Observer | None] = ContextVar("observer", default=None)


@arguments(model=optional(instance(torch.nn.Module)))
@contextmanager
def observe(model: torch.nn.Module | None = None) -> Iterator[list[Observation]]:
    """Within, every product appends an :class:`Observation`; layers are called as in ``model``.
    Costs some passes over the data."""
    observer = _Observer(
        {} if model is None else {id(m): name for name, m in model.named_modules()}
    )
    token = _observer.set(observer)
    try:
        yield observer.seen
    finally:
        _observer.reset(token)


def name_of(module: torch.nn.Module, otherwise: str) -> str:
    """The module's name in the observed model."""
    observer = _observer.get()
    return observer.names.get(id(module), otherwise) if observer is not None else otherwise


def observing() -> bool:
    return _observer.get() is not None


def record_product(
    layer: str, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor, num_sends: int, wait: int
) -> None:
    """Count one product, if anyone observes."""
    observer = _observer.get()
    if observer is None:
        return
    on = (x.detach().reshape(-1, w.shape[0]).round() > 0).float()
    nonzero = tuple(
        part.sum(1).mean().item() if len(on) else 0.0 for part in on.split(facts.SIGNED_ROWS, 1)
    )
    y = out.detach()
    saturated = (
        ((y <= facts.OUTPUT_MIN) | (y >= facts.OUTPUT_MAX)).float().mean().item()
        if y.numel()
        else 0.0
    )
    observer.seen.append(
        Observation(layer, w.shape[0], w.shape[1], len(on), num_sends, wait, 0, saturated, nonzero)
    )


def record_clipped(clipped: int) -> None:
    """The last product's weights had so many beyond their range."""
    observer = _observer.get()
    if observer is not None and observer.seen:
        observer.seen[-1] = replace(observer.seen[-1], clipped=clipped)
