"""The blob that all parts of one reader come from, and the version of it that they are of."""

import threading
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, TypeAlias, TypeVar

from ..driver import BlobInfo, RawStream, StorageDriver
from ..errors import BlobChangedError, BlobError
from . import links
from .counters import Counters
from .link import Link
from .retry import Retry

__all__ = ["Counters", "PinMode", "Source"]

E = TypeVar("E", bound=BlobError)

PinMode: TypeAlias = Literal["error", "warn", "off"]


class Source:
    """A blob of a driver; used by many threads.

    Parameters
    ----------
    driver : StorageDriver
    path : str
    info : BlobInfo
        The version to read, and its size. Without a version, that of the first stream is read.
    pin_mode : {"error", "warn", "off"}
        What a change of version does: it is an error; or, if the size is the same, a warning,
        after which all versions of that size are read; or nothing. Another size is an error always.
    retry : Retry
    link : Link, optional
        Told of each request; without it that of the driver's origin is.
    counters : Counters, optional

    Attributes
    ----------
    had_access : bool
        Whether a byte of the blob was read.
    is_lazy : bool
        Whether the driver's streams ask for nothing before they are read.
    """

    def __init__(
        self,
        driver: StorageDriver,
        path: str,
        info: BlobInfo,
        *,
        pin_mode: PinMode = "error",
        retry: Retry | None = None,
        link: Link | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.driver = driver
        self.path = path
        self.retry = Retry() if retry is None else retry
        self.link = _link_to(driver, path) if link is None else link
        self.counters = Counters() if counters is None else counters
        self.had_access = False
        self._part: Any = getattr(driver, "part", None)
        self.is_lazy = self._part is not None
        self._mode: PinMode = pin_mode
        self._pin = _sized_only(info) if pin_mode == "off" else info
        self._lock = threading.RLock()

    @property
    def shown(self) -> str:
        """The path as it may be printed."""
        redact = getattr(self.driver, "redact", None)
        return self.path if redact is None else str(redact(self.path))

    @property
    def pin(self) -> BlobInfo:
        """What the driver is to compare with: of any version the size, if that is all we want."""
        return self._pin

    def open(self, offset: int, stop: int, pin: BlobInfo) -> RawStream:
        """Open the bytes ``[offset, stop)`` of the version that `pin` names.

        Raises
        ------
        Exception
            Whatever the driver raises; if it is lazy, its stream does so.
        """
        self.counters.asked()
        ask = self._part or self.driver.read_stream
        stream: RawStream = ask(self.path, offset, stop - offset, pin=pin)
        return stream

    def met(self, stream: RawStream, pin: BlobInfo) -> None:
        """Look at what a stream says beside its bytes, once its request is answered.

        Raises
        ------
        BlobChangedError
            If it is of another version than a stream before it, or of another size.
        """
        if getattr(stream, "new_connection", False):
            self.counters.add(connections=1)
        told: BlobInfo | None = getattr(stream, "info", None)
        if told is None:
            return
        is_other = told.size is not None and told.size != pin.size
        # Who asked for a version was given that, or an error; who did not learns it here.
        if not is_other and pin.version is None and told.version is not None:
            is_other = not self._takes(told)
        if is_other:
            raise self.error(BlobChangedError, "was replaced since it was opened; open it again")

    def forgives(self, error: Exception, pin: BlobInfo) -> bool:
        """Tell whether to ask once more, although the blob is not the version of `pin`.

        Raises
        ------
        Exception
            What the driver's `stat` raises.
        """
        if not isinstance(error, BlobChangedError):
            return False
        with self._lock:
            if self._mode != "warn":
                # It was another part that was the first to see the change.
                return self._mode == "off" and self._pin is not pin
        self.counters.add(requests=1)
        if self.driver.stat(self.path).size != pin.size:
            return False
        with self._lock:
            is_first = self._mode == "warn"
            if is_first:
                self._mode = "off"
                self._pin = _sized_only(pin)
        if is_first:
            warnings.warn(
                f"{self.driver.name}: the blob is no longer the version that was opened, and of"
                f" the same size; it is read on, as pin='warn' says: {self.shown!r}",
                RuntimeWarning,
                stacklevel=2,
            )
        return True

    def error(self, kind: type[E], message: str) -> E:
        """Make an error of this blob."""
        return kind(message, driver=self.driver.name, path=self.shown)

    def _takes(self, told: BlobInfo) -> bool:
        """Read the first version that is told from now on; False if `told` is another one."""
        with self._lock:
            if self._mode == "off":
                return True
            if self._pin.version is None:
                self._pin = replace(
                    self._pin, version=told.version, etag=told.etag, modified=told.modified
                )
            return self._pin.version == told.version


def _sized_only(info: BlobInfo) -> BlobInfo:
    return BlobInfo(info.path, info.size)


def _link_to(driver: StorageDriver, path: str) -> Link:
    """The link that a blob comes by: its origin's, or the driver's where that tells no origin."""
    origin = driver.name
    if hasattr(driver, "origin"):
        with suppress(OSError, ValueError):
            origin = str(driver.origin(path))
    return links.of(origin)
