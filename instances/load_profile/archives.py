"""Arrays and archives from outside, measured before they are read: nothing is inflated or allocated unasked.

A ZIP directory states the size of every member and an array's header its shape, so that a bomb is refused by
what it says of itself; what says less than it holds is cut off at the stated size.
"""

from __future__ import annotations

import csv
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from shardproof.instances.reading import refuse

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 256 * 10**6
"""Bytes that a file, or all members of an archive together, may hold."""
MAX_MEMBERS = 4096
MAX_VALUES = 32 * 10**6
"""Numbers of one array."""

_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    csv.Error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of the standard library and of numpy raise on a file that is broken."""


def check_size(path: Path) -> None:
    """Refuse a file larger than `MAX_BYTES`."""
    if path.stat().st_size > MAX_BYTES:
        raise refuse(str(path), f"is larger than {MAX_BYTES // 10**6} MB; this is no load profile")


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive whose members are few, plain and of sane size together.

    Raises
    ------
    InputError
        If it is encrypted, compressed in another way than deflate, or holds more than the limits.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise refuse(str(path), f"holds {len(members)} members; more than {MAX_MEMBERS} are not read")
        if any(member.flag_bits & 1 for member in members):
            raise refuse(str(path), "is encrypted; save it without a password")
        if any(member.compress_type not in _PLAIN for member in members):
            raise refuse(str(path), "is compressed in a way that is not read; save it with deflate or uncompressed")
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise refuse(str(path), f"would inflate to more than {MAX_BYTES // 10**6} MB; this is no load profile")
        yield archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member's bytes, no more than its directory entry states."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as stream:
        return stream.read(size)


def read_array(stream: IO[bytes], size: int) -> np.ndarray[Any, Any]:
    """Read a ``.npy`` stream of ``size`` bytes whose header promises no more than it holds.

    Raises
    ------
    ValueError
        If it is no plain array of numbers, or its shape does not fit its size.
    """
    import io

    import numpy as np

    content = io.BytesIO(stream.read(size))
    version = np.lib.format.read_magic(content)
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"its array format {version} is not read")
    shape, _, dtype = readers[version](content)
    count = prod(shape)
    if dtype.hasobject or dtype.kind not in "iufb":
        raise ValueError(f"it holds {dtype}, not numbers")
    if any(length < 0 for length in shape) or count > MAX_VALUES or count * dtype.itemsize > size:
        raise ValueError(f"its header promises {shape} values, more than the file holds")
    content.seek(0)
    array: np.ndarray[Any, Any] = np.lib.format.read_array(content, allow_pickle=False)
    return array
