"""Subjects measured in turn: A B C, A B C, ...; whatever disturbs the machine disturbs them all."""

import gc
import sys
import time
from collections.abc import Callable, Mapping

from results import Case

__all__ = ["take_turns"]


def take_turns(
    case: str,
    subjects: Mapping[str, Callable[[], object]],
    *,
    baseline: str,
    count: int,
    rounds: int,
    before: Callable[[], object],
    is_right: Callable[[object], bool],
) -> Case:
    """Time every subject once a round, for `rounds` rounds after one that is not counted.

    Parameters
    ----------
    subjects : mapping
        Name to the call that is timed.
    baseline : str
        The subject that the others are compared with.
    count : int
        Calls, or bytes, of one run.
    before : callable
        Called before each run, outside of the time: takes out what an earlier run left.
    is_right : callable
        Given what a run returned, after each run, outside of the time: whether every byte is right.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    wrong: list[str] = []
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds + 1):
            for name, run in subjects.items():
                if name in wrong:
                    continue
                before()
                began = time.perf_counter()
                result = run()
                took = time.perf_counter() - began
                if not is_right(result):
                    wrong.append(name)
                    del seconds[name]
                elif number > 0:
                    seconds[name].append(took)
                del result
    finally:
        gc.enable()
    print(f"{case}: {', '.join(subjects)}; wrong: {wrong or 'none'}", file=sys.stderr)
    return Case(case=case, baseline=baseline, count=count, unit="s", samples=seconds, wrong=wrong)
