"""A forked child, and whether what was tried there held."""

import os
import threading
import traceback
import warnings
from collections.abc import Callable

import pytest

__all__ = ["in_child", "needs_fork"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="only where fork(2) is")


def in_child(check: Callable[[], object]) -> None:
    """Call it in a forked child, and fail with what it says there; a child that hangs is killed."""
    near, far = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks with threads, which is what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(near)
            check()
            status = 0
        except BaseException:
            os.write(far, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(status)
    os.close(far)
    killer = threading.Timer(30, os.kill, (child, 9))
    killer.start()
    with open(near, "rb") as told:
        text = told.read().decode()
    _, status = os.waitpid(child, 0)
    killer.cancel()
    killer.join()
    assert status == 0, text or f"the child was killed: it hung (status {status})"
