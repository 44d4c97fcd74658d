"""Sources and sinks; what passes between a graph and the program around it; what sets and reads
Vars at set steps."""

from lavalike.proc.io import channel as channel, sink as sink, source as source
from lavalike.proc.io.channel import (
    ChannelConfig as ChannelConfig,
    DroppedMessageWarning as DroppedMessageWarning,
    MissingMessageWarning as MissingMessageWarning,
    ReceiveEmpty as ReceiveEmpty,
    ReceiveNotEmpty as ReceiveNotEmpty,
    SendFull as SendFull,
)
from lavalike.proc.io.dataloader import (
    SpikeDataloader as SpikeDataloader,
    StateDataloader as StateDataloader,
)
from lavalike.proc.io.pipes import (
    Extractor as Extractor,
    Injector as Injector,
    VarWire as VarWire,
)
from lavalike.proc.io.reset import Reset as Reset
from lavalike.proc.io.sink import Read as Read
