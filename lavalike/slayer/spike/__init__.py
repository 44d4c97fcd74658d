"""Spikes with slayer's surrogate gradients."""

from lavalike.slayer.spike import complex as complex
from lavalike.slayer.spike.spike import (
    Graded as Graded,
    GradedPhase as GradedPhase,
    Phase as Phase,
    Slayer as Slayer,
    Spike as Spike,
)
