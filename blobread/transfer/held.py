"""All parts that are held for one reader, or under way, in the order of their offsets."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from operator import attrgetter

from .ahead import AheadPart

__all__ = ["Held"]

_start = attrgetter("start")


class Held:
    """Parts that are disjoint, found by offset."""

    def __init__(self) -> None:
        self._parts: list[AheadPart] = []
        self.size = 0  # bytes of memory

    def __iter__(self) -> Iterator[AheadPart]:
        return iter(list(self._parts))

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, part: AheadPart) -> None:
        """Hold a part that overlaps none."""
        insort(self._parts, part, key=_start)
        self.size += part.block.size

    def remove(self, part: AheadPart) -> None:
        """Hold it no longer, if it is held."""
        place = bisect_left(self._parts, part.start, key=_start)
        if place < len(self._parts) and self._parts[place] is part:
            del self._parts[place]
            self.size -= part.block.size

    def at(self, offset: int) -> AheadPart | None:
        """The part that `offset` lies in."""
        place = bisect_right(self._parts, offset, key=_start)
        if place and offset < self._parts[place - 1].stop:
            return self._parts[place - 1]
        return None

    def between(self, start: int, stop: int) -> list[AheadPart]:
        """The parts that have bytes of ``[start, stop)``."""
        first = bisect_right(self._parts, start, key=_start)
        if first and start < self._parts[first - 1].stop:
            first -= 1
        return self._parts[first : bisect_left(self._parts, stop, key=_start)]

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What of ``[start, stop)`` is in no part."""
        for part in self.between(start, stop):
            if start < part.start:
                yield start, part.start
            start = part.stop
        if start < stop:
            yield start, stop

    def next_start(self, offset: int) -> int | None:
        """Where the first part begins that lies at `offset` or behind it."""
        place = bisect_left(self._parts, offset, key=_start)
        return self._parts[place].start if place < len(self._parts) else None

    def stop_before(self, offset: int) -> int:
        """Where the last part ends that ends at `offset` or before it; 0: there is none."""
        place = bisect_right(self._parts, offset, key=_start)
        return self._parts[place - 1].stop if place else 0
