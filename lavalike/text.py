"""Plain-text tables, and settings in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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
    out.insert(1, "  ".join("-" * w for w in widths).rstrip())
    return "\n".join(out)


def _numeric(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-+." or text == ""


def settings(values: Mapping[str, Any], *learnt: str) -> str:
    """``name=value, ...`` for the repr of a module: of a tensor its one value, or its shape; of
    those in ``learnt`` also that they are."""
    return ", ".join(
        f"{n}={_setting(v)}{' (learnt)' if n in learnt else ''}" for n, v in values.items()
    )


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if not hasattr(value, "detach"):
        return repr(value)
    known = type(value).__name__ in ("Tensor", "Parameter") and value.device.type != "meta"
    return (
        f"{float(value.detach()):.6g}" if known and value.numel() == 1 else str(tuple(value.shape))
    )
