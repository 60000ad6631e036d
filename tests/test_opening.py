"""`open`, `stat` and `list`: what they ask of the store, and which version they open."""

import io
import os
import pickle
from pathlib import Path

import pytest
from faults import Blob, Case, FaultServer

import blobread
from blobread import BlobChangedError, BlobReader, PathNotFoundError

DATA = bytes(range(256)) * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def case(fault_server: FaultServer) -> Case:
    return fault_server.case(Blob(1 << 20))


def asked(case: Case) -> int:
    return len(case.ledger.requests)


# ---- mode ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["rb", "r", "br"])
def test_mode_for_reading_gives_bytes(file: Path, mode: str) -> None:
    with blobread.open(file, mode) as reader:
        assert isinstance(reader, io.BufferedIOBase)
        assert (reader.read(), reader.mode) == (DATA, "rb")


@pytest.mark.parametrize("mode", ["rt", "w", "wb", "ab", "xb", "r+", "rb+", "rU", "", "b", None, 5])
def test_other_mode_is_a_value_error_and_touches_nothing(tmp_path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="mode must be 'rb'"):
        blobread.open(tmp_path / "new", mode)
    assert list(tmp_path.iterdir()) == []


# ---- one request or none -------------------------------------------------------------------------


def test_opening_and_reading_the_start_is_one_request(case: Case) -> None:
    with blobread.open(case.url) as reader:
        assert reader.size == 1 << 20
        assert reader.read(4096) == case.blob.read(0, 4096)
    assert asked(case) == 1


def test_given_its_size_a_blob_is_opened_without_a_request(case: Case) -> None:
    with blobread.open(case.url, size=1 << 20) as reader:
        assert reader.seek(-100, 2) == (1 << 20) - 100
        assert asked(case) == 0
        assert reader.read() == case.blob.read((1 << 20) - 100, 1 << 20)
    assert asked(case) == 1


@pytest.mark.parametrize("size", [0, 1, len(DATA) - 1, len(DATA) + 1, 1 << 40])
def test_size_that_is_wrong_is_an_error_and_never_wrong_bytes(file: Path, size: int) -> None:
    with blobread.open(file, size=size) as reader:
        assert reader.size == size
        if size == 0:
            assert reader.read() == b""
            return
        with pytest.raises(BlobChangedError):
            reader.read(1)
        assert reader.tell() == 0


def test_negative_size_is_a_value_error(file: Path) -> None:
    with pytest.raises(ValueError, match="-1"):
        blobread.open(file, size=-1)


# ---- a version -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 1 << 20])
def test_version_that_is_asked_for_is_read(case: Case, size: int | None) -> None:
    with blobread.open(case.url, etag=case.blob.etag, size=size) as reader:
        assert reader.info.etag == case.blob.etag
        assert reader.read() == case.blob.read(0, 1 << 20)


@pytest.mark.parametrize("size", [None, 1 << 20])
def test_version_that_is_not_there_is_an_error(case: Case, size: int | None) -> None:
    etag = Blob(1 << 20, version=2).etag
    with pytest.raises(BlobChangedError), blobread.open(case.url, etag=etag, size=size) as reader:
        reader.read(1)


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_store_without_entity_tags_has_no_version_of_one(file: Path, size: int | None) -> None:
    with pytest.raises(BlobChangedError), blobread.open(file, etag='"1"', size=size) as reader:
        reader.read(1)


def test_version_that_came_after_the_opening_is_not_read(case: Case) -> None:
    with blobread.open(case.url, etag=case.blob.etag) as reader:
        case.blob = Blob(1 << 20, version=2)
        with pytest.raises(BlobChangedError):
            reader.read()


# ---- what is not there ---------------------------------------------------------------------------


def test_missing_blob_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    for url in (path, str(path), path.as_uri(), "memory://missing"):
        for call in (blobread.open, blobread.stat):
            with pytest.raises(PathNotFoundError, match="missing"):
                call(url)


def test_missing_blob_may_be_empty(tmp_path: Path) -> None:
    with blobread.open(tmp_path / "missing", missing="eof") as reader:
        assert (reader.size, reader.read()) == (0, b"")


