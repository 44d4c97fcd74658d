"""Every public name: what it is given wrongly is an error that says which argument of what is wrong
(see :mod:`tests.doors.table`)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings

import pytest

import lavalike
import lavalike as lv
from lavalike import bss2, slayer, snn
from tests import doors
from tests.doors.table import find

# modules whose names people use; a module that begins with an underscore, or has no row here, is
# nobody's door
NAMESPACES = [
    "lavalike",
    "lavalike.process",
    "lavalike.model",
    "lavalike.dynamics",
    "lavalike.proc",
    "lavalike.learning",
    "lavalike.networks",
    "lavalike.proc.clp",
    "lavalike.proc.nir",
    "lavalike.proc.io",
    "lavalike.proc.io.sink",
    "lavalike.proc.io.source",
    "lavalike.backends.numba",
    "lavalike.backends.numpy",
    "lavalike.backends.torch",
    "lavalike.fused",
    "lavalike.operations",
    "lavalike.plot",
    "lavalike.report",
    "lavalike.compat",
    "lavalike.testing",
    "lavalike.snn",
    "lavalike.snn.functional",
    "lavalike.snn.spikegen",
    "lavalike.snn.surrogate",
    "lavalike.snn.utils",
    "lavalike.snn.backprop",
    "lavalike.snn.spikeplot",
    "lavalike.snn.functional.probe",
    "lavalike.snn.functional.quant",
    "lavalike.snn.functional.stdp_learner",
    "lavalike.slayer",
    "lavalike.slayer.axon",
    "lavalike.slayer.synapse",
    "lavalike.slayer.synapse.complex",
    "lavalike.slayer.loss",
    "lavalike.slayer.classifier",
    "lavalike.slayer.spike",
    "lavalike.slayer.dendrite",
    "lavalike.slayer.distributed",
    "lavalike.slayer.io",
    "lavalike.slayer.utils",
    "lavalike.slayer.utils.recurrent",
    "lavalike.slayer.auto",
    "lavalike.slayer.neuron.norm",
    *(
        f"lavalike.slayer.neuron.dynamics.{name}"
        for name in (
            "leaky_integrator",
            "resonator",
            "adaptive_threshold",
            "adaptive_phase_th",
            "adaptive_resonator",
        )
    ),
    "lavalike.bootstrap",
    *(f"lavalike.bootstrap.block.{family}" for family in ("cuba", "lif", "alif")),
    *(
        f"lavalike.slayer.{kind}.{family}"
        for kind in ("block", "neuron")
        for family in (
            "cuba",
            "lif",
            "alif",
            "rf",
            "rf_iz",
            "adrf",
            "adrf_iz",
            "sigma_delta",
            "soft_lif",
        )
    ),
    "lavalike.bss2",
    "lavalike.bss2.snn",
    "lavalike.bss2.ann",
    "lavalike.bss2.nn",
    "lavalike.bss2.spiking",
    *(
        f"lavalike.bss2.spiking.{name}"
        for name in (
            "modules",
            "functional",
            "parameter",
            "morphology",
            "datasets.yinyang",
            "utils.calib_helper",
        )
    ),
    "lavalike.bss2.halco",
    "lavalike.bss2.logger",
    *(
        f"lavalike.bss2.spiking.transforms.{name}"
        for name in ("encode", "decode", "weight_transforms")
    ),
    "lavalike.bss2.perceptron",
    "lavalike.bss2.perceptron.nn",
    "lavalike.events",
    "lavalike.weights",
    "lavalike.datasets",
    "lavalike.datasets.transforms",
    "netx",
    "netx.hdf5",
    "netx.nir",
    "netx.blocks.process",
]
ROOMS = [
    importlib.import_module(f"tests.doors.{m.name}")
    for m in pkgutil.iter_modules(doors.__path__)
    if m.name != "table"
]
ROWS = [row for room in ROOMS for row in room.ROWS]
EXEMPT = {
    path: why for room in ROOMS for path, why in room.EXEMPT.items()
}  # public names without a row, and why


def public() -> dict[int, str]:
    """Every class and function of ours in the namespaces, by identity."""
    names: dict[int, str] = {}
    for namespace in NAMESPACES:
        module = importlib.import_module(namespace)
        for name in sorted(
            {*dir(module), *getattr(module, "_LAZY", ()), *getattr(module, "_NAMES", ())}
        ):
            if name.startswith("_"):
                continue
            value = getattr(module, name)
            home = getattr(value, "__module__", None) or ""
            # what a module re-exports under hxtorch's names is its own; what it merely imports is
            # not
            ours = (
                home.split(".")[0] in ("lavalike", "netx") and home != "lavalike.arguments"
            )  # the rules
            ours = ours and (home.startswith(namespace) or namespace.startswith("lavalike.bss2"))
            if ours and (inspect.isclass(value) or inspect.isfunction(value)):
                names.setdefault(id(value), f"{namespace}.{name}")
    return names


def test_every_public_name_has_a_row():
    known = {id(find(path)) for path in [*(row.path for row in ROWS), *EXEMPT]}
    missing = [
        path for key, path in public().items() if key not in known and not _is_error(find(path))
    ]
    assert not missing, (
        f"{len(missing)} public names without a row in tests/doors, nor a reason in EXEMPT: {missing}"
    )


def test_every_exemption_is_needed_and_says_why():
    rows = {id(find(row.path)) for row in ROWS}
    assert [path for path, why in EXEMPT.items() if id(find(path)) in rows or len(why) < 10] == []


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, lavalike.LavalikeError | Warning)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_a_row_has_every_argument(row):
    parameters = inspect.signature(find(row.path)).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {
        "self"
    }
    if isinstance(find(row.path), type):
        from lavalike.arguments import keywords

        names |= keywords(find(row.path)) or set()
    assert names - row.bad.keys() == set(), f"{row.path}: arguments without samples"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.path)
def test_wrong_arguments_are_named(row):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row.call()
        wrong = list(row.wrong())
    assert not wrong, f"{row.path}:\n" + "\n".join(wrong)


# open by what they are: bases of one's own, and what names come of the caller's
OPEN = {
    "Handle",
    "HXModuleWrapper",
    "Neuron",
    "CustomNeuron",
    "AbstractResidual",
    "ComplexLayer",
    "GenericLayer",
}


def _classes(module, seen):
    for name, value in vars(module).items():
        if name.startswith("_") or name in OPEN or name.endswith(("Observables", "Handle")):
            continue
        if inspect.ismodule(value) and value.__name__.startswith(module.__name__ + "."):
            if value not in seen:
                seen.add(value)
                yield from _classes(value, seen)
        elif isinstance(value, type) and value.__module__.startswith(module.__name__):
            yield value


@pytest.mark.parametrize(
    "module",
    [lv.proc, slayer.block, slayer.neuron, slayer.synapse, snn, bss2.spiking, bss2.perceptron],
    ids=lambda m: m.__name__,
)
def test_an_editor_completes_every_argument(module):
    open_ = []
    for kind in {*_classes(module, {module})}:
        if "__init__" not in {
            n for c in kind.__mro__ if c.__module__.startswith("lavalike") for n in vars(c)
        }:
            continue
        for p in inspect.signature(kind).parameters.values():
            if p.kind == p.VAR_KEYWORD and "Unpack" not in str(p.annotation):
                open_.append(f"{kind.__module__}.{kind.__name__}: {p}")
    assert not open_


def test_what_editors_are_told_of_populations_is_what_they_take():
    from lavalike.bss2.spiking.population import PopulationModule, Settings

    taken = list(inspect.signature(PopulationModule).parameters)[3:]
    assert Settings.__optional_keys__ == set(taken)
