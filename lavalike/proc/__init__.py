"""The process library: descriptions only, equations in lavalike.dynamics, models in
lavalike.backends."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lavalike.dynamics.weights import SignMode as SignMode
from lavalike.proc import clp as clp, io as io
from lavalike.proc.alif import ALIF as ALIF, ATRLIF as ATRLIF, ALIFLateBias as ALIFLateBias
from lavalike.proc.bit_check import BitCheck as BitCheck
from lavalike.proc.compartments import (
    Compartment as Compartment,
    MultiCompartment as MultiCompartment,
)
from lavalike.proc.connection import Connection as Connection
from lavalike.proc.conv import Conv as Conv, ConvTranspose as ConvTranspose
from lavalike.proc.conv_in_time import ConvInTime as ConvInTime
from lavalike.proc.custom import neuron_process as neuron_process
from lavalike.proc.dense import (
    Delay as Delay,
    DelayDense as DelayDense,
    DelayLine as DelayLine,
    Dense as Dense,
)
from lavalike.proc.drawn import RandomSynapses as RandomSynapses
from lavalike.proc.graded import (
    GradedReluVec as GradedReluVec,
    GradedVec as GradedVec,
    InvSqrt as InvSqrt,
    NormVecDelay as NormVecDelay,
    ProdNeuron as ProdNeuron,
)
from lavalike.proc.learning import (
    DelayLearningSparse as DelayLearningSparse,
    LearningDense as LearningDense,
    LearningSparse as LearningSparse,
)
from lavalike.proc.lif import (
    LIF as LIF,
    LearningLIF as LearningLIF,
    LIFLateBias as LIFLateBias,
    LIFRefractory as LIFRefractory,
    LIFReset as LIFReset,
    TernaryLIF as TernaryLIF,
)
from lavalike.proc.monitor import Monitor as Monitor
from lavalike.proc.recorder import Recorder as Recorder
from lavalike.proc.rf import (
    ADRF as ADRF,
    ADRF_IZ as ADRF_IZ,
    RF as RF,
    RF_IZ as RF_IZ,
    RFZero as RFZero,
)
from lavalike.proc.s4d import (
    S4d as S4d,
    SigmaS4dDelta as SigmaS4dDelta,
    SigmaS4dDeltaLayer as SigmaS4dDeltaLayer,
)
from lavalike.proc.sdn import (
    ActivationMode as ActivationMode,
    Delta as Delta,
    DeltaEncoder as DeltaEncoder,
    Sigma as Sigma,
    SigmaDelta as SigmaDelta,
)
from lavalike.proc.sparse import DelaySparse as DelaySparse, Sparse as Sparse
from lavalike.proc.spiker import Receiver as Receiver, Spiker as Spiker

if TYPE_CHECKING:
    from lavalike.proc import nir as nir

_LAZY = ("nir",)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"lavalike.proc.{name}")
    raise AttributeError(f"module 'lavalike.proc' has no attribute {name!r}")
