"""Few-shot heads on generated images: how many painted pictures, which ones, which head.

    python tests/bench/few_shot.py [--draws 5] [--shots 1 4 8 16] [--epochs 50] [--nse1]
    python tests/bench/few_shot.py --cells wbc/ [--work out/real_cells] ...

The first is on the toy generator, whose masks are exact. The second is on the shipped generator, with
masks of networks that were trained on the experts' pairs of `zheng_dev.tar` (those of `real_cells.py`:
two, of one half each, whose probabilities are averaged), in the place of a painter and of the truth.

Each draw has a pool of its own, of which the pictures are chosen (diverse: the first of them is the most
ordinary one of the pool) or drawn. Heads are trained by the paper's recipe (Xu and Zheng, CVPR 2021,
section 4.3): 128 steps of one picture an epoch, Adam, 1e-3, a tenth of the rate from epoch 21 on; on
the toy at 2e-2, because it has 24 channels where StyleGAN2 of FFHQ has 5,568 that add up. Pictures are
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
from expert_cells import NUM_CLASSES, read_experts
from torch.nn import functional
from unet import predict, train_unet

sys.path.insert(0, str(Path(__file__).parents[1]))

from linear_gan import NSE1, mean_iou
from small_job import small_job

from factory.fit.linear import find_layers, first_head
from factory.fit.lse import Loss, Picture, Trainer
from factory.fit.painted_maps import generate_maps
from factory.fit.pick import Choice, pick_numbers
from factory.fit.pixels.sampling import fitting_latents
from factory.fit.progress import Progress
from factory.generate.base import load_generator
from factory.generate.weights.find import find_weights
from factory.spec.linear import LinearSpec
from factory.spec.read import load_job

CPU = torch.device("cpu")
PAPER = {1: "69.8 %", 4: "81.4 %", 8: "85.8 %", 16: "88.1 %"}
POOL, UNSEEN, MOST = 64, 200, 64
UNSEEN_SEED = 10**6
MOST_IN_PASS = 16
BATCH = 8
JOB = Path(__file__).parents[2] / "jobs" / "blood_cells_painted.yaml"


class Toy:
    """The toy generator, with its exact masks."""

    layers, rate = ("s8", "s16"), 2e-2

    def __init__(self):
        self.dataset = small_job(Path("bench")).dataset
        self.generator = load_generator(self.dataset.generator, None, device=CPU)
        self.classes = list(self.generator.parts)

    def ids(self, latents):
        return self.generator.masks(latents)


class Cells:
    """The shipped generator, with masks of networks that were trained on the experts' pairs."""

    rate = 1e-3

    def __init__(self, cells, work):
        self.dataset = load_job(JOB).dataset
        weights = find_weights(self.dataset.generator)
        self.generator = load_generator(self.dataset.generator, weights.path, device=CPU)
        self.classes = [f"part {place}" for place in range(NUM_CLASSES)]
        self.layers = find_layers(spec_of(self), self.generator.facts)
        experts = read_experts(cells / "zheng_dev.tar")
        halves = [experts.rows(slice(which, None, 2)).pairs for which in (0, 1)]
        self.teachers = [train_unet(half, NUM_CLASSES, 0, work) for half in halves]

    def ids(self, latents):
        images = self.generator.generate(latents, ()).images.permute(0, 3, 1, 2).contiguous()
        votes = torch.stack([predict(net, images) for net in self.teachers])
        return votes.mean(dim=0).argmax(dim=1)


def spec_of(subject, seed=0):
    return LinearSpec(annotations="none", classes=subject.classes, seed=seed)


def pictures(subject, seed, numbers):
    """Feature maps and masks of fitting images, as one batch."""
    maps, ids = [], []
    for start in range(0, len(numbers), BATCH):
        some = list(numbers)[start : start + BATCH]
        maps += generate_maps(subject.generator, subject.dataset, seed, some, subject.layers)
        latents = fitting_latents(subject.generator, subject.dataset, seed, some)
        ids.append(subject.ids(latents))
    whole = tuple(torch.cat(parts) for parts in zip(*maps, strict=True))
    return Picture(whole, torch.cat(ids).long())


