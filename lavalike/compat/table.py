"""What each of Lava's names is: module -> name -> ``"module:attribute"`` of ours.

A name that is not here is an ImportError that says what there is, and why not where a reason is
known.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lavalike.arguments import did_you_mean


def _from(module: str, *names: str, **renamed: str) -> dict[str, str]:
    """``names`` as they are called in ``module``; ``renamed``: Lava's name = ours."""
    return {
        **{n: f"{module}:{n}" for n in names},
        **{k: f"{module}:{v}" for k, v in renamed.items()},
    }


_ERRORS, _PROCESS, _PORTS = (f"lavalike.compat.{n}" for n in ("errors", "process", "ports"))
_MODEL, _CONFIGS, _RUNTIME = (f"lavalike.compat.{n}" for n in ("model", "configs", "runtime"))
_LIBRARY, _HARDWARE = "lavalike.compat.library", "lavalike.compat.hardware"
_PROTOCOLS, _RESOURCES = "lavalike.compat.protocols", "lavalike.compat.resources"
_REFS = "lavalike.compat.refs"
_NETWORKS, _NETX = "lavalike.compat.networks", "lavalike.compat.netx"
_PIPES, _CLP = "lavalike.compat.pipes", "lavalike.compat.clp"
_RULES, _PLASTIC, _LEARNING = (f"lavalike.compat.{n}" for n in ("rules", "plastic", "learning"))
_UTILS, _PYMODEL = "lavalike.compat.utils", "lavalike.compat.pymodel"

