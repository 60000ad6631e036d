"""What was prefetched: it is read in any order, comes over the wire once, and is then let go."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving import OneBlob

from blobread import BlobReader
from blobread.transfer import links
from blobread.transfer.asked import Asked
from blobread.transfer.budget import BUDGET
from blobread.transfer.engine import Engine

KIB, MIB = 1 << 10, 1 << 20
DATA = random.Random(31).randbytes(8 * MIB)
OFFSETS = list(range(100 * KIB, 7 * MIB, 256 * KIB))


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that learns nothing: gaps of up to 1 MiB are read through."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


def opened(driver: OneBlob) -> BlobReader:
    return BlobReader(Engine(driver), "path")


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)))


@given(ranges, ranges)
def test_what_is_asked_is_what_was_wanted_and_is_not_taken(
    wanted: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> None:
    disjoint: list[tuple[int, int]] = []
    for start, size in sorted(wanted):
        begin = max(start, disjoint[-1][1] if disjoint else 0)
        disjoint.append((begin, begin + size))
    left = {at: stop for start, stop in disjoint for at in range(start, stop)}
    asked = Asked(disjoint)
    for start, size in taken:
        hit = left.keys() & range(start, start + size)
        assert asked.take(start, start + size) == len(hit)
        for at in hit:
            del left[at]
    assert asked.is_read is (not left)
    for at in range(800):
        assert (asked.stop(at) is not None) is (at in left)


@pytest.mark.parametrize("size", [3 * KIB, 50 * KIB, 200 * KIB])
def test_what_was_prefetched_is_read_in_any_order_without_another_request(size: int) -> None:
    driver = OneBlob(DATA)
    order = random.Random(3).sample(OFFSETS, len(OFFSETS))
    with opened(driver) as f:
        f.prefetch(OFFSETS, [size] * len(OFFSETS))
        for offset in order:
            f.seek(offset)
            assert f.read(size) == DATA[offset : offset + size]
    places = sorted((start, length or 0) for start, length in driver.asked)
    assert places[0][0] == OFFSETS[0]
    assert sum(length for _, length in places) <= OFFSETS[-1] + size - OFFSETS[0]


def test_a_piece_that_was_prefetched_is_read_bit_by_bit_and_again() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        f.prefetch([MIB], [MIB])
        for offset in (MIB, MIB + 300 * KIB, MIB + 10, 2 * MIB - 10, MIB):
            f.seek(offset)
            assert f.read(10) == DATA[offset : offset + 10]
        assert f.read_at(MIB, MIB) == DATA[MIB : 2 * MIB]
    assert driver.asked == [(MIB, MIB)]


def test_memory_of_what_was_prefetched_is_free_when_all_of_it_was_read() -> None:
    before = BUDGET.used
    with opened(OneBlob(DATA)) as f:
        f.prefetch(OFFSETS, [100 * KIB] * len(OFFSETS))
        assert BUDGET.used > before
        for offset in reversed(OFFSETS):
            assert f.read_at(100 * KIB, offset) == DATA[offset : offset + 100 * KIB]
        f.read_at(1, 0)  # any read looks after what is left
        assert BUDGET.used == before


def test_gaps_that_are_read_through_count_as_wasted() -> None:
    with opened(OneBlob(DATA)) as f:
        f.prefetch([0, 200 * KIB], [100 * KIB, 100 * KIB])
        f.read_at(100 * KIB, 200 * KIB)
        f.read_at(100 * KIB, 0)
        f.read_at(1, MIB)
        stats = f.stats
    assert stats.bytes_wasted == 100 * KIB
    assert stats.bytes_fetched == 300 * KIB + 1


def test_what_is_held_already_is_not_prefetched_again() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        f.prefetch([MIB], [100 * KIB])
        f.prefetch([MIB - 100 * KIB], [300 * KIB])
        assert f.read_at(300 * KIB, MIB - 100 * KIB) == DATA[MIB - 100 * KIB :][: 300 * KIB]
    assert sorted(driver.asked) == [
        (MIB - 100 * KIB, 100 * KIB),
        (MIB, 100 * KIB),
        (MIB + 100 * KIB, 100 * KIB),
    ]


def test_who_has_said_what_will_be_read_is_not_read_ahead_of() -> None:
    driver = OneBlob(DATA)
    size = 768 * KIB
    offsets = range(0, 6 * MIB, 2 * MIB)
    with opened(driver) as f:
        f.prefetch(offsets, [size] * len(offsets))
        asked = {(offset, size) for offset in offsets}
        for offset in offsets:
            f.seek(offset)
            for _ in range(6):
                f.read(size // 6)
        assert set(driver.asked) == asked
        f.read(MIB)
        f.read(MIB)
        assert len(driver.asked) > len(asked) + 2
