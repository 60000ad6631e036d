"""Requests: sent over a pooled connection or a new one, and through redirects."""

import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import (
    AuthenticationError,
    BlobError,
    BlobTimeoutError,
    InvalidPathError,
    ProtocolError,
    TruncatedBlobError,
    UnsafeRedirectError,
)
from . import pool, redirect
from .answer import Answer
from .arrival import receive_head
from .connect import TunnelRefused, connect
from .connection import Connection, Route
from .head import Head, Malformed
from .origin import Url, parse_url, redact
from .proxy import Proxy, environment_proxy, parse_proxy
from .refusal import Subject
from .target import Target, header_lines, lines_for

if TYPE_CHECKING:
    from .part import Part

__all__ = ["Client"]

_MOST_TARGETS = 256
_FRESH = 1.0  # seconds for which what the environment said of an origin is taken as it was
_NOTHING = memoryview(b"")
_EXPECTED = Head(1, 206, {})  # of an answer that was taken; nobody needs its fields
_LONGEST_TIMEOUT = 1e6  # seconds; the system counts milliseconds, in 32 bits


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
        ``"environment"``, the URL of an HTTP proxy, or None. The environment is asked when a
        URL is met for the first time, but of each origin at most once a second.
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
        if not (connect_timeout > 0 and idle_timeout > 0):
            raise ValueError("a timeout must be longer than 0 seconds")
        self.name = name
        self.connect_timeout = min(connect_timeout, _LONGEST_TIMEOUT)
        self.idle_timeout = min(idle_timeout, _LONGEST_TIMEOUT)
        self.refuses_if_match: set[tuple[str, str, int]] = set()
        self.met_userinfo = False  # whether a password has come by as part of a URL
        self._headers = header_lines(headers or {})
        self._gives_authorization = "authorization" in {n.lower() for n in headers or {}}
        self._sign = sign
        self._locate = locate
        self._context = ssl_context
        self._from_environment = proxy == "environment"
        self._proxy = parse_proxy(proxy) if proxy and not self._from_environment else None
        self._targets: dict[str, Target] = {}
        # What the targets of one origin have in common, and until when; without userinfo.
        self._origins: dict[tuple[bool, tuple[str, str, int]], tuple[Route, str, float]] = {}

    def target(self, path: str) -> Target:
        """Return what to ask for the blob at `path`.

        Raises
        ------
        InvalidPathError
        """
        text = path if self._locate is None else self._locate(path)
        key = text if text is path else f"{path}\n{text}"
        target = self._targets.get(key)
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            subject = Subject(self.name, redact(path))
            try:
                url = parse_url(text)
            except InvalidPathError as error:
                raise InvalidPathError(str(error), driver=self.name) from None
            self.met_userinfo |= url.authorization is not None
            target = self._targets[key] = self._prepare(url, subject, is_own=True)
        return target

    def ask(
        self,
        method: str,
        target: Target,
        fields: str,
        deadline: float | None = None,
        part: "Part | None" = None,
    ) -> Answer:
        """Send a request, follow redirects, and return the first answer that is none.

        Parameters
        ----------
        fields : str
            Header lines of this request, each with its CRLF.
        deadline : float, optional
            For all of it, in seconds of `time.monotonic`. Without one, each hop has the connect
            and the idle timeout.
        part : Part, optional
            Holds each connection while it is asked, and has memory for the answer.

        Raises
        ------
        UnsafeRedirectError, BlobTimeoutError, ProtocolError
        TruncatedBlobError
            If the connection ended before the head of the answer did, or before it began.
        BlobError
            If there is no connection to be had; its errno is that of the system.
        """
        seen: set[str] | None = None
        while True:
            answer = self._ask_once(method, target, fields, deadline, part)
            if answer.head.status not in redirect.STATUSES:
                return answer
            answer.discard(deadline)
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
        key, now = (is_own, url.origin), time.monotonic()
        known = self._origins.get(key) if url.authorization is None else None
        if known is None or now >= known[2]:
            known = (*self._common(url, is_own), now + _FRESH)
            if url.authorization is None:
                if len(self._origins) >= _MOST_TARGETS:
                    self._origins.clear()
                self._origins[key] = known
        return Target(url, known[0], subject, known[1], is_own)

    def _common(self, url: Url, is_own: bool) -> tuple[Route, str]:
        """Return what does not depend on the path: how to get there, and the lines to send."""
        headers = self._headers if is_own else ""
        if is_own and url.authorization and not self._gives_authorization:
            headers += f"Authorization: {url.authorization}\r\n"
        if "user-agent:" not in headers.lower():
            headers += "User-Agent: blobread\r\n"
        context = self._context if url.scheme == "https" else None
        route = Route(url.scheme, url.host, url.port, self._proxy_of(url), context)
        return route, lines_for(url, route, headers)

    def _proxy_of(self, url: Url) -> Proxy | None:
        return environment_proxy(url) if self._from_environment else self._proxy

    def _ask_once(
        self,
        method: str,
        target: Target,
        fields: str,
        deadline: float | None,
        part: "Part | None",
    ) -> Answer:
        if self._sign is not None and target.is_own:
            fields += header_lines(self._sign(method, target.url.text))
        request = f"{method} {target.beginning}{fields}\r\n".encode("latin-1")
        while (connection := pool.pop(target.route)) is not None:
            answer = self._converse(connection, request, target, method, deadline, part)
            if answer is not None:
                return answer
            if connection.sent:
                break
        if part is not None:
            part.check_open()
        connection = self._connect(target, deadline)
        answer = self._converse(connection, request, target, method, deadline, part)
        assert answer is not None  # a new connection is not stale
        return answer

    def _converse(
        self,
        connection: Connection,
        request: bytes,
        target: Target,
        method: str,
        deadline: float | None,
        part: "Part | None",
    ) -> Answer | None:
        """Send a request and receive the head of its answer; None if the connection was stale."""
        patience = self.idle_timeout
        now = time.monotonic()
        if deadline is not None and deadline - now < patience:
            patience = max(deadline - now, 0.001)
        try:
            connection.set_timeout(self.idle_timeout)
            if part is None:
                connection.ask(request, patience)
            else:
                part.hold(connection)
                taken = connection.ask(request, patience, part.wanted, part.total, part.buffer)
                part.first_byte_after = connection.first_byte_after
                if taken >= 0:
                    part.taken = taken
                    return Answer(connection, _EXPECTED, _NOTHING, target.subject, False, taken)
            if not connection.sent:
                pool.reject(connection)
                return None
            head, rest = receive_head(connection, now + patience)
            connection.set_timeout(self.idle_timeout)
        except (TimeoutError, BlockingIOError) as error:
            connection.close()
            message = f"no answer within {patience:.3g} s"
            raise target.subject.error(BlobTimeoutError, message) from error
        except (OSError, Malformed) as error:
            connection.close()
            if connection.reused and not connection.heard:
                # It was closed, or spoilt by the answer before, while it waited in the pool.
                return None
            if isinstance(error, Malformed):
                raise target.subject.error(ProtocolError, str(error)) from None
            message = f"the connection broke before an answer: {error.strerror or error}"
            raise target.subject.error(TruncatedBlobError, message) from error
        except BaseException:
            connection.close()
            raise
        return Answer(connection, head, rest, target.subject, method == "HEAD")

    def _connect(self, target: Target, deadline: float | None) -> Connection:
        limit = time.monotonic() + self.connect_timeout
        try:
            return connect(target.route, limit if deadline is None else min(limit, deadline))
        except (OSError, Malformed) as error:
            raise _no_connection(error, target) from error


def _no_connection(error: OSError | Malformed, target: Target) -> BlobError:
    route, subject = target.route, target.subject
    message = f"no connection to {route.host}:{route.port}"
    if route.proxy is not None:
        message += " through the proxy"
    if isinstance(error, Malformed):
        return subject.error(ProtocolError, f"{message}: {error}")
    if isinstance(error, TunnelRefused):
        kind = AuthenticationError if error.head.status == 407 else BlobError
        return subject.error(kind, f"{message}: {error}", status=error.head.status)
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return subject.error(BlobTimeoutError, f"{message} within the connect timeout")
    if isinstance(error, ssl.SSLCertVerificationError):
        message += f": its certificate is not trusted: {error.verify_message}"
        return subject.error(BlobError, message)
    if isinstance(error, ssl.SSLError):
        return subject.error(BlobError, f"{message}: TLS failed: {error.reason}")
    return subject.error(BlobError, f"{message}: {error.strerror or error}", errno=error.errno)
