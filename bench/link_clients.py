"""How users of each client make use of a link: many connections, or one file object."""

import asyncio
import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import urlsplit

import clients
import fsspec
import obstore
from obstore.store import HTTPStore

__all__ = ["BareThreads", "File", "ObstoreThreads", "Opener", "adaptive", "fsspec_file"]
__all__ += ["fsspec_blobs", "obstore_blobs", "obstore_file"]

_PART = 8 << 20  # what examples of obstore ask for at a time


class File(Protocol):
    """What the loops here need of a file."""

    def readinto(self, buffer: memoryview, /) -> Any: ...
    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def close(self) -> None: ...


Opener = Callable[[str], File]


class BareThreads:
    """The limit: a thread and a socket each, its share of the bytes received in its place."""

    def __init__(self, url: str, count: int = 16) -> None:
        self._bare = clients.BareSocket(url)
        self._count = count
        self._threads = ThreadPoolExecutor(count)
        self._together = threading.Barrier(count)

    def whole(self, view: memoryview) -> None:
        """Read the blob by as many shares as there are threads."""
        share = -(-len(view) // self._count)

        def run(number: int) -> None:
            self._bare.part(view[number * share : (number + 1) * share], number * share)

        self._each(run)

    def parts(self, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """Read ranges, one after the other by each thread."""

        def run(number: int) -> None:
            for view, offset in zip(
                views[number :: self._count], offsets[number :: self._count], strict=True
            ):
                self._bare.part(view, offset)

        self._each(run)

    def blobs(self, urls: Sequence[str], views: Sequence[memoryview]) -> None:
        """Read whole blobs, one after the other by each thread."""
        paths = [urlsplit(url).path for url in urls]

        def run(number: int) -> None:
            for view, path in zip(
                views[number :: self._count], paths[number :: self._count], strict=True
            ):
                self._bare.part(view, 0, path)

        self._each(run)

    def _each(self, run: Callable[[int], None]) -> None:
        # Nobody takes a second number before all have one: each thread has its own connection.
        def together(number: int) -> None:
            self._together.wait()
            run(number)

        list(self._threads.map(together, range(self._count)))

    def close(self) -> None:
        self._threads.shutdown()
        self._bare.close()


class ObstoreThreads:
    """The code that a user of obstore writes by hand: 16 threads, ranges of 8 MiB."""

    def __init__(self, url: str, count: int = 16) -> None:
        self._client = clients.Obstore(url)
        self._threads = ThreadPoolExecutor(count)

    def whole(self, view: memoryview) -> None:
        starts = range(0, len(view), _PART)
        self.parts([view[start : start + _PART] for start in starts], starts)

    def parts(self, views: Sequence[memoryview], offsets: Sequence[int]) -> None:
        list(self._threads.map(self._client.part, views, offsets))

    def close(self) -> None:
        self._threads.shutdown()
        self._client.close()


class _ObstoreFile(io.RawIOBase):
    """obstore's reader with the methods that zipfile, h5py and pyarrow ask for."""

    def __init__(self, url: str) -> None:
        root, _, path = url.rpartition("/")
        store = HTTPStore.from_url(root, client_options={"allow_http": True})
        self._reader = obstore.open_reader(store, path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = memoryview(self._reader.read(len(buffer)))
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


def obstore_file(url: str) -> File:
    return _ObstoreFile(url)


def fsspec_file(url: str, **options: Any) -> File:
    """Open by fsspec, whose file systems are kept, and their connections with them."""
    file: File = fsspec.filesystem("http").open(url, **options)
    return file


def adaptive(url: str) -> File:
    return fsspec_file(url, cache_type="adaptive")


def fsspec_blobs(urls: Sequence[str]) -> list[bytes]:
    """Read whole blobs by its own call for that, which runs all of them side by side."""
    found: dict[str, bytes] = fsspec.filesystem("http").cat(list(urls))
    return [found[url] for url in urls]


def obstore_blobs(urls: Sequence[str]) -> list[memoryview]:
    """Read whole blobs of one directory by as many tasks as there are blobs."""
    root = urls[0].rpartition("/")[0]
    store = HTTPStore.from_url(root, client_options={"allow_http": True})

    async def one(url: str) -> memoryview:
        got = await obstore.get_async(store, url.rpartition("/")[2])
        return memoryview(await got.bytes_async())

    async def every() -> list[memoryview]:
        return await asyncio.gather(*map(one, urls))

    return asyncio.run(every())
