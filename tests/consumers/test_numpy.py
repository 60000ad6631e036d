"""NumPy's own formats."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray

import blobread
from consumers.conftest import Store

ARRAYS: list[NDArray[np.generic]] = [
    np.arange(250_000, dtype="<f8").reshape(500, 500),
    np.asfortranarray(np.arange(90_000, dtype=">i4").reshape(300, 300)),
    np.array([(1, "a", (2.0, 3.0)), (4, "bc", (5.0, 6.0))], "i2,U7,(2,)f4"),
    np.array(3 + 4j),
    np.empty((0, 5), np.uint8),
    np.arange(20_000).astype("datetime64[s]"),
]


def npy_of(*arrays: NDArray[np.generic]) -> bytes:
    made = io.BytesIO()
    for one in arrays:
        np.save(made, one)
    return made.getvalue()


def assert_same(read: NDArray[np.generic], written: NDArray[np.generic]) -> None:
    assert (read.dtype, read.shape) == (written.dtype, written.shape)
    assert read.flags.f_contiguous == written.flags.f_contiguous
    assert read.tobytes() == written.tobytes()


def test_np_load_reads_arrays_in_a_row(store: Store) -> None:
    with store.open(npy_of(*ARRAYS)) as blob:
        for written in ARRAYS:
            assert_same(np.load(blob), written)
        with pytest.raises(EOFError):
            np.load(blob)


def test_np_load_reads_objects(store: Store) -> None:
    objects = np.array([{"a": 1}, "b" * 100_000, None], object)
    with store.open(npy_of(objects)) as blob:
        assert np.load(blob, allow_pickle=True).tolist() == objects.tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_np_load_reads_an_npz_in_any_order(store: Store, save: object) -> None:
    made = io.BytesIO()
    assert callable(save)
    save(made, *ARRAYS)
    with store.open(made.getvalue()) as blob, np.load(blob) as archive:
        for n in reversed(range(len(ARRAYS))):
            assert_same(archive[f"arr_{n}"], ARRAYS[n])


def test_np_load_refuses_to_map_a_blob_into_memory(store: Store) -> None:
    with store.open(npy_of(*ARRAYS)) as blob:
        with pytest.raises(TypeError, match="BlobReader"):
            np.load(blob, mmap_mode="r")
        with pytest.raises(io.UnsupportedOperation, match="descriptor"):
            np.fromfile(blob)


def test_the_header_of_an_npy_is_read_without_its_data(web: Store) -> None:
    with web.open(npy_of(np.zeros((3_000, 250)))) as blob:
        assert npy.read_magic(blob) == (1, 0)
        assert npy.read_array_header_1_0(blob) == ((3_000, 250), False, np.dtype("f8"))
        assert blob.tell() == 128
        assert blob.stats.requests == 1
        assert blob.stats.bytes_fetched <= 256 << 10


def test_fromfile_reads_what_lies_behind_the_header_of_an_npy(store: Store) -> None:
    with store.open(npy_of(ARRAYS[0])) as blob:
        npy.read_magic(blob)
        shape, _, dtype = npy.read_array_header_1_0(blob)
        assert_same(blobread.fromfile(blob, dtype, shape=shape), ARRAYS[0])


def test_fromfile_gives_what_that_of_numpy_gives(store: Store, tmp_path: Path) -> None:
    data = npy_of(ARRAYS[0])
    (tmp_path / "plain").write_bytes(data)
    for dtype, count, offset in (("u1", -1, 0), ("<u4", 1_000, 7), (">f8", -1, 131), ("V3", 5, 9)):
        expected = np.fromfile(tmp_path / "plain", dtype, count, offset=offset)
        with store.open(data) as blob:
            assert_same(blobread.fromfile(blob, dtype, count, offset), expected)


def test_loadtxt_reads_numbers(store: Store) -> None:
    numbers = np.arange(30_000).reshape(-1, 3)
    made = io.BytesIO()
    np.savetxt(made, numbers, fmt="%d")
    with store.open(made.getvalue()) as blob:
        assert np.array_equal(np.loadtxt(blob, int), numbers)


def test_a_stored_npy_is_found_in_its_npz_and_read_in_place(store: Store) -> None:
    made = io.BytesIO()
    np.savez(made, a=ARRAYS[0], b=ARRAYS[1])
    with store.open(made.getvalue()) as blob:
        with zipfile.ZipFile(blob) as archive, archive.open("b.npy") as member:
            assert_same(npy.read_array(member), ARRAYS[1])
        assert not blob.closed
