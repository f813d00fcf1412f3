import io

import numpy as np
import pytest
from PIL import Image

from factory.pack.image import (
    IMAGE_ENDING,
    decode_image,
    decode_instances,
    decode_mask,
    encode_image,
    encode_instances,
    encode_mask,
)
from factory.spec import EncodeSpec


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (24, 37, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "spec", [EncodeSpec(image="webp"), *(EncodeSpec(png_level=level) for level in (0, 1, 9))]
)
def test_png_and_webp_keep_every_pixel(pixels, spec):
    assert np.array_equal(decode_image(encode_image(pixels, spec)), pixels)


def test_webp_keeps_pixels_of_one_colour_too():
    black = np.zeros((16, 16, 3), np.uint8)
    assert np.array_equal(decode_image(encode_image(black, EncodeSpec(image="webp"))), black)


def test_jpeg_stays_close_and_gets_closer_with_quality():
    y, x = np.mgrid[0:32, 0:32]
    smooth = np.stack([x * 8, y * 8, (x + y) * 4], axis=2).astype(np.uint8)

    def error(quality):
        data = encode_image(smooth, EncodeSpec(image="jpeg", jpeg_quality=quality))
        return np.abs(decode_image(data).astype(int) - smooth).mean()

    assert error(95) < 3
    assert error(95) < error(20)


@pytest.mark.parametrize("name", IMAGE_ENDING)
def test_a_format_is_what_its_name_says(pixels, name):
    data = encode_image(pixels, EncodeSpec(image=name))
    assert Image.open(io.BytesIO(data)).format == name.upper()


@pytest.mark.parametrize("name", IMAGE_ENDING)
def test_the_same_pixels_give_the_same_bytes(pixels, name):
    spec = EncodeSpec(image=name)
    assert encode_image(pixels, spec) == encode_image(pixels.copy(), spec)


def test_a_mask_keeps_every_id_as_a_plain_grey_png():
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    data = encode_mask(mask)
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode) == ("PNG", "L")
    assert np.array_equal(decode_mask(data), mask)


def as_file(picture, kind):
    sink = io.BytesIO()
    picture.save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "found"),
    [
        ("P", "PNG", "PNG mode P"),
        ("RGB", "PNG", "PNG mode RGB"),
        ("1", "PNG", "PNG mode 1"),
        ("L", "JPEG", "JPEG mode L"),
    ],
)
def test_a_mask_in_any_other_form_is_refused(mode, kind, found):
    data = as_file(Image.new(mode, (4, 4)), kind)
    with pytest.raises(ValueError, match=f"^found {found}; masks are PNG mode L$"):
        decode_mask(data)


def test_a_grey_image_is_read_as_rgb():
    data = as_file(Image.new("L", (5, 3), 77), "PNG")
    assert np.array_equal(decode_image(data), np.full((3, 5, 3), 77))


def test_grey_of_sixteen_bits_is_refused_rather_than_cut_to_white():
    sink = io.BytesIO()
    Image.fromarray(np.full((4, 4), 30_000, dtype=np.uint16)).save(sink, "PNG")
    with pytest.raises(ValueError, match="mode I;16; images have 8 bits"):
        decode_image(sink.getvalue())


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_transparent_pixels_of_grey_and_palette_images_are_white(mode):
    picture = Image.new("LA", (2, 1), (10, 0))
    picture.putpixel((1, 0), (10, 255))
    words = {}
    if mode == "P":
        picture, words = Image.new("P", (2, 1)), {"transparency": 0}
        picture.putpalette([10] * 6)
        picture.putpixel((1, 0), 1)
    sink = io.BytesIO()
    picture.save(sink, "PNG", **words)
    assert decode_image(sink.getvalue()).tolist() == [[[255] * 3, [10] * 3]]


@pytest.mark.parametrize("name", IMAGE_ENDING)
@pytest.mark.parametrize("read", [decode_image, decode_mask])
def test_an_image_that_ends_early_is_refused(pixels, name, read):
    data = encode_image(pixels, EncodeSpec(image=name))
    with pytest.raises(ValueError, match="not a whole image"):
        read(data[: len(data) // 2])


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="not a whole image"):
        decode_image(b"hello")


@pytest.mark.parametrize("largest", [0, 1, 255, 256, 65535])
def test_ids_of_sixteen_bits_survive_the_file(largest):
    ids = np.linspace(0, largest, 35).astype(np.uint16).reshape(5, 7)
    data = encode_instances(ids)
    assert np.array_equal(decode_instances(data), ids)
    assert Image.open(io.BytesIO(data)).mode == "I;16"


def test_a_mask_is_no_instance_file():
    with pytest.raises(ValueError, match="found PNG mode L; instances are 16-bit grey PNG"):
        decode_instances(encode_mask(np.zeros((3, 3), np.uint8)))


def turned(value, kind, mode="RGB"):
    exif = Image.Exif()
    exif[0x0112] = value
    sink = io.BytesIO()
    Image.new(mode, (8, 6)).save(sink, kind, exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("value", range(2, 9))
def test_a_picture_that_viewers_turn_is_refused_with_what_to_do(kind, value):
    told = rf"stored turned \(EXIF orientation {value}\), .*`mogrify -auto-orient`"
    with pytest.raises(ValueError, match=told):
        decode_image(turned(value, kind))


@pytest.mark.parametrize("value", [0, 1, 9])
def test_a_picture_that_viewers_show_as_it_is_stored_is_read(value):
    for kind in ("PNG", "JPEG", "WEBP"):
        assert decode_image(turned(value, kind)).shape == (6, 8, 3)


def test_a_turned_mask_is_refused_and_damaged_exif_is_not_looked_at():
    with pytest.raises(ValueError, match=r"EXIF orientation 6"):
        decode_mask(turned(6, "PNG", "L"))
    whole = turned(6, "JPEG")
    place = whole.index(b"Exif\0\0") + 6
    damaged = whole[:place] + b"??" + whole[place + 2 :]
    assert decode_image(damaged).shape == (6, 8, 3)
