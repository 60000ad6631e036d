"""`open`, `stat` and `list`: from a URL to a reader or to infos."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from . import schemes
from ._reader import BlobReader
from .driver import BlobInfo, ListingDriver, StorageDriver
from .errors import BlobChangedError

if TYPE_CHECKING:
    from .transfer.links import LinkInfo
    from .transfer.retry import Retry

__all__ = ["link", "list", "open", "stat"]

_DEFAULTS: dict[str, Any] = {
    "size": None,
    "etag": None,
    "missing": "raise",
    "pin": "error",
    "buffer_size": "auto",
    "parallel": "auto",
    "retry": None,
    "verify": None,
    "on_progress": None,
}

Url: TypeAlias = str | os.PathLike[str] | Callable[[], str]


def open(
    url: Url,
    mode: str = "rb",
    *,
    size: int | None = None,
    etag: str | None = None,
    missing: Literal["raise", "eof"] = "raise",
    pin: Literal["error", "warn", "off"] = "error",
    buffer_size: int | Literal["auto"] = "auto",
    parallel: int | Literal["auto"] = "auto",
    retry: "Retry | int | None" = None,
    verify: bool | str | None = None,
    on_progress: Callable[[int, int | None], object] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> BlobReader:
    """Open a blob for reading, as a binary file.

    Parameters
    ----------
    url : str, os.PathLike or callable
        Path of a file, a URL, or a callable that gives a fresh URL (``http`` and ``https``), as
        for signed ones that expire.
    mode : str
        "rb" or "r"; both are binary. It is there for callers that pass it.
    size : int, optional
        In bytes, where it is known already: then nothing is asked of the store before the first
        read.
    etag : str, optional
        Read this version or none.
    missing : {"raise", "eof"}
        "eof" lets an absent blob read as an empty one. It hides lost data.
    pin : {"error", "warn", "off"}
        What a change of version does while the blob is read. "warn" and "off" are for mirrors that
        give the same bytes different ETags; only the size is compared then, and bytes of two
        versions of that size may be mixed.
    buffer_size : int or "auto"
        The most bytes that the buffer may grow to, and that are read ahead; "auto" leaves it to the
        link.
    parallel : int or "auto"
        Connections to use at most; 1 means one request after the other, and none ahead.
    retry : Retry, int or bool, optional
        How a broken or stalled stream is resumed; an int is the number of failures in a row, False
        or 0 is never.
    verify : bool or str, optional
        True: check the digest that the store knows of the blob when all of it has been read in
        order. A str is the digest to expect, such as ``"sha256:9f86d0..."``. "full" checks it
        before the first byte is handed out, in a copy in memory.
    on_progress : callable, optional
        ``on_progress(bytes_fetched, size)`` is called on the thread that reads, while it does; what
        it raises ends the read.
    storage_options : mapping, optional
        The same as keywords, in fsspec's word.
    **options
        Options of the driver, such as ``headers=`` for HTTP.

    Raises
    ------
    PathNotFoundError, AccessDeniedError, BlobIsDirectoryError, InvalidPathError
    BlobChangedError
        `etag` is not that of the blob.
    RetriesExhaustedError
        While reading: so many failures in a row, the last of them as ``__cause__``.
    ValueError
        For a mode that is not for reading bytes.
    TypeError
        For an option that the driver does not know.

    Examples
    --------
    >>> import blobread, numpy as np
    >>> with blobread.open("setup.py") as f:
    ...     head = np.empty(3, np.uint8)
    ...     f.readinto(head)
    3
    """
    if mode not in ("rb", "r", "br"):
        raise ValueError(f"blobs are read as bytes: mode must be 'rb', not {mode!r}")
    if storage_options:
        own: dict[str, Any] = {
            "size": size,
            "etag": etag,
            "missing": missing,
            "pin": pin,
            "buffer_size": buffer_size,
            "parallel": parallel,
            "retry": retry,
            "verify": verify,
            "on_progress": on_progress,
        }
        keywords = {name: value for name, value in own.items() if value != _DEFAULTS[name]}
        keywords.update(options)
        twice = storage_options.keys() & keywords.keys()
        if twice:
            raise TypeError(f"{min(twice)} is given as a keyword and in storage_options")
        return open(url, mode, **storage_options, **keywords)
    driver, path = schemes.resolve(url, options)
    is_local = getattr(driver, "is_local", False)
    if not is_local or (parallel, retry, pin, on_progress) != ("auto", None, "error", None):
        from .transfer.engine import Engine

        engine = Engine(
            driver,
            parallel=parallel,
            buffer_size=buffer_size,
            retry=retry,
            pin=pin,
            on_progress=on_progress,
        )
        # Of a local file, threads of the reader's own take large reads, and nothing breaks.
        if not is_local or pin != "error" or on_progress is not None:
            driver = engine
    if verify:
        from .verify import VerifyingDriver  # hashlib is a third of the time of an import

        driver = VerifyingDriver(driver, verify)
    info = None
    if size is not None:
        info = BlobInfo(_shown(driver, path), size, etag=etag)
    reader = BlobReader(driver, path, info=info, missing=missing, buffer_size=buffer_size)
    found = reader.info.etag
    if etag not in (None, found) and not (missing == "eof" and reader.info == BlobInfo(path, 0)):
        reader.close()
        raise BlobChangedError(
            f"its ETag is {found}, and {etag} was asked for", driver=driver.name, path=reader.name
        )
    return reader


def stat(url: Url, *, storage_options: Mapping[str, Any] | None = None, **options: Any) -> BlobInfo:
    """Tell what the store says of a blob: size, version, time.

    Raises
    ------
    PathNotFoundError, AccessDeniedError, InvalidPathError
    """
    driver, path = schemes.resolve(url, {**(storage_options or {}), **options})
    return driver.stat(path)


def list(
    url: Url, *, storage_options: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[BlobInfo]:
    """Tell of each blob whose path starts with that of `url`.

    Raises
    ------
    io.UnsupportedOperation
        The store has no listing, as a web server has none.
    """
    driver, path = schemes.resolve(url, {**(storage_options or {}), **options})
    if not hasattr(driver, "list"):
        raise io.UnsupportedOperation(f"{driver.name}: this store cannot list its blobs")
    return cast(ListingDriver, driver).list(path)


def link(
    url: Url, *, storage_options: Mapping[str, Any] | None = None, **options: Any
) -> "LinkInfo":
    """Tell what this process has learnt of the way to the origin of a blob; it asks for nothing.

    Returns
    -------
    LinkInfo
        Time to first byte in seconds, bandwidth in bytes per second and connection, and what
        follows from them: the number of connections, the size of parts, the gap that is read
        through.
    """
    from .transfer.engine import origin_of
    from .transfer.links import describe

    driver, path = schemes.resolve(url, {**(storage_options or {}), **options})
    return describe(origin_of(driver, path))


def _shown(driver: StorageDriver, path: str) -> str:
    return str(driver.redact(path)) if hasattr(driver, "redact") else path
