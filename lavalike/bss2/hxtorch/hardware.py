"""The real hxtorch, where it is installed: the same layers and experiments handed to it.

No chip has run this: it is tested against a stand-in with hxtorch's documented signatures, in the
three spellings its interface has had:

    "perceptron"   hxtorch.perceptron, hxtorch.spiking (Experiment, LIF, LI)
    "snn"          hxtorch.perceptron, hxtorch.snn (Instance, Neuron, ReadoutNeuron)
    "nn"           hxtorch.nn, operations at the top; no spiking mode

That hxtorch imports does not mean that a chip is there: :func:`availability` tells three states
apart. Only one process can hold a chip.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from lavalike.arguments import FLAG, arguments, instance, optional
from lavalike.bss2.errors import NoChipError, OperandError
from lavalike.errors import InputError

if TYPE_CHECKING:
    import torch

    from lavalike.bss2.hxtorch.connection import CalibrationPath, HWDBPath
    from lavalike.bss2.hxtorch.handover import Names
    from lavalike.bss2.spiking.experiment import Experiment, LayerCall
    from lavalike.bss2.spiking.module import HXModule
    from lavalike.bss2.spiking.neuron import Recorded

_PATH = optional(
    instance(
        "lavalike.bss2.hxtorch.connection.HWDBPath",
        "lavalike.bss2.hxtorch.connection.CalibrationPath",
        words="a HWDBPath or a CalibrationPath",
    )
)
STATES = ("not importable", "mock only", "connected")


def _import(name: str = "hxtorch") -> Any:
    """The module, or None where there is none: what goes by the name may be lavalike. What else
    goes wrong while importing it is the installation's and is told."""
    try:
        if _is_ours(importlib.import_module(name.partition(".")[0])):
            return None
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        # hxtorch itself is there when something it needs is not
        if e.name is not None and f"{name}.".startswith(f"{e.name}."):
            return None
        raise NoChipError(
            f"hxtorch is installed, but {e.name!r}, which it needs, is not; repair its installation"
        ) from e
    except ImportError as e:
        raise NoChipError(
            f"hxtorch is installed, but does not import ({e}); repair its installation"
        ) from e


def _is_ours(module: Any) -> bool:
    from lavalike.bss2.hxtorch import connection

    return getattr(module, "init_hardware", None) is connection.init_hardware


def _hxtorch() -> Any:
    module = _import()
    if module is None:
        raise NoChipError(
            "hxtorch is not installed: level 'hardware' needs it and a chip; level 'emulated' needs neither"
        )
    return module


def _core(name: str) -> Callable[..., Any]:
    """A function of the connection: at the top of the package, or in ``hxtorch.core``."""
    found = getattr(_hxtorch(), name, None)
    core = _import("hxtorch.core") if found is None else None
    found = getattr(core, name, None) if found is None else found
    if found is None:
        raise NoChipError(f"this hxtorch has no {name}; a version from 2020 or later is needed")
    return found


def spelling() -> str:
    """Which of the three spellings the installed hxtorch has."""
    _hxtorch()
    if _import("hxtorch.perceptron") is None:
        return "nn"
    return "perceptron" if _import("hxtorch.spiking") is not None else "snn"


class Found(NamedTuple):
    """``state``: one of :data:`STATES`; ``why``: what was raised where it is less than connected,
    None where there is simply no hxtorch."""

    state: str
    why: Exception | None


def availability() -> str:
    """``"not importable"``, ``"mock only"`` (it imports, no chip answers), or ``"connected"``;
    :func:`look` tells why.

    Where nobody has taken the chip yet it is taken and let go again, which takes seconds on a real
    setup. What hxtorch raises that does not say that no chip answers is raised on.
    """
    return look().state


