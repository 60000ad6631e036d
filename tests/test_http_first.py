"""How much the first request for a blob asks for, after other openings at the same origin."""

from collections.abc import Iterator

import pytest
from faults import Blob, Case, FaultServer
from streams import read_all

from blobread.drivers.http import HttpDriver
from blobread.http import first
from blobread.http.stream import Body

KIB = 1024
BLOB = Blob(1 << 20)


@pytest.fixture(autouse=True)
def nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(first, "_lengths", {})
    yield


def use(case: Case, size: int) -> None:
    """Open a blob, and read so much of its first bytes."""
    _, stream = HttpDriver(proxy=None).open(case.url)
    done, view = 0, memoryview(bytearray(size))
    while done < size and (count := stream.readinto(view[done:])):
        done += count
    stream.close()


def asked(case: Case) -> list[int]:
    return [(request.asked or (0, -1))[1] + 1 for request in case.ledger.requests]


def test_the_first_opening_of_an_origin_asks_for_256_kib(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    use(case, 1)
    assert asked(case) == [256 * KIB]


@pytest.mark.parametrize(
    ("used", "next_asked"),
    [(1, 16), (16 * KIB, 24), (32 * KIB, 48), (60 * KIB, 96), (200 * KIB, 256), (256 * KIB, 256)],
)
def test_the_next_one_asks_for_a_half_more_than_was_used(
    fault_server: FaultServer, used: int, next_asked: int
) -> None:
    case = fault_server.case(BLOB)
    use(case, used)
    use(case, 1)
    assert asked(case) == [256 * KIB, next_asked * KIB]


def test_it_grows_again_where_all_was_used(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    use(case, 1)
    for _ in range(5):
        use(case, BLOB.size)
    assert asked(case) == [256 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB]


def test_the_largest_of_the_last_four_counts(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    use(case, 60 * KIB)
    for _ in range(5):
        use(case, 1)
    assert asked(case) == [256 * KIB, *[96 * KIB] * 4, 16 * KIB]


def test_other_origins_are_not_concerned(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    use(case, 1)
    other = fault_server.case(BLOB, origin=fault_server.listen())
    use(other, 1)
    assert asked(other) == [256 * KIB]


def test_the_bytes_are_right_whatever_is_asked(fault_server: FaultServer) -> None:
    for size in (1, 5000, 40 * KIB, 300 * KIB):
        case = fault_server.case(Blob(size))
        for _ in range(3):
            info, stream = HttpDriver(proxy=None).open(case.url)
            assert isinstance(stream, Body)
            stop, data = stream.stop, read_all(stream)
            assert info.size == size
            assert len(data) == stop
            assert data == case.blob.read(0, len(data))
            assert len(data) == min(size, asked(case)[-1])


def test_only_so_many_origins_are_remembered() -> None:
    for port in range(1000):
        first.learn(("http", "host", port), 256 * KIB, 1)
    assert len(first._lengths) <= 256
