"""The main job: train, export, load, run, swap; a table and a picture."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import lavalike as lv
import netx
from lavalike.demo.data import Data, mnist_data, yin_yang, yin_yang_data
from lavalike.operations import Operations, count
from lavalike.progress import tracked
from lavalike.text import table

BACKENDS = {
    "numba fixed_pt": lv.RunConfig(precision="fixed_pt"),
    "numba floating_pt": lv.RunConfig(),
    "torch": lv.RunConfig(backend="torch"),
}
CHUNK = 500


@dataclass
class Result:
    """One network on one backend."""

    backend: str
    accuracy: float
    agreement: float
    us_a_step: float | None
    predictions: np.ndarray


@dataclass
class Trained:
    """One kind of network: trained, exported, loaded, run everywhere."""

    course: Any
    net: Any
    path: Path
    loaded: netx.hdf5.Network
    results: list[Result]
    operations: list[tuple[str, Operations]]
    losses: list[float]  # of training, an epoch each
    chip: Any = None  # with --bss2, the network as it was trained on the chip, and how it is run
    on_chip: tuple[Result, Result] | None = None  # before and after that


def bar(items: Iterable[int], label: str) -> Iterable[int]:
    return tracked(items, f"training {label}", "epoch")


def trained_scores(net: Any, course: Any, x: np.ndarray) -> np.ndarray:
    """Scores of the trained network itself: slayer's quantised forward in eval mode."""
    import torch

    from lavalike.demo.networks import scores

    with torch.no_grad():
        return np.concatenate(
            [
                scores(course, net(torch.from_numpy(x[k : k + CHUNK]))).numpy()
                for k in range(0, len(x), CHUNK)
            ]
        )


def loaded_scores(
    loaded: netx.hdf5.Network, course: Any, x: np.ndarray, config: lv.RunConfig
) -> tuple[np.ndarray, float]:
    """Scores of the loaded graph over the same window, shifted by its lag, and seconds a step and
    sample."""
    from lavalike.demo.networks import scores

    held = np.concatenate([x, np.repeat(x[..., -1:], loaded.lag, -1)], -1) if loaded.lag else x
    out, seconds, steps = [], 0.0, 0
    lv.simulate(
        loaded, {"inp": loaded.encode(held[:2])}, config=config
    )  # kernels that were never used are compiled here
    for k in range(0, len(x), CHUNK):
        messages = loaded.encode(held[k : k + CHUNK])
        began = time.perf_counter()
        rec = lv.simulate(loaded, {"inp": messages}, config=config)
        seconds += time.perf_counter() - began
        steps += messages.shape[0] * messages.shape[-1]
        out.append(scores(course, loaded.decode(rec["out"])[..., loaded.lag :]))
    return np.concatenate(out), seconds / steps


def operations(loaded: netx.hdf5.Network, x: np.ndarray) -> list[tuple[str, Operations]]:
    """Events and synaptic operations of every connection, averaged over a sample of inputs."""
    held = np.concatenate([x, np.repeat(x[..., -1:], loaded.lag, -1)], -1) if loaded.lag else x
    senders = [layer.out for layer in loaded.layers[:-1]]
    rec = lv.simulate(
        loaded, {"inp": loaded.encode(held)}, config=BACKENDS["numba fixed_pt"], record=senders
    )
    synapses: list[Any] = [
        layer.synapse for layer in loaded.layers[1:]
    ]  # dense all, as this network is
    return [
        (f"{k}: {layer.kind} {synapse.s_in.size}-{synapse.a_out.size}", count(synapse, rec[sender]))
        for k, (layer, synapse, sender) in enumerate(
            zip(loaded.layers[1:], synapses, senders, strict=True), 1
        )
    ]


def work(
    data: Data, kind: str, folder: Path, epochs: int | None, seed: int, bss2: bool = False
) -> Trained:
    """All of it for one kind of network; with ``bss2`` on an emulated chip too."""
    from lavalike import slayer
    from lavalike.demo import networks

    course = networks.COURSES[data.name, kind]
    if epochs is not None:
        course = replace(course, epochs=epochs)
    net, stats = networks.train(data, course, bar, seed)
    path = slayer.export_hdf5(net, folder / f"lavalike_demo_{data.name}_{kind}.net")
    loaded = netx.hdf5.Network(path)
    print(loaded, end="\n\n")
    x = networks.inputs(data.name, course, data.x_test)
    own = trained_scores(net, course, x).argmax(1)
    results = [Result("slayer (trained)", float((own == data.y_test).mean()), 1.0, None, own)]

    def result(name: str, network: netx.hdf5.Network, config: lv.RunConfig) -> Result:
        got, seconds = loaded_scores(network, course, x, config)
        predicted = got.argmax(1)
        return Result(
            name,
            float((predicted == data.y_test).mean()),
            float((predicted == own).mean()),
            seconds * 1e6,
            predicted,
        )

    results += [result(name, loaded, config) for name, config in BACKENDS.items()]
    losses = [*stats.training.loss_log]
    done = Trained(course, net, path, loaded, results, operations(loaded, x[:200]), losses)
    if bss2:
        from lavalike.demo import chip

        done.chip = chip.on_chip(path, seed)
        before = result(chip.ROW, done.chip.loaded, done.chip.config)
        chip.train(done.chip, data, course, bar, epochs, seed)
        done.on_chip = before, result(chip.ROW, done.chip.loaded, done.chip.config)
    return done