def test_unknown_way_to_miss_is_a_value_error(file: Path) -> None:
    with pytest.raises(ValueError, match="missing must be"):
        blobread.open(file, missing="ignore")  # type: ignore[arg-type]


# ---- options -------------------------------------------------------------------------------------


def test_storage_options_and_keywords_mean_the_same(file: Path) -> None:
    with blobread.open("blob", root=file.parent) as reader:
        assert reader.read() == DATA
    options = {"root": file.parent}
    with blobread.open("blob", storage_options=options) as reader:
        assert reader.read() == DATA
    assert blobread.stat("blob", storage_options=options) == blobread.stat("blob", root=file.parent)
    assert len(list(blobread.list("bl", storage_options=options))) == 1
    assert options == {"root": file.parent}


def test_option_that_is_given_twice_is_a_type_error(file: Path) -> None:
    with pytest.raises(TypeError, match="root"):
        blobread.open("blob", root=file.parent, storage_options={"root": "/nowhere"})


def test_unknown_option_is_a_type_error_before_the_store_is_asked(case: Case) -> None:
    for call in (blobread.open, blobread.stat, blobread.list):
        with pytest.raises(TypeError, match="unknown option encoding; driver http knows headers"):
            call(case.url, encoding="utf-8")
        with pytest.raises(TypeError, match="unknown option colour"):
            call(case.url, storage_options={"colour": 5})
    assert asked(case) == 0


@pytest.mark.parametrize("size", [0, -1, "large", 1.5])
def test_senseless_buffer_size_is_refused(file: Path, size: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        blobread.open(file, buffer_size=size)  # type: ignore[arg-type]


# ---- a URL that changes --------------------------------------------------------------------------


def test_callable_is_asked_for_a_fresh_url(case: Case) -> None:
    given: list[str] = []

    def sign() -> str:
        given.append(f"{case.url}?signature={len(given)}")
        return given[-1]

    with blobread.open(sign) as reader:
        first = len(given)
        assert reader.read() == case.blob.read(0, 1 << 20)
    assert len(given) > first
    targets = [request.target for request in case.ledger.requests]
    assert len(set(targets)) == len(targets) > 1
    assert blobread.stat(sign).size == 1 << 20


# ---- stat and list -------------------------------------------------------------------------------


def test_stat_tells_what_an_open_reader_knows(file: Path, case: Case) -> None:
    for url in (str(file), case.url):
        with blobread.open(url) as reader:
            assert blobread.stat(url) == reader.info


def test_list_tells_of_files_by_their_prefix(file: Path) -> None:
    found = list(blobread.list(f"{file.parent}{os.sep}"))
    assert found == [blobread.stat(file)]
    assert list(blobread.list(file)) == found
    assert list(blobread.list(f"{file}x")) == []


def test_store_that_cannot_list_says_so(case: Case) -> None:
    with pytest.raises(io.UnsupportedOperation, match="http"):
        blobread.list(case.url)


# ---- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 1 << 20])
def test_no_secret_of_a_url_is_shown(case: Case, size: int | None) -> None:
    url = case.url.replace("://", "://jo:pass-word@") + "?signature=se-cret"
    with blobread.open(url, size=size) as reader:
        reader.read(1)
        shown = f"{reader!r} {reader.name} {reader.info}"
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(reader)
    case.blob = Blob(100, version=2)
    with blobread.open(url, size=1 << 20) as reader, pytest.raises(BlobChangedError) as caught:
        reader.read(1)
    with pytest.raises(BlobChangedError) as named:
        blobread.open(url, etag='"other"')
    shown += f"{caught.value} {caught.value!r} {named.value}"
    for secret in ("pass-word", "se-cret"):
        assert secret not in shown


def test_reader_is_what_open_gives(file: Path) -> None:
    with blobread.open(file) as reader:
        assert type(reader) is BlobReader


def test_password_of_one_url_keeps_no_other_reader_from_pickling(case: Case) -> None:
    with blobread.open(case.url.replace("://", "://jo:pass-word@")) as secret:
        secret.read(1)
        with blobread.open(case.url) as plain, pickle.loads(pickle.dumps(plain)) as copy:
            assert copy.read(10) == plain.read(10)
