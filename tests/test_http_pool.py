"""Which connections are used again, and which never."""

import os
import select
import socket
import ssl
import sys
import threading
import time

import pytest
from faults import Blob, Case, Fault, FaultServer, When
from faults.certificate import client_context, server_context
from streams import read_all

from blobread.drivers.http import HttpDriver
from blobread.errors import BlobError, PathNotFoundError, TruncatedBlobError
from blobread.http import pool
from blobread.http.chunked import ChunkedBody
from blobread.http.connection import Connection, Route
from blobread.http.refusal import Subject
from blobread.http.sized import SizedBody
from blobread.http.stream import Body

BLOB = Blob(100_000)


@pytest.fixture(autouse=True)
def every_route_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_distrusted", set())


def connections(case: Case) -> list[int]:
    """The number of the connection that each request came by."""
    return [request.connection for request in case.ledger.requests]


def read(case: Case, http: HttpDriver, offset: int = 10, length: int = 5000) -> None:
    data = read_all(http.read_stream(case.url, offset, length))
    assert data == BLOB.read(offset, offset + length)


def wait_until_something_comes() -> None:
    """Wait for what the server sends on the one idle connection, so that it comes in time."""
    [[connection]] = pool._idle.values()
    assert select.select([connection._sock], [], [], 10)[0]


def make_pair(port: int = 1) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    return Connection(ours, Route("http", "host", port, None, None)), theirs


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (Fault("chunked", size=5000),),
        (Fault("http10", keeps_alive=True),),
    ],
    ids=["length", "chunks", "HTTP/1.0 keep-alive"],
)
def test_a_connection_is_used_again_after_an_answer_that_was_read_to_its_end(
    fault_server: FaultServer, faults: tuple[Fault, ...]
) -> None:
    case = fault_server.case(BLOB)
    case.plan += [Fault(fault.kind.name, **fault.params) for fault in faults]
    http = HttpDriver()
    for _ in range(3):
        read(case, http)
    assert connections(case) == [1, 1, 1]


def test_the_connection_is_back_in_the_pool_with_the_last_byte_and_not_only_at_close(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    first = http.read_stream(case.url, 0, 10)
    buffer = memoryview(bytearray(10))
    while first.readinto(buffer) and case.ledger.requests:
        if bytes(buffer) == BLOB.read(0, 10):
            break
    read(case, http)
    first.close()
    read(case, http)
    assert connections(case) == [1, 1, 1]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("connection_close"),
        Fault("http10"),
        Fault("extra", size=1),
        Fault("extra", size=70_000),
        Fault("content_length", values=()),
    ],
    ids=repr,
)
def test_a_connection_is_not_used_again(fault_server: FaultServer, fault: Fault) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault(fault.kind.name, at=fault.at, when=When(nth=1), **fault.params))
    http = HttpDriver()
    read(case, http)
    read(case, http)
    assert connections(case) == [1, 2]


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("unasked_answer"))
    http = HttpDriver()
    read(case, http)
    wait_until_something_comes()
    read(case, http)
    assert connections(case) == [1, 2]


def test_a_server_that_sends_what_nobody_asked_for_gets_one_request_a_connection(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("unasked_answer"))
    http = HttpDriver()
    read(case, http)
    wait_until_something_comes()
    for _ in range(3):
        read(case, http)
    assert connections(case) == [1, 2, 3, 4]


def test_a_stream_that_is_left_early_takes_its_connection_along(fault_server: FaultServer) -> None:
    case = fault_server.case(Blob(4 << 20))
    http = HttpDriver()
    stream = http.read_stream(case.url, 0, 3 << 20)
    stream.readinto(memoryview(bytearray(10)))
    stream.close()
    read_all(http.read_stream(case.url, 0, 10))
    assert connections(case) == [1, 2]


