"""Synapses that learn while the network runs: rules, traces and their reference in NumPy."""

from lavalike.learning.rule import LearningRule as LearningRule, Trace as Trace
from lavalike.learning.rules import STDP as STDP, RewardModulatedSTDP as RewardModulatedSTDP
