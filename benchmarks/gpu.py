"""LIF forward and backward on a GPU: time, bytes a neuron-step, share of the copy bandwidth;
against SpikingJelly's Triton backend.

    python -m benchmarks.gpu [--repeat 30]

Without a CUDA device it says so and measures nothing. No GPU has run it yet.

First the kernels are checked against a float64 oracle, the plain loop with autograd on the CPU; a
wrong one is not timed. Then the bandwidth of a copy is measured on this machine, and what a layer
of N leaky neurons (decay 0.5, hard reset, detached, arctangent surrogate; about one neuron in ten
spikes in a step) takes for T steps. Bytes are those the kernels load and store, x, spikes and
gradients in the layer's dtype; medians after a warm-up, by CUDA's own events.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch

from lavalike.dynamics import Dynamics
from lavalike.dynamics.ops import above, reset
from lavalike.fused import Training, reference, triton
from lavalike.fused.cpu import Variant
from lavalike.fused.scan import STORAGE, code
from lavalike.fused.surrogate import Atan
from lavalike.text import table

DECAY, THRESHOLD = 0.5, 1.0
SIZES = ((512, 8192), (512, 262_144), (25, 2_097_152))  # steps, neurons
LIMIT = {torch.float32: 24, torch.bfloat16: 11}  # bytes a neuron-step that issue 3 allows


def leaky(a_in, v, keep, vth):
    v = v * keep + a_in
    s_out = above(v, vth)
    return s_out, reset(s_out, v, 0)


LEAKY = Dynamics(leaky, ("a_in",), ("s_out",), ("v",))
TRAINING = Training(Atan(), "detach")


class Layer:
    """N leaky neurons for T steps with all their tensors: ``pass_()`` is one forward and one
    backward."""

    def __init__(
        self, steps: int, width: int, dtype: torch.dtype, device: torch.device, scale: float = 0.8
    ) -> None:
        self.steps, self.width, self.traced = steps, width, code(LEAKY, TRAINING)
        self.variant = Variant(STORAGE[dtype], given=frozenset({"s_out"}))
        generator = torch.Generator(device=device).manual_seed(0)
        self.x, self.gy = (
            torch.empty(steps, width, dtype=dtype, device=device).normal_(generator=generator)
            for _ in range(2)
        )
        self.x *= scale
        self.y, self.gx = torch.empty_like(self.x), torch.empty_like(self.x)
        self.state, self.gs = (torch.zeros(width, device=device) for _ in range(2))
        kept = torch.empty(-(-steps // triton.SEGMENT) * width, device=device)
        self.values: dict[str, Any] = {
            "x_a_in": self.x,
            "y_s_out": self.y,
            "gy_s_out": self.gy,
            "gx_a_in": self.gx,
            "s_v": self.state,
            "gs_v": self.gs,
            "c_v": kept,
            "p_keep": DECAY,
            "p_vth": THRESHOLD,
            **TRAINING.numbers,
        }

    @property
    def traffic(self) -> float:
        return triton.bytes_per_neuron_step(self.traced, self.variant)

    def pass_(self) -> None:
        self.state.zero_()
        self.gs.zero_()
        for which in ("training", "backward"):
            triton.launch(self.traced, self.variant, which, self.values, self.steps, self.width)


def check(device: torch.device, steps: int = 100, width: int = 1000) -> float:
    """The largest error of the float32 input gradient against the float64 oracle; RuntimeError if
    it is too large.

    A potential within rounding of the threshold may spike in one of the two only: neurons that
    differ are left out, if few.
    """
    layer = Layer(steps, width, torch.float32, device)
    layer.pass_()
    x = layer.x.cpu().double().requires_grad_()
    y = reference(LEAKY, TRAINING, {"a_in": x}, {"keep": DECAY, "vth": THRESHOLD}).outputs["s_out"]
    y.backward(layer.gy.cpu().double())
    same = (layer.y.cpu() == y.detach()).all(0)
    error = float((layer.gx.cpu() - x.grad)[:, same].abs().max() / x.grad.abs().max())
    if same.double().mean() < 0.99 or not error < 1e-5:
        raise RuntimeError(
            f"kernels do not agree with the float64 oracle: {int((~same).sum())} of {width} neurons spike "
            f"otherwise, gradients are apart by {error:.1e}"
        )
    return error


def milliseconds(run: Callable[[], Any], repeat: int) -> float:
    """The median time of ``run`` on the GPU."""
    for _ in range(5):
        run()
    times = []
    for _ in range(repeat):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def copy_bandwidth(device: torch.device, repeat: int) -> float:
    """Bytes a second that a copy of 1 GiB reads and writes."""
    a = torch.ones(1 << 28, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / milliseconds(lambda: b.copy_(a), repeat) * 1e3


def spikingjelly(layer: Layer) -> Callable[[], Any] | None:
    """The same layer in SpikingJelly's Triton backend; None where it is not installed."""
    if importlib.util.find_spec("spikingjelly") is None:
        return None
    os.environ.setdefault("SJ_LIF_CUDA_IMPLEMENTATION", "triton")  # read when it is imported
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        tau=1 / (1 - DECAY),
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
        step_mode="m",
    ).to(layer.x.device)
    x = layer.x.clone().requires_grad_()

    def run() -> None:
        functional.reset_net(node)
        torch.autograd.grad(node(x), x, layer.gy)

    return run


