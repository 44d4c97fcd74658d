"""One module under several names: none is loaded twice, so that a class is the same wherever a
program imports it from.

sys.modules["hxtorch"] = lavalike.bss2
import hxtorch.perceptron.nn            # is lavalike.bss2.perceptron.nn
import lavalike.bss2.snn.parameter      # is lavalike.bss2.spiking.parameter
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from inspect import isfunction
from types import ModuleType
from typing import Any

PACKAGE = "lavalike.bss2"
OLDER = {f"{PACKAGE}.snn.": f"{PACKAGE}.spiking.", f"{PACKAGE}.ann.": f"{PACKAGE}.perceptron."}
# where modules lay before 0.5, by where they are
MOVED = {
    f"{PACKAGE}.{name}": f"{PACKAGE}.{room}.{name}"
    for room, names in {
        "chip": ("analog", "calibration", "converters", "facts", "normal"),
        "hxtorch": ("aliases", "connection", "handover", "hardware"),
    }.items()
    for name in names
}
# hxtorch's packages of one class or function a module, by where those are
MOVED |= {
    f"{PACKAGE}.spiking.{there}": f"{PACKAGE}.spiking.{here}"
    for here, names in {
        "population": ("modules.neuron",),
        "synapse": ("modules.synapse", "modules.sparse_synapse"),
        "module": ("modules.hx_module", "modules.batch_dropout", "modules.input_neuron"),
        "wrapper": ("modules.hx_module_wrapper",),
        "modules": ("modules.types",),
        "functional": tuple(
            f"functional.{name}"
            for name in (
                "aelif",
                "lif",
                "li",
                "eventprop",
                "linear",
                "threshold",
                "dropout",
                "spike_source",
                "step_integration_code_factory",
            )
        ),
        "utils.model_mapper": ("mapper",),
    }.items()
    for there in names
}
MOVED |= {f"{PACKAGE}.spiking.utils.{name}": "netx.nir.bss2" for name in ("from_nir", "to_nir")}


def _named(name: str) -> str | None:
    """What the module called ``name`` is called here, or None where it has no other name."""
    first, _, rest = name.partition(".")
    if rest and first != "lavalike" and sys.modules.get(first) is sys.modules[PACKAGE]:
        name = f"{PACKAGE}.{rest}"
        return _named(name) or name
    if name in MOVED:
        return MOVED[name]
    for older, here in OLDER.items():
        if name.startswith(older):
            name = here + name.removeprefix(older)
            return MOVED.get(name, name)
    return None


class _Alias(Loader):
    """Finder and loader of such names."""

    def __init__(self, name: str = "") -> None:
        self.name = name  # of the module here
        self.spec: ModuleSpec | None = None

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        here = _named(name)
        try:
            spec = find_spec(here) if here is not None else None
        except ModuleNotFoundError as e:
            if not f"{here}.".startswith(f"{e.name}."):
                raise
            spec = None  # a package above it is nowhere: another finder may know it
        return (
            None
            if spec is None
            else ModuleSpec(
                name, _Alias(spec.name), is_package=spec.submodule_search_locations is not None
            )
        )

    def create_module(self, spec: ModuleSpec) -> Any:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system wrote the other name there


class Keeping(ModuleType):
    """A package with functions named as modules of hxtorch's are: importing such a module would put
    it where the function stands (``hxtorch.spiking.run``)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and isfunction(self.__dict__.get(name))):
            super().__setattr__(name, value)


def answered_by(module: ModuleType, name: str) -> Callable[[str], Any]:
    """``__getattr__`` of the module ``name``, an older one of ``module``: that has what is asked
    for, but for what the import system asks."""

    def attribute(asked: str) -> Any:
        if asked.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {asked!r}")
        return getattr(module, asked)

    return attribute


def install() -> None:
    """From here on; before the finder of files, which would load them once more."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())
