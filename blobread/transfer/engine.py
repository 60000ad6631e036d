"""The engine: a driver over a driver, which reads in parallel, ahead, and past faults."""

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from ..driver import BlobInfo, RawStream, StorageDriver
from . import links
from .attempts import Attempts
from .budget import BUDGET
from .counters import Counters
from .forks import forks
from .pinned import OnProgress, PinnedBlob
from .resume import ResumingStream
from .retry import Retry
from .source import PinMode, Source
from .workers import PARTS

__all__ = ["Engine"]

T = TypeVar("T")

# Seconds. A driver takes 10 s for an opening that nobody answers: that is not done twice. What
# fails at once may pass within a few seconds, as when a server is busy.
_OPENING = 3.0
_QUICK = 1.0
_NOBODY = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}
_IDLE = 5.0  # seconds after which a cursor gives its memory back

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()
_lock = threading.RLock()  # one for all: an engine begins with its blob once


class Engine:
    """Brings the bytes of one blob for one reader.

    Parameters
    ----------
    driver : StorageDriver
    parallel : int or "auto"
        Connections to use at most; with 1 nothing is read ahead.
    buffer_size : int or "auto"
        The most bytes to hold ahead of the reader.
    retry : Retry, int or bool, optional
        None is the default policy; False or 0 is none.
    pin : {"error", "warn", "off"}
        What a change of version does.
    on_progress : callable, optional
        Called with the bytes that have come and the size, on the thread that reads.

    Raises
    ------
    ValueError, TypeError
        For a parameter that is none of these.
    """

    def __init__(
        self,
        driver: StorageDriver,
        *,
        parallel: int | Literal["auto"] = "auto",
        buffer_size: int | Literal["auto"] = "auto",
        retry: Retry | int | None = None,
        pin: PinMode = "error",
        on_progress: OnProgress | None = None,
    ) -> None:
        if pin not in ("error", "warn", "off"):
            raise ValueError(f"pin must be 'error', 'warn' or 'off', not {pin!r}")
        self.name = driver.name
        self.driver = driver
        self._parallel = _count("parallel", parallel)
        self._buffer_size = _count("buffer_size", buffer_size)
        self._retry = Retry.of(retry)
        self._pin: PinMode = pin
        self._on_progress = on_progress
        self._is_sized = True
        self._begin()

    def _begin(self) -> None:
        self._forks = forks()
        self._counters = Counters()
        self._blob: PinnedBlob | None = None
        self._first: tuple[str, BlobInfo, RawStream] | None = None
        self._is_stopped = False
        _engines.add(self)

    # ---- what every driver has ---------------------------------------------------------------

    @property
    def buffer_size(self) -> int:
        """What the driver says; of a reader that has no engine's memory to borrow."""
        return getattr(self.driver, "buffer_size", 256 * 1024)

    def stat(self, path: str, /) -> BlobInfo:
        """Tell what the driver tells; a failure that may pass is tried again."""
        return self._persist(self.driver.stat, path)

    def open(self, path: str, /) -> tuple[BlobInfo, RawStream | None]:
        """Tell of the blob, and keep the stream of its first bytes, if the driver gives one.

        A blob of unknown size can only be read on: its stream is handed out, and the engine steps
        aside.
        """
        if not hasattr(self.driver, "open"):
            info = self.stat(path)
            self._is_sized = info.size is not None
            return info, None
        opened: tuple[BlobInfo, RawStream] = self._persist(self.driver.open, path)
        info, stream = opened
        self._counters.add(requests=1, connections=int(getattr(stream, "new_connection", False)))
        if info.size is None:
            self._is_sized = False
            return info, stream
        self._first = (path, info, stream)
        return info, None

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> RawStream:
        """Open a stream that survives faults; where the size is unknown, the driver's own."""
        if pin is None or pin.size is None or offset < 0:
            return self.driver.read_stream(path, offset, length, pin=pin)
        stop = pin.size if length is None else min(offset + length, pin.size)
        return ResumingStream(self._source(path, pin), min(offset, stop), stop)

    def _persist(self, ask: Callable[[str], T], path: str) -> T:
        """Ask once more where that is soon told: who opens a blob wants to know it, or why not."""
        attempts = None
        while True:
            began = time.monotonic()
            try:
                return ask(path)
            except OSError as error:
                if time.monotonic() - began > _QUICK or error.errno in _NOBODY:
                    raise
                if attempts is None:
                    patience = min(self._retry.retry_timeout, _OPENING)
                    policy = replace(self._retry, retry_timeout=patience)
                    attempts = Attempts(policy, self.name, path, self.redact(path))
                if attempts.failed(error) is not None:
                    raise
                self._counters.add(requests=1, retries=1)

    def redact(self, path: str, /) -> str:
        """Give the path as it may be printed."""
        return str(self.driver.redact(path)) if hasattr(self.driver, "redact") else path

    # ---- what readers ask of an engine -------------------------------------------------------

    @property
    def readinto_at(self) -> Callable[[str, memoryview, int, BlobInfo], int]:
        """``readinto_at(path, buffer, offset, pin)`` fills all of the buffer."""
        self._check_sized()
        return self._readinto_at

    @property
    def borrow(self) -> Callable[[str, int, BlobInfo], memoryview]:
        """``borrow(path, offset, pin)`` lends bytes from `offset` on, until they are released."""
        self._check_sized()
        return self._borrow

    def _check_sized(self) -> None:
        if not self._is_sized:
            raise AttributeError("the size of the blob is unknown: it is read by its stream")

    def _readinto_at(self, path: str, buffer: memoryview, offset: int, pin: BlobInfo) -> int:
        return self._pinned(path, pin).readinto_at(buffer, offset)

    def _borrow(self, path: str, offset: int, pin: BlobInfo) -> memoryview:
        return self._pinned(path, pin).borrow(offset)

    def readinto_ranges(
        self, path: str, offsets: Sequence[int], buffers: Sequence[memoryview], pin: BlobInfo
    ) -> None:
        """Fill each buffer from its offset on: merged, in parallel, each byte in its place."""
        self._pinned(path, pin).readinto_ranges(offsets, buffers)

    def prefetch(
        self, path: str, offsets: Sequence[int], sizes: Sequence[int], pin: BlobInfo
    ) -> None:
        """Begin to bring what will be asked for, as far as there is memory for it."""
        self._pinned(path, pin).prefetch(offsets, sizes)

    @property
    def small_connections(self) -> int | None:
        """How many small requests to have under way; None: nothing was asked yet."""
        return None if self._blob is None else self._blob.small_connections

    def counters(self) -> Counters:
        """Give what was done so far."""
        return self._counters

    def stop(self) -> None:
        """End all that is under way, and give back its memory. From any thread; idempotent."""
        self._is_stopped = True
        first = self._first
        if first is not None and self._forks == forks():
            first[2].close()
            self._first = None
        blob = self._blob
        if blob is not None and self._forks == forks():
            blob.stop()

    # ---- the blob of the reader --------------------------------------------------------------

    def _pinned(self, path: str, pin: BlobInfo) -> PinnedBlob:
        blob = self._blob
        if blob is not None and blob.pin is pin and self._forks == forks():
            return blob
        return self._other(path, pin)

    def _other(self, path: str, pin: BlobInfo) -> PinnedBlob:
        """Begin with a blob: the first one, the one in a child, or a version that is known now."""
        with _lock:
            blob = self._blob
            if blob is not None and blob.pin is pin and self._forks == forks():
                return blob  # another thread was faster
            return self._begin_with(path, pin)

    def _begin_with(self, path: str, pin: BlobInfo) -> PinnedBlob:
        if self._is_stopped:
            raise ValueError("I/O operation on closed file.")
        if self._forks != forks():
            self._begin()
        first = self._first
        stream = None
        if first is not None:
            if first[0] == path and first[1] == pin:
                stream = first[2]
            else:
                first[2].close()
        previous = self._blob
        blob = PinnedBlob(
            self._source(path, pin),
            pin,
            parallel=self._parallel,
            buffer_size=self._buffer_size,
            on_progress=self._on_progress,
            first=stream,
        )
        self._blob = blob
        self._first = None  # now: what is interrupted before that can still be stopped
        if previous is not None:
            previous.stop()
        if self._is_stopped:
            blob.stop()
        return blob

    def _source(self, path: str, pin: BlobInfo) -> Source:
        return Source(
            self.driver,
            path,
            pin,
            pin_mode=self._pin,
            retry=self._retry,
            link=links.of(origin_of(self.driver, path)),
            counters=self._counters,
        )

    def drop_idle(self, since: float) -> bool:
        """Give back the memory of cursors that did nothing since then; whether others have some."""
        blob = self._blob
        return blob is not None and self._forks == forks() and blob.drop_idle(since)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (
            self.driver,
            self._parallel or "auto",
            self._buffer_size or "auto",
            self._retry,
            self._pin,
            self._is_sized,
        )

    def __repr__(self) -> str:
        return f"<Engine over {self.driver!r}>"


