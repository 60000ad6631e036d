"""One blob that is read whole, at once: fewer steps than a reader needs, and no less care."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import schemes
from .._reader import BlobReader
from ..driver import BlobInfo, RawStream, StorageDriver
from ..opening import Url
from ..opening import open as open_blob
from ..transfer import links
from ..transfer.attempts import Attempts
from ..transfer.engine import Engine, origin_of
from ..transfer.link import Link
from ..transfer.pinned import PinnedBlob
from ..transfer.receive import receive
from ..transfer.resume import ResumingStream
from ..transfer.retry import Retry
from ..transfer.source import PinMode, Source

__all__ = ["Opening", "Settings", "WholeBlob", "settings_of"]

_OPENING = 256 * 1024  # bytes, which the opening of a blob brings
_OF_READERS = frozenset({"size", "etag", "missing", "verify", "on_progress"})


class Settings(NamedTuple):
    """The options of `open` that say how bytes are brought, and those of the driver."""

    retry: Retry
    pin: PinMode
    parallel: int | None
    buffer_size: int | None
    of_driver: dict[str, Any]

    def source(self, driver: StorageDriver, path: str, info: BlobInfo, link: Link) -> Source:
        """Give where the bytes of one version come from."""
        return Source(driver, path, info, pin_mode=self.pin, retry=self.retry, link=link)


class _Nowhere:
    name = ""


def settings_of(options: Mapping[str, Any]) -> Settings | None:
    """Take options of `open` apart; None: some of them only a reader understands.

    Raises
    ------
    ValueError, TypeError
        For a value that is wrong whatever the blob.
    """
    others = dict(options)
    of_engine = {
        name: others.pop(name)
        for name in ("retry", "pin", "parallel", "buffer_size")
        if name in others
    }
    Engine(_Nowhere(), **of_engine)  # type: ignore[arg-type]  # it knows what is wrong
    if not _OF_READERS.isdisjoint(others):
        return None
    parallel, buffer_size = of_engine.get("parallel"), of_engine.get("buffer_size")
    return Settings(
        retry=Retry.of(of_engine.get("retry")),
        pin=of_engine.get("pin", "error"),
        parallel=None if parallel == "auto" else parallel,
        buffer_size=None if buffer_size == "auto" else buffer_size,
        of_driver=others,
    )


class Opening:
    """Asks a driver for info and first bytes, and again where that may help.

    Parameters
    ----------
    driver : StorageDriver
        One that has `open`.
    path : str
    retry : Retry
    """

    def __init__(self, driver: StorageDriver, path: str, retry: Retry) -> None:
        self.link = links.of(origin_of(driver, path))
        self._driver = driver
        self._path = path
        self._retry = retry
        self._attempts: Attempts | None = None
        self._is_given_up = False

    def ask(self) -> tuple[BlobInfo, RawStream]:
        """Give what the driver gives.

        Raises
        ------
        RetriesExhaustedError, BlobTimeoutError, BlobError
        """
        while True:
            self.link.started()
            began = time.perf_counter()
            try:
                info, stream = self._driver.open(self._path)  # type: ignore[attr-defined]
            except Exception as error:
                self.link.finished(None, 0, 0.0)
                verdict = self._verdict(error)
                if verdict is None:
                    continue
                if verdict is error:
                    raise
                raise verdict from error
            told = getattr(stream, "first_byte_after", None)
            if not isinstance(told, float):
                told = time.perf_counter() - began
            self.link.finished(told, 0, 0.0)
            return info, stream

    def give_up(self) -> None:
        """Ask no more. From any thread; a request that is under way comes to its end."""
        self._is_given_up = True
        attempts = self._attempts
        if attempts is not None:
            attempts.wake()

    def _verdict(self, error: Exception) -> Exception | None:
        if self._attempts is None:
            redact = getattr(self._driver, "redact", None)
            shown = self._path if redact is None else str(redact(self._path))
            self._attempts = Attempts(self._retry, self._driver.name, self._path, shown)
        if self._is_given_up:
            return error
        verdict = self._attempts.failed(error)
        return error if self._is_given_up else verdict


class WholeBlob:
    """A blob that is opened, read into memory of its own, and left.

    Parameters
    ----------
    url : str, os.PathLike or callable
    options : mapping
        Of `open`.
    settings : Settings or None
        The same options, taken apart.

    Attributes
    ----------
    link : Link or None
        None where the bytes are at hand, or are read by a reader.

    Raises
    ------
    InvalidPathError, TypeError
    """

    def __init__(self, url: Url, options: Mapping[str, Any], settings: Settings | None) -> None:
        self.link: Link | None = None
        self._url = url
        self._options = options
        self._settings = settings
        self._opening: Opening | None = None
        self._size: int | None = None
        self._whole: BlobReader | PinnedBlob | ResumingStream | None = None
        self._is_stopped = False
        if settings is None:
            return
        driver, self._path = schemes.resolve(url, settings.of_driver)
        if not getattr(driver, "is_local", False) and hasattr(driver, "open"):
            self._driver = driver
            self._opening = Opening(driver, self._path, settings.retry)
            self.link = self._opening.link

    @property
    def size(self) -> int:
        """Its bytes; 0 where they are not known before the end."""
        return self._size or 0

    @property
    def parts(self) -> int:
        """How many requests it is read by."""
        if self.link is None or self.size <= _OPENING:
            return 1
        return -(-self.size // self.link.part_size(self.size))

    def open(self) -> None:
        """Ask for it.

        Raises
        ------
        BlobError, ValueError
        """
        self._whole = self._asked() or open_blob(self._url, **self._options)
        if isinstance(self._whole, BlobReader):
            self._size = self._whole.size
        if self._is_stopped:
            self.stop()
            raise ValueError("the blob is not wanted any more")

    def read(self) -> memoryview:
        """Read all of it, into new memory."""
        whole, size = self._whole, self._size
        assert whole is not None
        try:
            if size is None:
                assert isinstance(whole, BlobReader)
                return memoryview(bytearray(whole.read()))
            view = memoryview(bytearray(size))
            if isinstance(whole, ResumingStream):
                receive(whole, view)
            elif isinstance(whole, PinnedBlob):
                whole.readinto_at(view, 0)
            else:
                whole.readinto(view)
            return view
        finally:
            self.stop()

    def stop(self) -> None:
        """End what is under way, and hold nothing. From any thread; idempotent."""
        self._is_stopped = True
        if self._opening is not None:
            self._opening.give_up()
        if isinstance(self._whole, PinnedBlob):
            self._whole.stop()
        elif self._whole is not None:
            self._whole.close()

    def _asked(self) -> PinnedBlob | ResumingStream | None:
        if self._opening is None or self._settings is None:
            return None
        info, stream = self._opening.ask()
        if info.size is None or stream is None:
            if stream is not None:
                stream.close()
            return None  # it can only be read on, which a reader does
        self._size = info.size
        source = self._settings.source(self._driver, self._path, info, self._opening.link)
        if info.size <= _OPENING:
            return ResumingStream(source, 0, info.size, stream)
        return PinnedBlob(
            source,
            info,
            parallel=self._settings.parallel,
            buffer_size=self._settings.buffer_size,
            on_progress=None,
            first=stream,
        )
