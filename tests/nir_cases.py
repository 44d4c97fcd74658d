"""What a NIR graph means, in float64 NumPy, and 37 graphs of one to five nodes with their inputs.

The oracle: forward Euler, the membrane sees the new current, a spike where v > threshold, v becomes
v_reset, v(0) = 0, edges back in the graph carry the last step's value, nothing in the first step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from netx.nir import Graph, Node

DT = 1e-4
N = 4
TAU = 2.5e-3
NEURON = {"LIF": "tau", "LI": "tau", "IF": "r", "I": "r", "CubaLIF": "r", "CubaLI": "r"}


@dataclass(frozen=True)
class Rules:
    """How the oracle takes a step."""

    dt: float = DT
    reset: str = "value"  # or "subtract"
    compare: str = ">"  # or ">="
    integrator: str = "euler"  # or "exp"
    order: str = "new"  # or "old"
    v_init: str = "zero"  # or "leak", "reset"
    gain: str = "nir"  # or "unit"


def f64(a):
    return np.asarray(a, np.float64)


class Oracle:
    """One node, step by step."""

    def __init__(self, node, rules):
        self.node, self.rules, self.p, self.held = node, rules, node.params, []
        self.margin = np.inf
        if node.type in NEURON:
            shape = np.shape(self.p[NEURON[node.type]])
            self.i, self.v = np.zeros(shape), np.zeros(shape)
            if rules.v_init != "zero":
                self.v = self.v + f64(self.p.get(f"v_{rules.v_init}", 0))

    def keep(self, tau):
        dt = self.rules.dt
        return 1 - dt / f64(tau) if self.rules.integrator == "euler" else np.exp(-dt / f64(tau))

    def __call__(self, x):
        p, kind, rules = self.p, self.node.type, self.rules
        if kind in ("Input", "Output"):
            return x
        if kind == "Affine":
            return f64(p["weight"]) @ x + f64(p["bias"])
        if kind == "Linear":
            return np.einsum("...oi,...i->...o", f64(p["weight"]), x)
        if kind == "Scale":
            return f64(p["scale"]) * x
        if kind == "Threshold":
            return (x > f64(p["threshold"])) * 1.0
        if kind == "Flatten":
            end = p["end_dim"] % x.ndim
            start = p["start_dim"] % x.ndim
            return x.reshape((*x.shape[:start], -1, *x.shape[end + 1 :]))
        if kind == "Conv2d":
            return convolve(x, p)
        if kind == "Conv1d":
            one = {"weight": f64(p["weight"])[:, :, None], "groups": p["groups"], "bias": p["bias"]}
            pad = p["padding"] if isinstance(p["padding"], str) else (0, *p["padding"])
            one |= {"padding": pad}
            one |= {n: (1, *p[n]) for n in ("stride", "dilation")}
            return convolve(x[:, None], one)[:, 0]
        if kind in ("SumPool2d", "AvgPool2d"):
            kernel = np.ones((len(x), 1, *p["kernel_size"]))
            flat = {"weight": kernel, "groups": len(x), "bias": np.zeros(len(x))}
            flat |= {"dilation": (1, 1), "stride": p["stride"], "padding": p["padding"]}
            y = convolve(x, flat)
            return y if kind == "SumPool2d" else y / np.prod(p["kernel_size"])
        if kind == "Delay":
            steps = np.rint(f64(p["delay"]) / rules.dt).astype(int)
            self.held.append(x)
            out = np.zeros_like(x, dtype=float)
            for j in np.ndindex(x.shape):
                t = len(self.held) - 1 - steps[j]
                if t >= 0:
                    out[j] = self.held[t][j]
            return out
        if kind in ("CubaLIF", "CubaLI"):
            keep_u, keep = self.keep(p["tau_syn"]), self.keep(p["tau_mem"])
            old = self.i
            self.i = keep_u * self.i + (1 - keep_u) * f64(p["w_in"]) * x
            seen = self.i if rules.order == "new" else old
            self.v = keep * self.v + (1 - keep) * (f64(p["r"]) * seen + f64(p["v_leak"]))
        elif kind in ("LIF", "LI"):
            keep = self.keep(p["tau"])
            gain = (1 - keep) * f64(p["r"]) if rules.gain == "nir" else 1.0
            self.v = keep * self.v + gain * x + (1 - keep) * f64(p["v_leak"])
        else:
            self.v = self.v + (rules.dt * f64(p["r"]) if rules.gain == "nir" else 1.0) * x
        if kind in ("LI", "I", "CubaLI"):
            return self.v.copy()
        vth = f64(p["v_threshold"])
        z = ((self.v > vth) if rules.compare == ">" else (self.v >= vth)) * 1.0
        self.margin = min(self.margin, float(np.abs(self.v - vth).min()))
        after = f64(p["v_reset"]) if rules.reset == "value" else self.v - vth
        self.v = np.where(z > 0, after, self.v)
        return z


def convolve(x, p):
    """NIR's Conv2d of (C, H, W), tap by tap."""
    weight, groups = f64(p["weight"]), p["groups"]
    kernel = weight.shape[2:]
    if isinstance(p["padding"], str):
        total = [d * (k - 1) for d, k in zip(p["dilation"], kernel, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(q, q) for q in p["padding"]]
    x = np.pad(x, [(0, 0), *pads])
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, d, k, s in zip(x.shape[1:], p["dilation"], kernel, p["stride"], strict=True)
    ]
    x = x.reshape(groups, -1, *x.shape[1:])
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    out = np.zeros((groups, weight.shape[1], *size))
    for a, b in np.ndindex(*kernel):
        top, left = a * p["dilation"][0], b * p["dilation"][1]
        seen = x[:, :, top :: p["stride"][0], left :: p["stride"][1]][:, :, : size[0], : size[1]]
        out += np.einsum("goi,gihw->gohw", weight[..., a, b], seen)
    return out.reshape(-1, *size) + f64(p["bias"])[:, None, None]


