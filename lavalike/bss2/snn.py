"""hxtorch.snn, as the older programs spell it: the Instance comes first, and ``func=`` says what a layer computes.

    ins = snn.Instance()
    syn1, lif1 = snn.Synapse(ins, 70, 40), snn.LIF(ins, 40)
    syn2, li2 = snn.Synapse(ins, 40, 4), snn.LI(ins, 4)
    x4 = li2(syn2(lif1(syn1(snn.Handle(input)))))
    snn.run(ins, 60)

What is not here is :mod:`lavalike.bss2.spiking`'s.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from lavalike.bss2 import spiking
from lavalike.bss2.spiking import Experiment, Handle as Handle, run as run
from lavalike.errors import InputError

Instance = Experiment


class _Layer:
    """A layer of :mod:`lavalike.bss2.spiking` whose experiment comes first (or where it stands there).

    Args:
        func: what it computes instead of ``forward_func``: a function of the input tensor, or a torch.autograd.Function. Of its other
            arguments those named weight, params, dt, hw_data are filled in, as far as the layer has them. It returns a tensor, or a tuple
            of tensors in the order of the output handle's observables.
    """

    name: str

    def __init__(self, *args: Any, func: Callable[..., Any] | type[torch.autograd.Function] | None = None, **settings: Any) -> None:
        if args and isinstance(args[0], Experiment):
            place = 2 if isinstance(self, spiking.Synapse) else 1
            args = (*args[1:place + 1], args[0], *args[place + 1:]) if len(args) > place else args[1:]
            if not any(isinstance(a, Experiment) for a in args):
                wanted = "in_features and out_features are" if place == 2 else "size is"
                raise InputError(f"{type(self).__name__}: {wanted} expected after the Instance")
        super().__init__(*args, **settings)
        self.func = func

    def known(self) -> dict[str, Any]:
        """What a func may ask for."""
        if isinstance(self, spiking.Synapse):
            return {"weight": self.matrix()}
        return {"params": self.params(), "dt": self.experiment.dt}  # type: ignore[attr-defined]

    def forward_func(self, input: Any, hw_data: Any = None) -> Any:
        if self.func is None:
            more = () if isinstance(self, spiking.Synapse) else (hw_data,)
            return super().forward_func(input, *more)  # type: ignore[misc]
        x = self.spikes(input) if isinstance(self, spiking.Synapse) else self.graded(input)  # type: ignore[attr-defined]
        known = self.known() | {"hw_data": hw_data}
        if isinstance(self.func, type):  # an autograd.Function takes them in order
            names = list(inspect.signature(self.func.forward).parameters)[2:]
            return self.func.apply(x, *(known[n] for n in names))
        taken = inspect.signature(self.func).parameters
        return self.func(x, **{n: v for n, v in known.items() if n in taken})


class Synapse(_Layer, spiking.Synapse):
    """``Synapse(instance, in_features, out_features, func=None, ...)``; the others as :class:`lavalike.bss2.spiking.Synapse`."""


class LIF(_Layer, spiking.LIF):
    """``LIF(instance, size, func=None, ...)``; the others as :class:`lavalike.bss2.spiking.LIF`."""


class LI(_Layer, spiking.LI):
    """``LI(instance, size, func=None, ...)``; the others as :class:`lavalike.bss2.spiking.LI`."""


Neuron = LIF
ReadoutNeuron = LI


def __getattr__(name: str) -> Any:
    return getattr(spiking, name)
