"""What of an experiment lies on the chip: its populations with the projections that reach them; and
what cannot lie there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RecordingError, RoutingError
from lavalike.bss2.placement import Population
from lavalike.bss2.spiking.handle import Handle
from lavalike.bss2.spiking.module import BatchDropout, chip_number
from lavalike.bss2.spiking.population import READ, PopulationModule
from lavalike.bss2.spiking.synapse import Projection
from lavalike.bss2.spiking.utils.readout_source import ReadoutSource
from lavalike.bss2.spiking.wrapper import HXModuleWrapper
from lavalike.errors import InputError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import LayerCall


@dataclass(frozen=True)
class Arrival:
    """A projection to a population: from a handle's spikes, or from the population itself
    (None)."""

    projection: Projection
    handle: Handle | None


@dataclass(frozen=True)
class Site:
    """A population on the chip: its node, what arrives, and whether it hears itself."""

    node: LayerCall
    population: PopulationModule
    arrivals: tuple[Arrival, ...]


def sites_of(nodes: list[LayerCall]) -> dict[int, Site]:
    """Populations by the id of their node."""
    made = {id(h): n for n in nodes for h in n.outputs}
    out: dict[int, Site] = {}
    for node in nodes:
        m = node.module
        if isinstance(m, PopulationModule):
            out[id(node)] = Site(node, m, tuple(_arrival(h, made, m) for h in node.inputs))
        elif isinstance(m, HXModuleWrapper):
            fed, graded = m.arriving(node.inputs)
            arrivals = (
                *(_arrival(h, made, m.population) for h in graded),
                *(Arrival(p, h) for p, h in fed),
                *(Arrival(p, None) for p in m.recurrent),
            )
            out[id(node)] = Site(node, m.population, arrivals)
    if not out:
        raise RoutingError(
            "run: there is no population in the experiment; on a chip a synapse ends at neurons: add LIF or LI"
        )
    used = {id(a.projection) for s in out.values() for a in s.arrivals}
    for node in nodes:
        if isinstance(node.module, Projection) and id(node.module) not in used:
            raise RoutingError(
                f"{node.module.name}: no population takes what it sends; on a chip a synapse ends at neurons"
            )
    return out


def _arrival(handle: Handle, made: dict[int, LayerCall], population: PopulationModule) -> Arrival:
    node = made.get(id(handle))
    if node is None or not isinstance(node.module, Projection):
        raise RoutingError(
            f"{population.name}: what arrives comes from {'outside' if node is None else node.module.name}; on a chip only "
            "a Synapse reaches neurons: call it on the spikes in the same pass"
        )
    return Arrival(node.module, node.inputs[0])


def _origin(handle: Handle, names: dict[int, str]) -> tuple[str, ...]:
    """The population a handle's spikes come from, a dropout layer in between or not."""
    if id(handle) in names:
        return (names[id(handle)],)
    follows = handle.source.follows if isinstance(handle.source, BatchDropout) else None
    return (follows,) if follows is not None and follows in names.values() else ()


def _fan_in(site: Site) -> int:
    degree = 0
    for a in site.arrivals:
        mask = getattr(a.projection, "mask", None)
        degree += a.projection.in_features if mask is None else int(mask.sum(1).max())
    return degree


def to_place(sites: Sequence[Site]) -> tuple[Population, ...]:
    """The populations as the placement takes them."""
    names = {id(h): s.population.name for s in sites for h in s.node.outputs}
    out = []
    for s in sites:
        sources = dict.fromkeys(
            n for a in s.arrivals if a.handle is not None for n in _origin(a.handle, names)
        )
        instance, chip = s.population.execution_instance, s.population.chip_coordinate
        out.append(
            Population(
                s.population.name,
                s.population.size,
                _fan_in(s),
                any(a.handle is None for a in s.arrivals),
                s.population.neuron_structure,
                None if instance is None else instance.name,
                tuple(sources),
                sum(a.projection.in_features for a in s.arrivals),
                None if chip is None else chip_number(chip, s.population.name),
                s.population.first_circuits,
            )
        )
    return tuple(out)


