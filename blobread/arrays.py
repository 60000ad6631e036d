"""`fromfile`: from a blob to an array."""

import contextlib
import io
import math
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
        Number of items; negative: as many whole items as are left.
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
        For a negative offset, a `dtype` with objects in it or without a size, or arguments that
        contradict each other.
    TypeError, BufferError
        `out` is no array that can be read into.
    io.UnsupportedOperation
        The size of the blob is unknown, and no number of items is given.
    """
    import numpy as np

    if not isinstance(blob, BlobReader):
        with open(blob) as reader:
            return fromfile(reader, dtype, count, offset, shape=shape, out=out)
    offset = operator.index(offset)
    if offset < 0:
        raise ValueError(f"offset must be at least 0, not {offset}")
    start = blob.tell()
    if out is None:
        out = _empty(np.dtype(dtype), count, shape, blob, start + offset)
    elif count != -1 or shape is not None:
        raise ValueError("out gives dtype and shape: neither count nor shape goes with it")
    elif not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, not {type(out).__name__}")
    elif out.dtype.hasobject:
        raise _objects(out.dtype)
    try:
        blob.seek(start + offset)
        got = blob.readinto(out)  # type: ignore[arg-type]  # numpy's stubs: no Buffer before 3.12
        if got < out.nbytes:
            raise _too_short(f"{out.nbytes} bytes", got, blob)
    except BaseException:
        # A blob of unknown size does not go back, and a closed one nowhere: the first error counts.
        with contextlib.suppress(ValueError):
            blob.seek(start)
        raise
    return out


def _empty(
    dtype: "np.dtype[Any]",
    count: int,
    shape: int | tuple[int, ...] | None,
    blob: BlobReader,
    start: int,
) -> "NDArray[Any]":
    """An array for the items from `start` on, once it is known that there are so many."""
    import numpy as np

    if dtype.hasobject:
        raise _objects(dtype)
    if dtype.itemsize == 0:
        raise ValueError(f"dtype {dtype} has items of 0 bytes")
    if shape is None:
        count = operator.index(count)
    elif count != -1:
        raise ValueError("give count or shape, not both")
    else:
        shape = shape if isinstance(shape, tuple) else (operator.index(shape),)
        if any(length < 0 for length in shape):
            raise ValueError(f"negative lengths are not allowed in a shape: {shape}")
        count = math.prod(shape)
    if blob.size is not None:
        left = max(0, blob.size - start) // dtype.itemsize
        if count > left:
            raise _too_short(f"{count} items of {dtype}", left, blob)
        count = left if count < 0 else count
    elif count < 0:
        raise io.UnsupportedOperation(
            f"the size of {blob.name!r} is unknown: give a count, or read() it all"
        )
    return np.empty(count if shape is None else shape, dtype)


def _too_short(wanted: str, left: int, blob: BlobReader) -> EOFError:
    return EOFError(f"{wanted} were asked for, and {left} are left in {blob.name!r}")


def _objects(dtype: "np.dtype[Any]") -> ValueError:
    return ValueError(f"bytes of a blob cannot become Python objects (dtype {dtype})")
