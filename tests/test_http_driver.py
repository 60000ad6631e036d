"""The driver http: what it answers, what it asks, and what it makes of servers that differ."""

import pickle
import ssl
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http.client import responses

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, When
from faults.certificate import client_context, server_context
from streams import read_all

from blobread.driver import BlobInfo, RawStream, StorageDriver
from blobread.drivers.http import HttpDriver
from blobread.errors import (
    AccessDeniedError,
    AuthenticationError,
    BlobChangedError,
    BlobError,
    BlobTimeoutError,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
    ProtocolError,
    RangeNotSupportedError,
    TruncatedBlobError,
)
from blobread.http import opening
from blobread.http.pool import close_idle

BLOB = Blob(1000)
LARGE = Blob(20 << 20)


def methods(case: Case) -> list[str]:
    return [request.method for request in case.ledger.requests]


def ranges(case: Case) -> list[tuple[int, int] | None]:
    return [request.asked for request in case.ledger.requests]


def conditions(case: Case) -> list[str | None]:
    return [request.header("If-Match") for request in case.ledger.requests]


def test_it_is_a_storage_driver() -> None:
    http = HttpDriver()
    assert isinstance(http, StorageDriver)
    assert (http.name, http.buffer_size) == ("http", 1 << 20)


# What is asked


