"""Pillow."""

import io
from typing import Any

import numpy as np
import pytest

from consumers.conftest import Store

Image = pytest.importorskip("PIL.Image")
ImageSequence = pytest.importorskip("PIL.ImageSequence")

PIXELS = np.random.default_rng(13).integers(0, 256, (500, 400, 3), np.uint8)


def image_of(kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    Image.fromarray(PIXELS).save(made, kind, **options)
    return made.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("JPEG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        # These are decoded by libtiff, which would rather have a descriptor.
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_an_image_has_the_pixels_of_the_plain_bytes(
    store: Store, kind: str, options: dict[str, Any]
) -> None:
    data = image_of(kind, **options)
    with Image.open(io.BytesIO(data)) as plain, store.open(data) as blob:
        with Image.open(blob) as image:
            assert (image.format, image.mode, image.size) == (kind, "RGB", (400, 500))
            assert image.tobytes() == plain.tobytes()
        assert not blob.closed


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_frames_of_an_image_are_read_in_any_order(store: Store, kind: str) -> None:
    frames = [Image.fromarray(np.roll(PIXELS[:, :, 0], n * 50)) for n in range(4)]
    made = io.BytesIO()
    frames[0].save(made, kind, save_all=True, append_images=frames[1:])
    with store.open(made.getvalue()) as blob, Image.open(blob) as image:
        assert image.n_frames == 4
        for n in (3, 1, 2, 0):
            image.seek(n)
            assert image.convert("L").tobytes() == frames[n].tobytes()
        assert sum(1 for _ in ImageSequence.Iterator(image)) == 4


def test_the_size_of_an_image_on_the_web_costs_one_request(web: Store) -> None:
    with web.open(image_of("PNG")) as blob, Image.open(blob) as image:
        assert image.size == (400, 500)
        assert blob.stats.requests == 1
        assert blob.tell() < 1_000
