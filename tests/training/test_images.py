"""Images from files: crops as torchvision defines them, every kind of pixel, and hostile files."""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from sklearn.datasets import load_sample_images

from lpm.console.errors import InvalidInput
from training.data import images
from training.data.images import Decoding, crop_box, train_view
from training.data.upright import TURNS


class Script:
    """Stands in for a generator: uniform numbers and integers as scripted, each beside what it was asked for."""

    def __init__(self, *numbers: float) -> None:
        self.numbers, self.asked = list(numbers), list[tuple[float, ...]]()

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return self.numbers.pop(0)

    def integers(self, high: int) -> int:
        self.asked.append((high,))
        return int(self.numbers.pop(0))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(folder: Path, image: Image.Image, kind: str = "PNG") -> Path:
    path = folder / f"image.{kind.lower()}"
    image.save(path, kind)
    return path


def channels_first(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def test_a_crop_has_the_drawn_area_and_ratio() -> None:
    script = Script(0.5, math.log(1.25), 3, 7)
    width, height = round(math.sqrt(0.5 * 200 * 100 * 1.25)), round(math.sqrt(0.5 * 200 * 100 / 1.25))
    assert crop_box(200, 100, script) == (7, 3, 7 + width, 3 + height)
    assert script.asked == [(0.08, 1.0), (math.log(3 / 4), math.log(4 / 3)), (100 - height + 1,), (200 - width + 1,)]


def test_a_crop_that_does_not_fit_is_drawn_again_ten_times() -> None:
    tall = [0.9, math.log(3 / 4)]  # 82 x 110 of 100 x 100
    script = Script(*tall * 9, 0.25, 0.0, 0, 50)
    assert crop_box(100, 100, script) == (50, 0, 100, 50)
    assert crop_box(100, 100, Script(*tall * 10)) == (0, 0, 100, 100)


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (300, 60, (110, 0, 190, 60)),
        (30, 401, (0, 180, 30, 220)),
        (1, 100, (0, 49, 1, 50)),
        (120, 100, (0, 0, 120, 100)),
    ],
)
def test_the_fallback_is_the_central_crop_of_the_nearest_ratio(width: int, height: int, box: tuple[int, ...]) -> None:
    """4/3 of the height of a wide image, 4/3 of the width of a tall one, else all of it."""
    never = Script(*[1.0, math.log(4 / 3) if width <= height else math.log(3 / 4)] * 10)
    assert crop_box(width, height, never) == box


def test_crops_follow_their_law() -> None:
    """Where all crops fit, area and log ratio are uniform: means and ranges over 4,000 crops."""
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box(3000, 2000, rng) for _ in range(4000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 3000).all()
    assert (boxes[:, 3] <= 2000).all()
    ratio, area = np.log(width / height), width * height / 6e6
    assert np.abs(ratio).max() < math.log(4 / 3) + 0.01
    assert area.min() == pytest.approx(0.08, abs=0.01)
    small = area < 0.5  # every ratio fits: nothing was drawn again
    assert area[small].mean() == pytest.approx(0.29, abs=0.02)
    assert ratio[small].mean() == pytest.approx(0, abs=0.02)
    assert ratio[small].std() == pytest.approx(math.log(4 / 3) / math.sqrt(3), abs=0.01)


def test_a_training_view_is_the_crop_scaled_and_nothing_beyond_it(tmp_path: Path) -> None:
    image = noise(90, 70)
    path = saved(tmp_path, image)
    view = train_view(path, 24, np.random.default_rng(5))
    box = crop_box(90, 70, np.random.default_rng(5))
    assert np.array_equal(view, channels_first(image.crop(box).resize((24, 24), Image.Resampling.BILINEAR)))
    assert (view.shape, view.dtype, view.flags.c_contiguous) == ((3, 24, 24), np.uint8, True)
    assert np.array_equal(view, train_view("image.png", 24, np.random.default_rng(5), root=tmp_path))
    assert not np.array_equal(view, train_view(path, 24, np.random.default_rng(6)))


