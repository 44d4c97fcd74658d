"""Vectors and matrices of networks."""

import numpy as np

from tests.doors.table import NAN, SHAPE, bad, row

EXP = bad("3", 1.5, None, values=(-1, 99))
VTH = bad("x", None, values=(NAN,))
WEIGHTS = bad("x", None, values=([[3.0]], [[NAN]], np.ones(3)))
ROWS = [
    row(
        "lavalike.networks.InputVec",
        {"vec": np.ones((2, 3))},
        vec=bad("x", None, values=([[NAN]],)),
        exp=EXP,
    ),
    row(
        "lavalike.networks.OutputVec",
        {"shape": (2,)},
        shape=SHAPE,
        buffer=bad("3", 1.5, None, values=(0,)),
    ),
    row("lavalike.networks.LIFVec", {"shape": (2,)}, shape=SHAPE, vth=VTH),
    row("lavalike.networks.GradedVec", {"shape": (2,)}, shape=SHAPE, vth=VTH, exp=EXP),
    row("lavalike.networks.ProductVec", {"shape": (2,)}, shape=SHAPE, vth=VTH, exp=EXP),
    row("lavalike.networks.GradedDense", {"weights": [[1.0]]}, weights=WEIGHTS, exp=EXP),
    row("lavalike.networks.GradedSparse", {"weights": [[1.0]]}, weights=WEIGHTS, exp=EXP),
    row(
        "lavalike.networks.NormalizeNet",
        {"shape": (2,)},
        shape=SHAPE,
        exp=bad("3", 1.5, None, values=(-1, 21)),
        vth=VTH,
    ),
    row(
        "lavalike.networks.ResFireVec",
        {"shape": (2,)},
        shape=SHAPE,
        freqs=bad("x", None, values=(NAN,)),
        decay_tau=bad("x", None, values=(NAN,)),
        dt=bad("x", None, values=(NAN,)),
        uth=VTH,
    ),
]
EXEMPT = {
    "lavalike.networks.Network": "base of vectors and matrices, which have rows",
    "lavalike.networks.NetworkList": "made by the operator +",
    "lavalike.networks.AlgebraicVector": "base of the vectors, which have rows",
    "lavalike.networks.AlgebraicMatrix": "base of the matrices, which have rows",
}
