"""A process of its own, and its model."""

from my_project.process import Leaky as Leaky, LeakyModel as LeakyModel
