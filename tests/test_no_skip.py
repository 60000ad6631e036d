"""The plugin `no_skip`: what is skipped where nothing should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

@pytest.mark.skipif(True, reason={reason!r})
def test_of_something(): ...
"""


def run(directory: Path, suite: str, demanded: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-p", "no_skip", "-p", "no:cacheprovider"]
    plugin = Path(__file__).parent
    environment = {**os.environ, "BLOBREAD_NO_SKIP": demanded, "PYTHONPATH": str(plugin)}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_skip_is_a_failure_that_tells_its_reason(tmp_path: Path) -> None:
    done = run(tmp_path, SUITE.format(reason="no nginx"), "1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "BLOBREAD_NO_SKIP=1 forbids: no nginx" in done.stdout


def test_skip_of_a_whole_module_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\npytest.importorskip('no_such_module')\n", "1")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "BLOBREAD_NO_SKIP=1 forbids" in done.stdout


def test_skip_for_another_platform_is_allowed(tmp_path: Path) -> None:
    done = run(tmp_path, SUITE.format(reason="only on Windows"), "1")
    assert done.returncode == pytest.ExitCode.OK


def test_skip_is_allowed_where_nothing_is_demanded(tmp_path: Path) -> None:
    done = run(tmp_path, SUITE.format(reason="no nginx"), "")
    assert done.returncode == pytest.ExitCode.OK
