"""Files with flipped, cut and spliced bytes: a clean refusal or a correct load, and nothing else."""

import dataclasses
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import assemble as a
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.checkpoint import Checkpoint, read_checkpoint
from factory.errors import WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"
NAMES = [
    "sg3t_64_scrubbed_p4.pkl",
    "sg2ada_u64_scrubbed_p3.pkl",
    "tf_sg2_u32.pkl",
    "rosinality_u64.pt",
    "dcgan_64.safetensors",
    "small network",
    "small zip",
    "small legacy",
]
EVIL = [
    *(
        b"cos\nsystem\n",
        b"R",
        b"b",
        b"\x81",
        b"(",
        b"t",
        b".",
        b"\x85" * 300,
        b"\xff" * 8,
        b"\0" * 8,
    ),
    *(b"N", b"K\x07", b"}", b"]", b"h\0", b"q\0", b"\x94", a.text("G_ema"), a.number(2**40)),
]
MOST_SECONDS = 15


@cache
def good(name: str) -> bytes:
    tensor = a.tensor(a.storage_id("0", 4) + b"Q", a.number(0), a.tuple_of(a.number(4)),
                      a.tuple_of(a.number(1)))  # fmt: skip
    if name == "small network":
        return a.network(weight=a.plain_tensor())
    if name == "small zip":
        return a.torch_zip(a.mapping(weight=tensor), {"0": b"\0" * 16})
    if name == "small legacy":
        return a.torch_stream(a.mapping(weight=tensor), ("0", 4, b"\0" * 16))
    return (PARITY / name).read_bytes()


@cache
def structure(name: str) -> list[int]:
    """Offsets that are not tensor data: mutations there do something."""
    data = good(name)
    if len(data) < 10_000:
        return list(range(len(data)))
    text = [
        index
        for index in range(len(data) - 1)
        if 32 <= data[index] < 127 and 32 <= data[index + 1] < 127
    ]
    return text or list(range(len(data)))


@dataclasses.dataclass
class Mutated:
    """A file's bytes, which no report of a failure prints: half a megabyte would hide it."""

    of: str
    data: bytes = dataclasses.field(repr=False)


@st.composite
def mutated(draw: st.DrawFn) -> Mutated:
    name = draw(st.sampled_from(NAMES))
    data = bytearray(good(name))
    places = structure(name)
    for _ in range(draw(st.integers(1, 4))):
        near = places[draw(st.integers(0, len(places) - 1))] if places else 0
        at = min(max(near + draw(st.integers(-12, 12)), 0), max(len(data) - 1, 0))
        kind = draw(st.sampled_from(["flip", "byte", "cut", "insert", "delete", "splice", "evil"]))
        if not data:
            break
        if kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte":
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[draw(st.integers(0, len(data))) :]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "evil":
            evil = draw(st.sampled_from(EVIL))
            data[at : at + draw(st.sampled_from([0, len(evil)]))] = evil
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
        else:
            other = good(draw(st.sampled_from(NAMES)))
            start = draw(st.integers(0, len(other) - 1))
            data[at : at + draw(st.integers(0, 64))] = other[
                start : start + draw(st.integers(1, 200))
            ]
    return Mutated(name, bytes(data))


def assert_is_whole(checkpoint: Checkpoint) -> None:
    for field in dataclasses.fields(checkpoint):
        may_be_missing = field.name == "discriminator"
        assert may_be_missing or getattr(checkpoint, field.name) is not None
    assert checkpoint.tensors
    assert all(
        isinstance(name, str) and tensor.numel() >= 0 for name, tensor in checkpoint.tensors.items()
    )


def read_bytes(data: bytes) -> Checkpoint | WeightsError:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x"
        file.write_bytes(data)
        try:
            return read_checkpoint(file)
        except WeightsError as error:
            return error


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_a_mutated_file_is_refused_cleanly_or_read(file):
    read_bytes(good("small network"))  # whatever is imported lazily is imported by a good file
    modules = set(sys.modules)
    start = time.process_time()
    result = read_bytes(file.data)
    assert time.process_time() - start < MOST_SECONDS
    assert set(sys.modules) <= modules
    if isinstance(result, WeightsError):
        assert "\n" not in str(result)
        assert not isinstance(result.__cause__, SystemExit | MemoryError)
    else:
        assert_is_whole(result)


@pytest.mark.slow
def test_every_truncation_of_a_small_file_is_refused():
    for name in ("small network", "small zip", "small legacy"):
        data = good(name)
        for length in range(len(data)):
            result = read_bytes(data[:length])
            assert isinstance(result, WeightsError), (name, length)


@pytest.mark.slow
def test_every_single_byte_change_of_a_small_file_is_refused_or_read():
    for name in ("small network", "small zip", "small legacy"):
        data = good(name)
        for place in range(len(data)):
            for value in (data[place] ^ 1, data[place] ^ 0x80, 0, 0xFF):
                result = read_bytes(data[:place] + bytes([value]) + data[place + 1 :])
                assert isinstance(result, WeightsError | Checkpoint)
