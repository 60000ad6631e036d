"""From a blob to a local file, which appears whole or not at all."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from .._reader import BlobReader
from ..digest import new_hash, parse_digest
from ..driver import BlobInfo
from ..errors import DigestMismatchError
from ..opening import Url
from ..opening import open as open_blob

__all__ = ["OnProgress", "chunks", "download"]

# Called with the bytes that have come, and the bytes in all where that is known.
OnProgress = Callable[[int, int | None], None]

# Small enough to be hashed and written while the CPU's cache still holds it.
_CHUNK = 1024 * 1024


def download(
    url: Url,
    path: str | os.PathLike[str],
    *,
    verify: str | None = None,
    on_progress: OnProgress | None = None,
    resume: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> BlobInfo:
    """Copy a blob into a local file.

    The bytes go into a new file beside `path`, which takes its name when all of them are on the
    disk. Whatever fails before does not change the one that was there.

    Parameters
    ----------
    url : str, os.PathLike or callable
        As for `open`.
    path : str or os.PathLike
        Of the local file; one that exists is replaced, and a symbolic link is followed.
    verify : str, optional
        The digest that the bytes must have, ``"sha256:..."`` or ``"sha512:..."``, instead of the
        one that the store knows.
    on_progress : callable, optional
        Called on this thread with the number of bytes that are there and the size, or None if it
        is unknown: first with what there was before, and then again and again.
    resume : bool
        Whether what has come of a large blob is kept when the download fails, and even when the
        process is killed, so that the next one to the same `path` brings only what is missing. It
        is in a hidden file beside `path`, which goes when the blob is found to be another version.
        Nothing is kept of a blob that has no version to know it by, of local ones, or on Windows.
    storage_options : mapping, optional
    **options
        As for `open`.

    Returns
    -------
    BlobInfo
        Of the version that was copied.

    Raises
    ------
    DigestMismatchError
        Nothing is kept then.
    ValueError
        If `verify` is no digest.
    OSError
        If `path` is a directory or a device, or cannot be written.
    BlobError
        As for `open` and for reading.
    """
    if verify is not None:
        verify = parse_digest(verify)
    twice = (storage_options or {}).keys() & options.keys()
    if twice:
        raise TypeError(f"{min(twice)} is given as a keyword and in storage_options")
    options = {**(storage_options or {}), **options}
    target = _replaceable(path)
    from .in_parts import download_in_parts

    info = download_in_parts(url, target, options, verify, on_progress, may_keep=resume)
    if info is not None:
        return info
    with open_blob(url, **options) as blob:
        with _replacing(target) as file:
            _copy(blob, file, verify or blob.info.digest, on_progress)
        return blob.info


def chunks(blob: BlobReader, count: int | None = None) -> Iterator[memoryview]:
    """Read on, `count` bytes or to the end; each chunk is overwritten when the next is asked for.

    Memory is bounded: there is one buffer, which all chunks are views of.
    """
    buffer = memoryview(bytearray(_CHUNK))
    while count is None or count > 0:
        # What has come is passed on at once: a link may be slow.
        got = blob.readinto1(buffer if count is None else buffer[:count])
        if got == 0:
            return
        yield buffer[:got]
        if count is not None:
            count -= got


def _replaceable(path: str | os.PathLike[str]) -> str:
    """The real path, unless replacing it would destroy what is no file."""
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "is a directory", os.fspath(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "is not a regular file", os.fspath(path))
    return target


@contextmanager
def _replacing(target: str) -> Iterator[BinaryIO]:
    """Give a new file, which replaces the target if all goes well, and vanishes if not."""
    # The name is known before there is a file: Ctrl-C at any moment finds what to remove.
    partial = os.path.join(os.path.dirname(target), f".blobread-{os.urandom(8).hex()}.part")
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        if isinstance(error, OSError) and error.filename == partial:
            error.filename = target  # the name that the caller knows
        raise


def _copy(
    blob: BlobReader, file: BinaryIO, expected: str | None, on_progress: OnProgress | None
) -> None:
    hasher = None if expected is None else new_hash(expected)
    done = 0
    if on_progress is not None:
        on_progress(0, blob.size)
    for chunk in chunks(blob):
        if hasher is not None:
            hasher.update(chunk)
        file.write(chunk)
        done += len(chunk)
        if on_progress is not None:
            on_progress(done, blob.size)
    file.flush()
    # What lies in the file counts, not what was handed to it.
    written, size = os.fstat(file.fileno()).st_size, done if blob.size is None else blob.size
    if written != size:
        raise _mismatch(blob, f"the file has {written} bytes, and the blob {size}")
    if hasher is not None and (digest := f"{hasher.name}:{hasher.hexdigest()}") != expected:
        raise _mismatch(blob, f"its digest is {digest}, and {expected} was expected")


def _mismatch(blob: BlobReader, message: str) -> DigestMismatchError:
    return DigestMismatchError(message, driver=blob.driver.name, path=blob.info.path)
