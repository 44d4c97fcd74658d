"""A process graph whose forward pass runs on a chip, as an nn.Module: training in the loop.

The chip records spikes and membranes; the model runs the same stretch with those in the place of
its own, and gradients are the model's at what was recorded. Products of perceptron mode have the
linear model's gradient. The rest of the graph runs on the torch backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lavalike.backends.bss2.emulated import Placed
from lavalike.backends.bss2.neurons import ChipPopulation, tensors
from lavalike.backends.bss2.partition import SPIKING, check_recordable, check_synapses, connection
from lavalike.backends.bss2.product import Product
from lavalike.backends.bss2.program import start
from lavalike.backends.bss2.spiking import Network, Projection, Tensors
from lavalike.backends.bss2.stored import Matrix, mapped, scaled
from lavalike.backends.torch.mixed import MixedModule
from lavalike.backends.torch.module import Extent, Values
from lavalike.backends.torch.terms import gathered
from lavalike.bss2.chip import Chip
from lavalike.compiler import order
from lavalike.compiler.flat import Flat, Node
from lavalike.compiler.parts import Part
from lavalike.fused import Training
from lavalike.fused.arithmetic import straight
from lavalike.fused.surrogate import Derivative, Surrogate, as_surrogate, exponential
from lavalike.process import AbstractProcess, Var


class ChipModule(MixedModule):
    """See :func:`lavalike.to_torch`. ``chip`` may be replaced by another one between calls. What
    the chip cannot run is refused when it is made.

    Args:
        process: of the graph.
        part: the whole graph with the torch backend's models; its parameters are the module's.
        on_chip: the same with the models and targets that compute it forward.
        chip: that runs forward.
        dt: s a step.
        modelled: backends whose parts the torch backend's models compute.
    """

    def __init__(
        self,
        process: AbstractProcess,
        part: Part,
        on_chip: Flat,
        chip: Chip,
        dt: float,
        surrogate: Surrogate | Derivative | None = None,
        modelled: Sequence[str] = ("torch",),
    ) -> None:
        super().__init__(process, part, on_chip, surrogate, modelled)
        self.chip, self.dt = chip, dt
        self.differentiated = Training(
            as_surrogate(exponential() if surrogate is None else surrogate),
            "detach",
            relative=True,
        )
        self.names = order.names(on_chip.nodes)
        self.networks: dict[Part, Network] = {}
        for section in self.plan.parts:
            if section.target.whole and section.target.options.mode == SPIKING:
                check_synapses(section)
                self.networks[section] = Network(section.nodes, self.names)
        for section in self.plan.parts:
            for port, terms in self.outputs.items():
                for term in terms:
                    if section.target.whole and section.node_of(term.source.process) is not None:
                        check_recordable(section, port, term.source)
        with torch.no_grad():
            for net in self.networks.values():
                self._placed(net, *self._model(net)[:2])

    def section(self, section: Part, extent: Extent, sent: Values) -> None:
        if section in self.networks:
            self._spiking(self.networks[section], extent, sent)
        else:
            super().section(section, extent, sent)

    def _computed(self, section: Part, extent: Extent, sent: Values) -> Values:
        if not section.target.whole:
            return super()._computed(section, extent, sent)
        return {connection(n).a_out: self._product(n, extent, sent) for n in section.nodes}

    def _model(
        self, net: Network
    ) -> tuple[
        dict[Projection, Matrix], dict[ChipPopulation, Tensors], dict[ChipPopulation, float]
    ]:
        """Weights, constants and gains, from the parameters' present values."""
        found = {
            p: p.derive({v.name: self.tensor(v) for v in p.process.vars if v.role == "parameter"})
            for p in net.populations
        }
        gains = {p: float(torch.as_tensor(gain).reshape(-1)[0]) for p, (_, gain) in found.items()}
        constants = {p: tensors(c, self.dtype) for p, (c, _) in found.items()}
        weights = {
            x: scaled(w, gains[x.target])
            for x, w in net.matrices(net.connections(self.tensor, self.dtype)).items()
        }
        return weights, constants, gains

    def _placed(
        self,
        net: Network,
        weights: Mapping[Projection, Matrix],
        constants: Mapping[ChipPopulation, Tensors],
    ) -> Placed:
        return Placed(
            net,
            self.chip,
            self.dt,
            {x: mapped(w, torch.Tensor.detach) for x, w in weights.items()},
            {p: {n: v.detach() for n, v in c.items()} for p, c in constants.items()},
        )

    def _spiking(self, net: Network, extent: Extent, sent: Values) -> None:
        weights, constants, gains = self._model(net)

        def held(
            var: Var, less: int = 0
        ) -> torch.Tensor:  # a step is kept as how far it lies ahead
            return self.tensor(var).to(self.dtype).reshape(1, -1).repeat(extent[1], 1)

        states, _ = start(net, constants, gains, held, 0)
        outside = {p: sent[p].to(self.dtype) for p in net.outside}
        grad = torch.is_grad_enabled()
        with torch.no_grad():
            placed = self._placed(net, weights, constants)
            received = placed.received(outside)
            on_chip = net.run(
                extent,
                received,
                placed.weights(),
                placed.constants(extent[1]),
                states,
                sending=placed.sent,
            )
            if not grad:  # what the chip sent is all that is asked for
                sent.update({p.process.s_out: trace.spikes for p, trace in on_chip.items()})
                return
            recorded = {p: placed.observed(p, trace) for p, trace in on_chip.items()}
        heard = {p: straight(x, received[p]) for p, x in outside.items()}
        traces = net.run(
            extent,
            heard,
            weights,
            constants,
            states,
            dict.fromkeys(net.populations, self.differentiated),
            recorded,
        )
        for p, trace in traces.items():
            sent[p.process.s_out] = trace.spikes

    @torch.no_grad()
    def _product(self, node: Node, extent: Extent, sent: Values) -> torch.Tensor:
        """What the array sends, (batch, *shape, time)."""
        p = Product(node, self.names[node], self.chip, extent[1], self.dtype, self.tensor)
        s_in, terms = p.process.s_in, node.inputs["s_in"]
        heard = {t.source: sent[t.source].to(self.dtype) for t in terms}
        out = p.run(gathered(terms, s_in.size, heard, extent, p.total))
        return out.movedim(0, -1).unflatten(1, p.process.a_out.shape)
