"""The rules of a reader: what it asks of its driver, where it ends, and what survives an error."""

import contextlib
import errno
import hashlib
import io
import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from misbehaving import (
    LIES,
    Behaviour,
    Broken,
    OneBlob,
    OneBlobOpened,
    Stream,
    at_most,
    failing_at,
    honest,
    lying,
)

from blobread import (
    AccessDeniedError,
    BlobChangedError,
    BlobError,
    BlobInfo,
    BlobIsDirectoryError,
    BlobReader,
    BlobTimeoutError,
    InvalidPathError,
    PathNotFoundError,
    ProtocolError,
    TruncatedBlobError,
)
from blobread.drivers.file import FileDriver
from blobread.drivers.memory import MemoryDriver

DATA = random.Random(1).randbytes(3 << 20)


def reads_without_a_size(f: BlobReader) -> list[Callable[[], bytes]]:
    return [f.read, f.read1, f.readline, f.peek, lambda: f.read_at(5, 0)]


def reader_of(driver: Any, **options: Any) -> BlobReader:
    return BlobReader(driver, "path", **options)


not_on_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="only where a file can be replaced while it is open"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


# ---- the seed's own tests (seed.md 6.1, 6.2) -----------------------------------------------------


@pytest.fixture(params=["memory", "file", "stream", "short"])
def open_bytes(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], BlobReader]:
    def opened(data: bytes) -> BlobReader:
        if request.param == "memory":
            return BlobReader(MemoryDriver({"path": data}), "path")
        if request.param == "file":
            (tmp_path / "blob").write_bytes(data)
            return BlobReader(FileDriver(), str(tmp_path / "blob"))
        return reader_of(OneBlob(data, at_most(1000) if request.param == "short" else honest))

    return opened


def test_copy_of_a_blob_has_its_digest(open_bytes: Callable[[bytes], BlobReader]) -> None:
    digest = hashlib.sha256()
    with open_bytes(DATA[: 1 << 20]) as f:
        while part := f.read(32768):
            digest.update(part)
    assert digest.digest() == hashlib.sha256(DATA[: 1 << 20]).digest()


def test_blocks_in_any_order_are_right(open_bytes: Callable[[bytes], BlobReader]) -> None:
    pattern = b"01234567890ab"
    blocks = list(range(1024))
    random.Random(2).shuffle(blocks)
    with open_bytes(pattern * 1024) as f:
        for block in blocks:
            target = block * len(pattern)
            assert f.seek(target) == target
            assert f.read(len(pattern)) == pattern
            assert f.tell() == f.seek(0, io.SEEK_CUR) == target + len(pattern)


def test_ends_of_a_blob_can_be_sought(open_bytes: Callable[[bytes], BlobReader]) -> None:
    with open_bytes(DATA) as f:
        assert f.seek(0) == 0
        assert f.seek(0, io.SEEK_END) == len(DATA)
        assert f.seek(-5, io.SEEK_END) == len(DATA) - 5
        assert f.read() == DATA[-5:]


def test_seek_to_minus_one_fails_and_harms_nothing(
    open_bytes: Callable[[bytes], BlobReader],
) -> None:
    with open_bytes(DATA) as f:
        f.read(100)
        with pytest.raises(ValueError, match="negative"):
            f.seek(-1)
        assert f.tell() == 100
        assert f.read(100) == DATA[100:200]


def test_read_past_the_end_is_empty(open_bytes: Callable[[bytes], BlobReader]) -> None:
    with open_bytes(DATA) as f:
        assert f.seek(1, io.SEEK_END) == len(DATA) + 1
        assert f.read(16) == b""
        assert f.tell() == len(DATA) + 1
        assert f.seek(2**63 - 1) == 2**63 - 1
        assert f.read() == f.read1(5) == f.readline() == f.peek() == b""
        assert f.readinto(bytearray(5)) == 0


@pytest.mark.parametrize("info", [None, BlobInfo("path", 10)])
def test_missing_blob_reads_as_empty_if_that_was_asked_for(info: BlobInfo | None) -> None:
    driver = OneBlob(b"")
    driver.data = None
    with reader_of(driver, missing="eof", info=info) as f:
        assert f.read(1024) == b""
        assert f.tell() == 0


