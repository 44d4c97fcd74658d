"""Seconds and bytes of what people see: rasters of 10 million spikes, a notebook's view of 1,000
processes, and the page of PilotNet over 200 frames.

    python -m benchmarks.pictures [--net pilotnet_sdnn.net]

Minima of several, in turn; a raster's time is that of the call and of its image as PNG.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import lavalike as lv
from benchmarks.pilotnet import DEFAULT
from lavalike import plot
from lavalike.proc import LIF
from lavalike.report import report
from lavalike.text import table

SPIKES = 10_000_000
FRAMES = 200


class Chain(lv.AbstractProcess):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.cells = [LIF(shape=(2,)) for _ in range(count)]
        for a, b in zip(self.cells, self.cells[1:], strict=False):
            a.s_out.connect(b.a_in)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", type=Path, default=DEFAULT, help="a PilotNet file")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from lavalike.slayer.io import Event

    rng = np.random.default_rng(0)
    dense = rng.random((10_000, 5_000), np.float32) < SPIKES / (10_000 * 5_000)
    x, y, c = (rng.integers(0, n, SPIKES) for n in (128, 128, 2))
    events = Event(x, y, c, rng.random(SPIKES) * 1000)
    chain = Chain(1000)
    with tempfile.TemporaryDirectory() as folder:

        def raster(data: object) -> int:
            ax = plot.raster(data)
            path = Path(folder) / "raster.png"
            ax.figure.savefig(path)
            pyplot.close(ax.figure)
            return path.stat().st_size

        runs: dict[str, tuple[Callable[[], int], str]] = {
            "raster of 1e7 spikes, an array": (lambda: raster(dense), "2 s"),
            "raster of 1e7 spikes, events": (lambda: raster(events), "2 s"),
            "_repr_html_ of 1,000 processes": (
                lambda: len(chain._repr_html_().encode()),
                "50 ms, 200 kB",
            ),
            "to_mermaid of 1,000 processes": (lambda: len(chain.to_mermaid().encode()), ""),
        }
        if args.net.exists():
            import netx

            shape = netx.hdf5.Network(args.net).inp.shape
            across = np.indices(shape[:2]).sum(0)[..., None, None] + np.arange(FRAMES)
            frames = np.broadcast_to(np.sin(across / 9) * 32, (*shape, FRAMES)).astype(np.int32)
            page = Path(folder) / "page.html"
            runs["report of PilotNet, 200 frames"] = (
                lambda: report(args.net, frames, page).stat().st_size,
                "10 s, 5 MB",
            )
        else:
            print(f"{args.net.name} is not there; give --net for the report's line")
        best = dict.fromkeys(runs, np.inf)
        sizes = dict.fromkeys(runs, 0)
        for _ in range(args.repeats):
            for name, (run, _) in runs.items():
                begin = time.perf_counter()
                sizes[name] = run()
                best[name] = min(best[name], time.perf_counter() - begin)
        rows = [
            [name, f"{best[name]:.3f}", f"{sizes[name] / 1000:,.0f}", bound]
            for name, (_, bound) in runs.items()
        ]
        print(table(["", "s", "kB", "bound"], rows))


if __name__ == "__main__":
    main()
