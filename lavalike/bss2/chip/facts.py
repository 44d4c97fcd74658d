"""What BrainScaleS-2 (HICANN-X) is, each number with its source.

Sources: [halco] the chip's coordinate definitions; [grenade], [calix], [hxtorch] the published
software of that name (2026-03); [weis] Weis et al. 2020 (arXiv:2006.13177); [pehle] Pehle et al.
2022 (doi:10.3389/fnins.2022.795876); [tutorials] the BrainScaleS-2 demonstrations; [chosen] not
published: chosen here. Voltages are in CADC LSB, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

# -- the array
HEMISPHERES = 2  # [halco]
ROWS = 256  # synapse rows a hemisphere [halco]; the sign is the row's, so that two make
SIGNED_ROWS = 128  # [hxtorch] hardware_matrix_height
COLUMNS = 256  # a hemisphere [halco]; [hxtorch] hardware_matrix_width
SYNAPSES = HEMISPHERES * ROWS * COLUMNS  # 131072 [halco], [weis]
CIRCUITS = HEMISPHERES * COLUMNS  # 512 AdEx neuron circuits, one a column [halco]
QUADRANTS = 4  # 128 columns each; CADC offsets are a quadrant's [calix]

# -- numbers
WEIGHT_MAX = 63  # 6 bits [hxtorch]
INPUT_MAX = 31  # 5 bits [hxtorch]
OUTPUT_MIN, OUTPUT_MAX = -128, 127  # 8 bits: CADC minus its baseline of 128 [hxtorch]
DEFAULT_GAIN = 0.002  # output LSB for input x weight = 1 [hxtorch]
DEFAULT_NOISE = 2.0  # LSB, of one output from trial to trial [hxtorch]
DEFAULT_WAIT = 5  # FPGA cycles between events [hxtorch]

# -- routing
PADI_BUSES = 4  # a hemisphere, of 32 synapse drivers of two rows [halco]
BUS_ROWS = 64  # rows a bus reaches in one column: its in-degree [grenade]
OUTPUT_COLUMNS = (
    32  # neuron column c sends on output c // 32; the bus is (c // 32) % 4 [halco], [grenade]
)
SOURCE_LABELS = 64  # 6-bit labels of one source group [grenade]
EVENT_RATE = 125e6  # events a second into the array; what exceeds it is dropped [tutorials]
BACKGROUND_SOURCES = 8  # [halco]

# -- clocks and converters
FPGA_CYCLE = 8e-9  # 125 MHz [grenade]
PPU_CLOCK = 250e6  # Hz [grenade]
SPEED_UP = 1000  # against biology, nominal [pehle]
CADC_BITS = 8  # [tutorials]
CADC_CHANNELS = 2 * CIRCUITS  # two a column: causal and anticausal [tutorials]
CADC_PERIOD = 1.7e-6  # shortest [hxtorch]; 2 us into SRAM, 6 us into DRAM
CADC_SAMPLES = 204_800  # what the DRAM buffer holds [hxtorch]
CADC_RELIABLE = (30, 210)  # LSB [calix]
CADC_BASELINE = 128  # LSB that hxtorch takes off what the CADC read [hxtorch]
MEMBRANE_RANGE = (25, 228)  # LSB, where a strong current drives a membrane [hxtorch, its tests]
MADC_BITS = 10  # [tutorials]
MADC_NEURONS = 1  # that hxtorch records at once [hxtorch]; the chip alternates between two
MADC_RATE = 29.4e6  # samples a second, about: 3235 in 110 us [hxtorch]
CAPMEM_MAX = 1022  # 10 bits [tutorials]


@dataclass(frozen=True)
class Range:
    """What a parameter of a neuron can be calibrated to ([calix], ``check_target``), and its
    default there."""

    low: float
    high: float
    default: float
    unit: str


RANGES = {
    "leak": Range(50, 160, 80, "LSB"),
    "reset": Range(50, 160, 70, "LSB"),
    "threshold": Range(50, 220, 125, "LSB"),
    "tau_mem": Range(0.5e-6, 60e-6, 10e-6, "s"),
    "tau_syn": Range(0.3e-6, 30e-6, 10e-6, "s"),
    "i_synin_gm": Range(30, 800, 500, "LSB"),
    "e_coba_reference": Range(60, 160, 110, "LSB"),  # default: their middle [chosen]
    "membrane_capacitance": Range(0, 63, 63, "LSB"),
    "refractory_time": Range(40e-9, 32e-6, 2e-6, "s"),
    "holdoff_time": Range(0, 4e-6, 0, "s"),
    "synapse_dac_bias": Range(30, 1022, 600, "LSB"),
    "tau_icc": Range(0.1e-6, 30e-6, 10e-6, "s"),  # between compartments; default [chosen]
}
# of a synapse's sensors: what a pair of spikes adds, how fast that falls with their distance
# [calix]
CORRELATION = {
    "amplitude": Range(0.2, 2.0, 0.5, "LSB"),
    "tau": Range(2e-6, 30e-6, 5e-6, "s"),
}
CORRELATION_MAX = 255  # 8 bits of a CADC, below a baseline that the PPU takes off [tutorials]
HAGEN_RANGES = {
    "tau_syn": Range(0.3e-6, 20e-6, 0.32e-6, "s"),
    "tau_mem": Range(20e-6, 100e-6, 60e-6, "s"),
}

# -- what calibration leaves: standard deviation after it over before it, at most [calix, its tests]
CALIBRATION_RATIO = {"leak": 0.3, "reset": 0.2, "threshold": 0.35, "tau_mem": 0.45, "tau_syn": 0.2}
CALIBRATION_SUCCESS = 0.6  # of the neurons, at least [calix]
