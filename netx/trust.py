"""What HDF5's library cannot be trusted with is checked on a file's bytes before it is asked for
it.

The library takes a file's own word for most of what it reads. A damaged one makes it loop in C,
where no Ctrl-C is heard (an object of no size in a global heap, a free list or a tree that comes
back to itself), takes gigabytes (a chunk that inflates without end) or ends the process.
:class:`Plain` walks the structures that h5py writes by default, the form of lava-dl's files and of
ours: superblock 0, old groups, object headers of version 1, compact, contiguous or chunked data.
Each must lie inside the file, be of a known form, and be met once; so the walk ends, and the
library's does.

A file of another form (new groups, shared messages, other filters) is first read as a whole in a
child process that has a deadline and a limit of memory: ``python -I trust.py FILE DEPTH``. It costs
the start of an interpreter with h5py.
"""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

MAX_NODES = 100_000
MAX_DEPTH = 8
MAX_HEAP = 1 << 20  # bytes of one heap: names, or texts
SPARE = 64 << 20  # what a load may take besides three times what its layers need
SOME = 256  # sequences that are read at once
SECONDS, RATE = 15, 8 << 20  # the child's deadline: so long, and a second more for so many bytes
NOWHERE = 0xFFFF_FFFF_FFFF_FFFF
SIGNATURE = b"\x89HDF\r\n\x1a\n"
Fail = Callable[[str, str], Exception]

DATASPACE, DATATYPE, OLD_FILL, FILL, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, TABLE = (
    1,
    3,
    4,
    5,
    7,
    8,
    11,
    12,
    16,
    17,
)
ONCE = {DATASPACE, DATATYPE, OLD_FILL, FILL, LAYOUT, FILTERS, TABLE}
HARMLESS = {0, 13, 14, 18, 22}  # nothing, comment, times, count of references
DEFLATE, SHUFFLE, FLETCHER = 1, 2, 3
# properties of IEEE's floats: bit offset, precision, exponent's place and size, mantissa's place
# and size, bias; and the sign's place
FLOATS = {
    2: (0, 16, 10, 5, 0, 10, 15, 15),
    4: (0, 32, 23, 8, 0, 23, 127, 31),
    8: (0, 64, 52, 11, 0, 52, 1023, 63),
}


class Other(Exception):
    """The file is of a form that is not looked into here."""


class _Damage(Exception):
    """What is wrong, without its place."""


def check(path: Path, fail: Fail, depth: int = MAX_DEPTH, sequences: bool = False) -> Plain | None:
    """Raise what ``fail(key, problem)`` makes unless the library can be trusted with the file at
    ``path``, whose groups may be nested ``depth`` deep; what was found, or None for a file that a
    child process has read. ``sequences`` of numbers, of any lengths, are allowed where a file of
    data has them; a child looks at them."""
    try:
        with open(path, "rb") as file:
            return Plain(file, os.fstat(file.fileno()).st_size, fail, depth, sequences)
    except Other as e:
        _in_a_child(path, fail, str(e), depth)
        return None


