"""Positional reads by `part`: nothing is asked before the first bytes are, and close() ends it."""

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from misbehaving import LIES, Behaviour, Broken, OneBlob, Stream, at_most, honest, lying
from together import Call, together

from blobread import (
    BlobChangedError,
    BlobInfo,
    BlobReader,
    PathNotFoundError,
    ProtocolError,
    TruncatedBlobError,
)

DATA = random.Random(6).randbytes(1 << 20)


class Part(Stream):
    """Asks the store when it is first read, and can be closed in every phase."""

    def __init__(self, store: "Parts", offset: int, length: int) -> None:
        super().__init__(b"", offset, length, store.behave)
        self.store = store
        self.length = length
        self.ended = threading.Event()

    def readinto(self, buffer: memoryview, /) -> Any:
        if not self.asked:
            self.store.begin(self)
        return super().readinto(buffer)

    def close(self) -> None:
        super().close()
        self.ended.set()


class Parts(OneBlob):
    """A store that is asked part by part; `begun` has the parts that have asked it."""

    def __init__(self, data: bytes = DATA, behave: Behaviour = honest) -> None:
        super().__init__(data, behave)
        self.begun: list[tuple[int, int]] = []
        self.parts: list[Part] = []
        self.pins: list[BlobInfo | None] = []
        self.before: Callable[[Part], object] = lambda part: None

    def part(self, path: str, offset: int, length: int, *, pin: BlobInfo | None = None) -> Part:
        self.pins.append(pin)
        self.parts.append(Part(self, offset, length))
        return self.parts[-1]

    def begin(self, part: Part) -> None:
        self.before(part)
        self.begun.append((part.at, part.length))
        if self.failures:
            raise self.failures.pop(0)
        part.data = self.present("path")
        part.stop = min(len(part.data), part.at + part.length)

    @property
    def left_open(self) -> int:
        return super().left_open + sum(not part.closed for part in self.parts)


@pytest.mark.parametrize("behave", [honest, at_most(1000)], ids=["at once", "piecemeal"])
def test_positional_reads_are_parts_of_the_length_that_is_wanted(behave: Behaviour) -> None:
    driver = Parts(DATA, behave)
    memory = bytearray(5000)
    with BlobReader(driver, "path") as f:
        assert f.read_at(5000, 70_000) == DATA[70_000:75_000]
        assert f.readinto_at(memory, 5) == 5000
        assert memory == DATA[5:5005]
        assert f.read_at(100, len(DATA) - 10) == DATA[-10:]
        assert f.read_at(100, len(DATA)) == b""
        assert driver.begun == [(70_000, 5000), (5, 5000), (len(DATA) - 10, 10)]
        assert driver.pins == [f.info] * 3
        assert driver.asked == []
        assert driver.left_open == 0
        assert f.stats[:3] == (3, 10_010, 10_010)


def test_cursor_has_a_stream_as_before() -> None:
    driver = Parts()
    with BlobReader(driver, "path") as f:
        assert f.read(1 << 17) == DATA[: 1 << 17]
        assert driver.parts == []
        assert len(driver.asked) == 1


def test_side_by_side() -> None:
    driver = Parts()
    meeting = threading.Barrier(8)
    driver.before = lambda part: meeting.wait(60)
    with BlobReader(driver, "path") as f:
        reads = [lambda n=n: f.read_at(1000, n * 5000) for n in range(8)]
        assert together(*reads) == [DATA[n * 5000 :][:1000] for n in range(8)]
    assert driver.left_open == 0


def test_close_ends_a_part_that_waits_for_its_answer() -> None:
    reached = threading.Event()

    def wait(part: Part) -> None:
        reached.set()
        assert part.ended.wait(60), "it is never closed"
        raise Broken("closed")

    driver = Parts()
    driver.before = wait
    f = BlobReader(driver, "path")
    call = Call(lambda: f.read_at(1000, 5))
    assert reached.wait(60)
    f.close()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.left_open == 0


@pytest.mark.parametrize(
    "error", [PathNotFoundError("no such blob"), Broken("fails"), KeyboardInterrupt()], ids=repr
)
def test_error_of_the_first_bytes_comes_out(error: BaseException) -> None:
    driver = Parts()
    memory = bytearray(100)
    with BlobReader(driver, "path") as f:
        driver.failures.append(error)
        with pytest.raises(type(error)):
            f.readinto_at(memory, 5)
        memory.append(0)  # BufferError if it is still exported
        assert driver.left_open == 0
        assert f.read_at(10, 5) == DATA[5:15]


def test_blob_that_vanished_reads_as_its_end_if_that_was_asked_for() -> None:
    driver = Parts()
    with BlobReader(driver, "path", missing="eof") as f:
        driver.data = None
        assert f.read_at(10, 5) == b""
    assert driver.left_open == 0


def test_path_that_is_not_found_after_the_first_bytes_is_an_error_all_the_same() -> None:
    def behave(stream: Stream, buffer: memoryview) -> int:
        if stream.at > 5:
            raise PathNotFoundError("no such blob")
        return stream.fill(buffer, 3)

    with (
        BlobReader(Parts(DATA, behave), "path", missing="eof") as f,
        pytest.raises(PathNotFoundError),
    ):
        f.read_at(10, 5)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_part_that_lies_is_an_error(lie: Callable[[int], Any]) -> None:
    driver = Parts(DATA, lying(lie))
    with BlobReader(driver, "path") as f, pytest.raises(ProtocolError):
        f.read_at(1000, 5)
    assert driver.left_open == 0


def test_part_that_ends_early_is_an_error() -> None:
    driver = Parts()
    with BlobReader(driver, "path") as f:
        driver.data = DATA[:100]
        with pytest.raises(TruncatedBlobError, match="100"):
            f.read_at(100, 50)
    assert driver.left_open == 0


class Versionless(Parts):
    def stat(self, path: str, /) -> BlobInfo:
        return replace(super().stat(path), version=None)


def test_version_that_the_first_part_tells_is_read_from_then_on() -> None:
    driver = Versionless()
    driver.before = lambda part: setattr(part, "info", BlobInfo("path", len(DATA), "version:2"))
    with BlobReader(driver, "path") as f:
        f.read_at(10, 5)
        assert f.info.version == "version:2"
        assert driver.pins[0] is not f.info


def test_parts_of_two_versions_are_not_both_read() -> None:
    def read() -> object:
        try:
            return f.read_at(10, 5)
        except BlobChangedError as error:
            return type(error)

    def before(part: Part) -> None:
        meeting.wait(60)
        part.info = BlobInfo("path", len(DATA), f"version:{next(versions)}")

    driver = Versionless()
    driver.before = before
    versions, meeting = itertools.count(), threading.Barrier(2)
    with BlobReader(driver, "path") as f:
        assert set(together(read, read)) == {DATA[5:15], BlobChangedError}
    assert driver.left_open == 0


def test_connections_of_parts_are_counted() -> None:
    driver = Parts()
    driver.before = lambda part: setattr(part, "new_connection", len(driver.begun) < 2)
    with BlobReader(driver, "path") as f:
        for n in range(5):
            f.read_at(10, n)
        assert f.stats.connections == 2
