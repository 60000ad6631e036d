"""The bytes of an answer, received into the caller's memory."""

import re
import threading
from abc import abstractmethod

from ..errors import BlobError, BlobTimeoutError, ProtocolError, TruncatedBlobError
from . import pool
from .connection import Connection
from .head import Malformed
from .refusal import Subject

__all__ = ["Body", "ChunkedBody", "EmptyStream", "LengthBody"]

_SKIPPED_AT_ONCE = 256 * 1024
_LONGEST_LINE = 4096
_MOST_TRAILERS = 64
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00\r]*)?")


def _closed() -> ValueError:
    return ValueError("I/O operation on closed stream")


class EmptyStream:
    """A stream that ends at once."""

    __slots__ = ("_is_closed",)

    def __init__(self) -> None:
        self._is_closed = False

    def readinto(self, buffer: memoryview, /) -> int:
        if self._is_closed:
            raise _closed()
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
    is_exact : bool
        Whether it is an error if the answer ends before; else `left` is only the most.
    may_reuse : bool
        Whether the connection goes to the pool, if the answer ends where it has to.
    """

    __slots__ = (
        "_connection",
        "_given",
        "_is_busy",
        "_is_closed",
        "_is_exact",
        "_left",
        "_lock",
        "_may_reuse",
        "_rest",
        "_skip",
        "_subject",
        "new_connection",
    )

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        *,
        skip: int = 0,
        left: int,
        is_exact: bool = True,
        may_reuse: bool,
    ) -> None:
        self.new_connection = not connection.reused
        self._connection: Connection | None = connection
        self._rest = rest
        self._subject = subject
        self._skip = skip
        self._left = left
        self._is_exact = is_exact
        self._given = 0
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
        connection = self._enter()
        if connection is None or not buffer:
            self._is_busy = False
            return 0
        try:
            count = self._deliver(connection, buffer)
            is_done = not count or self._left == 0
            is_spent = is_done and self._is_spent(connection)
        except BaseException as error:
            was_closed = self._is_closed
            self._leave(connection, broken=True)
            if was_closed and isinstance(error, Exception):
                raise _closed() from None
            if isinstance(error, (OSError, Malformed)) and not isinstance(error, BlobError):
                raise self._explained(error) from error
            raise
        if is_done:
            self._finish(connection, is_spent)
        else:
            self._leave(connection)
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
        if self._is_all_here():
            pool.give(connection)
        else:
            connection.close()

    def _enter(self) -> Connection | None:
        connection = self._connection
        if connection is not None and connection.is_inherited:
            raise self._subject.error(
                BlobError, "the stream belongs to the process that this one was forked from"
            )
        with self._lock:
            if self._is_closed:
                raise _closed()
            if self._is_busy:
                raise RuntimeError("a stream is read by one thread at a time")
            connection = self._connection
            self._is_busy = connection is not None
        return connection

    def _leave(self, connection: Connection, *, broken: bool = False) -> None:
        with self._lock:
            self._is_busy = False
            if not broken and not self._is_closed:
                return
            self._connection = None
            self._is_closed = True
        connection.close()
        if not broken:
            raise _closed()

    def _finish(self, connection: Connection, is_spent: bool) -> None:
        with self._lock:
            self._is_busy = False
            self._connection = None
            is_closed = self._is_closed
        if is_spent and not is_closed:
            pool.give(connection)
        else:
            connection.close()
        if is_closed:
            raise _closed()

    def _deliver(self, connection: Connection, buffer: memoryview) -> int:
        if self._skip:
            self._drop_prefix(connection)
        wanted = len(buffer)
        if self._left < wanted:
            wanted = self._left
        count = self._take(connection, buffer, wanted)
        if not count and self._is_exact:
            raise self._truncated()
        self._given += count
        self._left -= count
        return count

    def _drop_prefix(self, connection: Connection) -> None:
        waste = memoryview(bytearray(min(self._skip, _SKIPPED_AT_ONCE)))
        while self._skip:
            count = self._take(connection, waste, min(self._skip, len(waste)))
            if not count:
                return  # the blob is shorter than the prefix: so _take will say again
            self._skip -= count

    def _receive(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        """Bring 1 to `wanted` bytes, those first that came with some framing."""
        rest = self._rest
        if not rest:
            count = connection.receive(buffer, wanted)
            if not count:
                raise self._truncated()
            return count
        count = min(wanted, len(rest))
        buffer[:count] = rest[:count]
        self._rest = rest[count:]
        return count

    def _truncated(self) -> TruncatedBlobError:
        return self._subject.error(TruncatedBlobError, f"the answer ended {self._progress()}")

    def _progress(self) -> str:
        if not self._is_exact:
            return f"after {self._given} bytes, before its last chunk"
        return f"after {self._given} of {self._given + self._left} bytes"

    def _explained(self, error: OSError | Malformed) -> BlobError:
        if isinstance(error, Malformed):
            return self._subject.error(ProtocolError, str(error))
        if isinstance(error, (TimeoutError, BlockingIOError)):
            message = f"nothing arrived within the idle timeout {self._progress()}"
            return self._subject.error(BlobTimeoutError, message)
        message = f"the connection broke {self._progress()}"
        return self._subject.error(TruncatedBlobError, message)

    @abstractmethod
    def _take(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        """Bring 1 to `wanted` bytes of the blob; 0: the answer is at its end."""

    @abstractmethod
    def _is_spent(self, connection: Connection) -> bool:
        """Tell, after the last wanted byte, whether the answer ended there and may be followed."""

    def _is_all_here(self) -> bool:
        """Tell whether all that is still to come was received already, with the head."""
        return False


class LengthBody(Body):
    """The body of an answer that told its length: `wire` bytes, from the start of `rest` on."""

    __slots__ = ("_wire",)

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        wire: int,
        *,
        skip: int = 0,
        left: int,
        may_reuse: bool,
    ) -> None:
        super().__init__(connection, rest, subject, skip=skip, left=left, may_reuse=may_reuse)
        self._wire = wire
        if not left:
            self._finish(connection, self._is_spent(connection))

    def _take(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        count = self._receive(connection, buffer, wanted)
        self._wire -= count
        return count

    def _is_spent(self, connection: Connection) -> bool:
        return self._may_reuse and not self._wire and not self._rest

    def _is_all_here(self) -> bool:
        return self._may_reuse and self._wire == len(self._rest)


class ChunkedBody(Body):
    """The body of an answer in chunks, which tells its end by an empty one."""

    __slots__ = ("_begun", "_chunk", "_ended")

    def __init__(
        self,
        connection: Connection,
        rest: memoryview,
        subject: Subject,
        *,
        skip: int = 0,
        left: int,
        is_exact: bool = True,
        may_reuse: bool,
    ) -> None:
        super().__init__(
            connection,
            rest,
            subject,
            skip=skip,
            left=left,
            is_exact=is_exact,
            may_reuse=may_reuse,
        )
        self._chunk = 0  # bytes of the present chunk still to come
        self._begun = False
        self._ended = False

    def _take(self, connection: Connection, buffer: memoryview, wanted: int) -> int:
        if not self._chunk and not self._ended:
            self._next_chunk(connection)
        if self._ended:
            return 0
        count = self._receive(connection, buffer, min(wanted, self._chunk))
        self._chunk -= count
        return count

    def _next_chunk(self, connection: Connection) -> None:
        if self._begun and self._line(connection):
            raise Malformed("a chunk is longer than it said")
        self._begun = True
        matched = _CHUNK.fullmatch(self._line(connection))
        if matched is None or int(matched[1], 16) >= 2**63:
            raise Malformed("a chunk has a malformed size")
        self._chunk = int(matched[1], 16)
        if self._chunk:
            return
        for _ in range(_MOST_TRAILERS):
            if not self._line(connection):
                self._ended = True
                return
        raise Malformed(f"more than {_MOST_TRAILERS} trailers follow the last chunk")

    def _line(self, connection: Connection) -> bytes:
        begun = bytes(self._rest)
        while True:
            end = begun.find(b"\n")
            if end >= 0:
                if begun[end - 1 : end] != b"\r":
                    raise Malformed("a line between the chunks ends by a bare LF")
                self._rest = memoryview(begun)[end + 1 :]
                return begun[: end - 1]
            if len(begun) > _LONGEST_LINE:
                raise Malformed(f"a line between the chunks is longer than {_LONGEST_LINE} bytes")
            piece = connection.receive_piece()
            if not piece:
                raise self._truncated()
            begun += piece

    def _is_spent(self, connection: Connection) -> bool:
        if not self._may_reuse:
            return False
        if not self._ended and not self._chunk:
            # The blob is complete: not worth waiting for the end, if it is not there.
            end = bytes(self._rest)
            if len(end) < len(b"\r\n0\r\n\r\n") and not connection.is_quiet():
                end += connection.receive_piece()
            return end == b"\r\n0\r\n\r\n"
        return self._ended and not self._rest
