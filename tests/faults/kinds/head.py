"""Heads that are broken, endless, or followed by what nobody asked for."""

from ..answer import honest_answer
from ..blob import Blob
from ..exchange import Exchange
from ..plan import kind


@kind("wire", 34)
def endless_head(exchange: Exchange, line: bytes = b"X-Padding: " + b"x" * 1000 + b"\r\n") -> None:
    """Send header lines until the client leaves; at -2 they follow the true ones."""
    while True:
        exchange.connection.send(line * 16)


@kind("wire", 34)
def endless_line(exchange: Exchange) -> None:
    """Send a header line that never ends; at -2 it follows the true ones."""
    exchange.connection.send(b"X-Padding: ")
    while True:
        exchange.connection.send(b"x" * 16384)


@kind("head", 34)
def header_lines(exchange: Exchange, head: bytes, lines: bytes) -> bytes:
    """Put these bytes behind the status line: many headers, a NUL, a folded line, ..."""
    status, _, rest = head.partition(b"\r\n")
    return status + b"\r\n" + lines + rest


@kind("head", 34)
def bare_newlines(exchange: Exchange, head: bytes) -> bytes:
    return head.replace(b"\r\n", b"\n")


@kind("head", 34)
def status_line(exchange: Exchange, head: bytes, line: bytes) -> bytes:
    """Send this status line instead of the true one."""
    return line + b"\r\n" + head.partition(b"\r\n")[2]


@kind("head", 34)
def no_head(exchange: Exchange, head: bytes, instead: bytes = b"") -> bytes:
    """Send the bare bytes, as HTTP/0.9 did, or a preface of another protocol; and close."""
    exchange.answer.closes = True
    return instead


@kind("answer", 34)
def http10(exchange: Exchange, keeps_alive: bool = False) -> None:
    exchange.answer.version = "HTTP/1.0"
    exchange.answer.closes = not keeps_alive
    if keeps_alive:
        exchange.answer.set("Connection", "keep-alive")


@kind("answer", 34)
def connection_close(exchange: Exchange) -> None:
    """Say that the connection ends here, and end it."""
    exchange.answer.set("Connection", "close")
    exchange.answer.closes = True


@kind("head", 35)
def informational(exchange: Exchange, head: bytes, count: int = 1, code: int = 103) -> bytes:
    """Say `count` times that the answer is on its way."""
    return b"HTTP/1.1 %d On The Way\r\nLink: </style.css>\r\n\r\n" % code * count + head


@kind("wire", 35)
def endless_informational(exchange: Exchange) -> None:
    """Say for ever that the answer is on its way; at -(length of the head) it never comes."""
    while True:
        exchange.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@kind("answer", 36)
def unasked_answer(exchange: Exchange) -> None:
    """Send one more answer behind this one: who takes it for its own gets another blob's bytes."""
    # In the same segment: what comes later than the client looks, none could tell from an answer.
    blob = exchange.blob
    trap = honest_answer(exchange.request, Blob(blob.size, blob.seed + 1), conditions=False)
    trap.set("ETag", blob.etag)
    exchange.answer.after = (trap.head(), *trap.wire())
