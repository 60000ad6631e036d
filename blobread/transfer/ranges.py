"""Which requests bring many ranges of one blob, and where their bytes go."""

from collections.abc import Iterable, Iterator
from operator import add, index

from .part import Copy, Part, Piece, Pieces

__all__ = ["Copy", "Part", "Piece", "plan"]

_WASTE = 2  # bytes read through for one that is wanted, at most, in one request
_WASTE_FREE = 65536  # bytes; at 500 MB/s they take the 100 us that a request costs in CPU alone


def plan(
    offsets: Iterable[int], sizes: Iterable[int], *, size: int, hole: int, part_size: int
) -> list[Part]:
    """Plan the requests for ranges of a blob.

    Overlapping ranges are fetched once. A gap of at most `hole` bytes is read through, as in
    Arrow's ``ReadRangeCache``, while the request stays within `part_size` and wastes no more than
    twice what it brings (or 64 KiB). A longer run is split evenly. Empty ranges need no request.

    Parameters
    ----------
    offsets, sizes : iterable of int
        In bytes, in any order; NumPy's integer arrays too.
    size : int
        Of the blob, in bytes.
    hole, part_size : int
        In bytes, as `Link` has them.

    Returns
    -------
    list of Part
        Disjoint, in the order of the blob.

    Raises
    ------
    ValueError
        For a negative offset or size, or where there are not as many sizes as offsets.
    EOFError
        Where a range that is not empty ends beyond the blob. Both name the range by its index.
    """
    offsets, sizes = list(map(index, offsets)), list(map(index, sizes))
    _check(offsets, sizes, size)
    if part_size < 1:
        raise ValueError(f"part_size must be positive, not {part_size}")
    pieces, copies = _receivers(offsets, sizes)
    parts = [
        Part(start, stop, pieces)
        for run in _joined(pieces, hole, part_size)
        for start, stop in _split(*run, part_size)
    ]
    _place_copies(parts, copies, offsets)
    return parts


def _check(offsets: list[int], sizes: list[int], size: int) -> None:
    if len(offsets) != len(sizes):
        raise ValueError(f"{len(offsets)} offsets, but {len(sizes)} sizes")
    if min(offsets, default=0) < 0 or min(sizes, default=0) < 0:
        at = next(i for i, pair in enumerate(zip(offsets, sizes, strict=True)) if min(pair) < 0)
        what, value = ("offset", offsets[at]) if offsets[at] < 0 else ("size", sizes[at])
        raise ValueError(f"range {at} has a negative {what}: {value}")
    if max(map(add, offsets, sizes), default=0) <= size:
        return
    for at, (offset, length) in enumerate(zip(offsets, sizes, strict=True)):
        if length and offset + length > size:
            raise EOFError(
                f"range {at} (bytes {offset} to {offset + length}) ends beyond "
                f"the blob of {size} bytes"
            )


_Run = tuple[int, int]  # start, stop


def _receivers(offsets: list[int], sizes: list[int]) -> tuple[Pieces, list[Copy]]:
    """Find for each byte the range that receives it, and what the others copy."""
    pieces = Pieces(offsets)
    copies: list[Copy] = []
    wanted = [i for i, length in enumerate(sizes) if length]
    wanted.sort(key=offsets.__getitem__)
    furthest = reach = 0
    for i in wanted:
        start = offsets[i]
        stop = start + sizes[i]
        if start < reach:
            # The range that reaches furthest began before this one, so it has all that is shared:
            # one copy does, however many ranges the bytes came by.
            shared = min(stop, reach) - start
            copies.append(Copy(i, 0, furthest, start - offsets[furthest], shared))
            start = reach
        if start < stop:
            pieces.append(i, start, stop)
            furthest, reach = i, stop
    return pieces, copies


def _joined(pieces: Pieces, hole: int, part_size: int) -> Iterator[_Run]:
    """Join pieces that touch, whatever their length, and those with a gap worth reading."""
    begin = end = got = 0  # of the request that is being joined; `got`: bytes wanted in it
    for start, stop in _touching(pieces):
        waste = start - begin - got
        allowed = max(_WASTE_FREE, _WASTE * (got + stop - start))
        if got and start - end <= hole and stop - begin <= part_size and waste <= allowed:
            end = stop
            got += stop - start
            continue
        if got:
            yield begin, end
        begin, end, got = start, stop, stop - start
    if got:
        yield begin, end


def _touching(pieces: Pieces) -> Iterator[_Run]:
    begin = end = -1
    for start, stop in zip(pieces.starts, pieces.stops, strict=True):
        if start != end:
            if end >= 0:
                yield begin, end
            begin = start
        end = stop
    if end >= 0:
        yield begin, end


def _split(start: int, stop: int, part_size: int) -> Iterator[_Run]:
    count = -(-(stop - start) // part_size)
    step = -(-(stop - start) // count)
    for begin in range(start, stop, step):
        yield begin, min(begin + step, stop)


def _place_copies(parts: list[Part], copies: list[Copy], offsets: list[int]) -> None:
    first = 0
    for copy in copies:
        begin = offsets[copy.which]
        while parts[first].stop <= begin:
            first += 1
        at = first  # the next copy begins no earlier than this one, but it may end earlier
        while begin + copy.offset + copy.length > parts[at].stop:
            which, offset, source, source_offset, length = copy
            here = parts[at].stop - begin - offset
            parts[at].copies.append(Copy(which, offset, source, source_offset, here))
            copy = Copy(which, offset + here, source, source_offset + here, length - here)
            at += 1
        parts[at].copies.append(copy)
