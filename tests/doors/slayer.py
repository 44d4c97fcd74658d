"""slayer: training in lava-dl's words."""

import functools
import importlib.util
from types import SimpleNamespace

import numpy as np
import torch

from lavalike import slayer
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.ops import above
from tests.doors.table import (
    ANY,
    CHOICE,
    COUNT,
    FLAG,
    FOLDER,
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
    TEXT,
    also,
    bad,
    optional,
    row,
)

CUBA = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
LIF = {"threshold": 1.0, "voltage_decay": 0.1}
ADAPTING = {"threshold_step": 0.5, "threshold_decay": 0.1, "refractory_decay": 0.1}
RF = {"threshold": 1.0, "period": 10.0, "decay": 0.1}
FAMILIES = {
    "cuba": CUBA,
    "soft_lif": CUBA,
    "lif": LIF,
    "alif": CUBA | ADAPTING,
    "rf": RF,
    "rf_iz": RF,
    "adrf": RF | ADAPTING,
    "adrf_iz": RF | ADAPTING,
    "sigma_delta": {"threshold": 0.1},
}

# -- blocks ----------------------------------------------------------------------------------------

SIZES = {
    "kernel_size": bad(
        "3", 1.5, None, values=(0, (1, 2, 3, 4), (3,))
    ),  # of three numbers: three-dimensional
    "stride": bad("3", 1.5, values=(0,)),
    "padding": bad("3", 1.5, values=(-1,)),
    "dilation": bad("3", 1.5, values=(0,)),
}
WEIGHTS = {
    "weight_scale": bad("1", None, values=(NAN, INF)),
    "weight_norm": FLAG,
    "pre_hook_fx": bad(3, "f"),
}
NEURONS = {
    "in_neurons": bad("3", 2.5, None, values=(0, -1)),
    "out_neurons": bad("3", 2.5, None, values=(0, -1)),
}
FEATURES = {"in_features": COUNT, "out_features": COUNT, "groups": COUNT}
COMMON = {"count_log": FLAG, "delay_shift": bad("yes", 2)}
DELAY = {"delay": FLAG, "delay_gradient": bad(3, values=("centre",))}
MASK = {"mask": bad("x", 3, values=(torch.ones(2, 2),))}
FX = {"bptt": FLAG, "requires_grad": FLAG, "bounded": FLAG}


def blocks(family):
    params = FAMILIES[family]
    near = {("treshold" if k == "threshold" else k): v for k, v in params.items()}
    neuron = {"neuron_params": bad(3, "x", None, near, values=(params | {"threshold": NAN},))}
    good = {"neuron_params": params}
    path = f"lavalike.slayer.block.{family}"
    dense, conv, pool = (
        {"in_neurons": 4, "out_neurons": 3},
        {"in_features": 2, "out_features": 3, "kernel_size": 3},
        {"kernel_size": 2},
    )
    yield row(
        f"{path}.Dense", good | dense, **neuron, **NEURONS, **WEIGHTS, **COMMON, **DELAY, **MASK
    )
    for name in ("Conv", "ConvT"):
        yield row(
            f"{path}.{name}",
            good | conv,
            **neuron,
            **FEATURES,
            **SIZES,
            **WEIGHTS,
            **COMMON,
            **DELAY,
        )
    for name in ("Pool", "Unpool"):
        yield row(f"{path}.{name}", good | pool, **neuron, **SIZES, **WEIGHTS, **COMMON, **DELAY)
    yield row(f"{path}.Flatten", {}, count_log=FLAG)
    yield row(f"{path}.Average", {"num_outputs": 3}, num_outputs=COUNT, count_log=FLAG)
    yield row(
        f"{path}.Input",
        good,
        neuron_params=bad(3, "x", near),
        weight=bad("1", values=(NAN,)),
        bias=bad("1", values=(NAN,)),
        **COMMON,
    )
    if family == "sigma_delta":
        yield row(f"{path}.Output", good | dense, **neuron, **NEURONS, **WEIGHTS, count_log=FLAG)
        return
    if family == "soft_lif":
        yield row(
            f"{path}.Affine",
            good | dense,
            **neuron,
            **NEURONS,
            **WEIGHTS,
            **COMMON,
            **DELAY,
            **MASK,
            dynamics=FLAG,
        )
        return
    yield row(f"{path}.TimeDecimation", {"factor": 2}, factor=COUNT, count_log=FLAG)
    yield row(
        f"{path}.Recurrent", good | dense, **neuron, **NEURONS, **WEIGHTS, **COMMON, **DELAY, **FX
    )
    yield row(
        f"{path}.KWTA",
        good | dense | {"num_winners": 1},
        **neuron,
        **NEURONS,
        **WEIGHTS,
        **COMMON,
        **FX,
        num_winners=bad("1", 1.5, None, values=(0, 4)),
        self_excitation=REAL,
    )
    if hasattr(getattr(slayer.block, family), "Affine"):
        yield row(
            f"{path}.Affine",
            good | dense,
            **neuron,
            **NEURONS,
            **WEIGHTS,
            **COMMON,
            **DELAY,
            **MASK,
            dynamics=FLAG,
        )


