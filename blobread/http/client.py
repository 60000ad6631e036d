"""Requests: sent over a pooled connection or a new one, and through redirects."""

import re
import ssl
import time
from collections.abc import Callable, Mapping

from ..errors import (
    AuthenticationError,
    BlobError,
    BlobTimeoutError,
    ProtocolError,
    TruncatedBlobError,
    UnsafeRedirectError,
)
from . import pool, redirect
from .connection import Connection, Route, TunnelRefused, connect
from .fields import content_length
from .head import Head, Malformed
from .origin import Url, parse_url, redact
from .proxy import Proxy, environment_proxy, parse_proxy
from .refusal import Subject

__all__ = ["Answer", "Client", "Target"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = re.compile(
    r"accept-encoding|connection|content-length|expect|host|if-.*|keep-alive|range|te|trailer"
    r"|transfer-encoding|upgrade",
    re.IGNORECASE,
)
_MOST_TARGETS = 256
_LARGEST_DRAIN = 64 * 1024
_LONGEST_DRAIN = 1.0  # seconds; to connect anew does not take longer


class Target:
    """A URL made ready to be asked: the route to it, and how each request to it begins."""

    __slots__ = ("is_own", "request_line", "route", "starts", "subject", "url")

    def __init__(
        self, url: Url, route: Route, subject: Subject, headers: str, is_own: bool
    ) -> None:
        self.url = url
        self.route = route
        self.subject = subject
        self.is_own = is_own
        through_proxy = route.proxy is not None and route.scheme == "http"
        self.request_line = url.text if through_proxy else url.target.decode("ascii")
        lines = f"Host: {url.authority}\r\nAccept-Encoding: identity\r\n{headers}"
        if through_proxy and route.proxy is not None and route.proxy.authorization:
            lines += f"Proxy-Authorization: {route.proxy.authorization}\r\n"
        self.starts = {
            method: f"{method} {self.request_line} HTTP/1.1\r\n{lines}"
            for method in ("GET", "HEAD")
        }


class Answer:
    """A head, and the connection that its body comes by."""

    __slots__ = ("connection", "head", "is_bare", "rest", "subject")

    def __init__(
        self,
        connection: Connection,
        head: Head,
        rest: memoryview,
        subject: Subject,
        is_bare: bool,
    ) -> None:
        self.connection = connection
        self.head = head
        self.rest = rest
        self.subject = subject
        self.is_bare = is_bare

    def close(self) -> None:
        self.connection.close()

    def discard(self) -> None:
        """Leave an answer whose body nobody reads; keep the connection if it is short."""
        connection = self.connection
        try:
            is_fit = self._drain()
        except (OSError, Malformed):
            is_fit = False
        except BaseException:
            connection.close()
            raise
        if is_fit:
            pool.give(connection)
        else:
            connection.close()

    def _drain(self) -> bool:
        head = self.head
        if not head.keeps_alive:
            return False
        if self.is_bare or head.status == 304:
            return not self.rest
        length = content_length(head.fields)
        if length is None or length > _LARGEST_DRAIN or "transfer-encoding" in head.fields:
            return False
        left = length - len(self.rest)
        waste = memoryview(bytearray(max(left, 0)))
        deadline = time.monotonic() + _LONGEST_DRAIN
        while left > 0:
            pause = deadline - time.monotonic()
            if pause <= 0:
                return False
            self.connection.set_timeout(pause)
            count = self.connection.receive(waste, left)
            if not count:
                return False
            left -= count
        return left == 0


class Client:
    """Asks servers for blobs: GET and HEAD, with headers that go to the blob's own origin only.

    Parameters
    ----------
    name : str
        Of the driver, for errors.
    headers : mapping, optional
        Sent with each request to the origin of the URL that was asked for, and to no other.
    sign : callable, optional
        ``sign(method, url)`` returns more headers; it is asked anew for each request to that
        origin, so what it returns may expire.
    locate : callable, optional
        ``locate(path)`` returns the URL of a blob, asked before each request; without it paths
        are URLs.
    ssl_context : ssl.SSLContext, optional
        Instead of one that verifies by the system's roots.
    connect_timeout : float
        Seconds for name, TCP, proxy and TLS together.
    idle_timeout : float
        Seconds within which the head of an answer, and then each next bytes of it, must come.
    proxy : str or None
        ``"environment"``, the URL of an HTTP proxy, or None. The environment is asked once an
        origin.
    """

    def __init__(
        self,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        sign: Callable[[str, str], Mapping[str, str]] | None = None,
        locate: Callable[[str], str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout: float = 10.0,
        idle_timeout: float = 30.0,
        proxy: str | None = "environment",
    ) -> None:
        self.name = name
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.refuses_if_match: set[tuple[str, str, int]] = set()
        self.met_userinfo = False  # whether a password has come by as part of a URL
        self._headers = header_lines(headers or {})
        self._gives_authorization = "authorization" in {n.lower() for n in headers or {}}
        self._sign = sign
        self._locate = locate
        self._context = ssl_context
        self._from_environment = proxy == "environment"
        self._proxy = parse_proxy(proxy) if proxy and not self._from_environment else None
        self._proxies: dict[tuple[str, str, int], Proxy | None] = {}
        self._targets: dict[str, Target] = {}

    def target(self, path: str) -> Target:
        """Return what to ask for the blob at `path`.

        Raises
        ------
        InvalidPathError
        """
        text = path if self._locate is None else self._locate(path)
        target = self._targets.get(text)
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            subject = Subject(self.name, redact(path))
            url = parse_url(text)
            self.met_userinfo |= url.authorization is not None
            target = self._targets[text] = self._prepare(url, subject, is_own=True)
        return target

    def ask(
        self, method: str, target: Target, fields: str, deadline: float | None = None
    ) -> Answer:
        """Send a request, follow redirects, and return the first answer that is none.

        Parameters
        ----------
        fields : str
            Header lines of this request, each with its CRLF.
        deadline : float, optional
            For all of it, in seconds of `time.monotonic`. Without one, each hop has the connect
            and the idle timeout.

        Raises
        ------
        UnsafeRedirectError, BlobTimeoutError, TruncatedBlobError, ProtocolError, BlobError
        """
        seen: set[str] | None = None
        while True:
            answer = self._ask_once(method, target, fields, deadline)
            if answer.head.status not in redirect.STATUSES:
                return answer
            answer.discard()
            seen = seen or set()
            seen.add(target.url.text)
            target = self._follow(target, answer.head, seen)

    def _follow(self, target: Target, head: Head, seen: set[str]) -> Target:
        subject = target.subject
        try:
            url = redirect.follow(target.url, head.fields.get("location"))
        except redirect.UnsafeLocation as error:
            raise subject.error(UnsafeRedirectError, str(error), status=head.status) from None
        if url.text in seen:
            raise subject.error(UnsafeRedirectError, "the redirects go round in a circle")
        if len(seen) > redirect.MAX_HOPS:
            message = f"more than {redirect.MAX_HOPS} redirects"
            raise subject.error(UnsafeRedirectError, message)
        # Once the origin was left, nothing of the caller's is sent any more: not even if a
        # stranger sends us back, to a URL of the stranger's choice.
        is_own = target.is_own and url.origin == target.url.origin
        if is_own:
            url.authorization = target.url.authorization
        return self._prepare(url, subject, is_own=is_own)

    def _prepare(self, url: Url, subject: Subject, *, is_own: bool) -> Target:
        headers = self._headers if is_own else ""
        if is_own and url.authorization and not self._gives_authorization:
            headers += f"Authorization: {url.authorization}\r\n"
        if "user-agent:" not in headers.lower():
            headers += "User-Agent: blobread\r\n"
        context = self._context if url.scheme == "https" else None
        route = Route(url.scheme, url.host, url.port, self._proxy_of(url), context)
        return Target(url, route, subject, headers, is_own)

    def _proxy_of(self, url: Url) -> Proxy | None:
        if not self._from_environment:
            return self._proxy
        if url.origin not in self._proxies:
            self._proxies[url.origin] = environment_proxy(url)
        return self._proxies[url.origin]

    def _ask_once(
        self, method: str, target: Target, fields: str, deadline: float | None
    ) -> Answer:
        if self._sign is not None and target.is_own:
            fields += header_lines(self._sign(method, target.url.text))
        request = f"{target.starts[method]}{fields}\r\n".encode("latin-1")
        is_bare = method == "HEAD"
        connection = pool.take(target.route)
        if connection is not None:
            try:
                return self._converse(connection, request, target.subject, is_bare, deadline)
            except _Stale:
                pass
        connection = self._connect(target, deadline)
        return self._converse(connection, request, target.subject, is_bare, deadline)

    def _connect(self, target: Target, deadline: float | None) -> Connection:
        route = target.route
        limit = time.monotonic() + self.connect_timeout
        try:
            return connect(route, limit if deadline is None else min(limit, deadline))
        except (OSError, Malformed) as error:
            raise self._no_connection(error, target) from error

    def _no_connection(self, error: OSError | Malformed, target: Target) -> BlobError:
        route, subject = target.route, target.subject
        where = f"{route.host}:{route.port}" + (" through a proxy" if route.proxy else "")
        message = f"no connection to {where}"
        if isinstance(error, Malformed):
            return subject.error(ProtocolError, f"{message}: {error}")
        if isinstance(error, TunnelRefused):
            kind = AuthenticationError if error.head.status == 407 else BlobError
            return subject.error(kind, f"{message}: {error}", status=error.head.status)
        if isinstance(error, (TimeoutError, BlockingIOError)):
            return subject.error(BlobTimeoutError, f"{message} within the connect timeout")
        if isinstance(error, ssl.SSLCertVerificationError):
            return subject.error(
                BlobError, f"{message}: its certificate is not trusted: {error.verify_message}"
            )
        if isinstance(error, ssl.SSLError):
            return subject.error(BlobError, f"{message}: TLS failed: {error.reason}")
        return subject.error(BlobError, f"{message}: {error.strerror or error}", errno=error.errno)

    def _converse(
        self,
        connection: Connection,
        request: bytes,
        subject: Subject,
        is_bare: bool,
        deadline: float | None,
    ) -> Answer:
        patience = self.idle_timeout
        now = time.monotonic()
        if deadline is not None and deadline - now < patience:
            patience = max(deadline - now, 0.001)
        try:
            connection.set_timeout(patience)
            connection.send(request)
            head, rest = connection.receive_head(now + patience)
            connection.set_timeout(self.idle_timeout)
        except BaseException as error:
            connection.close()
            if not isinstance(error, (OSError, Malformed)):
                raise
            if isinstance(error, (TimeoutError, BlockingIOError)):
                message = f"no answer within {patience:.3g} s"
                raise subject.error(BlobTimeoutError, message) from error
            if connection.reused and not connection.heard:
                # It was closed, or spoilt by the answer before, while it waited in the pool.
                raise _Stale from None
            if isinstance(error, Malformed):
                raise subject.error(ProtocolError, str(error)) from error
            message = f"the connection broke before an answer: {error.strerror or error}"
            raise subject.error(TruncatedBlobError, message) from error
        return Answer(connection, head, rest, subject, is_bare)


class _Stale(Exception):
    pass


def header_lines(headers: Mapping[str, str]) -> str:
    """Return a caller's headers as lines of a request.

    Raises
    ------
    ValueError
        For a malformed one, and for those that belong to this client. No value is shown.
    """
    lines = []
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise ValueError("a header has a malformed name")
        if _OURS.fullmatch(name):
            raise ValueError(f"the header {name} is set by blobread itself")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the header {name} has a malformed value")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)
