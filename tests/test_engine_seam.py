"""With an engine the core's buffer is a borrowed part, and large reads are the engine's to fill."""

import io
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from misbehaving import LIES, Broken, OneBlob, OneBlobOpened
from together import Call, Gate

from blobread import BlobInfo, BlobReader, PathNotFoundError, ProtocolError, TruncatedBlobError

DATA = random.Random(5).randbytes(3 << 20)
PART = 100_000


class Lending(OneBlob):
    """An engine that lends parts; `parts` has all that it ever lent, with their memory.

    What it lends is spoilt as soon as it was given back: who reads it then is found out.
    """

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(data)
        self.lent: list[tuple[int, memoryview, bytearray]] = []
        self.error: BaseException | None = None

    def borrow(self, path: str, offset: int, pin: BlobInfo | None) -> Any:
        if self.error is not None:
            raise self.error
        assert (path, pin) == ("path", BlobInfo("path", len(self.present(path)), "version:1"))
        assert 0 <= offset < len(self.present(path))
        self.spoil()
        part = bytearray(self.present(path)[offset : offset + PART])
        self.lent.append((offset, memoryview(part), part))
        return self.lent[-1][1]

    def spoil(self) -> None:
        for _, view, part in self.lent:
            if is_given_back(view):
                part[:] = bytes(len(part))  # BufferError if an export is left

    @property
    def held(self) -> int:
        return sum(not is_given_back(view) for _, view, _ in self.lent)


class Filling(OneBlob):
    """An engine that fills memory, from many threads if it likes; `filled` has (offset, size)."""

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(data)
        self.filled: list[tuple[int, int]] = []
        self.views: list[memoryview] = []
        self.error: BaseException | None = None

    def readinto_at(self, path: str, buffer: memoryview, offset: int, pin: BlobInfo | None) -> Any:
        if self.error is not None:
            raise self.error
        assert (path, pin) == ("path", BlobInfo("path", len(self.present(path)), "version:1"))
        self.filled.append((offset, len(buffer)))
        self.views.append(buffer)
        part = self.present(path)[offset : offset + len(buffer)]
        assert len(part) == len(buffer) > 0, "it is asked beyond the size, or for nothing"
        buffer[:] = part
        return len(part)


class Engine(Lending, Filling):
    def __init__(self, data: bytes = DATA) -> None:
        Lending.__init__(self, data)
        self.filled = []
        self.views = []


class EngineOpened(Engine, OneBlobOpened):
    """One over a driver that has open()."""


def is_given_back(view: memoryview) -> bool:
    try:
        view.nbytes  # noqa: B018
    except ValueError:
        return True
    return False


def program(f: Any, seed: int) -> list[object]:
    """What a file answers to many calls."""
    choose = random.Random(seed)
    seen: list[object] = []
    for _ in range(300):
        count = choose.choice([0, 1, 100, 5000, 70_000, 200_000])
        match choose.randrange(7):
            case 0 | 1:
                seen.append(f.read(count))
            case 2:
                buffer = bytearray(count)
                seen.append((f.readinto(buffer), bytes(buffer)))
            case 3:
                seen.append(f.readline())
            case 4:
                seen.append(f.seek(choose.randrange(len(DATA) + 10)))
            case 5:
                seen.append(f.seek(choose.randrange(200_000) - min(100_000, f.tell()), io.SEEK_CUR))
            case 6:
                seen.append(f.tell())
    return seen


@pytest.mark.parametrize("engine", [Engine, Lending, Filling, EngineOpened])
@pytest.mark.parametrize("seed", range(5))
def test_reader_over_an_engine_answers_as_bytesio_does(engine: type[OneBlob], seed: int) -> None:
    driver = engine(DATA)
    with BlobReader(driver, "path") as f:
        assert program(f, seed) == program(io.BytesIO(DATA), seed)
    assert getattr(driver, "held", 0) == driver.left_open == 0


