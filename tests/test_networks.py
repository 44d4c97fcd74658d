"""lavalike.networks: what an expression of vectors and matrices connects, and what that
computes."""

from __future__ import annotations

import numpy as np
import pytest

import lavalike as lv
from lavalike import networks as nw

FIXED = lv.RunConfig(precision="fixed_pt", debug=True)  # kernels as plain Python: short runs


def run(vector, steps):
    vector.run(lv.RunSteps(steps), FIXED)
    vector.stop()


def beyond(x, vth):
    return np.where(np.abs(x) > vth, x, 0)


def test_an_expression_is_what_it_says():
    x = np.array([[3.0, 4, 5, 6], [1, 2, 3, 4]]) * 16
    w, v = np.array([[1.0, 0.5], [-0.5, 1.25]]), np.array([[0.25, 0], [0, 1.0], [0.5, 0.5]])
    source = nw.InputVec(x)
    a, b = nw.GradedVec(shape=(2,), vth=20), nw.GradedVec(shape=2, vth=1)
    out, product, copied = (nw.OutputVec(shape=s, buffer=8) for s in ((3,), (2,), (2,)))
    matrix = nw.GradedDense(w)
    a << matrix @ source
    copied << matrix @ source  # the same product, to another
    b << a
    out << nw.GradedSparse(v) @ a + nw.GradedDense(v * 0.5) @ source + nw.GradedDense(v) @ b
    product << a * b
    run(a, 8)

    data = np.hstack([x, x])
    late = lambda y, k=1: np.hstack([np.zeros((len(y), k)), y])[:, :8]  # noqa: E731
    sent = beyond(late(w @ data), 20)
    of_b = beyond(late(sent), 1)
    np.testing.assert_array_equal(copied.get_data(), late(w @ data))
    expected = late(v @ sent) + late(v @ data * 0.5) + late(v @ of_b)
    np.testing.assert_array_equal(out.get_data(), expected)
    # each factor and the product go through an identity
    np.testing.assert_array_equal(product.get_data(), late(beyond(late(sent) * late(of_b), 1)))
    assert np.abs(product.get_data()).max() > 1000
    assert source.main.data.get().max() == x.max() == 96  # not changed


