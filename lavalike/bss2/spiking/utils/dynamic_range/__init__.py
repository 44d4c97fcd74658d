"""What a chip makes of voltages and weights, measured: :mod:`.boundary`, :mod:`.threshold`,
:mod:`.weight_scaling`.

Layers on an emulated chip need none of these numbers: their scales are fitted. Programs written
for hxtorch, which set ``trace_scale`` and ``weight_scale`` themselves, measure them here, on the
chip in use, or, where there is none, on the one that ``init_hardware`` takes.
"""
