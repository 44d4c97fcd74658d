"""The process library."""

import numpy as np

from lavalike.learning import LearningRule
from lavalike.proc import Compartment
from lavalike.proc.io import ChannelConfig
from tests.doors.table import (
    CHOICE,
    COUNT,
    FLAG,
    FRACTION,
    INDEX,
    INTEGER,
    NAN,
    NOT_NEGATIVE,
    NUMBERS,
    OBJECT,
    REAL,
    SHAPE,
    TEXT,
    also,
    bad,
    optional,
    row,
)

NAME = {"name": TEXT}
UNITS = {"loihi_units": FLAG, "checked": FLAG}
PER_NEURON = bad(
    "a", None, [[1], [1, 2]], values=(NAN, [1, 2, 3, 4, 5])
)  # numbers that do not fit three neurons are wrong as well
LIF = {
    "shape": SHAPE,
    **dict.fromkeys(("u", "v", "du", "dv", "bias_mant", "bias_exp"), PER_NEURON),
    **UNITS,
    **NAME,
}
ADAPTING = dict.fromkeys(
    ("threshold_step", "threshold_decay", "refractory_decay", "offset", "r"), PER_NEURON
)
RF = {
    "shape": SHAPE,
    **dict.fromkeys(
        ("period", "alpha", "vth", "cos_decay", "sin_decay", "real", "imag"), PER_NEURON
    ),
    "state_exp": INDEX,
    "decay_bits": INDEX,
    **UNITS,
    **NAME,
}
DELTA = {
    "shape": SHAPE,
    "vth": PER_NEURON,
    "cum_error": FLAG,
    "spike_exp": INDEX,
    "state_exp": INDEX,
    "act": PER_NEURON,
    "residue": PER_NEURON,
    **UNITS,
    **NAME,
}
CONNECTION = {
    "weight_exp": INTEGER,
    "num_weight_bits": bad("8", 1.5, None, values=(0, 10)),
    "num_message_bits": bad("8", 1.5, None, values=(-1, 33)),
    "delay": bad("1", 1.5, None, values=(-1, 2)),
    **NAME,
}
DENSE = CONNECTION | {
    "weights": bad("a", None, [[1], [1, 2]], values=([1, 2], [[NAN]])),
    "sign_mode": bad(1.5, "x", None, values=(9,)),
}
DELAYED = DENSE | {"delay": bad("1", 1.5, None, values=(-1, 0, 2))}
LISTED = {"rows": [0, 1], "cols": [1, 2], "data": 1.0, "shape": (2, 3)}
LISTED_BAD = {
    "weights": bad(
        "a", [[1], [1, 2]], np.ones((2, 3))
    ),  # beside rows, cols, data and shape any is wrong
    "rows": bad("a", None, values=([0, 2], [0.5, 1], [-1, 0], [0])),
    "cols": bad("a", None, values=([0, 3], [NAN, 1], [[0, 1]])),
    "data": bad("a", None, values=([1, 2, 3], [1, NAN])),
    "shape": bad("a", None, values=((2,), (0, 3), 3)),
}
CONV = CONNECTION | {
    "weight": bad("a", None, values=([1, 2], np.full((1, 3, 3, 1), NAN))),
    "input_shape": bad("3", None, values=((5,), (0, 5, 1))),
    "padding": bad("1", 1.5, None, values=(-1, (1, 2, 3))),
    "stride": bad("1", 1.5, None, values=(0,)),
    "dilation": bad("1", 1.5, None, values=(0,)),
    "groups": COUNT,
    "checked": FLAG,
}
PLASTIC = {
    "learning_rule": OBJECT,
    "tag_1": bad("a", values=(NAN,)),
    "tag_2": bad("a", values=(NAN,)),
    "graded_spikes": CHOICE,
    "plastic_batch": optional(CHOICE),
}
PAIRS = {
    **dict.fromkeys(("a_plus", "a_minus"), REAL),
    **dict.fromkeys(("tau_plus", "tau_minus", "impulse"), NOT_NEGATIVE),
    "epoch": COUNT,
    "seed": INDEX,
}
SMALL = {"shape": (3,)}
CHANNEL = {
    "buffer_size": COUNT,
    "channel_config": bad("x", ChannelConfig(send_full=1)),  # type: ignore[arg-type]  # meant
}
GRADED = {
    "shape": SHAPE,
    "vth": PER_NEURON,
    "exp": also(INDEX, values=(32,)),
    **NAME,
}
DIAGONAL = {"a": 0.5, "b": 1.0, "c": 1.0}
W = {"weights": np.ones((2, 3))}
KERNEL = {"weight": np.ones((1, 3, 3, 1)), "input_shape": (5, 5, 1)}