@pytest.mark.parametrize(
    ("wire", "came", "is_pooled"),
    [(50_000, 50_000, True), (50_000, 49_999, False), (300_000, 50_000, False)],
)
def test_a_short_rest_that_is_there_is_drained_and_the_connection_is_used_again(
    wire: int, came: int, is_pooled: bool
) -> None:
    connection, end = make_pair()
    end.sendall(bytes(came))
    stream = SizedBody(
        connection, memoryview(b""), Subject("http", "path"), wire, left=wire, may_reuse=True
    )
    stream.close()
    assert (pool.take(connection.route) is connection) is is_pooled
    connection.close()
    end.close()


def test_short_error_bodies_are_drained_and_the_connection_is_used_again(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault("status", code=404, text=b"x" * 2000, times=2))
    http = HttpDriver()
    for _ in range(2):
        with pytest.raises(PathNotFoundError):
            http.read_stream(case.url, 0, 10)
    read(case, http)
    assert connections(case) == [1, 1, 1]


def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    read(case, http)
    for fault in ("close_before_answer", "reset_before_answer"):
        number = len(case.ledger.requests) + 1
        case.add(Fault(fault, when=When(nth=number)))
        read(case, http)
    assert connections(case) == [1, 1, 2, 2, 3]


def test_a_new_connection_that_fails_is_not_replaced(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("close_before_answer"))
    with pytest.raises(TruncatedBlobError, match="without an answer"):
        HttpDriver().read_stream(case.url, 0, 10)
    assert connections(case) == [1]


