"""Blocks: who sees their memory is counted, and nothing new is made of one that was given back."""

import gc
import mmap
import sys
import threading
from array import array
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from together import together

from blobread.transfer._block import Block, Pages, Tally

STATM = Path("/proc/self/statm")
MIB = 1 << 20


def filled(size: int) -> Block:
    """A block whose bytes differ from their neighbours."""
    block = Block(size)
    with block.view(0, size, readonly=False) as view:
        view[:] = pattern(size)
    return block


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def resident() -> int:
    return int(STATM.read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.parametrize("size", [1, 100, 65_537, MIB, MIB + 1, 5 * MIB])
def test_block_has_its_size_and_keeps_what_is_written(size: int) -> None:
    block = filled(size)
    assert (len(block), block.size) == (size, size)
    with block.view(0, size) as view:
        assert (view.nbytes, view.format, view.contiguous) == (size, "B", True)
        assert view == pattern(size)


@pytest.mark.parametrize("size", [0, -1])
def test_size_that_is_not_positive_is_a_value_error(size: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Block(size)


@pytest.mark.parametrize("size", [sys.maxsize, sys.maxsize // 2])
def test_size_that_the_system_does_not_have_is_a_memory_error_and_is_not_counted(size: int) -> None:
    tally = Tally()
    with pytest.raises(MemoryError):
        tally.make(size, size, sys.maxsize, sys.maxsize)
    assert (tally.used, tally.free) == (0, 0)


def test_view_has_the_bytes_asked_for_and_is_read_only_unless_asked_otherwise() -> None:
    block = filled(1000)
    for start, stop in [(0, 1000), (0, 10), (990, 1000), (7, 7), (3, 800)]:
        with block.view(start, stop) as view:
            assert view.readonly
            assert view == pattern(1000)[start:stop]
            with pytest.raises(TypeError):
                view[:1] = b"x"
        with block.view(start, stop, readonly=False) as view:
            assert not view.readonly
        assert block.exports == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 11), (6, 5), (11, 11)])
def test_bytes_that_a_block_does_not_have_are_an_index_error(start: int, stop: int) -> None:
    block = Block(10)
    with pytest.raises(IndexError, match="not within 10"):
        block.view(start, stop)
    with pytest.raises(IndexError, match="not within 10"):
        block.copy(start, stop, bytearray(20))
    assert block.exports == 0


def test_each_view_is_one_export_until_its_last_slice_is_released() -> None:
    block = Block(100)
    one, two = block.view(0, 50), block.view(0, 100)
    assert block.exports == 2
    piece = one[10:20]
    one.release()
    assert block.exports == 2
    piece.release()
    assert block.exports == 1
    del two
    assert block.exports == 0


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_exports_are_counted_right_in_any_order_of_release(order: tuple[int, ...]) -> None:
    block = Block(100)
    views = [block.view(0, 100, readonly=bool(i % 2)) for i in range(4)]
    for left, i in zip(range(3, -1, -1), order, strict=True):
        views[i].release()
        assert block.exports == left


def test_numpy_array_of_a_view_is_an_export_after_the_view_is_gone() -> None:
    block = filled(1024)
    whole = np.frombuffer(block.view(0, 1024), np.uint8)
    part = whole[5:10]
    del whole
    gc.collect()
    assert block.exports == 1
    assert bytes(part) == pattern(10)[5:]
    del part
    assert block.exports == 0


def test_view_in_a_cycle_is_an_export_until_the_collector_finds_it() -> None:
    block = Block(100)
    cycle: list[object] = [block.view(0, 100)]
    cycle.append(cycle)
    gc.collect()
    assert block.exports == 1
    del cycle
    gc.collect()
    assert block.exports == 0


def test_view_keeps_the_memory_of_a_block_that_is_gone() -> None:
    tally = Tally()
    block = tally.make(5 * MIB, 5 * MIB, sys.maxsize, sys.maxsize)
    assert block is not None
    with block.view(0, 5 * MIB, readonly=False) as view:
        view[:] = pattern(5 * MIB)
    view = block.view(4 * MIB, 5 * MIB)
    del block
    assert tally.used == 5 * MIB
    assert view == pattern(5 * MIB)[4 * MIB :]
    del view
    assert tally.used == 0


def test_exports_are_counted_right_from_many_threads() -> None:
    block = Block(1000)

    def take_and_release() -> None:
        for i in range(2000):
            view = block.view(0, 1000)
            piece = view[i % 10 :]
            (view if i % 2 else piece).release()

    together(*[take_and_release] * 4)
    assert block.exports == 0


# ---- copy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (3, 1000), (7, 65_543), (1, 400_000)])
def test_copy_writes_the_bytes_and_nothing_behind_them(start: int, stop: int) -> None:
    block = filled(400_000)
    target = bytearray(b"\xff") * (stop - start + 3)
    assert block.copy(start, stop, target) == stop - start
    assert target == pattern(400_000)[start:stop] + b"\xff\xff\xff"
    assert block.exports == 0


@pytest.mark.parametrize("size", [1000, 200_000])
def test_copy_within_the_block_itself_is_that_of_overlapping_memory(size: int) -> None:
    block = filled(size)
    with block.view(100, size, readonly=False) as target:
        block.copy(0, size - 100, target)
    with block.view(0, size) as view:
        assert view == pattern(100) + pattern(size)[: size - 100]


def test_copy_into_memory_of_any_item_type_counts_bytes() -> None:
    block, target = filled(80), array("d", [0.0] * 10)
    assert block.copy(0, 80, target) == 80
    assert target.tobytes() == pattern(80)


def test_copy_into_what_cannot_take_it_is_an_error_and_writes_nothing() -> None:
    block, target = filled(100), bytearray(99)
    with pytest.raises(ValueError, match="100 bytes do not fit into 99"):
        block.copy(0, 100, target)
    assert target == bytes(99)
    target.append(1)  # nobody holds it
    with pytest.raises(BufferError):
        block.copy(0, 10, b"read-only!")
    with pytest.raises(TypeError):
        block.copy(0, 10, "text")  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        block.copy(0, 10, memoryview(bytearray(20))[::2])
    assert block.exports == 0


def test_copy_of_a_block_that_was_given_back_while_it_is_seen_has_its_bytes() -> None:
    tally = Tally()
    block = made(tally, 100, 4096)
    with block.view(0, 100, readonly=False) as view:
        view[:] = pattern(100)
        assert tally.retire(block) is None
        target = bytearray(100)
        block.copy(0, 100, target)
        assert target == pattern(100)
    with pytest.raises(BufferError, match="given back"):
        block.copy(0, 10, target)


def test_block_is_exported_and_other_threads_run_during_a_long_copy() -> None:
    block, target = Block(64 * MIB), bytearray(64 * MIB)
    seen = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal seen
        while not over.is_set():
            seen = max(seen, block.exports)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(200):  # a copy is over before the watcher looks, now and then
            block.copy(0, 64 * MIB, target)
            if seen:
                break
    finally:
        over.set()
        watcher.join()
    assert (seen, block.exports) == (1, 0)


# ---- tally, pages, and the end of a block --------------------------------------------------------


def made(tally: Tally, size: int, capacity: int) -> Block:
    block = tally.make(size, capacity, sys.maxsize, sys.maxsize)
    assert block is not None
    return block


def test_tally_counts_capacities_of_what_exists() -> None:
    tally = Tally()
    one, two = made(tally, 100, 1024), made(tally, 50, 2 * MIB)
    assert (tally.used, tally.free) == (1024 + 2 * MIB, 0)
    pages = tally.retire(one)
    assert pages is not None
    assert (pages.capacity, tally.used, tally.free) == (1024, 2 * MIB, 1024)
    del pages, two
    assert (tally.used, tally.free) == (0, 0)


def test_nothing_is_made_beyond_either_limit() -> None:
    tally = Tally()
    block = tally.make(100, 100, 100, 100)
    assert block is not None
    assert tally.make(1, 1, 100, sys.maxsize) is None
    pages = tally.retire(block)
    assert pages is not None
    assert tally.make(1, 1, 100, 100) is None, "free memory exists, too"
    assert tally.reuse(pages, 10, 99) is None
    again = tally.reuse(pages, 10, 100)
    assert again is not None
    assert (again.size, tally.used, tally.free) == (10, 100, 0)


def test_nothing_new_is_made_of_a_block_that_was_given_back() -> None:
    tally = Tally()
    for block in (made(tally, 10, 10), made(tally, 10, 10)):
        held = block.view(0, 5) if tally.used == 10 else None
        tally.retire(block)
        assert block.is_given_back
        with pytest.raises(BufferError, match="given back"):
            block.view(0, 10)
        del held
        with pytest.raises(BufferError, match="given back"):
            block.copy(0, 10, bytearray(10))


def test_pages_are_one_blocks_at_a_time() -> None:
    tally, other = Tally(), Tally()
    block = made(tally, 10, 10)
    assert other.retire(block) is None
    pages = tally.retire(block)
    assert pages is not None
    assert tally.retire(block) is None
    with pytest.raises(ValueError, match="not free here"):
        other.reuse(pages, 10, sys.maxsize)
    assert tally.reuse(pages, 10, sys.maxsize) is not None
    with pytest.raises(ValueError, match="not free here"):
        tally.reuse(Pages(10, tally), 10, sys.maxsize)


def test_block_is_not_larger_than_its_pages() -> None:
    with pytest.raises(ValueError, match="between 1 and 10"):
        Block(11, Pages(10, Tally()))


def test_sizeof_is_that_of_the_memory() -> None:
    assert 5 * MIB < sys.getsizeof(Block(5 * MIB)) < 5 * MIB + 1024


@pytest.mark.skipif(not STATM.exists(), reason="only where /proc/self/statm is")
def test_memory_goes_back_to_the_system_at_once() -> None:
    piece = bytes(MIB)  # no more than that is anybody else's
    block = Block(64 * MIB)
    before = resident()
    with block.view(0, 64 * MIB, readonly=False) as view:
        for start in range(0, 64 * MIB, MIB):
            view[start : start + MIB] = piece
    assert resident() - before > 60 * MIB
    del block, view
    assert resident() - before < 4 * MIB
