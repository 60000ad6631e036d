"""Blobs in memory: for tests, for examples, and for bytes that are here already."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ..driver import BlobInfo
from ..errors import BlobChangedError, InvalidOffsetError, InvalidPathError, PathNotFoundError

__all__ = ["MemoryDriver", "shared"]


class MemoryStream:
    """The bytes of one blob as they were when the stream was opened."""

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self._left = memoryview(data)[start:stop]
        self._closed = False

    def readinto(self, buffer: memoryview, /) -> int:
        """Copy the next bytes into `buffer`; 0 at the end."""
        if self._closed:
            raise ValueError("I/O operation on closed stream")
        left = self._left
        count = min(len(buffer), len(left))
        buffer[:count] = left[:count]
        self._left = left[count:]
        return count

    def close(self) -> None:
        """Let go of the bytes."""
        self._closed = True
        self._left = memoryview(b"")


class MemoryDriver:
    """A store of blobs in a dictionary of its own.

    Parameters
    ----------
    blobs : mapping of str to bytes, optional
        What the store holds at first.
    """

    name = "memory"

    def __init__(self, blobs: Mapping[str, bytes] | None = None) -> None:
        self._blobs: dict[str, tuple[bytes, str]] = {}
        self._puts = 0
        self._lock = threading.Lock()
        for path, data in (blobs or {}).items():
            self.put(path, data)

    def put(self, path: str, data: bytes | bytearray | memoryview) -> None:
        """Store a copy of `data`; a blob that was there is replaced by this new version."""
        self._check_path(path)
        with self._lock:
            self._puts += 1
            self._blobs[path] = bytes(data), f"put:{self._puts}"

    def delete(self, path: str) -> None:
        """Remove a blob.

        Raises
        ------
        PathNotFoundError
        """
        self._blob(path)
        self._blobs.pop(path, None)

    def stat(self, path: str, /) -> BlobInfo:
        """Tell size and version of a blob."""
        data, version = self._blob(path)
        return BlobInfo(path, len(data), version)

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> MemoryStream:
        """Open ``[offset, offset + length)`` of a blob, of the version that `pin` names."""
        if offset < 0:
            raise InvalidOffsetError(f"negative offset {offset}", driver=self.name, path=path)
        data, version = self._blob(path)
        if pin is not None:
            self._check_pin(path, len(data), version, pin)
        stop = len(data) if length is None else min(len(data), offset + length)
        return MemoryStream(data, min(offset, len(data)), stop)

    def list(self, prefix: str = "", /) -> Iterator[BlobInfo]:
        """Tell of each blob whose path starts with `prefix`, in order of the paths."""
        for path in sorted(self._blobs):
            if path.startswith(prefix) and path in self._blobs:
                yield self.stat(path)

    def _blob(self, path: str) -> tuple[bytes, str]:
        self._check_path(path)
        try:
            return self._blobs[path]
        except KeyError:
            raise PathNotFoundError("no such blob", driver=self.name, path=path) from None

    def _check_path(self, path: str) -> None:
        if not isinstance(path, str):
            raise TypeError(f"a path is a str, not {type(path).__name__}")
        if not path:
            raise InvalidPathError("the path is empty", driver=self.name, path=path)

    def _check_pin(self, path: str, size: int, version: str, pin: BlobInfo) -> None:
        if pin.version not in (None, version) or pin.size not in (None, size):
            raise BlobChangedError(
                "was replaced since it was opened; open it again for the new version",
                driver=self.name,
                path=path,
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"_blobs": dict(self._blobs), "_puts": self._puts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


#: The store behind ``memory://`` URLs, one for the process.
shared = MemoryDriver()
