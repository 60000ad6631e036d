"""A stream that survives faults: it goes on where it broke."""

from threading import get_ident

from ..driver import RawStream
from ..errors import BlobError, TruncatedBlobError
from .alarm import Alarm
from .attempts import Attempts
from .changes import Changes
from .forks import forks
from .request import Request
from .source import Source
from .tokens import bucket

__all__ = ["ResumingStream"]

_SCRATCH = 1024 * 1024  # bytes, for a stream that may write after it was closed


class ResumingStream:
    """The bytes ``[offset, stop)`` of a blob; nothing is asked for before they are read.

    A request that breaks, stalls or ends early is replaced by one for the rest, as the policy of
    the source allows. After an error it can be read on: with a new request, and all attempts.

    Parameters
    ----------
    source : Source
    offset, stop : int
        `stop` is at most the size.
    stream : RawStream, optional
        One that is open at `offset` already. Where it ends, be it before `stop`, is no fault.

    Attributes
    ----------
    position : int
        Of the next byte.
    """

    def __init__(
        self, source: Source, offset: int, stop: int, stream: RawStream | None = None
    ) -> None:
        self.position = offset
        self._source = source
        self._stop = stop
        self._request = None if stream is None else Request(source, stream)
        self._attempts: Attempts | None = None
        self._failed_at = offset
        self._scratch: memoryview | None = None
        self._changes = Changes()
        self._lock = self._changes.lock
        self._reader: int | None = None  # the thread that is within readinto
        self._is_lent = False  # whether a stream may write into memory of the caller
        self._is_late = False
        self._is_closed = False
        self._forks = forks()

    def go_on(self, position: int, error: Exception | None, request: Request) -> None:
        """Take over at `position` from a request that failed, or ended early.

        Raises
        ------
        Exception
            If that is nothing to be tried again.
        """
        self.position = position
        if error is None:
            message = f"the stream ended at byte {position}, before byte {self._stop}"
            error = self._source.error(TruncatedBlobError, message)
        verdict = self._verdict(error, request)
        if verdict is error:
            raise verdict  # with the cause that it has
        if verdict is not None:
            raise verdict from error

    def readinto(self, buffer: memoryview, start: int = 0, /) -> int:
        """Receive 1 byte or more into `buffer`, from `start` on; 0 at `stop`, and only there.

        Raises
        ------
        ValueError
            If the stream is closed, be it by another thread in the midst of this call.
        RetriesExhaustedError, BlobTimeoutError, BlobChangedError, ProtocolError, Exception
            What of the driver's errors does not pass by itself comes as it is.
        """
        if self._forks != forks():
            raise self._source.error(
                BlobError, "the stream belongs to the process that this one was forked from"
            )
        is_in = False
        try:
            with self._lock:
                self._check_open()
                if self._reader is not None:
                    raise RuntimeError("a stream is read by one thread at a time")
                if self.position >= self._stop or start >= len(buffer):
                    return 0
                is_in = True
                self._reader = get_ident()
            if self._attempts is not None:
                self._attempts.begin_call()
            return self._read(buffer, start)
        except BaseException:
            if is_in:
                self._attempts = None
            raise
        finally:
            if is_in:
                self._leave_memory()
                with self._lock:
                    self._reader = None
                    is_closed = self._is_closed
                if is_closed:
                    self._drop()

    def close(self) -> None:
        """End a `readinto` that is under way, and give back what is held; from any thread."""
        request = self._request
        if self._forks != forks():
            # The parent may have held the lock when it forked; here is no other thread.
            self._request, self._is_closed = None, True
            if request is not None:
                request.interrupt()
            return
        with self._lock:
            self._is_closed = True
            request, attempts = self._request, self._attempts
            is_idle = self._reader is None
        if attempts is not None:
            attempts.wake()
        if request is None:
            return
        if is_idle:
            request.close()
            self._request = None
        else:
            request.interrupt()

    def leave(self) -> None:
        """Close, and return when no `readinto` can write into the memory that it was given."""
        self.close()
        if self._forks != forks():
            return
        while True:
            with self._lock:
                if not self._is_lent or self._reader == get_ident():
                    return
                returned = self._changes.waiter()
            returned.acquire()

    def _read(self, buffer: memoryview, start: int) -> int:
        while True:
            try:
                if count := self._attempt(buffer, start):
                    return count
            except Exception as error:
                request = self._drop()
                verdict = self._verdict(error, request)
                if verdict is None:
                    continue
                try:
                    if verdict is error:
                        raise
                    raise verdict from error
                finally:
                    # An error whose own traceback holds it would keep the caller's memory alive.
                    del verdict
            except BaseException:
                self._drop()
                raise

    def _attempt(self, buffer: memoryview, start: int) -> int:
        """Receive what there is, by a new request if there is none; 0: the one given is used up."""
        attempts = self._attempts
        self._is_late = False
        if self._request is not None or attempts is None or attempts.deadline is None:
            return self._receive(buffer, start)
        with Alarm(attempts.deadline, self._cut):
            count = self._receive(buffer, start)
        if self._is_late:
            self._drop()  # it was cut when its first bytes had come
        return count

    def _cut(self) -> None:
        """Have an attempt end that has brought nothing until the deadline."""
        with self._lock:
            self._is_late = True
            request = self._request
        if request is not None:
            request.interrupt()

    def _receive(self, buffer: memoryview, start: int) -> int:
        request = self._request
        if request is None:
            self._check_going_on()
            request = self._request = Request(self._source)
            request.open(self.position, self._stop)
        end = min(len(buffer), start + self._stop - self.position)
        if request.is_interruptible:
            count = self._receive_directly(request, buffer, start, end)
        else:
            count = self._receive_by_scratch(request, buffer, start, end)
        self.position += count
        if self.position == self._stop:
            if self._attempts is None:
                bucket.give()
            else:
                self._attempts.succeeded()
            self._drop()
        elif not count:
            if not request.is_given:
                message = f"the stream ended at byte {self.position}, before byte {self._stop}"
                raise self._source.error(TruncatedBlobError, message)
            self._drop()
        return count

    def _receive_directly(self, request: Request, buffer: memoryview, start: int, end: int) -> int:
        try:
            with self._lock:
                self._check_going_on()
                self._is_lent = True
            with buffer[start:end] as view:  # a stream that keeps it gets an error, not a write
                count = request.readinto(view)
        finally:
            self._leave_memory()
        self._check_open()
        return count

    def _receive_by_scratch(
        self, request: Request, buffer: memoryview, start: int, end: int
    ) -> int:
        """Receive from a stream that may write after close(), when the memory is not ours."""
        self._check_going_on()
        if self._scratch is None:
            self._scratch = memoryview(bytearray(min(self._stop - self.position, _SCRATCH)))
        with self._scratch[: end - start] as view:
            count = request.readinto(view)
        with self._lock:
            self._check_open()
            buffer[start : start + count] = self._scratch[:count]
        return count

    def _leave_memory(self) -> None:
        with self._lock:
            self._is_lent = False
            self._changes.tell()

    def _verdict(self, error: Exception, request: Request | None) -> Exception | None:
        """Return None when it is time to try again; or else, what to raise."""
        self._check_open()  # if it is not, close() is what ended the request
        source, attempts = self._source, self._attempts
        if self._is_late and attempts is not None:
            return attempts.late(error)
        try:
            if request is not None and source.forgives(error, request.pin):
                return None
        except Exception as failure:
            error = failure
        if attempts is None:
            attempts = Attempts(source.retry, source.driver.name, source.path, source.shown)
            with self._lock:
                self._check_open()
                self._attempts = attempts
        progress = self.position - self._failed_at
        self._failed_at = self.position
        verdict = attempts.failed(error, progress, had_access=source.had_access, at=self.position)
        self._check_open()
        if verdict is None:
            source.counters.add(retries=1)
        return verdict

    def _drop(self) -> Request | None:
        """Give the request up, and what it holds."""
        request = self._request
        if request is not None:
            request.close()
            self._request = None  # now: an interrupt before that would leave it open
        return request

    def _check_going_on(self) -> None:
        self._check_open()
        if self._is_late:
            raise TimeoutError("the attempt has come too late")

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError("I/O operation on closed stream") from None
