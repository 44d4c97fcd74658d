"""snn: training step by step in snnTorch's words; the engine under it; graphs as torch modules."""

from types import SimpleNamespace

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
    PATH,
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
    "state_quant": bad(3, "x", values=(True,)),
    "output": FLAG,
}
GRADED = {"graded_spikes_factor": VALUE, "learn_graded_spikes_factor": FLAG}
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
SUMMED = {
    "beta": VALUE,
    "threshold": VALUE,
    **SURROGATE,
    "surrogate_disable": FLAG,
    "learn_beta": FLAG,
    "learn_threshold": FLAG,
    "state_quant": bad(3, "x", values=(True,)),
    "output": FLAG,
    "kernel_truncation_steps": optional(COUNT),
}
PLACE = {"device": bad(1.5), "dtype": bad("float32", 3)}
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


AXES = bad()  # matplotlib's, whose methods are called
OPEN = bad()  # the trace of the step before: a tensor, a number or None


def axes():
    """A figure and its axes, of no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def dataset():
    return SimpleNamespace(data=torch.arange(10), targets=torch.arange(10))


def epoch():
    """Arguments of an epoch of one batch of three steps."""
    whole = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True, output=True))
    return {
        "net": whole,
        "dataloader": [(torch.ones(3, 2, 3), torch.tensor([0, 1]))],
        "optimizer": torch.optim.SGD(whole.parameters(), 0.1),
        "criterion": snn.functional.ce_rate_loss(),
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

NIR = {
    "nodes": {
        "in": {"type": "Input", "shape": (2,)},
        "w": {"type": "Linear", "weight": torch.ones(3, 2)},
        "out": {"type": "Output", "shape": (3,)},
    },
    "edges": [("in", "w"), ("w", "out")],
}
ROWS = [
    row(
        "lavalike.snn.export_to_nir",
        lambda: {"module": nn.Linear(2, 3), "sample_data": torch.ones(1, 2)},
        module=OBJECT,
        sample_data=bad("x", None, 3),
        model_name=bad(3),
        model_fwd_args=bad(3, None),
        ignore_dims=bad(3, None),
        dt=POSITIVE,
        path=optional(PATH),
        strict=FLAG,
    ),
    row(
        "lavalike.snn.import_from_nir",
        {"graph": NIR},
        graph=ANY,  # a path, a dictionary, or what has nodes and edges; its errors name node and parameter
        dt=optional(POSITIVE),
    ),
    row(
        "lavalike.snn.Leaky",
        {"beta": 0.9},
        **COMMON,
        **BETA,
        **DELAY,
        **GRAD,
        **GRADED,
    ),
    row("lavalike.snn.SpikingNeuron", {}, **COMMON, **GRADED),
    row("lavalike.snn.LIF", {"beta": 0.9}, **COMMON, **BETA, **GRADED),
    row(
        "lavalike.snn.DeltaLeaky",
        {"beta": 0.9},
        **{n: v for n, v in COMMON.items() if n != "threshold"},
        **BETA,
        **DELAY,
        **GRAD,
        **GRADED,
        threshold=bad("a", None, values=(NAN, 2.0)),
        delta_threshold=bad("a", None, values=(NAN, -1)),
    ),
    row(
        "lavalike.snn.StateLeaky",
        {"beta": 0.9, "channels": 3},
        **SUMMED,
        **GRADED,
        channels=COUNT,
    ),
    row(
        "lavalike.snn.LinearLeaky",
        {"beta": 0.9, "in_features": 3, "out_features": 2},
        **SUMMED,
        **GRADED,
        in_features=COUNT,
        out_features=COUNT,
        bias=FLAG,
        **PLACE,
    ),
    row(
        "lavalike.snn.LeakyParallel",
        {"input_size": 3, "hidden_size": 2},
        **{n: SUMMED[n] for n in ("threshold", "spike_grad", "surrogate_disable", "learn_beta")},
        **GRADED,
        learn_threshold=FLAG,
        beta=bad("a", values=(NAN, 2.0, [0.1, 0.2, 0.3])),
        input_size=COUNT,
        hidden_size=COUNT,
        bias=FLAG,
        dropout=FRACTION,
        weight_hh_enable=FLAG,
        **PLACE,
    ),
    row(
        "lavalike.snn.AssociativeLeaky",
        {"in_dim": 3, "d_value": 2, "d_key": 2},
        in_dim=COUNT,
        d_value=COUNT,
        d_key=COUNT,
        num_spiking_neurons=bad("3", 2.5, values=(0, 5)),
        use_q_projection=FLAG,
    ),
    row(
        "lavalike.snn.AssociativeLeaky.from_num_spiking_neurons",
        {"in_dim": 3, "num_spiking_neurons": 4},
        in_dim=COUNT,
        num_spiking_neurons=bad("3", 2.5, values=(0, 5)),
        use_q_projection=FLAG,
    ),
    row(
        "lavalike.snn.SConv2dLSTM",
        {"in_channels": 1, "out_channels": 2, "kernel_size": 3},
        **COMMON,
        in_channels=COUNT,
        out_channels=COUNT,
        kernel_size=bad("3", 1.5, None, values=(0,)),
        bias=FLAG,
        max_pool=bad("3", 1.5, values=(-1,)),
        avg_pool=bad("3", 1.5, values=(-1,)),
    ),
    *(
        row(
            f"lavalike.snn.BatchNormTT{n}d",
            {"input_features": 3, "time_steps": 2},
            input_features=COUNT,
            time_steps=COUNT,
            eps=POSITIVE,
            momentum=bad("1", values=(NAN, 2.0)),
            affine=FLAG,
        )
        for n in (1, 2)
    ),
    row(
        "lavalike.snn.GradedSpikes",
        {"size": 3},
        size=COUNT,
        constant_factor=bad("1", values=(NAN,)),
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
        R=bad("1", values=(NAN, -1)),
        C=bad("1", values=(NAN, -1)),
        time_step=POSITIVE,
        integrator=CHOICE,
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
    row(
        "lavalike.snn.utils.data_subset",
        lambda: {"dataset": dataset(), "subset": 2},
        dataset=bad(3, None),
        subset=bad("3", 2.5, None, values=(0, 100)),
        idx=bad("3", 1.5, values=(-1, 2)),
    ),
    row(
        "lavalike.snn.utils.valid_split",
        lambda: {"ds_train": dataset(), "ds_val": dataset(), "split": 0.5},
        ds_train=bad(3, None),
        ds_val=bad(3, None),
        split=FRACTION,
        seed=INDEX,
    ),
    *(
        row(
            f"lavalike.snn.backprop.{name}",
            epoch,
            net=bad(3, None, print),
            dataloader=bad(3, values=([],)),
            optimizer=bad(3, "x"),
            criterion=bad(3, "x", print),
            num_steps=bad("3", 1.5, values=(0, 3)),
            time_var=FLAG,
            time_first=FLAG,
            regularization=bad(3, "x"),
            device=bad(3),
            **({"K": bad("3", 1.5, values=(0, 100))} if name == "TBPTT" else {}),
        )
        for name in ("BPTT", "TBPTT", "RTRL")
    ),
    *(
        row(
            f"lavalike.snn.functional.probe.{name}",
            lambda: {"net": net()},
            net=bad(3, None),
            instance=bad(3, "x", (3,), values=(nn.Conv2d,)),
            **{function: FUNCTION},
        )
        for name, function in (
            ("OutputMonitor", "function_on_output"),
            ("InputMonitor", "function_on_input"),
            ("GradInputMonitor", "function_on_grad_input"),
            ("GradOutputMonitor", "function_on_grad_output"),
        )
    ),
    row(
        "lavalike.snn.functional.probe.AttributeMonitor",
        lambda: {"attribute_name": "mem", "pre_forward": False, "net": net()},
        attribute_name=bad(3, None),
        pre_forward=FLAG,
        net=bad(3, None),
        instance=bad(3, "x", values=(nn.Conv2d,)),
        function_on_attribute=FUNCTION,
    ),
    row(
        "lavalike.snn.functional.quant.state_quant",
        {},
        num_bits=bad("3", 2.5, None, values=(0, 17)),
        uniform=FLAG,
        thr_centered=FLAG,
        threshold=POSITIVE,
        lower_limit=NOT_NEGATIVE,
        upper_limit=NOT_NEGATIVE,
        multiplier=bad("1", values=(0.0, NAN)),
    ),
    *(
        row(
            f"lavalike.snn.functional.stdp_learner.{kind}_single_step",
            {
                argument: layer,
                "in_spike": torch.ones(shape[:1] if kind.startswith("mstdpet") else (2, *shape)),
                "out_spike": torch.ones(after[:1] if kind.startswith("mstdpet") else (2, *after)),
                "trace_pre": None,
                "trace_post": None,
                "tau_pre": 2.0,
                "tau_post": 2.0,
                **({"tau_trace": 2.0} if kind.startswith("mstdpet") else {}),
            },
            **{argument: bad(3, None, nn.Identity())},
            in_spike=bad(3, None, values=(torch.ones(2, 7),)),
            out_spike=bad(3, None, values=(torch.ones(2, 7),)),
            trace_pre=OPEN,
            trace_post=OPEN,
            tau_pre=POSITIVE,
            tau_post=POSITIVE,
            f_pre=FUNCTION,
            f_post=FUNCTION,
            **({"tau_trace": POSITIVE} if kind.startswith("mstdpet") else {}),
        )
        for kind, argument, layer, shape, after in (
            ("stdp_linear", "fc", nn.Linear(3, 2), (3,), (2,)),
            ("mstdp_linear", "fc", nn.Linear(3, 2), (3,), (2,)),
            ("mstdpet_linear", "fc", nn.Linear(3, 2), (3,), (2,)),
            ("stdp_conv1d", "conv", nn.Conv1d(1, 2, 3), (1, 5), (2, 3)),
            ("stdp_conv2d", "conv", nn.Conv2d(1, 2, 3), (1, 5, 5), (2, 3, 3)),
        )
    ),
    row(
        "lavalike.snn.functional.stdp_learner.STDPLearner",
        lambda: {"synapse": nn.Linear(3, 2), "sn": snn.Leaky(0.9), "tau_pre": 2.0, "tau_post": 2.0},
        synapse=bad(3, None, nn.Identity()),
        sn=bad(3, None),
        tau_pre=POSITIVE,
        tau_post=POSITIVE,
        f_pre=FUNCTION,
        f_post=FUNCTION,
    ),
    row(
        "lavalike.snn.functional.SpikeTime",
        {},
        target_is_time=FLAG,
        on_target=bad("a", values=(NAN,)),
        off_target=bad("a", values=(NAN,)),
        tolerance=bad("1", values=(-1, NAN)),
        multi_spike=FLAG,
    ),
    row(
        "lavalike.snn.spikeplot.animator",
        lambda: dict(zip(("data", "fig", "ax"), (torch.ones(2, 3, 3), *axes()), strict=True)),
        data=bad("x", None, values=(torch.ones(2, 3),)),
        fig=AXES,
        ax=AXES,
        num_steps=bad("3", 1.5, values=(9,)),
        interval=POSITIVE,
        cmap=bad(3, values=("nonsense",)),
    ),
    row(
        "lavalike.snn.spikeplot.spike_count",
        lambda: {
            **dict(zip(("data", "fig", "ax"), (torch.ones(2, 3), *axes()), strict=True)),
            "labels": ["a", "b", "c"],
        },
        data=bad("x", None, values=(torch.ones(2, 3, 3),)),
        fig=AXES,
        ax=AXES,
        labels=bad(3, [None], values=(["a"],), name="label"),
        num_steps=bad("3", 1.5, values=(9,)),
        animate=FLAG,
        interpolate=COUNT,
        gridshader=FLAG,
        interval=POSITIVE,
        time_step=bad("1", values=(-1.0, NAN)),
    ),
    row(
        "lavalike.snn.spikeplot.traces",
        {"data": torch.ones(4, 9)},
        data=bad("x", None, values=(torch.ones(4),)),
        spk=bad("x", values=(torch.ones(4, 8),)),
        dim=bad(3, "33", values=((0, 1), (4, 4))),
        spk_height=REAL,
        titles=bad(3, [3]),
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
    row("lavalike.snn.surrogate.SSO", {}, mean=REAL, variance=REAL),
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
    **{
        f"lavalike.snn.surrogate.{name}": "a surrogate by the name of an autograd function; surrogates have rows"
        for name in (
            "ATan",
            "FastSigmoid",
            "Sigmoid",
            "StraightThroughEstimator",
            "Triangular",
            "Heaviside",
            "SpikeRateEscape",
            "SparseFastSigmoid",
            "LeakySpikeOperator",
            "StochasticSpikeOperator",
            "CustomSurrogate",
        )
    },
    "lavalike.snn.surrogate.Looped": "a mark of surrogates",
    "lavalike.snn.surrogate.spiking": "reads spike_grad, of which every neuron's row has samples",
    "lavalike.snn.spikeplot.raster": "hands on any keyword to matplotlib's scatter",
    "lavalike.snn.functional.LossFunctions": "base of the losses, which have rows",
    "lavalike.snn.functional.probe.BaseMonitor": "base of the monitors, which have rows",
    "lavalike.snn.functional.quant.StateQuant": "an autograd function, of tensors; state_quant has a row",
    "lavalike.snn.functional.quant.Quantizer": "what state_quant returns",
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