def test_sums_are_new_lists_and_vectors_of_two_inputs_take_pairs():
    source = nw.InputVec(np.array([[64.0, 32], [16, 8]]))
    ones = [nw.GradedDense(np.eye(2) * k) @ source for k in (1, 0.5, 0.25)]
    two = ones[0] + ones[1]
    three = two + ones[2]
    assert (len(two), len(three), len(ones[2] + two)) == (2, 3, 3)
    product, out = nw.ProductVec(shape=(2,), vth=1, exp=4), nw.OutputVec(shape=(2,), buffer=3)
    product << (ones[0], ones[1])
    out << nw.GradedSparse(np.eye(2)) @ product
    of_matrices = ones[0] * ones[2]
    run(product, 3)
    assert of_matrices.out_port.shape == (2,)
    np.testing.assert_array_equal(out.get_data()[:, 2], [64 * 32 // 16, 16 * 8 // 16])

    lif, spikes = nw.LIFVec(shape=(2,), vth=40, dv=4095), nw.OutputVec(shape=(2,), buffer=4)
    lif << ones[0]
    spikes << lif  # a spike goes through an identity, too: a message of 1
    run(lif, 4)
    assert spikes.get_data().max() == 1

    rings, u = nw.ResFireVec(shape=(2,), freqs=[10, 20], decay_tau=[1, 2], uth=1), []
    rings << (ones[0], ones[1])
    for _ in range(3):
        rings.run(lv.RunSteps(1), FIXED)
        u.append((rings.main.u.get().copy(), rings.main.v.get().copy()))
    turn = np.exp(-0.001 / np.array([1, 2])) * np.exp(2j * np.pi * np.array([10, 20]) * 0.001)
    cos, sin = (turn.real * 2**15).astype(int), (turn.imag * 2**15).astype(int)
    (u1, v1), (u2, _) = u[1:]
    assert u1.any()
    # step 10 hears what was sent in step 9, the first of two columns
    np.testing.assert_array_equal(u2 - (u1 * cos // 2**15 - v1 * sin // 2**15), [64, 16])


def test_a_vector_is_divided_by_its_length():
    vector = np.array([300.0, 400, 0])
    norm, out = nw.NormalizeNet(shape=(3,)), nw.OutputVec(shape=(3,), buffer=10)
    norm << nw.InputVec(vector[:, None])
    out << norm
    run(norm, 10)
    got = out.get_data()
    assert not got[:, :3].any()
    # the inverse root, 2**18 / 500 = 524.3, is 523 by Newton's steps on 12 bits
    np.testing.assert_array_equal(got[:, 5:], np.full((3, 5), 523) * vector[:, None])


def test_weights_are_rounded_to_what_eight_bits_hold():
    assert set(nw.GradedDense([[0.5, -0.26]]).main.weights.get().reshape(-1)) == {64, -34}
    assert nw.GradedDense([[0.5, 0.26]]).main.weights.get()[0, 1] == 33
    assert nw.GradedDense([[20.0]], exp=3).main.weights.get()[0, 0] == 160
    largest = np.array([[255 / 128, -0.5]])  # of mixed signs 254 is
    assert set(nw.GradedDense(largest).main.weights.get().reshape(-1)) == {254, -64}
    with pytest.raises(lv.VarError, match=r"-2 is -256 in 1/128, and 8 bits hold -255\.\.255"):
        nw.GradedDense([[-2.0]])
    scipy = pytest.importorskip("scipy.sparse")
    matrix = nw.GradedSparse(scipy.csr_matrix(np.array([[0.0, 0.26], [0.5, 0]])))
    np.testing.assert_array_equal(matrix.main.to_dense(), [[0, 33], [64, 0]])
    matrix = nw.GradedSparse(scipy.csr_matrix(largest))
    np.testing.assert_array_equal(matrix.main.to_dense(), [[254, -64]])
    for wrong in (2.0, -2.1, np.inf):
        with pytest.raises(lv.VarError, match=r"weights: .* 8 bits hold .*exp smaller than 7"):
            nw.GradedDense([[wrong, 0.5, -0.5]])


def test_what_an_expression_cannot_say_is_told():
    x, y = nw.InputVec(np.ones((2, 1))), nw.InputVec(np.ones((2, 1)))
    matrix, vector = nw.GradedDense(np.eye(2)), nw.GradedVec(shape=(2,))
    matrix @ x
    for wrong, text in (
        (lambda: matrix @ y, "multiplies RingBuffer.s_out already"),
        (lambda: matrix @ matrix, "a vector is expected"),
        (lambda: vector << 3, "a network, W @ x, or a sum"),
        (lambda: vector + 3, "added up are networks"),
        (lambda: matrix + x + "y", "added up are networks"),
        (lambda: vector * x, "a GradedVec is expected"),
        (lambda: matrix * vector, "a matrix is expected"),
        (lambda: x << matrix, "only sends"),
        (lambda: nw.ProductVec(shape=(2,)) << matrix, "a pair of networks"),
        (lambda: nw.ProductVec(shape=(2,)) << (matrix,), "receives two"),
        (lambda: nw.GradedVec(shape=(3,)) << matrix, "shapes differ"),
    ):
        with pytest.raises(lv.ConnectError, match=text):
            wrong()


def test_lavas_words():
    """As Lava's tutorials say it (lava_va), with arguments that chips would need."""
    from lavalike.compat import configs, finder

    finder.install()
    try:
        import lava.frameworks.loihi2 as va
        from lava.networks.network import AlgebraicVector

        given = np.array([[1.0, 2, 3]]).repeat(2, axis=0)
        source = va.InputVec(given, loihi2=False, shape=(2,))
        vector, out = va.GradedVec(shape=(2,), vth=1), va.OutputVec(shape=(2,), buffer=3)
        vector << va.GradedDense(weights=np.array([[1.1, 0], [-0.3, 2.0]]), exp=5) @ source
        out << va.GradedSparse(weights=np.eye(2)) @ vector
        assert isinstance(vector * vector, va.GradedSparse)
        assert isinstance(vector, AlgebraicVector)
        assert given.max() == 3
        assert va.OutputVec(shape=(2,), name="last").outport_plug.name == "last"
        for kind, slip, near in (
            (va.GradedVec, {"shape": (2,), "vht": 3}, "vth"),
            (va.GradedDense, {"weights": np.eye(2), "expp": 3}, "exp"),
            (va.ResFireVec, {"freq": 3}, "freqs"),
        ):
            with pytest.warns(
                UserWarning, match=rf"no argument '{[*slip][-1]}'; .*'{near}'\?; it is"
            ):
                kind(**slip)
        config = configs.Loihi2SimCfg(select_tag="fixed_pt")
        with pytest.warns(UserWarning, match="weights are cut"):
            vector.run(condition=va.RunSteps(num_steps=3), run_cfg=config)
        # 1.1 and -0.3 are 35 and -9 of 32, even with mixed signs: 34 and -10; 1.x is cut to 1
        assert out.get_data()[:, 2].tolist() == [0, 0]
        vector.run(condition=va.RunSteps(num_steps=3))
        assert out.get_data().tolist() == [[2, 3, 0], [3, 5, 0]]
        vector.stop()
    finally:
        finder.uninstall()
