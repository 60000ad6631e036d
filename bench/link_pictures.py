"""The pictures of a link in docs: speed by buffer, by connections, and what libraries fetch."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import matplotlib
from link_buffers import AUTO, BUFFERS, ONE, WINDOW
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pictures import COLOURS, DOTS_PER_INCH, OTHERS, bars
from results import Case

__all__ = ["TEXTS", "draw"]

matplotlib.use("agg")

TEXTS = {
    "link_buffers.png": 'Throughput by size of buffer for four delays, with "auto" beside them',
    "link_connections.png": "Throughput by number of connections, for bare sockets and blobread",
    "link_patterns.png": "Time, bytes fetched and requests of zipfile, Parquet, tarfile and HDF5",
}


def draw(figures: Mapping[str, list[Case]], folder: Path) -> None:
    """Draw all pictures of a link into `folder`."""
    folder.mkdir(exist_ok=True)
    draw_buffers(figures["link_buffers"], folder / "link_buffers.png")
    draw_connections(figures["link_connections"], folder / "link_connections.png")
    patterns = {
        "milliseconds": (figures["link_seconds"], 1e3),
        "MB that the server sent": (figures["link_fetched"], 1e-6),
        "requests": (figures["link_requests"], 1.0),
    }
    draw_patterns(patterns, folder / "link_patterns.png")


def draw_buffers(cases: list[Case], path: Path) -> None:
    """Draw a panel a delay: speed by size of buffer."""
    speeds: dict[float, dict[str, float]] = {}
    for case in cases:
        at = speeds.setdefault(case["at"]["delay"], {})
        at.update({name: speed(case, name) for name in case["samples"]})
    picture = Figure(figsize=(9, 6), layout="constrained")
    panels = picture.subplots(2, -(-len(speeds) // 2), sharex=True, sharey=True, squeeze=False)
    for axes, (delay, found) in zip(panels.flat, sorted(speeds.items()), strict=False):
        line(axes, found, WINDOW, "buffer_size, many connections", OTHERS[1], "o-")
        line(axes, found, ONE, "buffer_size, one connection", OTHERS[3], "s--")
        if AUTO in found:
            axes.axhline(found[AUTO], color=COLOURS["blobread"], linewidth=2.5, label='"auto"')
        axes.set_title(f"{delay * 1e3:.0f} ms to the first byte")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(list(BUFFERS.values()), list(BUFFERS), rotation=30)
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel("MB/s (higher is better)")
    picture.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    picture.savefig(path, dpi=DOTS_PER_INCH)


def line(
    axes: Axes, found: Mapping[str, float], name: str, label: str, colour: str, style: str
) -> None:
    points = [
        (size, found[name.format(text)])
        for text, size in BUFFERS.items()
        if name.format(text) in found
    ]
    axes.plot(*zip(*points, strict=True), style, color=colour, label=label)


def draw_connections(cases: list[Case], path: Path) -> None:
    """Draw a line a subject: speed by connections."""
    picture = Figure(figsize=(8, 4.5), layout="constrained")
    axes = picture.add_subplot()
    for name in dict.fromkeys(name for case in cases for name in case["samples"]):
        found = [case for case in cases if name in case["samples"]]
        counts = [case["at"]["connections"] for case in found]
        colour = COLOURS.get(name, OTHERS[3])
        axes.plot(counts, [speed(case, name) for case in found], "o-", color=colour, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    numbers = [case["at"]["connections"] for case in cases]
    axes.set_xticks(numbers, [f"{number:.0f}" for number in numbers])
    axes.set_xlabel("connections")
    axes.set_ylabel("MB/s (higher is better)")
    axes.grid(alpha=0.3)
    axes.legend()
    picture.savefig(path, dpi=DOTS_PER_INCH)


def draw_patterns(patterns: Mapping[str, tuple[list[Case], float]], path: Path) -> None:
    """Draw a panel a unit: bars by library and file object."""
    picture = Figure(figsize=(11, 5), layout="constrained")
    panels = picture.subplots(1, len(patterns))
    for axes, (unit, (cases, scale)) in zip(panels, patterns.items(), strict=True):
        bars(axes, cases, scale=scale, inverse=False, with_legend=False)
        axes.set_xscale("log")
        axes.set_xlabel(unit)
    panels[1].set_title("logarithmic; shorter is better", fontsize="medium")
    for axes in panels[1:]:
        axes.set_yticklabels([])
    picture.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    picture.savefig(path, dpi=DOTS_PER_INCH)


def speed(case: Case, name: str) -> float:
    """Megabytes a second, from the median."""
    return case["count"] / median(case["samples"][name]) / 1e6
