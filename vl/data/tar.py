"""Reading a tar by its headers alone, and refusing one that is damaged.

Written for speed and for what `tarfile` lets pass: a tar cut short at the end of a member or inside a header reads
there as a shorter, whole one. Understands ustar, GNU long names, PAX headers and the old V7 form; sparse and
compressed members have no plain bytes to point at and are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple
from zlib import adler32

BLOCK = 512
#: Members that could run code when they are loaded: listed, never read.
PICKLES = ("pyd", "pkl", "pickle", "pt", "pth")
_ZEROS = bytes(BLOCK)
#: A longer name is no name.
_MAX_HEADER = 2**20
_REGULAR = (b"0", b"\0", b"7")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _SPARSE = b"L", b"K", b"x", b"g", b"S"
#: Links, devices and folders have no data, whatever their size field says.
_NO_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")


class Member(NamedTuple):
    """A regular file of a tar: its data are `size` bytes at `offset`."""

    name: str
    offset: int
    size: int


def samples(file: int, path: str, pickles: list[str] | None = None) -> Iterator[tuple[str, dict[str, Member]]]:
    """The samples of a tar: key and members by name (what follows the first dot of the file name, lower case).

    Names of pickles are appended to `pickles` and left out, like hidden files and webdataset's `__meta__`.

    Raises:
        ValueError: see `vl.data.tar.scan`; also members of one sample that do not stand together, and keys that
            come twice.
    """
    seen: dict[str, frozenset[str]] = {}
    key, members = "", dict[str, Member]()
    for member in scan(file, path):
        folder, slash, name = member.name.rpartition("/")
        stem, dot, kind = name.partition(".")
        kind = kind.lower()
        if not stem or not dot or member.name.startswith("__"):
            continue
        if last_part(kind) in PICKLES:
            if pickles is not None:
                pickles.append(member.name)
            continue
        if (owner := folder + slash + stem) != key:
            if members:
                seen[key] = frozenset(members)
                yield key, members
            if owner in seen:
                raise _misplaced(path, owner, kind in seen[owner])
            key, members = owner, {}
        if kind in members:
            raise _misplaced(path, owner, twice=True)
        members[kind] = member
    if members:
        yield key, members


def last_part(kind: str) -> str:
    """The last part of a member's name: `jpg` of `left.jpg`."""
    return kind.rpartition(".")[2]


def scan(file: int, path: str) -> Iterator[Member]:
    """The members of the tar behind a file descriptor; `path` names it in errors.

    Raises:
        ValueError: the tar is empty, cut short, or no tar; names it and says what is wrong and what to do.
    """
    total = os.fstat(file).st_size
    if not total:
        raise _damaged(path, "it is empty (0 bytes)")
    position, override, always = 0, dict[str, str](), dict[str, str]()
    while True:
        header = _header(file, path, position, total)
        if header == _ZEROS:
            return _check_end(file, path, position, total)
        kind, size = header[156:157], _number(header[124:136], path, position)
        if kind in _NO_DATA:
            size = 0
        elif kind not in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            size = _number(override["size"].encode(), path, position, base=10) if "size" in override else size
        offset, name = position + BLOCK, override.get("path") or always.get("path") or _name(header)
        if offset + size > total:
            raise _damaged(path, f"it was cut short inside {name!r}: {offset + size - total:,} bytes are missing")
        position = offset + -(-size // BLOCK) * BLOCK
        if kind in (_LONG_NAME, _PAX, _PAX_GLOBAL):
            fields = _extension(os.pread(file, size, offset), kind, path) if size <= _MAX_HEADER else {}
            (always if kind == _PAX_GLOBAL else override).update(fields)
            continue
        if kind == _SPARSE or any(field.startswith("GNU.sparse") for field in override):
            raise ValueError(f"{path}: {name!r} is stored sparse; write the tar without --sparse")
        if kind != _LONG_LINK:
            override = {}
        if kind in _REGULAR and not name.endswith("/"):
            yield Member(name, offset, size)


def _header(file: int, path: str, position: int, total: int) -> bytes:
    header = os.pread(file, BLOCK, position)
    if not header:
        raise _damaged(path, "its end-of-archive block is missing, so it was cut short between two members")
    if position == 0 and (foreign := _foreign(header)):
        raise _damaged(path, foreign)
    if len(header) < BLOCK:
        raise _damaged(path, f"it was cut short inside a tar header, at byte {total:,}")
    if header != _ZEROS and not _checksum_fits(header):
        where = "it is no tar" if position == 0 else f"it holds garbage from byte {position:,} on"
        raise _damaged(path, f"{where} (wrong header checksum)")
    return header


def _foreign(header: bytes) -> str | None:
    """What a file is that is often found in place of a tar."""
    if header[:2] == b"\x1f\x8b" or header[:4] == b"\x28\xb5\x2f\xfd" or header[:6] == b"\xfd7zXZ\0":
        return "it is compressed, so its samples cannot be read one by one: unpack it (gunzip, unzstd, unxz) first"
    if header.lstrip()[:1] == b"<":
        return "it is an HTML or XML page, most likely the error page of a download"
    if header.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: run `git lfs pull`"
    return None


def _checksum_fits(header: bytes) -> bool:
    """Compare the sum of the header's bytes, its own checksum field counted as eight spaces.

    The lower half of Adler-32 is that sum plus one, modulo 65521, ten times as fast as `sum`.
    """
    field = header[148:156]
    try:
        stated = int(field.strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return stated >= 0 and adler32(header) & 0xFFFF == (1 + stated + sum(field) - 8 * 32) % 65521


def _number(field: bytes, path: str, position: int, base: int = 8) -> int:
    """An octal number, GNU's base 256 for sizes from 8 GiB on, or a PAX header's decimal one; never below 0."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    try:
        digits = field.strip(b" \0") or b"0"
        return int(digits if digits.isdigit() else b"none", base)
    except ValueError:
        raise _damaged(path, f"the size in its header at byte {position:,} is no number") from None


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    return name.decode(errors="surrogateescape")


def _extension(data: bytes, kind: bytes, path: str) -> dict[str, str]:
    """The fields of a PAX header (`27 path=...\\n` each), or the one of a GNU long name."""
    if kind == _LONG_NAME:
        return {"path": data.split(b"\0", 1)[0].decode(errors="surrogateescape")}
    fields, start = {}, 0
    while start < len(data) and data[start]:
        length, space, _ = data[start:].partition(b" ")
        end = start + int(length) if space and length.isdigit() else 0
        name, equals, value = data[start + len(length) + 1 : end - 1].partition(b"=")
        if not equals or end <= start:
            raise _damaged(path, "one of its PAX headers cannot be read")
        fields[name.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape")
        start = end
    return fields


def _check_end(file: int, path: str, position: int, total: int) -> None:
    """Only zeros may follow the end-of-archive block."""
    while position < total:
        rest = os.pread(file, 2**20, position)
        if rest.count(0) != len(rest):
            raise _damaged(path, f"more data follow its end, before byte {position + len(rest):,}: were tars joined?")
        position += len(rest)


def _damaged(path: str, what: str) -> ValueError:
    return ValueError(f"shard {path} cannot be used: {what}. Fetch or write it again, or leave it out of the list.")


def _misplaced(path: str, key: str, twice: bool) -> ValueError:
    what = (
        f"the key {key!r} comes twice"
        if twice
        else f"the members of {key!r} do not stand together: pack each sample's files side by side (tar --sort=name)"
    )
    return ValueError(f"shard {path} cannot be used: {what}. Keys are unique within a shard.")
