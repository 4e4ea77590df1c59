"""Read tensors from a PyTorch ``.pt`` file without PyTorch, and without running what it may hold.

The file is a ZIP archive: a pickle that names tensors, and their raw storages (PyTorch's documented
zipfile serialisation). Only plain containers, numbers and tensors are allowed; all else is refused.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from shardproof.instances.load_profile.archives import UNREADABLE, open_archive, read_member
from shardproof.instances.reading import refuse

_DTYPES = {
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
}


def read_torch_file(path: Path) -> Any:
    """Return what ``torch.save`` wrote, tensors as numpy arrays.

    Raises `InputError` when it holds anything but containers, numbers, text and tensors.
    """
    try:
        with open_archive(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if name is None:
                raise refuse(str(path), "is no .pt file: it holds no data.pkl")
            pickled = io.BytesIO(read_member(archive, name))
            return _Tensors(pickled, archive, name.removesuffix("data.pkl"), path).load()
    except (pickle.UnpicklingError, *UNREADABLE) as error:
        raise refuse(str(path), f"is no .pt file of plain tensors ({type(error).__name__}: {error})") from None


class _Tensors(pickle.Unpickler):
    def __init__(self, pickled: Any, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(pickled)
        self.archive, self.folder, self.path = archive, folder, path

    def find_class(self, module: str, name: str) -> Any:
        """Allow containers, tensors and storages; refuse every other name."""
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise refuse(str(self.path), f"holds {module}.{name}; save plain tensors only")

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage as a flat array."""
        kind, dtype, key, _, count = pid
        if kind != "storage":
            raise refuse(str(self.path), f"holds a {kind}; save plain tensors only")
        raw = read_member(self.archive, f"{self.folder}data/{key}")
        return np.frombuffer(raw, dtype=dtype, count=count)


def _rebuild(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    """Return the tensor that a storage, an offset, a size and strides (in elements) describe.

    No larger than its storage: strides of 0 could make any number of values out of one.
    """
    if prod(size) > len(storage) or any(length < 0 for length in size):
        raise ValueError("a tensor is larger than its storage")
    if any(step < 0 for step in stride) or offset < 0:
        raise ValueError("a tensor points outside its storage")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if all(size) and last >= len(storage):
        raise ValueError("a tensor points outside its storage")
    strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape=size, strides=strides).copy()
