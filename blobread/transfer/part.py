"""One ranged request, and the places in memory that its bytes belong to."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Copy", "Part", "Piece", "Pieces"]


class Piece(NamedTuple):
    """Bytes ``[start, stop)`` of the blob; they belong at `offset` of range number `which`."""

    which: int
    offset: int
    start: int
    stop: int


class Copy(NamedTuple):
    """`length` bytes that are wanted at a second place too: at `offset` of range number `which`.

    They are at `source_offset` of range number `source` once the part has arrived and the copies
    before this one are done.
    """

    which: int
    offset: int
    source: int
    source_offset: int
    length: int


class Pieces:
    """All that is wanted of a blob, disjoint and in order.

    Three lists of numbers: a million of tuples, alive at once, cost the garbage collector more
    than the planning does.
    """

    __slots__ = ("offsets", "starts", "stops", "which")

    def __init__(self, offsets: list[int]) -> None:
        self.offsets = offsets  # of the ranges
        self.which: list[int] = []
        self.starts: list[int] = []
        self.stops: list[int] = []

    def append(self, which: int, start: int, stop: int) -> None:
        """Add bytes ``[start, stop)``, which the range number `which` receives."""
        self.which.append(which)
        self.starts.append(start)
        self.stops.append(stop)

    def between(self, start: int, stop: int) -> list[Piece]:
        """Return what lies in ``[start, stop)``, cut to it."""
        pieces = []
        for at in range(bisect_right(self.stops, start), bisect_left(self.starts, stop)):
            which = self.which[at]
            begin = max(self.starts[at], start)
            pieces.append(
                Piece(which, begin - self.offsets[which], begin, min(self.stops[at], stop))
            )
        return pieces


@dataclass(slots=True)
class Part:
    """One ranged request, for the bytes ``[start, stop)`` of the blob.

    Attributes
    ----------
    start, stop : int
    copies : list of Copy
        What overlapping ranges want twice; to be done in this order, when all pieces are there.
    """

    start: int
    stop: int
    wanted: Pieces = field(repr=False)
    copies: list[Copy] = field(default_factory=list)

    @property
    def pieces(self) -> list[Piece]:
        """Disjoint and in order, so that each is received in its place as the bytes come by.

        What is between them nobody wants. Made anew by each look.
        """
        return self.wanted.between(self.start, self.stop)

    @property
    def direct(self) -> Piece | None:
        """The piece which is the whole part, where one is: its bytes need no second place."""
        first = self.pieces[0]
        return first if first.start == self.start and first.stop == self.stop else None

    @property
    def wasted(self) -> int:
        """Bytes of the request that nobody wants."""
        return self.stop - self.start - sum(piece.stop - piece.start for piece in self.pieces)
