"""``blobread stat``: what the store says of a blob."""

import argparse
import json

from ..driver import BlobInfo
from ..opening import stat
from ..sizes import format_size

__all__ = ["add_to"]


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    about = "tell size, version and time of a blob"
    parser = commands.add_parser("stat", help=about, description=about, allow_abbrev=False)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--json", action="store_true", help="as one JSON object, for programs")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> None:
    info = stat(given.url)
    print(_as_json(info) if given.json else _as_lines(info))


def _as_json(info: BlobInfo) -> str:
    return json.dumps(
        {
            "path": info.path,
            "size": info.size,
            "version": info.version,
            "etag": info.etag,
            "modified": None if info.modified is None else info.modified.isoformat(),
            "digest": info.digest,
            "is_dir": info.is_dir,
        }
    )


def _as_lines(info: BlobInfo) -> str:
    known = {
        "path": info.path,
        "kind": "directory" if info.is_dir else None,
        "size": _size(info),
        "version": info.version,
        "etag": info.etag,
        "modified": None if info.modified is None else f"{info.modified:%Y-%m-%d %H:%M:%S} UTC",
        "digest": info.digest,
    }
    return "\n".join(f"{name:9} {value}" for name, value in known.items() if value is not None)


def _size(info: BlobInfo) -> str | None:
    if info.is_dir:
        return None
    if info.size is None:
        return "unknown"
    human = f" ({format_size(info.size)})" if info.size >= 1024 else ""
    return f"{info.size} bytes{human}"
