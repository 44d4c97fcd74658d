"""Layers as processes: those that a file is made of, and those that a program builds by hand."""

from netx.blocks import process as process
