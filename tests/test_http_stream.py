"""The stream over an answer: closing it, from any thread, and what it says when it fails."""

import signal
import threading
import time

import pytest
from faults import Blob, Case, Fault, FaultServer, When
from faults.certificate import client_context, server_context
from streams import read_all

from blobread.driver import BlobInfo, RawStream
from blobread.drivers.http import HttpDriver
from blobread.errors import BlobTimeoutError, ProtocolError, TruncatedBlobError
from blobread.http.joined import JoinedStream
from blobread.http.stream import Body

BLOB = Blob(100_000)


def buffer(size: int = 4096) -> memoryview:
    return memoryview(bytearray(size))


def fill(stream: RawStream, size: int) -> bytes:
    view = buffer(size)
    done = 0
    while done < size:
        done += stream.readinto(view[done:])
    return bytes(view)


def start_reading(stream: RawStream) -> tuple[threading.Thread, list[BaseException]]:
    """Start a thread that reads, and wait until it does; what it raises is put in the list."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            stream.readinto(buffer())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until_busy(stream)
    return thread, raised


def wait_until_busy(stream: object) -> None:
    assert isinstance(stream, Body)
    while not stream._is_busy:
        time.sleep(0.001)


@pytest.fixture(params=["tcp", "tls"])
def stalled(request: pytest.FixtureRequest, fault_server: FaultServer) -> tuple[Case, HttpDriver]:
    """A blob whose bytes stop coming after the first 1000."""
    secure = request.param == "tls"
    origin = fault_server.listen(tls=server_context("127.0.0.1")) if secure else None
    case = fault_server.case(BLOB, Fault("stall", at=1000, when=When(nth=1)), origin=origin)
    return case, HttpDriver(ssl_context=client_context() if secure else None)


def test_close_from_another_thread_unblocks_readinto(stalled: tuple[Case, HttpDriver]) -> None:
    case, http = stalled
    stream = http.read_stream(case.url, 0, 5000)
    assert fill(stream, 1000) == BLOB.read(0, 1000)
    thread, raised = start_reading(stream)
    stream.close()
    thread.join(10)
    [error] = raised
    assert isinstance(error, ValueError)
    assert str(error) == "I/O operation on closed stream"
    assert read_all(http.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


def test_the_descriptor_is_not_closed_while_a_thread_is_in_it(
    stalled: tuple[Case, HttpDriver],
) -> None:
    case, http = stalled
    stream = http.read_stream(case.url, 0, 5000)
    fill(stream, 1000)
    assert isinstance(stream, Body) and stream._connection is not None
    sock = stream._connection._sock
    closed_at: list[int] = []
    receive = stream._connection.fill

    def slow_receive(view: bytearray | memoryview, count: int) -> int:
        try:
            return receive(view, count)
        finally:
            closed_at.append(sock.fileno())

    stream._connection.fill = slow_receive
    thread, _ = start_reading(stream)
    stream.close()
    thread.join(10)
    assert closed_at[0] != -1
    assert sock.fileno() == -1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_signal_handler_may_close_the_stream_that_it_interrupts(
    stalled: tuple[Case, HttpDriver],
) -> None:
    case, http = stalled
    stream = http.read_stream(case.url, 0, 5000)
    fill(stream, 1000)
    before = signal.signal(signal.SIGALRM, lambda number, frame: stream.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(ValueError, match="closed stream"):
            stream.readinto(buffer())
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_exception_from_a_signal_handler_gives_the_connection_up(
    stalled: tuple[Case, HttpDriver],
) -> None:
    case, http = stalled
    stream = http.read_stream(case.url, 0, 5000)
    fill(stream, 1000)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            stream.readinto(buffer())
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ValueError, match="closed stream"):
        stream.readinto(buffer())
    assert read_all(http.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


def test_two_threads_in_one_stream_are_an_error_and_not_mixed_bytes(
    stalled: tuple[Case, HttpDriver],
) -> None:
    case, http = stalled
    stream = http.read_stream(case.url, 0, 5000)
    fill(stream, 1000)
    thread, _ = start_reading(stream)
    with pytest.raises(RuntimeError, match="one thread"):
        stream.readinto(buffer())
    stream.close()
    thread.join(10)


@pytest.mark.parametrize("length", [0, 10, 50_000])
def test_close_is_idempotent_and_readinto_after_it_is_a_value_error(
    fault_server: FaultServer, length: int
) -> None:
    case = fault_server.case(BLOB)
    for count in (0, length):
        stream = HttpDriver().read_stream(case.url, 0, length)
        fill(stream, count)
        for _ in range(3):
            stream.close()
        with pytest.raises(ValueError, match="I/O operation on closed stream"):
            stream.readinto(buffer())


def test_a_stream_says_zero_at_its_end_again_and_again(fault_server: FaultServer) -> None:
    stream = HttpDriver().read_stream(fault_server.case(BLOB).url, 0, 10)
    assert fill(stream, 10) == BLOB.read(0, 10)
    assert [stream.readinto(buffer()) for _ in range(3)] == [0, 0, 0]
    stream.close()


def test_no_byte_is_written_beyond_the_count(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    for offset, length in ((0, 100), (5, 3000), (0, 80_000)):
        view = memoryview(bytearray(b"\xa5" * 90_000))
        stream = http.read_stream(case.url, offset, length)
        done = 0
        while count := stream.readinto(view[done:]):
            done += count
        assert done == length
        assert view[:length] == BLOB.read(offset, offset + length)
        assert view[length:].tobytes().strip(b"\xa5") == b""
        stream.close()


def test_a_body_that_stalls_is_a_timeout_after_the_idle_timeout(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("stall", at=1000))
    stream = HttpDriver(idle_timeout=0.1).read_stream(case.url, 0, 5000)
    fill(stream, 1000)
    with pytest.raises(BlobTimeoutError, match="after 1000 of 5000 bytes") as caught:
        stream.readinto(buffer())
    assert isinstance(caught.value.__cause__, OSError)


def test_bytes_that_keep_coming_are_no_timeout_however_long_it_takes(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("drip", at=0, pause=0.05, size=100))
    stream = HttpDriver(idle_timeout=0.3).read_stream(case.url, 0, 1000)
    assert read_all(stream) == BLOB.read(0, 1000)


@pytest.mark.parametrize(("fault", "has_cause"), [("fin", False), ("reset", True)])
def test_a_cut_body_says_how_far_it_came(
    fault_server: FaultServer, fault: str, has_cause: bool
) -> None:
    case = fault_server.case(BLOB, Fault(fault, at=70_000))
    stream = HttpDriver().read_stream(case.url, 0, 90_000)
    with pytest.raises(TruncatedBlobError, match=r"after [0-9]+ of 90000 bytes") as caught:
        read_all(stream)
    assert isinstance(caught.value.__cause__, ConnectionResetError) is has_cause
    with pytest.raises(ValueError, match="closed stream"):
        stream.readinto(buffer())


CHUNKED = [
    ((Fault("chunk_size_line", line=b"xyz", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"-5", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"0x10", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"10 ", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"f" * 16, chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"0" * 16 + b"10", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"f", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"10\nX", chunk=1),), ProtocolError),
    ((Fault("chunk_size_line", line=b"10;" + b"x" * 9000, chunk=1),), ProtocolError),
    ((Fault("chunk_without_end", chunk=1),), ProtocolError),
    ((Fault("trailers", text=b"A: b\r\n" * 100),), ProtocolError),
    ((Fault("trailers", text=b"A: b\n"),), ProtocolError),
    ((Fault("no_last_chunk"),), TruncatedBlobError),
    ((Fault("fin", at=100),), TruncatedBlobError),
    ((Fault("chunk_size_line", line=b"0010", chunk=1),), None),
    ((Fault("chunk_extension"),), None),
    ((Fault("trailers", text=b"A: b\r\n" * 60),), None),
    ((Fault("segments", at=0, size=1),), None),
]


@pytest.mark.parametrize(("faults", "kind"), CHUNKED, ids=lambda value: repr(value)[:80])
def test_chunks_are_read_to_the_letter(
    fault_server: FaultServer, faults: tuple[Fault, ...], kind: type[Exception] | None
) -> None:
    blob = Blob(2000)
    case = fault_server.case(blob, Fault("whole"), Fault("chunked", size=16), *faults)
    info, stream = HttpDriver().open(case.url)
    assert info.size is None
    if kind is None:
        assert read_all(stream, 100) == blob.read(0, 2000)
    else:
        with pytest.raises(kind):
            read_all(stream)


def test_an_early_last_chunk_of_a_range_is_truncated(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("early_last_chunk", after=100))
    stream = HttpDriver().read_stream(case.url, 0, 300)
    with pytest.raises(TruncatedBlobError, match="after 100 of 300"):
        read_all(stream)


def test_an_early_last_chunk_of_a_whole_blob_of_known_size_is_truncated(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("whole"), Fault("early_last_chunk", after=100))
    pin = BlobInfo(case.url, size=BLOB.size)
    for length in (300, None):
        case.plan[:] = [Fault("whole"), Fault("early_last_chunk", after=100)]
        stream = HttpDriver().read_stream(case.url, 0, length, pin=pin)
        with pytest.raises(TruncatedBlobError):
            read_all(stream)


def test_a_stream_that_is_closed_while_the_rest_is_asked_for_says_so_and_not_that_it_ended(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    bodies: list[RawStream] = []

    def more(position: int) -> tuple[Body, int]:
        stream.close()
        body = http.read_stream(case.url, position, 10)
        assert isinstance(body, Body)
        bodies.append(body)
        return body, position + 10

    first = http.read_stream(case.url, 0, 10)
    assert isinstance(first, Body)
    stream = JoinedStream(first, 10, 20, more)
    fill(stream, 10)
    with pytest.raises(ValueError, match="closed stream"):
        stream.readinto(buffer())
    with pytest.raises(ValueError, match="closed stream"):
        bodies[0].readinto(buffer())
