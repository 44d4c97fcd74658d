"""Ports, and views on them that reorder what they carry or take a part of it.

A connection is stored once, at its destination, as a :class:`View` of its source. Five directions
are legal: OutPort -> InPort between processes, parent InPort -> child InPort and child OutPort ->
parent OutPort within a hierarchy, any OutPort to the InPort of an inner process, and a process's
own InPort -> OutPort, which hands on what arrives in the same step.
"""

from __future__ import annotations

import functools
import math
import operator
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from lavalike.arguments import SHAPE, arguments, integer, is_integer, shown
from lavalike.errors import ConnectError, ConnectTypeError
from lavalike.process.structure import Shared, Structure, join

if TYPE_CHECKING:
    from lavalike.process.process import AbstractProcess

Connectable = Union["Port", "View"]


class _Room(threading.local):
    left: int | None = None  # how many elements ports and Vars of this thread may still have


_room = _Room()


@contextmanager
def at_most(elements: int) -> Iterator[None]:
    """The ports and Vars that this thread makes meanwhile have so many elements in all;
    ConnectError for the first one too many, before there is memory for it."""
    _room.left = elements
    try:
        yield
    finally:
        _room.left = None


def as_shape(shape: int | Sequence[int], what: str) -> tuple[int, ...]:
    """``shape`` as a tuple of positive ints, or a ConnectError naming ``what``."""
    if not (type(shape) is tuple and shape and all(type(s) is int and s > 0 for s in shape)):
        SHAPE.check(what, "shape", shape, ConnectError)
        sizes: Any = (shape,) if is_integer(shape) else shape
        shape = tuple(operator.index(s) for s in sizes)
    left = _room.left
    if left is not None:
        _room.left = left - math.prod(shape)
        if _room.left < 0:
            raise ConnectError(
                f"{what}: shape {shown(shape)} asks for more than the {left} elements that are left"
            )
    return shape


