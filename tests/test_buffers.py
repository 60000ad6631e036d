"""Buffers of every kind are filled by bytes, or refused before any I/O; none stays locked."""

import array
import contextlib
import ctypes
import mmap
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving import Broken, OneBlob, Stream, at_most, failing_at, honest
from together import Call, Gate

import blobread
from blobread import BlobReader
from blobread.drivers.memory import MemoryDriver

DATA = random.Random(4).randbytes(1 << 20)


@pytest.fixture(params=["memory", "file", "short"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobReader]:
    match request.param:
        case "memory":
            opened = BlobReader(MemoryDriver({"path": DATA}), "path")
        case "file":
            (tmp_path / "blob").write_bytes(DATA)
            opened = blobread.open(tmp_path / "blob")
        case _:
            opened = BlobReader(OneBlob(DATA, at_most(1000)), "path")
    with opened:
        yield opened


def bytes_of(buffer: Any) -> bytes:
    # No memoryview of a datetime64 can be made, since there is no format for it.
    return (buffer if isinstance(buffer, np.ndarray) else memoryview(buffer)).tobytes()


class Struct(ctypes.Structure):
    _fields_ = (("number", ctypes.c_double), ("letters", ctypes.c_char * 3))


DTYPES = ["?", "b", "B", "<i2", ">i2", "=u4", "<i8", ">u8", "<f2", ">f4", "f8", "c8", ">c16"]
DTYPES += ["S5", "V7", "<U3", "M8[ns]", ">m8[us]"]

BUFFERS: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(1001),
    "large bytearray": lambda: bytearray(300_001),
    "one byte": lambda: bytearray(1),
    "memoryview": lambda: memoryview(bytearray(1000)),
    "part of a memoryview": lambda: memoryview(bytearray(1000))[100:900],
    "memoryview of doubles": lambda: memoryview(bytearray(800)).cast("d"),
    "memoryview of two dimensions": lambda: memoryview(bytearray(600)).cast("B", (20, 30)),
    "memoryview without dimensions": lambda: memoryview(bytearray(8)).cast("d", ()),
    "ctypes array": lambda: (ctypes.c_int32 * 100)(),
    "ctypes array of arrays": lambda: ((ctypes.c_int16 * 10) * 20)(),
    "ctypes structure": Struct,
    "ctypes number": lambda: ctypes.c_uint64(),
    "numpy of two dimensions": lambda: np.zeros((30, 40), np.float32),
    "large numpy of two dimensions": lambda: np.zeros((300, 400), np.float32),
    "rows of a numpy array": lambda: np.zeros((30, 40))[5:10],
    "numpy without dimensions": lambda: np.zeros(()),
    "numpy structured": lambda: np.zeros(50, [("x", ">f8"), ("y", "i2"), ("z", "S3", 2)]),
    "numpy structured and aligned": lambda: np.zeros(50, np.dtype("i1,f8", align=True)),
    "numpy record": lambda: np.rec.array(np.zeros(9, "f8,i4")),
    "numpy with a dimension of one": lambda: np.zeros((40, 1, 30))[:, ::-1],
    "numpy memmap": lambda: np.frombuffer(mmap.mmap(-1, 4096), np.int16),
    "mmap": lambda: mmap.mmap(-1, 70_000),
    **{f"array {code}": partial(array.array, code, bytes(800)) for code in "bBhHiIlLqQfd"},
    **{f"numpy {dtype}": partial(np.zeros, 70, dtype) for dtype in DTYPES},
}


