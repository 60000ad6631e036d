"""Many ranges by one call: each byte in its place, or an error that says which range."""

import io
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

import numpy as np
import pytest
from misbehaving import Broken, OneBlob, Stream, failing_at
from together import Call, Gate, together

import blobread
from blobread import BlobError, BlobInfo, BlobReader, PathNotFoundError

DATA = random.Random(7).randbytes(1 << 20)


class Many(OneBlob):
    """A store that fills many ranges at once; `calls` has what it was asked for."""

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(data)
        self.calls: list[tuple[list[int], list[int]]] = []
        self.hints: list[tuple[list[int], list[int]]] = []
        self.views: list[memoryview] = []
        self.kept: list[Any] = []
        self.error: BaseException | None = None
        self.before: Callable[[], object] = lambda: None

    def readinto_ranges(
        self, path: str, offsets: list[int], buffers: list[memoryview], pin: BlobInfo
    ) -> None:
        assert (path, pin) == ("path", BlobInfo("path", len(DATA), "version:1"))
        self.calls.append((offsets, [len(buffer) for buffer in buffers]))
        self.views += buffers
        self.before()
        if self.error is not None:
            raise self.error
        for offset, buffer in zip(offsets, buffers, strict=True):
            buffer[:] = self.present(path)[offset : offset + len(buffer)]
        buffers.clear()

    def prefetch(self, path: str, offsets: list[int], sizes: list[int], pin: BlobInfo) -> None:
        assert (path, pin) == ("path", BlobInfo("path", len(DATA), "version:1"))
        self.hints.append((offsets, sizes))
        if self.error is not None:
            raise self.error


class Alone(OneBlob):
    def __init__(self) -> None:
        super().__init__(DATA)


def is_given_back(view: memoryview) -> bool:
    try:
        view.nbytes  # noqa: B018
    except ValueError:
        return True
    return False


