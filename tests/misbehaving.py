"""Stores of one blob that keep account of what they are asked, and misbehave as they are told to.

A *behaviour* is what the streams of a store do as their readinto(): it is called with the stream
and the reader's buffer, and what it returns or raises is what the reader gets.
"""

import random
from collections.abc import Callable
from typing import Any, TypeAlias

from blobread import BlobInfo, PathNotFoundError

__all__ = [
    "LIES",
    "Behaviour",
    "Broken",
    "EvilInt",
    "FileLike",
    "OneBlob",
    "OneBlobOpened",
    "Stream",
    "at_most",
    "failing_at",
    "honest",
    "lying",
    "unreliable",
]


class Broken(OSError):
    """What a store raises that nobody has heard of before."""


class Stream:
    """Bytes of a blob in order; `asked` has the room of each readinto(), `got` what it gave."""

    def __init__(self, data: bytes, offset: int, length: int | None, behave: "Behaviour") -> None:
        self.data = data
        self.at = offset
        self.stop = len(data) if length is None else min(len(data), offset + length)
        self.behave = behave
        self.asked: list[int] = []
        self.got: list[Any] = []
        self.closed = False
        self.info: BlobInfo | None = None  # what the store says of the version that this is of

    def fill(self, buffer: memoryview, most: int | None = None) -> int:
        """What an honest readinto() does, with at most `most` bytes."""
        count = min(len(buffer), max(0, self.stop - self.at))
        if most is not None:
            count = min(count, most)
        buffer[:count] = self.data[self.at : self.at + count]
        self.at += count
        return count

    def readinto(self, buffer: memoryview, /) -> Any:
        assert not self.closed, "a closed stream is read"
        self.asked.append(len(buffer))
        got = self.behave(self, buffer)
        self.got.append(got)
        return got

    def close(self) -> None:
        self.closed = True


Behaviour: TypeAlias = Callable[[Stream, memoryview], Any]


def honest(stream: Stream, buffer: memoryview) -> int:
    return stream.fill(buffer)


def at_most(most: int) -> Behaviour:
    """Honest, and short."""
    return lambda stream, buffer: stream.fill(buffer, most)


def failing_at(offset: int, error: BaseException | type[BaseException]) -> Behaviour:
    """Honest up to `offset`, then an error, each time that it is come to."""

    def behave(stream: Stream, buffer: memoryview) -> int:
        if stream.at >= offset:
            raise error
        return stream.fill(buffer, offset - stream.at)

    return behave


class EvilInt(int):
    """An int that says yes to every comparison."""

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__


# What a readinto() may return instead of a length, made from the room that it was given.
LIES: dict[str, Callable[[int], Any]] = {
    "minus one": lambda room: -1,
    "one more": lambda room: room + 1,
    "far more": lambda room: 2**70,
    "None": lambda room: None,
    "str": lambda room: str(room),
    "float": lambda room: float(room),
    "bytes": lambda room: bytes(1),
    "evil int": lambda room: EvilInt(room + 4096),
    "evil negative int": lambda room: EvilInt(-4096),
}


def lying(lie: Callable[[int], Any]) -> Behaviour:
    """Fills the buffer, and tells a lie of how much that was."""

    def behave(stream: Stream, buffer: memoryview) -> Any:
        stream.fill(buffer)
        return lie(len(buffer))

    return behave


def unreliable(seed: int, rate: float) -> Behaviour:
    """Short most times, and at the given rate: an error, an early end, or a lie."""
    choose = random.Random(seed)
    lies = list(LIES.values())

    def behave(stream: Stream, buffer: memoryview) -> Any:
        if choose.random() >= rate:
            return stream.fill(buffer, choose.choice([1, 7, 4096, 1 << 20]))
        match choose.randrange(4):
            case 0:
                raise Broken("before a byte")
            case 1:
                stream.fill(buffer, choose.randrange(len(buffer) + 1))
                raise Broken("with bytes written already")
            case 2:
                return 0
        stream.fill(buffer)
        return choose.choice(lies)(len(buffer))

    return behave


class OneBlob:
    """A store that has one blob, at any path, and counts what it is asked for.

    Attributes
    ----------
    stats : int
        Calls of stat().
    asked : list of (offset, length)
        Of each stream.
    streams : list of Stream
    failures : list of BaseException
        Raised by the next calls of read_stream(), one each.
    """

    name = "one"

    def __init__(self, data: bytes, behave: Behaviour = honest) -> None:
        self.data: bytes | None = data
        self.behave = behave
        self.stats = 0
        self.asked: list[tuple[int, int | None]] = []
        self.streams: list[Stream] = []
        self.failures: list[BaseException] = []

    def mend(self) -> None:
        """Behave well from now on, in the streams that are open too."""
        self.behave = honest
        for stream in self.streams:
            stream.behave = honest

    @property
    def requests(self) -> int:
        return self.stats + len(self.asked)

    @property
    def fetched(self) -> int:
        """Bytes that went out."""
        return sum(sum(stream.got) for stream in self.streams)

    @property
    def left_open(self) -> int:
        return sum(not stream.closed for stream in self.streams)

    def is_let_go(self) -> bool:
        """Whether no stream is open."""
        return self.left_open == 0

    def present(self, path: str) -> bytes:
        if self.data is None:
            raise PathNotFoundError("no such blob", driver=self.name, path=path)
        return self.data

    def stat(self, path: str, /) -> BlobInfo:
        self.stats += 1
        return BlobInfo(path, len(self.present(path)), "version:1")

    def read_stream(
        self,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        pin: BlobInfo | None = None,
    ) -> Stream:
        self.asked.append((offset, length))
        if self.failures:
            raise self.failures.pop(0)
        stream = self.make_stream(self.present(path), offset, length)
        self.streams.append(stream)
        return stream

    def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
        return Stream(data, offset, length, self.behave)


class OneBlobOpened(OneBlob):
    """One that tells of the blob and sends its first bytes by one request."""

    first = 1 << 18

    def open(self, path: str, /) -> tuple[BlobInfo, Stream]:
        stream = self.read_stream(path, 0, self.first)
        return BlobInfo(path, len(self.present(path)), "version:1"), stream


class FileLike(OneBlob):
    """One whose streams have a descriptor: that of a file which the test has opened."""

    def __init__(self, data: bytes, descriptor: int) -> None:
        super().__init__(data)
        self.descriptor = descriptor

    def make_stream(self, data: bytes, offset: int, length: int | None) -> Stream:
        stream = super().make_stream(data, offset, length)
        stream.descriptor = self.descriptor  # type: ignore[attr-defined]
        return stream
