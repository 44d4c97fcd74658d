"""Several layers as one: recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import did_you_mean
from lavalike.bss2.errors import OperandError, RoutingError
from lavalike.bss2.spiking.handle import Handle, LIFObservables, SynapseHandle
from lavalike.bss2.spiking.module import HXModule, called
from lavalike.bss2.spiking.neuron import Recorded, integrate
from lavalike.bss2.spiking.population import PopulationModule
from lavalike.bss2.spiking.synapse import Projection, weigh
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import Experiment


class HXModuleWrapper(HXModule):
    """Layers with one ``forward_func``: a population and its recurrent projections, unless a
    subclass computes something else.

    ``wrapper(handle)`` runs the population on what arrives, every projection of the wrapper
    bringing its spikes back one step later, and returns the population's handle. ``wrapper()``
    takes over the calls of its layers since the last run, as hxtorch's does: projections that were
    called on the population's handle are the recurrent ones; all handles that the layers returned
    are filled.

    Subclasses' ``forward_func(self, input, hw_data=None)`` gets the handles from outside (a tuple
    where there are several) and returns one handle for each output, in the order of ``modules``.

    Args:
        experiment: to register in.
        modules: by name; one population, and projections.
    """

    output_type = LIFObservables
    on_chip = True

    def __init__(self, experiment: Experiment, **modules: HXModule) -> None:
        super().__init__(experiment)
        for name, m in modules.items():
            self._check_layer(name, m)
            if hasattr(self, name):
                raise InputError(
                    f"{self.name}: {name} is a layer under a name that is free, got {type(m).__name__}"
                )
            setattr(self, name, m)
        self._wrapped = modules
        self._feeding: tuple[
            Projection, ...
        ] = ()  # from outside, in the order of the inputs that are spikes

    @property
    def modules_wrapped(self) -> tuple[HXModule, ...]:
        """The layers, in their order."""
        return self._members

    @property
    def _members(self) -> tuple[HXModule, ...]:
        return tuple(self._wrapped.values())

    def contains(self, modules: HXModule | Sequence[HXModule]) -> bool:
        """Whether ``modules``, one or several, are all among the wrapped ones."""
        asked = (modules,) if isinstance(modules, HXModule) else modules
        return all(any(m is w for w in self._members) for m in asked)

    def update(self, **modules: HXModule) -> None:
        """Wrap ``modules`` instead of those under the same names; others stay."""
        for name, m in modules.items():
            if name not in self._wrapped:
                raise InputTypeError(
                    f"{self.name}: there is no layer {name!r} to take the place of"
                    f"{did_you_mean(name, list(self._wrapped))}"
                )
            self._check_layer(name, m)
        for name, m in modules.items():
            setattr(self, name, m)
        self._wrapped |= modules
        self._feeding = ()

    def _check_layer(self, name: str, m: Any) -> None:
        if not isinstance(m, HXModule):
            raise InputTypeError(
                f"{self.name}: {name} is a layer under a name that is free, got {type(m).__name__}"
                f"{did_you_mean(name, ['experiment', 'execution_instance', 'chip_coordinate', 'func'])}"
            )

    @property
    def population(self) -> PopulationModule:
        """The one population; InputError where there is none or several."""
        found = [m for m in self._members if isinstance(m, PopulationModule)]
        if len(found) != 1 or not found[0].fires or found[0].method != "superspike":
            raise RoutingError(
                f"{self.name}: one population that fires, with method 'superspike', and its projections are expected; got "
                f"{', '.join(type(m).__name__ for m in self._members)}. Define forward_func for others (in simulation)"
            )
        return found[0]

    @property
    def recurrent(self) -> tuple[Projection, ...]:
        """The projections that bring the population's spikes back."""
        return tuple(
            m for m in self._members if isinstance(m, Projection) and m not in self._feeding
        )

    def forward(self, *inputs: Handle) -> Any:
        if inputs:
            self._feeding = ()
            self.check_inputs(inputs)
            output = self.output_type.awaited(self.population)
            self.experiment.connect(self, inputs, (output,))
            return output
        nodes = self.experiment.disconnect(list(self._members))
        if len(nodes) != len(self._members):
            there = {id(n.module) for n in nodes}
            raise InputError(
                f"{self.name}: call each of its layers once before wrapper(), or give it handles; "
                f"{', '.join(m.name for m in self._members if id(m) not in there) or 'one'} was not called, or called twice"
            )
        made = {id(h) for n in nodes for h in n.outputs}
        outside = [(n.module, h) for n in nodes for h in n.inputs if id(h) not in made]
        self._feeding = tuple(m for m, _ in outside if isinstance(m, Projection))
        outputs = tuple(h for n in nodes for h in n.outputs)
        self.experiment.connect(self, tuple(h for _, h in outside), outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def arriving(
        self, inputs: tuple[Handle, ...]
    ) -> tuple[list[tuple[Projection, Handle]], list[Handle]]:
        """Of the handles from outside: those that one of the wrapper's projections takes, and those
        that are weighted already."""
        graded = [h for h in inputs if "graded_spikes" in h.names]
        spikes = [h for h in inputs if "graded_spikes" not in h.names]
        if len(spikes) != len(self._feeding):
            raise OperandError(
                f"{self.name}: SynapseHandles are expected, got {', '.join(type(h).__name__ for h in inputs)}; put a "
                f"Synapse before it"
            )
        return list(zip(self._feeding, spikes, strict=True)), graded

    def weights(self) -> torch.Tensor | None:
        """Of all recurrent projections together, (neuron, neuron)."""
        found = [m.matrix() for m in self.recurrent]
        n = self.population.size
        for m in self.recurrent:
            if (m.in_features, m.out_features) != (n, n):
                raise OperandError(
                    f"{m.name}: {n} inputs and outputs are expected of a recurrent projection of {self.population.name}, "
                    f"got {m.in_features} and {m.out_features}"
                )
        return torch.stack(found).sum(0) if found else None

    def forward_func(self, input: Any, hw_data: Recorded | None = None) -> Any:
        population = self.population
        fed, graded = self.arriving(input if isinstance(input, tuple) else (input,))
        x = population.graded(
            (*graded, *(SynapseHandle(weigh(p.spikes(h), p.matrix())) for p, h in fed)),
            hw_data is not None,
        )
        out = integrate(
            x,
            population.params(),
            self.experiment.dt,
            hw_data,
            population.alpha,
            recurrent=self.weights(),
            mask=population.mask,
        )
        own = LIFObservables(
            out.spikes,
            out.membrane if population.enable_cadc_recording else None,
            out.current,
            None if hw_data is None else hw_data.madc,
        )
        arriving = {id(p): h for p, h in fed}
        return tuple(
            own if m is population else m.forward_func(arriving.get(id(m), own))
            for m in self._members
        )

    def execute(
        self, inputs: tuple[Handle, ...], outputs: tuple[Handle, ...], hw_data: Any = None
    ) -> None:
        result = called(self.forward_func, inputs, hw_data)
        results = result if isinstance(result, tuple) else (result,)
        if len(outputs) == 1 and len(results) > 1:  # called on handles: the population's alone
            results = tuple(
                r for m, r in zip(self._members, results, strict=True) if m is self.population
            )
        if len(results) != len(outputs):
            raise OperandError(
                f"{self.name}: forward_func returns a handle for each of {len(outputs)} outputs, got {len(results)}"
            )
        for output, r in zip(outputs, results, strict=True):
            self._fill(output, r)
