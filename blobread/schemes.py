"""From a URL to a driver and a path in its store."""

import inspect
import os
import re
from collections.abc import Callable
from typing import Any

from .driver import StorageDriver
from .errors import InvalidPathError

__all__ = ["register_scheme", "resolve"]

Factory = Callable[..., tuple[StorageDriver, str]]

# Two letters at least: "C:" is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def register_scheme(scheme: str, factory: Factory) -> None:
    """Have URLs that start with ``scheme://`` opened by what `factory` makes.

    Parameters
    ----------
    scheme : str
        What stands before ``://``; one that exists is replaced.
    factory : callable
        ``factory(url, **options)`` gives a driver, and the path that it knows the blob by.
        It shall raise `TypeError` for options that it does not know.
    """
    if not _SCHEME.fullmatch(f"{scheme}://"):
        raise ValueError(f"{scheme!r} is no scheme: a letter, and then letters, digits, '+', '.' or '-'")
    _factories[scheme.lower()] = factory


def resolve(
    url: str | os.PathLike[str] | Callable[[], str], options: dict[str, Any]
) -> tuple[StorageDriver, str]:
    """Find the driver of a URL, make it with `options`, and give it with the path of the blob.

    Raises
    ------
    InvalidPathError
        No driver is known for the scheme.
    TypeError
        `url` is of no kind that names a blob, or an option is unknown.
    """
    if callable(url) and not isinstance(url, os.PathLike):
        return _from_source(url, options)
    if not isinstance(url, str):
        path = os.fspath(url)
        if not isinstance(path, str):
            raise TypeError(f"a URL is a str, a pathlib.Path or a callable that gives one, not {type(url).__name__}")
        return _file(path, **options)
    match = _SCHEME.match(url)
    if match is None:
        # "file:/path", as RFC 8089 allows it, has no "//"; all else is the path of a file.
        return _file_url(url, **options) if url[:6].lower() == "file:/" else _file(url, **options)
    return _factory(match[1].lower())(url, **options)


def _factory(scheme: str) -> Factory:
    if scheme not in _factories:
        # Only now: the import alone would be half the time of `import blobread`, and the
        # look-up reads the metadata of every installed package.
        from importlib.metadata import entry_points

        for entry in entry_points(group="blobread.drivers", name=scheme):
            _factories[scheme] = entry.load()
    try:
        return _factories[scheme]
    except KeyError:
        known = ", ".join(sorted(_factories))
        raise InvalidPathError(
            f"no driver is known for {scheme}:// URLs (known: {known}); register_scheme() adds one"
        ) from None


def _made(driver: Callable[..., StorageDriver], options: dict[str, Any]) -> StorageDriver:
    known = inspect.signature(driver).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise TypeError(f"unknown option {', '.join(unknown)}; {driver.__name__} knows {', '.join(known) or 'none'}")
    return driver(**options)


def _file(path: str, **options: Any) -> tuple[StorageDriver, str]:
    from .drivers.file import FileDriver

    return _made(FileDriver, options), path


def _file_url(url: str, **options: Any) -> tuple[StorageDriver, str]:
    from .drivers.file import path_of_url

    return _file(path_of_url(url), **options)


def _memory(url: str, **options: Any) -> tuple[StorageDriver, str]:
    from .drivers.memory import shared

    return _made(lambda: shared, options), url[len("memory://") :]


def _http(url: str, **options: Any) -> tuple[StorageDriver, str]:
    from .drivers.http import HttpDriver

    return _made(HttpDriver, options), url


def _from_source(source: Callable[[], str], options: dict[str, Any]) -> tuple[StorageDriver, str]:
    url = source()
    if not url.lower().startswith(("http://", "https://")):
        raise TypeError("a callable that gives URLs is for http:// and https:// only")
    return _http(url, url=source, **options)


_factories: dict[str, Factory] = {"file": _file_url, "memory": _memory, "http": _http, "https": _http}
