"""lava-dl's netx: lavalike's networks and blocks, of processes under Lava's names."""

from __future__ import annotations

import functools
from typing import Any

from lavalike.compat import library
from lavalike.compat.process import AbstractProcess, LogConfig, ProcessParameters, given
from lavalike.compat.server import ProcessServer
from lavalike.process.made import Gone, held
from lavalike.process.ports import Port
from lavalike.process.process import AbstractProcess as CoreProcess, walk
from lavalike.process.var import Var
from netx import hdf5
from netx.blocks import process as blocks


def _core(cls: type) -> type:
    return next(c for c in cls.__mro__ if not issubclass(c, AbstractProcess))


@functools.cache
def _twins() -> dict[type, type]:
    """Of each process, the one under Lava's name."""
    found = [v for v in vars(library).values() if isinstance(v, type)]
    found = [v for v in found if issubclass(v, library.Library) and v.lava_models]
    return {_core(cls): cls for cls in (*found, *BLOCKS)}


def dress(top: CoreProcess) -> None:
    """Let ``top`` and what is inside it, made by lavalike, be what a program of Lava's would have
    made.

    What Lava has no name for (a delay line, a bias that begins late) stays lavalike's own.
    """
    for process in [*walk(top)]:
        kind = _twins().get(type(process))
        if kind is None and process.own_procs and not isinstance(process, AbstractProcess):
            kind = _container(type(process))  # type: ignore[arg-type]  # a class is hashable
        if kind is not None:
            process.__class__ = kind
            process.__dict__.update(
                id=ProcessServer().register(process),
                log_config=LogConfig(),
                proc_params=_given(process),
            )
        if isinstance(process, AbstractProcess):
            for key, part in [*process.__dict__.items()]:
                if isinstance(part, Port | Var):
                    setattr(process, key, part)


@functools.cache
def _container(cls: type) -> type:
    return type(
        cls.__name__, (AbstractProcess, cls), {"__doc__": cls.__doc__, "__module__": __name__}
    )


def _given(process: CoreProcess) -> ProcessParameters:
    """What it was made with, with defaults."""
    kind: Any = type(process)
    own = _core(kind) if issubclass(kind, library.Library) else kind
    init, made = own.__init__, process._made  # type: ignore[misc]  # of that very class
    values = given(init, process, made.args, made.kwargs)
    for name, value in values.items():
        there, var = held(value), process.__dict__.get(name)
        values[name] = var.value if isinstance(there, Gone) and isinstance(var, Var) else there
    if isinstance(process, library.Weighted):
        values.setdefault("weight_exp", 0)
    return ProcessParameters(values)


class _Made(AbstractProcess):
    """Base of what is made by lavalike's constructor, and dressed then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kind: Any = _core(type(self))
        kind.__init__(self, *args, **kwargs)
        self.__dict__["proc_params"] = ProcessParameters(kwargs)
        dress(self)


class AbstractBlock(_Made, blocks.AbstractBlock):
    __doc__ = blocks.AbstractBlock.__doc__


class Input(AbstractBlock, blocks.Input):
    __doc__ = blocks.Input.__doc__


class ComplexInput(AbstractBlock, blocks.ComplexInput):
    __doc__ = blocks.ComplexInput.__doc__


class Dense(AbstractBlock, blocks.Dense):
    __doc__ = blocks.Dense.__doc__


class RecurrentDense(AbstractBlock, blocks.RecurrentDense):
    __doc__ = blocks.RecurrentDense.__doc__


class ComplexDense(AbstractBlock, blocks.ComplexDense):
    __doc__ = blocks.ComplexDense.__doc__


class Conv(AbstractBlock, blocks.Conv):
    __doc__ = blocks.Conv.__doc__


class Network(_Made, hdf5.Network):
    __doc__ = hdf5.Network.__doc__


BLOCKS: tuple[type, ...] = (Input, ComplexInput, Dense, RecurrentDense, ComplexDense, Conv)
