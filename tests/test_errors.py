"""Every error is of Python's own kind too, and travels between processes."""

import copy
import errno
import pickle
import subprocess
import sys

import pytest

import blobread
from blobread import BlobError, MissingDependencyError, errors

# The error, what of Python's own it is, and its errno.
TABLE = [
    ("BlobError", OSError, errno.EIO),
    ("PathNotFoundError", FileNotFoundError, errno.ENOENT),
    ("BlobIsDirectoryError", IsADirectoryError, errno.EISDIR),
    ("AccessDeniedError", PermissionError, errno.EACCES),
    ("AuthenticationError", PermissionError, errno.EACCES),
    ("InvalidPathError", ValueError, errno.EINVAL),
    ("InvalidOffsetError", ValueError, errno.EINVAL),
    ("BlobChangedError", OSError, errno.ESTALE),
    ("TruncatedBlobError", OSError, errno.EIO),
    ("DigestMismatchError", OSError, errno.EBADMSG),
    ("ProtocolError", OSError, errno.EPROTO),
    ("RangeNotSupportedError", OSError, errno.EOPNOTSUPP),
    ("RetriesExhaustedError", OSError, errno.EIO),
    ("BlobTimeoutError", TimeoutError, errno.ETIMEDOUT),
    ("UnsafeRedirectError", OSError, errno.EPERM),
    ("MissingDependencyError", ImportError, None),
]
KINDS = [getattr(errors, name) for name, _, number in TABLE if number is not None]

every_kind = pytest.mark.parametrize("kind", KINDS)


def full(kind: type[BlobError]) -> BlobError:
    return kind(
        "what was wrong",
        driver="s3",
        path="a/b",
        errno=errno.EHOSTDOWN,
        status=503,
        retry_after=1.5,
    )


@pytest.mark.parametrize(("name", "kind", "number"), TABLE)
def test_error_is_of_its_kind_and_has_its_errno(
    name: str, kind: type[Exception], number: int | None
) -> None:
    error = getattr(blobread, name)("what was wrong")
    assert isinstance(error, kind)
    assert isinstance(error, BlobError) == (number is not None)
    assert getattr(error, "errno", None) == number
    assert str(error) == "what was wrong"


def test_table_has_every_error_and_all_are_exported() -> None:
    assert sorted(name for name, _, _ in TABLE) == sorted(errors.__all__)
    assert set(errors.__all__) <= set(blobread.__all__)


@every_kind
def test_message_names_driver_and_path_once(kind: type[BlobError]) -> None:
    error = full(kind)
    assert str(error) == "s3: what was wrong: 'a/b'"
    assert (error.driver, error.path, error.filename) == ("s3", "a/b", "a/b")
    assert (error.errno, error.status, error.retry_after) == (errno.EHOSTDOWN, 503, 1.5)
    assert error.strerror == str(error)


@every_kind
def test_error_is_the_same_after_pickle_and_copy(kind: type[BlobError]) -> None:
    error = full(kind)
    error.add_note("seen while testing")
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    again = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    for other in (*again, copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert (str(other), other.args) == (str(error), error.args)
        assert vars(other) == vars(error)
        for name in ("errno", "strerror", "filename"):
            assert getattr(other, name) == getattr(error, name)


@every_kind
def test_error_is_made_again_from_its_message_alone(kind: type[BlobError]) -> None:
    # As torch's workers do.
    error = full(kind)
    again = kind(str(error))
    assert str(again) == str(error)
    assert again.errno == kind.default_errno
    assert (again.driver, again.path) == (None, None)


@every_kind
def test_error_without_a_message_can_be_made(kind: type[BlobError]) -> None:
    assert str(kind()) == ""
    assert str(pickle.loads(pickle.dumps(kind()))) == ""


def test_error_of_another_process_is_raised_here() -> None:
    program = """
import pickle, sys
from blobread import errors
caught = []
for name in sys.argv[1:]:
    try:
        raise getattr(errors, name)("what was wrong", driver="s3", path="a/b", status=503)
    except errors.BlobError as error:
        caught.append(error)
pickle.dump(caught, sys.stdout.buffer)
"""
    names = [kind.__name__ for kind in KINDS]
    run = subprocess.run(
        [sys.executable, "-c", program, *names], stdout=subprocess.PIPE, check=True
    )
    for error, kind in zip(pickle.loads(run.stdout), KINDS, strict=True):
        with pytest.raises(kind, match=r"^s3: what was wrong: 'a/b'$"):
            raise error
        assert (error.errno, error.status) == (kind.default_errno, 503)


def test_missing_dependency_pickles() -> None:
    again = pickle.loads(pickle.dumps(MissingDependencyError("pip install 'blobread[cli]'")))
    assert type(again) is MissingDependencyError
    assert str(again) == "pip install 'blobread[cli]'"
