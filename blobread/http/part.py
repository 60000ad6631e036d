"""A range that is asked for by its first read: by one call, straight into the caller's memory."""

import threading

from ..driver import BlobInfo, RawStream
from .client import Client
from .connection import Connection, forks
from .pin import Pin, info_of
from .ranged import fetch
from .stream import closed_error

__all__ = ["Part"]

_NOTHING = memoryview(b"")


class Part:
    """The bytes ``[first, stop)`` of a blob, of which nothing is asked before the first `readinto`.

    Parameters
    ----------
    stop : int
        At most the size, where `pin` knows it.
    pin : Pin, optional
        The version that is wanted.

    Attributes
    ----------
    first_byte_after : float or None
        Seconds from the end of the request to the first byte of the answer, once that is there.
    new_connection : bool
        Whether a connection was made for it.
    info : BlobInfo
        Of the version that is streamed, where `pin` names none; once the answer is there.
    wanted, total, buffer, taken
        What `Connection.ask` is told, and what it returns of a usual answer.
    """

    __slots__ = (
        "_born",
        "_client",
        "_connection",
        "_first",
        "_is_busy",
        "_is_closed",
        "_lock",
        "_path",
        "_pin",
        "_stop",
        "_stream",
        "buffer",
        "first_byte_after",
        "info",
        "new_connection",
        "taken",
        "wanted",
    )

    info: BlobInfo

    def __init__(self, client: Client, path: str, first: int, stop: int, pin: Pin | None) -> None:
        self.first_byte_after: float | None = None
        self.new_connection = False
        self.wanted = None if pin is None else _expected(first, stop, pin)
        self.buffer = _NOTHING
        self.taken = 0
        self._client = client
        self._path = path
        self._first = first
        self._stop = stop
        self._pin = pin
        self._stream: RawStream | None = None
        self._connection: Connection | None = None  # while it is asked
        self._is_busy = False
        self._is_closed = False
        self._born = forks()
        # Reentrant, for a signal handler that closes what its own thread is reading.
        self._lock = threading.RLock()

    @property
    def total(self) -> int:
        """The length of the range, in bytes."""
        return self._stop - self._first

    def readinto(self, buffer: memoryview, /) -> int:
        """Receive the next bytes, as many as are there; 0: the range is at its end.

        Raises
        ------
        BlobError
            At first: whatever `HttpDriver.read_stream` raises.
        ValueError
            If the stream is closed, be it by another thread in the midst of this call.
        """
        if self._born != forks():
            self._leave_parent()
        stream = self._stream
        if stream is not None:
            return stream.readinto(buffer)
        with self._lock:
            if self._is_closed:
                raise closed_error()
            if self._is_busy:
                raise RuntimeError("a stream is read by one thread at a time")
            if not buffer:
                return 0
            self._is_busy = True
        self.buffer = buffer
        try:
            told, stream = fetch(self._client, self._path, self._first, self._stop, self._pin, self)
        except BaseException as error:
            with self._lock:
                self._is_busy = False
                was_closed = self._is_closed
                self._is_closed = True
            if was_closed and isinstance(error, Exception):
                raise closed_error() from error
            raise
        finally:
            self.buffer = _NOTHING
            self.wanted = None
        with self._lock:
            self._is_busy = False
            self._stream = stream
            is_closed = self._is_closed
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.holder = None  # from here on it is the stream that interrupts it
        if is_closed:
            stream.close()
            raise closed_error()
        if told is not None and (self._pin is None or not self._pin.field):
            self.info = info_of(self._path, told)
        return self.taken or stream.readinto(buffer)

    def close(self) -> None:
        """Leave the range, whatever is under way: idempotent, and from any thread."""
        if self._born != forks():
            self._leave_parent()
        with self._lock:
            self._is_closed = True
            stream = self._stream
            if self._connection is not None:
                self._connection.interrupt()
        if stream is not None:
            stream.close()

    def check_open(self) -> None:
        """Raise ValueError if the stream is closed."""
        if self._is_closed:
            raise closed_error()

    def hold(self, connection: Connection) -> None:
        """Have `close` interrupt this connection, until it is let go."""
        with self._lock:
            self.check_open()
            self._connection = connection
            connection.holder = self
        self.new_connection = not connection.reused

    def let_go(self) -> None:
        with self._lock:
            self._connection = None

    def _leave_parent(self) -> None:
        """In a forked child: the lock may be held by nobody, and an answer is the parent's."""
        self._born = forks()
        self._lock = threading.RLock()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.holder = None
            connection.close()
        if self._is_busy:
            self._is_busy = False
            self._is_closed = True


def _expected(first: int, stop: int, pin: Pin) -> tuple[bytes, bytes, bytes, bytes] | None:
    """What the usual answer says; None where the version or the size is not known before."""
    if not pin.field or pin.size is None:
        return None
    try:
        value = pin.value.encode("latin-1")
    except UnicodeEncodeError:
        return None  # no answer says that
    return (
        b"bytes %d-%d/%d" % (first, stop - 1, pin.size),
        b"%d" % (stop - first),
        pin.field.encode(),
        value,
    )
