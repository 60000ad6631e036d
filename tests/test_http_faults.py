"""The rows of the fault catalogue, done to the http driver: the right bytes, or the right error.

Cuts are in `test_cut_positions`, Content-Range in `test_range_truth_table`.
"""

import ssl
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, When, difference
from faults.certificate import client_context, server_context
from streams import read_all

from blobread.drivers.http import HttpDriver
from blobread.errors import (
    AccessDeniedError,
    AuthenticationError,
    BlobChangedError,
    BlobError,
    BlobTimeoutError,
    PathNotFoundError,
    ProtocolError,
    RangeNotSupportedError,
    TruncatedBlobError,
    UnsafeRedirectError,
)

BLOB = Blob(3000)
OFFSET, LENGTH = 1000, 1500


def driver(idle_timeout: float = 20.0, connect_timeout: float = 10.0) -> HttpDriver:
    return HttpDriver(proxy=None, idle_timeout=idle_timeout, connect_timeout=connect_timeout)


def read_pinned(http: HttpDriver, case: Case, *faults: Fault) -> bytes:
    """Read a range of the version that was there before the faults."""
    pin = http.stat(case.url)
    case.add(*faults)
    return read_all(http.read_stream(case.url, OFFSET, LENGTH, pin=pin))


def read_opened(http: HttpDriver, case: Case, *faults: Fault) -> bytes:
    case.add(*faults)
    return read_all(http.open(case.url)[1])


READERS = [(read_pinned, OFFSET, LENGTH), (read_opened, 0, BLOB.size)]
Read = Callable[..., bytes]


def name_of(parameter: object) -> str:
    if isinstance(parameter, tuple):
        return "+".join(repr(x)[6:-1] for x in parameter if isinstance(x, Fault))
    return getattr(parameter, "__name__", str(parameter))


HARMLESS: list[tuple[Fault, ...]] = [
    (Fault("content_length", values=("{length}", "{length}")),),
    (Fault("content_encoding", value="identity"),),
    (Fault("chunked"),),
    (Fault("chunked", size=1),),
    (Fault("no_last_chunk"),),  # who knows the length needs no other end
    (Fault("chunk_extension"),),
    (Fault("trailers"),),
    (Fault("http10"),),
    (Fault("http10", keeps_alive=True),),
    (Fault("connection_close"),),
    (Fault("status_line", line=b"HTTP/1.1 206"),),
    (Fault("status_line", line=b"HTTP/1.1 206 "),),
    (Fault("header_lines", lines=b"X-A: " + b"a" * 30_000 + b"\r\n"),),
    (Fault("informational", count=1),),
    (Fault("informational", count=8),),
    (Fault("informational", count=3, code=100),),
    (Fault("unasked_answer"),),
    (Fault("extra", size=1),),
    (Fault("extra", size=1 << 16),),
    (Fault("extra", size=EVER),),
    (Fault("segments", at=-1000),),
    (Fault("segments", at=0, size=7),),
    (Fault("stall", at=100, seconds=0.01),),
    (Fault("drip", at=-50, pause=0.0001),),
    (Fault("throttle", at=0, rate=1 << 20),),
]


@pytest.mark.parametrize("faults", HARMLESS, ids=name_of)
@pytest.mark.parametrize(("read", "offset", "length"), READERS, ids=["pinned", "open"])
def test_odd_but_legal_answers_give_every_byte(
    fault_server: FaultServer, read: Read, offset: int, length: int, faults: tuple[Fault, ...]
) -> None:
    case, http = fault_server.case(BLOB), driver()
    faults = tuple(with_length(fault, length) for fault in faults)
    data = read(http, case, *faults)
    assert difference(BLOB, offset, data) is None
    assert len(data) == length
    # What is left on the connection must not be taken for the next answer.
    data = read_all(http.read_stream(case.url, OFFSET, LENGTH))
    assert difference(BLOB, OFFSET, data) is None
    assert len(data) == LENGTH


