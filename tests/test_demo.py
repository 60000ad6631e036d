"""The demo: it reads what it wrote, draws it, cleans up, and fails where a byte is wrong."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Nginx
from faults import Blob

import blobread

PROGRAM = Path(__file__).parents[1] / "ci" / "demo.py"
assert blobread.__file__ is not None
HERE = Path(blobread.__file__).parents[1]  # where the blobread is that is tested

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="only in a source tree: ci/demo.py is not here"
)


@pytest.fixture
def demo() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("demo", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo, with its temporary files and its picture in a directory."""
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    picture = ["--plot", str(directory / "picture" / "speed.png")]
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(directory))
    return subprocess.run(
        [sys.executable, PROGRAM, *arguments, *picture],
        env={**os.environ, **temporary, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_demo_reads_its_own_blob_from_disk_and_over_http(tmp_path: Path) -> None:
    ended = run(tmp_path, "--size", "3000001")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("every byte is in its place") == 2
    assert ended.stdout.count("the digest of what was written") == 2
    assert ended.stdout.count("      auto ") == 2
    assert "3.0/3.0 MB" in ended.stderr


def test_demo_leaves_only_the_picture_and_says_where_it_is(tmp_path: Path) -> None:
    ended = run(tmp_path, "--size", "1M")
    assert os.listdir(tmp_path) == ["picture"]
    picture = tmp_path / "picture" / "speed.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert ended.stdout.endswith(f"{picture}\n")


def test_demo_reads_the_blob_of_a_url(nginx: Nginx, tmp_path: Path) -> None:
    (nginx.root / "demo").write_bytes(Blob(1_000_001).read(0, 1_000_001))
    ended = run(tmp_path, f"{nginx.url}/demo")
    assert ended.returncode == 0, ended.stderr
    assert "1000001 of 1000001 bytes" in ended.stdout


def test_demo_fails_where_there_is_no_blob(nginx: Nginx, tmp_path: Path) -> None:
    ended = run(tmp_path, f"{nginx.url}/missing")
    assert ended.returncode == 1
    assert ended.stderr.startswith("ci/demo: ")


def test_demo_fails_if_a_byte_is_wrong(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    write = demo.write_own_blob

    def write_wrong(path: Path, size: int) -> str:
        digest: str = write(path, size)
        with path.open("r+b") as file:
            file.seek(70_000)
            file.write(b"wrong")
        return digest

    monkeypatch.setattr(demo, "write_own_blob", write_wrong)
    assert demo.main(["--size", "1M"]) == 1
    assert "is not the digest of what was written" in capsys.readouterr().err


def test_words_of_the_demo_tell_where_a_byte_is_wrong(demo: ModuleType) -> None:
    array = demo.own_words(0, 10_000).view("u1")
    demo.check_own_words(array)
    array[70_001] ^= 1
    with pytest.raises(demo.Mismatch, match="the word at byte 70000 is wrong"):
        demo.check_own_words(array)
