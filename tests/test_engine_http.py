"""The engine over HTTP: a server that fails at every part, swaps its blob, dies and comes back."""

import csv
import gzip
import io
import logging
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from faults import EVER, Blob, Case, Fault, FaultServer, When, difference
from forked import in_child, needs_fork
from resuming import QUICK, quick
from test_resume_http import _listen_at, _may_be_bound_again
from together import Call, together, wait_until

import blobread
from blobread import BlobChangedError, BlobReader, Retry
from blobread.drivers.http import HttpDriver
from blobread.transfer import attempts, links, resume
from blobread.transfer.engine import Engine
from blobread.transfer.tokens import TokenBucket
from blobread.transfer.workers import PARTS

MIB = 1 << 20
BLOB = Blob(5 * MIB + 12_345)


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link that nothing is known of, and that learns nothing: 32 connections, parts of 1 MiB."""
    made = links.Link("test")
    monkeypatch.setattr(made, "finished", lambda *told: None)
    monkeypatch.setattr(links, "of", lambda origin: made)
    return made


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> TokenBucket:
    bucket = TokenBucket()
    monkeypatch.setattr(attempts, "bucket", bucket)
    monkeypatch.setattr(resume, "bucket", bucket)
    return bucket


def opened(case: Case, *, idle_timeout: float = 20, **options: Any) -> BlobReader:
    options.setdefault("retry", QUICK)
    return BlobReader(
        Engine(HttpDriver(proxy=None, idle_timeout=idle_timeout), **options), case.url
    )


def check(blob: Blob, offset: int, data: bytes | bytearray, size: int) -> None:
    assert (found := difference(blob, offset, bytes(data))) is None, found
    assert len(data) == size


def read_in_pieces(f: BlobReader, size: int) -> Iterator[bytes]:
    while piece := f.read(size):
        yield piece


@pytest.mark.parametrize("parallel", ["auto", 1])
@pytest.mark.parametrize("name", ["fin", "reset"])
@pytest.mark.parametrize("after", [-1, 0, 1, 70_000])
def test_a_cut_at_the_edge_of_every_part_goes_on_there(
    fault_server: FaultServer, name: str, after: int, parallel: Any
) -> None:
    """Parts of 1 MiB, each cut once: before its head, before a byte, after one, and later."""
    edges = range(0, BLOB.size, MIB) if parallel == "auto" else [0, 70_000]
    for size in (BLOB.size, 300_000):
        case = fault_server.case(BLOB)
        for edge in edges:
            case.add(Fault(name, at=after, when=When(covers=edge)))
        with opened(case, parallel=parallel) as f:
            check(BLOB, 0, b"".join(read_in_pieces(f, size)), BLOB.size)
        for fault in list(case.plan):
            if case.ledger.left(fault):
                case.plan.remove(fault)  # one request, cut by another fault, covered it


@pytest.mark.parametrize("seed", range(8))
def test_programs_over_a_server_that_fails_answer_as_a_file_does(
    fault_server: FaultServer, seed: int
) -> None:
    choose = random.Random(seed)
    case = fault_server.case(BLOB)
    for _ in range(20):
        nth = choose.randrange(1, 30)
        match choose.randrange(4):
            case 0:
                case.add(Fault("fin", at=choose.choice([0, 1, 5000, 200_000]), when=When(nth=nth)))
            case 1:
                case.add(Fault("reset", at=choose.choice([-5, 1, 9000]), when=When(nth=nth)))
            case 2:
                case.add(Fault("status", code=503, when=When(nth=nth)))
            case 3:
                case.add(Fault("close_before_answer", when=When(nth=nth)))
    with opened(case, retry=quick(max_retries=50), parallel=choose.choice(["auto", 1, 2])) as f:
        at = 0
        for _ in range(60):
            size = choose.choice([1, 100, 5000, 100_000, 2 * MIB])
            match choose.randrange(6):
                case 0:
                    at = f.seek(choose.randrange(BLOB.size))
                case 1:
                    at = f.seek(min(BLOB.size, at + choose.randrange(200_000)))
                case 2:
                    offset = choose.randrange(BLOB.size)
                    check(BLOB, offset, f.read_at(size, offset), min(size, BLOB.size - offset))
                case 3:
                    starts = [choose.randrange(BLOB.size - 9000) for _ in range(20)]
                    buffers = [bytearray(choose.randrange(9000)) for _ in starts]
                    f.readinto_ranges(starts, buffers)
                    for start, buffer in zip(starts, buffers, strict=True):
                        check(BLOB, start, buffer, len(buffer))
                case _:
                    got = f.read(size)
                    check(BLOB, at, got, min(size, BLOB.size - at))
                    at += len(got)
    case.plan.clear()  # not every request that was to fail was asked


@pytest.mark.parametrize("careless", [False, True], ids=["If-Match", "no If-Match"])
@pytest.mark.parametrize("size", [BLOB.size, 100_000])
@pytest.mark.parametrize("parallel", ["auto", 1])
def test_a_swap_of_the_version_at_any_request_is_an_error_and_never_a_mixture(
    fault_server: FaultServer, size: int, careless: bool, parallel: Any
) -> None:
    swapped = 0
    for index in range(1, 12):
        case = fault_server.case(BLOB, Fault("replaced", when=When(after=index), times=EVER))
        if careless:
            case.add(Fault("ignore_conditions", times=EVER))
        read = 0
        with opened(case, parallel=parallel) as f:
            try:
                for piece in read_in_pieces(f, size):
                    check(BLOB, read, piece, len(piece))
                    read += len(piece)
            except BlobChangedError:
                swapped += 1
                with pytest.raises(BlobChangedError):
                    f.read()
                assert f.tell() == read
            else:
                assert len(case.ledger.requests) <= index
                assert read == BLOB.size
        fault_server.forget(case)
    assert swapped >= (1 if parallel == 1 else 5)


def test_a_server_that_dies_within_a_large_read_and_comes_back_is_read_on(
    fault_server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "blobread")
    mortal = fault_server.listen(listening=False)
    _may_be_bound_again(mortal)
    mortal.listen()
    stalls = [Fault("stall", at=1000, seconds=600, when=When(covers=n * MIB)) for n in range(1, 6)]
    case = fault_server.case(BLOB, *stalls, origin=mortal)
    policy = Retry(max_retries=1000, init_backoff=0.01, max_backoff=0.02)
    with opened(case, retry=policy) as f:
        call = Call(f.read)
        wait_until(lambda: len(case.ledger.firings) == 5)
        mortal.close()
        wait_until(lambda: caplog.records)
        try:
            _listen_at(fault_server, mortal)
            data = call.outcome()
        finally:
            f.close()
    assert isinstance(data, bytes)
    check(BLOB, 0, data, BLOB.size)


def test_a_server_that_is_slow_but_alive_does_not_time_out(fault_server: FaultServer) -> None:
    blob = Blob(2 * MIB + 5)
    drips = [
        Fault("drip", at=0, pause=0.002, size=20_000, when=When(covers=n * MIB)) for n in range(3)
    ]
    case = fault_server.case(blob, *drips)
    with opened(case, retry=quick(retry_timeout=0.01)) as f:
        check(blob, 0, f.read(), blob.size)
        assert f.stats.retries == 0


def test_reads_ahead_fetch_at_most_twice_what_is_read(fault_server: FaultServer) -> None:
    for size in (1000, 100_000, MIB):
        case = fault_server.case(BLOB)
        with opened(case) as f:
            read = 0
            while read < BLOB.size // 2:
                read += len(f.read(size))
                asked = [x.asked for x in case.ledger.requests]
                total = sum(one[1] + 1 - one[0] for one in asked if one is not None)
                assert total <= 3 * read + (256 << 10)


def test_a_seek_away_ends_what_was_read_ahead_at_once(fault_server: FaultServer) -> None:
    """Nothing else would: the server hangs, and the driver waits for ten minutes."""
    far = [Fault("hang", when=When(covers=n * MIB), times=EVER) for n in (2, 3)]
    case = fault_server.case(BLOB, *far)
    with opened(case, idle_timeout=600) as f:
        for _ in range(8):
            f.read(128 << 10)
        wait_until(lambda: len(case.ledger.firings))
        for at in (4 * MIB, 4 * MIB + 300_000, 5 * MIB):
            f.read_at(10, at)
        wait_until(lambda: len(PARTS._idle) == len(PARTS._workers))
    case.plan.clear()  # one part may have covered both


def test_eight_threads_read_at_positions_and_one_at_the_cursor(fault_server: FaultServer) -> None:
    case = fault_server.case(BLOB)
    with opened(case) as f:

        def at_positions(seed: int) -> None:
            choose = random.Random(seed)
            for _ in range(15):
                at = choose.randrange(BLOB.size)
                size = min(choose.choice([1, 1000, 100_000, 2 * MIB]), BLOB.size - at)
                check(BLOB, at, f.read_at(size, at), size)

        def at_the_cursor() -> None:
            check(BLOB, 0, b"".join(read_in_pieces(f, 70_000)), BLOB.size)

        together(at_the_cursor, *(lambda seed=seed: at_positions(seed) for seed in range(8)))


@needs_fork
def test_both_sides_of_a_fork_go_on_and_the_parents_connections_live(
    fault_server: FaultServer,
) -> None:
    case = fault_server.case(BLOB)
    with opened(case) as f:
        for _ in range(10):
            f.read(100_000)

        def go_on() -> None:
            check(BLOB, 10 * 100_000, f.read(2 * MIB), 2 * MIB)
            check(BLOB, 5, f.read_at(MIB, 5), MIB)
            f.close()

        in_child(go_on)
        asked = len(case.ledger.requests)
        kept = {x.connection for x in case.ledger.requests}
        check(BLOB, 10 * 100_000, f.read(), BLOB.size - 10 * 100_000)
        check(BLOB, 5, f.read_at(MIB, 5), MIB)
        assert f.stats.retries == 0, "the child has shut down a connection of its parent"
        assert {x.connection for x in case.ledger.requests[asked:]} & kept


EXIT = """
import blobread, sys
f = blobread.open(sys.argv[1], proxy=None)
for _ in range(10):
    f.read(100_000)
