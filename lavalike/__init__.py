"""lavalike: networks are processes connected by ports, with swappable models."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lavalike.errors import (
    ConnectError as ConnectError,
    DeadlockError as DeadlockError,
    ExportError as ExportError,
    FixedPointError as FixedPointError,
    GraphError as GraphError,
    GraphFileError as GraphFileError,
    InputError as InputError,
    LavalikeError as LavalikeError,
    ModelSelectionError as ModelSelectionError,
    NetFileError as NetFileError,
    NirError as NirError,
    OverflowError24 as OverflowError24,
    RunError as RunError,
    VarError as VarError,
    WorkerError as WorkerError,
)
from lavalike.model import (
    Choice as Choice,
    ProcessModel as ProcessModel,
    RunConfig as RunConfig,
    SubProcessModel as SubProcessModel,
    implements as implements,
)
from lavalike.process import (
    AbstractProcess as AbstractProcess,
    InPort as InPort,
    OutPort as OutPort,
    RefPort as RefPort,
    Var as Var,
    VarPort as VarPort,
)
from lavalike.runtime.conditions import RunContinuous as RunContinuous, RunSteps as RunSteps

logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from lavalike.backends.numba import NumbaModel as NumbaModel
    from lavalike.backends.numpy import (
        AsyncModel as AsyncModel,
        Declared as Declared,
        NumpyModel as NumpyModel,
    )
    from lavalike.backends.torch import TorchModel as TorchModel, to_torch as to_torch
    from lavalike.compiled import Compiled as Compiled, compile as compile, resume as resume
    from lavalike.dynamics import Dynamics as Dynamics, Parameter as Parameter
    from lavalike.fixed import Fixed as Fixed, to_fixed as to_fixed
    from lavalike.runtime.runtime import RecompileWarning as RecompileWarning
    from lavalike.runtime.simulate import Recording as Recording, simulate as simulate
    from lavalike.snn.accelerate import accelerate as accelerate
    from lavalike.sweep import simulate_many as simulate_many

__version__ = "0.4.0"

# loaded on first use, so that `import lavalike` needs neither numba nor torch
_LAZY = {
    "NumbaModel": "lavalike.backends.numba",
    "AsyncModel": "lavalike.backends.numpy",
    "NumpyModel": "lavalike.backends.numpy",
    "Declared": "lavalike.backends.numpy",
    "TorchModel": "lavalike.backends.torch",
    "to_torch": "lavalike.backends.torch",
    "Compiled": "lavalike.compiled",
    "compile": "lavalike.compiled",
    "resume": "lavalike.compiled",
    "Dynamics": "lavalike.dynamics",
    "Fixed": "lavalike.fixed",
    "to_fixed": "lavalike.fixed",
    "Parameter": "lavalike.dynamics",
    "RecompileWarning": "lavalike.runtime.runtime",
    "Recording": "lavalike.runtime.simulate",
    "simulate": "lavalike.runtime.simulate",
    "simulate_many": "lavalike.sweep",
    "accelerate": "lavalike.snn",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lavalike' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
