"""Plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns padded to their widest entry; those that look like numbers are aligned right."""
    lines = [list(head), *[list(map(str, r)) for r in rows]]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    right = [all(_numeric(r[k]) for r in lines[1:]) for k in range(len(head))]
    out = [
        "  ".join(
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    out.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(out)


def _numeric(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-+." or text == ""
