"""Training against other libraries, in one run: milliseconds a batch, forward, backward and Adam.

    python -m benchmarks.training [--threads 1 2] [--rounds 9] [--compile]

Peers that are installed take part: snntorch, norse, spikingjelly, sinabs
(``pip install snntorch norse spikingjelly sinabs``), with --compile also their torch.compile'd
forms (needs a C++ compiler). lava-dl cannot be installed here (Python 3.10 and older dependencies):
its loop over time is represented by the plain torch loop of the same equations.

Every network has the same shape, weights, input and loss, one output layer read by its spikes.
Before anything is timed our gradients are compared with those of a float64 loop. Programs take
turns, medians are printed, firing rates beside them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault(
    "ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16"
)  # sandboxes without AMX cannot run oneDNN's bf16 otherwise

import itertools

import torch
from torch import nn
from torch.nn import functional

from lavalike import fused, slayer, snn
from lavalike.dynamics import membrane
from lavalike.text import table

BATCH, STEPS, SIZES = 64, 25, (784, 1000, 10)
BETA = 0.9


def weights(scale: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(b, a, generator=generator) * s / a**0.5
        for a, b, s in zip(SIZES[:-1], SIZES[1:], (scale, 2.0), strict=True)
    ]


def layers(scale: float) -> nn.ModuleList:
    made = nn.ModuleList([nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(SIZES)])
    for layer, w in zip(made, weights(scale), strict=True):
        layer.weight.data.copy_(w)
    return made


class Loop(nn.Module):
    """A loop over steps of ``cell(k, current, state) -> (spikes, state)``, as every tutorial has
    it."""

    def __init__(
        self, cells: list[nn.Module], call: Callable[..., Any], scale: float, constant: bool
    ) -> None:
        super().__init__()
        self.fc, self.cells = layers(scale), nn.ModuleList(cells)
        self.call, self.constant = call, constant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states: list[Any] = [None, None]
        out = []
        for step in range(STEPS):
            z = x if self.constant else x[step]
            for k in range(2):
                z, states[k] = self.call(self.cells[k], self.fc[k](z), states[k])
            out.append(z)
        return torch.stack(out)


class Ours(nn.Module):
    """Our step-style network; accelerate folds its loop."""

    def __init__(self, scale: float, constant: bool, surrogate: Any) -> None:
        super().__init__()
        self.fc = layers(scale)
        self.lif1, self.lif2 = (
            snn.Leaky(BETA, spike_grad=surrogate),
            snn.Leaky(BETA, spike_grad=surrogate),
        )
        self.constant = constant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        out = []
        for step in range(STEPS):
            spk, mem1 = self.lif1(self.fc[0](x if self.constant else x[step]), mem1)
            spk, mem2 = self.lif2(self.fc[1](spk), mem2)
            out.append(spk)
        return torch.stack(out)


class Folded(nn.Module):
    """Dense products over all steps and a fused LIF: what a careful programmer without sparse
    products would write."""

    def __init__(self, scale: float, surrogate: Any) -> None:
        super().__init__()
        self.fc = layers(scale)
        self.training_ = fused.Training(surrogate, "detach")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for fc in self.fc:
            current = functional.linear(x.flatten(0, 1), fc.weight).unflatten(0, x.shape[:2])
            x = fused.scan(
                membrane.LEAKY["subtract"],
                self.training_,
                {"a_in": current},
                {"beta": BETA, "vth": 1.0},
            ).outputs["s_out"]
        return x


class Products(nn.Module):
    """The matrix products alone."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.fc = layers(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = x.shape[:2]
        return functional.linear(
            functional.linear(x.flatten(0, 1), self.fc[0].weight), self.fc[1].weight
        ).unflatten(0, shape)


