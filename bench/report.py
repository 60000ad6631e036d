"""From the raw measurements to the tables of README and the pictures in docs.

Refuses what was measured on anything but a commit, figures of different commits, and wrong bytes.

Run: python bench/report.py
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Literal, NamedTuple

import link_pictures
import pictures
import results
from results import Case, Measured

_ROOT = Path(__file__).resolve().parent.parent
_BEGIN = "<!-- figures: begin; written by bench/report.py -->\n"
_END = "<!-- figures: end -->"
_OURS = "blobread"


class Figure(NamedTuple):
    """How a figure is told: its name among the results, a heading, and the text of one sample.

    `compared` heads the column that compares us with the baseline, if there is one.
    """

    name: str
    heading: str
    text: Callable[[float, int], str]
    compared: Literal["our time", "our speed", ""]


def nanoseconds(sample: float, count: int) -> str:
    return f"{sample / count * 1e9:.0f}"


def microseconds(sample: float, count: int) -> str:
    return f"{sample / count * 1e6:.0f}"


def gigabytes_a_second(sample: float, count: int) -> str:
    return f"{count / sample / 1e9:.1f}"


def megabytes(sample: float, count: int) -> str:
    return f"{sample / count / 1e6:.1f}"


def milliseconds(sample: float, count: int) -> str:
    return f"{sample * 1e3:.0f}"


def seconds_a_gibibyte(sample: float, count: int) -> str:
    return f"{sample / count * (1 << 30):.2f}"


def whole_number(sample: float, count: int) -> str:
    return f"{sample / count:.0f}"


_FIGURES = (
    Figure("calls", "One call on a hot local file, nanoseconds", nanoseconds, "our time"),
    Figure("local", "Hot local file to an array, GB/s", gigabytes_a_second, "our speed"),
    Figure("http_bulk", "HTTP to an array, GB/s", gigabytes_a_second, "our speed"),
    Figure("http_small", "Small reads over HTTP, microseconds each", microseconds, "our time"),
    Figure("memory", "Memory beyond an array of 1 GiB that is read, MB", megabytes, ""),
    Figure("link_bulk", "All of a blob over a link, milliseconds", milliseconds, "our time"),
    Figure("link_small", "Small reads over a link, milliseconds in all", milliseconds, "our time"),
    Figure("link_cpu", "CPU seconds for 1 GiB", seconds_a_gibibyte, "our time"),
    Figure("link_memory", "Memory beyond the array, MB", megabytes, ""),
    Figure(
        "link_seconds", "Libraries over a link of 10 ms, milliseconds", milliseconds, "our time"
    ),
    Figure("link_fetched", "The same, MB that the server sent", megabytes, ""),
    Figure("link_requests", "The same, requests", whole_number, ""),
)
_ONLY_PICTURED = ("link_buffers", "link_connections")
_LINK = (
    "A link has a delay before the first byte of each answer, and 50 MB/s for each connection, by "
    "the kernel's pacing of what nginx sends; bare sockets check both before each measurement. "
    "Bytes and requests are counted by the server."
)


def checked(measured: list[Measured]) -> list[Measured]:
    """Give the measurements back if they may be published, else end the program."""
    commits = {one["about"]["commit"] for one in measured}
    if len(commits) > 1:
        sys.exit(f"the figures are of different commits: {', '.join(sorted(commits))}")
    for one in measured:
        if one["about"]["dirty"]:
            sys.exit(f"{one['figure']} was measured on a tree with changes that are not committed")
        for case in one["cases"]:
            if _OURS in case["wrong"]:
                sys.exit(f"{one['figure']}, {case['case']}: {_OURS} gave a wrong byte")
    return measured


def subjects_of(cases: list[Case]) -> list[str]:
    """Ours first, then the rest in the order of their runs."""
    found = dict.fromkeys(name for case in cases for name in [*case["samples"], *case["wrong"]])
    return [_OURS, *(name for name in found if name != _OURS)]


def ratio(figure: Figure, case: Case) -> str:
    """Compare our median with the baseline's, and say how the ratio differs from round to round."""
    if not {case["baseline"], _OURS} <= case["samples"].keys():
        return ""
    ours, theirs = case["samples"][_OURS], case["samples"][case["baseline"]]
    if figure.compared == "our speed":
        ours, theirs = theirs, ours
    middle = median(ours) / median(theirs)
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    if len(ratios) < 2:
        return f"{middle:.2f} (one round) of {case['baseline']}"
    low, _, high = quantiles(ratios)
    return f"{middle:.2f} ({low:.2f} to {high:.2f}) of {case['baseline']}"


def table(figure: Figure, cases: list[Case]) -> Iterator[str]:
    """The lines of a table in Markdown: a row a case, a column a subject."""
    subjects = subjects_of(cases)
    rows = [[figure.heading, *subjects]]
    rows += [[case["case"], *(cell(figure, case, name) for name in subjects)] for case in cases]
    if figure.compared:
        rows[0].append(figure.compared)
        for row, case in zip(rows[1:], cases, strict=True):
            row.append(ratio(figure, case))
    rows.insert(1, ["---"] * len(rows[0]))
    for row in rows:
        yield f"| {' | '.join(row)} |"


def cell(figure: Figure, case: Case, name: str) -> str:
    if name in case["wrong"]:
        return "wrong bytes"
    if name not in case["samples"]:
        return ""
    return figure.text(median(case["samples"][name]), case["count"])


def circumstances(measured: list[Measured]) -> Iterator[str]:
    about = measured[0]["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield (
        f"Measured at commit `{about['commit'][:12]}` with Python {about['python'].split()[0]}, "
        f"{versions}, on {about['system']}, {about['cores']} cores of {about['processor']}. "
        "We wrote both the library and the benchmark, so do not believe us: "
        "`./ci/bench` measures again, and [bench/results](bench/results) has the raw numbers."
    )
    yield ""
    yield (
        "All subjects take turns, every byte of every run is checked, and numbers are medians; "
        "the last column has the ratio of medians and, in brackets, the quartiles of the ratios "
        "within a round. Files are in the system's cache, and the server is nginx over loopback, "
        "so these are the costs of the programs alone: a disk or a network only adds to them."
    )


def section(measured: list[Measured]) -> str:
    """The section of README, without the marks around it."""
    lines = list(circumstances(measured))
    for figure, one in zip(_FIGURES, measured, strict=True):
        if figure.name == "link_bulk":
            lines += ["", _LINK]
        lines += ["", *table(figure, one["cases"])]
    texts = pictures.TEXTS | link_pictures.TEXTS
    lines += ["", *(f"![{text}](docs/{name})" for name, text in texts.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    names = [*(figure.name for figure in _FIGURES), *_ONLY_PICTURED]
    measured = checked([results.load(name) for name in names])
    readme = _ROOT / "README.md"
    before, begin, rest = readme.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        sys.exit("README.md has no marks between which the figures belong")
    cases = {one["figure"]: one["cases"] for one in measured}
    pictures.draw(cases, _ROOT / "docs")
    link_pictures.draw(cases, _ROOT / "docs")
    told = section(measured[: len(_FIGURES)])
    readme.write_text(before + begin + told + end + after, "utf-8")


if __name__ == "__main__":
    main()
