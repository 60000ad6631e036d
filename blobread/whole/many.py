"""`read_many`: whole blobs, some at a time."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Self, TypeAlias, overload

from ..opening import Url
from .blob import settings_of
from .under_way import UnderWay

__all__ = ["read_many"]

OnError: TypeAlias = Literal["raise", "return", "omit"]


@overload
def read_many(
    urls: Iterable[Url],
    *,
    ordered: bool = True,
    max_concurrency: int | None = None,
    on_error: Literal["raise", "omit"] = "raise",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[tuple[Url, memoryview]]: ...
@overload
def read_many(
    urls: Iterable[Url],
    *,
    ordered: bool = True,
    max_concurrency: int | None = None,
    on_error: OnError,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[tuple[Url, memoryview | Exception]]: ...
def read_many(
    urls: Iterable[Url],
    *,
    ordered: bool = True,
    max_concurrency: int | None = None,
    on_error: OnError = "raise",
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[tuple[Url, Any]]:
    """Read many blobs, each whole, some at the same time.

    Parameters
    ----------
    urls : iterable
        As for `open`; taken as they are needed, on the thread that asks for blobs. They may be
        without end.
    ordered : bool
        Whether the blobs come in the order of `urls`, or as they are complete.
    max_concurrency : int, optional
        How many to read at the same time; by default what the link is good for, at most 128.
    on_error : {"raise", "return", "omit"}
        Of a blob that cannot be read: raise the error when its turn comes, and read no more; give
        it in place of the bytes; or leave the blob out. An option that no blob can be opened with
        is raised in any case.
    storage_options : mapping, optional
    **options
        As for `open`.

    Returns
    -------
    iterator of (url, memoryview)
        The memory is the caller's own. What is read before it is asked for takes no more than the
        memory budget, but for one blob that is larger than that. Its ``close()``, which a ``with``
        calls, ends all that is under way, and returns when nothing is; a server that does not
        answer to an opening at all is waited for, for the 10 s that an opening may take.

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
    twice = (storage_options or {}).keys() & options.keys()
    if twice:
        raise TypeError(f"{min(twice)} is given as a keyword and in storage_options")
    options = {**(storage_options or {}), **options}
    under_way = UnderWay(
        iter(urls), options, settings_of(options), is_ordered=ordered, most=max_concurrency
    )
    return _Blobs(under_way, on_error)


class _Blobs(Iterator[tuple[Url, memoryview | Exception]]):
    """Gives the blobs, and ends what is under way when nobody asks any more."""

    def __init__(self, under_way: UnderWay, on_error: OnError) -> None:
        self._under_way = under_way
        self._on_error = on_error

    def __next__(self) -> tuple[Url, memoryview | Exception]:
        while True:
            try:
                one = self._under_way.next()
            except BaseException:
                self.close()
                raise
            if one is None:
                raise StopIteration
            url, result, is_of_blob = one
            del one  # the memory is the caller's alone
            if isinstance(result, memoryview):
                return url, result
            if is_of_blob and self._on_error == "omit":
                continue
            if is_of_blob and self._on_error == "return" and isinstance(result, Exception):
                return url, result
            self.close()
            try:
                raise result
            finally:
                del result

    def close(self) -> None:
        """End what is under way, and return when nothing is."""
        self._under_way.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # The collector may have come upon us in the midst of what a worker waits for.
        if hasattr(self, "_under_way"):
            self._under_way.end(timeout=1.0)
