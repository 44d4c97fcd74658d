"""Sources and sinks."""

from lavalike.proc.io import sink as sink, source as source