def look() -> Found:
    """:func:`availability`, and what hxtorch said."""
    try:
        if _import() is None:
            return Found(STATES[0], None)
    except NoChipError as e:  # it is there and broken
        return Found(STATES[0], e)
    if _asked("get_unique_identifier") is None:
        return Found(STATES[2], None)
    refused = _asked("init_hardware_minimal")
    if refused is not None:
        return Found(STATES[1], refused)
    release()
    return Found(STATES[2], None)


def _asked(name: str) -> Exception | None:
    """What a function of the connection says where nothing is connected: its C++ side's
    RuntimeError or OSError. Python's own kinds of these are faults, and raised on."""
    function = _core(name)
    try:
        function()
    except (RecursionError, NotImplementedError):
        raise
    except (RuntimeError, OSError) as e:
        return e
    return None


def init(hwdb_path: HWDBPath | CalibrationPath | None = None, ann: bool = False) -> None:
    """hxtorch's ``init_hardware``, from our :class:`CalibrationPath` or :class:`HWDBPath`.
    NoChipError where no chip answers."""
    from lavalike.bss2.hxtorch.connection import CalibrationPath

    connect = _core("init_hardware")
    try:
        if hwdb_path is None:
            connect(ann=ann) if ann else connect()
        elif isinstance(hwdb_path, CalibrationPath):
            connect(_core("CalibrationPath")(hwdb_path.value))
        else:
            path = _core("HWDBPath")(hwdb_path.path, hwdb_path.version)
            connect(path, ann) if ann else connect(path)
    except (RuntimeError, OSError) as e:
        raise NoChipError(
            f"hxtorch found no chip: {e}; check the connection, or use a Chip of level 'emulated'"
        ) from e


def release() -> None:
    """hxtorch's ``release_hardware``."""
    _core("release_hardware")()


def identifier() -> str:
    """Which chip is connected; NoChipError without one."""
    try:
        return str(_core("get_unique_identifier")())
    except (RuntimeError, OSError) as e:
        raise NoChipError(
            f"hxtorch is not connected to a chip: {e}; lavalike.bss2.init_hardware() connects it"
        ) from e


@arguments(path=_PATH, ann=FLAG)
@contextmanager
def connection(path: HWDBPath | CalibrationPath | None = None, ann: bool = False) -> Iterator[str]:
    """Take the chip once, let it go at the end; its identifier. RunError's sibling NoChipError
    without one."""
    init(path, ann)
    try:
        yield identifier()
    finally:
        release()


def perceptron() -> Any:
    """The real module with ``matmul``, ``nn``, ...: ``hxtorch.perceptron``, or ``hxtorch`` itself
    in the oldest spelling."""
    return _import("hxtorch.perceptron") or _hxtorch()


def _layers() -> Any:
    """Its layers: ``hxtorch.perceptron.nn`` or ``hxtorch.nn``."""
    found = _import("hxtorch.perceptron.nn" if spelling() != "nn" else "hxtorch.nn")
    if found is None:
        raise NoChipError(
            "this hxtorch has no layers (hxtorch.perceptron.nn or hxtorch.nn); repair its installation"
        )
    return found


# -- perceptron mode -------------------------------------------------------------------------------


@arguments(
    model=instance("torch.nn.modules.module.Module", words="a torch.nn.Module"), mock=optional(FLAG)
)
def convert(model: torch.nn.Module, mock: bool | None = None) -> torch.nn.Module:
    """A copy of ``model`` whose layers of :mod:`lavalike.bss2.perceptron.nn` are hxtorch's, with
    the same weights and settings.

    Args:
        model: a network, or one layer.
        mock: of every layer; default: as each says.

    NoChipError where hxtorch does not import; InputError for a setting its version has no argument
    for.
    """
    from lavalike.bss2.perceptron import nn

    _layers()
    model = copy.deepcopy(model)
    if isinstance(model, nn.Layer):
        return _convert_layer(type(model).__name__, model, mock)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Layer):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, _convert_layer(name, layer, mock))
    return model


