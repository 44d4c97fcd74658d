"""What a flat graph computes by, as digests by place: whether another is the same, and what
differs.

Of every node its class, model, backend and precision, what it was made with, who it hears through
which elements, and what its parameters hold. States, which steps change, are told by their shapes.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lavalike import container
from lavalike.compiler import refs
from lavalike.compiler.flat import Flat, Node, Term
from lavalike.process.var import Var

DATA = (enum.Enum, bool, int, float, complex, str, bytes, type(None))
Fingerprint = list[tuple[str, dict[str, str]]]  # each node's path, and what there is of it by name


def fingerprint(flat: Flat, varying: Collection[Var] = (), states: bool = False) -> Fingerprint:
    """Of ``flat``; ``varying``: parameters whose values do not count; ``states``: what these hold
    counts too."""
    return [(n.process.path, _node(n, varying, states)) for n in flat.nodes]


def difference(there: Sequence[Any], here: Fingerprint) -> str | None:
    """The first that is not the same, as an error says it; None where nothing is."""
    for (path, a), (other, b) in zip(there, here, strict=False):
        if path != other:
            return f"{path} there is {other} here"
        names = dict.fromkeys((*a, *b))
        name = next((n for n in names if a.get(n) != b.get(n)), None)
        if name is not None:
            return (
                f"{path}: its {name} is {_shown(a.get(name))} there and {_shown(b.get(name))} here"
            )
    if len(there) != len(here):
        longer = there if len(there) > len(here) else here
        place = "there" if longer is there else "here"
        return f"{longer[min(len(there), len(here))][0]} is {place} only"
    return None


def _shown(text: str | None) -> str:
    if text is None:
        return "not"
    return f"other ({text[1:9]})" if text.startswith("#") else text


def hashed(*values: Any) -> str:
    """A digest of data, arrays among them; it begins with ``#``."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        _take(found, value)
    return f"#{found.hexdigest()}"


def _take(found: Any, value: Any) -> None:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        container.update(found, value)
    elif isinstance(value, Mapping):
        found.update(b"{")
        for key, one in value.items():
            _take(found, key)
            _take(found, one)
    elif isinstance(value, list | tuple):
        found.update(b"[")
        for one in value:
            _take(found, one)
    elif isinstance(value, np.generic):  # first: some are Python's too, of another repr
        found.update(f"{value.item()!r};".encode())
    elif isinstance(value, DATA):
        found.update(f"{value!r};".encode())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found.update(type(value).__qualname__.encode())
        for f in dataclasses.fields(value):
            if f.compare:
                _take(found, getattr(value, f.name))
    else:  # of some other class: that is all that is known of it
        cls = value if isinstance(value, type) else type(value)
        found.update(f"{cls.__module__}.{cls.__qualname__};".encode())


def _arguments(process: Any) -> str:
    """What it was made with that no Var holds, the same of a copy: numbers and texts, what is made
    of them (a learning rule), and what its models are handed."""
    made = process._made
    given = [
        (name, value)
        for name, value in (*enumerate(made.args), *made.kwargs.items())
        if isinstance(value, (*DATA, np.generic))
    ]
    kept = [(n, v) for n, v in vars(process).items() if dataclasses.is_dataclass(v)]
    return hashed(given, kept, process.proc_params)


def _node(node: Node, varying: Collection[Var], states: bool) -> dict[str, str]:
    process, config = node.process, node.model.config
    cls, model = type(process), type(node.model)
    out = {
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "model": f"{model.__module__}.{model.__qualname__}",
        "backend": node.target.backend,
        "precision": f"{config.message_dtype}",
        "arguments": _arguments(process),
    }
    if node.target.whole:
        out["chip"] = hashed(node.target.options)
    for name, terms in node.inputs.items():
        out[f"input {name}"] = hashed(*map(_term, terms))
    for ref in process.ref_ports:
        reference = refs.resolve(ref)
        out[f"RefPort {ref.name}"] = hashed(reference.var.path, reference.index)
    for port in process.out_ports:
        out[f"output {port.name}"] = f"of shape {port.shape}"
    for var in process.vars:
        out[f"Var {var.name}"] = f"of shape {var.shape}"
        counts = states or (var.role == "parameter" and var not in varying)
        if counts and var.aliased is None:
            out[f"Var {var.name}"] = hashed(var.value)
    return out


def _term(term: Term) -> Any:
    return term.source.path, term.src, term.dst
