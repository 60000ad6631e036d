"""The fault server does what it says: asked by a bare socket, which hides nothing."""

import socket
import ssl
import threading

import pytest
from faults import EVER, KINDS, Blob, Case, Fault, FaultServer, Origin, When, difference
from faults.certificate import client_context, server_context

BLOB = Blob(1000)

# Rows of the catalogue that have a kind of their own. Others are a use of one: 18 and 33 are
# `status`, 20 is `content_range` without any, 49 and 50 are `fin` for some or all times; and 1
# and 4 are what an origin does, not what its answers do.
ROWS = {2, 3, 5, 6, 12, 17, 19, *range(21, 33), *range(34, 49), 51, 52, 58, 59, 60, 61}


def name_of(parameter: object) -> str:
    return repr(parameter) if isinstance(parameter, Fault) else ""


def dial(origin: Origin) -> socket.socket:
    return socket.create_connection(origin.address, timeout=10)


def receive(sock: socket.socket) -> bytes:
    """All that comes until the end; a RST shows as an error."""
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def request(case: Case, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {case.path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def ask(server: FaultServer, case: Case, *lines: str, method: str = "GET") -> tuple[bytes, bytes]:
    """Head and body of the answer, to the end of the connection."""
    with dial(server.origin) as sock:
        sock.sendall(request(case, *lines, "Connection: close", method=method))
        head, _, body = receive(sock).partition(b"\r\n\r\n")
        return head, body


def test_every_32_bytes_are_found_nowhere_else() -> None:
    seen: set[bytes] = set()
    for version in (1, 2):
        for seed in (0, 1):
            data = Blob(1 << 16, seed, version).read(0, 1 << 16)
            seen.update(data[i : i + 8] for i in range(len(data) - 7))
    assert len(seen) == 4 * ((1 << 16) - 7)


@pytest.mark.parametrize("offset", [0, 31, 33, (16 << 20) - 5, 2**31 - 1, 2**62 - 40])
def test_any_part_of_a_blob_is_the_same_as_its_bytes_one_by_one(offset: int) -> None:
    blob = Blob(2**62)
    part = blob.read(offset, offset + 40)
    assert len(part) == 40
    assert part == b"".join(blob.read(i, i + 1) for i in range(offset, offset + 40))


def test_a_blob_ends_at_its_size() -> None:
    assert len(BLOB.read(990, 2000)) == 10
    assert BLOB.read(1000, 2000) == b""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (BLOB.read(100, 200), None),
        (BLOB.read(108, 208), "from offset 100 on: these are the bytes of version 1 at offset 108"),
        (BLOB.read(100, 150) + Blob(1000, version=2).read(150, 200), "from offset 150 on: these"),
        (BLOB.read(100, 150) + bytes(50), "from offset 150 on: foreign bytes 0000"),
    ],
)
def test_wrong_bytes_betray_where_they_come_from(data: bytes, told: str | None) -> None:
    found = difference(BLOB, 100, data)
    assert found == told if told is None else found is not None and found.startswith(told)


def test_bytes_beyond_the_end_are_told() -> None:
    found = difference(BLOB, 990, BLOB.read(990, 1000) + b"xy")
    assert found == "2 bytes beyond the end of the blob"


