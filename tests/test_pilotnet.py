"""The PilotNet data set's folder, the rendered drive, and the table of operations."""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from lavalike import slayer
from lavalike.datasets import PilotNetDataset, SyntheticDrive, compare_ops, operations, transforms
from lavalike.datasets.pilotnet import Road
from lavalike.errors import InputError

FRAMES = 50
ANGLES = np.round(np.linspace(-40, 40, FRAMES), 3)
image_module = pytest.importorskip(
    "PIL.Image", reason="the recorded drive is JPEG files, which Pillow decodes"
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder as the data set has it: frame n is a picture of brightness 5 n."""
    folder = tmp_path_factory.mktemp("pilotnet") / "driving_dataset"
    folder.mkdir()
    for n in range(FRAMES):
        image_module.fromarray(np.full((16, 32, 3), 5 * n, np.uint8)).save(
            folder / f"{n}.jpg", quality=95
        )
    (folder / "data.txt").write_text("".join(f"{n}.jpg {a}\n" for n, a in enumerate(ANGLES)))
    return folder.parent


def copied(recorded, tmp_path, text):
    """The same images with another data.txt."""
    folder = tmp_path / "driving_dataset"
    folder.symlink_to(recorded / "driving_dataset") if text is None else folder.mkdir()
    if text is not None:
        for n in range(FRAMES):
            (folder / f"{n}.jpg").hardlink_to(recorded / "driving_dataset" / f"{n}.jpg")
        (folder / "data.txt").write_text(text)
    return tmp_path


def lines(change):
    return "".join(change(n, a) for n, a in enumerate(ANGLES))


def frames(data):
    """The frame numbers of each sequence, read off the images."""
    return [(data[k][0].mean((0, 1, 2)) * 51).round().int().tolist() for k in range(len(data))]


def test_sequences_are_lava_dls(recorded):
    """Its split: permutation(len // sequence) of RandomState(42); int(0.8 n) of them to train on,
    the last int(0.2 n) to test."""
    order = np.random.RandomState(42).permutation(12)
    train, test = (
        PilotNetDataset(recorded, sequence=4),
        PilotNetDataset(str(recorded), sequence=4, train=False),
    )
    assert (len(train), len(test)) == (10, 2)
    assert [f[0] for f in frames(train)] == (order[:10] * 4).tolist()
    assert [f[0] for f in frames(test)] == (order[-2:] * 4).tolist()
    assert all(f == list(range(f[0], f[0] + 4)) for f in frames(train))


def test_visualize_keeps_the_order_of_the_drive(recorded):
    assert frames(PilotNetDataset(recorded, sequence=4, visualize=True)) == [
        list(range(k, k + 4)) for k in range(0, 40, 4)
    ]


def test_an_item_is_images_over_time_and_radians(recorded):
    images, angles = PilotNetDataset(
        recorded,
        sequence=16,
        visualize=True,
        transform=transforms.Compose(
            [
                transforms.Resize([8, 16]),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        ),
    )[1]
    assert images.shape == (3, 8, 16, 16)
    assert angles.shape == (16,)
    assert images.dtype == angles.dtype == torch.float32
    np.testing.assert_allclose(angles, np.radians(ANGLES[16:32]), rtol=1e-6)
    np.testing.assert_allclose(images[0, 0, 0], np.arange(16, 32) * 10 / 255 - 1, atol=0.01)


def test_a_zero_between_others_is_an_anomaly(recorded, tmp_path):
    path = copied(
        recorded, tmp_path, lines(lambda n, a: f"{n}.jpg {0 if n in (16, 20, 49) else a}\n")
    )
    _, angles = PilotNetDataset(path, sequence=16, visualize=True)[1]
    assert angles[0] == 0  # lava-dl leaves a sequence's first
    assert angles[4] == pytest.approx(math.radians((ANGLES[19] + ANGLES[21]) / 2))
    _, angles = PilotNetDataset(path, sequence=5, visualize=True, train=False)[1]
    assert angles[-1] == 0  # the drive's last has no neighbour


def test_times_are_allowed_and_images_may_lie_in_data(recorded, tmp_path):
    folder = tmp_path / "2018"
    (folder / "data").mkdir(parents=True)
    for n in range(FRAMES):
        (folder / "data" / f"{n}.jpg").hardlink_to(recorded / "driving_dataset" / f"{n}.jpg")
    (folder / "data.txt").write_text(lines(lambda n, a: f"{n}.jpg {a},2018-07-01 17:09:44:{n}\n"))
    data = PilotNetDataset(folder, sequence=10, visualize=True)
    np.testing.assert_allclose(data[0][1], np.radians(ANGLES[:10]), rtol=1e-6)
    assert frames(data)[0] == list(range(10))


def test_the_archive_is_unpacked_once(recorded, tmp_path):
    with zipfile.ZipFile(tmp_path / "driving_dataset.zip", "w") as z:
        for path in sorted((recorded / "driving_dataset").iterdir()):
            z.write(path, f"driving_dataset/{path.name}")
    with pytest.raises(InputError, match="extract=True"):
        PilotNetDataset(tmp_path, extract=False)
    assert len(PilotNetDataset(tmp_path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["driving_dataset", "driving_dataset.zip"]
    assert len(PilotNetDataset(tmp_path, extract=False)) == 2


def test_a_damaged_archive_leaves_nothing_behind(tmp_path):
    (tmp_path / "driving_dataset.zip").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(InputError, match="not a whole zip file"):
        PilotNetDataset(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["driving_dataset.zip"]


def test_a_missing_folder_names_both_remedies(tmp_path):
    with pytest.raises(
        InputError, match=r"data.txt: no such file.*driving_dataset.zip.*SyntheticDrive"
    ):
        PilotNetDataset(tmp_path / "data")


@pytest.mark.parametrize(
    "line", ["3.jpg\n", "3.jpg left\n", "3.jpg nan\n", "../3.jpg 1.0\n", "/etc/3.jpg 1.0\n"]
)
def test_a_damaged_line_is_named(recorded, tmp_path, line):
    path = copied(recorded, tmp_path, lines(lambda n, a: line if n == 3 else f"{n}.jpg {a}\n"))
    with pytest.raises(
        InputError, match=rf"data.txt: line 4 is {re.escape(repr(line[:-1]))}; .* is expected"
    ):
        PilotNetDataset(path)


def test_missing_and_damaged_images_are_named(recorded, tmp_path):
    path = copied(recorded, tmp_path, lines(lambda n, a: f"{n}.jpg {a}\n"))
    data = PilotNetDataset(path, visualize=True)
    (path / "driving_dataset" / "5.jpg").unlink()
    with pytest.raises(InputError, match=r"5.jpg: no such file"):
        data[0]
    (path / "driving_dataset" / "5.jpg").write_bytes(
        (path / "driving_dataset" / "6.jpg").read_bytes()[:400]
    )
    with pytest.raises(InputError, match=r"5.jpg: not a whole image"):
        data[0]


def test_too_short_a_drive_is_said(recorded):
    with pytest.raises(
        InputError, match="50 frames make 1 sequences of 40: none is left for testing"
    ):
        PilotNetDataset(recorded, sequence=40, train=False)
    with pytest.raises(InputError, match="sequence is an integer >= 1"):
        PilotNetDataset(recorded, sequence=0)


def test_a_transform_that_makes_no_tensor_is_said(recorded):
    with pytest.raises(InputError, match="ends with ToTensor"):
        PilotNetDataset(recorded, transform=transforms.Resize((8, 8)))[0]


# -- the rendered drive


def test_the_same_seed_is_the_same_drive():
    a, b, other = (SyntheticDrive(sequences=5, seed=s)[2] for s in (1, 1, 2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], other[0])


def test_an_item_has_the_data_sets_layout():
    images, angles = SyntheticDrive(sequences=5)[0]
    assert images.shape == (3, 33, 100, 16)
    assert angles.shape == (16,)
    assert images.dtype == angles.dtype == torch.float32
    assert 0 <= float(images.min()) < 0.3 < 0.6 < float(images.max()) <= 1
    assert SyntheticDrive(sequences=5, size=(66, 200), sequence=3)[0][0].shape == (3, 66, 200, 3)


def test_frames_do_not_depend_on_how_they_are_grouped():
    long = SyntheticDrive(sequences=5, sequence=8, visualize=True)[0]
    short = SyntheticDrive(sequences=10, sequence=4, visualize=True)[1]
    torch.testing.assert_close(long[0][..., 4:], short[0])
    torch.testing.assert_close(long[1][4:], short[1])


def test_no_test_frame_is_beside_a_training_frame():
    train, test = SyntheticDrive(sequences=50), SyntheticDrive(sequences=50, train=False)
    assert (len(train), len(test)) == (40, 10)
    assert sorted(train.starts) == list(range(0, 640, 16))
    assert sorted(test.starts) == list(range(640, 800, 16))
    assert list(train.starts) != sorted(train.starts)


@pytest.mark.parametrize("seed", range(4))
def test_angles_vary_as_a_drivers_do(seed):
    angles = Road(seed).steering(np.arange(8000) * 0.5)
    assert 0.2 < angles.std() < 0.4
    assert abs(angles.mean()) < 0.1
    assert np.abs(np.diff(angles)).max() < 0.1


def test_neighbouring_frames_are_alike():
    """Most pixels change by less than the tutorial's threshold, 0.1 of values in -1..1."""
    images = SyntheticDrive(sequences=5)[0][0] * 2 - 1
    assert (images.diff(dim=-1).abs() > 6 / 64).float().mean() < 0.1


def test_a_straight_road_leads_to_the_middle_and_right_is_positive():
    road = Road(0)
    for waves in (road.curvature, road.offset, road.yaw):
        waves.a = 0.0
    s = np.array([30.0])
    assert road.steering(s) == pytest.approx(0)
    assert road.lane(s, np.float64(50)) == pytest.approx(0)
    road.offset = lambda s: np.full(np.shape(s), -0.5)  # the car is left of the middle: steer right
    assert road.steering(s) == pytest.approx(16 * math.atan(2 * 2.7 * 0.5 / 14**2))


def test_the_lane_is_curvature_integrated_twice():
    road = Road(3)
    s, ahead, steps = 100.0, 20.0, 20000
    along = np.linspace(0, ahead, steps)
    bend = np.cumsum(road.curvature(s + along)) * ahead / steps
    expected = (
        np.sum(bend) * ahead / steps - road.yaw(np.float64(s)) * ahead - road.offset(np.float64(s))
    )
    assert road.lane(np.float64(s), np.float64(ahead)) == pytest.approx(expected, abs=0.01)


def test_the_angle_is_in_the_picture():
    """Ridge regression on pixels explains most of a drive it has not seen."""
    parts = [
        [np.stack(v) for v in zip(*(d[k] for k in range(len(d))), strict=True)]
        for d in (
            SyntheticDrive(sequences=120, sequence=4, speed=4),
            SyntheticDrive(sequences=120, sequence=4, speed=4, train=False),
        )
    ]
    (x, y), (x_test, y_test) = [
        (i.mean(1).transpose(0, 3, 1, 2).reshape(-1, 3300)[:, 1300:], a.reshape(-1))
        for i, a in parts
    ]
    mean = x.mean(0)
    weight = (x - mean).T @ np.linalg.solve((x - mean) @ (x - mean).T + 3 * np.eye(len(x)), y)
    assert np.mean(((x_test - mean) @ weight - y_test) ** 2) < 0.5 * y_test.var()


def test_rendered_once_and_kept_only_if_asked():
    kept, fresh = SyntheticDrive(sequences=5), SyntheticDrive(sequences=5, cache=False)
    assert torch.equal(kept[1][0], kept[1][0])
    assert torch.equal(kept[1][0], fresh[1][0])
    assert len(kept._cache) == 1
    assert fresh._cache is None


def test_a_transform_may_write_into_the_image():
    def scribble(image):
        tensor = transforms.ToTensor()(image)
        image[:] = 0
        return tensor

    data = SyntheticDrive(sequences=5, transform=scribble)
    assert torch.equal(data[0][0], data[0][0])
    assert data[0][0].max() > 0.5


def test_workers_can_take_it_along():
    data = pickle.loads(
        pickle.dumps(
            SyntheticDrive(sequences=5, transform=transforms.Compose([transforms.ToTensor()]))
        )
    )
    assert torch.equal(data[0][0], SyntheticDrive(sequences=5)[0][0])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"sequences": 1}, "1 sequences leave none"),
        ({"sequences": 0}, "sequences is an integer"),
        ({"size": (4, 100)}, "both >= 8"),
        ({"size": (33,)}, "height, width"),
        ({"speed": math.nan}, "speed is a number"),
        ({"sequence": 1.5}, "sequence is an integer"),
        ({"seed": -1}, "seed is an integer >= 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, text):
    with pytest.raises(InputError, match=text):
        SyntheticDrive(**arguments)


# -- the table of operations

PUBLISHED = """\
|-----------------------------------------------------------------------------|
|                         |          SDNN           |           ANN           |
|-----------------------------------------------------------------------------|
|         |     Shape     |  Events  |    Synops    | Activations|    MACs    |
|-----------------------------------------------------------------------------|
| layer-0 | (100, 33,  3) |  2475.93 |              |       9900 |            |
| layer-1 | ( 49, 16, 24) |   239.46 |    133700.12 |      18816 |     534600 |
| layer-2 | ( 24,  7, 36) |   422.39 |     19395.86 |       6048 |    1524096 |
| layer-3 | ( 22,  4, 64) |   558.71 |    121649.28 |       5632 |    1741824 |
| layer-4 | ( 20,  2, 64) |    29.90 |    321818.47 |       2560 |    3244032 |
| layer-5 | (  1,  1,100) |     4.80 |      2989.97 |        100 |     256000 |
| layer-6 | (  1,  1, 50) |     1.35 |       240.00 |         50 |       5000 |
| layer-7 | (  1,  1, 10) |     0.16 |        13.46 |         10 |        500 |
| layer-8 | (  1,  1,  1) |     0.44 |         0.16 |          1 |         10 |
|-----------------------------------------------------------------------------|
|  Total  |               |  3733.14 |    599807.33 |      43117 |    7306062 |
|-----------------------------------------------------------------------------|


MSE            : 0.038123 sq. radians
Total neurons  : 43117
Events sparsity: 11.55x
Synops sparsity: 12.18x
"""
# the counts behind it, from its synaptic operations
COUNTS = [
    133700.122 / 54,
    19395.861 / 81,
    121649.281 / 288,
    321818.471 / 576,
    2989.971 / 100,
    240.001 / 50,
    13.461 / 10,
    0.162,
    0.44,
]
PARAMS = {"threshold": 0.1, "activation": functional.relu}


def pilotnet(called=True):
    block = slayer.block.sigma_delta
    net = torch.nn.Sequential()
    net.blocks = torch.nn.ModuleList(
        [
            block.Input(PARAMS),
            block.Conv(PARAMS, 3, 24, 3, stride=2),
            block.Conv(PARAMS, 24, 36, 3, stride=2),
            block.Conv(PARAMS, 36, 64, 3, padding=(1, 0), stride=(2, 1)),
            block.Conv(PARAMS, 64, 64, 3),
            block.Flatten(),
            block.Dense(PARAMS, 2560, 100),
            block.Dense(PARAMS, 100, 50),
            block.Dense(PARAMS, 50, 10),
            block.Output(PARAMS, 10, 1),
        ]
    )
    x = torch.zeros(1, 3, 33, 100, 1)
    for layer in net.blocks if called else ():
        x = layer(x)
    return net


def chain(*blocks, shape):
    x = torch.zeros(1, *shape, 2)
    for block in blocks:
        x = block(x)
    return SimpleNamespace(blocks=blocks)


def test_the_tutorials_table_to_the_letter(capsys):
    result = compare_ops(pilotnet(), COUNTS, mse=0.0381234)
    assert capsys.readouterr().out == PUBLISHED
    assert result.layers[1] == operations.LayerOperations(
        "layer-1", (24, 16, 49), COUNTS[1], pytest.approx(133700.122), 18816, 534600
    )
    assert (result.activations, result.macs) == (43117, 7306062)
    assert result.synops == pytest.approx(sum(v.synops or 0 for v in result.layers))
    assert result.event_sparsity == pytest.approx(43117 / sum(COUNTS))


def test_silent_layers_have_operations_of_their_own(capsys):
    """lava-dl divides by the count: NaN in the ANN's column."""
    net = pilotnet()
    result = compare_ops(net, [0] * 9)
    assert result.macs == 7306062
    assert result.event_sparsity == result.synop_sparsity == math.inf
    out = capsys.readouterr().out
    assert "nan" not in out
    assert "MSE" not in out
    assert "Synops sparsity: infx" in out


@pytest.mark.parametrize("flats", [0, 2])
def test_any_number_of_flattens(flats):
    block = slayer.block.sigma_delta
    net = chain(
        block.Input(PARAMS),
        *[block.Flatten()] * flats,
        block.Dense(PARAMS, 6, 4),
        block.Output(PARAMS, 4, 2),
        shape=(6,),
    )
    result = operations.count_operations(net, [3, 2, 1])
    assert [v.synops for v in result.layers] == [None, 12, 4]
    assert [v.macs for v in result.layers] == [None, 24, 8]


def test_pools_groups_and_spikes_count_too():
    block = slayer.block.cuba
    params = {"threshold": 1, "current_decay": 0.5, "voltage_decay": 0.5}
    net = chain(
        block.Input(params),
        block.Conv(params, 4, 8, 3, padding=1, groups=2),
        block.Pool(params, 2),
        shape=(4, 6, 6),
    )
    result = operations.count_operations(net, [10, 5, 1])
    assert [v.synops for v in result.layers] == [None, 10 * 8 / 2 * 9, 5]
    assert result.layers[2].shape == (8, 3, 3)


def test_transposed_recurrent_and_complex_layers_count_too():
    """A message into ConvT reaches all taps of its kernel; one of a recurrent layer comes back to
    all of it; complex weights are two."""
    params = {"threshold": 1, "current_decay": 0.5, "voltage_decay": 0.5}
    block = slayer.block.cuba
    net = chain(
        block.Input(params),
        block.ConvT(params, 2, 3, 2, stride=2),
        block.Unpool(params, 2),
        block.Flatten(),
        block.Recurrent(params, 3 * 12 * 12, 5),
        shape=(2, 3, 3),
    )
    result = operations.count_operations(net, [7, 4, 2, 1])
    assert [v.synops for v in result.layers] == [None, 7 * 3 * 4, 4 * 4, 2 * 5 + 1 * 5]
    assert [v.macs for v in result.layers] == [None, 18 * 12, 108 * 4, 432 * 5 + 5 * 5]
    resonator = slayer.block.rf_iz
    params = {"threshold": 1, "period": 8, "decay": 0.1}
    net = chain(
        block.Input({"threshold": 1, "current_decay": 1, "voltage_decay": 0}),
        resonator.Dense(params, 4, 3),
        shape=(4,),
    )
    assert operations.count_operations(net, [2, 1]).layers[1].synops == 2 * 2 * 3


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([1] * 8, r"shape \(8,\); expected one number for each of the 9 blocks"),
        ([[1] * 9], r"\(1, 9\)"),
        ([1] * 8 + [math.nan], "finite"),
        ([-1] * 9, ">= 0"),
    ],
)
def test_counts_that_do_not_fit_are_refused(counts, text):
    with pytest.raises(InputError, match=text):
        compare_ops(pilotnet(), counts)


def test_a_network_that_was_never_called_is_said():
    with pytest.raises(
        InputError,
        match=r"sigma_delta.Input \(block 0\) does not know its shape: call the network once",
    ):
        compare_ops(pilotnet(called=False), [1] * 9)


def test_messages_nobody_counted_are_said():
    block = slayer.block.sigma_delta
    net = chain(block.Dense(PARAMS, 6, 4), shape=(6,))
    with pytest.raises(
        InputError, match=r"messages into sigma_delta.Dense \(block 0\) were not counted"
    ):
        compare_ops(net, [1])


def test_an_unknown_synapse_is_said():
    blocks = [
        SimpleNamespace(neuron=1, shape=(2,)),
        SimpleNamespace(neuron=1, shape=(2,), synapse=torch.nn.Linear(2, 2)),
    ]
    net = SimpleNamespace(blocks=blocks)
    with pytest.raises(InputError, match="operations a message causes in Linear"):
        compare_ops(net, [1, 1])
