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

import sys

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
from lavalike.bss2.spiking.utils.from_nir import (
    ConversionConfig as ConversionConfig,
    from_nir as from_nir,
)
from lavalike.bss2.spiking.utils.from_nir_data import from_nir_data as from_nir_data
from lavalike.bss2.spiking.utils.model_mapper import MixinHXModelMapper as MixinHXModelMapper
from lavalike.bss2.spiking.utils.to_nir import to_nir as to_nir
from lavalike.bss2.spiking.utils.to_nir_data import to_nir_data as to_nir_data

Instance = Experiment  # hxtorch's earlier name
sys.modules[__name__].__class__ = Keeping