class TestHonest:
    """Without a fault, the server is a correct one."""

    def test_whole_blob(self, fault_server: FaultServer) -> None:
        head, body = ask(fault_server, fault_server.case(BLOB))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 1000" in head
        assert body == BLOB.read(0, 1000)

    @pytest.mark.parametrize(("first", "last"), [(0, 0), (10, 19), (990, 5000), (0, 10**9)])
    def test_range(self, fault_server: FaultServer, first: int, last: int) -> None:
        head, body = ask(fault_server, fault_server.case(BLOB), f"Range: bytes={first}-{last}")
        assert head.startswith(b"HTTP/1.1 206 Partial Content\r\n")
        assert f"Content-Range: bytes {first}-{min(last, 999)}/1000".encode() in head
        assert f"ETag: {BLOB.etag}".encode() in head
        assert body == BLOB.read(first, last + 1)

    def test_range_in_a_blob_of_exbibytes(self, fault_server: FaultServer) -> None:
        blob = Blob(2**62)
        asked = f"Range: bytes={2**62 - 10}-{2**63}"
        head, body = ask(fault_server, fault_server.case(blob), asked)
        assert f"bytes {2**62 - 10}-{2**62 - 1}/{2**62}".encode() in head
        assert body == blob.read(2**62 - 10, 2**62)

    def test_range_beyond_the_end(self, fault_server: FaultServer) -> None:
        head, body = ask(fault_server, fault_server.case(BLOB), "Range: bytes=1000-1001")
        assert head.startswith(b"HTTP/1.1 416 ")
        assert b"Content-Range: bytes */1000" in head
        assert body == b""

    def test_head_has_no_body(self, fault_server: FaultServer) -> None:
        head, body = ask(fault_server, fault_server.case(BLOB), method="HEAD")
        assert b"Content-Length: 1000" in head
        assert body == b""

    @pytest.mark.parametrize(("tag", "status"), [(BLOB.etag, b"200"), ('"other"', b"412")])
    def test_if_match(self, fault_server: FaultServer, tag: str, status: bytes) -> None:
        head, _ = ask(fault_server, fault_server.case(BLOB), f"If-Match: {tag}")
        assert head.split()[1] == status

    def test_unknown_path(self, fault_server: FaultServer) -> None:
        case = fault_server.case(BLOB)
        fault_server.forget(case)
        assert ask(fault_server, case)[0].startswith(b"HTTP/1.1 404 ")

    def test_many_requests_on_one_connection(self, fault_server: FaultServer) -> None:
        case = fault_server.case(Blob(10))
        with dial(fault_server.origin) as sock, sock.makefile("rb") as answers:
            for _ in range(20):
                sock.sendall(request(case))
                while answers.readline() != b"\r\n":
                    pass
                assert answers.read(10) == Blob(10).read(0, 10)
        assert {x.connection for x in case.ledger.requests} == {1}
        assert [x.nth for x in case.ledger.requests] == list(range(1, 21))

    def test_tls(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(tls=server_context("127.0.0.1"))
        case = fault_server.case(BLOB, origin=origin)
        with client_context().wrap_socket(dial(origin), server_hostname="127.0.0.1") as sock:
            sock.sendall(request(case, "Connection: close"))
            received = sock.recv(1 << 16) + sock.recv(1 << 16)
        assert case.url.startswith("https://127.0.0.1:")
        assert received.endswith(BLOB.read(0, 1000))

    def test_origins_are_different_hosts(self, fault_server: FaultServer) -> None:
        other = fault_server.listen("127.0.0.2")
        case = fault_server.case(BLOB, origin=other)
        with dial(other) as sock:
            sock.sendall(request(case, "Connection: close"))
            assert receive(sock).endswith(BLOB.read(0, 1000))
        assert case.ledger.requests[0].origin == other.name == f"127.0.0.2:{other.address[1]}"


class TestPlan:
    """A fault acts when it should, as often as it should, and that is written down."""

    def statuses(self, server: FaultServer, case: Case, count: int) -> list[bytes]:
        return [ask(server, case)[0].split()[1] for _ in range(count)]

    @pytest.mark.parametrize(("times", "refused"), [(1, 1), (2, 2), (EVER, 4)])
    def test_times(self, fault_server: FaultServer, times: float, refused: int) -> None:
        fault = Fault("status", code=503, times=times)
        case = fault_server.case(BLOB, fault)
        assert self.statuses(fault_server, case, 4) == [b"503"] * refused + [b"200"] * (4 - refused)
        assert case.ledger.count(fault) == refused
        assert [x.fault for x in case.ledger.firings] == [fault] * refused

    @pytest.mark.parametrize(
        ("when", "refused"), [(When(nth=2), {2}), (When(after=2), {3, 4}), (When(), {1, 2, 3, 4})]
    )
    def test_which_request(self, fault_server: FaultServer, when: When, refused: set[int]) -> None:
        case = fault_server.case(BLOB, Fault("status", code=503, times=EVER, when=when))
        found = self.statuses(fault_server, case, 4)
        assert {i + 1 for i, status in enumerate(found) if status == b"503"} == refused

    @pytest.mark.parametrize(
        ("when", "lines", "method"),
        [
            (When(method="HEAD"), (), "HEAD"),
            (When(covers=15), ("Range: bytes=10-19",), "GET"),
            (When(header="If-Match"), (f"If-Match: {BLOB.etag}",), "GET"),
            (When(connection=2), (), "GET"),
        ],
    )
    def test_what_request(
        self, fault_server: FaultServer, when: When, lines: tuple[str, ...], method: str
    ) -> None:
        case = fault_server.case(BLOB, Fault("status", code=503, when=when))
        other = ask(fault_server, case, "Range: bytes=20-29")
        meant = ask(fault_server, case, *lines, method=method)
        assert (other[0].split()[1], meant[0].split()[1]) == (b"206", b"503")

    def test_a_fault_that_never_acts_fails_the_test(self) -> None:
        with FaultServer() as server:
            ask(server, server.case(BLOB, Fault("fin", at=5000)))
        with pytest.raises(AssertionError, match=r"never acted.*Fault\('fin', at=5000\)"):
            server.check()

    def test_a_connection_fault_that_never_acts_fails_the_test(self) -> None:
        with FaultServer() as server:
            server.listen(plan=(Fault("close_on_accept"),))
        with pytest.raises(AssertionError, match="close_on_accept"):
            server.check()

    def test_an_error_in_the_server_fails_the_test(self) -> None:
        with FaultServer() as server:
            ask(server, server.case(BLOB, Fault("status", code=500, headers=("no pair",))))
        with pytest.raises(BaseExceptionGroup, match="the fault server itself"):
            server.check()

    @pytest.mark.parametrize(
        ("name", "params"), [("fin", {"size": 1}), ("status", {}), ("status", {"at": 1, "code": 1})]
    )
    def test_a_fault_with_wrong_parameters_is_refused_at_once(
        self, name: str, params: dict[str, int]
    ) -> None:
        with pytest.raises(TypeError):
            Fault(name, **params)  # type: ignore[arg-type]

    def test_the_rows_of_the_catalogue_that_have_a_kind(self) -> None:
        assert {x.number for x in KINDS.values()} == ROWS

    def test_a_blob_may_change_between_requests(self, fault_server: FaultServer) -> None:
        case = fault_server.case(BLOB)
        case.blob = Blob(500, version=2)
        assert ask(fault_server, case)[1] == Blob(500, version=2).read(0, 500)


class TestConnections:
    """Connections that die, or are silent."""

    def test_refused_until_it_listens(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(listening=False)
        with pytest.raises(ConnectionRefusedError):
            dial(origin)
        origin.listen()
        dial(origin).close()

    def test_full_backlog(self, fault_server: FaultServer) -> None:
        origin = fault_server.listen(listening=False)
        origin.jam()
        with pytest.raises(TimeoutError):
            socket.create_connection(origin.address, timeout=0.05)

    @pytest.mark.parametrize("name", ["close_on_accept", "close_before_answer"])
    def test_closed_without_a_word(self, fault_server: FaultServer, name: str) -> None:
        on_accept = KINDS[name].phase == "connect"
        origin = fault_server.listen(plan=(Fault(name),) if on_accept else ())
        case = fault_server.case(BLOB, *(() if on_accept else (Fault(name),)), origin=origin)
        with dial(origin) as sock:
            if not on_accept:
                sock.sendall(request(case))
            assert sock.recv(1) == b""

    @pytest.mark.parametrize("name", ["reset_on_accept", "reset_before_answer"])
    def test_reset_without_a_word(self, fault_server: FaultServer, name: str) -> None:
        on_accept = KINDS[name].phase == "connect"
        origin = fault_server.listen(plan=(Fault(name),) if on_accept else ())
        case = fault_server.case(BLOB, *(() if on_accept else (Fault(name),)), origin=origin)
        # On accept, it may come before connect() has returned.
        with pytest.raises(ConnectionResetError), dial(origin) as sock:
            if not on_accept:
                sock.sendall(request(case))
            sock.recv(1)

    @pytest.mark.parametrize("name", ["ignore", "hang"])
    def test_silence_lasts_until_the_client_leaves(
        self, fault_server: FaultServer, name: str
    ) -> None:
        on_accept = KINDS[name].phase == "connect"
        origin = fault_server.listen(plan=(Fault(name),) if on_accept else ())
        case = fault_server.case(BLOB, *(() if on_accept else (Fault(name),)), origin=origin)
        with dial(origin) as sock:
            sock.sendall(request(case))
            sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                sock.recv(1)

    def test_babble_is_no_tls(self, fault_server: FaultServer) -> None:
        plan = (Fault("babble", data=b"220 smtp.example ESMTP\r\n"),)
        origin = fault_server.listen(plan=plan, tls=server_context("127.0.0.1"))
        with dial(origin) as sock, pytest.raises(ssl.SSLError):
            client_context().wrap_socket(sock, server_hostname="127.0.0.1")


class TestBody:
    """The body is cut, stretched and spoilt at the byte that was named."""

    @pytest.mark.parametrize("at", [0, 1, 499, 999, 1000])
    def test_fin(self, fault_server: FaultServer, at: int) -> None:
        head, body = ask(fault_server, fault_server.case(BLOB, Fault("fin", at=at)))
        assert b"Content-Length: 1000" in head
        assert body == BLOB.read(0, at)

    def test_fin_in_the_head(self, fault_server: FaultServer) -> None:
        with dial(fault_server.origin) as sock:
            sock.sendall(request(fault_server.case(BLOB, Fault("fin", at=-1))))
            assert receive(sock).endswith(b"\r\n\r")

    @pytest.mark.parametrize("at", [0, 300_000, 999_999])
    def test_fin_in_a_larger_blob(self, fault_server: FaultServer, at: int) -> None:
        blob = Blob(1_000_000)
        _, body = ask(fault_server, fault_server.case(blob, Fault("fin", at=at)))
        assert len(body) == at
        assert difference(blob, 0, body) is None

    def test_reset(self, fault_server: FaultServer) -> None:
        received = b""
        with dial(fault_server.origin) as sock, pytest.raises(ConnectionResetError):
            sock.sendall(request(fault_server.case(BLOB, Fault("reset", at=400))))
            while True:
                received += sock.recv(1 << 16)
        assert received.endswith(BLOB.read(0, 400))

    @pytest.mark.parametrize(("name", "ends"), [("fin", False), ("goodbye", True)])
    def test_the_end_of_tls(self, fault_server: FaultServer, name: str, ends: bool) -> None:
        origin = fault_server.listen(tls=server_context("127.0.0.1"))
        case = fault_server.case(BLOB, Fault(name, at=400), origin=origin)
        with client_context().wrap_socket(
            dial(origin), server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as sock:
            sock.sendall(request(case))
            assert sock.recv(1 << 16).endswith(BLOB.read(0, 400))
            if ends:
                assert sock.recv(1) == b""
            else:
                with pytest.raises(ssl.SSLEOFError):
                    sock.recv(1)

    def test_two_faults_in_one_answer(self, fault_server: FaultServer) -> None:
        plan = (Fault("fin", at=600), Fault("segments", at=100, size=7), Fault("flip", byte=300))
        _, body = ask(fault_server, fault_server.case(BLOB, *plan))
        assert len(body) == 600
        assert [i for i in range(600) if body[i] != BLOB.read(i, i + 1)[0]] == [300]

    def test_stall(self, fault_server: FaultServer) -> None:
        with dial(fault_server.origin) as sock:
            sock.sendall(request(fault_server.case(BLOB, Fault("stall", at=5))))
            received = b""
            sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                while True:
                    received += sock.recv(1 << 16)
        assert received.endswith(b"\r\n\r\n" + BLOB.read(0, 5))

    @pytest.mark.parametrize(
        "fault",
        [
            Fault("stall", at=5, seconds=0.01),
            Fault("drip", at=990, pause=0.001),
            Fault("throttle", at=0, rate=100_000),
            Fault("segments", at=0),
        ],
    )
    def test_slow_bytes_are_right_bytes(self, fault_server: FaultServer, fault: Fault) -> None:
        assert ask(fault_server, fault_server.case(BLOB, fault))[1] == BLOB.read(0, 1000)

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (Fault("text_after", start=990, text=b"<html>error</html>"), b"<html>erro"),
            (Fault("zeros_from", start=995), BLOB.read(990, 995) + bytes(5)),
            (Fault("other_blob"), Blob(1000, seed=99).read(990, 1000)),
            (Fault("replaced_under_way", start=995), None),
        ],
    )
    def test_wrong_bytes_at_the_right_length(
        self, fault_server: FaultServer, fault: Fault, expected: bytes | None
    ) -> None:
        _, body = ask(fault_server, fault_server.case(BLOB, fault))
        if expected is None:
            expected = BLOB.read(990, 995) + Blob(1000, version=2).read(995, 1000)
        assert len(body) == 1000
        assert body[990:] == expected

    def test_extra_bytes(self, fault_server: FaultServer) -> None:
        head, body = ask(fault_server, fault_server.case(BLOB, Fault("extra", size=70_000)))
        assert b"Content-Length: 1000" in head
        assert body == BLOB.read(0, 1000) + b"\xee" * 70_000

    def test_extra_bytes_for_ever(self, fault_server: FaultServer) -> None:
        with dial(fault_server.origin) as sock:
            sock.sendall(request(fault_server.case(BLOB, Fault("extra", size=EVER))))
            with sock.makefile("rb") as received:
                assert received.read(20 << 20).endswith(b"\xee" * 1000)

    def test_short_body(self, fault_server: FaultServer) -> None:
        case = fault_server.case(BLOB, Fault("short_body", size=3))
        head, body = ask(fault_server, case, "Range: bytes=10-19")
        assert b"Content-Range: bytes 10-19/1000" in head
        assert b"Content-Length: 3" in head
        assert body == BLOB.read(10, 13)


CHUNKED = [
    (Fault("chunked", size=6), b"6\r\n%b\r\n4\r\n%b\r\n0\r\n\r\n"),
    (Fault("chunk_extension", text=b";a=b"), b"a;a=b\r\n%b%b\r\n0\r\n\r\n"),
    (Fault("trailers"), b"a\r\n%b%b\r\n0\r\nX-Checksum: 1\r\n\r\n"),
    (Fault("chunk_size_line", line=b"g"), b"g\r\n%b%b\r\n0\r\n\r\n"),
    (Fault("chunk_without_end"), b"a\r\n%b%b0\r\n\r\n"),
    (Fault("no_last_chunk"), b"a\r\n%b%b\r\n"),
    (Fault("early_last_chunk", after=6), b"6\r\n%b\r\n0\r\n\r\n%.0b"),
]


@pytest.mark.parametrize(("fault", "wire"), CHUNKED, ids=name_of)
def test_chunks(fault_server: FaultServer, fault: Fault, wire: bytes) -> None:
    blob = Blob(10)
    head, body = ask(fault_server, fault_server.case(blob, fault))
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert body == wire % (blob.read(0, 6), blob.read(6, 10))


HEADS = [
    (Fault("content_length", values=("5", "6")), b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    (Fault("content_length", values=()), b"Content-Range: bytes 2-5/10\r\n\r\n"),
    (Fault("content_length_off_by", delta=-1), b"Content-Length: 3\r\n"),
    (Fault("both_framings"), b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
    (Fault("transfer_encoding", values=("gzip",)), b"Transfer-Encoding: gzip\r\n"),
    (Fault("gzip"), b"Content-Encoding: gzip\r\n"),
    (Fault("content_encoding", value="br"), b"Content-Encoding: br\r\n"),
    (Fault("whole"), b"HTTP/1.1 200 OK\r\n"),
    (Fault("content_range", values=("bytes x",)), b"Content-Range: bytes x\r\n"),
    (Fault("shifted", delta=1), b"Content-Range: bytes 3-6/10\r\n"),
    (Fault("shifted", delta=1, admitted=False), b"Content-Range: bytes 2-5/10\r\n"),
    (Fault("shorter", size=2), b"Content-Range: bytes 2-3/10\r\n"),
    (Fault("longer", before=1, behind=9), b"Content-Range: bytes 1-9/10\r\n"),
    (Fault("multipart"), b"Content-Type: multipart/byteranges; boundary=x\r\n"),
    (Fault("unsatisfied", content_range="bytes */9"), b"Content-Range: bytes */9\r\n"),
    (Fault("etag", values=('W/"1"',)), b'ETag: W/"1"\r\n'),
    (Fault("etag_of_request"), b'ETag: "request 1"\r\n'),
    (Fault("last_modified", values=("never",)), b"Last-Modified: never\r\n"),
    (Fault("replaced", version=3, size=8), b'ETag: "0-3-8"\r\n'),
    (Fault("deleted"), b"HTTP/1.1 404 Not Found\r\n"),
    (Fault("redirect", to="/x", code=307), b"Location: /x\r\n"),
    (Fault("locations", values=("/a", "/b")), b"Location: /a\r\nLocation: /b\r\n"),
    (Fault("next_hop"), b"?hop=1\r\n"),
    (Fault("status", code=999, reason="Odd", headers=(("A", "b"),)), b"HTTP/1.1 999 Odd\r\nA: b"),
    (Fault("header_lines", lines=b"A: b\r\n c\r\n"), b"Partial Content\r\nA: b\r\n c\r\nETag"),
    (Fault("bare_newlines"), b"Partial Content\nETag"),
    (Fault("status_line", line=b"HTTP/3 206"), b"HTTP/3 206\r\nETag"),
    (Fault("no_head", instead=b"PRI * HTTP/2.0\r\n\r\n"), b"PRI * HTTP/2.0\r\n\r\n"),
    (Fault("http10", keeps_alive=True), b"HTTP/1.0 206 "),
    (Fault("connection_close"), b"Connection: close\r\n"),
    (Fault("informational", count=2, code=100), b"HTTP/1.1 100 On The Way\r\nLink: "),
    (Fault("unasked_answer"), b"HTTP/1.1 206 Partial Content\r\n"),
]


@pytest.mark.parametrize(("fault", "piece"), HEADS, ids=name_of)
def test_head_says_what_was_planned(fault_server: FaultServer, fault: Fault, piece: bytes) -> None:
    case = fault_server.case(Blob(10), fault)
    with dial(fault_server.origin) as sock:
        sock.sendall(request(case, "Range: bytes=2-5", "Connection: close"))
        sock.shutdown(socket.SHUT_WR)
        assert piece in receive(sock)


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (Fault("shifted", delta=1), Blob(10).read(3, 7)),
        (Fault("shifted", delta=-1, admitted=False), Blob(10).read(1, 5)),
        (Fault("shorter", size=2), Blob(10).read(2, 4)),
        (Fault("longer", before=1, behind=9), Blob(10).read(1, 10)),
        (Fault("whole"), Blob(10).read(0, 10)),
        (Fault("replaced", size=8), Blob(8, version=2).read(2, 6)),
    ],
    ids=name_of,
)
def test_body_is_what_the_head_admits_or_hides(
    fault_server: FaultServer, fault: Fault, body: bytes
) -> None:
    assert ask(fault_server, fault_server.case(Blob(10), fault), "Range: bytes=2-5")[1] == body


@pytest.mark.parametrize(
    "fault",
    [
        Fault("endless_head", at=-2),
        Fault("endless_line", at=-2),
        Fault("endless_informational", at=-400),
    ],
    ids=name_of,
)
def test_endless_heads_end_when_the_client_leaves(fault_server: FaultServer, fault: Fault) -> None:
    with dial(fault_server.origin) as sock:
        sock.sendall(request(fault_server.case(BLOB, fault)))
        with sock.makefile("rb") as received:
            assert len(received.read(2 << 20)) == 2 << 20


def test_a_server_ignorant_of_if_match(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB, Fault("ignore_conditions"))
    assert ask(fault_server, case, 'If-Match: "other"')[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("fault", "ended"), [(Fault("head_without_length"), b""), (Fault("head_with_body"), b"\xee")]
)
def test_wrong_answers_to_head(fault_server: FaultServer, fault: Fault, ended: bytes) -> None:
    head, body = ask(fault_server, fault_server.case(BLOB, fault), method="HEAD")
    assert (b"Content-Length" in head, len(body)) == ((True, 1000) if ended else (False, 0))


def test_closing_cuts_every_connection_and_joins_every_thread() -> None:
    before = set(threading.enumerate())
    with FaultServer() as server:
        case = server.case(BLOB, Fault("hang", times=EVER))
        socks = [dial(server.origin) for _ in range(20)]
        for sock in socks[:10]:
            sock.sendall(request(case))
    assert set(threading.enumerate()) == before
    for sock in socks:
        with sock:
            pass


def test_one_connection_after_another_needs_two_threads() -> None:
    with FaultServer() as server:
        case = server.case(Blob(10))
        for _ in range(50):
            ask(server, case)
        assert threading.active_count() <= 4
