"""What one call costs, on a hot local file.

A benchmark is a pass over some hundred calls, so that the loop around them costs little; the time
of a call is that of a pass divided by the number of its calls. Subjects take turns.

Run: python -m pytest bench/test_calls.py
"""

import random
from collections.abc import Callable, Iterator
from itertools import cycle, islice, repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest
import results
from blob import expected, write_blob
from pytest_benchmark.fixture import BenchmarkFixture
from subjects import FILES

_TURNS = 5
_SIZE = 1 << 30
_WARM = 4000  # bytes; nearly what the smallest of the buffers holds
_JUMPS = 1000
_SUBJECTS = ("open()", "FileIO", "BytesIO", "mmap", "twin", "blobread")


class Pass(NamedTuple):
    """`calls` calls, and whether the same calls give the right bytes."""

    run: Callable[[], None]
    calls: int
    is_right: Callable[[], bool]


class Kind(NamedTuple):
    """A kind of call: how a pass over a file is made, and with whom to compare."""

    prepare: Callable[[Any], Pass]
    baseline: str
    without: tuple[str, ...] = ()
    is_text: bool = False


def warm(file: Any) -> int:
    """Read on until the buffer holds `_WARM` bytes from the position on, which is given."""
    if hasattr(file, "peek"):
        while len(file.peek(1)) < _WARM:
            file.read(16)
    return int(file.tell())


def reads_of_buffer(size: int) -> Callable[[Any], Pass]:
    def prepare(file: Any) -> Pass:
        start, calls = warm(file), _WARM // size
        seek, read = file.seek, file.read

        def run() -> None:
            seek(start)
            for _ in repeat(None, calls):
                read(size)

        def is_right() -> bool:
            seek(start)
            return b"".join(read(size) for _ in range(calls)) == expected(start, calls * size)

        return Pass(run, calls, is_right)

    return prepare


def readinto_of_buffer(file: Any) -> Pass:
    start, calls = warm(file), _WARM // 16
    seek, readinto, buffer = file.seek, file.readinto, bytearray(16)

    def run() -> None:
        seek(start)
        for _ in repeat(None, calls):
            readinto(buffer)

    def is_right() -> bool:
        seek(start)
        given = b"".join(bytes(buffer) for _ in range(calls) if readinto(buffer) == 16)
        return given == expected(start, calls * 16)

    return Pass(run, calls, is_right)


def reads_on(size: int) -> Callable[[Any], Pass]:
    def prepare(file: Any) -> Pass:
        calls = 1000
        starts = cycle(range(0, _SIZE - calls * size, calls * size))
        seek, read = file.seek, file.read

        def run() -> None:
            seek(next(starts))  # where it is already, until it begins again
            for _ in repeat(None, calls):
                read(size)

        def is_right() -> bool:
            seek(start := next(starts))
            return b"".join(read(size) for _ in range(calls)) == expected(start, calls * size)

        return Pass(run, calls, is_right)

    return prepare


def text_of(lines: int) -> list[bytes]:
    """Lines of 20 to 140 bytes, 80 on average."""
    draw = random.Random(1)
    return [b"x" * draw.randrange(19, 140) + b"\n" for _ in range(lines)]


def readline_of_buffer(file: Any) -> Pass:
    file.seek(0)
    start, calls = warm(file), _WARM // 80 // 2
    seek, readline = file.seek, file.readline

    def run() -> None:
        seek(start)
        for _ in repeat(None, calls):
            readline()

    def is_right() -> bool:
        seek(start)
        given = [readline() for _ in range(calls)]
        return given == lines_from(file, start, calls)

    return Pass(run, calls, is_right)


def lines_of_buffer(file: Any) -> Pass:
    start, calls = warm(file), _WARM // 80 // 2
    seek = file.seek

    def run() -> None:
        seek(start)
        for _ in islice(file, calls):
            pass

    def is_right() -> bool:
        seek(start)
        return list(islice(file, calls)) == lines_from(file, start, calls)

    return Pass(run, calls, is_right)


def lines_from(file: Any, start: int, count: int) -> list[bytes]:
    text = b"".join(text_of(20_000))
    return text[start:].splitlines(keepends=True)[:count]


