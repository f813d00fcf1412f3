"""What a GPU makes of StyleGAN2: forward passes, equal floats, whole runs and training, as tables.

    python tests/bench/gpu.py [--nvidia FOLDER] [--seconds 4] [--only passes,floats,runs,training]
    python tests/bench/gpu.py --tiny        # on a CPU, in seconds: that the program itself works

Under five minutes on an H200. Random weights of config-f; batch 32 at 256 px and 16 at 1024 px; the
mapping network is part of the time. Contenders are the textbook formulation of `generators.py`; our
network with depthwise filters, dense, and dense and compiled, as workers use it; and NVIDIA's with its
own CUDA operations, from a checkout of stylegan3 or stylegan2-ada-pytorch in FOLDER. The roofline is
an H200's: 790 TFLOP/s and 4.3 TB/s, with arithmetic and traffic one after the other (unfused) and at
the same time (fused).
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from generators import DTYPES, KWARGS, Reference, latents, random_weights

from factory.generate.device import prepare_device
from factory.generate.fused import FusedSynthesis
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag

ROOFLINE = {256: (4740, 8755), 1024: (1630, 6630)}
"""Images/s of an H200 by resolution: unfused and fused."""
AIMS = {256: 2700, 1024: 1050}
BATCH = {256: 32, 1024: 16}
Forward = Callable[[Tensor], Tensor]


def weights(size: int) -> dict[str, Tensor]:
    """Config-f's; small ones below 64 px, where only the program itself is tried."""
    return random_weights(size, most_channels=512 if size >= 64 else 16)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def rate(forward: Forward, z: Tensor, seconds: float) -> float:
    """Images per second: the median over the rounds of at least five."""
    for _ in range(3):
        forward(z)
    synchronise(z.device)
    times: list[float] = []
    stop_at = time.monotonic() + seconds
    while len(times) < 5 or time.monotonic() < stop_at:
        started = time.perf_counter()
        for _ in range(3):
            forward(z)
        synchronise(z.device)
        times.append((time.perf_counter() - started) / 3)
    return len(z) / statistics.median(times)


# ---------------------------------------------------------------------------- contenders


def ours(size: int, at: Numerics, *, batch: int = 0) -> Forward:
    """Our network; compiled for batches of `batch`, if that is not 0."""
    network = Network(TensorBag(weights(size), source="bench"), KWARGS, at)
    noise = network.const_noise()
    backend = "inductor" if at.device.type == "cuda" else "aot_eager"
    synthesise: Any = network.synthesise
    if batch:
        synthesise = FusedSynthesis(network.synthesise, batch, backend)
    return lambda z: synthesise(network.styles(z, None), noise)[0]


def textbook(size: int, device: torch.device, *, is_half: bool) -> Forward:
    tensors = {name: tensor.to(device) for name, tensor in weights(size).items()}
    reference = Reference(tensors, size)

    def forward(z: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.float16, enabled=is_half):
            return reference(z)

    return forward


def nvidia(folder: str, size: int, device: torch.device, num_half: int) -> Forward:
    """NVIDIA's network from a checkout, with random weights of the same shapes."""
    sys.path.insert(0, folder)
    try:
        from training.networks_stylegan2 import Generator  # stylegan3
    except ImportError:
        from training.networks import Generator  # stylegan2-ada-pytorch
    wide = {"channel_base": 32768, "channel_max": 512, "num_fp16_res": num_half, "conv_clamp": 256}
    shape = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": size, "img_channels": 3}
    try:
        network = Generator(**shape, **wide)
    except TypeError:
        network = Generator(**shape, synthesis_kwargs=wide)
    network = network.eval().requires_grad_(False).to(device)
    return lambda z: network(z, None, noise_mode="const")


# ---------------------------------------------------------------------------- tables