def _convert_layer(name: str, layer: torch.nn.Module, mock: bool | None) -> torch.nn.Module:
    """Only what differs from its default is said, as an older hxtorch has fewer arguments."""
    import torch

    from lavalike.bss2.perceptron import nn

    real = getattr(_layers(), type(layer).__name__, None)
    if real is None:
        raise OperandError(
            f"layer {name!r}: this hxtorch has no {type(layer).__name__}; write it with layers it has"
        )
    settings = {}
    for key, parameter in inspect.signature(type(layer)).parameters.items():
        value = getattr(layer, key)
        value = value is not None if isinstance(value, torch.Tensor) or key == "bias" else value
        value = mock if key == "mock" and mock is not None else value
        alike = set(value) if isinstance(value, tuple) else {value}  # torch keeps stride=1 as (1,)
        if alike != {parameter.default}:
            settings[key] = value
    known = inspect.signature(real).parameters
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise InputError(
            f"layer {name!r}: this hxtorch's {type(layer).__name__} takes no {', '.join(unknown)}, which is "
            f"{', '.join(repr(settings[k]) for k in unknown)} here; leave it at its default"
        )
    made = real(**settings)
    if isinstance(layer, nn.MACLayer):
        with torch.no_grad():
            made.weight.copy_(layer.weight)
            if layer.bias is not None:
                made.bias.copy_(layer.bias)
    return made.train(layer.training)


# -- spiking mode ----------------------------------------------------------------------------------


def spiking() -> Names:
    """Its classes under their present names; ``.module`` is ``hxtorch.spiking`` or ``hxtorch.snn``.
    NoChipError without spiking mode."""
    from lavalike.bss2.hxtorch.handover import names

    _hxtorch()
    for name in ("hxtorch.spiking", "hxtorch.snn"):
        module = _import(name)
        if module is not None:
            return names(module, lambda part, name=name: _import(f"{name}.{part}"))
    raise NoChipError(
        "this hxtorch has no spiking mode (hxtorch.spiking or hxtorch.snn); a version from 2022 or later is needed"
    )


def dynamic_range(
    module: str, name: str, params: Mapping[str, Any], settings: Mapping[str, Any]
) -> Any:
    """hxtorch's own measurement ``name`` of ``spiking.utils.dynamic_range.{module}``.

    Args:
        params: of the neurons, numbers or parameters of
            :mod:`lavalike.bss2.spiking.parameter`, which are handed over as pairs.
        settings: its other arguments; None: left at its default.

    NoChipError where this hxtorch has no such measurement.
    """
    from lavalike.bss2.spiking.morphology import SingleCompartmentNeuron
    from lavalike.bss2.spiking.parameter import HXBaseParameter

    real = spiking()
    found = _import(f"{real.module.__name__}.utils.dynamic_range.{module}")
    if not hasattr(found, name):
        raise NoChipError(
            f"this hxtorch has no {name}; a version from 2025 or later is needed, or tell trace_scale and the weights' scale"
        )
    given = {
        n: real.MixedHXModelParameter(v.model_value, v.hardware_value)
        if isinstance(v, HXBaseParameter)
        else v
        for n, v in params.items()
    }
    told = {
        n: real.SingleCompartmentNeuron(v.size) if isinstance(v, SingleCompartmentNeuron) else v
        for n, v in settings.items()
        if v is not None
    }
    return getattr(found, name)(params=given, **told)


def halco() -> Any:
    """The chip's coordinates, which come with hxtorch."""
    try:
        return importlib.import_module("dlens_vx_v3.halco")
    except ImportError as e:
        raise NoChipError(
            f"hxtorch is installed, but dlens_vx_v3.halco, its coordinates, does not import ({e}); repair its installation, or "
            "leave placement_constraint out"
        ) from e


def run_experiment(
    experiment: Experiment, nodes: list[LayerCall], runtime: int | None
) -> dict[HXModule, Recorded]:
    """See :func:`lavalike.bss2.hxtorch.handover.run_experiment`."""
    from lavalike.bss2.hxtorch.handover import run_experiment

    return run_experiment(experiment, nodes, runtime)
