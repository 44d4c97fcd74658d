"""A process graph drawn: boxes, those within others, and who sends to whom; as Mermaid's or
Graphviz' text, and as a notebook shows it.

Connections are drawn between what is drawn: through the ports of processes that are open, up to
those that are leaves or folded. An open process's port at which nothing arrives, or that nobody
hears, is an end of the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from lavalike import html
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.refs import VarPort
from lavalike.process.var import Var, resolved

if TYPE_CHECKING:
    from lavalike.process.process import AbstractProcess

MOST = 100  # boxes of a drawing that is folded by itself
NAMED = 3  # pairs of ports that an edge names
FEW = 20  # processes inside that a notebook shows at once
ROWS = 100  # processes and Vars that a notebook shows


@dataclass(eq=False)
class Box:
    """What is drawn as one: a process, several alike, or a port at an end.

    Attributes: ``name`` and ``kind`` (class), ``alike``, how many it stands for, ``inner``, the
    processes that are folded into it, ``end``, whether it is a port, and ``shape``, of what it
    sends first (what it hears, where it sends nothing).
    """

    name: str
    kind: str
    inner: int = 0
    alike: int = 1
    end: bool = False
    number: int = 0
    shape: tuple[int, ...] = ()


@dataclass(eq=False)
class Group:
    """A process that is open: ``boxes`` and ``groups`` in it."""

    name: str
    kind: str
    boxes: list[Box] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    number: int = 0


@dataclass
class Edge:
    """From one box to another: ``labels``, the pairs of ports, and ``kind``, "sends", "refers" or
    "records"."""

    source: Box
    target: Box
    kind: str
    labels: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        more = len(self.labels) - NAMED
        return ", ".join(self.labels[:NAMED]) + (f" and {more} more" if more > 0 else "")


class Drawing:
    """What is drawn of ``process``: of an outermost one everything that is connected to it, of an
    inner one what is inside.

    Args:
        process: any.
        depth: how many levels of inner processes are open: 0 none. Default None: as many as give
            at most ``most`` boxes, where of more than ``most`` processes side by side those of one
            class that have nothing inside are one box.
        most: default 100.
    """

    def __init__(
        self, process: AbstractProcess, depth: int | None = None, most: int = MOST
    ) -> None:
        from lavalike.process.process import component

        self.tops = component(process) if process.parent is None else [process]
        self.folding = depth is None
        levels = self._levels(most) if depth is None else depth
        self.boxes: list[Box] = []
        self.top = Group("", "")
        self._box: dict[int, Box] = {}  # of a process, its own or that it is folded into
        self._open: set[int] = set()
        self._drawn = {id(p) for top in self.tops for p in _walk(top)}
        self._ends: dict[int, Box] = {}
        self._groups: dict[int, Group] = {}
        self._fill(self.top, self.tops, levels, most)
        self.edges: list[Edge] = []
        self._edges: dict[tuple[int, int, str], Edge] = {}
        self._connect()

    def _levels(self, most: int) -> int:
        """How many levels can be open."""
        level, scopes, leaves = 0, [self.tops], 0
        while True:
            inner = [(p, p.procs) for scope in scopes for p in scope]
            leaves += sum(_leaves(scope, most) for scope in scopes)
            scopes = [procs for _, procs in inner if procs]
            boxes = sum(_leaves(x, most) + sum(bool(p.procs) for p in x) for x in scopes)
            if not scopes or leaves + boxes > most:
                return level
            level += 1

    def _fill(
        self, group: Group, processes: Sequence[AbstractProcess], levels: int, most: int
    ) -> None:
        many = self.folding and len(processes) > most
        alike: dict[str, Box] = {}
        for process in processes:
            kind, inner = type(process).__name__, process.procs
            if inner and levels > 0:
                made = Group(_name(process), kind, number=len(self._open) + 1)
                group.groups.append(made)
                self._open.add(id(process))
                self._groups[id(process)] = made
                self._fill(made, inner, levels - 1, most)
                continue
            if many and not inner and kind in alike:
                box = alike[kind]
                box.alike += 1
            else:
                box = self._add(group, Box(_name(process), kind, _inside(process)))
                box.shape = next((p.shape for p in (*process.out_ports, *process.in_ports)), ())
                if not inner:
                    alike[kind] = box
            for p in _walk(process):
                self._box[id(p)] = box

    def _add(self, group: Group, box: Box) -> Box:
        box.number = len(self.boxes) + 1
        self.boxes.append(box)
        group.boxes.append(box)
        return box

    def _connect(self) -> None:
        for top in self.tops:
            for process in _walk(top):
                for port in process.in_ports:
                    self._receives(process, port)
                for out in process.out_ports:
                    if id(process) in self._open and not self._within(out.targets):
                        for source in self._sources(out):
                            self._join(source, self._end(process, out), out)
                for ref in process.ref_ports:
                    self._refers(process, ref)
                for probe in process.probes:
                    self._records(process, probe.target, self._box.get(id(probe.owner)))

    def _receives(self, process: AbstractProcess, port: Port) -> None:
        box = self._box.get(id(process))
        if box is None:
            if port.targets and not self._within(p for v in port.sources for p in v.ports):
                self._end(process, port)  # what is within hears it
            return
        for source in self._sources(port):
            self._join(source, box, port)

    def _within(self, ports: Iterable[Port]) -> list[Port]:
        """Those of what is drawn."""
        return [p for p in ports if id(p.process) in self._drawn]

    def _sources(self, port: Port) -> Iterator[Port]:
        """The ports of what is drawn that ``port`` hears."""
        seen: set[int] = set()
        todo = self._within(p for view in port.sources for p in view.ports)[::-1]
        while todo:
            at = todo.pop()
            if id(at) in seen:
                continue
            seen.add(id(at))
            inner = self._within(p for view in at.sources for p in view.ports)
            if id(at.process) in self._open and inner:
                todo += inner[::-1]
            else:
                yield at

    def _join(self, source: Port, target: Box, heard: Port) -> None:
        process = source.process
        assert process is not None
        box = self._box.get(id(process))
        if box is None:
            if isinstance(source, OutPort):
                return  # of an open process, in which nothing sends
            box = self._end(process, source)
        if box is target and box.inner:
            return  # within what is folded
        names = ["" if box.end else source.name, "" if target.end else heard.name]
        self._edge(box, target, "sends", " → ".join(n for n in names if n))

    def _refers(self, process: AbstractProcess, ref: Port) -> None:
        at = ref
        while at.targets:
            at = at.targets[0]
        me, box = self._box.get(id(process)), self._box.get(id(at.process))
        if isinstance(at, VarPort) and me is not None and box is not None and me is not box:
            self._edge(me, box, "refers", f"{ref.name} → {at.var.name}")

    def _records(self, process: AbstractProcess, target: Port | Var, owner: Box | None) -> None:
        if isinstance(target, Var):
            process = resolved(target).process or process
        elif id(process) in self._open:  # what its inner processes send
            for port in self._sources(target):
                box = self._box.get(id(port.process))
                if owner is not None and box is not None:
                    self._edge(box, owner, "records", target.name)
            return
        box = self._box.get(id(process))
        if owner is not None and box is not None:
            self._edge(box, owner, "records", target.name)

    def _edge(self, source: Box, target: Box, kind: str, label: str) -> None:
        key = (source.number, target.number, kind)
        if key not in self._edges:
            self._edges[key] = Edge(source, target, kind)
            self.edges.append(self._edges[key])
        labels = self._edges[key].labels
        if label and label not in labels:
            labels.append(label)

    def _end(self, process: AbstractProcess, port: Port) -> Box:
        if id(port) not in self._ends:
            kind = "InPort" if isinstance(port, InPort) else "OutPort"
            box = Box(port.name, kind, end=True, shape=port.shape)
            self._ends[id(port)] = self._add(self._groups[id(process)], box)
        return self._ends[id(port)]


def _name(process: AbstractProcess) -> str:
    return process.name or type(process).__name__


def _walk(process: AbstractProcess) -> Iterator[AbstractProcess]:
    from lavalike.process.process import walk

    return walk(process)


def _inside(process: AbstractProcess) -> int:
    return sum(1 for _ in _walk(process)) - 1


def _leaves(scope: Sequence[AbstractProcess], most: int) -> int:
    """How many boxes there are of those with nothing inside."""
    leaves = [type(p).__name__ for p in scope if not p.procs]
    return len(leaves) if len(scope) <= most else len(set(leaves))


def caption(box: Box) -> list[str]:
    """The lines of a box's text."""
    if box.end:
        return [box.name]
    if box.alike > 1:
        return [f"{box.alike:,} of {box.kind}", f"{box.name} and others"]
    lines = [box.name] if box.name == box.kind else [box.name, box.kind]
    if box.inner:
        lines.append(html.count(box.inner, "process", "processes") + " inside")
    return lines


