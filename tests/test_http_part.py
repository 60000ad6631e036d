"""Parts: ranges that are asked for by their first read, and that close() ends in every phase."""

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, Request, difference
from faults.answer import honest_answer
from faults.certificate import client_context, server_context
from streams import read_all

from blobread.driver import BlobInfo, RawStream
from blobread.drivers.http import HttpDriver
from blobread.errors import (
    AuthenticationError,
    BlobChangedError,
    BlobError,
    BlobTimeoutError,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
    TruncatedBlobError,
)
from blobread.http import pool
from blobread.http._wire import HAS_WIRE
from blobread.http.client import Client
from blobread.http.connection import Connection
from blobread.http.part import Part

BLOB = Blob(100_000)


@pytest.fixture(autouse=True)
def every_route_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_distrusted", set())


def pinned(case: Case) -> BlobInfo:
    return BlobInfo(case.url, case.blob.size, f"etag:{case.blob.etag}")


def part_of(
    case: Case, offset: int = 0, length: int = 5000, http: HttpDriver | None = None
) -> Part:
    http = http or HttpDriver(proxy=None, idle_timeout=20)
    part = http.part(case.url, offset, length, pin=pinned(case))
    assert isinstance(part, Part)
    return part


def warm(case: Case, count: int = 1) -> None:
    """Put connections into the pool."""
    parts = [part_of(case, 0, 2) for _ in range(count)]
    for part in parts:
        assert part.readinto(memoryview(bytearray(1))) == 1
    for part in parts:
        assert read_all(part) == case.blob.read(1, 2)


def connections(case: Case) -> list[int]:
    return [request.connection for request in case.ledger.requests]


