"""The global generators of random numbers, of ``random``, NumPy and torch, which models in Python
draw from. What kernels draw follows from seed, process and step."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lavalike.compiler.flat import Node


def drawn_from(nodes: Iterable[Node]) -> bool:
    """Whether models of ``nodes`` may draw from them."""
    return any(n.target.backend != "numba" or n.model.inline for n in nodes)


def states() -> dict[str, Any]:
    out = {"random": random.getstate(), "numpy": np.random.get_state(legacy=False)}  # noqa: NPY002
    torch = sys.modules.get("torch")
    return out if torch is None else {**out, "torch": torch.get_rng_state()}


def restore(found: Mapping[str, Any]) -> None:
    """Put them where :func:`states` found them; ValueError for what is none."""
    for name, state in found.items():
        if name == "random":
            random.setstate(state)
        elif name == "numpy":
            np.random.set_state(state)  # noqa: NPY002
        elif name == "torch":
            import torch

            torch.set_rng_state(state)
        else:
            raise ValueError(f"a generator {name!r}")


def seed(number: int) -> None:
    """Seed all of them, by 63 bits."""
    random.seed(number)
    np.random.seed([number & 0xFFFFFFFF, number >> 32])  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)
