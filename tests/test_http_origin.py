"""URLs: taken apart, quoted, and shown without their secrets."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobread.errors import InvalidPathError
from blobread.http.origin import Url, _parse, parse_url, redact


@pytest.mark.parametrize(
    ("text", "origin", "authority", "target"),
    [
        ("http://host", ("http", "host", 80), "host", "/"),
        (
            "HTTPS://Host.Example:443/A?b=C#d",
            ("https", "host.example", 443),
            "host.example",
            "/A?b=C",
        ),
        ("http://host:8080?q", ("http", "host", 8080), "host:8080", "/?q"),
        ("http://[::1]:81/x", ("http", "::1", 81), "[::1]:81", "/x"),
        ("http://[0:0::1]/x", ("http", "::1", 80), "[::1]", "/x"),
        ("http://b\xfccher.example/\xfc", ("http", "xn--bcher-kva.example", 80), None, "/%C3%BC"),
        ('http://h/a%20b/%zz|c"d', ("http", "h", 80), "h", "/a%20b/%zz%7Cc%22d"),
        ("http://h/a?sig=x%2Fy+z==&a[]=1", ("http", "h", 80), "h", "/a?sig=x%2Fy+z==&a[]=1"),
        ("http://h//double/../dots", ("http", "h", 80), "h", "//double/../dots"),
        ("http://under_score.example/", ("http", "under_score.example", 80), None, "/"),
    ],
)
def test_url_is_taken_apart(
    text: str, origin: tuple[str, str, int], authority: str | None, target: str
) -> None:
    url = parse_url(text)
    assert url.origin == origin
    assert url.authority == (authority or origin[1])
    assert url.target == target
    assert url.text == f"{url.scheme}://{url.authority}{target}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host/path",
        "//host/path",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://:80/",
        "http://host:0/",
        "http://host:65536/",
        "http://host:-1/",
        "http://host:8o/",
        "http://ho st/",
        "http://host/a b",
        "http://host/a\tb",
        "http://host/a\r\nX: y",
        "http://host/\0",
        "http://host/\x7f",
        "http://host/\x85",
        "http://[::1/",
        "http://[::g]/",
        "http://[fe80::1%25eth0]/",
        "http://ho%73t/",
        "http://host\\@evil/",
        "http://a,b/",
        " http://host/",
        "http://host/\n",
    ],
)
def test_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidPathError):
        parse_url(text)


def test_userinfo_becomes_basic_authentication_and_is_no_part_of_the_text() -> None:
    url = parse_url("http://us%40er:p%3Ass@host/x")
    assert url.authorization == "Basic dXNAZXI6cDpzcw=="
    assert url.text == "http://host/x"
    assert parse_url("http://user@host/").authorization == "Basic dXNlcjo="


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host/path", "http://host/path"),
        ("name", "name"),
        ("http://u:p@host/path", "http://host/path"),
        ("http://u:p@q@host/path", "http://host/path"),
        ("http://host/path?X-Sig=abc", "http://host/path?..."),
        ("http://host/path#fragment", "http://host/path"),
        ("http://u:p@host?sig=1#x", "http://host?..."),
    ],
)
def test_redacted_url_shows_neither_userinfo_nor_query(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://user:CANARY@host:x/",
        "http://user:CANARY?x@host/",
        "http://user:CANARY#x@host/",
        "http://user:CANARY/x@host/",
        "http://user:CAN ARY@host/CANARY",
        "ftp://user:CANARY@host/",
        "user:CANARY@host",
        "http://host/a b?CANARY",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(text: str) -> None:
    with pytest.raises(InvalidPathError) as caught:
        parse_url(text)
    assert "CANARY" not in f"{caught.value!r} {caught.value.__cause__!r}".replace(" ", "")


@given(st.text(max_size=30))
def test_whatever_is_taken_makes_a_request_line_of_plain_ascii(rest: str) -> None:
    try:
        url = parse_url(f"http://{rest}")
    except InvalidPathError:
        return
    line = f"{url.authority} {url.target}"
    assert line.isascii() and line.isprintable() and line.count(" ") == 1
    assert parse_url(url.text).text == url.text


def _taken_apart(parse: Callable[[str], Url], text: str) -> object:
    try:
        url = parse(text)
    except InvalidPathError as error:
        return str(error)
    return [getattr(url, name) for name in Url.__slots__]


_AUTHORITIES = st.sampled_from(
    [
        "h",
        "H:80",
        "h:0",
        "h:x",
        "[::1]:8",
        "[::1",
        "u:p@h",
        "u@",
        "",
        "h\\x",
        "a%b",
        "h:443",
        "b\xfc",
    ]
)


@given(
    st.sampled_from(["http://", "https://", "HTTP://", "ftp://", "http:/"]),
    _AUTHORITIES,
    st.text("/?#@:a%[]|\\ \n\t\x7f;\xfc\u2028&=", max_size=8),
)
def test_a_plain_url_is_taken_apart_as_any_other_is(scheme: str, who: str, rest: str) -> None:
    text = f"{scheme}{who}{rest}"
    assert _taken_apart(parse_url, text) == _taken_apart(_parse, text)
    assert _taken_apart(parse_url, f"{scheme}{who}/{rest}") == _taken_apart(
        _parse, f"{scheme}{who}/{rest}"
    )