def reading(part: RawStream, size: int = 5000) -> tuple[threading.Thread, list[BaseException]]:
    """A thread that reads a part, and what that raises."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            read_all(part, size)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, raised


# ---- what it gives -------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_first_read(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    part = part_of(case, 10, 20)
    assert part.first_byte_after is None
    assert part.readinto(memoryview(b"")) == 0
    part_of(case).close()
    assert case.ledger.requests == []
    assert read_all(part) == BLOB.read(10, 30)
    assert part.first_byte_after is not None and 0 <= part.first_byte_after < 20
    assert [request.asked for request in case.ledger.requests] == [(10, 29)]


@pytest.mark.parametrize("room", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize(("offset", "length"), [(0, 1), (5, 3000), (99_000, 5000), (0, 100_000)])
def test_the_bytes_are_the_blobs_and_none_is_written_beyond_them(
    fault_server: FaultServer, offset: int, length: int, room: int
) -> None:
    case = fault_server.case(BLOB)
    part = part_of(case, offset, length)
    stop = min(offset + length, BLOB.size)
    view = memoryview(bytearray(b"\xa5" * (room + 8)))
    at = offset
    while count := part.readinto(view[:room]):
        assert view[:count] == BLOB.read(at, at + count)
        at += count
        if at > offset + 5000 and room < 100:
            return part.close()
    assert at == stop
    assert view[room:] == b"\xa5" * 8
    part.close()


@pytest.mark.skipif(not HAS_WIRE, reason="a socket is no descriptor here")
@pytest.mark.parametrize("length", [1, 500, 5000, 70_000])
def test_the_usual_answer_is_taken_by_the_first_read(
    fault_server: FaultServer, length: int
) -> None:
    case = fault_server.case(BLOB)
    for _ in range(2):
        part = part_of(case, 3, length)
        view = memoryview(bytearray(length))
        count = part.readinto(view)
        assert part.taken == count > 0
        assert view[:count] == BLOB.read(3, 3 + count)
        part.close()


def test_the_connection_is_back_with_the_last_byte(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    first, second = part_of(case, 0, 10), part_of(case, 10, 10)
    view = memoryview(bytearray(10))
    assert first.readinto(view) == 10
    assert second.readinto(view) == 10
    assert (first.new_connection, second.new_connection) == (True, False)
    assert [first.readinto(view), second.readinto(view)] == [0, 0]
    first.close()
    second.close()
    assert connections(case) == [1, 1]


@pytest.mark.parametrize(
    "faults",
    [
        (Fault("chunked", size=16),),
        (Fault("whole"),),
        (Fault("shorter", size=100, times=EVER),),
        (Fault("segments", at=-20, size=1),),
        (Fault("content_length", values=()),),
    ],
    ids=repr,
)
def test_an_unusual_answer_gives_the_same_bytes(
    fault_server: FaultServer, faults: tuple[Fault, ...]
) -> None:
    case = fault_server.case(BLOB)
    case.plan += [
        Fault(fault.kind.name, at=fault.at, times=fault.times, **fault.params) for fault in faults
    ]
    part = part_of(case, 50, 700)
    assert read_all(part) == BLOB.read(50, 750)


def test_without_a_version_it_says_which_one_it_read(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    for pin in (None, BlobInfo(case.url, BLOB.size)):
        part = HttpDriver(proxy=None).part(case.url, 5, 10, pin=pin)
        assert read_all(part) == BLOB.read(5, 15)
        assert isinstance(part, Part)
        assert part.info.version == f"etag:{BLOB.etag}"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("status", code=404), PathNotFoundError),
        (Fault("status", code=401), AuthenticationError),
        (Fault("status", code=500), BlobError),
        (Fault("replaced"), BlobChangedError),
        (Fault("etag", values=('"another"',)), BlobChangedError),
        (Fault("etag", values=()), BlobChangedError),
    ],
    ids=repr,
)
def test_the_first_read_raises_what_read_stream_would_have(
    fault_server: FaultServer, fault: Fault, kind: type[BlobError]
) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault(fault.kind.name, **fault.params))
    part = part_of(case)
    with pytest.raises(kind):
        part.readinto(memoryview(bytearray(10)))
    with pytest.raises(ValueError, match="closed stream"):
        part.readinto(memoryview(bytearray(10)))


def test_wrong_arguments_are_told_at_once_and_a_wrong_url_by_the_first_read() -> None:
    http = HttpDriver(proxy=None)
    with pytest.raises(InvalidOffsetError):
        http.part("http://host/", -1, 5)
    with pytest.raises(ValueError, match="negative"):
        http.part("http://host/", 0, -5)
    part = http.part("http://", 0, 5)
    with pytest.raises(InvalidPathError):
        part.readinto(memoryview(bytearray(5)))


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (100_000, 5), (200_000, 5)])
def test_no_bytes_are_not_asked_for(fault_server: FaultServer, offset: int, length: int) -> None:
    case = fault_server.case(BLOB)
    part = HttpDriver(proxy=None).part(case.url, offset, length, pin=pinned(case))
    assert read_all(part) == b""
    assert case.ledger.requests == []


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://HOST/a?b", "http://host:80"),
        ("https://user:password@host/a", "https://host:443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_the_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert HttpDriver(proxy=None).origin(url) == origin


def test_sixteen_threads_get_their_own_bytes(fault_server: FaultServer) -> None:
    case = fault_server.case(Blob(1 << 20))
    http, wrong = HttpDriver(proxy=None), []
    together = threading.Barrier(16)

    def work(share: int) -> None:
        together.wait()
        for i in range(20):
            offset = (share * 7919 + i * 104729) % (1 << 20)
            data = read_all(part_of(case, offset, 9000, http))
            wrong.append(difference(case.blob, offset, data))

    threads = [threading.Thread(target=work, args=(share,)) for share in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [None] * 320


# ---- connections that fail -----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("room", [1 << 20, 3])
def test_an_answer_cut_anywhere_is_truncated(
    fault_server: FaultServer, end: str, room: int
) -> None:
    for length in (1, 2, 17, 64, 300):
        blob = Blob(length)
        asked = Request("GET", "/", (("Range", f"bytes=0-{length - 1}"),), "", 1)
        head = len(honest_answer(asked, blob).head())
        for at in range(-head, length):
            case = fault_server.case(blob, Fault(end, at=at, times=EVER))
            part = part_of(case, 0, length)
            data, view = bytearray(), memoryview(bytearray(room))
            with closing(part), pytest.raises(TruncatedBlobError):
                while True:
                    count = part.readinto(view)
                    assert count
                    data += view[:count]
            assert difference(blob, 0, bytes(data)) is None
            assert len(data) < length


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_large_part_cut_anywhere_is_truncated(fault_server: FaultServer, end: str) -> None:
    blob = Blob(1 << 20)
    for at in (0, 1, 1023, 1024, 4095, 65535, 65536, 262144, (1 << 20) - 1):
        case = fault_server.case(blob, Fault(end, at=at))
        with pytest.raises(TruncatedBlobError, match=r"after [0-9]+ of 1048576 bytes"):
            read_all(part_of(case, 0, 1 << 20))


@pytest.mark.parametrize("fault", ["close_before_answer", "reset_before_answer"])
def test_a_kept_connection_that_dies_unheard_is_replaced_once(
    fault_server: FaultServer, fault: str
) -> None:
    case = fault_server.case(BLOB)
    warm(case)
    case.add(Fault(fault))
    assert read_all(part_of(case, 5, 10)) == BLOB.read(5, 15)
    assert connections(case) == [1, 1, 2]
    case.add(Fault(fault, times=2))
    with pytest.raises(TruncatedBlobError):
        read_all(part_of(case))
    assert connections(case) == [1, 1, 2, 2, 3]


def test_of_many_kept_connections_no_second_one_is_tried_with_what_may_have_been_heard(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    warm(case, 3)
    case.add(Fault("close_before_answer", times=2))
    with pytest.raises(TruncatedBlobError):
        read_all(part_of(case))
    assert connections(case) == [1, 2, 3, 3, 4]


def test_all_stale_connections_are_passed_over_and_nothing_is_sent_on_them(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    warm(case, 3)
    [idle] = pool._idle.values()
    for connection in idle:
        connection._sock.shutdown(socket.SHUT_RD)
    assert read_all(part_of(case, 5, 10)) == BLOB.read(5, 15)
    assert connections(case) == [1, 2, 3, 4]
    assert len(idle) == 1


def test_what_nobody_asked_for_is_no_answer_and_its_sender_is_not_trusted_again(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("unasked_answer"))
    assert read_all(part_of(case, 0, 5000)) == BLOB.read(0, 5000)
    [[connection]] = pool._idle.values()
    assert select.select([connection._sock], [], [], 10)[0]
    for _ in range(2):
        assert read_all(part_of(case, 5, 10)) == BLOB.read(5, 15)
    assert connections(case) == [1, 2, 3]


@pytest.mark.parametrize(
    ("at", "message"), [(-20, "no answer within"), (0, "after 0 of"), (1000, "after 1000 of 5000")]
)
def test_a_stall_is_a_timeout_that_says_how_far_it_came(
    fault_server: FaultServer, at: int, message: str
) -> None:
    case = fault_server.case(BLOB, Fault("stall", at=at))
    part = part_of(case, http=HttpDriver(proxy=None, idle_timeout=0.1))
    with pytest.raises(BlobTimeoutError, match=message):
        read_all(part)


# ---- close() in every phase ----------------------------------------------------------------------


def is_waiting(part: Part) -> bool:
    return part._connection is not None or part._stream is not None


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("at", [None, -20, 0, 1000], ids=["no-answer", "head", "body", "more"])
def test_close_ends_a_read_of_another_thread(
    fault_server: FaultServer, at: int | None, secure: bool
) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1")) if secure else None
    fault = Fault("hang") if at is None else Fault("stall", at=at)
    case = fault_server.case(BLOB, fault, origin=origin)
    context = client_context() if secure else None
    part = part_of(case, http=HttpDriver(proxy=None, idle_timeout=60, ssl_context=context))
    thread, raised = reading(part)
    while not case.ledger.count(fault):
        pass
    part.close()
    thread.join(20)
    assert not thread.is_alive()
    assert [(type(error), str(error)) for error in raised] == [
        (ValueError, "I/O operation on closed stream")
    ]
    assert not any(pool._idle.values())


def test_close_while_a_connection_is_made_asks_nothing_more(
    fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = fault_server.case(BLOB)
    dialled, go_on = threading.Event(), threading.Event()
    connect = Client._connect

    def slow(self: Client, *args: object) -> Connection:
        connection = connect(self, *args)  # type: ignore[arg-type]
        dialled.set()
        assert go_on.wait(20)
        return connection

    monkeypatch.setattr(Client, "_connect", slow)
    part = part_of(case)
    thread, raised = reading(part)
    assert dialled.wait(20)
    part.close()
    go_on.set()
    thread.join(20)
    assert [str(error) for error in raised] == ["I/O operation on closed stream"]
    assert case.ledger.requests == []


def test_close_does_not_hurt_whoever_has_the_connection_next(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    first, second = part_of(case, 0, 10), part_of(case, 10, 5000)
    assert read_all(first) == BLOB.read(0, 10)
    view = memoryview(bytearray(1000))
    count = second.readinto(view)
    first.close()
    assert bytes(view[:count]) + read_all(second) == BLOB.read(10, 5010)
    assert connections(case) == [1, 1]


def test_close_just_after_the_connection_was_given_back_does_not_hurt_it(
    fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = fault_server.case(BLOB)
    part, give = part_of(case), pool.give

    def give_and_close(connection: Connection) -> None:
        give(connection)
        part.close()

    monkeypatch.setattr(pool, "give", give_and_close)
    with pytest.raises(ValueError, match="closed stream"):
        read_all(part)
    assert read_all(part_of(case)) == BLOB.read(0, 5000)
    assert connections(case) == [1, 1]


def test_only_one_thread_reads_at_a_time(fault_server: FaultServer) -> None:
    fault = Fault("stall", at=-20)
    case = fault_server.case(BLOB, fault)
    part = part_of(case)
    thread, _ = reading(part)
    while not case.ledger.count(fault):
        pass
    with pytest.raises(RuntimeError, match="one thread"):
        part.readinto(memoryview(bytearray(10)))
    part.close()
    thread.join(20)


# ---- signals and forks ---------------------------------------------------------------------------


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Set what a signal does that comes in 50 ms, and each 50 ms from then on."""
    before = signal.getsignal(signal.SIGALRM)

    def arm(act: Callable[[], object]) -> None:
        signal.signal(signal.SIGALRM, lambda number, frame: act())
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)

    yield arm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


