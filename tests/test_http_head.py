"""The head of an answer: what is taken, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobread.http.fields import (
    content_length,
    content_range,
    http_date,
    is_chunked,
    retry_after,
    unsatisfied_total,
)
from blobread.http.head import MAX_LINES, Malformed, parse_head

NAMES = st.text("abcDEF-_.!#09", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=12)


@pytest.mark.parametrize(
    ("line", "minor", "status"),
    [
        ("HTTP/1.1 200 OK", 1, 200),
        ("HTTP/1.0 404 Not Found", 0, 404),
        ("HTTP/1.1 206 ", 1, 206),
        ("HTTP/1.1 206", 1, 206),
        ("HTTP/1.1 599 caf\xe9 au lait", 1, 599),
    ],
)
def test_status_line_is_taken(line: str, minor: int, status: int) -> None:
    head = parse_head(line.encode("latin-1"))
    assert (head.minor, head.status, head.fields) == (minor, status, {})


@pytest.mark.parametrize(
    "line",
    [
        "",
        "HTTP/2 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/0.9 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 600 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1 +20 OK",
        "HTTP/1.1 \xb2\xb2\xb2 OK",
        "HTTP/1.1 200 \x1b[31m",
        " HTTP/1.1 200 OK",
    ],
)
def test_status_line_is_refused(line: str) -> None:
    with pytest.raises(Malformed):
        parse_head(line.encode("latin-1"))


def test_names_are_lowered_and_values_are_stripped_of_blanks() -> None:
    head = parse_head(b'HTTP/1.1 200 OK\r\nETag:\t "x y" \t\r\nX-EMPTY:\r\nx:a:b')
    assert head.fields == {"etag": '"x y"', "x-empty": "", "x": "a:b"}


def test_repeated_fields_are_joined_so_that_none_is_overlooked() -> None:
    head = parse_head(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: x\r\na: 2\r\nA: 1")
    assert head.fields == {"a": "1, 2, 1", "b": "x"}


@pytest.mark.parametrize(
    "lines",
    [
        b"no colon",
        b"Name : value",
        b" Name: value",
        b"A: 1\r\n folded",
        b"A: 1\r\n\tfolded",
        b": no name",
        b"N\xe9: non-ASCII name",
        b"A(b): parenthesis",
        b"A: bare\rCR",
        b"A: bare\nLF",
        b"A: NUL\x00",
        b"A: 1\n\r\nB: 2",
        b"A: 1\r\r\nB: 2",
        b"A: 1\r\n",
    ],
)
def test_malformed_lines_are_refused(lines: bytes) -> None:
    with pytest.raises(Malformed):
        parse_head(b"HTTP/1.1 200 OK\r\n" + lines)


def test_a_head_of_too_many_lines_is_refused() -> None:
    fields = b"".join(b"\r\nA%d: x" % i for i in range(MAX_LINES - 1))
    assert len(parse_head(b"HTTP/1.1 200 OK" + fields).fields) == MAX_LINES - 1
    with pytest.raises(Malformed):
        parse_head(b"HTTP/1.1 200 OK" + fields + b"\r\nB: x")


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans())
def test_a_legal_head_is_read_as_it_was_written(
    lines: list[tuple[str, str]], is_long: bool
) -> None:
    padding = [("padding", "x" * 5000)] if is_long else []
    text = "\r\n".join(["HTTP/1.1 200 OK", *(f"{n}:  {v}" for n, v in lines + padding)])
    expected: dict[str, str] = {}
    for name, value in lines + padding:
        name = name.lower()
        value = value.strip(" \t")
        expected[name] = f"{expected[name]}, {value}" if name in expected else value
    assert parse_head(text.encode("latin-1")).fields == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(raw: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n"):
        try:
            fields = parse_head(prefix + raw).fields
        except Malformed:
            continue
        assert not any(set(n + v) & set("\r\n\0") for n, v in fields.items())


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive", True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.1", "keep-alive, close", False),
        ("1.1", "x-closely", True),
        ("1.0", None, False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_connection_is_kept_alive(version: str, connection: str | None, keeps: bool) -> None:
    line = f"\r\nConnection: {connection}" if connection else ""
    assert parse_head(f"HTTP/{version} 200 OK{line}".encode()).keeps_alive is keeps


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-0/1", (0, 0, 1)),
        ("bytes 5-9/10", (5, 9, 10)),
        ("BYTES 5-9/*", (5, 9, None)),
        ("bytes 0-9223372036854775805/9223372036854775806", (0, 2**63 - 3, 2**63 - 2)),
        ("bytes 0-9223372036854775806/9223372036854775807", (0, 2**63 - 2, 2**63 - 1)),
    ],
)
def test_content_range_is_read(value: str, expected: tuple[int, int, int | None]) -> None:
    assert content_range({"content-range": value}) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes 0-9",
        "bytes=0-9/10",
        "bytes 0-9/10 ",
        "bytes  0-9/10",
        "bytes 0 - 9/10",
        "bytes 0-9 /10",
        "bytes */10",
        "bytes 0-9/10, bytes 0-9/10",
        "items 0-9/10",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes -1-4/10",
        "bytes +0-4/10",
        "bytes 0x0-0x4/10",
        "bytes 0-4/-1",
        "bytes 0-9223372036854775807/*",
        "bytes 0-4/9223372036854775808",
        "bytes 0-4/99999999999999999999",
        "bytes 0-\xb2/10",
        "bytes 1_0-19/20",
    ],
)
def test_content_range_is_refused(value: str) -> None:
    with pytest.raises(Malformed):
        content_range({"content-range": value})


def test_a_206_needs_a_content_range() -> None:
    with pytest.raises(Malformed, match="without"):
        content_range({})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("0", 0), ("007", 7), ("5, 5", 5), ("5,5 ,5", 5), (str(2**63 - 1), 2**63 - 1)],
)
def test_content_length_is_read(value: str | None, expected: int | None) -> None:
    assert content_length({} if value is None else {"content-length": value}) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "+5",
        "0x5",
        "5 5",
        "5, 6",
        "5,",
        "5.0",
        "1e3",
        "\xb2",
        "5, 50",
        str(2**63),
        "9" * 99,
    ],
)
def test_content_length_is_refused(value: str) -> None:
    with pytest.raises(Malformed):
        content_length({"content-length": value})


def test_only_the_transfer_coding_chunked_is_taken_and_only_without_a_length() -> None:
    assert not is_chunked({})
    assert is_chunked({"transfer-encoding": "Chunked"})
    for coding in ("", "identity", "gzip, chunked", "chunked, chunked", "chunked;q=1", "xchunked"):
        with pytest.raises(Malformed):
            is_chunked({"transfer-encoding": coding})
    with pytest.raises(Malformed, match="both"):
        is_chunked({"transfer-encoding": "chunked", "content-length": "5"})


@pytest.mark.parametrize(
    "value", [None, "bytes */", "bytes */*", "bytes 0-1/2", f"bytes */{2**63}"]
)
def test_a_416_that_does_not_tell_the_size_is_refused(value: str | None) -> None:
    with pytest.raises(Malformed):
        unsatisfied_total({} if value is None else {"content-range": value})


def test_dates_are_read_in_the_one_form_that_servers_may_send() -> None:
    date = http_date("Sun, 06 Nov 1994 08:49:37 GMT")
    assert date is not None
    assert date.isoformat() == "1994-11-06T08:49:37+00:00"
    for other in (
        "",
        "0",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
    ):
        assert http_date(other) is None


def test_retry_after_is_seconds_or_a_date_and_garbage_is_none() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": "0"}) == 0
    assert retry_after({"retry-after": "120"}) == 120
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0
    ahead = retry_after({"retry-after": "Fri, 31 Dec 9998 23:59:59 GMT"})
    assert ahead is not None and ahead > 1e9
    for garbage in ("-1", "1.5", "soon", "1e9", "9" * 30, "\xb2"):
        assert retry_after({"retry-after": garbage}) is None