@pytest.mark.parametrize(
    "error",
    [
        PathNotFoundError("gone"),
        AccessDeniedError("no"),
        InvalidPathError("bad"),
        BlobTimeoutError("late"),
        Broken("what"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_of_the_driver_comes_out_as_it_is(error: OSError) -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        driver.failures = [error]
        with pytest.raises(type(error)) as caught:
            f.read(10)
        assert caught.value is error
        assert f.read(10) == DATA[:10]


def test_appended_bytes_are_seen_by_a_new_reader_only(file: Path) -> None:
    with BlobReader(FileDriver(), str(file)) as old:
        with file.open("ab") as out:
            out.write(DATA)
        with BlobReader(FileDriver(), str(file)) as new:
            assert new.read() == DATA + DATA
        assert old.read() == DATA
        assert old.seek(0, io.SEEK_END) == len(DATA)


# ---- rule 1: creation ----------------------------------------------------------------------------


def test_creation_is_one_request() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        assert driver.requests == 1
        assert f.size == len(DATA)
        assert f.tell() == 0
        f.seek(1000)
        assert driver.requests == 1
        f.read(10)
        assert driver.requests == 2


def test_creation_by_open_takes_its_first_bytes_when_they_are_read() -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        assert driver.streams[0].asked == []
        assert f.read(100) == DATA[:100]
        assert f.read(100_000) == DATA[100:100_100]
        assert driver.requests == f.stats.requests == 1


def test_reader_reads_on_where_the_first_bytes_end() -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        assert f.read() == DATA
        assert driver.asked[1][0] == driver.first
        assert driver.requests == 2
    assert driver.left_open == 0


def test_given_info_creation_asks_nothing() -> None:
    driver = OneBlobOpened(DATA)
    info = BlobInfo("path", len(DATA), "version:1")
    with reader_of(driver, info=info) as f:
        assert f.info is info
        f.seek(0, io.SEEK_END)
        f.seek(5)
        assert driver.requests == f.stats.requests == 0
        assert f.read(5) == DATA[5:10]
        assert driver.stats == 0


def test_reader_that_is_never_read_opens_nothing() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        f.seek(100, io.SEEK_CUR)
        f.tell()
    assert driver.asked == []


def test_missing_blob_is_a_file_not_found() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        BlobReader(MemoryDriver(), "path")
    assert isinstance(caught.value, PathNotFoundError)
    assert caught.value.errno == errno.ENOENT


def test_blob_absent_at_creation_is_empty_for_ever() -> None:
    driver = MemoryDriver()
    with reader_of(driver, missing="eof") as f:
        driver.put("path", DATA)
        assert f.size == 0
        assert f.read() == b""


def test_blob_that_vanished_ends_and_is_asked_for_again() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver, missing="eof") as f:
        driver.data = None
        for read in reads_without_a_size(f):
            before = len(driver.asked)
            assert read() == b""
            assert len(driver.asked) == before + 1
        assert f.readinto(bytearray(100_000)) == 0
        assert f.size == len(DATA)
        driver.data = DATA
        assert f.read() == DATA


def test_blob_that_vanished_is_an_error_by_default() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        driver.data = None
        for read in reads_without_a_size(f):
            with pytest.raises(PathNotFoundError):
                read()
        driver.data = DATA
        assert f.read(5) == DATA[:5]


def test_failed_creation_leaves_nothing_open() -> None:
    class Directory(OneBlobOpened):
        def open(self, path: str, /) -> tuple[BlobInfo, Stream]:
            return BlobInfo(path, 0, is_dir=True), super().open(path)[1]

    driver = Directory(DATA)
    with pytest.raises(IsADirectoryError):
        reader_of(driver)
    assert len(driver.streams) == 1
    assert driver.left_open == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"missing": "no"}, ValueError),
        ({"missing": None}, ValueError),
        ({"buffer_size": 0}, ValueError),
        ({"buffer_size": -1}, ValueError),
        ({"buffer_size": "big"}, ValueError),
        ({"buffer_size": 1.5}, TypeError),
        ({"buffer_size": None}, TypeError),
        ({"info": BlobInfo("path", -1)}, ValueError),
        ({"info": BlobInfo("path", 2**63)}, OverflowError),
        ({"unknown": 1}, TypeError),
    ],
    ids=str,
)
def test_senseless_argument_is_refused_before_the_store_is_asked(
    options: dict[str, Any], error: type[Exception]
) -> None:
    driver = OneBlob(DATA)
    with pytest.raises(error):
        reader_of(driver, **options)
    assert driver.requests == 0


# ---- rule 2: directories -------------------------------------------------------------------------


def test_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        BlobReader(FileDriver(), str(tmp_path))
    assert isinstance(caught.value, BlobIsDirectoryError)
    with pytest.raises(BlobIsDirectoryError):
        reader_of(OneBlob(DATA), info=BlobInfo("path", 0, is_dir=True))


# ---- rule 3: size and version are those of the creation ------------------------------------------


