"""What is done a thousand times leaves nothing behind: no memory, no reference, no descriptor."""

import contextlib
import gc
import os
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import open_descriptors
from misbehaving import Broken, OneBlob, OneBlobOpened, failing_at, lying

import blobread
from blobread import BlobInfo, BlobReader, PathNotFoundError
from blobread.drivers.file import FileDriver
from blobread.drivers.memory import MemoryDriver

DATA = random.Random(14).randbytes(300_000)
MEMORY = MemoryDriver({"path": DATA})


def all_calls(f: BlobReader) -> None:
    buffer = bytearray(100_000)
    f.read(10)
    f.peek()
    f.readline()
    f.read1()
    f.readinto(memoryview(buffer)[:7])
    f.readinto(buffer)
    f.seek(0)
    f.readlines(100)
    f.read_at(10, 200_000)
    f.readinto_at(buffer, 150_000)
    f.read()
    f.stats  # noqa: B018
    f.name  # noqa: B018
    repr(f)


def whole_life(driver: Any, path: str = "path", **options: Any) -> None:
    with BlobReader(driver, path, **options) as f:
        all_calls(f)


def failing_life(error: BaseException) -> None:
    with BlobReader(OneBlob(DATA, failing_at(50_000, error)), "path") as f:
        buffer = bytearray(100_000)
        reads: list[Callable[[], object]] = [
            f.read,
            f.readlines,
            lambda: f.read_at(100_000, 5),
            lambda: f.readinto(buffer),
            lambda: f.readinto_at(buffer, 5),
        ]
        for read in reads:
            with contextlib.suppress(Broken, KeyboardInterrupt):
                read()


def lying_life() -> None:
    with BlobReader(OneBlob(DATA, lying(lambda room: room + 1)), "path") as f:
        for count in (10, 100_000):
            with contextlib.suppress(OSError):
                f.read(count)
            with contextlib.suppress(OSError):
                f.read_at(count, 0)


def refused_calls() -> None:
    with BlobReader(MEMORY, "path") as f:
        calls: list[Callable[[], object]] = [
            lambda: f.readinto(b"bytes"),
            lambda: f.readinto("str"),  # type: ignore[arg-type]
            lambda: f.readinto(memoryview(bytearray(10))[::2]),
            lambda: f.seek(-1),
            lambda: f.read(-5),
            lambda: f.read_at(5, -1),
            lambda: f.read("1"),  # type: ignore[arg-type]
            f.fileno,
        ]
        for call in calls:
            with contextlib.suppress(Exception):
                call()


def refused_creation() -> None:
    with contextlib.suppress(PathNotFoundError):
        BlobReader(MEMORY, "absent")
    with contextlib.suppress(ValueError):
        BlobReader(OneBlobOpened(DATA), "path", info=BlobInfo("path", -1))
    with contextlib.suppress(ValueError):
        BlobReader(MEMORY, "path", buffer_size=0)
    with contextlib.suppress(IsADirectoryError):
        BlobReader(MEMORY, "path", info=BlobInfo("path", 0, is_dir=True))
    with contextlib.suppress(IsADirectoryError):
        BlobReader(FileDriver(), os.curdir)


LIVES: dict[str, Callable[[], None]] = {
    "memory": lambda: whole_life(MEMORY),
    "stream": lambda: whole_life(OneBlob(DATA)),
    "stream of the creation": lambda: whole_life(OneBlobOpened(DATA)),
    "error": lambda: failing_life(Broken()),
    "interrupt": lambda: failing_life(KeyboardInterrupt()),
    "lie": lying_life,
    "refused call": refused_calls,
    "refused creation": refused_creation,
}


def memory_of(life: Callable[[], None], times: int) -> int:
    """Bytes that are left after living so often."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(times):
        life()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.parametrize("name", [*LIVES, "file"])
def test_no_memory_is_left_of_many_lives(name: str, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    life = LIVES.get(name, lambda: whole_life(FileDriver(), str(tmp_path / "blob")))
    tracemalloc.start()
    try:
        memory_of(life, 50)  # caches fill
        assert memory_of(life, 200) < 4000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("call", [f"readinto {size}" for size in (10, 100_000)] + ["readinto_at"])
def test_no_reference_to_a_buffer_is_left(call: str) -> None:
    buffer = bytearray(int(call.split()[1]) if " " in call else 1000)
    before = sys.getrefcount(buffer)
    with BlobReader(OneBlob(DATA), "path") as f:
        for _ in range(10):
            if call == "readinto_at":
                f.readinto_at(buffer, 5)
            else:
                f.readinto(buffer)
                f.seek(0)
        assert sys.getrefcount(buffer) == before


def test_closed_reader_keeps_neither_buffer_nor_stream() -> None:
    tracemalloc.start()
    try:
        driver = OneBlobOpened(DATA)
        f = BlobReader(driver, "path")
        f.read(10)
        held = tracemalloc.get_traced_memory()[0]
        f.close()
        assert held - tracemalloc.get_traced_memory()[0] > 10_000
        assert driver.left_open == 0
    finally:
        tracemalloc.stop()


def test_thousand_readers_that_are_open_hold_little() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        readers = [BlobReader(MEMORY, "path") for _ in range(1000)]
        assert tracemalloc.get_traced_memory()[0] - before < 3_000_000
        for f in readers:
            f.read(10)
        assert tracemalloc.get_traced_memory()[0] - before < 1000 * 40_000
        for f in readers:
            f.close()
    finally:
        tracemalloc.stop()


def test_no_descriptor_is_left_of_readers_that_are_closed_or_collected(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    before = open_descriptors()
    for _ in range(100):
        with blobread.open(tmp_path / "blob") as f:
            all_calls(f)
        with pytest.warns(ResourceWarning):
            blobread.open(tmp_path / "blob").read(10)
        with BlobReader(FileDriver(), str(tmp_path / "blob"), info=f.info) as late:
            late.read_at(10, 5)
            late.read(10)
    assert open_descriptors() <= before


def test_reader_in_a_cycle_is_collected() -> None:
    driver = OneBlobOpened(DATA)
    driver.reader = BlobReader(driver, "path")  # type: ignore[attr-defined]
    driver.reader.read(10)  # type: ignore[attr-defined]
    streams = driver.streams
    with pytest.warns(ResourceWarning):
        del driver
        gc.collect()
    assert all(stream.closed for stream in streams)