def tells(file: Any) -> Pass:
    start, calls = warm(file), 500
    tell = file.tell

    def run() -> None:
        for _ in repeat(None, calls):
            tell()

    return Pass(run, calls, lambda: tell() == start)


def jumps(span: int, size: int) -> Callable[[Any], Pass]:
    """Seek anywhere within `span` bytes in the middle of the blob, and read."""
    draw = random.Random(2)
    first = (_SIZE - span) // 2
    places = [first + draw.randrange(span - size) for _ in range(_JUMPS)]

    def prepare(file: Any) -> Pass:
        return passes_over(file, places, size)

    return prepare


def walk(step: int, size: int) -> Callable[[Any], Pass]:
    """Seek from where it is to a place up to `step` bytes before or after, and read."""
    draw = random.Random(3)
    places = [_SIZE // 2]
    while len(places) < _JUMPS:
        places.append(places[-1] + draw.randrange(-step, step))

    def prepare(file: Any) -> Pass:
        return passes_over(file, places, size)

    return prepare


def passes_over(file: Any, places: list[int], size: int) -> Pass:
    seek, read = file.seek, file.read

    def run() -> None:
        for place in places:
            seek(place)
            read(size)

    def is_right() -> bool:
        return all(seek(at) in (at, None) and read(size) == expected(at, size) for at in places)

    return Pass(run, len(places), is_right)


KINDS = {
    "read(16)": Kind(reads_of_buffer(16), "open()"),
    "read(128)": Kind(reads_of_buffer(128), "open()"),
    "read(4096), on and on": Kind(reads_on(4096), "open()"),
    "readinto(bytearray(16))": Kind(readinto_of_buffer, "open()", without=("mmap",)),
    "readline()": Kind(readline_of_buffer, "open()", is_text=True),
    "for line in file": Kind(lines_of_buffer, "open()", without=("mmap",), is_text=True),
    "tell()": Kind(tells, "open()"),
    "seek within 4 KiB, read(64)": Kind(jumps(4 << 10, 64), "open()"),
    "seek within 64 KiB, read(64)": Kind(jumps(64 << 10, 64), "open()"),
    "seek by up to 64 KiB, read(64)": Kind(walk(64 << 10, 64), "open()"),
    "seek anywhere, read(64)": Kind(jumps(_SIZE, 64), "FileIO"),
    "seek anywhere, read(4096)": Kind(jumps(_SIZE, 4096), "FileIO"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A hot blob of 1 GiB, and lines of text."""
    folder = tmp_path_factory.mktemp("calls")
    write_blob(folder / "blob", _SIZE)
    (folder / "text").write_bytes(b"".join(text_of(20_000)))
    yield folder
    (folder / "blob").unlink()


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, results.Case]]:
    """What was measured; it is saved when nothing is missing in it."""
    cases = {
        name: results.Case(
            case=name, baseline=kind.baseline, count=1, unit="s", samples={}, wrong=[]
        )
        for name, kind in KINDS.items()
    }
    yield cases
    if all(len(case["samples"].get("blobread", ())) == _TURNS for case in cases.values()):
        print(results.save("calls", list(cases.values())))


# From the outermost to the innermost: kind, turn, subject.
@pytest.mark.parametrize("subject", _SUBJECTS)
@pytest.mark.parametrize("turn", range(_TURNS))
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.benchmark(disable_gc=True, max_time=0.15, min_rounds=5)
def test_time_of_a_call(
    name: str,
    turn: int,
    subject: str,
    folder: Path,
    cases: dict[str, results.Case],
    benchmark: BenchmarkFixture,
) -> None:
    kind = KINDS[name]
    if subject in kind.without:
        pytest.skip(f"{subject} has no such call")
    with FILES[subject](str(folder / ("text" if kind.is_text else "blob"))) as file:
        run, calls, is_right = kind.prepare(file)
        assert is_right()
        benchmark(run)
        assert is_right()
    assert benchmark.stats is not None
    seconds = cases[name]["samples"].setdefault(subject, [])
    seconds.append(median(benchmark.stats.stats.data) / calls)