def with_length(fault: Fault, length: int) -> Fault:
    values = fault.params.get("values")
    if not values:
        return fault
    return Fault(fault.kind.name, values=tuple(x.format(length=length) for x in values))


def always(name: str, at: int | None = None, **params: Any) -> Fault:
    return Fault(name, at=at, times=EVER, **params)


WRONG: list[tuple[Fault, type[BlobError]]] = [
    (always("unsatisfied", content_range="bytes */2999"), BlobChangedError),
    (always("unsatisfied", content_range=None), ProtocolError),
    (always("status", code=412), BlobChangedError),
    (always("multipart"), ProtocolError),
    (always("longer", behind=1), ProtocolError),
    (always("longer", before=1), ProtocolError),
    (always("content_length_off_by", delta=1), ProtocolError),
    (always("content_length_off_by", delta=-1), ProtocolError),
    (always("content_length", values=("1500", "1501")), ProtocolError),
    (always("content_length", values=("1500, 1501",)), ProtocolError),
    (always("content_length", values=("+1500",)), ProtocolError),
    (always("content_length", values=("0x5dc",)), ProtocolError),
    (always("content_length", values=("-1",)), ProtocolError),
    (always("content_length", values=("1500.0",)), ProtocolError),
    (always("content_length", values=("\u00b9500",)), ProtocolError),
    (always("content_length", values=(str(2**63),)), ProtocolError),
    (always("content_length", values=(str(2**64 + 1500),)), ProtocolError),
    (always("short_body", size=1499), ProtocolError),
    (always("gzip"), ProtocolError),
    (always("content_encoding", value="br"), ProtocolError),
    (always("content_encoding", value="zstd"), ProtocolError),
    (always("content_encoding", value="identity, gzip"), ProtocolError),
    (always("content_encoding", value="x-unknown"), ProtocolError),
    (always("chunk_size_line", line=b"5dg"), ProtocolError),
    (always("chunk_size_line", line=b""), ProtocolError),
    (always("chunk_size_line", line=b"-1"), ProtocolError),
    (always("chunk_size_line", line=b"0x5dc"), ProtocolError),
    (always("chunk_size_line", line=b"+5dc"), ProtocolError),
    (always("chunk_size_line", line=b"5_dc"), ProtocolError),
    (always("chunk_size_line", line=b"f" * 16), ProtocolError),
    (always("chunk_size_line", line=b"0" * 13 + b"5dc0"), ProtocolError),
    (always("chunk_size_line", line=b"5db"), ProtocolError),
    (always("chunk_extension", text=b";" + b"x" * 100_000), ProtocolError),
    (always("both_framings"), ProtocolError),
    (always("transfer_encoding", values=("gzip, chunked",)), ProtocolError),
    (always("transfer_encoding", values=("chunked", "chunked")), ProtocolError),
    (always("transfer_encoding", values=("xchunked",)), ProtocolError),
    (always("transfer_encoding", values=("\x0bchunked",)), ProtocolError),
    (always("etag", values=()), BlobChangedError),
    (always("etag", values=('"other"',)), BlobChangedError),
    (always("etag", values=(f"W/{BLOB.etag}",)), BlobChangedError),
    (always("etag", values=(BLOB.etag.strip('"'),)), BlobChangedError),
    (always("replaced", version=2), BlobChangedError),
    (always("replaced", version=2, size=2999), BlobChangedError),
    (always("replaced", version=1, size=3001), BlobChangedError),
    (always("deleted"), PathNotFoundError),
    (always("header_lines", lines=b"X: a\r\n b\r\n"), ProtocolError),
    (always("header_lines", lines=b"X: a\x00b\r\n"), ProtocolError),
    (always("header_lines", lines=b"X: a\rb\r\n"), ProtocolError),
    (always("header_lines", lines=b"X: a\nY: b\r\n"), ProtocolError),
    (always("header_lines", lines=b"Content-Length : 1\r\n"), ProtocolError),
    (always("header_lines", lines=b": 1\r\n"), ProtocolError),
    (always("header_lines", lines=b"no colon\r\n"), ProtocolError),
    (always("header_lines", lines=b"X: y\r\n" * 100_000), ProtocolError),
    (always("header_lines", lines=b"X: " + b"y" * (1 << 20) + b"\r\n"), ProtocolError),
    (always("bare_newlines"), ProtocolError),
    (always("status_line", line=b"HTTP/2 206 OK"), ProtocolError),
    (always("status_line", line=b"HTTP/1.2 206 OK"), ProtocolError),
    (always("status_line", line=b"HTTP/1.1  206 OK"), ProtocolError),
    (always("status_line", line=b"HTTP/1.1 0206 OK"), ProtocolError),
    (always("status_line", line=b"HTTP/1.1 206OK"), ProtocolError),
    (always("status_line", line=b"HTTP/1.1 206 O\x00K"), ProtocolError),
    (always("status_line", line=b"ICY 200 OK"), ProtocolError),
    (always("no_head"), ProtocolError),
    (always("no_head", instead=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ProtocolError),
    (always("endless_head", at=-2), ProtocolError),
    (always("endless_line", at=-2), ProtocolError),
    (always("endless_informational", at=-500), ProtocolError),
    (always("informational", count=9), ProtocolError),
    (always("informational", count=10_000), ProtocolError),
    (always("informational", count=1, code=101), ProtocolError),
    (always("status", code=204), ProtocolError),
    (always("status", code=203), ProtocolError),
    (always("status", code=304), ProtocolError),
    (always("status", code=300), ProtocolError),
    (always("status", code=401), AuthenticationError),
    (always("status", code=403), AccessDeniedError),
    (always("status", code=404), PathNotFoundError),
    (always("status", code=408), BlobTimeoutError),
    (always("status", code=410), PathNotFoundError),
    (always("status", code=451), AccessDeniedError),
    (always("status", code=999), ProtocolError),
    (always("status", code=599), BlobError),
    (always("stall", at=700), BlobTimeoutError),
    (always("hang"), BlobTimeoutError),
    (always("stall", at=-10), BlobTimeoutError),
    (always("locations", values=()), UnsafeRedirectError),
    (always("locations", values=("/a", "/b")), UnsafeRedirectError),
    (always("redirect", to=""), UnsafeRedirectError),
    (always("redirect", to="file:///etc/passwd"), UnsafeRedirectError),
    (always("redirect", to="ftp://127.0.0.1/"), UnsafeRedirectError),
    (always("redirect", to="data:,x"), UnsafeRedirectError),
    (always("redirect", to="http://a:b@127.0.0.1/"), UnsafeRedirectError),
    (always("redirect", to="/a b"), UnsafeRedirectError),
    (always("redirect", to="/" + "a" * 10_000), UnsafeRedirectError),
    (always("next_hop"), UnsafeRedirectError),
]


# Those that only the idle timeout ends.
SILENT = {"stall", "hang"}


@pytest.mark.parametrize(("fault", "expected"), WRONG, ids=name_of)
def test_wrong_answers_are_precise_errors(
    fault_server: FaultServer, fault: Fault, expected: type[BlobError]
) -> None:
    case, http = fault_server.case(BLOB), driver()
    pin = http.stat(case.url)
    case.add(fault)
    victim = driver(idle_timeout=0.2) if fault.kind.name in SILENT else http
    with pytest.raises(BlobError) as raised:
        read_all(victim.read_stream(case.url, OFFSET, LENGTH, pin=pin))
    assert type(raised.value) is expected
    assert case.ledger.count(fault) > 0
    case.plan.clear()
    data = read_all(http.read_stream(case.url, OFFSET, LENGTH, pin=pin))
    assert data == BLOB.read(OFFSET, OFFSET + LENGTH)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("endless_head", at=-2),
        Fault("endless_line", at=-2),
        Fault("endless_informational", at=-500),
    ],
    ids=lambda x: x.kind.name,
)
def test_endless_heads_cost_little_memory(fault_server: FaultServer, fault: Fault) -> None:
    http, case = driver(), fault_server.case(BLOB, fault)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            http.read_stream(case.url, OFFSET, LENGTH)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "fault",
    [
        Fault("text_after", start=700),
        Fault("flip", byte=700),
        Fault("zeros_from", start=700),
        Fault("other_blob"),
        Fault("replaced_under_way", start=700),
    ],
    ids=lambda x: x.kind.name,
)
def test_wrong_bytes_of_the_right_length_need_a_digest(
    fault_server: FaultServer, fault: Fault
) -> None:
    # No client of HTTP can notice these: it is written down here that this one does not either.
    data = read_pinned(driver(), fault_server.case(BLOB), fault)
    assert len(data) == LENGTH
    assert difference(BLOB, OFFSET, data) is not None


