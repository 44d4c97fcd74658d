"""The process library: descriptions only, equations in lavalike.dynamics, models in lavalike.backends."""

from lavalike.dynamics.weights import SignMode as SignMode
from lavalike.proc import io as io
from lavalike.proc.conv import Conv as Conv
from lavalike.proc.dense import Delay as Delay, DelayDense as DelayDense, Dense as Dense, Sparse as Sparse
from lavalike.proc.lif import (
    LIF as LIF,
    LIFLateBias as LIFLateBias,
    LIFRefractory as LIFRefractory,
    LIFReset as LIFReset,
    TernaryLIF as TernaryLIF,
)
from lavalike.proc.monitor import Monitor as Monitor
from lavalike.proc.rf import RF as RF, RF_IZ as RF_IZ
from lavalike.proc.sdn import ActivationMode as ActivationMode, Delta as Delta, Sigma as Sigma, SigmaDelta as SigmaDelta