def report(data: Data, done: list[Trained]) -> str:
    """The tables."""
    rows, ops = [], []
    for t in done:
        for r in t.results:
            same = round(r.agreement * len(data.y_test))
            rows.append(
                [
                    t.course.kind,
                    r.backend,
                    f"{100 * r.accuracy:.2f} %",
                    f"{same:,} of {len(data.y_test):,}",
                    "-" if r.us_a_step is None else f"{r.us_a_step:.2f}",
                ]
            )
        if t.on_chip is not None:
            before, r = t.on_chip
            rows.append(
                [
                    t.course.kind,
                    r.backend,
                    f"{100 * before.accuracy:.2f} %, {100 * r.accuracy:.2f} % after training in the loop",
                    f"{round(r.agreement * len(data.y_test)):,} of {len(data.y_test):,}",
                    f"{r.us_a_step:.2f}",
                ]
            )
        ops += [
            [
                t.course.kind,
                name,
                f"{o.events:.1f}",
                f"{o.synops:,.0f}",
                f"{o.macs:,}",
                f"{o.macs / max(o.synops, 1e-9):.1f}",
            ]
            for name, o in t.operations
        ]
    first = table(
        ["network", "runs on", "accuracy", "same as trained", "us a step and sample"], rows
    )
    second = table(
        ["network", "layer", "events a step", "synaptic ops a step", "dense MACs", "MACs an op"],
        ops,
    )
    return f"{first}\n\n{second}"