def test_bytes_that_were_added_later_are_not_read(file: Path) -> None:
    with BlobReader(FileDriver(), str(file)) as f, file.open("ab") as out:
        out.write(b"more")
        out.flush()
        assert f.read(len(DATA) + 100) == DATA
        assert f.read_at(100, len(DATA) - 1) == DATA[-1:]
        buffer = bytearray(100)
        assert f.readinto_at(buffer, len(DATA) - 1) == 1
        assert buffer[1:] == bytes(99)


def test_stream_longer_than_the_blob_is_clamped() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver, info=BlobInfo("path", 1000)) as f:
        assert f.read() == DATA[:1000]
        assert f.read_at(-1, 990) == DATA[990:1000]
        f.seek(0)
        assert f.readline() == DATA[:1000].splitlines(keepends=True)[0]
        f.seek(999)
        assert f.peek(50) == DATA[999:1000]
        buffer = bytearray(1 << 20)
        f.seek(0)
        assert f.readinto(buffer) == 1000
        assert not any(buffer[1000:])


def test_file_that_shrank_has_changed(file: Path) -> None:
    with BlobReader(FileDriver(), str(file)) as f:
        f.read(10)
        os.truncate(file, 1_000_000)
        with pytest.raises(BlobChangedError) as caught:
            f.read()
        assert caught.value.errno == errno.ESTALE
        assert f.tell() == 10
        with pytest.raises(BlobChangedError):
            f.read_at(10, 1_500_000)
        assert f.read_at(10, 999_990) == DATA[999_990:1_000_000]


@not_on_windows
def test_file_that_was_replaced_goes_on_being_read(file: Path) -> None:
    with BlobReader(FileDriver(), str(file)) as f:
        new = file.with_name("new")
        new.write_bytes(DATA[::-1])
        new.replace(file)
        assert f.read() == DATA


@not_on_windows
def test_file_that_was_deleted_goes_on_being_read(file: Path) -> None:
    with BlobReader(FileDriver(), str(file)) as f:
        file.unlink()
        assert f.read() == DATA


def test_file_replaced_before_it_is_opened_late_has_changed(file: Path) -> None:
    info = FileDriver().stat(str(file))
    new = file.with_name("new")
    new.write_bytes(DATA[::-1])
    new.replace(file)
    with BlobReader(FileDriver(), str(file), info=info) as f, pytest.raises(BlobChangedError):
        f.read(10)


def test_new_version_is_never_mixed_with_the_old_one() -> None:
    driver = MemoryDriver({"path": DATA})
    with BlobReader(driver, "path") as f:
        first = f.read(10)
        driver.put("path", DATA[::-1])
        with pytest.raises(BlobChangedError):
            f.read_at(10, 2 << 20)
        f.seek(2 << 20)
        with pytest.raises(BlobChangedError):
            f.read(10)
        assert f.tell() == 2 << 20
    assert first == DATA[:10]


class Versions(OneBlob):
    """A store whose blob is replaced, and whose streams tell what they are of."""

    version = "version:1"

    def read_stream(
        self,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        pin: BlobInfo | None = None,
    ) -> Stream:
        if pin is not None and pin.version not in (None, self.version):
            raise BlobChangedError("was replaced", driver=self.name, path=path)
        return super().read_stream(path, offset, length, pin=pin)

    def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
        stream = super().make_stream(data, offset, length)
        stream.info = BlobInfo("path", len(data), self.version)
        return stream


@pytest.mark.parametrize("first", ["read", "read_at"])
def test_version_of_the_first_stream_is_the_one_that_is_read_where_the_info_names_none(
    first: str,
) -> None:
    driver = Versions(DATA)
    with reader_of(driver, info=BlobInfo("path", len(DATA))) as f:
        assert (f.read(10) if first == "read" else f.read_at(10, 0)) == DATA[:10]
        assert f.info.version == "version:1"
        driver.data = DATA[::-1]
        driver.version = "version:2"
        with pytest.raises(BlobChangedError):
            f.read_at(10, 2 << 20)
        f.seek(2 << 20)
        with pytest.raises(BlobChangedError):
            f.read(10)
        assert f.tell() == 2 << 20
    assert driver.left_open == 0


@not_on_windows  # where a file has no holes unless it is told to
def test_positions_beyond_31_and_32_bits_are_right(tmp_path: Path) -> None:
    places = [2**31 - 5, 2**32 - 5, 2**33 + 12345]
    with (tmp_path / "blob").open("wb") as out:
        for place in places:
            out.seek(place)
            out.write(b"0123456789")
    with BlobReader(FileDriver(), str(tmp_path / "blob")) as f:
        assert f.size == places[-1] + 10
        for place in places:
            assert f.seek(place) == place
            assert f.read(10) == f.read_at(10, place) == b"0123456789"
            f.seek(place - 100_000)
            assert f.read(100_010).lstrip(b"\0") == b"0123456789"
            assert f.tell() == place + 10
        assert f.read() == b""


