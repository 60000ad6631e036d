"""Redirects: how far they are followed, and what each hop gets to see."""

import re

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, When
from streams import read_all

from blobread.drivers.http import HttpDriver
from blobread.errors import BlobError, UnsafeRedirectError
from blobread.http.origin import parse_url
from blobread.http.redirect import UnsafeLocation, follow

BLOB = Blob(1000)
SECRETS = {"Authorization": "Bearer CANARY-1", "Cookie": "c=CANARY-2", "X-Api-Key": "CANARY-3"}


def seen(case: Case) -> list[tuple[str, bool]]:
    """Each request: its origin, and whether a secret came with it."""
    return [
        (request.origin, "CANARY" in str((request.target, request.headers)))
        for request in case.ledger.requests
    ]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_gets_none_of_the_headers(
    fault_server: FaultServer, code: int
) -> None:
    other = fault_server.listen("127.0.0.2")
    case = fault_server.case(BLOB)
    home = case.base.removeprefix("http://")
    case.add(
        Fault("redirect", to=other.url + case.path, code=code, times=EVER, when=When(host=home))
    )
    http = HttpDriver(headers=SECRETS)
    info, stream = http.open(case.url)
    assert read_all(stream) == BLOB.read(0, 1000)
    assert http.stat(case.url).size == info.size == 1000
    assert read_all(http.read_stream(case.url, 100, 50, pin=info)) == BLOB.read(100, 150)
    assert seen(case) == [(home, True), (other.name, False)] * 3
    assert [request.method for request in case.ledger.requests][2:4] == ["HEAD", "HEAD"]
    assert case.ledger.requests[-1].header("Range") == "bytes=100-149"


def test_another_port_of_the_same_host_is_another_origin(fault_server: FaultServer) -> None:
    other = fault_server.listen()
    case = fault_server.case(BLOB, Fault("redirect", to="placeholder"))
    case.plan[:] = [Fault("redirect", to=other.url + case.path)]
    read_all(HttpDriver(headers=SECRETS).read_stream(case.url, 0, 10))
    assert [secret for _, secret in seen(case)] == [True, False]


def test_userinfo_of_the_url_stays_at_its_origin(fault_server: FaultServer) -> None:
    other = fault_server.listen("127.0.0.2")
    case = fault_server.case(BLOB)
    case.add(
        Fault("redirect", to=case.path + "?second", when=When(nth=1)),
        Fault("redirect", to=other.url + case.path, when=When(nth=2)),
    )
    read_all(HttpDriver().read_stream(case.url.replace("//", "//user:pw@"), 0, 10))
    assert [request.header("Authorization") for request in case.ledger.requests] == [
        "Basic dXNlcjpwdw==",
        "Basic dXNlcjpwdw==",
        None,
    ]


def test_nothing_is_sent_to_the_own_origin_once_a_stranger_leads_back_to_it(
    fault_server: FaultServer,
) -> None:
    other = fault_server.listen("127.0.0.2")
    case = fault_server.case(BLOB)
    case.add(
        Fault("redirect", to=other.url + case.path, when=When(nth=1)),
        Fault("redirect", to=case.url + "?chosen-by-a-stranger", when=When(nth=2)),
        Fault("redirect", to=case.path + "?at-home", when=When(nth=3)),
    )
    read_all(HttpDriver(headers=SECRETS).read_stream(case.url, 0, 10))
    assert [secret for _, secret in seen(case)] == [True, False, False, False]


@pytest.mark.parametrize("hops", [1, 5])
def test_up_to_five_hops_are_followed(fault_server: FaultServer, hops: int) -> None:
    case = fault_server.case(BLOB, Fault("next_hop", times=hops))
    assert read_all(HttpDriver().read_stream(case.url, 5, 10)) == BLOB.read(5, 15)
    assert len(case.ledger.requests) == hops + 1


def test_the_sixth_hop_is_refused(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("next_hop", times=6))
    with pytest.raises(UnsafeRedirectError, match="more than 5"):
        HttpDriver().read_stream(case.url, 5, 10)
    assert len(case.ledger.requests) == 6


