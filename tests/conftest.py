"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # a worker a core: a second team of threads would fight for it
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
# no seed of the day: the same examples wherever the same modules are loaded;
# --hypothesis-profile=default looks for new ones
settings.register_profile("same", derandomize=True)
settings.load_profile("same")
SHARED = Path(os.environ.get("LAVALIKE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def conformance():
    """``conformance("lava/lif_fixed.npz")`` -> path of a recorded file; skips where the recordings
    are absent.

    What must always run lies in tests/data too, and is found there first.
    """

    def find(name: str) -> Path:
        for path in (Path(__file__).parent / "data" / name, SHARED / "conformance" / name):
            if path.exists():
                return path
        pytest.skip(f"conformance recordings are not beside the checkout: {name}")

    return find


def load_meta(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and JSON description of a recording."""
    with np.load(path, allow_pickle=False) as z:
        arrays = {k: z[k] for k in z.files}
    key = next(k for k in ("meta", "meta_json", "params_json") if k in arrays)
    return arrays, json.loads(str(arrays.pop(key)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: at the end one of several workers would run them alone."""
    long = (
        "test_tutorials.py",
        "test_triton.py",
        "test_cli.py",
        "test_testing.py",
        "test_extending_connection.py",
    )
    items.sort(key=lambda item: item.path.name not in long)
