"""MNIST files, the images that ship with the package, and image transforms."""

from __future__ import annotations

import contextlib
import gzip
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st

from benchmarks.mnist_sample import select
from lavalike import datasets
from lavalike.datasets import MNIST, mnist_sample, transforms
from lavalike.errors import InputError
from tests.conftest import ROOT, SHARED

N = 20
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 28, 28), dtype=np.uint8)
EDGE = st.integers(1, 40)
LABELS = (np.arange(N) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write(folder, end="", images=None, labels=None, part="train"):
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "images-idx3": idx(IMAGES) if images is None else images,
        "labels-idx1": idx(LABELS) if labels is None else labels,
    }
    for name, content in contents.items():
        (folder / f"{part}-{name}-ubyte{end}").write_bytes(
            gzip.compress(content) if end else content
        )
    return folder


def npz(path, **changes):
    arrays = {
        "x_train": IMAGES,
        "y_train": LABELS,
        "x_test": IMAGES[:10],
        "y_test": LABELS[:10],
        **changes,
    }
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "MNIST/raw"])
def test_idx_files_plain_and_compressed_where_torchvision_leaves_them(tmp_path, end, below):
    write(tmp_path / below, end)
    data = MNIST(tmp_path)
    assert len(data) == N
    np.testing.assert_array_equal(data.data, IMAGES)
    np.testing.assert_array_equal(data.targets, LABELS)


def test_test_images_are_the_t10k_files(tmp_path):
    write(tmp_path, images=idx(IMAGES[:10]), labels=idx(LABELS[:10]), part="t10k")
    assert len(MNIST(tmp_path, train=False)) == 10
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        MNIST(tmp_path)


@pytest.mark.parametrize("train", [True, False])
def test_npz_named_or_found_in_its_folder(tmp_path, train):
    path = npz(tmp_path / "mnist.npz")
    for root in (path, tmp_path, str(tmp_path)):
        np.testing.assert_array_equal(MNIST(root, train).data, IMAGES if train else IMAGES[:10])


def test_an_item_is_what_to_tensor_makes_and_an_int(tmp_path):
    image, label = MNIST(npz(tmp_path / "m.npz"))[3]
    assert image.shape == (1, 28, 28)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image[0], IMAGES[3].astype(np.float32) / 255)
    assert type(label) is int
    assert label == 3


def test_the_transform_gets_the_uint8_image(tmp_path):
    data = MNIST(npz(tmp_path / "m.npz"), transform=lambda image: (image.shape, image.dtype))
    assert data[0][0] == ((28, 28, 1), np.uint8)


def test_the_snntorch_tutorials_transform(tmp_path):
    transform = transforms.Compose(
        [
            transforms.Resize((28, 28)),
            transforms.Grayscale(),
            transforms.ToTensor(),
            transforms.Normalize((0,), (1,)),
        ]
    )
    image, _ = MNIST(npz(tmp_path / "m.npz"), transform=transform)[0]
    np.testing.assert_array_equal(image[0], IMAGES[0].astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (idx(IMAGES)[:-1], "expected 15680 bytes for sizes .* found 15679"),
        (idx(IMAGES) + b"x", "found more"),
        (b"", "found nothing"),
        (b"\x00\x00\x0d\x03" + idx(IMAGES)[4:], "00000803; found 00000d03"),
        (idx(LABELS), "3 axes, which begins with 00000803; found 00000801"),
        (idx(IMAGES)[:9], "damaged"),
        (idx(IMAGES.reshape(N, 14, 56)), r"28x28; found sizes \(20, 14, 56\)"),
        (struct.pack(">IIII", 0x803, 2**32 - 1, 28, 28), "at most 1,000,000 items"),
        (
            idx(IMAGES[:5]),
            r"images \(N, 28, 28\) and labels \(N,\); found uint8 \(5, 28, 28\) and uint8 \(20,\)",
        ),
        (idx(IMAGES[:0]), r"found uint8 \(0, 28, 28\)"),
    ],
)
def test_damaged_idx_files_are_named_with_what_was_expected(tmp_path, images, text):
    write(tmp_path, images=images)
    with pytest.raises(InputError, match=text) as e:
        MNIST(tmp_path)
    assert "train-images-idx3-ubyte" in str(e.value)


def test_a_label_beyond_9_is_refused(tmp_path):
    write(tmp_path, labels=idx(LABELS + np.uint8(1)))
    with pytest.raises(InputError, match=r"integers in 0..9; found uint8 in 1..10"):
        MNIST(tmp_path)


