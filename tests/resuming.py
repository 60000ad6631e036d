"""Stores that the tests of resuming streams read from, and what they read with."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from misbehaving import Behaviour, OneBlob, Stream, honest
from together import PATIENCE, Gate

from blobread import BlobInfo
from blobread.driver import StorageDriver
from blobread.transfer.link import Link
from blobread.transfer.resume import ResumingStream
from blobread.transfer.retry import Retry
from blobread.transfer.source import Source

__all__ = [
    "QUICK",
    "Hanging",
    "LazyBlob",
    "VersionedBlob",
    "breaking",
    "quick",
    "read_to_end",
    "source_of",
]


def quick(**more: Any) -> Retry:
    """A policy without pauses."""
    return Retry(init_backoff=0, max_backoff=0, **more)


QUICK = quick()


def source_of(driver: StorageDriver, size: int | None = None, **more: Any) -> Source:
    """The only blob of a store, of a version that is known."""
    more.setdefault("retry", QUICK)
    more.setdefault("link", Link("test"))
    if size is None:
        assert isinstance(driver, OneBlob)
        size = len(driver.present("p"))
    info = more.pop("info", BlobInfo("p", size, "version:1"))
    return Source(driver, more.pop("path", "p"), info, **more)


def read_to_end(stream: ResumingStream, room: int = 1 << 20) -> bytes:
    """Read a stream in pieces of at most `room` bytes, and close it."""
    data, buffer = bytearray(), memoryview(bytearray(room))
    try:
        while count := stream.readinto(buffer):
            assert 1 <= count <= room
            data += buffer[:count]
        return bytes(data)
    finally:
        stream.close()


def breaking(error: Callable[[], BaseException] | None, *offsets: int) -> Behaviour:
    """Break once at each of the offsets: by an error, or by an end that looks like a proper one."""
    left = list(offsets)

    def behave(stream: Stream, buffer: memoryview) -> int:
        if left and stream.at == left[0]:
            del left[0]
            if error is None:
                return 0
            raise error()
        return stream.fill(buffer, left[0] - stream.at if left else None)

    return behave


class LazyStream:
    """A stream that is opened by its first readinto()."""

    def __init__(self, ask: Callable[[], Stream], gate: Gate | None) -> None:
        self.ask = ask
        self.gate = gate
        self.stream: Stream | None = None
        self.is_closed = False

    def readinto(self, buffer: memoryview, /) -> Any:
        if self.stream is None:
            if self.gate is not None:
                self.gate.pass_through()
                if self.is_closed:
                    raise ValueError("I/O operation on closed stream")
            self.stream = self.ask()
        return self.stream.readinto(buffer)

    @property
    def info(self) -> BlobInfo | None:
        return None if self.stream is None else self.stream.info

    def close(self) -> None:
        self.is_closed = True
        if self.gate is not None:
            self.gate.open()
        if self.stream is not None:
            self.stream.close()


class LazyBlob(OneBlob):
    """A store whose streams ask for nothing before they are read."""

    def __init__(self, data: bytes, behave: Behaviour = honest, gate: Gate | None = None) -> None:
        super().__init__(data, behave)
        self.gate = gate
        self.parts: list[LazyStream] = []

    def part(
        self, path: str, offset: int, length: int, *, pin: BlobInfo | None = None
    ) -> LazyStream:
        part = LazyStream(lambda: self.read_stream(path, offset, length, pin=pin), self.gate)
        self.parts.append(part)
        return part


class VersionedBlob(OneBlob):
    """A store whose blob changes; it compares with the pin as far as that names a version.

    Attributes
    ----------
    info : BlobInfo
        What it is now.
    pins : list
        What was asked for.
    """

    def __init__(self, data: bytes, behave: Behaviour = honest, *, tells: bool = True) -> None:
        super().__init__(data, behave)
        self.info = BlobInfo("p", len(data), "version:1", etag='"1"')
        self.tells = tells
        self.pins: list[BlobInfo | None] = []

    def change(self, data: bytes, version: str = "version:2") -> None:
        self.data = data
        self.info = replace(self.info, size=len(data), version=version, etag=f'"{version}"')

    def stat(self, path: str, /) -> BlobInfo:
        self.stats += 1
        return self.info

    def read_stream(
        self,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        pin: BlobInfo | None = None,
    ) -> Stream:
        from blobread import BlobChangedError

        self.pins.append(pin)
        if pin is not None and pin.version not in (None, self.info.version):
            raise BlobChangedError("changed", driver=self.name, path=path)
        stream = super().read_stream(path, offset, length, pin=pin)
        stream.info = self.info if self.tells else None
        return stream


class Hanging(Stream):
    """A stream whose readinto() hangs until it is closed, or is let go on."""

    def __init__(self, data: bytes, offset: int, length: int | None, behave: Behaviour) -> None:
        super().__init__(data, offset, length, behave)
        self.reached = threading.Event()
        self.ended = threading.Event()

    def readinto(self, buffer: memoryview, /) -> Any:
        self.reached.set()
        assert self.ended.wait(PATIENCE), "nobody has closed the stream"
        if self.closed:
            raise ValueError("I/O operation on closed stream")
        return super().readinto(buffer)

    def close(self) -> None:
        super().close()
        self.ended.set()
