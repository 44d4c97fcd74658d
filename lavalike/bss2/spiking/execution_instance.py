"""Parts of a network that are on a chip at a time."""

from __future__ import annotations

from typing import Any

from lavalike.arguments import FLAG, PATH, TEXT, arguments, optional


class ExecutionInstance:
    """A part of the network that is on a chip at a time. Layers of different instances run one
    after the other, their spikes recorded and replayed. Layers without one are placed
    automatically.

    Args:
        calib_path: of a calibration file (:class:`lavalike.bss2.Calibration`): what it left of the
            chip's patterns holds in this instance. A real chip's file (calix) on an emulated one:
            an EmulatedChipWarning, and the nominal calibration.
        calib_cache_dir, input_loopback: of a real chip, handed to hxtorch; an emulated one refuses
            them, simulation has no use for them. Defaults None, False.
        name: for messages and reports; one of its own. Default: a number.

    Attributes:
        chip: of a real chip, the configuration (lola.Chip) to begin with, as the two above. Default
            None.
    """

    @arguments(
        calib_path=optional(PATH),
        calib_cache_dir=optional(PATH),
        input_loopback=FLAG,
        name=optional(TEXT),
    )
    def __init__(
        self,
        calib_path: str | None = None,
        calib_cache_dir: str | None = None,
        input_loopback: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        self.calib_path, self.calib_cache_dir, self.input_loopback = (
            calib_path,
            calib_cache_dir,
            input_loopback,
        )
        self.chip: Any = None
        self.name = f"instance {id(self):x}" if name is None else name

    @arguments(calib_path=PATH)
    def load_calib(self, calib_path: str) -> None:
        """Take the calibration in the file ``calib_path`` from the next run on; a wrong file is
        told there."""
        self.calib_path = calib_path