# -- neurons ---------------------------------------------------------------------------------------

DECAY = bad("0.5", None, values=(1.5, -0.1, NAN))
SPIKING = {
    "threshold": bad("1", None, values=(NAN, INF)),
    "tau_grad": POSITIVE,
    "scale_grad": REAL,
    "scale": COUNT,
    "norm": bad(3, "x"),
    "dropout": bad(3, "x"),
    "shared_param": FLAG,
    "persistent_state": FLAG,
    "requires_grad": FLAG,
    "graded_spike": FLAG,
    "reset_grad": CHOICE,
}
OF = {
    "current_decay": DECAY,
    "voltage_decay": DECAY,
    "threshold_step": REAL,
    "threshold_decay": DECAY,
    "refractory_decay": DECAY,
    "period": bad("10", None, values=(0.0, -1.0, NAN)),
    "decay": DECAY,
}


def neurons():
    for family, params in FAMILIES.items():
        own = {name: OF[name] for name in params if name != "threshold"}
        extra = {"log_init": FLAG} if "rf" in family else {}
        spiking = SPIKING
        if family == "sigma_delta":
            spiking = {
                k: v for k, v in SPIKING.items() if k not in ("graded_spike", "reset_grad")
            } | {
                "activation": bad(3, "relu"),
                "cum_error": FLAG,
            }
        if family == "soft_lif":
            spiking = {k: v for k, v in SPIKING.items() if k != "graded_spike"} | {
                "softness": NOT_NEGATIVE,
                "noise": NOT_NEGATIVE,
            }
        if family == "cuba":
            extra = {"gradient": CHOICE}
        yield row(f"lavalike.slayer.neuron.{family}.Neuron", params, **spiking, **own, **extra)


# -- the rest --------------------------------------------------------------------------------------


def leaky(a_in, v, beta):
    v = beta * v + a_in
    return above(v, 1), v


LEAKY = Dynamics(
    leaky, inputs=("a_in",), outputs=("s_out",), states=("v",), parameters=(Parameter("beta", 0.5),)
)


