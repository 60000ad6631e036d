"""How fast a blob is read with buffers of many sizes, and whether the bytes are the same."""

import hashlib
import io
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .._reader import BlobReader
from ..errors import DigestMismatchError, TruncatedBlobError
from ..opening import Url
from ..opening import open as open_blob
from ..whole.download import OnProgress

__all__ = ["BUFFER_SIZES", "BufferSize", "Pattern", "Report", "Series", "measure"]

BufferSize: TypeAlias = int | Literal["auto"]
Pattern: TypeAlias = Literal["sequential", "random"]

BUFFER_SIZES = tuple(size << 10 for size in (16, 64, 256, 1024, 4096, 16384))

# A random read may be a request each: on a far link, some ten milliseconds.
_LIMITS: dict[Pattern, int] = {"sequential": 64 << 20, "random": 4 << 20}
_ROUNDS = 5


@dataclass(slots=True)
class Series:
    """The runs with one size of buffer.

    Attributes
    ----------
    buffer_size : int or "auto"
        In bytes.
    seconds : list of float
        Of each run, in order: from before the blob is opened until the last byte is there.
    requests : int
        That a run asked of the store: the most of all runs.
    bytes_fetched : int
        That came from it: the most of all runs.
    """

    buffer_size: BufferSize
    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    bytes_fetched: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Attributes
    ----------
    path : str
        Of the blob; free of secrets.
    size : int
        Of the blob, in bytes.
    pattern : {"sequential", "random"}
    read_size : int
        Of each read, in bytes.
    bytes_read : int
        In each run.
    digest : str
        Of what was read, in the order of the reads: the same in every run.
    series : list of Series
    """

    path: str
    size: int
    pattern: Pattern
    read_size: int
    bytes_read: int
    digest: str
    series: list[Series]

    def rate(self, seconds: float) -> float:
        """Bytes per second of a run that took so many seconds."""
        return self.bytes_read / max(seconds, 1e-9)

    def median(self, series: Series) -> float:
        """Bytes per second of the median run."""
        return self.rate(statistics.median(series.seconds))


def measure(
    url: Url,
    buffer_sizes: Sequence[int] = BUFFER_SIZES,
    *,
    pattern: Pattern = "sequential",
    read_size: int = 4096,
    limit: int | None = None,
    rounds: int = _ROUNDS,
    on_progress: OnProgress | None = None,
) -> Report:
    """Read a blob with each size of buffer, and with "auto", in small reads, some times over.

    In each round, every size has its turn, in another order. A first run, which is not counted,
    warms caches and connections, and tells what the bytes are. The memory that is read into is
    cleared before each run and checked after it, outside of the time that is taken.

    Parameters
    ----------
    url : str, os.PathLike or callable
    buffer_sizes : sequence of int
        In bytes.
    pattern : {"sequential", "random"}
        From the start on, or at places all over the blob, the same ones in each run.
    read_size : int
        In bytes. Reads that are as large as the buffer, or larger than some ten KiB, go past it.
    limit : int, optional
        The most bytes that a run reads, and the memory that is needed; by default 64 MiB, and
        4 MiB for "random".
    rounds : int
    on_progress : callable, optional
        Called with the number of bytes that were read in all, and those that will be.

    Raises
    ------
    DigestMismatchError
        If a run brought other bytes than the one before.
    io.UnsupportedOperation
        If the size of the blob is unknown, or it has not a single byte.
    """
    import numpy as np

    with open_blob(url) as blob:
        path, size = blob.info.path, blob.size
    if not size:
        has = "an unknown size" if size is None else "no bytes"
        raise io.UnsupportedOperation(f"a blob with {has} cannot be measured: {path!r}")
    read_size = min(read_size, size)
    limit = min(size, _LIMITS[pattern] if limit is None else limit)
    read = _sequential if pattern == "sequential" else _random(size, read_size, limit)
    memory = np.empty(limit, np.uint8)
    warm_up = Series("auto")
    sizes: list[BufferSize] = [*dict.fromkeys(buffer_sizes), "auto"]
    series = [Series(buffer_size) for buffer_size in sizes]
    order = random.Random(0)
    turns = [turn for _ in range(rounds) for turn in order.sample(series, len(series))]
    show = on_progress or (lambda done, total: None)
    total = limit * (1 + len(turns))
    show(0, total)
    digest = None
    for number, turn in enumerate([warm_up, *turns], 1):
        memory.fill(0)
        _run(url, read, memory.data, read_size, turn)
        came = f"sha256:{hashlib.sha256(memory.data).hexdigest()}"
        if came != (digest := digest or came):
            raise DigestMismatchError(
                f"run {number}, with the buffer size {turn.buffer_size}, brought other bytes than "
                f"the first: {came}, not {digest}",
                path=path,
            )
        show(limit * number, total)
    assert digest is not None
    return Report(path, size, pattern, read_size, limit, digest, series)


_Read: TypeAlias = Callable[[BlobReader, memoryview, int], int]


def _run(url: Url, read: _Read, memory: memoryview, read_size: int, series: Series) -> None:
    began = time.perf_counter()
    with open_blob(url, buffer_size=series.buffer_size) as blob:
        got = read(blob, memory, read_size)
        seconds = time.perf_counter() - began
        stats = blob.stats
    if got != len(memory):
        raise TruncatedBlobError(f"{got} bytes came of {len(memory)}", path=blob.info.path)
    series.seconds.append(seconds)
    series.requests = max(series.requests, stats.requests)
    series.bytes_fetched = max(series.bytes_fetched, stats.bytes_fetched)


def _sequential(blob: BlobReader, memory: memoryview, read_size: int) -> int:
    readinto = blob.readinto
    got = 0
    for start in range(0, len(memory), read_size):
        got += readinto(memory[start : start + read_size])
    return got


def _random(size: int, read_size: int, limit: int) -> _Read:
    count = -(-limit // read_size)
    places = random.Random(0)
    offsets = [places.randrange(size - read_size + 1) for _ in range(count)]

    def read(blob: BlobReader, memory: memoryview, read_size: int) -> int:
        seek, readinto = blob.seek, blob.readinto
        got = start = 0
        for offset in offsets:
            seek(offset)
            got += readinto(memory[start : start + read_size])
            start += read_size
        return got

    return read