# ---- rule 4: where a blob ends -------------------------------------------------------------------


def reads_of_all_kinds(f: BlobReader, count: int) -> list[Callable[[], object]]:
    return [
        lambda: f.read(count),
        lambda: f.read1(count),
        lambda: f.readinto(bytearray(count)),
        lambda: f.readinto1(bytearray(count)),
        lambda: f.readline(count),
        lambda: f.read_at(count, f.tell()),
        lambda: f.readinto_at(bytearray(count), f.tell()),
    ]


@pytest.mark.parametrize("position", [0, 5, len(DATA)])
def test_zero_length_read_does_no_io(position: int) -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        f.seek(position)
        assert [read() for read in reads_of_all_kinds(f, 0)] == [b"", b"", 0, 0, b"", b"", 0]
        assert driver.asked == []
        assert f.tell() == position


@pytest.mark.parametrize("position", [len(DATA), len(DATA) + 1, 2**63 - 1])
def test_read_at_the_end_does_no_io(position: int) -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        f.seek(position)
        assert [read() for read in reads_of_all_kinds(f, 9)] == [b"", b"", 0, 0, b"", b"", 0]
        assert f.read() == f.readall() == f.peek() == b""
        assert f.readlines() == list(f) == []
        assert driver.asked == []
        assert f.tell() == position


def test_read_at_the_end_after_a_whole_read_does_no_io() -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        f.read()
        before = driver.requests, [list(stream.asked) for stream in driver.streams]
        assert f.read() == f.read(1) == b""
        assert before == (driver.requests, [stream.asked for stream in driver.streams])


@pytest.mark.parametrize("behave", [honest, lambda stream, buffer: 0], ids=["honest", "nothing"])
def test_empty_blob_is_never_asked_for_bytes(behave: Behaviour) -> None:
    driver = OneBlob(b"", behave)
    with reader_of(driver) as f:
        assert f.read() == f.read(5) == f.readline() == b""
        assert driver.asked == []


@pytest.mark.parametrize("end", [0, 1, 99_999])
@pytest.mark.parametrize("count", [5, 100, 70_000, 150_000, -1])
def test_stream_that_ends_early_is_an_error_and_never_the_end(end: int, count: int) -> None:
    driver = OneBlob(DATA[:200_000], lambda s, b: s.fill(b, max(0, end - s.at)))
    with reader_of(driver) as f:
        if end:
            f.seek(end - 1)
            assert f.read(1) == DATA[end - 1 : end]
        f.seek(max(0, end - 3))
        position = f.tell()
        with pytest.raises(TruncatedBlobError, match="ended at offset"):
            f.read(count)
        assert f.tell() == position
        driver.behave = honest
        assert f.read(count) == DATA[:200_000][position:][: count if count > 0 else None]


def test_error_of_one_read_does_not_last() -> None:
    driver = OneBlob(DATA, failing_at(50_000, Broken("in the middle")))
    with reader_of(driver) as f:
        assert f.read(1000) == DATA[:1000]
        with pytest.raises(Broken):
            f.read(100_000)
        assert f.tell() == 1000
        with pytest.raises(Broken):
            f.read_at(100, 50_000)
        driver.behave = honest
        assert f.read(100_000) == DATA[1000:101_000]
        assert driver.left_open <= 1
    assert driver.left_open == 0


class UnknownSize(OneBlobOpened):
    """A store that cannot tell how long its blob is, and whose stream says so by ending."""

    first = 1 << 62
    version: str | None = "version:1"

    def open(self, path: str, /) -> tuple[BlobInfo, Stream]:
        return BlobInfo(path, None, self.version), self.read_stream(path)


@pytest.fixture(params=[1, 1000, 1 << 20], ids=lambda most: f"by {most}")
def unknown(request: pytest.FixtureRequest) -> UnknownSize:
    return UnknownSize(DATA[:100_000], at_most(request.param))


def test_blob_of_unknown_size_is_read_to_its_end(unknown: UnknownSize) -> None:
    with reader_of(unknown) as f:
        assert f.size is None
        assert not f.seekable()
        assert f.read(10) == DATA[:10]
        assert f.read() == DATA[10:100_000]
        assert f.read() == f.read(5) == b""
        assert f.size == f.tell() == 100_000
        assert unknown.requests == 1


def test_blob_of_unknown_size_is_read_in_parts(unknown: UnknownSize) -> None:
    with reader_of(unknown) as f:
        parts = []
        while part := f.read(7777):
            parts.append(part)
        assert b"".join(parts) == DATA[:100_000]
        assert {len(part) for part in parts[:-1]} == {7777}