def test_a_reused_connection_is_replaced_once_and_not_more(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    read(case, http)
    case.add(Fault("close_before_answer", times=2))
    with pytest.raises(TruncatedBlobError):
        http.read_stream(case.url, 0, 10)
    assert connections(case) == [1, 1, 2]


def test_an_answer_that_has_begun_on_a_reused_connection_is_not_asked_for_again(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    read(case, http)
    case.add(Fault("fin", at=-20))
    with pytest.raises(TruncatedBlobError, match="within the head"):
        http.read_stream(case.url, 0, 10)
    assert connections(case) == [1, 1]


def test_what_a_late_server_still_sent_for_the_last_answer_is_not_taken_for_the_next_one(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    read(case, http)
    case.add(Fault("no_head", instead=b"the late body of a HEAD"))
    read(case, http)
    assert connections(case) == [1, 1, 2]


def test_the_connection_that_was_used_last_is_taken_first() -> None:
    (first, end_1), (second, end_2) = make_pair(), make_pair()
    pool.give(first)
    pool.give(second)
    assert pool.take(first.route) is second
    assert pool.take(first.route) is first
    assert pool.take(first.route) is None
    for one in (first, second, end_1, end_2):
        one.close()


@pytest.mark.parametrize("leave", [b"x", b""])
def test_a_connection_with_something_to_be_received_is_closed(leave: bytes) -> None:
    connection, end = make_pair()
    pool.give(connection)
    if leave:
        end.sendall(leave)
    else:
        end.close()
    assert pool.take(connection.route) is None
    assert connection._sock.fileno() == -1
    end.close()


@pytest.mark.parametrize(
    ("body", "came", "read_first", "is_pooled"),
    [
        ("sized", b"abc", 3, True),
        ("sized", b"abc", 1, True),
        ("sized", b"ab", 1, False),
        ("sized", b"abcX", 3, False),
        ("sized", b"abcX", 1, False),
        ("chunked", b"3\r\nabc\r\n0\r\n\r\n", 3, True),
        ("chunked", b"3\r\nabc\r\n0\r\n\r\nX", 3, False),
        ("chunked", b"3\r\nabc\r\n", 3, False),
        ("chunked", b"3\r\nabc\r\n1\r\n", 3, False),
        ("chunked", b"3\r\nabc\r\n0\r\n\r\n", 1, False),
        ("unknown", b"3\r\nabc\r\n0\r\n\r\n", 4, True),
        ("unknown", b"3\r\nabc\r\n0\r\n\r\nX", 4, False),
    ],
)
def test_only_an_answer_that_came_whole_and_alone_gives_its_connection_back(
    body: str, came: bytes, read_first: int, is_pooled: bool
) -> None:
    connection, end = make_pair()
    subject, rest = Subject("http", "path"), memoryview(came)
    stream: Body
    if body == "sized":
        stream = SizedBody(connection, rest, subject, 3, left=3, may_reuse=True)
    else:
        is_exact = body == "chunked"
        left = 3 if is_exact else 100
        stream = ChunkedBody(
            connection, rest, subject, left=left, is_exact=is_exact, may_reuse=True
        )
    view = memoryview(bytearray(read_first))
    assert stream.readinto(view) == min(read_first, 3)
    if read_first > 3:
        assert stream.readinto(view) == 0
    stream.close()
    taken = pool.take(connection.route)
    assert (taken is connection) is is_pooled
    connection.close()
    end.close()


def test_connections_of_other_routes_are_never_taken() -> None:
    connection, end = make_pair()
    pool.give(connection)
    assert pool.take(connection.route._replace(host="other")) is None
    assert pool.take(connection.route._replace(scheme="https")) is None
    assert (
        pool.take(connection.route._replace(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))
        is None
    )
    pool.close_idle()
    end.close()


def test_idle_connections_are_dropped_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    (old, end_1), (other, end_2), (fresh, end_3) = make_pair(1), make_pair(2), make_pair(3)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pool.give(old)
    pool.give(other)
    now += 61.0
    assert pool.take(old.route) is None
    pool.give(fresh)
    assert other._sock.fileno() == -1  # swept, though nobody asked for it
    assert pool.take(fresh.route) is fresh
    for one in (fresh, end_1, end_2, end_3):
        one.close()


def test_the_pool_is_bounded_and_the_oldest_connections_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_IDLE_PER_ROUTE", 2)
    monkeypatch.setattr(pool, "_IDLE", 3)
    pairs = [make_pair(port) for port in (1, 1, 1, 2, 2)]
    for connection, _ in pairs:
        pool.give(connection)
    assert [connection._sock.fileno() == -1 for connection, _ in pairs] == [
        True,  # the third of its route
        True,  # the fourth of all
        False,
        False,
        False,
    ]
    pool.close_idle()
    for _, end in pairs:
        end.close()


def test_close_idle_closes_all_that_wait(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    read(case, http)
    pool.close_idle()
    read(case, http)
    assert connections(case) == [1, 2]


def test_threads_never_share_a_connection(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http, failures = HttpDriver(), []

    def work(number: int) -> None:
        try:
            for i in range(40):
                read(case, http, number * 1000 + i, 900)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert max(connections(case)) <= 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_a_forked_child_leaves_the_connections_of_its_parent_alone(
    fault_server: FaultServer, secure: bool
) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1")) if secure else None
    case = fault_server.case(BLOB, origin=origin)
    http = HttpDriver(ssl_context=client_context() if secure else None)
    read(case, http)  # leaves an idle connection
    stream = http.read_stream(case.url, 0, 90_000)  # and here is one in use
    buffer = memoryview(bytearray(100))
    count = stream.readinto(buffer)
    child = os.fork()
    if not child:
        os._exit(child_reads(case, http, stream, buffer))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    rest = read_all(stream)
    assert bytes(buffer[:count]) + rest == BLOB.read(0, 90_000)
    read(case, http)
    used = connections(case)
    assert used[0] == used[1] == used[3]  # the parent's own, all the time
    assert used[2] != used[0]  # the child's


def child_reads(case: Case, http: HttpDriver, stream: object, buffer: memoryview) -> int:
    """Do what a forked child may; 0 if all went as it should."""
    try:
        try:
            stream.readinto(buffer)  # type: ignore[attr-defined]
        except BlobError as error:
            assert "forked" in str(error)
        else:
            return 2
        stream.close()  # type: ignore[attr-defined]
        read(case, http)
        pool.close_idle()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        return 1
    return 0
