"""The command line: stat, cat, and what all commands have in common."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Never

import pytest
from command_line import command, run, run_module, wait_for_fault
from conftest import Nginx
from faults import EVER, Blob, Fault, FaultServer, When

import blobread
from blobread.cli import main
from blobread.sizes import format_size, parse_size

DATA = Blob(3_000_001).read(0, 3_000_001)

# A server that knows no ranges, and does not tell a length.
OF_UNKNOWN_SIZE = (Fault("whole", times=EVER), Fault("chunked", times=EVER))

Captured = pytest.CaptureFixture[bytes]


@pytest.fixture(params=["file", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A blob of DATA, behind a path and behind a URL."""
    if request.param == "file":
        (tmp_path / "blob").write_bytes(DATA)
        return str(tmp_path / "blob")
    server: FaultServer = request.getfixturevalue("fault_server")
    return server.case(Blob(len(DATA))).url


def error_of(capture: Captured) -> str:
    """The one line that a command has said on stderr, and nothing on stdout."""
    out, err = capture.readouterr()
    assert out == b""
    (line,) = err.decode().splitlines()
    return line


# ---- stat


def test_stat_tells_size_and_time(url: str, capsysbinary: Captured) -> None:
    assert main(["stat", url]) == 0
    lines = dict(
        line.split(maxsplit=1) for line in capsysbinary.readouterr().out.decode().splitlines()
    )
    modified = blobread.stat(url).modified
    assert modified is not None
    assert lines["path"] == url
    assert lines["size"] == "3000001 bytes (2.9 MiB)"
    assert lines["modified"] == f"{modified:%Y-%m-%d %H:%M:%S} UTC"


def test_stat_json_is_one_object_with_all_that_the_store_says(
    url: str, capsysbinary: Captured
) -> None:
    assert main(["stat", url, "--json"]) == 0
    info = blobread.stat(url)
    assert info.modified is not None
    assert json.loads(capsysbinary.readouterr().out) == {
        "path": url,
        "size": len(DATA),
        "version": info.version,
        "etag": info.etag,
        "modified": info.modified.isoformat(),
        "digest": None,
        "is_dir": False,
    }


def test_stat_of_a_directory_says_that_it_is_one(tmp_path: Path, capsysbinary: Captured) -> None:
    assert main(["stat", str(tmp_path)]) == 0
    out = capsysbinary.readouterr().out
    assert b"kind      directory\n" in out
    assert b"size" not in out


def test_stat_of_a_blob_of_unknown_size_says_so(
    fault_server: FaultServer, capsysbinary: Captured
) -> None:
    case = fault_server.case(Blob(100), *OF_UNKNOWN_SIZE)
    assert main(["stat", case.url]) == 0
    assert b"size      unknown\n" in capsysbinary.readouterr().out


# ---- cat


def test_cat_writes_the_bytes_of_the_blob(url: str, capsysbinary: Captured) -> None:
    assert main(["cat", url]) == 0
    assert capsysbinary.readouterr().out == DATA


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("0-0", DATA[:1]),
        ("0-1023", DATA[:1024]),
        ("70000-2500000", DATA[70_000:2_500_001]),
        ("2999990-", DATA[-11:]),
        ("3000000-99999999999", DATA[-1:]),
        ("-7", DATA[-7:]),
        ("-99999999999", DATA),
    ],
)
def test_cat_writes_the_range_as_http_counts_it(
    url: str, given: str, wanted: bytes, capsysbinary: Captured
) -> None:
    assert main(["cat", url, "--range", given]) == 0
    assert capsysbinary.readouterr().out == wanted


@pytest.mark.parametrize("given", ["3000001-", "3000001-3000005"])
def test_range_that_has_no_byte_of_the_blob_is_an_error(
    url: str, given: str, capsysbinary: Captured
) -> None:
    assert main(["cat", url, "--range", given]) == 1
    assert "no byte of the blob, which has 3000001, is in the range" in error_of(capsysbinary)


def test_last_bytes_of_an_empty_blob_are_none(tmp_path: Path, capsysbinary: Captured) -> None:
    (tmp_path / "empty").touch()
    assert main(["cat", str(tmp_path / "empty"), "--range", "-5"]) == 0
    assert capsysbinary.readouterr() == (b"", b"")


@pytest.mark.parametrize(
    "given", ["", "-", "-0", "5-3", "a-b", "1", "1-2,4-5", "+1-2", "0x1-", "9223372036854775807-"]
)
def test_range_that_makes_no_sense_is_a_usage_error(given: str, capsysbinary: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["cat", "blob", f"--range={given}"])
    assert stopped.value.code == 2
    assert b"--range" in capsysbinary.readouterr().err


@pytest.mark.parametrize(
    ("given", "first", "stop"), [("", 0, 90_000), ("80000-80099", 80_000, 80_100)]
)
def test_cat_reads_a_blob_of_unknown_size_from_front_to_back(
    fault_server: FaultServer, given: str, first: int, stop: int, capsysbinary: Captured
) -> None:
    case = fault_server.case(Blob(90_000), *OF_UNKNOWN_SIZE)
    assert main(["cat", case.url, *(["--range", given] if given else [])]) == 0
    assert capsysbinary.readouterr().out == case.blob.read(first, stop)


def test_last_bytes_of_a_blob_of_unknown_size_are_an_error(
    fault_server: FaultServer, capsysbinary: Captured
) -> None:
    case = fault_server.case(Blob(90_000), *OF_UNKNOWN_SIZE)
    assert main(["cat", case.url, "--range", "-5"]) == 1
    assert "size" in error_of(capsysbinary)


