"""What the process does, and that its model keeps every rule of a model."""

import numpy as np

import lavalike as lv
from lavalike.testing import check_model
from my_project.process import Leaky, LeakyModel, example


def test_it_fires_when_the_voltage_exceeds_the_threshold():
    rec = lv.simulate(Leaky(shape=(1,), dv=0.5), {"a_in": np.full((1, 6), 0.6)})
    # v: 0.6, 0.9, 1.05 -> spike, and again
    np.testing.assert_array_equal(rec["s_out"][0], [0, 0, 1, 0, 0, 1])


def test_the_model_keeps_every_rule():
    check_model(example(), LeakyModel)
