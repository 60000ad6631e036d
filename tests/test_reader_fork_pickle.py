"""A reader on another side: in a forked child, in a pickle, in another process."""

import copy
import io
import os
import pickle
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Nginx
from faults import Blob, Fault, FaultServer, When
from forked import in_child, needs_fork
from misbehaving import OneBlob, OneBlobOpened, Stream
from together import Call, Gate, wait_until

import blobread
from blobread import BlobChangedError, BlobInfo, BlobReader, PathNotFoundError
from blobread.drivers.file import FileDriver
from blobread.drivers.memory import MemoryDriver

DATA = random.Random(8).randbytes(1 << 20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


# ---- fork ----------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_child_and_parent_read_the_same_file_at_places_of_their_own(file: Path, used: bool) -> None:
    def child() -> None:
        assert f.tell() == at
        assert f.read(100_000) == DATA[at : at + 100_000]
        assert f.read_at(100, 5) == DATA[5:105]
        f.seek(0)
        assert f.read() == DATA
        f.close()

    with blobread.open(file) as f:
        at = len(f.read(1000)) if used else 0
        in_child(child)
        assert f.tell() == at
        assert f.read() == DATA[at:]
        in_child(lambda: f.read_at(5, 5) == DATA[5:10] or pytest.fail("wrong"))


@needs_fork
def test_child_opens_a_stream_of_its_own_and_closes_the_parents() -> None:
    driver = OneBlobOpened(DATA)

    def child() -> None:
        assert f.read(10) == DATA[100:110]  # from the buffer
        assert f.read(200_000) == DATA[110:200_110]
        assert len(driver.asked) == 2
        assert driver.streams[0].closed

    with BlobReader(driver, "path") as f:
        assert f.read1(100) == DATA[:100]
        in_child(child)
        assert f.read(200_000) == DATA[100:200_100]
        assert len(driver.asked) == 1


@needs_fork
def test_child_reads_over_http_without_harm_to_the_parents_connection(nginx: Nginx) -> None:
    (nginx.root / "fork").write_bytes(DATA)

    def child() -> None:
        for _ in range(20):
            at = f.tell()
            assert f.read(30_000) == DATA[at : at + 30_000]
        f.close()

    with blobread.open(f"{nginx.url}/fork") as f:
        assert f.read(1000) == DATA[:1000]
        in_child(child)
        assert f.read(500_000) == DATA[1000:501_000]
        in_child(child)
        assert f.read() == DATA[501_000:]


@needs_fork
@pytest.mark.parametrize("count", [100, 200_000])
def test_child_of_a_fork_during_a_read_of_another_thread_reads_right(count: int) -> None:
    gate = Gate()

    def child() -> None:
        driver.behave = Stream.fill
        assert f.tell() == 50
        f.seek(0, io.SEEK_CUR)
        assert f.read(count) == DATA[50 : 50 + count]
        assert f.read_at(10, 5) == DATA[5:15]
        f.close()

    driver = OneBlob(DATA)
    with BlobReader(driver, "path") as f:
        f.seek(50)
        driver.behave = gate.before()
        call = Call(lambda: f.read(count))
        gate.wait_until_reached()
        in_child(child)
        gate.open()
        assert call.outcome() == DATA[50 : 50 + count]


@needs_fork
def test_child_of_a_fork_with_threads_that_wait_for_the_cursor_reads_right() -> None:
    gate = Gate()

    def child() -> None:
        driver.behave = Stream.fill
        assert f.read(10) == DATA[:10]

    driver = OneBlob(DATA, gate.before())
    with BlobReader(driver, "path") as f:
        calls = [Call(lambda: f.read(1000)) for _ in range(4)]
        gate.wait_until_reached()
        in_child(child)
        gate.open()
        parts = {call.outcome() for call in calls}
        assert parts == {DATA[n * 1000 :][:1000] for n in range(4)}


@needs_fork
@pytest.mark.parametrize("nth", [1, 2], ids=["read", "read_at"])
def test_child_of_a_fork_while_a_thread_waits_for_an_http_answer_reads_right(nth: int) -> None:
    blob = Blob(400_000)

    def child() -> None:
        assert f.read(100) == blob.read(0, 100)
        assert f.read_at(100, 350_000) == blob.read(350_000, 350_100)
        f.close()

    with FaultServer() as server:
        # The first request is that of the cursor, the second that of the positional read.
        case = server.case(blob, Fault("stall", at=5, when=When(nth=nth)))
        with blobread.open(case.url) as f:
            call = Call(lambda: f.read(200_000) if nth == 1 else f.read_at(10, 300_000))
            wait_until(lambda: case.ledger.firings)
            in_child(child)
            f.close()
            with pytest.raises(ValueError, match="closed"):
                call.outcome()


@needs_fork
def test_closing_in_the_child_leaves_the_parents_file_open(file: Path) -> None:
    with blobread.open(file) as f:
        f.read(10)
        in_child(f.close)
        assert f.read(100_000) == DATA[10:100_010]


@needs_fork
def test_grandchild_reads_right() -> None:
    def child() -> None:
        assert f.read(1000) == DATA[1000:2000]
        in_child(lambda: f.read(1000) == DATA[2000:3000] or pytest.fail("wrong"))
        assert f.read(200_000) == DATA[2000:202_000]

    with BlobReader(OneBlobOpened(DATA), "path") as f:
        assert f.read(1000) == DATA[:1000]
        in_child(child)


# ---- pickle --------------------------------------------------------------------------------------


@pytest.fixture(params=range(2, pickle.HIGHEST_PROTOCOL + 1))
def protocol(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def pickled(file: Path) -> Iterator[BlobReader]:
    with blobread.open(file, buffer_size=5000) as f:
        yield f


def test_pickled_reader_reads_on_where_it_was(pickled: BlobReader, protocol: int) -> None:
    assert pickled.read(1234) == DATA[:1234]
    with pickle.loads(pickle.dumps(pickled, protocol)) as other:
        assert type(other) is BlobReader
        assert (other.tell(), other.size, other.info) == (1234, len(DATA), pickled.info)
        assert other.read() == DATA[1234:]
    assert pickled.tell() == 1234


def test_position_beyond_the_end_is_kept(pickled: BlobReader) -> None:
    pickled.seek(1 << 40)
    with pickle.loads(pickle.dumps(pickled)) as other:
        assert other.tell() == 1 << 40
        assert other.read() == b""


def test_pickle_is_small_beside_its_driver(pickled: BlobReader, protocol: int) -> None:
    pickled.read(100_000)
    size = len(pickle.dumps(pickled, protocol)) - len(pickle.dumps(pickled.driver, protocol))
    assert size < 1024


def test_unpickling_asks_nothing_before_the_first_read(file: Path) -> None:
    with blobread.open(file) as f:
        data = pickle.dumps(f)
    file.unlink()
    with pickle.loads(data) as other:
        assert other.stats.requests == 0
        with pytest.raises(PathNotFoundError):
            other.read(10)


def test_unpickled_reader_reads_the_version_that_was_pickled_or_none(file: Path) -> None:
    with blobread.open(file) as f:
        data = pickle.dumps(f)
    new = file.with_name("new")
    new.write_bytes(DATA[::-1])
    new.replace(file)
    with pickle.loads(data) as other, pytest.raises(BlobChangedError):
        other.read(10)


def test_pickle_is_read_in_another_process(file: Path) -> None:
    program = (
        "import pickle, sys\n"
        "with pickle.load(sys.stdin.buffer) as f:\n"
        "    sys.stdout.buffer.write(f.read())\n"
    )
    with blobread.open(file) as f:
        f.seek(1000)
        data = pickle.dumps(f)
    path = os.pathsep.join([str(Path(blobread.__file__).parents[1]), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", program],
        input=data,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == DATA[1000:]


def test_options_are_pickled_with_it() -> None:
    driver = MemoryDriver({"path": DATA})
    with BlobReader(driver, "absent", missing="eof", buffer_size=100) as f:
        arguments = f.__reduce__()[1]
        assert "eof" in arguments
        assert 100 in arguments
        with pickle.loads(pickle.dumps(f)) as other:
            assert other.read() == b""


def test_copy_is_a_reader_with_a_position_of_its_own(pickled: BlobReader) -> None:
    pickled.seek(10)
    for copied in (copy.copy(pickled), copy.deepcopy(pickled)):
        with copied:
            assert copied.read(10) == DATA[10:20]
            assert pickled.tell() == 10


def test_closed_reader_is_not_pickled(file: Path) -> None:
    f = blobread.open(file)
    f.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(f)


def test_reader_pickles_while_another_thread_reads_and_keeps_the_position_before_it() -> None:
    gate = Gate()
    driver = OneBlob(DATA, gate.before())
    with BlobReader(driver, "path", info=BlobInfo("path", len(DATA))) as f:
        f.seek(77)
        call = Call(lambda: f.read(10))
        gate.wait_until_reached()
        position = f.__reduce__()[1][-1]
        gate.open()
        call.outcome()
    assert position == 77


# ---- dask, weak references -----------------------------------------------------------------------


def test_dask_token_has_no_position_and_changes_with_the_version(file: Path) -> None:
    with blobread.open(file) as f:
        before: Any = f.__dask_tokenize__()
        f.read(10)
        assert f.__dask_tokenize__() == before
    os.utime(file, ns=(10**18, 10**18))
    with blobread.open(file) as f:
        assert f.__dask_tokenize__() != before
    with BlobReader(FileDriver(), str(file)) as f:
        assert f.__dask_tokenize__()[2] == len(DATA)


def test_weak_reference_dies_with_the_reader(file: Path) -> None:
    f = blobread.open(file)
    f.read(10)
    f.close()
    reference = weakref.ref(f)
    assert reference() is f
    del f
    assert reference() is None
