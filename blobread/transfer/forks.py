"""How many forks lie between this process and its start: what is older is the parent's."""

import os

__all__ = ["forks"]

_count = 0


def forks() -> int:
    """Give the count; state that was made at a lower one belongs to the process forked from."""
    return _count


def _note() -> None:
    global _count
    _count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
