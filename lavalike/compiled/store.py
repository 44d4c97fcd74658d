"""A compiled graph in an HDF5 file: classes by path, their arguments, connections and values.

The file has a dataset ``graph``, UTF-8 text of JSON, a group ``arrays``, which it refers to by
number, and a ``digest`` of both. It is read as untrusted: its bytes are looked through before HDF5
is asked (:mod:`netx.trust`), and it holds plain data only. A class it names is looked up in modules
of the library and in those that the caller allows, must be what its place asks for (a process, a
model, an enumeration, a frozen dataclass), and is called by its constructor, which checks what it
is given.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike import atomic, container
from lavalike.container import Json
from lavalike.contents import WRONG, Decoder
from lavalike.errors import GraphFileError, LavalikeError, RunError
from lavalike.model.config import Choice, RunConfig
from lavalike.model.model import ProcessModel, candidates
from lavalike.proc.monitor import Monitor
from lavalike.proc.recorder import Recorder
from lavalike.process import AbstractProcess, RefPort, Var
from lavalike.process.made import Gone, held
from lavalike.process.ports import Port, View, at_most
from lavalike.process.process import component, walk
from lavalike.runtime import runtime

if TYPE_CHECKING:
    from lavalike.compiled.graph import Compiled

FORMAT = 1
# rooms of ours whose classes a file may name; nothing in them does anything when it is imported
LIBRARY = (
    *("lavalike.proc", "lavalike.process", "lavalike.learning", "lavalike.dynamics"),
    *("lavalike.networks", "lavalike.backends", "lavalike.bss2"),
    "netx",
)
NUMBER = (type(None), bool, int, str, float, np.number)


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _parts(process: AbstractProcess) -> list[tuple[str, Any]]:
    """Ports and Vars of a process, with a letter of their kind."""
    return [
        *(("i", p) for p in process.in_ports),
        *(("o", p) for p in process.out_ports),
        *(("r", p) for p in process.ref_ports),
        *(("v", p) for p in process.var_ports),
    ]


class _Graph:
    """The processes of a component by place: the outermost by number, what is inside by name."""

    def __init__(self, tops: Sequence[AbstractProcess]) -> None:
        self.places: dict[AbstractProcess, list[Any]] = {}
        for k, top in enumerate(tops):
            for process in walk(top):
                names: list[Any] = []
                at = process
                while at is not top:
                    assert at.parent is not None
                    names.append(at.name)
                    at = at.parent
                self.places[process] = [k, *reversed(names)]
        self.by_place = {tuple(place): p for p, place in self.places.items()}

    def port(self, port: Port) -> list[Any]:
        assert port.process is not None
        place = self.places[port.process]
        kind, n = next(
            (kind, sum(1 for j, q in _parts(port.process)[:k] if j == kind))
            for k, (kind, p) in enumerate(_parts(port.process))
            if p is port
        )
        return [place, kind, n, port.name]


# -- writing
# ---------------------------------------------------------------------------------------------


class _Writer(container.Encoder):
    def cls(self, cls: type, what: str) -> str:
        found: Any = sys.modules.get(cls.__module__)
        for name in cls.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is not cls:
            self.fail(
                f"{what}: class {cls.__qualname__} is not found in module {cls.__module__}, so no file can name it; define it at the "
                "module's top level"
            )
        return _path(cls)

    def other(self, value: Any, what: str) -> Json:
        if isinstance(value, enum.Enum):
            return {"enum": self.cls(type(value), what), "name": value.name}
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, type):
            return {"class": self.cls(value, what)}
        if _is_value(type(value)):
            given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
            return {
                "value": self.cls(type(value), what),
                "fields": {n: self.data(v, f"{what}.{n}") for n, v in given.items()},
            }
        if hasattr(value, "tocoo"):  # of SciPy's
            coo = value.tocoo()
            parts = [self.array(np.asarray(x)) for x in (coo.data, coo.row, coo.col)]
            return {"sparse": parts, "shape": list(coo.shape)}
        if hasattr(value, "detach"):  # a tensor
            return self.array(value.detach().cpu().numpy())
        kind = value.kind if isinstance(value, Gone) else type(value).__name__
        return self.fail(
            f"{what}: {'an' if kind[:1] in 'aeiou' else 'a'} {kind}, which no file holds"
            + (
                " (it is not there any more; a process that keeps the argument as an attribute of its name can be saved)"
                if isinstance(value, Gone)
                else "; arguments are numbers, texts, arrays, and lists, tuples and dicts of them"
            )
        )

    def argument(self, process: AbstractProcess, name: str, value: Any) -> Json:
        """What ``process`` was given as ``name``: what its Var or attribute of that name holds,
        where the argument itself is gone."""
        value, own = held(value), process.__dict__.get(name)
        if isinstance(own, Var) and isinstance(value, Gone | np.ndarray):
            if isinstance(value, Gone) or (value.shape == own.shape and value.dtype.kind != "U"):
                value = own.value if own.aliased is None else own.get()
        elif isinstance(value, Gone) and own is not None:
            value = own
        if isinstance(process, Recorder) and name == "to" and value is not None:
            self.fail(
                f"{process.path}: records to a file, and what a file says must write none; record to memory, or add the Recorder after load"
            )
        return self.data(value, f"{process.path}: argument {name}")

    def top(self, process: AbstractProcess) -> Json:
        made = process._made
        names = list(inspect.signature(type(process).__init__).parameters)[1:]
        by_place = [names[k] if k < len(names) else "" for k in range(len(made.args))]
        return {
            "class": self.cls(type(process), process.path),
            "name": process.name,
            "args": [
                self.argument(process, n, v) for n, v in zip(by_place, made.args, strict=True)
            ],
            "kwargs": {
                n: self.argument(process, n, v) for n, v in process.remade(made.kwargs).items()
            },
        }

    def config(self, config: RunConfig, graph: _Graph) -> Json:
        out: dict[str, Json] = {}
        for f in dataclasses.fields(config):
            value = getattr(config, f.name)
            if f.name == "select":
                out["select"] = [self.choice(k, v, graph) for k, v in value.items()]
            elif f.name == "chip" and value is not None:
                self.fail(
                    "RunConfig.chip: no file holds a chip; compile without, and give load a config="
                )
            else:
                out[f.name] = self.data(
                    dict(value)
                    if f.name == "options"
                    else {getattr(k, "path", k): rank for k, rank in value.items()}
                    if f.name == "partition" and value is not None
                    else value,
                    f"RunConfig.{f.name}",
                )
        return out

    def choice(self, key: Any, value: Any, graph: _Graph) -> Json:
        if isinstance(key, AbstractProcess):
            key = {"process": graph.places[key]}
        elif isinstance(key, str | type):
            key = self.data(key, "RunConfig.select")
        else:
            self.fail(
                "RunConfig.select: no file holds a function; name the processes or their class"
            )
        if isinstance(value, Choice):
            given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return [
                key,
                {"choice": {n: self.data(v, "RunConfig.select") for n, v in given.items()}},
            ]
        return [key, self.data(value, "RunConfig.select")]


def _is_value(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]  # of every dataclass


def save(compiled: Compiled, path: str | os.PathLike[str]) -> None:
    """See :meth:`Compiled.save`."""
    if compiled.process.running:
        raise RunError(f"cannot save {compiled.process.path} while it is running; pause() first")
    program = runtime.prepare(compiled.process, compiled.config)
    writer = _Writer(f"{Path(path)}: {compiled.process.path}")
    text = writer.text(_described(writer, compiled, program))
    with atomic.draft(path) as draft:
        container.written(draft, "graph", text, writer.arrays)
        _check(draft, compiled, writer)


def _described(writer: _Writer, compiled: Compiled, program: runtime.Runtime) -> Json:
    from lavalike import __version__

    tops = component(compiled.process)
    graph = _Graph(tops)
    owners = dict.fromkeys(probe.owner for p in graph.places for probe in p.probes)
    return {
        "format": FORMAT,
        "lavalike": __version__,
        "process": graph.places[compiled.process],
        "step": compiled.process._structure.root().step,
        "drawn": program.flat.drawn,
        "config": writer.config(compiled.config, graph),
        "tops": [writer.top(top) for top in tops],
        "expansions": [
            [place, writer.cls(type(p.expansion), p.path)]
            for p, place in graph.places.items()
            if p.expansion is not None
        ],
        "sources": [
            [graph.port(port), [_view(writer, graph, view) for view in port.sources]]
            for p in graph.places
            for _, port in _parts(p)
            if port.sources
        ],
        "targets": [
            [graph.port(port), [graph.port(t) for t in port.targets]]
            for p in graph.places
            for _, port in _parts(p)
            if port.targets
        ],
        "var_ports": [
            [graph.port(port), graph.places[p], port.var.name]
            for p in graph.places
            for port in p.var_ports
        ],
        # which may be others than it was made with: to_fixed gives its copy a scale
        "params": [
            [place, writer.data(own, p.path)]
            for p, place in graph.places.items()
            if (own := {n: v for n, v in p.proc_params.items() if isinstance(v, NUMBER)})
        ],
        "vars": [
            [place, [[v.name, writer.array(Var.get(v))] for v in p.vars if v.aliased is None]]
            for p, place in graph.places.items()
        ],
        "probes": [
            [graph.places[owner], [_probe(writer, graph, owner, t) for t in _tracks(owner)]]
            for owner in owners
        ],
        "models": [
            [graph.places[n.process], writer.cls(type(n.model), n.process.path)]
            for n in program.flat.nodes
            if n.process in graph.places and not _derived(type(n.model))
        ],
    }


def _derived(model: type[ProcessModel]) -> bool:
    """Whether a backend makes the class for an equation."""
    return getattr(sys.modules.get(model.__module__), model.__name__, None) is not model


def _view(writer: _Writer, graph: _Graph, view: View) -> Json:
    ports = [graph.port(p) for p in view.ports]
    return [
        ports,
        None
        if view.is_identity and view.shape == view.ports[0].shape
        else writer.array(view.index),
    ]


def _tracks(owner: AbstractProcess) -> list[Any]:
    if isinstance(owner, Recorder):
        return owner.tracks
    return owner._targets if isinstance(owner, Monitor) else []


def _probe(writer: _Writer, graph: _Graph, owner: AbstractProcess, probe: Any) -> Json:
    target = probe.target
    if target.process not in graph.places:
        writer.fail(
            f"{owner.path}: records {target!r} of another graph too; a file holds one graph, use a Monitor for each"
        )
    place = graph.places[target.process]
    out = {
        "var": [place, target.name] if isinstance(target, Var) else None,
        "port": graph.port(target) if isinstance(target, Port) else None,
    }
    if isinstance(owner, Monitor):
        return out | {"num_steps": probe.num_steps}
    index = None if probe.index is None else writer.array(probe.index.reshape(probe.shape))
    return out | {"every": probe.every, "packed": probe.packed, "index": index}


def _check(draft: Path, compiled: Compiled, writer: _Writer) -> None:
    """What the file at ``draft`` says is the graph: its classes, ports and Vars, nothing more and
    nothing less."""
    mine = _Graph(component(compiled.process))
    try:
        process, _, _ = load(draft, every=True)
    except LavalikeError as e:
        what = str(e).removeprefix(f"{draft}: ")
        writer.fail(
            f"it cannot be made again: {what}. A file says how processes are made, and what was added to them later it cannot say"
        )
    other = _Graph(component(process))
    for place, p in mine.by_place.items():
        again = other.by_place.get(place)
        if again is None:
            writer.fail(f"{p.path}: is not made by the process around it; make it in its __init__")
        for what in ("vars", "in_ports", "out_ports", "ref_ports"):
            a, b = ([(x.name, x.shape) for x in getattr(q, what)] for q in (p, again))
            if a != b:
                writer.fail(
                    f"{p.path}: {what} {a} are made as {b}; make them in its __init__, from its arguments"
                )
        if lost := sorted(p.proc_params.keys() - again.proc_params.keys()):
            writer.fail(
                f"{p.path}: proc_params {lost} are no numbers or texts, and its __init__ does not make them"
            )
    if len(other.places) > len(mine.places):
        extra = next(p for place, p in other.by_place.items() if place not in mine.by_place)
        writer.fail(f"{extra.path}: is made, and not there")


# -- reading
# ---------------------------------------------------------------------------------------------


class _Reader(Decoder):
    """``every``: any class that is imported may be named (the file was just written)."""

    name = "graph"

    def __init__(self, path: Path, allow: Sequence[str | type], every: bool) -> None:
        super().__init__(path)
        self.every = every
        self.modules = [a for a in allow if isinstance(a, str)]
        self.classes = {_path(a): a for a in allow if isinstance(a, type)}

    def cls(self, path: Any, kind: type, what: str) -> Any:
        """The class of that path, where it may be named and is a ``kind``."""
        if not isinstance(path, str) or path.count(":") != 1:
            self.fail(f"{path!r:.80} names no class", what)
        module, _, name = path.partition(":")
        found: Any = self.classes.get(path)
        if found is None:
            if not self._allowed(module):
                self.fail(
                    f"class {name} is of module {module}, which is not allowed; if you trust it, allow=[{module!r}] names it",
                    what,
                )
            try:
                found = importlib.import_module(module)
            except ImportError as e:
                self.fail(f"module {module} cannot be imported: {e}", what)
            for part in name.split("."):
                found = (
                    found.__dict__.get(part)
                    if isinstance(found, type) or found is sys.modules.get(module)
                    else None
                )
        if not isinstance(found, type) or _path(found) != path:
            self.fail(f"there is no class {name} in module {module}", what)
        if kind is not object and not issubclass(found, kind):
            self.fail(f"class {name} of {module} is no {kind.__name__}", what)
        return found

    def _allowed(self, module: str) -> bool:
        if self.every and module in sys.modules:
            return True
        return any(module == m or module.startswith(m + ".") for m in (*LIBRARY, *self.modules))

    def other(self, x: Any, what: str) -> Any:
        match x:
            case {"class": path}:
                return self.cls(path, object, what)
            case {"enum": path, "name": name}:
                return self.cls(path, enum.Enum, what)[name]
            case {"value": path, "fields": given}:
                cls = self.cls(path, object, what)
                if not _is_value(cls):
                    self.fail(f"{cls.__name__} is no frozen dataclass", what)
                return cls(**{n: self.data(v, what) for n, v in given.items()})
            case {"sparse": parts, "shape": shape}:
                from scipy.sparse import coo_matrix

                data, row, col = map(self.array, parts)
                return coo_matrix((data, (row, col)), shape=self.shape(shape))
        return super().other(x, what)

    def make(self, x: Any, k: int) -> AbstractProcess:
        """An outermost process."""
        what = f"process {k}"
        cls = self.cls(x["class"], AbstractProcess, what)
        args = [self.data(a, what) for a in x["args"]]
        kwargs = {n: self.data(v, f"{what}, {n}") for n, v in x["kwargs"].items()}
        if issubclass(cls, Recorder) and kwargs.get("to") is not None:
            self.fail("a Recorder to a file; what a file says writes none", what)
        try:
            process = cls(*args, **kwargs)
        except LavalikeError as e:
            self.fail(f"{cls.__name__}: {e}", what)
        except WRONG as e:
            self.fail(f"{cls.__name__}: {type(e).__name__}: {e}", what)
        if x["name"] != process.name:
            process.name = str(x["name"])
        return process


def load(
    path: str | os.PathLike[str], allow: Sequence[str | type] = (), every: bool = False
) -> tuple[AbstractProcess, RunConfig, int | None]:
    """The process that a file was saved from, its RunConfig, and the seed that was drawn; see
    :meth:`Compiled.load`."""
    reader = _Reader(Path(path), allow, every)
    try:
        found = reader.read("graph", "Compiled.save", FORMAT)
        with at_most(reader.most):
            return _load(reader, found)
    except GraphFileError:
        raise
    except LavalikeError as e:  # what is made of it says what does not fit
        raise GraphFileError(f"{reader.path}: {e}") from e
    except WRONG as e:
        reader.fail(f"is damaged: {type(e).__name__}: {e}")


def _load(reader: _Reader, x: Json) -> tuple[AbstractProcess, RunConfig, int | None]:
    for _, name in (*x["models"], *x["expansions"]):  # a module that has them makes them known
        module = str(name).partition(":")[0]
        if reader._allowed(module) and module not in sys.modules:
            reader.cls(name, ProcessModel, "models")
    tops = [reader.make(top, k) for k, top in enumerate(x["tops"])]
    for place, name in x["expansions"]:
        process = _at(reader, _Graph(tops), place)
        model = next((m for m in candidates(process) if _path(m) == name), None)
        if model is None:
            reader.fail(
                f"{process.path}: its model {name} is not known here; import its module, or allow=[{name.partition(':')[0]!r}]"
            )
        process.expand(model)
    graph = _Graph(tops)
    _connect(reader, graph, x)
    for place, values in x["params"]:
        process = _at(reader, graph, place)
        process.__dict__["proc_params"] = {
            **process.proc_params,
            **reader.data(values, f"{process.path}: proc_params"),
        }
    for place, values in x["vars"]:
        process = _at(reader, graph, place)
        own = {v.name: v for v in process.vars if v.aliased is None}
        for name, value in values:
            if name not in own:
                reader.fail(f"{process.path}: there is no Var {name!r}")
            own[name].restore(reader.array(value))
    for place, probes in x["probes"]:
        _record(reader, graph, _at(reader, graph, place), probes)
    process = _at(reader, graph, x["process"])
    step, drawn = reader.count(x)
    root = process._structure.root()
    if len({id(top._structure.root()) for top in tops if not _tracks(top)}) > 1:
        reader.fail("processes that are not connected")
    root.step = root.marked = step
    return process, _config(reader, graph, x["config"]), drawn


def _at(reader: _Reader, graph: _Graph, place: Any) -> AbstractProcess:
    found = graph.by_place.get(tuple(place))
    if found is None:
        reader.fail(
            f"there is no process {place!r:.80}; a process inside another is made by that one"
        )
    return found


def _port(reader: _Reader, graph: _Graph, x: Any) -> Port:
    place, kind, n, name = x
    process = _at(reader, graph, place)
    own = [p for k, p in _parts(process) if k == kind]
    if type(n) is not int or not 0 <= n < len(own) or own[n].name != name:
        reader.fail(f"{process.path}: there is no port {name!r:.60}")
    return own[n]


def _connect(reader: _Reader, graph: _Graph, x: Json) -> None:
    """The connections that constructors did not make, in their order."""
    implicit = {}
    for end, place, name in x["var_ports"]:
        implicit[str(end)] = _at(reader, graph, place), name
    for end, views in x["sources"]:
        own = _parts(_at(reader, graph, end[0]))
        made = [p for k, p in own if k == end[1]]
        if end[1] == "v" and end[2] == len(made) and str(end) in implicit:
            # made by RefPort.connect_var
            process, name = implicit[str(end)]
            var = next((v for v in process.vars if v.name == name), None)
            (ports, _), *rest = views
            ref = _port(reader, graph, ports[0])
            if var is None or rest or not isinstance(ref, RefPort):
                reader.fail(f"{process.path}: there is no Var {name!r:.60} to refer to")
            _referring(ref).connect_var(var)
            continue
        port = _port(reader, graph, end)
        for k, (ports, index) in enumerate(views):
            sources = tuple(_port(reader, graph, p) for p in ports)
            if index is None:
                (only,) = sources
                view = only._view()
            else:
                view = View(sources, reader.array(index))
            size = sum(p.size for p in sources)
            low, high = view.index.min(initial=0), view.index.max(initial=-1)
            if view.index.dtype.kind != "i" or low < -1 or high >= size:
                reader.fail(f"{port.path}: an index of {low}..{high} into {size} elements")
            if k < len(port.sources):
                old = port.sources[k]
                if old.ports != view.ports or not np.array_equal(old.index, view.index):
                    reader.fail(f"{port.path}: hears {old!r}, and the file says {view!r}")
            else:
                port.connect_from(view)
    for end, targets in x["targets"]:  # in their order, by which processes are found
        port, ends = _port(reader, graph, end), [_port(reader, graph, t) for t in targets]
        if sorted(map(id, ends)) != sorted(map(id, port.targets)):
            reader.fail(f"{port.path}: feeds {port.targets}, and the file says {ends}")
        port.targets[:] = ends


def _referring(ref: RefPort) -> Any:
    """What ``ref`` was connected by: itself, or its process, which gives it the Var's shape."""
    owner = ref.process
    ours = type(owner).__module__.startswith("lavalike.proc.")
    return owner if ours and hasattr(owner, "connect_var") else ref


