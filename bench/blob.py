"""The blob that every subject reads: each of its words tells its place, so no shift can pass."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bytes", "blank", "expected", "holds_blob", "write_blob"]

Bytes = NDArray[np.uint8]

_FACTOR = np.uint64(0x9E37_79B9_7F4A_7C15)  # odd: no two words of the blob are equal
_WORD = 8
_PIECE = 1 << 20  # compared while it is in the CPU's cache


def _words(first: int, count: int) -> NDArray[np.uint64]:
    return np.arange(first, first + count, dtype="<u8") * _FACTOR


def expected(offset: int, size: int) -> bytes:
    """Give the bytes ``[offset, offset + size)`` of the blob."""
    first = offset // _WORD
    count = -(-(offset + size) // _WORD) - first
    start = offset - first * _WORD
    return _words(first, count).tobytes()[start : start + size]


def write_blob(path: Path, size: int) -> None:
    """Write the first `size` bytes of the blob to a file, which is then in the system's cache."""
    with path.open("wb") as file:
        for offset in range(0, size, _PIECE):
            file.write(expected(offset, min(_PIECE, size - offset)))


def blank(array: Bytes) -> None:
    """Take out of an array what an earlier run may have left there."""
    array.fill(0)


def holds_blob(array: Bytes, offset: int = 0) -> bool:
    """Tell whether an array holds the blob's bytes from `offset` on, all of them."""
    if array.nbytes % _WORD or offset % _WORD:
        return array.tobytes() == expected(offset, array.nbytes)
    words = array.view("<u8")
    step = _PIECE // _WORD
    return all(
        np.array_equal(part, _words(offset // _WORD + first, len(part)))
        for first in range(0, len(words), step)
        for part in [words[first : first + step]]
    )
