"""A process graph whose forward pass runs on a chip, as an nn.Module: training in the loop.

The chip records spikes and membranes; the model runs the same stretch with those in the place of its own, and gradients are the model's at
what was recorded. Products of perceptron mode have the linear model's gradient. The rest of the graph runs on the torch backend.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lavalike.backends.bss2.emulated import Placed
from lavalike.backends.bss2.neurons import ChipPopulation, tensors
from lavalike.backends.bss2.partition import SPIKING, check_recordable, check_synapses, connection
from lavalike.backends.bss2.product import Product
from lavalike.backends.bss2.program import start
from lavalike.backends.bss2.spiking import Network, Projection, Tensors, gathered
from lavalike.backends.bss2.stored import Matrix, mapped, scaled
from lavalike.backends.torch.module import ProcessModule, Values
from lavalike.bss2.chip import Chip
from lavalike.compiler import order
from lavalike.compiler.flat import Flat, Node
from lavalike.compiler.parts import Part, cut
from lavalike.fused import Training
from lavalike.fused.surrogate import Derivative, Surrogate, as_surrogate, exponential
from lavalike.process import AbstractProcess, OutPort, Port, Var


class ChipModule(ProcessModule):
    """See :func:`lavalike.to_torch`. ``chip`` may be replaced by another one between calls. What the chip cannot run is refused when it
    is made.

    Args:
        process: of the graph.
        part: the whole graph with the torch backend's models, for what stays on the host; its parameters are the module's.
        on_chip: the same with those of the bss2 backend.
        chip: that runs forward.
        dt: s a step.
    """

    def __init__(
        self,
        process: AbstractProcess,
        part: Part,
        on_chip: Flat,
        chip: Chip,
        dt: float,
        surrogate: Surrogate | Derivative | None = None,
    ) -> None:
        super().__init__(process, part, surrogate)
        self.chip, self.dt = chip, dt
        self.differentiated = Training(
            as_surrogate(exponential() if surrogate is None else surrogate),
            "detach",
            relative=True,
        )
        self.plan, self.names = cut(on_chip), order.names(on_chip.nodes)
        self.networks: dict[Part, Network] = {}
        for section in self.plan.parts:
            if section.target.whole and section.target.options.mode == SPIKING:
                check_synapses(section)
                self.networks[section] = Network(section.nodes, self.names)
        self.outputs = {p: on_chip.terms(p) for p in process.out_ports}
        for section in self.plan.parts:
            for port, terms in self.outputs.items():
                for term in terms:
                    if section.target.whole and section.node_of(term.source.process) is not None:
                        check_recordable(section, port, term.source)
        needed = [t.source for terms in self.outputs.values() for t in terms] + [
            p for s in self.plan.parts for p in s.hears
        ]
        self.needed = list(dict.fromkeys(p for p in needed if isinstance(p, OutPort)))
        with torch.no_grad():
            for net in self.networks.values():
                self._placed(net, *self._model(net)[:2])

    def results(self, batch: int, steps: int, fed: Values) -> dict[str, torch.Tensor]:
        sent: Values = {
            p: x.flatten(1, -2).movedim(-1, 0) for p, x in fed.items()
        }  # (time, batch, size)
        for section in self.plan.parts:
            if not section.target.whole:
                self._host(section, (steps, batch), sent)
            elif section in self.networks:
                self._spiking(self.networks[section], (steps, batch), sent)
            else:
                for node in section.nodes:
                    self._product(node, (steps, batch), sent)
        like = next(iter(fed.values()))
        return {
            p.name: gathered(terms, p.size, sent, (steps, batch), like)
            .movedim(0, -1)
            .unflatten(1, p.shape)
            for p, terms in self.outputs.items()
        }

    def _host(self, section: Part, extent: tuple[int, int], sent: Values) -> None:
        steps, batch = extent
        own = {id(n.process) for n in section.nodes}
        nodes = [n for n in self.graph.nodes if id(n.process) in own]
        states = {n: s for n, s in self.initial(batch).items() if n in nodes}
        constants = self.constants(nodes)
        fed = {p: sent[p].movedim(0, -1).unflatten(1, p.shape) for p in section.hears}
        ports = [p for p in self.needed if id(p.process) in own]
        if not order.has_feedback(nodes):
            values, _ = self.sequence(self.graph.step + 1, steps, fed, states, constants, nodes)
        else:
            rows: dict[Port, list[torch.Tensor]] = {p: [] for p in ports}
            for k in range(steps):
                now, states = self.step(
                    self.graph.step + k + 1,
                    {p: x[..., k] for p, x in fed.items()},
                    states,
                    constants,
                    nodes,
                )
                for p, r in rows.items():
                    r.append(now[p])
            values = {p: torch.stack(r, -1) for p, r in rows.items()}
        for p in ports:
            sent[p] = values[p].expand(batch, *p.shape, steps).flatten(1, -2).movedim(-1, 0)

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

    def _spiking(self, net: Network, extent: tuple[int, int], sent: Values) -> None:
        weights, constants, gains = self._model(net)

        def held(
            var: Var, less: int = 0
        ) -> torch.Tensor:  # a step is kept as how far it lies ahead
            return self.tensor(var).to(self.dtype).reshape(1, -1).repeat(extent[1], 1)

        states, _ = start(net, constants, gains, held, 0)
        outside, grad = {p: sent[p] for p in net.outside}, torch.is_grad_enabled()
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
        heard = {p: x + (received[p] - x).detach() for p, x in outside.items()}
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

    def _product(self, node: Node, extent: tuple[int, int], sent: Values) -> None:
        p = Product(node, self.names[node], self.chip, extent[1], self.dtype)
        s_in, a_out = connection(node).s_in, connection(node).a_out
        messages = gathered(node.inputs["s_in"], s_in.size, sent, extent, next(iter(sent.values())))
        twin = next(n for n in self.graph.nodes if n.process is node.process)
        initial = self.initial(extent[1])[twin]
        model, _ = self.sequence(
            1,
            extent[0],
            {
                t.source: sent[t.source].movedim(0, -1).unflatten(1, t.source.shape)
                for t in node.inputs["s_in"]
            },
            {twin: initial},
            self.constants([twin]),
            [twin],
        )
        of_model = model[a_out].flatten(1, -2).movedim(-1, 0)
        with torch.no_grad():
            p.rederive(self.tensor)
            on_chip = p.run(messages)
        sent[a_out] = of_model + (on_chip - of_model).detach()