def order(graph):
    """The nodes in the order of a step, and the edges back, depth first from the inputs."""
    after = {k: [b for a, b in graph.edges if a == k] for k in graph.nodes}
    seen, done, post, back = set(), set(), [], set()

    def go(k):
        seen.add(k)
        for b in after[k]:
            if b not in seen:
                go(b)
            elif b not in done:
                back.add((k, b))
        done.add(k)
        post.append(k)

    for k in sorted(graph.nodes, key=lambda k: graph.nodes[k].type != "Input"):
        if k not in seen:
            go(k)
    return post[::-1], back


def run(graph, x, rules: Rules = Rules(), record: Iterable[str] = ()):
    """(what the Output answers, potentials of the nodes ``record``, the nodes), time first."""
    graph = graph.flat()
    seq, back = order(graph)
    nodes = {k: Oracle(n, rules) for k, n in graph.nodes.items()}
    out = next(k for k, n in graph.nodes.items() if n.type == "Output")
    last, answers, kept = {}, [], {k: [] for k in record}
    for row in x:
        now = {}
        for k in seq:
            if graph.nodes[k].type == "Input":
                now[k] = f64(row)
                continue
            total = 0
            for a, b in graph.edges:
                if b == k:
                    sent = last.get(a) if (a, b) in back else now[a]
                    total = total if sent is None else total + sent
            now[k] = nodes[k](total)
        last = now
        answers.append(now[out])
        for k in kept:
            kept[k].append(nodes[k].v.copy())
    return np.array(answers), {k: np.array(v) for k, v in kept.items()}, nodes


# -- graphs ----------------------------------------------------------------------------------------


def ones(*values, n=N):
    return np.array(values if len(values) > 1 else [values[0]] * n, np.float64)


def lif(tau=TAU, r=1.0, leak=0.0, th=1.0, reset=0.0):
    values = {"tau": tau, "r": r, "v_leak": leak, "v_threshold": th, "v_reset": reset}
    return Node("LIF", {n: np.broadcast_to(np.float64(v), N).copy() for n, v in values.items()})


def cuba(r=TAU / DT, leak=0.0, th=1.0, reset=0.0, w_in=1e-3 / DT, kind="CubaLIF"):
    values = {"tau_syn": 1e-3, "tau_mem": TAU, "r": r, "v_leak": leak, "w_in": w_in}
    if kind == "CubaLIF":
        values |= {"v_threshold": th, "v_reset": reset}
    return Node(kind, {n: ones(v) for n, v in values.items()})


def conv(size, weight, stride, padding, groups, bias, dilation=(1, 1)):
    values = {"input_shape": size, "weight": weight, "stride": stride, "padding": padding}
    return Node("Conv2d", values | {"dilation": dilation, "groups": groups, "bias": bias})


def pool(kind, kernel, stride, padding):
    values = {"kernel_size": kernel, "stride": stride, "padding": padding}
    return Node(kind, {n: (v, v) for n, v in values.items()})


def port(kind, *shape):
    return Node(kind, {"shape": shape})


def chain(node, shape, out=None):
    nodes = {"input": port("Input", *shape), "n": node, "output": port("Output", *(out or shape))}
    return Graph.of(Graph(nodes, [("input", "n"), ("n", "output")]))


def net(edges, **nodes):
    both = {"input": port("Input", N), **nodes, "output": port("Output", N)}
    return Graph.of(Graph(both, [tuple(e.split(">")) for e in edges.split()]))