def test_a_missing_half_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(
        InputError,
        match=r"train-labels-idx1-ubyte: no such file .* train-images-idx3-ubyte is there",
    ):
        MNIST(tmp_path)


def test_where_nothing_is_the_sample_is_named(tmp_path):
    with pytest.raises(InputError, match="mnist_sample"):
        MNIST(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        MNIST(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y_train": None}, "expected the arrays x_train, y_train"),
        ({"x_train": IMAGES.astype(float)}, "expected integers .* found float64"),
        ({"x_train": IMAGES.astype(np.int64)}, "expected uint8 images .* found int64"),
        ({"x_train": np.asfortranarray(IMAGES)}, "Fortran"),
        ({"y_train": np.array([{}] * N, dtype=object)}, "found object"),
        ({"y_train": LABELS[:3]}, r"uint8 \(3,\)"),
    ],
)
def test_npz_files_of_other_content_are_refused(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        MNIST(npz(tmp_path / "m.npz", **changes))


def test_an_npz_header_that_promises_more_than_there_is_allocates_nothing(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999, 28, 28), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as z:
        z.writestr(
            "x_train.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"1234"
        )
    with pytest.raises(InputError, match="filling the 4 bytes there are"):
        MNIST(tmp_path / "m.npz")


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_any_damage_to_a_file_is_an_input_error_or_harmless(tmp_path_factory, position, value, cut):
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    for path in (
        npz(folder / "whole.npz"),
        write(folder / "gz", ".gz") / "train-images-idx3-ubyte.gz",
    ):
        content = bytearray(path.read_bytes())
        at = int(position * len(content))
        content[at:] = b"" if cut else bytes([value]) + content[at + 1 :]
        target = path.with_name("damaged.npz") if path.suffix == ".npz" else path
        target.write_bytes(content)
        with contextlib.suppress(InputError):  # anything else fails the test
            assert MNIST(target if target.suffix == ".npz" else folder / "gz").data.shape == (
                N,
                28,
                28,
            )


def test_the_sample_is_balanced_and_small():
    for train, each in ((True, 80), (False, 20)):
        data = mnist_sample(train)
        assert torch.bincount(data.targets).tolist() == [each] * 10
        assert data[0][0].shape == (1, 28, 28)
        assert data.path.stat().st_size < 350_000


def test_the_sample_is_made_by_the_script():
    source = SHARED / "data" / "mnist.npz"
    if not source.exists():
        pytest.skip("all of MNIST is not beside the checkout")
    arrays = select(source)
    for train, part in ((True, "train"), (False, "test")):
        np.testing.assert_array_equal(mnist_sample(train).data, arrays[f"x_{part}"])
        np.testing.assert_array_equal(mnist_sample(train).targets, arrays[f"y_{part}"])


def test_a_linear_classifier_learns_the_sample():
    torch.manual_seed(0)
    train, test = mnist_sample(), mnist_sample(train=False)
    x, y = train.data.flatten(1) / 255, train.targets
    weight = torch.linalg.lstsq(
        torch.cat([x, 3 * torch.eye(784)]), torch.cat([torch.eye(10)[y], torch.zeros(784, 10)])
    ).solution
    assert ((test.data.flatten(1) / 255 @ weight).argmax(1) == test.targets).float().mean() > 0.75


def test_the_import_is_light():
    code = "import sys, lavalike; sys.exit(any(n in sys.modules for n in ('torch', 'lavalike.datasets')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# -- transforms


@settings(max_examples=30, deadline=None)
@example(size=(2, 1), target=(3, 1), seed=0)
@example(size=(5, 4), target=(3, 1), seed=0)
@given(size=st.tuples(EDGE, EDGE), target=st.tuples(EDGE, EDGE), seed=st.integers(0, 99))
def test_resize_is_pillows_bilinear_to_a_level(size, target, seed):
    image_module = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = transforms.Resize(list(target))(image)
    theirs = np.asarray(
        image_module.fromarray(image).resize(target[::-1], image_module.Resampling.BILINEAR)
    )
    assert ours.dtype == np.uint8
    assert ours.shape == (*target, 3)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("shape", "result"), [((40, 80), (10, 20)), ((80, 40), (20, 10)), ((33, 100), (10, 30))]
)
def test_one_size_is_the_shorter_edge(shape, result):
    assert transforms.Resize(10)(np.zeros(shape, np.float32)).shape == (*result, 1)


