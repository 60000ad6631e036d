"""With BLOBREAD_NO_SKIP=1, where everything that tests ask for is there, a skipped test fails.

Only what cannot be had there may be skipped: its reason then starts with "only ", as in
"only on Windows".
"""

import os
from collections.abc import Generator

import pytest

DEMANDED = os.environ.get("BLOBREAD_NO_SKIP") == "1"


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not DEMANDED or not report.skipped or hasattr(report, "wasxfail"):
        return
    _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith("only "):
        report.outcome = "failed"
        report.longrepr = f"skipped, which BLOBREAD_NO_SKIP=1 forbids: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report