def numbers_of(subject, pick, seed):
    """The order in which a draw takes its pictures."""
    choice = Choice(pick=pick, count=max(PAPER), pool_size=POOL, seed=seed)
    return pick_numbers(subject.generator, subject.dataset, choice, Progress(lambda *_: None))


def side_of(picture):
    return tuple(picture.ids.shape[1:])


def fit_lse(subject, shots, seed, epochs):
    """The head's logits, as a function of feature maps and a picture's sides."""
    spec = spec_of(subject, seed)
    head = first_head(spec, subject.layers, subject.generator.facts, len(subject.classes), CPU)
    trainer = Trainer(head, Loss(), subject.rate)
    for epoch in range(epochs):
        passes = -(-spec.steps_per_epoch // min(len(shots.ids), MOST_IN_PASS))
        factor = 1.0 if epoch < spec.lower_after else 0.1
        trainer.train_epoch([shots], passes, rate_factor=factor)
    return trainer.head.logits


def fit_nse1(subject, shots, seed, epochs):
    """The same of the non-linear head, by the same recipe."""
    torch.manual_seed(seed)
    spec, layers = spec_of(subject), subject.generator.facts.layers
    head = NSE1([layers[layer].channels for layer in subject.layers], len(subject.classes))
    adam = torch.optim.Adam(head.parameters(), lr=subject.rate)
    for epoch in range(epochs):
        factor = 1.0 if epoch < spec.lower_after else 0.1
        adam.param_groups[0]["lr"] = subject.rate * factor
        for _ in range(-(-spec.steps_per_epoch // min(len(shots.ids), MOST_IN_PASS))):
            adam.zero_grad()
            functional.cross_entropy(head(shots.maps, side_of(shots)), shots.ids).backward()
            adam.step()
    return head


def score(logits_of, unseen, num_classes):
    """The paper's mIoU in per cent."""
    with torch.no_grad():
        found = logits_of(unseen.maps, side_of(unseen)).argmax(dim=1).numpy()
    return 100 * mean_iou(unseen.ids.numpy(), found, num_classes)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="+", default=sorted(PAPER))
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--nse1", action="store_true", help="also fit the non-linear head")
    parser.add_argument("--cells", type=Path, help="folder with zheng_dev.tar")
    parser.add_argument("--work", type=Path, default=Path("out/real_cells"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = Cells(options.cells, options.work) if options.cells else Toy()
    unseen = pictures(subject, UNSEEN_SEED, range(UNSEEN))
    fits = {"lse": fit_lse} | ({"nse1": fit_nse1} if options.nse1 else {})

    def score_of(fit, seed, numbers):
        shots = pictures(subject, seed, numbers)
        found = fit(subject, shots, seed, options.epochs)
        return score(found, unseen, len(subject.classes))

    full = {name: score_of(fit, UNSEEN_SEED + 1, range(MOST)) for name, fit in fits.items()}
    for name, value in full.items():
        print(f"{name:<6}{MOST} pictures: mIoU {value:.1f}", flush=True)
    print(f"{'head':<6}{'pick':<9}{'n':>3}{'mIoU':>16}{'of full':>10}{'the paper':>11}")
    for name, fit in fits.items():
        for pick in ("random", "diverse"):
            orders = [numbers_of(subject, pick, seed) for seed in range(options.draws)]
            for count in options.shots:
                found = [score_of(fit, seed, order[:count]) for seed, order in enumerate(orders)]
                mean, deviation = np.mean(found), np.std(found, ddof=1)
                print(
                    f"{name:<6}{pick:<9}{count:>3}{mean:>9.1f} ± {deviation:4.1f}"
                    f"{100 * mean / full[name]:>8.1f} %{PAPER.get(count, ''):>11}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
