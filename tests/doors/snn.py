"""snn: training step by step in snnTorch's words; the engine under it; graphs as torch modules."""

import torch
from torch import nn

from lavalike import fused, snn
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.ops import above
from lavalike.proc import LIF
from lavalike.snn.surrogate import slayer_exponential as Exponential
from tests.doors.table import (
    ANY,
    CHOICE,
    COUNT,
    FLAG,
    FRACTION,
    FUNCTION,
    INDEX,
    INF,
    NAN,
    NOT_NEGATIVE,
    OBJECT,
    POSITIVE,
    REAL,
    TENSOR,
    bad,
    optional,
    row,
)


def leaky(a_in, v, beta):
    v = beta * v + a_in
    return above(v, 1), v


LEAKY = Dynamics(
    leaky, inputs=("a_in",), outputs=("s_out",), states=("v",), parameters=(Parameter("beta", 0.5),)
)

# -- neurons ---------------------------------------------------------------------------------------

VALUE = bad("a", None, values=(NAN,))
SURROGATE = {"spike_grad": bad(3, "x")}
COMMON = {
    "threshold": VALUE,
    **SURROGATE,
    "surrogate_disable": FLAG,
    "init_hidden": FLAG,
    "inhibition": FLAG,
    "learn_threshold": FLAG,
    "reset_mechanism": CHOICE,
    "state_quant": bad(3, "x"),
    "output": FLAG,
}
GRAD = {"reset_grad": CHOICE}
ALPHA, BETA = {"alpha": VALUE, "learn_alpha": FLAG}, {"beta": VALUE, "learn_beta": FLAG}
RECURRENT = {
    "V": bad("a", None, values=(NAN, torch.ones(3), torch.ones(3).numpy())),
    "all_to_all": FLAG,
    "linear_features": optional(COUNT),
    "conv2d_channels": optional(COUNT),
    "kernel_size": bad("3", 1.5, values=(0,)),
    "learn_recurrent": FLAG,
}
DELAY = {"reset_delay": FLAG}
LOSS = {"reduction": CHOICE, "weight": bad(3, "x")}
COUNTS = {"population_code": FLAG, "num_classes": bad("3", 1.5, values=(-1,))}

# -- encoders --------------------------------------------------------------------------------------

DATA = {"data": torch.rand((2, 3), generator=torch.Generator().manual_seed(0))}
TIME = {"spike_time": torch.tensor([[0, 1], [2, 1]])}
LABELS = {"targets": torch.tensor([0, 2]), "num_classes": 3}
STEPS = bad("3", 1.5, values=(-1,))
ENCODER = {"data": bad("x", None, values=(torch.full((2, 3), NAN),)), "num_steps": STEPS}
LATENCY = {"threshold": REAL, "tau": POSITIVE, "first_spike_time": INDEX, "normalize": FLAG}
TARGET = {"on_target": REAL, "off_target": REAL}
TARGETS = {
    "targets": bad("x", None, values=(torch.tensor([0, 3]),)),
    "num_classes": COUNT,
    "num_steps": STEPS,
    "first_spike_time": INDEX,
    "interpolate": FLAG,
    **TARGET,
}
RATE = {
    "correct_rate": FRACTION,
    "incorrect_rate": FRACTION,
    "firing_pattern": CHOICE,
    "generator": OBJECT,
}
LATE = {
    "threshold": REAL,
    "tau": POSITIVE,
    "clip": FLAG,
    "normalize": FLAG,
    "linear": FLAG,
    "epsilon": POSITIVE,
    "bypass": FLAG,
}


