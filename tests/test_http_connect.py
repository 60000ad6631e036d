"""New connections: addresses, proxies, TLS, and the time that all of it may take."""

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from faults import Blob, Fault, FaultServer
from faults.certificate import client_context, server_context
from streams import read_all

from blobread.drivers.http import HttpDriver
from blobread.errors import (
    AuthenticationError,
    BlobError,
    BlobTimeoutError,
    ProtocolError,
    TruncatedBlobError,
)
from blobread.http import dial as dialling
from blobread.http.client import Client
from blobread.http.connection import Route
from blobread.http.dial import dial
from blobread.http.origin import parse_url
from blobread.http.pool import close_idle
from blobread.http.proxy import Proxy, environment_proxy, parse_proxy

BLOB = Blob(100_000)
NOWHERE = "127.0.0.1:1"  # a port that nobody listens at


@contextmanager
def proxy_server(
    answer: Callable[[socket.socket, bytes], None],
) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that gives each connection and its first head to `answer`; yields its address."""
    heads: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            sock, _ = listener.accept()
            with sock:
                head = b""
                while b"\r\n\r\n" not in head and (data := sock.recv(65536)):
                    head += data
                if not head:
                    return
                heads.append(head)
                answer(sock, head)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", heads
    finally:
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        listener.close()


def relay(sock: socket.socket, head: bytes) -> None:
    """Open the tunnel that was asked for, and pass bytes both ways until one side ends."""
    host, port = head.split()[1].rsplit(b":", 1)
    with socket.create_connection((host.decode(), int(port))) as far:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        back = threading.Thread(target=pump, args=(far, sock))
        back.start()
        pump(sock, far)
        back.join()


def forward(sock: socket.socket, head: bytes) -> None:
    """Answer a request for an absolute URL as its origin would, from three bytes."""
    fields = b"Content-Range: bytes 0-2/3\r\nContent-Length: 3\r\n"
    sock.sendall(b"HTTP/1.1 206 Partial Content\r\n" + fields + b"\r\nabc")


def test_https_goes_through_the_tunnel_of_a_proxy_that_sees_no_secret(
    fault_server: FaultServer,
) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1"))
    case = fault_server.case(BLOB, origin=origin)
    with proxy_server(relay) as (address, heads):
        http = HttpDriver(
            ssl_context=client_context(),
            proxy=f"http://me:pw@{address}",
            headers={"Authorization": "Bearer CANARY"},
        )
        assert read_all(http.read_stream(case.url, 7, 50_000)) == BLOB.read(7, 50_007)
        close_idle()
    [head] = heads
    assert head.startswith(f"CONNECT {origin.name} HTTP/1.1\r\nHost: {origin.name}\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6cHc=\r\n" in head
    assert b"CANARY" not in head and b"/c1/" not in head
    [request] = case.ledger.requests
    assert request.header("Proxy-Authorization") is None
    assert request.header("Authorization") == "Bearer CANARY"


def test_http_is_asked_of_a_proxy_by_an_absolute_url() -> None:
    with proxy_server(forward) as (address, heads):
        http = HttpDriver(proxy=f"me:pw@{address}")
        info, stream = http.open("http://origin.invalid:8080/x?y")
        assert read_all(stream) == b"abc"
        assert info.size == 3
    [head] = heads
    assert head.startswith(
        b"GET http://origin.invalid:8080/x?y HTTP/1.1\r\nHost: origin.invalid:8080\r\n"
    )
    assert b"\r\nProxy-Authorization: Basic bWU6cHc=\r\n" in head


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_server(forward) as (address, heads):
        monkeypatch.setenv("http_proxy", f"http://{address}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert read_all(HttpDriver().read_stream("http://origin.invalid/", 0, 3)) == b"abc"
        with pytest.raises(BlobError):
            HttpDriver(proxy=None).read_stream(f"http://{NOWHERE}/", 0, 3)
    assert len(heads) == 1


def test_the_environment_says_which_proxy_is_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert environment_proxy(parse_url("http://a.example/")) is None
    monkeypatch.setenv("https_proxy", "http://user:p%40ss@proxy:3128")
    monkeypatch.setenv("http_proxy", "proxy")
    monkeypatch.setenv("no_proxy", "b.example,.c.example")
    assert environment_proxy(parse_url("http://a.example/")) == Proxy("proxy", 80, None)
    secure = environment_proxy(parse_url("https://a.example/"))
    assert secure == Proxy("proxy", 3128, "Basic dXNlcjpwQHNz")
    assert "dXNl" not in repr(secure) and "dXNl" not in repr(Route("https", "h", 1, secure, None))
    assert environment_proxy(parse_url("http://b.example/")) is None
    assert environment_proxy(parse_url("https://x.c.example:444/")) is None


@pytest.mark.parametrize(
    "text", ["socks5://me:CANARY@h:1", "https://me:CANARY@h:1", "http://", "h:x"]
)
def test_another_kind_of_proxy_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_proxy(text)
    with pytest.raises(ValueError):
        HttpDriver(proxy=text)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (b"HTTP/1.1 407 Who\r\n\r\n", AuthenticationError, 407),
        (b"HTTP/1.1 403 No\r\n\r\n", BlobError, 403),
        (b"HTTP/1.1 302 Go\r\nLocation: http://evil/\r\n\r\n", BlobError, 302),
        (b"HTTP/1.1 200 OK\r\n\r\nsurplus", ProtocolError, None),
        (b"SSH-2.0-x\r\n\r\n", ProtocolError, None),
        (b"", BlobError, None),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_a_precise_error(
    answer: bytes, kind: type[BlobError], status: int | None
) -> None:
    proxy = proxy_server(lambda sock, head: sock.sendall(answer))
    with proxy as (address, _), pytest.raises(BlobError) as caught:
        HttpDriver(proxy=f"http://{address}").open("https://origin.invalid/x?secret")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert "secret" not in str(caught.value)


def test_a_certificate_that_is_not_trusted_is_an_error_and_no_request_is_sent(
    fault_server: FaultServer,
) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1"))
    case = fault_server.case(BLOB, origin=origin)
    for call in (HttpDriver().open, HttpDriver().stat):
        with pytest.raises(BlobError, match="certificate") as caught:
            call(case.url)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert not case.ledger.requests


def test_a_certificate_of_another_name_is_an_error(fault_server: FaultServer) -> None:
    origin = fault_server.listen(tls=server_context("other.example"))
    case = fault_server.case(BLOB, origin=origin)
    with pytest.raises(BlobError, match="certificate"):
        HttpDriver(ssl_context=client_context()).open(case.url)
    assert not case.ledger.requests


def test_tls_with_a_server_that_speaks_plain_http_is_an_error(fault_server: FaultServer) -> None:
    origin = fault_server.listen(plan=(Fault("babble", data=b"HTTP/1.1 400 Bad\r\n\r\n"),))
    with pytest.raises(BlobError, match="TLS") as caught:
        HttpDriver().open(origin.url.replace("http:", "https:"))
    assert isinstance(caught.value.__cause__, ssl.SSLError)


def test_a_body_over_tls_goes_into_the_memory_of_the_caller(fault_server: FaultServer) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1"))
    case = fault_server.case(BLOB, origin=origin)
    http = HttpDriver(ssl_context=client_context())
    for _ in range(3):
        assert read_all(http.read_stream(case.url, 100, 90_000)) == BLOB.read(100, 90_100)
    assert {request.connection for request in case.ledger.requests} == {1}


@pytest.mark.parametrize("ending", ["fin", "goodbye"])
def test_a_tls_connection_that_ends_early_is_truncated(
    fault_server: FaultServer, ending: str
) -> None:
    origin = fault_server.listen(tls=server_context("127.0.0.1"))
    case = fault_server.case(BLOB, Fault(ending, at=60_000), origin=origin)
    stream = HttpDriver(ssl_context=client_context()).read_stream(case.url, 0, 90_000)
    with pytest.raises(TruncatedBlobError):
        read_all(stream)


def test_a_refused_connection_keeps_its_errno() -> None:
    for call in (HttpDriver().open, HttpDriver().stat):
        with pytest.raises(BlobError, match=rf"no connection to {NOWHERE}:") as caught:
            call(f"http://{NOWHERE}/x?secret")
        assert caught.value.errno == errno.ECONNREFUSED
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_a_name_that_does_not_resolve_is_an_error() -> None:
    with pytest.raises(BlobError, match="no connection to") as caught:
        HttpDriver().open("http://no-such-name.invalid/")
    assert isinstance(caught.value.__cause__, socket.gaierror)


@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_accepts_and_says_nothing_is_a_timeout(
    fault_server: FaultServer, secure: bool
) -> None:
    origin = fault_server.listen(plan=(Fault("ignore"),))
    url = origin.url.replace("http:", "https:") if secure else origin.url
    http = HttpDriver(connect_timeout=0.2, idle_timeout=0.2, ssl_context=client_context())
    with pytest.raises(BlobTimeoutError):
        http.open(url)


def test_a_server_that_does_not_accept_is_a_timeout(fault_server: FaultServer) -> None:
    origin = fault_server.listen(listening=False)
    origin.jam()
    with pytest.raises(BlobTimeoutError, match="connect timeout"):
        HttpDriver(connect_timeout=0.2).open(origin.url)


def test_a_look_up_that_hangs_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    real = socket.getaddrinfo

    def hang(host: str, port: int, *rest: int) -> object:
        if rest[-1] & socket.AI_NUMERICHOST:
            return real(host, port, *rest)
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "again")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    before = set(threading.enumerate())
    try:
        with pytest.raises(TimeoutError, match="resolved"):
            dial("slow.example", 80, time.monotonic() + 0.05)
    finally:
        over.set()
        for thread in set(threading.enumerate()) - before:
            thread.join()


def addresses(*hosts: tuple[str, int]) -> Callable[..., object]:
    """A look-up that finds these, in this order."""
    return lambda *_: [
        (
            socket.AF_INET6 if ":" in host else socket.AF_INET,
            socket.SOCK_STREAM,
            0,
            "",
            (host, port),
        )
        for host, port in hosts
    ]


def test_the_first_address_that_answers_is_taken(
    fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    jammed = fault_server.listen(listening=False)
    jammed.jam()
    found = addresses(("127.0.0.1", 1), jammed.address, fault_server.origin.address)
    monkeypatch.setattr(socket, "getaddrinfo", found)
    with dial("several.example", 80, time.monotonic() + 10) as sock:
        assert sock.getpeername() == fault_server.origin.address
        assert sock.getblocking() and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_first_failure_is_told_when_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses(("127.0.0.1", 1), ("127.0.0.1", 2)))
    with pytest.raises(ConnectionRefusedError):
        dial("several.example", 80, time.monotonic() + 10)


def test_families_take_turns_and_the_preferred_one_begins() -> None:
    look_up = addresses(("::1", 1), ("::2", 1), ("::3", 1), ("1.1.1.1", 1), ("2.2.2.2", 1))
    found = [dialling._Address(*entry) for entry in look_up()]  # type: ignore[attr-defined]
    assert [address.address[0] for address in dialling._alternate(found)] == [
        *("::1", "1.1.1.1", "::2", "2.2.2.2", "::3")
    ]


def test_the_environment_is_asked_again_for_a_new_url_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "no_proxy", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = Client("http")
    monkeypatch.setattr("blobread.http.client._FRESH", 1e9)
    assert client.target("http://a.example/1").route.proxy is None
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert client.target("http://a.example/2").route.proxy is None
    assert client.target("http://b.example/1").route.proxy == Proxy("proxy", 3128, None)
    monkeypatch.setattr("blobread.http.client._FRESH", 0.0)
    other = Client("http")
    assert other.target("http://a.example/1").route.proxy is not None
    monkeypatch.delenv("http_proxy")
    assert other.target("http://a.example/2").route.proxy is None


def test_userinfo_is_sent_with_the_url_that_has_it_only() -> None:
    client = Client("http")
    plain = client.target("http://a.example/1")
    secret = client.target("http://user:word@a.example/2")
    assert "Authorization" in secret.beginning
    assert "Authorization" not in plain.beginning + client.target("http://a.example/3").beginning