def test_blob_of_unknown_size_is_read_into_a_larger_buffer(unknown: UnknownSize) -> None:
    buffer = bytearray(200_000)
    with reader_of(unknown) as f:
        assert f.readinto(buffer) == 100_000
    assert buffer[:100_000] == DATA[:100_000]
    assert not any(buffer[100_000:])


def test_blob_of_unknown_size_has_no_end_to_seek_from_and_no_positions(
    unknown: UnknownSize,
) -> None:
    with reader_of(unknown) as f:
        f.read(10)
        for call in (
            lambda: f.seek(0, io.SEEK_END),
            lambda: f.read_at(5, 0),
            lambda: f.readinto_at(bytearray(5), 0),
        ):
            with pytest.raises(io.UnsupportedOperation):
                call()
        assert f.tell() == 10
        assert f.read(10) == DATA[10:20]


def test_blob_of_unknown_size_can_be_skipped_in_forward(unknown: UnknownSize) -> None:
    with reader_of(unknown) as f:
        assert f.seek(50_000) == 50_000
        assert f.read(100) == DATA[50_000:50_100]
        assert f.seek(40_000, io.SEEK_CUR) == 90_100
        assert f.read() == DATA[90_100:100_000]
        assert unknown.requests == 1


def test_blob_of_unknown_size_is_empty_past_its_end(unknown: UnknownSize) -> None:
    with reader_of(unknown) as f:
        f.seek(100_010)
        assert f.read(5) == b""
        assert f.read() == b""
        assert f.tell() == 100_010
        assert f.size == 100_000


def test_blob_of_unknown_size_cannot_be_read_twice() -> None:
    with reader_of(UnknownSize(DATA)) as f:
        f.read(2 << 20)
        with pytest.raises(io.UnsupportedOperation):
            f.seek(0)
        assert f.tell() == 2 << 20
        assert f.read() == DATA[2 << 20 :]


def test_break_in_a_blob_of_unknown_size_is_an_error() -> None:
    driver = UnknownSize(DATA, failing_at(70_000, Broken("in the middle")))
    with reader_of(driver) as f:
        f.read(10)
        with pytest.raises(Broken):
            f.read()
        assert f.tell() == 10
        with pytest.raises(OSError):
            f.seek(70_000)
            f.read(10)


def test_break_in_a_blob_of_unknown_size_is_read_past_where_its_version_is_known() -> None:
    driver = UnknownSize(DATA[:100_000], failing_at(70_000, Broken("in the middle")))
    with reader_of(driver) as f:
        assert f.read(60_000) == DATA[:60_000]
        with pytest.raises(Broken):
            f.read(20_000)
        driver.behave = honest
        assert f.read(20_000) == DATA[60_000:80_000]
        assert f.read() == DATA[80_000:100_000]
        assert f.size == 100_000


def test_break_in_a_blob_of_unknown_size_and_version_is_not_read_past() -> None:
    driver = UnknownSize(DATA[:100_000], failing_at(70_000, Broken("in the middle")))
    driver.version = None
    with reader_of(driver) as f:
        f.read(60_000)
        with pytest.raises(Broken):
            f.read(20_000)
        driver.behave = honest
        requests = driver.requests
        with pytest.raises(io.UnsupportedOperation):
            f.read(20_000)
        assert driver.requests == requests
        assert f.tell() == 60_000


# ---- rule 5: full reads, and reads of one step ---------------------------------------------------


@pytest.mark.parametrize("most", [1, 13, 4096])
def test_short_streams_are_read_until_the_buffer_is_full(most: int) -> None:
    data = DATA[:50_000]
    with reader_of(OneBlob(data, at_most(most))) as f:
        assert f.read(20_000) == data[:20_000]
        buffer = bytearray(20_000)
        assert f.readinto(buffer) == 20_000
        assert buffer == data[20_000:40_000]
        assert f.read(20_000) == data[40_000:]
        assert f.read_at(30_000, 5) == data[5:30_005]


@pytest.mark.parametrize("position", [0, 20_000])
@pytest.mark.parametrize("name", ["read1", "readinto1"])
@pytest.mark.parametrize("count", [10, 1000, 300_000])
def test_read_of_one_step_reads_the_stream_at_most_once(
    position: int, name: str, count: int
) -> None:
    driver = OneBlob(DATA, at_most(100))
    with reader_of(driver) as f:
        f.seek(position)
        got = bytearray()
        for _ in range(200):
            before = sum(len(stream.asked) for stream in driver.streams)
            if name == "read1":
                part = f.read1(count)
            else:
                buffer = bytearray(count)
                part = bytes(buffer[: f.readinto1(buffer)])
            assert part
            assert sum(len(stream.asked) for stream in driver.streams) <= before + 1
            got += part
        assert got == DATA[position : position + len(got)]