def test_cat_passes_on_what_has_come_while_the_rest_is_late(fault_server: FaultServer) -> None:
    stall = Fault("stall", at=100, when=When(covers=600_000), times=EVER)
    case = fault_server.case(Blob(700_000), stall)
    process = subprocess.Popen(command("cat", case.url), stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.read(250_000) == case.blob.read(0, 250_000)
        wait_for_fault(case, process)
        process.kill()
    process.wait()


def test_memory_of_cat_does_not_grow_with_the_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = tmp_path / "blob"
    with blob.open("wb") as file:
        file.truncate(64 << 20)
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        try:
            assert main(["cat", str(blob)]) == 0
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 << 20


# ---- output that is not taken


@pytest.mark.skipif(os.name != "posix", reason="only on POSIX")
def test_broken_pipe_is_silent(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    process = subprocess.Popen(
        command("cat", tmp_path / "blob"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stdout.read(10) == DATA[:10]
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["cat"], ["cat", "--range=0-9"], ["stat"]])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only where there is /dev/full")
def test_full_disk_is_one_line_and_a_failure(
    tmp_path: Path, arguments: list[str], unbuffered: str
) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    with open("/dev/full", "wb") as full:
        ended = run(
            *arguments,
            tmp_path / "blob",
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (ended.returncode, ended.stderr) == (1, b"blobread: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.skipif(os.name != "posix", reason="only on POSIX")
def test_disk_that_takes_a_part_of_the_last_bytes_is_a_failure(
    tmp_path: Path, unbuffered: str
) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    with open(tmp_path / "to", "wb") as file:
        ended = run(
            "cat",
            tmp_path / "blob",
            before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_900_000, -1))",
            capture_output=False,
            stdout=file,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (ended.returncode, ended.stderr) == (1, b"blobread: File too large\n")


@pytest.mark.skipif(os.name != "posix", reason="only where a shell can close stdout")
def test_closed_stdout_is_one_line_and_a_failure(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    ended = run("cat", tmp_path / "blob", before="import sys; sys.stdout = None")
    assert (ended.returncode, ended.stderr) == (1, b"blobread: standard output is closed\n")


# ---- errors


@pytest.mark.parametrize("name", ["stat", "cat", "get", "bench"])
def test_blob_that_is_missing_is_one_line_and_a_failure(
    name: str, nginx: Nginx, tmp_path: Path, capsysbinary: Captured
) -> None:
    for url in (str(tmp_path / "missing"), f"{nginx.url}/missing"):
        to = [str(tmp_path / "to")] if name == "get" else []
        assert main([name, url, *to]) == 1
        line = error_of(capsysbinary)
        assert line.startswith("blobread: ")
        assert "missing" in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no-such-scheme://x/y", "no-such-scheme"),
        ("http://", "http"),
        (".", "directory"),
        ("a\0b", "NUL"),
        ("two\nlines", "two"),
    ],
)
def test_url_that_names_no_blob_is_one_line_and_a_failure(
    url: str, said: str, capsysbinary: Captured
) -> None:
    assert main(["cat", url]) == 1
    assert said in error_of(capsysbinary)


def test_error_of_many_lines_is_told_in_one(capsysbinary: Captured) -> None:
    def fail(url: str) -> Never:
        raise blobread.BlobError("it fails\n  for many\r\nreasons")

    blobread.register_scheme("failing", fail)
    assert main(["cat", "failing://blob"]) == 1
    assert error_of(capsysbinary) == "blobread: it fails for many reasons"


@pytest.mark.parametrize("name", ["stat", "cat", "bench"])
def test_secrets_in_a_url_are_not_shown(
    name: str, fault_server: FaultServer, capsysbinary: Captured
) -> None:
    refusing = fault_server.listen(listening=False).url
    missing = f"{fault_server.origin.url}/no-such-case"
    for url in (refusing, missing):
        signed = url.replace("http://", "http://user:hush@") + "/blob?signature=hush"
        assert main([name, signed]) == 1
        assert "hush" not in error_of(capsysbinary)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--vers"],
        ["sta", "x"],
        ["stat"],
        ["stat", "x", "--js"],
        ["get", "x"],
        ["cat", "x", "y"],
    ],
)
def test_arguments_that_make_no_sense_are_a_usage_error(
    arguments: list[str], capsysbinary: Captured
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsysbinary.readouterr().err.startswith(b"usage: blobread")


# ---- as a program


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    ended = run_module("cat", tmp_path / "blob", "--range", "5-8")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, DATA[5:9], b"")


def test_version_is_that_of_the_package() -> None:
    assert run_module("--version").stdout.decode().strip() == f"blobread {blobread.__version__}"


@pytest.mark.parametrize("arguments", [["stat"], ["cat"], ["bench", "--quiet"]])
def test_extras_are_not_needed_where_nothing_is_drawn(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    without = "import sys; sys.modules.update(rich=None, matplotlib=None)"
    ended = run(*arguments, tmp_path / "blob", before=without)
    assert (ended.returncode, ended.stderr) == (0, b"")


# ---- sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096B", 4096),
        ("64K", 65536),
        ("64k", 65536),
        ("1MiB", 1 << 20),
        ("2GB", 2 << 30),
    ],
)
def test_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5M", "1X", "K", "9000000T", "1 K", "²"])
def test_size_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1 MiB"),
        (300 << 20, "300 MiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_size_is_shown_in_the_largest_unit_that_it_fills(size: int, text: str) -> None:
    assert format_size(size) == text