@pytest.mark.parametrize(
    ("tags", "dates"),
    [
        (('"strong"',), ()),
        (('W/"weak"',), ()),
        (("unquoted",), ()),
        ((), (BLOB.modified,)),
        ((), ()),
        (('"a, b"',), ()),
        (('"' + "x" * 8000 + '"',), ()),
        (('"\u00e9"',), ()),
    ],
)
class TestVersions:
    """A blob is pinned by whatever its server says of it."""

    def test_the_same_version_is_read(
        self, fault_server: FaultServer, tags: tuple[str, ...], dates: tuple[str, ...]
    ) -> None:
        case = fault_server.case(
            BLOB,
            always("ignore_conditions"),
            always("etag", values=tags),
            always("last_modified", values=dates),
        )
        assert read_pinned(driver(), case) == BLOB.read(OFFSET, OFFSET + LENGTH)

    def test_another_version_or_size_is_an_error(
        self, fault_server: FaultServer, tags: tuple[str, ...], dates: tuple[str, ...]
    ) -> None:
        case = fault_server.case(
            BLOB,
            always("ignore_conditions"),
            always("etag", values=tags),
            always("last_modified", values=dates),
        )
        http = driver()
        pin = http.stat(case.url)
        case.plan = [always("ignore_conditions")]
        case.blob = Blob(BLOB.size - (0 if tags or dates else 1), version=2)
        with pytest.raises(BlobChangedError):
            http.read_stream(case.url, OFFSET, LENGTH, pin=pin).close()
        assert len(case.ledger.requests) == 2


