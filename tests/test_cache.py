"""The kernel cache: compiled once, shared by interpreters, never stale."""

from __future__ import annotations

import ctypes
import errno
import functools
import io
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import lavalike as lv
from lavalike import cache, doctor
from lavalike.backends.numba import kept, kernels, transfer
from lavalike.fused import llvm
from tests.conftest import ROOT

PROGRAM = """
import sys, numpy as np
from numba.core import event
import lavalike as lv
from lavalike.proc import LIF
n = int(sys.argv[1])
lif = LIF(shape=(n,), du=0.5, dv=0.5, vth=1.0, bias_mant=1.0)
with event.install_recorder("numba:compile") as compiled:
    v = lv.simulate(lif, steps=20, record=[lif.v])[lif.v]
print(len(compiled.buffer), float(v.sum()))
"""


def run(cache, n, root=ROOT):
    """(number of compilations, a checksum) of a network of n neurons in a fresh interpreter."""
    env = {**os.environ, "LAVALIKE_CACHE": str(cache), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(n)], env=env, capture_output=True, text=True, cwd=cache
    )
    assert done.returncode == 0, done.stderr
    compiled, checksum = done.stdout.split()
    return int(compiled), float(checksum)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    compiled, checksum = run(cache, 3)
    assert compiled > 0
    return cache, checksum


def test_a_network_never_seen_before_compiles_nothing(warm):
    """With a warm cache another interpreter runs another network without compiling."""
    assert run(warm[0], 7)[0] == 0


def test_two_interpreters_share_a_cold_cache(tmp_path):
    """Two interpreters that start together on an empty cache both compute, and leave a cache that
    serves a third."""
    env = {**os.environ, "LAVALIKE_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(n)], env=env, stdout=subprocess.PIPE, text=True
        )
        for n in (3, 4)
    ]
    assert all(p.communicate()[0] and p.returncode == 0 for p in both)
    assert run(tmp_path, 5)[0] == 0


def test_a_changed_kernel_source_is_compiled_anew(warm, tmp_path):
    """An equation changed in a copy of the package: the old cache serves nothing of it."""
    cache, before = warm
    root = tmp_path / "site"
    shutil.copytree(
        ROOT / "lavalike", root / "lavalike", ignore=shutil.ignore_patterns("__pycache__")
    )
    source = root / "lavalike/dynamics/lif.py"
    text = source.read_text()
    equation = "return s_out, u, reset(s_out, v, 0)\n"
    assert equation in text
    source.write_text(text.replace(equation, "return s_out, u, reset(s_out, v, 0.5)\n"))
    compiled, checksum = run(cache, 3, root)
    assert compiled > 0
    assert checksum != before
    assert run(cache, 3)[1] == before


def test_a_changed_constant_of_learning_is_another_folder(monkeypatch):
    """Its kernels have frozen in them what ``lavalike.learning`` says of bits and ranges."""
    before, read = kernels.fingerprint(), Path.read_bytes
    more = "lavalike/learning/rule.py"  # as though it ended in one line more
    monkeypatch.setattr(Path, "read_bytes", lambda p: read(p) + b"\n" * p.match(more))
    assert kernels.fingerprint.__wrapped__() != before