def report_passes(device: torch.device, sizes: dict[int, int], seconds: float, folder: str) -> None:
    print("\nForward passes, images/s (ratio to the better textbook, share of the roofline's two)")
    for size, batch in sizes.items():
        z = latents(batch).to(device)
        contenders: dict[str, Callable[[], Forward]] = {
            "textbook fp32": lambda size=size: textbook(size, device, is_half=False),
            "textbook autocast fp16": lambda size=size: textbook(size, device, is_half=True),
        }
        if folder:
            for num_half in (4, 9):
                name = f"NVIDIA's, {num_half} blocks fp16"
                contenders[name] = lambda size=size, n=num_half: nvidia(folder, size, device, n)
        for name, dtype in DTYPES.items():
            at = Numerics(device, dtype, dense=False)
            contenders[f"depthwise {name}"] = lambda size=size, at=at: ours(size, at)
            at = Numerics(device, dtype, dense=True)
            contenders[f"dense {name}"] = lambda size=size, at=at: ours(size, at)
            contenders[f"dense, compiled {name}"] = lambda size=size, at=at, batch=batch: ours(
                size, at, batch=batch
            )
        rates: dict[str, float] = {}
        for name, build in contenders.items():
            started = time.perf_counter()
            try:
                forward = build()
                with torch.inference_mode():
                    rates[name] = rate(forward, z, seconds)
            except (RuntimeError, ImportError) as error:
                print(f"{size:5} px  {name:26} failed: {' '.join(str(error).split())[:120]}")
                continue
            took = time.perf_counter() - started - seconds
            best = max(value for key, value in rates.items() if key.startswith("textbook"))
            shares = ""
            if size in ROOFLINE and device.type == "cuda":
                shares = ", ".join(f"{rates[name] / roof:.0%}" for roof in ROOFLINE[size])
            print(
                f"{size:5} px  {name:26} {rates[name]:9.1f}  {rates[name] / best:6.2f} x  {shares:12}"
                f" (set up in {took:.0f} s)",
                flush=True,
            )
        report_aim(size, rates, device)
        with torch.inference_mode():
            report_errors(size, device, batch)


def report_aim(size: int, rates: dict[str, float], device: torch.device) -> None:
    if size in AIMS and device.type == "cuda" and "dense, compiled fp16" in rates:
        verdict = "met" if rates["dense, compiled fp16"] >= AIMS[size] else "MISSED"
        print(f"{size:5} px  aim: {AIMS[size]} images/s in fp16: {verdict}")


def report_errors(size: int, device: torch.device, batch: int) -> None:
    z = latents(batch).to(device)
    exact = ours(size, Numerics(device, torch.float32, dense=False))(z)
    reach = float(exact.max() - exact.min())
    cells = []
    for name in ("fp16", "bf16"):
        for form, dense in (("depthwise", False), ("dense", True)):
            found = ours(size, Numerics(device, DTYPES[name], dense=dense))(z)
            rms = float((found - exact).square().mean().sqrt())
            cells.append(f"{name} {form} {20 * math.log10(reach / rms):.1f}")
    print(f"{size:5} px  PSNR to fp32, dB: {', '.join(cells)}")


def report_floats(device: torch.device, sizes: dict[int, int]) -> None:
    print("\nFloats: two calls, alone or in a batch, and a GPU against the CPU, in float32")
    size = min(sizes)
    z = latents(4).to(device)
    with torch.inference_mode():
        for dense in (False, True):
            forward = ours(size, Numerics(device, torch.float32, dense=dense))
            first, second = forward(z), forward(z)
            alone = torch.cat([forward(z[i : i + 1]) for i in range(4)])
            cpu = ours(size, Numerics(torch.device("cpu"), torch.float32))(z.cpu())
            largest = float(cpu.abs().max())
            far = float((first.cpu() - cpu).abs().max()) / largest
            print(
                f"{size:5} px  {'dense' if dense else 'depthwise':10} two calls "
                f"{'equal' if torch.equal(first, second) else 'DIFFER'}; alone "
                f"{float((first - alone).abs().max()) / largest:.1e}; CPU {far:.1e} of the largest"
            )


def weights_file(folder: Path, size: int) -> Path:
    path = folder / f"random-{size}.safetensors"
    facts = {"family": "stylegan2", "kwargs": json.dumps(KWARGS)}
    save_file(weights(size), path, metadata=facts)
    return path


