"""An answer that is cut anywhere is an error, or goes on: it never looks like the blob's end.

Tens of thousands of answers are cut, each at another byte: the loops are within the tests, so
that they cost no more than the connections that they need.
"""

import random
from collections.abc import Iterable, Iterator

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, Request, difference
from faults.answer import honest_answer
from faults.certificate import client_context, server_context

from blobread import BlobReader
from blobread.driver import BlobInfo, RawStream
from blobread.drivers.http import HttpDriver
from blobread.errors import BlobError, TruncatedBlobError

# Every position of each of these.
LENGTHS = [*range(1, 80), 127, 128, 129, 255, 256, 257, 512, 700]
FEWER_LENGTHS = [*range(1, 36), 64, 65, 256]

# Blocks and buffers that a byte may fall between: of memory, of TLS records, of the driver's
# first request, of a socket's buffers.
BOUNDARIES = [1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20]
LARGE = (3 << 20) + 17

# How the server wraps the same bytes.
FRAMINGS: dict[str, tuple[Fault, ...]] = {
    "length": (),
    "chunks": (Fault("chunked", size=16),),
    "no-length": (Fault("content_length", values=()),),
    "whole-length": (Fault("whole"),),
    "whole-chunks": (Fault("whole"), Fault("chunked", size=16)),
}


def driver() -> HttpDriver:
    return HttpDriver(proxy=None, idle_timeout=20)


def drain(stream: RawStream, room: int) -> tuple[bytes, BlobError | None]:
    """What a stream delivers in pieces of at most `room` bytes, and the error that ends it."""
    data, buffer = bytearray(), memoryview(bytearray(room))
    try:
        while count := stream.readinto(buffer):
            data += buffer[:count]
    except BlobError as error:
        return bytes(data), error
    finally:
        stream.close()
    return bytes(data), None


def ranged(
    http: HttpDriver, case: Case, offset: int, room: int = 1 << 20
) -> tuple[bytes, BlobError | None]:
    """Read the blob from `offset` to its end, of which the reader knows the size."""
    size = case.blob.size
    pin = BlobInfo(case.url, size=size)
    try:
        stream = http.read_stream(case.url, offset, size - offset, pin=pin)
    except BlobError as error:
        return b"", error
    return drain(stream, room)


def opened(http: HttpDriver, case: Case, room: int = 1 << 20) -> tuple[bytes, BlobError | None]:
    """Open the blob, whose size nobody knows, and read what came."""
    try:
        _, stream = http.open(case.url)
    except BlobError as error:
        return b"", error
    return drain(stream, room)


def check(case: Case, offset: int, data: bytes, error: BlobError | None, *, cut: bool) -> None:
    """Fail unless the bytes are right, and either all of them or followed by the error.

    `cut`: bytes of the blob, or its proper end, were not sent, so there must be the error.
    """
    assert (found := difference(case.blob, offset, data)) is None, found
    # Who needs no more may be here before the server has cut: `fault_server` looks again.
    assert not cut or not case.unfired()
    if cut or error is not None:
        assert isinstance(error, TruncatedBlobError), f"{error!r} after {len(data)} bytes"
    else:
        assert len(data) == case.blob.size - offset


