"""One request for bytes of a blob: its stream, whose answers are checked, and how fast it was."""

import time
import warnings

from ..driver import BlobInfo, RawStream
from ..errors import ProtocolError
from .source import Source

__all__ = ["Request"]


class Request:
    """One request; it is made and read by one thread, and may be interrupted by another.

    Parameters
    ----------
    source : Source
    stream : RawStream, optional
        One that was opened already, and may end where it likes.

    Attributes
    ----------
    pin : BlobInfo
        The version that was asked for.
    is_given : bool
        Whether the stream was opened by somebody else.
    """

    __slots__ = (
        "_after",
        "_began",
        "_first_byte_after",
        "_is_met",
        "_seconds",
        "_source",
        "_stream",
        "is_given",
        "pin",
    )

    def __init__(self, source: Source, stream: RawStream | None = None) -> None:
        self.pin: BlobInfo = source.pin
        self.is_given = stream is not None
        self._source = source
        self._stream = stream
        self._is_met = self.is_given
        self._began = 0.0  # and stays so of a given one: when it was asked for is not known
        self._first_byte_after: float | None = None
        self._after = 0
        self._seconds = 0.0

    @property
    def is_interruptible(self) -> bool:
        """Whether the stream leaves memory alone once it is closed."""
        return bool(getattr(self._stream, "interruptible", True))

    def open(self, offset: int, stop: int) -> None:
        """Ask for the bytes ``[offset, stop)``, or get ready to."""
        source = self._source
        source.link.started()
        self._began = time.perf_counter()
        self._stream = source.open(offset, stop, self.pin)
        if not source.is_lazy:
            told = getattr(self._stream, "first_byte_after", None)
            seconds = time.perf_counter() - self._began
            self._first_byte_after = told if isinstance(told, float) else seconds
            self._is_met = True
            source.met(self._stream, self.pin)

    def readinto(self, buffer: memoryview, /) -> int:
        """Receive 1 to ``len(buffer)`` bytes; 0: the stream has ended.

        Raises
        ------
        ProtocolError
            If the stream returns anything else.
        BlobChangedError
        """
        stream = self._stream
        assert stream is not None
        began = time.perf_counter()
        got = stream.readinto(buffer)
        seconds = time.perf_counter() - began
        # An int's own class may compare as it likes.
        count = int.__index__(got) if isinstance(got, int) else -1
        if not 0 <= count <= len(buffer):
            what = repr(got) if isinstance(got, int) else type(got).__name__
            raise self._source.error(
                ProtocolError,
                f"readinto() returned {what}, which is no length between 0 and {len(buffer)}",
            )
        if self._first_byte_after is None and not self.is_given:
            self._note_first(stream, count, seconds)
        else:
            self._seconds += seconds
            self._after += count
        if not self._is_met:
            self._is_met = True
            self._source.met(stream, self.pin)
        if count:
            self._source.had_access = True
            self._source.counters.fetched(count)
        return count

    def interrupt(self) -> None:
        """Have a `readinto` that another thread is in end; it closes the request then."""
        stream = self._stream
        if stream is None:
            return
        try:
            stream.close()
        except Exception as error:
            # Bytes, or another error, are on their way already.
            warnings.warn(
                f"closing a stream of {self._source.shown!r} failed: {error!r}",
                RuntimeWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Give back what the stream holds, and tell the link how it went; idempotent."""
        if self._began:
            self._began = 0.0
            self._source.link.finished(self._first_byte_after, self._after, self._seconds)
        self.interrupt()
        self._stream = None

    def _note_first(self, stream: RawStream, count: int, seconds: float) -> None:
        """Take in when the first byte came, and how fast those that came with it."""
        told = getattr(stream, "first_byte_after", None)
        if not isinstance(told, float):
            self._first_byte_after = seconds
            return
        self._first_byte_after = told
        if not getattr(stream, "new_connection", False) and seconds > told:
            self._seconds = seconds - told
            self._after = count
