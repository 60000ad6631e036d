"""``blobread bench``: how fast a blob is read, by the size of the buffer."""

import argparse
import json
import platform
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..sizes import format_size, parse_size
from ..whole.download import OnProgress
from .progress import progress_bar

if TYPE_CHECKING:
    from .measure import Report

__all__ = ["add_to", "table"]


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    about = (
        "read a blob with each buffer size and with 'auto', by turns, check that every run brings "
        "the same bytes, and tell how fast it was"
    )
    parser = commands.add_parser("bench", help=about, description=about, allow_abbrev=False)
    parser.add_argument("url", metavar="URL")
    parser.add_argument(
        "--buffer-size",
        metavar="SIZE",
        type=_size,
        nargs="+",
        action="extend",
        help="such as 64K 1M; by default six, from 16 KiB to 16 MiB",
    )
    parser.add_argument(
        "--pattern",
        choices=("sequential", "random"),
        default="sequential",
        help="read from the start on (default), or all over the blob",
    )
    parser.add_argument(
        "--read-size", metavar="SIZE", type=_size, default=4096, help="of each read; default 4 KiB"
    )
    parser.add_argument(
        "--bytes",
        metavar="SIZE",
        type=_size,
        help="the most that a run reads, and needs as memory; default 64 MiB, for random 4 MiB",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=_count, default=5, help="runs with each size; default 5"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw throughput against buffer size")
    parser.add_argument("--json", action="store_true", help="raw samples, for programs")
    parser.add_argument("-q", "--quiet", action="store_true", help="without a progress bar")
    parser.set_defaults(run=_run)


def table(report: "Report") -> str:
    """Tell of a measurement in lines of text; MB are 10**6 bytes."""
    lines = [
        f"{report.path}: {format_size(report.size)}",
        f"{report.pattern} reads of {format_size(report.read_size)}, "
        f"{format_size(report.bytes_read)} in each run, rounds: {len(report.series[0].seconds)}",
        f"the same bytes in every run: {report.digest}",
        f"{'buffer size':>11} {'MB/s':>9} {'slowest':>9} {'fastest':>9} {'requests':>9} "
        f"{'fetched':>10}",
    ]
    for one in report.series:
        size = one.buffer_size
        rates = [report.rate(seconds) / 1e6 for seconds in one.seconds]
        lines.append(
            f"{size if size == 'auto' else format_size(size):>11} "
            f"{report.median(one) / 1e6:9.1f} {min(rates):9.1f} {max(rates):9.1f} "
            f"{one.requests:9} {format_size(one.bytes_fetched):>10}"
        )
    return "\n".join(lines)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 9999")
    return int(text)


def _run(given: argparse.Namespace) -> None:
    # Not at the top, since the other commands need nothing of it.
    from .picture import blank_figure, draw

    # Before the measurement, which would be lost if the extra were missing.
    figure = None if given.plot is None else blank_figure()
    if given.quiet:
        report = _measured(given)
    else:
        with progress_bar("reading") as show:
            report = _measured(given, show)
    print(_as_json(report) if given.json else table(report))
    if figure is not None:
        draw(figure, {report.path: report}, given.plot)


def _measured(given: argparse.Namespace, on_progress: OnProgress | None = None) -> "Report":
    from .measure import BUFFER_SIZES, measure

    return measure(
        given.url,
        given.buffer_size or BUFFER_SIZES,
        pattern=given.pattern,
        read_size=given.read_size,
        limit=given.bytes,
        rounds=given.rounds,
        on_progress=on_progress,
    )


def _as_json(report: "Report") -> str:
    from .. import __version__

    made_by = {
        "blobread": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    return json.dumps({**made_by, **asdict(report)})
