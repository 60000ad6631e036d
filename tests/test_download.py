"""Downloads of remote blobs: in parallel, resumed after any end, and never of two versions."""

import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import command
from faults import EVER, Blob, Case, Fault, FaultServer, When, difference
from hypothesis import given
from hypothesis import strategies as st
from together import Call, wait_until

import blobread
from blobread.cli import main
from blobread.transfer.link import Link
from blobread.whole.download import download
from blobread.whole.partial import Identity, Partial

MIB = 1 << 20
SIZE = 8 * MIB + 12_345
BLOB = Blob(SIZE)
LAST = When(covers=SIZE - 1)

needs_locks = pytest.mark.skipif(os.name != "posix", reason="nothing is kept without locks")


# A link as it is known here, however busy the machine is.
KNOWN_LINK = """
from blobread.transfer.link import Link
Link.part_size = lambda self, wanted: 1 << 20
Link.connections = 4
"""


class Stopped(Exception):
    """What ends a download in these tests."""


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "part_size", lambda self, wanted: MIB)
    monkeypatch.setattr(Link, "connections", 4)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there already, alone in its directory."""
    path = tmp_path / "target"
    path.write_bytes(b"as it was")
    return path


def stalling(server: FaultServer, *more: Fault, blob: Blob = BLOB) -> Case:
    """A blob whose last part stops to come after 1000 bytes, the first time."""
    return server.case(blob, Fault("stall", at=1000, when=LAST), *more)


def stop_when_the_rest_is_there(done: int, size: int | None) -> None:
    """Raise when only (a part of) the last part is missing."""
    if done >= SIZE - MIB:
        raise Stopped


def stopped(case: Case, target: Path, **options: Any) -> int:
    """Let a download end just before the end; give how many requests it took."""
    with pytest.raises(Stopped):
        download(case.url, target, on_progress=stop_when_the_rest_is_there, **options)
    assert target.read_bytes() == b"as it was"
    return len(case.ledger.requests)


def bytes_asked(case: Case, after: int = 0) -> int:
    ranges = [request.asked for request in case.ledger.requests[after:] if request.method == "GET"]
    assert None not in ranges
    return sum(last + 1 - first for first, last in filter(None, ranges))


def files_beside(target: Path) -> list[Path]:
    return sorted(set(target.parent.iterdir()) - {target})


def check_whole(case: Case, target: Path) -> None:
    """The target is the blob, and nothing is left beside it."""
    data = target.read_bytes()
    assert difference(case.blob, 0, data) is None
    assert len(data) == case.blob.size
    assert files_beside(target) == []


# ---- in parallel


@pytest.mark.parametrize("size", [1, 200_000, 256 << 10, (256 << 10) + 1, MIB, 3 * MIB + 1, SIZE])
@pytest.mark.parametrize("options", [{}, {"parallel": 1}, {"parallel": 3}], ids=repr)
def test_blob_of_any_size_comes_whole_by_each_byte_asked_once(
    size: int, options: dict[str, Any], fault_server: FaultServer, target: Path
) -> None:
    case = fault_server.case(Blob(size))
    info = download(case.url, target, **options)
    assert info == blobread.stat(case.url)
    check_whole(case, target)
    assert bytes_asked(case) <= max(size, 256 << 10)


def test_empty_blob_is_an_empty_file(fault_server: FaultServer, target: Path) -> None:
    case = fault_server.case(Blob(0))
    download(case.url, target)
    check_whole(case, target)


def test_part_that_stalls_does_not_stop_the_others(fault_server: FaultServer, target: Path) -> None:
    stopped(stalling(fault_server), target, resume=False)


def test_progress_is_told_on_the_thread_that_downloads(
    fault_server: FaultServer, target: Path
) -> None:
    case = fault_server.case(BLOB)
    told: list[tuple[int, int | None]] = []
    threads = set()

    def note(done: int, size: int | None) -> None:
        told.append((done, size))
        threads.add(threading.current_thread())

    download(case.url, target, on_progress=note)
    assert told[0] == (0, SIZE)
    assert told[-1] == (SIZE, SIZE)
    assert told == sorted(told)
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_of_a_file_that_came_in_parts_is_checked(
    algorithm: str, fault_server: FaultServer, target: Path
) -> None:
    case = fault_server.case(BLOB)
    right = hashlib.new(algorithm, BLOB.read(0, SIZE)).hexdigest()
    download(case.url, target, verify=f"{algorithm}:{right}")
    check_whole(case, target)
    target.write_bytes(b"as it was")
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with pytest.raises(blobread.DigestMismatchError, match=right):
        download(case.url, target, verify=f"{algorithm}:{wrong}")
    assert target.read_bytes() == b"as it was"
    assert files_beside(target) == []


def test_part_that_breaks_is_resumed(fault_server: FaultServer, target: Path) -> None:
    case = fault_server.case(BLOB, Fault("fin", at=100_000, when=LAST))
    download(case.url, target)
    check_whole(case, target)
    assert bytes_asked(case) <= SIZE + MIB


def test_mirrors_of_other_versions_are_read_if_that_is_asked_for(
    fault_server: FaultServer, target: Path
) -> None:
    case = fault_server.case(BLOB, Fault("etag_of_request", times=EVER))
    with pytest.raises(blobread.BlobChangedError):
        download(case.url, target)
    assert files_beside(target) == []
    download(case.url, target, pin="off")
    check_whole(case, target)


# ---- resumed


@needs_locks
def test_next_download_asks_for_what_is_missing_only(
    fault_server: FaultServer, target: Path
) -> None:
    case = stalling(fault_server)
    before = stopped(case, target)
    assert len(files_beside(target)) == 2
    told: list[int] = []
    download(case.url, target, on_progress=lambda done, size: told.append(done))
    check_whole(case, target)
    assert told[0] >= SIZE - MIB
    assert bytes_asked(case, before) <= MIB


def test_nothing_is_kept_if_that_is_not_wanted(fault_server: FaultServer, target: Path) -> None:
    stopped(stalling(fault_server), target, resume=False)
    assert files_beside(target) == []


@needs_locks
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_keeps_what_has_come(
    error: type[BaseException], fault_server: FaultServer, target: Path
) -> None:
    case = stalling(fault_server)

    def end(done: int, size: int | None) -> None:
        if done >= SIZE - MIB:
            raise error

    with pytest.raises(error):
        download(case.url, target, on_progress=end)
    before = len(case.ledger.requests)
    download(case.url, target)
    check_whole(case, target)
    assert bytes_asked(case, before) <= MIB


@needs_locks
def test_killed_download_is_continued(fault_server: FaultServer, target: Path) -> None:
    case = stalling(fault_server)
    process = subprocess.Popen(command("get", "-c", "-q", case.url, target, before=KNOWN_LINK))

    def is_saved() -> bool:
        assert process.poll() is None
        return any(saved(path) >= SIZE - 2 * MIB for path in target.parent.glob(".*.done"))

    try:
        wait_until(is_saved)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert target.read_bytes() == b"as it was"
    before = len(case.ledger.requests)
    assert main(["get", "--continue", "--quiet", case.url, str(target)]) == 0
    check_whole(case, target)
    assert bytes_asked(case, before) <= 2 * MIB


def saved(journal: Path) -> int:
    return sum(stop - start for start, stop in json.loads(journal.read_text())["done"])


@needs_locks
def test_other_version_begins_anew(fault_server: FaultServer, target: Path) -> None:
    case = stalling(fault_server)
    before = stopped(case, target)
    case.blob = Blob(SIZE, version=2)
    download(case.url, target)
    check_whole(case, target)
    assert bytes_asked(case, before) == SIZE


@needs_locks
def test_change_on_the_way_keeps_nothing(fault_server: FaultServer, target: Path) -> None:
    case = stalling(fault_server)
    before = stopped(case, target)
    case.add(Fault("replaced", when=When(after=before + 1), times=EVER))  # after the stat
    with pytest.raises(blobread.BlobChangedError):
        download(case.url, target)
    assert target.read_bytes() == b"as it was"
    assert files_beside(target) == []


def no_versions() -> tuple[Fault, ...]:
    return (
        Fault("etag", times=EVER, values=()),
        Fault("last_modified", times=EVER, values=()),
    )


def weak_versions() -> tuple[Fault, ...]:
    return (Fault("etag", times=EVER, values=('W/"1"',)),)


@pytest.mark.parametrize("versions", [no_versions, weak_versions])
def test_nothing_is_kept_of_a_blob_that_cannot_be_known_again(
    versions: Callable[[], tuple[Fault, ...]], fault_server: FaultServer, target: Path
) -> None:
    stopped(stalling(fault_server, *versions()), target)
    assert files_beside(target) == []


@needs_locks
def test_file_that_others_changed_does_not_pass_the_digest(
    fault_server: FaultServer, target: Path
) -> None:
    case = stalling(fault_server)
    stopped(case, target)
    (kept,) = (path for path in files_beside(target) if path.suffix == ".part")
    with kept.open("r+b") as file:
        file.seek(MIB)
        file.write(b"not what it was")
    right = hashlib.sha256(BLOB.read(0, SIZE)).hexdigest()
    with pytest.raises(blobread.DigestMismatchError):
        download(case.url, target, verify=f"sha256:{right}")
    assert files_beside(target) == []
    download(case.url, target, verify=f"sha256:{right}")
    check_whole(case, target)


def cut_short(part: Path, journal: Path) -> None:
    os.truncate(part, MIB)


def gone(part: Path, journal: Path) -> None:
    part.unlink()


def linked_to(part: Path, journal: Path) -> None:
    os.link(part, part.parent.parent / "another")


def journal_with(text: str) -> Callable[[Path, Path], None]:
    def write(part: Path, journal: Path) -> None:
        journal.write_text(text)

    return write


@needs_locks
@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        gone,
        linked_to,
        pytest.param(journal_with(""), id="empty"),
        pytest.param(journal_with("{"), id="cut-off"),
        pytest.param(journal_with("[]"), id="a-list"),
        pytest.param(journal_with('{"size": 1, "done": [[0, 1]]}'), id="another-size"),
        pytest.param(
            journal_with(f'{{"size": {SIZE}, "done": [[0, {SIZE + 1}]]}}'), id="beyond-the-end"
        ),
        pytest.param(
            journal_with(f'{{"size": {SIZE}, "done": [[-5, {SIZE}]]}}'), id="before-the-start"
        ),
        pytest.param(journal_with(f'{{"size": {SIZE}, "done": [[50, 10]]}}'), id="backwards"),
        pytest.param(
            journal_with(f'{{"size": {SIZE}, "done": [[0, 10], [5, 20]]}}'), id="overlapping"
        ),
        pytest.param(journal_with(f'{{"size": {SIZE}, "done": [0, 10]}}'), id="no-runs"),
    ],
)
def test_what_does_not_fit_together_is_not_gone_on_with(
    spoil: Callable[[Path, Path], None], fault_server: FaultServer, target: Path
) -> None:
    case = stalling(fault_server)
    before = stopped(case, target)
    part, journal = files_beside(target)
    spoil(part, journal)
    download(case.url, target)
    data = target.read_bytes()
    assert difference(case.blob, 0, data) is None
    assert len(data) == SIZE
    assert bytes_asked(case, before) == SIZE
    assert target.stat().st_nlink == 1  # nobody else has a name for it


@needs_locks
def test_two_downloads_to_one_target_keep_out_of_each_others_way(
    fault_server: FaultServer, target: Path
) -> None:
    case = stalling(fault_server)
    is_waiting, may_go = threading.Event(), threading.Event()

    def wait(done: int, size: int | None) -> None:
        if done >= SIZE - MIB and not may_go.is_set():
            is_waiting.set()
            assert may_go.wait(60)
            raise Stopped

    call = Call(lambda: download(case.url, target, on_progress=wait))
    assert is_waiting.wait(60)
    download(case.url, target)
    assert difference(case.blob, 0, target.read_bytes()) is None
    may_go.set()
    with pytest.raises(Stopped):
        call.outcome()
    target.write_bytes(b"as it was")
    before = len(case.ledger.requests)
    download(case.url, target)
    check_whole(case, target)
    assert bytes_asked(case, before) <= MIB


@needs_locks
def test_signature_of_a_url_is_no_part_of_what_it_names(
    fault_server: FaultServer, target: Path
) -> None:
    case = stalling(fault_server)
    with pytest.raises(Stopped):
        download(f"{case.url}?X-Amz-Signature=1", target, on_progress=stop_when_the_rest_is_there)
    before = len(case.ledger.requests)
    download(f"{case.url}?X-Amz-Signature=2", target)
    check_whole(case, target)
    assert bytes_asked(case, before) <= MIB


@needs_locks
def test_query_is_a_part_of_what_a_url_names(fault_server: FaultServer, target: Path) -> None:
    case = stalling(fault_server)
    with pytest.raises(Stopped):
        download(f"{case.url}?id=1", target, on_progress=stop_when_the_rest_is_there)
    before = len(case.ledger.requests)
    download(f"{case.url}?id=2", target)
    check_whole(case, target)
    assert bytes_asked(case, before) == SIZE


def test_error_of_the_target_names_the_target(fault_server: FaultServer, tmp_path: Path) -> None:
    case = fault_server.case(BLOB)
    target = tmp_path / "missing" / "target"
    for resume in (True, False):
        with pytest.raises(FileNotFoundError) as caught:
            download(case.url, target, resume=resume)
        assert caught.value.filename == str(target)


# ---- the file


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_runs_that_are_done_are_known(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int]]
) -> None:
    file = Partial(str(tmp_path_factory.getbasetemp() / "runs"), 80, None)
    try:
        done = set()
        for start, length in runs:
            file.write(memoryview(bytes(length)), start)
            done |= set(range(start, start + length))
            missing = file.missing()
            assert {at for run in missing for at in range(*run)} == set(range(80)) - done
            assert file.done == len(done)
            assert file.reach == next((at for at in range(81) if at not in done), 80)
    finally:
        file.leave(keep=False)


@needs_locks
def test_file_has_one_writer(tmp_path: Path) -> None:
    target, identity = str(tmp_path / "target"), Identity("place", "version")
    one = Partial(target, 10, identity)
    other = Partial(target, 10, identity)
    assert one.is_kept
    assert not other.is_kept
    other.leave(keep=True)
    one.leave(keep=True)
    last = Partial(target, 10, identity)
    assert last.path == one.path
    last.leave(keep=False)
    assert os.listdir(tmp_path) == []


def test_nobody_writes_into_a_file_that_was_left(tmp_path: Path) -> None:
    file = Partial(str(tmp_path / "target"), 10, None)
    file.leave(keep=True)
    with pytest.raises(ValueError, match="left"):
        file.write(memoryview(b"late"), 0)
    assert os.listdir(tmp_path) == []
