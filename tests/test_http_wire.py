"""What the exchange without the GIL takes is what the parser takes, with the same meaning."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blobread.driver import RawStream
from blobread.errors import BlobError
from blobread.http._wire import HAS_WIRE, UNSENT, UNUSUAL, Exchange
from blobread.http.answer import Answer
from blobread.http.arrival import receive_head
from blobread.http.connection import Connection, Route
from blobread.http.head import Malformed
from blobread.http.pin import pin_of
from blobread.http.ranged import accept
from blobread.http.refusal import Subject
from blobread.http.sized import SizedBody

pytestmark = pytest.mark.skipif(not HAS_WIRE, reason="a socket is no descriptor here")

BODY = b"0123456789"
FIRST, SIZE = 40, 1000
WANTED = (b"bytes 40-49/1000", b"10", b"etag", b'"v1"')
PIN = pin_of(SIZE, 'etag:"v1"')

LINES = [
    b"Server: one",
    b'ETag: "v1"',
    b"Content-Range: bytes 40-49/1000",
    b"Content-Length: 10",
]
# What differs from the usual head, or looks as if it did.
MORE = [
    *LINES,
    b'ETag: "v2"',
    b'etag:"v1"',
    b'ETAG:\t "v1" \t',
    b'ETag: W/"v1"',
    b'ETag : "v1"',
    b'ETag: "v1"\x00',
    b"ETag:",
    b"Content-Range: bytes 40-49/*",
    b"Content-Range: bytes 40-49/1001",
    b"Content-Range: bytes 48-57/1000",
    b"Content-Range: bytes 40-48/1000",
    b"Content-Range: BYTES 40-49/1000",
    b"Content-Range: bytes 040-49/1000",
    b"Content-Length: 11",
    b"Content-Length: 010",
    b"Content-Length: 10, 10",
    b"Content-Length: +10",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: identity",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity",
    b"Content-Type: text/plain",
    b"Content-Type: multipart/byteranges; boundary=x",
    b"CONTENT-TYPE: MultiPart/x",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Keep-Alive",
    b"Connection: keep-alive, close",
    b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
    b"X: caf\xe9",
    b"X: a\x1bb",
    b"X: a\x7fb",
    b"X: a\rb",
    b"X: a\nb",
    b" folded",
    b"no colon",
    b": no name",
    b"X(y): z",
    b"",
]
STATUS = [
    b"HTTP/1.1 206 Partial Content",
    b"HTTP/1.1 206 ",
    b"HTTP/1.1 206",
    b"HTTP/1.1 206 \x7f",
    b"HTTP/1.1 2060 x",
    b"HTTP/1.0 206 Partial Content",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 100 Continue",
    b"http/1.1 206 x",
]

heads = st.builds(
    lambda status, lines: b"\r\n".join([status, *lines, b"", b""]),
    st.one_of(st.just(STATUS[0]), st.sampled_from(STATUS)),
    st.one_of(
        st.permutations(LINES),
        st.builds(
            lambda usual, more: usual + more,
            st.permutations(LINES),
            st.lists(st.sampled_from(MORE)),
        ),
        st.lists(st.sampled_from(MORE)),
    ),
)


def changed(head: bytes, at: int, size: int, put: bytes) -> bytes:
    at %= len(head)
    return head[:at] + put + head[at + size :]


mutated = st.builds(changed, heads, st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3))


@contextmanager
def answered(wire: bytes, *, ends: bool = True) -> Iterator[socket.socket]:
    """A socket that brings these bytes, and then the end."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        theirs.sendall(wire)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        yield ours


def taken(wire: bytes, room: int = len(BODY)) -> bytes | None:
    """The bytes that the exchange takes at once; None: it takes nothing, and gives all back."""
    buffer = bytearray(b"\xa5" * (room + 8))
    with answered(wire) as ours:
        exchange = Exchange(ours.fileno())
        count = exchange.fetch(b"GET", False, WANTED, len(BODY), memoryview(buffer)[:room])
        if count == UNUSUAL:
            assert exchange.piece() == wire[:1024]
            assert not buffer.strip(b"\xa5")
            return None
        while 0 < count < room:
            got = exchange.fill(memoryview(buffer)[count:], room - count)
            count += got
            if not got:
                break
    assert not buffer[count:].strip(b"\xa5")
    return bytes(buffer[:count])