class View:
    """What one or more ports carry, reordered: element k is ``concat(ports)[index[k]]``, and
    nothing where the index is -1.

    Made by an index (``port[:2]``) and by ``reshape``, ``flatten``, ``transpose`` and
    ``concat_with`` of a port; connects like a port. As a destination it stands for those elements,
    and what arrives elsewhere is as it was.

    Example::

        population.s_out[:800].connect(excitatory.s_in)
        background.s_out.connect(population.a_in[800:])
    """

    __iter__ = None  # an index does not make it a sequence

    def __init__(self, ports: tuple[Port, ...], index: np.ndarray) -> None:
        self.ports = ports
        self.index = index

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def __repr__(self) -> str:
        names = " + ".join(p.path for p in self.ports)
        return f"{names} {self.shape}" if self.is_identity else f"{names} as {self.shape}"

    @functools.cached_property
    def is_identity(self) -> bool:
        """True when the view hands on one port's elements in their own order."""
        flat = self.index.reshape(-1)
        return (
            len(self.ports) == 1
            and flat.size == self.ports[0].size
            and bool((flat == np.arange(flat.size)).all())
        )

    def __getitem__(self, idx: Any) -> View:
        """The elements that a NumPy index takes, by its rules but for two: at least one axis is
        left, and a slice ends within its axis. ConnectError otherwise."""
        _within(self, idx)
        try:
            index = self.index[idx]
        except (IndexError, ValueError) as e:
            kind = ConnectTypeError if "valid indices" in str(e) else ConnectError
            raise kind(f"{self!r}[{shown(idx)}]: {e}") from None
        if not isinstance(index, np.ndarray) or index.ndim == 0:
            raise ConnectError(
                f"{self!r}[{shown(idx)}]: one element without an axis; a slice keeps it, port[k:k + 1]"
            )
        if index.size == 0:
            raise ConnectError(f"{self!r}[{shown(idx)}]: no element is left")
        return View(self.ports, index)

    @arguments(error=ConnectError)
    def reshape(self, new_shape: Sequence[int]) -> View:
        """The same elements, C order, in ``new_shape`` (one -1 allowed)."""
        if new_shape is None:  # which NumPy takes for the shape it has
            raise ConnectTypeError(f"{self!r}: new_shape is a tuple of integers, got None")
        try:
            return View(self.ports, self.index.reshape(new_shape))
        except ValueError:
            raise ConnectError(
                f"{self!r}: {self.index.size} elements do not reshape to new_shape {shown(new_shape)}"
            ) from None
        except TypeError:
            raise ConnectTypeError(
                f"{self!r}: new_shape is a tuple of integers, got {shown(new_shape)}"
            ) from None

    def flatten(self) -> View:
        """One axis, C order."""
        return View(self.ports, self.index.reshape(-1))

    @arguments(error=ConnectError)
    def transpose(self, axes: Sequence[int] | None = None) -> View:
        """Axes permuted as in ``numpy.transpose`` (reversed by default)."""
        try:
            return View(self.ports, self.index.transpose(axes))
        except ValueError:
            raise ConnectError(
                f"{self!r}: axes {axes} are no permutation of {len(self.shape)} axes"
            ) from None
        except TypeError:
            raise ConnectTypeError(
                f"{self!r}: axes is a tuple of integers, got {shown(axes)}"
            ) from None

    @arguments(error=ConnectError, axis=integer())
    def concat_with(self, ports: Connectable | Sequence[Connectable], axis: int = 0) -> View:
        """This, followed by ``ports``, joined along ``axis``."""
        views = [self, *(as_view(p) for p in _as_list(ports))]
        kinds = {isinstance(p, InPort) for v in views for p in v.ports}
        if len(kinds) > 1:
            raise ConnectError(f"concat: InPorts and OutPorts cannot be joined: {views}")
        offset, parts = 0, []
        for v in views:
            parts.append(v.index + offset)
            offset += sum(p.size for p in v.ports)
        try:
            index = np.concatenate(parts, axis=axis)
        except ValueError:  # numpy's AxisError too
            shapes = ", ".join(f"{v!r}" for v in views)
            raise ConnectError(f"concat along axis {axis}: shapes do not fit: {shapes}") from None
        return View(tuple(p for v in views for p in v.ports), index)

    @arguments(error=ConnectError)
    def connect(self, ports: Connectable | Sequence[Connectable]) -> None:
        """Send this to ``ports`` (a port, a view of some, or a list of them)."""
        for target in _as_list(ports):
            if not isinstance(target, Port | View):
                raise ConnectError(
                    f"{self!r} -> {target!r}: the destination is a port or a view of one"
                )
            target.connect_from(self)

    @arguments(error=ConnectError)
    def connect_from(self, ports: Connectable | Sequence[Connectable]) -> None:
        """Receive from ``ports`` at these elements; several are added up, as messages of one
        step."""
        made: list[tuple[Port, View]] = []
        for view in (as_view(p) for p in _as_list(ports)):
            if view.shape != self.shape:
                raise ConnectError(
                    f"{view!r} -> {self!r}: shapes differ: {view.shape} and {self.shape}; reshape, flatten or transpose one"
                )
            for port, here, local in self._elements():
                if len(np.unique(local)) < len(local):
                    raise ConnectError(
                        f"{view!r} -> {self!r}: an element of {port.path} receives twice; name each once"
                    )
                index = np.full(port.size, -1)
                index[local] = view.index.reshape(-1)[here]
                made.append((port, View(view.ports, index.reshape(port.shape))))
        for port, view in made:
            port._check(view)
        for port, view in made:
            port.connect_from(view)

    def _elements(self) -> list[tuple[Port, np.ndarray, np.ndarray]]:
        """Each port that is in it, where in this view its elements are, and which of the port's
        they are."""
        flat, offset = self.index.reshape(-1), 0
        found: dict[int, tuple[Port, np.ndarray, np.ndarray]] = {}
        for port in self.ports:
            here = np.flatnonzero((flat >= offset) & (flat < offset + port.size))
            if len(here):
                _, *old = found.get(id(port), (port, here[:0], here[:0]))
                found[id(port)] = (
                    port,
                    np.concatenate([old[0], here]),
                    np.concatenate([old[1], flat[here] - offset]),
                )
            offset += port.size
        return list(found.values())