def test_a_loop_is_refused_as_soon_as_it_closes(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    case.add(
        Fault("redirect", to=case.path + "?there", when=When(nth=1)),
        Fault("redirect", to=case.path, when=When(nth=2)),
    )
    with pytest.raises(UnsafeRedirectError, match="circle"):
        HttpDriver().read_stream(case.url, 0, 10)
    assert len(case.ledger.requests) == 2


def test_every_read_starts_at_the_canonical_url(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault("redirect", to=case.path + "?expires", code=301, when=When(nth=1)))
    http = HttpDriver()
    for _ in range(2):
        read_all(http.read_stream(case.url, 0, 10))
    assert [request.target for request in case.ledger.requests] == [
        case.path,
        case.path + "?expires",
        case.path,
    ]


def test_the_short_body_of_a_redirect_is_drained_and_its_connection_is_used_again(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    case.add(Fault("redirect", to=case.path + "?2", text=b"x" * 65536))
    read_all(HttpDriver().read_stream(case.url, 0, 10))
    assert [request.connection for request in case.ledger.requests] == [1, 1]


def test_the_long_body_of_a_redirect_is_not_waited_for(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    case.add(
        Fault("redirect", to=case.path + "?2", text=b"x" * 65537, when=When(nth=1)),
        Fault("stall", at=10, when=When(nth=1)),
    )
    read_all(HttpDriver().read_stream(case.url, 0, 10))
    assert [request.connection for request in case.ledger.requests] == [1, 2]


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/x", "https://host/x"),
        ("x?y#z", "https://host/a/x?y"),
        ("../x", "https://host/x"),
        ("?q=1", "https://host/a/b?q=1"),
        ("//other/x", "https://other/x"),
        ("https://other:444/x", "https://other:444/x"),
        ("HTTPS://OTHER/x", "https://other/x"),
        ("/\xc3\xbc", "https://host/%C3%BC"),
        ("#fragment", "https://host/a/b?c"),
    ],
)
def test_location_leads_to(location: str, leads_to: str) -> None:
    assert follow(parse_url("https://host/a/b?c"), location).text == leads_to


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://host/x",
        "file:///etc/passwd",
        "ftp://host/x",
        "data:,x",
        "javascript:alert(1)",
        "https://user:pw@host/x",
        "https://user@host/x",
        "https://@host/x",
        "https:///x",
        "https://",
        "https://ho st/",
        "/a b",
        "/a\tb",
        "/a\\b",
        "\\\\host\\x",
        "https://host\\@evil/",
        "/a\x7fb",
        "/a\x85b",
        "/\xff",
        "/x, /y",
        "https://host:99999/",
        "https://[::1/",
        "/" + "x" * 8192,
    ],
)
def test_location_is_not_followed(location: str | None) -> None:
    with pytest.raises(UnsafeLocation) as caught:
        follow(parse_url("https://host/a/b"), location)
    assert not location or location[:60] not in str(caught.value)


@pytest.mark.parametrize(
    "values", [(), ("",), ("/x", "/y"), ("/same", "/same"), ("/x", ""), ("file:///etc/passwd",)]
)
def test_a_refused_redirect_is_an_error_of_its_own(
    fault_server: FaultServer, values: tuple[str, ...]
) -> None:
    case = fault_server.case(BLOB, Fault("locations", values=values))
    with pytest.raises(UnsafeRedirectError) as caught:
        HttpDriver().read_stream(case.url, 0, 10)
    assert caught.value.status == 302
    assert len(case.ledger.requests) == 1


@pytest.mark.parametrize("code", [300, 304, 305, 306, 399])
def test_other_3xx_are_not_followed(fault_server: FaultServer, code: int) -> None:
    case = fault_server.case(BLOB, Fault("status", code=code, headers=(("Location", "/x"),)))
    with pytest.raises(BlobError, match=re.escape(f"answered {code}")) as caught:
        HttpDriver().read_stream(case.url, 0, 10)
    assert caught.value.status == code
