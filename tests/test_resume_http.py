"""Streams that go on where they broke, over HTTP: from a server that does every wrong."""

import logging
import socket
from dataclasses import replace

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, When, difference
from faults.answer import honest_answer
from faults.origin import Origin
from faults.request import Request
from resuming import quick, read_to_end
from together import Call, wait_until

from blobread import (
    AccessDeniedError,
    BlobChangedError,
    BlobInfo,
    BlobTimeoutError,
    RangeNotSupportedError,
    RetriesExhaustedError,
)
from blobread.drivers.http import HttpDriver
from blobread.transfer import attempts, resume
from blobread.transfer.link import Link
from blobread.transfer.resume import ResumingStream
from blobread.transfer.retry import Retry
from blobread.transfer.source import PinMode, Source
from blobread.transfer.tokens import TokenBucket

LENGTHS = [*range(1, 20), 64, 100, 257]
BLOB = Blob(3000)


class Eager:
    """An HttpDriver without `part`, as a user's own driver may be."""

    def __init__(self, http: HttpDriver) -> None:
        self.name = http.name
        self.stat = http.stat
        self.open = http.open
        self.read_stream = http.read_stream
        self.redact = http.redact


@pytest.fixture(params=["part", "read_stream"])
def driver(request: pytest.FixtureRequest) -> HttpDriver | Eager:
    http = HttpDriver(proxy=None, idle_timeout=20)
    return http if request.param == "part" else Eager(http)


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> TokenBucket:
    bucket = TokenBucket()
    monkeypatch.setattr(attempts, "bucket", bucket)
    monkeypatch.setattr(resume, "bucket", bucket)
    return bucket


def source(
    driver: HttpDriver | Eager,
    case: Case,
    *,
    pin_mode: PinMode = "error",
    retry: Retry | None = None,
    versioned: bool = True,
) -> Source:
    blob = case.blob
    version = f"etag:{blob.etag}" if versioned else None
    info = BlobInfo(case.url, blob.size, version)
    retry = quick() if retry is None else retry
    return Source(driver, case.url, info, pin_mode=pin_mode, retry=retry, link=Link("test"))


def check(case: Case, data: bytes, offset: int = 0) -> None:
    assert (found := difference(case.blob, offset, data)) is None, found
    assert len(data) == case.blob.size - offset


def read_up_to(stream: ResumingStream, offset: int) -> None:
    while stream.position < offset:
        assert stream.readinto(memoryview(bytearray(offset - stream.position)))


