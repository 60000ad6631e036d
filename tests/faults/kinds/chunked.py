"""Chunked bodies, legal and broken."""

from ..answer import Chunks
from ..exchange import Exchange
from ..plan import kind


@kind("answer", 28)
def chunked(exchange: Exchange, size: int = 16 << 10) -> None:
    _chunks(exchange).size = size


@kind("answer", 29)
def chunk_extension(exchange: Exchange, text: bytes = b';name="a value"') -> None:
    _chunks(exchange).extension = text


@kind("answer", 29)
def trailers(exchange: Exchange, text: bytes = b"X-Checksum: 1\r\n") -> None:
    _chunks(exchange).trailers = text


@kind("answer", 29)
def chunk_size_line(exchange: Exchange, line: bytes, chunk: int = 0) -> None:
    """Declare the size of one chunk like this."""
    _chunks(exchange).size_lines[chunk] = line
    exchange.answer.closes = True


@kind("answer", 29)
def chunk_without_end(exchange: Exchange, chunk: int = 0) -> None:
    """Leave out the CRLF behind one chunk."""
    _chunks(exchange).bare.add(chunk)
    exchange.answer.closes = True


@kind("answer", 29)
def no_last_chunk(exchange: Exchange) -> None:
    _chunks(exchange).last = False
    exchange.answer.closes = True


@kind("answer", 29)
def early_last_chunk(exchange: Exchange, after: int) -> None:
    """End the body, by the rules, when `after` bytes of content are sent."""
    _chunks(exchange).ends_at = after


@kind("answer", 30)
def both_framings(exchange: Exchange) -> None:
    """Chunked, and a Content-Length too."""
    length = exchange.answer.body.size
    _chunks(exchange)
    exchange.answer.set("Content-Length", str(length))


@kind("answer", 29)
def transfer_encoding(exchange: Exchange, values: tuple[str, ...]) -> None:
    """Chunked, but declared like this."""
    _chunks(exchange)
    exchange.answer.set("Transfer-Encoding", *values)


def _chunks(exchange: Exchange) -> Chunks:
    """Make the answer chunked, if another fault has not done so."""
    answer = exchange.answer
    if answer.chunks is None:
        answer.chunks = Chunks()
        answer.set("Content-Length")
        answer.set("Transfer-Encoding", "chunked")
    return answer.chunks
