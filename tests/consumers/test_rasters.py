"""rasterio: GDAL calls back into Python for each of its reads, by `opener=`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import blobread
from consumers.conftest import Store

rasterio = pytest.importorskip("rasterio")
abc = pytest.importorskip("rasterio.abc")
windows = pytest.importorskip("rasterio.windows")
affine = pytest.importorskip("affine")

# rasterio has not yet followed affine 3.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

BANDS = np.random.default_rng(17).integers(0, 60_000, (2, 300, 400)).astype(np.uint16)
SHIFT = affine.Affine(0.5, 0, 10, 0, -0.25, 50)


@pytest.fixture(scope="module")
def geotiff(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("rasters") / "plain.tif"
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=400,
        height=300,
        count=2,
        dtype="uint16",
        transform=SHIFT,
        **layout,
    ) as raster:
        raster.write(BANDS)
    return path.read_bytes()


@pytest.fixture
def alone() -> Iterator[None]:
    """GDAL looks for no files beside that which it opens."""
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        yield


def test_a_raster_is_read_by_our_open(store: Store, geotiff: bytes) -> None:
    url = store.put(geotiff, ".tif")
    with rasterio.open(url, opener=blobread.open) as raster:
        assert raster.transform == SHIFT
        assert np.array_equal(raster.read(), BANDS)


@pytest.mark.usefixtures("alone")
def test_windows_of_a_raster_are_read_in_any_order(store: Store, geotiff: bytes) -> None:
    url = store.put(geotiff, ".tif")
    with rasterio.open(url, opener=blobread.open) as raster:
        for row, column in ((200, 10), (0, 300), (100, 128)):
            window = windows.Window(column, row, 70, 90)
            expected = BANDS[1, row : row + 90, column : column + 70]
            assert np.array_equal(raster.read(2, window=window), expected)


@pytest.mark.usefixtures("alone")
def test_an_open_file_is_a_raster_too(store: Store, geotiff: bytes) -> None:
    with store.open(geotiff) as blob, rasterio.open(blob) as raster:
        assert np.array_equal(raster.read(), BANDS)


@pytest.mark.usefixtures("alone")
def test_all_that_rasterio_opens_it_closes(store: Store, geotiff: bytes) -> None:
    opened = []

    def opener(url: str, mode: str = "rb", **options: Any) -> blobread.BlobReader:
        opened.append(blobread.open(url, mode, **options))
        return opened[-1]

    url = store.put(geotiff, ".tif")
    with rasterio.open(url, opener=opener) as raster:
        raster.read(1)
    assert opened
    assert all(blob.closed for blob in opened)


def test_overviews_that_lie_beside_the_raster_are_found(tmp_path: Path, geotiff: bytes) -> None:
    path = tmp_path / "raster.tif"
    path.write_bytes(geotiff)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as raster:
        raster.build_overviews([4])
    assert path.with_name("raster.tif.ovr").exists()
    with rasterio.open(path) as plain, rasterio.open(f"{path}", opener=blobread.open) as raster:
        assert raster.overviews(1) == [4]
        small = raster.read(out_shape=(2, 75, 100))
        assert np.array_equal(small, plain.read(out_shape=(2, 75, 100)))


def test_a_raster_that_is_missing_is_an_error_of_rasterio(store: Store) -> None:
    with pytest.raises(rasterio.errors.RasterioIOError, match=r"missing\.tif"):
        rasterio.open(f"{store.prefix}missing.tif", opener=blobread.open)


class Ranged:
    """A blob that GDAL asks for many tiles at once."""

    def __init__(self, blob: blobread.BlobReader, asked: list[int]) -> None:
        self.blob = blob
        self.asked = asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self.blob, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.blob.close()

    def get_byte_ranges(self, offsets: list[int], sizes: list[int]) -> list[bytes]:
        self.asked.append(len(offsets))
        return [bytes(view) for view in self.blob.read_ranges(offsets, sizes)]


@abc.MultiByteRangeResourceContainer.register
class Opener:
    """What rasterio wants of a file system; `asked` has the number of ranges of each call."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def open(self, url: str, mode: str = "rb", **options: Any) -> Ranged:
        return Ranged(blobread.open(url, mode, **options), self.asked)

    def isfile(self, url: str) -> bool:
        return True

    def isdir(self, url: str) -> bool:
        return False

    def ls(self, url: str) -> list[str]:
        return []

    def mtime(self, url: str) -> int:
        return 0

    def rm(self, url: str) -> None:
        raise PermissionError(url)

    def size(self, url: str) -> int:
        return blobread.stat(url).size or 0


@pytest.mark.usefixtures("alone")
def test_many_tiles_are_asked_for_by_one_call(store: Store, geotiff: bytes) -> None:
    url = store.put(geotiff, ".tif")
    opener = Opener()
    with rasterio.open(url, opener=opener) as raster:
        window = windows.Window(70, 40, 250, 200)
        assert np.array_equal(raster.read(1, window=window), BANDS[0, 40:240, 70:320])
    assert opener.asked == [4]  # a row of tiles is one range
