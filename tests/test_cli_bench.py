"""`blobread bench`: what it measures, and that no run with other bytes passes."""

import hashlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from faults import EVER, Blob, Fault, FaultServer, When

import blobread
from blobread.cli import main
from blobread.cli.measure import measure

DATA = Blob(1_000_001).read(0, 1_000_001)

Captured = pytest.CaptureFixture[str]


@pytest.fixture(params=["file", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        (tmp_path / "blob").write_bytes(DATA)
        return str(tmp_path / "blob")
    server: FaultServer = request.getfixturevalue("fault_server")
    return server.case(Blob(len(DATA))).url


def bench(capsys: Captured, *arguments: str) -> dict[str, Any]:
    """What the command tells programs."""
    assert main(["bench", *arguments, "--json", "--quiet"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_each_buffer_size_and_auto_are_read_in_every_round(url: str, capsys: Captured) -> None:
    sizes = ["--buffer-size", "64K", "16K", "--buffer-size", "1M", "64K"]
    report = bench(capsys, url, *sizes, "--rounds", "3")
    series = [(one["buffer_size"], len(one["seconds"])) for one in report["series"]]
    assert series == [(65536, 3), (16384, 3), (1 << 20, 3), ("auto", 3)]
    assert all(min(one["seconds"]) > 0 for one in report["series"])


def test_report_says_what_was_read(url: str, capsys: Captured) -> None:
    report = bench(capsys, url, "--rounds", "1")
    assert report["path"] == url
    assert report["size"] == report["bytes_read"] == len(DATA)
    assert report["digest"] == sha256(DATA)
    assert report["blobread"] == blobread.__version__
    assert len(report["series"]) == 7
    assert all(one["bytes_fetched"] >= len(DATA) for one in report["series"])


def test_bytes_is_the_most_that_a_run_reads(url: str, capsys: Captured) -> None:
    report = bench(capsys, url, "--rounds", "1", "--bytes", "100K", "--read-size", "1000")
    assert report["bytes_read"] == 102_400
    assert report["digest"] == sha256(DATA[:102_400])


def test_random_reads_are_at_the_same_places_in_each_run(url: str, capsys: Captured) -> None:
    arguments = ["--pattern", "random", "--read-size", "100", "--bytes", "2050", "--rounds", "2"]
    report = bench(capsys, url, *arguments)
    places = random.Random(0)
    starts = [places.randrange(len(DATA) - 99) for _ in range(21)]
    read = b"".join(DATA[start : start + 100] for start in starts)[:2050]
    assert report["digest"] == sha256(read)


def test_blob_that_is_shorter_than_a_read_is_read(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "blob").write_bytes(b"abc")
    for pattern in ("sequential", "random"):
        report = bench(capsys, str(tmp_path / "blob"), "--rounds", "1", "--pattern", pattern)
        assert report["digest"] == sha256(b"abc")


def test_table_has_a_line_for_each_buffer_size(url: str, capsys: Captured) -> None:
    assert main(["bench", url, "--buffer-size", "64K", "1M", "--rounds", "1"]) == 0
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()[3:]
    assert head.split()[:3] == ["buffer", "size", "MB/s"]
    assert [line[:11].strip() for line in lines] == ["64 KiB", "1 MiB", "auto"]
    assert sha256(DATA) in out
    assert err.startswith("reading ")


def test_run_with_other_bytes_is_an_error(fault_server: FaultServer, capsys: Captured) -> None:
    # It is opened three times: for the size, for the run that tells the bytes, and once more. It is
    # so small that an opening brings it whole.
    other = Fault("replaced", when=When(after=2), times=EVER)
    case = fault_server.case(Blob(16_000), other)
    assert main(["bench", case.url, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "run 2" in line and "brought other bytes" in line


def test_memory_is_cleared_between_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    calls = itertools.count()

    def lazy(blob: blobread.BlobReader, memory: memoryview, read_size: int) -> int:
        """Read once, and never again."""
        return blob.readinto(memory) if next(calls) == 0 else len(memory)

    monkeypatch.setattr("blobread.cli.measure._sequential", lazy)
    with pytest.raises(blobread.DigestMismatchError, match="run 2"):
        measure(tmp_path / "blob", [65536])


def test_progress_ends_with_all_that_was_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    seen: list[tuple[int, int | None]] = []
    measure(tmp_path / "blob", [65536], rounds=2, on_progress=lambda *told: seen.append(told))
    assert seen == [(i * len(DATA), 5 * len(DATA)) for i in range(6)]


def test_blob_without_a_byte_is_not_measured(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").touch()
    assert main(["bench", str(tmp_path / "empty")]) == 1
    assert "no bytes" in capsys.readouterr().err


def test_blob_of_unknown_size_is_not_measured(fault_server: FaultServer, capsys: Captured) -> None:
    case = fault_server.case(Blob(10), Fault("whole", times=EVER), Fault("chunked", times=EVER))
    assert main(["bench", case.url]) == 1
    assert "unknown size" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--buffer-size", "0"],
        ["--buffer-size", "auto"],
        ["--buffer-size"],
        ["--rounds", "0"],
        ["--rounds", "10000"],
        ["--pattern", "zigzag"],
        ["--read-size", "-1"],
    ],
)
def test_arguments_that_make_no_sense_are_a_usage_error(
    arguments: list[str], capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "blob", *arguments])
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


# ---- the picture


def test_plot_is_a_picture(url: str, tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    picture = tmp_path / "speed.png"
    # In a process of its own: matplotlib brings in half of the world.
    ended = run("bench", url, "--rounds", "2", "--quiet", "--plot", picture)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    [("rich", "cli", []), ("matplotlib", "plot", ["--quiet", "--plot"])],
)
def test_missing_extra_is_one_line_that_names_it(
    missing: str, extra: str, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    picture = tmp_path / "speed.png"
    without = f"import sys; sys.modules[{missing!r}] = None"
    drawn = [picture] if "--plot" in arguments else []
    ended = run("bench", tmp_path / "blob", *arguments, *drawn, before=without)
    assert (ended.returncode, ended.stdout) == (1, b"")
    (line,) = ended.stderr.decode().splitlines()
    assert f"pip install 'blobread[{extra}]'" in line
    assert not picture.exists()