class Blocks(nn.Module):
    """slayer's quantised CUBA blocks."""

    def __init__(self) -> None:
        super().__init__()
        p = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 1 - BETA}
        self.blocks = nn.Sequential(
            *(
                slayer.block.cuba.Dense(p, a, b, weight_scale=2)
                for a, b in itertools.pairwise(SIZES)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x.movedim(0, -1)).movedim(-1, 0)


def peers(scale: float, constant: bool) -> dict[str, nn.Module]:
    """The libraries that are installed, each with its own leaky neuron of this decay and an
    arctangent surrogate where it has one."""
    found: dict[str, nn.Module] = {}
    try:
        import snntorch

        cells = [snntorch.Leaky(BETA) for _ in range(2)]
        found["snnTorch"] = Loop(
            cells, lambda c, x, s: c(x, c.init_leaky() if s is None else s), scale, constant
        )
    except ModuleNotFoundError:
        pass
    try:
        from norse.torch.module.lif_box import LIFBoxCell, LIFBoxParameters

        cells = [LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(100.0))) for _ in range(2)]
        found["Norse"] = Loop(cells, lambda c, x, s: c(x * 10, s), scale, constant)
    except ModuleNotFoundError:
        pass
    try:
        from spikingjelly.activation_based import functional as sj, neuron

        class Jelly(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = layers(scale)
                self.lif = nn.ModuleList(
                    [
                        neuron.LIFNode(
                            tau=10.0,
                            decay_input=False,
                            v_reset=None,
                            detach_reset=True,
                            step_mode="m",
                        )
                        for _ in range(2)
                    ]
                )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                sj.reset_net(self)
                if constant:
                    x = x.expand(STEPS, *x.shape)
                for fc, lif in zip(self.fc, self.lif, strict=True):
                    x = lif(fc(x))
                return x

        found["SpikingJelly"] = Jelly()
    except ModuleNotFoundError:
        pass
    try:
        import sinabs.layers

        class Sinabs(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = layers(scale)
                self.lif = nn.ModuleList(
                    [sinabs.layers.LIF(tau_mem=10.0, norm_input=False) for _ in range(2)]
                )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = x.expand(STEPS, *x.shape) if constant else x
                x = x.movedim(0, 1)
                for fc, lif in zip(self.fc, self.lif, strict=True):
                    lif.reset_states()
                    x = lif(fc(x))
                return x.movedim(1, 0)

        found["Sinabs"] = Sinabs()
    except ModuleNotFoundError:
        pass
    return found


def loss(out: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(out.sum(0), labels)


def trainer(net: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], Any]:
    """One step of the plain training loop."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)

    def step() -> Any:
        optimizer.zero_grad()
        value = loss(net(x).float(), labels)
        value.backward()
        optimizer.step()
        return value

    return step


def folded(
    net: nn.Module, x: torch.Tensor, labels: torch.Tensor, precision: str
) -> Callable[[], Any]:
    model = snn.accelerate(net, loss, torch.optim.Adam(net.parameters(), 1e-4), precision)
    return lambda: model(x, labels)


def oracle(x: torch.Tensor, labels: torch.Tensor, scale: float, constant: bool) -> float:
    """The largest relative difference between our gradients and those of a float64 loop."""
    net = Ours(scale, constant, snn.surrogate.atan())
    model = snn.accelerate(net, loss)
    model(x, labels)
    fc = [w.double().requires_grad_() for w in weights(scale)]
    mem, out, atan = [torch.zeros(1, dtype=torch.float64)] * 2, [], snn.surrogate.atan()
    for step in range(STEPS):
        z = (x if constant else x[step]).double()
        for k in range(2):
            mem[k] = BETA * mem[k] + z @ fc[k].t() - (mem[k] > 1).double()
            z = atan(mem[k] - 1)
        out.append(z)
    loss(torch.stack(out), labels).backward()
    return max(
        float((p.weight.grad - w.grad).norm() / w.grad.norm())
        for p, w in zip(net.fc, fc, strict=True)
    )  # type: ignore[union-attr]


def turns(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of every program; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for run in programs.values():
        run()
        run()
    for _ in range(rounds):
        for name, run in programs.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return {name: sorted(t)[len(t) // 2] for name, t in times.items()}


def compare(
    title: str, make: Callable[[], dict[str, Callable[[], Any]]], threads: list[int], rounds: int
) -> None:
    """A table of milliseconds, and of ratios to the fastest eager peer."""
    programs = make()
    columns = []
    for n in threads:
        torch.set_num_threads(n)
        columns.append(turns(programs, rounds))
    rows = []
    for name in programs:
        row = [name]
        for c in columns:
            best = min((c[p] for p in programs if p in PEERS), default=None)
            row += [f"{c[name] * 1e3:.2f}", "" if best is None else f"{best / c[name]:.2f}x"]
        rows.append(row)
    head = [title]
    for n in threads:
        head += [f"ms, {n} thread{'s' * (n > 1)}", "vs best eager peer"]
    print(table(head, rows), flush=True)
    print()


PEERS = {"snnTorch", "Norse", "SpikingJelly", "Sinabs", "plain torch loop"}


def network(constant: bool, compiled: bool) -> dict[str, Callable[[], Any]]:
    generator = torch.Generator().manual_seed(0)
    if constant:
        x = torch.rand(BATCH, SIZES[0], generator=generator)
    else:
        x = (torch.rand(STEPS, BATCH, SIZES[0], generator=generator) < 0.1).float()
    labels = torch.randint(0, 10, (BATCH,), generator=generator)
    scale = 0.7 if constant else 1.0
    atan = snn.surrogate.atan()
    error = oracle(x, labels, scale, constant)
    print(f"gradients against a float64 loop: {error:.1e} relative")
    if error > 1e-3:
        raise SystemExit("the gradients are wrong: nothing is timed")
    nets = peers(scale, constant)
    programs = {name: trainer(net, x, labels) for name, net in nets.items()}
    with torch.no_grad():
        rates = {name: float(net(x).mean()) for name, net in nets.items()} | {
            "lavalike": float(Ours(scale, constant, atan)(x).mean())
        }
        current = functional.linear(x[None] if constant else x, weights(scale)[0])
        hidden = fused.scan(
            membrane.LEAKY["subtract"],
            fused.Training(atan, "detach"),
            {"a_in": current},
            {"beta": BETA, "vth": 1.0},
            steps=STEPS,
        )
    print(
        "output rates: "
        + ", ".join(f"{n} {r:.3f}" for n, r in rates.items())
        + f"; hidden {float(hidden.outputs['s_out'].mean()):.3f}"
    )
    if compiled:
        for name in ("snnTorch", "SpikingJelly"):
            if name in nets:
                programs[f"{name}, torch.compile"] = trainer(
                    torch.compile(peers(scale, constant)[name]), x, labels
                )  # type: ignore[arg-type]
    if not constant:
        programs["products alone"] = trainer(Products(scale), x, labels)
        programs["dense products, fused LIF"] = trainer(Folded(scale, atan), x, labels)
        programs["slayer blocks, quantised"] = trainer(Blocks(), x, labels)
    programs["accelerate, float32"] = folded(Ours(scale, constant, atan), x, labels, "float32")
    programs["accelerate, bfloat16"] = folded(Ours(scale, constant, atan), x, labels, "bfloat16")
    return programs


def layer() -> dict[str, Callable[[], Any]]:
    """One LIF layer, 8192 neurons, 512 steps, forward and backward."""
    time_, width = 512, 8192
    x = (
        torch.randn(time_, width, generator=torch.Generator().manual_seed(0)) * 0.3
    ).requires_grad_()
    g = torch.ones(time_, width)
    training = fused.Training(snn.surrogate.atan(), "detach")
    programs: dict[str, Callable[[], Any]] = {}

    def add(name: str, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        def program() -> None:
            x.grad = None
            run(x).backward(g)

        programs[name] = program

    def unbound(cell: Callable[..., Any]) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(x: torch.Tensor) -> torch.Tensor:
            state, out = None, []
            for now in x.unbind(0):
                s, state = cell(now, state)
                out.append(s)
            return torch.stack(out)

        return run

    try:
        import snntorch

        leaky = snntorch.Leaky(BETA)
        add("snnTorch", unbound(lambda x, s: leaky(x, leaky.init_leaky() if s is None else s)))
    except ModuleNotFoundError:
        pass
    try:
        from norse.torch.module.lif_box import LIFBoxCell, LIFBoxParameters

        add("Norse", unbound(LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(100.0)))))
    except ModuleNotFoundError:
        pass
    try:
        from spikingjelly.activation_based import neuron

        def jelly(x: torch.Tensor) -> torch.Tensor:
            return neuron.LIFNode(
                tau=10.0, decay_input=False, v_reset=None, detach_reset=True, step_mode="m"
            )(x)

        add("SpikingJelly", jelly)
    except ModuleNotFoundError:
        pass
    dynamics, values = membrane.LEAKY["subtract"], {"beta": BETA, "vth": 1.0}
    add(
        "plain torch loop",
        lambda x: fused.reference(dynamics, training, {"a_in": x}, values).outputs["s_out"],
    )
    programs["hand-written compiled loop"] = hand_written(x.detach(), g)
    add("lavalike", lambda x: fused.scan(dynamics, training, {"a_in": x}, values).outputs["s_out"])
    return programs


def hand_written(x: torch.Tensor, g: torch.Tensor) -> Callable[[], Any]:
    """What a C programmer writes for just this neuron: one pass forward that keeps the membrane,
    one back."""
    import numba
    import numpy as np

    @numba.njit(nogil=True, error_model="numpy", parallel=True)
    def both(x, g, mem, s, gx, parts):
        steps, width = x.shape
        for part in numba.prange(parts):
            low, high = np.uint64(width * part // parts), np.uint64(width * (part + 1) // parts)
            for t in range(steps):
                for i in range(low, high):
                    before = mem[t, i]
                    now = (
                        np.float32(0.9) * before
                        + x[t, i]
                        - (np.float32(1) if before > np.float32(1) else np.float32(0))
                    )
                    mem[t + 1, i] = now
                    s[t, i] = np.float32(1) if now > np.float32(1) else np.float32(0)
            for t in range(steps - 1, -1, -1):
                for i in range(low, high):
                    u = np.float32(np.pi) * (mem[t + 1, i] - np.float32(1))
                    later = np.float32(0.9) * gx[t + 1, i] if t + 1 < steps else np.float32(0)
                    gx[t, i] = later + g[t, i] / (np.float32(1) + u * u)

    a, b = x.numpy(), g.numpy()
    mem = np.zeros((a.shape[0] + 1, a.shape[1]), np.float32)

    def run() -> None:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        both(a, b, mem, np.empty_like(a), np.empty_like(a), torch.get_num_threads())

    return run


def pilotnet() -> dict[str, Callable[[], Any]]:
    """The sigma-delta PilotNet of lava-dl's tutorial, batch 8, 16 steps, forward, backward and
    RAdam."""
    p = {
        "threshold": 0.1,
        "tau_grad": 0.5,
        "scale_grad": 1,
        "requires_grad": True,
        "activation": functional.relu,
    }
    conv = {**p, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}
    dense = {**conv, "dropout": slayer.neuron.Dropout(p=0.2)}
    block, k = slayer.block.sigma_delta, {"weight_scale": 2, "weight_norm": True}
    torch.manual_seed(0)
    net = nn.Sequential(
        block.Input(p),
        block.Conv(conv, 3, 24, 3, stride=2, **k),
        block.Conv(conv, 24, 36, 3, stride=2, **k),
        block.Conv(conv, 36, 64, 3, padding=(1, 0), stride=(2, 1), **k),
        block.Conv(conv, 64, 64, 3, **k),
        block.Flatten(),
        block.Dense(dense, 2560, 100, **k),
        block.Dense(dense, 100, 50, **k),
        block.Dense(dense, 50, 10, **k),
        block.Output(dense, 10, 1, **k),
    )
    x = torch.from_numpy(_drive()).float() / 127.5 - 1
    optimizer = torch.optim.RAdam(net.parameters(), 1e-5)

    def step() -> None:
        optimizer.zero_grad()
        functional.mse_loss(net(x).flatten(), torch.zeros(8 * 16)).backward()
        optimizer.step()

    def plain() -> None:
        with fused.plain_loops():
            step()

    return {"plain torch loop": plain, "lavalike": step}


def _drive() -> Any:
    """8 sequences of a picture that moves by a pixel a step, (8, 3, 33, 100, 16)."""
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (8, 3, 33, 116)).astype(np.uint8)
    return np.stack([picture[..., t : t + 100] for t in range(16)], -1)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--compile", action="store_true", help="peers' torch.compile'd forms as well"
    )
    args = parser.parse_args(argv)
    compare(
        "784-1000-10, batch 64, T 25, 10 % spikes",
        lambda: network(False, args.compile),
        args.threads,
        args.rounds,
    )
    compare(
        "the same, input constant in time",
        lambda: network(True, args.compile),
        args.threads,
        args.rounds,
    )
    compare("LIF layer, N 8192, T 512", layer, args.threads, max(3, args.rounds // 3))
    compare("PilotNet SDNN, batch 8, T 16", pilotnet, args.threads, max(3, args.rounds // 2))


if __name__ == "__main__":
    main()
