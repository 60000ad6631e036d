"""Ctrl-C, and signal handlers, in the midst of what the engine does: nothing writes afterwards."""

import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, Self

import pytest
from misbehaving import Broken, OneBlob, OneBlobOpened, Stream, failing_at
from resuming import LazyBlob
from together import wait_until

from blobread import BlobReader, transfer
from blobread.transfer import links
from blobread.transfer.budget import BUDGET
from blobread.transfer.engine import Engine
from blobread.transfer.fill import Fill

MIB = 1 << 20
DATA = random.Random(4).randbytes(4 * MIB)
OURS = str(transfer.__path__[0])


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that nothing is known of, and that learns nothing: 32 connections, parts of 1 MiB."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


@pytest.fixture(autouse=True)
def interrupt_is_keyboard_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted(BaseException):
    """What a signal handler raises."""


class Interrupter:
    """Raises where a signal handler could, at the n-th such place in the engine's code.

    A handler runs when a Python function begins, and after a call of C code. Python forgets a
    profiler that raises: to interrupt again, it has to be set again.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.where: CodeType | None = None

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(OURS):
            return
        self.left -= 1
        if self.left == 0:
            self.where = frame.f_code
            raise Interrupted(f"in {frame.f_code.co_qualname}, line {frame.f_lineno}")

    def __enter__(self) -> Self:
        sys.setprofile(self)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)


def large_read(f: BlobReader, out: bytearray) -> None:
    f.readinto_at(out, 0)


def read_ahead(f: BlobReader, out: bytearray) -> None:
    view = memoryview(out)
    for at in range(0, len(DATA) // 2, 128 << 10):
        f.readinto(view[at : at + (128 << 10)])
    f.readinto(view[len(DATA) // 2 :])


def small_reads(f: BlobReader, out: bytearray) -> None:
    for at in range(0, 400_000, 5000):
        out[at : at + 5000] = f.read(5000)
    for at in range(3 * MIB, 0, -500_000):
        f.seek(at)
        out[at : at + 100] = f.read(100)


def ranges(f: BlobReader, out: bytearray) -> None:
    offsets = [at for base in range(4) for at in range(base * MIB, base * MIB + 60_000, 7000)]
    f.prefetch(offsets[:4], [5000] * 4)
    f.readinto_ranges(offsets, [memoryview(out)[at : at + 5000] for at in offsets])


CALLS: dict[str, Callable[[BlobReader, bytearray], None]] = {
    "large read": large_read,
    "read ahead": read_ahead,
    "small reads": small_reads,
    "ranges": ranges,
}
DRIVERS: dict[str, Callable[[], OneBlob]] = {
    "streams": lambda: OneBlob(DATA),
    "opened": lambda: OneBlobOpened(DATA),
    "parts": lambda: LazyBlob(DATA),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Interrupts the end of a parallel read too: at the places from its start on that it is given.

    Each try is interrupted later than the one before.
    """
    leave = Fill.leave
    places: list[int] = []

    def interrupted(self: Fill) -> None:
        if places:
            sys.setprofile(Interrupter(places.pop(0)))
        leave(self)

    monkeypatch.setattr(Fill, "leave", interrupted)
    return places


class Writing(Stream):
    """A stream that writes until it is closed, all the time."""

    def readinto(self, buffer: memoryview, /) -> Any:
        byte = 0
        while not self.closed:
            byte = (byte + 1) % 256
            buffer[:] = bytes([byte]) * len(buffer)
        raise ValueError("I/O operation on closed stream")


class HalfBroken(OneBlob):
    """One of which the first part breaks, and the others never come to an end."""

    def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
        if offset:
            return Writing(data, offset, length, self.behave)
        return Stream(data, offset, length, failing_at(0, Broken))


def test_interrupts_while_an_error_is_on_its_way_leave_no_writer(impatient: list[int]) -> None:
    def run(f: BlobReader, out: bytearray) -> None:
        with suppress(Broken):
            f.readinto_at(out, 0)

    for at in range(1, places(run, HalfBroken(DATA), retry=0) + 1, 2):
        driver, out = HalfBroken(DATA), bytearray(len(DATA))
        impatient[:] = [1, 2, at % 7 + 1, at % 20 + 1]
        with BlobReader(Engine(driver, retry=0), "path") as f:
            with suppress(Interrupted), Interrupter(at) as interrupter:
                run(f, out)
            pattern = out[:] = b"mine" * (len(out) // 4)
            wait_until(driver.is_let_go, str(interrupter.where))
            assert out == pattern, interrupter.where


def places(run: Callable[[BlobReader, bytearray], None], driver: OneBlob, **options: Any) -> int:
    """How many places there are where it could be interrupted, about."""
    with BlobReader(Engine(driver, **options), "path") as f, Interrupter(1 << 60) as count:
        run(f, bytearray(len(DATA)))
    return (1 << 60) - count.left


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize("parallel", ["auto", 1])
@pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS.keys())
@pytest.mark.parametrize("call", CALLS)
def test_interrupt_at_any_place_leaves_no_writer_no_stream_and_a_reader_that_reads(
    call: str,
    make: Callable[[], OneBlob],
    parallel: Any,
    again: bool,
    impatient: list[int],
) -> None:
    run = CALLS[call]
    before = BUDGET.used
    choose = random.Random(call)
    count = places(run, make(), parallel=parallel)
    for at in sorted(choose.sample(range(1, count + 1), min(count, 30))):
        driver = make()
        out = bytearray(len(DATA))
        with BlobReader(Engine(driver, parallel=parallel), "path") as f:
            if again:
                impatient[:] = [1, 2, at % 7 + 1, at % 20 + 1]
            with suppress(Interrupted), Interrupter(at) as interrupter:
                run(f, out)
            sys.setprofile(None)
            impatient.clear()
            said = f"interrupted in {interrupter.where}"
            pattern = bytes([at % 255 + 1]) * len(out)
            out[:] = pattern
            f.seek(0)
            assert f.read(100_000) == DATA[:100_000], said
            assert f.read_at(2 * MIB, MIB) == DATA[MIB : 3 * MIB], said
            f.seek(3 * MIB)
            assert f.read() == DATA[3 * MIB :], said
            assert out == pattern, said
        wait_until(driver.is_let_go, said)
        out.append(0)  # BufferError where somebody still has it

    def is_given_back() -> bool:
        BUDGET.trim()
        return BUDGET.used <= before

    wait_until(is_given_back)
