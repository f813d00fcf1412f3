"""Is a dataset without labels as good as real pictures with labels? Networks scored on real cells.

    python tests/bench/real_cells.py --cells wbc/ [--dataset out/blood_cells] [--sheet answers.png]

`--cells` is a folder with `zheng_dev.tar` (50 pairs painted by experts) and the real pictures that the
shipped generator was trained on, `pbc_wbc5_10298_128px.tar`. `--dataset` was made by
`factory run jobs/blood_cells.yaml`.

The experts' pairs and the generator's pictures come from two laboratories with different cells and
stains: not even perfect masks of the latter make a network as good as the experts' pairs do. The fair
mark is therefore the row "real pictures": a teacher is trained on 25 of the experts' pairs and labels
4,000 real pictures of the generator's training set; a student is trained on those and scored on the
other 25; then the other way round. The network that saw nothing but the dataset answers the same
pictures. All answers are cleaned: one cell in the middle, no holes. All figures are the mean over 50
pictures and the seeds; the intervals are a bootstrap over the pictures, paired. The dataset passes if
its share of the mark is at least 0.97 for nucleus, 0.93 for cytoplasm and 0.97 for the whole cell; else
the exit code is 1.

Before that the dataset's own masks are compared with those of both teachers together, which is cheap
(`--masks-only`): networks that have seen all the experts' masks, on the dataset's pictures.

Ten trainings of two seeds take about half an hour on one idle core. They are kept in `--work`: a stopped
run continues, and another dataset costs two trainings only.

Measured with seeds 0 and 1, teachers of their own:

    IoU                               nucleus  cytoplasm      whole
      dataset                           0.913      0.760      0.896
      experts' pairs                    0.925      0.847      0.944
      real pictures                     0.909      0.766      0.898
    share of the mark, nucleus    1.005 [0.992, 1.025]   at least 0.97 passes
    share of the mark, cytoplasm  0.991 [0.962, 1.022]   at least 0.93 passes
    share of the mark, whole      0.998 [0.977, 1.021]   at least 0.97 passes

The intervals hold the networks fixed. From one seed to the other a row moved by up to 0.020, and the
shares from 0.998, 0.973, 0.987 (seed 0) to 1.012, 1.010, 1.009. Without clean-up the dataset's network
has 0.900, 0.748 and 0.881. What clean-up leaves are thin tails along red cells and pieces of neighbours
that touch the cell; the network of real pictures cuts more off. The dataset's masks against those of the
teachers of seed 0: 0.918, 0.658, 0.923.
"""

import argparse
import sys
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from expert_cells import (
    BORDER_PX,
    CYTOPLASM,
    GROUND,
    NUCLEUS,
    NUM_CLASSES,
    PARTS,
    SIDE,
    ExpertCells,
    enlarged,
    ious,
    read_experts,
)
from jaxtyping import Float64, UInt8
from PIL import Image
from torch import Tensor
from unet import Pairs, UNet, predict, train_unet

import factory
from factory.run.worker import configure_process
from factory.train_generator.images import load_images

NUM_REAL = 4000
BAR = {"nucleus": 0.97, "cytoplasm": 0.93, "whole": 0.97}
EXPERTS, REAL, FACTORY = "experts' pairs", "real pictures", "dataset"
COLOURS = torch.tensor([[234, 217, 176], [63, 176, 192], [74, 47, 160]], dtype=torch.uint8)


class Bench:
    """The pictures, and the networks trained so far."""

    def __init__(self, cells: Path, dataset: str, work: Path) -> None:
        self.work = work
        self.experts = read_experts(cells / "zheng_dev.tar")
        self.archive = cells / "pbc_wbc5_10298_128px.tar"
        self.made = read_dataset(dataset)

    @cached_property
    def real(self) -> UInt8[Tensor, "n 3 h w"]:
        """Some real pictures of the generator's training set."""
        pixels = load_images(str(self.archive), SIDE).pixels
        rows = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
        return pixels[rows[:NUM_REAL]]

    def half(self, which: int) -> ExpertCells:
        """Every second pair of the experts'."""
        return self.experts.rows(slice(which, None, 2))

    def train(self, pairs: Pairs, seed: int) -> UNet:
        return train_unet(pairs, NUM_CLASSES, seed, self.work)

    def teacher(self, which: int, seed: int) -> UNet:
        """The network trained on half of the experts' pairs."""
        return self.train(self.half(which).pairs, seed)

    def agreement(self, seed: int) -> Float64[np.ndarray, "n p"]:
        """IoU of the dataset's masks with those of both teachers together, at the dataset's side."""
        teachers = [self.teacher(which, seed) for which in (0, 1)]
        votes = torch.stack([predict(net, self.made.images) for net in teachers]).mean(dim=0)
        masks = enlarged(votes, self.made.masks.shape[-1], clean=True)
        return ious(self.made.masks, masks)

    def answers(self, seed: int) -> dict[str, Tensor]:
        """Class probabilities for all pictures of the experts, by what the network was trained on."""
        found = {FACTORY: predict(self.train(self.made, seed), self.experts.pairs.images)}
        found |= {row: torch.empty_like(found[FACTORY]) for row in (EXPERTS, REAL)}
        for taught in (0, 1):
            asked = slice(1 - taught, None, 2)
            images = self.half(1 - taught).pairs.images
            teacher = self.teacher(taught, seed)
            found[EXPERTS][asked] = predict(teacher, images)
            masks = predict(teacher, self.real).argmax(dim=1).byte()
            student = self.train(Pairs(self.real, masks), seed)
            found[REAL][asked] = predict(student, images)
        return found