def test_import_is_light():
    """``import lavalike`` loads neither torch nor numba, matplotlib or h5py, and names everything
    it offers."""
    code = (
        "import sys, lavalike; heavy = {'torch', 'numba', 'matplotlib', 'h5py', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy; assert lavalike.simulate and lavalike.NumbaModel and 'to_torch' in dir(lavalike)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_models_written_at_a_prompt_compile_in_memory(tmp_path):
    """A model in no importable file runs, and leaves nothing of itself in the cache."""
    code = """
import numpy as np, lavalike as lv
class Square(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
@lv.implements(Square, backend="numba")
class SquareModel(lv.NumbaModel):
    def step(a_in, s_out):
        for i in range(a_in.size):
            s_out[i] = a_in[i] * a_in[i]
print(lv.simulate(Square(), {"a_in": np.arange(6).reshape(3, 2)})["s_out"].tolist())
"""
    env = {**os.environ, "LAVALIKE_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[[0.0, 1.0], [4.0, 9.0], [16.0, 25.0]]"
    assert not list(tmp_path.rglob("*Square*"))


def test_the_cache_is_not_rewritten(warm):
    """A warm start touches no file of the cache, and makes none."""
    files = {p: p.stat().st_mtime_ns for p in warm[0].rglob("*")}
    run(warm[0], 3)
    assert files
    assert files == {p: p.stat().st_mtime_ns for p in warm[0].rglob("*")}


# -- who may have written it -----------------------------------------------------------------------


posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache of this process's; nothing has been warned of yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LAVALIKE_CACHE", str(folder))
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setattr(
        kernels, "_load", functools.cache(kernels._load.__wrapped__)
    )  # other tests keep theirs
    return folder


def start():
    """What a fresh interpreter does for two kernels; how many were compiled. They are called, and
    their numbers checked."""
    kernels._load.cache_clear()
    compiled = []
    uncached = kept.CFunc._compile_uncached
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kept.CFunc, "_compile_uncached", lambda self: compiled.append(self) or uncached(self)
        )
        for function, want in ((transfer.copy, [1, 2, 3]), (transfer.add, [11, 22, 33])):
            source, target = np.array([1, 2, 3], np.int8), np.array([10, 20, 30], np.int8)
            kinds = [("int8", 1)] * 2
            kernel = kernels.Spec(function, (("source", kinds[0]), ("target", kinds[1])))
            block = kernels.pack([source, target], kinds)
            ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(
                kernels.address(kernel)
            )(block.ctypes.data, 0)
            np.testing.assert_array_equal(target, want)
    return len(compiled)


def files(folder):
    return sorted(folder.rglob("*.nbc"))


class Planted:
    """Pickled, a file that writes ``mark`` where it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_second_start_compiles_nothing_and_files_are_closed(place):
    assert [start(), start()] == [2, 0]
    if os.name == "posix":
        assert {stat.S_IMODE(p.stat().st_mode) for p in files(place)} == {0o600}
        assert {stat.S_IMODE(p.stat().st_mode) for p in (place, files(place)[0].parent)} == {0o700}
    assert not list(place.rglob("*.tmp"))


def spoil_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def spoil_longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def spoil_foreign(path):
    path.write_bytes(pickle.dumps(("0.61", Planted(path.with_suffix(".pwned")))))


def spoil_planted_behind_our_mark(path):
    head = path.read_bytes().split(b"\n")[:3]
    path.write_bytes(b"\n".join([*head, pickle.dumps(Planted(path.with_suffix(".pwned")))]))


def spoil_exchanged(path):
    """Another kernel's file, whole but for its name."""
    one, other = files(path.parent)
    one.rename(path.parent / "between")
    other.rename(one)
    (path.parent / "between").rename(other)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_half,
        spoil_empty,
        spoil_bit,
        spoil_longer,
        spoil_foreign,
        spoil_planted_behind_our_mark,
        spoil_exchanged,
    ],
)
def test_a_damaged_or_foreign_file_is_compiled_anew_and_replaced(place, spoil):
    """The numbers stay right, the next start compiles nothing, no planted code has run."""
    start()
    spoil(files(place)[0])
    assert start() == (2 if spoil is spoil_exchanged else 1)
    assert all(map(cache.whole, files(place)))
    assert start() == 0
    assert not list(place.rglob("*.pwned"))


def test_no_changed_byte_is_taken_for_the_kernel(place):
    start()
    path = files(place)[0]
    good = path.read_bytes()
    key = cache._content(path)[0]
    assert cache.read(path, key)
    g = np.random.default_rng(0)
    for k in [*range(160), *g.integers(0, len(good), 300)]:
        bad = bytearray(good)
        bad[k] ^= 1 << int(g.integers(8))
        path.write_bytes(bad)
        assert cache.read(path, key) is None, k
    path.write_bytes(good)
    assert cache.read(path, key)


def open_folder(folder):
    folder.chmod(0o777)


def open_to_group(folder):
    folder.chmod(0o770)


def open_inner(folder):
    files(folder)[0].parent.chmod(0o707)


def open_parent(folder):
    folder.parent.chmod(0o777)


def linked_inner(folder):
    inner = files(folder)[0].parent
    inner.rename(folder.parent / "elsewhere")
    inner.symlink_to(folder.parent / "elsewhere")


