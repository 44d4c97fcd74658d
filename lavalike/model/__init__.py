"""Which model stands in for which process."""

from lavalike.model.config import (
    Choice as Choice,
    NodeConfig as NodeConfig,
    Precision as Precision,
    RunConfig as RunConfig,
)
from lavalike.model.model import (
    ProcessModel as ProcessModel,
    SubProcessModel as SubProcessModel,
    implements as implements,
)
