"""How much a process may read ahead, where its program does not say: what `Budget` begins with."""

import os
import sys
import warnings

from ..sizes import parse_size
from .machine import memory_allowed

__all__ = ["WORKERS", "allowance", "is_worker"]

WORKERS = 4  # a worker process has one part in so many of what its parent has

_VARIABLE = "BLOBREAD_MEMORY_BUDGET"
_MOST = 512 << 20  # bytes, by default
_SHARE = 8  # one part in so many of the memory that the process may have, by default


def allowance() -> int:
    """Give the bytes that the environment sets, or else what the machine suggests.

    Warns
    -----
    RuntimeWarning
        If what the environment says is no size.
    """
    said = os.environ.get(_VARIABLE)
    if said is not None:
        try:
            return parse_size(said.strip())
        except ValueError as error:
            warnings.warn(f"{_VARIABLE} is ignored: {error}", RuntimeWarning, stacklevel=2)
    allowed = memory_allowed()
    return _MOST if allowed is None else max(1, min(allowed // _SHARE, _MOST))


def is_worker() -> bool:
    """Whether multiprocessing started this process, be it for torch's DataLoader or for a pool."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None
