"""The progress bar: how far, how fast, how long still. It needs the extra ``cli``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MissingDependencyError
from ..whole.download import OnProgress

__all__ = ["progress_bar"]

_PAUSE = 0.1  # seconds between two pictures


@contextmanager
def progress_bar(label: str) -> Iterator[OnProgress]:
    """Draw a bar on stderr from the first call of what is given on; where that is no terminal,
    one line at the end. After an exception nothing of it is left to see.

    Raises
    ------
    MissingDependencyError
    """
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
    except ImportError as error:
        raise MissingDependencyError(
            "the progress bar needs the extra 'cli': pip install 'blobread[cli]', or use --quiet"
        ) from error
    bar = Progress(
        # A label is text: brackets in it are no markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=Console(stderr=True),
        # It would be done by a thread, which takes time from the reader and outlives the bar.
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task(label, start=False, total=None)
    shown = 0.0

    def show(done: int, total: int | None) -> None:
        nonlocal shown
        bar.update(task, completed=done, total=total)
        if done == 0:
            bar.start_task(task)
            bar.start()
        if (now := time.monotonic()) - shown >= _PAUSE:
            shown = now
            bar.refresh()

    try:
        yield show
    except BaseException:
        bar.live.transient = True
        # Not bar.stop(), which ends the line, even if there is none.
        bar.live.stop()
        raise
    bar.stop()
