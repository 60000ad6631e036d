"""One connection of the fault server: what it can do to its client."""

import contextlib
import select
import socket
import ssl
import struct
import sys
from dataclasses import dataclass

from .request import Request, parse_request

__all__ = ["Connection", "ConnectionOver", "Pace"]

LONGEST_HEAD = 1 << 20


class ConnectionOver(Exception):
    """Nothing more is to be said on this connection."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Send `size` bytes at a time, and wait `pause` seconds after each."""

    size: int
    pause: float = 0.0


class Connection:
    """An accepted socket, and the bytes that were received and not yet understood."""

    def __init__(self, sock: socket.socket, origin: str, number: int) -> None:
        self.sock = sock
        self.origin = origin
        self.number = number
        self.pace: Pace | None = None
        self._received = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_request(self) -> Request | None:
        """Wait for the next request; None when the client has left."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            data = self.sock.recv(1 << 16)
            if not data or len(self._received) > LONGEST_HEAD:
                return None
            self._received += data
        head, self._received = self._received[:end], self._received[end + 4 :]
        return parse_request(head, self.origin, self.number)

    def send(self, data: bytes) -> None:
        """Send all of it, at the pace that a fault has set."""
        if self.pace is None:
            self.sock.sendall(data)
            return
        for start in range(0, len(data), self.pace.size):
            self.sock.sendall(data[start : start + self.pace.size])
            if self.pace.pause:
                self.wait(self.pace.pause)

    def wait(self, seconds: float) -> None:
        """Do nothing for so long, or until the client leaves or the server is closed."""
        # Nobody sends into an answer: what becomes readable here is the end.
        if select.select([self.sock], [], [], seconds)[0]:
            raise ConnectionOver

    def ignore(self) -> None:
        """Do nothing until the client leaves or the server is closed."""
        while socket.socket.recv(self.sock, 1 << 16):
            pass
        raise ConnectionOver

    def finish(self) -> None:
        """End with a FIN, as a process that was killed does (of TLS: without its goodbye)."""
        raise ConnectionOver

    def reset(self) -> None:
        """End with a RST."""
        # Windows has two shorts in this struct.
        layout = "hh" if sys.platform == "win32" else "ii"
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(layout, 1, 0))
        raise ConnectionOver

    def say_goodbye(self) -> None:
        """End a TLS connection as one should: by close_notify, then FIN."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.settimeout(0)
            # It is sent; that the client has not answered it yet is no matter.
            with contextlib.suppress(OSError):
                self.sock.unwrap()
        raise ConnectionOver
