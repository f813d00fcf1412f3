"""Few-shot heads on the toy generator with exact masks: how many pictures, which ones, which head.

    python tests/bench/few_shot.py [--draws 5] [--shots 1 4 8 16] [--epochs 50] [--nse1]

Each draw has a pool of its own, of which the pictures are chosen (diverse: the first of them is the most
ordinary one of the pool) or drawn. Heads are trained by the paper's recipe (Xu and Zheng, CVPR 2021,
section 4.3): 128 steps of one picture an epoch, Adam, a tenth of the rate from epoch 21 on; but at 2e-2
instead of 1e-3, because the toy has 24 channels where StyleGAN2 has 5,568 that add up. Pictures are
painted whole, so that they can be one batch: the mean over its pixels is that over the pictures. The
score is the paper's mIoU on images that no head has seen, also as a share of a head that learnt from 64
pictures in as many updates as one from 16, beside the shares of the paper on StyleGAN2 of FFHQ;
deviations are those over the draws. Heads read the toy's two coarse maps: with its fine one, on which
parts are told apart pixel by pixel, one picture is enough for a score of 100.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from linear_gan import NSE1, mean_iou
from small_job import small_job

from factory.fit.linear import first_head
from factory.fit.lse import Loss, Picture, Trainer
from factory.fit.painted_maps import generate_maps
from factory.fit.pick import Choice, pick_numbers
from factory.fit.pixels.sampling import fitting_latents
from factory.fit.progress import Progress
from factory.generate.base import load_generator
from factory.spec.linear import LinearSpec

CPU = torch.device("cpu")
PAPER = {1: "69.8 %", 4: "81.4 %", 8: "85.8 %", 16: "88.1 %"}
POOL, UNSEEN, MOST = 64, 200, 64
UNSEEN_SEED = 10**6
RATE = 2e-2
MOST_IN_PASS = 16
DATASET = small_job(Path("bench")).dataset
TOY = load_generator(DATASET.generator, None, device=CPU)
CLASSES, SIDE = len(TOY.parts), TOY.facts.resolution
SPEC = LinearSpec(annotations="none", classes=list(TOY.parts))
LAYERS = ("s8", "s16")


def pictures(seed, numbers):
    """Feature maps and exact masks of fitting images, as one batch."""
    maps = generate_maps(TOY, DATASET, seed, numbers, LAYERS)
    ids = TOY.masks(fitting_latents(TOY, DATASET, seed, numbers))
    return Picture(tuple(torch.cat(parts) for parts in zip(*maps, strict=True)), ids)


def numbers_of(pick, seed):
    """The order in which a draw takes its pictures."""
    choice = Choice(pick=pick, count=max(PAPER), pool_size=POOL, seed=seed)
    return pick_numbers(TOY, DATASET, choice, Progress(lambda *_: None))


def fit_lse(shots, seed, epochs):
    """The head's logits, as a function of feature maps."""
    spec = SPEC.model_copy(update={"seed": seed})
    trainer = Trainer(first_head(spec, LAYERS, TOY.facts, CLASSES, CPU), Loss(), RATE)
    for epoch in range(epochs):
        passes = -(-spec.steps_per_epoch // min(len(shots.ids), MOST_IN_PASS))
        factor = 1.0 if epoch < spec.lower_after else 0.1
        trainer.train_epoch([shots], passes, rate_factor=factor)
    return trainer.head.logits


def fit_nse1(shots, seed, epochs):
    """The same of the non-linear head, by the same recipe."""
    torch.manual_seed(seed)
    head = NSE1([TOY.facts.layers[layer].channels for layer in LAYERS], CLASSES)
    adam = torch.optim.Adam(head.parameters(), lr=RATE)
    for epoch in range(epochs):
        adam.param_groups[0]["lr"] = RATE if epoch < SPEC.lower_after else RATE / 10
        for _ in range(-(-SPEC.steps_per_epoch // min(len(shots.ids), MOST_IN_PASS))):
            adam.zero_grad()
            functional.cross_entropy(head(shots.maps, (SIDE, SIDE)), shots.ids).backward()
            adam.step()
    return head


def score(logits_of, unseen):
    """The paper's mIoU in per cent."""
    with torch.no_grad():
        found = logits_of(unseen.maps, (SIDE, SIDE)).argmax(dim=1).numpy()
    return 100 * mean_iou(unseen.ids.numpy(), found, CLASSES)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="+", default=sorted(PAPER))
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--nse1", action="store_true", help="also fit the non-linear head")
    options = parser.parse_args()
    torch.set_num_threads(1)
    unseen = pictures(UNSEEN_SEED, range(UNSEEN))
    fits = {"lse": fit_lse} | ({"nse1": fit_nse1} if options.nse1 else {})
    full = {
        name: score(fit(pictures(UNSEEN_SEED + 1, range(MOST)), 0, options.epochs), unseen)
        for name, fit in fits.items()
    }
    for name, value in full.items():
        print(f"{name:<6}{MOST} pictures: mIoU {value:.1f}", flush=True)
    print(f"{'head':<6}{'pick':<9}{'n':>3}{'mIoU':>16}{'of full':>10}{'the paper':>11}")
    for name, fit in fits.items():
        for pick in ("random", "diverse"):
            orders = [numbers_of(pick, seed) for seed in range(options.draws)]
            for count in options.shots:
                found = [
                    score(fit(pictures(seed, order[:count]), seed, options.epochs), unseen)
                    for seed, order in enumerate(orders)
                ]
                mean, deviation = np.mean(found), np.std(found, ddof=1)
                print(
                    f"{name:<6}{pick:<9}{count:>3}{mean:>9.1f} ± {deviation:4.1f}"
                    f"{100 * mean / full[name]:>8.1f} %{PAPER.get(count, ''):>11}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
