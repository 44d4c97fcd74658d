"""PilotNet as a sigma-delta network, event by event, against the dense PyTorch network of the same
shape.

    python -m benchmarks.pilotnet [--net pilotnet_sdnn.net]

The input is a picture larger than the frame, scrolling; its speed (pixels a frame, fractions
interpolated) is set so that the network makes about 600,000 synaptic operations a frame, and varied
around it. One thread, batch 1, both in turn in one run, medians. A synaptic operation is one
multiply-accumulate of int32; the network's 9 layers hold about 35,000 neurons, whose states must be
passed over once a frame as well.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

import lavalike as lv
import netx
from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.operations import count
from lavalike.runtime.engine import compiled
from lavalike.text import table

DEFAULT = (
    Path(__file__).resolve().parent.parent.parent
    / "shared/conformance/lava-dl/nets/pilotnet_sdnn.net"
)


def picture(speed: float, frames: int, seed: int = 0) -> np.ndarray:
    """A smooth random scene (3, 33, 100, frames), moving left by ``speed`` pixels a frame, values
    in 0..1."""
    g = np.random.default_rng(seed)
    width = 100 + int(np.ceil(speed * frames)) + 8
    scene = g.random((3, 33, width))
    kernel = np.hanning(9)[1:-1]
    kernel /= kernel.sum()
    for axis in (1, 2):
        scene = np.apply_along_axis(lambda r: np.convolve(r, kernel, "same"), axis, scene)
    scene = (scene - scene.min()) / (scene.max() - scene.min())
    out = np.empty((3, 33, 100, frames))
    for t in range(frames):
        x = speed * t
        k, f = int(x), x - int(x)
        out[..., t] = (1 - f) * scene[:, :, k : k + 100] + f * scene[:, :, k + 1 : k + 101]
    return out


def dense_network(net):
    """The PyTorch ANN with the same layers."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    flat = False
    for layer in net.layers:
        s = layer.synapse
        if s is None:
            continue
        if hasattr(s, "stride"):
            out, kx, ky, cin = s.weight.shape
            layers.append(nn.Conv2d(cin, out, (ky, kx), s.stride[::-1], s.padding[::-1]))
        else:
            if not flat:
                layers.append(nn.Flatten())
                flat = True
            layers.append(nn.Linear(s.weights.shape[1], s.weights.shape[0]))
        layers.append(nn.ReLU())
    return torch.nn.Sequential(*layers[:-1]).eval()


def run(net, x: np.ndarray, record=()):
    return lv.simulate(net, {"inp": x}, config=lv.RunConfig(precision="fixed_pt"), record=record)


def synops(net, x: np.ndarray) -> float:
    """Mean synaptic operations a frame, the first frames (the whole picture appears) left out."""
    rec = run(net, x, [layer.out for layer in net.layers])
    total = 0.0
    for before, layer in zip(net.layers, net.layers[1:], strict=False):
        messages = rec[before.out][..., 20:]
        if layer.inp.shape != before.out.shape:
            messages = messages.transpose(2, 1, 0, 3).reshape(layer.inp.size, -1)
        total += count(layer.synapse, messages).synops
    return total


def main(argv: list[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--net", type=Path, default=DEFAULT, help="a PilotNet SDNN file; the one lava-dl published"
    )
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args(argv)
    if not args.net.exists():
        raise SystemExit(
            f"{args.net.name} is not there; give --net (lava-dl's tests hold it as gts/pilotnet_sdnn/network.net)"
        )
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", netx.NetFileWarning)
        net = netx.hdf5.Network(args.net)
    ann = dense_network(net)
    low, high = 0.0, 2.0
    for _ in range(12):
        speed = (low + high) / 2
        ops = synops(net, net.encode(picture(speed, args.frames)))
        low, high = (speed, high) if ops < 600_000 else (low, speed)
    rows = []
    for s in (0.0, speed / 2, speed, 2 * speed, 4 * speed):
        frames = picture(s, args.frames)
        x = net.encode(frames)
        ops = synops(net, x)
        program = compiled(
            flatten(net, lv.RunConfig(precision="fixed_pt"), get_backend, [net.inp]),
            1,
            [net.out],
            get_backend,
        )
        feed = np.ascontiguousarray(np.moveaxis(x, -1, 0)).reshape(args.frames, 1, -1)
        out = np.empty((args.frames, 1, net.out.size), np.int32)
        program.run(20, {net.inp: feed[:20]}, {net.out: out[:20]})
        images = torch.tensor(np.moveaxis(frames, -1, 0), dtype=torch.float32)[:, None]
        ours, theirs = [], []
        for _ in range(args.repeats):
            began = time.perf_counter()
            program.run(args.frames - 20, {net.inp: feed[20:]}, {net.out: out[20:]})
            ours.append((time.perf_counter() - began) / (args.frames - 20))
            with torch.no_grad():
                for k in range(5):
                    ann(images[k])
                began = time.perf_counter()
                for k in range(50):
                    ann(images[k])
                theirs.append((time.perf_counter() - began) / 50)
        o, a = float(np.median(ours)), float(np.median(theirs))
        ratio = float(np.median(np.array(theirs) / np.array(ours)))
        rows.append([f"{s:.3f}", f"{ops:,.0f}", f"{o * 1e6:.0f}", f"{a * 1e6:.0f}", f"{ratio:.2f}"])
    print(
        table(
            ["pixels a frame", "synops a frame", "lavalike us", "dense ANN us", "times faster"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
