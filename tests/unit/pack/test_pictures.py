"""Pictures of strangers are decoded as a viewer shows them, or refused by what is odd about them."""

import contextlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from archives import deep_png, png_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from factory.pack.pictures import FIRST_ONLY, MOST_PX, ON_WHITE, SHRUNK, decode_picture

RAMP = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
HALVES = np.zeros((8, 12, 3), np.uint8)
HALVES[:4] = 255
NOISE = np.random.default_rng(0).integers(0, 256, (20, 24, 4)).astype(np.uint8)


def saved(pixels, kind, **options):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(
        file, kind, **options
    )
    return file.getvalue()


def decoded(data):
    image, notes = decode_picture(data)
    assert image.mode == "RGB"
    return np.array(image), notes


def refusal(data):
    with pytest.raises(ValueError, match=r"^is ") as caught:
        decode_picture(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_an_ordinary_picture_is_its_pixels(kind):
    pixels, notes = decoded(saved(NOISE[..., :3], kind))
    assert np.array_equal(pixels, NOISE[..., :3])
    assert notes == []


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_and_grey_are_rgb(kind):
    pixels, notes = decoded(saved(np.full((16, 16), 77, np.uint8), kind))
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - 77).max() <= 2
    assert notes == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_as_its_exif_says(orientation, kind):
    upright = Image.fromarray(HALVES)
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if back is None else upright.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, _ = decoded(saved(stored, kind, exif=exif, quality=100))
    assert pixels.shape == HALVES.shape
    assert np.abs(pixels.astype(int) - HALVES).max() <= 60  # a JPEG at a border


def test_sixteen_bits_of_a_png_are_cut_to_the_upper_eight():
    pixels, notes = decoded(deep_png(RAMP[..., None]))
    assert np.array_equal(pixels[..., 0], RAMP >> 8)
    assert notes == [SHRUNK]
    pixels, _ = decoded(deep_png(np.stack([RAMP, RAMP.T, 65535 - RAMP], axis=2)))
    assert np.array_equal(pixels[..., 1], RAMP.T >> 8)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (RAMP, "I;16"),
        ((RAMP >> 4), "I;16"),  # 12 bits in 16
        (RAMP.astype(np.int32), "I"),
        ((RAMP / 65535).astype(np.float32), "F"),
    ],
)
def test_values_whose_range_nobody_states_are_refused_by_their_mode(values, mode):
    text = refusal(saved(values, "TIFF"))
    assert text == (
        f"is a TIFF of mode {mode} with more than 8 bits a channel, and nothing says what its black "
        "and white are; convert it to 8 bits"
    )


def test_a_tiff_of_three_deep_channels_is_refused_too():
    """Pillow cuts it to 8 bits without a word, which leaves 12 bits in 16 nearly black."""
    grey = bytearray(saved(np.zeros((4, 4, 3), np.uint8), "TIFF"))
    entry = grey.index(struct.pack("<HHI", 258, 3, 3))
    (place,) = struct.unpack_from("<I", grey, entry + 8)
    struct.pack_into("<HHH", grey, place, 16, 16, 16)
    assert "more than 8 bits a channel" in refusal(bytes(grey) + bytes(200))


def test_transparent_parts_are_white_and_half_transparent_ones_are_mixed():
    pixels = NOISE.copy()
    pixels[..., 3] = 0
    pixels[5:15, 5:15, 3] = 255
    pixels[0, 0] = (0, 0, 0, 128)
    found, notes = decoded(saved(pixels, "PNG"))
    assert notes == [ON_WHITE]
    assert np.array_equal(found[5:15, 5:15], pixels[5:15, 5:15, :3])
    assert found[0, 0].tolist() == [127] * 3
    found[5:15, 5:15] = 255
    found[0, 0] = 255
    assert (found == 255).all()


def test_an_alpha_channel_that_hides_nothing_changes_nothing():
    pixels = NOISE.copy()
    pixels[..., 3] = 255
    found, notes = decoded(saved(pixels, "PNG"))
    assert np.array_equal(found, pixels[..., :3])
    assert notes == []


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "LA", "I;16"])
def test_every_way_to_be_transparent_is_white(mode):
    grey = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20))
    if mode == "LA":
        grey.putalpha(0)
        data = saved(grey, "PNG")
    elif mode == "I;16":
        data = saved(Image.fromarray(np.full((10, 20), 300, np.uint16)), "PNG", transparency=300)
    elif mode == "P":
        flat = Image.new("RGB", (20, 10), (7, 8, 9)).quantize(2)
        data = saved(flat, "PNG", transparency=flat.getpixel((0, 0)))
    else:
        flat = Image.new(mode, (20, 10), 7 if mode != "RGB" else (7, 8, 9))
        data = saved(flat, "PNG", transparency=7 if mode != "RGB" else (7, 8, 9))
    found, notes = decoded(data)
    assert (found == 255).all()
    assert ON_WHITE in notes


def test_only_the_first_of_several_pictures_is_used_and_told():
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for kind in ("TIFF", "PNG", "WEBP"):
        data = saved(first, kind, save_all=True, append_images=[second], lossless=True)
        pixels, notes = decoded(data)
        assert pixels[0, 0].tolist() == [255, 0, 0] if kind != "WEBP" else pixels[0, 0, 0] > 250
        assert notes == [FIRST_ONLY]


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (20_000, 20_000), (2**31 - 1, 1)])
def test_a_bomb_of_pixels_is_refused_by_its_header(width, height):
    tracemalloc.start()
    text = refusal(png_of(width, height))
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    assert text in (
        f"is {width} x {height} px; at most 67 megapixels are read",
        "is of far too many pixels; at most 67 megapixels are read",
    )
    assert width * height > MOST_PX


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        png_of(9, 9),
        png_of(9, 9, rows=b"\0" * 9),
        saved(NOISE, "PNG")[:-30],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) run\n",
        saved(Image.new("RGB", (9, 9)), "GIF"),
        saved(Image.new("RGB", (9, 9)), "PPM"),
    ],
    ids=["empty", "text", "no rows", "few rows", "cut", "a program", "gif", "ppm"],
)
def test_what_is_no_whole_picture_of_the_known_formats_is_refused(data):
    assert refusal(data) == "is not a whole picture"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_whatever_byte_is_changed_it_is_a_picture_or_a_refusal(kind, place, value, cut):
    data = bytearray(saved(NOISE[..., :3], kind))
    data[place % len(data)] = value
    if cut % 3 == 0:
        del data[cut % len(data) :]
    with contextlib.suppress(ValueError):
        assert decode_picture(bytes(data))[0].mode == "RGB"