def test_several_views_of_a_file_are_those_of_each_generator(tmp_path: Path) -> None:
    path = saved(tmp_path, noise(90, 70), "JPEG")
    several = images.train_views(path, 24, [np.random.default_rng(s) for s in (5, 6, 5)])
    for view, seed in zip(several, (5, 6, 5), strict=True):
        assert np.array_equal(view, train_view(path, 24, np.random.default_rng(seed)))


@pytest.mark.parametrize("size", [(90, 70), (70, 90), (500, 375), (375, 500), (64, 64), (256, 311), (33, 100), (5, 3)])
@pytest.mark.parametrize("to", [56, 224])
def test_a_test_view_is_the_centre_of_the_scaled_image(size: tuple[int, int], to: int, tmp_path: Path) -> None:
    """Scaled whole and then cropped, as torchvision does; one grey level of rounding apart at most."""
    image = noise(*size)
    shorter = round(to * 256 / 224)
    width, height = (shorter * side // min(size) for side in size)
    whole = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - to) / 2), round((height - to) / 2)
    expected = channels_first(whole.crop((left, top, left + to, top + to))).astype(int)
    assert np.abs(images.central_view(saved(tmp_path, image), to) - expected).max() <= 1


def test_a_test_view_of_a_very_long_image_needs_little(tmp_path: Path) -> None:
    """Scaled whole it would have 256 x 51,200,000 pixels."""
    view = images.central_view(saved(tmp_path, Image.new("RGB", (200_000, 1), (9, 8, 7))), 224)
    assert (view == np.array([9, 8, 7])[:, None, None]).all()


def test_real_photographs_keep_their_colours(tmp_path: Path) -> None:
    """scikit-learn's two photographs as JPEG: the mean colour of the central crop is that of the original pixels.

    Bound: quality 75 quantises a block's mean luma in steps of 8/8 and its mean chroma in steps of 9/8. With R = Y + 1.402 Cr
    and B = Y + 1.772 Cb this is at most 0.5 + 1.772 * 9/16 = 1.5 grey levels. Two rounded conversions add less than 0.5.
    """
    for number, pixels in enumerate(load_sample_images().images):
        photograph = Image.fromarray(pixels)
        photograph.save(tmp_path / f"{number}.jpg", quality=75)
        view = images.central_view(f"{number}.jpg", 224, root=tmp_path)
        width, height = photograph.size
        side = 7 / 8 * min(width, height)
        box = [round(x) for x in ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)]
        centre = np.asarray(photograph.crop((box[0], box[1], box[2], box[3])), dtype=float).mean(axis=(0, 1))
        assert np.abs(view.mean(axis=(1, 2)) - centre).max() < 2
        assert np.abs(np.diff(centre)).min() > 3  # so the test would see exchanged channels


GREY = (np.arange(64 * 64).reshape(64, 64) // 16).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.fromarray(GREY), "PNG", GREY),
        (Image.fromarray(GREY), "JPEG", None),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 255), "PNG", GREY),
        (Image.fromarray(GREY).convert("P"), "PNG", GREY),
        (Image.fromarray(GREY).convert("LA"), "PNG", GREY),
        (Image.fromarray(GREY).convert("RGBA"), "PNG", GREY),
        (
            Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8)).convert("1"),
            "PNG",
            np.where(GREY > 127, 255, 0),
        ),
    ],
    ids=["grey", "grey jpeg", "16 bits", "palette", "grey and alpha", "alpha", "black and white"],
)
def test_every_kind_of_grey_becomes_three_equal_channels(
    image: Image.Image, kind: str, expected: np.ndarray | None, tmp_path: Path
) -> None:
    view = decoded(saved(tmp_path, image, kind))
    assert (view[0] == view[1]).all()
    assert (view[0] == view[2]).all()
    if expected is None:
        assert np.abs(view[0].astype(int) - GREY).max() < 12
    else:
        assert np.array_equal(view[0], expected)