@pytest.fixture(params=["many", "streams", "file"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobReader]:
    if request.param == "file":
        (tmp_path / "blob").write_bytes(DATA)
        with blobread.open(tmp_path / "blob") as f:
            yield f
    else:
        with BlobReader(Many() if request.param == "many" else Alone(), "path") as f:
            yield f


def some_ranges(seed: int) -> tuple[list[int], list[int]]:
    choose = random.Random(seed)
    offsets = [choose.randrange(len(DATA) + 1) for _ in range(50)]
    return offsets, [min(choose.choice([0, 1, 16 << 10]), len(DATA) - at) for at in offsets]


@pytest.mark.parametrize("seed", range(5))
def test_each_range_has_its_bytes_in_the_order_that_was_asked_for(
    reader: BlobReader, seed: int
) -> None:
    offsets, sizes = some_ranges(seed)
    right = [DATA[at : at + size] for at, size in zip(offsets, sizes, strict=True)]
    reader.read(100)
    assert reader.read_ranges(offsets, sizes) == right
    buffers = [bytearray(size) for size in sizes]
    assert reader.readinto_ranges(offsets, buffers) == sum(sizes)
    assert buffers == right
    assert reader.tell() == 100
    assert reader.read(100) == DATA[100:200]
    assert reader.stats.bytes_delivered == 200 + 2 * sum(sizes)


def test_memory_is_the_callers_own(reader: BlobReader) -> None:
    views = reader.read_ranges([5, 5], [10, 10])
    reader.close()
    views[0][:] = bytes(10)
    assert views == [bytes(10), DATA[5:15]]


def test_offsets_and_sizes_may_be_integer_arrays(reader: BlobReader) -> None:
    offsets = np.array([70_000, 5], dtype=np.uint32)
    assert reader.read_ranges(offsets, np.array([10, 20])) == [DATA[70_000:70_010], DATA[5:25]]
    reader.prefetch(offsets, np.array([10, 20]))


def test_buffers_may_be_arrays_of_any_item_type_and_their_rows(reader: BlobReader) -> None:
    rows = np.zeros((3, 100), dtype=np.uint16)
    assert reader.readinto_ranges([100, 5000, 0], rows) == 600
    assert rows.tobytes() == DATA[100:300] + DATA[5000:5200] + DATA[:200]


def test_no_range_is_nothing_to_do(reader: BlobReader) -> None:
    assert reader.read_ranges([], []) == []
    assert reader.read_ranges([0, len(DATA), 2**62], [0, 0, 0]) == [b""] * 3
    assert reader.readinto_ranges([], []) == 0
    assert reader.stats.bytes_fetched == 0


def test_engine_is_asked_once_for_all_that_are_not_empty() -> None:
    driver = Many()
    with BlobReader(driver, "path") as f:
        f.read_ranges([500, 7, 90_000], [10, 0, 30_000])
        assert driver.calls == [([500, 90_000], [10, 30_000])]
        assert f.stats[:3] == (1, 30_010, 30_010)
    assert driver.asked == []


def test_without_such_a_method_they_are_read_in_order_of_their_offsets() -> None:
    driver = Alone()
    with BlobReader(driver, "path") as f:
        f.read_ranges([90_000, 500], [10, 20])
        assert driver.asked == [(500, 20), (90_000, 10)]


@pytest.mark.parametrize("call", ["read_ranges", "readinto_ranges", "prefetch"])
@pytest.mark.parametrize(
    ("offsets", "sizes", "error", "match"),
    [
        ([0, -1], [1, 1], ValueError, "range 1: negative offset -1"),
        ([0, 1], [1], ValueError, "2 offsets"),
        ([0], [1, 1], ValueError, "1 offsets"),
        ([0, 1.5], [1, 1], TypeError, "integer"),
        ([0, 2**63], [1, 1], OverflowError, "offset"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(
    reader: BlobReader, call: str, offsets: Any, sizes: Any, error: type[Exception], match: str
) -> None:
    second = [bytearray(size) for size in sizes] if call == "readinto_ranges" else sizes
    with pytest.raises(error, match=match):
        getattr(reader, call)(offsets, second)
    assert reader.stats.bytes_fetched == 0


@pytest.mark.parametrize("call", ["read_ranges", "prefetch"])
def test_negative_size_is_refused(reader: BlobReader, call: str) -> None:
    with pytest.raises(ValueError, match="range 1: negative size -1"):
        getattr(reader, call)([0, 0], [1, -1])


@pytest.mark.parametrize("at", [len(DATA) - 9, len(DATA), 2**62, 2**63 - 1])
def test_range_beyond_the_end_is_an_error_before_any_is_read(reader: BlobReader, at: int) -> None:
    memory = [bytearray(10), bytearray(10)]
    with pytest.raises(EOFError, match=rf"range 1: \[{at}, {at + 10}\)"):
        reader.readinto_ranges([0, at], memory)
    with pytest.raises(EOFError, match="range 1"):
        reader.read_ranges([0, at], [10, 10])
    assert memory == [bytes(10)] * 2
    assert reader.stats.bytes_fetched == 0
    memory[0].clear()
    memory[1].clear()


@pytest.mark.parametrize("unfit", [b"read only", 5, memoryview(bytearray(10))[::2]], ids=repr)
def test_unfit_buffer_is_an_error_before_any_is_read(reader: BlobReader, unfit: Any) -> None:
    memory = bytearray(10)
    with pytest.raises((TypeError, BufferError)) as caught:
        reader.readinto_ranges([0, 0], [memory, unfit])
    assert caught.value.__notes__ == ["range 1: its buffer is not fit"]
    memory.clear()
    assert reader.stats.bytes_fetched == 0


def test_error_says_which_range_it_was_of_and_gives_all_memory_back() -> None:
    driver = OneBlob(DATA, failing_at(500, Broken("no more")))
    memory = [bytearray(100) for _ in range(3)]
    with BlobReader(driver, "path") as f:
        with pytest.raises(Broken) as caught:
            f.readinto_ranges([0, 450, 200], memory)
        assert caught.value.__notes__ == ["range 1: [450, 550)"]
    for buffer in memory:
        buffer.clear()
    assert driver.left_open == 0


@pytest.mark.parametrize("error", [Broken("fails"), KeyboardInterrupt()], ids=repr)
def test_error_of_an_engine_comes_out_and_gives_all_memory_back(error: BaseException) -> None:
    driver = Many()
    driver.error = error
    memory = [bytearray(100) for _ in range(3)]
    with BlobReader(driver, "path") as f:
        with pytest.raises(type(error)):
            f.readinto_ranges([0, 450, 200], memory)
        for buffer in memory:
            buffer.clear()
        assert all(is_given_back(view) for view in driver.views)
        driver.error = None
        assert f.read_ranges([5], [10]) == [DATA[5:15]]


def test_memory_that_an_engine_keeps_is_an_error_and_the_rest_is_given_back() -> None:
    class Keeping(Many):
        def readinto_ranges(self, *args: Any) -> None:
            self.kept.append(PickleBuffer(args[2][0]))
            super().readinto_ranges(*args)

    driver = Keeping()
    memory = [bytearray(100) for _ in range(3)]
    with BlobReader(driver, "path") as f:
        with pytest.raises(BufferError):
            f.readinto_ranges([0, 450, 200], memory)
        memory[1].clear()
        memory[2].clear()
        driver.kept.clear()


@pytest.mark.parametrize("driver", [Many, Alone])
def test_blob_that_vanished_fills_no_range(driver: Callable[[], Any]) -> None:
    store = driver()
    with BlobReader(store, "path", missing="eof") as f, BlobReader(store, "path") as strict:
        store.data = None
        with pytest.raises(EOFError, match="gone"):
            f.read_ranges([5], [10])
        with pytest.raises(PathNotFoundError):
            strict.read_ranges([5], [10])


@pytest.mark.parametrize("call", ["read_ranges", "readinto_ranges", "prefetch"])
def test_unknown_size_and_a_closed_reader_are_refused(call: str) -> None:
    class Unsized(Many):
        def stat(self, path: str, /) -> BlobInfo:
            return replace(super().stat(path), size=None)

    second: list[Any] = [bytearray(10)] if call == "readinto_ranges" else [10]
    driver = Unsized()
    with BlobReader(driver, "path") as f:
        with pytest.raises(io.UnsupportedOperation):
            getattr(f, call)([0], second)
        assert f.read() == DATA
        # Now it is known, but not to the store.
        getattr(f, call)([0], second)
        assert driver.calls == driver.hints == []
    with pytest.raises(ValueError, match="closed"):
        getattr(f, call)([0], second)


def test_ranges_are_read_side_by_side_and_beside_the_cursor() -> None:
    meeting = threading.Barrier(4)
    driver = Many()
    driver.before = lambda: meeting.wait(60)
    with BlobReader(driver, "path") as f:
        reads = [lambda n=n: f.read_ranges([n], [10]) for n in range(4)]
        assert together(*reads) == [[DATA[n : n + 10]] for n in range(4)]
        driver.before = lambda: f.read(10)
        f.read_ranges([5], [10])
        assert f.tell() == 10


def test_close_in_another_thread_is_a_value_error() -> None:
    gate = Gate()
    driver = Many()
    driver.before = gate.pass_through
    memory = bytearray(10)
    f = BlobReader(driver, "path")
    call = Call(lambda: f.readinto_ranges([5], [memory]))
    gate.wait_until_reached()
    f.close()
    gate.open()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    memory.clear()


def test_close_between_two_ranges_is_a_value_error() -> None:
    driver = Alone()
    f = BlobReader(driver, "path")

    def closing(stream: Stream, buffer: memoryview) -> int:
        got = stream.fill(buffer)
        f.close()
        return got

    driver.behave = closing
    with pytest.raises(ValueError, match="closed"):
        f.read_ranges([5, 500], [10, 10])
    assert len(driver.asked) == 1


# ---- prefetch ------------------------------------------------------------------------------------


def test_prefetch_names_what_the_blob_has_of_it() -> None:
    driver = Many()
    with BlobReader(driver, "path") as f:
        f.prefetch([len(DATA) - 5, 50, 70, 2**62], [100, 10, 0, 5])
        f.prefetch([5], [0])
        f.prefetch([], [])
        assert driver.hints == [([len(DATA) - 5, 50], [5, 10])]


def test_prefetch_without_an_engine_does_nothing(reader: BlobReader) -> None:
    reader.prefetch([0, 2**62], [10, 2**62])
    assert reader.stats.bytes_fetched == 0


def test_errors_of_prefetch_come_out() -> None:
    driver = Many()
    driver.error = io.UnsupportedOperation("no")
    with BlobReader(driver, "path") as f, pytest.raises(io.UnsupportedOperation):
        f.prefetch([0], [10])


def test_note_of_a_range_is_on_an_error_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    with blobread.open(tmp_path / "blob") as f:
        with (tmp_path / "blob").open("r+b") as blob:
            blob.truncate(1000)
        with pytest.raises(BlobError) as caught:
            f.read_ranges([0, 900], [10, 200])
        assert caught.value.__notes__ == ["range 1: [900, 1100)"]