class Plain:
    """The walk. ``inflate(key)`` must be asked before a dataset's values are read."""

    def __init__(
        self, file, size: int, fail: Fail, depth: int = MAX_DEPTH, sequences: bool = False
    ) -> None:
        self.file, self.size, self.make, self.key, self.deepest = file, size, fail, "", depth
        self.sequences = sequences
        self.met: set[int] = set()
        self.heaps: dict[int, dict[int, int]] = {}
        self.nodes = self.attributes = 0
        self.data: dict[
            str, tuple[int, int, bool, int]
        ] = {}  # elements, bytes of one, whether it is a text, bytes stored
        self.chunks: dict[
            str, list[tuple[int, int, int, bool]]
        ] = {}  # address, bytes, bytes that it inflates to
        try:
            self._superblock()
        except _Damage as e:
            self.fail(str(e))
        except (struct.error, IndexError, UnicodeDecodeError) as e:
            self.fail(f"its header is damaged ({e})")

    def fail(self, problem: str) -> NoReturn:
        raise self.make(self.key, problem if self.key else f"not a readable HDF5 file: {problem}")

    def at(self, address: int, count: int) -> bytes:
        if address == NOWHERE or address + count > self.size:
            raise _Damage(f"{count} bytes at {address} lie outside the file")
        self.file.seek(address)
        data = self.file.read(count)
        if len(data) != count:
            raise _Damage("the file became shorter while it was read")
        return data

    def once(self, address: int, what: str) -> None:
        if address in self.met:
            raise _Damage(f"{what} is met twice")
        self.met.add(address)

    # -- structures --------------------------------------------------------------------------------

    def _superblock(self) -> None:
        head = self.at(0, min(96, self.size))
        if not head.startswith(SIGNATURE):
            if any(
                self.size >= n + 8 and self.at(n, 8) == SIGNATURE
                for n in (512 << k for k in range(20))
            ):
                raise Other("a block of the user's before the superblock")
            raise _Damage("it does not begin with HDF5's signature")
        if len(head) < 96:
            raise _Damage("it ends within its superblock")
        if head[8]:
            raise Other(f"superblock {head[8]}")
        if head[9:11] != b"\0\0" or head[12:15] != b"\0\x08\x08":
            raise _Damage("the superblock's versions or sizes are unknown")
        self.leaf, self.internal = struct.unpack_from("<HH", head, 16)
        base, _, end, driver = struct.unpack_from("<4Q", head, 24)
        if base or driver != NOWHERE:
            raise Other("a base address, or a driver's block")
        if end > self.size:
            raise _Damage(f"it says it has {end} bytes and has {self.size}")
        if not 1 <= self.leaf <= 1024 or not 1 <= self.internal <= 1024:
            raise _Damage("the superblock's tree sizes are not plausible")
        self.size = end
        _, root, kind, _, tree, heap = struct.unpack_from("<QQIIQQ", head, 56)
        if kind not in (0, 1):
            raise _Damage("the root group's entry is unknown")
        self._object(root, 0, (tree, heap) if kind == 1 else None)

    def _messages(self, address: int) -> list[tuple[int, bytes]]:
        """(type, contents) of an object's header."""
        head = self.at(address, 16)
        if head[:4] == b"OHDR":
            raise Other("an object header of version 2")
        version, _, count, _, size = struct.unpack_from("<BBHII", head)
        if version != 1:
            raise _Damage(f"an object header of version {version}")
        out: list[tuple[int, bytes]] = []
        blocks = [(address + 16, size)]
        while blocks:
            start, size = blocks.pop(0)
            if size > MAX_HEAP:
                raise _Damage(f"an object header of {size} bytes")
            self.once(start, "an object header's block")
            data, at = self.at(start, size), 0
            while at + 8 <= size:
                kind, length, flags = struct.unpack_from("<HHB", data, at)
                if length % 8 or at + 8 + length > size:
                    raise _Damage("a message reaches beyond its object header")
                if flags & 2:
                    raise Other("a shared message")
                body, at = data[at + 8 : at + 8 + length], at + 8 + length
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", body))
                out.append((kind, body))
            if at != size:
                raise _Damage("an object header's block has a rest")
        if len(out) != count:
            raise _Damage(f"an object header has {len(out)} messages and says {count}")
        return out

    def _object(self, address: int, depth: int, cached: tuple[int, int] | None) -> None:
        """A group and all below it, or a dataset; ``self.key`` names it."""
        key = self.key
        if depth > self.deepest:
            self.fail(f"groups are nested deeper than {self.deepest}")
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(f"more than {MAX_NODES} objects")
        if address in self.met:
            self.fail("is linked twice")
        self.met.add(address)
        try:
            found: dict[int, bytes] = {}
            attributes = []
            for kind, body in self._messages(address):
                if kind == EXTERNAL:
                    self.fail("its data lie outside the file")
                if kind == ATTRIBUTE:
                    attributes.append(body)
                elif kind in ONCE:
                    if kind in found:
                        raise _Damage(f"message {kind} stands twice in its header")
                    found[kind] = body
                elif kind not in HARMLESS and kind != CONTINUATION:
                    raise Other(f"message {kind}")
            names: set[bytes] = set()
            for body in attributes:
                self._attribute(body, names, key)
            self.key = key
            if TABLE in found:
                if found.keys() & {DATASPACE, DATATYPE, LAYOUT}:
                    raise _Damage("is both a group and a dataset")
                tree, heap = struct.unpack_from("<QQ", found[TABLE])
                if cached not in (None, (tree, heap)):
                    raise _Damage("its link and its header name different tables")
                self._group(tree, heap, depth)
            elif {DATASPACE, DATATYPE, LAYOUT} <= found.keys() and cached is None:
                self._dataset(found)
            elif DATATYPE in found:
                self.fail("is a Datatype; groups and datasets are expected")
            else:
                raise _Damage("is neither a group nor a dataset")
        except _Damage as e:
            self.fail(str(e))
        except (struct.error, IndexError) as e:
            self.fail(f"its header is damaged ({e})")

    def _group(self, tree: int, heap: int, depth: int) -> None:
        key = self.key
        names = self._names(heap)
        last = b""
        for offset, address, kind, cached in list(self._entries(tree, -1)):
            end = names.find(b"\0", offset)
            if end < 0:
                raise _Damage("a name has no end")
            name = names[offset:end]
            if name <= last or b"/" in name:
                raise _Damage("its names are not in order")
            last = name
            try:
                self.key = f"{key}/{name.decode()}".lstrip("/")
            except UnicodeDecodeError:
                raise _Damage(f"a name is no text ({name[:40]!r})") from None
            if kind == 2:
                self.fail("is a SoftLink; links are not followed")
            if kind > 2:
                self.fail(f"its link is of unknown kind {kind}")
            self._object(address, depth + 1, cached if kind == 1 else None)
        self.key = key

    def _names(self, address: int) -> bytes:
        """The names of a group: its local heap, whose free blocks must come to an end."""
        head = self.at(address, 32)
        size, free, data = struct.unpack_from("<QQQ", head, 8)
        if head[:5] != b"HEAP\0" or size > MAX_HEAP:
            raise _Damage("its heap of names is damaged")
        self.once(address, "a heap of names")
        names, seen = self.at(data, size), set()
        while free != 1:  # what HDF5 ends the list with
            if free in seen or free + 16 > size:
                raise _Damage("its heap of names is damaged")
            seen.add(free)
            free, length = struct.unpack_from("<QQ", names, free)
            if length < 16 or length > size:
                raise _Damage("its heap of names is damaged")
        return names

    def _tree(
        self, address: int, kind: int, level: int, most: int, key_size: int
    ) -> tuple[int, bytes]:
        """(level, keys and children in turn) of a node."""
        head = self.at(address, 24)
        own, count = head[5], struct.unpack_from("<H", head, 6)[0]
        if (
            head[:4] != b"TREE"
            or head[4] != kind
            or own > 16
            or level not in (-1, own)
            or count > most
        ):
            raise _Damage("a node of its tree is damaged")
        self.once(address, "a node of its tree")
        return own, self.at(address + 24, most * 8 + (most + 1) * key_size)[
            : count * (8 + key_size)
        ]

    def _entries(self, address: int, level: int) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
        """(name, object, kind of link, its table) of a group."""
        own, body = self._tree(address, 0, level, 2 * self.internal, 8)
        for _, child in struct.iter_unpack("<QQ", body):
            if own:
                yield from self._entries(child, own - 1)
                continue
            self.once(child, "a node of its table")
            node = self.at(child, 8 + 2 * self.leaf * 40)
            count = struct.unpack_from("<H", node, 6)[0]
            if node[:5] != b"SNOD\x01" or count > 2 * self.leaf:
                raise _Damage("a node of its table is damaged")
            for k in range(count):
                name, target, kind, _, tree, heap = struct.unpack_from("<QQIIQQ", node, 8 + 40 * k)
                yield name, target, kind, (tree, heap)

    # -- data --------------------------------------------------------------------------------------

    def _dataset(self, found: dict[int, bytes]) -> None:
        shape = self._space(found[DATASPACE])[0]
        item, text, _ = self._type(found[DATATYPE])
        if shape is None:
            self.fail("is empty")
        count, string = math.prod(shape), found[DATATYPE][0] & 15 in (3, 9)
        size = count * item
        self._fill(found, item, text)
        layout = found[LAYOUT]
        self.data[self.key] = count, item, string, size
        if layout[0] != 3:
            raise Other(f"a layout of version {layout[0]}")
        if FILTERS in found and layout[1] != 2:
            raise _Damage("filters without chunks")
        if layout[1] == 0:
            data = layout[4 : 4 + struct.unpack_from("<H", layout, 2)[0]]
            if len(data) != size:
                self.fail(f"declares {size} bytes and stores {len(data)}")
            if text:
                self._texts(data)
        elif layout[1] == 1:
            address, stored = struct.unpack_from("<QQ", layout, 2)
            if address == NOWHERE:
                self.data[self.key] = count, item, string, 0
                return
            if stored != size or address + size > self.size:
                self.fail(
                    f"declares {size} bytes and stores {min(stored, max(self.size - address, 0))}"
                )
            if text:
                if size > MAX_HEAP:
                    self.fail(f"one string is expected, found {count}")
                self._texts(self.at(address, size))
        elif layout[1] == 2:
            if text:
                raise Other("chunks of texts")
            self.data[self.key] = (
                count,
                item,
                string,
                self._chunked(layout, found.get(FILTERS), shape, item),
            )
        else:
            raise _Damage(f"a layout of class {layout[1]}")

    def _space(self, body: bytes) -> tuple[tuple[int, ...] | None, int]:
        """(shape, length) of a dataspace; None where there is none."""
        version, rank, flags = body[:3]
        if version not in (1, 2) or rank > 32 or flags > 1:
            raise _Damage("its dataspace is damaged")
        at = 8 if version == 1 else 4
        if version == 2 and (body[3] > 2 or (body[3] != 1 and rank)):
            raise _Damage("its dataspace is damaged")
        dims = struct.unpack_from(f"<{rank}Q", body, at)
        most = struct.unpack_from(f"<{rank}Q", body, at + 8 * rank) if flags else dims
        if any(n > m for n, m in zip(dims, most, strict=True)) or math.prod(dims) >= 1 << 60:
            raise _Damage(f"its shape {dims} is not plausible")
        return (None if version == 2 and body[3] == 2 else dims), at + 8 * rank * (1 + flags)

    def _type(self, body: bytes) -> tuple[int, bool, int]:
        """(bytes of an element, whether it is a text elsewhere, length of the description); numbers
        and texts only."""
        version, kind = body[0] >> 4, body[0] & 15
        bits, size = body[1:4], struct.unpack_from("<I", body, 4)[0]
        if version not in (1, 2, 3):
            raise Other(f"a datatype of version {version}")
        if kind == 0:
            if (
                size not in (1, 2, 4, 8)
                or bits[0] & ~9
                or bits[1:] != b"\0\0"
                or struct.unpack_from("<HH", body, 8) != (0, 8 * size)
            ):
                raise _Damage("its whole numbers are of an unknown form")
            return size, False, 12
        if kind == 1:
            form = struct.unpack_from("<HHBBBBI", body, 8)
            if (*form, bits[1]) != FLOATS.get(size) or bits[0] & ~1 != 0x20 or bits[2]:
                raise _Damage("its floating-point numbers are not IEEE's")
            return size, False, 20
        if kind == 3:
            if (
                not 1 <= size <= MAX_HEAP
                or bits[0] & 15 > 2
                or bits[0] >> 4 > 1
                or bits[1:] != b"\0\0"
            ):
                raise _Damage("its text is of an unknown form")
            return size, False, 8
        if kind == 8:
            return size, False, self._enumeration(body, version, bits, size)
        if kind == 9 and bits[0] & 15 == 1:
            base, text, length = self._type(body[8:])
            if size != 16 or base != 1 or text or bits[0] >> 4 > 2 or bits[1] > 1 or bits[2]:
                raise _Damage("its text is of an unknown form")
            return size, True, 8 + length
        names = {
            2: "time",
            4: "bit field",
            5: "opaque",
            6: "compound",
            7: "reference",
            9: "sequences",
            10: "array",
            11: "complex",
        }
        if kind == 9 and self.sequences:
            raise Other("sequences")
        name = names.get(kind, f"of class {kind}")
        if kind == 6 and b"r\0" in body and b"i\0" in body:
            name = f"complex{8 * size}"
        raise _Damage(f"dtype {name} is not allowed; numbers and strings are")

    def _enumeration(self, body: bytes, version: int, bits: bytes, size: int) -> int:
        count = struct.unpack_from("<H", bits)[0]
        base, text, length = self._type(body[8:])
        if base != size or text or body[8] & 15 or bits[2] or not 1 <= count <= 256:
            raise _Damage("its enumeration is damaged")
        at = 8 + length
        for _ in range(count):
            end = body.index(b"\0", at) if b"\0" in body[at:] else len(body)
            at = end + 1 if version == 3 else at + (end - at) // 8 * 8 + 8
        if at + count * size > len(body):
            raise _Damage("its enumeration is damaged")
        return at + count * size

    def _fill(self, found: dict[int, bytes], item: int, text: bool) -> None:
        sizes = []
        if OLD_FILL in found:
            sizes.append((struct.unpack_from("<I", found[OLD_FILL])[0], len(found[OLD_FILL]) - 4))
        if FILL in found:
            body = found[FILL]
            if body[0] in (1, 2):
                if body[0] == 1 or body[3]:
                    sizes.append((struct.unpack_from("<I", body, 4)[0], len(body) - 8))
            elif body[0] == 3:
                if body[1] & 0x20:
                    sizes.append((struct.unpack_from("<I", body, 2)[0], len(body) - 6))
            else:
                raise _Damage("its fill value is damaged")
        for size, room in sizes:
            if size and (size != item or size > room or text):
                raise _Damage("its fill value is damaged")

    def _texts(self, data: bytes) -> None:
        """Texts that lie in a global heap; whoever reads them must find them there."""
        for length, address, index in struct.iter_unpack("<IQI", data):
            if address in (0, NOWHERE) or not length:
                continue
            if self._heap(address).get(index, -1) != length:
                raise _Damage("its text is not where it should be")

    def _heap(self, address: int) -> dict[int, int]:
        """Lengths of the objects of a global heap's collection. HDF5 loops over one that has no
        size."""
        if address in self.heaps:
            return self.heaps[address]
        head = self.at(address, 16)
        size = struct.unpack_from("<Q", head, 8)[0]
        if head[:5] != b"GCOL\x01" or size > MAX_HEAP or size % 8:
            raise _Damage("the heap of its text is damaged")
        self.once(address, "a heap of texts")
        data, at = self.at(address, size), 16
        objects: dict[int, int] = {}
        while at + 16 <= size:
            index, _, _, length = struct.unpack_from("<HHIQ", data, at)
            if not index:  # the rest is free
                if length != size - at:
                    raise _Damage("the heap of its text is damaged")
                break
            if index in objects or at + 16 + length > size:
                raise _Damage("the heap of its text is damaged")
            objects[index] = length
            at += 16 + (length + 7) // 8 * 8
        self.heaps[address] = objects
        return objects

    def _attribute(self, body: bytes, names: set[bytes], key: str) -> None:
        version, flags, *sizes = struct.unpack_from("<BBHHH", body)
        if version not in (1, 2, 3):
            raise _Damage(f"an attribute of version {version}")
        if version > 1 and flags:
            raise Other("an attribute of a shared type")
        parts, at = [], 8 if version < 3 else 9
        for size in sizes:
            if at + size > len(body):
                raise _Damage("an attribute is damaged")
            parts.append(body[at : at + size])
            at += (size + 7) // 8 * 8 if version == 1 else size
        name = parts[0].split(b"\0")[0]
        if not name or name in names:
            raise _Damage("an attribute is damaged")
        names.add(name)
        self.key = f"{key}@{name.decode(errors='replace')}"
        self.attributes += 1
        if parts[1][0] & 15 in (2, 4, 5, 6, 7, 10, 11) or parts[1][:2] in (
            b"\x19\x00",
            b"\x29\x00",
            b"\x39\x00",
        ):
            raise Other("an attribute that is neither number nor text")
        item, text, length = self._type(parts[1])
        shape, end = self._space(parts[2])
        if length > sizes[1] or end > sizes[2]:
            raise _Damage("is damaged")
        data = body[at : at + math.prod(shape) * item] if shape is not None else b""
        if shape is not None and len(data) != math.prod(shape) * item:
            raise _Damage("has less than it declares")
        if text:
            self._texts(data)

    # -- chunks ------------------------------------------------------------------------------------

    def _chunked(
        self, layout: bytes, pipeline: bytes | None, shape: tuple[int, ...], item: int
    ) -> int:
        """Bytes that are stored."""
        rank, address = struct.unpack_from("<BQ", layout, 2)
        if rank != len(shape) + 1 or not shape:
            raise _Damage("its chunks have another number of axes")
        *chunk, size = struct.unpack_from(f"<{rank}I", layout, 11)
        if size != item or min(chunk) < 1:
            raise _Damage("its chunks are damaged")
        whole, declared = math.prod(chunk) * item, math.prod(shape) * item
        if whole > max(1 << 20, 2 * declared):
            self.fail(f"a chunk of {whole} bytes holds {declared}")
        filters = self._filters(pipeline, item) if pipeline is not None else []
        if address == NOWHERE:
            return 0
        found = self.chunks[self.key] = []
        total = 0
        last: tuple[int, ...] = ()
        for stored, mask, offset, start in self._leaves(address, -1, rank):
            if (
                offset <= last
                or offset[-1]
                or any(o % c or o >= n for o, c, n in zip(offset, chunk, shape, strict=False))
            ):
                raise _Damage("its chunks are not in order")
            last, total = offset, total + stored
            if start + stored > self.size:
                raise _Damage("a chunk lies outside the file")
            used = [f for k, f in enumerate(filters) if not mask >> k & 1]
            if used.count(DEFLATE) > 1:
                raise Other("chunks that are deflated twice")
            cut = used.index(DEFLATE) if DEFLATE in used else len(used)
            before, after = (4 * part.count(FLETCHER) for part in (used[:cut], used[cut:]))
            if DEFLATE not in used and stored != whole + before + after:
                raise _Damage("a chunk has another size than it declares")
            found.append((start, stored - after, whole + before, DEFLATE in used))
        return total

    def _leaves(
        self, address: int, level: int, rank: int
    ) -> Iterator[tuple[int, int, tuple[int, ...], int]]:
        """(bytes, filters left out, offset, address) of chunks; HDF5 gives such trees 64 children a
        node."""
        form = struct.Struct(f"<II{rank}QQ")
        own, body = self._tree(address, 1, level, 64, form.size - 8)
        for stored, mask, *offset, child in form.iter_unpack(body):
            if own:
                yield from self._leaves(child, own - 1, rank)
            else:
                yield stored, mask, tuple(offset), child

    def _filters(self, body: bytes, item: int) -> list[int]:
        version, count = body[:2]
        if version not in (1, 2) or not 1 <= count <= 32:
            raise _Damage("its filters are damaged")
        at, out = 8 if version == 1 else 2, []
        for _ in range(count):
            kind = struct.unpack_from("<H", body, at)[0]
            if kind not in (DEFLATE, SHUFFLE, FLETCHER):
                raise Other(f"filter {kind}")
            if version == 1:
                length, _, numbers = struct.unpack_from("<HHH", body, at + 2)
                at += 8 + (length + 7) // 8 * 8
            else:
                numbers = struct.unpack_from("<H", body, at + 4)[0]
                at += 6
            values = struct.unpack_from(f"<{numbers}I", body, at)
            at += 4 * (numbers + (numbers % 2 if version == 1 else 0))
            good = {
                DEFLATE: numbers == 1 and values[0] <= 9,
                SHUFFLE: values == (item,),
                FLETCHER: numbers == 0,
            }[kind]
            if not good:
                raise _Damage("its filters are damaged")
            out.append(kind)
        return out

    def inflate(self, path: Path, key: str) -> None:
        """Raise unless each deflated chunk of a dataset becomes just what it declares: HDF5
        inflates without end."""
        for address, stored, whole, deflated in self.chunks.pop(key, ()):
            if not deflated:
                continue
            with open(path, "rb") as file:
                file.seek(address)
                data = file.read(stored)
            unpack, count = zlib.decompressobj(), 0
            try:
                while data and not unpack.eof and count <= whole:
                    count += len(unpack.decompress(data, 1 << 18))
                    data = unpack.unconsumed_tail
            except zlib.error as e:
                raise self.make(key, f"a chunk is damaged ({e})") from None
            if count != whole or not unpack.eof:
                raise self.make(
                    key,
                    f"a chunk of {whole} bytes inflates to {'more' if count > whole else count}",
                )