def picture(data: Data, done: list[Trained], path: Path, seed: int = 7) -> None:
    """How the loss fell; decision regions of every backend (Yin-Yang), with what differs from the
    trained network in black, or digits with their predictions (MNIST); and a raster."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    width = max(len(t.results) + (t.on_chip is not None) for t in done) + 2
    figure, axes = plt.subplots(
        len(done), width, figsize=(3 * width, 3.4 * len(done)), squeeze=False, layout="constrained"
    )
    for row, t in zip(axes, done, strict=True):
        _losses(row[0], t)
        if data.name == "yin-yang":
            _regions(row[1:-1], t, seed)
        else:
            _mistakes(row[1:-1], data, t)
        _raster(row[-1], data, t)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _losses(ax: Any, t: Trained) -> None:
    ax.plot(range(1, len(t.losses) + 1), t.losses)
    ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title(f"{t.course.kind}: loss of training", fontsize=8)
    ax.set_xlabel("epoch", fontsize=8)
    ax.tick_params(labelsize=7, which="both")


def _runs(t: Trained) -> list[Result]:
    return t.results + ([t.on_chip[1]] if t.on_chip is not None else [])


def _title(t: Trained, result: Result, differ: int, count: int, what: str) -> str:
    same = "" if result is t.results[0] else f"\n{differ:,} of {count:,} {what} differ from it"
    return f"{t.course.kind}, {result.backend}\n{100 * result.accuracy:.1f} % right{same}"


def _regions(row: Any, t: Trained, seed: int, grid: int = 70) -> None:
    """What each run answers over the plane, and in black where it is not what training answers."""
    from matplotlib.patches import Patch

    from lavalike.demo import networks

    u, v = np.meshgrid(np.linspace(0, 1, grid), np.linspace(0, 1, grid))
    points = np.stack([u.ravel(), v.ravel(), 1 - u.ravel(), 1 - v.ravel()], 1)
    inside = np.hypot(points[:, 0] - 0.5, points[:, 1] - 0.5) <= 0.5
    points = points[inside]
    x = networks.inputs("yin-yang", t.course, points)
    wanted = trained_scores(t.net, t.course, x).argmax(1)
    sample, label = yin_yang(150, seed)
    colours = {"vmin": 0, "vmax": 2, "cmap": "viridis"}
    place: Any = {"origin": "lower", "extent": (0, 1, 0, 1)}
    for ax, result in zip(row, _runs(t), strict=False):
        if result is t.results[0]:
            found = wanted
        elif result.backend in BACKENDS:
            found = loaded_scores(t.loaded, t.course, x, BACKENDS[result.backend])[0].argmax(1)
        else:
            found = loaded_scores(t.chip.loaded, t.course, x, t.chip.config)[0].argmax(1)
        differ = found != wanted
        shown = np.full((2, grid * grid), np.nan)
        shown[0, inside] = found
        shown[1, np.flatnonzero(inside)[differ]] = 0
        answers, marks = shown.reshape(2, grid, grid)
        image = ax.imshow(answers, alpha=0.6, **colours, **place)
        ax.imshow(marks, cmap="gray", vmin=0, vmax=1, **place)
        ax.scatter(*sample[:, :2].T, c=label, s=6, edgecolors="k", linewidths=0.3, **colours)
        ax.set_title(_title(t, result, int(differ.sum()), len(wanted), "points"), fontsize=8)
        ax.set_xticks([])
        ax.set_yticks([])
    kinds = [Patch(color=image.cmap(k / 2), alpha=0.6) for k in range(3)]
    row[0].legend(
        [*kinds, Patch(color="k")],
        ["yin", "yang", "dot", "differs"],
        ncols=4,
        fontsize=6,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        columnspacing=1,
        handlelength=1,
    )


def _mistakes(row: Any, data: Data, t: Trained) -> None:
    """Some digits that each run gets wrong, with what it took them for."""
    for ax, result in zip(row, _runs(t), strict=False):
        tile = np.ones((3 * 30, 3 * 30))
        for q, index in enumerate(np.flatnonzero(result.predictions != data.y_test)[:9]):
            r, c = divmod(q, 3)
            digit = data.x_test[index].reshape(28, 28)
            tile[30 * r : 30 * r + 28, 30 * c : 30 * c + 28] = 1 - digit
            answer = str(result.predictions[index])
            ax.text(30 * c + 1, 30 * r + 6, answer, color="tab:red", fontsize=8)
        ax.imshow(tile, cmap="gray")
        differ = int((result.predictions != t.results[0].predictions).sum())
        ax.set_title(_title(t, result, differ, len(data.y_test), "images"), fontsize=8)
        ax.set_xlabel("some it gets wrong, and its answers", fontsize=7)
        ax.set_xticks([])
        ax.set_yticks([])


def _raster(ax: Any, data: Data, t: Trained) -> None:
    """Messages of one sample, layer over layer."""
    from lavalike.demo import networks

    x = networks.inputs(data.name, t.course, data.x_test[:1], t.course.steps + t.loaded.lag)
    config, outs = BACKENDS["numba fixed_pt"], [layer.out for layer in t.loaded.layers]
    rec = lv.simulate(t.loaded, {"inp": t.loaded.encode(x)}, config=config, record=outs)
    base = 0
    for k, layer in enumerate(t.loaded.layers):
        messages = rec[layer.out][0].reshape(layer.out.size, -1)
        neuron, step = np.nonzero(messages)
        mark = "|" if t.course.kind == "LIF" else "."
        ax.plot(step, neuron + base, mark, ms=3, color=f"C{k}", label=f"layer {k}: {layer.kind}")
        base += layer.out.size
    ax.set_title(f"{t.course.kind}: messages of one sample", fontsize=8)
    ax.set_xlabel("step", fontsize=8)
    ax.set_ylabel("neuron, layer by layer", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, markerscale=2)


def demo(
    data_path: Path | None = None,
    folder: Path = Path(),
    epochs: int | None = None,
    seed: int = 0,
    bss2: bool = False,
) -> list[Trained]:
    """Run the demo and print its report; files are written to ``folder``. ``bss2``: on an emulated
    BrainScaleS-2 chip too."""
    import matplotlib  # noqa: F401  (missing extras are missed before anything is trained)

    began = time.perf_counter()
    data = yin_yang_data() if data_path is None else mnist_data(data_path)
    folder.mkdir(parents=True, exist_ok=True)
    done = [work(data, kind, folder, epochs, seed, bss2) for kind in ("LIF", "sigma-delta")]
    print(report(data, done))
    path = folder / f"lavalike_demo_{data.name}.png"
    picture(data, done, path)
    print(
        f"\npicture: {path}   files: {', '.join(str(t.path) for t in done)}   {time.perf_counter() - began:.0f} s in all"
    )
    return done