@pytest.mark.parametrize("engine", [Engine, EngineOpened])
def test_small_reads_are_served_from_a_borrowed_part(engine: type[Engine]) -> None:
    driver = engine()
    with BlobReader(driver, "path") as f:
        for n in range(PART // 100):
            assert f.read(100) == DATA[100 * n : 100 * n + 100]
        assert [offset for offset, _, _ in driver.lent] == [0]
        assert f.read(100) == DATA[PART : PART + 100]
        assert [offset for offset, _, _ in driver.lent] == [0, PART]
        assert driver.filled == []
        assert sum(len(stream.asked) for stream in driver.streams) == 0


def test_line_and_peek_and_iteration_are_served_from_borrowed_parts() -> None:
    data = b"".join(b"line %d\n" % n for n in range(50_000))
    driver = Engine(data)
    with BlobReader(driver, "path") as f:
        assert data.startswith(f.peek())
        assert f.readline() == b"line 0\n"
        assert list(f) == data.splitlines(keepends=True)[1:]
    assert driver.asked == []
    assert driver.held == 0


@pytest.mark.parametrize("count", [64 << 10, 1 << 20])
def test_large_read_is_filled_by_the_engine_in_the_callers_memory(count: int) -> None:
    class Looking(Engine):
        def readinto_at(
            self, path: str, buffer: memoryview, offset: int, pin: BlobInfo | None
        ) -> Any:
            got = super().readinto_at(path, buffer, offset, pin)
            # The bytes are there before the call is over.
            assert memory[:count] == DATA[:count]
            return got

    memory = bytearray(count)
    driver = Looking()
    with BlobReader(driver, "path") as f:
        assert f.readinto(memory) == count
        assert driver.filled == [(0, count)]
        assert driver.lent == []
        assert f.read(10) == DATA[count : count + 10]


def test_rest_of_a_borrowed_part_is_used_before_a_large_read_goes_on_behind_it() -> None:
    driver = Engine()
    with BlobReader(driver, "path") as f:
        f.read(10)
        assert f.read(1 << 20) == DATA[10 : 10 + (1 << 20)]
        assert driver.filled == [(PART, (1 << 20) + 10 - PART)]


@pytest.mark.parametrize("engine", [Engine, Filling])
def test_positional_reads_are_filled_by_the_engine(engine: type[Filling]) -> None:
    driver = engine()
    with BlobReader(driver, "path") as f:
        assert f.read_at(100, 5000) == DATA[5000:5100]
        assert f.readinto_at(bytearray(1 << 20), len(DATA) - 10) == 10
        assert driver.filled == [(5000, 100), (len(DATA) - 10, 10)]
        assert driver.asked == []


def test_positional_reads_without_that_method_are_streams() -> None:
    driver = Lending()
    with BlobReader(driver, "path") as f:
        f.read(10)
        assert f.read_at(100, 1 << 20) == DATA[1 << 20 :][:100]
        assert driver.asked == [(1 << 20, 100)]


@pytest.mark.parametrize("count", [10, 1000, 100_000])
def test_engine_that_only_fills_fills_the_buffer_too(count: int) -> None:
    driver = Filling()
    with BlobReader(driver, "path") as f:
        for n in range(20):
            assert f.read(count) == DATA[n * count :][:count]
        assert driver.asked == []
        if count < 1000:
            assert len(driver.filled) == 1


def test_engine_that_only_lends_is_borrowed_from_for_large_reads_too() -> None:
    driver = Lending()
    with BlobReader(driver, "path") as f:
        assert f.read() == DATA
        assert len(driver.lent) == (len(DATA) + PART - 1) // PART
        assert driver.asked == []
        driver.spoil()


# ---- what was lent is given back -----------------------------------------------------------------


def test_part_is_given_back_when_the_next_is_borrowed_and_at_close() -> None:
    driver = Engine()
    f = BlobReader(driver, "path")
    for n in range(5):
        f.seek(n * 500_000)
        f.read(10)
        assert driver.held == 1
    f.close()
    assert driver.held == 0
    driver.spoil()


def test_seek_keeps_the_part_until_another_is_needed() -> None:
    driver = Engine()
    with BlobReader(driver, "path") as f:
        f.read(10)
        f.seek(2 << 20)
        f.seek(20)
        assert f.read(10) == DATA[20:30]
        assert len(driver.lent) == 1


def test_part_is_given_back_when_the_reader_is_collected() -> None:
    driver = Engine()
    f = BlobReader(driver, "path")
    f.read(10)
    with pytest.warns(ResourceWarning):
        del f
    assert driver.held == 0
    driver.spoil()


@pytest.mark.parametrize("call", ["read", "readinto_at"])
def test_no_view_of_the_callers_memory_is_left_with_the_engine(call: str) -> None:
    driver = Engine()
    memory = bytearray(100_000)
    with BlobReader(driver, "path") as f:
        if call == "read":
            f.readinto(memory)
        else:
            f.readinto_at(memory, 5)
    assert all(is_given_back(view) for view in driver.views)
    memory.clear()


def test_view_longer_than_the_blob_is_clamped() -> None:
    class Generous(Lending):
        def borrow(self, path: str, offset: int, pin: BlobInfo | None) -> Any:
            return memoryview(DATA[offset:] + bytes(1000))

    with BlobReader(Generous(), "path") as f:
        f.seek(-10, io.SEEK_END)
        assert f.read(100) == DATA[-10:]
        assert f.read(100) == f.peek() == f.readline() == b""


def test_first_bytes_of_open_are_closed_unread() -> None:
    driver = EngineOpened()
    with BlobReader(driver, "path") as f:
        assert driver.left_open == 0
        assert f.read(10) == DATA[:10]
        assert len(driver.asked) == 1


# ---- an engine that lies or fails ----------------------------------------------------------------

SHORT: dict[str, Callable[[int], Any]] = {
    "nothing": lambda room: 0,
    "one less": lambda room: room - 1,
}


@pytest.mark.parametrize("lie", [*LIES.values(), *SHORT.values()], ids=[*LIES, *SHORT])
@pytest.mark.parametrize("call", ["readinto", "read", "read_at", "readinto_at"])
def test_engine_that_lies_about_a_length_is_an_error(lie: Callable[[int], Any], call: str) -> None:
    class Liar(Engine):
        def readinto_at(
            self, path: str, buffer: memoryview, offset: int, pin: BlobInfo | None
        ) -> Any:
            super().readinto_at(path, buffer, offset, pin)
            return lie(len(buffer)) if lies else len(buffer)

    lies = True
    memory = bytearray(100_000)
    calls: dict[str, Callable[[], object]] = {
        "readinto": lambda: f.readinto(memory),
        "read": lambda: f.read(100_000),
        "read_at": lambda: f.read_at(100_000, 5),
        "readinto_at": lambda: f.readinto_at(memory, 5),
    }
    with BlobReader(Liar(), "path") as f:
        f.seek(5)
        with pytest.raises((ProtocolError, TruncatedBlobError)):
            calls[call]()
        assert f.tell() == 5
        memory.append(0)
        del memory[-1]
        lies = False
        assert f.read(100_000) == DATA[5:100_005]


UNUSABLE: dict[str, Callable[[], Any]] = {
    "empty": lambda: memoryview(b""),
    "None": lambda: None,
    "int": lambda: 5,
    "bytes, which cannot be given back": lambda: b"bytes",
    "with steps": lambda: memoryview(bytes(100))[::2],
}


@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_engine_that_lends_nothing_usable_is_an_error_at_once(make: Callable[[], Any]) -> None:
    class Liar(Engine):
        def borrow(self, path: str, offset: int, pin: BlobInfo | None) -> Any:
            return make() if lies else super().borrow(path, offset, pin)

    lies = True
    calls: list[Callable[[], object]] = [lambda: f.read(10), lambda: f.peek(), lambda: f.readline()]
    with BlobReader(Liar(), "path") as f:
        for call in calls:
            with pytest.raises((OSError, TypeError, BufferError)):
                call()
            assert f.tell() == 0
        lies = False
        assert f.read(10) == DATA[:10]


@pytest.mark.parametrize("error", [Broken(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("count", [10, 100_000])
def test_error_of_an_engine_comes_out_and_leaves_the_position(
    error: BaseException, count: int
) -> None:
    driver = Engine()
    with BlobReader(driver, "path") as f:
        f.read(10)
        f.seek(1 << 20)
        driver.error = error
        reads: list[Callable[[], object]] = [
            lambda: f.read(count),
            lambda: f.read_at(count, 2 << 20),
        ]
        for read in reads:
            with pytest.raises(type(error)):
                read()
            assert f.tell() == 1 << 20
        driver.error = None
        assert f.read(100_000) == DATA[1 << 20 :][:100_000]
    assert driver.held == 0
    driver.spoil()


@pytest.mark.parametrize("engine", [Engine, Lending, Filling])
@pytest.mark.parametrize("count", [10, 100_000])
def test_blob_that_vanished_behind_an_engine_reads_as_its_end_if_that_was_asked_for(
    engine: type[Engine], count: int
) -> None:
    driver = engine(DATA)
    with BlobReader(driver, "path", missing="eof") as f, BlobReader(driver, "path") as strict:
        driver.data = None
        driver.error = PathNotFoundError("no such blob")
        assert f.read(count) == f.read_at(count, 0) == b""
        with pytest.raises(PathNotFoundError):
            strict.read(count)
        driver.data, driver.error = DATA, None
        assert f.read(count) == DATA[:count]


# ---- close() beside an engine --------------------------------------------------------------------


@pytest.mark.parametrize("count", [10, 100_000])
def test_close_while_an_engine_is_at_work_is_a_value_error_and_gives_all_back(count: int) -> None:
    class Slow(Engine):
        def borrow(self, *args: Any) -> Any:
            gate.pass_through()
            return super().borrow(*args)

        def readinto_at(self, *args: Any) -> Any:
            gate.pass_through()
            return super().readinto_at(*args)

    gate = Gate()
    driver = Slow()
    f = BlobReader(driver, "path")
    call = Call(lambda: f.read(count))
    gate.wait_until_reached()
    f.close()
    gate.open()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.held == 0
    driver.spoil()


def test_positional_reads_of_an_engine_run_side_by_side() -> None:
    class Meeting(Filling):
        def readinto_at(self, *args: Any) -> Any:
            meeting.wait(60)
            return super().readinto_at(*args)

    meeting = threading.Barrier(4)
    with BlobReader(Meeting(), "path") as f:
        calls = [Call(lambda n=n: f.read_at(100, n)) for n in range(4)]  # type: ignore[misc]
        assert [call.outcome() for call in calls] == [DATA[n : n + 100] for n in range(4)]


# ---- stop() --------------------------------------------------------------------------------------


class Stoppable(Engine):
    """An engine whose calls wait until it is stopped, and then fail as such calls do."""

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(data)
        self.stops = 0
        self.waits = False
        self.reached, self.stopped = threading.Event(), threading.Event()

    def stop(self) -> None:
        self.stops += 1
        self.stopped.set()

    def wait(self) -> None:
        if self.waits:
            self.reached.set()
            assert self.stopped.wait(60)
            raise RuntimeError("stopped")

    def borrow(self, *args: Any) -> Any:
        self.wait()
        return super().borrow(*args)

    def readinto_at(self, *args: Any) -> Any:
        self.wait()
        return super().readinto_at(*args)


@pytest.mark.parametrize(
    "read",
    [
        lambda f: f.read(10),
        lambda f: f.read(100_000),
        lambda f: f.readinto(bytearray(100_000)),
        lambda f: f.read_at(10, 5),
    ],
    ids=["borrow", "read", "readinto", "read_at"],
)
def test_close_wakes_a_call_that_waits_in_the_engine(read: Callable[[Any], object]) -> None:
    driver = Stoppable()
    driver.waits = True
    f = BlobReader(driver, "path")
    call = Call(lambda: read(f))
    assert driver.reached.wait(60)
    f.close()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.held == 0


def test_close_stops_the_engine_after_what_it_lent_was_given_back() -> None:
    class Strict(Stoppable):
        def stop(self) -> None:
            super().stop()
            assert self.held == 0

    driver = Strict()
    f = BlobReader(driver, "path")
    f.read(10)
    assert driver.held == 1
    f.close()
    f.close()
    assert driver.stops == 1


def test_engine_is_stopped_anew_when_the_last_call_is_out() -> None:
    class Late(Stoppable):
        def readinto_at(self, *args: Any) -> Any:
            gate.pass_through()
            self.stopped.clear()  # as one that was asked for more after it was stopped
            return Engine.readinto_at(self, *args)

    gate = Gate()
    driver = Late()
    f = BlobReader(driver, "path")
    call = Call(lambda: f.read_at(10, 5))
    gate.wait_until_reached()
    f.close()
    gate.open()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.stopped.is_set()


def test_engine_of_a_reader_that_could_not_be_made_is_stopped() -> None:
    class Negative(Stoppable):
        def stat(self, path: str, /) -> BlobInfo:
            return replace(super().stat(path), size=-1)

    driver = Negative()
    with pytest.raises(ValueError, match="negative"):
        BlobReader(driver, "path")
    assert driver.stops == 1


def test_engine_of_a_reader_that_is_collected_is_stopped() -> None:
    driver = Stoppable()
    f = BlobReader(driver, "path")
    f.read(10)
    with pytest.warns(ResourceWarning):
        del f
    assert driver.stops == 1
    assert driver.held == 0


def test_engine_that_fails_to_stop_is_a_warning_and_the_rest_is_closed() -> None:
    class Broken_(Stoppable):
        def stop(self) -> None:
            super().stop()
            raise Broken("does not stop")

    driver = Broken_()
    f = BlobReader(driver, "path")
    f.read(10)
    with pytest.warns(RuntimeWarning, match="does not stop"):
        f.close()
    assert f.closed
    assert driver.held == 0


# ---- counters() ----------------------------------------------------------------------------------


def test_stats_are_those_that_the_engine_tells() -> None:
    @dataclass
    class Counters:
        requests: int = 11
        bytes_fetched: int = 12
        bytes_wasted: int = 13
        retries: int = 14
        connections: int = 15

    class Counting(Engine):
        def counters(self) -> Counters:
            return Counters()

    with BlobReader(Counting(), "path") as f:
        f.read(10)
        assert f.stats == (11, 12, 10, 13, 1, 14, 15)


# ---- blobs of unknown size -----------------------------------------------------------------------


class UnsizedLending(Lending):
    """An engine that learns where the blob ends when it has come there."""

    def stat(self, path: str, /) -> BlobInfo:
        return replace(super().stat(path), size=None)

    def borrow(self, path: str, offset: int, pin: BlobInfo | None) -> Any:
        self.spoil()
        part = bytearray(self.present(path)[offset : offset + PART])
        self.lent.append((offset, memoryview(part), part))
        return self.lent[-1][1]


class Unsized(UnsizedLending, Engine):
    def readinto_at(self, path: str, buffer: memoryview, offset: int, pin: BlobInfo | None) -> Any:
        part = self.present(path)[offset : offset + len(buffer)]
        self.filled.append((offset, len(part)))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("engine", [Unsized, UnsizedLending])
@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, len(DATA)])
@pytest.mark.parametrize("count", [-1, 1000, 64 << 10, 1 << 20])
def test_end_that_an_engine_finds_is_the_size_from_then_on(
    engine: type[Lending], size: int, count: int
) -> None:
    driver = engine(DATA[:size])
    with BlobReader(driver, "path") as f:
        assert f.size is None
        parts = list(iter(lambda: f.read(count), b""))
        assert b"".join(parts) == DATA[:size]
        assert f.size == size
        assert f.seek(0, io.SEEK_END) == size
        assert f.read() == f.readline() == f.peek() == b""
    assert driver.held == 0


@pytest.mark.parametrize("read", ["borrow", "readinto_at"])
def test_no_bytes_before_the_end_that_was_found_are_an_error(read: str) -> None:
    driver = Unsized(DATA[:200_000])
    with BlobReader(driver, "path") as f:
        assert f.read() == DATA[:200_000]
        driver.data = DATA[:10]
        with pytest.raises(TruncatedBlobError):
            if read == "borrow":
                f.seek(150_000)
                f.peek()
            else:
                f.read_at(100, 150_000)


class SteppingAside(OneBlobOpened):
    """An engine that sees at open() that there is no size, and then is none."""

    sized = True

    def open(self, path: str, /) -> Any:
        self.sized = False
        stream = self.read_stream(path)
        return BlobInfo(path, None, "version:1"), stream

    def __getattr__(self, name: str) -> Any:
        if name in ("borrow", "readinto_at") and self.sized:
            return lambda *args: pytest.fail("the engine is asked")
        raise AttributeError(name)


def test_engine_may_step_aside_when_it_sees_the_blob() -> None:
    driver = SteppingAside(DATA)
    with BlobReader(driver, "path") as f:
        assert f.read() == DATA
    assert driver.left_open == 0
    assert len(driver.asked) == 1
