"""Training step by step, in snnTorch's words: neurons, surrogates, losses and spike encoders;
``accelerate`` folds the steps into one."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        "lavalike.snn needs torch: pip install 'lavalike[torch]'", name="torch"
    ) from e

from lavalike.snn import functional as functional, spikegen as spikegen, surrogate as surrogate
from lavalike.snn.accelerate import Accelerated as Accelerated, accelerate as accelerate
from lavalike.snn.neuron import Neuron as Neuron, detach as detach, reset as reset
from lavalike.snn.neurons import (
    SLSTM as SLSTM,
    Alpha as Alpha,
    Lapicque as Lapicque,
    Leaky as Leaky,
    RLeaky as RLeaky,
    RSynaptic as RSynaptic,
    Synaptic as Synaptic,
)
from lavalike.snn.online import Online as Online