def test_open_is_one_request_that_gives_info_and_the_first_256_kib(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(LARGE)
    info, stream = HttpDriver().open(case.url)
    assert read_all(stream) == LARGE.read(0, 1 << 18)
    assert (info.path, info.size, info.etag) == (case.url, LARGE.size, LARGE.etag)
    assert info.version == f"etag:{LARGE.etag}"
    assert info.modified is not None and info.modified.tzinfo is UTC
    assert (methods(case), ranges(case)) == (["GET"], [(0, (1 << 18) - 1)])
    [request] = case.ledger.requests
    assert dict(request.headers) == {
        "Host": case.base.removeprefix("http://"),
        "Accept-Encoding": "identity",
        "User-Agent": "blobread",
        "Range": "bytes=0-262143",
    }


def test_open_of_an_empty_blob_is_one_request(fault_server: FaultServer) -> None:
    case = fault_server.case(Blob(0))
    info, stream = HttpDriver().open(case.url)
    assert info.size == 0
    assert read_all(stream) == b""
    assert methods(case) == ["GET"]
    assert HttpDriver().stat(case.url).size == 0


def test_ranges_are_closed_and_clamped_to_the_size(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    pin = BlobInfo(case.url, size=1000)
    assert read_all(http.read_stream(case.url, 900, 500, pin=pin)) == BLOB.read(900, 1000)
    assert read_all(http.read_stream(case.url, 900, None, pin=pin)) == BLOB.read(900, 1000)
    assert read_all(http.read_stream(case.url, 900, 500)) == BLOB.read(900, 1000)
    assert ranges(case) == [(900, 999), (900, 999), (900, 1399)]


def test_to_read_to_the_end_the_size_is_asked_for_and_pinned(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    assert read_all(HttpDriver().read_stream(case.url, 100)) == BLOB.read(100, 1000)
    assert (methods(case), ranges(case)) == (["HEAD", "GET"], [None, (100, 999)])
    assert conditions(case) == [None, BLOB.etag]


def test_what_lies_at_or_beyond_the_end_is_an_empty_stream(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    pin = BlobInfo(case.url, size=1000)
    for offset in (1000, 1001, 2**70):
        assert read_all(http.read_stream(case.url, offset, 10, pin=pin)) == b""
        assert read_all(http.read_stream(case.url, offset, None, pin=pin)) == b""
    assert not case.ledger.requests
    for offset in (1000, 1001, 2**40):
        assert read_all(http.read_stream(case.url, offset, 10)) == b""
        assert read_all(http.read_stream(case.url, offset)) == b""
    assert methods(case) == ["GET", "HEAD"] * 3


def test_beyond_the_end_of_what_a_server_without_ranges_sends_is_an_empty_stream(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(LARGE, Fault("whole", times=EVER))
    assert read_all(HttpDriver().read_stream(case.url, LARGE.size, 10)) == b""
    chunked = fault_server.case(BLOB, Fault("whole"), Fault("chunked"))
    assert read_all(HttpDriver().read_stream(chunked.url, 5000, 10)) == b""


def test_a_missing_path_is_an_error_at_any_offset(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("deleted", times=EVER))
    http = HttpDriver()
    calls: list[Callable[[], object]] = [
        lambda: http.open(case.url),
        lambda: http.stat(case.url),
        lambda: http.read_stream(case.url),
        lambda: http.read_stream(case.url, 0, 10),
        lambda: http.read_stream(case.url, 2**40, 10),
        lambda: http.read_stream(case.url, 5, 10, pin=BlobInfo(case.url, size=1000)),
    ]
    for call in calls:
        with pytest.raises(PathNotFoundError):
            call()


def test_nothing_is_asked_for_a_length_of_zero_or_a_wrong_offset() -> None:
    http = HttpDriver()
    assert read_all(http.read_stream("http://127.0.0.1:1/", 5, 0)) == b""
    for path in ("http://127.0.0.1:1/", "not an URL"):
        for length in (None, 0, 10):
            with pytest.raises(InvalidOffsetError):
                http.read_stream(path, -1, length)
    with pytest.raises(ValueError, match="negative"):
        http.read_stream("http://127.0.0.1:1/", 0, -1)
    with pytest.raises(TypeError):
        http.read_stream("http://127.0.0.1:1/", 1.5, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", "name", "ftp://h/", "http://h/a b", "http://h/\r\nX: y"])
def test_what_is_no_url_is_an_invalid_path(path: str) -> None:
    http = HttpDriver()
    for call in (http.open, http.stat, http.read_stream):
        with pytest.raises(InvalidPathError):
            call(path)


def test_headers_are_sent_with_every_request(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver(headers={"X-One": "1", "User-Agent": "mine"})
    http.stat(case.url)
    read_all(http.read_stream(case.url, 0, 10))
    for request in case.ledger.requests:
        assert request.header("X-One") == "1"
        assert [v for n, v in request.headers if n == "User-Agent"] == ["mine"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1"},
        {"accept-encoding": "gzip"},
        {"If-Match": "x"},
        {"Host": "x"},
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"A b": "CANARY"},
        {"A\r\nB": "CANARY"},
        {"A": "CANARY\r\nB: c"},
        {"A": "CANARY\n"},
        {"A": "CANARY\0"},
        {"A": "CANARY\u20ac"},
        {"": "CANARY"},
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_at_once(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError) as caught:
        HttpDriver(headers=headers)
    assert "CANARY" not in str(caught.value)


def test_a_callable_gives_the_url_anew_for_every_request(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    count = 0

    def fresh() -> str:
        nonlocal count
        count += 1
        return f"{case.url}?sig={count}"

    http = HttpDriver(url=fresh)
    info, stream = http.open("my blob")
    read_all(stream)
    read_all(http.read_stream("my blob", 0, 10, pin=info))
    assert info.path == "my blob"
    assert [request.target for request in case.ledger.requests] == [
        f"{case.path}?sig=1",
        f"{case.path}?sig=2",
    ]
    case.add(Fault("status", code=403))
    with pytest.raises(AccessDeniedError, match="'my blob'"):
        http.read_stream("my blob", 0, 10)


# Size, however it can be had


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("status", code=code) for code in (400, 401, 403, 404, 405, 500, 501, 503)),
        Fault("status", code=204),
        Fault("status", code=206),
        Fault("head_without_length"),
        Fault("content_length", values=("1", "2")),
        Fault("content_encoding", value="gzip"),
        Fault("close_before_answer"),
        Fault("reset_before_answer"),
        Fault("no_head", instead=b"<html>"),
        Fault("locations", values=()),
    ],
    ids=repr,
)
def test_stat_asks_by_get_where_head_tells_nothing(fault_server: FaultServer, fault: Fault) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault(fault.kind.name, when=When(method="HEAD"), **fault.params))
    info = HttpDriver().stat(case.url)
    assert (info.size, info.version) == (1000, f"etag:{BLOB.etag}")
    assert (methods(case), ranges(case)) == (["HEAD", "GET"], [None, (0, 0)])


def test_stat_asks_by_get_where_head_is_not_answered(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("hang", when=When(method="HEAD")))
    assert HttpDriver(idle_timeout=0.2).stat(case.url).size == 1000


def test_a_head_that_hangs_leaves_the_get_half_of_the_time(
    fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_OPEN_DEADLINE", 0.4)
    case = fault_server.case(BLOB, Fault("hang", when=When(method="HEAD")))
    assert HttpDriver(connect_timeout=0.4).stat(case.url).size == 1000


def test_a_head_with_a_body_does_no_harm(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("head_with_body", when=When(method="HEAD")))
    http = HttpDriver()
    assert http.stat(case.url).size == 1000
    assert read_all(http.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


def test_stat_of_a_server_without_head_and_ranges(fault_server: FaultServer) -> None:
    case = fault_server.case(
        LARGE,
        Fault("status", code=405, when=When(method="HEAD")),
        Fault("whole", when=When(method="GET")),
    )
    assert HttpDriver().stat(case.url).size == LARGE.size


def test_a_server_without_ranges_is_read_whole_from_the_first_byte(
    fault_server: FaultServer,
) -> None:
    blob = Blob(600_000)
    case = fault_server.case(blob, Fault("whole", times=EVER))
    http = HttpDriver()
    info, stream = http.open(case.url)
    assert info.size == 600_000
    assert read_all(stream) == blob.read(0, 600_000)
    assert read_all(http.read_stream(case.url, 500_000, 10, pin=info)) == blob.read(
        500_000, 500_010
    )
    assert read_all(http.read_stream(case.url, 0, 10)) == blob.read(0, 10)


def test_a_prefix_is_dropped_up_to_8_mib_or_a_tenth_of_the_blob(fault_server: FaultServer) -> None:
    http = HttpDriver()
    for size, offset, fits in (
        (20 << 20, 8 << 20, True),
        (20 << 20, (8 << 20) + 1, False),
        (200 << 20, 20 << 20, True),
        (200 << 20, (20 << 20) + 1, False),
    ):
        blob = Blob(size)
        case = fault_server.case(blob, Fault("whole"))
        if fits:
            stream = http.read_stream(case.url, offset, 100)
            assert read_all(stream) == blob.read(offset, offset + 100)
        else:
            with pytest.raises(RangeNotSupportedError, match="too far in"):
                http.read_stream(case.url, offset, 100)


def test_without_a_length_the_last_chunk_is_the_end(fault_server: FaultServer) -> None:
    case = fault_server.case(
        BLOB, Fault("whole", times=EVER), Fault("chunked", size=100, times=EVER)
    )
    http = HttpDriver()
    info, stream = http.open(case.url)
    assert info.size is None
    assert read_all(stream) == BLOB.read(0, 1000)
    assert http.stat(case.url).size is None
    assert read_all(http.read_stream(case.url, 10, None, pin=info)) == BLOB.read(10, 1000)
    assert read_all(http.read_stream(case.url, 10, 20, pin=info)) == BLOB.read(10, 30)


def test_a_body_that_only_the_end_of_the_connection_ends_is_refused(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    for call in (HttpDriver().open, lambda path: HttpDriver().read_stream(path, 0, 10)):
        case.plan[:] = [Fault("whole"), Fault("content_length", values=())]
        with pytest.raises(ProtocolError, match="no length"):
            call(case.url)


@pytest.mark.parametrize("head", [None, 405, "changed", "smaller"])
def test_open_asks_by_head_for_a_total_that_the_range_does_not_tell(
    fault_server: FaultServer, head: object
) -> None:
    case = fault_server.case(BLOB, Fault("content_range", values=("bytes 0-999/*",)))
    if head == 405:
        case.add(Fault("status", code=405, when=When(method="HEAD")))
    elif head == "changed":
        case.add(Fault("replaced", when=When(method="HEAD")))
    elif head == "smaller":
        case.add(Fault("content_length", values=("999",), when=When(method="HEAD")))
    http = HttpDriver()
    if head is None:
        info, stream = http.open(case.url)
        assert info.size == 1000
        assert read_all(stream) == BLOB.read(0, 1000)
    else:
        kind = BlobChangedError if head == "changed" else ProtocolError
        with pytest.raises(kind):
            http.open(case.url)
    assert methods(case) == ["GET", "HEAD"]


def test_a_server_that_sends_less_than_it_was_asked_for_is_asked_for_the_rest(
    fault_server: FaultServer,
) -> None:
    for pinned in (False, True):
        case = fault_server.case(BLOB, Fault("shorter", size=300, times=EVER))
        http = HttpDriver()
        pin = BlobInfo(case.url, size=1000, etag=BLOB.etag) if pinned else None
        assert read_all(http.read_stream(case.url, 50, 900, pin=pin)) == BLOB.read(50, 950)
        first = (50, 949)
        assert ranges(case) == [first, (350, 949), (650, 949)]
        assert conditions(case) == [BLOB.etag if pinned else None, BLOB.etag, BLOB.etag]


def test_the_rest_of_a_short_answer_must_be_of_the_same_version(fault_server: FaultServer) -> None:
    case = fault_server.case(
        BLOB, Fault("shorter", size=300), Fault("replaced", when=When(after=1), times=EVER)
    )
    with pytest.raises(BlobChangedError):
        read_all(HttpDriver().read_stream(case.url, 0, 900))


def test_a_short_stream_may_be_closed_between_two_answers(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("shorter", size=300))
    stream = HttpDriver().read_stream(case.url, 0, 900)
    view = memoryview(bytearray(300))
    done = 0
    while done < 300:
        done += stream.readinto(view[done:])
    stream.close()
    with pytest.raises(ValueError, match="closed stream"):
        stream.readinto(view)


def test_open_gives_the_part_that_came_and_the_whole_size(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("shorter", size=300))
    info, stream = HttpDriver().open(case.url)
    assert (info.size, read_all(stream)) == (1000, BLOB.read(0, 300))


# The version


def pinned_read(case: Case, http: HttpDriver, pin: BlobInfo) -> bytes:
    return read_all(http.read_stream(case.url, 10, 20, pin=pin))


@pytest.mark.parametrize(
    ("etag", "modified", "version", "condition"),
    [
        ('"a"', None, 'etag:"a"', '"a"'),
        ('""', None, 'etag:""', '""'),
        ('"a,b \xe9"', None, None, None),
        ('"a,b\xe9"', None, 'etag:"a,b\xe9"', '"a,b\xe9"'),
        ('W/"a"', None, 'etag:W/"a"', None),
        ("unquoted", None, "etag:unquoted", None),
        ('"a"', "Sun, 06 Nov 1994 08:49:37 GMT", 'etag:"a"', '"a"'),
        (None, "Sun, 06 Nov 1994 08:49:37 GMT", "modified:Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("", "Sun, 06 Nov 1994 08:49:37 GMT", "modified:Sun, 06 Nov 1994 08:49:37 GMT", None),
        (None, "yesterday", None, None),
        (None, None, None, None),
    ],
)
def test_the_version_is_pinned_as_strongly_as_the_server_lets_us(
    fault_server: FaultServer,
    etag: str | None,
    modified: str | None,
    version: str | None,
    condition: str | None,
) -> None:
    case = fault_server.case(BLOB)
    case.add(
        Fault("ignore_conditions", times=EVER),
        Fault("etag", values=() if etag is None else (etag,), times=EVER),
        Fault("last_modified", values=() if modified is None else (modified,), times=EVER),
    )
    http = HttpDriver()
    info, stream = http.open(case.url)
    stream.close()
    if version is not None:
        assert info.version == version
        assert http.stat(case.url).version == version
    assert pinned_read(case, http, info) == BLOB.read(10, 30)
    assert conditions(case)[-1] == condition
    if modified is not None and "1994" in modified:
        assert info.modified == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize("knows_conditions", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        (Fault("replaced"),),
        (Fault("replaced", size=1001),),
        (Fault("replaced", size=500),),
        (Fault("etag", values=()),),
        (Fault("etag", values=(f"W/{BLOB.etag}",)),),
        (Fault("etag", values=(BLOB.etag, BLOB.etag)),),
        (Fault("whole"), Fault("replaced")),
        (Fault("whole"), Fault("etag", values=())),
    ],
    ids=repr,
)
def test_another_version_is_a_changed_blob_and_is_not_asked_for_again(
    fault_server: FaultServer, change: tuple[Fault, ...], knows_conditions: bool
) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    info = http.stat(case.url)
    if not knows_conditions:
        case.add(Fault("ignore_conditions"))
    case.plan += [Fault(fault.kind.name, **fault.params) for fault in change]
    with pytest.raises(BlobChangedError):
        pinned_read(case, http, info)
    assert len(case.ledger.requests) == 2


@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_refuses_if_match_itself_is_asked_without_it_and_compared(
    fault_server: FaultServer, status: int
) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault("status", code=status, when=When(header="If-Match"), times=EVER))
    http = HttpDriver()
    info = http.stat(case.url)
    assert pinned_read(case, http, info) == BLOB.read(10, 30)
    assert pinned_read(case, http, info) == BLOB.read(10, 30)
    assert conditions(case) == [None, BLOB.etag, None, None]
    case.add(Fault("replaced"))
    with pytest.raises(BlobChangedError):
        pinned_read(case, http, info)


def test_a_status_400_of_its_own_stays_one(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    info = http.stat(case.url)
    case.add(Fault("status", code=400, times=2))
    with pytest.raises(BlobError) as caught:
        pinned_read(case, http, info)
    assert caught.value.status == 400
    assert pinned_read(case, http, info) == BLOB.read(10, 30)
    assert conditions(case) == [None, BLOB.etag, None, BLOB.etag]


def test_a_version_that_a_user_gave_is_pinned_like_one_of_ours(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    good = BlobInfo(case.url, size=1000, etag=BLOB.etag)
    assert pinned_read(case, http, good) == BLOB.read(10, 30)
    assert pinned_read(case, http, replace(good, size=None)) == BLOB.read(10, 30)
    assert pinned_read(case, http, replace(good, etag=None)) == BLOB.read(10, 30)
    for bad in (
        replace(good, size=999),
        replace(good, etag='"other"'),
        replace(good, size=None, etag='"other"'),
        replace(good, etag=None, size=1001),
        replace(good, etag='"x"\r\nX-Injected: y'),
    ):
        with pytest.raises(BlobChangedError):
            pinned_read(case, http, bad)
    assert not any(request.header("X-Injected") for request in case.ledger.requests)


# What servers answer instead


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AccessDeniedError),
        (404, PathNotFoundError),
        (407, AuthenticationError),
        (408, BlobTimeoutError),
        (410, PathNotFoundError),
        (412, BlobError),
        (418, BlobError),
        (429, BlobError),
        (451, AccessDeniedError),
        (500, BlobError),
        (503, BlobError),
        (599, BlobError),
        (201, ProtocolError),
        (204, ProtocolError),
        (226, ProtocolError),
        (304, ProtocolError),
    ],
)
def test_a_status_is_an_error_of_its_kind(
    fault_server: FaultServer, status: int, kind: type[BlobError]
) -> None:
    case = fault_server.case(BLOB)
    case.add(
        Fault("status", code=status, headers=(("Retry-After", "7"),), reason="CANARY", times=2)
    )
    http = HttpDriver()
    ending = ", which is no answer to a GET of a range" if status < 400 else ""
    for call in (http.open, lambda path: http.read_stream(path, 0, 10)):
        with pytest.raises(BlobError) as caught:
            call(case.url)
        error = caught.value
        assert type(error) is kind
        assert (error.status, error.retry_after) == (status, 7.0)
        assert (error.driver, error.path) == ("http", case.url)
        phrase = f"{status} {responses.get(status, '')}".rstrip()
        assert str(error) == f"http: the server answered {phrase}{ending}: {case.url!r}"


def test_a_412_to_a_pinned_read_is_a_changed_blob(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("status", code=412))
    with pytest.raises(BlobChangedError):
        pinned_read(case, HttpDriver(), BlobInfo(case.url, size=1000))


@pytest.mark.parametrize("count", [1, 8, 9])
def test_up_to_eight_interim_answers_are_skipped(fault_server: FaultServer, count: int) -> None:
    case = fault_server.case(BLOB, Fault("informational", count=count))
    http = HttpDriver()
    if count > 8:
        with pytest.raises(ProtocolError, match="interim"):
            http.read_stream(case.url, 0, 10)
    else:
        assert read_all(http.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("endless_head", at=-2),
        Fault("endless_line", at=-2),
        Fault("header_lines", lines=b"A: b\r\n" * 200),
        Fault("header_lines", lines=b"A: b\r\n folded\r\n"),
        Fault("header_lines", lines=b"A: \0\r\n"),
        Fault("bare_newlines"),
        Fault("status_line", line=b"HTTP/2 200 OK"),
        Fault("no_head", instead=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Fault("no_head", instead=b"<html>hello"),
        Fault("status", code=101),
    ],
    ids=repr,
)
def test_a_broken_head_is_a_protocol_error_at_once(fault_server: FaultServer, fault: Fault) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault(fault.kind.name, at=fault.at, **fault.params))
    with pytest.raises(ProtocolError):
        HttpDriver(idle_timeout=20).read_stream(case.url, 0, 10)


@pytest.mark.parametrize("size", [1, 7])
def test_a_head_in_small_pieces_is_put_together(fault_server: FaultServer, size: int) -> None:
    case = fault_server.case(BLOB, Fault("informational"), Fault("segments", at=-400, size=size))
    assert read_all(HttpDriver().read_stream(case.url, 0, 500)) == BLOB.read(0, 500)


def test_a_head_of_up_to_64_kib_is_read(fault_server: FaultServer) -> None:
    line = b"X-Long: " + b"x" * 3000 + b"\r\n"
    case = fault_server.case(BLOB, Fault("header_lines", lines=line * 21))
    assert read_all(HttpDriver().read_stream(case.url, 0, 500)) == BLOB.read(0, 500)
    case.add(Fault("header_lines", lines=line * 22))
    with pytest.raises(ProtocolError, match="longer than 65536"):
        HttpDriver().read_stream(case.url, 0, 500)


@pytest.mark.parametrize(
    "faults",
    [
        (Fault("gzip"),),
        (Fault("content_encoding", value="br"),),
        (Fault("content_encoding", value="identity, gzip"),),
        (Fault("multipart"),),
        (Fault("header_lines", lines=b"Content-Type: multipart/byteranges; boundary=x\r\n"),),
        (Fault("both_framings"),),
        (Fault("transfer_encoding", values=("gzip, chunked",)),),
        (Fault("transfer_encoding", values=("chunked", "chunked")),),
        (Fault("http10"), Fault("chunked")),
        (Fault("content_length", values=("11",)),),
        (Fault("content_length", values=("9",)),),
        (Fault("content_length", values=("10", "11")),),
        (Fault("content_length", values=("+10",)),),
    ],
    ids=repr,
)
def test_a_body_that_is_wrapped_otherwise_than_told_is_a_protocol_error(
    fault_server: FaultServer, faults: tuple[Fault, ...]
) -> None:
    case = fault_server.case(BLOB)
    case.plan += [Fault(fault.kind.name, **fault.params) for fault in faults]
    with pytest.raises(ProtocolError):
        HttpDriver().read_stream(case.url, 0, 10)


def test_identity_may_be_said_and_two_equal_lengths_too(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    case.add(
        Fault("content_encoding", value="Identity"), Fault("content_length", values=("10",) * 2)
    )
    assert read_all(HttpDriver().read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


# Time


def test_an_open_that_cannot_succeed_fails_within_its_deadline(
    fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_OPEN_DEADLINE", 0.3)
    http = HttpDriver(connect_timeout=0.2, idle_timeout=30)
    dripping = fault_server.case(BLOB, Fault("drip", at=-200, pause=0.02, times=EVER))
    hanging = fault_server.case(BLOB, Fault("hang", times=EVER))
    hopping = fault_server.case(BLOB)
    hopping.add(Fault("hang", when=When(after=1)), Fault("redirect", to=hopping.path + "?2"))
    for case in (dripping, hanging, hopping):
        with pytest.raises(BlobTimeoutError):
            http.open(case.url)
    with pytest.raises(BlobTimeoutError):
        http.stat(hanging.url)


def test_an_answer_that_does_not_begin_is_a_timeout_after_the_idle_timeout(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("hang"))
    with pytest.raises(BlobTimeoutError, match=r"no answer within 0\.1 s"):
        HttpDriver(idle_timeout=0.1).read_stream(case.url, 0, 10)


def test_a_head_that_drips_is_not_waited_for_longer_than_the_idle_timeout(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB, Fault("drip", at=-200, pause=0.02))
    with pytest.raises(BlobTimeoutError):
        HttpDriver(idle_timeout=0.2).read_stream(case.url, 0, 10)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_must_be_some_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        HttpDriver(idle_timeout=seconds)
    with pytest.raises(ValueError, match="timeout"):
        HttpDriver(connect_timeout=seconds)


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_a_timeout_may_be_endless(fault_server: FaultServer, secure: bool) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1")) if secure else None
    case = fault_server.case(BLOB, origin=origin)
    http = HttpDriver(
        idle_timeout=float("inf"), connect_timeout=float("inf"), ssl_context=client_context()
    )
    assert http.stat(case.url).size == 1000
    assert read_all(http.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)


# Secrets


def test_no_secret_is_shown_by_errors_infos_and_drivers(fault_server: FaultServer) -> None:
    http = HttpDriver(
        headers={"Authorization": "Bearer CANARY-1", "Cookie": "CANARY-2"},
        proxy=None,
    )
    case = fault_server.case(BLOB)
    url = case.url.replace("//", "//user:CANARY-3@") + "?X-Signature=CANARY-4#CANARY-5"
    info, stream = http.open(url)
    stream.close()
    shown = [repr(http), repr(http.stat(url)), repr(info)]
    faults = [
        *(Fault("status", code=code, reason="CANARY-6") for code in (200, 302, 401, 403, 404, 500)),
        *(Fault(name) for name in ("close_before_answer", "reset_before_answer", "gzip")),
        Fault("locations", values=("http://CANARY-7@x/",)),
        Fault("content_range", values=("bytes CANARY-8",)),
        Fault("no_head", instead=b"CANARY-9"),
        Fault("etag", values=('"other"',)),
        Fault("fin", at=5),
        Fault("stall", at=5),
    ]
    http = HttpDriver(headers={"Authorization": "Bearer CANARY-1"}, idle_timeout=0.1)
    pin = BlobInfo(url, size=1000, etag=BLOB.etag)
    for fault in faults:
        case.plan[:] = [fault]
        close_idle()
        with pytest.raises(OSError) as caught:
            read_all(http.read_stream(url, 0, 10, pin=pin))
        error = caught.value
        shown.append("".join(traceback.format_exception(error)))
        shown.append(repr((error, error.args, vars(error), pickle.dumps(error))))
    assert len(shown) == 3 + 2 * len(faults)
    assert not [text for text in shown if "CANARY" in text]


def test_a_driver_without_secrets_is_pickled_with_its_options(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver(
        headers={"X-Team": "a", "X-Author": "b"}, idle_timeout=7.0, connect_timeout=3.0, proxy=None
    )
    copy = pickle.loads(pickle.dumps(http))
    assert read_all(copy.read_stream(case.url, 0, 10)) == BLOB.read(0, 10)
    assert case.ledger.requests[0].header("X-Team") == "a"
    assert copy._options == http._options
    assert len(pickle.dumps(HttpDriver())) < 300


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Authorization": "CANARY"}},
        {"headers": {"cookie": "CANARY"}},
        {"headers": {"X-Amz-Security-Token": "CANARY"}},
        {"headers": {"x-api-key": "CANARY"}},
        {"headers": {"Private-Token": "CANARY"}},
        {"ssl_context": ssl.create_default_context()},
        {"proxy": "http://user:CANARY@proxy"},
    ],
)
def test_a_driver_with_explicit_secrets_is_not_pickled(options: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(HttpDriver(**options))  # type: ignore[arg-type]
    assert "CANARY" not in str(caught.value)


def test_a_driver_that_met_a_password_in_an_url_is_not_pickled(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    pickle.dumps(http)
    http.stat(case.url.replace("//", "//user:pw@"))
    with pytest.raises(TypeError, match="username or a password"):
        pickle.dumps(http)


def test_streams_say_whether_they_made_a_connection(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    http = HttpDriver()
    streams: list[RawStream] = []
    for _ in range(2):
        stream = http.read_stream(case.url, 0, 10)
        read_all(stream)
        streams.append(stream)
    assert [stream.new_connection for stream in streams] == [True, False]  # type: ignore[attr-defined]


def test_a_response_cut_before_its_head_is_truncated(fault_server: FaultServer) -> None:
    for fault in (Fault("close_before_answer"), Fault("reset_before_answer"), Fault("fin", at=-9)):
        case = fault_server.case(BLOB, fault)
        with pytest.raises(TruncatedBlobError):
            HttpDriver().read_stream(case.url, 0, 10)
