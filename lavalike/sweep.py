"""simulate_many: a network simulated for many inputs and parameters, by any executor."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import random
import sys
import threading
import traceback
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sized
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lavalike import atomic, container
from lavalike.arguments import (
    FLAG,
    PATH,
    Rule,
    arguments,
    as_numbers,
    instance,
    integer,
    optional,
    shown,
)
from lavalike.backends import get_backend
from lavalike.compiler.fingerprint import difference, fingerprint, hashed
from lavalike.compiler.flat import flatten
from lavalike.contents import WRONG, Decoder
from lavalike.errors import (
    GraphFileError,
    InputError,
    InputTypeError,
    LavalikeError,
    RunError,
    step_error,
)
from lavalike.model.config import RunConfig
from lavalike.process import AbstractProcess, InPort, Var
from lavalike.process.process import component, walk
from lavalike.progress import Progress
from lavalike.runtime.simulate import TARGETS, Recording, Target, find, recorded, simulate

DOOR = "simulate_many"
FORMAT = 1
AHEAD = 256  # items that are out at a time, where nobody knows how many workers there are
Item = dict[int, Any]  # what a port or Var, by its place in the structure, gets

_MANY = Rule(
    "a sequence or iterator of dicts",
    lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | Mapping | np.ndarray),
)
_local = threading.local()  # the network that a worker has: (digest, _Job)
_here = uuid.uuid4()  # of this process and those forked from it
_drawing = threading.Lock()  # held while the global generators are an item's


class _Result(NamedTuple):
    """What an item came to: arrays as simulate records them, or an error and its traceback."""

    arrays: list[np.ndarray]
    batched: bool
    error: BaseException | None = None
    trace: str = ""


@arguments(
    process=instance(AbstractProcess, words="a process"),
    inputs=_MANY,
    steps=optional(integer(1)),
    config=optional(instance(RunConfig)),
    record=TARGETS,
    executor=optional(instance(Executor, words="a concurrent.futures.Executor")),
    to=optional(PATH),
    progress=FLAG,
    ahead=optional(integer(1)),
)
def simulate_many(
    process: AbstractProcess,
    inputs: Iterable[Mapping[Any, Any]],
    steps: int | None = None,
    config: RunConfig | None = None,
    record: Iterable[Target | str] = (),
    *,
    executor: Executor | None = None,
    to: str | os.PathLike[str] | None = None,
    progress: bool = False,
    ahead: int | None = None,
) -> Iterator[Recording]:
    """Simulate everything connected to ``process`` once for each of ``inputs``, from its present
    values each time, and leave the processes as they were.

    Args:
        process: a process graph, or a netx Network. Workers get it pickled, once each, and keep it.
        inputs: of each item what it feeds and sets: InPorts (or names) to arrays, as
            :func:`lavalike.simulate` takes them, and Vars (or names) to values, for this item only.
            They are taken as there is work for them, so an iterator may make them one by one.
        steps: as of simulate; default each item's length.
        config: default ``RunConfig()``. What an item draws follows from its ``seed`` and the item's
            number alone, so it does not depend on the executor; seed None is drawn once, from
            NumPy's global generator. A process with a seed of its own draws the same in every item.
        record: ports and Vars to record besides the OutPorts of ``process``.
        executor: of concurrent.futures (threads, processes), or like one: mpi4py.futures', dask's
            ``client.get_executor()``. It stays open. Default None: one after another, here. Threads
            gain where kernels take the time. Processes by spawn need the program's own code under
            ``if __name__ == "__main__":``, as ever.
        to: a folder for results, a file for each item, written whole or not at all. Items whose
            files are there already are read, not computed, so that a sweep that was broken off goes
            on. Default None: nothing is written.
        progress: show how far it is on stderr, by tqdm where it is installed. Default False.
        ahead: how many items are handed out before their results are taken. Default twice as many
            as the executor has workers (256 where it does not say).

    Returns:
        An iterator of :class:`lavalike.Recording`, in the order of ``inputs``; ``list`` collects
        them. Work begins when the first is asked for. Whoever takes no more of them ends it: what
        has not begun is cancelled.

    Raises:
        InputError: at once for arguments, for a network that cannot be pickled, and for results in
            ``to`` that are of another network, config or seed; for an item, by number, when it is
            handed out or read.
        RunError: an item failed or a worker died. It is the item's own error's class too, says the
            item's number, and has the original as ``__cause__``. Other items' files are kept.
        GraphFileError: a file in ``to`` is damaged.

    Example::

        items = [{"inp": x, net.lif.vth: vth} for x in data for vth in (0.8, 1.0, 1.2)]
        with ProcessPoolExecutor(8, mp_context=multiprocessing.get_context("spawn")) as executor:
            for recording in lv.simulate_many(net, items, executor=executor, to="runs"):
                rates.append(recording["out"].mean())
    """
    config = config or RunConfig()
    if config.seed is None:
        drawn = int(np.random.randint(2**63 - 1, dtype=np.int64))  # noqa: NPY002
    else:
        drawn = config.seed
    targets = recorded(process, record)
    flat = flatten(process, config, get_backend)
    folder = None
    if to is not None:
        told = {
            "graph": fingerprint(flat, states=True),
            "step": flat.step,
            "steps": steps,
            "record": [t.path for t in targets],
            "seed": config.seed,
        }
        folder = _Folder(Path(to), told, drawn)
        drawn = folder.drawn
    blob = _pickled(process, (process, targets, steps, dataclasses.replace(config, seed=drawn)))
    _importable(process, blob.strangers, executor)
    job = _Parent(process, targets, blob.data, executor, folder)
    return job.results(inputs, bool(progress), ahead)


# -- what a worker does -------------------------------------------------------------------------


def seed_of(seed: int, index: int) -> int:
    """The seed of an item: 63 bits."""
    return int(hashed(seed, index)[1:17], 16) >> 1


class _Job:
    """A worker's own network."""

    def __init__(self, data: bytes) -> None:
        self.process, self.targets, self.steps, self.config = pickle.loads(data)
        self.parts = self.process._structure.root().parts()[0]
        self.seed: int = self.config.seed
        nodes = flatten(self.process, self.config, get_backend).nodes
        # kernels draw by seed, process, step and sample; others from generators that all share
        self.draws = any(n.model.inline or n.target.backend != "numba" for n in nodes)
        everything = [p for top in component(self.process) for p in walk(top)]
        self.values = [(v, v.value, v.shape) for p in everything for v in p.vars]

    def run(self, index: int, item: Item) -> _Result:
        seed = seed_of(self.seed, index)
        fed: dict[InPort, Any] = {}
        try:
            for place, value in item.items():
                part: Any = self.parts[place]
                if isinstance(part, InPort):
                    fed[part] = value
                else:
                    part.set(value)
            with _generators(seed, self.draws):
                config = dataclasses.replace(self.config, seed=seed)
                found = simulate(self.process, fed, self.steps, config, self.targets)
            return _Result([found._arrays[t] for t in self.targets], found.batched)
        finally:
            for var, value, shape in self.values:
                var.value, var.shape = value, shape


