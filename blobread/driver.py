"""What a driver is: it knows one store, answers `stat`, and opens streams of raw bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

__all__ = ["BlobInfo", "RawStream", "StorageDriver"]


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What a store says of a blob, without its bytes.

    Attributes
    ----------
    path : str
        The path that was asked for.
    size : int or None
        In bytes; None where it is unknown until the blob is read to its end.
    version : str or None
        Opaque; written and compared only by the driver that made it.
    etag : str or None
        The entity tag as the server sent it, quotes and all.
    modified : datetime or None
        Aware, in UTC.
    digest : str or None
        ``"sha256:..."``, where the store knows it.
    is_dir : bool
    """

    path: str
    size: int | None
    version: str | None = None
    etag: str | None = None
    modified: datetime | None = None
    digest: str | None = None
    is_dir: bool = False


class RawStream(Protocol):
    """The bytes of one blob from some offset on, in order, once.

    A stream may have more attributes:

    descriptor : int
        An open regular file in which blob offset *p* is file offset *p*. The reader then reads
        it with ``pread``, without the GIL, and never calls `readinto`. The stream still owns it:
        `close` closes it. A ``fileno()`` is never consulted (that of a gzip file gives the
        wrong bytes).
    interruptible : bool
        False where `close` cannot unblock a `readinto` that another thread is in. It is then
        given memory of a pool, never the caller's.
    info : BlobInfo
        Of the version that is streamed. A reader that was given an info without a version takes
        this one's, and reads it from then on.
    new_connection : bool
        Whether a connection was made for the stream; readers count them.
    stop : int
        Where the stream of `open` ends; the blob may go on.
    first_byte_after : float or None
        Seconds from the end of the request to the first byte of its answer, once that is there.
    """

    def readinto(self, buffer: memoryview, /) -> int:
        """Put the next 1 to ``len(buffer)`` bytes into `buffer`; 0: the stream has ended."""
        ...

    def close(self) -> None:
        """Give back what the stream holds, at once; idempotent, and safe from another thread."""
        ...


@runtime_checkable
class StorageDriver(Protocol):
    """A store of blobs.

    A driver is picklable, and may be used from many threads. It may also have:

    open(path) -> (BlobInfo, RawStream)
        Info and the first bytes by one request. The stream may end before the blob does.
    list(prefix) -> iterator of BlobInfo
    redact(path) -> str
        The path as it may be printed, where a part of it may be a secret.
    verified : bool
        Whether all that was read is what its digest stands for; a driver of one reader only.
    is_local : bool
        Whether its bytes are at hand: `blobread.open` puts no engine over it then.
    buffer_size : int
        The size in bytes at which the buffer of a reader serves this store best.
    readinto_at(path, buffer, offset, pin) -> int
        Fill all of `buffer` with the bytes from `offset` on; whoever calls it never asks
        beyond the size.
    borrow(path, offset, pin) -> memoryview
        Bytes that the driver holds already or fetches ahead: the view's first byte is that at
        `offset`. It stays as it is until it is given back, by ``release()``. An empty one, or a
        shorter `readinto_at`, is the end of a blob of unknown size.
    readinto_ranges(path, offsets, buffers, pin)
        Fill each buffer from its offset on, all of them or raise.
    prefetch(path, offsets, sizes, pin)
        A hint of what will be asked for soon.
    stop()
        End all that is under way for the reader that closes; idempotent, and from any thread.
    counters() -> object
        With the attributes of `ReaderStats` that it knows better than the reader.
    part(path, offset, length, *, pin=None) -> RawStream
        As `read_stream`, but nothing is asked before the first `readinto`, which then raises what
        `read_stream` would have raised: so `close` can end it in every phase.
    origin(path) -> str
        Whom requests for the blob go to, as ``http://host:port``; one link each.
    """

    name: str

    def stat(self, path: str, /) -> BlobInfo:
        """Tell what the store says of the blob.

        Raises
        ------
        PathNotFoundError, InvalidPathError, AccessDeniedError
        """
        ...

    def read_stream(
        self,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        pin: BlobInfo | None = None,
    ) -> RawStream:
        """Open the bytes ``[offset, offset + length)`` of the blob, or all from `offset` on.

        An offset at or beyond the size gives a stream that ends at once.

        Raises
        ------
        InvalidOffsetError
            For a negative offset, before the path is looked at.
        PathNotFoundError
            At any offset.
        BlobChangedError
            If the blob is not the version that `pin` names.
        """
        ...


class ListingDriver(StorageDriver, Protocol):
    """A driver that can also tell which blobs there are."""

    def list(self, prefix: str, /) -> Iterator[BlobInfo]:
        """Tell of each blob whose path starts with `prefix`."""
        ...
