"""A network and a run of it as one page of HTML: layers, graph, events and operations a layer,
rasters, weights, and an estimate of energy with its assumptions.

    from lavalike.report import report

    report("net.net", "x.npy", "page.html")

Needs matplotlib, the extra [plot]; no browser, no network.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavalike import npy
from lavalike.arguments import (
    FLAG,
    PATH,
    SHAPE,
    TEXT,
    Rule,
    arguments,
    instance,
    integer,
    optional,
    real,
    shown,
)
from lavalike.atomic import write_atomically
from lavalike.errors import InputError
from lavalike.extras import needed
from lavalike.model.config import RunConfig
from lavalike.process import AbstractProcess

_NETWORK = Rule(
    "a path of a .net or .nir file, or a process",
    lambda v: isinstance(v, str | os.PathLike | AbstractProcess),
    lambda v: isinstance(v, AbstractProcess) or PATH.value(v),
)
_INPUT = Rule(
    "a path of an npy file, an array, or a dict of InPorts to arrays",
    lambda v: isinstance(v, str | os.PathLike | Mapping | np.ndarray) or hasattr(v, "detach"),
    lambda v: not isinstance(v, str | os.PathLike) or PATH.value(v),
)


@arguments(
    network=_NETWORK,
    input=_INPUT,
    out=optional(PATH),
    values=FLAG,
    steps=optional(integer(1)),
    input_shape=optional(SHAPE),
    dt=optional(real(above=0)),
    convention=optional(TEXT),
    config=optional(instance(RunConfig)),
)
def report(
    network: str | os.PathLike[str] | AbstractProcess,
    input: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    values: bool = False,
    steps: int | None = None,
    input_shape: Any = None,
    dt: float | None = None,
    convention: str | None = None,
    config: RunConfig | None = None,
) -> Path:
    """Run ``network`` on ``input`` and write a page of what it is and did.

    Args:
        network: a .net file (:class:`netx.hdf5.Network`), a .nir file, or any process with one
            InPort.
        input: messages ``(*shape, time)`` or ``(batch, *shape, time)`` for its InPort: an npy file
            or an array; or a dict of InPorts (or names) to arrays.
        out: the page's file. Default None: named as ``network``'s file, with .html, in the current
            folder; a process needs it.
        values: ``input`` is the trained network's values, not messages: of a .net file. Default
            False.
        steps: default None: the length of the input.
        input_shape: (x, y, channels), where a .net file has no input layer.
        dt: seconds a step, of a .nir file. Default None: what :func:`netx.nir.from_nir` takes.
        convention: of a .nir file, as :func:`netx.nir.from_nir` takes it. Default None: its
            default.
        config: default None: fixed_pt for a .net file, ``RunConfig()`` for others.

    Returns:
        The path of the page.

    Raises:
        InputError: arguments that do not fit, an input that is no npy file, a page that cannot be
            written or would take the place of what is read. MissingExtraError without matplotlib.
            Whatever loading and simulating raise.

    What every layer sends and every connection gets is kept in memory meanwhile: steps x samples x
    size x 4 bytes each.

    Example::

        report("pilotnet.net", frames, "pilotnet.html", values=True)
    """
    needed("matplotlib", "lavalike.report", "plot")
    process, default, title = _network(network, input_shape, dt, convention)
    target = _target(out, network, input)
    x = input if isinstance(input, Mapping) else {_port(process): _array(process, input, values)}
    if values and isinstance(input, Mapping):
        raise InputError("report: values is of one input; encode those of a dict yourself")
    from lavalike.report.measure import measure
    from lavalike.report.page import page

    found = measure(process, x, config or default, steps)
    fed = ", ".join(f"{k} {shown(v.shape)}" for k, v in found.inputs.items())
    name = str(input) if isinstance(input, str | os.PathLike) else "arrays"
    run = f"{found.config.precision} on the {found.config.backend} backend"
    samples = f", {found.samples} samples" if found.recording.batched else ""
    subtitle = f"{found.steps} steps{samples}, {run}; input: {Path(name).name}, {fed}"
    text = page(found, title, subtitle)
    try:
        write_atomically(target, lambda file: file.write(text.encode()))  # type: ignore[arg-type]  # how many bytes matters to nobody
    except OSError as e:
        raise InputError(f"{target}: cannot be written: {e}") from e
    return target


def _network(
    network: Any, input_shape: Any, dt: float | None, convention: str | None
) -> tuple[AbstractProcess, RunConfig, str]:
    """The process, how it is run by default, and the page's title."""
    suffix = "" if isinstance(network, AbstractProcess) else Path(network).suffix.lower()
    given_for = (
        ("input_shape", input_shape, ".net"),
        ("dt", dt, ".nir"),
        ("convention", convention, ".nir"),
    )
    for name, given, of in given_for:
        if given is not None and suffix != of:
            raise InputError(f"report: {name} is of a {of} file; network is {shown(network)}")
    if isinstance(network, AbstractProcess):
        return network, RunConfig(), network.path
    if suffix == ".nir":
        try:
            nir = importlib.import_module("netx.nir")
        except ModuleNotFoundError as e:
            if e.name != "netx.nir":
                raise
            raise InputError(f"report: network: {network}: this lavalike reads no NIR") from None
        told = {} if convention is None else {"convention": convention}
        return nir.from_nir(network, dt=dt, **told), RunConfig(), Path(network).name
    import netx

    net = netx.hdf5.Network(network, input_shape=input_shape)
    return net, RunConfig(precision="fixed_pt"), Path(network).name


def _port(process: AbstractProcess) -> Any:
    if len(process.in_ports) != 1:
        names = ", ".join(p.name for p in process.in_ports) or "none"
        raise InputError(
            f"report: {process.path} has {len(process.in_ports)} InPorts ({names}); input is a dict, {{InPort or name: array}}"
        )
    return process.in_ports[0]


def _array(process: AbstractProcess, given: Any, values: bool) -> Any:
    """What is fed."""
    if isinstance(given, str | os.PathLike):
        given = npy.read(given, "report: input: ")
    if not values:
        return given
    encode = getattr(process, "encode", None)
    if encode is None:
        raise InputError(
            f"report: values=True is of a .net file, which says how values become messages; {process.path} does not"
        )
    return encode(given)


def _target(out: Any, network: Any, input: Any) -> Path:
    if out is None:
        if isinstance(network, AbstractProcess):
            raise InputError("report: out, the page's file, is needed for a process")
        out = Path(Path(network).stem + ".html")
    target = Path(out)
    if target.is_dir() or not target.parent.is_dir():
        what = "a folder" if target.is_dir() else f"in {target.parent}, which is no folder"
        raise InputError(f"report: out: {target}: cannot be written: it is {what}")
    for read in (Path(x) for x in (network, input) if isinstance(x, str | os.PathLike)):
        if target.exists() and read.exists() and target.samefile(read):
            raise InputError(f"report: out: {target} is what is read; name another file")
    return target
