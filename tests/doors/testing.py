"""The conformance suite."""

import lavalike as lv
from tests.doors.table import COUNT, NOT_NEGATIVE, bad, optional, row


class Doubling(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))


@lv.implements(Doubling, backend="torch", precision="floating_pt")
class DoublingModel(lv.TorchModel):
    def step(self, t, inputs, state, c):
        return {"s_out": 2 * inputs["a_in"]}, state


MODEL = bad(3, "x", None, values=(Doubling,))
ROWS = [
    row(
        "lavalike.testing.check_backend",
        {"name": "numba", "only": ["Sigma"], "steps": 2},
        name=bad(3, None),
        only=bad(3, "x", values=(["nonsense"],)),
        options=bad(3, "x"),
        steps=COUNT,
        tolerance=NOT_NEGATIVE,
    ),
    row(
        "lavalike.testing.check_model",
        lambda: {"process": Doubling(), "model": DoublingModel, "steps": 2},
        process=bad(3, "x", None),
        model=MODEL,
        reference=optional(MODEL),
        inputs=bad(3, "x"),
        precision=bad(3, values=("nonsense",)),
        steps=COUNT,
        tolerance=NOT_NEGATIVE,
    ),
    row(
        "lavalike.testing.check_process",
        lambda: {"process": Doubling(), "backends": ["torch"], "steps": 2},
        process=bad(3, "x", None),
        backends=bad(3, "numba", None, []),
        precision=bad(3, None, values=("nonsense",)),
        inputs=bad(3, "x"),
        steps=COUNT,
        tolerance=NOT_NEGATIVE,
    ),
]
EXEMPT = {"lavalike.testing.Checked": "what check_backend and check_process return"}
