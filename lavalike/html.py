"""What notebooks show of an object: titles, tables and folds of HTML, self-contained and light.

Every text that comes from elsewhere (names, classes, values) is escaped here, and nowhere else. No
script, no link, no file of its own; colours are those of the notebook around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape as _escape
from itertools import islice
from typing import Any

ROWS = 200  # of a table that are shown, unless it says otherwise
LONGEST = 200  # characters of a text
EMPTY = ("", "-")  # of a column of numbers, too
_CELL = "padding:1px 10px 1px 0;text-align:"


def escape(value: object, longest: int = LONGEST) -> str:
    """``value`` as HTML's text, of at most ``longest`` characters."""
    text = str(value)
    return _escape(text if len(text) <= longest else text[: longest - 3] + "...")


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], total: int, most: int = ROWS
) -> str:
    """A table of at most ``most`` of ``total`` rows, and how many more there are. Columns whose
    entries look like numbers are aligned right."""
    shown = [[str(x) for x in row] for row in islice(rows, most)]
    right = [
        any(r[k] not in EMPTY for r in shown) and all(_numeric(r[k]) for r in shown)
        for k in range(len(head))
    ]
    side = [f'style="{_CELL}{"right" if r else "left"}"' for r in right]
    lines = ['<table style="border-collapse:collapse;font-size:inherit"><thead><tr>']
    lines += [f"<th {s}>{escape(h)}</th>" for h, s in zip(head, side, strict=True)]
    lines.append("</tr></thead><tbody>")
    for row in shown:
        cells = (f"<td {s}>{escape(c)}</td>" for c, s in zip(row, side, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    lines.append("</tbody></table>")
    if total > len(shown):
        lines.append(f"<div><em>and {total - len(shown):,} more</em></div>")
    return "".join(lines)


def _numeric(text: str) -> bool:
    return text in EMPTY or text.lstrip("-+.")[:1].isdigit()


def fold(title: object, body: str, opened: bool = False) -> str:
    """``body``, which is HTML, behind a title that opens it."""
    return (
        f'<details style="margin:2px 0"{" open" if opened else ""}>'
        f'<summary style="cursor:pointer">{escape(title)}</summary>{body}</details>'
    )


def box(title: object, kind: object, *parts: str) -> str:
    """An object: its title, what it is, and ``parts``, which are HTML."""
    return (
        '<div style="border:1px solid #8888;border-radius:4px;padding:6px 10px;'
        'display:inline-block;max-width:100%;overflow-x:auto;font-size:90%">'
        f'<div style="margin-bottom:2px"><strong>{escape(title)}</strong> '
        f'<span style="opacity:.65">{escape(kind)}</span></div>{"".join(parts)}</div>'
    )


def shape(sizes: Sequence[int]) -> str:
    """``2 x 3`` of (2, 3)."""
    return " x ".join(map(str, sizes)) or "1"


def count(n: int, what: str, plural: str = "") -> str:
    """``1 port``, ``2 ports``."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def safely(show: Callable[[], Any], otherwise: str = "-") -> str:
    """What ``show`` says, or ``otherwise`` where it cannot: a view of an object in a state that
    nobody foresaw is still a view."""
    try:
        return str(show())
    except Exception:  # a repr of the user's own, a value that is gone
        return otherwise
