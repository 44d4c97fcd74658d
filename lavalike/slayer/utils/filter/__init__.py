"""Filters over the last axis, time."""

from lavalike.slayer.utils.filter.conv import conv as conv, corr as corr
from lavalike.slayer.utils.filter.fir import FIR as FIR, FIRBank as FIRBank
