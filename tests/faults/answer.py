"""The honest answer to a request for a blob, in a form that faults can bend."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from .blob import Blob
from .request import Request

__all__ = ["Answer", "Body", "Chunks", "honest_answer", "plain"]

PIECE = 256 << 10
PHRASES = {int(status): status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Body:
    """`size` bytes, made when they are asked for."""

    size: int
    read: Callable[[int, int], bytes]

    @classmethod
    def of(cls, data: bytes) -> "Body":
        return cls(len(data), lambda start, stop: data[start:stop])

    @classmethod
    def span(cls, blob: Blob, start: int, stop: int) -> "Body":
        """The bytes ``[start, stop)`` of the blob."""
        return cls(stop - start, lambda a, b: blob.read(start + a, start + min(b, stop - start)))

    def pieces(self, size: int = PIECE) -> Iterator[bytes]:
        for start in range(0, self.size, size):
            yield self.read(start, min(start + size, self.size))


@dataclass(slots=True)
class Chunks:
    """How a chunked body is framed, and what is wrong with it."""

    size: int = 16 << 10
    extension: bytes = b""
    trailers: bytes = b""
    last: bool = True
    ends_at: int | None = None  # the last chunk comes after so many bytes of content
    size_lines: dict[int, bytes] = field(default_factory=dict)  # instead of chunk i's own
    bare: set[int] = field(default_factory=set)  # chunks that lack the CRLF at their end

    def frame(self, body: Body) -> Iterator[bytes]:
        if self.ends_at is not None:
            body = Body(min(body.size, self.ends_at), body.read)
        for i, piece in enumerate(body.pieces(self.size)):
            line = self.size_lines.get(i, b"%x" % len(piece))
            end = b"" if i in self.bare else b"\r\n"
            yield b"%b%b\r\n%b%b" % (line, self.extension, piece, end)
        if self.last:
            yield b"0\r\n%b\r\n" % self.trailers


@dataclass(slots=True)
class Answer:
    """Status, headers and body; `chunks` frames the body, else its bytes are sent as they are."""

    status: int
    headers: list[tuple[str, str]]
    body: Body
    reason: str | None = None
    version: str = "HTTP/1.1"
    chunks: Chunks | None = None
    closes: bool = False  # the connection is closed after it
    bodiless: bool = False  # an answer to HEAD
    after: Iterable[bytes] = ()  # what follows the answer, unasked

    def set(self, name: str, *values: str) -> None:
        """Give the header of that name these values, each in a line of its own; none: drop it."""
        self.headers = [x for x in self.headers if x[0].lower() != name.lower()]
        self.headers += [(name, value) for value in values]

    def replace_body(self, body: Body) -> None:
        """Send this body, and declare its length."""
        self.body = body
        self.set("Content-Length", str(body.size))

    def head(self) -> bytes:
        reason = self.reason
        if reason is None:
            reason = PHRASES.get(self.status, "Whatever")
        lines = [f"{self.version} {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def wire(self) -> Iterator[bytes]:
        """Give the bytes of the body as they are sent."""
        body = self.chunks.frame(self.body) if self.chunks else self.body.pieces()
        return itertools.chain(() if self.bodiless else body, self.after)


def plain(status: int, text: bytes = b"", *headers: tuple[str, str]) -> Answer:
    """Make an answer of a few bytes."""
    return Answer(status, [*headers, ("Content-Length", str(len(text)))], Body.of(text))


def honest_answer(request: Request, blob: Blob, *, conditions: bool = True) -> Answer:
    """Answer as a correct server of the blob does; `conditions`: it knows If-Match."""
    validators = (("ETag", blob.etag), ("Last-Modified", blob.modified))
    wanted = request.header("If-Match")
    asked = request.asked if request.method == "GET" else None
    if conditions and wanted is not None and wanted != blob.etag:
        answer = plain(412, b"the blob is another one now")
    elif asked is None:
        length = ("Content-Length", str(blob.size))
        answer = Answer(200, [*validators, length], Body.span(blob, 0, blob.size))
    elif asked[0] >= blob.size:
        answer = plain(416, b"", ("Content-Range", f"bytes */{blob.size}"))
    else:
        first, last = asked[0], min(asked[1], blob.size - 1)
        answer = Answer(206, [*validators], Body.span(blob, first, last + 1))
        answer.set("Content-Range", f"bytes {first}-{last}/{blob.size}")
        answer.set("Content-Length", str(last - first + 1))
    answer.bodiless = request.method == "HEAD"
    return answer
