"""BrainScaleS-2's spiking Yin-Yang example in simulation, timed; and how the time of a run grows
with steps and neurons.

    python -m benchmarks.bss2_spiking [--epochs 25] [--seeds 1] [--threads 1] [--quick] [--chip]

The example (bss2.md 7): 4 coordinates and a bias, 120 LIF, 3 LI, dt 1 us, 38 steps, 5000 samples an
epoch in batches of 50, Adam 2e-3 with StepLR(10, 0.9), maximum over time. hxtorch needs 704 s for
25 epochs in its mock mode on two cores (recorded elsewhere, not run here).
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.nn import functional

from lavalike.bss2 import Chip, spiking
from lavalike.bss2.spiking.transforms.decode import MaxOverTime
from lavalike.bss2.spiking.transforms.encode import CoordinatesToSpikes
from lavalike.datasets.yinyang import yin_yang
from lavalike.text import table

DT, STEPS, TAU = 1e-6, 38, 6e-6
HXTORCH = 704.0  # s


class YinYang(torch.nn.Module):
    """5 - 120 - 3, with the example's initial weights."""

    def __init__(self, hidden: int = 120, chip: Chip | None = None) -> None:
        super().__init__()
        self.experiment = spiking.Experiment(mock=chip is None, dt=DT, chip=chip)
        self.encode = CoordinatesToSpikes(STEPS, 2e-6, 26e-6, DT, t_bias=2e-6)
        e, common = self.experiment, {"leak": 0.0, "tau_mem": TAU, "tau_syn": TAU}
        self.synapse = spiking.Synapse(5, hidden, e)
        self.hidden = spiking.LIF(
            hidden, e, reset=0.0, threshold=1.0, membrane_capacitance=TAU, **common
        )
        self.output, self.readout, self.decode = (
            spiking.Synapse(hidden, 3, e),
            spiking.LI(3, e, **common),
            MaxOverTime(),
        )
        torch.nn.init.normal_(self.synapse.weight, 0.8, 0.25)
        torch.nn.init.normal_(self.output.weight, 0.0, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.readout(
            self.output(self.hidden(self.synapse(spiking.LIFObservables(spikes=self.encode(x)))))
        )
        spiking.run(self.experiment, STEPS)
        return self.decode(y.membrane_cadc)


def train(model: YinYang, epochs: int, samples: int, batch: int = 50) -> tuple[float, float]:
    """Seconds for the epochs, data included: of the clock, and of the processor (the same, unless
    other programs run)."""
    x, labels = yin_yang(samples, 42)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.9)
    start, used = time.perf_counter(), time.process_time()
    for _ in range(epochs):
        for part in torch.randperm(samples).split(batch):
            scores = model(x[part])
            loss = functional.cross_entropy(scores, labels[part]) + 4e-4 * (scores**2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return time.perf_counter() - start, time.process_time() - used


@torch.no_grad()
def accuracy(model: YinYang, samples: int = 1000) -> float:
    x, labels = yin_yang(samples, 40)
    return float((model(x).argmax(1) == labels).float().mean())


def seconds_a_run(
    steps: int, neurons: int, inputs: int = 100, batch: int = 20, repeats: int = 5
) -> tuple[float, float]:
    """Forward and backward of one LIF layer; the best of a few: (with the layer's matrix products,
    without)."""
    e = spiking.Experiment(mock=True, dt=DT)
    synapse, lif = (
        spiking.Synapse(inputs, neurons, e),
        spiking.LIF(neurons, e, leak=0.0, reset=0.0, threshold=1.0),
    )
    x = (torch.rand(steps, batch, inputs) < 0.05).float()

    def once() -> tuple[float, float]:
        start = time.perf_counter()
        h = lif(synapse(spiking.LIFObservables(spikes=x)))
        spiking.run(e)
        h.spikes.sum().backward()
        both = time.perf_counter() - start
        graded = torch.rand(steps, batch, neurons, requires_grad=True)
        start = time.perf_counter()
        h = lif(spiking.SynapseHandle(graded))
        spiking.run(e)
        h.spikes.sum().backward()
        return both, time.perf_counter() - start

    once()
    times = [once() for _ in range(repeats)]
    return min(t[0] for t in times), min(t[1] for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="1 epoch, short runs")
    parser.add_argument(
        "--chip", action="store_true", help="in the loop on an emulated chip, beside the simulation"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    epochs, samples = (1, 1000) if args.quick else (args.epochs, 5000)
    rows = []
    for seed in range(args.seeds):
        for chip in (None, Chip(seed)) if args.chip else (None,):
            torch.manual_seed(seed)
            model = YinYang(chip=chip)
            model(yin_yang(50, 0)[0]).sum().backward()  # compiles
            seconds, used = train(model, epochs, samples)
            same = HXTORCH * epochs * samples / (25 * 5000)
            compared = (f"{same:.0f}", f"{same / seconds:.0f}") if chip is None else ("-", "-")
            rows.append(
                (
                    "simulation" if chip is None else chip.identifier,
                    str(seed),
                    f"{seconds:.1f}",
                    f"{used:.1f}",
                    *compared,
                    f"{100 * accuracy(model):.1f}",
                )
            )
    print(f"Yin-Yang, {epochs} epochs of {samples} samples, {args.threads} threads")
    print(
        table(
            (
                "forward",
                "seed",
                "seconds",
                "of CPU",
                "hxtorch's mock (recorded)",
                "times faster",
                "test %",
            ),
            rows,
        )
    )
    lengths, widths = (
        ((50, 100), (100, 200))
        if args.quick
        else ((50, 100, 200, 400, 800), (128, 256, 512, 1024, 2048))
    )
    for name, cases in (
        ("steps", [(t, t, 256) for t in lengths]),
        ("neurons", [(n, 100, n) for n in widths]),
    ):
        measured = [(k, *seconds_a_run(steps, neurons)) for k, steps, neurons in cases]
        print(
            f"\none layer of 100 inputs, forward and backward, batch 20, over {name} "
            f"({'256 neurons' if name == 'steps' else '100 steps'})"
        )
        print(
            table(
                (name, "ms", "us each", "neurons alone, ms", "us each"),
                [
                    (
                        str(k),
                        f"{1e3 * a:.2f}",
                        f"{1e6 * a / k:.2f}",
                        f"{1e3 * b:.2f}",
                        f"{1e6 * b / k:.2f}",
                    )
                    for k, a, b in measured
                ],
            )
        )


if __name__ == "__main__":
    main()