print("read", flush=True)
"""


@pytest.mark.parametrize("hangs", [False, True], ids=["live", "hanging"])
def test_exit_with_live_read_ahead_is_silent(fault_server: FaultServer, hangs: bool) -> None:
    """And quick: the server hangs for ten minutes."""
    faults = [Fault("stall", at=1000, when=When(covers=n * MIB), times=EVER) for n in (2, 3)]
    case = fault_server.case(BLOB, *(faults if hangs else []))
    done = subprocess.run(
        [sys.executable, "-c", EXIT, case.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "read\n", "")
    case.plan.clear()


# ---- what reads files ----------------------------------------------------------------------------


def served(nginx: Any, data: bytes) -> str:
    name = f"{random.randbytes(8).hex()}"
    (nginx.root / name).write_bytes(data)
    return f"{nginx.url}/{name}"


def rows(count: int) -> bytes:
    return b"".join(b"%d,%d,row\r\n" % (n, n * n) for n in range(count))


def test_text_and_csv_are_read_with_few_requests(nginx: Any) -> None:
    data = rows(200_000)
    url = served(nginx, data)
    with blobread.open(url, proxy=None) as f:
        text = io.TextIOWrapper(f, encoding="ascii", newline="")
        assert sum(int(row[1]) for row in csv.reader(text)) == sum(n * n for n in range(200_000))
        assert f.stats.requests < 30
        text.detach()


def test_gzip_is_read_with_few_requests(nginx: Any) -> None:
    data = rows(300_000)
    url = served(nginx, gzip.compress(data, 1))
    with blobread.open(url, proxy=None) as f, gzip.open(f) as plain:
        assert plain.read() == data
        assert f.stats.requests < 20


@pytest.mark.parametrize("mode", ["r|", "r:"])
def test_tar_is_read_with_few_requests(nginx: Any, mode: Any) -> None:
    packed = io.BytesIO()
    choose = random.Random(1)
    members = {f"{n}": choose.randbytes(choose.choice([10, 5000, 300_000])) for n in range(60)}
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with blobread.open(served(nginx, packed.getvalue()), proxy=None) as f:
        with tarfile.open(fileobj=f, mode=mode) as tar:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                assert file.read() == members.pop(info.name)
        assert not members
        assert f.stats.requests < 40


def test_zip_is_read_with_few_requests(nginx: Any) -> None:
    packed = io.BytesIO()
    choose = random.Random(2)
    members = {f"{n}": choose.randbytes(choose.choice([10, 5000, 300_000])) for n in range(60)}
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with blobread.open(served(nginx, packed.getvalue()), proxy=None) as f:
        with zipfile.ZipFile(f) as archive:
            assert len(archive.namelist()) == 60
            assert f.stats.requests <= 4
            for name in archive.namelist():
                assert archive.read(name) == members[name]
        assert f.stats.requests < 60
