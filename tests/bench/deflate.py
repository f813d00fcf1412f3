"""Bytes and time of deflate: zlib as datasets have it, zlib-ng, and ISA-L, side by side.

    python tests/bench/deflate.py [--dataset FOLDER] [--tiny]

Rows of PNG files, filtered as `pack/image.py` filters them: pictures and masks of the shipped generator
(or of any dataset) at 64 px, and mosaics of them at 1024 px. "equal" counts the inputs of which a codec
writes what zlib writes. Time is that of the thread, the least of several rounds, so that a busy machine
changes it little. ISA-L is measured where it is installed (`pip install isal`).
"""

import argparse
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

Codec = Callable[[bytes], bytes]

OURS = "zlib 1, runs (ours)"


def stream(module: object, level: int, strategy: int) -> Codec:
    def compress(data: bytes) -> bytes:
        made = module.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, 8, strategy)
        return made.compress(data) + made.flush()

    return compress


def codecs() -> dict[str, Codec]:
    found = {OURS: stream(zlib, 1, zlib.Z_RLE), "zlib 1": stream(zlib, 1, 0)}
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        print("zlib-ng is not installed: pip install zlib-ng")
    else:
        found["zlib-ng 1, runs"] = stream(zlib_ng, 1, zlib.Z_RLE)
        found["zlib-ng 1"] = stream(zlib_ng, 1, 0)
        found["zlib-ng 2"] = stream(zlib_ng, 2, 0)
    try:
        from isal import isal_zlib
    except ImportError:
        print("ISA-L is not installed: pip install isal")
    else:
        for level in (0, 1, 2):
            found[f"ISA-L {level}"] = lambda data, level=level: isal_zlib.compress(data, level)
    return found


def filtered(pixels: np.ndarray) -> bytes:
    rows = pixels.reshape(len(pixels), -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    return np.hstack([np.full((len(rows), 1), 2, np.uint8), rows - above]).tobytes()


def mosaic(parts: Sequence[np.ndarray], side: int) -> np.ndarray:
    """`side` x `side` parts; each is repeated as often as needed."""
    place = iter(range(side * side))
    rows = [np.hstack([parts[next(place) % len(parts)] for _ in range(side)]) for _ in range(side)]
    return np.vstack(rows)


def inputs(folder: Path, count: int, side: int) -> dict[str, list[bytes]]:
    from factory import open_dataset

    dataset = open_dataset(str(folder))
    samples = [dataset[key] for key in dataset.facts()["key"].to_pylist()[:count]]
    images, masks = [s.image for s in samples], [s.mask for s in samples]
    px, large = len(masks[0]), side * len(masks[0])
    return {
        f"{len(images)} images of {px} px": [filtered(image) for image in images],
        f"{len(masks)} masks of {px} px": [filtered(mask) for mask in masks],
        f"an image of {large} px": [filtered(mosaic(images, side))],
        f"a mask of {large} px": [filtered(mosaic(masks, side))],
    }


def make(folder: Path, count: int) -> None:
    from factory.job import run_job
    from factory.spec.read import check_job

    document = {
        "name": "deflate",
        "dataset": {
            "num_samples": count,
            "generator": {"kind": "stylegan2", "weights": "shipped:blood_cells"},
            "latents": {"truncation_psi": 0.8},
            "segmenter": {
                "kind": "kmeans",
                "num_clusters": 5,
                "layers": ["b64.conv1"],
                "fit": {"num_images": 16, "pixels_per_image": 64},
            },
        },
        "run": {"executor": "inline"},
        "output": {"uri": str(folder)},
    }
    run_job(check_job(document, source="bench"))


def thread_seconds(codec: Codec, data: Sequence[bytes], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.thread_time()
        for one in data:
            codec(one)
        times.append(time.thread_time() - started)
    return min(times)


def measure(name: str, data: Sequence[bytes], contenders: Mapping[str, Codec], rounds: int) -> None:
    expected, ours_s, ours_size = [], 0.0, 0
    print(f"{name}, {sum(map(len, data)):,} bytes unpacked")
    for codec_name, codec in contenders.items():
        packed = [codec(one) for one in data]
        assert all(zlib.decompress(p) == one for p, one in zip(packed, data, strict=True))
        seconds, size = thread_seconds(codec, data, rounds), sum(map(len, packed))
        if codec_name == OURS:
            expected, ours_s, ours_size = packed, seconds, size
        equal = sum(one == other for one, other in zip(packed, expected, strict=True))
        print(
            f"  {codec_name:<20} {1e3 * seconds:9.3f} ms  {ours_s / max(seconds, 1e-9):4.1f} x"
            f"  {size:9,} bytes  {size / ours_size:5.2f} of ours  {equal} of {len(data)} equal"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--dataset", type=Path, help="measure its pairs, not those of the generator"
    )
    parser.add_argument("--tiny", action="store_true", help="few and small inputs: for the tests")
    options = parser.parse_args()
    contenders = codecs()
    count, side, rounds = (4, 2, 1) if options.tiny else (128, 16, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = options.dataset or Path(name) / "made"
        if options.dataset is None:
            make(folder, count)
        for what, data in inputs(folder, count, side).items():
            measure(what, data, contenders, rounds)


if __name__ == "__main__":
    main()