def decoded(path: Path, bits: int = 0) -> np.ndarray:
    """The pixels of a file, (3, H, W)."""
    return np.asarray(images.whole(path, decoding=Decoding(bits=bits))).transpose(2, 0, 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(pixels: np.ndarray, kind: int) -> bytes:
    """A PNG with 16 bits per sample, of a kind in its header. Pillow does not write such files."""
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_sixteen_bits_a_colour_keep_the_upper_eight(tmp_path: Path) -> None:
    pixels = np.array([[[0x1234, 0xFFFF, 0x00FF], [0x8000, 0x7FFF, 0x0100]]], dtype=">u2")
    (tmp_path / "deep.png").write_bytes(deep_png(pixels, 2))
    view = decoded(tmp_path / "deep.png")
    assert view.transpose(1, 2, 0).tolist() == (pixels >> 8).tolist()


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "BMP", "GIF"])
def test_other_forms_are_read_and_of_several_frames_the_first(kind: str, tmp_path: Path) -> None:
    first, second = Image.fromarray(np.stack([GREY] * 3, axis=-1)), Image.new("RGB", (64, 64), (9, 200, 9))
    whole = {"save_all": True, "append_images": [second]} if kind != "BMP" else {}
    first.save(tmp_path / "image", kind, **whole, **({"lossless": True} if kind == "WEBP" else {}))
    view = decoded(tmp_path / "image")
    assert np.array_equal(view, np.stack([GREY] * 3))
    images.decode(tmp_path / "image")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_unused_bits_do_not_make_an_image_dark(bits: int, kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray((GREY.astype(np.uint16) << (bits - 8)) + 3), kind)
    assert (decoded(path) == GREY).all()
    assert (decoded(path, bits=16) == GREY >> (16 - bits)).all()
    assert images.largest_in(path) == ((255 << (bits - 8)) + 3, 0)
    assert images.largest_in(path).bits == bits


def test_unused_bits_of_a_colour_image_do_not_make_it_dark(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 5, 4))
    pixels[0, 0, 0] = 4095
    for channels, kind in ((3, 2), (4, 6), (2, 4)):
        data = deep_png(pixels[..., :channels], kind)
        (tmp_path / "deep.png").write_bytes(data)
        view = decoded(tmp_path / "deep.png").transpose(1, 2, 0)
        if channels > 2:
            assert (view == pixels[..., :3] >> 4).all()
        else:  # grey with transparency: of its 12 bits the upper four can be read
            assert (view == (pixels[..., :1] >> 8) << 4).all()


def test_a_tiff_that_says_its_depth_is_scaled_by_it(tmp_path: Path) -> None:
    values = np.full((8, 8), 900, dtype=np.uint16)  # 10 bits would do
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    assert images.largest_in(tmp_path / "a.tif") == (0, 0)  # it says its depth, and nothing of the set's
    assert (images.central_view(tmp_path / "a.tif", 8) == 900 >> 4).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0, 0.5], [1, np.nan]]), [[0, 128], [255, 0]]),
        (np.float32([[0, 17], [255, -3]]), [[0, 17], [255, 0]]),
        (np.int32([[0, -5], [2**20 - 1, 2**19]]), [[0, 0], [255, 128]]),
    ],
)
def test_numbers_instead_of_colours_are_scaled(values: np.ndarray, expected: list[list[int]], tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(values), "TIFF")
    assert decoded(path)[0].tolist() == expected


@pytest.mark.parametrize("upright", [False, True])
def test_a_tiff_is_turned_once(upright: bool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = noise(30, 20)
    image.save(tmp_path / "a.tif", exif=exif)
    view = images.central_view(tmp_path / "a.tif", 16, decoding=Decoding(upright))
    assert np.array_equal(view, images.central_view(saved(tmp_path, image.transpose(TURNS[6])), 16))


def test_print_colours_become_screen_colours(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    red = images.central_view(saved(tmp_path, cmyk, "JPEG"), 28).mean(axis=(1, 2))
    assert red[0] > 250
    assert red[1:].max() < 5


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "I;16")])
def test_an_image_is_turned_as_its_camera_says(kind: str, mode: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.arange(30 * 20, dtype=np.uint16).reshape(20, 30)) if mode == "I;16" else noise(30, 20)
    path = tmp_path / "image"
    image.convert(mode).save(path, kind, exif=exif)
    lying, standing = (images.central_view(path, 16, decoding=Decoding(upright)) for upright in (False, True))
    with Image.open(path) as opened:
        plain = saved(tmp_path, ImageOps.exif_transpose(opened))  # without the tag
    assert np.array_equal(standing, images.central_view(plain, 16))
    assert np.array_equal(standing, lying) == (orientation not in range(2, 9))
    crops = [
        train_view(p, 16, np.random.default_rng(0), decoding=Decoding(u)) for p, u in ((path, True), (plain, False))
    ]
    assert np.array_equal(*crops)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense" * 99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])  # of a PNG the last one raises