@contextmanager
def _generators(seed: int, draws: bool) -> Iterator[None]:
    """The global generators are this item's where it ``draws`` from them, and then as before."""
    if not draws:
        yield
        return
    torch = sys.modules.get("torch")
    with _drawing:
        states = random.getstate(), np.random.get_state()  # noqa: NPY002
        own = None if torch is None else torch.get_rng_state()
        random.seed(seed)
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])  # noqa: NPY002
        if torch is not None:
            torch.random.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            if torch is not None:
                torch.set_rng_state(own)


def _place() -> tuple[Any, int]:
    return _here, os.getpid()


def _compute(
    caller: tuple[Any, int], digest: str, data: bytes | None, index: int, item: Item
) -> _Result | None:
    """What an executor runs: an item; None where this worker does not have the network yet."""
    try:
        kept = getattr(_local, "kept", None)
        if kept is None or kept[0] != digest:
            if data is None:
                return None
            kept = _local.kept = digest, _Job(data)
        return kept[1].run(index, item)
    except Exception as e:
        if caller == _place():
            return _Result([], False, e)
        return _Result([], False, _sendable(e), traceback.format_exc())


def _sendable(error: Exception) -> Exception:
    """``error``, or what can be sent in its place."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # of a class that cannot be
        pass
    return RunError(f"{type(error).__name__}: {error}")


# -- what the caller's side does ----------------------------------------------------------------


class _Strangers(pickle.Pickler):
    """Notes what is of ``__main__``."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.found: list[str] = []

    def reducer_override(self, obj: Any) -> Any:
        if getattr(obj, "__module__", None) == "__main__" and hasattr(obj, "__qualname__"):
            self.found.append(obj.__qualname__)
        return NotImplemented


class _Pickled(NamedTuple):
    data: bytes
    strangers: list[str]


