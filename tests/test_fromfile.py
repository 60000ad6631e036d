"""`fromfile` reads what `numpy.fromfile` reads, and never less than was asked for."""

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blobread
from blobread import BlobError, BlobInfo, BlobReader
from blobread.drivers.memory import MemoryDriver, MemoryStream

DATA = random.Random(3).randbytes(100_003)

STRUCTURED = np.dtype([("a", "i1"), ("b", ">f8"), ("c", "S3"), ("d", "<u2", (2, 3))])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)

DTYPES = [
    "?", "i1", "u1", "<i2", ">i2", "=u4", "<i8", ">i8", "<f2", ">f2", "f4", ">f4", "f8", ">f8", "g",
    "c8", ">c8", "c16", ">c16", "G", "S1", "S7", "U1", ">U3", "V5",
    "M8[ns]", ">M8[D]", "m8[s]", ">m8[us]",
    STRUCTURED, ALIGNED, np.dtype(("<i4", (2, 2))), np.float32, float, int,
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def reader() -> Iterator[BlobReader]:
    with BlobReader(MemoryDriver({"blob": DATA}), "blob") as reader:
        yield reader


def assert_same(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    """By their bytes: a NaN is not equal to itself."""
    assert type(got) is type(wanted)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert got.tobytes() == wanted.tobytes()
    assert got.flags.writeable
    assert got.flags.c_contiguous


# ---- as numpy.fromfile ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("count", "offset"), [(-1, 0), (-1, 7), (3, 0), (100, 1001), (0, 0)])
def test_array_is_that_of_numpy(file: Path, dtype: Any, count: int, offset: int) -> None:
    wanted = np.fromfile(file, dtype, count, offset=offset)
    assert_same(blobread.fromfile(file, dtype, count, offset), wanted)
    assert_same(blobread.fromfile(file.as_uri(), dtype, count, offset), wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reader_is_read_from_its_position_as_a_file_is(file: Path, dtype: Any) -> None:
    with blobread.open(file) as reader, file.open("rb") as plain:
        reader.seek(5)
        plain.seek(5)
        for count, offset in ((3, 0), (1, 9), (0, 2), (10, 100)):
            wanted = np.fromfile(plain, dtype, count, offset=offset)
            assert_same(blobread.fromfile(reader, dtype, count, offset), wanted)
            assert reader.tell() == plain.tell()
        assert_same(blobread.fromfile(reader, dtype), np.fromfile(plain, dtype))


def test_dtype_is_float_unless_told_otherwise(file: Path) -> None:
    assert_same(blobread.fromfile(file), np.fromfile(file))


def test_items_that_are_not_whole_are_left(reader: BlobReader) -> None:
    reader.seek(-10, 2)
    assert len(blobread.fromfile(reader, "<i8")) == 1
    assert reader.tell() == len(DATA) - 2
    assert len(blobread.fromfile(reader, "<i8")) == 0
    assert reader.read() == DATA[-2:]


def test_blob_of_no_bytes_is_an_empty_array(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert_same(blobread.fromfile(tmp_path / "empty", "<i4"), np.empty(0, "<i4"))
    assert_same(blobread.fromfile(tmp_path / "empty", "<i4", offset=10), np.empty(0, "<i4"))


# ---- shape and out -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [10, (10,), (2, 5), (1, 1, 3), (), (0,), (4, 0), np.int64(4)])
def test_shape_gives_the_number_of_items(reader: BlobReader, shape: Any) -> None:
    got = blobread.fromfile(reader, ">f4", shape=shape)
    wanted = np.frombuffer(DATA[:100_000], ">f4")[: got.size].reshape(shape).copy()
    assert_same(got, wanted)
    assert reader.tell() == got.nbytes


def test_shape_and_items_of_some_shape_make_one_shape(reader: BlobReader) -> None:
    dtype = np.dtype(("<i4", (2, 2)))
    got = blobread.fromfile(reader, dtype, shape=(3,))
    assert got.shape == (3, 2, 2)
    assert reader.tell() == 48


@pytest.mark.parametrize("dtype", ["u1", ">i4", "c16", "M8[s]", STRUCTURED], ids=str)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 1, 2), ()])
def test_out_is_filled_and_given(reader: BlobReader, dtype: Any, shape: tuple[int, ...]) -> None:
    out = np.empty(shape, dtype)
    assert blobread.fromfile(reader, offset=11, out=out) is out
    assert out.tobytes() == DATA[11 : 11 + out.nbytes]
    assert reader.tell() == 11 + out.nbytes


def test_out_may_be_a_part_of_an_array(reader: BlobReader) -> None:
    whole = np.zeros((5, 4), np.uint8)
    blobread.fromfile(reader, out=whole[1:3])
    assert whole.tobytes() == bytes(4) + DATA[:8] + bytes(8)


def strided() -> np.ndarray[Any, Any]:
    return np.zeros((4, 4))[:, ::2]


def fortran() -> np.ndarray[Any, Any]:
    return np.zeros((4, 4), order="F")


def read_only() -> np.ndarray[Any, Any]:
    out = np.zeros(4)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize("make", [strided, fortran, read_only])
def test_out_that_cannot_be_filled_is_an_error_and_stays_as_it_is(
    reader: BlobReader, make: Any
) -> None:
    out = make()
    reader.seek(3)
    with pytest.raises((BufferError, TypeError)):
        blobread.fromfile(reader, out=out)
    assert not out.any()
    assert reader.tell() == 3


@pytest.mark.parametrize("out", [bytearray(8), [0.0], memoryview(bytearray(8))])
def test_out_that_is_no_array_is_a_type_error(reader: BlobReader, out: Any) -> None:
    with pytest.raises(TypeError, match=type(out).__name__):
        blobread.fromfile(reader, out=out)


# ---- too few, and too much to ask for ------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"count": 12_499},
        {"count": 1 << 60},
        {"count": 1, "offset": 99_990},
        {"count": 1, "offset": 1 << 40},
        {"shape": (12_499, 1)},
        {"shape": (1 << 40, 1 << 40)},
        {"out": np.empty(12_499)},
    ],
)
def test_too_few_items_are_an_error_and_move_nothing(
    reader: BlobReader, asked: dict[str, Any]
) -> None:
    reader.seek(16)
    with pytest.raises(EOFError, match="left"):
        blobread.fromfile(reader, "<f8", **asked)
    assert reader.tell() == 16
    assert reader.read(5) == DATA[16:21]


