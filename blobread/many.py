"""`read_many`: whole blobs, some at a time."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from ._reader import BlobReader
from .opening import Url
from .opening import open as open_blob
from .transfer.budget import memory_budget
from .transfer.workers import BLOBS, MOST_WORKERS

__all__ = ["read_many"]

OnError = Literal["raise", "return", "omit"]

# Until the link is known. Threads that do not wait for a network only wait for each other.
_FIRST = 8
_TICK = 0.05  # seconds between two looks for a reader that was opened meanwhile


def read_many(
    urls: Iterable[Url],
    *,
    ordered: bool = True,
    max_concurrency: int | None = None,
    on_error: OnError = "raise",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[tuple[Url, memoryview | Exception]]:
    """Read many blobs, each whole, some at the same time.

    Parameters
    ----------
    urls : iterable
        As for `open`; taken as they are needed.
    ordered : bool
        Whether the blobs come in the order of `urls`, or as they are complete.
    max_concurrency : int, optional
        How many to read at the same time; by default what the link is good for, at most 128.
    on_error : {"raise", "return", "omit"}
        Of a blob that cannot be read: raise the error when its turn comes, and read no more; give
        it in place of the bytes; or leave the blob out.
    storage_options : mapping, optional
    **options
        As for `open`.

    Returns
    -------
    iterator of (url, memoryview)
        The memory is the caller's own. What is read before it is asked for takes no more than the
        memory budget, but for one blob that is larger than that.

    Raises
    ------
    ValueError
        For an unknown `on_error` or a `max_concurrency` below 1.
    BlobError, io.UnsupportedOperation
        By the iterator, as for `open` and for reading.
    """
    if on_error not in ("raise", "return", "omit"):
        raise ValueError(f"on_error must be 'raise', 'return' or 'omit', not {on_error!r}")
    if max_concurrency is not None and max_concurrency < 1:
        raise ValueError(f"max_concurrency must be at least 1, not {max_concurrency}")
    if storage_options:
        options["storage_options"] = storage_options
    return _Many(iter(urls), ordered, max_concurrency, options).run(on_error)


class _Many:
    """The blobs of one `read_many`: under way, or done and not yet asked for."""

    def __init__(
        self,
        urls: Iterator[Url],
        ordered: bool,
        most: int | None,
        options: dict[str, Any],
    ) -> None:
        self._urls = urls
        self._is_ordered = ordered
        self._most = most
        self._options = options
        self._changed = threading.Condition(threading.Lock())
        self._taken: dict[int, Url] = {}  # in their order
        self._done: dict[int, memoryview | Exception] = {}
        self._sizes: dict[int, int] = {}  # memory of those that are read, or done
        self._readers: set[BlobReader] = set()
        self._concurrency = most or _FIRST
        self._count = 0
        self._under_way = 0
        self._is_all = False
        self._is_over = False

    def run(self, on_error: OnError) -> Iterator[tuple[Url, memoryview | Exception]]:
        """Give what is read, in turn."""
        try:
            while (one := self._next()) is not None:
                url, result = one
                del one  # the memory is the caller's alone
                if isinstance(result, Exception):
                    if on_error == "omit":
                        continue
                    if on_error == "raise":
                        raise result
                yield url, result
                del result
        finally:
            self._end()

    def _next(self) -> tuple[Url, memoryview | Exception] | None:
        """Wait for the next blob; None: there are no more."""
        while True:
            self._begin_more()
            with self._changed:
                if not self._taken:
                    return None
                number = next(iter(self._taken if self._is_ordered else self._done), -1)
                if number in self._done:
                    self._sizes.pop(number, None)
                    self._changed.notify_all()
                    return self._taken.pop(number), self._done.pop(number)
                self._changed.wait()

    def _begin_more(self) -> None:
        """Have as many under way as may be, and no more done than are soon asked for."""
        while not self._is_all:
            with self._changed:
                most = self._concurrency
                if self._under_way >= most or len(self._taken) >= 2 * most:
                    return
            url = next(self._urls, None)
            with self._changed:
                if url is None:
                    self._is_all = True
                    return
                self._taken[self._count] = url
                self._under_way += 1
                task = partial(self._run, self._count, url)
                self._count += 1
            BLOBS.run_soon(task)

    def _run(self, number: int, url: Url) -> None:
        """Read one blob, on a worker."""
        result: memoryview | Exception
        try:
            result = self._read(number, url)
        except Exception as error:
            result = error
        with self._changed:
            self._done[number] = result
            self._under_way -= 1
            self._changed.notify_all()

    def _read(self, number: int, url: Url) -> memoryview:
        if self._is_over:
            raise ValueError("no more blobs are wanted")
        with open_blob(url, **self._options) as reader:
            self._readers.add(reader)
            try:
                self._wait_for_memory(number, reader.size or 0)
                if reader.size is None:
                    return memoryview(bytearray(reader.read()))
                data = bytearray(reader.size)
                reader.readinto(data)
            finally:
                self._readers.discard(reader)
            if self._most is None:
                known = getattr(reader.driver, "small_connections", None)
                self._concurrency = min(known or _FIRST, MOST_WORKERS)
        return memoryview(data)

    def _wait_for_memory(self, number: int, size: int) -> None:
        """Wait until the budget has room; the blob that is asked for next waits for nobody."""
        limit = memory_budget()
        with self._changed:
            while not self._is_over:
                is_next = number == next(iter(self._taken), number)
                if is_next or sum(self._sizes.values()) + size <= limit:
                    self._sizes[number] = size
                    return
                self._changed.wait()
        raise ValueError("no more blobs are wanted")

    def _end(self) -> None:
        """Stop what is under way, and return when it has."""
        with self._changed:
            self._is_over = True
            self._is_all = True
            self._changed.notify_all()
        while True:
            for reader in list(self._readers):
                reader.close()
            with self._changed:
                if not self._under_way:
                    return
                self._changed.wait(_TICK)
