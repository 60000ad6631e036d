"""The picture of a measurement: throughput against buffer size. It needs the extra ``plot``."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import MissingDependencyError
from ..sizes import format_size
from .measure import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["blank_figure", "draw"]


def blank_figure() -> "Figure":
    """Make a figure that is drawn without a display.

    Raises
    ------
    MissingDependencyError
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "a picture needs the extra 'plot': pip install 'blobread[plot]'"
        ) from error
    # Not by pyplot: a bare Figure saves itself by Agg, and leaves no global state.
    return Figure(dpi=120, layout="constrained")


def draw(figure: "Figure", reports: Mapping[str, Report], path: str | os.PathLike[str]) -> None:
    """Draw each report, under its name and on a scale of its own, and save the picture as PNG."""
    figure.set_size_inches(7 * len(reports), 4.8)
    for number, (name, report) in enumerate(reports.items(), 1):
        _panel(figure.add_subplot(1, len(reports), number), name, report)
    figure.savefig(path, format="png")


def _panel(axes: "Axes", name: str, report: Report) -> None:
    auto = [one for one in report.series if one.buffer_size == "auto"]
    fixed = {one.buffer_size: one for one in report.series if one.buffer_size != "auto"}
    sizes = sorted(fixed)
    slowest = [report.rate(max(fixed[size].seconds)) / 1e6 for size in sizes]
    fastest = [report.rate(min(fixed[size].seconds)) / 1e6 for size in sizes]
    medians = [report.median(fixed[size]) / 1e6 for size in sizes]
    axes.fill_between(sizes, slowest, fastest, alpha=0.15, label="slowest to fastest")
    axes.plot(sizes, medians, "o-", label="median of the runs")
    for one in auto:
        axes.axhline(
            report.median(one) / 1e6, color="C1", linestyle="--", label="median with 'auto'"
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [format_size(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.set_xlabel("buffer_size")
    axes.set_ylabel("throughput, MB/s")
    axes.set_title(
        f"{name}\n{report.pattern} reads of {format_size(report.read_size)}, "
        f"{format_size(report.bytes_read)} in each run",
        # A name is text: dollar signs in it are no mathematics.
        parse_math=False,
    )
    axes.legend()