def head_length(blob: Blob) -> int:
    """The length of the head that answers a range of all of `blob`."""
    asked = Request("GET", "/", (("Range", f"bytes=0-{blob.size - 1}"),), "", 1)
    return len(honest_answer(asked, blob).head())


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_an_answer_that_is_cut_anywhere_goes_on_there(
    fault_server: FaultServer, driver: HttpDriver | Eager, end: str
) -> None:
    for length in LENGTHS:
        for at in range(length):
            case = fault_server.case(Blob(length), Fault(end, at=at))
            one = source(driver, case)
            check(case, read_to_end(ResumingStream(one, 0, length), room=1 + length // 2))
            asked = [x.asked for x in case.ledger.requests]
            # Bytes that were sent before a reset may be lost with it.
            assert len(asked) == 2
            assert asked[1] is not None
            assert asked[1][0] == at if end == "fin" else asked[1][0] <= at
            assert one.counters.retries == 1


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_head_that_is_cut_anywhere_is_asked_for_again(
    fault_server: FaultServer, driver: HttpDriver | Eager, end: str
) -> None:
    blob = Blob(100)
    for at in range(-head_length(blob), 0):
        case = fault_server.case(blob, Fault(end, at=at, times=3))
        check(case, read_to_end(ResumingStream(source(driver, case), 0, blob.size)))


@pytest.mark.parametrize("whole", [False, True])
def test_an_open_that_is_cut_anywhere_goes_on_there(fault_server: FaultServer, whole: bool) -> None:
    http = HttpDriver(proxy=None, idle_timeout=20)
    for length in LENGTHS:
        for at in range(length):
            faults = [Fault("fin", at=at)]
            if whole:
                faults.append(Fault("whole"))
            case = fault_server.case(Blob(length), *faults)
            _, given = http.open(case.url)
            check(case, read_to_end(ResumingStream(source(http, case), 0, length, given)))


def test_every_boundary_of_a_large_blob_may_break(
    fault_server: FaultServer, driver: HttpDriver | Eager
) -> None:
    blob = Blob((3 << 20) + 17)
    cuts = [4095, 16384, 65537, 1 << 18, 1 << 20, (1 << 20) + 1]
    case = fault_server.case(blob)
    for at in cuts:
        case.add(Fault("fin", at=at, when=When(covers=blob.size - 1)))
    check(case, read_to_end(ResumingStream(source(driver, case), 0, blob.size)))
    assert [x.asked for x in case.ledger.requests] == [
        (sum(cuts[:n]), blob.size - 1) for n in range(len(cuts) + 1)
    ]


def test_a_stalled_answer_goes_on(fault_server: FaultServer) -> None:
    http = HttpDriver(proxy=None, idle_timeout=0.05)
    case = fault_server.case(BLOB, Fault("stall", at=1000), Fault("hang", when=When(nth=2)))
    check(case, read_to_end(ResumingStream(source(http, case), 0, BLOB.size)))
    assert [x.asked for x in case.ledger.requests] == [(0, 2999), (1000, 2999), (1000, 2999)]


def test_an_answer_that_trickles_does_not_time_out(fault_server: FaultServer) -> None:
    http = HttpDriver(proxy=None, idle_timeout=20)
    case = fault_server.case(Blob(50), Fault("drip", at=0, pause=0.005))
    one = source(http, case, retry=quick(retry_timeout=0.01))
    check(case, read_to_end(ResumingStream(one, 0, 50)))
    assert one.counters.retries == 0


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(
    fault_server: FaultServer, driver: HttpDriver | Eager, code: int
) -> None:
    case = fault_server.case(BLOB, Fault("status", code=code, times=3))
    check(case, read_to_end(ResumingStream(source(driver, case), 0, BLOB.size)))
    assert len(case.ledger.requests) == 4


@pytest.mark.parametrize("code", [400, 403, 404, 410, 451, 501])
def test_a_refusal_is_not_asked_again(
    fault_server: FaultServer, driver: HttpDriver | Eager, code: int
) -> None:
    case = fault_server.case(BLOB, Fault("status", code=code, times=EVER))
    with pytest.raises(OSError, match=str(code)) as caught:
        read_to_end(ResumingStream(source(driver, case, versioned=False), 0, BLOB.size))
    assert not isinstance(caught.value, RetriesExhaustedError)
    assert len(case.ledger.requests) == 1


def test_a_signed_url_that_expires_is_asked_for_once_more(
    fault_server: FaultServer, driver: HttpDriver | Eager
) -> None:
    case = fault_server.case(BLOB)
    one = source(driver, case)
    assert read_to_end(ResumingStream(one, 0, 10)) == BLOB.read(0, 10)
    case.add(Fault("status", code=403))
    check(case, read_to_end(ResumingStream(one, 0, BLOB.size)))
    case.add(Fault("status", code=403, times=2))
    with pytest.raises(AccessDeniedError):
        read_to_end(ResumingStream(one, 0, BLOB.size))


def test_retry_after_is_waited_for(
    fault_server: FaultServer, driver: HttpDriver | Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(attempts.Attempts, "_wait", lambda self, pause: pauses.append(pause))
    fault = Fault("status", code=503, headers=(("Retry-After", "7"),), times=2)
    case = fault_server.case(BLOB, fault)
    check(case, read_to_end(ResumingStream(source(driver, case), 0, BLOB.size)))
    assert pauses == [7.0, 7.0]


def test_a_retry_after_that_is_too_late_is_an_error_at_once(
    fault_server: FaultServer, driver: HttpDriver | Eager
) -> None:
    fault = Fault("status", code=503, headers=(("Retry-After", "3600"),))
    case = fault_server.case(BLOB, fault)
    with pytest.raises(BlobTimeoutError, match="after 3600 s only"):
        read_to_end(ResumingStream(source(driver, case), 0, BLOB.size))


def test_a_dead_server_is_given_up(driver: HttpDriver | Eager, fault_server: FaultServer) -> None:
    dead = fault_server.listen(listening=False)
    case = fault_server.case(BLOB, origin=dead)
    one = source(driver, case)
    with pytest.raises(RetriesExhaustedError, match="6 failures in a row"):
        read_to_end(ResumingStream(one, 0, BLOB.size))
    assert one.counters.requests == 6
    dead.listen()  # and comes back
    check(case, read_to_end(ResumingStream(one, 0, BLOB.size)))


def test_a_server_that_dies_within_an_answer_and_comes_back_is_read_on(
    fault_server: FaultServer, driver: HttpDriver | Eager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "blobread")
    mortal = fault_server.listen(listening=False)
    _may_be_bound_again(mortal)
    mortal.listen()
    case = fault_server.case(BLOB, Fault("stall", at=1000, seconds=600), origin=mortal)
    policy = Retry(max_retries=1000, init_backoff=0.01, max_backoff=0.02)
    stream = ResumingStream(source(driver, case, retry=policy), 0, BLOB.size)
    call = Call(lambda: read_to_end(stream))
    wait_until(lambda: stream.position == 1000)
    mortal.close()
    wait_until(lambda: caplog.records)
    try:
        _listen_at(fault_server, mortal)
        data = call.outcome()
    finally:
        stream.close()
    assert isinstance(data, bytes)
    check(case, data)
    assert len(caplog.records) == 1, "a stream warns once"


def _may_be_bound_again(origin: Origin) -> None:
    # Connections that linger inherit it, and would else keep the port.
    origin._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _listen_at(server: FaultServer, dead: Origin) -> None:
    """Start a server where another one was."""
    origin = server.listen(listening=False)
    origin._listener.close()
    origin._listener = socket.socket(socket.AF_INET)
    origin.name, origin.url = dead.name, dead.url
    _may_be_bound_again(origin)
    host, port = dead.name.split(":")
    origin._listener.bind((host, int(port)))
    origin.listen()


@pytest.mark.parametrize("careless", [False, True], ids=["If-Match", "no If-Match"])
@pytest.mark.parametrize("end", ["fin", "reset", "stall"])
def test_a_swap_of_the_version_at_any_request_is_an_error_and_never_a_mixture(
    fault_server: FaultServer, end: str, careless: bool
) -> None:
    http = HttpDriver(proxy=None, idle_timeout=0.05 if end == "stall" else 20)
    for index in range(1, 6):
        case = fault_server.case(BLOB)
        for nth in range(1, 5):
            case.add(Fault(end, at=500, when=When(nth=nth)))
        case.add(Fault("replaced", when=When(after=index - 1), times=EVER))
        if careless:
            case.add(Fault("ignore_conditions", times=EVER))
        one = source(http, case, retry=quick(max_retries=20))
        stream, data, buffer = ResumingStream(one, 0, BLOB.size), b"", memoryview(bytearray(3000))
        with pytest.raises(BlobChangedError):
            while count := stream.readinto(buffer):
                data += buffer[:count]
        assert difference(BLOB, 0, data) is None
        assert len(data) == stream.position == 500 * (index - 1) or end == "reset"
        fault_server.forget(case)


def test_the_version_of_the_first_answer_is_read_where_none_is_known(
    fault_server: FaultServer, driver: HttpDriver | Eager
) -> None:
    case = fault_server.case(BLOB, Fault("fin", at=1000))
    case.add(Fault("replaced", when=When(after=1), times=EVER))
    stream = ResumingStream(source(driver, case, versioned=False), 0, BLOB.size)
    read_up_to(stream, 1000)
    with pytest.raises(BlobChangedError):
        stream.readinto(memoryview(bytearray(3000)))


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_mirrors_with_tags_of_their_own_can_be_read(
    fault_server: FaultServer, driver: HttpDriver | Eager, mode: PinMode
) -> None:
    case = fault_server.case(BLOB, Fault("etag_of_request", times=EVER))
    case.add(Fault("ignore_conditions", times=EVER))
    case.add(Fault("fin", at=500, times=3))
    one = source(driver, case, pin_mode=mode)
    if mode == "warn":
        with pytest.warns(RuntimeWarning, match="it is read on, as pin='warn' says") as caught:
            check(case, read_to_end(ResumingStream(one, 0, BLOB.size)))
        assert len(caught) == 1
    else:
        check(case, read_to_end(ResumingStream(one, 0, BLOB.size)))


@pytest.mark.parametrize("mode", ["error", "warn", "off"])
def test_another_size_is_an_error_in_every_mode(
    fault_server: FaultServer, driver: HttpDriver | Eager, mode: PinMode
) -> None:
    case = fault_server.case(BLOB, Fault("fin", at=1000, when=When(nth=1)))
    case.add(Fault("replaced", version=2, size=2999, when=When(after=1), times=EVER))
    stream = ResumingStream(source(driver, case, pin_mode=mode), 0, BLOB.size)
    read_up_to(stream, 1000)
    with pytest.raises(BlobChangedError):
        stream.readinto(memoryview(bytearray(3000)))


def test_a_server_that_knows_no_ranges_is_read_on_from_its_beginning(
    fault_server: FaultServer, driver: HttpDriver | Eager
) -> None:
    case = fault_server.case(BLOB, Fault("whole", times=EVER), Fault("fin", at=1000))
    case.add(Fault("fin", at=2500, when=When(nth=2)))
    check(case, read_to_end(ResumingStream(source(driver, case), 0, BLOB.size)))
    assert len(case.ledger.requests) == 3


def test_a_server_that_knows_no_ranges_is_not_asked_for_what_lies_too_far_in(
    fault_server: FaultServer, driver: HttpDriver | Eager
) -> None:
    blob = Blob((9 << 20) + 1)
    case = fault_server.case(blob, Fault("whole", times=EVER), Fault("fin", at=(8 << 20) + 1))
    stream = ResumingStream(source(driver, case), 0, blob.size)
    with pytest.raises(RangeNotSupportedError):
        read_to_end(stream)
    assert stream.position == (8 << 20) + 1
    assert len(case.ledger.requests) == 2


@pytest.mark.parametrize("phase", ["head", "body"])
def test_close_ends_a_part_in_every_phase(fault_server: FaultServer, phase: str) -> None:
    fault = Fault("hang") if phase == "head" else Fault("stall", at=100)
    case = fault_server.case(BLOB, fault)
    http = HttpDriver(proxy=None, idle_timeout=600)
    stream = ResumingStream(source(http, case), 0, BLOB.size)
    buffer = memoryview(bytearray(3000))
    if phase == "body":
        read_up_to(stream, 100)
    call = Call(lambda: stream.readinto(buffer))
    wait_until(lambda: case.ledger.count(fault) and stream._is_lent)
    stream.leave()
    with pytest.raises(ValueError, match="closed stream"):
        call.outcome()


def test_an_attempt_that_hangs_is_cut_at_the_deadline(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("fin", at=100), Fault("hang", when=When(nth=2)))
    http = HttpDriver(proxy=None, idle_timeout=600)
    stream = ResumingStream(source(http, case, retry=quick(retry_timeout=0.1)), 0, BLOB.size)
    read_up_to(stream, 100)
    with pytest.raises(BlobTimeoutError, match=r"no progress within 0.1 s"):
        stream.readinto(memoryview(bytearray(3000)))
    check(case, read_to_end(stream), 100)


def test_no_secret_of_an_url_is_logged_or_raised(
    fault_server: FaultServer, driver: HttpDriver | Eager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "blobread")
    case = fault_server.case(BLOB, Fault("status", code=503, times=EVER))
    one = source(driver, case)
    one = Source(
        driver,
        f"{case.url}?signature=hidden",
        replace(one.pin, path=case.url),
        retry=quick(max_retries=2),
        link=Link("test"),
    )
    with pytest.raises(RetriesExhaustedError) as caught:
        read_to_end(ResumingStream(one, 0, BLOB.size))
    assert "hidden" not in f"{caught.value} {caught.value!r} {caplog.text}"
    assert len(caplog.records) == 2
