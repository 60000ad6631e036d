"""A large read of a local file is shared by threads, and none is left of them when it is over."""

import _thread
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from misbehaving import FileLike
from together import together

import blobread
from blobread import BlobChangedError, BlobError, BlobReader, _reader

SHARED = 32 << 20
SHARE = 4 << 20
DATA = np.arange((SHARED + 2 * SHARE) // 4 + 3, dtype=np.uint32).tobytes() + b"end"

Start = Callable[[Callable[..., object], tuple[Any, ...]], int]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("local") / "blob"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have this process seem to have so many CPUs."""

    def seem(count: int) -> None:
        monkeypatch.setattr(os, "process_cpu_count", lambda: count, raising=False)

    seem(4)
    return seem


class Threads:
    """Counts the threads that are started; `instead` is what is called first in place of that."""

    def __init__(self) -> None:
        self.started = 0
        self.instead: list[Start] = []

    def start(self, function: Callable[..., object], args: tuple[Any, ...]) -> int:
        self.started += 1
        return (self.instead.pop(0) if self.instead else _thread.start_new_thread)(function, args)


@pytest.fixture
def threads(cpus: object, monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads()
    monkeypatch.setattr(_reader, "start_new_thread", threads.start)
    return threads


@pytest.fixture
def f(path: Path) -> Iterator[BlobReader]:
    with blobread.open(path) as f:
        yield f


@pytest.mark.parametrize("at", [0, 7, SHARE])
@pytest.mark.parametrize("count", [SHARED, SHARED + 1, SHARED + SHARE, SHARED + SHARE - 1])
def test_shared_read_has_every_byte_in_its_place(
    f: BlobReader, threads: Threads, at: int, count: int
) -> None:
    memory = bytearray(count)
    f.seek(at)
    assert f.readinto(memory) == count
    assert memory == DATA[at : at + count]
    assert threads.started == 3
    memory.append(0)
    assert f.tell() == at + count
    assert f.read_at(count, at) == DATA[at : at + count]
    assert f.read_ranges([at], [count]) == [DATA[at : at + count]]
    assert threads.started == 9
    assert f.stats.bytes_fetched == 3 * count


def test_all_of_the_file_is_read_at_once(f: BlobReader, threads: Threads) -> None:
    assert f.read() == DATA
    assert threads.started == 3


def test_smaller_read_is_not_shared(f: BlobReader, threads: Threads) -> None:
    assert f.read(SHARED - 1) == DATA[: SHARED - 1]
    assert threads.started == 0


@pytest.mark.parametrize(("count", "helpers"), [(1, 0), (2, 1), (64, 3)])
def test_there_are_no_more_threads_than_cpus_and_four(
    f: BlobReader, threads: Threads, cpus: Callable[[int], None], count: int, helpers: int
) -> None:
    cpus(count)
    assert f.read() == DATA
    assert threads.started == helpers


@pytest.mark.parametrize("had", [0, 1])
def test_read_goes_on_with_the_threads_that_can_be_had(
    f: BlobReader, threads: Threads, had: int
) -> None:
    def refuse(function: object, args: object) -> int:
        raise RuntimeError("can't start new thread")

    threads.instead += [_thread.start_new_thread] * had + [refuse]
    assert f.read() == DATA
    assert threads.started == had + 1


def test_thread_that_comes_late_finds_nothing_to_do(f: BlobReader, threads: Threads) -> None:
    def late(function: Callable[..., object], args: tuple[Any, ...]) -> int:
        def run() -> None:
            left.wait(0.1)  # for so long the read, which is done, waits for its thread
            function(*args)

        return _thread.start_new_thread(run, ())

    left = threading.Event()
    threads.instead += [late] * 3
    assert f.read() == DATA
    assert threads.started == 3


@pytest.mark.parametrize("left", [0, 5, SHARE, SHARE + 1, SHARED + 5])
def test_file_that_shrank_is_an_error_that_says_where_it_ends(
    tmp_path: Path, threads: Threads, left: int
) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    memory = bytearray(len(DATA))
    with blobread.open(tmp_path / "blob") as f:
        os.truncate(tmp_path / "blob", left)
        with pytest.raises(BlobChangedError, match=f"ends at {left} bytes now"):
            f.readinto(memory)
        assert f.tell() == 0
        assert f.stats.bytes_fetched == left
    assert memory[:left] == DATA[:left]
    memory.append(0)


def test_error_of_the_system_comes_out(tmp_path: Path, cpus: object) -> None:
    (tmp_path / "blob").touch()
    descriptor = os.open(tmp_path / "blob", os.O_WRONLY)
    try:
        with BlobReader(FileLike(DATA, descriptor), "path") as f:
            with pytest.raises(BlobError) as caught:
                f.read()
            assert caught.value.errno == errno.EBADF
    finally:
        os.close(descriptor)


def test_interrupt_waits_for_the_threads_and_comes_out(f: BlobReader, threads: Threads) -> None:
    def interrupting(function: Callable[..., object], args: tuple[Any, ...]) -> int:
        def run() -> None:
            _thread.interrupt_main()
            came_back_before.append(back.wait(0.1))
            function(*args)

        return _thread.start_new_thread(run, ())

    came_back_before: list[bool] = []
    back = threading.Event()
    memory = bytearray(len(DATA))
    # It is the last to be started: only this test's start() can be interrupted before that.
    threads.instead += [_thread.start_new_thread] * 2 + [interrupting]
    with pytest.raises(KeyboardInterrupt):
        f.readinto(memory)
    back.set()
    assert came_back_before == [False]
    memory.append(0)
    assert f.tell() == 0
    assert f.read() == DATA


@pytest.mark.parametrize(
    "read",
    [lambda f, memory: f.readinto(memory), lambda f, memory: f.readinto_at(memory, 0)],
    ids=["readinto", "readinto_at"],
)
def test_close_in_another_thread_ends_the_read(
    path: Path, threads: Threads, read: Callable[[BlobReader, bytearray], int]
) -> None:
    f = blobread.open(path)

    def closing(function: Callable[..., object], args: tuple[Any, ...]) -> int:
        f.close()
        return _thread.start_new_thread(function, args)

    memory = bytearray(len(DATA))
    threads.instead.append(closing)
    with pytest.raises(ValueError, match="closed"):
        read(f, memory)
    memory.append(0)


def test_shared_reads_run_side_by_side(f: BlobReader, threads: Threads) -> None:
    reads = [lambda n=n: f.read_at(SHARED, n) == DATA[n : n + SHARED] for n in range(3)]
    assert together(*reads) == [True] * 3
    assert threads.started == 9
