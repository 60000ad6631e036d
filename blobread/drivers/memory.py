"""Blobs in memory: for tests, for examples, and for bytes that are here already."""

import operator
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ..driver import BlobInfo
from ..errors import BlobChangedError, InvalidOffsetError, InvalidPathError, PathNotFoundError

__all__ = ["MemoryDriver", "shared"]


class MemoryStream:
    """The bytes of one blob as they were when the stream was opened."""

    def __init__(self, data: bytes, start: int, stop: int, info: BlobInfo | None = None) -> None:
        self.info = info
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

    It pickles with all its blobs.

    Parameters
    ----------
    blobs : mapping of str to bytes, optional
        What the store holds at first.
    """

    name = "memory"
    is_local = True

    def __init__(self, blobs: Mapping[str, bytes] | None = None) -> None:
        self._blobs: dict[str, tuple[BlobInfo, bytes]] = {}
        self._puts = 0
        self._lock = threading.Lock()
        for path, data in (blobs or {}).items():
            self.put(path, data)

    def put(self, path: str, data: bytes | bytearray | memoryview) -> None:
        """Store a copy of `data`; a blob that was there is replaced by this new version."""
        self._check_path(path)
        copy = bytes(memoryview(data))
        with self._lock:
            self._puts += 1
            self._blobs[path] = BlobInfo(path, len(copy), f"put:{self._puts}"), copy

    def delete(self, path: str) -> None:
        """Remove a blob.

        Raises
        ------
        PathNotFoundError
        """
        with self._lock:
            self._blob(path)
            del self._blobs[path]

    def stat(self, path: str, /) -> BlobInfo:
        """Tell size and version of a blob."""
        return self._blob(path)[0]

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> MemoryStream:
        """Open ``[offset, offset + length)`` of a blob, of the version that `pin` names."""
        offset = operator.index(offset)
        if offset < 0:
            raise InvalidOffsetError(
                f"the offset {offset} is negative", driver=self.name, path=path
            )
        if length is not None and (length := operator.index(length)) < 0:
            raise ValueError(f"the length {length} is negative")
        info, data = self._blob(path)
        if pin is not None and not _same_version(info, pin):
            raise BlobChangedError(
                "was replaced since it was opened; open it again for the new version",
                driver=self.name,
                path=path,
            )
        start = min(offset, len(data))
        stop = len(data) if length is None else min(len(data), start + length)
        return MemoryStream(data, start, stop, info)

    def list(self, prefix: str = "", /) -> Iterator[BlobInfo]:
        """Tell of each blob whose path starts with `prefix`, in order of the paths."""
        with self._lock:
            found = [info for path, (info, _) in self._blobs.items() if path.startswith(prefix)]
        return iter(sorted(found, key=lambda info: info.path))

    def __repr__(self) -> str:
        return f"<MemoryDriver of {len(self._blobs)} blobs>"

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"_blobs": dict(self._blobs), "_puts": self._puts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _blob(self, path: str) -> tuple[BlobInfo, bytes]:
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


def _same_version(info: BlobInfo, pin: BlobInfo) -> bool:
    # No blob in memory has an entity tag.
    return (
        pin.size in (None, info.size) and pin.version in (None, info.version) and pin.etag is None
    )


#: The store behind ``memory://`` URLs, one for the process.
shared = MemoryDriver()
