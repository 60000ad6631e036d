"""A reader is a binary file of Python's: it answers as io.BufferedReader does."""

import io
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from misbehaving import OneBlob, at_most

import blobread
from blobread import BlobReader
from blobread.drivers.file import FileDriver

LINES = b"".join(b"%d, " % n * (n % 50) + b"\n" for n in range(3000)) + b"no end of line"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "blob").write_bytes(LINES)
    return tmp_path / "blob"


@pytest.fixture
def f(path: Path) -> Iterator[BlobReader]:
    with blobread.open(path) as reader:
        yield reader


class Index:
    def __index__(self) -> int:
        return 7


class BadIndex:
    def __index__(self) -> int:
        raise ZeroDivisionError


CALLS: dict[str, Callable[[Any], object]] = {
    "read()": lambda f: f.read(),
    "read(None)": lambda f: f.read(None),
    "read(-1)": lambda f: f.read(-1),
    "read(-2)": lambda f: f.read(-2),
    "read(0)": lambda f: f.read(0),
    "read(7)": lambda f: f.read(7),
    "read(True)": lambda f: f.read(True),
    "read(numpy)": lambda f: f.read(np.int64(7)),
    "read(index)": lambda f: f.read(Index()),
    "read(bad index)": lambda f: f.read(BadIndex()),
    "read(float)": lambda f: f.read(1.0),
    "read(str)": lambda f: f.read("1"),
    "read(2**70)": lambda f: f.read(2**70),
    "read(size=1)": lambda f: f.read(size=1),
    "read(1, 2)": lambda f: f.read(1, 2),
    "read1(0)": lambda f: f.read1(0),
    "read1(7)": lambda f: f.read1(7),
    "read1(-2) is something": lambda f: len(f.read1(-2)) > 0,
    "read1() is something": lambda f: len(f.read1()) > 0,
    "read1(float)": lambda f: f.read1(1.0),
    "readinto(str)": lambda f: f.readinto("12"),
    "readinto()": lambda f: f.readinto(),
    "readline()": lambda f: f.readline(),
    "readline(None)": lambda f: f.readline(None),
    "readline(-1)": lambda f: f.readline(-1),
    "readline(-2)": lambda f: f.readline(-2),
    "readline(0)": lambda f: f.readline(0),
    "readline(1)": lambda f: f.readline(1),
    "readline(7)": lambda f: f.readline(7),
    "readline(float)": lambda f: f.readline(1.0),
    "readline(str)": lambda f: f.readline("1"),
    "readlines()": lambda f: f.readlines(),
    "readlines(None)": lambda f: f.readlines(None),
    "readlines(-1)": lambda f: f.readlines(-1),
    "readlines(0)": lambda f: f.readlines(0),
    "readlines(1)": lambda f: f.readlines(1),
    "readlines(1000)": lambda f: f.readlines(1000),
    "readlines(float)": lambda f: f.readlines(1.0),
    "readlines(str)": lambda f: f.readlines("1"),
    "list": list,
    "next": next,
    "iter is the file": lambda f: iter(f) is f,
    "peek starts what is left": lambda f: LINES.startswith(f.peek()) and len(f.peek(1)) > 0,
    "peek(-1) is something": lambda f: len(f.peek(-1)) > 0,
    "peek(float)": lambda f: f.peek(1.0),
    "seek(7)": lambda f: f.seek(7),
    "seek(index)": lambda f: f.seek(Index()),
    "seek(numpy)": lambda f: f.seek(np.uint8(7)),
    "seek()": lambda f: f.seek(),
    "seek(float)": lambda f: f.seek(1.0),
    "seek(str)": lambda f: f.seek("1"),
    "seek(0, 1)": lambda f: f.seek(0, 1),
    "seek(0, 2)": lambda f: f.seek(0, 2),
    "seek(0, True)": lambda f: f.seek(0, True),
    "seek(0, 9)": lambda f: f.seek(0, 9),
    "seek(0, float)": lambda f: f.seek(0, 1.0),
    "tell(1)": lambda f: f.tell(1),
    "closed": lambda f: f.closed,
    "mode": lambda f: f.mode,
    "readable": lambda f: f.readable(),
    "seekable": lambda f: f.seekable(),
    "writable": lambda f: f.writable(),
    "isatty": lambda f: f.isatty(),
    "flush": lambda f: f.flush(),
    "write": lambda f: f.write(b"1"),
    "writelines": lambda f: f.writelines([b"1"]),
    "truncate": lambda f: f.truncate(5),
    "with": lambda f: f.__enter__() is f,
    "exit": lambda f: f.__exit__(None, None, None),
    "is a BufferedIOBase": lambda f: isinstance(f, io.BufferedIOBase),
    "is an IOBase": lambda f: isinstance(f, io.IOBase),
    "is no RawIOBase": lambda f: isinstance(f, io.RawIOBase),
    "is no TextIOBase": lambda f: isinstance(f, io.TextIOBase),
    "not a number of bytes": lambda f: len(f),
    "truth": bool,
    "hash": lambda f: hash(f) == hash(f),
}


