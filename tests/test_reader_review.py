"""What a review of the core found: each of these went wrong once."""

import gc
import io
import os
import random
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Broken, OneBlob, Stream, failing_at, honest
from test_reader import UnknownSize
from together import together

from blobread import BlobInfo, BlobReader
from blobread.drivers.file import FileDriver
from blobread.drivers.memory import MemoryDriver

DATA = random.Random(31).randbytes(400_000)
LINES = (b"x" * 99_999 + b"\n") * 4


class Given(OneBlob):
    """A store whose streams are what the test makes of them."""

    def __init__(self, make: Any) -> None:
        super().__init__(DATA, honest)
        self.make = make

    def read_stream(
        self, path: str, offset: int = 0, length: int | None = None, *, pin: BlobInfo | None = None
    ) -> Any:
        return self.make(Stream(DATA, offset, length, honest))


class Lender(MemoryDriver):
    """An engine that lends parts of `memory`."""

    def __init__(self) -> None:
        super().__init__({"path": DATA})
        self.memory = bytearray(DATA)

    def borrow(self, path: str, offset: int, pin: BlobInfo) -> memoryview:
        return memoryview(self.memory)[offset : offset + 1000]


# ---- memory that was taken is given back ---------------------------------------------------------


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_memory_in_a_cycle_with_the_stream_that_keeps_it_is_released(
    collected_by_hand: None, capfd: pytest.CaptureFixture[str]
) -> None:
    class Memory(bytearray):
        stream: Any

    def keep(stream: Any, buffer: memoryview) -> int:
        stream.kept = buffer[1:]
        return honest(stream, buffer)

    def make_cycle() -> None:
        driver, memory = OneBlob(DATA, keep), Memory(100_000)
        with BlobReader(driver, "path") as f:
            f.readinto(memory)
        memory.stream = driver.streams[-1]
        # What is collected is cleared from the oldest on; this keeps the stream until the
        # target's turn has come.
        node: list[Any] = [memory.stream]
        node.append(node)

    make_cycle()
    gc.collect()
    assert "exported buffers" not in capfd.readouterr().err


def test_part_is_given_back_by_a_subclass_that_does_not_close() -> None:
    class Careless(BlobReader):
        def __del__(self) -> None:
            pass

    driver = Lender()
    f = Careless(driver, "path")
    f.read(10)
    del f
    gc.collect()
    driver.memory.append(0)  # BufferError, were it still lent


def test_memory_is_released_where_there_is_none_left_for_the_call() -> None:
    limits = pytest.importorskip("_testcapi", reason="only where Python has its test modules")
    with BlobReader(OneBlob(DATA, honest), "path") as f:
        for allowed in range(30):
            memory = bytearray(5000)
            limits.set_nomemory(allowed, allowed + 1)
            try:
                f.readinto(memory)
            except MemoryError:
                pass
            finally:
                limits.remove_mem_hooks()
            memory.append(0)
            f.seek(0)


if sys.version_info >= (3, 12):  # before it no class of Python's has a __buffer__()

    def test_interrupt_while_memory_is_taken_is_not_lost() -> None:
        class Interrupted:
            def __buffer__(self, flags: int) -> memoryview:
                if not calls:
                    calls.append(flags)
                    raise KeyboardInterrupt
                return memoryview(bytearray(10))

        calls: list[int] = []
        with (
            BlobReader(MemoryDriver({"path": DATA}), "path") as f,
            pytest.raises(KeyboardInterrupt),
        ):
            f.readinto(Interrupted())


# ---- streams of any kind -------------------------------------------------------------------------


def test_stream_need_not_be_hashable() -> None:
    @dataclass
    class Plain:
        stream: Stream

        def readinto(self, buffer: memoryview, /) -> int:
            return self.stream.fill(buffer)

        def close(self) -> None:
            self.stream.close()

    with BlobReader(Given(Plain), "path") as f:
        assert f.read_at(10, 5) == DATA[5:15]


def test_close_ends_all_positional_reads_though_their_streams_are_equal() -> None:
    class Equal:
        def __init__(self, stream: Stream) -> None:
            self.closed = threading.Event()
            made.append(self)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def __hash__(self) -> int:
            return 0

        def readinto(self, buffer: memoryview, /) -> int:
            reading.wait()
            assert self.closed.wait(60)
            raise Broken("closed")

        def close(self) -> None:
            self.closed.set()

    def read() -> None:
        with pytest.raises(ValueError, match="closed file"):
            f.read_at(10, 5)

    def close() -> None:
        reading.wait()
        f.close()
        ended = [stream.closed.is_set() for stream in made]
        for stream in made:
            stream.closed.set()
        assert ended == [True, True]

    made: list[Equal] = []
    reading = threading.Barrier(3, timeout=60)
    f = BlobReader(Given(Equal), "path")
    together(read, read, close)


