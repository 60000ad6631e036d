"""The engine under a reader: every byte as a file has it, in parallel, ahead, and within bounds."""

import io
import pickle
import random
import threading
from typing import Any

import pytest
from misbehaving import Broken, OneBlob, OneBlobOpened, Stream, at_most, failing_at
from together import Call, together, wait_until

from blobread import BlobInfo, BlobReader
from blobread.transfer import links
from blobread.transfer.budget import BUDGET
from blobread.transfer.engine import Engine

DATA = random.Random(3).randbytes(6 << 20)
MIB = 1 << 20


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that nothing is known of, and that learns nothing: 32 connections, parts of 1 MiB."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


def opened(driver: OneBlob, **options: Any) -> BlobReader:
    return BlobReader(Engine(driver, **options), "path")


def program(f: Any, seed: int, size: int) -> list[object]:
    """What a file answers to many calls."""
    choose = random.Random(seed)
    seen: list[object] = []
    for _ in range(120):
        count = choose.choice([0, 1, 100, 5000, 70_000, 200_000, 1_500_000])
        match choose.randrange(7):
            case 0 | 1:
                seen.append(f.read(count))
            case 2:
                buffer = bytearray(count)
                seen.append((f.readinto(buffer), bytes(buffer)))
            case 3:
                seen.append(f.readline())
            case 4:
                seen.append(f.seek(choose.randrange(size + 10)))
            case 5:
                seen.append(f.seek(choose.randrange(200_000) - min(100_000, f.tell()), io.SEEK_CUR))
            case 6:
                for _ in range(choose.randrange(20)):
                    seen.append(f.read(count // 3))
    return seen


@pytest.mark.parametrize("kind", [OneBlob, OneBlobOpened])
@pytest.mark.parametrize(
    "options",
    [{}, {"parallel": 1}, {"parallel": 3}, {"buffer_size": 1}, {"buffer_size": 300_000}],
    ids=repr,
)
@pytest.mark.parametrize("seed", range(4))
def test_reader_over_the_engine_answers_as_bytesio_does(
    kind: type[OneBlob], options: dict[str, Any], seed: int
) -> None:
    data = DATA[: random.Random(seed).choice([0, 1, 40_000, 300_000, 3 * MIB, len(DATA)])]
    driver = kind(data, at_most(100_000 if seed % 2 else 1 << 30))
    with opened(driver, **options) as f:
        assert program(f, seed, len(data)) == program(io.BytesIO(data), seed, len(data))
    wait_until(lambda: driver.left_open == 0)


def test_parts_of_a_large_read_are_fetched_at_the_same_time() -> None:
    meeting = threading.Barrier(6)

    def meet(stream: Stream, buffer: memoryview) -> int:
        if not stream.got:
            meeting.wait(60)
        return stream.fill(buffer)

    with opened(OneBlob(DATA, meet)) as f:
        assert f.read() == DATA


def test_large_read_is_received_in_its_place() -> None:
    driver = OneBlob(DATA)
    before = BUDGET.used
    with opened(driver) as f:
        out = bytearray(len(DATA))
        assert f.readinto(out) == len(DATA)
        assert out == DATA
        assert BUDGET.used == before
    assert sorted(driver.asked) == [(at, MIB) for at in range(0, len(DATA), MIB)]


def test_broken_part_of_a_large_read_is_resumed_where_it_broke() -> None:
    driver = OneBlob(DATA)

    def break_once(stream: Stream, buffer: memoryview) -> int:
        if stream.at == 2 * MIB + 70_000:
            driver.mend()
            raise Broken("in the middle")
        return stream.fill(buffer, 70_000)

    driver.behave = break_once
    with opened(driver) as f:
        assert f.read() == DATA
        assert f.stats.retries == 1
    assert (2 * MIB + 70_000, MIB - 70_000) in driver.asked


def test_failure_of_one_part_ends_the_others_before_the_call_leaves() -> None:
    started = threading.Barrier(6)
    ended: list[int] = []

    class Waiting(Stream):
        def close(self) -> None:
            super().close()
            gone.set()

    gone = threading.Event()

    def behave(stream: Stream, buffer: memoryview) -> int:
        if not stream.got:
            started.wait(60)
        if stream.at == 3 * MIB:
            raise Broken("for good")
        gone.wait(60)
        ended.append(stream.at)
        raise ValueError("I/O operation on closed stream")

    driver = OneBlob(DATA, behave)
    driver.make_stream = lambda data, offset, length: Waiting(  # type: ignore[method-assign]
        data, offset, length, behave
    )
    with opened(driver, retry=0) as f:
        with pytest.raises(Broken):
            f.read()
        assert len(ended) == 5
        assert f.tell() == 0


def test_reads_that_run_on_are_read_ahead_of() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        for at in range(0, 4 * MIB, 256 << 10):
            assert f.read(256 << 10) == DATA[at : at + (256 << 10)]
        # The second read is the last that waits for a request of its own.
        wait_until(lambda: sum(length or 0 for _, length in driver.asked) > 4 * MIB)
        assert f.stats.requests <= 24
        assert f.stats.stalls <= 3


@pytest.mark.parametrize("count", [100, 5000, 64 << 10, 1 << 20])
@pytest.mark.parametrize("kind", [OneBlob, OneBlobOpened])
def test_no_more_is_fetched_than_three_times_what_was_read(kind: type[OneBlob], count: int) -> None:
    driver = kind(DATA)
    with opened(driver) as f:
        read = 0
        while read < len(DATA) // 2:
            read += len(f.read(count))
            asked = sum(length or 0 for _, length in driver.asked)
            assert asked <= 3 * read + (256 << 10)


@pytest.mark.parametrize("count", [100, 64 << 10, 1 << 20])
def test_random_reads_fetch_what_they_ask_for(count: int) -> None:
    driver = OneBlob(DATA)
    choose = random.Random(1)
    with opened(driver) as f:
        for n in range(20):
            at = choose.randrange((len(DATA) - count) // 1000) * 1000
            f.seek(at)
            assert f.read(count) == DATA[at : at + count]
            assert len(driver.asked) <= n + 1
        assert sum(length or 0 for _, length in driver.asked) <= 20 * max(count, 32 << 10)


def test_two_cursors_that_take_turns_are_both_read_ahead_of() -> None:
    driver = OneBlob(DATA)
    size = 64 << 10
    with opened(driver) as f:
        for n in range(30):
            for base in (0, 3 * MIB):
                at = base + n * size
                assert f.read_at(size, at) == DATA[at : at + size]
        assert f.stats.bytes_wasted == 0
    assert len(driver.asked) < 40


def test_reading_elsewhere_ends_what_is_read_ahead() -> None:
    far = threading.Event()
    closed = threading.Event()

    class Hanging(Stream):
        def close(self) -> None:
            super().close()
            far.set()
            closed.set()

    def behave(stream: Stream, buffer: memoryview) -> int:
        if MIB <= stream.at < 4 * MIB:
            far.wait(60)
            raise ValueError("I/O operation on closed stream")
        return stream.fill(buffer)

    driver = OneBlob(DATA, behave)
    driver.make_stream = lambda data, offset, length: (  # type: ignore[method-assign]
        Hanging if offset >= MIB else Stream
    )(data, offset, length, behave)
    with opened(driver) as f:
        for _ in range(8):
            f.read(128 << 10)
        assert any(offset >= MIB for offset, _ in driver.asked)
        f.read_at(10, 5 * MIB)
        f.read_at(10, 5 * MIB + 200_000)
        assert closed.wait(60)


def test_what_was_read_ahead_is_given_back_at_close() -> None:
    driver = OneBlob(DATA)
    BUDGET.trim()
    before = BUDGET.used
    with opened(driver) as f:
        for _ in range(20):
            f.read(64 << 10)
        assert BUDGET.used > before
    wait_until(lambda: driver.left_open == 0)

    def is_given_back() -> bool:
        BUDGET.trim()
        return BUDGET.used == before

    wait_until(is_given_back)


def test_reads_are_right_when_there_is_no_memory_to_read_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BUDGET, "_whole", 1)
    with opened(OneBlob(DATA)) as f:
        assert program(f, 5, len(DATA)) == program(io.BytesIO(DATA), 5, len(DATA))


def test_close_ends_a_large_read_in_another_thread() -> None:
    inside = threading.Semaphore(0)
    gone = threading.Event()

    class Hanging(Stream):
        def close(self) -> None:
            super().close()
            gone.set()

    def behave(stream: Stream, buffer: memoryview) -> int:
        inside.release()
        gone.wait(60)
        raise OSError("closed under me")

    driver = OneBlob(DATA, behave)
    driver.make_stream = lambda data, offset, length: Hanging(  # type: ignore[method-assign]
        data, offset, length, behave
    )
    f = opened(driver)
    call = Call(f.read)
    for _ in range(6):
        assert inside.acquire(timeout=60)
    f.close()
    with pytest.raises(ValueError, match="closed file"):
        call.outcome()
    wait_until(lambda: driver.left_open == 0)


def test_eight_threads_read_one_blob_at_positions() -> None:
    with opened(OneBlob(DATA)) as f:

        def read(seed: int) -> None:
            choose = random.Random(seed)
            for _ in range(30):
                at = choose.randrange(len(DATA))
                count = choose.choice([1, 1000, 100_000, 2 * MIB])
                assert f.read_at(count, at) == DATA[at : at + count]

        together(*(lambda seed=seed: read(seed) for seed in range(8)))


def test_ranges_are_merged_and_received_in_their_places() -> None:
    driver = OneBlob(DATA)
    choose = random.Random(9)
    offsets = [choose.randrange(len(DATA) - 5000) for _ in range(300)]
    buffers = [bytearray(choose.randrange(5000)) for _ in offsets]
    with opened(driver) as f:
        f.readinto_ranges(offsets, buffers)
    for offset, buffer in zip(offsets, buffers, strict=True):
        assert buffer == DATA[offset : offset + len(buffer)]
    assert len(driver.asked) < 100


def test_what_was_prefetched_is_not_asked_for_again() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        f.prefetch([100_000, 4 * MIB], [50_000, 200_000])
        asked = list(driver.asked)
        assert f.read_at(50_000, 100_000) == DATA[100_000:150_000]
        f.seek(4 * MIB)
        assert f.read(200_000) == DATA[4 * MIB : 4 * MIB + 200_000]
        assert len(driver.asked) == 2 >= len(asked)


def test_pickled_reader_leaves_the_read_ahead_of_the_first_alone() -> None:
    with opened(Plain(DATA)) as f:
        for _ in range(10):
            f.read(100_000)
        with pickle.loads(pickle.dumps(f)) as g:
            assert g.read() == DATA[1_000_000:]
        assert f.read() == DATA[1_000_000:]


class Plain(OneBlob):
    """One that pickles without its streams, which belong to this process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Plain, (self.data,)


def test_progress_is_told_on_the_thread_that_reads() -> None:
    told: list[tuple[int, int | None, int]] = []

    def note(done: int, size: int | None) -> None:
        told.append((done, size, threading.get_ident()))

    with opened(OneBlob(DATA), on_progress=note) as f:
        f.read()
    assert told[-1] == (len(DATA), len(DATA), threading.get_ident())
    assert {one[2] for one in told} == {threading.get_ident()}


def test_version_that_changes_between_parts_is_an_error_and_never_mixed() -> None:
    class Swapped(OneBlob):
        def read_stream(
            self, path: str, offset: int = 0, length: int | None = None, *, pin: Any = None
        ) -> Stream:
            stream = super().read_stream(path, offset, length, pin=pin)
            if len(self.asked) > 3:
                from blobread import BlobChangedError

                raise BlobChangedError("replaced", driver="one", path=path)
            return stream

    from blobread import BlobChangedError

    with opened(Swapped(DATA)) as f:
        with pytest.raises(BlobChangedError):
            f.read()
        assert f.tell() == 0


def test_unknown_size_is_read_by_the_stream_itself() -> None:
    class Unsized(OneBlob):
        def open(self, path: str, /) -> tuple[BlobInfo, Stream]:
            return BlobInfo(path, None, "version:1"), self.read_stream(path)

    with opened(Unsized(DATA)) as f:
        assert f.read(100) == DATA[:100]
        assert f.read() == DATA[100:]


@pytest.mark.parametrize("part", range(6))
def test_a_fault_at_the_edge_of_each_part_is_resumed(part: int) -> None:
    edge = part * MIB
    left = [2]

    def behave(stream: Stream, buffer: memoryview) -> int:
        if stream.at == edge and left[0]:
            left[0] -= 1
            raise Broken("at the edge")
        return stream.fill(buffer, edge - stream.at if stream.at < edge else None)

    with opened(OneBlob(DATA, behave)) as f:
        assert f.read() == DATA


def test_failing_at_is_an_error_without_retries() -> None:
    with opened(OneBlob(DATA, failing_at(2 * MIB, Broken("gone"))), retry=False) as f:
        with pytest.raises(Broken):
            f.read()
        assert f.read(1000) == DATA[:1000]


@pytest.mark.parametrize("kind", [OneBlob, OneBlobOpened])
def test_buffer_of_a_byte_does_not_become_requests_of_a_byte(kind: type[OneBlob]) -> None:
    driver = kind(DATA)
    with opened(driver, buffer_size=1) as f:
        assert f.readline() == io.BytesIO(DATA).readline()
        for at in range(40_000, 60_000, 1000):
            f.seek(at)
            assert f.read(1000) == DATA[at : at + 1000]
    assert len(driver.asked) < 12


@pytest.mark.parametrize(
    ("parallel", "longest", "part"), [(2, 2 * MIB, 3 * MIB // 2), (4, MIB, MIB)]
)
def test_parts_are_even_so_that_all_connections_end_together(
    link: Any, monkeypatch: pytest.MonkeyPatch, parallel: int, longest: int, part: int
) -> None:
    monkeypatch.setattr(link, "_longest_part", lambda: longest)
    driver = OneBlob(DATA)
    with opened(driver, parallel=parallel) as f:
        assert f.read() == DATA
    assert sorted(driver.asked) == [(at, part) for at in range(0, len(DATA), part)]


def test_reader_that_has_to_wait_is_read_ahead_of_as_far_as_may_be() -> None:
    driver = OneBlob(DATA)
    with opened(driver) as f:
        f.readinto(bytearray(MIB))
        wait_until(lambda: max(at + (length or 0) for at, length in driver.asked) == 3 * MIB)