def _within(view: View, idx: Any) -> None:
    """ConnectError for a slice that ends outside of its axis, which NumPy would cut short."""
    parts = idx if isinstance(idx, tuple) else (idx,)
    if not all(p is None or p is Ellipsis or isinstance(p, slice) or is_integer(p) for p in parts):
        return
    given = sum(p is not None and p is not Ellipsis for p in parts)
    axis = 0
    for p in parts:
        if p is Ellipsis:
            axis += len(view.shape) - given
        elif p is not None:
            size = view.shape[axis] if axis < len(view.shape) else 0
            for end in (p.start, p.stop) if isinstance(p, slice) else ():
                if end is not None and is_integer(end) and not -size <= end <= size:
                    raise ConnectError(
                        f"{view!r}[{shown(idx)}]: {end} is beyond axis {axis}, which has {size} elements"
                    )
            axis += 1


class Port(Shared):
    """Base of InPort and OutPort. ``shape`` is the shape of one message (one step).

    Example:
        >>> lif = proc.LIF(shape=(3,))
        >>> [port.name for port in (*lif.in_ports, *lif.out_ports)], lif.a_in.shape
        (['a_in', 's_out'], (3,))
    """

    @arguments(error=ConnectError, late=True)
    def __init__(self, shape: int | Sequence[int]) -> None:
        self.shape = as_shape(shape, type(self).__name__)
        self.size = math.prod(self.shape)
        self.name = ""
        self.process: AbstractProcess | None = None
        self.sources: list[View] = []
        self.targets: list[Port] = []

    def _shared(self) -> Structure | None:
        return None if self.process is None else self.process._structure

    @property
    def path(self) -> str:
        """Dotted name within the outermost process, for messages."""
        own = self.name or type(self).__name__
        return f"{self.process.path}.{own}" if self.process is not None else own

    def __repr__(self) -> str:
        return f"{self.path} {self.shape}"

    def _view(self) -> View:
        view = View((self,), np.arange(self.size).reshape(self.shape))
        view.__dict__["is_identity"] = True
        return view

    __iter__ = None

    def __getitem__(self, idx: Any) -> View:
        """See :meth:`View.__getitem__`."""
        return self._view()[idx]

    @arguments(error=ConnectError)
    def reshape(self, new_shape: Sequence[int]) -> View:
        """See :meth:`View.reshape`."""
        return self._view().reshape(new_shape)

    def flatten(self) -> View:
        """See :meth:`View.flatten`."""
        return self._view().flatten()

    @arguments(error=ConnectError)
    def transpose(self, axes: Sequence[int] | None = None) -> View:
        """See :meth:`View.transpose`."""
        return self._view().transpose(axes)

    @arguments(error=ConnectError, axis=integer())
    def concat_with(self, ports: Connectable | Sequence[Connectable], axis: int = 0) -> View:
        """See :meth:`View.concat_with`."""
        return self._view().concat_with(ports, axis)

    @arguments(error=ConnectError)
    def connect(self, ports: Connectable | Sequence[Connectable]) -> None:
        """Send what this port carries to ``ports`` (a port, a view of some, or a list of them)."""
        self._view().connect(ports)

    @arguments(error=ConnectError)
    def connect_from(self, ports: Connectable | Sequence[Connectable]) -> None:
        """Receive from ``ports``; several are added up, as messages of one step."""
        views = [as_view(p) for p in _as_list(ports)]
        for view in views:
            self._check(view)
        for view in views:
            self.sources.append(view)
            for port in view.ports:
                port.targets.append(self)
                join(self._shared(), port._shared())

    def _check(self, view: View) -> None:
        for src in view.ports:
            if src is self:
                raise ConnectError(f"{view!r} -> {self!r}: a port cannot feed itself")
            self.check_direction(src, view)
        if view.shape != self.shape:
            raise ConnectError(
                f"{view!r} -> {self!r}: shapes differ: {view.shape} and {self.shape}; reshape, flatten or transpose the "
                "source"
            )
        if self.connected(view):
            raise ConnectError(f"{view!r} -> {self!r}: connected already")

    def connected(self, view: View) -> bool:
        """Whether ``view`` feeds this port already."""
        heard = view.ports[0].targets  # or whom its sender feeds: what is shorter is looked through
        if len(heard) < len(self.sources) and self not in heard:
            return False
        return any(
            old.ports == view.ports and np.array_equal(old.index, view.index)
            for old in self.sources
        )

    def check_direction(self, src: Port, view: View, settled: bool = False) -> None:
        """ConnectError unless ``src``, of ``view``, may feed this port. A process that has no
        parent yet may still get one, so hierarchy is judged when it has, or at compile time
        (``settled``)."""
        raise NotImplementedError