@posix
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (open_folder, r"cache can be written by others \(mode 777"),
        (open_to_group, r"cache can be written by others \(mode 770"),
        (open_inner, r"[0-9a-f]{16} can be written by others \(mode 707"),
        (open_parent, "in which cache lies, can be written by everyone"),
        (linked_inner, "is a link"),
    ],
)
def test_a_folder_open_to_others_is_not_used(place, spoil, why):
    """Kernels compile in memory with one warning; what was planted, and what lay there, stays as it
    is."""
    start()
    spoil(place)
    planted = files(place.parent)[0]
    planted.write_bytes(pickle.dumps(Planted(place.parent / "pwned")))
    before = {p: p.read_bytes() for p in files(place.parent)}
    with pytest.warns(
        cache.CacheWarning, match=f"compiled in memory.*{why}.*LAVALIKE_CACHE"
    ) as warned:
        assert [start(), start()] == [2, 2]
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert before == {p: p.read_bytes() for p in files(place.parent)}
    assert not (place.parent / "pwned").exists()
    assert re.search(
        f"kernel cache: 0 kernels in .*; kernels are compiled in memory.*{why}",
        doctor._kernel_cache(),
    )
    with pytest.raises(lv.RunError, match=f"warm: kernels are not kept.*{why}"):
        doctor.warm()


@posix
def test_a_folder_of_another_user_is_not_used(place, monkeypatch):
    start()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.warns(
        cache.CacheWarning, match=f"cache belongs to user {me}, this process is user {me + 1}'s"
    ):
        assert start() in (1, 2)
    monkeypatch.setattr(os, "geteuid", lambda: me)
    assert start() == 0


def open_file(path):
    path.chmod(0o666)


def file_open_to_group(path):
    path.chmod(0o620)


def linked_file(path):
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


@posix
@pytest.mark.parametrize(
    ("spoil", "why"),
    [(open_file, "mode 666"), (file_open_to_group, "mode 620"), (linked_file, "is a link")],
)
def test_a_file_open_to_others_is_not_read_but_replaced(place, spoil, why):
    start()
    path = files(place)[0]
    spoil(path)
    assert "1 files are damaged, open to others or foreign" in doctor._kernel_cache()
    with pytest.warns(cache.CacheWarning, match=why):
        assert start() in (1, 2)
    assert start() == 0
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not path.is_symlink()


@posix
def test_a_pipe_in_a_files_place_is_not_waited_for(place):
    start()
    path = files(place)[0]
    path.unlink()
    os.mkfifo(path)
    assert start() in (1, 2)
    assert start() == 0


@posix
def test_a_link_to_the_cache_is_the_users_own(place):
    (place.parent / "big disk").mkdir(mode=0o700)
    place.symlink_to(place.parent / "big disk")
    assert start() in (1, 2)
    assert start() == 0
    assert files(place.parent / "big disk")


