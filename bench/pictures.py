"""The pictures in docs: what one call costs, and how fast bytes come in."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from results import Case

__all__ = ["COLOURS", "DOTS_PER_INCH", "OTHERS", "TEXTS", "bars", "draw"]

matplotlib.use("agg")

TEXTS = {
    "calls.png": "Time of one call, by kind, for blobread and others",
    "speed.png": "Throughput of 1 GiB into an array, from a file and over HTTP",
}

COLOURS = {"blobread": "#c2410c"}
OTHERS = ("#1e3a8a", "#3b82f6", "#93c5fd", "#64748b", "#cbd5e1", "#0f766e")
DOTS_PER_INCH = 110


def draw(figures: Mapping[str, list[Case]], folder: Path) -> None:
    """Draw all pictures into `folder`."""
    folder.mkdir(exist_ok=True)
    picture = Figure(figsize=(8, 5), layout="constrained")
    axes = picture.add_subplot()
    bars(axes, figures["calls"], scale=1e9, inverse=False)
    axes.set_xscale("log")
    axes.set_xlabel("nanoseconds a call (logarithmic; shorter is better)")
    picture.savefig(folder / "calls.png", dpi=DOTS_PER_INCH)

    picture = Figure(figsize=(8, 4.5), layout="constrained")
    left, right = picture.subplots(1, 2, width_ratios=(3, 2))
    bars(left, figures["local"], scale=1e-9, inverse=True)
    left.set_title("local file, by size of chunk")
    bars(right, figures["http_bulk"], scale=1e-9, inverse=True)
    right.set_title("HTTP over loopback")
    for axes in (left, right):
        axes.set_xlabel("GB/s (longer is better)")
    picture.savefig(folder / "speed.png", dpi=DOTS_PER_INCH)


def bars(
    axes: Axes, cases: list[Case], *, scale: float, inverse: bool, with_legend: bool = True
) -> None:
    """A group of bars a case, in it a bar a subject: time by count, or `inverse`."""
    subjects = list(dict.fromkeys(name for case in cases for name in case["samples"]))
    subjects.sort(key=lambda name: name != "blobread")
    others = iter(OTHERS)
    height = 0.8 / len(subjects)
    for number, name in enumerate(subjects):
        places, lengths = [], []
        for place, case in enumerate(cases):
            if name in case["samples"]:
                middle = median(case["samples"][name])
                value = case["count"] / middle if inverse else middle / case["count"]
                places.append(place + (number + 0.5) * height - 0.4)
                lengths.append(value * scale)
        colour = COLOURS.get(name) or next(others)
        axes.barh(places, lengths, height=height, color=colour, label=name)
    axes.set_yticks(range(len(cases)), [case["case"] for case in cases])
    axes.invert_yaxis()
    if with_legend:
        axes.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))