# -- another form ----------------------------------------------------------------------------------


def _in_a_child(path: Path, fail: Fail, why: str, depth: int) -> None:
    """Let a process of its own read all of the file, as it is read afterwards; raise where it
    fails, dies or does not end."""
    if not sys.executable:
        raise fail("", f"not a plain HDF5 file ({why}), and there is no interpreter to try it in")
    limit = SECONDS + path.stat().st_size / RATE
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__, str(path.resolve()), str(depth)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise fail(
            "",
            f"not a plain HDF5 file ({why}), and HDF5 does not end reading it within {limit:.0f} s",
        ) from None
    key, _, problem = done.stdout.decode(errors="replace").partition("\t")
    if done.returncode == 1 and problem:
        raise fail(key, problem.strip())
    if done.returncode:
        raise fail(
            key,
            f"not a plain HDF5 file ({why}), and HDF5 dies reading it (exit status {done.returncode})",
        )


def _try(path: str, deepest: int = MAX_DEPTH) -> int:
    """Read all that a load reads. What fails is printed, after its key."""
    import h5py

    here, nodes = "", 0

    def say(key: str) -> None:
        nonlocal here
        here = key

    def attributes(item: h5py.HLObject, key: str) -> None:
        for name in item.attrs:
            say(f"{key}@{name}")
            item.attrs.get_id(name)
            if name in (
                "producer",
                "format_version",
                "sha256",
                "bias_start",
                "delay_shift",
                "input_shape",
            ):
                item.attrs[name]

    def visit(group: h5py.Group, path: str, depth: int) -> None:
        nonlocal nodes
        attributes(group, path)
        for name in group:
            say(f"{path}/{name}".lstrip("/"))
            key = here
            nodes += 1
            if (
                depth > deepest
                or nodes > MAX_NODES
                or not isinstance(group.get(name, getlink=True), h5py.HardLink)
            ):
                return  # refused by the reader
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, key, depth + 1)
            elif isinstance(item, h5py.Dataset):
                if not (item.is_virtual or item.external) and item.shape is not None:
                    item.id.get_storage_size()
                    declared = item.size * item.dtype.itemsize
                    stored = os.stat(item.file.filename).st_size
                    if h5py.check_vlen_dtype(item.dtype) not in (None, str, bytes):
                        # each may be as long as the file, and many may be the same one
                        for k in range(0, item.shape[0] if item.ndim == 1 else 0, SOME):
                            with _Limit(SPARE + 2 * stored):
                                item[k : k + SOME]
                    elif declared <= max(1 << 20, 1000 * stored) and item.dtype.kind in "biufSO":
                        with _Limit(SPARE + 3 * declared):
                            item[()]
                attributes(item, key)

    try:
        with h5py.File(path, "r") as file:
            visit(file, "", 0)
    except Exception as e:
        print(here, f"not readable: {' '.join(str(e).split())[:80]}", sep="\t")
        return 1
    return 0


class _Limit:
    """No more than so many bytes are added within, where the system can say so."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.before: tuple[int, int] | None = None

    def __enter__(self) -> None:
        try:
            import resource

            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (used + self.count, before[1]))
            self.before = before
        except (ImportError, OSError, ValueError):
            pass

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, self.before)


if __name__ == "__main__":
    sys.exit(_try(sys.argv[1], int(sys.argv[2])))
