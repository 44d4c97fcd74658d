"""Spiking networks on BrainScaleS-2, with hxtorch.spiking's names.

    experiment = Experiment(mock=True, dt=1e-6)
    synapse, lif = Synapse(5, 120, experiment), LIF(120, experiment, leak=0., reset=0.,
    threshold=1.)
    out = lif(synapse(LIFObservables(spikes=x)))     # (time, batch, neuron)
    run(experiment, len(x))
    out.spikes

Without ``mock`` the current chip is taken (:func:`lavalike.bss2.use`) at its level: what it records
is injected into the model, whose gradient is then taken at the recorded spikes and membranes.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from lavalike.bss2.hxtorch.aliases import Keeping
from lavalike.bss2.spiking import (
    datasets as datasets,
    functional as functional,
    modules as modules,
    morphology as morphology,
    parameter as parameter,
    transforms as transforms,
    utils as utils,
)
from lavalike.bss2.spiking.execution_instance import ExecutionInstance as ExecutionInstance
from lavalike.bss2.spiking.experiment import Experiment as Experiment
from lavalike.bss2.spiking.handle import (
    AELIFObservables as AELIFObservables,
    AELIObservables as AELIObservables,
    Handle as Handle,
    LIFObservables as LIFObservables,
    LIObservables as LIObservables,
    NeuronHandle as NeuronHandle,
    ReadoutNeuronHandle as ReadoutNeuronHandle,
    SynapseHandle as SynapseHandle,
    TensorHandle as TensorHandle,
)
from lavalike.bss2.spiking.modules import (
    AELIF as AELIF,
    LI as LI,
    LIF as LIF,
    BatchDropout as BatchDropout,
    HXBaseExperimentModule as HXBaseExperimentModule,
    HXModule as HXModule,
    HXModuleWrapper as HXModuleWrapper,
    InputNeuron as InputNeuron,
    Neuron as Neuron,
    NeuronExp as NeuronExp,
    ReadoutNeuron as ReadoutNeuron,
    ReadoutNeuronExp as ReadoutNeuronExp,
    SparseSynapse as SparseSynapse,
    SpikeSource as SpikeSource,
    Synapse as Synapse,
)
from lavalike.bss2.spiking.parameter import (
    HXParameter as HXParameter,
    HXTransformedModelParameter as HXTransformedModelParameter,
    MixedHXModelParameter as MixedHXModelParameter,
    ModelParameter as ModelParameter,
)
from lavalike.bss2.spiking.run import run as run
from lavalike.bss2.spiking.utils.from_nir_data import from_nir_data as from_nir_data
from lavalike.bss2.spiking.utils.model_mapper import MixinHXModelMapper as MixinHXModelMapper
from lavalike.bss2.spiking.utils.to_nir_data import to_nir_data as to_nir_data

if TYPE_CHECKING:
    from netx.nir.bss2 import (
        ConversionConfig as ConversionConfig,
        from_nir as from_nir,
        to_nir as to_nir,
    )

# of a room above, loaded on first use
_ABOVE = ("ConversionConfig", "from_nir", "to_nir")


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        value = getattr(importlib.import_module("netx.nir.bss2"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


Instance = Experiment  # hxtorch's earlier name
sys.modules[__name__].__class__ = Keeping
