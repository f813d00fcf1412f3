"""On a GPU: the same bytes every time, in every worker, and almost those of the CPU."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from factory.data import LatentBatch
from factory.generate.base import load_generator
from factory.generate.device import prepare_device
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import find_weights
from factory.spec import GeneratorSpec, LatentsSpec
from tests.families import (
    CASES,
    NETWORKS,
    classes_of,
    layer_names,
    load_arrays,
    load_case,
    make_network,
)

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

GPU, CPU = torch.device("cuda"), torch.device("cpu")
SHIPPED = {"kind": "stylegan2", "weights": "shipped:blood_cells"}


def made(folder: Path, name: str, num_samples: int = 48, **run: object) -> dict[str, str]:
    """Run the job in a process of its own; the digests of its shards by name."""
    document = {
        "name": "cells",
        "dataset": {
            "num_samples": num_samples,
            "samples_per_shard": 12,
            "batch_size": 8,
            "generator": SHIPPED,
            "segmenter": {
                "kind": "kmeans",
                "num_clusters": 4,
                "layers": ["b64.conv1"],
                "fit": {"num_images": 8, "pixels_per_image": 64},
            },
        },
        "run": {"gpus_per_actor": 1, "executor": "inline"} | run,
        "output": {"uri": str(folder / name)},
    }
    job = folder / f"{name}-{num_samples}.yaml"
    job.write_text(yaml.safe_dump(document))
    subprocess.run([sys.executable, "-m", "factory", "run", str(job)], check=True, timeout=250)
    receipts = [
        json.loads(path.read_text()) for path in (folder / name).rglob("receipts/**/*.json")
    ]
    assert {receipt["device"] for receipt in receipts} == {torch.cuda.get_device_name(GPU)}
    assert all(receipt["versions"]["kernels"].startswith("CUDA") for receipt in receipts)
    return {receipt["path"]: receipt["sha256"] for receipt in receipts}


def test_two_runs_two_actors_and_a_resumed_run_give_the_same_shards(tmp_path):
    first = made(tmp_path, "first")
    assert len(first) == 4
    assert made(tmp_path, "second") == first
    assert made(tmp_path, "fewer encoders", encode_threads=1) == first
    actors = made(tmp_path, "actors", executor="ray", num_actors=2, gpus_per_actor=0.5)
    assert actors == first
    assert made(tmp_path, "resumed", num_samples=24).items() < first.items()
    assert made(tmp_path, "resumed") == first


def synthesised(name: str, dtype: torch.dtype, device: torch.device):
    case, arrays = load_case(name), load_arrays(name)
    prepare_device(device)
    network = make_network(name, dtype=dtype, device=device)
    z = torch.from_numpy(arrays["z"]).float().to(device)
    classes = classes_of(arrays)
    classes = None if classes is None else classes.to(device)
    wanted = layer_names(network)
    with torch.inference_mode():
        images, maps = CASES[name].synthesise(network, z, classes, case, wanted)
    return {"images": images.cpu()} | {layer: found.cpu() for layer, found in maps.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NETWORKS)
def test_two_calls_of_a_network_give_the_same_floats(name, dtype):
    first, second = synthesised(name, dtype, GPU), synthesised(name, dtype, GPU)
    assert all(torch.equal(second[layer], found) for layer, found in first.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_float32(name):
    """TF32 would be 100 times as far away."""
    ours, cpu = (synthesised(name, torch.float32, device) for device in (GPU, CPU))
    for layer, found in ours.items():
        largest = float(cpu[layer].abs().max())
        assert float((found - cpu[layer]).abs().max()) <= 2e-5 * max(largest, 1e-3), layer


def drawn(count: int) -> tuple[object, LatentBatch]:
    spec = GeneratorSpec.model_validate(SHIPPED)
    generator = load_generator(spec, find_weights(spec).path, device=GPU)
    sampler = LatentSampler(generator, LatentsSpec(truncation_psi=0.8), spec)
    return generator, sampler.draw(range(count))


def test_a_sample_is_the_same_alone_and_in_a_batch():
    """Within a level: a kernel may be chosen by the size of the batch, and batches are padded."""
    generator, latents = drawn(4)
    together = generator.generate(latents, ()).images.cpu().int()
    for index in range(4):
        own = slice(index, index + 1)
        alone = dataclasses.replace(
            latents,
            indices=latents.indices[own],
            z=latents.z[own],
            class_labels=latents.class_labels[own],
        )
        found = generator.generate(alone, ()).images.cpu().int()
        assert int((found[0] - together[index]).abs().max()) <= 1


def test_a_gpu_s_pictures_are_the_cpu_s_within_a_level():
    generator, latents = drawn(8)
    spec = GeneratorSpec.model_validate(SHIPPED)
    cpu = load_generator(spec, find_weights(spec).path, device=CPU)
    ours, theirs = (g.generate(latents, ()).images.cpu().int() for g in (generator, cpu))
    assert int((ours - theirs).abs().max()) <= 1
    assert float((ours != theirs).float().mean()) < 0.001
