"""A blob of a remote store into a local file, by many requests, and by as few as are needed."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .. import schemes
from ..digest import new_hash
from ..driver import BlobInfo, RawStream, StorageDriver
from ..errors import BlobChangedError, DigestMismatchError
from ..opening import Url
from ..transfer.resume import ResumingStream
from .blob import Opening, Settings, settings_of
from .into_file import IntoFile
from .partial import Identity, Partial, is_begun

__all__ = ["download_in_parts"]

_OPENING = 256 * 1024  # of a first stream that does not say where it ends, no more is used
_KEPT = 1024 * 1024  # what is smaller is not worth two files more
_CHUNK = 1024 * 1024
_HASHED_AT_ONCE = 64 * _CHUNK
_SAVE_EVERY = 1.0  # seconds; and no more than a tenth of the time is spent on it
_SETTLED = 60.0  # seconds after which a date tells versions apart (RFC 9110, section 8.8.2.2)

# Of signed URLs; they differ for one and the same blob.
_SIGNATURE = re.compile(
    r"(?:x-amz-|x-goog-)[^=]*|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid",
    re.IGNORECASE,
)


def download_in_parts(
    url: Url,
    target: str,
    options: Mapping[str, Any],
    verify: str | None,
    on_progress: Callable[[int, int | None], object] | None,
    *,
    may_keep: bool,
) -> BlobInfo | None:
    """Copy a blob into the file `target`; None: it is read better from its start to its end.

    Raises
    ------
    DigestMismatchError, BlobError, OSError
    """
    settings = settings_of(options)
    if settings is None:
        return None
    driver, path = schemes.resolve(url, settings.of_driver)
    if getattr(driver, "is_local", False):
        return None
    opening = Opening(driver, path, settings.retry)
    shown = str(driver.redact(path)) if hasattr(driver, "redact") else path
    place = _hashed(shown, os.path.basename(target))
    may_keep = may_keep and settings.pin == "error"
    stream = None
    try:
        if not hasattr(driver, "open") or (may_keep and is_begun(target, place)):
            info = driver.stat(path)  # the first bytes are likely to be there
        else:
            info, stream = opening.ask()
        if info.size is None or info.is_dir:
            return None
        identity = None
        if may_keep and info.size > _KEPT and _is_certain(info):
            version = _hashed(_unsigned(path), str(info.version), str(info.size))
            identity = Identity(place, version)
        download = _Download(driver, path, info, settings, opening, on_progress)
        download.run(target, identity, stream, verify or info.digest)
        return info
    finally:
        if stream is not None:
            stream.close()


class _Download:
    def __init__(
        self,
        driver: StorageDriver,
        path: str,
        info: BlobInfo,
        settings: Settings,
        opening: Opening,
        on_progress: Callable[[int, int | None], object] | None,
    ) -> None:
        assert info.size is not None
        self._size = info.size
        self._name = driver.name
        self._shown = info.path
        self._link = opening.link
        self._parallel = settings.parallel
        self._source = settings.source(driver, path, info, opening.link)
        self._on_progress = on_progress
        self._hash: Any = None
        self._hashed = 0
        self._buffer = memoryview(b"")
        self._next_save = 0.0

    def run(
        self, target: str, identity: Identity | None, stream: RawStream | None, digest: str | None
    ) -> None:
        """Bring what is missing, look at all of it, and give the file its name."""
        keep = True
        file = Partial(target, self._size, identity)
        try:
            if digest is not None:
                self._hash = new_hash(digest)
                self._buffer = memoryview(bytearray(min(_CHUNK, max(1, self._size))))
            self._show(file)
            self._bring(file, stream)
            while self._look(file):
                pass
            try:
                self._check(file, digest)
            except DigestMismatchError:
                keep = False
                raise
            file.finish()
        except BlobChangedError:
            keep = False
            raise
        finally:
            file.leave(keep=keep)

    def _bring(self, file: Partial, stream: RawStream | None) -> None:
        """Bring all that is missing; the stream, where there is one, has the first bytes."""
        missing = file.missing()
        begun = 0
        if stream is not None and missing and missing[0][0] == 0:
            begun = min(getattr(stream, "stop", _OPENING), missing[0][1])
            missing[0] = (begun, missing[0][1])
        into = IntoFile(self._source, file, self._parts(missing), self._connections)
        self._next_save = time.monotonic() + _SAVE_EVERY
        try:
            into.begin()
            if begun:
                into.bring(ResumingStream(self._source, 0, begun, stream), 0, begun)
            into.wait(lambda: self._tick(file))
        finally:
            _insist(into.leave)

    def _connections(self) -> int:
        return self._parallel or self._link.connections

    def _parts(self, missing: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        wanted = sum(stop - start for start, stop in missing)
        size = max(1, wanted)
        if self._connections() > 1:
            size = self._link.part_size(size)
        for start, stop in missing:
            for at in range(start, stop, size):
                yield at, min(at + size, stop)

    def _tick(self, file: Partial) -> bool:
        """Do what is to be done in between; tell whether there is more of it."""
        self._show(file)
        began = time.monotonic()
        if file.is_kept and began >= self._next_save:
            file.save()
            now = time.monotonic()
            self._next_save = now + max(_SAVE_EVERY, 10 * (now - began))
        return self._look(file)

    def _show(self, file: Partial) -> None:
        if self._on_progress is not None:
            self._on_progress(file.done, self._size)

    def _look(self, file: Partial) -> bool:
        """Hash on in what lies in the file; tell whether there is more of it."""
        if self._hash is None:
            return False
        reach = file.reach
        stop = min(reach, self._hashed + _HASHED_AT_ONCE)
        while self._hashed < stop:
            count = file.read(self._buffer[: stop - self._hashed], self._hashed)
            if not count:
                return False  # it was cut by others, which its size will show
            self._hash.update(self._buffer[:count])
            self._hashed += count
        return self._hashed < reach

    def _check(self, file: Partial, digest: str | None) -> None:
        self._show(file)
        written = file.written_size()
        if written != self._size:
            raise self._mismatch(f"the file has {written} bytes, and the blob {self._size}")
        if digest is not None:
            found = f"{digest.partition(':')[0]}:{self._hash.hexdigest()}"
            if found != digest:
                raise self._mismatch(f"its digest is {found}, and {digest} was expected")

    def _mismatch(self, message: str) -> DigestMismatchError:
        return DigestMismatchError(message, driver=self._name, path=self._shown)


def _insist(leave: Callable[[], None]) -> None:
    """Leave, whatever comes between: threads write into the file until then."""
    while True:
        try:
            return leave()
        except KeyboardInterrupt:
            continue  # the caller's first one, or the error, is on its way already


def _is_certain(info: BlobInfo) -> bool:
    """Whether the version that a store tells means these very bytes, also tomorrow."""
    if info.version is None:
        return False
    if info.etag is not None:
        return not info.etag.startswith("W/")
    return info.modified is None or time.time() - info.modified.timestamp() > _SETTLED


def _unsigned(path: str) -> str:
    """Leave out of a URL what signs it: it is another one each time."""
    base, mark, query = path.partition("?")
    kept = [one for one in query.split("&") if not _SIGNATURE.fullmatch(one.partition("=")[0])]
    return base + mark + "&".join(kept)


def _hashed(*texts: str) -> str:
    import hashlib  # a third of the time of importing blobread

    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
