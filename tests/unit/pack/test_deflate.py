import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zlib_ng import zlib_ng

from factory.pack import deflate
from factory.pack.deflate import compress_with, deflate_version, find_difference

CODE = """
import hashlib, json, sys
if sys.argv[1] == "without":
    sys.modules["zlib_ng"] = None
import numpy as np
from factory.manifest.makers import maker_of
from factory.make.machine import find_byte_versions
from factory.pack.image import encode_image, encode_instances, encode_mask
from factory.spec import EncodeSpec
import torch

rng = np.random.default_rng(3)
smooth = np.cumsum(rng.integers(-2, 3, (300, 400, 4)), axis=1).astype(np.uint8)
files = [
    encode_image(smooth[..., :3].copy(), EncodeSpec()),
    encode_image(smooth, EncodeSpec()),
    encode_image(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), EncodeSpec()),
    encode_mask((smooth[..., 0] // 60).astype(np.uint8)),
    encode_instances(smooth[..., 0].astype(np.uint16) * 200),
]
versions = find_byte_versions(torch.device("cpu"), EncodeSpec())
print(json.dumps({
    "digests": [hashlib.sha256(data).hexdigest() for data in files],
    "versions": versions,
    "maker": maker_of("cpu", versions).describe(),
}))
"""


@pytest.fixture
def fresh():
    deflate._chosen.cache_clear()
    yield
    deflate._chosen.cache_clear()


def encoded(how):
    ran = subprocess.run(
        [sys.executable, "-c", CODE, how],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_files_have_the_same_bytes_with_zlib_ng_and_without_and_receipts_name_it():
    with_it, without = encoded("with"), encoded("without")
    assert with_it["digests"] == without["digests"]
    assert with_it["versions"].pop("zlib-ng") == zlib_ng.ZLIBNG_RUNTIME_VERSION
    assert with_it["versions"] == without["versions"]
    assert with_it["maker"] == without["maker"], "shards of both are equal: they have one maker"


def runs(lengths, values):
    return b"".join(bytes([value]) * length for length, value in zip(lengths, values, strict=False))


@given(
    st.one_of(
        st.binary(max_size=5000),
        st.builds(
            runs,
            st.lists(st.integers(1, 700), max_size=300),
            st.lists(st.integers(0, 255), min_size=300, max_size=300),
        ),
    )
)
def test_zlib_ng_writes_what_zlib_writes(data):
    found = compress_with(zlib_ng.compressobj, data)
    assert found == compress_with(zlib.compressobj, data)
    assert zlib.decompress(found) == data


@pytest.mark.parametrize("seed", range(6))
def test_zlib_ng_writes_what_zlib_writes_of_more_than_a_window(seed):
    rng = np.random.default_rng(seed)
    data = (rng.geometric(0.1 + 0.15 * seed, 300_000) % 256).astype(np.uint8).data
    assert compress_with(zlib_ng.compressobj, data) == compress_with(zlib.compressobj, data)


def test_it_is_used_where_its_bytes_are_the_same(fresh):
    assert find_difference(zlib_ng.compressobj) == ""
    assert deflate_version() == {"zlib-ng": zlib_ng.ZLIBNG_RUNTIME_VERSION}


def changed(**other):
    """A `compressobj` with other settings than were asked for, as another build might have."""
    names = ("level", "method", "window", "memory", "strategy")

    def compressobj(*settings):
        return zlib.compressobj(*(dict(zip(names, settings, strict=True)) | other).values())

    return compressobj


@pytest.mark.parametrize(
    "other",
    [
        {"memory": 9},  # longer blocks
        {"memory": 7},
        {"strategy": zlib.Z_HUFFMAN_ONLY},
        {"strategy": zlib.Z_FILTERED},
        {"strategy": zlib.Z_FIXED},
        {"level": 0},
    ],
)
def test_a_build_that_writes_other_bytes_is_found_out_and_not_used(fresh, monkeypatch, other):
    expected = deflate.deflate(b"abc" * 999)
    deflate._chosen.cache_clear()
    assert find_difference(changed(**other))
    monkeypatch.setattr(zlib_ng, "compressobj", changed(**other))
    assert deflate_version() == {}
    assert deflate.deflate(b"abc" * 999) == expected
