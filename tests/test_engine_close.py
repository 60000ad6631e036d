"""Ends of the engine: closed at any place, by a handler, a finalizer or another thread."""

import gc
import random
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from misbehaving import Broken, OneBlob, OneBlobOpened, Stream, failing_at
from resuming import Hanging, LazyBlob
from test_engine_interrupts import CALLS, DATA, DRIVERS, MIB, OURS, places
from together import Call, together, wait_until

from blobread import BlobError, BlobReader, BlobTimeoutError, Retry
from blobread.transfer import link, links, tokens, workers
from blobread.transfer.budget import BUDGET
from blobread.transfer.engine import Engine


@pytest.fixture(autouse=True)
def frozen_link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that nothing is known of, and that learns nothing: 32 connections, parts of 1 MiB."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


def opened(driver: OneBlob, **options: Any) -> BlobReader:
    return BlobReader(Engine(driver, **options), "path")


def is_given_back(before: int) -> Callable[[], bool]:
    def holds() -> bool:
        BUDGET.trim()
        return BUDGET.used <= before

    return holds


class At:
    """Does something at the n-th place of the engine's code where a handler could come."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.left = at
        self.act = act
        self.where = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(OURS):
            self.left -= 1
            if self.left == 0:
                self.where = f"in {frame.f_code.co_qualname}, line {frame.f_lineno}"
                self.act()


def closed_at(
    at: int, f: BlobReader, call: str, close: Callable[[], object], out: bytearray
) -> None:
    """Run a call, and close the reader at a place of it."""

    def run() -> None:
        sys.setprofile(acting)
        try:
            CALLS[call](f, out)
        except ValueError as error:
            assert "closed file" in str(error), acting.where
        finally:
            sys.setprofile(None)

    acting = At(at, close)
    Call(run).outcome()


@pytest.mark.parametrize("parallel", ["auto", 1])
@pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS.keys())
@pytest.mark.parametrize("call", CALLS)
def test_handler_that_closes_at_any_place_neither_hangs_nor_leaves_anything(
    call: str, make: Callable[[], OneBlob], parallel: Any
) -> None:
    before = BUDGET.used
    choose = random.Random(call)
    count = places(CALLS[call], make(), parallel=parallel)
    for at in sorted(choose.sample(range(1, count + 1), min(count, 12))):
        driver, out = make(), bytearray(len(DATA))
        f = opened(driver, parallel=parallel)
        closed_at(at, f, call, f.close, out)
        f.close()
        pattern = out[:] = bytes([7]) * len(out)
        wait_until(driver.is_let_go)
        assert out == pattern
        out.append(0)  # BufferError where somebody still has it
    wait_until(is_given_back(before))


@pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS.keys())
@pytest.mark.parametrize("call", CALLS)
def test_close_by_another_thread_at_any_place_leaves_nothing(
    call: str, make: Callable[[], OneBlob]
) -> None:
    before = BUDGET.used
    choose = random.Random(call)
    count = places(CALLS[call], make())
    for at in sorted(choose.sample(range(1, count + 1), min(count, 12))):
        driver, out = make(), bytearray(len(DATA))
        f = opened(driver)
        closers: list[Call] = []

        def close(f: BlobReader = f, closers: list[Call] = closers) -> None:
            closers.append(Call(f.close))
            closers[0].join(0.01)  # where we hold what it needs, it goes on later

        closed_at(at, f, call, close, out)
        for closer in closers:
            closer.outcome()
        f.close()
        wait_until(driver.is_let_go)
        out.append(0)
    wait_until(is_given_back(before))


class HangingBlob(OneBlob):
    """One whose streams behind the first 1 MiB hang until they are closed."""

    def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
        kind = Hanging if offset >= MIB else Stream
        return kind(data, offset, length, self.behave)

    @property
    def hanging(self) -> int:
        streams = [stream for stream in self.streams if isinstance(stream, Hanging)]
        return sum(stream.reached.is_set() for stream in streams)


def read_until_it_hangs(f: BlobReader, driver: HangingBlob) -> None:
    for _ in range(7):
        f.read(128 << 10)
    wait_until(lambda: driver.hanging)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_reader_that_is_collected_unclosed_ends_what_it_reads_ahead() -> None:
    before = BUDGET.used
    driver = HangingBlob(DATA)
    f = opened(driver)
    gone = weakref.ref(f)
    read_until_it_hangs(f, driver)
    del f
    assert gone() is None, "somebody keeps the reader alive"
    wait_until(lambda: driver.left_open == 0)
    wait_until(is_given_back(before))


LOCKS: dict[str, Callable[[], Any]] = {
    "link": lambda: link._lock,
    "links": lambda: links._lock,
    "tokens": lambda: tokens.bucket._lock,
    "parts": lambda: workers.PARTS._lock,
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_finalizer_may_come_while_its_thread_holds_any_lock_of_the_process(
    lock: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect() -> None:
        f: Any = opened(driver)
        read_until_it_hangs(f, driver)
        g: Any = opened(idle, parallel=1)
        while not idle.left_open:  # a stream that waits for the next read
            assert g.read(20_000)
        cycle: list[Any] = [f, g]
        cycle.append(cycle)
        del f, g, cycle
        with lock():
            gc.collect()

    monkeypatch.setattr(links, "of", links.Link)  # one that takes its lock
    driver, idle = HangingBlob(DATA), OneBlob(DATA)
    Call(collect).outcome()
    wait_until(lambda: driver.left_open == idle.left_open == 0)


def test_locks_of_a_reader_are_reentrant_for_handlers() -> None:
    with opened(OneBlob(DATA)) as f:
        f.read_at(10, 0)
        engine: Any = f.driver
        held = [engine._blob._changes.lock, engine._counters._lock, engine._blob._source._lock]
    for lock in held:
        with lock, lock:
            pass


@pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS.keys())
@pytest.mark.parametrize("size", [100, MIB, 4 * MIB - 2])
def test_memory_of_the_caller_is_free_although_the_error_lives(
    make: Callable[[], OneBlob], size: int
) -> None:
    driver = make()
    driver.behave = failing_at(0, Broken("gone"))
    memory = bytearray(size)
    with opened(driver, retry=0) as f:
        with pytest.raises(Broken) as caught:
            f.readinto_at(memory, 0)
        memory.append(0)  # BufferError where a frame of the traceback has a view of it
        with pytest.raises(Broken):
            f.readinto_ranges([0, MIB], [memory, bytearray(10)])
        memory.append(0)
    assert caught.value.__traceback__ is not None


def test_errors_of_a_large_read_need_no_collector() -> None:
    class Blob(OneBlob):
        pass

    def read() -> weakref.ref[Blob]:
        driver = Blob(DATA, failing_at(0, Broken))  # each stream raises one of its own
        with opened(driver, retry=0) as f, suppress(Broken):
            f.readinto_at(bytearray(len(DATA)), 0)
        return weakref.ref(driver)

    gc.disable()
    try:
        gone = read()
        # A worker may still be on its way out.
        workers.PARTS.dismiss(60)
        assert gone() is None
    finally:
        gc.enable()


def test_cause_of_a_drivers_error_stays() -> None:
    class Blob(LazyBlob):
        def read_stream(self, *args: Any, **kwargs: Any) -> Stream:
            raise BlobError("refused") from Broken("what is behind it")

    with opened(Blob(DATA), retry=0) as f, pytest.raises(BlobError, match="refused") as caught:
        f.read_at(100, 5)
    assert isinstance(caught.value.__cause__, Broken)


@pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS.keys())
@pytest.mark.parametrize("size", [100, len(DATA)])
def test_close_ends_the_pause_before_a_retry(make: Callable[[], OneBlob], size: int) -> None:
    failed = threading.Event()

    def behave(stream: Stream, buffer: memoryview) -> int:
        failed.set()
        raise Broken("for a while")

    driver = make()
    driver.behave = behave
    f = opened(driver, retry=Retry(init_backoff=1000, max_backoff=1000, retry_timeout=10_000))
    call = Call(lambda: f.read_at(size, 0))
    assert failed.wait(60)
    f.close()
    with pytest.raises(ValueError, match="closed file"):
        call.outcome()
    assert driver.left_open == 0


@pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS.keys())
def test_first_reads_of_two_threads_at_once_do_not_stop_each_other(
    make: Callable[[], OneBlob], monkeypatch: pytest.MonkeyPatch, frozen_link: Any
) -> None:
    meeting = threading.Barrier(2)

    def of(origin: str) -> Any:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.2)  # nobody else comes by, where one waits for the other
        return frozen_link

    monkeypatch.setattr(links, "of", of)
    with opened(make()) as f:
        engine: Any = f.driver
        seen = together(*[lambda: engine._pinned("path", f.info)] * 2)
        assert seen[0] is seen[1]
        assert f.read_at(5000, 100_000) == DATA[100_000:105_000]


@pytest.mark.parametrize("size", [100, len(DATA)], ids=["one part", "many parts"])
def test_deadline_ends_attempts_that_hang(size: int) -> None:
    """Nothing else would: they hang until they are closed."""

    class Blob(OneBlob):
        def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
            if offset in failed:
                return Hanging(data, offset, length, self.behave)
            failed.add(offset)
            return Stream(data, offset, length, failing_at(0, Broken))

    failed: set[int] = set()
    driver = Blob(DATA)
    policy = Retry(retry_timeout=0.2, max_retries=100, init_backoff=0, max_backoff=0)
    with (
        opened(driver, retry=policy) as f,
        pytest.raises(BlobTimeoutError, match="no progress within"),
    ):
        f.read_at(size, 0)
    assert driver.left_open == 0


def test_hang_of_all_workers_holds_up_no_other_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_WORKERS", 3)
    stuck = HangingBlob(DATA)
    with opened(stuck, retry=0) as first:
        call = Call(first.read)
        wait_until(lambda: stuck.hanging == 3 or len(stuck.streams) > 3)
        with opened(OneBlob(DATA)) as second:
            for at in range(0, MIB, 100_000):
                assert second.read(100_000) == DATA[at : at + 100_000]
            assert second.read_at(len(DATA), 0) == DATA
        first.close()
        with pytest.raises(ValueError, match="closed file"):
            call.outcome()


def test_progress_that_raises_ends_the_read_and_leaves_the_reader() -> None:
    class Enough(Exception):
        pass

    def progress(done: int, size: int | None) -> None:
        if raising[0]:
            raise Enough

    reads: list[Callable[[BlobReader], object]] = [
        lambda f: f.read(),
        lambda f: f.read(100),
        lambda f: f.read_at(100, 5),
        lambda f: f.readinto_ranges([0, MIB], [bytearray(10), bytearray(10)]),
    ]
    for make in DRIVERS.values():
        for read in reads:
            raising = [True]
            driver = make()
            with opened(driver, on_progress=progress) as f:
                with pytest.raises(Enough):
                    read(f)
                raising[0] = False
                assert f.tell() == 0
                assert f.read() == DATA
            wait_until(driver.is_let_go)


@pytest.mark.parametrize("read", ["read1", "readinto1"])
def test_read_of_what_is_there_does_not_wait_for_the_rest(read: str) -> None:
    driver = HangingBlob(DATA)
    with opened(driver) as f:
        got = 0
        while got < MIB:
            memory = bytearray(len(DATA))
            there = f.read1(len(DATA)) if read == "read1" else bytes(memory[: f.readinto1(memory)])
            assert there == DATA[got : got + len(there)]
            got += len(there)


def test_seek_storm_leaks_nothing() -> None:
    before = BUDGET.used
    driver = OneBlobOpened(DATA)
    choose = random.Random(3)
    with opened(driver) as f:
        for _ in range(300):
            at = choose.randrange(len(DATA))
            f.seek(at)
            for _ in range(choose.randrange(4)):
                got = f.read(choose.choice([10, 5000, 200_000]))
                assert got == DATA[at : at + len(got)]
                at += len(got)
        wait_until(lambda: driver.left_open < 8)
        assert len(workers.PARTS._workers) <= 32 + 8
    wait_until(lambda: driver.left_open == 0)
    wait_until(is_given_back(before))