def test_a_pillow_image_is_an_image_too():
    image_module = pytest.importorskip("PIL.Image")
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(
        transforms.Resize((4, 4))(image_module.fromarray(grey)), transforms.Resize((4, 4))(grey)
    )


def test_resize_keeps_floats_and_what_has_the_size_already():
    image = np.random.default_rng(0).random((6, 6, 3))
    assert transforms.Resize((6, 6))(image) is image
    small = transforms.Resize((3, 3))(image)
    assert small.dtype == np.float64
    np.testing.assert_allclose(transforms.Resize((2, 2), antialias=False)(np.ones((9, 9))), 1)
    np.testing.assert_allclose(small.mean(), image.mean(), atol=0.05)


def test_to_tensor_divides_uint8_alone():
    assert transforms.ToTensor()(np.full((2, 3), 255, np.uint8)).tolist() == [[[1.0] * 3] * 2]
    image = np.random.default_rng(0).random((4, 5, 3))
    x = transforms.ToTensor()(image)
    assert x.dtype == torch.float64
    np.testing.assert_array_equal(x, image.transpose(2, 0, 1))
    x += 1  # a tensor of its own
    assert image.max() < 1


def test_normalize():
    x = torch.rand(3, 4, 5)
    y = transforms.Normalize((0.5, 0.4, 0.3), (0.5, 0.25, 2.0))(x)
    torch.testing.assert_close(y[1], (x[1] - 0.4) / 0.25)
    torch.testing.assert_close(transforms.Normalize([0.5], [0.5])(x), 2 * x - 1)


def test_grayscale():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    assert transforms.Grayscale()(colours)[0, :, 0].tolist() == [76, 150, 29, 9]
    assert transforms.Grayscale(3)(colours).shape == (1, 4, 3)
    grey = colours[:, :, :1]
    np.testing.assert_array_equal(transforms.Grayscale()(grey), grey)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: transforms.Resize((0, 3)), "all >= 1"),
        (lambda: transforms.Resize((1, 2, 3)), "height, width"),
        (lambda: transforms.Resize(2)(torch.zeros(3, 4, 4)), "before ToTensor"),
        (lambda: transforms.Resize(2)(np.zeros((0, 4))), "not empty"),
        (lambda: transforms.ToTensor()(np.zeros((2, 2), np.int64)), "got int64"),
        (lambda: transforms.ToTensor()(np.zeros((2, 2, 2, 2), np.uint8)), "height, width"),
        (lambda: transforms.Normalize((0.5,), (0.0,)), "std not 0"),
        (lambda: transforms.Normalize((0.5,), (1.0, 1.0)), "mean has 1 values, std 2"),
        (
            lambda: transforms.Normalize((0.5,) * 3, (1.0,) * 3)(torch.zeros(1, 2, 2)),
            r"expected \(..., 3, height, width\)",
        ),
        (
            lambda: transforms.Normalize((0.5,), (1.0,))(np.zeros((1, 2, 2))),
            "ToTensor stands before",
        ),
        (lambda: transforms.Compose([transforms.ToTensor(), 3]), "3 is not callable"),
        (lambda: transforms.Grayscale(2), "1 or 3"),
        (lambda: transforms.Grayscale()(np.zeros((2, 2, 4), np.uint8)), "4 channels"),
    ],
)
def test_wrong_use_of_a_transform_is_said(act, text):
    with pytest.raises(InputError, match=text):
        act()


# -- what is no argument ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image", ["x", torch.zeros(2, 2), np.zeros((2, 2), np.int64), [[1], [1, 2]]]
)
def test_what_is_no_image_is_a_type_error(image):
    for transform in (transforms.ToTensor(), transforms.Resize(2), transforms.Grayscale()):
        with pytest.raises(InputError, match=type(transform).__name__) as e:
            transform(image)
        assert isinstance(e.value, TypeError)


def test_numpys_numbers_are_arguments():
    assert transforms.Resize(np.int64(2))(np.zeros((4, 4, 1))).shape == (2, 2, 1)
    assert transforms.Resize((np.int32(2), 3))(np.zeros((4, 4, 1))).shape == (2, 3, 1)
    assert datasets.SyntheticDrive(
        np.int64(2), sequences=np.int8(5), size=(np.int64(9), 9), seed=np.int64(0)
    )[0][0].shape == (3, 9, 9, 2)
    torch.testing.assert_close(
        transforms.Normalize(np.array([0.5]), torch.tensor([2.0]))(torch.ones(1, 2, 2)),
        torch.full((1, 2, 2), 0.25),
    )
