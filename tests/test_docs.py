"""The code of README.md and of the pages runs, block after block; docs/extending.md has tests of
its own, which follow it."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

PAGES = {
    page.relative_to(ROOT).as_posix(): [
        (text[: block.start(1)].count("\n"), block[1])
        for text in [page.read_text(encoding="utf-8")]
        for block in re.finditer(r"```python\n(.*?)```", text, re.S)
    ]
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.name != "extending.md"
}


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for line, block in PAGES[page]:
        exec(compile("\n" * line + block, ROOT / page, "exec"), names)
