"""Training step by step, in snnTorch's words: neurons, surrogates, losses and spike encoders;
``accelerate`` folds the steps into one."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        "lavalike.snn needs torch: pip install 'lavalike[torch]'", name="torch"
    ) from e

from lavalike.snn import (
    _layers as _layers,
    _neurons as _neurons,
    backprop as backprop,
    export_nir as export_nir,
    functional as functional,
    import_nir as import_nir,
    spikegen as spikegen,
    spikeplot as spikeplot,
    surrogate as surrogate,
    utils as utils,
)
from lavalike.snn.accelerate import Accelerated as Accelerated, accelerate as accelerate
from lavalike.snn.cells import SLSTM as SLSTM, SConv2dLSTM as SConv2dLSTM
from lavalike.snn.export_nir import export_to_nir as export_to_nir
from lavalike.snn.import_nir import import_from_nir as import_from_nir
from lavalike.snn.layers import (
    BatchNormTT1d as BatchNormTT1d,
    BatchNormTT2d as BatchNormTT2d,
    GradedSpikes as GradedSpikes,
)
from lavalike.snn.neuron import Neuron as Neuron, detach as detach, reset as reset
from lavalike.snn.neurons import (
    Alpha as Alpha,
    DeltaLeaky as DeltaLeaky,
    Lapicque as Lapicque,
    Leaky as Leaky,
    RLeaky as RLeaky,
    RSynaptic as RSynaptic,
    Synaptic as Synaptic,
)
from lavalike.snn.online import Online as Online
from lavalike.snn.parallel import (
    AssociativeLeaky as AssociativeLeaky,
    LeakyParallel as LeakyParallel,
    LinearLeaky as LinearLeaky,
    StateLeaky as StateLeaky,
)
from lavalike.snn.spiking import LIF as LIF, SpikingNeuron as SpikingNeuron
