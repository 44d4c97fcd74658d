"""The page: one file of HTML without scripts, that needs nothing from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lavalike import html, plot
from lavalike.report import energy, picture
from lavalike.report.measure import LayerFacts, Measured

FIELDS = 24  # rasters, and histograms; of more layers the first are drawn
OUTPUTS = 12  # elements of an output that are drawn as traces
WIDE, DPI = 10.2, 100
STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#f6f7f9;color:#1b1f24;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1100px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:26px;margin:0 0 2px;overflow-wrap:anywhere}
h2{font-size:18px;margin:0 0 12px}
.sub{color:#5b6570;margin:0 0 20px}
section{background:#fff;border:1px solid #e1e4e8;border-radius:8px;padding:18px 20px;
margin:0 0 18px;overflow-x:auto}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:10px;margin:0 0 18px}
.card{background:#fff;border:1px solid #e1e4e8;border-radius:8px;padding:12px 14px}
.card b{display:block;font-size:19px;font-weight:600;font-variant-numeric:tabular-nums}
.card span{color:#5b6570;font-size:13px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{color:#5b6570;font-weight:600;text-align:left;border-bottom:2px solid #e1e4e8;white-space:nowrap}
th,td{padding:5px 12px 5px 0;vertical-align:top}
td{border-bottom:1px solid #eef0f2}
.n{text-align:right}
tfoot td{font-weight:600;border-bottom:0;border-top:2px solid #e1e4e8}
img{max-width:100%;height:auto;display:block}
p{margin:0 0 10px;max-width:78ch}
p.note,li{color:#4a535d;font-size:13.5px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:10px}
svg{display:block;margin:0 auto;max-width:100%;height:auto}
svg .box{fill:#eef4fb;stroke:#5b8fc7}
svg .end{fill:#fff;stroke:#8a949e}
svg text{font-size:12px;text-anchor:middle;fill:#1b1f24}
svg path{fill:none;stroke:#6b7580;stroke-width:1.3}
svg marker path{fill:#6b7580;stroke:none}
svg .refers{stroke-dasharray:5 3}
svg .records{stroke-dasharray:2 3}
footer{color:#5b6570;font-size:13px}
""".strip()


