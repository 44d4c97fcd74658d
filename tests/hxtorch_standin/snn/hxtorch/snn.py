from tests.hxtorch_standin.network import (
    Instance as Instance,
    MixedHXModelParameter as MixedHXModelParameter,
    Neuron as Neuron,
    NeuronHandle as NeuronHandle,
    ReadoutNeuron as ReadoutNeuron,
    Synapse as Synapse,
    linear_saturating as linear_saturating,
    run as run,
)