def _pickled(process: AbstractProcess, value: Any) -> _Pickled:
    file = io.BytesIO()
    pickler = _Strangers(file)
    try:
        pickler.dump(value)
    except RunError:
        raise
    except Exception as e:
        raise InputError(
            f"{DOOR}: {process.path} cannot be pickled, and each worker has a copy of it ({type(e).__name__}: {e}); define classes and "
            "functions at the top level of a module, and keep open files, locks and lambdas out of processes and RunConfig.select"
        ) from e
    return _Pickled(file.getvalue(), pickler.found)


def _importable(process: AbstractProcess, strangers: list[str], executor: Executor | None) -> None:
    """InputError where workers in other processes will not find what is of ``__main__``."""
    if not strangers or executor is None or isinstance(executor, ThreadPoolExecutor):
        return
    context: Any = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        return
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main is None or not os.path.exists(main):
        raise InputError(
            f"{DOOR}: {process.path}: {', '.join(dict.fromkeys(strangers))} of __main__ is not to be found by other processes, as this is "
            "a notebook or an interpreter's prompt; put it into a module and import it, or use a ThreadPoolExecutor"
        )


class _Parent:
    def __init__(
        self,
        process: AbstractProcess,
        targets: list[Target],
        data: bytes,
        executor: Executor | None,
        folder: _Folder | None,
    ) -> None:
        self.process, self.targets, self.data = process, targets, data
        self.first = process._structure.root().step + 1  # the number of an item's first step
        self.executor, self.folder = executor, folder
        self.digest = hashed(data)
        self.parts, self.places = process._structure.root().parts()
        self.fresh = self._workers() or 1  # how many items bring the network along unasked
        self.job: _Job | None = None  # without an executor

    def _workers(self) -> int | None:
        for name in ("_max_workers", "num_workers"):
            count = getattr(self.executor, name, None)
            if isinstance(count, int) and count > 0:
                return count
        return None

    def item(self, index: int, given: Any) -> Item:
        """What a worker gets of an item; InputError by number."""
        where = f"{DOOR}: item {index}: "
        if not isinstance(given, Mapping):
            raise InputTypeError(
                f"{where}a dict of InPorts and Vars, or their names, is expected, got {shown(given)} ({type(given).__name__})"
            )
        out: Item = {}
        for key, value in given.items():
            part = find(self.process, key, InPort | Var, where)
            place = self.places.get(id(part))
            if place is None:
                raise InputError(f"{where}{part!r} is not connected to {self.process.path}")
            if place in out:
                raise InputError(f"{where}two values for {part!r}")
            numbers = as_numbers(value)
            out[place] = value if numbers is None else numbers
        return out

    def submit(self, index: int, item: Item, whole: bool = False) -> Future[_Result | None]:
        if self.executor is None:
            future: Future[_Result | None] = Future()
            if self.job is None:
                self.job = _Job(self.data)
            try:
                future.set_result(self.job.run(index, item))
            except Exception as e:
                future.set_result(_Result([], False, e))
            return future
        if self.fresh:
            self.fresh, whole = self.fresh - 1, True
        try:
            data = self.data if whole else None
            return self.executor.submit(_compute, _place(), self.digest, data, index, item)
        except RuntimeError as e:  # shut down, or broken
            raise RunError(f"{DOOR}: item {index}: the executor takes no more: {e}") from e

    def results(
        self, inputs: Iterable[Any], progress: bool, ahead: int | None
    ) -> Iterator[Recording]:
        total = len(inputs) if isinstance(inputs, Sized) else None
        if self.executor is None:
            ahead = 1
        elif ahead is None:
            ahead = 2 * (self._workers() or AHEAD // 2)
        return self._results(
            iter(inputs), Progress(DOOR, total, "item") if progress else None, ahead
        )

    def _results(
        self, inputs: Iterator[Any], bar: Progress | None, ahead: int
    ) -> Iterator[Recording]:
        out: dict[Future[_Result | None], tuple[int, Item, str]] = {}
        ready: dict[int, _Result] = {}
        given, taken, left = 0, 0, True
        try:
            while True:
                while left and given - taken < ahead:
                    try:
                        item = self.item(given, next(inputs))
                    except StopIteration:
                        left = False
                        break
                    digest = "" if self.folder is None else self._digest(item)
                    found = None
                    if self.folder is not None:
                        found = self.folder.read(given, digest, len(self.targets))
                    if found is not None:
                        ready[given] = found
                        if bar is not None:
                            bar.update()
                    else:
                        out[self.submit(given, item)] = given, item, digest
                    given += 1
                if taken == given:
                    return
                if taken not in ready:
                    for future in wait(out, return_when=FIRST_COMPLETED).done:
                        index, item, digest = out.pop(future)
                        result = self._result(index, future)
                        if result is None:  # once more, with the network
                            out[self.submit(index, item, whole=True)] = index, item, digest
                            continue
                        if self.folder is not None and result.error is None:
                            self.folder.write(index, digest, self.targets, result)
                        ready[index] = result
                        if bar is not None:
                            bar.update()
                    continue
                result = ready.pop(taken)
                if result.error is not None:
                    self._raise(taken, result)
                taken += 1
                arrays = dict(zip(self.targets, result.arrays, strict=True))
                yield Recording(self.process, arrays, result.batched, None, self.first)
        finally:
            for future in out:
                future.cancel()
            if bar is not None:
                bar.close()

    def _digest(self, item: Item) -> str:
        paths: list[Any] = [getattr(self.parts[place], "path", "") for place in item]
        return hashed(*sorted(zip(paths, map(hashed, item.values()), strict=True)))

    def _result(self, index: int, future: Future[_Result | None]) -> _Result | None:
        try:
            return future.result()
        except Exception as e:
            raise RunError(
                f"{DOOR}: item {index}: the executor gave no result ({type(e).__name__}: {e}); a worker may have been killed, or, started "
                'by spawn, have found no `if __name__ == "__main__":` around the program'
            ) from e

    def _raise(self, index: int, result: _Result) -> None:
        error = result.error
        assert error is not None
        raised = step_error(f"{DOOR}: item {index}: {type(error).__name__}: {error}", error)
        if result.trace:
            error.add_note(f"where it was raised, in a worker:\n{result.trace}")
        raise raised from error


# -- results on disk ----------------------------------------------------------------------------


class _Folder:
    """A file of what the sweep is, and one for each item that is done."""

    def __init__(self, path: Path, told: dict[str, Any], drawn: int) -> None:
        self.path, self.drawn = path, drawn
        head = path / "sweep.h5"
        if not head.exists():
            try:
                path.mkdir(parents=True, exist_ok=True)
                self._write(head, "sweep", {**told, "drawn": drawn})
            except OSError as e:
                raise InputError(f"{DOOR}: to: {path} cannot be written to: {e}") from e
            return
        found = Decoder(head).read("sweep", DOOR, FORMAT)
        try:
            problem = difference(found["graph"], told["graph"])
            for name in ("step", "steps", "record", "seed"):
                if problem is None and found[name] != told[name]:
                    problem = f"{name} is {found[name]} there and {told[name]} here"
            self.drawn = int(found["drawn"])
        except WRONG as e:
            raise GraphFileError(f"{head}: is damaged: {type(e).__name__}: {e}") from e
        if problem is not None:
            raise InputError(
                f"{DOOR}: to: {path} has the results of another sweep: {problem}; give another folder, or remove it"
            )

    def _file(self, index: int) -> Path:
        return self.path / f"{index:08d}.h5"

    @staticmethod
    def _write(
        path: Path, name: str, told: dict[str, Any], encoder: container.Encoder | None = None
    ) -> None:
        encoder = encoder or container.Encoder(str(path))
        text = encoder.text({"format": FORMAT, **told})
        with atomic.draft(path) as draft:
            container.written(draft, name, text, encoder.arrays)

    def write(self, index: int, digest: str, targets: list[Target], result: _Result) -> None:
        encoder = container.Encoder(str(self._file(index)))
        told = {
            "item": index,
            "inputs": digest,
            "batched": result.batched,
            "recorded": [
                [t.path, t.shape, encoder.array(a)]
                for t, a in zip(targets, result.arrays, strict=True)
            ],
        }
        try:
            self._write(self._file(index), "item", told, encoder)
        except OSError as e:
            raise RunError(
                f"{DOOR}: item {index}: its result cannot be written to {self.path}: {e}; those before it are there, and the same call "
                "goes on from them"
            ) from e

    def read(self, index: int, digest: str, targets: int) -> _Result | None:
        """An item's result; None where it is not there, InputError where it is of other inputs."""
        path = self._file(index)
        if not path.exists():
            return None
        reader = Decoder(path)
        found = reader.read("item", DOOR, FORMAT)
        try:
            if found["inputs"] != digest or found["item"] != index:
                raise InputError(
                    f"{DOOR}: item {index}: {path} has the result of other inputs; give another folder, or remove the file"
                )
            rows = [reader.array(x) for *_, x in found["recorded"]]
            if len(rows) != targets:
                raise ValueError(f"{len(rows)} arrays for {targets}")
            return _Result(rows, bool(found["batched"]))
        except LavalikeError:
            raise
        except WRONG as e:
            raise GraphFileError(
                f"{path}: is damaged: {type(e).__name__}: {e}; remove it, and it is computed again"
            ) from e
