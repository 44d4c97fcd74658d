"""Files are whole or not there, and what a killed process left goes with the next one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import lavalike as lv
from lavalike import atomic, slayer
from lavalike.slayer.utils import load_checkpoint, save_checkpoint

P = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
WRITERS = {
    "export": lambda path: slayer.export_hdf5(slayer.block.cuba.Dense(P, 3, 2), path),
    "checkpoint": lambda path: save_checkpoint(path, a=torch.arange(3)),
}
posix = pytest.mark.skipif(
    os.name != "posix", reason="where files are not locked, only closed ones are removed"
)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_the_next_file_of_the_folder_clears_what_a_killed_one_left(write, tmp_path):
    """Whatever its name is: a run that was killed in epoch 3 goes on with epoch 4."""
    code = f"""if True:
        import os
        from lavalike import atomic
        with atomic.draft({str(tmp_path / "epoch3")!r}) as name:
            name.write_bytes(b"half")
            os._exit(9)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    write(tmp_path / "epoch4")
    assert [p.name for p in tmp_path.iterdir()] == ["epoch4"]


@posix
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_a_live_process_writes_is_left_alone(write, tmp_path):
    with atomic.draft(tmp_path / "slow") as name:
        name.write_bytes(b"whole")
        write(tmp_path / "quick")
        assert name.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quick", "slow"]
    assert (tmp_path / "slow").read_bytes() == b"whole"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_contents_are_on_the_disk_before_their_name_is(write, tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        sync(handle)
        events.append(
            "folder"
            if os.fstat(handle).st_ino == tmp_path.stat().st_ino
            else ("file", os.fstat(handle).st_size)
        )

    def named(source, target):
        events.append(("name", os.path.getsize(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    write(tmp_path / "n")
    size = (tmp_path / "n").stat().st_size
    assert events == [("file", size), ("name", size), "folder"] or (
        os.name != "posix" and events == [("file", size), ("name", size)]
    )


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_cannot_take_its_name_leaves_nothing(write, tmp_path):
    (tmp_path / "n").mkdir()
    with pytest.raises((lv.ExportError, OSError)):
        write(tmp_path / "n")
    assert [p.name for p in tmp_path.iterdir()] == ["n"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, a=1)

    def fail(f):
        f.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomically(path, fail)
    assert load_checkpoint(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_names_of_any_length_and_none(tmp_path):
    name = "n" * 250 + ".pt"
    save_checkpoint(tmp_path / name, a=1)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(lv.ExportError, match="cannot be written"):
        slayer.export_hdf5(slayer.block.cuba.Dense(P, 3, 2), "/")