def outcome(call: Callable[[Any], object], f: Any) -> object:
    try:
        return call(f)
    except Exception as error:
        return error


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("before", [b"", LINES[:5]], ids=["first", "after a read"])
def test_answer_is_that_of_a_buffered_reader(
    path: Path, call: Callable[[Any], object], before: bytes
) -> None:
    with blobread.open(path) as ours, path.open("rb") as theirs:
        if call is not CALLS["peek starts what is left"]:
            assert ours.read(len(before)) == theirs.read(len(before)) == before
        expected, seen = outcome(call, theirs), outcome(call, ours)
        if isinstance(expected, Exception):
            assert isinstance(seen, type(expected))
        else:
            assert seen == expected
        assert ours.closed == theirs.closed


def test_no_descriptor_stands_for_the_bytes(f: BlobReader) -> None:
    with pytest.raises(io.UnsupportedOperation):
        f.fileno()
    with pytest.raises(io.UnsupportedOperation):
        f.detach()


def test_text_wrapper_reads_lines(f: BlobReader) -> None:
    text = io.TextIOWrapper(cast(Any, f), encoding="ascii", newline="")
    assert list(text) == LINES.decode().splitlines(keepends=True)
    text.seek(0)
    assert text.readline() == "\n"
    text.close()
    assert f.closed


def test_copyfileobj_copies(f: BlobReader) -> None:
    to = io.BytesIO()
    shutil.copyfileobj(f, to, 1000)
    assert to.getvalue() == LINES


def test_lines_are_the_same_however_the_bytes_arrive() -> None:
    for most in (1, 7, 1000):
        with BlobReader(OneBlob(LINES, at_most(most)), "path") as f:
            assert list(f) == LINES.splitlines(keepends=True)


def test_lines_and_reads_mix(f: BlobReader) -> None:
    with io.BytesIO(LINES) as theirs:
        choose = random.Random(9)
        for _ in range(2000):
            name, size = choose.choice(["read", "readline"]), choose.choice([-1, 1, 20, 500])
            size = 20 if name == "read" and size < 0 else size
            assert getattr(f, name)(size) == getattr(theirs, name)(size)
            assert f.tell() == theirs.tell()


def test_peek_moves_nothing_and_gives_something_until_the_end(f: BlobReader) -> None:
    while head := f.peek():
        at = f.tell()
        assert LINES.startswith(head, at)
        assert f.peek(10_000_000) == head
        assert f.tell() == at
        assert f.read(777) == LINES[at : at + 777]
    assert f.tell() == len(LINES)


def test_iteration_ends_and_ends_again(f: BlobReader) -> None:
    f.seek(0, io.SEEK_END)
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(f)


def test_exception_in_the_body_of_with_comes_out(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), blobread.open(path) as f:
        raise ZeroDivisionError
    assert f.closed


def test_unknown_attribute_and_assignment_are_attribute_errors(f: BlobReader) -> None:
    for name in ("size", "path", "info", "driver", "name", "mode", "closed", "new"):
        with pytest.raises(AttributeError):
            setattr(f, name, 1)


def test_reader_can_be_a_base_class(path: Path) -> None:
    class Loud(BlobReader):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size).upper()

    with Loud(FileDriver(), str(path)) as f:
        assert f.read(20) == LINES[:20].upper()
        assert isinstance(f, io.BufferedIOBase)
