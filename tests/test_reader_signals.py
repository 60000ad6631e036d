"""Ctrl-C ends a read: at once where Python runs, between pieces in a pread; the position stays."""

import contextlib
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from misbehaving import OneBlob, OneBlobOpened, Stream
from together import Call, Gate, switch_interval, wait_until

import blobread
from blobread import BlobReader

DATA = random.Random(7).randbytes(1 << 20)

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="only where POSIX signals are")


@pytest.fixture(autouse=True)
def interrupt_is_keyboard_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(at: int, data: bytes = DATA) -> OneBlobOpened:
    """A store whose stream sends SIGINT, once, when it comes to `at`."""

    def behave(stream: Stream, buffer: memoryview) -> int:
        if stream.at >= at and not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGINT)
        return stream.fill(buffer, 4096)

    sent: list[bool] = []
    return OneBlobOpened(data, behave)


LINE = bytes(600_000)
READS: dict[str, Callable[[BlobReader, bytearray], object]] = {
    "read": lambda f, buffer: f.read(500_000),
    "readinto": lambda f, buffer: f.readinto(buffer),
    "readline": lambda f, buffer: f.readline(),
    "readlines": lambda f, buffer: f.readlines(),
    "read_at": lambda f, buffer: f.read_at(500_000, 0),
    "readinto_at": lambda f, buffer: f.readinto_at(buffer, 0),
}


@pytest.mark.parametrize("at", [0, 4096, 200_000])
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_interrupt_during_a_read_of_streams_leaves_the_position(
    read: Callable[[BlobReader, bytearray], object], at: int
) -> None:
    driver = interrupting(at, LINE)
    buffer = bytearray(500_000)
    with BlobReader(driver, "path") as f:
        with pytest.raises(KeyboardInterrupt):
            read(f, buffer)
        assert f.tell() == 0
        assert f.read() == LINE
    buffer.clear()
    assert driver.left_open == 0


@on_posix
def test_interrupt_ends_a_read_that_waits_in_a_socket() -> None:
    class Driver(OneBlob):
        def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
            stream = super().make_stream(data, offset, length)
            stream.readinto = near.recv_into  # type: ignore[method-assign]
            return stream

    near, far = socket.socketpair()
    driver = Driver(DATA)
    with near, far, BlobReader(driver, "path") as f:
        for count in (100, 200_000):
            with pytest.raises(KeyboardInterrupt), alarm_that_interrupts():
                f.read(count)
            assert f.tell() == 0
            assert driver.left_open == 0
        far.sendall(b"later")
        assert f.read(5) == b"later"


@contextlib.contextmanager
def alarm_that_interrupts() -> Iterator[None]:
    """KeyboardInterrupt, and again later: the first may come before the read waits."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@on_posix
def test_interrupt_during_a_long_pread_comes_out_before_the_read_has_ended(tmp_path: Path) -> None:
    size = 400 << 20  # several pieces of a pread
    with (tmp_path / "blob").open("wb") as out:
        out.truncate(size)
    buffer = bytearray(size)
    with blobread.open(tmp_path / "blob") as f:
        f.seek(0)
        # A thread sends the signal when the pread has begun: then this one holds no GIL.
        main = threading.main_thread().ident
        assert main is not None
        begins = threading.Event()

        def send() -> None:
            begins.wait()
            signal.pthread_kill(main, signal.SIGINT)

        sender = Call(send)
        with pytest.raises(KeyboardInterrupt):
            begins.set()
            f.readinto(buffer)
            raise AssertionError("the read came to its end")
        sender.outcome()
        assert f.tell() == 0
        assert f.stats.bytes_fetched < size
        assert f.read(100) == bytes(100)
    buffer.clear()


@on_posix
def test_handler_that_does_not_raise_interrupts_nothing(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        with blobread.open(tmp_path / "blob") as f:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            while len(seen) < 50:
                f.seek(0)
                assert f.read() == DATA
                assert f.read_at(100_000, 5) == DATA[5:100_005]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@on_posix
def test_handler_that_reads_from_the_busy_reader_gets_a_runtime_error() -> None:
    def handler(number: int, frame: object) -> None:
        with pytest.raises(RuntimeError, match="reentrant"):
            f.read(1)
        seen.append(f.read_at(5, 100))

    seen: list[bytes] = []
    signal.signal(signal.SIGINT, handler)
    with BlobReader(interrupting(4096), "path") as f:
        assert f.read(200_000) == DATA[:200_000]
    assert seen == [DATA[100:105]]


@on_posix
def test_waiter_that_is_interrupted_leaves_its_turn_to_the_next() -> None:
    gate = Gate()
    main = threading.main_thread().ident
    assert main is not None
    others: list[Call] = []

    def interrupt_main() -> None:
        others.extend(Call(lambda: f.read(100_000)) for _ in range(3))
        # The first signal may come before the main thread waits for the cursor.
        while not out.wait(0.05):
            signal.pthread_kill(main, signal.SIGUSR1)

    def interrupt(number: int, frame: object) -> None:
        if not out.is_set():
            out.set()
            raise KeyboardInterrupt

    out = threading.Event()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with BlobReader(OneBlob(DATA, gate.before()), "path") as f:
            first = Call(lambda: f.read(100_000))
            gate.wait_until_reached()
            sender = Call(interrupt_main)
            with pytest.raises(KeyboardInterrupt):
                f.read(100_000)
            sender.outcome()
            gate.open()
            parts = {first.outcome(), *(other.outcome() for other in others)}
            assert parts == {DATA[n * 100_000 :][:100_000] for n in range(4)}
            assert f.tell() == 400_000
    finally:
        signal.signal(signal.SIGUSR1, before)


def sleeps(thread: threading.Thread) -> bool:
    """Whether it waits for something; that is not the GIL, which we give up in between."""
    states = set()
    for _ in range(3):
        time.sleep(0.001)
        stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
        states.add(stat.rpartition(")")[2].split()[0])
    return states == {"S"}


@pytest.mark.skipif(sys.platform != "linux", reason="only where /proc tells who sleeps")
def test_waiter_that_is_interrupted_when_it_has_the_turn_already_hands_it_on() -> None:
    main = threading.main_thread()
    others: list[Call] = []

    def behave(stream: Stream, buffer: memoryview) -> int:
        if not others:
            wait_until(lambda: sleeps(main))
            others.append(Call(lambda: f.read(1000)))
            wait_until(lambda: sleeps(others[0]))
            with switch_interval(100.0):
                # The signal wakes the main thread, but the GIL it does not get before this call
                # has ended and has given the turn to it.
                assert main.ident is not None
                signal.pthread_kill(main.ident, signal.SIGINT)
                late = time.monotonic() + 0.02
                while time.monotonic() < late:
                    pass
                return stream.fill(buffer, 1000)
        return stream.fill(buffer, 1000)

    with BlobReader(OneBlob(DATA, behave), "path") as f:
        first = Call(lambda: f.read(1000))
        with pytest.raises(KeyboardInterrupt):
            wait_until(lambda: f.stats.requests)
            f.read(1000)
            wait_until(lambda: False)
        assert first.outcome() == DATA[:1000]
        assert others[0].outcome() == DATA[1000:2000]
