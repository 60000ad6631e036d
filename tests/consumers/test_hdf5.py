"""h5py: HDF5 calls back into Python for each of its reads."""

import io

import numpy as np
import pytest

from consumers.conftest import Store

h5py = pytest.importorskip("h5py")

CUBE = np.arange(60 * 50 * 40, dtype=np.float64).reshape(60, 50, 40)
NOISE = np.random.default_rng(11).random((400, 300))


@pytest.fixture(scope="module")
def hdf5_file() -> bytes:
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file.attrs["title"] = "a \u00e9"
        group = file.create_group("deep/er")
        group.create_dataset("whole", data=CUBE)
        group.create_dataset("chunked", data=NOISE, chunks=(37, 41), compression="gzip")
        group.create_dataset("shuffled", data=CUBE, chunks=True, shuffle=True, fletcher32=True)
        file["names"] = [f"{n}" * 5 for n in range(3_000)]
    return made.getvalue()


def test_all_datasets_of_an_hdf5_file_are_read(store: Store, hdf5_file: bytes) -> None:
    with store.open(hdf5_file) as blob, h5py.File(blob, "r") as file:
        assert file.attrs["title"] == "a \u00e9"
        group = file["deep/er"]
        assert np.array_equal(group["shuffled"][:], CUBE)
        assert np.array_equal(group["chunked"][:], NOISE)
        assert np.array_equal(group["whole"][:], CUBE)
        assert list(file["names"].asstr()) == [f"{n}" * 5 for n in range(3_000)]


def test_slices_of_datasets_are_read_in_any_order(store: Store, hdf5_file: bytes) -> None:
    with store.open(hdf5_file) as blob, h5py.File(blob, "r") as file:
        for at in (50, 3, 29):
            assert np.array_equal(file["deep/er/whole"][at, ::7], CUBE[at, ::7])
            assert np.array_equal(file["deep/er/chunked"][:, at], NOISE[:, at])


def test_a_dataset_is_read_into_memory_of_the_caller(store: Store, hdf5_file: bytes) -> None:
    room = np.zeros_like(CUBE)
    with store.open(hdf5_file) as blob, h5py.File(blob, "r") as file:
        file["deep/er/whole"].read_direct(room)
    assert np.array_equal(room, CUBE)


def test_attributes_of_an_hdf5_file_on_the_web_cost_no_data(web: Store, hdf5_file: bytes) -> None:
    with web.open(hdf5_file) as blob:
        with h5py.File(blob, "r") as file:
            assert file["deep/er/whole"].shape == CUBE.shape
        assert blob.stats.requests <= 4
        assert blob.stats.bytes_fetched < len(hdf5_file) // 2


def test_an_hdf5_file_that_is_cut_off_is_an_error(store: Store, hdf5_file: bytes) -> None:
    with (
        store.open(hdf5_file[: len(hdf5_file) // 2]) as blob,
        pytest.raises(OSError, match="truncated"),
    ):
        h5py.File(blob, "r")
