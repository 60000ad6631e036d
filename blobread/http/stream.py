"""The bytes of an answer, received into the caller's memory."""

import threading
from abc import abstractmethod
from collections.abc import Callable

from ..driver import BlobInfo
from ..errors import BlobError, BlobTimeoutError, ProtocolError, TruncatedBlobError
from . import pool
from .connection import Connection
from .head import Malformed
from .refusal import Subject

__all__ = ["Body", "EmptyStream", "closed_error"]

_SKIPPED_AT_ONCE = 256 * 1024
# Longer than any packet burst; and a TLS socket takes no more than 2**31 - 1.
_RECEIVED_AT_ONCE = 256 * 1024 * 1024


class EmptyStream:
    """A stream that ends at once."""

    __slots__ = ("_is_closed",)

    def __init__(self) -> None:
        self._is_closed = False

    def readinto(self, buffer: memoryview, /) -> int:
        if self._is_closed:
            raise closed_error()
        return 0

    def close(self) -> None:
        self._is_closed = True


class Body:
    """A stream over one answer; it owns the connection until the last byte was delivered.

    Parameters
    ----------
    rest : memoryview
        What of the body came with the head.
    skip : int
        How many bytes to drop first.
    left : int
        How many to deliver then.
    may_reuse : bool
        Whether the connection goes to the pool, if the answer ends where it has to.

    Attributes
    ----------
    new_connection : bool
        Whether a connection was made for it.
    first_byte_after : float
        Seconds from the end of the request to the first byte of the answer.
    """

    __slots__ = (
        "_connection",
        "_given",
        "_is_busy",
        "_is_closed",
        "_left",
        "_lock",
        "_may_reuse",
        "_rest",
        "_settled",
        "_skip",
        "_subject",
        "first_byte_after",
        "info",
        "new_connection",
        "stop",
    )

    info: BlobInfo  # set by a driver, where a reader shall learn the version
    stop: int  # where an opening ends, in the blob; set by `open_start`

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        skip: int,
        left: int,
        may_reuse: bool,
    ) -> None:
        self.new_connection = not connection.reused
        self.first_byte_after = connection.first_byte_after
        self._connection: Connection | None = connection
        self._rest = rest
        self._subject = subject
        self._skip = skip
        self._left = left
        self._given = 0
        self._settled: Callable[[int], object] | None = None
        self._may_reuse = may_reuse
        self._is_busy = False
        self._is_closed = False
        # Reentrant, for a signal handler that closes what its own thread is reading.
        self._lock = threading.RLock()

    def readinto(self, buffer: memoryview, /) -> int:
        """Receive the next bytes, as many as are there; 0: the answer ended as it had promised.

        Raises
        ------
        TruncatedBlobError, BlobTimeoutError, ProtocolError
        ValueError
            If the stream is closed, be it by another thread in the midst of this call.
        """
        connection = self._connection
        if connection is not None and connection.is_inherited:
            raise self._subject.error(
                BlobError, "the stream belongs to the process that this one was forked from"
            )
        with self._lock:
            if self._is_closed:
                raise closed_error()
            if self._is_busy:
                raise RuntimeError("a stream is read by one thread at a time")
            connection = self._connection
            if connection is None or not buffer:
                return 0
            self._is_busy = True
        try:
            if self._skip:
                self._drop_prefix(connection)
            count = self._advance(connection, buffer, min(len(buffer), self._left))
            self._given += count
            self._left -= count
        except BaseException as error:
            verdict = self._fail(connection, error)
            if verdict is error:
                raise
            raise verdict from error
        with self._lock:
            self._is_busy = False
            if count and self._left and not self._is_closed:
                return count
            self._connection = None
        if self._is_closed:
            connection.close()
            raise closed_error()
        self._settle(connection)
        return count

    def close(self) -> None:
        """Leave the answer, and the connection if bytes of it are still to come."""
        connection = self._connection
        if connection is not None and connection.is_inherited:
            # The parent may have held the lock when it forked; here is no other thread.
            self._connection = None
            self._is_closed = True
            connection.close()
            return
        with self._lock:
            self._is_closed = True
            connection = self._connection
            if connection is None:
                return
            if self._is_busy:
                # Its descriptor may not be closed here: the number would be given to the next
                # file that is opened, and the thread within readinto would read from that.
                connection.interrupt()
                return
            self._connection = None
        self._settle(connection)

    def when_settled(self, tell: Callable[[int], object]) -> None:
        """Have `tell` called once with the count of bytes delivered, when no more will be."""
        self._settled = tell

    def _settle(self, connection: Connection) -> None:
        if self._settled is not None:
            self._settled(self._given)
        try:
            is_spent = self._may_reuse and self._is_spent(connection)
        except BaseException:
            connection.close()
            raise
        if is_spent:
            pool.give(connection)
            return
        if self._has_surplus():
            pool.distrust(connection.route)
        connection.close()

    def _fail(self, connection: Connection, error: BaseException) -> BaseException:
        """Give the connection up, for none can tell what is next on it; say what to raise."""
        with self._lock:
            self._is_busy = False
            was_closed = self._is_closed
            self._is_closed = True
            self._connection = None
        connection.close()
        if was_closed and isinstance(error, Exception):
            return closed_error()
        if isinstance(error, BlobError):
            return error
        if isinstance(error, Malformed):
            return self._subject.error(ProtocolError, str(error))
        if isinstance(error, (TimeoutError, BlockingIOError)):
            message = f"nothing arrived within the idle timeout {self._progress()}"
            return self._subject.error(BlobTimeoutError, message)
        if isinstance(error, OSError):
            message = f"the connection broke {self._progress()}"
            return self._subject.error(TruncatedBlobError, message)
        return error

    def _drop_prefix(self, connection: Connection) -> None:
        waste = memoryview(bytearray(min(self._skip, _SKIPPED_AT_ONCE)))
        while self._skip:
            count = self._advance(connection, waste, min(self._skip, len(waste)))
            if not count:
                return  # the blob is shorter than the prefix: the next _advance says so again
            self._skip -= count

    def _receive(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        """Bring 1 to `wanted` bytes of the wire, those first that came with some framing."""
        rest = self._rest
        if rest:
            count = min(wanted, len(rest))
            buffer[:count] = rest[:count]
            self._rest = rest[count:]
            if count < wanted and connection.fill_on is not None:
                return connection.fill_on(buffer, min(wanted, _RECEIVED_AT_ONCE), count)
            return count
        count = connection.fill(buffer, min(wanted, _RECEIVED_AT_ONCE))
        if not count:
            raise self._truncated()
        return count

    def _truncated(self) -> TruncatedBlobError:
        return self._subject.error(TruncatedBlobError, f"the answer ended {self._progress()}")

    def _progress(self) -> str:
        return f"after {self._given} of {self._given + self._left} bytes"

    @abstractmethod
    def _advance(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        """Bring 1 to `wanted` bytes of the blob; 0: the answer is at its end."""

    @abstractmethod
    def _is_spent(self, connection: Connection) -> bool:
        """Tell, without waiting, whether all of the answer was received, and nothing after it."""

    def _has_surplus(self) -> bool:
        """Tell whether bytes came that are no part of the answer."""
        return False


def closed_error() -> ValueError:
    """Make what a stream raises after `close`."""
    return ValueError("I/O operation on closed stream")