ROWS = [
    row("lavalike.proc.LIF", SMALL, **LIF, vth=PER_NEURON),
    row("lavalike.proc.LIFLateBias", SMALL, **LIF, vth=PER_NEURON, bias_start=PER_NEURON),
    row(
        "lavalike.proc.LIFReset",
        SMALL,
        **LIF,
        vth=PER_NEURON,
        bias_start=PER_NEURON,
        reset_interval=COUNT,
        reset_offset=INTEGER,
    ),
    row("lavalike.proc.LIFRefractory", SMALL, **LIF, vth=PER_NEURON, refractory_period=COUNT),
    row("lavalike.proc.TernaryLIF", SMALL, **LIF, vth_hi=PER_NEURON, vth_lo=PER_NEURON),
    row("lavalike.proc.ALIF", SMALL, **LIF, **ADAPTING, vth=PER_NEURON),
    row(
        "lavalike.proc.ALIFLateBias",
        SMALL,
        **LIF,
        **ADAPTING,
        vth=PER_NEURON,
        bias_start=PER_NEURON,
    ),
    row("lavalike.proc.RF", SMALL, **RF),
    row("lavalike.proc.RF_IZ", SMALL, **RF),
    row("lavalike.proc.ADRF", SMALL, **RF, **ADAPTING),
    row("lavalike.proc.ADRF_IZ", SMALL, **RF, **ADAPTING),
    row("lavalike.proc.Delta", SMALL | {"vth": 1}, **DELTA),
    row(
        "lavalike.proc.SigmaDelta",
        SMALL | {"vth": 1},
        **DELTA,
        bias=PER_NEURON,
        act_mode=bad(1.5, "x", None, values=(9,)),
        sigma=PER_NEURON,
        bias_start=PER_NEURON,
    ),
    row(
        "lavalike.proc.ATRLIF",
        SMALL,
        shape=SHAPE,
        **dict.fromkeys(
            ("i", "v", "theta", "r", "s", "theta_0", "theta_step", "bias_mant", "bias_exp"),
            PER_NEURON,
        ),
        **dict.fromkeys(("delta_i", "delta_v", "delta_theta", "delta_r"), PER_NEURON),
        checked=FLAG,
        **NAME,
    ),
    row(
        "lavalike.proc.RFZero",
        SMALL | {"freqs": 20, "decay_tau": 0.1},
        shape=SHAPE,
        **dict.fromkeys(("freqs", "decay_tau", "dt", "uth", "u", "v"), PER_NEURON),
        **NAME,
    ),
    row(
        "lavalike.proc.DeltaEncoder",
        SMALL | {"vth": 1},
        shape=SHAPE,
        vth=PER_NEURON,
        spike_exp=bad("3", 1.5, None, values=(-1, 17)),
        num_bits=bad("3", 2.5, values=(1, 32)),
        **NAME,
    ),
    row(
        "lavalike.proc.Spiker",
        {},
        shape=SHAPE,
        counter=PER_NEURON,
        period=PER_NEURON,
        payload=PER_NEURON,
        **NAME,
    ),
    row("lavalike.proc.Receiver", {}, shape=SHAPE, **NAME),
    row("lavalike.proc.GradedVec", SMALL, **GRADED, v=PER_NEURON),
    row("lavalike.proc.GradedReluVec", SMALL, **GRADED, v=PER_NEURON),
    row("lavalike.proc.ProdNeuron", SMALL, **GRADED, v=PER_NEURON),
    row("lavalike.proc.NormVecDelay", SMALL, **GRADED, v=PER_NEURON, v2=PER_NEURON),
    row("lavalike.proc.InvSqrt", SMALL, shape=SHAPE, fp_base=also(INDEX, values=(21,)), **NAME),
    row(
        "lavalike.proc.S4d",
        SMALL | DIAGONAL,
        shape=SHAPE,
        **dict.fromkeys(("a", "b", "c", "s4_state"), PER_NEURON),
        **NAME,
    ),
    row(
        "lavalike.proc.SigmaS4dDelta",
        SMALL | DIAGONAL | {"vth": 1},
        shape=SHAPE,
        **dict.fromkeys(("vth", "a", "b", "c", "sigma", "act", "residue", "s4_state"), PER_NEURON),
        **NAME,
    ),
    row(
        "lavalike.proc.SigmaS4dDeltaLayer",
        SMALL | DIAGONAL | {"vth": 1, "d_states": 2},
        shape=bad("3", 2.5, None, values=(0, (3, 0), ())),
        **dict.fromkeys(("vth", "a", "b", "c"), PER_NEURON),
        d_states=COUNT,
        num_message_bits=bad("8", 1.5, None, values=(0, 33)),
        **NAME,
    ),
    row(
        "lavalike.proc.ConvInTime",
        {"weights": np.ones((2, 3, 4))},
        weights=bad("a", None, values=([1, 2], np.full((1, 2, 3), NAN), np.ones((0, 2, 3)))),
        num_message_bits=bad("8", 1.5, None, values=(-1, 33)),
        **NAME,
    ),
    row("lavalike.proc.Sigma", SMALL, shape=SHAPE, sigma=PER_NEURON, checked=FLAG, **NAME),
    row("lavalike.proc.Dense", W, **DENSE),
    row("lavalike.proc.Sparse", LISTED, **DENSE | LISTED_BAD, chunks=bad(3, "a")),
    row(
        "lavalike.proc.RandomSynapses",
        {"shape": (3, 4), "per_input": 2, "data": 1.0},
        shape=bad("3", 2.5, None, values=((0, 3), (3, 0), 3, (3,))),
        probability=bad("a", values=(-0.1, 1.1, NAN)),
        per_input=bad("3", 2.5, values=(0, -1)),
        per_output=bad("3", 2.5, values=(0, -1)),
        data=bad("a", None, [1.0]),
        delays=bad("a", 1.5, values=(-1,)),
        seed=INDEX,
    ),
    row(
        "lavalike.proc.LearningDense",
        lambda: W | {"learning_rule": LearningRule(dw="x0 * d * t")},
        **{k: v for k, v in DENSE.items() if k != "delay"},
        **PLASTIC,
    ),
    row(
        "lavalike.proc.LearningSparse",
        lambda: LISTED | {"learning_rule": LearningRule(dw="x0 * d * t")},
        **{k: v for k, v in (DENSE | LISTED_BAD).items() if k != "delay"},
        **PLASTIC,
    ),
    row(
        "lavalike.proc.DelayLearningSparse",
        lambda: LISTED | {"learning_rule": LearningRule(dw="x0 * d * t"), "delays": 1},
        **{k: v for k, v in (DENSE | LISTED_BAD).items() if k != "delay"},
        **PLASTIC,
        delays=bad("a", None, values=(-1, 1.5, NAN, [1, 2, 3])),
        max_delay=INDEX,
    ),
    row(
        "lavalike.proc.LearningLIF",
        SMALL,
        **LIF,
        **dict.fromkeys(("vth", "y1", "y2", "y3", "y1_decay", "y1_impulse"), PER_NEURON),
    ),
    row("lavalike.learning.STDP", {}, **PAIRS),
    row(
        "lavalike.learning.RewardModulatedSTDP", {}, **PAIRS, rate=REAL, eligibility_decay=FRACTION
    ),
    row("lavalike.learning.Trace", {}, impulse=NOT_NEGATIVE, tau=NOT_NEGATIVE, received=FLAG),
    row(
        "lavalike.learning.LearningRule",
        {"dw": "x0"},
        **dict.fromkeys(("dw", "dd", "dt"), bad(3, values=("x0 *",))),
        **dict.fromkeys(("x1", "x2", "y1", "y2", "y3"), OBJECT),
        epoch=COUNT,
        seed=INDEX,
    ),
    row(
        "lavalike.proc.DelayDense",
        W | {"delays": 1},
        **DELAYED,
        delays=bad("a", None, values=(-1, 1.5, NAN, [1, 2])),
        max_delay=INDEX,
    ),
    row(
        "lavalike.proc.DelaySparse",
        LISTED | {"delays": 1},
        **DELAYED | LISTED_BAD,
        delays=bad("a", None, values=(-1, 1.5, NAN, [1, 2, 3])),
        max_delay=INDEX,
        chunks=bad(3, "a"),
    ),
    row(
        "lavalike.proc.Connection",
        {},
        **{k: CONNECTION[k] for k in ("num_message_bits", "delay", "name")},
        shape_in=optional(SHAPE),
        shape_out=optional(SHAPE),
    ),
    row("lavalike.proc.Delay", SMALL, shape=SHAPE, **NAME),
    row(
        "lavalike.proc.DelayLine",
        SMALL | {"delays": 1},
        shape=SHAPE,
        delays=bad("a", None, values=(-1, 1.5, NAN, [1, 2])),
        max_delay=INDEX,
        **NAME,
    ),
    row("lavalike.proc.Conv", KERNEL, **CONV),
    row(
        "lavalike.proc.ConvTranspose",
        KERNEL,
        **CONV,
        output_padding=bad("1", 1.5, None, values=(-1,)),
    ),
    row("lavalike.proc.Monitor", {}, **NAME),
    row(
        "lavalike.proc.Recorder",
        {},
        ring=optional(COUNT),
        to=bad(3, values=("", "/no/where/x.h5")),
        **NAME,
    ),
    row(
        "lavalike.proc.Compartment",
        {},
        parent=bad(3),
        g=NUMBERS,
        du=NUMBERS,
        dv=NUMBERS,
        leak=NUMBERS,
        threshold=optional(NUMBERS),
        reset=NUMBERS,
        period=NUMBERS,
    ),
    row(
        "lavalike.proc.MultiCompartment",
        SMALL | {"tree": {"soma": Compartment(threshold=1.0)}},
        shape=SHAPE,
        tree=bad(3, "x", None, {"soma": 3}, values=({},)),
        **NAME,
    ),
    row(
        "lavalike.proc.io.source.RingBuffer",
        {"data": np.ones((2, 5))},
        data=bad("a", None, values=(3, [[NAN]])),
        **NAME,
    ),
    row(
        "lavalike.proc.io.source.Constant",
        SMALL | {"value": 1},
        shape=SHAPE,
        value=PER_NEURON,
        start=INTEGER,
        **NAME,
    ),
    row(
        "lavalike.proc.io.source.Noise",
        SMALL,
        shape=SHAPE,
        mean=PER_NEURON,
        std=PER_NEURON,
        seed=optional(INDEX),
        **NAME,
    ),
    row(
        "lavalike.proc.io.source.Poisson",
        SMALL | {"rate": 0.1},
        shape=SHAPE,
        rate=PER_NEURON,
        seed=optional(INDEX),
        **NAME,
    ),
    row(
        "lavalike.proc.io.sink.RingBuffer", SMALL | {"buffer": 5}, shape=SHAPE, buffer=COUNT, **NAME
    ),
    *(
        row(f"lavalike.proc.io.{name}", SMALL if shape else {}, **shape, **CHANNEL, **NAME)
        for name, shape in (
            ("Injector", {"shape": SHAPE}),
            ("Extractor", {"shape": SHAPE}),
            ("VarWire", {}),
        )
    ),
    row("lavalike.proc.io.Reset", reset_value=NUMBERS, interval=COUNT, offset=INTEGER, **NAME),
    row(
        "lavalike.proc.io.Read", {"buffer": 5}, buffer=COUNT, interval=COUNT, offset=INTEGER, **NAME
    ),
    *(
        row(
            f"lavalike.proc.io.{name}",
            {"dataset": [(np.ones((2, 3)), 0)]},
            dataset=bad(3, None, "x", values=([], [(np.array("a"), 0)], [3])),
            interval=COUNT,
            offset=INTEGER,
            **NAME,
        )
        for name in ("StateDataloader", "SpikeDataloader")
    ),
    row("lavalike.proc.BitCheck", bits=also(COUNT, values=(32,)), **NAME),
    row("lavalike.proc.clp.IdBroadcast", SMALL, shape=SHAPE, val=PER_NEURON, **NAME),
    row(
        "lavalike.proc.clp.NoveltyDetector",
        {"t_wait": 3},
        t_wait=INTEGER,
        shape=SHAPE,
        waiting=PER_NEURON,
        t_passed=PER_NEURON,
        **NAME,
    ),
    row(
        "lavalike.proc.clp.Allocator", {"n_protos": 3}, n_protos=COUNT, next_alloc_id=COUNT, **NAME
    ),
    row(
        "lavalike.proc.clp.Readout",
        {"n_protos": 3},
        n_protos=COUNT,
        proto_labels=bad("a", values=([1, 2],)),
        **NAME,
    ),
    row("lavalike.proc.clp.PrototypeLIF", SMALL, **LIF, y1=PER_NEURON, vth=PER_NEURON),
]
EXEMPT = {
    "lavalike.proc.ActivationMode": "an enumeration",
    "lavalike.proc.SignMode": "an enumeration",
    "lavalike.proc.io.SendFull": "an enumeration",
    "lavalike.proc.io.ReceiveEmpty": "an enumeration",
    "lavalike.proc.io.ReceiveNotEmpty": "an enumeration",
    "lavalike.proc.io.ChannelConfig": "of three enumerations, checked by what it is given to",
    "lavalike.proc.io.DroppedMessageWarning": "a warning's class",
    "lavalike.proc.io.MissingMessageWarning": "a warning's class",
}
