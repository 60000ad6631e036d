"""What is known of the way to one origin, from the requests that went there."""

import os
import threading
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from statistics import median

from .sharing import FAST, MOST, Sharing

__all__ = ["Link"]

_KIB, _MIB = 1 << 10, 1 << 20

# Before data: an object store in the same region. Their product is the gap of 1 MiB that
# object_store and OpenDAL read through, and 9 times that about the part of 8 MiB of AWS's CRT.
_TTFB = 0.02
_BANDWIDTH = 50 * _MIB
_PART = 8 * _MIB
_STEP = 64 * _KIB

# Twice the receive buffer that Linux begins with (tcp_rmem): what fits it may have been there
# before anyone looked, and then has the speed of memory.
_TELLING = 256 * _KIB
# The median of 9 follows a change after five, and four outliers do not move it.
_WINDOW = 9

_NEAR = 0.001  # seconds of TTFB: the same machine, or the same rack
_CPU = 100e-6  # seconds that a small request costs the client
_MOST_SMALL = 128
_MOST_OPEN = 1024  # requests; what says "started" and never "finished" is forgotten beyond

# One for all links: it is held for a microsecond, and a forked child has one to make anew.
# Reentrant: a finalizer, or a signal handler, may close a stream while it is held.
_lock = threading.RLock()


class Link:
    """The way to one origin; used by many threads.

    A call costs a microsecond or two. Estimates are medians of the last requests, not averages:
    one request that hung, or whose bytes waited in a buffer, moves them hardly at all.

    Parameters
    ----------
    origin : str
        ``"http://host:port"``, or the name of a driver.
    clock : callable
        Seconds, as ``time.perf_counter`` tells them.
    """

    def __init__(self, origin: str, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.origin = origin
        self._clock = clock
        self._ttfbs: deque[float] = deque(maxlen=_WINDOW)
        self._rates: deque[float] = deque(maxlen=_WINDOW)
        self._sharing = Sharing()
        self._samples = 0
        self._open: list[tuple[float, float]] = []  # when each began, and the area then
        self._area = 0.0  # requests in flight, summed over time
        self._looked = clock()

    def started(self) -> None:
        """Note that a request is being sent."""
        with _lock:
            now = self._pass()
            insort(self._open, (now, self._area))
            if len(self._open) > _MOST_OPEN:
                del self._open[0]

    def finished(self, first_byte_after: float | None, count: int, seconds: float) -> None:
        """Note that a request is over, or was left.

        Parameters
        ----------
        first_byte_after : float or None
            Seconds from sending it to the first byte of its answer; None: there was no answer.
        count : int
            Bytes of the body that came after the first ones.
        seconds : float
            In which they came; of waiting for them, not of what the caller did meanwhile.
        """
        with _lock:
            now = self._pass()
            lasted = (first_byte_after or 0.0) + seconds
            began, area = self._take(now - lasted, now)
            if first_byte_after is None:
                return
            self._samples += 1
            self._ttfbs.append(first_byte_after)
            if count < _TELLING or seconds <= 0:
                return
            rate = count / seconds
            self._rates.append(rate)
            passed = now - began
            # A stream that waited for its reader says nothing of the connections beside it.
            if 0 < passed <= 1.5 * lasted + 0.005:
                beside = max(1.0, (self._area - area) / passed)
                self._sharing.note(beside, beside * seconds / lasted, rate)

    def _pass(self) -> float:
        now = self._clock()
        self._area += len(self._open) * (now - self._looked)
        self._looked = now
        return now

    def forget_requests(self) -> None:
        """In a forked child: what is in flight is the parent's. What was learnt stays."""
        self._open.clear()

    def _take(self, began: float, now: float) -> tuple[float, float]:
        """Take out the request that began then, or about then."""
        if not self._open:
            return now, self._area
        at = bisect_left(self._open, (began, 0.0))
        is_last = at == len(self._open)
        if is_last or (at and began - self._open[at - 1][0] < self._open[at][0] - began):
            at -= 1
        return self._open.pop(at)

    @property
    def samples(self) -> int:
        """How many requests were answered."""
        return self._samples

    @property
    def known(self) -> bool:
        """Whether the bandwidth has been seen, and is no assumption."""
        return bool(self._rates)

    @property
    def in_flight(self) -> int:
        """Requests that have started and not finished, of all readers."""
        return len(self._open)

    @property
    def ttfb(self) -> float:
        """Seconds to the first byte; 0.02 before data."""
        with _lock:
            return median(self._ttfbs) if self._ttfbs else _TTFB

    @property
    def bandwidth(self) -> float:
        """Bytes per second and connection, at the number of them in use; 50 MiB/s before data."""
        with _lock:
            return median(self._rates) if self._rates else float(_BANDWIDTH)

    @property
    def hole(self) -> int:
        """Bytes that cost less to read through than a new request does: TTFB * bandwidth.

        16 KiB to 16 MiB; 1 MiB before data. The formula is that of Arrow's ``ReadRangeCache``.
        """
        return int(min(max(self.ttfb * self.bandwidth, 16 * _KIB), 16 * _MIB))

    @property
    def connections(self) -> int:
        """Connections that all readers together should use for bandwidth, 1 to 32.

        32 before data; 2 where the TTFB is that of the same machine, until a part of it tells.
        """
        with _lock:
            learnt = self._sharing.connections()
        if learnt is not None:
            return learnt
        is_near = self._samples and self.ttfb < _NEAR
        return 2 if is_near and (self.bandwidth >= FAST or not self.known) else MOST

    @property
    def small_connections(self) -> int:
        """Connections for many small requests, 2 to 128: more would wait for this process's CPU."""
        with _lock:
            ttfb = min(self._ttfbs, default=_TTFB)
        return min(max(round(ttfb / _CPU), 2), _MOST_SMALL)

    @property
    def is_fast(self) -> bool:
        """Whether one connection is about as fast as memory is: nothing has to be read ahead.

        A near server is taken to be, until one connection alone has shown that it is not.
        """
        if not self._ttfbs or self.ttfb >= _NEAR:
            return False
        with _lock:
            alone = self._sharing.alone()
        return alone is None or alone >= FAST

    def part_size(self, wanted: int, connections: int | None = None) -> int:
        """Return how many bytes to ask for at once when `wanted` bytes are, in steps of 64 KiB.

        ``max(1 MiB, min(clamp(9 * TTFB * bandwidth, 1 MiB, 16 MiB), wanted / connections))``: 9
        times the gap is the request of which the TTFB is a tenth (Arrow's ``ReadRangeCache``, at
        0.9 of the bandwidth). 8 MiB before data.
        """
        size = min(self._longest_part(), -(-wanted // (connections or self.connections)))
        return max(_MIB, -(-size // _STEP) * _STEP)

    def _longest_part(self) -> int:
        if not self._samples:
            return _PART
        return int(min(max(9 * self.ttfb * self.bandwidth, _MIB), 16 * _MIB))


def _make_lock() -> None:
    """In a forked child: the lock may be held by a thread that is not there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_lock)
