"""What somebody has asked to have brought, and has not read yet."""

from bisect import bisect_left, bisect_right
from operator import itemgetter

__all__ = ["Asked"]

_start, _stop = itemgetter(0), itemgetter(1)


class Asked:
    """Ranges of a part that was prefetched; they are read in any order, each in one go or in more.

    Parameters
    ----------
    ranges : list of (int, int)
        Start and stop of each, disjoint and in order. Two may touch.
    """

    __slots__ = ("_ranges",)

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._ranges = ranges

    @property
    def is_read(self) -> bool:
        """Whether all was read."""
        return not self._ranges

    def take(self, start: int, stop: int) -> int:
        """Take in that ``[start, stop)`` is read; return how many bytes of it were asked for."""
        first = bisect_right(self._ranges, start, key=_stop)
        last = bisect_left(self._ranges, stop, key=_start)
        met = self._ranges[first:last]
        if not met:
            return 0
        ends = (met[0][0], start), (stop, met[-1][1])
        left = [(begin, end) for begin, end in ends if begin < end]
        self._ranges[first:last] = left
        return _length(met) - _length(left)

    def stop(self, offset: int) -> int | None:
        """Where the range ends that `offset` is in; None: it is in none."""
        at = bisect_right(self._ranges, offset, key=_stop)
        if at < len(self._ranges) and self._ranges[at][0] <= offset:
            return self._ranges[at][1]
        return None


def _length(ranges: list[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)
