from tests.hxtorch_standin.network import (
    AELIF as AELIF,
    LI as LI,
    LIF as LIF,
    ExecutionInstance as ExecutionInstance,
    Experiment as Experiment,
    LIFObservables as LIFObservables,
    LIObservables as LIObservables,
    SparseSynapse as SparseSynapse,
    Synapse as Synapse,
    SynapseHandle as SynapseHandle,
    TensorHandle as TensorHandle,
    run as run,
)
