"""`blobread get`, and `download` under it: the file appears whole or not at all."""

import errno
import hashlib
import os
import re
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import command, run, wait_for_fault
from conftest import Nginx
from faults import EVER, Blob, Fault, FaultServer, When

import blobread
from blobread.cli import main
from blobread.cli.progress import progress_bar
from blobread.drivers.memory import MemoryDriver
from blobread.whole.download import download

DATA = Blob(3_000_001).read(0, 3_000_001)
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
SHA512 = f"sha512:{hashlib.sha512(DATA).hexdigest()}"

needs_posix = pytest.mark.skipif(os.name != "posix", reason="only on POSIX")

Captured = pytest.CaptureFixture[bytes]


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("source") / "blob"
    path.write_bytes(DATA)
    return str(path)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there already, alone in its directory."""
    path = tmp_path / "target"
    path.write_bytes(b"as it was")
    return path


def check_untouched(target: Path) -> None:
    """The file is as it was, and no other is beside it."""
    assert target.read_bytes() == b"as it was"
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("kind", ["file", "http"])
def test_get_copies_the_blob_and_leaves_nothing_else(
    kind: str, source: str, nginx: Nginx, target: Path
) -> None:
    (nginx.root / "get").write_bytes(DATA)
    url = source if kind == "file" else f"{nginx.url}/get"
    assert main(["get", url, str(target)]) == 0
    assert target.read_bytes() == DATA
    assert os.listdir(target.parent) == [target.name]


def test_get_copies_an_empty_blob(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert main(["get", str(tmp_path / "empty"), str(tmp_path / "target")]) == 0
    assert (tmp_path / "target").read_bytes() == b""


def test_get_copies_a_blob_of_unknown_size(fault_server: FaultServer, target: Path) -> None:
    case = fault_server.case(Blob(90_000), Fault("whole", times=EVER), Fault("chunked", times=EVER))
    assert main(["get", case.url, str(target)]) == 0
    assert target.read_bytes() == case.blob.read(0, 90_000)


def test_download_tells_of_the_version_that_it_copied(source: str, target: Path) -> None:
    assert download(source, target) == blobread.stat(source)


def test_download_takes_the_options_of_the_driver(source: str, target: Path) -> None:
    directory, name = os.path.split(source)
    download(name, target, root=directory)
    assert target.read_bytes() == DATA


def test_old_file_is_there_until_the_new_one_is_whole(source: str, target: Path) -> None:
    seen = []
    download(source, target, on_progress=lambda done, total: seen.append(target.read_bytes()))
    assert set(seen) == {b"as it was"}
    assert target.read_bytes() == DATA


def test_progress_goes_from_nothing_to_the_size(source: str, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(source, target, on_progress=lambda *told: seen.append(told))
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)


@needs_posix
def test_symbolic_link_is_followed(source: str, target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    download(source, link)
    assert link.is_symlink()
    assert target.read_bytes() == DATA


@needs_posix
def test_device_is_not_replaced(source: str, tmp_path: Path, capsysbinary: Captured) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert main(["get", source, str(fifo)]) == 1
    assert b"is not a regular file" in capsysbinary.readouterr().err
    assert fifo.is_fifo()


def test_directory_is_not_replaced(source: str, tmp_path: Path, capsysbinary: Captured) -> None:
    assert main(["get", source, str(tmp_path)]) == 1
    assert b"is a directory" in capsysbinary.readouterr().err
    assert os.listdir(tmp_path) == []


def test_error_of_the_target_names_the_target(
    source: str, tmp_path: Path, capsysbinary: Captured
) -> None:
    target = str(tmp_path / "missing" / "target")
    assert main(["get", source, target]) == 1
    said = f"blobread: {os.strerror(errno.ENOENT)}: {target!r}\n"
    assert capsysbinary.readouterr().err.decode() == said


# ---- verification


@pytest.mark.parametrize("digest", [SHA256, SHA512, SHA256.upper()])
def test_blob_with_the_digest_is_kept(digest: str, source: str, target: Path) -> None:
    assert main(["get", source, str(target), "--verify", digest]) == 0
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("content", [DATA, b""])
def test_blob_with_another_digest_is_thrown_away(
    content: bytes, source: str, target: Path, capsysbinary: Captured
) -> None:
    Path(source).write_bytes(content)
    expected = "sha256:" + 64 * "0"
    assert main(["get", source, str(target), "--verify", expected]) == 1
    (line,) = capsysbinary.readouterr().err.decode().splitlines()
    assert hashlib.sha256(content).hexdigest() in line
    assert expected in line
    check_untouched(target)


def test_digest_that_the_store_knows_is_checked(target: Path) -> None:
    class KnowingDriver(MemoryDriver):
        """A store that knows digests, and has lost a byte."""

        def stat(self, path: str, /) -> blobread.BlobInfo:
            return replace(super().stat(path), digest=SHA256)

    store = KnowingDriver({"blob": DATA[:-1]})
    blobread.register_scheme("knowing", lambda url: (store, "blob"))
    with pytest.raises(blobread.DigestMismatchError, match=SHA256):
        download("knowing://blob", target)
    check_untouched(target)


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", SHA256[:-1], SHA256 + "0", "md5:" + 32 * "0", SHA256[7:], " " + SHA256],
)
def test_digest_that_is_none_is_a_usage_error(digest: str, source: str, target: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["get", source, str(target), "--verify", digest])
    assert stopped.value.code == 2
    with pytest.raises(ValueError, match="hex digits"):
        download(source, target, verify=digest)
    check_untouched(target)


# ---- what goes wrong half-way


def test_body_that_is_cut_leaves_no_file(fault_server: FaultServer, target: Path) -> None:
    case = fault_server.case(Blob(3_000_001), Fault("fin", at=200_000, times=EVER))
    with pytest.raises(blobread.TruncatedBlobError):
        download(case.url, target, resume=False, retry=0)
    check_untouched(target)


def test_blob_that_changes_leaves_no_file_and_one_line(
    fault_server: FaultServer, target: Path, capsysbinary: Captured
) -> None:
    case = fault_server.case(Blob(3_000_001), Fault("replaced", when=When(after=1), times=EVER))
    assert main(["get", case.url, str(target)]) == 1
    # The error alone: of the bar nothing is left.
    assert len(capsysbinary.readouterr().err.splitlines()) == 1
    check_untouched(target)


def test_file_that_others_write_into_is_thrown_away(source: str, target: Path) -> None:
    def interfere(done: int, total: int | None) -> None:
        (partial,) = set(target.parent.iterdir()) - {target}
        if done == len(DATA):
            with partial.open("ab") as file:
                file.write(b"more")

    with pytest.raises(blobread.DigestMismatchError, match=r"3000005 bytes, and the blob 3000001"):
        download(source, target, on_progress=interfere)
    check_untouched(target)


@pytest.mark.parametrize("at", [0, 1 << 20, len(DATA)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_exception_at_any_moment_leaves_no_file(
    at: int, error: type[BaseException], source: str, target: Path
) -> None:
    def fail(done: int, total: int | None) -> None:
        if done == at:
            raise error

    with pytest.raises(error):
        download(source, target, on_progress=fail)
    check_untouched(target)


@needs_posix
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_interrupt_leaves_no_file_and_says_nothing(
    quiet: list[str], fault_server: FaultServer, target: Path
) -> None:
    stall = Fault("stall", at=1000, when=When(covers=2_900_000), times=EVER)
    case = fault_server.case(Blob(3_000_001), stall)
    # A shell lets its background jobs ignore the signal.
    before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        command("get", case.url, target, *quiet, before=before),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for_fault(case, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
    check_untouched(target)


@needs_posix
def test_disk_that_is_full_leaves_no_file(source: str, target: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))"
    ended = run("get", source, target, before=limit)
    assert (ended.returncode, ended.stderr) == (1, b"blobread: File too large\n")
    check_untouched(target)


# ---- the bar


def test_bar_has_no_thread_that_takes_time_from_the_reader() -> None:
    before = threading.enumerate()
    with progress_bar("label") as show:
        show(0, 10)
        show(5, 10)
        assert threading.enumerate() == before


def test_without_a_terminal_the_bar_is_one_line(source: str, target: Path) -> None:
    ended = run("get", source, target)
    line, end, rest = ended.stderr.decode().partition("\n")
    assert line.startswith("target ")
    assert "3.0/3.0 MB" in line
    assert (end, rest) == ("\n", "")


def test_quiet_says_nothing(source: str, target: Path) -> None:
    ended = run("get", source, target, "--quiet", before="import sys; sys.modules['rich'] = None")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert target.read_bytes() == DATA


@needs_posix
def test_on_a_terminal_the_bar_shows_rate_and_time_left(
    fault_server: FaultServer, target: Path
) -> None:
    slow = Fault("throttle", at=0, rate=500_000, times=EVER)
    case = fault_server.case(Blob(3_000_001), slow)
    screen, terminal = os.openpty()
    process = subprocess.Popen(
        command("get", case.url, target), stderr=terminal, env={**os.environ, "TERM": "xterm"}
    )
    os.close(terminal)
    shown = ""
    half_way = re.compile(r"target .* (0\.[1-9]|[12]\.\d)/3\.0 MB +[\d.]+ [kM]B/s +00:0\d")
    try:
        while not half_way.search(shown):
            shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown + os.read(screen, 4096).decode())
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def test_missing_extra_is_one_line_that_names_it(source: str, target: Path) -> None:
    ended = run("get", source, target, before="import sys; sys.modules['rich'] = None")
    assert ended.returncode == 1
    (line,) = ended.stderr.decode().splitlines()
    assert "pip install 'blobread[cli]'" in line
    check_untouched(target)