def accepted(wire: bytes) -> RawStream | None:
    """What the parser makes of the same bytes: a body of just that range, on a fit connection."""
    with answered(wire) as ours:
        connection = Connection(ours, Route("http", "host", 1, None, None))
        connection.set_timeout(10)
        connection.ask(b"GET", 10)
        try:
            head, rest = receive_head(connection, float("inf"))
            answer = Answer(connection, head, rest, Subject("http", "path"), False)
            stream, reach, _ = accept(answer, FIRST, FIRST + len(BODY), PIN)
        except (BlobError, Malformed, OSError):
            return None
        assert isinstance(stream, SizedBody)
        assert (head.status, head.minor, reach) == (206, 1, FIRST + len(BODY))
        assert stream._may_reuse and stream._skip == 0 and stream._left == len(BODY)
        assert bytes(rest) == wire[wire.index(b"\r\n\r\n") + 4 :][: len(rest)]
        assert not stream._has_surplus()
        stream.close()
        return stream


@settings(max_examples=600, deadline=None)
@given(st.one_of(heads, mutated), st.sampled_from([b"", BODY[:1], BODY, BODY + b"x"]))
@example(b"\r\n".join([STATUS[0], *LINES, b"", b""]), BODY)
@example(b"\r\n".join([STATUS[0], *LINES, *[b"X:"] * 150, b"", b""]), BODY)
def test_what_is_taken_at_once_the_parser_takes_with_the_same_meaning(
    head: bytes, body: bytes
) -> None:
    wire = head + body
    data = taken(wire)
    if data is not None:
        assert data == wire.partition(b"\r\n\r\n")[2]
        assert accepted(wire) is not None