@pytest.mark.parametrize("code", [400, 501])
def test_a_server_that_refuses_if_match_is_asked_without_it(
    fault_server: FaultServer, code: int
) -> None:
    refusal = always("status", code=code)
    refusal.when = When(header="If-Match")
    case = fault_server.case(BLOB, refusal)
    http = driver()
    pin = http.stat(case.url)
    data = read_all(http.read_stream(case.url, OFFSET, LENGTH, pin=pin))
    assert data == BLOB.read(OFFSET, OFFSET + LENGTH)
    case.blob = Blob(BLOB.size, version=2)
    with pytest.raises(BlobChangedError):
        http.read_stream(case.url, OFFSET, LENGTH, pin=pin).close()


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("status", code=code) for code in (400, 403, 404, 405, 501)),
        Fault("head_without_length"),
        Fault("close_before_answer", times=2),
        Fault("gzip"),
        Fault("chunked"),
        Fault("next_hop", times=9),
    ],
    ids=name_of,
)
def test_stat_does_without_head(fault_server: FaultServer, fault: Fault) -> None:
    fault.when = When(method="HEAD")
    case = fault_server.case(BLOB, fault)
    info = driver().stat(case.url)
    assert (info.size, info.etag) == (BLOB.size, BLOB.etag)


def test_a_body_behind_a_head_is_not_taken_for_the_next_answer(fault_server: FaultServer) -> None:
    case, http = fault_server.case(BLOB, Fault("head_with_body")), driver()
    assert http.stat(case.url).size == BLOB.size
    assert read_all(http.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


@pytest.mark.parametrize("hops", [1, 5])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_to_another_origin_and_back(
    fault_server: FaultServer, code: int, hops: int
) -> None:
    here, there = fault_server.origin, fault_server.listen("127.0.0.2")
    case = fault_server.case(BLOB)
    for i in range(hops):
        to = f"{(there if i % 2 == 0 else here).url}{case.path}?hop={i}"
        case.add(Fault("redirect", to=to, code=code, when=When(nth=i + 1)))
    data = read_all(driver().read_stream(case.url, OFFSET, LENGTH))
    assert data == BLOB.read(OFFSET, OFFSET + LENGTH)
    assert len(case.ledger.requests) == hops + 1


def test_a_large_prefix_is_not_read_in_vain(fault_server: FaultServer) -> None:
    case = fault_server.case(Blob(1 << 30), Fault("whole"))
    with pytest.raises(RangeNotSupportedError):
        driver().read_stream(case.url, (1 << 29), 10)


@pytest.mark.parametrize("offset", [2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**62 - 100])
def test_offsets_beyond_32_and_53_bits(fault_server: FaultServer, offset: int) -> None:
    blob = Blob(2**62)
    data = read_all(driver().read_stream(fault_server.case(blob).url, offset, 100))
    assert len(data) == 100
    assert difference(blob, offset, data) is None


class TestConnections:
    """Connections that are not made, or are of no use."""

    def test_refused(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(listening=False)
        case, http = fault_server.case(BLOB, origin=origin), driver()
        with pytest.raises(BlobError) as raised:
            http.open(case.url)
        assert isinstance(raised.value.__cause__, ConnectionRefusedError)
        origin.listen()
        assert read_opened(http, case) == BLOB.read(0, BLOB.size)

    def test_full_backlog(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(listening=False)
        origin.jam()
        http = driver(connect_timeout=0.05)
        with pytest.raises(BlobTimeoutError):
            http.read_stream(fault_server.case(BLOB, origin=origin).url, 0, 10)

    @pytest.mark.parametrize("name", ["close_on_accept", "reset_on_accept"])
    def test_dropped_at_once(self, fault_server: FaultServer, name: str) -> None:
        origin = fault_server.listen(plan=(Fault(name),))
        case, http = fault_server.case(BLOB, origin=origin), driver()
        with pytest.raises(BlobError) as raised:
            http.open(case.url)
        # A reset may come while the client still connects.
        assert type(raised.value) in (BlobError, TruncatedBlobError)
        assert read_opened(http, case) == BLOB.read(0, BLOB.size)

    def test_never_answered(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(plan=(Fault("ignore"),))
        case, http = fault_server.case(BLOB, origin=origin), driver(idle_timeout=0.05)
        with pytest.raises(BlobTimeoutError):
            http.open(case.url)
        assert read_opened(driver(), case) == BLOB.read(0, BLOB.size)

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (Fault("babble", data=b"220 smtp.example ESMTP\r\n"), BlobError),
            (Fault("close_on_accept"), BlobError),
            (Fault("reset_on_accept"), BlobError),
            (Fault("ignore"), BlobTimeoutError),
        ],
        ids=name_of,
    )
    def test_no_tls(
        self, fault_server: FaultServer, fault: Fault, expected: type[BlobError]
    ) -> None:
        origin = fault_server.listen(tls=server_context("127.0.0.1"), plan=(fault,))
        case = fault_server.case(BLOB, origin=origin)
        http = HttpDriver(
            proxy=None,
            ssl_context=client_context(),
            connect_timeout=0.05 if expected is BlobTimeoutError else 10,
        )
        with pytest.raises(BlobError) as raised:
            http.open(case.url)
        assert type(raised.value) is expected
        assert case.ledger.requests == []

    def test_a_certificate_for_another_name(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(tls=server_context("other.example"))
        case = fault_server.case(BLOB, origin=origin)
        http = HttpDriver(
            proxy=None, ssl_context=client_context(), headers={"Authorization": "secret"}
        )
        with pytest.raises(BlobError) as raised:
            http.open(case.url)
        assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
        assert case.ledger.requests == []
