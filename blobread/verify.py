"""Whether the bytes of a blob are those that its digest stands for."""

import threading
from collections.abc import Callable
from typing import Any

from .digest import new_hash
from .driver import BlobInfo, RawStream, StorageDriver
from .drivers.memory import MemoryStream
from .errors import DigestMismatchError, TruncatedBlobError

__all__ = ["VerifyingDriver"]


class VerifyingDriver:
    """Hashes what one reader is given; if the digest is wrong, the read of the last byte raises.

    Bytes count once and in order; what is read out of order is delivered and proves nothing.
    A wrong digest stays an error for every later read.

    Parameters
    ----------
    driver : StorageDriver
    verify : True, "full", or str
        True checks the digest that the store knows, where it knows one. "full" needs one, and
        hands out no byte before all were read, into memory of its own, and found right. Else it
        is the digest to expect, such as ``"sha256:9f86d0..."``.

    Raises
    ------
    ValueError
        `verify` is no digest.
    """

    def __init__(self, driver: StorageDriver, verify: bool | str) -> None:
        self.name = driver.name
        self.verified = False
        self._driver = driver
        self._verify = verify
        self._full = verify == "full"
        self._digest = verify if isinstance(verify, str) and not self._full else None
        if self._digest is not None:
            new_hash(self._digest)
        self._size: int | None = None
        self._hash: Any = None
        self._hashed = 0
        self._wrong: DigestMismatchError | None = None
        self._copy: bytes | None = None
        self._lock = threading.Lock()
        if hasattr(driver, "buffer_size"):
            self.buffer_size = driver.buffer_size
        if hasattr(driver, "open"):
            self.open = self._open

    def redact(self, path: str) -> str:
        """Give the path as it may be printed."""
        return str(self._driver.redact(path)) if hasattr(self._driver, "redact") else path

    def stat(self, path: str, /) -> BlobInfo:
        """Tell what the driver tells."""
        return self._told(path, self._driver.stat(path))

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> RawStream:
        """Open a stream whose bytes are looked at."""
        if self._wrong is not None:
            raise self._wrong
        if pin is not None:
            self._told(path, pin)
        if self._full and offset >= 0:
            copy = self._whole(path, pin)
            return MemoryStream(copy, offset, len(copy) if length is None else offset + length)
        return _HashedStream(
            self, path, self._driver.read_stream(path, offset, length, pin=pin), offset
        )

    def _open(self, path: str, /) -> tuple[BlobInfo, RawStream | None]:
        info, stream = self._driver.open(path)  # type: ignore[attr-defined]
        try:
            self._told(path, info)
            if not self._full:
                return info, stream and _HashedStream(self, path, stream, 0)
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        if stream is not None:
            stream.close()
        return info, self.read_stream(path, pin=info)

    # ---- over an engine: what it has, a reader finds here ------------------------------------

    @property
    def readinto_at(self) -> Callable[[str, memoryview, int, BlobInfo], int]:
        """The engine's, whose bytes are looked at."""
        fill = self._of_engine("readinto_at")

        def readinto_at(path: str, buffer: memoryview, offset: int, pin: BlobInfo) -> int:
            if self._wrong is not None:
                raise self._wrong
            count: int = fill(path, buffer, offset, pin)
            self.look(path, buffer[:count], offset)
            return count

        return readinto_at

    @property
    def borrow(self) -> Callable[[str, int, BlobInfo], memoryview]:
        """The engine's, whose bytes are looked at."""
        lend = self._of_engine("borrow")

        def borrow(path: str, offset: int, pin: BlobInfo) -> memoryview:
            if self._wrong is not None:
                raise self._wrong
            lent: memoryview = lend(path, offset, pin)
            try:
                self.look(path, lent, offset)
            except BaseException:
                lent.release()
                raise
            return lent

        return borrow

    @property
    def prefetch(self) -> Any:
        """The engine's."""
        return self._of_engine("prefetch")

    @property
    def readinto_ranges(self) -> Any:
        """The engine's; what is read out of order proves nothing."""
        return self._of_engine("readinto_ranges")

    @property
    def counters(self) -> Any:
        """The engine's."""
        return self._driver.counters  # type: ignore[attr-defined]

    def stop(self) -> None:
        """End what the engine does."""
        if hasattr(self._driver, "stop"):
            self._driver.stop()

    def _of_engine(self, name: str) -> Any:
        if self._full:
            raise AttributeError(f"{name}: the bytes are read from a copy in memory")
        return getattr(self._driver, name)

    def _told(self, path: str, info: BlobInfo) -> BlobInfo:
        self._size = info.size
        if self._digest is None:
            self._digest = info.digest
        if self._digest is None and self._full:
            raise ValueError(
                f"verify='full' needs a digest, and the store knows none of {self.redact(path)!r}"
            )
        if info.size == 0:
            self._finish(path)  # no read will come
        return info

    def _whole(self, path: str, pin: BlobInfo | None) -> bytes:
        with self._lock:
            if self._copy is None:
                copy = self._fetched(path, pin)
                self._add(path, memoryview(copy))
                self._finish(path)
                self._copy = bytes(copy)
            return self._copy

    def _fetched(self, path: str, pin: BlobInfo | None) -> bytearray:
        if pin is not None and self._size is not None and hasattr(self._driver, "readinto_at"):
            copy = bytearray(self._size)
            if copy:
                self._driver.readinto_at(path, memoryview(copy), 0, pin)
            return copy
        copy = bytearray()
        part = memoryview(bytearray(1 << 20))
        stream = self._driver.read_stream(path, 0, self._size, pin=pin)
        try:
            while count := stream.readinto(part):
                copy += part[:count]
        finally:
            stream.close()
        if self._size is not None and len(copy) != self._size:
            raise TruncatedBlobError(
                f"the stream ended at offset {len(copy)} of {self._size}",
                driver=self.name,
                path=self.redact(path),
            )
        return copy

    def look(self, path: str, part: memoryview, offset: int) -> None:
        """Take in `part`, from `offset` on; an empty one ends a blob of unknown size.

        Raises
        ------
        DigestMismatchError
        """
        with self._lock:
            known = offset <= self._hashed < offset + len(part)
            if known:
                self._add(path, part[self._hashed - offset :])
            ended = not len(part) and self._size is None and offset == self._hashed
            if ended or (known and self._hashed == self._size):
                self._finish(path)

    def _add(self, path: str, part: memoryview) -> None:
        if self._digest is not None:
            if self._hash is None:
                self._hash = new_hash(self._digest)
            self._hash.update(part)
        self._hashed += len(part)

    def _finish(self, path: str) -> None:
        if self._digest is None or self.verified:
            return
        algorithm, _, expected = self._digest.partition(":")
        got = (self._hash or new_hash(self._digest)).hexdigest()
        if got != expected:
            self._wrong = DigestMismatchError(
                f"its digest is {algorithm}:{got}, and {self._digest} was expected",
                driver=self.name,
                path=self.redact(path),
            )
            raise self._wrong
        self.verified = True

    def __reduce__(self) -> tuple[Any, ...]:
        # A hash cannot travel: the other side has read nothing, and proves nothing yet.
        return VerifyingDriver, (self._driver, self._verify)


class _HashedStream:
    """A stream that shows its bytes to the verifying driver before the reader has them."""

    def __init__(self, owner: VerifyingDriver, path: str, stream: RawStream, offset: int) -> None:
        self._owner = owner
        self._path = path
        self._stream = stream
        self._offset = offset
        # What a reader asks of a stream beside its bytes; but no descriptor, which goes past them.
        self.info: BlobInfo | None = getattr(stream, "info", None)
        self.interruptible: bool = getattr(stream, "interruptible", True)
        self.new_connection: bool = getattr(stream, "new_connection", False)

    def readinto(self, buffer: memoryview, /) -> int:
        """Read as the stream below does."""
        count = self._stream.readinto(buffer)
        if isinstance(count, int) and 0 <= count <= len(buffer):  # else the reader refuses it
            self._owner.look(self._path, buffer[:count], self._offset)
            self._offset += count
        return count

    def close(self) -> None:
        """Close the stream below."""
        self._stream.close()
