"""`fromfile`: from a blob to an array."""

import operator
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._reader import BlobReader
from .opening import open

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

__all__ = ["fromfile"]


def fromfile(
    blob: str | os.PathLike[str] | Callable[[], str] | BlobReader,
    dtype: "DTypeLike" = float,
    count: int = -1,
    offset: int = 0,
    *,
    shape: int | tuple[int, ...] | None = None,
    out: "NDArray[Any] | None" = None,
) -> "NDArray[Any]":
    """Read an array out of a blob, as `numpy.fromfile` reads it out of a file.

    Parameters
    ----------
    blob : str, os.PathLike, callable or BlobReader
        A reader is read from its position, which moves behind the items.
    dtype : data-type
    count : int
        Number of items; -1: as many whole items as are left.
    offset : int
        In bytes, from the position of the reader, or from the start of the blob.
    shape : int or tuple of int, optional
        Of the array, in C's order; then `count` is not needed.
    out : ndarray, optional
        Where to read to; it gives dtype and shape.

    Returns
    -------
    ndarray
        1-D, or of `shape`, or `out`.

    Raises
    ------
    EOFError
        The blob has fewer items than were asked for. The position of a reader is where it was.
    ValueError
        For a negative offset, a `dtype` with objects in it, or arguments that contradict each other.
    """
    import numpy as np

    if offset < 0:
        raise ValueError(f"offset must be at least 0, not {offset}")
    if not isinstance(blob, BlobReader):
        with open(blob) as reader:
            return fromfile(reader, dtype, count, offset, shape=shape, out=out)
    if out is None:
        out = _empty(np.dtype(dtype), count, shape, blob, offset)
    elif count != -1 or shape is not None:
        raise ValueError("out gives dtype and shape: neither count nor shape goes with it")
    if out.dtype.hasobject:
        raise ValueError(f"bytes of a blob cannot become Python objects (dtype {out.dtype})")
    start = blob.tell()
    blob.seek(start + offset)
    try:
        got = blob.readinto(out)
        if got < out.nbytes:
            raise EOFError(f"{out.nbytes} bytes were asked for, and {got} are left in {blob.name!r}")
    except BaseException:
        blob.seek(start)
        raise
    return out


def _empty(
    dtype: "np.dtype[Any]", count: int, shape: int | tuple[int, ...] | None, blob: BlobReader, offset: int
) -> "NDArray[Any]":
    import numpy as np

    if dtype.itemsize == 0:
        raise ValueError(f"dtype {dtype} has items of 0 bytes")
    if dtype.hasobject:
        raise ValueError(f"bytes of a blob cannot become Python objects (dtype {dtype})")
    if shape is not None:
        if count != -1:
            raise ValueError("give count or shape, not both")
        return np.empty(shape, dtype)
    count = operator.index(count)
    left = _items_left(dtype.itemsize, blob, offset)
    if count < 0:
        return np.empty(left, dtype)
    if count > left:
        raise EOFError(f"{count} items of {dtype} were asked for, and {left} are left in {blob.name!r}")
    return np.empty(count, dtype)


def _items_left(itemsize: int, blob: BlobReader, offset: int) -> int:
    if blob.size is None:
        raise EOFError(f"the size of {blob.name!r} is unknown: give out, or read() it and use numpy.frombuffer")
    return max(0, blob.size - blob.tell() - offset) // itemsize
