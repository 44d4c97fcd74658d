"""What a model or a backend of one's own is held to: the suite that lavalike's own backends pass.

    from lavalike.testing import check_backend, check_model, check_process

    def test_my_model():
        check_model(MyProcess(shape=(3,)), MyModel)

    def test_my_graph():
        check_process(MyNetwork())

    def test_my_backend():
        assert "LIF, floating_pt" in check_backend("mine").passed

Nothing here needs pytest; what does not hold is a :class:`lavalike.errors.ConformanceError`, which
is an AssertionError.
"""

from lavalike.testing.check import (
    Checked as Checked,
    check_backend as check_backend,
    check_model as check_model,
    check_process as check_process,
)
