"""Blobs on web servers."""

import operator
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ..driver import BlobInfo, RawStream
from ..errors import InvalidOffsetError
from ..http.client import Client
from ..http.opening import ask_facts, open_start
from ..http.origin import redact
from ..http.part import Part
from ..http.pin import Pin, info_of, pin_of
from ..http.proxy import parse_proxy
from ..http.ranged import fetch, stop_of_unknown
from ..http.stream import EmptyStream

__all__ = ["HttpDriver"]

_SECRET = re.compile(
    r"auth(?!or\b)|cookie|token|key|secret|signature|credential|password|session", re.I
)


class HttpDriver:
    """Reads blobs by ranged GETs; a path is the whole URL.

    Userinfo in a URL becomes Basic authentication at its origin, and is shown nowhere. A name
    and a password, or a query, are left out of `BlobInfo.path` too.

    Parameters
    ----------
    headers : mapping, optional
        Sent to the origin of the URL with each request; never to another one that it redirects to.
    ssl_context : ssl.SSLContext, optional
        Instead of the default, which verifies certificates by the system's roots.
    connect_timeout : float
        Seconds for name, TCP, proxy and TLS together.
    idle_timeout : float
        Seconds without an answer, or without the next bytes of one, after which it is given up.
        There is no limit in total, except that `stat` and `open` fail after 10 s, or the
        `connect_timeout` if that is longer.
    proxy : str or None
        ``"environment"``, the URL of an HTTP proxy, or None for none. The environment is asked when
        a URL is met for the first time, but of each origin at most once a second.
    url : callable, optional
        Returns a fresh URL, and is asked before every request; the path is then only a name.

    Raises
    ------
    ValueError
        For a header or a proxy that cannot be used.
    """

    name = "http"
    buffer_size = 1024 * 1024

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout: float = 10.0,
        idle_timeout: float = 30.0,
        proxy: str | None = "environment",
        url: Callable[[], str] | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "headers": dict(headers or {}),
            "ssl_context": ssl_context,
            "connect_timeout": connect_timeout,
            "idle_timeout": idle_timeout,
            "proxy": proxy,
            "url": url,
        }
        self._client = Client(
            self.name,
            headers=headers,
            locate=None if url is None else lambda path: url(),
            ssl_context=ssl_context,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            proxy=proxy,
        )

    def stat(self, path: str, /) -> BlobInfo:
        """Tell size and version of the blob.

        Raises
        ------
        PathNotFoundError, AccessDeniedError, AuthenticationError, InvalidPathError
        BlobTimeoutError
            If that is not answered within 10 s, or within a longer connect timeout.
        BlobError
        """
        return info_of(path, ask_facts(self._client, path))

    def open(self, path: str, /) -> tuple[BlobInfo, RawStream]:
        """Tell of the blob as `stat` does, and open its first bytes, by one request.

        The stream ends after 256 KiB at most, or with the blob where the server knows no ranges.
        Where those that opened blobs of this origin used less, it is less, but 16 KiB.
        """
        facts, stream = open_start(self._client, path)
        return info_of(path, facts), stream

    def read_stream(
        self,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        pin: BlobInfo | None = None,
    ) -> RawStream:
        """Open the bytes ``[offset, offset + length)`` of the blob, or all from `offset` on.

        It returns when the head of the answer is there. Until then, for the idle timeout at
        most, nothing but a signal interrupts it.

        Raises
        ------
        InvalidOffsetError
        BlobChangedError
            If the blob is not the version that `pin` names.
        RangeNotSupportedError
            If the server sends whole blobs only, and `offset` is beyond 8 MiB and beyond a
            tenth of the size.
        TruncatedBlobError, BlobTimeoutError, ProtocolError, UnsafeRedirectError
        PathNotFoundError, AccessDeniedError, AuthenticationError, InvalidPathError, BlobError
        """
        offset = self._checked(path, offset)
        stop = stop_of_unknown if length is None else offset + _checked_length(length)
        if stop == offset:
            return EmptyStream()
        wanted = None if pin is None else _pin_of(pin)
        if wanted is None and length is None:
            facts = ask_facts(self._client, path)
            wanted = pin_of(facts.size, facts.version)
        if wanted is not None and wanted.size is not None:
            stop = min(stop, wanted.size)
            if offset >= stop:
                return EmptyStream()
        told, stream = fetch(self._client, path, offset, stop, wanted)
        if told is not None and (wanted is None or not wanted.field):
            stream.info = info_of(path, told)  # type: ignore[attr-defined]
        return stream

    def part(
        self, path: str, offset: int, length: int, *, pin: BlobInfo | None = None
    ) -> RawStream:
        """Prepare a stream of the bytes ``[offset, offset + length)`` of the blob.

        Nothing is asked before its first `readinto`, which raises then what `read_stream` would
        have raised. Its `close` ends it at any time, from any thread: while the head of the answer
        is awaited, too. A connection that is being made then is given up as soon as it is there,
        or was not to be had.

        Raises
        ------
        InvalidOffsetError
        ValueError
            If the length is negative.
        """
        offset = self._checked(path, offset)
        stop = offset + _checked_length(length)
        wanted = None if pin is None else _pin_of(pin)
        if wanted is not None and wanted.size is not None:
            stop = min(stop, wanted.size)
        if stop <= offset:
            return EmptyStream()
        return Part(self._client, path, offset, stop, wanted)

    def origin(self, path: str, /) -> str:
        """Tell whom requests for the blob go to at first: scheme, host and port.

        Raises
        ------
        InvalidPathError
        """
        scheme, host, port = self._client.target(path).url.origin
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def _checked(self, path: str, offset: int) -> int:
        offset = operator.index(offset)
        if offset < 0:
            raise InvalidOffsetError(
                f"the offset {offset} is negative", driver=self.name, path=redact(path)
            )
        return offset

    def redact(self, path: str, /) -> str:
        """Give what may be shown of a path: a URL without userinfo, query and fragment."""
        return redact(path)

    def __repr__(self) -> str:
        return f"<HttpDriver at {id(self):#x}>"

    def __reduce__(self) -> tuple[Any, ...]:
        secret = [name for name in self._options["headers"] if _SECRET.search(name)]
        if secret:
            self._refuse_pickling(f"the header {secret[0]} may be a secret")
        if self._options["ssl_context"] is not None:
            self._refuse_pickling("an SSLContext may hold a private key")
        proxy = self._options["proxy"]
        if proxy and proxy != "environment" and parse_proxy(proxy).authorization:
            self._refuse_pickling("the URL of the proxy has a password")
        if self._client.met_userinfo:
            self._refuse_pickling("a URL had a username or a password")
        return _rebuild, (self._options,)

    def _refuse_pickling(self, reason: str) -> NoReturn:
        raise TypeError(
            f"this HttpDriver cannot be pickled: {reason}; make one on the other side instead"
        )


def _rebuild(options: dict[str, Any]) -> HttpDriver:
    return HttpDriver(**options)


def _checked_length(length: int) -> int:
    length = operator.index(length)
    if length < 0:
        raise ValueError(f"the length {length} is negative")
    return length


def _pin_of(info: BlobInfo) -> Pin:
    version = info.version
    if version is None and info.etag:
        version = f"etag:{info.etag}"  # of an info made by hand
    return pin_of(info.size, version)
