"""Content-Length and Content-Encoding that do not say what comes."""

import gzip as _gzip

from ..answer import Body
from ..exchange import Exchange
from ..plan import kind


@kind("answer", 26)
def content_length(exchange: Exchange, values: tuple[str, ...]) -> None:
    """Declare these lengths, each in a header of its own; none: the connection's end is the end."""
    exchange.answer.set("Content-Length", *values)
    exchange.answer.closes = True


@kind("answer", 26)
def content_length_off_by(exchange: Exchange, delta: int) -> None:
    """Declare more than comes, or less."""
    exchange.answer.set("Content-Length", str(exchange.answer.body.size + delta))
    exchange.answer.closes = delta > 0


@kind("answer", 46)
def short_body(exchange: Exchange, size: int) -> None:
    """Send and declare less than the Content-Range does."""
    body = exchange.answer.body
    exchange.answer.replace_body(Body(min(size, body.size), body.read))


@kind("answer", 27)
def gzip(exchange: Exchange) -> None:
    """Compress the body, though identity was asked for."""
    body = exchange.answer.body
    exchange.answer.set("Content-Encoding", "gzip")
    exchange.answer.replace_body(Body.of(_gzip.compress(body.read(0, body.size), mtime=0)))


@kind("answer", 27)
def content_encoding(exchange: Exchange, value: str) -> None:
    """Claim a coding, over the bytes as they are."""
    exchange.answer.set("Content-Encoding", value)
