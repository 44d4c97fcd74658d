"""Events: files that people have, structured arrays, frames and sparse steps, a simulated camera.

Nothing here needs torch; ``lavalike.datasets`` has data sets of these for its loaders.

    from lavalike import events

    event = events.read("recording.aedat")  # an Event: x, y, c (polarity), t in ms
    for frame in events.frames(event, dt=1.0, start=None):
        ...
"""

from lavalike.events.camera import (
    SHAPES as SHAPES,
    EventCamera as EventCamera,
    moving_shapes as moving_shapes,
)
from lavalike.events.event import Event as Event, tensor_to_event as tensor_to_event
from lavalike.events.files import from_array as from_array, read as read, write as write
from lavalike.events.steps import (
    Frames as Frames,
    Places as Places,
    frames as frames,
    sparse_steps as sparse_steps,
)


def __getattr__(name: str) -> object:  # h5py is loaded by who reads HDF5
    if name in _LAZY:
        from lavalike.events import spikes

        return getattr(spikes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_LAZY = ("SpikeFile", "write_spike_file")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
