"""Spiking mode: bss2.md 2.1 to 2.3. On the "chip" voltages are in LSB, weights are whole numbers,
and one of 1 is worth DRIVE LSB."""

from __future__ import annotations

import torch

from tests.hxtorch_standin import connection

DRIVE = 0.9
made: list[object] = []


def linear_saturating(weight, scale=1.0, min_weight=-63.0, max_weight=63.0):
    return torch.clamp(scale * weight, min_weight, max_weight)


class MixedHXModelParameter:
    def __init__(self, model_value, hardware_value):
        self.model_value, self.hardware_value = model_value, hardware_value


def _chip(parameter):
    return getattr(parameter, "hardware_value", parameter)


class TensorHandle:
    def __init__(self, tensor=None):
        self.tensor = tensor


class SynapseHandle:
    def __init__(self, graded_spikes=None):
        self.graded_spikes = graded_spikes


class LIFObservables:
    def __init__(self, spikes=None, membrane_cadc=None, current=None, membrane_madc=None):
        self.spikes, self.membrane_cadc, self.current, self.membrane_madc = (
            spikes,
            membrane_cadc,
            current,
            membrane_madc,
        )


class LIObservables:
    def __init__(self, membrane_cadc=None, current=None, membrane_madc=None):
        self.membrane_cadc, self.current, self.membrane_madc = membrane_cadc, current, membrane_madc


class ExecutionInstance:
    def __init__(self, calib_path=None, calib_cache_dir=None, input_loopback=False):
        self.calib_path, self.calib_cache_dir, self.input_loopback = (
            calib_path,
            calib_cache_dir,
            input_loopback,
        )

    def load_calib(self, calib_path):
        self.calib_path = calib_path


class SingleCompartmentNeuron:
    def __init__(self, size, expand_horizontally=False):
        self.size = self.compartments = size


class ReadoutSource:
    VOLTAGE, ADAPTATION = "hal.membrane", "hal.adaptation"


def get_trace_scaling(params, calib_path=None, neuron_structure=None):
    made.append(("get_trace_scaling", params, calib_path, neuron_structure))
    return torch.tensor(1 / 44)


class Experiment:
    def __init__(self, mock=False, dt=1e-6, hw_routing_func=None):
        self.mock, self.dt, self.hw_routing_func, self.nodes = mock, dt, hw_routing_func, []
        self.inter_batch_entry_wait = None
        made.append(self)


def run(experiment, runtime):
    if not experiment.mock and not connection.held:
        raise RuntimeError("hardware is not initialised")
    if not experiment.mock and not isinstance(runtime, int):
        raise ValueError("runtime must be an integer")
    for module, inputs, output in experiment.nodes:
        module.compute(inputs, output, runtime)
    experiment.nodes = []


class HXModule(torch.nn.Module):
    def __init__(self, experiment):
        super().__init__()
        self.experiment = experiment
        made.append(self)

    def forward(self, *inputs):
        output = self.output_type()
        self.experiment.nodes.append((self, inputs, output))
        return output


class Synapse(HXModule):
    output_type = SynapseHandle

    def __init__(
        self,
        in_features,
        out_features,
        experiment,
        execution_instance=None,
        chip_coordinate=None,
        device=None,
        dtype=None,
        transform=linear_saturating,
        plasticity_rule=None,
    ):
        super().__init__(experiment)
        self.weight = torch.nn.Parameter(
            torch.zeros(out_features, in_features, device=device, dtype=dtype)
        )
        self.transform = transform

    def compute(self, inputs, output, runtime):
        w = self.transform(self.weight.detach())
        whole = torch.trunc(w + 0.5 * w.sign())
        assert whole.abs().max() <= 63
        output.graded_spikes = inputs[0].spikes[:runtime] @ whole.t()


class SparseSynapse(Synapse):
    def __init__(
        self,
        connections,
        experiment,
        execution_instance=None,
        chip_coordinate=None,
        device=None,
        dtype=None,
        transform=linear_saturating,
        plasticity_rule=None,
    ):
        HXModule.__init__(self, experiment)
        assert connections.is_sparse
        self.weight = torch.nn.Parameter(connections.coalesce().clone())
        self.transform = transform

    def compute(self, inputs, output, runtime):
        w = self.transform(self.weight.detach().to_dense()).t()
        output.graded_spikes = inputs[0].spikes[:runtime] @ torch.trunc(w + 0.5 * w.sign()).t()


