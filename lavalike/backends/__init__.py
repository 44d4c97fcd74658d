"""Backends, one folder each. By name: :mod:`lavalike.model.registry`."""

from lavalike.model.registry import (
    BUILT_IN as BUILT_IN,
    get_backend as get_backend,
    known as known,
    names as names,
)
