"""lava.proc.clp's processes under Lava's names."""

from __future__ import annotations

from typing import Any

from lavalike.compat.library import chosen, models
from lavalike.compat.process import Library
from lavalike.proc import clp


class IdBroadcast(Library, clp.IdBroadcast):
    __doc__ = clp.IdBroadcast.__doc__


class NoveltyDetector(Library, clp.NoveltyDetector):
    __doc__ = clp.NoveltyDetector.__doc__


class Allocator(Library, clp.Allocator):
    __doc__ = clp.Allocator.__doc__

    def __init__(self, *, n_protos: int, **kwargs: Any) -> None:
        super().__init__(n_protos=n_protos, **kwargs)
        del self.__dict__["n_protos"]
        chosen(self, "n_protos", n_protos)


class Readout(Library, clp.Readout):
    __doc__ = clp.Readout.__doc__


class PrototypeLIF(Library, clp.PrototypeLIF):
    __doc__ = clp.PrototypeLIF.__doc__

    def __init__(
        self, *, shape: Any, learning_rule: Any = None, sign_mode: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(shape=shape, **kwargs)
        self.proc_params["learning_rule"] = learning_rule
        # of the synapses before it: a word of the program's to itself, as in Lava
        if sign_mode is not None:
            self.proc_params["sign_mode"] = sign_mode


models(IdBroadcast, "IdBroadcastModel", "")
models(NoveltyDetector, "", "PyNoveltyDetectorModel")
models(Allocator, "", "PyAllocatorModel")
models(Readout, "", "PyReadoutModel")
models(PrototypeLIF, "", "PrototypeLIFBitAcc")
