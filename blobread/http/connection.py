"""One connection to one origin: it sends requests, and receives the bytes of answers."""

import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from ._wire import HAS_WIRE, UNSENT, UNUSUAL, Exchange
from .proxy import Proxy
from .tls import wrap

__all__ = ["Connection", "Holder", "Route", "forks", "time_left"]

_PIECE = 1024  # as _wire.pyx has it
_NOTHING = memoryview(b"")
_WASTE = bytearray(256 * 1024)  # of all connections: nobody reads it

_forks = 0


class Route(NamedTuple):
    """All that two requests must have in common to use the same connection."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None
    context: ssl.SSLContext | None


class Holder(Protocol):
    """Who may interrupt a connection, until it is told to let go."""

    def let_go(self) -> None:
        """Know the connection no more, from now on: it may serve somebody else, or be closed."""
        ...


class Connection:
    """A connected socket.

    Attributes
    ----------
    receive : callable
        ``receive(buffer, count)`` receives up to `count` bytes, as soon as there are any; 0:
        there will be no more. A timeout is a TimeoutError or a BlockingIOError; nothing was
        received then.
    fill : callable
        The same, but it may stay for some milliseconds more, to bring more bytes at once.
    fill_on : callable, optional
        ``fill_on(buffer, count, done)`` fills on behind the first `done` bytes, and returns how
        many there are then: what goes wrong is for the next `fill` to tell.
    first_byte_after : float
        Seconds from the end of the last request to the first bytes of its answer.
    timeout : float
        Seconds that a receive may wait; see `set_timeout`.
    sent : bool
        Whether the last request was sent, were it in vain.
    begun : bytes
        The first piece of the answer to it, until `receive_head` has it.
    heard : bool
        Whether the answer to it has begun.
    reused : bool
        Whether there was an answer before that.
    holder : Holder, optional
    idle_since : float
        Kept by the pool.
    """

    __slots__ = (
        "_born",
        "_exchange",
        "_poll",
        "_scratch",
        "_sock",
        "begun",
        "fill",
        "fill_on",
        "first_byte_after",
        "heard",
        "holder",
        "idle_since",
        "receive",
        "reused",
        "route",
        "sent",
        "timeout",
    )

    def __init__(self, sock: socket.socket, route: Route) -> None:
        self.route = route
        self.holder: Holder | None = None
        self.sent = False
        self.heard = False
        self.reused = False
        self.idle_since = 0.0
        self.first_byte_after = 0.0
        self._born = _forks
        self.begun = b""
        self._scratch = bytearray(_PIECE)
        self._adopt(sock)

    def _adopt(self, sock: socket.socket) -> None:
        self._sock = sock
        self.receive: Callable[[bytearray | memoryview, int], int] = sock.recv_into
        self.fill: Callable[[bytearray | memoryview, int], int] = self.receive
        self.fill_on: Callable[[bytearray | memoryview, int, int], int] | None = None
        self.timeout = -1.0
        self._exchange: Exchange | None = None
        if HAS_WIRE and not isinstance(sock, ssl.SSLSocket):
            self._exchange = Exchange(sock.fileno())
            self.fill = self.fill_on = self._exchange.fill
        self._poll: select.poll | None = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    def set_timeout(self, seconds: float) -> None:
        """Let no single receive wait for longer than this, and no send much longer."""
        if seconds == self.timeout:
            return
        if self._exchange is not None:
            # The kernel's own timeout spares the poll(2) before each call, and the second change
            # of the GIL, that Python's costs. (A signal that Python handles starts it anew.)
            whole = int(seconds)
            moment = struct.pack("@ll", whole, max(1, int((seconds - whole) * 1e6)))
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, moment)
                if self.timeout < 0:  # a request fits into the socket's buffer: once is enough
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, moment)
            except OSError:
                self._exchange = None
                self.fill, self.fill_on = self.receive, None
        if self._exchange is None:
            self._sock.settimeout(seconds)
        self.timeout = seconds

    def secure(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        """Speak TLS from here on; only now is it known who answers."""
        sock = wrap(self._sock, context, host)
        self._adopt(sock)
        sock.settimeout(time_left(deadline))
        sock.do_handshake()

    def ask(
        self,
        request: bytes,
        patience: float,
        wanted: tuple[bytes, bytes, bytes, bytes] | None = None,
        total: int = 0,
        buffer: memoryview = _NOTHING,
    ) -> int:
        """Send a request, and receive the first of its answer, or all of a usual one.

        Parameters
        ----------
        patience : float
            Seconds until an answer begins.
        wanted, total, buffer
            As for `Exchange.fetch`, where the answer is a body for `buffer`.

        Returns
        -------
        int
            How many bytes of the body are in `buffer`; -1: none, call `receive_head`, unless not
            even the request was `sent`.

        Raises
        ------
        TimeoutError, BlockingIOError, OSError
        """
        self.sent = self.heard = False
        if self._exchange is None:
            return self._ask(request, patience)
        if wanted is not None:
            count = self._exchange.fetch(request, self.reused, wanted, total, buffer)
        else:
            pause = -1 if patience >= self.timeout else int(patience * 1000) + 1
            count = self._exchange.ask(request, self.reused, pause)
        self.sent = count != UNSENT
        if count == UNUSUAL:
            self.begun = self._exchange.piece()
        self.heard = count >= 0
        self.first_byte_after = self._exchange.first_byte_after
        return max(count, -1)

    def _ask(self, request: bytes, patience: float) -> int:
        if self.reused and not self.is_quiet():
            return -1
        self.sent = True
        self.set_timeout(patience)
        self._sock.sendall(request)
        began = time.monotonic()
        self.begun = self.receive_piece()
        self.first_byte_after = time.monotonic() - began
        return -1

    def drop(self, count: int, pause: float, longest: float) -> bool:
        """Receive `count` bytes and forget them, as `Exchange.drop` does."""
        if self._exchange is not None:
            return self._exchange.drop(count, pause, longest)
        deadline = time.monotonic() + longest
        with suppress(OSError):
            self.set_timeout(pause)
            while count and time.monotonic() < deadline:
                got = self.receive(_WASTE, min(count, len(_WASTE)))
                if not got:
                    return False
                count -= got
        return not count

    def receive_piece(self) -> bytes:
        """Receive a few bytes of framing; none: there will be no more."""
        return bytes(self._scratch[: self.receive(self._scratch, _PIECE)])

    def is_quiet(self) -> bool:
        """Tell whether nothing is there to be received: neither bytes nor a close."""
        sock = self._sock
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return False
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select([sock], [], [], 0)[0]

    def has_surplus(self) -> bool:
        """Tell whether what can be received of a connection that is not quiet is bytes."""
        if isinstance(self._sock, ssl.SSLSocket):
            return self._sock.pending() > 0  # the rest may be a goodbye
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    @property
    def is_inherited(self) -> bool:
        """Whether the socket is shared with the process that this one is a fork of."""
        return self._born != _forks

    def interrupt(self) -> None:
        """Wake a thread that is sending or receiving; the descriptor stays what it is."""
        with suppress(OSError):  # not connected any more
            # Not SSLSocket.shutdown: it makes a concurrent recv_into return the ciphertext.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back. No thread may be within this connection."""
        self.let_go()
        if not self.is_inherited:
            # While a forked child holds the descriptor too, close alone tells the server nothing.
            self.interrupt()
        if self._exchange is not None:
            self._exchange.close()
        self._sock.close()

    def let_go(self) -> None:
        """Have the holder know this connection no more."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.let_go()


def time_left(deadline: float) -> float:
    """Return the seconds until `deadline`, on the clock of `time.monotonic`.

    Raises
    ------
    TimeoutError
        If there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for the answer is over")
    return left


def forks() -> int:
    """How often this process is a fork of the one that imported us."""
    return _forks


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