def cuts(lengths: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Each length with each position in it, its end included."""
    return ((length, at) for length in lengths for at in range(length + 1))


def wire_length(content: int, chunk: int = 16) -> int:
    """Bytes of a chunked body: each chunk has a line with its size, and two CRLF."""
    whole, part = divmod(content, chunk)
    per_chunk = len(f"{chunk:x}") + 4 + chunk
    return whole * per_chunk + (len(f"{part:x}") + 4 + part if part else 0) + len("0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "no-length", "whole-length"])
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_range_cut_anywhere_is_truncated(
    fault_server: FaultServer, end: str, framing: str
) -> None:
    http = driver()
    lengths = LENGTHS if framing == "length" else FEWER_LENGTHS
    for length, at in cuts(lengths):
        case = fault_server.case(Blob(length), *FRAMINGS[framing], Fault(end, at=at))
        data, error = ranged(http, case, 0, room=1 + length // 2)
        check(case, 0, data, error, cut=at < length)


@pytest.mark.parametrize("framing", ["chunks", "whole-chunks"])
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_chunks_cut_anywhere_are_truncated(
    fault_server: FaultServer, end: str, framing: str
) -> None:
    http = driver()
    for length in FEWER_LENGTHS:
        ends_at = wire_length(length)
        # Of the last chunk's `0 CR LF CR LF` and the CRLF before it, nothing is needed by one
        # who knows the length.
        needed = ends_at - len("\r\n0\r\n\r\n")
        for at in range(ends_at + 1):
            case = fault_server.case(Blob(length), *FRAMINGS[framing], Fault(end, at=at))
            data, error = ranged(http, case, 0)
            check(case, 0, data, error, cut=at < needed)


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_chunks_of_unknown_length_are_truncated_unless_the_last_has_come(
    fault_server: FaultServer, end: str
) -> None:
    http = driver()
    for length in FEWER_LENGTHS:
        ends_at = wire_length(length)
        for at in range(ends_at + 1):
            plan = (*FRAMINGS["whole-chunks"], Fault(end, at=at))
            case = fault_server.case(Blob(length), *plan)
            data, error = opened(http, case)
            check(case, 0, data, error, cut=at < ends_at)


@pytest.mark.parametrize("framing", ["length", "no-length", "chunks", "whole-length"])
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_an_open_cut_anywhere_is_truncated(
    fault_server: FaultServer, end: str, framing: str
) -> None:
    http = driver()
    for length in FEWER_LENGTHS:
        for at in range(wire_length(length) if framing == "chunks" else length):
            case = fault_server.case(Blob(length), *FRAMINGS[framing], Fault(end, at=at))
            data, error = opened(http, case)
            needed = wire_length(length) - len("\r\n0\r\n\r\n") if framing == "chunks" else length
            check(case, 0, data, error, cut=at < needed)


@pytest.mark.parametrize("framing", ["chunks", "whole-chunks"])
def test_a_last_chunk_before_the_end_is_truncated(fault_server: FaultServer, framing: str) -> None:
    http = driver()
    for length, at in cuts([*FEWER_LENGTHS, 700]):
        case = fault_server.case(
            Blob(length), *FRAMINGS[framing], Fault("early_last_chunk", after=at)
        )
        data, error = ranged(http, case, 0)
        check(case, 0, data, error, cut=at < length)


@pytest.mark.parametrize("framing", ["whole-length", "whole-chunks"])
def test_a_cut_in_the_prefix_or_behind_it_is_truncated(
    fault_server: FaultServer, framing: str
) -> None:
    http, length, offset = driver(), 100, 40
    chunks = framing == "whole-chunks"
    for at in range(wire_length(length) - len("\r\n0\r\n\r\n") if chunks else length):
        case = fault_server.case(Blob(length), *FRAMINGS[framing], Fault("fin", at=at))
        data, error = ranged(http, case, offset)
        check(case, offset, data, error, cut=True)


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_head_cut_anywhere_is_truncated(fault_server: FaultServer, end: str) -> None:
    http, blob = driver(), Blob(100)
    for at in range(-head_length(blob), 0):
        case = fault_server.case(blob, Fault(end, at=at, times=EVER))
        data, error = ranged(http, case, 0)
        check(case, 0, data, error, cut=True)
        assert data == b""


@pytest.mark.parametrize("end", ["close_before_answer", "reset_before_answer"])
def test_a_kept_connection_that_dies_unheard_is_replaced_once(
    fault_server: FaultServer, end: str
) -> None:
    http = driver()
    warm = fault_server.case(Blob(10))
    for times, cut in ((1, False), (EVER, True)):
        assert ranged(http, warm, 0)[1] is None
        case = fault_server.case(Blob(100), Fault(end, times=times))
        data, error = ranged(http, case, 0)
        check(case, 0, data, error, cut=cut)
        assert len(case.ledger.requests) == 2


def test_a_kept_connection_that_dies_in_the_head_is_not_asked_again(
    fault_server: FaultServer,
) -> None:
    http, blob = driver(), Blob(100)
    warm = fault_server.case(Blob(10))
    for at in range(1 - head_length(blob), 0):
        assert ranged(http, warm, 0)[1] is None
        case = fault_server.case(blob, Fault("fin", at=at))
        data, error = ranged(http, case, 0)
        check(case, 0, data, error, cut=True)
        assert len(case.ledger.requests) == 1


def test_a_range_that_is_honestly_shorter_goes_on(fault_server: FaultServer) -> None:
    http = driver()
    for length in FEWER_LENGTHS:
        for size in range(1, length):
            case = fault_server.case(Blob(length), Fault("shorter", size=size))
            data, error = ranged(http, case, 0)
            check(case, 0, data, error, cut=False)
            assert [x.asked for x in case.ledger.requests] == [(0, length - 1), (size, length - 1)]


def positions(seed: int) -> list[int]:
    """The bytes around each boundary, and others that are drawn."""
    drawn = random.Random(seed)
    around = [boundary + step for boundary in BOUNDARIES for step in (-1, 0, 1)]
    return [*around, *(drawn.randrange(LARGE) for _ in range(30)), LARGE - 1]


@pytest.mark.parametrize("framing", ["length", "whole-length"])
@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("room", [LARGE, 1 << 16])
def test_a_large_range_cut_at_boundaries_and_anywhere_is_truncated(
    fault_server: FaultServer, end: str, framing: str, room: int
) -> None:
    http = driver()
    for at in positions(seed=room):
        case = fault_server.case(Blob(LARGE), *FRAMINGS[framing], Fault(end, at=at))
        data, error = ranged(http, case, 0, room)
        check(case, 0, data, error, cut=True)


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_large_chunks_cut_at_boundaries_and_anywhere_are_truncated(
    fault_server: FaultServer, end: str
) -> None:
    http = driver()
    for at in positions(seed=2):
        chunks = Fault("chunked", size=1 << 14)
        case = fault_server.case(Blob(LARGE), chunks, Fault(end, at=at))
        data, error = ranged(http, case, 0)
        check(case, 0, data, error, cut=True)


@pytest.mark.parametrize("framing", ["length", "chunks", "whole-chunks"])
@pytest.mark.parametrize("end", ["fin", "goodbye"])
def test_tls_that_ends_anywhere_is_truncated(
    fault_server: FaultServer, end: str, framing: str
) -> None:
    # By FIN, without the close_notify that would tell it from an attack; and with it, at a
    # place where it ends nothing.
    origin = fault_server.listen(tls=server_context("127.0.0.1"))
    http = HttpDriver(proxy=None, ssl_context=client_context())
    for length in (1, 2, 16, 17, 90):
        chunked = framing != "length"
        for at in range(wire_length(length) if chunked else length):
            case = fault_server.case(
                Blob(length), *FRAMINGS[framing], Fault(end, at=at), origin=origin
            )
            if framing == "whole-chunks":
                data, error = opened(http, case)
                cut = True
            else:
                data, error = ranged(http, case, 0)
                cut = not chunked or at < wire_length(length) - len("\r\n0\r\n\r\n")
            check(case, 0, data, error, cut=cut)


@pytest.mark.parametrize("end", ["fin", "goodbye"])
def test_tls_that_ends_at_a_record_is_truncated(fault_server: FaultServer, end: str) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1"))
    http = HttpDriver(proxy=None, ssl_context=client_context())
    for at in [x for x in positions(seed=3) if x < 1 << 19]:
        case = fault_server.case(Blob(1 << 20), Fault(end, at=at), origin=origin)
        data, error = ranged(http, case, 0)
        check(case, 0, data, error, cut=True)


def head_length(blob: Blob) -> int:
    """The length of the head that answers a range of all of `blob`."""
    asked = Request("GET", "/", (("Range", f"bytes=0-{blob.size - 1}"),), "", 1)
    return len(honest_answer(asked, blob).head())


class TestReader:
    """Through a `BlobReader`: its cut read raises, and the next one gives every byte."""

    @pytest.mark.parametrize("framing", list(FRAMINGS))
    @pytest.mark.parametrize("end", ["fin", "reset"])
    def test_a_cut_first_answer(self, fault_server: FaultServer, end: str, framing: str) -> None:
        http = driver()
        for length in [*range(1, 24), 100]:
            blob = Blob(length)
            chunked = "chunks" in framing
            stop = wire_length(length) - len("\r\n0\r\n\r\n") if chunked else length
            for at in range(stop):
                case = fault_server.case(blob, *FRAMINGS[framing], Fault(end, at=at))
                with BlobReader(http, case.url) as reader:
                    with pytest.raises(TruncatedBlobError):
                        reader.read()
                    assert reader.tell() == 0
                    assert reader.read() == blob.read(0, length)
                    assert reader.read() == b""

    @pytest.mark.parametrize("room", [1, 100, 1 << 12, 1 << 20])
    @pytest.mark.parametrize("at", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 18) - 1])
    def test_a_cut_between_reads(self, fault_server: FaultServer, at: int, room: int) -> None:
        blob = Blob(1 << 18)
        case = fault_server.case(blob, Fault("fin", at=at))
        data, errors = b"", 0
        with BlobReader(driver(), case.url) as reader:
            reader.seek(at - at % room)
            start = reader.tell()
            while len(data) < 3 * room and reader.tell() < blob.size:
                try:
                    data += reader.read(room)
                except TruncatedBlobError:
                    errors += 1
                    assert reader.tell() == start + len(data)
        assert difference(blob, start, data) is None
        assert len(data) == min(3 * room, blob.size - start)
        assert errors <= 1

    @pytest.mark.parametrize("at", [0, 1, 4095, 4096, 65535, 262143])
    def test_a_cut_positional_read(self, fault_server: FaultServer, at: int) -> None:
        blob = Blob(1 << 20)
        case = fault_server.case(blob)
        buffer = bytearray(1 << 18)
        with BlobReader(driver(), case.url) as reader:
            reader.read(1)
            case.add(Fault("fin", at=at))
            with pytest.raises(TruncatedBlobError):
                reader.readinto_at(buffer, 5000)
            assert reader.readinto_at(buffer, 5000) == len(buffer)
            assert difference(blob, 5000, bytes(buffer)) is None
            assert reader.tell() == 1
