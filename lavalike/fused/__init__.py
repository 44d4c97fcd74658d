"""Neurons over time, compiled: from one step, traced and differentiated by torch, printed as
loops."""

from lavalike.fused import ambient as ambient, eventprop as eventprop
from lavalike.fused.arithmetic import Training as Training
from lavalike.fused.scan import (
    Result as Result,
    plain_loops as plain_loops,
    reference as reference,
    scan as scan,
)
from lavalike.fused.stretches import in_stretches as in_stretches