def title(group: Group) -> str:
    """The text of an open process."""
    return group.name if group.name == group.kind else f"{group.name}: {group.kind}"


# -- Mermaid ---------------------------------------------------------------------------------------

# Mermaid reads a text's entities by name or number, written so
_MERMAID = str.maketrans(
    {c: f"#{ord(c)};" for c in '"#&<>`\\|[]{}()'} | dict.fromkeys("\r\n\t", " ")
)
_LINES = {"sends": "-->", "refers": "-.->", "records": "-.-o"}


def mermaid(drawing: Drawing) -> str:
    """As a flowchart of Mermaid."""
    out = ["flowchart LR"]

    def text(lines: Sequence[str]) -> str:
        return '"' + "<br/>".join(line.translate(_MERMAID) for line in lines) + '"'

    def put(group: Group, indent: str) -> None:
        for box in group.boxes:
            left, right = ("([", "])") if box.end else ("[", "]")
            out.append(f"{indent}n{box.number}{left}{text(caption(box))}{right}")
        for inner in group.groups:
            out.append(f"{indent}subgraph g{inner.number}[{text([title(inner)])}]")
            put(inner, indent + "  ")
            out.append(f"{indent}end")

    put(drawing.top, "  ")
    for e in drawing.edges:
        label = f"|{text([e.label])}|" if e.label else ""
        out.append(f"  n{e.source.number} {_LINES[e.kind]}{label} n{e.target.number}")
    return "\n".join(out) + "\n"


