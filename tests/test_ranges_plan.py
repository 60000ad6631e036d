"""The plan of requests for many ranges brings each byte once, and little else."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blobread.transfer.ranges import Part, plan

SIZE = 300
BLOB = bytes(i % 251 for i in range(SIZE))
KIB, MIB = 1 << 10, 1 << 20

ranges_of_blob = st.lists(
    st.integers(0, SIZE).flatmap(
        lambda offset: st.tuples(st.just(offset), st.integers(0, SIZE - offset))
    ),
    max_size=12,
)


def plan_of(ranges: list[tuple[int, int]], *, hole: int = 0, part_size: int = MIB) -> list[Part]:
    offsets, sizes = [pair[0] for pair in ranges], [pair[1] for pair in ranges]
    return plan(offsets, sizes, size=1 << 40, hole=hole, part_size=part_size)


def bounds(parts: list[Part]) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in parts]


@given(ranges_of_blob, st.integers(0, 60), st.integers(1, 400))
@example([(0, 100), (50, 100), (60, 20), (60, 90)], 0, 7)
def test_what_the_parts_bring_is_what_the_ranges_want(
    ranges: list[tuple[int, int]], hole: int, part_size: int
) -> None:
    wanted = [bytearray(size) for _, size in ranges]
    filled = [bytearray(size) for _, size in ranges]  # how often, each byte
    # Parts come in any order, and each is then complete in itself.
    for part in reversed(plan_of(ranges, hole=hole, part_size=part_size)):
        for which, offset, start, stop in part.pieces:
            assert part.start <= start < stop <= part.stop
            wanted[which][offset : offset + stop - start] = BLOB[start:stop]
            for at in range(offset, offset + stop - start):
                filled[which][at] += 1
        for which, offset, source, source_offset, length in part.copies:
            assert length > 0
            assert all(filled[source][source_offset : source_offset + length])
            data = wanted[source][source_offset : source_offset + length]
            wanted[which][offset : offset + length] = data
            for at in range(offset, offset + length):
                filled[which][at] += 1
    assert wanted == [BLOB[offset : offset + size] for offset, size in ranges]
    assert all(set(counts) <= {1} for counts in filled)


@given(ranges_of_blob, st.integers(0, 60), st.integers(1, 400))
def test_parts_and_pieces_are_disjoint_in_order_and_no_longer_than_allowed(
    ranges: list[tuple[int, int]], hole: int, part_size: int
) -> None:
    parts = plan_of(ranges, hole=hole, part_size=part_size)
    pieces = [(piece.start, piece.stop) for part in parts for piece in part.pieces]
    for spans in (bounds(parts), pieces):
        ends = [0] + [stop for _, stop in spans]
        assert all(end <= start for end, (start, _) in zip(ends, spans, strict=False))
    assert all(1 <= part.stop - part.start <= part_size for part in parts)
    # A part begins and ends with what is wanted.
    assert all(part.pieces[0].start == part.start for part in parts)
    assert all(part.pieces[-1].stop == part.stop for part in parts)


@given(ranges_of_blob, st.integers(1, 400))
def test_without_holes_nothing_is_read_that_nobody_wants(
    ranges: list[tuple[int, int]], part_size: int
) -> None:
    parts = plan_of(ranges, hole=0, part_size=part_size)
    wanted = {at for offset, size in ranges for at in range(offset, offset + size)}
    assert sum(part.stop - part.start for part in parts) == len(wanted)
    assert all(part.wasted == 0 for part in parts)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=60),
    st.integers(0, 200),
)
def test_a_request_wastes_no_more_than_twice_what_it_brings_or_64_kib(
    steps: list[tuple[int, int]], hole: int
) -> None:
    at, ranges = 0, []
    for gap, size in steps:
        ranges.append((at + gap * KIB, size * KIB))
        at = sum(ranges[-1])
    for part in plan_of(ranges, hole=hole * KIB, part_size=16 * MIB):
        assert part.wasted <= max(64 * KIB, 2 * (part.stop - part.start - part.wasted))


def test_a_gap_as_long_as_the_hole_is_read_through_and_one_byte_more_is_not() -> None:
    assert bounds(plan_of([(0, 100), (150, 100)], hole=50)) == [(0, 250)]
    assert bounds(plan_of([(0, 100), (151, 100)], hole=50)) == [(0, 100), (151, 251)]


def test_tiny_ranges_far_apart_are_not_read_through_to_the_last() -> None:
    parts = plan_of([(at * 60 * KIB, 8) for at in range(10)], hole=MIB, part_size=16 * MIB)
    assert [part.stop - part.start for part in parts] == [60 * KIB + 8] * 5


def test_a_gap_is_not_read_through_where_the_request_grew_too_long() -> None:
    ranges = [(0, 600), (700, 600)]
    assert bounds(plan_of(ranges, hole=100, part_size=1300)) == [(0, 1300)]
    assert bounds(plan_of(ranges, hole=100, part_size=1299)) == [(0, 600), (700, 1300)]


def test_a_long_run_is_split_evenly() -> None:
    assert bounds(plan_of([(10, 1000), (1010, 1000)], part_size=700)) == [
        (10, 677),
        (677, 1344),
        (1344, 2010),
    ]


def test_ranges_in_any_order_are_asked_for_in_that_of_the_blob() -> None:
    assert bounds(plan_of([(500, 10), (0, 10), (200, 10)])) == [(0, 10), (200, 210), (500, 510)]


def test_a_part_within_one_range_is_direct_and_one_with_a_gap_or_two_ranges_is_not() -> None:
    [first, second] = plan_of([(0, 1000)], part_size=500)
    assert first.direct == (0, 0, 0, 500)
    assert second.direct == (0, 500, 500, 1000)
    assert [part.direct for part in plan_of([(0, 10), (20, 10)], hole=10)] == [None]
    assert [part.direct for part in plan_of([(0, 10), (10, 10)])] == [None]


def test_ranges_that_overlap_in_a_long_chain_take_one_copy_each() -> None:
    [part] = plan_of([(at, 1000) for at in range(500)])
    assert len(part.copies) == 499


def test_empty_ranges_need_no_request_even_beyond_the_end() -> None:
    assert plan([5, 0, 100], [0, 0, 0], size=10, hole=0, part_size=10) == []
    assert plan([], [], size=0, hole=0, part_size=10) == []


@pytest.mark.parametrize("offsets", [[2**62], [3, 8], [11]])
def test_a_range_beyond_the_end_is_an_eof_error_that_names_it(offsets: list[int]) -> None:
    with pytest.raises(EOFError, match=rf"^range {len(offsets) - 1} .* beyond .* 10 bytes$"):
        plan(offsets, [3] * len(offsets), size=10, hole=0, part_size=10)


def test_a_range_up_to_the_end_is_fine() -> None:
    assert bounds(plan([7], [3], size=10, hole=0, part_size=10)) == [(7, 10)]


@pytest.mark.parametrize(
    ("offsets", "sizes", "message"),
    [
        ([0, -1], [1, 1], "range 1 has a negative offset: -1"),
        ([0, 2, 4], [1, 1, -5], "range 2 has a negative size: -5"),
        ([0, 2], [1], "2 offsets, but 1 sizes"),
    ],
)
def test_a_range_that_is_none_is_a_value_error_that_says_which(
    offsets: list[int], sizes: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan(offsets, sizes, size=10, hole=0, part_size=10)


def test_a_fraction_is_no_offset() -> None:
    with pytest.raises(TypeError):
        plan([0.5], [1], size=10, hole=0, part_size=10)  # type: ignore[list-item]


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_integers_of_numpy_are_counted_without_overflow(kind: type[np.integer]) -> None:
    parts = plan(
        np.array([200, 100], kind), np.array([100, 100], kind), size=300, hole=0, part_size=MIB
    )
    assert bounds(parts) == [(100, 300)]
    assert all(type(number) is int for piece in parts[0].pieces for number in piece)


def test_a_million_ranges_are_planned() -> None:
    offsets = np.random.default_rng(1).permutation(1_000_000) * 1000
    parts = plan(offsets, np.full(1_000_000, 500), size=10**9, hole=MIB, part_size=8 * MIB)
    assert sum(len(part.pieces) for part in parts) == 1_000_000
    assert sum(part.stop - part.start - part.wasted for part in parts) == 500_000_000