def read_dataset(uri: str) -> Pairs:
    """All pairs of a dataset whose classes are named nucleus and cytoplasm; others are ground."""
    dataset = factory.open_dataset(uri)
    table = np.full(256, GROUND, dtype=np.uint8)
    for value, label in enumerate(dataset.labels):
        table[value] = {"nucleus": NUCLEUS, "cytoplasm": CYTOPLASM}.get(label.name, GROUND)
    images, masks = [], []
    for sample in dataset:
        images.append(sample.image)
        masks.append(table[sample.mask])
    return Pairs(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(np.stack(masks)),
    )


def report(scores: dict[str, Float64[np.ndarray, "n p"]], title: str) -> None:
    """Mean IoU of every row and part."""
    print(f"{title:<34}" + "".join(f"{part:>11}" for part in PARTS), flush=True)
    for row, found in scores.items():
        print(
            f"  {row:<32}" + "".join(f"{mean:>11.3f}" for mean in np.nanmean(found, axis=0)),
            flush=True,
        )


def judge(scores: dict[str, Float64[np.ndarray, "n p"]]) -> bool:
    """Print the dataset's share of the mark; True if it passes."""
    mine, mark = scores[FACTORY], scores[REAL]
    rows = np.random.default_rng(0).integers(0, len(mine), (2000, len(mine)))
    shares = np.nanmean(mine, axis=0) / np.nanmean(mark, axis=0)
    spread = np.nanmean(mine[rows], axis=1) / np.nanmean(mark[rows], axis=1)
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    for place, (part, least) in enumerate(BAR.items()):
        verdict = "passes" if shares[place] >= least else "FAILS"
        print(
            f"share of the mark, {part:<10} {shares[place]:.3f} [{low[place]:.3f}, {high[place]:.3f}]"
            f"   at least {least} {verdict}"
        )
    return bool((shares >= list(BAR.values())).all())


def draw(path: Path, cells: ExpertCells, rows: dict[str, UInt8[Tensor, "n h w"]]) -> None:
    """Pictures in columns: the picture, the experts' mask, the answers."""
    side = 2 * SIDE
    lines = [cells.pairs.images.permute(0, 2, 3, 1).repeat_interleave(2, 1).repeat_interleave(2, 2)]
    for masks in (cells.truth, *rows.values()):
        small = torch.nn.functional.interpolate(masks[:, None].float(), (side, side))[:, 0]
        lines.append(COLOURS[small.long()])
    strips = [torch.cat(list(line), dim=1) for line in lines]
    width = 10 * side
    blocks = [
        strip[:, first : first + width]
        for first in range(0, strips[0].shape[1], width)
        for strip in strips
    ]
    Image.fromarray(torch.cat(blocks).numpy()).save(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--dataset", default="out/blood_cells")
    parser.add_argument("--work", type=Path, default=Path("out/real_cells"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--masks-only",
        action="store_true",
        help="compare the dataset's masks with the teachers' only",
    )
    parser.add_argument("--sheet", type=Path, help="draw the answers of the first seed here")
    asked = parser.parse_args()
    configure_process()
    bench = Bench(asked.cells, asked.dataset, asked.work)
    report({FACTORY: bench.agreement(asked.seeds[0])}, "IoU of masks with the teachers'")
    if asked.masks_only:
        return 0
    truth, side = bench.experts.truth, bench.experts.truth.shape[-1]
    totals: dict[str, dict[str, list[np.ndarray]]] = {}
    for seed in asked.seeds:
        answers = bench.answers(seed)
        masks = {row: enlarged(found, side, clean=True) for row, found in answers.items()}
        if asked.sheet and seed == asked.seeds[0]:
            draw(asked.sheet, bench.experts, masks)
        for row, found in answers.items():
            plain = enlarged(found, side, clean=False)
            figures = {
                "IoU": ious(masks[row], truth),
                "IoU without clean-up": ious(plain, truth),
                f"IoU within {BORDER_PX} px of the border": ious(masks[row], truth, BORDER_PX),
            }
            for title, figure in figures.items():
                totals.setdefault(title, {}).setdefault(row, []).append(figure)
        report({row: f[-1] for row, f in totals["IoU"].items()}, f"IoU, seed {seed}")
    means = {t: {r: np.mean(f, axis=0) for r, f in rows.items()} for t, rows in totals.items()}
    for title, scores in means.items():
        report(scores, title)
    return 0 if judge(means["IoU"]) else 1


if __name__ == "__main__":
    sys.exit(main())
