"""Where surrogates were before 0.5, and where pickled networks of then look for them."""

from lavalike.fused.surrogate import *  # noqa: F403
