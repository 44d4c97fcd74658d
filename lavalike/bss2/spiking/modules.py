"""All layers, as hxtorch.spiking.modules names them."""

from __future__ import annotations

from lavalike.bss2.spiking import population
from lavalike.bss2.spiking.module import (
    BatchDropout as BatchDropout,
    HXBaseExperimentModule as HXBaseExperimentModule,
    HXFunctionalModule as HXFunctionalModule,
    HXModule as HXModule,
    InputNeuron as InputNeuron,
    SpikeSource as SpikeSource,
)
from lavalike.bss2.spiking.population import (
    AELIF as AELIF,
    LI as LI,
    LIF as LIF,
    EventPropLIF as EventPropLIF,
    NeuronExp as NeuronExp,
    ReadoutNeuronExp as ReadoutNeuronExp,
)
from lavalike.bss2.spiking.synapse import (
    EventPropSynapse as EventPropSynapse,
    Projection as Projection,
    SparseSynapse as SparseSynapse,
    Synapse as Synapse,
)
from lavalike.bss2.spiking.wrapper import HXModuleWrapper as HXModuleWrapper

__path__: list[str] = []  # its submodules are elsewhere, see lavalike.bss2.hxtorch.aliases
InputPopulation = SpikeSource
Neuron = LIF  # hxtorch's earlier names
ReadoutNeuron = LI
Population = population.PopulationModule  # hxtorch's name of the base
