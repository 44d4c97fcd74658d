"""Integration of neurons as functions, under the names and parameters of hxtorch's earlier
functional interface.

As a layer's ``func`` (:mod:`lavalike.bss2.snn`) they compute what
:class:`lavalike.bss2.spiking.LIF` and ``LI`` do; the layer takes its settings from their
parameters, so that a chip is set up alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from lavalike.arguments import TENSOR, Rule, arguments, choice, instance, numbers, optional, real
from lavalike.bss2.spiking.neuron import ALPHA, Params, Recorded, Value, integrate
from lavalike.bss2.spiking.population import capacitance
from lavalike.errors import InputError


class CUBALIFParams(NamedTuple):
    """``tau_mem_inv``, ``tau_syn_inv``: 1 / s; ``tau_ref``: s; ``v_leak``, ``v_th``, ``v_reset``:
    voltages; ``alpha``: of the surrogate."""

    tau_mem_inv: Value
    tau_syn_inv: Value
    tau_ref: Value = 0.0
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    alpha: float = ALPHA
    method: str = "superspike"

    def settings(self) -> dict[str, Any]:
        """Of a LIF."""
        return {
            "leak": self.v_leak,
            "reset": self.v_reset,
            "threshold": self.v_th,
            "refractory_time": self.tau_ref,
            "alpha": self.alpha,
            "method": self.method,
            **_times(self.tau_mem_inv, self.tau_syn_inv),
        }


class CUBALIParams(NamedTuple):
    """As :class:`CUBALIFParams`."""

    tau_mem_inv: Value
    tau_syn_inv: Value
    v_leak: Value = 0.0

    def settings(self) -> dict[str, Any]:
        """Of an LI."""
        return {"leak": self.v_leak, **_times(self.tau_mem_inv, self.tau_syn_inv)}


def _checked(cls: Any) -> None:
    """What a NamedTuple is made with is looked at: its class statement takes no __new__ of its
    own."""
    rules = {"tau_mem_inv": numbers(above=0), "tau_syn_inv": numbers(above=0), "v_leak": numbers()}
    if "v_th" in cls._fields:
        rules |= {
            "tau_ref": numbers(0),
            "v_th": numbers(),
            "v_reset": numbers(),
            "alpha": real(above=0),
            "method": choice("superspike", "eventprop"),
        }
    cls.__new__ = arguments(**rules)(cls.__new__)


_checked(CUBALIFParams)
_checked(CUBALIParams)
_INTEGRATED: dict[str, Rule] = {
    "input": TENSOR,
    "hw_data": optional(instance(Recorded)),
    "dt": real(above=0, below=1),
}


@arguments(params=instance(CUBALIFParams), **_INTEGRATED)
def cuba_lif_integration(
    input: torch.Tensor,
    params: CUBALIFParams,
    hw_data: Recorded | None = None,
    dt: float = 1e-6,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spikes, membrane and current, (time, batch, neuron) each, of the weighted spikes ``input``;
    ``hw_data``: recorded ones to inject."""
    if params.method != "superspike":
        raise InputError(
            f"cuba_lif_integration: method is 'superspike', got {params.method!r}; EventPropLIF has its own layer"
        )
    tau = 1 / params.tau_mem_inv
    p = Params(
        params.v_leak, params.v_reset, params.v_th, tau, 1 / params.tau_syn_inv, tau, params.tau_ref
    )
    out = integrate(input, p, dt, hw_data, float(params.alpha))
    return out.spikes, out.membrane, out.current  # type: ignore[return-value]  # a LIF has one membrane and one current


@arguments(params=instance(CUBALIParams), **_INTEGRATED)
def cuba_li_integration(
    input: torch.Tensor, params: CUBALIParams, hw_data: Recorded | None = None, dt: float = 1e-6
) -> torch.Tensor:
    """The membrane, (time, batch, neuron), of the weighted spikes ``input``."""
    tau = 1 / params.tau_mem_inv
    p = Params(
        params.v_leak,
        tau_mem=tau,
        tau_syn=1 / params.tau_syn_inv,
        membrane_capacitance=tau,
        fire=False,
    )
    return integrate(input, p, dt, hw_data).membrane


def _times(tau_mem_inv: Value, tau_syn_inv: Value) -> dict[str, Any]:
    tau = 1 / tau_mem_inv
    return {"tau_mem": tau, "tau_syn": 1 / tau_syn_inv, "membrane_capacitance": capacitance(tau)}
