"""lavalike's errors, as the kinds that Lava's programs expect: AssertionError, and the names of its
ports' exceptions."""

from __future__ import annotations

from lavalike.errors import (
    ConnectError,
    ConnectTypeError,
    LavalikeError,
    ModelSelectionError,
    VarError,
)


class PortError(ConnectError, AssertionError):
    """Two ports cannot be connected; Lava asserts."""


class PortTypeError(PortError, ConnectTypeError):
    """Two ports of kinds that are never connected."""


class ReshapeError(PortError):
    """Elements do not reshape to that shape."""


class DuplicateConnectionError(PortError):
    """Connected already."""


class ConcatShapeError(PortError):
    """Shapes that cannot be joined."""


class ConcatIndexError(PortError, IndexError):
    """An axis that there is not."""


class TransposeShapeError(PortError):
    """As many axes as there are not."""


class TransposeIndexError(PortError, IndexError):
    """An axis that there is not."""


class VarNotSharableError(PortError):
    """A Var made with shareable=False."""


class AliasError(VarError, AssertionError):
    """A Var that cannot be an alias of that one."""


class NoProcessModelFound(ModelSelectionError):
    """No model implements a process."""


class NoModelError(ModelSelectionError, AssertionError):
    """A run configuration finds no model that fits."""


class HardwareError(LavalikeError, NotImplementedError):
    """What only Intel's chips can do; Lava raises NotImplementedError without them."""


class ProcessAlreadyCompiled(ModelSelectionError):
    """Kept for programs that catch it; a process is compiled as often as it is asked for here."""