def test_items_that_are_there_to_the_last_are_not_too_few(reader: BlobReader) -> None:
    assert len(blobread.fromfile(reader, "u1", len(DATA))) == len(DATA)


@pytest.mark.parametrize("out", [None, np.empty(2, "O"), np.empty(2, [("a", "O"), ("b", "i4")])])
def test_objects_are_refused(reader: BlobReader, out: Any) -> None:
    dtype = "O" if out is None else "u1"
    with pytest.raises(ValueError, match="object"):
        blobread.fromfile(reader, dtype, out=out)
    assert reader.tell() == 0


@pytest.mark.parametrize("dtype", ["S0", "U0", "V0", np.dtype([]), np.dtype(("i4", (0,)))], ids=str)
def test_items_of_no_bytes_are_refused(reader: BlobReader, dtype: Any) -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        blobread.fromfile(reader, dtype)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"offset": -1}, ValueError),
        ({"shape": -1}, ValueError),
        ({"shape": (2, -1)}, ValueError),
        ({"shape": (-1, -1)}, ValueError),
        ({"shape": 2, "count": 2}, ValueError),
        ({"out": np.empty(2), "count": 2}, ValueError),
        ({"out": np.empty(2), "shape": 2}, ValueError),
        ({"count": 1.5}, TypeError),
        ({"count": None}, TypeError),
        ({"offset": 1.5}, TypeError),
        ({"offset": None}, TypeError),
        ({"shape": 1.5}, TypeError),
        ({"dtype": "no dtype"}, TypeError),
    ],
    ids=str,
)
def test_senseless_arguments_are_refused(
    reader: BlobReader, asked: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        blobread.fromfile(reader, **asked)
    assert reader.tell() == 0


def test_missing_blob_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        blobread.fromfile(tmp_path / "missing")


def test_closed_reader_is_a_value_error(reader: BlobReader) -> None:
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        blobread.fromfile(reader)


# ---- a size that is not known --------------------------------------------------------------------


class Unsized(MemoryDriver):
    """Does not say how large its blobs are."""

    def stat(self, path: str, /) -> BlobInfo:
        return BlobInfo(path, None)


@pytest.fixture
def unsized() -> Iterator[BlobReader]:
    with BlobReader(Unsized({"blob": DATA}), "blob") as reader:
        yield reader


def test_blob_of_unknown_size_gives_as_many_items_as_are_asked_for(unsized: BlobReader) -> None:
    assert_same(blobread.fromfile(unsized, ">i4", 10), np.frombuffer(DATA, ">i4", 10).copy())
    got = blobread.fromfile(unsized, ">i4", offset=4, shape=(5, 5))
    assert_same(got, np.frombuffer(DATA, ">i4", 25, offset=44).reshape(5, 5).copy())
    out = np.empty(3, "u1")
    assert blobread.fromfile(unsized, out=out).tobytes() == DATA[144:147]


def test_blob_of_unknown_size_cannot_give_all_items(unsized: BlobReader) -> None:
    with pytest.raises(io.UnsupportedOperation, match="unknown"):
        blobread.fromfile(unsized, ">i4")
    assert unsized.read(4) == DATA[:4]


def test_blob_of_unknown_size_that_is_too_short_says_so(unsized: BlobReader) -> None:
    with pytest.raises(EOFError, match="100003 are left"):
        blobread.fromfile(unsized, "u1", len(DATA) + 1)


def test_error_in_a_blob_that_does_not_go_back_comes_out_as_it_is() -> None:
    class Stream(MemoryStream):
        def readinto(self, buffer: memoryview, /) -> int:
            if len(self._left) < 50:
                raise BlobError("broken off")
            return super().readinto(buffer[:50])

    class Breaking(Unsized):
        def read_stream(self, *args: Any, **pin: Any) -> MemoryStream:
            return Stream(DATA[:100], 0, 100)

    with BlobReader(Breaking({"blob": DATA}), "blob") as reader:
        blobread.fromfile(reader, "u1", 40)
        with pytest.raises(BlobError, match="broken off"):
            blobread.fromfile(reader, "u1", 100, offset=4)