def _record(reader: _Reader, graph: _Graph, owner: AbstractProcess, probes: Json) -> None:
    for probe in probes:
        if probe["port"] is not None:
            target: Any = _port(reader, graph, probe["port"])
        else:
            place, name = probe["var"]
            process = _at(reader, graph, place)
            target = next((v for v in process.vars if v.name == name), None)
            if target is None:
                reader.fail(f"{process.path}: there is no Var {name!r:.60}")
        if isinstance(owner, Monitor):
            owner.probe(target, num_steps=probe["num_steps"])
        elif isinstance(owner, Recorder):
            flat = None if probe["index"] is None else reader.array(probe["index"])
            if flat is not None and (
                flat.dtype.kind != "i" or flat.min() < 0 or flat.max() >= target.size
            ):
                reader.fail(f"{owner.path}: an index beyond {target!r}")
            index = None if flat is None else np.unravel_index(flat, target.shape)
            owner.add(target, every=probe["every"], index=index, packed=probe["packed"])
        else:
            reader.fail(f"{owner.path} records nothing")


def _config(reader: _Reader, graph: _Graph, x: Json) -> RunConfig:
    given = {n: reader.data(v, f"RunConfig.{n}") for n, v in x.items() if n != "select"}
    select: dict[Any, Any] = {}
    for key, value in x["select"]:
        if isinstance(key, dict) and "process" in key:
            key = _at(reader, graph, key["process"])
        else:
            key = reader.data(key, "RunConfig.select")
        if isinstance(value, dict) and "choice" in value:
            chosen = {n: reader.data(v, "RunConfig.select") for n, v in value["choice"].items()}
            select[key] = Choice(**chosen)
        else:
            select[key] = reader.data(value, "RunConfig.select")
    return RunConfig(**given, select=select)
