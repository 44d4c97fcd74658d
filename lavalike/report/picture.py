"""A process graph as SVG: boxes in rows, each below those that it hears, and arrows."""

from __future__ import annotations

from lavalike import html
from lavalike.process import AbstractProcess
from lavalike.process.drawing import Box, Drawing, Group

HEIGHT, GAP, BETWEEN = 30, 26, 18  # of a box, between rows, and side by side
LETTER = 6.6  # pixels of width
LONGEST = 46  # letters of a box
MOST = 40  # boxes


def svg(process: AbstractProcess, depth: int | None = None) -> str:
    """The graph of ``process``, with ``depth`` levels open, as many as give few boxes by default;
    self-contained."""
    drawing = Drawing(process, depth, MOST)
    rows = _rows(drawing)
    texts = {b.number: _text(drawing, b) for b in drawing.boxes}
    wide = {n: 24 + LETTER * len(t) for n, t in texts.items()}
    total = max((sum(wide[b.number] + BETWEEN for b in row) for row in rows), default=100)
    bows = 24 * sum(1 for e in drawing.edges if not _short(rows, e.source, e.target))
    width, height = total + 2 * 20 + min(bows, 240), len(rows) * (HEIGHT + GAP) + 10
    place: dict[int, tuple[float, float]] = {}  # middle of each box
    shapes = []
    for r, row in enumerate(rows):
        left = 20 + (total - sum(wide[b.number] + BETWEEN for b in row) + BETWEEN) / 2
        y = 8 + r * (HEIGHT + GAP)
        for b in row:
            w = wide[b.number]
            place[b.number] = left + w / 2, y
            form = 'rx="15" class="end"' if b.end else 'rx="5" class="box"'
            shapes.append(
                f'<rect x="{left:.0f}" y="{y}" width="{w:.0f}" height="{HEIGHT}" {form}/>'
                f'<text x="{left + w / 2:.0f}" y="{y + 20}">{html.escape(texts[b.number])}</text>'
            )
            left += w + BETWEEN
    lines, side = [], 0
    for e in drawing.edges:
        (x1, y1), (x2, y2) = place[e.source.number], place[e.target.number]
        if _short(rows, e.source, e.target):
            path = f"M{x1:.0f},{y1 + HEIGHT} L{x2:.0f},{y2 - 3}"
        else:  # around the boxes, at their right
            side += 1
            far = 20 + total + min(24 * side, 240) - 10
            out, back = x1 + wide[e.source.number] / 2, x2 + wide[e.target.number] / 2
            y1, y2 = y1 + HEIGHT / 2 + 4, y2 + HEIGHT / 2 - 4
            path = f"M{out:.0f},{y1:.0f} C{far:.0f},{y1:.0f} {far:.0f},{y2:.0f} {back + 3:.0f},{y2:.0f}"
        name = html.escape(f"{e.source.name} to {e.target.name}: {e.label}")
        lines.append(
            f'<path d="{path}" class="{e.kind}" marker-end="url(#tip)"><title>{name}</title></path>'
        )
    return (
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" role="img" '
        f'aria-label="graph of processes" xmlns="http://www.w3.org/2000/svg">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
        f"{''.join(lines)}{''.join(shapes)}</svg>"
    )


def _text(drawing: Drawing, box: Box) -> str:
    size = f" ({html.shape(box.shape)})" if box.shape else ""
    if box.end:
        return box.name + size
    if box.alike > 1:
        return f"{box.alike:,} of {box.kind}{size}"
    name = ".".join([*_above(drawing.top, box)[2:], box.name])
    text = name if name == box.kind else f"{name}: {box.kind}"
    return (text if len(text) <= LONGEST else text[: LONGEST - 3] + "...") + size


def _above(group: Group, box: Box) -> list[str]:
    """Names of the open processes around ``box``, the outermost first, after one for all."""
    if box in group.boxes:
        return [group.name]
    for inner in group.groups:
        found = _above(inner, box)
        if found:
            return [group.name, *found]
    return []


def _rows(drawing: Drawing) -> list[list[Box]]:
    """Boxes by how many others come before them; edges that lead back to what is being followed
    count for nothing."""
    after: dict[int, list[int]] = {b.number: [] for b in drawing.boxes}
    before: dict[int, int] = dict.fromkeys(after, 0)
    for e in drawing.edges:
        if e.source is not e.target:
            after[e.source.number].append(e.target.number)
            before[e.target.number] += 1
    state, order = dict.fromkeys(after, 0), list[int]()
    back: set[tuple[int, int]] = set()
    for root in sorted(after, key=lambda n: before[n] > 0):
        todo = [(root, iter(after[root]))] if not state[root] else []
        state[root] = state[root] or 1
        while todo:
            at, rest = todo[-1]
            for n in rest:
                if state[n] == 1:
                    back.add((at, n))
                elif not state[n]:
                    state[n] = 1
                    todo.append((n, iter(after[n])))
                    break
            else:
                state[at] = 2
                order.append(at)
                todo.pop()
    rank = dict.fromkeys(after, 0)
    for at in reversed(order):
        for n in after[at]:
            if (at, n) not in back:
                rank[n] = max(rank[n], rank[at] + 1)
    for at, heard in before.items():  # what hears nothing stands above who hears it first
        if not heard and after[at]:
            rank[at] = max(0, min(rank[n] for n in after[at]) - 1)
    rows: list[list[Box]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for b in drawing.boxes:
        rows[rank[b.number]].append(b)
    return rows


def _short(rows: list[list[Box]], source: Box, target: Box) -> bool:
    row = {b.number: r for r, boxes in enumerate(rows) for b in boxes}
    return row[target.number] == row[source.number] + 1
