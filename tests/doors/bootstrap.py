"""bootstrap: rates trained for spikes."""

import torch

from lavalike import bootstrap, slayer
from tests.doors.slayer import (
    DELAY,
    FAMILIES,
    FEATURES,
    MASK,
    NEURONS,
    SIZES,
    WEIGHTS,
)
from tests.doors.table import COUNT, FLAG, INDEX, NAN, OBJECT, POSITIVE, TENSOR, bad, row

COMMON = {"count_log": FLAG, "delay_shift": bad("yes", 2)}
DELAYS = {"delay": bad("yes", values=(True,)), "delay_gradient": DELAY["delay_gradient"]}


def blocks(family):
    path, good = f"lavalike.bootstrap.block.{family}", {"neuron_params": FAMILIES[family]}
    neuron = {"neuron_params": bad(3, "x", None)}
    dense = good | {"in_neurons": 4, "out_neurons": 3}
    common = {**WEIGHTS, **COMMON, **DELAYS, **neuron}
    yield row(f"{path}.Dense", dense, **NEURONS, **MASK, **common)
    yield row(
        f"{path}.Affine", dense, **NEURONS, **MASK, **common, dynamics=bad("x", values=(True,))
    )
    yield row(
        f"{path}.Conv",
        good | {"in_features": 2, "out_features": 3, "kernel_size": 3},
        **FEATURES,
        **SIZES,
        **common,
    )
    yield row(f"{path}.Flatten", {}, count_log=FLAG)
    yield row(
        f"{path}.Input",
        good,
        neuron_params=bad(3, "x", values=(None,)),
        weight=bad("1", values=(NAN,)),
        bias=bad("1", values=(NAN,)),
        **COMMON,
    )


def sampler():
    found = bootstrap.AnnSampler()
    found.append(torch.rand(9, 4), torch.rand(9, 4))
    found.fit()
    return found


ROWS = [
    *(r for family in ("cuba", "lif", "alif") for r in blocks(family)),
    row(
        "lavalike.bootstrap.AnnSampler",
        {},
        num_centers=COUNT,
        sample_range=bad("x", 3, (1,), values=((0.9, 0.1), (0.1, 1.5))),
        eps=POSITIVE,
    ),
    row(
        "lavalike.bootstrap.AnnSampler.append",
        {"a": torch.rand(3, 4), "z": torch.rand(3, 4)},
        sampler,
        a=TENSOR,
        z=TENSOR,
    ),
    row("lavalike.bootstrap.AnnSampler.forward", {"z": torch.rand(3)}, sampler, z=TENSOR),
    row(
        "lavalike.bootstrap.LayerMode",
        {"crossover": 0, "base_mode": bootstrap.Mode.ANN},
        crossover=INDEX,
        base_mode=OBJECT,
    ),
    row(
        "lavalike.bootstrap.Scheduler",
        {},
        num_sample_iter=COUNT,
        sample_period=COUNT,
        crossover_epochs=bad(3, values=([-1],)),
    ),
    row(
        "lavalike.bootstrap.Scheduler.mode",
        {"epoch": 0, "iteration": 0},
        bootstrap.Scheduler,
        epoch=INDEX,
        iteration=INDEX,
        train=FLAG,
    ),
    row(
        "lavalike.bootstrap.Scheduler.sync_snn_stat",
        lambda: {"stat": slayer.utils.LearningStat()},
        bootstrap.Scheduler,
        stat=OBJECT,
    ),
]
EXEMPT = {"lavalike.bootstrap.Mode": "an enumeration"}
