"""The blobs of one `read_many`: to be read, under way, or done and not yet asked for."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import BlobError
from ..opening import Url
from ..transfer.budget import memory_budget
from ..transfer.changes import Changes
from ..transfer.forks import forks
from ..transfer.link import Link
from ..transfer.sharing import MOST
from ..transfer.workers import BLOBS, MOST_WORKERS
from .blob import Settings, WholeBlob

__all__ = ["Result", "UnderWay"]

_FIRST = 16  # at a time; small blobs of one connection with 50 MB/s need so many even when near
_LOCAL = 8
_CPU = 100e-6  # seconds that a small blob costs this process
_LOOK = 0.001  # seconds between two looks, until there is an answer
_TICK = 0.05


class Result(NamedTuple):
    """What came of one blob; `is_of_blob` is False for an error that is not its own."""

    url: Any
    data: memoryview | BaseException
    is_of_blob: bool


class UnderWay:
    """Reads blobs on workers, as many at a time as help, and no more than memory allows.

    Parameters
    ----------
    urls : iterator
        Asked on the thread that calls `next`.
    options : mapping
        Of `open`.
    settings : Settings or None
    is_ordered : bool
    most : int or None
        How many at a time; None: what the link is good for.

    Notes
    -----
    No worker ever waits for memory, or for whoever asks: a blob that there is no memory for yet is
    left open, and its worker goes. So those of many calls can share one pool.
    """

    def __init__(
        self,
        urls: Iterator[Url],
        options: Mapping[str, Any],
        settings: Settings | None,
        *,
        is_ordered: bool,
        most: int | None,
    ) -> None:
        self._urls = urls
        self._options = options
        self._settings = settings
        self._is_ordered = is_ordered
        self._most = most
        self._concurrency = most or _FIRST
        self._changes = Changes()
        self._taken: dict[int, Url] = {}  # in their order; all that follows are of these
        self._waiting: deque[int] = deque()
        self._open: dict[int, WholeBlob] = {}  # no memory for them yet
        self._done: dict[int, Result] = {}
        self._sizes: dict[int, int] = {}  # memory of those that are read, or done
        self._memory = 0  # the sum of it
        self._reading: set[WholeBlob] = set()
        self._count = 0
        self._workers = 0
        self._hired = 0  # of these, how many have not begun
        self._running = 0  # and how many may hold something
        self._large: dict[int, int] = {}  # parts of those that are read by many
        self._began = 0.0
        self._has_answer = False
        self._is_all = False
        self._is_over = False
        self._quiet = threading.Event()
        self._quiet.set()
        self._forks = forks()

    def next(self) -> Result | None:
        """Wait for the next blob; None: there are no more."""
        if self._forks != forks():
            raise BlobError("the blobs are read by the process that this one was forked from")
        while not self._is_over:
            self._take_more()
            with self._changes.lock:
                if not self._taken:
                    break
                number = self._turn()
                if number in self._done:
                    del self._taken[number]
                    self._free(number)
                    return self._done.pop(number)
                waiter = self._changes.waiter()
            is_unknown = self._most is None and not self._has_answer
            waiter.acquire(timeout=_LOOK if is_unknown else -1)
            if is_unknown and not self._has_answer:
                # As long as nothing has come, it takes that long at least.
                self._set_concurrency((time.monotonic() - self._began) / _CPU)
        return None

    def end(self, timeout: float | None = None) -> None:
        """Stop what is under way, and return when it has. From any thread."""
        self._is_over = True
        if self._forks != forks():
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        if deadline is None:
            with self._changes.lock:
                self._changes.tell()
        while True:
            for blob in [*list(self._reading), *list(self._open.values())]:
                blob.stop()
            if self._quiet.wait(_TICK) or sys.is_finalizing():
                break
            if deadline is not None and time.monotonic() > deadline:
                break
        self._done.clear()

    # ---- on the thread that asks -------------------------------------------------------------

    def _turn(self) -> int:
        """The blob that is asked for next; -1: any."""
        return next(iter(self._taken if self._is_ordered else self._done), -1)

    def _take_more(self) -> None:
        """Take no more than are soon asked for, and have workers for them."""
        while not self._is_all and not self._is_over:
            with self._changes.lock:
                if len(self._taken) >= 2 * self._concurrency:
                    break
            try:
                url = next(self._urls)
            except StopIteration:
                self._is_all = True
                break
            except Exception as error:
                # What came before is given first.
                self._is_all = True
                with self._changes.lock:
                    self._taken[self._count] = ""
                    self._done[self._count] = Result(None, error, False)
                break
            with self._changes.lock:
                self._taken[self._count] = url
                self._waiting.append(self._count)
                self._count += 1
            self._hire()
        self._hire()

    def _hire(self) -> None:
        """Have as many workers as there is work for."""
        with self._changes.lock:
            work = len(self._waiting) if self._has_room() else 0
            work += len(self._open) if self._fitting() is not None else 0
            more = min(self._concurrency - self._workers, work - self._hired)
            if more <= 0 or self._is_over:
                return
            self._began = self._began or time.monotonic()
            self._workers += more
            self._hired += more
        for _ in range(more):
            BLOBS.run_soon(self._work)

    # ---- on workers --------------------------------------------------------------------------

    def _work(self) -> None:
        with self._changes.lock:
            self._hired -= 1
            if self._is_over:
                return
            self._running += 1
            self._quiet.clear()
        while (number := self._next_work()) is not None:
            self._read(number)

    def _next_work(self) -> int | None:
        """Take a blob to read; None: the worker has left."""
        with self._changes.lock:
            number = None
            if not self._is_over and self._workers <= self._concurrency:
                number = self._fitting()
                if number is None and self._waiting and self._has_room():
                    number = self._waiting.popleft()
            if number is None:
                self._workers -= 1
                self._running -= 1
                if not self._running:
                    self._quiet.set()
            elif number in self._open:
                self._reserve(number, self._open[number])
            return number

    def _read(self, number: int) -> None:
        """Read one blob, or leave it open where there is no memory for it."""
        data: memoryview | BaseException
        blob = self._open.pop(number, None)
        is_of_blob = blob is not None
        try:
            if blob is None:
                blob = WholeBlob(self._taken[number], self._options, self._settings)
                is_of_blob = True
                if not self._opened(number, blob):
                    return
            data = blob.read()
        except BaseException as error:
            data = error
            is_of_blob = isinstance(error, OSError) or (is_of_blob and isinstance(error, Exception))
        if blob is not None:
            self._reading.discard(blob)
        with self._changes.lock:
            self._large.pop(number, None)
            self._free(number)
            if isinstance(data, memoryview):
                self._sizes[number] = len(data)
                self._memory += len(data)
            self._done[number] = Result(self._taken[number], data, is_of_blob)
            if number == self._turn() or not self._is_ordered:
                self._changes.tell()

    def _opened(self, number: int, blob: WholeBlob) -> bool:
        """Open a blob, and tell whether there is memory to read it now."""
        self._reading.add(blob)
        if self._is_over:
            raise ValueError("the blob is not wanted any more")
        self._note_link(blob.link)
        blob.open()
        self._has_answer = True
        self._note_link(blob.link)
        with self._changes.lock:
            if self._fits(number, blob.size, blob.parts):
                self._reserve(number, blob)
                return True
            self._open[number] = blob
            self._reading.discard(blob)
            return False

    def _note_link(self, link: Link | None) -> None:
        if self._most is None and (link is None or link.samples):
            self._has_answer = True
            self._set_concurrency(_LOCAL if link is None else max(_FIRST, link.small_connections))

    def _set_concurrency(self, count: float) -> None:
        count = min(int(count), MOST_WORKERS)
        if count == self._concurrency:
            return
        with self._changes.lock:
            self._concurrency = count
            self._changes.tell()

    # ---- memory, under the lock --------------------------------------------------------------

    def _has_room(self) -> bool:
        """Whether the next blob is likely to fit, if it is like the others."""
        likely = self._memory // max(1, len(self._sizes))
        return bool(self._waiting) and self._fits(self._waiting[0], likely, 1)

    def _fitting(self) -> int | None:
        """A blob that is open, and has room by now."""
        if not self._open:
            return None
        number = min(self._open)
        blob = self._open[number]
        return number if self._fits(number, blob.size, blob.parts) else None

    def _fits(self, number: int, size: int, parts: int) -> bool:
        """Whether to read a blob now; the one that all others wait for may in any case."""
        if not self._sizes or (self._is_ordered and number == self._turn()):
            return True
        if parts > 1 and self._large and sum(self._large.values()) + parts > MOST:
            return False
        return self._memory + size <= memory_budget()

    def _reserve(self, number: int, blob: WholeBlob) -> None:
        if blob.parts > 1:
            self._large[number] = blob.parts
        self._sizes[number] = blob.size
        self._memory += blob.size

    def _free(self, number: int) -> None:
        self._memory -= self._sizes.pop(number, 0)
