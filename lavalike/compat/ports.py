"""Ports as Lava's programs know them."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from lavalike.compat.errors import (
    ConcatIndexError,
    ConcatShapeError,
    DuplicateConnectionError,
    PortError,
    PortTypeError,
    ReshapeError,
    TransposeIndexError,
    TransposeShapeError,
)
from lavalike.errors import ConnectError
from lavalike.proc import io
from lavalike.process import ports as core
from lavalike.process.refs import RefPort, VarPort

V = TypeVar("V", bound=core.View)


class AbstractPort:
    """Base of all ports."""

    name: str
    shape: tuple[int, ...]

    def __init__(self, shape: Any) -> None:  # of a virtual port of a program's own
        self.shape = tuple(shape)

    def _connect_forward(
        self, ports: Any, kind: Any, connection_configs: Any = None, assert_same_shape: bool = True
    ) -> None:
        """Send what this port carries to virtual ports of a program's own, which connect to
        others."""
        for port in ports:
            if not isinstance(port, AbstractVirtualPort):
                raise PortTypeError(f"{self!r}, {port!r}: ports are connected by connect(port)")
            port.carried = self.carried if isinstance(self, AbstractVirtualPort) else self._view()  # type: ignore[attr-defined]  # of virtual ports
            port._apply()


class AbstractIOPort(AbstractPort):
    """Base of the ports that pass messages."""


class AbstractSrcPort:
    """A port that connections start from."""


class AbstractDstPort:
    """A port that connections end at."""


class AbstractVirtualPort(AbstractPort):
    """A view on ports. One of a program's own says by ``get_transform_func_fwd()`` how it reorders
    what it carries."""

    carried: core.View

    def get_transform_func_fwd(self) -> Any:
        """A function of an array."""
        raise NotImplementedError(
            f"{type(self).__name__}: get_transform_func_fwd() gives what reorders an array"
        )

    def _apply(self) -> None:
        """Reorder what came, by the places of its elements."""
        turn, index = self.get_transform_func_fwd(), self.carried.index
        new = np.asarray(turn(index))
        if not np.array_equal(np.asarray(turn(index + 7)), new + 7) or new.shape != self.shape:
            raise ReshapeError(
                f"{type(self).__name__}: get_transform_func_fwd() takes {index.shape} to {new.shape}, and is to reorder elements to "
                f"{self.shape}"
            )
        self.carried = core.View(self.carried.ports, new)

    def connect(self, ports: Any, connection_configs: Any = None) -> None:
        """Send what it carries to ``ports``."""
        try:
            self.carried.connect(ports)
        except ConnectError as e:
            raise PortError(str(e)) from e


class AbstractReduceOp:
    """How an InPort joins what several ports send."""


class ReduceSum(AbstractReduceOp):
    """Adds up, as every InPort does."""


def _as(kind: type[V], view: core.View) -> V:
    view.__class__ = kind
    return view  # type: ignore[return-value]  # its class was set


class _Shaping:
    """What reshapes ports and views, with Lava's errors."""

    shape: tuple[int, ...]

    def reshape(self, new_shape: Any) -> ReshapePort:
        if math.prod(new_shape) != math.prod(self.shape):
            raise ReshapeError(
                f"{self!r}: {math.prod(self.shape)} elements do not reshape to {tuple(new_shape)}"
            )
        return _as(ReshapePort, super().reshape(new_shape))  # type: ignore[misc]  # of the class it is mixed into

    def flatten(self) -> ReshapePort:
        return _as(ReshapePort, super().flatten())  # type: ignore[misc]  # of the class it is mixed into

    def transpose(self, axes: Any = None) -> TransposePort:
        n = len(self.shape)
        if axes is not None and len(axes) != n:
            raise TransposeShapeError(f"{self!r}: axes {tuple(axes)} for {n} axes")
        if axes is not None and any(not -n <= a < n for a in axes):
            raise TransposeIndexError(f"{self!r}: axes {tuple(axes)} for {n} axes")
        return _as(TransposePort, super().transpose(axes))  # type: ignore[misc]  # of the class it is mixed into

    def concat_with(self, ports: Any, axis: int = 0) -> ConcatPort:
        others = ports if isinstance(ports, list | tuple) else [ports]
        if not -len(self.shape) <= axis < len(self.shape):
            raise ConcatIndexError(f"{self!r}: axis {axis} of {len(self.shape)} axes")
        try:
            return _as(ConcatPort, super().concat_with(others, axis))  # type: ignore[misc]  # of the class it is mixed into
        except ConnectError as e:
            rest = {
                tuple(s for k, s in enumerate(p.shape) if k != axis % len(p.shape))
                for p in (self, *others)
            }
            raise (ConcatShapeError if len(rest) > 1 else PortError)(str(e)) from e


