"""snnTorch's utils: reset, and parts of data sets that have ``data`` and ``targets``."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.arguments import Rule, arguments, integer, real, shown
from lavalike.errors import InputError
from lavalike.snn.neuron import detach as detach, reset as reset

_DATASET = Rule(
    "a data set with data and targets", lambda v: hasattr(v, "data") and hasattr(v, "targets")
)


def _of(values: Any, chosen: np.ndarray) -> Any:
    """Those of a tensor, an array or a list."""
    if isinstance(values, list | tuple):
        return type(values)(values[k] for k in chosen)
    return values[chosen]


def _size(dataset: Any) -> int:
    n, targets = len(dataset.data), len(dataset.targets)
    if n != targets:
        raise InputError(
            f"a data set of {n} data and {targets} targets ({shown(type(dataset).__name__)})"
        )
    return n


@arguments(dataset=_DATASET, subset=integer(1), idx=integer(0))
def data_subset(dataset: Any, subset: int, idx: int = 0) -> Any:
    """The part ``idx`` of ``subset`` equal parts of ``dataset``, whose ``data`` and ``targets`` are
    replaced; what is left over of a size that cannot be shared out is in none.

    Args:
        dataset: with ``data`` and ``targets``, tensors, arrays or lists of one length.
        subset: into how many parts.
        idx: which of them. Default 0.

    Returns ``dataset``.
    """
    n = _size(dataset)
    if idx >= subset or n < subset:
        raise InputError(
            f"data_subset: idx is below subset, and subset at most the {n} samples; got idx {idx}, subset {subset}"
        )
    if subset > 1:
        step = n // subset
        chosen = np.arange(step * idx, step * (idx + 1))
        dataset.data, dataset.targets = _of(dataset.data, chosen), _of(dataset.targets, chosen)
    return dataset


@arguments(ds_train=_DATASET, ds_val=_DATASET, split=real(0, 1), seed=integer(0))
def valid_split(ds_train: Any, ds_val: Any, split: float, seed: int = 0) -> tuple[Any, Any]:
    """Split the samples of ``ds_train`` by chance: ``split`` of them become those of ``ds_val``, in
    their order, the others stay, in the order drawn (as in snnTorch, for the same seed).

    Args:
        ds_train, ds_val: with ``data`` and ``targets``, which are replaced.
        split: share of the samples for validation, in 0..1.
        seed: of NumPy's default generator. Default 0.

    Returns (ds_train, ds_val).
    """
    n = _size(ds_train)
    kept = np.random.default_rng(seed).choice(n, size=n - int(n * split), replace=False)
    others = np.setdiff1d(np.arange(n), kept)
    ds_val.data, ds_val.targets = _of(ds_train.data, others), _of(ds_train.targets, others)
    ds_train.data, ds_train.targets = _of(ds_train.data, kept), _of(ds_train.targets, kept)
    return ds_train, ds_val