def no_home(monkeypatch, tmp_path):
    monkeypatch.delenv("LAVALIKE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)


def home_is_a_file(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("LAVALIKE_CACHE", str(tmp_path / "home" / ".cache" / "lavalike"))


def cache_is_a_file(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("")


def disk_is_full(monkeypatch, tmp_path):
    def mkstemp(**kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    monkeypatch.setattr(tempfile, "TemporaryFile", mkstemp)


def disk_is_read_only(monkeypatch, tmp_path):
    def mkdir(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", mkdir)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (no_home, "there is no home folder"),
        (home_is_a_file, "Not a directory|cannot find the path|File exists|already exists"),
        (cache_is_a_file, "File exists|already exists"),
        (disk_is_full, "No space left"),
        (disk_is_read_only, "Read-only file system"),
    ],
)
def test_where_nothing_can_be_kept_kernels_compile_in_memory(
    place, monkeypatch, tmp_path, spoil, why
):
    spoil(monkeypatch, tmp_path)
    with pytest.warns(
        cache.CacheWarning, match=f"in memory, for this process only, as .*({why})"
    ) as warned:
        assert [start(), start()] == [2, 2]
    assert len(warned) == 1
    assert re.search(
        f"kernel cache: 0 kernels in .*; kernels are compiled in memory.*({why})",
        doctor._kernel_cache(),
    )


def test_a_full_disk_leaves_nothing_half_written(place, monkeypatch):
    class Full(io.BytesIO):
        def writelines(self, parts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(number, mode, **kwargs):
        os.close(number)
        return Full()

    monkeypatch.setattr(cache, "open", full, raising=False)
    with pytest.warns(cache.CacheWarning, match="No space left"):
        start()
    assert [p for p in place.rglob("*") if p.is_file()] == []


def test_what_a_killed_process_left_is_cleaned_up(place):
    start()
    folder = files(place)[0].parent
    old, young = folder / "k_old.tmp", folder / "k_young.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    files(place)[0].unlink()
    cache._clean.cache_clear()
    assert start() in (1, 2)
    assert (old.exists(), young.exists()) == (False, True)


def test_doctor_tells_what_lies_there(place):
    assert doctor._kernel_cache() == f"kernel cache: 0 kernels in {place}"
    start()
    count = len(files(place))
    assert doctor._kernel_cache() == f"kernel cache: {count} kernels in {place}"
    spoil_half(files(place)[0])
    (place / "0123456789abcdef").mkdir()
    shutil.copy(files(place)[1], place / "0123456789abcdef")
    assert doctor._kernel_cache() == (
        f"kernel cache: {count - 1} kernels in {place}; 1 files are damaged, open to others or foreign: "
        "compiled anew when they are needed; 1 kernels of other versions, which may be deleted"
    )


def test_a_model_edited_after_its_import_is_not_kept_under_the_new_text(
    place, tmp_path, monkeypatch
):
    """What is compiled is what was imported; the next interpreter, which imports the new text,
    compiles that."""
    monkeypatch.syspath_prepend(tmp_path)
    text = """
import lavalike as lv
class Scaled(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))
@lv.implements(Scaled, backend="numba")
class ScaledModel(lv.NumbaModel):
    def step(a_in, s_out):
        for i in range(a_in.size):
            s_out[i] = a_in[i] * 2
"""
    file = tmp_path / "edited_model.py"
    file.write_text(text)
    code = (
        "import sys, pathlib, numpy as np, lavalike as lv, edited_model as m\n"
        "if len(sys.argv) > 1:\n    f = pathlib.Path(m.__file__); f.write_text(f.read_text().replace('* 2', '* 3'))\n"
        "print(lv.simulate(m.Scaled(), {'a_in': np.ones((2, 1))})['s_out'].ravel().tolist())"
    )
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    said = [
        subprocess.run(
            [sys.executable, "-c", code, *more], env=env, capture_output=True, text=True, check=True
        ).stdout.strip()
        for more in (["edit"], [])
    ]
    assert said == ["[2.0, 2.0]", "[3.0, 3.0]"]


# -- loops of training -----------------------------------------------------------------------------


def loop(monkeypatch):
    """What a loop writes, and how many were compiled, as in an interpreter that begins."""
    compiled, make = [], llvm.binding.create_pass_builder
    with monkeypatch.context() as patch:
        patch.setattr(
            llvm.binding, "create_pass_builder", lambda *a: compiled.append(a) or make(*a)
        )
        address = llvm.compiled(
            'define void @"kernel"(i64* %slots) {\n store i64 7, i64* %slots\n ret void\n}'
        )
    slots = np.zeros(1, np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(slots.ctypes.data)
    return slots[0], len(compiled)


def test_loops_of_training_are_kept(place, monkeypatch):
    """Compiled once; a damaged file, or one that others may write, is compiled anew and
    replaced."""
    assert loop(monkeypatch) == (7, 1)
    (path,) = place.rglob(f"loop_*{cache.OBJECT}")
    assert loop(monkeypatch) == (7, 0)
    spoil_bit(path)
    assert loop(monkeypatch) == (7, 1)
    assert cache.whole(path)
    assert loop(monkeypatch) == (7, 0)
    if os.name == "posix":
        path.chmod(0o666)
        with pytest.warns(cache.CacheWarning, match="can be written by others"):
            assert loop(monkeypatch) == (7, 1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert loop(monkeypatch) == (7, 0)
        place.chmod(0o777)
        monkeypatch.setattr(cache, "_warned", set())
        with pytest.warns(cache.CacheWarning, match="compiled in memory"):
            assert loop(monkeypatch) == (7, 1)
