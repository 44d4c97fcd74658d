"""Recorder: rows of Vars and ports as a graph runs, to memory, a ring or an HDF5 file."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.arguments import FLAG, PATH, arguments, instance, integer, optional, shown
from lavalike.errors import InputError, InputTypeError, NotRecordedError
from lavalike.extras import needed
from lavalike.process import AbstractProcess, Port, Var
from lavalike.process.monitor import Probe
from lavalike.process.sinks import File, Memory, Ring, Sink, Store
from lavalike.process.var import resolved

WAIT = 0.05  # seconds after which a stream looks whether the run has ended


class Recorder(AbstractProcess):
    """Records any number of Vars (as they stand at the end of a step) and ports (as sent), for any
    number of steps.

    Args:
        ring: keep only the last so many rows of each target. Default None: all.
        to: an HDF5 file that does not exist yet, to which rows are written in chunks: a dataset
            ``(rows, *shape)`` for each target, named by its path, with attributes that say what it
            holds. It can be read at any moment, also while a run goes on (h5py's ``swmr=True``).
            ``close()``, or the end of ``with``, writes what is left. Default None: memory.
        name: as of every process.

    A row costs the same in one long run and in a thousand short ones. InputError for a file that
    exists or cannot be made.

    Example::

        recorder = Recorder()
        recorder.add(lif.v, every=10, index=slice(0, 100))
        recorder.add(lif.s_out, packed=True)
        recorder.nbytes(10_000)                # what a run of so many steps will need
        lif.run(RunSteps(10_000))
        recorder[lif.v]                        # (1000, 100), of the steps recorder.steps(lif.v)
        recorder[lif.s_out]                    # (10000, *shape), bool
    """

    @arguments(ring=optional(integer(1)), to=optional(PATH))
    def __init__(
        self,
        *,
        ring: int | None = None,
        to: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if ring is not None and to is not None:
            raise InputError("Recorder: rows go to a ring or to a file, got both ring and to")
        self.ring = ring
        self.tracks: list[Probe] = []
        self._told = Told()
        self.store = None if to is None else Store(Path(to))
        if self.store is not None:
            atexit.register(self.close)

    @arguments(
        target=instance(Var, Port, words="a Var or port of a process"),
        every=integer(1),
        packed=FLAG,
    )
    def add(
        self, target: Var | Port, *, every: int = 1, index: Any = None, packed: bool = False
    ) -> None:
        """Record ``target`` from the next step on.

        Args:
            every: only the steps that are multiples of this. Default 1, every step.
            index: only these elements, as in ``array[index]`` of one message or value. Default
                None, all.
            packed: keep spikes as bits, eight a byte; a value other than 0 and 1 ends the run with
                a RunError. Default False.

        InputError for what belongs to no process, is recorded here already, or for an index that
        fits nothing.
        """
        who = f"Recorder.add({target!r})"
        if target.process is None:
            raise InputError(f"{who}: a Var or port of a process is expected; this belongs to none")
        if self.store is not None and not self.store.file:
            raise InputError(f"{who}: {self.store.closed}; record to another file")
        if any(p.target is target for p in self.tracks):
            raise InputError(f"{who}: it is recorded already; another Recorder may do so otherwise")
        flat, shape = None, target.shape
        if index is not None:
            try:
                part = np.arange(target.size).reshape(target.shape)[index]
            except (IndexError, ValueError, TypeError) as e:
                raise InputError(f"{who}: index {shown(index)}: {e}") from None
            if not part.size:
                raise InputError(
                    f"{who}: index {shown(index)} takes nothing of shape {target.shape}"
                )
            flat, shape = part.reshape(-1), part.shape
        sink: Sink = Memory()
        if self.ring is not None:
            sink = Ring(self.ring)
        elif self.store is not None:
            notes = {
                "target": target.path,
                "every": int(every),
                "shape": shape,
                "packed": bool(packed),
            }
            path = target.path.replace(".", "/")
            same = sum(p.target.path == target.path for p in self.tracks)
            sink = File(self.store, f"{path}#{same + 1}" if same else path, notes)
        probe = Probe(
            self, target, None, sink, int(every), flat, shape, bool(packed), told=self._told
        )
        self.tracks.append(probe)
        target.process.probes.append(probe)
        target.process._structure.root().probed += 1

    def nbytes(self, steps: int, config: Any = None) -> int:
        """Bytes that the next ``steps`` steps will add (a ring: that it will hold at most), run
        with ``config``; default the last one."""
        return sum(self._bytes(p, int(steps), config) for p in self.tracks)

    def _bytes(self, probe: Probe, steps: int, config: Any) -> int:
        structure = probe.target.process._structure.root()  # type: ignore[union-attr]  # a target is a process's
        config = config or structure.config
        target = resolved(probe.target)
        dtype = np.dtype(
            np.int32
            if config is not None and config.fixed
            else "float32"
            if config is None
            else config.dtype
        )
        if isinstance(target, Var) and target.role == "parameter":
            dtype = target.value.dtype
        for runtime in structure.runtimes:
            dtype = next(
                (d for t, d, _ in runtime.targets if t is target and config is runtime.config),
                dtype,
            )
        shape, kept = probe.row(dtype)
        rows = probe.rows_of(steps, structure.step)
        return (
            (rows if self.ring is None else min(rows, self.ring))
            * int(np.prod(shape))
            * kept.itemsize
        )

    def _track(self, target: Var | Port | str) -> Probe:
        if not isinstance(target, Var | Port | str):
            raise InputTypeError(
                f"Recorder: a port, a Var or a path is expected, got {shown(target)} ({type(target).__name__})"
            )
        found = [
            p
            for p in self.tracks
            if p.target is target or (isinstance(target, str) and p.target.path == target)
        ]
        if len(found) != 1:
            known = ", ".join(p.target.path for p in self.tracks) or "none"
            raise NotRecordedError(
                f"Recorder: {shown(target)} is not recorded; recorded are {known}"
            )
        return found[0]

    def __getitem__(self, target: Var | Port | str) -> np.ndarray:
        """What is kept of ``target`` (or the path of one): ``(rows, *shape)``, bool where packed. A
        copy."""
        return self._track(target).data()

    def steps(self, target: Var | Port | str) -> np.ndarray:
        """The step of each row of ``recorder[target]``, (rows,)."""
        return self._track(target).steps()

    def stream(self, target: Var | Port | str) -> Iterator[np.ndarray]:
        """Rows as they come, arrays ``(rows, *shape)``, first those that are kept already; until no
        run is under way.

        Example::

            net.run(RunSteps(100_000, blocking=False))
            for rows in recorder.stream(net.out):
                print(rows.sum())
        """
        probe, seen = self._track(target), 0
        process = probe.target.process
        assert process is not None
        while True:
            going = process.running
            rows = probe.data(seen)
            seen = max(seen, probe.sink.first) + len(rows)
            if len(rows):
                yield rows
            elif not going:
                return
            else:
                self._told.wait(lambda: probe.sink.count > seen or not process.running)  # noqa: B023

    def clear(self) -> None:
        """Forget the rows; recording goes on, into the memory that they had. RunError for a file,
        which keeps what is in it."""
        for probe in self.tracks:
            probe.clear()

    def close(self) -> None:
        """End recording, and write to the file what is left. What was recorded can still be read
        here."""
        for probe in self.tracks:
            process = probe.target.process
            assert process is not None
            if probe in process.probes:
                process.probes.remove(probe)
                process._structure.root().probed += 1
        if self.store is not None:
            atexit.unregister(self.close)
            try:
                for probe in self.tracks:
                    probe.sink.flush()  # type: ignore[attr-defined]  # with a store sinks are of a file
            finally:
                self.store.close()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` with a variable for each target, by path, over ``step`` (a
        dimension of its own where the steps differ) and the target's axes. MissingExtraError
        without xarray, the extra [xarray]."""
        xarray = needed("xarray", "Recorder.to_xarray", "xarray")
        steps = [p.steps() for p in self.tracks]
        alike = all(np.array_equal(s, steps[0]) for s in steps)
        arrays = {}
        for probe, at in zip(self.tracks, steps, strict=True):
            path = probe.target.path
            step = "step" if alike else f"step of {path}"
            axes = [f"{path}[{k}]" for k in range(len(probe.shape))]
            arrays[path] = xarray.DataArray(
                probe.data().reshape(len(at), *probe.shape), dims=(step, *axes), coords={step: at}
            )
        return xarray.Dataset(arrays)


class Told:
    """What streams wait on."""

    def __init__(self) -> None:
        self.waiting = 0
        self.condition = threading.Condition()

    def tell(self) -> None:
        if self.waiting:
            with self.condition:
                self.condition.notify_all()

    def wait(self, ready: Any) -> None:
        with self.condition:
            self.waiting += 1
            try:
                self.condition.wait_for(ready, WAIT)
            finally:
                self.waiting -= 1

    def __reduce__(self) -> Any:
        return Told, ()
