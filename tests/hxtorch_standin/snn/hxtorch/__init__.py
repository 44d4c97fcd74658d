from . import core as core, perceptron as perceptron
