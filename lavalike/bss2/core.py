"""hxtorch.core: the connection to a chip, :mod:`lavalike.bss2.hxtorch.connection`."""

from lavalike.bss2.hxtorch.connection import (
    CalibrationPath as CalibrationPath,
    HWDBPath as HWDBPath,
    get_unique_identifier as get_unique_identifier,
    init_hardware as init_hardware,
    init_hardware_minimal as init_hardware_minimal,
    release_hardware as release_hardware,
)
