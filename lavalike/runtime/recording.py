"""Recording: what a run recorded, as arrays, pictures, tables and files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lavalike import atomic, container, html
from lavalike.arguments import PATH, arguments, did_you_mean, integer, optional, real, shown
from lavalike.compiler.order import unique
from lavalike.errors import (
    InputError,
    InputTypeError,
    LavalikeError,
    NotRecordedError,
    RunError,
)
from lavalike.extras import needed
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.process import AbstractProcess, component, walk
from lavalike.process.var import Var, resolved

if TYPE_CHECKING:
    from lavalike.contents import Decoder
    from lavalike.runtime.engine import Engine
    from lavalike.runtime.workers import Workers

Target = Port | Var
MOST_NAMES = 40  # in a message
FORMAT = 1
NAME, WRITER = "recording", "Recording.save"
COUNTED = 1 << 24  # elements of an array that a notebook looks through
_DT, _SAMPLE = optional(real(above=0)), integer(0)


class AmbiguousError(InputError):
    """Several parts go by the name.

    Causes: a name that more than one process, port or Var has.
    Remedy: the port or Var itself, or its path (``net.hidden.v``).
    """


@dataclass(frozen=True, eq=False)
class Kept:
    """A port or Var of a recording that was read from a file."""

    path: str
    name: str
    shape: tuple[int, ...]
    var: bool


class Recording(Mapping[Any, np.ndarray]):
    """What a run recorded: ``rec["out"]``, ``rec[port]``, ``rec[var]``, arrays
    ``(batch, *shape, time)``, without the batch axis where the inputs had none. ``program`` is what
    ran; RunError where that was elsewhere (simulate_many, a file).

    What was not recorded is a NotRecordedError (InputError and KeyError), so that ``in`` and
    ``get`` act as those of a dict.

    Attributes:
        steps: the number of each column's step, (time,), as processes count them: a fresh network's
            first is 1.
        batched: whether there is a batch axis.
        prefix: of the paths of what is inside the process that was simulated, ``"net."``.
        paths: what was recorded, a name for each target: its path, and ``path#2`` for another of
            the same.

    Example::

        rec = lv.simulate(net, {"inp": x}, record=["lif.v"])
        rec.plot("out")
        rec.save("run.h5")
        again = lv.Recording.load("run.h5")
        again["out"], again["lif.v"]
    """

    def __init__(
        self,
        process: AbstractProcess | None,
        arrays: Mapping[Any, np.ndarray],
        batched: bool,
        program: Engine | Workers | None,
        first: int = 1,
    ) -> None:
        self._process, self._arrays, self.batched = process, dict(arrays), batched
        self._program, self._first = program, first
        self.prefix = f"{process.path}." if process is not None else ""

    @property
    def program(self) -> Engine | Workers:
        if self._program is None:
            raise RunError(
                "Recording.program: this was computed elsewhere, in a copy of the network (simulate_many) or before it was saved, "
                "and holds what was recorded only; simulate keeps the program"
            )
        return self._program

    @property
    def steps(self) -> np.ndarray:
        count = len(next(iter(self._arrays.values()), ()))
        return np.arange(self._first, self._first + count)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(unique(t.path for t in self._arrays))

    def called(self, key: Any) -> str:
        """What ``key`` names, by its path from the process that was simulated."""
        return str(self._target(key).path).removeprefix(self.prefix)

    def is_var(self, key: Any) -> bool:
        """Whether ``key`` names a Var, not a port."""
        target = self._target(key)
        return target.var if isinstance(target, Kept) else isinstance(target, Var)

    def __getitem__(self, key: Target | Kept | str) -> np.ndarray:
        target = self._target(key)
        if target not in self._arrays:
            raise NotRecordedError(
                f"{target!r} was not recorded; recorded are {self._paths()}; simulate(record=[...]) asks for more"
            )
        rows = self._arrays[target]
        full = np.moveaxis(rows.reshape(*rows.shape[:2], *target.shape), 0, -1)
        return full if self.batched else full[0]

    def _target(self, key: Any) -> Any:
        if not isinstance(key, Port | Var | Kept | str):
            raise InputTypeError(
                f"Recording: a port, a Var or a name is expected, got {shown(key)} ({type(key).__name__}); "
                f"recorded are {self._paths()}"
            )
        if not isinstance(key, str):
            return resolved(key) if self._process is not None else self._kept(key)
        if "#" in key:
            known = dict(zip(self.paths, self._arrays, strict=True))
            if key in known:
                return known[key]
        if self._process is None:
            return self._kept(key)
        try:
            return resolved(find(self._process, key, Port | Var))
        except AmbiguousError:
            raise
        except InputError as e:
            raise NotRecordedError(f"{e}; recorded are {self._paths()}") from None

    def _kept(self, key: Any) -> Any:
        """What came from a file under ``key``: a path, the path from the process that was
        simulated, or a name that only one has."""
        if isinstance(key, Kept):
            return key
        name = key if isinstance(key, str) else resolved(key).path
        known = dict(zip(self.paths, self._arrays, strict=True))
        found = known.get(name, known.get(self.prefix + name))
        alike = [found] if found is not None else [t for t in self._arrays if t.name == name]
        if len(alike) > 1:
            raise AmbiguousError(
                f"Recording: {name!r} is ambiguous: {', '.join(t.path for t in alike)}; give the path"
            )
        if not alike:
            near = did_you_mean(name, [*known, *(t.name for t in self._arrays)])
            raise NotRecordedError(
                f"Recording: {shown(name)} was not recorded{near}; recorded are {self._paths()}"
            )
        return alike[0]

    def _paths(self) -> str:
        return ", ".join(t.path for t in self._arrays) or "none"

    def __contains__(self, key: object) -> bool:
        try:
            return self._target(key) in self._arrays
        except (NotRecordedError, InputTypeError):
            return False

    def __iter__(self) -> Iterator[Any]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return (
            "Recording("
            + ", ".join(f"{t.path}: {self[t].shape} {self[t].dtype}" for t in self)
            + ")"
        )

    def _repr_html_(self) -> str:
        rows = ([p, *self._told(self._arrays[t], t)] for p, t in zip(self.paths, self, strict=True))
        head = ["recorded", "shape", "dtype", "not 0", "least", "most"]
        samples = f"{html.count(self._batch(), 'sample')}, " if self.batched else ""
        return html.box(
            "Recording",
            f"{samples}{html.count(len(self.steps), 'step')}",
            html.table(head, rows, len(self), html.ROWS),
        )

    @staticmethod
    def _told(rows: np.ndarray, target: Any) -> list[object]:
        shape = html.shape(target.shape)
        if not 0 < rows.size <= COUNTED or rows.dtype.kind not in "biuf":
            return [shape, rows.dtype, "", "", ""]
        share = np.count_nonzero(rows) / rows.size
        return [shape, rows.dtype, f"{share:.2%}", f"{rows.min():.4g}", f"{rows.max():.4g}"]

    def _batch(self) -> int:
        return next((rows.shape[1] for rows in self._arrays.values()), 0)

    def _some(self, who: str) -> None:
        """NotRecordedError, ``who``'s, where nothing is in it."""
        if not self._arrays:
            raise NotRecordedError(
                f"Recording.{who}: nothing was recorded, as the process has no OutPort; simulate(record=[...]) names what to record"
            )
        if not len(self.steps):
            raise NotRecordedError(
                f"Recording.{who}: it holds no step; simulate(steps=...) says how many to run"
            )

    # -- other forms -------------------------------------------------------------------------------

    @arguments(sample=_SAMPLE, dt=_DT)
    def plot(
        self, of: Any = None, *, sample: int = 0, dt: float | None = None, ax: Any = None
    ) -> Any:
        """Draw what was recorded over time: spikes (a port's 0 and 1) as a raster, anything else as
        traces; see :mod:`lavalike.plot`. Needs matplotlib, the extra [plot].

        Args:
            of: a port, a Var or a name. Default None: all, one field below the other.
            sample: which of a batch. Default 0.
            dt: seconds a step, for the axis of time. Default None: it counts steps.
            ax: matplotlib's axes to draw ``of`` on. Default None: a new figure.

        Returns:
            The axes; an array of them where there are several. Nothing is shown: notebooks do, and
            ``matplotlib.pyplot.show()``.

        Raises NotRecordedError for what is not in it, MissingExtraError without matplotlib.
        """
        self._some("plot")
        from lavalike import plot

        keys = [*self] if of is None else [of]
        if len(keys) > 1 and ax is not None:
            raise InputError(f"Recording.plot: ax is for one of {self._paths()}; say which with of")
        return plot.series.stacked(self, keys, sample, dt, ax)

    @arguments(dt=_DT)
    def to_xarray(self, dt: float | None = None) -> Any:
        """An ``xarray.Dataset`` with a variable for each target, by path: over ``batch`` (where
        there is one), the target's axes ``path[0]``, ``path[1]``, ..., and ``time``.

        Args:
            dt: seconds a step: the coordinate ``time`` is in seconds then. Default None: it is the
                number of the step.

        ``step`` is a coordinate in either case. NotRecordedError where nothing was recorded,
        MissingExtraError without xarray, the extra [xarray].
        """
        self._some("to_xarray")
        xarray = needed("xarray", "Recording.to_xarray", "xarray")
        time, unit = self._time(dt)
        batch = ["batch"] if self.batched else []
        variables = {
            path: ([*batch, *(f"{path}[{k}]" for k in range(len(t.shape))), "time"], self[t])
            for path, t in zip(self.paths, self, strict=True)
        }
        coords = {"time": ("time", time, {"units": unit}), "step": ("time", self.steps)}
        attrs = {} if dt is None else {"dt": dt}
        return xarray.Dataset(variables, coords, attrs)

    @arguments(dt=_DT)
    def to_pandas(self, dt: float | None = None) -> Any:
        """A ``pandas.DataFrame``: a row a step, columns (target, element), so that ``frame[path]``
        has a column for each element of one, counted in C order. Of a batch the rows are (sample,
        step).

        Args:
            dt: seconds a step: rows are named by seconds then, ``time``. Default None: by the
                number of the step, ``step``.

        NotRecordedError where nothing was recorded, MissingExtraError without pandas, the extra
        [xarray].
        """
        self._some("to_pandas")
        pandas = needed("pandas", "Recording.to_pandas", "xarray")
        time = pandas.Index(self._time(dt)[0], name="step" if dt is None else "time")
        samples = range(self._batch())
        frames = {
            path: pandas.concat(
                [pandas.DataFrame(rows[:, b], index=time) for b in samples],
                keys=samples if self.batched else None,
                names=["sample", time.name] if self.batched else None,
            )
            for path, rows in zip(self.paths, self._arrays.values(), strict=True)
        }
        return pandas.concat(frames, axis=1, names=["target", "element"])

    def _time(self, dt: float | None) -> tuple[np.ndarray, str]:
        return (self.steps, "step") if dt is None else (self.steps * dt, "s")

    # -- files -------------------------------------------------------------------------------------

    @arguments(path=PATH)
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to an HDF5 file, whole or not at all; :meth:`load` reads it again. It is made in
        memory first, which takes as much once more.

        NotRecordedError where nothing was recorded. InputError where the file cannot be written.
        """
        self._some("save")
        from lavalike import __version__

        encoder = container.Encoder(str(path))
        found = {
            "format": FORMAT,
            "lavalike": __version__,
            "prefix": self.prefix,
            "batched": self.batched,
            "first": self._first,
            "targets": [
                [t.path, t.name, list(t.shape), self.is_var(t), encoder.array(rows)]
                for t, rows in self._arrays.items()
            ],
        }
        text = encoder.text(found)
        try:
            with atomic.draft(path) as draft:
                container.written(draft, NAME, text, encoder.arrays)
        except OSError as e:
            raise InputError(f"{path}: the recording cannot be written: {e}") from e

    @classmethod
    @arguments(path=PATH)
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What :meth:`save` wrote. Targets go by path, by the path from the process that was
        simulated (``rec["out"]``), by a name that only one of them has, or by a port or Var of the
        same path.

        A file is not trusted: nothing in it is run, and reading it takes little more memory than
        its size.

        Raises GraphFileError for a file that is not there, of another kind or damaged.
        """
        from lavalike.contents import WRONG, Decoder

        reader = Decoder(Path(path))
        found = reader.read(NAME, WRITER, FORMAT)
        try:
            return cls._read(reader, found)
        except LavalikeError:
            raise
        except WRONG as e:
            reader.fail(f"is damaged: {type(e).__name__}: {e}")

    @classmethod
    def _read(cls, reader: Decoder, found: dict[str, Any]) -> Self:
        batched, first, prefix = found["batched"], found["first"], found["prefix"]
        if type(batched) is not bool or type(first) is not int or type(prefix) is not str:
            reader.fail(f"batched {batched!r:.40}, first {first!r:.40}, prefix {prefix!r:.40}")
        arrays: dict[Kept, np.ndarray] = {}
        extents = set()
        for where, name, sizes, var, x in found["targets"]:
            if type(where) is not str or type(name) is not str or type(var) is not bool:
                reader.fail(f"{where!r:.60} is no path")
            target, rows = Kept(where, name, reader.shape(sizes), var), reader.array(x)
            if rows.ndim != 3 or rows.shape[2] != math.prod(target.shape):
                reader.fail(f"an array {rows.shape} is not (time, batch, {sizes!r:.60})", where)
            extents.add(rows.shape[:2])
            arrays[target] = rows
        if len(extents) != 1 or (not batched and next(iter(extents))[1] != 1):
            reader.fail(f"targets of {sorted(extents)} steps and samples")
        made = cls(None, arrays, batched, None, first)
        made.prefix = prefix
        return made


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


def _kind_name(kind: Any) -> str:
    return {InPort: "an InPort", OutPort: "an OutPort", Port: "a port", Var: "a Var"}.get(
        kind, "a port or Var"
    )
