"""Random programs against plain bytes, over every driver and over unreliable ones."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import Nginx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from misbehaving import Broken, OneBlob, OneBlobOpened, Stream, unreliable

import blobread
from blobread import BlobReader
from blobread.drivers.memory import MemoryDriver

SETTINGS = settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)

choose = random.Random(6)
LINES = b"".join(choose.randbytes(choose.randrange(200)) + b"\n" for _ in range(7000))
BLOBS = [
    b"",
    b"\n",
    b"one line without an end",
    LINES[: 4 << 10],
    LINES[: 64 << 10],
    choose.randbytes(100_001),
    LINES[: 256 << 10],
    LINES[: (512 << 10) + 1],
]

BufferSize = int | Literal["auto"]
BUFFER_SIZES: list[BufferSize] = ["auto", 1, 100, 4096, 70_000]
Opener = Callable[
    [bytes, BufferSize, int], BlobReader
]  # data, buffer size, seed of the misbehaviour


class Twin:
    """A reader, and what it must answer.

    With `faults` any call may fail with an OSError; it must then leave the position, and the calls
    after it must be right.
    """

    def __init__(self, reader: BlobReader, data: bytes, faults: bool) -> None:
        self.reader = reader
        self.data = data
        self.faults = faults
        self.position = 0

    def rest(self, position: int, count: int | None) -> bytes:
        stop = None if count is None or count < 0 else position + count
        return self.data[position:stop]

    def call(self, function: Callable[[], Any], judge: Callable[[Any], int]) -> None:
        """Call it; `judge` fails if the answer is wrong, and else gives the step forward."""
        try:
            answer = function()
        except OSError:
            if not self.faults:
                raise
        else:
            self.position += judge(answer)
        assert self.reader.tell() == self.position

    def all_of(self, expected: bytes) -> Callable[[bytes], int]:
        def judge(answer: bytes) -> int:
            assert type(answer) is bytes
            assert answer == expected
            return len(answer)

        return judge

    def start_of(self, expected: bytes) -> Callable[[bytes], int]:
        def judge(answer: bytes) -> int:
            assert expected.startswith(answer)
            assert bool(answer) == bool(expected)
            return len(answer)

        return judge

    def read(self, count: int | None) -> None:
        self.call(lambda: self.reader.read(count), self.all_of(self.rest(self.position, count)))

    def read1(self, count: int) -> None:
        self.call(lambda: self.reader.read1(count), self.start_of(self.rest(self.position, count)))

    def readinto(self, count: int) -> None:
        self.into(count, self.reader.readinto, self.position, self.all_of)

    def readinto1(self, count: int) -> None:
        self.into(count, self.reader.readinto1, self.position, self.start_of)

    def readinto_at(self, count: int, offset: int) -> None:
        def readinto_at(buffer: bytearray) -> int:
            return self.reader.readinto_at(buffer, offset)

        self.into(count, readinto_at, offset, self.all_of, steps=0)

    def into(
        self,
        count: int,
        readinto: Callable[[bytearray], int],
        position: int,
        judge: Callable[[bytes], Callable[[bytes], int]],
        steps: int = 1,
    ) -> None:
        buffer = bytearray(b"\xa5" * count)

        def answered(got: int) -> int:
            assert buffer[got:] == b"\xa5" * (count - got)
            return steps * judge(self.rest(position, count))(bytes(buffer[:got]))

        self.call(lambda: readinto(buffer), answered)
        buffer.append(0)  # BufferError if an export is left

    def read_at(self, count: int, offset: int) -> None:
        judge = self.all_of(self.rest(offset, count))
        self.call(lambda: self.reader.read_at(count, offset), lambda answer: 0 * judge(answer))

    def line(self, size: int) -> bytes:
        end = self.data.find(b"\n", self.position)
        line = self.rest(self.position, -1 if end < 0 else end + 1 - self.position)
        return line if size < 0 else line[:size]

    def readline(self, size: int) -> None:
        self.call(lambda: self.reader.readline(size), self.all_of(self.line(size)))

    def next(self) -> None:
        self.call(lambda: next(self.reader, b""), self.all_of(self.line(-1)))

    def readlines(self, hint: int) -> None:
        def judge(answer: list[bytes]) -> int:
            lines = self.rest(self.position, -1).splitlines(keepends=True)
            # Only b"\n" ends a line of a binary file.
            whole, lines = b"".join(lines), []
            while whole and (hint <= 0 or sum(map(len, lines)) <= hint):
                end = whole.find(b"\n") + 1 or len(whole)
                lines.append(whole[:end])
                whole = whole[end:]
            assert answer == lines
            return sum(map(len, answer))

        self.call(lambda: self.reader.readlines(hint), judge)

    def peek(self) -> None:
        judge = self.start_of(self.rest(self.position, -1))
        self.call(self.reader.peek, lambda answer: 0 * judge(answer))

    def seek(self, offset: int, whence: int) -> None:
        target = offset + (0, self.position, len(self.data))[whence]
        if target < 0:
            with pytest.raises(ValueError):
                self.reader.seek(offset, whence)
        else:
            assert self.reader.seek(offset, whence) == target
            self.position = target
        assert self.reader.tell() == self.position


# ---- by hypothesis -------------------------------------------------------------------------------

counts = st.one_of(
    st.integers(0, 300),
    st.sampled_from([1023, 4095, 4096, 4097, 16383, 16384, 32768, 65535, 65536, 65537, 262144]),
    st.integers(0, 600_000),
)
offsets = st.one_of(counts, st.integers(0, 1_000_000))


class Programs(RuleBasedStateMachine):
    open: Opener
    faults: bool

    def __init__(self) -> None:
        super().__init__()
        self.twin: Twin | None = None

    @initialize(
        blob=st.integers(0, len(BLOBS) - 1),
        buffer_size=st.sampled_from(BUFFER_SIZES),
        seed=st.integers(0, 1 << 32),
    )
    def create(self, blob: int, buffer_size: BufferSize, seed: int) -> None:
        reader = type(self).open(BLOBS[blob], buffer_size, seed)
        self.twin = Twin(reader, BLOBS[blob], self.faults)

    def teardown(self) -> None:
        if self.twin is not None:
            self.twin.reader.close()

    @property
    def it(self) -> Twin:
        assert self.twin is not None
        return self.twin

    @rule(count=counts)
    def read(self, count: int) -> None:
        self.it.read(count)

    @rule(count=st.sampled_from([None, -1]))
    def read_all(self, count: int | None) -> None:
        self.it.read(count)

    @rule(count=counts)
    def read1(self, count: int) -> None:
        self.it.read1(count)

    @rule(count=counts)
    def readinto(self, count: int) -> None:
        self.it.readinto(count)

    @rule(count=counts)
    def readinto1(self, count: int) -> None:
        self.it.readinto1(count)

    @rule(count=counts, offset=offsets)
    def read_at(self, count: int, offset: int) -> None:
        self.it.read_at(count, offset)

    @rule(count=counts, offset=offsets)
    def readinto_at(self, count: int, offset: int) -> None:
        self.it.readinto_at(count, offset)

    @rule(size=st.one_of(st.just(-1), counts))
    def readline(self, size: int) -> None:
        self.it.readline(size)

    @rule()
    def next(self) -> None:
        self.it.next()

    @rule(hint=st.one_of(st.just(-1), counts))
    def readlines(self, hint: int) -> None:
        self.it.readlines(hint)

    @rule()
    def peek(self) -> None:
        self.it.peek()

    @rule(offset=offsets)
    def seek(self, offset: int) -> None:
        self.it.seek(offset, os.SEEK_SET)

    @rule(offset=st.one_of(st.integers(-300, 300), st.integers(-600_000, 600_000)))
    def seek_from_here(self, offset: int) -> None:
        self.it.seek(offset, os.SEEK_CUR)

    @rule(offset=st.one_of(st.integers(-300, 10), st.integers(-600_000, 10)))
    def seek_from_the_end(self, offset: int) -> None:
        self.it.seek(offset, os.SEEK_END)

    @precondition(lambda self: self.twin is not None)
    @invariant()
    def position_is_right(self) -> None:
        assert self.it.reader.tell() == self.it.position


# ---- the drivers ---------------------------------------------------------------------------------


class FailingToOpen:
    """A driver's read_stream() that fails now and then."""

    def __init__(self, driver: OneBlob, seed: int) -> None:
        self.choose = random.Random(seed)
        self.read_stream = driver.read_stream

    def __call__(self, *args: Any, **options: Any) -> Stream:
        if self.choose.random() < 0.02:
            raise Broken("no stream today")
        return self.read_stream(*args, **options)