TABLE: dict[str, Mapping[str, str]] = {
    # processes, ports, Vars
    "lava.magma.core.process.process": _from(
        _PROCESS,
        *("AbstractProcess", "Collection", "LogConfig", "ProcessParameters"),
        *("ProcessPostInitCaller", "ProcessServer"),
    ),
    "lava.magma.core.process.variable": {
        **_from("lavalike.compat.var", "Var"),
        **_from("lavalike.compat.server", "VarServer"),
    },
    "lava.magma.core.process.interfaces": _from(
        "lavalike.process.structure", AbstractProcessMember="Shared"
    ),
    "lava.magma.core.process.ports.ports": {
        **_from(
            _PORTS,
            *("AbstractPort", "AbstractIOPort", "AbstractSrcPort", "AbstractDstPort", "InPort"),
            *("OutPort", "AbstractVirtualPort", "ReshapePort", "ConcatPort", "TransposePort"),
        ),
        **_from(_REFS, "AbstractRVPort", "RefPort", "VarPort", "ImplicitVarPort"),
    },
    "lava.magma.core.process.ports.reduce_ops": _from(_PORTS, "AbstractReduceOp", "ReduceSum"),
    "lava.magma.core.process.ports.exceptions": _from(
        _ERRORS,
        *("ReshapeError", "DuplicateConnectionError", "ConcatShapeError", "ConcatIndexError"),
        *("TransposeShapeError", "TransposeIndexError", "VarNotSharableError"),
    ),
    "lava.magma.core.process.ports.connection_config": _from(_HARDWARE, "ConnectionConfig"),
    "lava.magma.core.process.message_interface_enum": _from(_PROTOCOLS, "ActorType"),
    # models
    "lava.magma.core.decorator": _from(_MODEL, "implements", "requires", "tag"),
    "lava.magma.core.model.model": _from(_MODEL, "AbstractProcessModel"),
    "lava.magma.core.model.sub.model": _from(_MODEL, "AbstractSubProcessModel"),
    "lava.magma.core.model.py.model": {
        **_from(_MODEL, "AbstractPyProcessModel"),
        **_from(
            _PYMODEL, "PyLoihiProcessModel", "PyAsyncProcessModel", "PyLoihiModelToPyAsyncModel"
        ),
    },
    "lava.magma.core.model.py.type": _from(_PYMODEL, "LavaPyType"),
    "lava.magma.core.model.py.ports": _from(
        _PYMODEL, "PyInPort", "PyOutPort", "PyRefPort", "PyVarPort"
    ),
    "lava.magma.core.resources": _from(
        _RESOURCES,
        *(
            "AbstractResource",
            "AbstractComputeResource",
            "CPU",
            "HostCPU",
            "GPU",
            "ECPU",
            "LMT",
            "PB",
        ),
        *("NeuroCore", "Loihi1NeuroCore", "Loihi2NeuroCore", "AbstractPeripheralResource", "DVS"),
        *(
            "HardDrive",
            "HeadNodeHardDrive",
            "AbstractNode",
            "GenericNode",
            "HeadNode",
            "Loihi1System",
        ),
        *("KapohoBay", "Nahuku", "Pohoiki", "Loihi2System", "OheoGulch", "KapohoPoint", "Unalaska"),
    ),
    "lava.magma.core.sync.protocol": _from(_PROTOCOLS, "AbstractSyncProtocol"),
    "lava.magma.core.sync.protocols.loihi_protocol": _from(_PROTOCOLS, "LoihiProtocol", "Phase"),
    "lava.magma.core.sync.protocols.async_protocol": _from(_PROTOCOLS, "AsyncProtocol"),
    "lava.magma.core.sync.domain": _from(_PROTOCOLS, "SyncDomain"),
    # runs
    "lava.magma.core.run_conditions": {
        **_from("lavalike.runtime.conditions", "RunSteps", "RunContinuous"),
        **_from(_RUNTIME, "AbstractRunCondition"),
    },
    "lava.magma.core.run_configs": _from(
        _CONFIGS,
        *("RunConfig", "AbstractLoihiRunCfg", "AbstractLoihiHWRunCfg", "AbstractLoihiSimRunCfg"),
        *("Loihi1SimCfg", "Loihi1HwCfg", "Loihi2SimCfg", "Loihi2HwCfg"),
    ),
    "lava.magma.core.callback_fx": _from(
        _HARDWARE, "CallbackFx", "NxSdkCallbackFx", "IterableCallBack"
    ),
    "lava.magma.compiler.compiler": _from(_RUNTIME, "Compiler"),
    "lava.magma.compiler.executable": _from(_RUNTIME, "Executable"),
    "lava.magma.compiler.compiler_graphs": _from(_RUNTIME, "find_processes"),
    "lava.magma.compiler.exceptions": _from(
        _ERRORS, "NoProcessModelFound", "ProcessAlreadyCompiled"
    ),
    "lava.magma.compiler.subcompilers.constants": _from(
        _HARDWARE, EMBEDDED_ALLOCATION_ORDER="EmbeddedAllocationOrder"
    ),
    "lava.magma.compiler.subcompilers.nc.ncproc_compiler": _from(_HARDWARE, "CompilerOptions"),
    "lava.magma.compiler.channels.pypychannel": _from(
        _PIPES, "PyPyChannel", "CspSendPort", "CspRecvPort"
    ),
    "lava.magma.runtime.runtime": _from(_RUNTIME, "Runtime"),
    "lava.magma.runtime.message_infrastructure.multiprocessing": _from(_PIPES, "MultiProcessing"),
    # learning
    "lava.magma.core.learning.learning_rule": _from(
        _RULES, "LoihiLearningRule", "Loihi2FLearningRule", "Loihi3FLearningRule"
    ),
    "lava.magma.core.learning.product_series": _from(_RULES, "ProductSeries"),
    "lava.magma.core.learning.constants": _from(_RULES, "GradedSpikeCfg"),
    "lava.magma.core.learning.utils": _from(
        _RULES, "float_to_literal", "stochastic_round", "apply_mask"
    ),
    "lava.proc.learning_rules.stdp_learning_rule": _from(_RULES, "STDPLoihi"),
    "lava.proc.learning_rules.r_stdp_learning_rule": _from(_RULES, "RewardModulatedSTDP"),
    "lava.magma.core.process.connection": _from(_PLASTIC, "LearningConnectionProcess"),
    "lava.magma.core.process.neuron": _from(_PLASTIC, "LearningNeuronProcess"),
    "lava.magma.core.model.py.neuron": _from(
        _LEARNING, "LearningNeuronModel", "LearningNeuronModelFloat", "LearningNeuronModelFixed"
    ),
    "lava.magma.core.model.py.connection": _from(
        _LEARNING,
        *("AbstractLearningConnection", "PyLearningConnection", "LearningConnectionModelFloat"),
        "LearningConnectionModelBitApproximate",
    ),
    # the library
    "lava.proc.lif.process": {
        **_from(_LIBRARY, "LIF", "LIFReset", "LIFRefractory", "TernaryLIF"),
        **_from(_PLASTIC, "LearningLIF"),
    },
    "lava.proc.lif.models": {
        **_from(
            _LIBRARY,
            *("PyLifModelFloat", "PyLifModelBitAcc", "PyLifResetModelFloat"),
            *("PyLifResetModelBitAcc", "PyLifRefractoryModelFloat", "PyTernLifModelFloat"),
            "PyTernLifModelFixed",
        ),
        **_from(_PLASTIC, "PyLearningLifModelFloat", "PyLearningLIFModelFixed"),
        **_from(_LEARNING, "AbstractPyLifModelFloat", "AbstractPyLifModelFixed"),
    },
    "lava.proc.dense.process": {
        **_from(_LIBRARY, "Dense", "DelayDense"),
        **_from(_PLASTIC, "LearningDense"),
    },
    "lava.proc.dense.models": {
        **_from(
            _LIBRARY,
            *("PyDenseModelFloat", "PyDenseModelBitAcc"),
            *("PyDelayDenseModelFloat", "PyDelayDenseModelBitAcc", "AbstractPyDelayDenseModel"),
        ),
        **_from(_PLASTIC, "PyLearningDenseModelFloat", "PyLearningDenseModelBitApproximate"),
        **_from(_LEARNING, "AbstractPyDenseModelFloat", "AbstractPyDenseModelBitAcc"),
    },
    "lava.proc.sparse.process": {
        **_from(_LIBRARY, "Sparse", "DelaySparse"),
        **_from(_PLASTIC, "LearningSparse"),
    },
    "lava.proc.sparse.models": {
        **_from(
            _LIBRARY,
            *("PySparseModelFloat", "PySparseModelBitAcc"),
            *("PyDelaySparseModelFloat", "PyDelaySparseModelBitAcc", "AbstractPyDelaySparseModel"),
        ),
        **_from(_PLASTIC, "PyLearningSparseModelFloat", "PyLearningSparseModelBitApproximate"),
    },
    "lava.proc.conv.process": _from(_LIBRARY, "Conv"),
    "lava.proc.conv.models": _from(_LIBRARY, "PyConvModelFloat", "PyConvModelFixed"),
    "lava.proc.conv.utils": _from(
        _UTILS,
        *("TensorOrder", "make_tuple", "signed_clamp", "output_shape", "conv", "conv_scipy"),
        *("conv_to_sparse", "TORCH_IS_AVAILABLE"),
    ),
    "lava.proc.rf.process": _from(_LIBRARY, "RF"),
    "lava.proc.rf.models": _from(_LIBRARY, "PyRFModelFloat", "PyRFModelFixed"),
    "lava.proc.rf_iz.process": _from(_LIBRARY, "RF_IZ"),
    "lava.proc.rf_iz.models": _from(_LIBRARY, "PyRF_IZModelFloat", "PyRF_IZModelFixed"),
    "lava.proc.sdn.process": {
        **_from(_LIBRARY, "Sigma", "Delta", "SigmaDelta"),
        **_from("lavalike.proc", "ActivationMode"),
    },
    "lava.proc.sdn.models": _from(
        _LIBRARY,
        *("PySigmaModelFloat", "PySigmaModelFixed", "PyDeltaModelFloat", "PyDeltaModelFixed"),
        *("PySigmaDeltaModelFloat", "PySigmaDeltaModelFixed"),
    ),
    "lava.proc.monitor.process": _from(_LIBRARY, "Monitor"),
    "lava.proc.monitor.models": _from(_LIBRARY, "PyMonitorModel"),
    "lava.proc.io.source": _from(
        _LIBRARY, "PySendModelFloat", "PySendModelFixed", RingBuffer="Source"
    ),
    "lava.proc.io.sink": {
        **_from(_LIBRARY, "PyReceiveModelFloat", "PyReceiveModelFixed", RingBuffer="Sink"),
        **_from(_PIPES, "Read"),
        **_from(_PIPES, "PyReadFloat", "PyReadFixed"),
    },
    "lava.proc.io.reset": {
        **_from(_PIPES, "Reset"),
        **_from(_PIPES, "PyResetFloat", "PyResetFixed"),
    },
    "lava.proc.io.dataloader": {
        **_from(_PIPES, "StateDataloader", "SpikeDataloader"),
        **_from(_PIPES, "PyStateModelFloat", "PyStateModelFixed"),
        **_from(_PIPES, "PySpikeModelFloat", "PySpikeModelFixed"),
    },
    "lava.proc.io.injector": _from(
        _PIPES, "Injector", "PyLoihiInjectorModel", "PyLoihiInjectorModelAsync"
    ),
    "lava.proc.io.extractor": _from(
        _PIPES,
        *("Extractor", "PyLoihiExtractorModel", "PyLoihiExtractorModelAsync"),
        *("VarWire", "PyLoihiVarWireModel"),
    ),
    "lava.proc.io.utils": {
        **_from(
            "lavalike.proc.io.channel",
            *("ChannelConfig", "SendFull", "ReceiveEmpty", "ReceiveNotEmpty"),
        ),
        **_from(_PIPES, "validate_shape", "validate_buffer_size", "validate_channel_config"),
    },
    "lava.proc.io.encoder": _from(
        _LIBRARY,
        *("DeltaEncoder", "Compression", "PyDeltaEncoderModelDense", "PyDeltaEncoderModelSparse"),
    ),
    "lava.proc.atrlif.process": _from(_LIBRARY, "ATRLIF"),
    "lava.proc.atrlif.models": _from(_LIBRARY, "PyATRLIFModelFloat", "PyATRLIFModelFixed"),
    "lava.proc.resfire.process": _from(_LIBRARY, "RFZero"),
    "lava.proc.resfire.models": _from(_LIBRARY, "PyRFZeroModelFixed"),
    "lava.proc.graded.process": _from(
        _LIBRARY, "GradedVec", "GradedReluVec", "NormVecDelay", "InvSqrt"
    ),
    "lava.proc.graded.models": {
        **_from(
            _LIBRARY,
            *("PyGradedVecModelFixed", "PyGradedReluVecModelFixed", "NormVecDelayModel"),
            *("InvSqrtModelFloat", "InvSqrtModelFP"),
        ),
        **_from(_UTILS, "inv_sqrt"),
    },
    "lava.proc.prodneuron.process": _from(_LIBRARY, "ProdNeuron"),
    "lava.proc.prodneuron.models": _from(_LIBRARY, "PyProdNeuronModelFixed"),
    "lava.proc.s4d.process": _from(_LIBRARY, "S4d", "SigmaS4dDelta", "SigmaS4dDeltaLayer"),
    "lava.proc.s4d.models": _from(
        _LIBRARY, "S4dModel", "PySigmaS4dDeltaModelFloat", "SubDenseLayerModel"
    ),
    "lava.proc.conv_in_time.process": _from(_LIBRARY, "ConvInTime"),
    "lava.proc.conv_in_time.models": _from(_LIBRARY, "PyConvInTimeFloat", "PyConvInTimeFixed"),
    "lava.proc.spiker.process": _from(_LIBRARY, "Spiker"),
    "lava.proc.spiker.models": _from(_LIBRARY, "SpikerModel"),
    "lava.proc.receiver.process": _from(_LIBRARY, "Receiver"),
    "lava.proc.receiver.models": _from(_LIBRARY, "ReceiverModel"),
    # networks
    "lava.networks.network": _from(
        _NETWORKS, "Network", "NetworkList", "AlgebraicVector", "AlgebraicMatrix"
    ),
    "lava.networks.gradedvecnetwork": _from(
        _NETWORKS,
        *("InputVec", "OutputVec", "LIFVec", "GradedVec", "ProductVec", "GradedDense"),
        *("GradedSparse", "NormalizeNet", "Network", "AlgebraicVector", "AlgebraicMatrix"),
    ),
    "lava.networks.resfire": _from(_NETWORKS, "ResFireVec", "AlgebraicVector"),
    "lava.frameworks.loihi2": {
        **_from(
            _NETWORKS,
            *("InputVec", "OutputVec", "LIFVec", "GradedVec", "ProductVec", "GradedDense"),
            *("GradedSparse", "NormalizeNet", "ResFireVec"),
        ),
        **_from("lavalike.runtime.conditions", "RunSteps", "RunContinuous"),
        **_from(_CONFIGS, "Loihi2SimCfg", "Loihi2HwCfg"),
    },
    # lava-dl
    "lava.lib.dl.netx.hdf5": _from(_NETX, "Network"),
    "lava.lib.dl.netx.blocks.process": _from(
        _NETX,
        *("AbstractBlock", "Input", "ComplexInput", "Dense", "RecurrentDense", "ComplexDense"),
        "Conv",
    ),
    "lava.proc.clp.id_broadcast.process": _from(_CLP, "IdBroadcast"),
    "lava.proc.clp.id_broadcast.models": _from(_CLP, "IdBroadcastModel"),
    "lava.proc.clp.novelty_detector.process": _from(_CLP, "NoveltyDetector"),
    "lava.proc.clp.novelty_detector.models": _from(_CLP, "PyNoveltyDetectorModel"),
    "lava.proc.clp.nsm.process": _from(_CLP, "Readout", "Allocator"),
    "lava.proc.clp.nsm.models": _from(_CLP, "PyReadoutModel", "PyAllocatorModel"),
    "lava.proc.clp.prototype_lif.process": _from(_CLP, "PrototypeLIF"),
    "lava.proc.clp.prototype_lif.models": _from(_CLP, "PrototypeLIFBitAcc"),
    "lava.proc.bit_check.process": _from(_PIPES, "BitCheck"),
    "lava.proc.bit_check.models": _from(_PIPES, "LoihiBitCheckModel"),
    # utilities
    "lava.utils.weightutils": {
        **_from("lavalike.dynamics.weights", "SignMode"),
        **_from(
            _UTILS,
            *(
                "determine_sign_mode",
                "OptimizedWeights",
                "optimize_weight_bits",
                "truncate_weights",
            ),
            *("clip_weights", "_determine_weight_exp", "_determine_num_weight_bits"),
        ),
    },
    "lava.proc.embedded_io.spike": _from(_PIPES, "PyToNxAdapter", "NxToPyAdapter"),
    "lava.utils.sparse": _from(_UTILS, "find"),
    "lava.utils.plots": _from(_UTILS, "raster_plot"),
    "lava.utils.serialization": _from(_UTILS, "save", "load"),
    "lava.utils.loihi": _from(
        _HARDWARE, "ChipGeneration", "use_slurm_host", "use_ethernet_host", "is_installed", "host"
    ),
    "lava.utils.system": _from(_HARDWARE, "Loihi2"),
    "lava.utils.profiler": _from(_HARDWARE, "Profiler"),
}