class _View(_Shaping, core.View, AbstractVirtualPort):  # type: ignore[misc]  # connects as views do
    """A view of ports."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class ReshapePort(_View):
    """What a port carries, in another shape."""


class TransposePort(_View):
    """What a port carries, with other axes."""


class ConcatPort(_View):
    """What several ports carry, joined."""


def keep_configs(port: Any, others: Any, configs: Any) -> None:
    """Note what chips would be told of each connection, at both of its ends."""
    others = others if isinstance(others, list | tuple) else [others]
    each = configs if isinstance(configs, list | tuple) else [configs] * len(others)
    if len(each) != len(others):
        raise PortError(
            f"{port!r}: {len(each)} connection_configs for {len(others)} ports; one for all, or one each"
        )
    for other, config in zip(others, each, strict=True):
        if config is not None:
            for a, b in ((port, other), (other, port)):
                a.__dict__.setdefault("connection_configs", {})[b] = config


class _Port(_Shaping, core.Port, AbstractIOPort):
    def connect(self, ports: Any, connection_configs: Any = None) -> None:
        """Send what this port carries to ``ports``. ``connection_configs`` say how chips pass it
        on."""
        self._io(ports)
        try:
            self._view().connect(ports)
        except PortError:
            raise
        except ConnectError as e:
            raise PortError(str(e)) from e
        keep_configs(self, ports, connection_configs)

    def connect_from(self, ports: Any, connection_configs: Any = None) -> None:
        """Receive from ``ports``; several are added up."""
        self._io(ports)
        try:
            super().connect_from(ports)
        except PortError:
            raise
        except ConnectError as e:
            raise PortError(str(e)) from e
        if connection_configs is not None:
            keep_configs(self, ports, connection_configs)

    def _io(self, ports: Any) -> None:
        """PortTypeError where one of ``ports`` passes no messages."""
        for given in ports if isinstance(ports, list | tuple) else [ports]:
            ends = given.ports if isinstance(given, core.View) else [given]
            if any(isinstance(p, RefPort | VarPort) for p in ends):
                raise PortTypeError(
                    f"{self!r}, {given!r}: RefPorts and VarPorts are connected with each other"
                )

    def _check(self, view: core.View) -> None:
        if self.connected(view):
            raise DuplicateConnectionError(f"{view!r} -> {self!r}: connected already")
        super()._check(view)

    @property
    def in_connections(self) -> list[Any]:
        """Ports, and views of some, that feed this one."""
        return [
            v if isinstance(v, AbstractVirtualPort) or len(v.ports) > 1 else v.ports[0]
            for v in self.sources
        ]

    @property
    def out_connections(self) -> list[core.Port]:
        """Ports that this one feeds."""
        return [*self.targets]

    def get_src_ports(self) -> list[core.Port]:
        """The ports that what this one carries comes from first."""
        return _ends(self, lambda p: [q for view in p.sources for q in view.ports])

    def get_dst_ports(self) -> list[core.Port]:
        """The ports where what this one carries ends."""
        return _ends(self, lambda p: p.targets)

    def get_incoming_transform_funcs(self) -> dict[str, Any]:
        """None here: a program's transformations are indices."""
        return {}


def _ends(port: core.Port, near: Any) -> list[core.Port]:
    out: list[core.Port] = []
    for other in near(port):
        out += _ends(other, near) if near(other) else [other]
    return list(dict.fromkeys(out))


class InPort(_Port, core.InPort, AbstractDstPort):
    """Receives one message a step."""

    def __init__(self, shape: Any, reduce_op: type[AbstractReduceOp] | None = None) -> None:
        if reduce_op is not None and reduce_op is not ReduceSum:
            raise PortError(f"InPort: reduce_op is ReduceSum or None, got {reduce_op!r}")
        super().__init__(shape)
        self._reduce_op = reduce_op

    def flag_external_pipe(self, buffer_size: int = 64) -> None:
        """Let the program send to this port, by ``external_pipe_csp_send_port``, while it runs."""
        from lavalike.compat.pipes import CspSendPort

        injector = io.Injector(shape=self.shape, buffer_size=buffer_size)
        injector.out_port.connect(self)
        self.external_pipe_flag, self.external_pipe_buffer_size = True, buffer_size
        self.external_pipe_csp_send_port = CspSendPort(injector.channel)


class OutPort(_Port, core.OutPort, AbstractSrcPort):
    """Sends one message a step."""

    def flag_external_pipe(self, buffer_size: int = 64) -> None:
        """Let the program receive from this port, by ``external_pipe_csp_recv_port``, while it
        runs."""
        from lavalike.compat.pipes import CspRecvPort

        extractor = io.Extractor(shape=self.shape, buffer_size=buffer_size)
        self._view().connect(extractor.in_port)
        self.external_pipe_flag, self.external_pipe_buffer_size = True, buffer_size
        self.external_pipe_csp_recv_port = CspRecvPort(extractor.channel)

    def check_direction(self, src: core.Port, view: core.View, settled: bool = False) -> None:
        if not isinstance(src, core.OutPort):
            raise PortError(f"{view!r} -> {self!r}: an InPort does not feed an OutPort")
        super().check_direction(src, view, settled)


DRESSED: dict[type, type] = {core.InPort: InPort, core.OutPort: OutPort}