def unreliable_driver(kind: type[OneBlob], data: bytes, seed: int) -> OneBlob:
    driver = kind(data, unreliable(seed, 0.05))
    if kind is OneBlob:
        driver.read_stream = FailingToOpen(driver, seed)  # type: ignore[method-assign]
    return driver


DRIVERS = ["memory", "file", "http", "short", "unreliable", "unreliable, opened"]


@pytest.fixture(scope="module", params=DRIVERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(kind: str, request: pytest.FixtureRequest) -> Nginx | None:
    """nginx, started only where it is needed."""
    return request.getfixturevalue("nginx") if kind == "http" else None


@pytest.fixture
def opener(kind: str, server: Nginx | None, tmp_path: Path) -> Opener:
    def blob_below(root: Path, data: bytes) -> str:
        name = f"model-{BLOBS.index(data)}"
        if not (root / name).exists():
            (root / name).write_bytes(data)
        return name

    def open_memory(data: bytes, buffer_size: BufferSize, seed: int) -> BlobReader:
        return BlobReader(MemoryDriver({"path": data}), "path", buffer_size=buffer_size)

    def open_file(data: bytes, buffer_size: BufferSize, seed: int) -> BlobReader:
        return blobread.open(tmp_path / blob_below(tmp_path, data), buffer_size=buffer_size)

    def open_http(data: bytes, buffer_size: BufferSize, seed: int) -> BlobReader:
        assert server is not None
        url = f"{server.url}/{blob_below(server.root, data)}"
        return blobread.open(url, buffer_size=buffer_size)

    def open_short(data: bytes, buffer_size: BufferSize, seed: int) -> BlobReader:
        lengths = random.Random(seed)

        def behave(stream: Stream, buffer: memoryview) -> int:
            return stream.fill(buffer, lengths.choice([1, 2, 100, 5000, 1 << 20]))

        return BlobReader(OneBlob(data, behave), "path", buffer_size=buffer_size)

    def open_unreliable(data: bytes, buffer_size: BufferSize, seed: int) -> BlobReader:
        opened = OneBlobOpened if kind.endswith("opened") else OneBlob
        return BlobReader(unreliable_driver(opened, data, seed), "path", buffer_size=buffer_size)

    return {
        "memory": open_memory,
        "file": open_file,
        "http": open_http,
        "short": open_short,
    }.get(kind, open_unreliable)


def test_program_that_hypothesis_makes_is_right(kind: str, opener: Opener) -> None:
    class Machine(Programs):
        open = staticmethod(opener)
        faults = kind.startswith("unreliable")

    run_state_machine_as_test(Machine, settings=SETTINGS)


# ---- by a bare loop, which does many more steps in the same time ---------------------------------


def random_step(choose: random.Random, size: int) -> tuple[str, tuple[int, ...]]:
    """A call of `Twin`: small ones more often than large ones."""
    small = choose.randrange(300)
    count = choose.choice([small, small, small, choose.randrange(1 << choose.randrange(1, 18))])
    match choose.randrange(16):
        case 0 | 1 | 2:
            return "read", (count,)
        case 3 | 4:
            return "readinto", (count,)
        case 5:
            return choose.choice(["read1", "readinto1"]), (count,)
        case 6:
            return "readline", (choose.choice([-1, count]),)
        case 7:
            return "next", ()
        case 8:
            return "peek", ()
        case 9:
            return "readlines", (1 + small,)
        case 10 | 11:
            return "seek", (choose.randrange(-2, size + 10), os.SEEK_SET)
        case 12:
            return "seek", (choose.choice([small, -small, count, -count]), os.SEEK_CUR)
        case 13:
            return "seek", (-count, os.SEEK_END)
        case 14:
            return "read_at", (count, choose.randrange(size + 10))
    return "readinto_at", (count, choose.randrange(size + 10))


STEPS = {"memory": 100_000, "file": 100_000, "http": 40_000, "short": 50_000}


def test_long_random_program_is_right(kind: str, opener: Opener) -> None:
    steps = STEPS.get(kind, 100_000)
    seed = int(os.environ.get("BLOBREAD_SEED", "20150401"))
    choose = random.Random(seed)
    programs = 20
    for _ in range(programs):
        data, buffer_size = choose.choice(BLOBS[2:]), choose.choice(BUFFER_SIZES[1:] + ["auto"] * 6)
        with opener(data, buffer_size, choose.randrange(1 << 32)) as reader:
            twin = Twin(reader, data, faults=kind.startswith("unreliable"))
            for number in range(steps // programs):
                name, arguments = random_step(choose, len(data))
                try:
                    getattr(twin, name)(*arguments)
                except BaseException as error:
                    blob = f"blob {BLOBS.index(data)} by {buffer_size}"
                    error.add_note(f"seed {seed}, {blob}, step {number}: {name}{arguments}")
                    raise