@pytest.mark.parametrize("status", STATUS[:3])
@pytest.mark.parametrize(
    "more",
    [
        [],
        [b"Connection: Keep-Alive"],
        [b"Content-Type: text/plain", b"X: caf\xe9"],
        [b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", b"X-Empty:", b"!#$%&'*+-.^_`|~09: \t"],
    ],
)
def test_the_usual_head_is_taken(status: bytes, more: list[bytes]) -> None:
    for lines in (LINES + more, more + LINES):
        assert taken(b"\r\n".join([status, *lines, b"", BODY])) == BODY


@pytest.mark.parametrize("more", MORE, ids=repr)
def test_a_field_that_matters_is_taken_once_and_only_with_its_value(more: bytes) -> None:
    harmless = {
        b"Server: one",
        b"Content-Type: text/plain",
        b"Connection: keep-alive",
        b"Connection: Keep-Alive",
        b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
        b"X: caf\xe9",
    }
    data = taken(b"\r\n".join([STATUS[0], *LINES, more, b"", BODY]))
    if more == b"":
        assert data is None  # the head ends there: the rest is more than the body
    else:
        assert (data == BODY) is (more in harmless)


@pytest.mark.parametrize("missing", LINES[1:], ids=repr)
def test_a_head_without_one_of_the_fields_is_not_taken(missing: bytes) -> None:
    lines = [line for line in LINES if line != missing]
    assert taken(b"\r\n".join([STATUS[0], *lines, b"", BODY])) is None


def test_a_head_cut_anywhere_is_not_taken() -> None:
    head = b"\r\n".join([STATUS[0], *LINES, b"", b""])
    for at in range(len(head)):
        assert taken(head[:at]) is None


def test_memory_that_is_shorter_than_what_came_is_left_to_python() -> None:
    head = b"\r\n".join([STATUS[0], *LINES, b"", b""])
    assert taken(head + BODY, room=9) is None
    assert taken(head + BODY[:9], room=9) == BODY[:9]


@pytest.mark.parametrize("early", [b"x", b""])
def test_nothing_is_sent_where_something_came_before(early: bytes) -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        theirs.sendall(early) if early else theirs.shutdown(socket.SHUT_WR)
        exchange = Exchange(ours.fileno())
        assert exchange.fetch(b"GET", True, WANTED, 10, bytearray(10)) == UNSENT
        assert exchange.ask(b"GET", True, -1) == UNSENT
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


def test_a_request_that_is_longer_than_the_buffer_of_the_socket_is_sent_whole() -> None:
    ours, theirs = socket.socketpair()
    request, got = bytes(range(256)) * 16384, bytearray()

    def serve() -> None:
        while len(got) < len(request):
            got.extend(theirs.recv(1 << 16))
        theirs.sendall(b"\r\n".join([STATUS[0], *LINES, b"", BODY]))

    thread = threading.Thread(target=serve)
    thread.start()
    with closing(ours), closing(theirs):
        buffer = bytearray(10)
        assert Exchange(ours.fileno()).fetch(request, True, WANTED, 10, buffer) == 10
        thread.join()
    assert got == request
    assert buffer == BODY


def test_an_error_after_bytes_is_told_by_the_next_call() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with closing(server), closing(socket.create_connection(server.getsockname())) as ours:
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.sendall(b"12345")
        exchange, buffer = Exchange(ours.fileno()), bytearray(10)
        assert exchange.fill(buffer, 3) == 3
        assert exchange.fill(buffer, 2) == 2
        theirs.close()
        with pytest.raises(ConnectionResetError):
            exchange.fill(buffer, 10)
        assert exchange.fill(buffer, 10) == 0


def test_a_fill_stays_within_the_count_and_the_memory() -> None:
    with answered(b"0123456789") as ours:
        exchange, buffer = Exchange(ours.fileno()), bytearray(4)
        assert exchange.fill(buffer, 2) == 2
        assert exchange.fill(buffer, 100) == 4
        assert bytes(buffer) == b"2345"
        with pytest.raises(BufferError):
            exchange.fill(bytes(4), 4)
        assert exchange.drop(4, 1.0, 1.0)
        assert not exchange.drop(1, 1.0, 1.0)


def test_a_fill_that_goes_on_leaves_what_is_in_place_and_waits_for_nothing_more() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        exchange, buffer = Exchange(ours.fileno()), bytearray(b"ab......")
        assert exchange.fill(buffer, 8, 2) == 2  # of a socket that would wait for ever
        theirs.sendall(b"cdefg")
        assert exchange.fill(buffer, 6, 2) == 6
        assert bytes(buffer) == b"abcdef.."
        theirs.close()
        assert exchange.fill(buffer, 8, 6) == 7
        assert exchange.fill(buffer, 8, 7) == 7
        assert exchange.fill(buffer, 8) == 0


def test_an_error_after_the_bytes_in_place_is_told_by_the_next_call() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with closing(server), closing(socket.create_connection(server.getsockname())) as ours:
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        exchange, buffer = Exchange(ours.fileno()), bytearray(8)
        assert exchange.fill(buffer, 8, 2) == 2
        with pytest.raises(ConnectionResetError):
            exchange.fill(buffer, 8)


def test_a_closed_exchange_touches_no_descriptor() -> None:
    with answered(b"x") as ours:
        exchange = Exchange(ours.fileno())
        exchange.close()
        with pytest.raises(OSError, match="file descriptor"):
            exchange.fill(bytearray(1), 1)


def test_what_came_with_the_head_and_what_follows_is_one_read() -> None:
    with answered(BODY[3:] + b"next", ends=False) as ours:
        connection = Connection(ours, Route("http", "host", 1, None, None))
        connection.set_timeout(10)
        subject, rest = Subject("http", "path"), memoryview(BODY[:3])
        body = SizedBody(connection, rest, subject, len(BODY), left=len(BODY), may_reuse=False)
        buffer = memoryview(bytearray(20))
        assert body.readinto(buffer) == len(BODY)
        assert bytes(buffer[: len(BODY) + 1]) == BODY + b"\0"
        assert ours.fileno() == -1  # it was closed, after its last byte
