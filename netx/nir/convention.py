"""How a NIR graph, which says equations of continuous time, is computed in steps.

NIR says neither the step nor how it is taken, and its readers differ in both. A
:class:`Convention` names one way. ``"nir"`` is NIR's equations in forward Euler; the others are
what the networks of a program compute, so that its files are read as they were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lavalike.arguments import (
    FLAG,
    Rule,
    arguments,
    choice,
    did_you_mean,
    optional,
    real,
    shown,
)
from lavalike.errors import InputError
from netx.nir.graph import Graph

STEP = real(above=0)  # seconds
_CHOICES = {
    "integrator": ("euler", "exp"),
    "reset": ("value", "zero", "subtract"),
    "compare": (">", ">="),
    "gain": ("nir", "rounded", "norse", "unit"),
    "synapse": ("nir", "jump"),
    "order": ("new", "old"),
    "v_init": ("zero", "leak", "reset"),
}


@arguments(
    {"late": FLAG},
    dt=optional(STEP),
    tau=STEP,
    **{n: choice(*values) for n, values in _CHOICES.items()},
)
@dataclass(frozen=True, kw_only=True)
class Convention:
    """How the nodes of a graph are computed in steps.

    Args:
        dt: seconds a step where the call says none. Default None: it must.
        integrator: what a step takes of a state: "euler" (default) dt / tau; "exp"
            1 - exp(-dt / tau).
        reset: a spike sets v to "value", v_reset (default), to "zero", or takes the threshold off,
            "subtract".
        late: the reset happens at the start of the next step, as in snnTorch with its defaults; for
            neurons whose input counts as it is, without v_leak and v_reset. Default False.
        compare: a spike is v ">" threshold (default) or ">=".
        gain: what LIF, LI, IF and I add of their input to v: "nir" (default) what a step takes
            times r, without a leak dt r; "rounded" the same, but all of it where that is 1 to
            within the rounding of the file's numbers, which is what programs mean that know no
            gain (of CubaLIF and CubaLI likewise); "norse" as "nir" with r = 1, without a leak all
            of it; "unit" all of it.
        synapse: what CubaLIF and CubaLI add of their input to the current: "nir" (default) what a
            step takes times w_in; "jump" w_in.
        order: the membrane hears the "new" current (default) or that of the last step, "old".
        v_init: v begins at "zero" (default), at v_leak ("leak") or v_reset ("reset").
        tau: factor of a file's time constants. Default 1.

    A parameter of the file that a convention has no use for, as v_reset where thresholds are taken
    off, is a NirWarning where it is not neutral.

    Example:
        >>> from dataclasses import replace
        >>> from netx.nir import CONVENTIONS
        >>> replace(CONVENTIONS["snntorch"], reset="subtract", late=True).dt
        0.0001
    """

    dt: float | None = None
    integrator: str = "euler"
    reset: str = "value"
    late: bool = False
    compare: str = ">"
    gain: str = "nir"
    synapse: str = "nir"
    order: str = "new"
    v_init: str = "zero"
    tau: float = 1.0

    def __post_init__(self) -> None:
        if self.late and (self.compare != ">" or self.order != "new"):
            raise InputError(
                "Convention: late is of neurons that compare='>' and hear the new current (order='new')"
            )

    def taken(self, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a step leaves of a state and what it takes, where it is ``rate`` time constants
        long."""
        kept = 1 - rate if self.integrator == "euler" else np.exp(-rate)
        return kept, 1 - kept


# what the networks of each program compute (docs/nir.md has how that was found)
CONVENTIONS: Mapping[str, Convention] = {
    "nir": Convention(),
    "norse": Convention(gain="norse", reset="zero"),
    "norse-exported": Convention(gain="norse", synapse="jump", tau=1e3),
    "snntorch": Convention(dt=1e-4, gain="rounded"),
    "sinabs": Convention(dt=1.0, integrator="exp", reset="subtract", compare=">=", gain="unit"),
    "spikingjelly": Convention(compare=">=", gain="rounded", v_init="reset"),
}
CONVENTION = Rule(
    f"a netx.nir.Convention or one of {', '.join(map(repr, CONVENTIONS))}",
    lambda v: isinstance(v, str | Convention),
)


def convention_of(given: str | Convention, owner: str) -> Convention:
    """The convention of that name; InputError for a name that is none."""
    if isinstance(given, Convention):
        return given
    if given not in CONVENTIONS:
        raise InputError(
            f"{owner}: convention={given!r} is none of {', '.join(map(repr, CONVENTIONS))}"
            f"{did_you_mean(given, CONVENTIONS)}"
        )
    return CONVENTIONS[given]


def named(convention: Convention) -> str:
    """Its name, or what it is."""
    return next((n for n, c in CONVENTIONS.items() if c == convention), str(convention))


def settled(
    dt: float | None, convention: str | Convention, graph: Graph, owner: str
) -> tuple[float, Convention]:
    """The step and the convention: of the call, then of what we noted in the graph
    (``metadata["lavalike"]``), then the convention's own step.

    Raises NirError where nothing says a step, or a note is none.
    """
    found = convention_of(convention, owner)
    noted = graph.metadata.get("lavalike")
    noted = noted if isinstance(noted, Mapping) else {}
    if convention == "nir" and noted:
        # our neurons' gain is 1, which tau and r say to within rounding
        ours = {"gain": "rounded"} | {n: str(noted[n]) for n in _CHOICES if n in noted}
        for name, value in ours.items():
            if value not in _CHOICES[name]:
                raise graph.error(
                    "", f"metadata/lavalike/{name}", f"is {value!r}", f"one of {_CHOICES[name]}"
                )
        found = replace(found, **ours, late=bool(noted.get("late", False)))  # type: ignore[arg-type]  # one of the choices each
    if dt is None and "dt" in noted:
        dt = noted["dt"]
        if not STEP.kind(dt) or not STEP.value(dt):
            raise graph.error("", "metadata/lavalike/dt", f"is {shown(dt)}", "seconds, above 0")
    dt = found.dt if dt is None else dt
    if dt is None:
        raise graph.error(
            "",
            "dt",
            "is missing: a NIR file does not say how long a step is",
            "give dt in seconds; 1e-4 is what most programs use",
        )
    return float(dt), found
