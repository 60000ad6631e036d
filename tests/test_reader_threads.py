"""One reader and many threads: positional reads, the cursor, and close() under all of them."""

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import Nginx
from misbehaving import FileLike, OneBlob, OneBlobOpened, Stream, at_most
from together import Call, Gate, switch_interval, together

import blobread
from blobread import BlobInfo, BlobReader
from blobread.drivers.file import FileDriver
from blobread.drivers.memory import MemoryDriver

DATA = random.Random(3).randbytes(1 << 20)
LARGE = 64 << 20


@pytest.fixture(scope="module", params=["memory", "file", "file with info", "http", "short"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(kind: str, request: pytest.FixtureRequest) -> Nginx | None:
    """nginx, started only where it is needed."""
    return request.getfixturevalue("nginx") if kind == "http" else None


@pytest.fixture
def reader(kind: str, server: Nginx | None, tmp_path: Path) -> Iterator[BlobReader]:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    match kind:
        case "memory":
            opened = BlobReader(MemoryDriver({"path": DATA}), "path")
        case "file":
            opened = blobread.open(path)
        case "file with info":
            opened = BlobReader(FileDriver(), str(path), info=blobread.stat(path))
        case "http":
            assert server is not None
            (server.root / "threads").write_bytes(DATA)
            opened = blobread.open(f"{server.url}/threads")
        case _:
            opened = BlobReader(OneBlob(DATA, at_most(3000)), "path")
    with opened:
        yield opened


# ---- positional reads, and the cursor ------------------------------------------------------------


def test_positional_reads_of_many_threads_are_right_while_others_move_the_cursor(
    reader: BlobReader,
) -> None:
    def positional(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(100):
            at, count = choose.randrange(len(DATA)), choose.choice([1, 100, 5000, 70_000])
            assert reader.read_at(count, at) == DATA[at : at + count]
            buffer = bytearray(count)
            got = reader.readinto_at(buffer, at)
            assert buffer[:got] == DATA[at : at + count]

    def cursor(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(100):
            reader.seek(choose.randrange(len(DATA)))
            part = reader.read(choose.choice([1, 100, 5000, 70_000]))
            assert part in DATA

    with switch_interval(1e-5):
        calls = [partial(positional, seed) for seed in range(8)]
        together(*calls, partial(cursor, 8), partial(cursor, 9))


@pytest.mark.parametrize("size", [1, 1000, 40_000, 100_000])
def test_threads_at_the_cursor_get_parts_that_are_the_blob_together(
    reader: BlobReader, size: int
) -> None:
    parts: list[bytes] = []

    def read() -> None:
        while len(parts) < 2000 and (part := reader.read(size)):
            parts.append(part)

    with switch_interval(1e-6):
        together(read, read, read)
    end = reader.tell()
    assert sum(map(len, parts)) == end
    assert all(len(part) == size for part in parts) or end == len(DATA)
    if size >= 1000:
        # Parts are long enough to be found at one place only.
        places = sorted((DATA.index(part), len(part)) for part in parts)
        assert [place for place, _ in places] == list(range(0, end, size))
    else:
        assert sorted(b"".join(parts)) == sorted(DATA[:end])


def test_lines_of_many_threads_are_whole_and_each_is_read_once() -> None:
    lines = [b"%d\n" % n for n in range(50_000)]
    seen: list[bytes] = []
    with BlobReader(OneBlob(b"".join(lines), at_most(997)), "path") as f, switch_interval(1e-6):
        together(lambda: seen.extend(f), lambda: seen.extend(f))
    assert sorted(seen) == sorted(lines)


def test_positional_reads_run_while_the_cursor_waits_for_its_stream() -> None:
    gate = Gate()

    def behave(stream: Stream, buffer: memoryview) -> int:
        if stream is driver.streams[0]:
            gate.pass_through()
        return stream.fill(buffer)

    driver = OneBlob(DATA, behave)
    with BlobReader(driver, "path") as f:
        call = Call(lambda: f.read(1000))
        gate.wait_until_reached()
        assert f.read_at(1000, 5000) == DATA[5000:6000]
        assert f.tell() == 0
        gate.open()
        assert call.outcome() == DATA[:1000]


def test_cursor_calls_wait_for_each_other() -> None:
    gate = Gate()
    with BlobReader(OneBlob(DATA, gate.before()), "path") as f:
        first = Call(lambda: f.read(100_000))
        gate.wait_until_reached()
        others = [Call(lambda: f.read(100_000)) for _ in range(4)]
        gate.open()
        parts = [call.outcome() for call in (first, *others)]
        assert parts[0] == DATA[:100_000]
        assert set(parts) == {DATA[n * 100_000 :][:100_000] for n in range(5)}


def test_relative_seek_counts_from_where_the_running_read_ends() -> None:
    gate = Gate()
    with BlobReader(OneBlob(DATA, gate.before()), "path") as f:
        read = Call(lambda: f.read(100_000))
        gate.wait_until_reached()
        seek = Call(lambda: f.seek(5, os.SEEK_CUR))
        together(gate.open, read.outcome)
        # Before the read, or after it: nothing between, and nothing lost.
        assert (seek.outcome(), f.tell()) in [(100_005, 100_005), (5, 100_005)]


def test_positional_and_cursor_reads_that_open_the_file_at_once_leave_none_open(
    tmp_path: Path,
) -> None:
    class Slow(FileLike):
        def read_stream(self, *args: object, **options: object) -> Stream:
            stream = super().read_stream(*args, **options)  # type: ignore[arg-type]
            if len(self.streams) == 1:
                gate.pass_through()
            return stream

    gate = Gate()
    (tmp_path / "blob").write_bytes(DATA)
    with (tmp_path / "blob").open("rb") as file:
        driver = Slow(DATA, file.fileno())
        with BlobReader(driver, "path", info=BlobInfo("path", len(DATA))) as f:
            call = Call(lambda: f.read(10))
            gate.wait_until_reached()
            assert f.read_at(10, 5) == DATA[5:15]
            gate.open()
            assert call.outcome() == DATA[:10]
            assert f.read(10) == DATA[10:20]
        assert driver.left_open == 0


# ---- close() from another thread -----------------------------------------------------------------


class SocketStream:
    """A stream that waits for bytes which never come, until it is closed."""

    def __init__(self, waits: threading.Event) -> None:
        self.near, self.far = socket.socketpair()
        self.waits = waits

    def readinto(self, buffer: memoryview, /) -> int:
        self.waits.set()
        return self.near.recv_into(buffer)

    def close(self) -> None:
        for end in (self.near, self.far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class SocketDriver(OneBlob):
    def __init__(self) -> None:
        super().__init__(DATA)
        self.sockets: list[SocketStream] = []
        self.waits = threading.Event()

    def read_stream(self, *args: object, **options: object) -> SocketStream:  # type: ignore[override]
        self.sockets.append(SocketStream(self.waits))
        return self.sockets[-1]


READS: dict[str, Callable[[BlobReader], object]] = {
    "read": lambda f: f.read(10),
    "readall": lambda f: f.readall(),
    "readinto": lambda f: f.readinto(bytearray(100_000)),
    "readline": lambda f: f.readline(),
    "peek": lambda f: f.peek(),
    "read_at": lambda f: f.read_at(10, 5),
    "readinto_at": lambda f: f.readinto_at(bytearray(100_000), 5),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_close_ends_a_read_that_waits(read: Callable[[BlobReader], object]) -> None:
    driver = SocketDriver()
    f = BlobReader(driver, "path")
    call = Call(lambda: read(f))
    assert driver.waits.wait(60)
    f.close()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.sockets[0].near.fileno() == -1
    with pytest.raises(ValueError):
        f.tell()


def test_close_ends_all_that_wait_for_the_cursor() -> None:
    driver = SocketDriver()
    f = BlobReader(driver, "path")
    calls = [Call(lambda: f.read(10)) for _ in range(5)]
    assert driver.waits.wait(60)
    f.close()
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call.outcome()
    assert len(driver.sockets) == 1


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_close_while_a_stream_is_being_opened_closes_it_unread(
    read: Callable[[BlobReader], object],
) -> None:
    class Slow(OneBlob):
        def read_stream(self, *args: object, **options: object) -> Stream:
            gate.pass_through()
            return super().read_stream(*args, **options)  # type: ignore[arg-type]

    gate = Gate()
    driver = Slow(DATA)
    f = BlobReader(driver, "path")
    call = Call(lambda: read(f))
    gate.wait_until_reached()
    f.close()
    gate.open()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.left_open == 0
    assert driver.streams[0].asked == []


@pytest.mark.parametrize("name", ["read", "readinto", "readline", "peek"])
def test_close_while_a_stream_gives_its_bytes_leaves_a_closed_reader(name: str) -> None:
    gate = Gate()
    driver = OneBlobOpened(DATA, gate.before())
    f = BlobReader(driver, "path")
    call = Call(lambda: READS[name](f))
    gate.wait_until_reached()
    f.close()
    gate.open()
    with pytest.raises(ValueError, match="closed"):
        call.outcome()
    assert driver.left_open == 0
    assert_closed(f)


def assert_closed(f: BlobReader) -> None:
    assert f.closed
    uses: list[Callable[[], object]] = [
        f.tell,
        f.peek,
        f.readline,
        lambda: f.read(1),
        lambda: f.read(999),
        lambda: f.seek(0),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose pread takes many times as long as a change of threads."""
    path = tmp_path_factory.mktemp("large") / "blob"
    with path.open("wb") as out:
        out.write(DATA)
        out.truncate(LARGE)
    return path


PREADS: dict[str, Callable[[BlobReader], object]] = {
    "readinto": lambda f: f.readinto(bytearray(LARGE)),
    "read": lambda f: f.read(LARGE),
    "read1": lambda f: f.read1(LARGE),
    "read_at": lambda f: f.read_at(LARGE, 0),
    "readinto_at": lambda f: f.readinto_at(bytearray(LARGE), 0),
}


@pytest.mark.parametrize("read", PREADS.values(), ids=PREADS.keys())
def test_close_during_a_pread_leaves_a_closed_reader(
    large: Path, read: Callable[[BlobReader], object]
) -> None:
    begins = threading.Event()

    def run() -> None:
        begins.set()
        read(f)

    f = blobread.open(large)
    with switch_interval(100.0):
        call = Call(run)
        begins.wait()
        f.close()  # most times while the other thread is in its pread
    with contextlib.suppress(ValueError):
        call.outcome()
    assert_closed(f)


def test_close_during_a_lone_small_read_leaves_a_closed_reader(tmp_path: Path) -> None:
    path, data = tmp_path / "blob", DATA * 8
    path.write_bytes(data)
    far = range(0, len(data) - 12_000, 300_000)

    def read(f: BlobReader, begins: threading.Event) -> None:
        begins.set()
        with contextlib.suppress(ValueError):
            for at in [*far] * 100:
                f.seek(at)
                assert f.read(12_000) == data[at : at + 12_000]

    for _ in range(200):
        f, begins = blobread.open(path), threading.Event()
        call = Call(partial(read, f, begins))
        begins.wait()
        f.close()
        call.outcome()
        assert_closed(f)


@pytest.mark.parametrize("name", ["peek", "readline", "read"])
def test_close_during_the_pread_that_fills_the_buffer_leaves_a_closed_reader(
    large: Path, name: str
) -> None:
    begins = threading.Event()

    def run() -> None:
        begins.set()
        with contextlib.suppress(ValueError):
            assert READS[name](f), "nothing: as if it were the end"

    # Reads that run on have made the buffer as large as it may be.
    f = BlobReader(FileDriver(), str(large), buffer_size=LARGE // 8)
    while f.read(len(f.peek())) and f.stats.bytes_fetched < LARGE // 2:
        pass
    with switch_interval(100.0):
        call = Call(run)
        begins.wait()
        f.close()  # most times while the other thread is in its pread
    call.outcome()
    assert_closed(f)


def test_descriptor_is_not_closed_under_a_pread(tmp_path: Path) -> None:
    """Its number would be that of the next file that is opened, and that file's bytes ours."""
    size = 256 << 10
    (tmp_path / "blob").write_bytes(b"b" * size)
    (tmp_path / "other").write_bytes(b"x" * size)
    rounds, seen = 1500, 0
    with switch_interval(1e-6):
        for number in range(rounds):
            f = blobread.open(tmp_path / "blob")
            begins = threading.Event()

            def read(f: BlobReader = f, begins: threading.Event = begins) -> bytes:
                begins.set()
                parts = b""
                with contextlib.suppress(ValueError):
                    while len(parts) < 4 * size:
                        parts += f.read_at(size, 0)
                return parts

            call = Call(read)
            begins.wait()
            f.close()
            others = [os.open(tmp_path / "other", os.O_RDONLY) for _ in range(4)]
            parts = call.outcome()
            for other in others:
                os.close(other)
            assert isinstance(parts, bytes)
            assert not parts.strip(b"b"), f"foreign bytes in round {number}"
            seen += bool(parts)
    assert seen, "no read was ever under way"


def test_descriptor_is_closed_when_the_last_read_is_out(large: Path) -> None:
    begins = threading.Event()

    def run() -> None:
        begins.set()
        with contextlib.suppress(ValueError):
            f.read_at(LARGE, 0)

    f = blobread.open(large)
    with switch_interval(100.0):
        call = Call(run)
        begins.wait()
        f.close()
    call.outcome()
    # The fixture of all tests looks whether it is open still.
