"""Raw measurements as JSON, with what a reader needs in order to judge them."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

import nginx
import psutil

import blobread

__all__ = ["FOLDER", "Case", "Measured", "Unit", "about_machine", "is_dirty", "load", "save"]

_ROOT = Path(__file__).resolve().parent.parent
FOLDER = _ROOT / "bench" / "results"

_PEERS = ("numpy", "fsspec", "aiohttp", "obstore", "pyarrow", "urllib3", "h5py")

Unit: TypeAlias = Literal["s", "bytes", "requests"]


class Case(TypedDict):
    """What was measured of one case.

    A sample is of `count` calls, or of `count` bytes, and there is one a round for every subject.
    `wrong` names the subjects that have none, because a byte that they gave was not the blob's.
    `at` is where a picture has the case.
    """

    case: str
    baseline: str
    count: int
    unit: Unit
    samples: dict[str, list[float]]
    wrong: list[str]
    at: NotRequired[dict[str, float]]


class Measured(TypedDict):
    """One file of results."""

    figure: str
    about: dict[str, Any]
    cases: list[Case]


def about_machine() -> dict[str, Any]:
    """Tell what was measured and where: commit, versions, machine, and how busy it was."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": is_dirty(),
        "python": sys.version,
        "versions": {name: _version(name) for name in _PEERS} | {"nginx": nginx.version()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def is_dirty() -> bool:
    """Tell whether what is measured is not the commit: other files, or not built from them."""
    if _git("status", "--porcelain", "--", "blobread", "setup.py", "bench/*.py"):
        return True
    imported, tree = Path(blobread.__file__).parent, _ROOT / "blobread"
    if imported == tree:
        return any(
            source.stat().st_mtime > built.stat().st_mtime
            for built in tree.rglob(f"*{EXTENSION_SUFFIXES[0]}")
            for source in built.parent.iterdir()
            if source.suffix in (".pyx", ".pxi", ".h")
        )
    return any(
        path.read_bytes() != (imported / path.relative_to(tree)).read_bytes()
        for path in tree.rglob("*.py")
    )


def save(figure: str, cases: list[Case]) -> Path:
    """Write the cases of one figure; gives the path of the file."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{figure}.json"
    measured = Measured(figure=figure, about=about_machine(), cases=cases)
    path.write_text(json.dumps(measured, indent=1) + "\n")
    return path


def load(figure: str) -> Measured:
    """Read what `save` wrote."""
    measured: Measured = json.loads((FOLDER / f"{figure}.json").read_text())
    return measured


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
