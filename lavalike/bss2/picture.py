"""A report drawn: the synapse arrays of both hemispheres of every instance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavalike.bss2.chip import facts
from lavalike.extras import needed

if TYPE_CHECKING:
    from lavalike.bss2.report import InstanceUse, Report

ACROSS = 4  # instances side by side


def draw(report: Report, path: str | Path | None = None) -> Any:
    """A matplotlib figure: signed rows over columns, tiles coloured by layer, the share of used
    synapses in each title. Needs matplotlib.

    Args:
        report: of a placement.
        path: where to save it; default: nowhere.
    """
    needed("matplotlib", "Report.picture", "plot")
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(t.layer for t in report.tiles))
    colour = {name: colormaps["tab10"](i % 10) for i, name in enumerate(names)}
    across = min(ACROSS, len(report.instances))
    down = math.ceil(len(report.instances) / across)
    figure = Figure(figsize=(3.2 * across + 0.4, 3.4 * down + 0.6), layout="constrained")
    axes = figure.subplots(2 * down, across, squeeze=False)
    for i, instance in enumerate(report.instances):
        for h in range(facts.HEMISPHERES):
            _hemisphere(axes[2 * (i // across) + h][i % across], report, instance, h, colour)
    for spare in range(len(report.instances), across * down):
        for h in range(facts.HEMISPHERES):
            axes[2 * (spare // across) + h][spare % across].set_axis_off()
    figure.supxlabel("column", fontsize=9)
    figure.supylabel("signed row", fontsize=9)
    figure.legend(
        handles=[Patch(color=colour[n], label=n) for n in names],
        loc="outside lower center",
        ncols=min(6, len(names)),
    )
    if path is not None:
        figure.savefig(path)
    return figure


def _hemisphere(
    axis: Any, report: Report, instance: InstanceUse, hemisphere: int, colour: dict[str, Any]
) -> None:
    from matplotlib.patches import Rectangle

    here = [
        t
        for t in report.tiles
        if (t.run, t.chip, t.hemisphere) == (instance.run, instance.chip, hemisphere)
    ]
    for t in here:
        row, column, height, width = t.area
        axis.add_patch(
            Rectangle(
                (column, row),
                width,
                height,
                facecolor=colour[t.layer],
                edgecolor="white",
                linewidth=0.5,
            )
        )
    axis.set(
        xlim=(0, facts.COLUMNS),
        ylim=(facts.SIGNED_ROWS, 0),
        xticks=(0, 128, 256),
        yticks=(0, 64, 128),
    )
    axis.tick_params(labelsize=7)
    share = 100 * sum(t.utilisation for t in here)
    axis.set_title(
        f"run {instance.run}, chip {instance.chip}, hemisphere {hemisphere}: {share:.0f} %",
        fontsize=8,
    )