def test_read_of_one_step_without_a_size_gives_what_is_there() -> None:
    with reader_of(OneBlob(DATA, at_most(100))) as f:
        assert f.read1() == DATA[:100]
        f.peek()
        assert f.read1(-1) == DATA[100:200]


# ---- rule 7: seeks -------------------------------------------------------------------------------


def test_seek_to_where_it_is_keeps_the_stream() -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        for _ in range(100):
            f.seek(f.tell())
            f.seek(0, io.SEEK_CUR)
            f.read(1000)
        assert driver.requests == 1


def test_seek_there_and_back_keeps_the_stream() -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        for n in range(100):
            assert f.read(1000) == DATA[1000 * n : 1000 * n + 1000]
            f.seek(0, io.SEEK_END)
            f.seek(0)
            f.seek(1000 * n + 1000)
        assert driver.requests == 1


def test_seek_inside_the_buffer_asks_nothing() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        f.seek(100_000)
        held = len(f.peek())
        before = driver.requests, driver.fetched
        for step in (held - 10, 0, 1000, 17):
            f.seek(100_000 + step)
            assert f.read(10) == DATA[100_000 + step :][:10]
        assert before == (driver.requests, driver.fetched)


def test_short_way_ahead_is_skipped_in_the_stream() -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        f.read(70_000)
        f.seek(10_000, io.SEEK_CUR)
        assert f.read(70_000) == DATA[80_000:150_000]
        assert driver.requests == 1


def test_far_seek_opens_another_stream() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        f.read(70_000)
        f.seek(2 << 20)
        assert f.read(70_000) == DATA[2 << 20 :][:70_000]
        fetched = driver.fetched
        assert fetched <= 70_000 * 2 + 65536
        assert driver.left_open <= 1


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ((-1,), ValueError),
        ((-(2**63),), ValueError),
        ((-101, io.SEEK_CUR), ValueError),
        ((-len(DATA) - 1, io.SEEK_END), ValueError),
        ((0, 3), ValueError),
        ((0, -1), ValueError),
        ((0, 2**70), ValueError),
        ((2**63,), OverflowError),
        ((-(2**63) - 1,), OverflowError),
        ((2**63 - 1, io.SEEK_CUR), OverflowError),
        ((2**63 - 1, io.SEEK_END), OverflowError),
        ((1.0,), TypeError),
        (("1",), TypeError),
        ((None,), TypeError),
        ((0, None), TypeError),
    ],
    ids=str,
)
def test_impossible_seek_is_an_error_and_leaves_the_position(
    target: tuple[Any, ...], error: type[Exception]
) -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        f.read(100)
        with pytest.raises(error):
            f.seek(*target)
        assert f.tell() == 100
        assert f.read(100) == DATA[100:200]
        assert len(driver.asked) == 1


@pytest.mark.parametrize(("size", "offset"), [(10, -1), (-1, -1), (10, -(2**63))])
def test_negative_offset_of_a_positional_read_is_an_error(size: int, offset: int) -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        with pytest.raises(ValueError):
            f.read_at(size, offset)
        with pytest.raises(ValueError):
            f.readinto_at(bytearray(10), offset)
        with pytest.raises(OverflowError):
            f.read_at(size, 2**63)
        assert driver.asked == []


# ---- rule 8: no length is believed ---------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("opened", [OneBlob, OneBlobOpened])
@pytest.mark.parametrize("count", [5, 200_000, -1])
def test_lie_about_a_length_is_an_error(
    lie: Callable[[int], Any], opened: type[OneBlob], count: int
) -> None:
    driver = opened(DATA, lying(lie))
    with reader_of(driver) as f:
        calls: list[Callable[[], object]] = [
            lambda: f.read(count),
            lambda: f.read1(count),
            f.readline,
            f.peek,
            lambda: f.read_at(count, 0),
        ]
        if count > 0:
            calls += reads_of_all_kinds(f, count)
        for call in calls:
            with pytest.raises(ProtocolError, match="returned"):
                call()
            assert f.tell() == 0
            assert driver.left_open == 0
        driver.behave = honest
        assert f.read() == DATA


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_lie_while_a_short_way_is_skipped_is_an_error(lie: Callable[[int], Any]) -> None:
    driver = OneBlobOpened(DATA)
    with reader_of(driver) as f:
        f.read(1000)
        driver.streams[0].behave = lying(lie)
        f.seek(100_000)
        with pytest.raises(ProtocolError):
            f.read(100)
        assert f.tell() == 100_000
        assert f.read(100) == DATA[100_000:100_100]


# ---- rule 9: after an exception ------------------------------------------------------------------