def cases():
    """name -> (graph, amplitude of its input)."""
    rng = np.random.default_rng(1)
    c = {}

    def one(name, node, amplitude, shape=(N,), out=None):
        c[name] = chain(node, shape, out), amplitude

    one("LIF r=1", lif(th=0.1), 5.0)
    one("LIF r=tau/dt", lif(r=TAU / DT), 0.6)
    each = lif([1e-3, 2e-3, 3e-3, 4e-3], [10.0, 20, 30, 40], 0, [1, 1.5, 2, 0.7])
    one("LIF per-neuron tau,th", each, 0.6)
    one("LIF v_leak=.3", lif(r=TAU / DT, leak=0.3), 0.6)
    one("LIF v_leak=v_reset=.3", lif(r=TAU / DT, leak=0.3, reset=0.3), 0.6)
    one("LIF v_reset=-.5", lif(r=TAU / DT, reset=-0.5), 0.6)
    one("LIF v==theta", lif(tau=2 * DT, r=2.0), "ones")
    for name, r in (("1", 1.0), ("1/dt", 1 / DT)):
        fire = {"r": ones(r), "v_threshold": ones(1.0), "v_reset": ones(0.0)}
        one(f"IF r={name}", Node("IF", fire), 0.6)
    one("CubaLIF r=w_in=1", cuba(r=1.0, w_in=1.0, th=0.1), 5.0)
    one("CubaLIF unit gains", cuba(), 0.3)
    one("CubaLIF v_leak=.3", cuba(leak=0.3), 0.3)
    one("CubaLIF v_reset=-.5", cuba(reset=-0.5), 0.3)
    for name, r, leak in (("r=1", 1.0, 0.0), ("r=tau/dt", TAU / DT, 0.0), ("v_leak=.3", 1.0, 0.3)):
        one(f"LI {name}", Node("LI", {"tau": ones(TAU), "r": ones(r), "v_leak": ones(leak)}), 1.0)
    one("CubaLI", cuba(r=1.0, w_in=1.0, kind="CubaLI"), 1.0)
    one("I r=1", Node("I", {"r": ones(1.0)}), 1.0)
    weight, bias = rng.normal(size=(3, 5)), rng.normal(size=3)
    one("Affine 3x5", Node("Affine", {"weight": weight, "bias": bias}), 1.0, (5,), (3,))
    one("Linear 3x5", Node("Linear", {"weight": weight}), 1.0, (5,), (3,))
    kernel, bias = rng.normal(size=(4, 2, 3, 5)), rng.normal(size=4)
    node = conv((8, 9), kernel, (2, 2), (1, 1), 1, bias)
    one("Conv2d 3x5 s2 p1", node, 1.0, (2, 8, 9), (4, 4, 4))
    node = conv((8, 8), rng.normal(size=(4, 1, 3, 3)), (1, 1), (1, 1), 2, bias)
    one("Conv2d groups=2", node, 1.0, (2, 8, 8), (4, 8, 8))
    node = conv((8, 8), rng.normal(size=(4, 2, 3, 3)), (1, 1), "same", 1, bias)
    one("Conv2d 'same'", node, 1.0, (2, 8, 8), (4, 8, 8))
    for kind, sign in (("SumPool2d", -1.0), ("AvgPool2d", 1.0)):
        one(f"{kind} 2", pool(kind, 2, 2, 0), 1.0, (2, 8, 8), (2, 4, 4))
        one(f"{kind} k3 s2 p1", pool(kind, 3, 2, 1), sign, (2, 8, 8), (2, 4, 4))
    for name, start, out in (("Flatten", 0, (24,)), ("Flatten 1..-1", 1, (2, 12))):
        values = {"input_type": (2, 3, 4), "start_dim": start, "end_dim": -1}
        one(name, Node("Flatten", values), 1.0, (2, 3, 4), out)
    one("Delay 3dt", Node("Delay", {"delay": ones(3 * DT)}), 1.0)
    one("Scale", Node("Scale", {"scale": ones(1, 2, 3, 4)}), 1.0)
    one("Threshold", Node("Threshold", {"threshold": ones(0.5)}), 1.0)
    recurrent, bias = rng.normal(size=(N, N)) * 0.3, rng.normal(size=N) * 0.1
    flat = {"l.lif": cuba(), "l.w_rec": Node("Affine", {"weight": recurrent, "bias": bias})}
    edges = "input>l.lif l.lif>l.w_rec l.w_rec>l.lif l.lif>output"
    c["recurrent flat"] = net(edges, **flat), 0.3
    inner = net(
        "input>lif lif>w_rec w_rec>lif lif>output",
        lif=cuba(),
        w_rec=Node("Linear", {"weight": recurrent}),
    )
    c["recurrent subgraph"] = net("input>rnn rnn>output", rnn=inner), 0.3

    def leaky():
        return lif(r=TAU / DT)

    forth, home = (Node("Linear", {"weight": w}) for w in (recurrent * 3, recurrent.T * 3))
    graph = net("input>a a>w w>b a>b b>output", a=leaky(), w=forth, b=leaky())
    c["skip edge"] = graph, 0.6
    c["duplicate edge"] = net("input>a input>a a>output", a=leaky()), 0.3
    edges = "input>a a>w w>b b>u u>a b>output"
    c["2-layer loop"] = net(edges, a=leaky(), w=forth, b=leaky(), u=home), 0.6
    return c


def data(graph, amplitude, steps=80):
    """(time, *shape)."""
    shape = next(n.params["shape"] for n in graph.nodes.values() if n.type == "Input")
    rng = np.random.default_rng(0)
    if amplitude == "ones":
        return np.ones((steps, *shape))
    if amplitude < 0:
        return rng.normal(size=(steps, *shape))
    spikes = rng.random((steps, *shape)) < 0.4
    return spikes * amplitude * rng.uniform(0.5, 1.5, (steps, *shape))
