"""The engine against plain bytes: programs of any calls, over stores that fail in every way.

Parts are so small here that a program crosses hundreds of their boundaries.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from misbehaving import Behaviour, Broken, OneBlob, OneBlobOpened, Stream, honest, unreliable
from resuming import LazyBlob, quick
from together import switch_interval, together, wait_until

from blobread import BlobReader
from blobread.transfer import attempts, cursors, links, pinned, resume, window
from blobread.transfer.budget import BUDGET
from blobread.transfer.engine import Engine
from blobread.transfer.tokens import TokenBucket

SEEDS = int(os.environ.get("BLOBREAD_TEST_SEEDS", "8"))
DATA = random.Random(8).randbytes(300_000)
PART = 4096


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(made, "part_size", lambda wanted, connections=None: PART)
    monkeypatch.setattr(type(made), "hole", 1000)
    monkeypatch.setattr(links, "of", lambda origin: made)
    for module, name, value in [
        (window, "SMALLEST_PART", PART),
        (cursors, "SMALLEST_PART", PART),
        (window, "_FIRST_REACH", 4 * PART),
        (window, "_MUCH", 2 * PART),
        (pinned, "_BLOCK", 512),
        (pinned, "_LARGEST_BLOCK", 2 * PART),
        (pinned, "_LENT", PART),
        (pinned, "_WHOLE", PART),
        (pinned, "_PARALLEL", 2 * PART),
        (cursors, "_KEPT", PART),
    ]:
        assert hasattr(module, name)
        monkeypatch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def endless_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = TokenBucket()
    monkeypatch.setattr(bucket, "take", lambda: True)
    monkeypatch.setattr(attempts, "bucket", bucket)
    monkeypatch.setattr(resume, "bucket", bucket)


@pytest.fixture(autouse=True)
def all_is_given_back() -> Iterator[None]:
    before = BUDGET.used
    yield

    def holds() -> bool:
        BUDGET.trim()
        return BUDGET.used <= before

    wait_until(holds)


class LateBlob(LazyBlob):
    """One whose streams may write after they were closed."""

    def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
        stream = super().make_stream(data, offset, length)
        stream.interruptible = False  # type: ignore[attr-defined]
        return stream


KINDS: list[Callable[[bytes, Behaviour], OneBlob]] = [OneBlob, OneBlobOpened, LazyBlob, LateBlob]


def failing(seed: int) -> Behaviour:
    """Short, and at times an error or an early end; never a lie, which is final."""
    choose = random.Random(seed)
    lock = threading.Lock()

    def behave(stream: Stream, buffer: memoryview) -> Any:
        with lock:
            what, most = choose.random(), choose.choice([1, PART - 1, PART, 9000, 1 << 20])
        if what < 0.01:
            raise Broken("before a byte")
        if what < 0.02:
            stream.fill(buffer, most)
            raise Broken("with bytes written already")
        if what < 0.03:
            return 0
        return stream.fill(buffer, most)

    return behave


def step(choose: random.Random, f: BlobReader, at: int) -> int:
    """One call, checked; gives where the cursor is then."""
    size = choose.choice([0, 1, 50, 700, PART, PART + 1, 30_000, 100_000])
    offset = choose.randrange(len(DATA) + 10)
    match choose.randrange(10):
        case 0:
            assert f.seek(offset) == offset
            return offset
        case 1:
            near = max(0, at + choose.randrange(-3000, 3000))
            assert f.seek(near) == near
            return near
        case 2:
            assert f.read_at(size, offset) == DATA[offset : offset + size]
        case 3:
            memory = bytearray(size)
            count = f.readinto_at(memory, offset)
            assert memory[:count] == DATA[offset : offset + size]
        case 4:
            starts = [choose.randrange(len(DATA) - 900) for _ in range(choose.randrange(1, 40))]
            buffers = [bytearray(choose.randrange(900)) for _ in starts]
            f.readinto_ranges(starts, buffers)
            for start, buffer in zip(starts, buffers, strict=True):
                assert buffer == DATA[start : start + len(buffer)]
        case 5:
            starts = [choose.randrange(len(DATA) - PART) for _ in range(5)]
            f.prefetch(starts, [choose.randrange(PART) for _ in starts])
        case 6:
            memory = bytearray(size)
            count = f.readinto(memory)
            assert memory[:count] == DATA[at : at + size]
            return at + count
        case 7:
            line = f.readline()
            assert line == DATA[at:].partition(b"\n")[0] + b"\n" * line.endswith(b"\n")
            return at + len(line)
        case _:
            got = f.read(size)
            assert got == DATA[at : at + size]
            return at + len(got)
    return at


OPTIONS: list[dict[str, Any]] = [
    {},
    {"parallel": 1},
    {"parallel": 2},
    {"buffer_size": 500},
    {"buffer_size": 20_000},
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_programs_give_the_bytes_of_the_blob_whatever_fails_on_the_way(
    kind: Callable[[bytes, Behaviour], OneBlob], options: dict[str, Any]
) -> None:
    for seed in range(SEEDS):
        choose = random.Random(seed)
        driver = kind(DATA, failing(seed) if seed % 3 else honest)
        with BlobReader(Engine(driver, retry=quick(max_retries=10_000), **options), "path") as f:
            at = 0
            for _ in range(60):
                at = step(choose, f, at)
                assert f.tell() == at
        wait_until(driver.is_let_go)


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_call_that_fails_leaves_the_position_and_the_next_is_right(
    kind: Callable[[bytes, Behaviour], OneBlob], options: dict[str, Any]
) -> None:
    failed = 0
    for seed in range(SEEDS):
        choose = random.Random(seed)
        driver = kind(DATA, honest)
        with BlobReader(
            Engine(driver, retry=quick(max_retries=choose.randrange(2)), **options), "path"
        ) as f:
            driver.behave = unreliable(seed, 0.05)
            at = 0
            for _ in range(40):
                before = f.tell()
                try:
                    at = step(choose, f, at)
                except OSError:
                    failed += 1
                    at = f.tell()
                    assert at >= before  # a seek may have gone before
                else:
                    assert f.tell() == at
        wait_until(driver.is_let_go)
    assert failed


def test_part_that_another_thread_begins_where_a_block_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block_at = pinned.PinnedBlob._block_at

    def after_another(self: pinned.PinnedBlob, offset: int, *more: Any) -> tuple[int, int]:
        self.prefetch([offset], [100])
        return block_at(self, offset, *more)

    monkeypatch.setattr(pinned.PinnedBlob, "_block_at", after_another)
    with BlobReader(Engine(OneBlob(DATA)), "path") as f:
        for at in (5, 100_000, 200_001):
            f.seek(at)
            assert f.read(10) == DATA[at : at + 10]
            assert f.read(500) == DATA[at + 10 : at + 510]


@pytest.mark.parametrize("parallel", ["auto", 1])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_threads_at_one_reader_get_the_bytes_of_the_blob(
    kind: Callable[[bytes, Behaviour], OneBlob], parallel: Any
) -> None:
    for seed in range(max(1, SEEDS // 3)):
        driver = kind(DATA, failing(seed))
        engine = Engine(driver, retry=quick(max_retries=10_000), parallel=parallel)
        with BlobReader(engine, "path") as f, switch_interval(1e-5):

            def positional(seed: int, f: BlobReader = f) -> None:
                choose = random.Random(seed)
                at = choose.randrange(len(DATA))
                for _ in range(60):
                    if choose.random() < 0.1:
                        at = choose.randrange(len(DATA))
                    size = choose.choice([1, 700, PART, 20_000])
                    got = f.read_at(size, at)
                    assert got == DATA[at : at + size]
                    at += len(got)

            def sequential(f: BlobReader = f) -> None:
                got = bytearray()
                while piece := f.read(1000):
                    got += piece
                assert got == DATA

            together(sequential, *(lambda n=n: positional(n) for n in range(8)))
        wait_until(driver.is_let_go)