class LI(HXModule):
    output_type = LIObservables
    fires = False

    def __init__(
        self,
        size,
        experiment,
        leak=80,
        tau_syn=10e-6,
        tau_mem=10e-6,
        i_synin_gm=500,
        membrane_capacitance=63,
        synapse_dac_bias=600,
        execution_instance=None,
        chip_coordinate=None,
        enable_cadc_recording=True,
        enable_cadc_recording_placement_in_dram=False,
        cadc_readout_source=None,
        enable_madc_recording=False,
        record_neuron_id=None,
        madc_readout_source=None,
        placement_constraint=None,
        trace_offset=0.0,
        trace_scale=1.0,
        cadc_time_shift=0,
        shift_cadc_to_first=False,
        interpolation_mode="linear",
        neuron_structure=None,
    ):
        super().__init__(experiment)
        self.configure(size, locals())

    def configure(self, size, given):
        self.size = size
        self.given = {
            k: v for k, v in given.items() if k not in ("self", "experiment", "size", "__class__")
        }
        self.mask = None

    def compute(self, inputs, output, runtime):
        g, dt = {n: _chip(v) for n, v in self.given.items()}, self.experiment.dt
        x = sum(h.graded_spikes for h in inputs) * DRIVE
        v, i, ref = torch.full_like(x[0], g["leak"]), torch.zeros_like(x[0]), torch.zeros_like(x[0])
        spikes, membranes = [], []
        for a in x:
            v, i = (
                v + dt / g["tau_mem"] * (g["leak"] - v) + dt / 10e-6 * i,
                i * (1 - dt / g["tau_syn"]) + a,
            )
            if self.fires:
                held = ref > 0
                z = ((v > g["threshold"]) & ~held).float()
                v = torch.where((z > 0) | held, torch.full_like(v, g["reset"]), v)
                ref = (1 - z) * (ref - held.float()).clamp(min=0) + z * g["refractory_time"] / dt
                spikes.append(z if self.mask is None else z * self.mask)
            membranes.append(
                (v - (g["leak"] if g.get("shift_cadc_to_first") else g["trace_offset"] + 128))
                * g["trace_scale"]
            )
        output.membrane_cadc = torch.stack(membranes)
        if self.fires:
            output.spikes = torch.stack(spikes)


class LIF(LI):
    output_type = LIFObservables
    fires = True

    def __init__(
        self,
        size,
        experiment,
        leak=80,
        reset=80,
        threshold=125,
        tau_syn=10e-6,
        tau_mem=10e-6,
        i_synin_gm=500,
        membrane_capacitance=63,
        refractory_time=1e-6,
        synapse_dac_bias=600,
        holdoff_time=0,
        method="superspike",
        alpha=50.0,
        execution_instance=None,
        chip_coordinate=None,
        enable_spike_recording=True,
        enable_cadc_recording=True,
        enable_cadc_recording_placement_in_dram=False,
        cadc_readout_source=None,
        enable_madc_recording=False,
        record_neuron_id=None,
        madc_readout_source=None,
        placement_constraint=None,
        trace_offset=0.0,
        trace_scale=1.0,
        cadc_time_shift=0,
        shift_cadc_to_first=False,
        interpolation_mode="linear",
        neuron_structure=None,
    ):
        HXModule.__init__(self, experiment)
        self.configure(size, locals())


class AELIF(LIF):
    def __init__(
        self,
        size,
        experiment,
        leak=80,
        reset=80,
        threshold=125,
        tau_syn=10e-6,
        tau_mem=10e-6,
        i_synin_gm=500,
        membrane_capacitance=63,
        refractory_time=1e-6,
        synapse_dac_bias=600,
        holdoff_time=0,
        exponential_slope=50e-3,
        exponential_threshold=110,
        subthreshold_adaptation_strength=1,
        spike_triggered_adaptation_increment=1,
        clock_scale_adaptation_pulse=(5, 5),
        tau_adap=100e-6,
        leak_adaptation=None,
        leaky=True,
        fire=True,
        exponential=True,
        subthreshold_adaptation=True,
        spike_triggered_adaptation=True,
        cadc_readout_source=None,
        enable_cadc_recording=True,
        trace_offset=0.0,
        trace_scale=1.0,
    ):
        HXModule.__init__(self, experiment)
        self.configure(size, locals())


# -- the earlier names -----------------------------------------------------------------------------


class Instance(Experiment):
    def __init__(self, mock=False, dt=1e-6):
        super().__init__(mock, dt)


class NeuronHandle(LIFObservables):
    def __init__(self, spikes=None, membrane_cadc=None):
        super().__init__(spikes, membrane_cadc)


class Neuron(LIF):
    """Without the arguments that came later."""

    output_type = NeuronHandle

    def __init__(
        self,
        size,
        experiment,
        leak=80,
        reset=80,
        threshold=125,
        tau_syn=10e-6,
        tau_mem=10e-6,
        i_synin_gm=500,
        membrane_capacitance=63,
        refractory_time=1e-6,
        synapse_dac_bias=600,
        holdoff_time=0,
        func=None,
        enable_spike_recording=True,
        enable_cadc_recording=True,
        trace_offset=0.0,
        trace_scale=1.0,
        cadc_time_shift=0,
        shift_cadc_to_first=False,
    ):
        HXModule.__init__(self, experiment)
        self.configure(size, locals())


class ReadoutNeuron(LI):
    def __init__(
        self,
        size,
        experiment,
        leak=80,
        tau_syn=10e-6,
        tau_mem=10e-6,
        i_synin_gm=500,
        membrane_capacitance=63,
        synapse_dac_bias=600,
        func=None,
        enable_cadc_recording=True,
        trace_offset=0.0,
        trace_scale=1.0,
        cadc_time_shift=0,
        shift_cadc_to_first=False,
    ):
        HXModule.__init__(self, experiment)
        self.configure(size, locals())
