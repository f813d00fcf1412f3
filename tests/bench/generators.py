"""Images per second of our StyleGAN2 against the textbook formulation, and the error of halves.

    python tests/bench/generators.py [--sizes 64,256,1024] [--seconds 12] [--threads 1]

The reference is the published formulas taken literally: weights modulated for each sample, grouped
convolutions, zero insertion and padding before every filter, NCHW. Both get the same random weights
of config-f (channel_base 32768, at most 512) and constant noise, and must give the same image.
Batch 4, and 1 at 1024 px; the mapping network is part of the time.

Each formulation and allocator has a process of its own, since an allocator must be chosen before
the first tensor: "default" is glibc's, "tuned" is `configure_process`. The processes take turns, one
batch each, so that a neighbour's noise meets all of them; a ratio is the median over the rounds of
the ratio within a round.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag
from factory.run.worker import configure_process

W_DIM = 512
KWARGS: dict[str, Any] = {"mapping_kwargs": {"lr_multiplier": 0.01}}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CONTENDERS = (
    ("reference", "default", "fp32"),
    ("reference", "tuned", "fp32"),
    ("ours", "tuned", "fp32"),
    ("ours", "tuned", "bf16"),
)
AIMS = {"fp32": (3.0, 1.3), "bf16": (5.0, 2.4)}
"""By precision: least speed-up over the reference with the default and with the tuned allocator."""
NO_OVERLAP = {256: 4740, 1024: 1630}
"""Images/s of an H200 in halves, if arithmetic (790 TFLOP/s) and traffic (4.3 TB/s) alternate."""
MAX_DIFFERENCE = 1e-3


# ---------------------------------------------------------------------------- weights and inputs


def random_weights(resolution: int, seed: int = 0, most_channels: int = 512) -> dict[str, Tensor]:
    """A config-f StyleGAN2 as NVIDIA names and initialises it, with noise and biases that act."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    taps = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)
    tensors = {"mapping.w_avg": normal(W_DIM) * 0.1}
    for i in range(8):
        tensors[f"mapping.fc{i}.weight"] = normal(W_DIM, W_DIM) / 0.01
        tensors[f"mapping.fc{i}.bias"] = torch.zeros(W_DIM)

    def affine(name: str, channels: int) -> None:
        tensors[f"{name}.affine.weight"] = normal(channels, W_DIM)
        tensors[f"{name}.affine.bias"] = torch.ones(channels)

    def conv(name: str, side: int, fan_in: int, channels: int) -> None:
        affine(name, fan_in)
        tensors[f"{name}.weight"] = normal(channels, fan_in, 3, 3)
        tensors[f"{name}.bias"] = normal(channels) * 0.1
        tensors[f"{name}.noise_const"] = normal(side, side)
        tensors[f"{name}.noise_strength"] = torch.tensor(0.1)
        tensors[f"{name}.resample_filter"] = taps.clone()

    before = 0
    for k in range(2, int(math.log2(resolution)) + 1):
        side, block = 1 << k, f"synthesis.b{1 << k}"
        channels = min(32768 // side, most_channels)
        tensors[f"{block}.resample_filter"] = taps.clone()
        if before:
            conv(f"{block}.conv0", side, before, channels)
        else:
            tensors[f"{block}.const"] = normal(channels, 4, 4)
        conv(f"{block}.conv1", side, channels, channels)
        affine(f"{block}.torgb", channels)
        tensors[f"{block}.torgb.weight"] = normal(3, channels, 1, 1)
        tensors[f"{block}.torgb.bias"] = normal(3) * 0.1
        before = channels
    return tensors


def latents(count: int) -> Tensor:
    return torch.randn((count, W_DIM), generator=torch.Generator().manual_seed(1))


def batch_of(size: int) -> int:
    return 1 if size >= 1024 else 4


# ---------------------------------------------------------------------------- formulations


class Reference:
    """StyleGAN2 as published: one weight tensor per sample, one group per sample."""

    def __init__(self, tensors: dict[str, Tensor], resolution: int) -> None:
        self.t, self.resolution = tensors, resolution

    def linear(self, name: str, x: Tensor, gain: float = 1.0) -> Tensor:
        weight = self.t[f"{name}.weight"]
        scale = gain / math.sqrt(weight.shape[1])
        return functional.linear(x, weight * scale, self.t[f"{name}.bias"] * gain)

    @staticmethod
    def upfirdn(x: Tensor, taps: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
        """Zeros between samples, zeros around them, a true convolution; gain 4."""
        n, c, h, w = x.shape
        x = functional.pad(x.reshape(n, c, h, 1, w, 1), [0, up - 1, 0, 0, 0, up - 1])
        x = functional.pad(x.reshape(n, c, h * up, w * up), [*pad, *pad])
        kernel = (taps * 4).flip(0, 1)[None, None].repeat(c, 1, 1, 1)
        return functional.conv2d(x, kernel, groups=c)

    def modulated(self, name: str, x: Tensor, style: Tensor, *, up: bool, rgb: bool) -> Tensor:
        weight = self.t[f"{name}.weight"]
        (outs, ins, k, _), (n, _, h, w) = weight.shape, x.shape
        each = weight[None] * style[:, None, :, None, None]
        if not rgb:
            each = each * (each.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, n * ins, h, w)
        if up:
            each = each.transpose(1, 2).reshape(n * ins, outs, k, k)
            x = functional.conv_transpose2d(x, each, stride=2, groups=n)
            x = self.upfirdn(x, self.t[f"{name}.resample_filter"], 1, (1, 1))
        else:
            each = each.reshape(n * outs, ins, k, k)
            x = functional.conv2d(x, each, padding=k // 2, groups=n)
        return x.reshape(n, outs, *x.shape[2:])

    def conv(self, name: str, x: Tensor, w: Tensor, *, up: bool) -> Tensor:
        x = self.modulated(name, x, self.linear(f"{name}.affine", w), up=up, rgb=False)
        x = x + self.t[f"{name}.noise_const"] * self.t[f"{name}.noise_strength"]
        x = x + self.t[f"{name}.bias"][:, None, None]
        return functional.leaky_relu(x, 0.2) * math.sqrt(2)

    def __call__(self, z: Tensor) -> Tensor:
        w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for i in range(8):
            w = functional.leaky_relu(self.linear(f"mapping.fc{i}", w, 0.01), 0.2) * math.sqrt(2)
        x = self.t["synthesis.b4.const"][None].repeat(len(z), 1, 1, 1)
        image: Tensor | None = None
        side = 4
        while side <= self.resolution:
            block = f"synthesis.b{side}"
            if side > 4:
                x = self.conv(f"{block}.conv0", x, w, up=True)
            x = self.conv(f"{block}.conv1", x, w, up=False)
            style = self.linear(f"{block}.torgb.affine", w) / math.sqrt(x.shape[1])
            rgb = self.modulated(f"{block}.torgb", x, style, up=False, rgb=True)
            rgb = rgb + self.t[f"{block}.torgb.bias"][:, None, None]
            if image is not None:
                taps = self.t[f"{block}.resample_filter"]
                rgb = rgb + self.upfirdn(image, taps, 2, (2, 1))
            image, side = rgb, side * 2
        assert image is not None
        return image


def ours(resolution: int, dtype: torch.dtype, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    bag = TensorBag(random_weights(resolution), source="bench")
    network = Network(bag, KWARGS, Numerics(torch.device(device), dtype))
    noise = network.const_noise()
    return lambda z: network.synthesise(network.styles(z, None), noise)[0]


def build(formulation: str, resolution: int, precision: str) -> Callable[[Tensor], Tensor]:
    if formulation == "reference":
        return Reference(random_weights(resolution), resolution)
    return ours(resolution, DTYPES[precision])


# ---------------------------------------------------------------------------- one contender


def work(formulation: str, allocator: str, precision: str, size: int, threads: int) -> None:
    """Serve turns: for every line on stdin compute one batch and print its seconds."""
    if allocator == "tuned":
        configure_process()
    torch.set_num_threads(threads)
    with torch.inference_mode():
        forward, z = build(formulation, size, precision), latents(batch_of(size))
        for _ in range(2):
            forward(z)
        print("ready", flush=True)
        for _ in sys.stdin:
            started = time.perf_counter()
            forward(z)
            print(time.perf_counter() - started, flush=True)


class Contender:
    """The process of one formulation with one allocator."""

    def __init__(self, *settings: object, lane: bool) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        environment.pop("GLIBC_TUNABLES", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", ",".join(map(str, settings))]
            + ["--lane"] * lane,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")
        return line

    def turn(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.answer())

    def end(self) -> None:
        self.process.communicate()


def rounds_of(size: int, threads: int, seconds: float, *, lane: bool) -> list[tuple[float, ...]]:
    """Seconds per batch of every contender, round by round."""
    team = [Contender(*contender, size, threads, lane=lane) for contender in CONTENDERS]
    rounds: list[tuple[float, ...]] = []
    stop_at = time.monotonic() + seconds * len(team)
    while len(rounds) < 3 or time.monotonic() < stop_at:
        rounds.append(tuple(member.turn() for member in team))
    for member in team:
        member.end()
    return rounds


# ---------------------------------------------------------------------------- reports


@dataclass
class Errors:
    difference: float
    psnr: dict[str, float]


def errors(size: int) -> Errors:
    """Reference against ours in float32, and the halves against ours in float32."""
    with torch.inference_mode():
        z = latents(1)
        exact = ours(size, torch.float32)(z)
        difference = (Reference(random_weights(size), size)(z) - exact).abs().max().item()
        reach = (exact.max() - exact.min()).item()
        psnr = {}
        for name in ("bf16", "fp16"):
            rms = (ours(size, DTYPES[name])(z) - exact).square().mean().sqrt().item()
            psnr[name] = 20 * math.log10(reach / rms)
    return Errors(difference, psnr)


def report_cpu(sizes: list[int], threads: int, seconds: float, *, lane: bool) -> None:
    where = "a thread of its own" if lane else "the main thread"
    print(f"\nCPU, {threads} thread(s) per operation, called from {where}; img/s, medians")
    print(
        f"{'px':>5} {'batch':>5} {'rounds':>6} | {'ref default':>11} {'ref tuned':>9} "
        f"{'ours fp32':>9} {'ours bf16':>9} | {'fp32 x default, tuned':>22} "
        f"{'bf16 x default, tuned':>22}"
    )
    for size in sizes:
        rounds = rounds_of(size, threads, seconds, lane=lane)
        batch = batch_of(size)
        rates = [batch / statistics.median(column) for column in zip(*rounds, strict=True)]
        cells, misses = [], []
        for column, precision in ((2, "fp32"), (3, "bf16")):
            ratios = [statistics.median(r[base] / r[column] for r in rounds) for base in (0, 1)]
            cells.append(", ".join(f"{ratio:.2f}" for ratio in ratios))
            misses += [
                f"{precision} {ratio:.2f} < {aim}"
                for ratio, aim in zip(ratios, AIMS[precision], strict=True)
                if ratio < aim
            ]
        print(
            f"{size:5} {batch:5} {len(rounds):6} | {rates[0]:11.3f} {rates[1]:9.3f} {rates[2]:9.3f} "
            f"{rates[3]:9.3f} | {cells[0]:>22} {cells[1]:>22}  "
            + ("MISSED: " + "; ".join(misses) if misses else "aims met"),
            flush=True,
        )
    for precision, (default, tuned) in AIMS.items():
        print(f"aims, {precision}: {default} x over default, {tuned} x over tuned")


def report_errors(sizes: list[int]) -> None:
    print(f"\n{'px':>5} | {'max |ours - reference|':>22} | PSNR to our fp32 (of its range), dB")
    for size in sizes:
        found = errors(size)
        psnr = ", ".join(f"{name} {value:.1f}" for name, value in found.psnr.items())
        print(f"{size:5} | {found.difference:22.1e} | {psnr}", flush=True)
        if not found.difference <= MAX_DIFFERENCE:
            raise SystemExit(f"{size} px: formulations differ by more than {MAX_DIFFERENCE}")


def report_gpu(seconds: float) -> None:
    if not torch.cuda.is_available():
        print("\nno GPU here")
        return
    print(f"\n{torch.cuda.get_device_name()}, fp16, batch 32 (roofline: an H200's, no overlap)")
    batch = 32
    with torch.inference_mode():
        for size, roof in NO_OVERLAP.items():
            forward, z = ours(size, torch.float16, "cuda"), latents(batch).cuda()
            for _ in range(5):
                forward(z)
            torch.cuda.synchronize()
            times: list[float] = []
            stop_at = time.monotonic() + seconds
            while len(times) < 5 or time.monotonic() < stop_at:
                started = time.perf_counter()
                for _ in range(5):
                    forward(z)
                torch.cuda.synchronize()
                times.append((time.perf_counter() - started) / 5)
            rate = batch / statistics.median(times)
            peak = torch.cuda.max_memory_allocated() / 2**30
            print(
                f"{size:5} px {rate:8.0f} img/s, {rate / roof:.0%} of {roof}; peak {peak:.1f} GiB"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="64,256,1024")
    parser.add_argument("--seconds", type=float, default=12, help="for each contender and size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-errors", action="store_true")
    parser.add_argument("--lane", action="store_true", help="compute in a thread, as workers do")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        formulation, allocator, precision, size, threads = options.work.split(",")
        turns = threading.Thread(
            target=work, args=(formulation, allocator, precision, int(size), int(threads))
        )
        # A worker computes in threads, and the allocator may treat those otherwise: see both.
        (turns.start if options.lane else turns.run)()
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    print(f"{Path(__file__).name}: torch {torch.__version__}, {os.cpu_count()} cores")
    report_cpu(sizes, options.threads, options.seconds, lane=options.lane)
    configure_process()
    torch.set_num_threads(options.threads)
    if not options.skip_errors:
        report_errors(sizes)
    report_gpu(options.seconds)


if __name__ == "__main__":
    main()
