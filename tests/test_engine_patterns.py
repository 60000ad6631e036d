"""What is asked for where a library goes through a blob in its own way."""

import random
from typing import Any

import pytest
from misbehaving import OneBlob

from blobread import BlobReader
from blobread.transfer import links
from blobread.transfer.engine import Engine

KIB, MIB = 1 << 10, 1 << 20
DATA = random.Random(41).randbytes(16 * MIB)


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that learns nothing: 1 MiB is read through rather than skipped."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


def opened(driver: OneBlob) -> BlobReader:
    return BlobReader(Engine(driver), "path")


def read(f: BlobReader, offset: int, size: int) -> None:
    f.seek(offset)
    assert f.read(size) == DATA[offset : offset + size]


def places(driver: OneBlob) -> list[tuple[int, int]]:
    """Offset and length of each request, in the order of the blob."""
    return sorted((start, length or 0) for start, length in driver.asked)


def asked_twice(driver: OneBlob) -> int:
    """Bytes of requests beyond the first for them."""
    end = twice = 0
    for start, length in places(driver):
        twice += max(0, min(end, start + length) - start)
        end = max(end, start + length)
    return twice


def test_headers_that_are_near_one_another_are_served_by_what_lies_between() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        for offset in range(0, len(DATA), 100 * KIB):
            read(f, offset, 512)
    assert len(driver.asked) < 80
    assert asked_twice(driver) == 0


def test_headers_that_are_far_apart_are_asked_for_alone() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        for offset in range(0, len(DATA), MIB + 64 * KIB):
            read(f, offset, 512)
    assert sum(length for _, length in places(driver)) <= len(DATA) // MIB * 32 * KIB


@pytest.mark.parametrize("far", [2 * MIB, 3 * MIB + 5])
def test_a_look_far_ahead_lets_go_of_nothing_that_is_still_to_be_read(far: int) -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        for offset in range(0, len(DATA), 256 * KIB):
            if offset in (4 * MIB, 8 * MIB):
                read(f, offset + far, 2616)
            read(f, offset, 256 * KIB)
    assert asked_twice(driver) == 0


def test_who_goes_on_far_ahead_keeps_nothing_of_what_was_skipped() -> None:
    with opened(OneBlob(DATA)) as f:
        for offset in range(0, 4 * MIB, 256 * KIB):
            read(f, offset, 256 * KIB)
        for offset in range(7 * MIB, len(DATA), 256 * KIB):
            read(f, offset, 256 * KIB)
        blob = f.driver._blob  # type: ignore[attr-defined]
        assert all(part.start >= 7 * MIB for part in blob._cursors.held)


@pytest.mark.parametrize("size", [17 * KIB, 31 * KIB, 51 * KIB, 63 * KIB])
def test_a_lone_read_is_one_request_wherever_it_begins(size: int) -> None:
    driver = OneBlob(DATA)
    offsets = [5 * MIB + 16 * KIB - 1, 3 * MIB, 9 * MIB + 12345]
    with opened(driver) as f:
        for offset in offsets:
            read(f, offset, size)
    assert driver.asked == [(offset, size) for offset in offsets]


def test_the_last_bytes_are_asked_for_with_those_before_them() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        for size in (8, 22, 4 * KIB, 30 * KIB):
            f.seek(-size, 2)
            assert f.read() == DATA[-size:]
    assert driver.asked == [(len(DATA) - 32 * KIB, 32 * KIB)]
