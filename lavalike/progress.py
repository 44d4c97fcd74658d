"""How far something is: tqdm's bar, in a terminal or a notebook, or a line now and then.

Everything that can show its progress does so on request only, and through here.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
LINES = 5.0  # seconds between two lines, without tqdm


class Progress:
    """A bar on stderr, tqdm's where it is installed (the extra [progress]), else plain lines.

    Args:
        what: what is under way.
        total: of how many; None where nobody knows.
        unit: what is counted.

    A context; closed when it is left, also by an error.
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "step") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done, self.began = 0, time.monotonic()
        self.said, self.closed = self.began, False
        self.bar = _tqdm(total=total, desc=what, unit=unit)

    def update(self, count: int = 1, note: str = "") -> None:
        """``count`` more are done; ``note`` stands behind the bar."""
        self.done += count
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.said > LINES:
            self._say(note)

    def _say(self, note: str = "") -> None:
        self.said = time.monotonic()
        of = "" if self.total is None else f" of {self.total}"
        text = f"{self.what}: {self.done}{of} {self.unit}s, {self.said - self.began:.0f} s"
        print(f"{text}; {note}" if note else text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.closed:
            return
        self.closed = True
        if self.bar is not None:
            self.bar.close()
        else:
            self._say()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _tqdm(**settings: Any) -> Any:
    """tqdm's bar, for a notebook where one is and its widgets are installed, or None."""
    try:
        with warnings.catch_warnings():  # of a notebook without ipywidgets, where text does as well
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(dynamic_ncols=True, file=sys.stderr, **settings)


def tracked(items: Iterable[Item], what: str, unit: str = "step") -> Iterator[Item]:
    """``items``, one after another, with a bar of how many are done."""
    total = len(items) if isinstance(items, Sized) else None
    with Progress(what, total, unit) as bar:
        for item in items:
            yield item
            bar.update()
