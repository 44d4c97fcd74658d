"""An example of a backend of one's own: neurons and Dense, one NumPy call a step. docs/extending.md
follows it."""

from __future__ import annotations

import numpy as np

from lavalike import ProcessModel, Var
from lavalike.proc import Dense
from lavalike.process.units import Units


class Model(ProcessModel):
    """Arrays (batch, *shape) by the names of ports and states."""

    backend = "example"
    precision = "floating_pt"


class NeuronModel(Model):
    """Of every process with ``dynamics``: its step as it is written, on arrays."""

    def derive(self, values):
        return self.process.dynamics.derive(values, Units.of(self.process.proc_params), False)

    def step(self, t, heard, state, c):
        d, known = self.process.dynamics, {**heard, **state, **c, "t": t}
        out = d.step(*(known[a] for a in d.arguments))
        found = dict(
            zip((*d.outputs, *d.states), out if isinstance(out, tuple) else (out,), strict=True)
        )
        return {o: found[o] for o in d.outputs}, {s: found[s] for s in d.states}


class DenseModel(Model):
    """Registered by ``implements(Dense, backend="example", precision="floating_pt", delay=1)``."""

    def derive(self, values):
        exponent = 2.0 ** float(values["weight_exp"][0])
        return {
            "weights": values["weights"] * exponent,
            "graded": values["num_message_bits"][0] > 0,
        }

    def step(self, t, heard, state, c):
        x = heard["s_in"] if c["graded"] else heard["s_in"] != 0
        a = x @ c["weights"].T
        return {"a_out": state["a_buff"] if self.delay else a}, {"a_buff": a}


class Program:
    """See :class:`lavalike.backends.base.Program`."""

    def __init__(self, part, batch):
        self.part, self.batch, self.step = part, batch, part.step
        self.constants = {n: n.model.derived() for n in part.nodes}
        self.states = {
            n: {
                v.name: np.stack([v.value.astype(float)] * batch)
                for v in n.process.vars
                if v.role == "state"
            }
            for n in part.nodes
        }

    def run(self, steps, heard, recordings):
        for k in range(steps):
            self.step += 1
            sent = {p: heard[p][k] for p in self.part.hears}
            late = [
                n for n in self.part.nodes if n.model.delay
            ]  # they send what they have, and hear at the end
            sent |= {n.process.a_out: self.states[n]["a_buff"] for n in late}
            for node in self.part.nodes:  # in the order of a step
                inputs = {
                    name: self.total(terms, getattr(node.process, name), sent)
                    for name, terms in node.inputs.items()
                }
                out, new = node.model.step(
                    self.step, inputs, self.states[node], self.constants[node]
                )
                self.states[node] |= {n: np.asarray(x, float) for n, x in new.items()}
                if node not in late:
                    sent |= {
                        getattr(node.process, name): np.broadcast_to(
                            x, (self.batch, *getattr(node.process, name).shape)
                        ).reshape(self.batch, -1)
                        for name, x in out.items()
                    }
            for target, rows in recordings.items():
                value = (
                    self.value(target)
                    if isinstance(target, Var)
                    else self.total(self.part.terms(target), target, sent)
                )
                rows[k] = value.reshape(self.batch, -1)

    def total(self, terms, port, sent):
        """What a port carries: (batch, *shape)."""
        out = np.zeros((self.batch, port.size))
        for term in terms:
            source = sent[term.source]
            out[:, slice(None) if term.dst is None else term.dst] += (
                source if term.src is None else source[:, term.src]
            )
        return out.reshape(self.batch, *port.shape)

    def value(self, var):
        if var.role == "state":
            return self.states[self.part.node_of(var.process)][var.name]
        return np.broadcast_to(var.value, (self.batch, *var.shape))

    def ahead(self, port, steps):
        """What a Dense will send in the next step is what it holds."""
        node = self.part.node_of(port.process)
        return self.states[node]["a_buff"].reshape(1, self.batch, -1)

    def dtype_of(self, target):
        if isinstance(target, Var):
            return target.value.dtype if target.role == "parameter" else np.dtype(float)
        return self.part.dtype_of(target)

    def read(self, var):
        return self.value(var)[0]

    def write(self, var, value):
        node = self.part.node_of(var.process)
        if var.role == "state":
            self.states[node][var.name] = np.stack([value.astype(float)] * self.batch)
            return
        old, var.value = var.value, value
        try:
            self.constants[node] = node.model.derived()
        except ValueError:
            var.value = old
            raise

    def snapshot(self):
        return self.step, {
            n: dict(s) for n, s in self.states.items()
        }  # arrays are replaced, never changed

    def restore(self, snapshot):
        self.step, states = snapshot
        self.states = dict(zip(self.states, (dict(s) for s in states.values()), strict=True))


class Backend:
    """See :class:`lavalike.backends.base.Backend`."""

    name = "example"

    def general_model(self, process):
        d = process.dynamics  # those that count steps down, or complex numbers, are refused
        return NeuronModel if d is not None and not d.ends and not d.complexes else None

    def build(self, part, batch, recordable):
        return Program(part, batch)


BACKEND = Backend()
DENSE = {"process": Dense, "backend": "example", "precision": "floating_pt", "delay": 1}