def _is_inside(child: AbstractProcess | None, parent: AbstractProcess | None) -> bool:
    while child is not None:
        child = child.parent
        if child is parent and parent is not None:
            return True
    return False


def _assign(inner: AbstractProcess | None, outer: AbstractProcess | None) -> str:
    """The remedy where ``inner`` is meant to lie inside of ``outer``."""
    if inner is None or outer is None or inner.parent is not None:
        return ""
    name = type(inner).__name__
    return (
        f". If {name} is a part of {outer.path}, assign it to an attribute there (self.{name.lower()} = ..., or in a list, tuple or "
        "dict)"
    )


class InPort(Port):
    """Receives one message of ``shape`` a step: the sum of all sources, zeros when there are
    none.

    Example:
        >>> class Ear(lv.AbstractProcess):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.a_in = lv.InPort((3,))
        ...
        >>> Ear().a_in.shape
        (3,)
    """

    def check_direction(self, src: Port, view: View, settled: bool = False) -> None:
        if not isinstance(src, InPort):
            if not isinstance(src, OutPort):
                raise ConnectError(f"{view!r} -> {self!r}: an InPort hears OutPorts and InPorts")
            return
        open_end = self.process is None or (self.process.parent is None and not settled)
        if not open_end and not _is_inside(self.process, src.process):
            raise ConnectError(
                f"{view!r} -> {self!r}: an InPort hands on only to processes inside its own; connect an OutPort"
                f"{_assign(self.process, src.process)}"
            )


class OutPort(Port):
    """Sends one message of ``shape`` a step to every port connected to it.

    Example:
        >>> lif, dense = proc.LIF(shape=(3,)), proc.Dense(weights=np.ones((2, 3)))
        >>> lif.s_out.connect(dense.s_in)
    """

    def check_direction(self, src: Port, view: View, settled: bool = False) -> None:
        if not isinstance(src, OutPort):
            if not isinstance(src, InPort):
                raise ConnectError(
                    f"{view!r} -> {self!r}: an OutPort is fed by OutPorts and InPorts"
                )
            if src.process is not self.process and (
                settled or None not in (src.process, self.process)
            ):
                raise ConnectError(
                    f"{view!r} -> {self!r}: an OutPort is fed by OutPorts of inner processes and by InPorts of its own "
                    "process only"
                )
            return
        if src.process is None or self.process is None:
            return
        open_end = src.process.parent is None and not settled
        if not open_end and not _is_inside(src.process, self.process):
            raise ConnectError(
                f"{view!r} -> {self!r}: {src.path} does not lie inside {self.process.path}; connect to an InPort instead"
                f"{_assign(src.process, self.process)}"
            )


def as_view(port: Connectable) -> View:
    """A port or a view, as a view."""
    if isinstance(port, View):
        return port
    if isinstance(port, Port):
        return port._view()
    raise ConnectTypeError(f"ports: expected a port, got {shown(port)}")


def _as_list(ports: Connectable | Iterable[Connectable]) -> list[Connectable]:
    if isinstance(ports, Port | View):
        return [ports]
    if isinstance(ports, list | tuple):
        return list(ports)
    raise ConnectTypeError(
        f"ports: expected a port or a list of ports, got {shown(ports)}; name the port of a process"
    )
