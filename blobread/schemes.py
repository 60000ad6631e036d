"""From a URL to a driver and a path in its store."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

from .driver import StorageDriver
from .errors import InvalidPathError

__all__ = ["OF_OPEN", "register_scheme", "resolve"]

#: The options that `blobread.open` takes for itself; all others are the driver's.
OF_OPEN = ("buffer_size", "etag", "missing", "size", "verify")

Factory = Callable[..., tuple[StorageDriver, str]]

# Two letters at least: "C:" is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def register_scheme(scheme: str, factory: Factory) -> None:
    """Have URLs that start with ``scheme://`` opened by what `factory` makes.

    Parameters
    ----------
    scheme : str
        What stands before ``://``, two characters at least; one that exists is replaced.
    factory : callable
        ``factory(url, /, **options)`` gives a driver, and the path that it knows the blob by.
        It shall raise `TypeError` for options that it does not know.

    Raises
    ------
    ValueError
        For a name that no scheme has.
    """
    if not _SCHEME.fullmatch(f"{scheme}://"):
        raise ValueError(
            f"{scheme!r} is no scheme: a letter, and then letters, digits, '+', '.' or '-'"
        )
    if not callable(factory):
        raise TypeError(f"a factory is called with a URL; {type(factory).__name__} cannot be")
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
    if isinstance(url, os.PathLike):
        url = os.fspath(url)
        return _file(_checked(url), options)
    if callable(url):
        return _from_source(url, options)
    match = _SCHEME.match(_checked(url))
    if match is not None:
        return _factory(match[1].lower())(url, **options)
    # "file:/path", as RFC 8089 allows it, has no "//"; all else is the path of a file.
    return _file_url(url, **options) if url[:6].lower() == "file:/" else _file(url, options)


def _checked(url: Any) -> str:
    if not isinstance(url, str):
        raise TypeError(
            "a URL is a str, a pathlib.Path or a callable that gives a str, "
            f"not {type(url).__name__}"
        )
    return url


def _factory(scheme: str) -> Factory:
    if scheme not in _factories:
        # Looked up now and not at import: it reads the metadata of every installed package.
        from importlib.metadata import entry_points

        installed = entry_points(group="blobread.drivers")
        if scheme not in installed.names:
            known = ", ".join(sorted(_factories.keys() | installed.names))
            raise InvalidPathError(
                f"no driver is known for {scheme}:// URLs (known: {known}); "
                "register_scheme() adds one"
            )
        register_scheme(scheme, installed[scheme].load())
    return _factories[scheme]


def _made(
    name: str, driver: Callable[..., StorageDriver], options: dict[str, Any]
) -> StorageDriver:
    if options:
        known = _options(driver)
        unknown = ", ".join(sorted(options.keys() - set(known)))
        if unknown:
            raise TypeError(
                f"unknown option {unknown}; driver {name} knows {', '.join(known) or 'none'}, "
                f"and open() itself {', '.join(OF_OPEN)}"
            )
    return driver(**options)


@functools.cache
def _options(driver: Callable[..., StorageDriver]) -> list[str]:
    return list(inspect.signature(driver).parameters)


def _file(path: str, options: dict[str, Any]) -> tuple[StorageDriver, str]:
    from .drivers.file import FileDriver

    return _made("file", FileDriver, options), path


def _file_url(url: str, /, **options: Any) -> tuple[StorageDriver, str]:
    from .drivers.file import path_of_url

    return _file(path_of_url(url), options)


def _memory(url: str, /, **options: Any) -> tuple[StorageDriver, str]:
    return _made("memory", _shared_memory, options), url[len("memory://") :]


def _shared_memory() -> StorageDriver:
    from .drivers.memory import shared

    return shared


def _http(url: str, /, **options: Any) -> tuple[StorageDriver, str]:
    from .drivers.http import HttpDriver

    if options or "@" in url:  # a password belongs to one driver, which does not pickle then
        return _made("http", HttpDriver, options), url
    return _plain_http(), url


@functools.cache
def _plain_http() -> StorageDriver:
    from .drivers.http import HttpDriver

    return HttpDriver()  # to make one takes as long as half a request on a fast link


def _from_source(source: Callable[[], str], options: dict[str, Any]) -> tuple[StorageDriver, str]:
    url = _checked(source())
    if not url.lower().startswith(("http://", "https://")):
        raise TypeError("a callable that gives URLs is for http:// and https:// only")
    return _http(url, **{**options, "url": _Source(source, url)})


class _Source:
    """A callable that gives URLs, the first of which was asked for to see its scheme."""

    def __init__(self, source: Callable[[], str], first: str | None) -> None:
        self._source = source
        self._first = first

    def __call__(self) -> str:
        first, self._first = self._first, None
        return self._source() if first is None else first

    def __reduce__(self) -> tuple[Any, ...]:
        return _Source, (self._source, None)  # a signed URL is not for other processes


_factories: dict[str, Factory] = {
    "file": _file_url,
    "memory": _memory,
    "http": _http,
    "https": _http,
}
