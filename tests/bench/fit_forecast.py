"""What `factory plan` says of a fit by KLiSH, and what the fit takes: a markdown table.

    python tests/bench/fit_forecast.py [--anime FILE] [--celeba FILE] [--digiface FILE] [--eyes FILE]
        [--only NAME ...] [--threads 2] [--seed 300]

Generators and settings are those of `klish_generators.py`, at the defaults. Each is forecast and then
fitted at once, because others may use the machine: beside wall seconds stand CPU seconds of the process,
forecast with its CPU clock and measured with it.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import klish_generators as generators
import torch

from factory.fit.cost import Probe, fit_seconds
from factory.fit.pixels.pool import ThreadedPixelPool, one_thread
from factory.generate.base import load_generator
from factory.generate.weights.find import find_weights


def row(name: str, source: dict[str, Any], words: argparse.Namespace) -> str:
    klish = {"kind": "klish", "initial_clusters": source.get("clusters", 100)}
    dataset = generators.dataset_of(source, klish, words, words.seed)
    weights = find_weights(dataset.generator, lambda *_: None)
    generator = load_generator(dataset.generator, weights.path, device=generators.CPU)

    def told(clock: Callable[[], float]) -> float:
        with one_thread(), torch.inference_mode():
            probe = Probe(dataset, generator, generators.CPU, words.threads, clock)
            found = fit_seconds(probe, 0.0)
        assert found is not None
        return found

    asked = time.perf_counter()
    forecasts = [told(time.perf_counter)]
    asked = time.perf_counter() - asked
    forecasts.append(told(time.process_time))
    started, cpu = time.perf_counter(), time.process_time()
    pool = ThreadedPixelPool(generator, dataset, generators.CPU, words.threads)
    generators.fit(dataset, weights, pool)
    pool.close()
    taken = time.perf_counter() - started, time.process_time() - cpu
    figures = [
        f"{told:.1f} | {true:.1f} | {told / true:.2f}"
        for told, true in zip(forecasts, taken, strict=True)
    ]
    return f"| {name} | {' | '.join(figures)} | {asked:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("anime", "celeba", "digiface", "eyes"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=300)
    words = parser.parse_args(namespace=argparse.Namespace(images=256, pixels="256"))
    header = "wall s forecast | measured | ratio | CPU s forecast | measured | ratio | took s"
    print(f"| generator | {header} |")
    print("|" + " --- |" * 8, flush=True)
    for name, source in generators.sources(words).items():
        print(row(name, source, words), flush=True)


if __name__ == "__main__":
    main()