needs_timers = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no timers"
)
PHASES = pytest.mark.parametrize("at", [-20, 0, 1000], ids=["head", "body", "more"])


@needs_timers
@PHASES
def test_a_signal_interrupts_the_read(
    fault_server: FaultServer, alarm: Callable[[Callable[[], object]], None], at: int
) -> None:
    case = fault_server.case(BLOB, Fault("stall", at=at))

    def interrupt() -> None:
        raise KeyboardInterrupt

    alarm(interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_all(part_of(case))
    assert not any(pool._idle.values())


@needs_timers
@PHASES
def test_a_signal_that_is_handled_leaves_no_trace_in_the_bytes(
    fault_server: FaultServer, alarm: Callable[[Callable[[], object]], None], at: int
) -> None:
    case = fault_server.case(BLOB, Fault("stall", at=at, seconds=0.3))
    handled: list[None] = []
    alarm(lambda: handled.append(None))
    assert read_all(part_of(case)) == BLOB.read(0, 5000)
    assert len(handled) > 1


@needs_timers
@PHASES
def test_a_signal_handler_may_close_the_part_that_it_interrupts(
    fault_server: FaultServer, alarm: Callable[[Callable[[], object]], None], at: int
) -> None:
    case = fault_server.case(BLOB, Fault("stall", at=at))
    part = part_of(case)
    alarm(part.close)
    with pytest.raises(ValueError, match="closed stream"):
        read_all(part)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_closes_what_the_parent_goes_on_to_read(fault_server: FaultServer) -> None:
    fault = Fault("stall", at=-20, seconds=0.3)
    case = fault_server.case(BLOB, fault)
    part, fresh = part_of(case), part_of(case, 7, 70)
    data: list[bytes] = []
    thread = threading.Thread(target=lambda: data.append(read_all(part)))
    thread.start()
    while not case.ledger.count(fault):
        pass
    child = os.fork()
    if not child:
        with suppress(BaseException):
            part.close()
            with pytest.raises(ValueError, match="closed stream"):
                part.readinto(memoryview(bytearray(10)))
            assert read_all(fresh) == BLOB.read(7, 77)
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join(20)
    assert data == [BLOB.read(0, 5000)]
