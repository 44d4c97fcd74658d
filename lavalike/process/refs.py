"""RefPort and VarPort: a process reads and sets Vars of another one, between steps."""

from __future__ import annotations

from lavalike.arguments import arguments, instance
from lavalike.errors import ConnectError
from lavalike.process.ports import Port, View
from lavalike.process.structure import join
from lavalike.process.var import Var


class RefPort(Port):
    """Reads and sets a Var of another process: a :class:`lavalike.NumpyModel` has it as
    ``self.PORT.read()`` and ``write(data)``.

    ``connect_var(var)``, or ``connect`` to a :class:`VarPort` of the other process or to a RefPort
    of the process around this one, also reordered (``reshape``, ``flatten``, ``transpose``, an
    index): what is written goes the way back. One RefPort refers to one Var.

    Example:
        >>> class Watcher(lv.AbstractProcess):
        ...     def __init__(self, shape):
        ...         super().__init__()
        ...         self.look = lv.RefPort(shape)
        ...
        >>> lif, watcher = proc.LIF(shape=(3,)), Watcher((3,))
        >>> watcher.look.connect_var(lif.v)

    Args:
        shape: of what is read and written.
    """

    def check_direction(self, src: Port, view: View, settled: bool = False) -> None:
        if not isinstance(src, RefPort):
            raise ConnectError(
                f"{view!r} -> {self!r}: a RefPort hands on RefPorts of inner processes only"
            )
        _check_alone(src, view, self, settled)

    @arguments(error=ConnectError, var=instance(Var, words="a Var"))
    def connect_var(self, var: Var) -> None:
        """Refer to ``var``, of another process, whose shape is this port's. ConnectError otherwise,
        and where it is not shareable."""
        if var.process is None:
            raise ConnectError(
                f"{self!r} -> {var!r}: var is of no process; assign it to an attribute"
            )
        port = VarPort(var)
        port.name, port.process = f"{var.name}_port", var.process
        self.connect(port)
        var.process._var_ports.append(port)
        join(self._shared(), port._shared())


class VarPort(Port):
    """Lets RefPorts of other processes refer to a Var, or to a VarPort of an inner process, to
    which it is connected.

    Example:
        >>> class Shown(lv.AbstractProcess):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.x = lv.Var((3,), 0.5)
        ...         self.x_port = lv.VarPort(self.x)
        ...
        >>> Shown().x_port.shape
        (3,)

    Args:
        var: of the same process, and shareable.
    """

    @arguments(error=ConnectError, var=instance(Var, words="a Var"))
    def __init__(self, var: Var) -> None:
        super().__init__(var.shape)
        self.var = var

    def check_direction(self, src: Port, view: View, settled: bool = False) -> None:
        if not isinstance(src, RefPort | VarPort):
            raise ConnectError(
                f"{view!r} -> {self!r}: a VarPort is referred to by RefPorts, and by VarPorts of the process around its own"
            )
        if isinstance(src, RefPort):
            owner = self.process if self.process is not None else self.var.process
            if src.process is not None and src.process is owner:
                raise ConnectError(
                    f"{view!r} -> {self!r}: a process does not refer to a Var of its own; its model has it as an attribute"
                )
            _check_alone(src, view, self, settled)
        if not self.var.shareable:
            raise ConnectError(
                f"{view!r} -> {self.var!r}: the Var is not shareable (shareable=False)"
            )


def _check_alone(src: RefPort, view: View, target: Port, settled: bool) -> None:
    others = [t for t in src.targets if t is not target]
    if others or (src.targets and not settled):
        raise ConnectError(
            f"{view!r} -> {target!r}: {src.path} refers to {src.targets[0].path} already; give each Var a RefPort of its own"
        )
