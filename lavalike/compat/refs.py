"""RefPorts and VarPorts: which Var a process reads and sets of another."""

from __future__ import annotations

from typing import Any

from lavalike.compat.errors import PortError, PortTypeError, VarNotSharableError
from lavalike.compat.ports import _Port
from lavalike.process import refs as core
from lavalike.process.ports import Port, View


class AbstractRVPort(_Port):
    """Base of RefPort and VarPort."""

    def _meets(self, ports: Any, kinds: type | tuple[type, ...]) -> None:
        for given in ports if isinstance(ports, list | tuple) else [ports]:
            ends = given.ports if isinstance(given, View) else [given]
            if not all(isinstance(p, kinds) for p in ends):
                raise PortTypeError(
                    f"{self!r}, {given!r}: RefPorts refer to VarPorts, and both to those of inner processes"
                )

    def _io(self, ports: Any) -> None:
        self._meets(ports, (core.RefPort, core.VarPort))


class RefPort(AbstractRVPort, core.RefPort):
    """Reads and sets a Var of another process."""

    def connect_from(self, ports: Any, connection_configs: Any = None) -> None:
        """Stand for RefPorts of inner processes."""
        self._meets(ports, core.RefPort)
        super().connect_from(ports, connection_configs)

    def connect_var(self, variables: Any, connection_configs: Any = None) -> None:
        """Refer to a Var, by a VarPort that is made for it."""
        given = variables if isinstance(variables, list | tuple) else [variables]
        if any(v.shape != self.shape for v in given):
            raise PortError(f"{self!r}: shapes differ: {self.shape} and {[v.shape for v in given]}")
        self.connect([ImplicitVarPort(v) for v in given], connection_configs)

    def get_dst_vars(self) -> list[Any]:
        """The Vars referred to."""
        return [p.var for p in self.get_dst_ports() if isinstance(p, core.VarPort)]


class VarPort(AbstractRVPort, core.VarPort):
    """Lets RefPorts refer to ``var``."""

    def __init__(self, var: Any) -> None:
        if not var.shareable:
            raise VarNotSharableError(
                f"{var!r}: made with shareable=False, so no RefPort refers to it"
            )
        super().__init__(var)

    def connect(self, ports: Any, connection_configs: Any = None) -> None:
        """Stand for VarPorts of inner processes."""
        self._meets(ports, core.VarPort)
        super().connect(ports, connection_configs)


class ImplicitVarPort(VarPort):
    """Made by connect_var; named after the Var."""

    def __init__(self, var: Any) -> None:
        super().__init__(var)
        self.name = name = f"_{var.name}_implicit_port"
        count = 0
        while var.process is not None and hasattr(var.process, self.name):
            count += 1
            self.name = f"{name}_{count}"
        if var.process is not None:
            setattr(var.process, self.name, self)


DRESSED: dict[type, type[Port]] = {core.RefPort: RefPort, core.VarPort: VarPort}