def test_odd_metadata_leave_an_image_as_it_is(kind: str, exif: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image"
    noise(30, 20).save(path, kind, exif=exif)
    assert np.array_equal(images.central_view(path, 16, decoding=Decoding(upright=True)), images.central_view(path, 16))


@pytest.mark.parametrize("upright", [False, True])
def test_broken_pixels_of_a_png_do_not_become_black(upright: bool, tmp_path: Path) -> None:
    path = saved(tmp_path, noise(40, 40))
    whole = path.read_bytes()
    broken = 0
    for position in range(50, len(whole), len(whole) // 40):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            images.central_view(path, 16, decoding=Decoding(upright))
        except InvalidInput:
            broken += 1
    assert broken >= 35


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it has this size, without holding so many pixels."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    data = file.getvalue()
    return data[:8] + chunk(b"IHDR", struct.pack(">II", width, height) + data[24:29]) + data[33:]


def as_kind(kind: str) -> bytes:
    file = io.BytesIO()
    noise(64, 64).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JPEG, PNG, WebP, TIFF, BMP or GIF; convert it"),
        (b"no image", "is no JPEG, PNG, WebP, TIFF, BMP or GIF; convert it"),
        (as_kind("JPEG")[:600], "cannot be decoded: .*(?i:truncated)"),
        (as_kind("PNG")[:600], "cannot be decoded: .*(?i:truncated)"),
        (as_kind("PNG")[:200] + b"\0" * 50 + as_kind("PNG")[250:], "cannot be decoded"),
        (as_kind("JPEG")[:30], "is no JPEG|cannot be decoded"),
        (png_of(60_000, 60_000), "has 3,600,000,000 pixels, and at most 89,478,485 are decoded; give more"),
        (
            png_of(10_000, 10_000),
            "has 100,000,000 pixels, and at most 89,478,485 are decoded; give more with --max-pixels, or",
        ),
        (png_of(0, 8), "is no JPEG|cannot be decoded"),
        (as_kind("GIF")[:600], "is no JPEG|cannot be decoded"),
        (as_kind("TIFF")[:600], "cannot be decoded"),
        (as_kind("WEBP")[:200], "is no JPEG|cannot be decoded"),
        (as_kind("BMP")[:200], "cannot be decoded"),
        (as_kind("ICO"), "is no JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no JPEG, PNG, WebP, TIFF, BMP or GIF; convert it"),
        (b"P6\n9 9\n255\n" + b"x" * 243, "is no JPEG, PNG, WebP, TIFF, BMP or GIF; convert it"),
    ],
)
def test_what_is_no_whole_image_is_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "odd.jpg").write_bytes(data)
    views: list[Callable[[], np.ndarray]] = [
        lambda: images.central_view("a/odd.jpg", 16, root=tmp_path),
        lambda: train_view("a/odd.jpg", 16, np.random.default_rng(0), root=tmp_path),
    ]
    for view in views:
        with pytest.raises(InvalidInput, match=f"^image 'a/odd.jpg' ({message})") as error:
            view()
        assert str(error.value).isprintable()


def test_a_pipe_does_not_hang_and_a_missing_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InvalidInput, match=r"^'pipe\.jpg' is not a regular file"):
        images.central_view("pipe.jpg", 16, root=tmp_path)
    with pytest.raises(InvalidInput, match=r"^'none.x1b\.jpg' cannot be read: No such file"):
        images.central_view("none\x1b.jpg", 16, root=tmp_path)


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LIMIT", 10)
    with pytest.raises(InvalidInput, match="at most 10 are read"):
        images.central_view(saved(tmp_path, noise(8, 8)), 16)