# -- Graphviz --------------------------------------------------------------------------------------


def _quoted(lines: Sequence[str]) -> str:
    """A string of DOT, whose own escapes (``\\N``, ``\\G``) mean nothing in it."""
    plain = (
        " ".join(line.splitlines()).replace("\\", "\\\\").replace('"', '\\"') for line in lines
    )
    return '"' + "\\n".join(plain) + '"'


_STYLES = {"sends": "", "refers": ", style=dashed", "records": ", style=dotted"}


def dot(drawing: Drawing) -> str:
    """As a digraph of Graphviz."""
    out = [
        "digraph {",
        "  rankdir=LR;",
        "  node [shape=box, style=rounded, fontname=Helvetica, fontsize=11];",
        "  edge [fontname=Helvetica, fontsize=9];",
    ]

    def put(group: Group, indent: str) -> None:
        for box in group.boxes:
            form = ", shape=ellipse" if box.end else ""
            out.append(f"{indent}n{box.number} [label={_quoted(caption(box))}{form}];")
        for inner in group.groups:
            out.append(f"{indent}subgraph cluster_{inner.number} {{")
            out.append(f"{indent}  label={_quoted([title(inner)])}; fontname=Helvetica;")
            put(inner, indent + "  ")
            out.append(f"{indent}}}")

    put(drawing.top, "  ")
    for e in drawing.edges:
        out.append(
            f"  n{e.source.number} -> n{e.target.number} "
            f"[label={_quoted([e.label])}{_STYLES[e.kind]}];"
        )
    return "\n".join([*out, "}"]) + "\n"


# -- notebooks -------------------------------------------------------------------------------------


def shown(process: AbstractProcess, *parts: str) -> str:
    """``process`` as a notebook shows it: what it has, before ``parts``; HTML. It costs what is
    shown, not what is inside."""
    sections = [*parts]
    ports = [*process.in_ports, *process.out_ports]
    if ports:
        rows: Iterable[list[object]] = (
            [p.name, "in" if isinstance(p, InPort) else "out", html.shape(p.shape), _others(p)]
            for p in ports
        )
        sections.append(html.table(["port", "", "shape", "connected to"], rows, len(ports), ROWS))
    variables = process.vars
    if variables:
        rows = ([v.name, v.role, html.shape(v.shape), _dtype(v)] for v in variables[:ROWS])
        body = html.table(["Var", "role", "shape", "dtype"], rows, len(variables), ROWS)
        sections.append(html.fold(html.count(len(variables), "Var"), body))
    inner = process.procs
    if inner:
        rows = (
            [_name(p), type(p).__name__, _shapes(p.in_ports), _shapes(p.out_ports)] for p in inner
        )
        body = html.table(["process", "class", "in", "out"], rows, len(inner), ROWS)
        many = html.count(len(inner), "process", "processes")
        sections.append(html.fold(f"{many} inside", body, len(inner) <= FEW and not parts))
    steps = f", after step {process.step}" if isinstance(process.step, int) and process.step else ""
    return html.box(process.path, f"{type(process).__name__}{steps}", *sections)


def _dtype(var: Var) -> str:
    return "not made yet" if var.untouched else str(var.value.dtype)


def _others(port: Port) -> str:
    """Who is connected to it on the outside: whom an InPort hears, who hears an OutPort."""
    ends = (
        (p for view in port.sources for p in view.ports)
        if isinstance(port, InPort)
        else iter(port.targets)
    )
    names = [p.path for p in islice(ends, NAMED + 1)]
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "") or "-"


def _shapes(ports: Sequence[Port]) -> str:
    return ", ".join(html.shape(p.shape) for p in ports[:NAMED]) + (
        ", ..." if len(ports) > NAMED else ""
    )