def origin_of(driver: StorageDriver, path: str) -> str:
    """Whom the requests for a path go to: one link is one origin's."""
    return str(driver.origin(path)) if hasattr(driver, "origin") else driver.name


def _rebuild(
    driver: StorageDriver,
    parallel: int | Literal["auto"],
    buffer_size: int | Literal["auto"],
    retry: Retry,
    pin: PinMode,
    is_sized: bool,
) -> Engine:
    engine = Engine(driver, parallel=parallel, buffer_size=buffer_size, retry=retry, pin=pin)
    engine._is_sized = is_sized
    return engine


def _count(name: str, value: int | Literal["auto"]) -> int | None:
    """A number of connections or bytes; None: it is ours to choose."""
    if value == "auto":
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int or 'auto', not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


def _drop_idle() -> bool:
    """Drop what was idle for long; whether somebody has to look again."""
    since = time.monotonic() - _IDLE
    try:
        engines = list(_engines)
    except RuntimeError:  # a reader was opened meanwhile
        return True
    has_more = any([engine.drop_idle(since) for engine in engines])
    BUDGET.trim()
    return has_more or BUDGET.free > 0


PARTS.chores.append(_drop_idle)


def _make_lock() -> None:
    """In a forked child: a thread that is not there may hold it."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_lock)
