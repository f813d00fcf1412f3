import zlib

import pytest
from PIL import Image

from factory.pack import deflate
from factory.pack.encoder import encoder_digest
from factory.spec import EncodeSpec


def digest_now(**settings):
    encoder_digest.cache_clear()
    return encoder_digest(EncodeSpec(**settings))


@pytest.fixture(autouse=True)
def _forget():
    yield
    encoder_digest.cache_clear()


def test_the_same_encoder_has_the_same_digest_and_each_way_of_encoding_its_own():
    settings = [{}, {"png_level": 6}, {"image": "webp"}, {"image": "jpeg"}]
    digests = [digest_now(**chosen) for chosen in settings]
    assert digests == [digest_now(**chosen) for chosen in settings]
    assert len(set(digests)) == 4
    assert all(len(digest) == 16 for digest in digests)


def test_a_zlib_that_compresses_otherwise_is_told_apart_whatever_it_calls_itself(monkeypatch):
    before = digest_now(), digest_now(image="webp")

    def other(*settings):
        return zlib.compressobj(*settings[:-1], zlib.Z_DEFAULT_STRATEGY)

    monkeypatch.setattr(deflate, "_chosen", lambda: (other, ()))
    # Masks are PNG whatever images are: of WebP datasets too.
    assert [digest_now() != before[0], digest_now(image="webp") != before[1]] == [True, True]


def test_a_pillow_that_encodes_otherwise_is_told_apart(monkeypatch):
    before = digest_now(image="jpeg")
    save = Image.Image.save

    def coarser(picture, sink, kind, **options):
        save(picture, sink, kind, **options | {"optimize": True})

    monkeypatch.setattr(Image.Image, "save", coarser)
    assert digest_now(image="jpeg") != before