def check(sites: Sequence[Site]) -> None:
    """Raise what the chip cannot record, or not run."""
    _check_recordings([s.population for s in sites])
    for s in sites:
        _check_plasticity(s)
        _check_placed_with(s)
        _check_readout(s.population)
    experiment = sites[0].population.experiment
    _check_chip_only(experiment, {"hw_routing_func": None})
    instances = {id(i): i for s in sites if (i := s.population.execution_instance) is not None}
    for i in (*instances.values(), experiment.default_execution_instance):
        _check_chip_only(i, {"calib_cache_dir": None, "input_loopback": False, "chip": None})
    shared = [n for n, count in Counter(i.name for i in instances.values()).items() if count > 1]
    if shared:
        raise InputError(
            f"ExecutionInstance {', '.join(shared)}: several have this name; give each its own, or layers the same one"
        )


def _check_chip_only(owner: Any, defaults: dict[str, Any]) -> None:
    for name, default in defaults.items():
        if getattr(owner, name) != default:
            raise RoutingError(
                f"{getattr(owner, 'name', type(owner).__name__)}: {name} is a real chip's; an emulated one has nothing that "
                f"follows it, got {getattr(owner, name)!r}. Leave it out"
            )


def notes(sites: Sequence[Site]) -> list[str]:
    """What was asked for and only a real chip can follow, for the report."""
    return [
        f"{s.population.name}: placement_constraint holds a real chip's coordinates "
        f"({type(s.population.placement_constraint[0]).__name__}); it was placed automatically. Numbers of circuits, or "
        "coordinates of lavalike.bss2.halco, are followed"
        for s in sites
        if s.population.placement_constraint and s.population.first_circuits is None
    ]


def _check_readout(p: PopulationModule) -> None:
    for name in READ:
        source = getattr(p, name)
        if not isinstance(source, ReadoutSource | None):
            raise RecordingError(
                f"{p.name}: {name} of an emulated chip is ReadoutSource.VOLTAGE or ADAPTATION, got {source!r}; choose one of "
                "them"
            )
        if source is ReadoutSource.ADAPTATION and not p.adapts:
            raise RecordingError(
                f"{p.name}: {name} is ADAPTATION, and its neurons have no adaptation current; use VOLTAGE, or an AELIF"
            )


def _check_placed_with(site: Site) -> None:
    """Synapses lie with the circuits they reach."""
    for a in site.arrivals:
        for name in ("execution_instance", "chip_coordinate"):
            asked, given = getattr(a.projection, name), getattr(site.population, name)
            if name == "chip_coordinate" and None not in (asked, given):
                same = chip_number(asked, a.projection.name) == chip_number(given, "")
            else:
                same = asked is None or asked == given
            if not same:
                raise RoutingError(
                    f"{a.projection.name}: synapses lie where {site.population.name} lies, at which they end; {name} is "
                    f"{asked!r} here and {given!r} there. Give the population the same, or leave it out here"
                )


def _check_recordings(populations: list[PopulationModule]) -> None:
    fast = [p.name for p in populations if p.enable_madc_recording]
    if len(fast) > facts.MADC_NEURONS:
        raise RecordingError(
            f"the MADC records {facts.MADC_NEURONS} neuron of an experiment, got one of each of {', '.join(fast)}; "
            "set enable_madc_recording in one of them"
        )
    slow = {
        p.enable_cadc_recording_placement_in_dram for p in populations if p.enable_cadc_recording
    }
    if len(slow) > 1:
        raise RecordingError(
            f"CADC recordings of {', '.join(p.name for p in populations)} are placed in SRAM and in DRAM; all populations "
            f"of a run "
            "use one of them: set enable_cadc_recording_placement_in_dram alike"
        )


def _check_plasticity(site: Site) -> None:
    ruled = [a.projection.name for a in site.arrivals if a.projection.plasticity_rule is not None]
    if ruled and site.population.enable_cadc_recording:
        raise InputError(
            f"{', '.join(ruled)}: a plasticity rule and the CADC recording of {site.population.name} both need the chip's "
            f"processors; "
            "set enable_cadc_recording=False, or leave plasticity_rule out"
        )
    if ruled:
        raise RoutingError(
            f"{', '.join(ruled)}: plasticity rules run on a real chip's processors; this one is emulated. Leave "
            f"plasticity_rule out"
        )