# why something is not there, by the beginning of its name; the longest that fits counts
REASONS = {
    "lava.magma.core.model.nc": "it is of Intel's chips, and there are none here; programs that guard it with try go on",
    "lava.magma.core.model.c": "it is compiled for processors of Intel's chips, and there are none here",
    "lava.magma.compiler": "it is within Lava's compiler, whose work lavalike does in another way",
    "lava.magma.runtime": "it is within Lava's runtime, whose work lavalike does in another way",
    "lava.utils.slurm": "it asks a cluster for Intel's chips",
    "lava.utils.loihi2_profiler": "it measures Intel's chips",
    "lava.utils.loihi2_state_probes": "it reads states of Intel's chips; proc.Monitor records here",
    "lava.proc.embedded_io": "it lies on processors of Intel's chips",
    "lava.lib.dl": "of lava-dl there are slayer, bootstrap and netx",
}


def _parents() -> frozenset[str]:
    out = set()
    for name in TABLE:
        parts = name.split(".")
        out |= {".".join(parts[:k]) for k in range(1, len(parts))}
    return frozenset(out)


PARENTS = _parents()


def is_module(name: str) -> bool:
    """Whether ``name`` is a module of the table, or has some in it."""
    return name in TABLE or name in PARENTS


def names(module: str) -> Mapping[str, str]:
    """The names of a module. One of models has its processes' names too, as Lava's import them."""
    own = TABLE.get(module, {})
    if module.endswith(".models"):
        return {**own, **TABLE.get(module.removesuffix("models") + "process", {})}
    return own


