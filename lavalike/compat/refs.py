"""RefPorts and VarPorts: which Var a process reads and writes of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lavalike.compat.errors import (
    DuplicateConnectionError,
    PortError,
    PortTypeError,
    VarNotSharableError,
)
from lavalike.compat.ports import AbstractPort, keep_configs
from lavalike.process.ports import as_shape

if TYPE_CHECKING:
    from lavalike.process import AbstractProcess


class AbstractRVPort(AbstractPort):
    """Base of RefPort and VarPort. ``in_connections`` are the ports that reach this one, ``out_connections`` those it reaches."""

    def __init__(self, shape: Any) -> None:
        self.shape = as_shape(shape, type(self).__name__)
        self.name = ""
        self.process: AbstractProcess | None = None
        self.in_connections: list[AbstractRVPort] = []
        self.out_connections: list[AbstractRVPort] = []

    @property
    def path(self) -> str:
        own = self.name or type(self).__name__
        return own if self.process is None else f"{self.process.path}.{own}"

    def __repr__(self) -> str:
        return f"{self.path} {self.shape}"

    def connect(self, ports: Any, connection_configs: Any = None) -> None:
        """Reach ``ports``: of a RefPort VarPorts and RefPorts of the process around, of a VarPort those of inner processes."""
        for port in ports if isinstance(ports, list | tuple) else [ports]:
            if not isinstance(port, self._kinds()):
                raise PortTypeError(
                    f"{self!r} -> {port!r}: a {type(self).__name__} does not reach that"
                )
            if port.shape != self.shape:
                raise PortError(
                    f"{self!r} -> {port!r}: shapes differ: {self.shape} and {port.shape}"
                )
            if any(p is port for p in self.out_connections):
                raise DuplicateConnectionError(f"{self!r} -> {port!r}: connected already")
            self.out_connections.append(port)
            port.in_connections.append(self)
        keep_configs(self, ports, connection_configs)

    def connect_from(self, ports: Any, connection_configs: Any = None) -> None:
        """Be reached from ``ports``."""
        for port in ports if isinstance(ports, list | tuple) else [ports]:
            if not isinstance(port, AbstractRVPort):
                raise PortTypeError(
                    f"{port!r} -> {self!r}: a {type(self).__name__} is not reached from that"
                )
            port.connect(self)
        keep_configs(self, ports, connection_configs)

    def _kinds(self) -> tuple[type[AbstractRVPort], ...]:
        raise NotImplementedError

    def get_dst_ports(self) -> list[AbstractRVPort]:
        """The ports reached last."""
        out: list[AbstractRVPort] = []
        for port in self.out_connections:
            out += port.get_dst_ports() or [port]
        return out

    def get_src_ports(self) -> list[AbstractRVPort]:
        """The ports that reach this one first."""
        out: list[AbstractRVPort] = []
        for port in self.in_connections:
            out += port.get_src_ports() or [port]
        return out


class RefPort(AbstractRVPort):
    """Reads and writes a Var of another process."""

    def _kinds(self) -> tuple[type[AbstractRVPort], ...]:
        return (RefPort, VarPort)

    def connect_var(self, variables: Any, connection_configs: Any = None) -> None:
        """Reach Vars, each by a VarPort that is made for it."""
        given = variables if isinstance(variables, list | tuple) else [variables]
        if any(v.shape != self.shape for v in given):
            raise PortError(f"{self!r}: shapes differ: {self.shape} and {[v.shape for v in given]}")
        self.connect([ImplicitVarPort(v) for v in given], connection_configs)

    def get_dst_vars(self) -> list[Any]:
        """The Vars reached."""
        return [p.var for p in self.get_dst_ports() if isinstance(p, VarPort)]


class VarPort(AbstractRVPort):
    """Lets RefPorts reach ``var``."""

    def __init__(self, var: Any) -> None:
        if not var.shareable:
            raise VarNotSharableError(
                f"{var!r}: made with shareable=False, so no RefPort reaches it"
            )
        super().__init__(var.shape)
        self.var = var

    def _kinds(self) -> tuple[type[AbstractRVPort], ...]:
        return (VarPort,)


class ImplicitVarPort(VarPort):
    """Made by connect_var; named after the Var."""

    def __init__(self, var: Any) -> None:
        super().__init__(var)
        self.process = var.process
        self.name = name = f"_{var.name}_implicit_port"
        count = 0
        while self.process is not None and hasattr(self.process, self.name):
            count += 1
            self.name = f"{name}_{count}"
        if self.process is not None:
            setattr(self.process, self.name, self)