def page(found: Measured, title: str, subtitle: str) -> str:
    """The whole page."""
    from lavalike import __version__

    layers = found.layers
    sections = [
        _cards(found),
        _section("Graph", _graph(found)),
        _section("Layers", _table(found)),
        _section("Activity", _activity(found)),
        _section("What each layer sends", _rasters(found)),
        _section("Output", _output(found)),
        _section("Weights", _weights(layers)),
        _section("Energy, an estimate", _energy(found)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="sub">{html.escape(subtitle, 400)}</p>'
        f"{''.join(sections)}"
        f"<footer>Written by lavalike {html.escape(__version__)}. This page needs no network and "
        "runs no script.</footer></main></body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _rows(
    head: Sequence[tuple[str, bool]], rows: Iterable[Sequence[object]], foot: Sequence[object] = ()
) -> str:
    """A table; ``head`` says of each column whether it holds numbers."""

    def line(tag: str, cells: Sequence[object]) -> str:
        side = (' class="n"' if numeric else "" for _, numeric in head)
        return "".join(
            f"<{tag}{s}>{html.escape(c, 500)}</{tag}>" for c, s in zip(cells, side, strict=True)
        )

    body = "".join(f"<tr>{line('td', r)}</tr>" for r in rows)
    end = f"<tfoot><tr>{line('td', foot)}</tr></tfoot>" if foot else ""
    return f"<table><thead><tr>{line('th', [h for h, _ in head])}</tr></thead><tbody>{body}</tbody>{end}</table>"


def number(value: float | None) -> str:
    """For a table: whole where it is large, with a few digits where it is small."""
    if value is None:
        return "-"
    if value == 0 or value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cards(found: Measured) -> str:
    layers = found.layers
    synops = sum(x.synops or 0.0 for x in layers)
    macs = sum(x.macs or 0 for x in layers)
    sparse = f"{macs / synops:,.1f}x" if synops else "-"
    events = sum(x.events or 0.0 for x in layers if x.neurons)
    cards = [
        (f"{len(layers)}", "layers"),
        (number(sum(x.neurons for x in layers)), "neurons"),
        (number(sum(x.synapses for x in layers)), "synapses"),
        (number(sum(x.weights.size for x in layers)), "weights"),
        (number(events), "events a step, of neurons"),
        (number(synops), "synaptic operations a step"),
        (sparse, "fewer operations than dense"),
    ]
    cells = (
        f'<div class="card"><b>{html.escape(v)}</b><span>{html.escape(k)}</span></div>'
        for v, k in cards
    )
    return f'<div class="cards">{"".join(cells)}</div>'


def _graph(found: Measured) -> str:
    process = found.process
    depth = 1 if getattr(process, "layers", None) else None
    return picture.svg(process, depth)


def _table(found: Measured) -> str:
    head = [("layer", False), ("kind", False), ("in", False), ("out", False)]
    head += [(h, True) for h in ("neurons", "synapses", "weights")]
    head += [(h, True) for h in ("events", "active", "synops", "dense MACs", "fewer")]
    rows = []
    for x in found.layers:
        active = x.events / np.prod(x.shape_out) if x.events is not None and x.shape_out else None
        fewer = x.macs / x.synops if x.macs and x.synops else None
        rows.append(
            [
                x.name,
                x.kind,
                html.shape(x.shape_in) if x.shape_in else "-",
                html.shape(x.shape_out) if x.shape_out else "-",
                *(number(v) for v in (x.neurons, x.synapses, x.weights.size)),
                number(x.events),
                "-" if active is None else f"{active:.2%}",
                number(x.synops),
                number(x.macs),
                "-" if fewer is None else f"{fewer:,.1f}x",
            ]
        )
    synops, macs = (
        sum(x.synops or 0.0 for x in found.layers),
        sum(x.macs or 0 for x in found.layers),
    )
    foot = ["all", "", "", ""]
    foot += [number(sum(x.neurons for x in found.layers))]
    foot += [number(sum(x.synapses for x in found.layers))]
    foot += [number(sum(x.weights.size for x in found.layers))]
    foot += ["", "", number(synops), number(macs), f"{macs / synops:,.1f}x" if synops else "-"]
    note = (
        f"Averages over {html.count(found.steps, 'step')} and {html.count(found.samples, 'sample')}, "
        "a step and sample each. Events: messages sent that are not 0, and which share of the layer that "
        "is. Synops: synapses that the messages into the layer went through. Dense MACs: products that a "
        "network of the same shape computes without spikes."
    )
    missing = [f"<li>{html.escape(t, 400)}</li>" for x in found.layers for t in x.uncounted]
    left = f"<p class='note'>Not counted:</p><ul>{''.join(missing)}</ul>" if missing else ""
    return f'{_rows(head, rows, foot)}<p class="note" style="margin-top:10px">{note}</p>{left}'


# -- pictures --------------------------------------------------------------------------------------


def _png(draw: Callable[[Any], None], alt: str, size: tuple[float, float]) -> str:
    """What ``draw`` draws on axes, as an image within the page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    left, low = 0.75 / size[0], 0.48 / size[1]
    ax = figure.add_axes((left, low, 1 - left - 0.15 / size[0], 1 - low - 0.28 / size[1]))
    draw(ax)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    data = base64.b64encode(out.getvalue()).decode()
    width, height = (round(s * DPI) for s in size)
    return (
        f'<img alt="{html.escape(alt)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}">'
    )


def _drawn(layers: Sequence[LayerFacts], what: str) -> str:
    more = len(layers) - FIELDS
    return f'<p class="note">and {more} more {what}, which are not drawn</p>' if more > 0 else ""


def _senders(found: Measured) -> list[LayerFacts]:
    """The layers with neurons, else all that send."""
    sending = [x for x in found.layers if x.out is not None]
    return [x for x in sending if x.neurons] or sending


def _activity(found: Measured) -> str:
    layers = _senders(found)
    if not layers:
        return ""

    def draw(ax: Any) -> None:
        plot.activity(found.recording, of=[x.out for x in layers], ax=ax)
        place = ax.get_position()
        if len(layers) > 4:
            ax.set_position([place.x0, place.y0, place.width * 0.78, place.height])

    return _png(draw, "share of each layer that is active in each step", (WIDE, 3.4))


def _rasters(found: Measured) -> str:
    layers = _senders(found)
    room = any(
        np.count_nonzero(_first(found, x)) > plot.canvas.MANY for x in layers[:FIELDS]
    )  # for scales beside images

    def draw(x: LayerFacts) -> Callable[[Any], None]:
        def on(ax: Any) -> None:
            plot.raster(found.recording, of=x.out, ax=ax)
            ax.set_title(x.name, fontsize="medium", loc="left")
            place = ax.get_position()  # as wide with a scale beside it as without
            if room and len(ax.figure.axes) == 1:
                ax.set_position([place.x0, place.y0, 0.8 * place.width, place.height])

        return on

    images = [
        _png(draw(x), f"what {x.name} sends", (WIDE, 2.1 if _many(x) else 1.5))
        for x in layers[:FIELDS]
    ]
    of = f" of sample 0 of {found.samples}" if found.samples > 1 else ""
    note = f'<p class="note">Each mark is a message{of} that is not 0.</p>'
    return note + "".join(images) + _drawn(layers, "layers") if images else ""


def _first(found: Measured, layer: LayerFacts) -> np.ndarray:
    """What a layer sends, of the first sample."""
    sent = found.recording[layer.out]  # type: ignore[index]  # a sender has a port
    return sent[0] if found.recording.batched else sent


def _many(layer: LayerFacts) -> bool:
    return layer.out is not None and layer.out.size > 12


def _output(found: Measured) -> str:
    out = found.process.out_ports
    if not out or out[0].size > OUTPUTS:
        return ""
    sent = found.recording[out[0]]
    spiking = bool(((sent == 0) | (sent == 1)).all())

    def draw(ax: Any) -> None:
        (plot.raster if spiking else plot.traces)(found.recording, of=out[0], ax=ax)
        ax.set_title("", loc="left")
        if spiking:
            return
        place = ax.get_position()
        if out[0].size > 4:
            ax.set_position([place.x0, place.y0, place.width * 0.86, place.height])
        ax.set_ylabel("message")

    return _png(draw, "what the network sends", (WIDE, 2.6))


def _weights(layers: Sequence[LayerFacts]) -> str:
    having = [x for x in layers if x.weights.size]

    def draw(x: LayerFacts) -> Callable[[Any], None]:
        def on(ax: Any) -> None:
            plot.weights(x.weights, ax=ax)
            ax.set_ylabel("")
            zero = np.count_nonzero(x.weights == 0) / x.weights.size
            ax.set_title(
                f"{x.name}: {x.weights.size:,}, {zero:.0%} are 0", fontsize="small", loc="left"
            )

        return on

    images = [
        _png(draw(x), f"histogram of the weights of {x.name}", (3.4, 2.1)) for x in having[:FIELDS]
    ]
    grid = f'<div class="grid">{"".join(images)}</div>' if images else ""
    return grid + _drawn(having, "layers")


def _energy(found: Measured) -> str:
    made = energy.estimates(found.layers, found.config.fixed)
    head = [("estimate", False), ("what is counted", False)]
    head += [(h, True) for h in ("a step", "pJ each", "energy a step")]
    rows: list[list[object]] = []
    for one in made:
        terms = [t for t in one.terms if t[1]] or [*one.terms[:1]]
        for k, (what, count, each) in enumerate(terms):
            joules = energy.joules(1e-12 * count * each)
            rows.append([one.name if not k else "", what, number(count), f"{each:g}", joules])
        if len(terms) > 1:
            rows.append(["", "together", "", "", energy.joules(one.joules)])
    notes = "".join(
        f"<li><b>{html.escape(one.name)}</b>: {html.escape(one.assumed, 600)} "
        f"Source: {html.escape(one.source, 400)}.</li>"
        for one in made
    )
    head_note = (
        "<p class='note'>Nothing was measured: what this run counted, times published energies of one "
        "operation, a step and sample. They compare networks; what a chip draws from its supply is more.</p>"
    )
    return f"{head_note}{_rows(head, rows)}<ul>{notes}</ul>"