@pytest.mark.parametrize("error", [Broken, ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("at", [0, 20_000, 40_000, 150_000])
def test_exception_leaves_the_position_and_drops_the_stream(
    error: type[BaseException], at: int
) -> None:
    driver = OneBlob(DATA[:200_000], failing_at(at, error))
    calls: list[tuple[int, Callable[[BlobReader], object]]] = [
        (0, lambda f: f.read()),
        (0, lambda f: f.readall()),
        (0, lambda f: f.read(190_000)),
        (0, lambda f: f.readinto(bytearray(190_000))),
        (0, lambda f: f.readlines()),
        # These have streams of their own, and leave that of the cursor alone.
        (1, lambda f: f.read_at(190_000, 5)),
        (1, lambda f: f.readinto_at(bytearray(190_000), 5)),
    ]
    for left, call in calls:
        driver.behave = failing_at(at, error)
        with reader_of(driver) as f:
            f.seek(5)
            with contextlib.suppress(error):
                f.read(5)
            f.seek(5)
            with pytest.raises(error):
                call(f)
            assert f.tell() == 5
            assert driver.left_open <= left
            driver.mend()
            assert f.read() == DATA[5:200_000]


def test_line_that_is_broken_off_is_read_again_whole() -> None:
    data = b"a" * 100_000 + b"\n" + b"b" * 10
    driver = OneBlob(data, failing_at(60_000, Broken))
    with reader_of(driver) as f:
        lines: list[Callable[[], bytes]] = [f.readline, lambda: next(f)]
        for read in lines:
            with pytest.raises(Broken):
                read()
            assert f.tell() == 0
        driver.behave = honest
        assert f.readline() == data[:100_001]


def test_failing_close_of_a_stream_is_a_warning_and_loses_no_byte() -> None:
    class Stubborn(Stream):
        def close(self) -> None:
            super().close()
            raise Broken("will not close")

    class Driver(OneBlob):
        def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
            return Stubborn(data, offset, length, self.behave)

    f = reader_of(Driver(DATA))
    with pytest.warns(RuntimeWarning, match="will not close"):
        assert f.read(100_000) == DATA[:100_000]
        f.read(10)
        f.close()
    assert f.closed


# ---- rule 10: close ------------------------------------------------------------------------------

CALLS: dict[str, Callable[[BlobReader], object]] = {
    "read": lambda f: f.read(),
    "read(0)": lambda f: f.read(0),
    "read(5)": lambda f: f.read(5),
    "read1": lambda f: f.read1(),
    "readall": lambda f: f.readall(),
    "readinto": lambda f: f.readinto(bytearray(5)),
    "readinto nothing": lambda f: f.readinto(bytearray()),
    "readinto1": lambda f: f.readinto1(bytearray(5)),
    "readline": lambda f: f.readline(),
    "readlines": lambda f: f.readlines(),
    "iter": iter,
    "next": next,
    "peek": lambda f: f.peek(),
    "read_at": lambda f: f.read_at(5, 0),
    "readinto_at": lambda f: f.readinto_at(bytearray(5), 0),
    "seek": lambda f: f.seek(0),
    "seek from here": lambda f: f.seek(0, 1),
    "seek from the end": lambda f: f.seek(0, 2),
    "tell": lambda f: f.tell(),
    "readable": lambda f: f.readable(),
    "writable": lambda f: f.writable(),
    "seekable": lambda f: f.seekable(),
    "isatty": lambda f: f.isatty(),
    "flush": lambda f: f.flush(),
    "fileno": lambda f: f.fileno(),
    "with": lambda f: f.__enter__(),
    "write": lambda f: f.write(b""),
    "truncate": lambda f: f.truncate(),
    "pickle": lambda f: f.__reduce__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_use_after_close_is_a_value_error(call: Callable[[BlobReader], object], used: bool) -> None:
    driver = OneBlobOpened(DATA)
    f = reader_of(driver)
    if used:
        f.read(1000)
    assert f.close() is None  # type: ignore[func-returns-value]
    assert driver.left_open == 0
    with pytest.raises(ValueError):
        call(f)


def test_closing_twice_is_fine_and_closes_once() -> None:
    driver = OneBlobOpened(DATA)
    f = reader_of(driver)
    assert not f.closed
    f.close()
    f.close()
    assert f.closed
    with pytest.raises(ValueError), f:
        pass


def test_what_is_known_of_a_closed_reader_can_still_be_asked() -> None:
    f = BlobReader(MemoryDriver({"path": DATA}), "path")
    f.read(10)
    f.close()
    assert (f.size, f.name, f.mode, f.info.path) == (len(DATA), "path", "rb", "path")
    assert f.stats.bytes_delivered == 10
    assert "closed" in repr(f)


def test_with_closes_also_after_an_error() -> None:
    driver = OneBlobOpened(DATA)
    with pytest.raises(Broken), reader_of(driver) as f:
        raise Broken
    assert f.closed
    assert driver.left_open == 0


@pytest.mark.parametrize("action", ["always", "error"])
def test_unclosed_reader_warns_when_it_is_collected_and_closes_its_stream(
    action: Literal["always", "error"], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = OneBlobOpened(DATA)
    f = reader_of(driver)
    seen: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: seen.append(args.exc_type))
    with warnings.catch_warnings(record=action == "always") as caught:
        warnings.simplefilter(action)
        del f
    seen += [warning.category for warning in caught or ()]
    assert seen == [ResourceWarning]
    assert driver.left_open == 0


def test_unclosed_reader_that_holds_nothing_does_not_warn() -> None:
    f = reader_of(OneBlob(DATA))
    f.seek(10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del f
    assert caught == []


# ---- rule 11: reentrancy -------------------------------------------------------------------------


REENTRANT = ["read(5)", "readinto", "readline", "peek", "seek", "seek from here", "next"]


@pytest.mark.parametrize("name", REENTRANT)
def test_cursor_call_from_inside_a_cursor_call_is_a_runtime_error(name: str) -> None:
    call = CALLS[name]
    seen: list[BaseException] = []

    def behave(stream: Stream, buffer: memoryview) -> int:
        try:
            call(f)
        except RuntimeError as error:
            seen.append(error)
        return stream.fill(buffer)

    with reader_of(OneBlob(DATA, behave)) as f:
        assert f.read(100) == DATA[:100]
        assert f.read(100) == DATA[100:200]
    assert seen
    assert all("reentrant" in str(error) for error in seen)


def test_positional_read_from_inside_a_cursor_call_is_right() -> None:
    def behave(stream: Stream, buffer: memoryview) -> int:
        if not nested:
            nested.append(b"")
            nested[0] = f.read_at(10, 1000)
        return stream.fill(buffer)

    nested: list[bytes] = []
    with reader_of(OneBlob(DATA, behave)) as f:
        assert f.read(100) == DATA[:100]
    assert nested == [DATA[1000:1010]]


def test_close_from_inside_a_call_ends_it() -> None:
    def behave(stream: Stream, buffer: memoryview) -> int:
        f.close()
        return stream.fill(buffer)

    for count in (10, 1 << 20):
        driver = OneBlob(DATA, behave)
        f = reader_of(driver)
        with pytest.raises(ValueError, match="closed"):
            f.read(count)
        assert driver.left_open == 0


# ---- stats and names -----------------------------------------------------------------------------


def test_stats_count_what_went_over_the_counter() -> None:
    driver = OneBlob(DATA)
    with reader_of(driver) as f:
        assert f.stats == (0, 0, 0, 0, 0, 0, 0)
        f.read(1000)
        f.read_at(100, 1 << 20)
        f.readinto(bytearray(200_000))
        f.readline(10)
        stats = f.stats
        assert stats.bytes_delivered == 1000 + 100 + 200_000 + (f.tell() - 201_000)
        assert stats.bytes_fetched == driver.fetched
        assert stats.requests == len(driver.asked)


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("step", [100, 1000, 4096, 10_007, 100_000])
def test_bytes_that_were_fetched_are_delivered_or_wasted(kind: str, step: int, file: Path) -> None:
    f = BlobReader(FileDriver(), str(file)) if kind == "file" else reader_of(OneBlob(DATA))
    for _ in range(20):
        f.read(step)
    f.seek(2 << 20)
    for _ in range(5):
        f.read(step)
    f.close()
    stats = f.stats
    assert stats.bytes_delivered == 25 * step
    assert stats.bytes_fetched == stats.bytes_delivered + stats.bytes_wasted


def test_stats_are_a_snapshot() -> None:
    with reader_of(OneBlob(DATA)) as f:
        before = f.stats
        f.read(10)
        assert before.bytes_delivered == 0


def test_repr_tells_driver_path_and_size() -> None:
    with reader_of(OneBlob(DATA)) as f:
        assert repr(f) == f"<blobread.BlobReader one:'path' size={len(DATA)}>"


def test_name_and_errors_show_no_secret() -> None:
    class Signed(OneBlob):
        def redact(self, path: str) -> str:
            return path.partition("?")[0]

    driver = Signed(DATA, lambda s, b: 0)
    with BlobReader(driver, "path?signature=secret") as f:
        with pytest.raises(BlobError) as caught:
            f.read(10)
        assert "secret" not in f"{f.name} {f!r} {caught.value!r} {caught.value}"
        assert f.path == "path?signature=secret"


def test_verified_is_false_without_a_check() -> None:
    with reader_of(OneBlob(DATA)) as f:
        f.read()
        assert f.verified is False
