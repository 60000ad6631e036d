"""How tests run the command line: in a process of its own."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults import Case

__all__ = ["PROGRAM", "command", "run", "run_module", "wait_for_fault"]

PROGRAM = "import sys\nfrom blobread.cli import main\nsys.exit(main(sys.argv[1:]))"


def command(*arguments: str | Path, before: str = "") -> list[str]:
    """The command with these arguments, after the statements `before`."""
    # What is left open is then said on stderr, which tests look at.
    strict = ["-W", "error::ResourceWarning"]
    return [sys.executable, *strict, "-c", f"{before}\n{PROGRAM}", *map(str, arguments)]


def run(
    *arguments: str | Path, before: str = "", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    options = {"capture_output": True, "timeout": 60, **options}
    return subprocess.run(command(*arguments, before=before), **options)


def run_module(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m blobread`` to its end."""
    program = [sys.executable, "-m", "blobread", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, timeout=60)


def wait_for_fault(case: Case, process: subprocess.Popen[bytes]) -> None:
    """Wait until a fault has acted; nobody waits for a process that has ended before."""
    while not case.ledger.firings:
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"ended with {process.wait(timeout=0.01)}, and met no fault")
