"""Helpers for training."""

from lavalike.slayer.utils import (
    filter as filter,
    int_utils as int_utils,
    quantize as _quantize,
    recurrent as recurrent,
    time as time,
)
from lavalike.slayer.utils.assistant import Assistant as Assistant
from lavalike.slayer.utils.callbacks import (
    Callback as Callback,
    LogFile as LogFile,
    ScalarWriter as ScalarWriter,
)
from lavalike.slayer.utils.checkpoint import (
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from lavalike.slayer.utils.groups import parameter_groups as parameter_groups
from lavalike.slayer.utils.quantize import MODE as MODE, quantize_hook_fx as quantize_hook_fx
from lavalike.slayer.utils.stats import LearningStat as LearningStat, LearningStats as LearningStats
from lavalike.slayer.utils.utils import (
    diagonal_mask as diagonal_mask,
    dotdict as dotdict,
    event_rate as event_rate,
    staticproperty as staticproperty,
)
from lavalike.weights import load_weights as load_weights, save_weights as save_weights

quantize = _quantize.quantize
QUANTIZE_MODE = MODE  # its name in lava-dl