@pytest.fixture(params=list(BUFFERS.values()), ids=list(BUFFERS))
def buffer(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.mark.parametrize("call", ["readinto", "readinto1", "readinto_at", "hit"])
def test_buffer_of_any_item_type_and_shape_is_filled_by_bytes(
    reader: BlobReader, buffer: Any, call: str
) -> None:
    reader.seek(77)
    if call == "hit":
        reader.peek()
    size = len(bytes_of(buffer))
    if call == "readinto_at":
        assert reader.readinto_at(buffer, 77) == size
        assert reader.tell() == 77
    elif call == "readinto1":
        got = reader.readinto1(buffer)
        assert 0 < got <= size
        assert bytes_of(buffer) == DATA[77 : 77 + got] + bytes(size - got)
        return
    else:
        assert reader.readinto(buffer) == size
        assert reader.tell() == 77 + size
    assert bytes_of(buffer) == DATA[77 : 77 + size]


EMPTY: dict[str, Callable[[], Any]] = {
    "bytearray": bytearray,
    "array": lambda: array.array("d"),
    "memoryview": lambda: memoryview(bytearray()),
    "numpy": lambda: np.zeros(0),
    "numpy of two dimensions": lambda: np.zeros((5, 0, 3)),
    "ctypes": lambda: (ctypes.c_int * 0)(),
}


@pytest.mark.parametrize("make", EMPTY.values(), ids=EMPTY.keys())
def test_buffer_without_bytes_is_filled_by_none_and_without_io(make: Callable[[], Any]) -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f:
        assert (f.readinto(make()), f.readinto1(make()), f.readinto_at(make(), 5)) == (0, 0, 0)
        assert driver.asked == []


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def released() -> memoryview:
    view = memoryview(bytearray(8))
    view.release()
    return view


UNFIT: dict[str, tuple[Callable[[], Any], tuple[type[Exception], ...]]] = {
    "bytes": (lambda: bytes(8), (TypeError, BufferError)),
    "empty bytes": (lambda: b"", (TypeError, BufferError)),
    "str": (lambda: "12345678", (TypeError,)),
    "list": (lambda: [0] * 8, (TypeError,)),
    "int": (lambda: 8, (TypeError,)),
    "None": (lambda: None, (TypeError,)),
    "bytearray's class": (lambda: bytearray, (TypeError,)),
    "memoryview that is read-only": (
        lambda: memoryview(bytearray(8)).toreadonly(),
        (TypeError, BufferError),
    ),
    "memoryview with steps": (lambda: memoryview(bytearray(8))[::2], (BufferError,)),
    "memoryview backwards": (lambda: memoryview(bytearray(8))[::-1], (BufferError,)),
    "memoryview that is released": (released, (ValueError, BufferError)),
    "numpy that is read-only": (lambda: read_only(np.zeros(8)), (BufferError,)),
    "numpy with steps": (lambda: np.zeros(8)[::2], (BufferError,)),
    "numpy backwards": (lambda: np.zeros(8)[::-1], (BufferError,)),
    "numpy in Fortran's order": (lambda: np.zeros((4, 5), order="F"), (BufferError,)),
    "columns of a numpy array": (lambda: np.zeros((4, 5))[:, :3], (BufferError,)),
    "numpy broadcast": (lambda: np.broadcast_to(np.zeros(3), (4, 3)), (BufferError,)),
    "mmap that is read-only": (
        lambda: mmap.mmap(-1, 4096, access=mmap.ACCESS_READ),
        (TypeError, BufferError),
    ),
}


@pytest.mark.parametrize(("make", "errors"), UNFIT.values(), ids=UNFIT.keys())
@pytest.mark.parametrize("call", ["readinto", "readinto1", "readinto_at", "hit"])
def test_unfit_buffer_is_refused_before_any_io(
    make: Callable[[], Any], errors: tuple[type[Exception], ...], call: str
) -> None:
    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f:
        if call == "hit":
            f.peek()
        asked = len(driver.asked)
        with pytest.raises(errors):
            if call == "readinto_at":
                f.readinto_at(make(), 0)
            else:
                getattr(f, call.replace("hit", "readinto"))(make())
        assert len(driver.asked) == asked
        assert f.tell() == 0
        assert f.read(10) == DATA[:10]


def test_bytes_are_never_written_to() -> None:
    constant = bytes(8)
    with BlobReader(OneBlob(DATA), "path") as f:
        f.peek()
        with pytest.raises((TypeError, BufferError)):
            f.readinto(constant)
    assert constant == bytes(8)


# ---- nothing beside the buffer is touched --------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 4096, 20_000, 70_000, 300_000])
def test_bytes_on_both_sides_of_a_buffer_stay_as_they_are(reader: BlobReader, size: int) -> None:
    canary = b"\xa5" * 64
    memory = bytearray(canary + bytes(size) + canary)
    for at in (0, 5, 4095, 100_000, len(DATA) - size, len(DATA) - size + 1):
        part = memoryview(memory)[64:-64]
        reader.seek(at)
        got = reader.readinto(part)
        assert part[:got] == DATA[at : at + size]
        assert reader.readinto_at(part, at) == got
        assert memory[:64] == memory[-64:] == canary


@pytest.mark.skipif(sys.platform == "win32", reason="only where mprotect(2) is")
@pytest.mark.parametrize("size", [1, 4095, 20_000, 70_000, 300_000])
def test_no_byte_beyond_a_buffer_is_touched(reader: BlobReader, size: int) -> None:
    page = mmap.PAGESIZE
    room = (size + page - 1) // page * page
    memory = mmap.mmap(-1, room + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    protect = libc.mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(start + room, page, 0) == 0, ctypes.get_errno()
    try:
        part = memoryview(memory)[room - size : room]
        for at in (0, 100, len(DATA) - size):
            reader.seek(at)
            assert reader.readinto(part) == size
            assert part == DATA[at : at + size]
            assert reader.readinto_at(part, at) == size
            reader.seek(at)
            reader.peek()
            assert reader.readinto1(part) <= size
    finally:
        protect(start + room, page, mmap.PROT_READ | mmap.PROT_WRITE)


# ---- exports -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 20_000, 300_000])
def test_buffer_can_be_resized_after_a_read(reader: BlobReader, size: int) -> None:
    buffer = bytearray(size)
    reads: list[Callable[[], int]] = [
        lambda: reader.readinto(buffer),
        lambda: reader.readinto1(buffer),
        lambda: reader.readinto_at(buffer, 5),
        lambda: reader.readinto(buffer),
    ]
    for read in reads:
        read()
        buffer.append(0)
        del buffer[-1]


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("at", [0, 500, 100_000])
def test_buffer_can_be_resized_after_an_exception(error: type[BaseException], at: int) -> None:
    with BlobReader(OneBlob(DATA, failing_at(at, error)), "path") as f:
        for size in (1000, 200_000):
            buffer = bytearray(size)
            reads: list[Callable[[bytearray], int]]
            reads = [f.readinto, f.readinto1, lambda b: f.readinto_at(b, 0)]
            for read in reads:
                with contextlib.suppress(error):
                    read(buffer)
                buffer.append(0)
                f.seek(0)


@pytest.mark.parametrize("lie", [-1, 2**70, None, "4"])
def test_buffer_can_be_resized_after_a_lie(lie: object) -> None:
    with BlobReader(OneBlob(DATA, lambda stream, buffer: lie), "path") as f:
        buffer = bytearray(200_000)
        with pytest.raises(OSError):
            f.readinto(buffer)
        with pytest.raises(OSError):
            f.readinto_at(buffer, 0)
        buffer.clear()


def test_closed_or_failing_calls_leave_no_export() -> None:
    f = BlobReader(OneBlob(DATA), "path")
    buffer = bytearray(10)
    with pytest.raises(ValueError):
        f.readinto_at(buffer, -1)
    buffer.append(0)
    f.close()
    for read in (f.readinto, f.readinto1, lambda b: f.readinto_at(b, 0)):
        with pytest.raises(ValueError):
            read(buffer)
        buffer.append(0)


@pytest.mark.parametrize("size", [1000, 200_000])
@pytest.mark.parametrize("call", ["readinto", "readinto_at"])
def test_buffer_cannot_be_resized_while_it_is_filled(size: int, call: str) -> None:
    gate = Gate()
    with BlobReader(OneBlob(DATA, gate.before()), "path") as f:
        buffer = bytearray(size)
        read = Call(lambda: f.readinto(buffer) if call == "readinto" else f.readinto_at(buffer, 0))
        gate.wait_until_reached()
        with pytest.raises(BufferError):
            buffer.clear()
        gate.open()
        assert read.outcome() == size
        assert buffer == DATA[:size]
        buffer.clear()


def test_view_that_a_stream_was_given_is_dead_after_the_read() -> None:
    views: list[memoryview] = []

    def keep(stream: Stream, buffer: memoryview) -> int:
        views.append(buffer)
        return stream.fill(buffer)

    with BlobReader(OneBlob(DATA, keep), "path") as f:
        f.read(10)
        f.read(200_000)
        f.readinto(bytearray(200_000))
        f.read_at(10, 500_000)
    assert len(views) >= 4
    for view in views:
        with pytest.raises(ValueError, match="released"):
            view[0]


def test_stream_is_given_plain_writable_bytes() -> None:
    seen: list[tuple[Any, ...]] = []

    def look(stream: Stream, buffer: memoryview) -> int:
        seen.append((type(buffer), buffer.format, buffer.itemsize, buffer.ndim, buffer.readonly))
        return stream.fill(buffer)

    with BlobReader(OneBlob(DATA, look), "path") as f:
        f.read(10)
        f.read(200_000)
        f.readinto(memoryview(bytearray(720_000)).cast("d", (300, 300)))
        f.readinto_at(array.array("d", bytes(80)), 0)
    assert set(seen) == {(memoryview, "B", 1, 1, False)}


def test_memory_that_a_stream_was_given_cannot_be_resized_by_it() -> None:
    """The owner of a view is at hand as its `obj`: the reader must not read what that has freed."""
    owners: list[Any] = []

    def keep(stream: Stream, buffer: memoryview) -> int:
        owners.append(buffer.obj)
        return stream.fill(buffer)

    with BlobReader(OneBlob(DATA, keep), "path") as f:
        f.peek()
        for owner in owners:
            with pytest.raises((AttributeError, BufferError)):
                owner.clear()


@pytest.mark.parametrize("size", [100, 200_000])
def test_stream_that_cannot_be_interrupted_is_never_given_the_callers_memory(size: int) -> None:
    class Uninterruptible(Stream):
        interruptible = False

    class Driver(OneBlob):
        def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
            return Uninterruptible(data, offset, length, self.behave)

    def look(stream: Stream, view: memoryview) -> int:
        assert not np.shares_memory(np.frombuffer(view, np.uint8), buffer)
        return stream.fill(view)

    buffer: Any = np.zeros(size, np.uint8)
    with BlobReader(Driver(DATA, look), "path") as f:
        assert f.readinto(buffer) == size
        assert buffer.tobytes() == DATA[:size]
        assert f.readinto_at(buffer, 5) == size
        assert buffer.tobytes() == DATA[5 : 5 + size]


# ---- objects with __buffer__ (Python 3.12) -------------------------------------------------------

if sys.version_info >= (3, 12):

    @pytest.mark.parametrize("size", [100, 200_000])
    @pytest.mark.parametrize("held", [False, True])
    def test_buffer_that_calls_the_reader_while_it_is_taken_and_given_back(
        size: int, held: bool
    ) -> None:
        class Meddler:
            def __init__(self) -> None:
                self.memory = bytearray(size)
                self.got: list[bytes] = []

            def __buffer__(self, flags: int) -> memoryview:
                self.got.append(f.read(1))
                return memoryview(self.memory)

            def __release_buffer__(self, view: memoryview) -> None:
                view.release()
                f.tell()

        with BlobReader(OneBlob(DATA), "path") as f:
            if held:
                f.peek()
            meddler = Meddler()
            try:
                got = f.readinto(meddler)
            except RuntimeError:
                return  # it was taken again inside the read: refused as reentrant
            moved = sum(map(len, meddler.got))
            assert f.tell() == moved + got
            assert meddler.memory[:got] == DATA[moved : moved + got]
            meddler.memory.clear()

    @pytest.mark.parametrize("size", [100, 200_000])
    def test_buffer_that_closes_the_reader_while_it_is_taken_is_a_value_error(size: int) -> None:
        class Closer:
            def __buffer__(self, flags: int) -> memoryview:
                f.close()
                return memoryview(bytearray(size))

        f = BlobReader(OneBlob(DATA), "path")
        f.peek()
        with pytest.raises(ValueError, match="closed"):
            f.readinto(Closer())

    @pytest.mark.parametrize("size", [100, 200_000])
    @pytest.mark.parametrize("behave", [honest, at_most(777)], ids=["honest", "short"])
    @pytest.mark.parametrize("shrinks", [False, True])
    def test_buffer_that_is_another_one_each_time_is_filled_whole_or_refused(
        size: int, behave: Any, shrinks: bool
    ) -> None:
        class Fickle:
            def __init__(self) -> None:
                self.given: list[bytearray] = []

            def __buffer__(self, flags: int) -> memoryview:
                self.given.append(bytearray(size // (len(self.given) + 1 if shrinks else 1)))
                return memoryview(self.given[-1])

        with BlobReader(OneBlob(DATA, behave), "path") as f:
            fickle = Fickle()
            try:
                assert f.readinto(fickle) == size
            except OSError:
                assert f.tell() == 0
            else:
                assert fickle.given[0] == DATA[:size]
