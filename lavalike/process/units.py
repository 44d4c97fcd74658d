"""Units: what the values of a process count in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lavalike.arguments import FLAG, MAPPING, arguments, real


@arguments(loihi=FLAG, checked=FLAG, scale=real(above=0), own=MAPPING)
@dataclass(frozen=True)
class Units:
    """What the values of a process count in; a Dynamics derives the constants of its step by it.

    Args:
        loihi: the values are fixed_pt's whole numbers in floating_pt too, as in a .net file.
            Default False.
        checked: in fixed_pt, a state that leaves its 24 bits is an error. Default False.
        scale: what a state of 1 is in fixed_pt, where the process counts states in the user's unit.
            Default 1.
        own: what else the process was given as ``proc_params``. Default: nothing.
    """

    loihi: bool = False
    checked: bool = False
    scale: float = 1.0
    own: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, proc_params: Mapping[str, Any]) -> Units:
        """Those that a process was given: ``Units.of(process.proc_params)``."""
        if not proc_params:
            return PLAIN
        scale = proc_params.get("scale")
        if (
            not isinstance(scale, int | float) or not scale > 0
        ):  # a user's process may call something else so
            scale = None
        taken = {"loihi_units", "checked"} if scale is None else {"loihi_units", "checked", "scale"}
        return cls(
            bool(proc_params.get("loihi_units")),
            bool(proc_params.get("checked")),
            1.0 if scale is None else scale,
            {k: v for k, v in proc_params.items() if k not in taken},
        )


PLAIN = Units()