def report_runs(device: torch.device, sizes: dict[int, int], tiny: bool) -> None:
    print("\nWhole runs (factory run, inline, k-means head of 3 layers, 8 classes), pairs/s")
    for size, batch in sizes.items():
        count = 4 * batch if tiny else {256: 4096, 1024: 512}[size]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for image in ("png", "jpeg"):
                output = folder / image
                document = {
                    "name": "bench",
                    "dataset": {
                        "num_samples": count,
                        "samples_per_shard": max(batch, count // 16),
                        "batch_size": batch,
                        "generator": {
                            "kind": "stylegan2",
                            "weights": str(weights_file(folder, size)),
                            "precision": "float32" if tiny else "float16",
                        },
                        "segmenter": {
                            "kind": "kmeans",
                            "num_clusters": 8,
                            "layers": [
                                f"b{size >> 2}.conv1",
                                f"b{size >> 1}.conv1",
                                f"b{size}.conv1",
                            ],
                            "fit": {"num_images": 16, "pixels_per_image": 64},
                        },
                        "encode": {"image": image},
                    },
                    "run": {"executor": "inline"},
                    "output": {"uri": str(output)},
                }
                job = folder / f"{image}.yaml"
                job.write_text(yaml.safe_dump(document))
                command = [sys.executable, "-m", "factory", "run", str(job)]
                ran = subprocess.run(command, capture_output=True, text=True, check=False)
                if ran.returncode:
                    print(
                        f"{size:5} px  {image}: failed: {ran.stderr.strip().splitlines()[-1][:200]}"
                    )
                    continue
                receipts = [json.loads(p.read_text()) for p in output.rglob("receipts/**/*.json")]
                # The first shard waits for nothing, the others for their predecessors: what the
                # stages take in all is what the slowest takes.
                busy = sum(receipt["generate_s"] for receipt in receipts)
                versions = receipts[0]["versions"]
                print(
                    f"{size:5} px  {image:5} {count / busy:9.1f} pairs/s over {len(receipts)} shards; "
                    f"{versions.get('synthesis', 'plain')}; {os.cpu_count()} cores",
                    flush=True,
                )


def report_training(device: torch.device, tiny: bool) -> None:
    from factory.train_generator.spec import TrainSpec
    from factory.train_generator.trainer import Training

    print("\ntrain-generator, pictures/s")
    side = 16 if tiny else 128
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        pictures = Path(name) / "pictures"
        pictures.mkdir()
        for index in range(64):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / f"{index:03d}.png")
        for batch in (8,) if tiny else (32, 128):
            spec = TrainSpec.model_validate({
                "name": "bench",
                "images": {"uri": str(pictures)},
                "network": {"resolution": side, "channel_base": 256 if tiny else 4096,
                            "channel_max": 16 if tiny else 256},
                "schedule": {"num_images": 10**6, "batch_size": batch},
                "run": {"device": device.type},
                "output": str(Path(name) / f"out-{batch}"),
            })  # fmt: skip
            training = Training(spec)
            steps = 2 if tiny else 20
            for _ in range(2):
                training._step()
            synchronise(device)
            started = time.perf_counter()
            for _ in range(steps):
                training._step()
            synchronise(device)
            per_s = steps * batch / (time.perf_counter() - started)
            print(f"{side:5} px  batch {batch:4} {per_s:9.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--nvidia", default="", help="checkout of stylegan3 or stylegan2-ada-pytorch"
    )
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="passes,floats,runs,training")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --tiny shows on a CPU that the program works")
    device = torch.device("cpu" if options.tiny else "cuda")
    prepare_device(device)
    sizes = {16: 2} if options.tiny else BATCH
    seconds = 0.05 if options.tiny else options.seconds
    name = "a CPU, tiny sizes" if options.tiny else torch.cuda.get_device_name()
    print(f"{name}; torch {torch.__version__}, CUDA {torch.version.cuda}, {os.cpu_count()} cores")
    started, chosen = time.monotonic(), options.only.split(",")
    if "passes" in chosen:
        report_passes(device, sizes, seconds, options.nvidia)
    if "floats" in chosen:
        report_floats(device, sizes)
    if "runs" in chosen:
        report_runs(device, sizes, options.tiny)
    if "training" in chosen:
        report_training(device, options.tiny)
    print(f"\n{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
