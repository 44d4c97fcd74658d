from tests.hxtorch_standin.arrays import (
    Conv1d as Conv1d,
    Conv2d as Conv2d,
    ConvertingReLU as ConvertingReLU,
    ExpandedConv1d as ExpandedConv1d,
    Linear as Linear,
    ReLU as ReLU,
    clamp_weight_ as clamp_weight_,
)
