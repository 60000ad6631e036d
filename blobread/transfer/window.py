"""One cursor of a reader: where it is, whether it runs on, and how far ahead of it to read."""

from typing import TYPE_CHECKING

from .resume import ResumingStream

if TYPE_CHECKING:
    from .ahead import AheadPart

__all__ = ["SMALLEST_PART", "Flow", "Window"]

# Bytes. What a first window reaches ahead; stalls double it, and a reader that never waits
# halves it (mountpoint-s3's rule).
_FIRST_REACH = 1024 * 1024
_MUCH = 1024 * 1024
_FULL_READS = 16  # in a row
_SETTLED = 2  # reads that run on
# Over-read is bounded by what was read: twice that, so that the window can double.
_OF_CONSUMED = 2
SMALLEST_PART = 256 * 1024


class Flow:
    """A stream that the reader's own thread pulls: nothing of it is held ahead."""

    __slots__ = ("at", "is_busy", "stop", "stream")

    def __init__(self, stream: ResumingStream, at: int, stop: int) -> None:
        self.stream = stream
        self.at = at
        self.stop = stop
        self.is_busy = False  # a thread is in it


class Window:
    """What is known of one cursor.

    Attributes
    ----------
    next : int
        Offset at which it will read next, if it runs on.
    consumed : int
        Bytes that it took so far, in reads that ran on.
    ahead_to : int
        Up to where the bytes are held or under way.
    flow : Flow or None
    part : AheadPart or None
        The one that it read in last.
    passed : int
        Up to where it has gone for good.
    read_as : int
        The number of its last read among all of the reader.
    touched : float
        When it read last, on the clock of `time.monotonic`.
    """

    __slots__ = (
        "_began_at",
        "_full",
        "_lent",
        "_reach",
        "_reads",
        "_settled",
        "ahead_to",
        "consumed",
        "flow",
        "next",
        "part",
        "passed",
        "read_as",
        "touched",
    )

    def __init__(self, offset: int) -> None:
        self.next = offset
        self.consumed = 0
        self.ahead_to = offset
        self.flow: Flow | None = None
        self.read_as = 0
        self.part: AheadPart | None = None
        self.touched = 0.0
        self.passed = offset
        self._began_at = offset
        self._reads = 0
        self._settled = _SETTLED
        self._lent = 0
        self._reach = _FIRST_REACH
        self._full = 0

    @property
    def runs_on(self) -> bool:
        """Whether reads have run on for long enough to read ahead of them."""
        # A cursor that began in the middle has to show more: indices are read in a piece or two,
        # and left. Who takes much from the start on is about to go on. (gcsfs wants three reads,
        # Linux one; bounded by `consumed`, either is cheap.)
        if self._began_at:
            return self._reads >= 3
        return self._reads >= 2 or self.consumed >= _MUCH

    def arrive(self, offset: int, is_hop: bool) -> None:
        """Take in that a read begins at `offset`; of what was lent, the part before it was read."""
        lent_from = self.next - self._lent
        self.consumed += min(self._lent, max(0, offset - lent_from))
        self._lent = 0
        if offset >= self.next:
            self._reads += 1
        if is_hop or lent_from <= offset <= self.next:
            self._settled += 1
        else:
            # It may be a look at an index, and then it is back: nothing is let go yet.
            self._settled = 0
            self.passed = min(self.passed, offset)
        if self._settled >= _SETTLED:
            self.passed = offset
        self.next = offset
        self.ahead_to = max(self.ahead_to, offset)

    def read(self, count: int) -> None:
        """Take in that the caller is given `count` bytes."""
        self.consumed += count
        self.next += count
        self.ahead_to = max(self.ahead_to, self.next)

    def lent(self, count: int) -> None:
        """Take in that the caller may read `count` bytes, or less."""
        self._lent = count
        self.next += count
        self.ahead_to = max(self.ahead_to, self.next)

    def waited(self) -> None:
        """Reach as far as it may: the reader had to wait."""
        self._full = 0
        self._reach = max(2 * self._reach, _OF_CONSUMED * self.consumed)

    def is_full(self) -> None:
        """Reach less far in time: all has come, and the memory serves others better."""
        self._full += 1
        if self._full >= _FULL_READS:
            self._full = 0
            self._reach = max(_FIRST_REACH, self._reach // 2)

    def reach(self, most: int) -> int:
        """How many bytes may be held ahead of the cursor."""
        self._reach = min(self._reach, max(most, _FIRST_REACH))
        return min(self._reach, most, _OF_CONSUMED * self.consumed)

    @staticmethod
    def part_size(reach: int, connections: int, most: int) -> int:
        """How long the next part is to be: a power of two, as the blocks of memory are."""
        size = max(SMALLEST_PART, min(reach // connections, most))
        return int(1 << (size.bit_length() - 1))