def compiled_loop(layer: Layer) -> Callable[[], Any]:
    """The same layer as a plain loop of torch operations, by torch.compile."""
    atan, x = Atan(), layer.x.clone().requires_grad_()

    def loop(x: torch.Tensor) -> torch.Tensor:
        v, out = torch.zeros_like(x[0]), []
        for current in x.unbind(0):
            v = v * DECAY + current
            over = v - THRESHOLD
            spikes = (over > 0).to(v.dtype)
            out.append(spikes + (over - over.detach()) * atan.derivative(over).detach())
            v = v * (1 - spikes)
        return torch.stack(out)

    step = torch.compile(loop)
    return lambda: torch.autograd.grad(step(x), x, layer.gy)


def timed(make: Callable[[], Callable[[], Any] | None], repeat: int) -> tuple[str, float | None]:
    """What is printed of a peer, and its time if it has one."""
    try:
        run = make()
        if run is None:
            return "not installed", None
        took = milliseconds(run, repeat)
    except Exception as e:  # whatever it raises: it takes no part
        return f"refused ({type(e).__name__})", None
    return f"{took:.3f}", took


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeat", type=int, default=30, help="timed passes of each layer; default 30"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also the plain loop by torch.compile, which takes minutes to compile",
    )
    args = parser.parse_args(argv)
    repeat = args.repeat
    if not torch.cuda.is_available() or not triton.supported():
        print("no CUDA device, or no Triton: nothing is measured here")
        return
    device = torch.device("cuda")
    print(
        f"{torch.cuda.get_device_name(device)}; gradients within {check(device):.0e} of the float64 oracle"
    )
    copy = copy_bandwidth(device, repeat)
    print(f"copy: {copy / 1e9:.0f} GB/s, read and written\n")
    rows = []
    for steps, width in SIZES:
        for dtype in (torch.float32, torch.bfloat16):
            layer = Layer(steps, width, dtype, device)
            time = milliseconds(layer.pass_, repeat)
            said, other = timed(lambda layer=layer: spikingjelly(layer), repeat)
            loop = timed(lambda layer=layer: compiled_loop(layer), 5)[0] if args.compile else ""
            moved = layer.traffic * steps * width / time * 1e3
            rows.append(
                (
                    f"T {steps}, N {width}, {STORAGE[dtype]}",
                    f"{float(layer.y.float().mean()):.0%}",
                    f"{time:.3f}",
                    f"{layer.traffic:.1f} of {LIMIT[dtype]}",
                    f"{moved / 1e9:.0f}",
                    f"{moved / copy:.0%}",
                    said,
                    f"{other / time:.2f}" if other else "",
                    loop,
                )
            )
            del layer
    head = (
        "LIF forward + backward",
        "spikes",
        "ms",
        "bytes a neuron-step",
        "GB/s",
        "of copy",
        "SpikingJelly ms",
        "times ours",
        "torch.compile ms",
    )
    print(table(head, rows))


if __name__ == "__main__":
    main()
