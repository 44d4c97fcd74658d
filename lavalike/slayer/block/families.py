"""The families of blocks, ``slayer.block.cuba`` and so on: for every neuron the same blocks, made
in one loop.

A family is a module of its own, ``from lavalike.slayer.block.cuba import Dense`` and pickles find
it; it has no file.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from lavalike.arguments import arguments, instance
from lavalike.dynamics import Dynamics
from lavalike.slayer.block import base, coding
from lavalike.slayer.neuron import (
    Custom,
    adrf,
    adrf_iz,
    alif,
    cuba,
    lif,
    rf,
    rf_iz,
    sigma_delta,
    soft_lif,
)
from lavalike.slayer.synapse import complex as complex_synapse

BLOCKS = (
    base.Input,
    base.Flatten,
    base.Average,
    base.TimeDecimation,
    base.Dense,
    base.Affine,
    base.Conv,
    base.ConvT,
    base.Pool,
    base.Unpool,
    base.Recurrent,
    base.KWTA,
)
RATES = tuple(b for b in BLOCKS if b not in (base.TimeDecimation, base.Recurrent, base.KWTA))
NO_AFFINE = tuple(b for b in BLOCKS if b is not base.Affine)


@dataclass(frozen=True)
class Family:
    """Blocks of one neuron.

    Args:
        doc: of the module.
        neuron: its class, or what makes one of its arguments.
        blocks: the blocks there are. Default: all.
        attributes: of all its blocks, in place of :class:`base.Block`'s. Default: none.
        common: the name of what all its blocks share, lava-dl's where it has one.
        example: the neuron's arguments in the examples of the blocks' documentation. Default: a
            CUBA neuron's.
    """

    doc: str
    neuron: Callable[..., base.Neuron]
    blocks: tuple[type[base.Block], ...] = BLOCKS
    attributes: Mapping[str, Any] = field(default_factory=dict)
    common: str = "_Family"
    example: str = ""


CUBA = '{"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}'  # in base's examples
ADAPTING = '"threshold_step": 0.5, "threshold_decay": 0.1, "refractory_decay": 0.1'
RESONATING = '"threshold": 1.0, "period": 10, "decay": 0.05'
COMPLEX = {"synapses": complex_synapse}
FAMILIES = {
    "cuba": Family("Blocks of CUBA neurons.", cuba.Neuron, common="AbstractCuba"),
    "lif": Family(
        "Blocks of LIF neurons without a current.",
        lif.Neuron,
        example='{"threshold": 1.0, "voltage_decay": 0.1}',
    ),
    "soft_lif": Family(
        "Blocks of CUBA neurons that train as rates and run as spikes.", soft_lif.Neuron, RATES
    ),
    "alif": Family(
        "Blocks of adaptive LIF neurons.",
        alif.Neuron,
        NO_AFFINE,
        common="AbstractALIF",
        example=f"{CUBA[:-1]}, {ADAPTING}}}",
    ),
    "rf": Family(
        "Blocks of resonate-and-fire neurons.",
        rf.Neuron,
        attributes=COMPLEX,
        common="AbstractRF",
        example=f"{{{RESONATING}}}",
    ),
    "rf_iz": Family(
        "Blocks of Izhikevich's resonate-and-fire neurons.",
        rf_iz.Neuron,
        attributes=COMPLEX,
        common="AbstractRFIz",
        example=f"{{{RESONATING}}}",
    ),
    "adrf": Family(
        "Blocks of adaptive resonate-and-fire neurons.",
        adrf.Neuron,
        NO_AFFINE,
        COMPLEX,
        "AbstractADRF",
        example=f"{{{RESONATING}, {ADAPTING}}}",
    ),
    "adrf_iz": Family(
        "Blocks of Izhikevich's adaptive resonate-and-fire neurons.",
        adrf_iz.Neuron,
        NO_AFFINE,
        COMPLEX,
        "AbstractADRFIZ",
        example=f"{{{RESONATING}, {ADAPTING}}}",
    ),
    # 64 x 4096 steps to 1: sums of many values would lose their last bits in float32
    "sigma_delta": Family(
        "Blocks of sigma-delta neurons.",
        sigma_delta.Neuron,
        (
            coding.Input,
            base.Flatten,
            base.Average,
            base.Dense,
            base.Conv,
            base.ConvT,
            base.Pool,
            base.Unpool,
            coding.Output,
        ),
        {"shift_default": False, "exact_eval": True},
        "AbstractSDRelu",
        example='{"threshold": 0.1}',
    ),
}


@arguments(dynamics=instance(Dynamics, words="a lavalike.Dynamics"))
@functools.cache
def family(dynamics: Dynamics) -> ModuleType:
    """Blocks of a neuron of one's own: ``family(dynamics).Dense(neuron_params, 10, 5)``.

    ``neuron_params`` are the arguments of :class:`lavalike.slayer.neuron.Custom` after
    ``dynamics``. There are all blocks but Affine and KWTA, which need a threshold or a current that
    all neurons have; a step with two inputs gets complex synapses. The same module for the same
    ``dynamics``. A block is pickled where its module stands under the name that it has; state dicts
    always.
    """
    complex_ = COMPLEX if len(dynamics.inputs) == 2 else {}
    return made(
        dynamics.name,
        Family(
            f"Blocks of {dynamics.name} neurons.",
            functools.partial(Custom, dynamics),
            tuple(b for b in NO_AFFINE if b is not base.KWTA),
            complex_,
        ),
    )


def _documented(block: type[base.Block], name: str, family: Family) -> str:
    """What a block says of itself, with the family's own words in its example."""
    text = (block.__doc__ or "").replace("block.cuba.", f"block.{name}.")
    if block is base.Input and "synapses" in family.attributes:  # it takes both components
        text = text.replace("30))", "30, dtype=torch.cfloat))")
    return text.replace(CUBA, family.example or CUBA)


def made(name: str, family: Family, package: str = __package__) -> ModuleType:
    """The module of ``family``, called ``name`` in ``package``, by default this one."""
    module = ModuleType(f"{package}.{name}", family.doc)
    module.__spec__ = ModuleSpec(module.__name__, None, origin=__file__)
    module.__package__ = package
    # below every block's own class, so that what a block says itself comes after what the family
    # says
    common = type(
        family.common,
        (base.Block,),
        {
            "__module__": module.__name__,
            "__doc__": f"What all blocks of {name} share, see :class:`{base.Block.__module__}.Block`.",
            "neuron_class": family.neuron,
            **family.attributes,
        },
    )
    setattr(module, family.common, common)
    for block in family.blocks:
        setattr(
            module,
            block.__name__,
            type(
                block.__name__,
                (common, block),
                {
                    "__module__": module.__name__,
                    "__doc__": _documented(block, name, family),
                },
            ),
        )
    return module


MODULES = {name: made(name, f) for name, f in FAMILIES.items()}
sys.modules.update({m.__name__: m for m in MODULES.values()})