def test_negative_descriptor_is_none() -> None:
    def make(stream: Any) -> Any:
        stream.descriptor = -1
        return stream

    with BlobReader(Given(make), "path") as f:
        assert f.read_at(10, 5) == DATA[5:15]
        assert f.read(10) == DATA[:10]


def test_stream_with_a_descriptor_is_read_by_it_though_the_first_one_had_none(
    tmp_path: Path,
) -> None:
    class Cached(FileDriver):
        """Its first bytes come from elsewhere."""

        def open(self, path: str, /) -> Any:
            return self.stat(path), Stream(DATA, 0, 100_000, honest)

        def read_stream(self, *args: Any, **options: Any) -> Any:
            stream = super().read_stream(*args, **options)
            stream.readinto = None  # type: ignore[method-assign, assignment]
            return stream

    path = tmp_path / "blob"
    path.write_bytes(DATA)
    with BlobReader(Cached(), os.fspath(path)) as f:
        assert f.read(300_000) == DATA[:300_000]
        assert f.read_at(10, 5) == DATA[5:15]
        assert f.read() == DATA[300_000:]


# ---- the rest ------------------------------------------------------------------------------------


def test_path_may_be_of_a_subclass_of_str() -> None:
    class Path(str):
        def __str__(self) -> str:
            return "another"

    with BlobReader(MemoryDriver({"path": DATA}), Path("path")) as f:
        assert type(f.path) is str
        assert f.path == f.name == "path"
        assert f.read(10) == DATA[:10]


def test_reader_in_the_making_is_closed_for_those_who_find_it() -> None:
    class Looking(OneBlob):
        def stat(self, path: str, /) -> BlobInfo:
            readers = [o for o in gc.get_objects() if type(o) is BlobReader]
            found.extend(f for f in readers if f.driver is self)
            for f in found:
                repr(f)
                f.close()
                for call in (f.tell, f.read, f.peek, f.readlines, lambda f=f: f.read_at(1, 0)):
                    with pytest.raises(ValueError, match="closed file"):
                        call()
            return super().stat(path)

    found: list[BlobReader] = []
    with BlobReader(Looking(DATA, honest), "path") as f:
        assert found == [f]
        assert f.read(10) == DATA[:10]


def test_error_in_readlines_is_the_one_that_came_though_the_size_is_unknown() -> None:
    with BlobReader(UnknownSize(LINES, failing_at(250_000, Broken("in the middle"))), "path") as f:
        f.read(2)
        with pytest.raises(Broken):
            f.readlines()
        assert f.tell() == 2


def test_blob_of_unknown_size_is_read_on_after_a_read_of_what_is_gone() -> None:
    with BlobReader(UnknownSize(DATA, honest), "path", buffer_size=8192) as f:
        f.read(100)
        f.readinto(bytearray(200_000))
        f.seek(50)  # the buffer has it, and not what comes behind
        with pytest.raises(io.UnsupportedOperation):
            f.read(100_000)
        assert f.tell() == 50
        f.seek(200_100)
        assert f.read() == DATA[200_100:]


def test_lines_that_cross_buffers_are_not_wasted() -> None:
    f = BlobReader(OneBlob(LINES, honest), "path", buffer_size=65536)
    with f:
        assert b"".join(f) == LINES
    assert f.stats.bytes_wasted == 0


def test_positional_read_of_what_the_buffer_has_is_not_wasted() -> None:
    f = BlobReader(OneBlob(DATA, honest), "path")
    with f:
        f.peek()
        f.read_at(f.stats.bytes_fetched, 0)
    assert f.stats.bytes_wasted == 0


def test_close_within_the_work_of_an_engine_is_what_its_caller_hears_of() -> None:
    class Ended(Lender):
        def borrow(self, path: str, offset: int, pin: BlobInfo) -> memoryview:
            f.close()
            raise Broken("ended")

    f = BlobReader(Ended(), "path")
    with pytest.raises(ValueError, match="closed file"):
        f.read(10)
