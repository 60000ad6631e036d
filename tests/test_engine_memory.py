"""Memory of the engine: bounded over all readers, given back when idle, and the caller's own."""

import random
import signal
import sys
import threading
import time
from typing import Any

import pytest
from misbehaving import OneBlob, OneBlobOpened, Stream
from resuming import LazyBlob
from together import Call, together, wait_until

from blobread import BlobReader
from blobread.transfer import budget, engine, links, workers
from blobread.transfer.budget import BUDGET
from blobread.transfer.engine import Engine

MIB = 1 << 20
DATA = random.Random(5).randbytes(8 * MIB)


@pytest.fixture(autouse=True)
def frozen_link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that nothing is known of, and that learns nothing: 32 connections, parts of 1 MiB."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


@pytest.fixture(autouse=True)
def all_is_given_back() -> Any:
    before = BUDGET.used
    yield

    def holds() -> bool:
        BUDGET.trim()
        return BUDGET.used <= before

    wait_until(holds)


def opened(driver: OneBlob, **options: Any) -> BlobReader:
    return BlobReader(Engine(driver, **options), "path")


@pytest.mark.parametrize("kind", [OneBlob, OneBlobOpened, LazyBlob])
def test_a_thousand_readers_that_read_a_little_stay_under_64_mib(kind: type[OneBlob]) -> None:
    driver = kind(DATA)
    readers = [opened(driver) for _ in range(1000)]
    for n, f in enumerate(readers):
        f.seek(n * 1000)
        assert f.read(100) == DATA[n * 1000 : n * 1000 + 100]
    assert BUDGET.used < 64 * MIB
    for f in readers:
        f.close()


def test_read_ahead_of_many_readers_stays_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = BUDGET.used + 6 * MIB
    monkeypatch.setattr(BUDGET, "_whole", limit)
    monkeypatch.setattr(BUDGET, "_parts", 1)
    most = [0]

    def watch(stream: Stream, buffer: memoryview) -> int:
        most[0] = max(most[0], BUDGET.used)
        return stream.fill(buffer)

    def read() -> None:
        with opened(OneBlob(DATA, watch)) as f:
            for at in range(0, len(DATA), 100_000):
                assert f.read(100_000) == DATA[at : at + 100_000]

    together(*[read] * 6)
    assert MIB < most[0] <= limit + 6 * budget.LEAST


def test_cursors_that_are_idle_give_their_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(BUDGET, "_clock", lambda: now[0])
    BUDGET.trim(0)
    before = BUDGET.used
    driver = OneBlob(DATA)
    with opened(driver) as f:
        for _ in range(20):
            f.read(64 << 10)
        workers.PARTS.dismiss(60)
        now[0] += 4
        assert engine._drop_idle(), "somebody has to look again"
        assert BUDGET.used > before
        now[0] += 2
        assert engine._drop_idle(), "what is free waits for its next use"
        assert BUDGET.used == before
        now[0] += 10
        assert not engine._drop_idle()
        assert BUDGET.free == 0
        assert f.read(1000) == DATA[20 * 65536 :][:1000]


def test_last_worker_stays_as_long_as_there_is_something_to_look_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.01)
    pool = workers.Workers("test")
    asked = threading.Semaphore(0)
    answers = [True, True, True, False]

    def chore() -> bool:
        asked.release()
        return answers.pop(0)

    pool.chores.append(chore)
    done = threading.Event()
    pool.run_soon(done.set)
    assert done.wait(60)
    for _ in range(4):
        assert asked.acquire(timeout=60)
    wait_until(lambda: not pool._workers)
    assert not answers


def test_a_skip_over_less_than_a_request_costs_is_read_through() -> None:
    driver = OneBlob(DATA)
    with opened(driver, parallel=1) as f:
        at = 0
        while at < 4 * MIB:
            assert f.read(50_000) == DATA[at : at + 50_000]
            at = f.seek(at + 60_000)
        assert len(driver.asked) < 20


class Late(Stream):
    """A stream that close() does not end: it writes when it is let, whatever has become of it."""

    interruptible = False
    let = threading.Event()
    inside = threading.Semaphore(0)
    out = threading.Semaphore(0)

    def readinto(self, buffer: memoryview, /) -> Any:
        self.inside.release()
        assert self.let.wait(60)
        buffer[:] = bytes(len(buffer))
        self.out.release()
        return len(buffer)


class Closable(Stream):
    """A stream that writes until it is closed, all the time."""

    inside = threading.Semaphore(0)

    def readinto(self, buffer: memoryview, /) -> Any:
        self.inside.release()
        byte = 0
        while not self.closed:
            byte = (byte + 1) % 256
            buffer[:] = bytes([byte]) * len(buffer)
        raise ValueError("I/O operation on closed stream")


on_posix = pytest.mark.skipif(sys.platform == "win32", reason="only where POSIX signals are")


@on_posix
@pytest.mark.parametrize("late", [False, True], ids=["closable", "late"])
@pytest.mark.parametrize("how", ["readinto", "ranges"])
def test_after_ctrl_c_nothing_writes_into_memory_of_the_caller(how: str, late: bool) -> None:
    class Slow(OneBlob):
        def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
            return (Late if late else Closable)(data, offset, length, self.behave)

    Late.let.clear()
    inside = (Late if late else Closable).inside
    driver = Slow(DATA)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        for _ in range(8):
            assert inside.acquire(timeout=60)
        signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    out = bytearray(len(DATA))
    with opened(driver) as f:
        interrupter = Call(interrupt)
        try:
            if how == "readinto":
                f.readinto(out)
            else:
                views = [memoryview(out)[n * MIB : n * MIB + 1000] for n in range(8)]
                f.readinto_ranges([n * MIB for n in range(8)], views)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        finally:
            signal.signal(signal.SIGINT, before)
        pattern = out[:] = b"mine" * (len(out) // 4)
        assert interrupted
        if how == "readinto":
            out.append(0)  # BufferError where somebody still has it
            del out[-1]
        interrupter.outcome()
        Late.let.set()
        if late:
            for _ in range(8):
                assert Late.out.acquire(timeout=60)
        workers.PARTS.dismiss(60)
        assert out == pattern
        driver.make_stream = lambda data, offset, length: Stream(  # type: ignore[method-assign]
            data, offset, length, driver.behave
        )
        assert f.read(100) == DATA[:100]
    assert driver.left_open == 0
