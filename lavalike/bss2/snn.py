"""hxtorch.snn, as the older programs spell it: the Instance comes first, and ``func=`` says what a
layer computes.

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

from lavalike.arguments import FUNCTION, arguments, instance, optional
from lavalike.bss2 import spiking
from lavalike.bss2.hxtorch import aliases
from lavalike.bss2.spiking import Experiment, Handle as Handle, run as run
from lavalike.bss2.spiking.functional import CUBALIFParams, CUBALIParams
from lavalike.bss2.spiking.population import PopulationModule
from lavalike.bss2.spiking.synapse import Projection
from lavalike.errors import InputTypeError

Instance = Experiment
__path__: list[str] = []  # its submodules are spiking's, see lavalike.bss2.hxtorch.aliases
_EXPERIMENT = instance(Experiment)


class _Layer:
    """A layer of :mod:`lavalike.bss2.spiking` whose experiment comes first, where it stands there,
    or as ``experiment`` or ``instance``."""

    name: str

    @arguments(instance=optional(_EXPERIMENT))
    def __init__(self, *args: Any, instance: Experiment | None = None, **settings: Any) -> None:
        if instance is not None:
            settings["experiment"] = instance
        elif args and isinstance(args[0], Experiment):
            settings["experiment"], args = args[0], args[1:]
        experiment = settings.get("experiment")
        names = list(inspect.signature(super().__init__).parameters)
        before = names[: names.index("experiment")]
        if len(args) > len(before) and experiment is not None:  # at its place among the others
            args = (*args[: len(before)], settings.pop("experiment"), *args[len(before) :])
        missing = [n for n in before[len(args) :] if n not in settings]
        if missing and experiment is not None:
            raise InputTypeError(
                f"{type(self).__name__}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} expected after "
                "the Instance"
            )
        super().__init__(*args, **settings)


class _Computed(_Layer):
    """A layer that may be told what it computes.

    Args:
        func: what it computes instead of ``forward_func``: a function of the input tensor, or a
            torch.autograd.Function. Of its other arguments those named weight, params, dt, hw_data
            are filled in, as far as the layer has them. It returns a tensor, or a tuple of tensors
            in the order of the output handle's observables.
        params: of a population, what ``func`` gets under this name; those of
            :mod:`lavalike.bss2.spiking.functional` set the layer up as well. Default: the layer's
            own.
    """

    @arguments(func=optional(FUNCTION))
    def __init__(
        self,
        *args: Any,
        func: Callable[..., Any] | type[torch.autograd.Function] | None = None,
        params: Any = None,
        **settings: Any,
    ) -> None:
        if isinstance(params, CUBALIFParams | CUBALIParams):
            settings = params.settings() | settings
        elif params is not None and func is None:
            raise InputTypeError(
                f"{type(self).__name__}: params are of the functions of snn.functional, or of a func of your own; got "
                f"{type(params).__name__} and no func"
            )
        super().__init__(*args, **settings)
        self.func, self.func_params = func, params

    def known(self) -> dict[str, Any]:
        """What a func may ask for."""
        if isinstance(self, Projection):
            return {"weight": self.matrix()}
        assert isinstance(self, PopulationModule)
        params = self.params() if self.func_params is None else self.func_params
        return {"params": params, "dt": self.experiment.dt}

    def forward_func(self, input: Any, hw_data: Any = None) -> Any:
        if self.func is None:
            more = () if isinstance(self, Projection) else (hw_data,)
            return super().forward_func(input, *more)  # type: ignore[misc]  # of the class beside it
        if isinstance(self, Projection):
            x = self.spikes(input)
        else:
            assert isinstance(self, PopulationModule)
            x = self.graded(input, hw_data is not None)
        known = self.known() | {"hw_data": hw_data}
        if isinstance(self.func, type):  # an autograd.Function takes them in order
            function: Any = self.func
            names = list(inspect.signature(function.forward).parameters)[2:]
            return function.apply(x, *(known[n] for n in names))
        taken = inspect.signature(self.func).parameters
        return self.func(x, **{n: v for n, v in known.items() if n in taken})


class Synapse(_Computed, spiking.Synapse):
    """``Synapse(instance, in_features, out_features, func=None, ...)``; the others as
    :class:`lavalike.bss2.spiking.Synapse`.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> bss2.snn.Synapse(20, 10, experiment=experiment).weight.shape
        torch.Size([10, 20])
    """


class SparseSynapse(_Computed, spiking.SparseSynapse):
    """``SparseSynapse(instance, connections, func=None, ...)``; the others as
    :class:`lavalike.bss2.spiking.SparseSynapse`.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> layer = bss2.snn.SparseSynapse(torch.eye(4).to_sparse(), experiment=experiment)
    """


class LIF(_Computed, spiking.LIF):
    """``LIF(instance, size, func=None, params=None, ...)``; the others as
    :class:`lavalike.bss2.spiking.LIF`.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> layer = bss2.snn.LIF(10, experiment=experiment)
    """


class LI(_Computed, spiking.LI):
    """``LI(instance, size, func=None, params=None, ...)``; the others as
    :class:`lavalike.bss2.spiking.LI`.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> layer = bss2.snn.LI(3, experiment=experiment)
    """


class AELIF(_Computed, spiking.AELIF):
    """``AELIF(instance, size, func=None, params=None, ...)``; the others as
    :class:`lavalike.bss2.spiking.AELIF`.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> layer = bss2.snn.AELIF(10, experiment=experiment)
    """


class BatchDropout(_Layer, spiking.BatchDropout):
    """``BatchDropout(instance, size, dropout)``.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> layer = bss2.snn.BatchDropout(10, 0.5, experiment=experiment)
    """


class InputNeuron(_Layer, spiking.InputNeuron):
    """``InputNeuron(instance, size)``.

    Example:
        >>> experiment = bss2.snn.Experiment(mock=True)
        >>> layer = bss2.snn.InputNeuron(20, experiment=experiment)
    """


Neuron = LIF
ReadoutNeuron = LI

__getattr__ = aliases.answered_by(spiking, __name__)
