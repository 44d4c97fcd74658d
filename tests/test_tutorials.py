"""Every tutorial runs, in quick mode, in a kernel of its own, prints what is committed with it, and
has a picture.

``python -m tests.test_tutorials NAME ...`` runs those whose names begin so and writes their outputs
and pictures into them.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALL = sorted((ROOT / "tutorials").glob("*.ipynb"))


def run(path, folder, timeout=300):
    """The notebook, executed in a kernel in ``folder``."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    ).execute()
    return notebook


def printed(notebook):
    """What each cell prints and shows: its text, and the kinds of its pictures. A cell tagged
    "varies" tells what depends on seeds, clocks or the quick mode: of it the words count, not the
    numbers, nor how often a line comes in turn, nor progress bars."""
    rows = []
    for cell in notebook.cells:
        texts, pictures = [], []
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            kinds = sorted(kind for kind in data if kind.startswith("image/"))
            if kinds:
                pictures += kinds
            elif output["output_type"] == "stream":
                texts += [output["text"]] if output["name"] == "stdout" else []
            else:
                texts.append(data.get("text/plain", output["output_type"]))
        text = "".join(texts).strip()
        if "varies" in cell.metadata.get("tags", ()):
            lines = [re.sub(r"-?\d[\d.,e+-]*", "#", line) for line in text.split("\n")]
            words = [re.sub(r"[\s#|-]+", " ", line).strip() for line in lines]
            text = "\n".join(line for line, _ in itertools.groupby(words))
        rows.append((text, pictures))
    return rows


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning"
)
def test_tutorial(path, tmp_path, monkeypatch):
    import nbformat

    monkeypatch.setenv("LAVALIKE_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    committed = nbformat.read(path, as_version=4)
    wanted = printed(committed)
    found = printed(run(path, tmp_path))
    source = [cell.source for cell in committed.cells]
    for cell, now, then in zip(source, found, wanted, strict=True):
        assert now == then, f"another output than is committed, of\n{cell}"
    assert any(pictures for _, pictures in wanted), "a tutorial has a picture"


def main(names: list[str]) -> None:
    import nbformat

    for path in (p for p in ALL if p.name.startswith(tuple(names))):
        metadata = nbformat.read(path, as_version=4).metadata
        notebook = run(path, Path.cwd(), timeout=None)
        notebook.metadata = metadata
        for count, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
            cell.execution_count = count + 1
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
