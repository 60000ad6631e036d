"""One connection to one origin: it sends requests, and receives the heads and bytes of answers."""

import os
import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from .dial import dial
from .head import MAX_BYTES, Head, Malformed, parse_head
from .proxy import Proxy

__all__ = ["Connection", "HungUp", "Route", "TunnelRefused", "connect", "forks"]

# What of a body comes in the same packet as the head has to be copied. So little is received
# until the head is complete that a copy can be forgotten.
_PIECE = 1024
_LARGEST_RECEIVE = 256 * 1024 * 1024
_INTERIM_ANSWERS = 8
_BEGINNING = b"HTTP/1."

forks = 0  # how often this process is a fork of the one that imported us


class Route(NamedTuple):
    """All that two requests must have in common to use the same connection."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None
    context: ssl.SSLContext | None


class HungUp(ConnectionError):
    """The server closed the connection before the head of its answer was complete."""


class TunnelRefused(ConnectionError):
    """A proxy did not open a tunnel; `head` is what it said."""

    def __init__(self, head: Head) -> None:
        super().__init__(f"the proxy answered {head.status} to CONNECT")
        self.head = head


class Connection:
    """A connected socket, with a deadline for heads and an idle timeout for bodies.

    Attributes
    ----------
    heard : bool
        Whether the answer to the last request has begun.
    idle_since : float
        Kept by the pool.
    born : int
        What `forks` was; another value now means that the socket is shared with a parent.
    """

    __slots__ = (
        "_in_kernel",
        "_poll",
        "_receive",
        "_scratch",
        "_sock",
        "_timeout",
        "born",
        "heard",
        "idle_since",
        "reused",
        "route",
    )

    def __init__(self, sock: socket.socket, route: Route) -> None:
        self.route = route
        self.born = forks
        self.heard = False
        self.reused = False
        self.idle_since = 0.0
        self._scratch = memoryview(bytearray(_PIECE))
        self._timeout = -1.0
        self._adopt(sock)

    def _adopt(self, sock: socket.socket) -> None:
        self._sock = sock
        self._receive = sock.recv_into
        self._in_kernel = not isinstance(sock, ssl.SSLSocket) and os.name == "posix"
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    def set_timeout(self, seconds: float) -> None:
        """Let no single send or receive wait for longer than this."""
        if seconds == self._timeout:
            return
        self._timeout = seconds
        if self._in_kernel:
            # The kernel's own timeout spares the poll(2) before each call that Python's costs.
            whole = int(seconds)
            moment = struct.pack("@ll", whole, max(1, int((seconds - whole) * 1e6)))
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, moment)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, moment)
                return
            except OSError:
                self._in_kernel = False
        self._sock.settimeout(seconds)

    def secure(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        """Speak TLS from here on."""
        self._sock.settimeout(_left(deadline))
        self._adopt(
            context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        )
        assert isinstance(self._sock, ssl.SSLSocket)
        self._sock.do_handshake()
        self._timeout = -1.0

    def send(self, request: bytes) -> None:
        self.heard = False
        self._sock.sendall(request)

    def receive(self, buffer: memoryview | bytearray, count: int) -> int:
        """Receive up to `count` bytes, as soon as there are any; 0: there will be no more.

        Raises
        ------
        TimeoutError
            As either it or BlockingIOError, after which nothing was received.
        """
        return self._receive(buffer, count if count < _LARGEST_RECEIVE else _LARGEST_RECEIVE)

    def receive_piece(self) -> bytes:
        """Receive a few bytes of framing; none: there will be no more."""
        return bytes(self._scratch[: self._receive(self._scratch)])

    def receive_head(self, deadline: float) -> tuple[Head, memoryview]:
        """Receive a final answer's head, and the bytes of its body that came with it.

        The bytes are in a buffer of this connection, which the next head overwrites.

        Raises
        ------
        HungUp, Malformed, TimeoutError, OSError
        """
        scratch = self._scratch
        count = self._receive(scratch)
        if not count:
            raise HungUp("the server closed the connection without an answer")
        begun = bytes(scratch[:count])
        if begun.startswith(_BEGINNING):
            self.heard = True
            end = begun.find(b"\r\n\r\n")
            if end >= 0:
                head = parse_head(begun[:end])
                if head.status >= 200:
                    return head, scratch[end + 4 : count]
        return self._receive_long_head(bytearray(begun), deadline)

    def _receive_long_head(self, begun: bytearray, deadline: float) -> tuple[Head, memoryview]:
        usual = self._timeout
        interim = 0
        try:
            while True:
                end = begun.find(b"\r\n\r\n")
                self._check_beginning(begun, end)
                if end >= 0:
                    head = parse_head(begun[:end])
                    if head.status >= 200:
                        return head, memoryview(begun)[end + 4 :]
                    del begun[: end + 4]
                    interim += 1
                    if interim > _INTERIM_ANSWERS or head.status == 101:
                        raise Malformed("the server sent only interim answers")
                    if begun:
                        continue
                self.set_timeout(_left(deadline))
                count = self._receive(self._scratch)
                if not count:
                    raise HungUp("the server closed the connection within the head of its answer")
                begun += self._scratch[:count]
        finally:
            self.set_timeout(usual)

    def _check_beginning(self, begun: bytearray, end: int) -> None:
        # Told at once, and not only when 64 KiB or the timeout are spent.
        if not begun.startswith(_BEGINNING) and not _BEGINNING.startswith(begun):
            raise Malformed("the answer is not HTTP/1.0 or HTTP/1.1")
        self.heard = True
        if max(end, len(begun) if end < 0 else 0) > MAX_BYTES:
            raise Malformed(f"the head of the answer is longer than {MAX_BYTES} bytes")
        if end < 0 and begun.count(b"\n") > begun.count(b"\r\n"):
            raise Malformed("the head of the answer contains a bare LF")

    def is_quiet(self) -> bool:
        """Tell whether nothing is there to be received: neither bytes nor a close."""
        sock = self._sock
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return False
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select([sock], [], [], 0)[0]

    @property
    def is_inherited(self) -> bool:
        """Whether the socket is shared with the process that this one is a fork of."""
        return self.born != forks

    def interrupt(self) -> None:
        """Wake a thread that is sending or receiving; the descriptor stays what it is."""
        with suppress(OSError):  # not connected any more
            # Not SSLSocket.shutdown: it makes a concurrent recv_into return the ciphertext.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back. No thread may be within this connection."""
        if not self.is_inherited:
            # While a forked child holds the descriptor too, close alone tells the server nothing.
            self.interrupt()
        self._sock.close()


def connect(route: Route, deadline: float) -> Connection:
    """Connect: TCP, the proxy's tunnel and TLS, by one deadline (seconds of `time.monotonic`).

    Raises
    ------
    TimeoutError, TunnelRefused, Malformed, OSError
    """
    near = route if route.proxy is None else route.proxy
    connection = Connection(dial(near.host, near.port, deadline), route)
    try:
        if route.scheme == "https":
            if route.proxy is not None:
                _tunnel(connection, route.proxy, deadline)
            connection.secure(route.context or default_context(), route.host, deadline)
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def default_context() -> ssl.SSLContext:
    """Return the TLS context of all who brought none: it verifies, by the system's roots."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _tunnel(connection: Connection, proxy: Proxy, deadline: float) -> None:
    host = connection.route.host
    authority = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {authority}:{connection.route.port} HTTP/1.1"]
    lines.append(f"Host: {authority}:{connection.route.port}")
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connection.set_timeout(_left(deadline))
    connection.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    head, rest = connection.receive_head(deadline)
    if not 200 <= head.status < 300:
        raise TunnelRefused(head)
    if rest:
        raise Malformed("the proxy sent bytes into a tunnel that nobody had spoken in")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for the answer is over")
    return left


def _count_fork() -> None:
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