def spikes(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def net():
    return torch.nn.Sequential(slayer.block.cuba.Dense(CUBA, 4, 3))


def events(dims=2):
    y = {1: None, 2: np.array([0, 1]), 3: np.array([0, 1])}[dims]
    return slayer.io.Event(np.array([0, 1]), y, np.array([0, 1]), np.array([0.0, 2.0]))


@functools.cache
def event_file(dims):
    path = FOLDER / f"events{dims}.bin"
    getattr(slayer.io, f"encode_{dims}d_spikes")(path, events(dims))
    return path


@functools.cache
def np_file():
    slayer.io.encode_np_spikes(FOLDER / "events.npy", events())
    return FOLDER / "events.npy"


@functools.cache
def weights():
    slayer.utils.save_weights(FOLDER / "linear.safetensors", torch.nn.Linear(2, 3))
    return FOLDER / "linear.safetensors"


@functools.cache
def checkpoint():
    slayer.utils.save_checkpoint(FOLDER / "state.pt", net=net().state_dict())
    return FOLDER / "state.pt"


@functools.cache
def net_file():
    return slayer.export_hdf5(net(), FOLDER / "auto.net")


def functions():
    """neuron.dynamics.*"""
    path, x = "lavalike.slayer.neuron.dynamics", spikes(2, 3, 5)
    decay, state = bad("x", None, values=(-1.0, 5000.0, NAN)), bad("x", None, values=(NAN,))
    common = {"w_scale": COUNT, "debug": FLAG}
    reset = bad("1", values=(NAN,))
    threshold = {"ref_state": 0.0, "ref_decay": 9, "th_state": 1.0, "th_decay": 9, "th_scale": 0.5}
    threshold |= {"th0": 1.0}
    rising = {"ref_state": state, "ref_decay": decay, "th_state": state, "th_decay": decay}
    rising |= {"th_scale": NOT_NEGATIVE, "th0": REAL}
    turning = {"sin_decay": 99, "cos_decay": 4000, "real_state": 0.0, "imag_state": 0.0}
    turn = {"sin_decay": decay, "cos_decay": decay, "real_state": state, "imag_state": state}
    turn |= {n: bad("x", None, values=(5000.0,)) for n in ("sin_decay", "cos_decay")}
    for name, good, wrong in (
        (
            "leaky_integrator",
            {"input": x, "decay": 9, "state": 0.0},
            {"decay": decay, "state": state},
        ),
        ("resonator", {"real_input": x, "imag_input": x, **turning}, turn),
        ("adaptive_threshold", {"input": x, **threshold}, rising),
        ("adaptive_phase_th", {"re_input": x, "im_input": x, "im_state": 0.0, **threshold}, rising),
        (
            "adaptive_resonator",
            {"real_input": x, "imag_input": x, **turning, **threshold},
            turn | rising,
        ),
    ):
        inputs = {n: TENSOR for n in good if "input" in n}
        more = {"threshold": reset} if name in ("leaky_integrator", "resonator") else {}
        more |= {"im_state": state} if name == "adaptive_phase_th" else {}
        good = good | {"w_scale": 64}
        yield row(f"{path}.{name}.dynamics", good, **inputs, **wrong, **common, **more)
    two, one = {"spike": torch.ones(3)}, torch.ones(3)
    tensors = {"spike": TENSOR}
    for name, good, wrong in (
        ("leaky_integrator.persistent_state", {"state": one}, {}),
        ("resonator.persistent_real_state", {"real_state": one}, {}),
        (
            "resonator.persistent_imag_state",
            {"imag_state": one, "threshold": 1.0, "scale": 64},
            {"threshold": REAL, "scale": COUNT},
        ),
        ("adaptive_threshold.persistent_ref_state", {"ref_state": one, "th_state": one}, {}),
        (
            "adaptive_threshold.persistent_th_state",
            {"th_state": one, "th_step": 0.5},
            {"th_step": REAL},
        ),
    ):
        states = {n: TENSOR for n in good if n.endswith("state")}
        yield row(f"{path}.{name}", good | two, **tensors, **states, **wrong)


def ranks():
    return slayer.distributed.Ranks(0, 1, torch.device("cpu"), own=False)


def assistant():
    n = net()
    return slayer.utils.Assistant(
        n, slayer.loss.SpikeRate(0.5, 0.1), torch.optim.Adam(n.parameters())
    )


BATCH = {"input": spikes(2, 4, 6), "target": torch.tensor([0, 2])}
EVENTS = bad(3, "x", None, values=(np.array([0, -1]), np.array([0, 2**33])))
SYNAPSE = WEIGHTS
WINDOW = bad("3", 1.5, values=(0, -1))
REDUCTION = bad(3, values=("summ",))
GRADIENT = {"tau": POSITIVE, "scale": REAL}

ROWS = [
    *(r for family in FAMILIES for r in blocks(family)),
    *neurons(),
    row(
        "lavalike.slayer.neuron.Custom",
        {"dynamics": LEAKY},
        dynamics=bad(3, None, leaky),
        values=bad(3, {"betta": 1}, values=({"beta": NAN},)),
        learn=bad(3, values=(["nothing"],)),
        surrogate=bad(3, "x"),
        reset_grad=CHOICE,
        norm=bad(3, "x"),
        dropout=bad(3, "x"),
        persistent_state=FLAG,
        arithmetic=CHOICE,
        scale=COUNT,
    ),
    row(
        "lavalike.slayer.Online",
        lambda: {"block": slayer.block.cuba.Dense(CUBA, 4, 3, delay_shift=False)},
        block=bad(3, None, torch.nn.ReLU(), values=(slayer.block.cuba.Dense(CUBA, 4, 3),)),
        rule=CHOICE,
    ),
    row(
        "lavalike.slayer.neuron.soft_lif.soften",
        lambda: {"net": net()},
        net=bad(3, None),
        soft=FLAG,
    ),
    row("lavalike.slayer.neuron.Dropout", {}, p=FRACTION, inplace=FLAG),
    row(
        "lavalike.slayer.neuron.norm.MeanOnlyBatchNorm",
        {},
        num_features=optional(COUNT),
        momentum=FRACTION,
        pre_hook_fx=FUNCTION,
    ),
    row(
        "lavalike.slayer.neuron.norm.WgtScaleBatchNorm",
        {},
        num_features=optional(COUNT),
        momentum=FRACTION,
        weight_exp_bits=INDEX,
        eps=NOT_NEGATIVE,
        pre_hook_fx=FUNCTION,
    ),
    row(
        "lavalike.slayer.axon.Delay",
        {},
        sampling_time=POSITIVE,
        max_delay=bad("1", values=(-1.0, NAN)),
        grad_scale=REAL,
        channels=optional(COUNT),
        delay_gradient=bad(3, values=("centre",)),
    ),
    row(
        "lavalike.slayer.axon.Delta",
        {"threshold": 0.1},
        threshold=bad("1", None, values=(NAN, -1.0)),
        scale=COUNT,
        tau_grad=POSITIVE,
        scale_grad=REAL,
        cum_error=FLAG,
        shared_param=FLAG,
        persistent_state=FLAG,
        requires_grad=FLAG,
        w_scale=optional(COUNT),
    ),
    row(
        "lavalike.slayer.axon.delay",
        {"input": torch.ones(1, 2, 4)},
        input=TENSOR,
        delay_val=also(REAL, values=(-1,)),
        sampling_time=POSITIVE,
    ),
    row("lavalike.slayer.dendrite.Sigma", {}, persistent_state=FLAG),
    row("lavalike.slayer.synapse.Dense", {"in_neurons": 4, "out_neurons": 3}, **NEURONS, **SYNAPSE),
    row(
        "lavalike.slayer.synapse.Conv",
        {"in_features": 2, "out_features": 3, "kernel_size": 3},
        **FEATURES,
        **SIZES,
        **SYNAPSE,
    ),
    row(
        "lavalike.slayer.synapse.ConvTranspose",
        {"in_features": 2, "out_features": 3, "kernel_size": 3},
        **FEATURES,
        **SIZES,
        **SYNAPSE,
    ),
    row("lavalike.slayer.synapse.Pool", {"kernel_size": 2}, **SIZES, **SYNAPSE),
    row("lavalike.slayer.synapse.Unpool", {"kernel_size": 2}, **SIZES, **SYNAPSE),
    row(
        "lavalike.slayer.loss.SpikeRate",
        {"true_rate": 0.5, "false_rate": 0.1},
        true_rate=FRACTION,
        false_rate=FRACTION,
        moving_window=WINDOW,
        reduction=REDUCTION,
    ),
    row(
        "lavalike.slayer.loss.SpikeMax", {}, moving_window=WINDOW, mode=CHOICE, reduction=REDUCTION
    ),
    row(
        "lavalike.slayer.loss.SpikeMoid",
        {},
        moving_window=WINDOW,
        reduction=REDUCTION,
        alpha=REAL,
        theta=REAL,
    ),
    row(
        "lavalike.slayer.loss.SpikeTime",
        {},
        time_constant=POSITIVE,
        length=COUNT,
        filter_order=COUNT,
        reduction=REDUCTION,
    ),
    row("lavalike.slayer.loss.SparsityEnforcer", {}, max_rate=NOT_NEGATIVE, lam=REAL),
    row(
        "lavalike.slayer.classifier.MovingWindow",
        {"time_window": 3},
        time_window=COUNT,
        mode=CHOICE,
        eps=POSITIVE,
    ),
    row(
        "lavalike.slayer.classifier.NLL",
        {},
        classifier=bad(3, "x"),
        mode=CHOICE,
        eps=bad("1", values=(0.0, NAN)),
    ),
    row("lavalike.slayer.spike.Phase", {}, **GRADIENT),
    row(
        "lavalike.slayer.spike.Spike.apply",
        {"voltage": torch.zeros(3), "threshold": 1.0, "tau_rho": 1.0, "scale_rho": 1.0},
        voltage=TENSOR,
        threshold=bad("1", None, values=(NAN,)),
        tau_rho=POSITIVE,
        scale_rho=POSITIVE,
        graded_spike=FLAG,
        voltage_last=bad("1", None, values=(NAN,)),
        scale=POSITIVE,
    ),
    row(
        "lavalike.slayer.io.Event",
        {"x_event": [0, 1], "y_event": [0, 1], "c_event": [0, 1], "t_event": [0, 1]},
        x_event=EVENTS,
        y_event=bad(3, "x"),
        c_event=EVENTS,
        t_event=bad(3, "x", None, values=([0, NAN],)),
        payload=bad("x", values=([1],)),
    ),
    *(
        row(
            f"lavalike.slayer.io.encode_{d}d_spikes",
            lambda d=d: {"filename": FOLDER / f"out{d}.bin", "td_event": events(d)},
            filename=PATH,
            td_event=bad(3, None),
        )
        for d in (1, 2, 3)
    ),
    *(
        row(
            f"lavalike.slayer.io.read_{d}d_spikes",
            lambda d=d: {"filename": event_file(d)},
            filename=PATH,
        )
        for d in (1, 2, 3)
    ),
    row(
        "lavalike.slayer.io.encode_np_spikes",
        lambda: {"filename": FOLDER / "out.npy", "td_event": events()},
        filename=PATH,
        td_event=bad(3, None),
        fmt=bad(3, values=("xyz",)),
        time_unit=POSITIVE,
    ),
    row(
        "lavalike.slayer.io.read_np_spikes",
        lambda: {"filename": np_file()},
        filename=PATH,
        fmt=bad(3, values=("xyz",)),
        time_unit=optional(POSITIVE),
    ),
    row(
        "lavalike.slayer.io.tensor_to_event",
        {"spike_tensor": np.ones((2, 1, 1, 3))},
        spike_tensor=bad(3, "x", None, values=(np.full((2, 1, 1, 3), NAN),)),
        sampling_time=POSITIVE,
    ),
    row(
        "lavalike.slayer.utils.Assistant",
        lambda: {
            "net": (n := net()),
            "error": slayer.loss.SpikeRate(0.5, 0.1),
            "optimizer": torch.optim.Adam(n.parameters()),
        },
        net=bad(3, "x", None),
        error=FUNCTION,
        optimizer=bad(3, "x"),  # None where nothing is trained
        stats=OBJECT,
        classifier=bad(3, "x"),
        count_log=FLAG,
        lam=bad("1", values=(NAN,)),
        callbacks=bad(3, "x", None, [3]),
    ),
    row(
        "lavalike.slayer.utils.Assistant.fit",
        {"train": [tuple(BATCH.values())]},
        assistant,
        train=bad(3, "x", None),
        epochs=COUNT,
        test=bad(3, "x"),
        valid=bad(3, "x"),
        progress=FLAG,
    ),
    row(
        "lavalike.slayer.utils.ScalarWriter",
        {"writer": SimpleNamespace(add_scalar=print)},
        writer=bad(3, "x", None),
        prefix=TEXT,
    ),
    row(
        "lavalike.slayer.utils.LogFile",
        {"path": FOLDER / "log.csv"},
        path=also(PATH, values=("log.txt",)),
        append=FLAG,
    ),
    *(
        row(
            f"lavalike.slayer.utils.Assistant.{name}",
            BATCH,
            assistant,
            input=bad(3, "x", None),
            target=bad(3, "x", None),
        )
        for name in ("train", "test", "valid")
    ),
    row("lavalike.slayer.distributed.setup", {}, backend=CHOICE),
    row("lavalike.slayer.distributed.Ranks.share", {"batch": 4}, ranks, batch=COUNT),
    row(
        "lavalike.slayer.distributed.Ranks.sampler",
        {"data": range(4)},
        ranks,
        data=bad(3, None),
        shuffle=FLAG,
        seed=INDEX,
    ),
    row(
        "lavalike.slayer.distributed.Ranks.wrap",
        lambda: {"net": net()},
        ranks,
        net=OBJECT,
        find_unused_parameters=FLAG,
    ),
    row("lavalike.slayer.distributed.Ranks.alone", lambda: {"net": net()}, ranks, net=OBJECT),
    row(
        "lavalike.slayer.distributed.Ranks.gather",
        lambda: {"stats": slayer.utils.LearningStats()},
        ranks,
        stats=OBJECT,
    ),
    row("lavalike.slayer.distributed.Ranks.load", {"path": FOLDER / "none.pt"}, ranks, path=PATH),
    row("lavalike.slayer.utils.Assistant.reduce_lr", {}, assistant, factor=POSITIVE),
    row(
        "lavalike.slayer.utils.parameter_groups",
        lambda: {"net": net(), "lr": 0.01},
        net=bad(3, "x", None),
        lr=NOT_NEGATIVE,  # 0 as in torch's optimizers
        delay_lr=NOT_NEGATIVE,
    ),
    row(
        "lavalike.slayer.utils.LearningStat",
        {},
        loss_str=TEXT,
        loss_unit=TEXT,
        accuracy_str=TEXT,
        accuracy_unit=TEXT,
    ),
    row(
        "lavalike.slayer.utils.LearningStats",
        {},
        loss_str=TEXT,
        loss_unit=TEXT,
        accuracy_str=TEXT,
        accuracy_unit=TEXT,
    ),
    row(
        "lavalike.slayer.utils.diagonal_mask",
        {"dim": 4, "num_diagonals": 1},
        dim=COUNT,
        num_diagonals=INDEX,
    ),
    row("lavalike.slayer.utils.event_rate", {"x": spikes(1, 2, 5)}, x=TENSOR),
    row(
        "lavalike.slayer.utils.quantize",
        {"input": torch.ones(3)},
        input=TENSOR,
        step=POSITIVE,
        mode=bad("round", 1.5),
    ),
    row(
        "lavalike.slayer.utils.quantize_hook_fx",
        {"x": torch.ones(3)},
        x=TENSOR,
        scale=POSITIVE,
        num_bits=COUNT,
        descale=FLAG,
    ),
    row("lavalike.slayer.utils.save_checkpoint", lambda: {"path": FOLDER / "out.pt"}, path=PATH),
    row(
        "lavalike.slayer.utils.load_checkpoint",
        lambda: {"path": checkpoint()},
        path=PATH,
        map_location=ANY,
    ),
    *functions(),
    row(
        "lavalike.slayer.utils.recurrent.custom_recurrent",
        {"z": spikes(2, 3, 5), "neuron": torch.sigmoid, "recurrent_synapse": torch.sigmoid},
        z=TENSOR,
        neuron=FUNCTION,
        recurrent_synapse=FUNCTION,
        last=optional(TENSOR),
    ),
    row(
        "lavalike.slayer.utils.recurrent.custom_recurrent_ground_truth_2",
        {
            "z": spikes(2, 3, 5),
            "neuron": torch.sigmoid,
            "recurrent_synapse": slayer.synapse.Dense(3, 3),
        },
        z=TENSOR,
        neuron=FUNCTION,
        recurrent_synapse=FUNCTION,
    ),
    row(
        "lavalike.slayer.utils.recurrent.CustomRecurrent.apply",
        {"z": spikes(2, 3, 5), "neuron": torch.sigmoid, "recurrent_mat": torch.eye(3)},
        z=TENSOR,
        neuron=FUNCTION,
        recurrent_mat=TENSOR,
    ),
    row(
        "lavalike.slayer.block.base.step_delay",
        {"module": torch.nn.Identity(), "x": spikes(2, 3, 5)},
        module=OBJECT,
        x=TENSOR,
    ),
    row("lavalike.slayer.auto.get_classes", {}, neuron_type=bad(3, values=("nonsense",))),
    row(
        "lavalike.slayer.auto.get_neuron_params",
        {
            "neuron_handle": {"iDecay": 4096, "vDecay": 128, "vThMant": 64},
            "neuron_class": slayer.neuron.cuba,
        },
        neuron_handle=bad(3, "x"),
        neuron_class=OBJECT,
    ),
    row(
        "lavalike.slayer.auto.SequentialNetwork",
        lambda: {"network_config": net_file()},
        network_config=PATH,
        persistent_state=FLAG,
        reduction=bad(3, values=("median",)),
        weight_norm=FLAG,
        count_log=FLAG,
    ),
    row(
        "lavalike.slayer.export_hdf5",
        lambda: {"network": net(), "path": FOLDER / "out.net"},
        network=bad(3, None),
        path=PATH,
        input_shape=bad("3", 2.5, values=((0,),)),
        example=ANY,  # what the network's own forward takes
    ),
    row(
        "lavalike.slayer.export_nir",
        lambda: {"network": net()},
        network=bad(3, None),
        path=optional(PATH),
        dt=POSITIVE,
        input_shape=bad("3", 2.5, values=((0,),)),
        example=ANY,  # what the network's own forward takes
    ),
]
MADE = "part of the blocks, which have rows"
SAVED = [
    row(
        f"lavalike.weights.{name}",
        lambda: {"path": weights(), "module": torch.nn.Linear(2, 3)},
        path=PATH,
        module=bad(3, "x", None),
    )
    for name in ("save_weights", "load_weights")
]
INSTALLED = importlib.util.find_spec("safetensors") is not None
ROWS += SAVED if INSTALLED else []
EXEMPT = {
    **({} if INSTALLED else {r.path: "needs safetensors, which is not installed" for r in SAVED}),
    "lavalike.slayer.utils.Callback": "a base that takes nothing",
    "lavalike.slayer.block.Block": "base of the blocks, which have rows",
    "lavalike.slayer.synapse.Synapse": "base of the synapses, which have rows",
    "lavalike.slayer.synapse.GenericLayer": "base of the synapses, which have rows",
    "lavalike.slayer.synapse.complex.ComplexLayer": "base of the synapses, which have rows",
    "lavalike.slayer.utils.recurrent.CustomRecurrent": "a name for its apply, which has a row",
    "lavalike.slayer.neuron.alif.Adapting": "base of the neurons, which have rows",
    **{
        f"lavalike.slayer.block.{f}.{n}": MADE
        for f, n in (
            ("cuba", "AbstractCuba"),
            ("alif", "AbstractALIF"),
            ("rf", "AbstractRF"),
            ("rf_iz", "AbstractRFIz"),
            ("adrf", "AbstractADRF"),
            ("adrf_iz", "AbstractADRFIZ"),
            ("sigma_delta", "AbstractSDRelu"),
        )
    },
    "lavalike.slayer.distributed.Ranks": "what setup returns",
    "lavalike.slayer.axon.Sized": "base of layers whose size the first call tells",
    "lavalike.slayer.axon.after": MADE,
    "lavalike.slayer.classifier.Rate": "takes no argument",
    "lavalike.slayer.classifier.collapse": "part of the classifiers, which have rows",
    "lavalike.slayer.classifier.log_confidence": "part of the classifiers, which have rows",
    "lavalike.slayer.classifier.moving_rate": "part of the classifiers, which have rows",
    "lavalike.slayer.spike.Spike": "a name for its apply, which has a row",
    "lavalike.slayer.spike.Graded": "part of Spike and the neurons, which have rows",
    "lavalike.slayer.spike.GradedPhase": "part of the neurons, which have rows",
    "lavalike.slayer.utils.MODE": "an enumeration",
    "lavalike.slayer.utils.dotdict": "a dict: it takes every name",
    "lavalike.slayer.utils.staticproperty": "a decorator of class bodies, as property is",
    **{
        f"lavalike.slayer.neuron.{f}.{n}": "part of the neurons, which have rows"
        for f, names in {
            "cuba": ("neuron_params",),
            "lif": ("neuron_params",),
            "alif": ("neuron_params", "step_of"),
            "sigma_delta": ("neuron_params",),
        }.items()
        for n in names
    },
    **{
        f"lavalike.slayer.synapse.complex.{n}": "two synapses of the row of that name"
        for n in ("Conv", "ConvTranspose", "Dense", "Pool", "Unpool")
    },
}
