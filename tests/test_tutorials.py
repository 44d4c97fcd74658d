"""Every tutorial runs, in quick mode, in a kernel of its own, and prints what is committed with it.

``python -m tests.test_tutorials NAME ...`` runs those whose names begin so and writes their outputs
and pictures into them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ALL = sorted((ROOT / "tutorials").glob("*.ipynb"))
WITH_OUTPUTS = ("02", "09", "10")  # they compute the same in quick mode


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
    """What each cell prints, and the kinds of its other outputs."""
    rows = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", ())
        text = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
        rows.append((text, [sorted(o["data"]) for o in outputs if o["output_type"] != "stream"]))
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
    notebook = run(path, tmp_path)
    if path.name.startswith(WITH_OUTPUTS):
        committed = printed(nbformat.read(path, as_version=4))
        assert printed(notebook) == committed
        assert ["image/png", "text/plain"] in [kinds for _, others in committed for kinds in others]


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
