"""hxtorch.perceptron.constants: the numbers of the array and of an operation."""

from __future__ import annotations

from lavalike.bss2.chip import facts

synaptic_weight_min, synaptic_weight_max = -facts.WEIGHT_MAX, facts.WEIGHT_MAX
input_activation_min, input_activation_max = 0, facts.INPUT_MAX
output_activation_min, output_activation_max = facts.OUTPUT_MIN, facts.OUTPUT_MAX
hardware_matrix_height, hardware_matrix_width = facts.SIGNED_ROWS, facts.COLUMNS


class defaults:
    """Of an operation that is not told otherwise."""

    wait_between_events = facts.DEFAULT_WAIT
    gain = facts.DEFAULT_GAIN
    noise_std = facts.DEFAULT_NOISE
