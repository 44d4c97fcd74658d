"""As old as this one is, it knows no averaging and no expanded convolution."""

from tests.hxtorch_standin import arrays
from tests.hxtorch_standin.arrays import (
    Conv1d as Conv1d,
    Conv2d as Conv2d,
    ConvertingReLU as ConvertingReLU,
    ReLU as ReLU,
)


class Linear(arrays.Linear):
    def __init__(
        self,
        in_features,
        out_features,
        bias=True,
        num_sends=None,
        wait_between_events=5,
        mock=False,
        *,
        input_transform=None,
        weight_transform=arrays.clamp_weight_,
    ):
        super().__init__(
            in_features,
            out_features,
            bias,
            num_sends,
            wait_between_events,
            mock,
            input_transform=input_transform,
            weight_transform=weight_transform,
        )
