"""gzip, bz2 and lzma."""

import bz2
import gzip
import io
import lzma
from typing import Any

import pytest

from consumers.conftest import Store


@pytest.fixture(scope="module", params=[gzip, bz2, lzma], ids=lambda codec: codec.__name__)
def codec(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def packed(codec: Any, noise: bytes) -> bytes:
    data: bytes = codec.compress(noise)
    return data


@pytest.fixture(scope="module")
def packed_text(codec: Any, text: bytes) -> bytes:
    data: bytes = codec.compress(text)
    return data


def test_a_compressed_blob_is_read_whole(
    store: Store, codec: Any, packed: bytes, noise: bytes
) -> None:
    with store.open(packed) as blob, codec.open(blob) as file:
        assert file.read() == noise


def test_a_compressed_blob_is_read_by_lines(
    store: Store, codec: Any, packed_text: bytes, text: bytes
) -> None:
    with store.open(packed_text) as blob, codec.open(blob) as file:
        assert list(file) == text.splitlines(keepends=True)


def test_a_compressed_blob_is_read_back_and_forth(
    store: Store, codec: Any, packed: bytes, noise: bytes
) -> None:
    with store.open(packed) as blob, codec.open(blob) as file:
        for start in (550_000, 10, 300_000, 0):
            file.seek(start)
            assert file.read(1_000) == noise[start : start + 1_000]


def test_compressed_members_in_a_row_are_read_as_one(
    store: Store, codec: Any, packed: bytes, packed_text: bytes, noise: bytes, text: bytes
) -> None:
    with store.open(packed + packed_text) as blob, codec.open(blob) as file:
        assert file.read() == noise + text


def test_zeros_that_pad_a_gzip_file_are_ignored(store: Store, noise: bytes) -> None:
    data = gzip.compress(noise) + bytes(512)
    with store.open(data) as blob, gzip.open(blob) as file:
        assert file.read() == noise


def test_a_gzip_file_that_is_cut_off_is_an_error(store: Store, noise: bytes) -> None:
    cut = gzip.compress(noise)[:-9]
    with store.open(cut) as blob, gzip.open(blob) as file, pytest.raises(EOFError):
        file.read()


def test_gzip_over_a_buffered_reader_over_a_blob_gives_the_lines(store: Store, text: bytes) -> None:
    with (
        store.open(gzip.compress(text)) as blob,
        io.BufferedReader(blob) as buffered,
        gzip.open(buffered, "rt", encoding="ascii", newline="\n") as lines,
    ):
        assert list(lines) == text.decode("ascii").splitlines(keepends=True)