def net():
    """A loop over steps that accelerate can fold."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(3, 2), snn.Leaky(0.9)

        def forward(self, x, y=None):
            mem = self.lif.reset_mem()
            out = []
            for _ in range(3):
                spk, mem = self.lif(self.fc(x), mem)
                out.append(spk)
            return torch.stack(out)

    return Net()


SCAN = {
    "dynamics": LEAKY,
    "training": fused.Training(Exponential()),
    "inputs": {"a_in": torch.ones(1, 2, 4)},
    "parameters": {"beta": 0.5},
}
SCANNED = {
    "dynamics": bad(3, None),
    "training": bad(3, None),
    "inputs": bad(
        3,
        None,
        {},
        {"b_in": torch.ones(1, 2, 4)},
        {"a_in": torch.ones(1, 2, 4), "b_in": torch.ones(1, 2, 4)},
    ),
    "parameters": bad(3, None, {"betta": 0.5}),
    "states": bad(3, {"w": torch.ones(1, 2)}),
    "record": bad(3, "v", values=(["nothing"],)),
    "shift": FLAG,
    "steps": optional(COUNT),
    "first": optional(COUNT),
}
SPK = {"spk_out": torch.ones(4, 2, 3), "targets": torch.tensor([0, 2])}

ROWS = [
    row(
        "lavalike.snn.Leaky",
        {"beta": 0.9},
        **COMMON,
        **BETA,
        **DELAY,
        **GRAD,
        graded_spikes_factor=VALUE,
        learn_graded_spikes_factor=FLAG,
    ),
    row(
        "lavalike.snn.Synaptic",
        {"alpha": 0.9, "beta": 0.8},
        **COMMON,
        **ALPHA,
        **BETA,
        **DELAY,
        **GRAD,
        gradient=CHOICE,
    ),
    row("lavalike.snn.Alpha", {"alpha": 0.9, "beta": 0.8}, **COMMON, **ALPHA, **BETA, **GRAD),
    row(
        "lavalike.snn.Lapicque",
        {"beta": 0.9},
        **COMMON,
        **GRAD,
        learn_beta=FLAG,
        beta=bad("a", values=(NAN,)),
        R=bad("1", values=(NAN,)),
        C=bad("1", values=(NAN,)),
        time_step=POSITIVE,
    ),
    row(
        "lavalike.snn.RLeaky",
        {"beta": 0.9, "linear_features": 3},
        **COMMON,
        **BETA,
        **RECURRENT,
        **DELAY,
        **GRAD,
    ),
    row(
        "lavalike.snn.RSynaptic",
        {"alpha": 0.9, "beta": 0.8, "linear_features": 3},
        **COMMON,
        **ALPHA,
        **BETA,
        **RECURRENT,
        **DELAY,
        **GRAD,
    ),
    row(
        "lavalike.snn.SLSTM",
        {"input_size": 3, "hidden_size": 2},
        **COMMON,
        input_size=COUNT,
        hidden_size=COUNT,
        bias=FLAG,
    ),
    row(
        "lavalike.snn.Neuron",
        {"dynamics": LEAKY},
        dynamics=bad(3, None, leaky),
        values=bad(3, {"betta": 1}, values=({"beta": NAN},)),
        learn=bad(3, values=(["nothing"],)),
        **SURROGATE,
        **GRAD,
        init_hidden=FLAG,
        output=FLAG,
        gradient=CHOICE,
    ),
    row("lavalike.snn.reset", lambda: {"net": net()}, net=bad(3, None)),
    row("lavalike.snn.detach", lambda: {"net": net()}, net=bad(3, None)),
    row(
        "lavalike.snn.accelerate",
        lambda: {"net": net()},
        net=bad(3, None, print),
        loss=bad(3, "x"),
        optimizer=bad(3, "x"),
        precision=bad(3, values=("float23",)),
    ),
    row(
        "lavalike.snn.functional.accuracy_rate",
        SPK,
        spk_out=bad("x", None),
        targets=bad("x", None),
        **COUNTS,
    ),
    row(
        "lavalike.snn.functional.accuracy_temporal",
        SPK,
        spk_out=bad("x", None),
        targets=bad("x", None),
    ),
    row("lavalike.snn.functional.ce_count_loss", {}, **LOSS, **COUNTS),
    row("lavalike.snn.functional.ce_rate_loss", {}, **LOSS, **COUNTS),
    row("lavalike.snn.functional.ce_max_membrane_loss", {}, **LOSS),
    row("lavalike.snn.functional.ce_temporal_loss", {}, **LOSS, inverse=CHOICE),
    row(
        "lavalike.snn.functional.mse_count_loss",
        {},
        **LOSS,
        **COUNTS,
        correct_rate=REAL,
        incorrect_rate=REAL,
    ),
    row(
        "lavalike.snn.functional.mse_membrane_loss",
        {},
        **LOSS,
        time_var_targets=FLAG,
        on_target=REAL,
        off_target=REAL,
    ),
    row(
        "lavalike.snn.functional.mse_temporal_loss",
        {},
        **LOSS,
        target_is_time=FLAG,
        on_target=bad("1", None),
        off_target=bad("1", None),
        tolerance=NOT_NEGATIVE,
        multi_spike=FLAG,
    ),
    row("lavalike.snn.functional.l1_rate_sparsity", {}, Lambda=REAL),
    row("lavalike.snn.functional.l2_rate_sparsity", {}, Lambda=REAL),
    row("lavalike.snn.functional.lower_rate", {"rate": 0.1}, rate=REAL, Lambda=REAL),
    row("lavalike.snn.functional.upper_rate", {"rate": 0.1}, rate=REAL, Lambda=REAL),
    row(
        "lavalike.snn.spikegen.rate",
        DATA | {"num_steps": 3},
        **ENCODER,
        gain=REAL,
        offset=REAL,
        first_spike_time=INDEX,
        time_var_input=FLAG,
        generator=OBJECT,
    ),
    row("lavalike.snn.spikegen.rate_conv", DATA, data=ENCODER["data"], generator=OBJECT),
    row(
        "lavalike.snn.spikegen.latency",
        DATA | {"num_steps": 3},
        **ENCODER,
        **LATENCY,
        **TARGET,
        clip=FLAG,
        linear=FLAG,
        interpolate=FLAG,
        bypass=FLAG,
        epsilon=POSITIVE,
    ),
    row(
        "lavalike.snn.spikegen.latency_code",
        DATA | {"num_steps": 3},
        **ENCODER,
        **LATENCY,
        linear=FLAG,
        epsilon=POSITIVE,
    ),
    row("lavalike.snn.spikegen.latency_code_linear", DATA | {"num_steps": 3}, **ENCODER, **LATENCY),
    row(
        "lavalike.snn.spikegen.latency_code_log",
        DATA | {"num_steps": 3},
        **ENCODER,
        **LATENCY,
        epsilon=POSITIVE,
    ),
    row(
        "lavalike.snn.spikegen.latency_interpolate",
        TIME | {"num_steps": 3},
        spike_time=TENSOR,
        num_steps=COUNT,
        **TARGET,
    ),
    row(
        "lavalike.snn.spikegen.rate_interpolate",
        {"spike_time": torch.tensor([0, 2]), "num_steps": 3},
        spike_time=TENSOR,
        num_steps=COUNT,
        **TARGET,
    ),
    row(
        "lavalike.snn.spikegen.delta",
        {"data": torch.rand(4, 2)},
        data=ENCODER["data"],
        threshold=REAL,
        padding=FLAG,
        off_spike=FLAG,
    ),
    row(
        "lavalike.snn.spikegen.target_rate_code",
        {"num_steps": 3},
        num_steps=COUNT,
        first_spike_time=INDEX,
        rate=FRACTION,
        firing_pattern=CHOICE,
        generator=OBJECT,
    ),
    row(
        "lavalike.snn.spikegen.targets_convert",
        LABELS | {"num_steps": 5},
        **TARGETS,
        **RATE,
        **LATE,
        code=CHOICE,
    ),
    row("lavalike.snn.spikegen.targets_rate", LABELS | {"num_steps": 5}, **TARGETS, **RATE),
    row("lavalike.snn.spikegen.targets_latency", LABELS | {"num_steps": 20}, **TARGETS, **LATE),
    row("lavalike.snn.spikegen.to_one_hot", LABELS, targets=TARGETS["targets"], num_classes=COUNT),
    row(
        "lavalike.snn.spikegen.to_one_hot_inverse",
        {"one_hot_targets": torch.eye(3)},
        one_hot_targets=TENSOR,
    ),
    row(
        "lavalike.snn.spikegen.from_one_hot", {"one_hot_label": torch.eye(3)}, one_hot_label=TENSOR
    ),
    row("lavalike.snn.surrogate.heaviside", {}),
    row("lavalike.snn.surrogate.spike_rate_escape", {}, beta=REAL, slope=REAL),
    row("lavalike.fused.scan", SCAN, **SCANNED),
    row("lavalike.fused.reference", SCAN, **SCANNED),
    row("lavalike.fused.plain_loops", {}),
    row(
        "lavalike.snn.Online",
        lambda: {"synapse": torch.nn.Linear(3, 2), "neuron": snn.Leaky(0.9)},
        synapse=bad(3, None, torch.ones(2)),
        neuron=bad(3, None, torch.nn.ReLU()),
        rule=CHOICE,
        recurrent=bad(3, torch.nn.ReLU()),
    ),
    row(
        "lavalike.fused.in_stretches",
        {"function": lambda x, state: (x, state), "x": torch.ones(4, 2), "steps": 2},
        function=FUNCTION,
        x=TENSOR,
        state=ANY,  # whatever function takes
        steps=COUNT,
        dim=bad("0", 1.5, None, values=(2, -3)),
    ),
    row(
        "lavalike.fused.Training",
        {"surrogate": Exponential()},
        surrogate=bad(3, "x", None),
        reset_grad=CHOICE,
        arithmetic=CHOICE,
        scale=POSITIVE,
        gate_tau=POSITIVE,
        gate_height=REAL,
        relative=bad(3, "x", None),
        gradient=CHOICE,
    ),
    row("lavalike.backends.torch.exponential", {}, width=POSITIVE, scale=REAL),
    row("lavalike.backends.torch.fast_sigmoid", {}, slope=REAL),
    row("lavalike.backends.torch.straight_through", {}),
    row(
        "lavalike.to_torch",
        lambda: {"process": LIF(shape=(2,))},
        process=bad(3, None),
        dtype=bad(3, values=("float16", "flaot32")),
        surrogate=bad(3, "x"),
        forward=bad(3, values=("numba",)),
        chip=OBJECT,
        dt=bad("1", None, values=(0.0, NAN, INF)),
        select=bad(3, "x", values=({LIF: "nmuba"},)),
    ),
    *(
        row(f"lavalike.snn.surrogate.{name}", {}, **{argument: bad("a", None, values=(NAN, INF))})
        for name, argument in (
            ("fast_sigmoid", "slope"),
            ("atan", "alpha"),
            ("sigmoid", "slope"),
            ("boxcar", "width"),
            ("triangular", "threshold"),
            ("LSO", "slope"),
        )
    ),
    row(
        "lavalike.snn.surrogate.SFS",
        {},
        slope=bad("a", None, values=(NAN,)),
        B=bad("a", None, values=(NAN,)),
    ),
    row("lavalike.snn.surrogate.slayer_exponential", {}, tau=POSITIVE, scale=REAL),
    row("lavalike.snn.surrogate.straight_through_estimator", {}),
    row("lavalike.snn.surrogate.custom_surrogate", {"function": lambda v: v}, function=FUNCTION),
]
EXEMPT = {
    "lavalike.snn.Accelerated": "what accelerate returns",
    "lavalike.snn.spikegen.one_hot": "part of to_one_hot, which has a row",
    "lavalike.fused.Result": "what scan returns",
    "lavalike.backends.torch.DynamicsModel": "made by the compiler only",
    "lavalike.backends.torch.FloatingDynamicsModel": "made by the compiler only",
    "lavalike.backends.torch.ProcessModule": "what to_torch returns",
    "lavalike.backends.torch.MixedModule": "what to_torch returns",
    "lavalike.backends.torch.Surrogate": "base of the surrogates, which have rows",
    "lavalike.backends.torch.TorchBackend": "found by its name, takes nothing",
    "lavalike.backends.torch.TorchProgram": "made by the compiler only",
}