def find(module: str, name: str) -> Any:
    """What ``name`` of ``module`` is."""
    where, _, attribute = names(module)[name].partition(":")
    return getattr(importlib.import_module(where), attribute)


def absent(fullname: str) -> str:
    """Why there is no ``fullname``, and what there is."""
    module, _, name = fullname.rpartition(".")
    fits = [p for p in REASONS if fullname == p or fullname.startswith(p + ".")]
    why = f": {REASONS[max(fits, key=len)]}" if fits else ""
    if module in TABLE:
        there = [n for n in TABLE[module] if not n.startswith("_")]
        return f"lavalike.compat has no {name} of {module}{why}{did_you_mean(name, there)}; there are {', '.join(there)}"
    near = sorted({m[len(module) + 1 :].split(".")[0] for m in TABLE if m.startswith(module + ".")})
    known = (
        f"; in {module} there are {', '.join(near)}"
        if near
        else f"{did_you_mean(fullname, TABLE)}; docs/from_lava.md lists all"
    )
    return f"lavalike.compat has no module {fullname}{why}{known}"


BEGIN, END = "<!-- names: python -m lavalike.compat.table -->", "<!-- end of names -->"


def markdown() -> str:
    """The table of names by module, as docs/from_lava.md has it."""
    lines = [BEGIN, "", "| module | names |", "|---|---|"]
    for module, names in TABLE.items():
        public = [f"`{n}`" for n in names if not n.startswith("_")]
        lines.append(f"| `{module}` | {', '.join(public)} |")
    return "\n".join([*lines, "", END])


if __name__ == "__main__":
    print(markdown())
