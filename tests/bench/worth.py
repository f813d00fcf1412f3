"""What the shipped generator's pairs are worth on real cells: one command, from the job to the table.

    python tests/bench/worth.py --cells wbc/ [--work out/worth]

`--cells` holds `zheng_dev.tar` (pictures painted by experts), `pbc_wbc5_10298_128px.tar` (real pictures
of the generator's kind) and `pbc_attr_v1_test.csv` (what experts say of some of these). The command
makes `jobs/blood_cells.yaml`, trains networks, and scores each as `factory eval model` does: other
pictures in the layout of `zheng_dev.tar` are scored with the same words. All answers keep the cell in
the middle, without holes. Rows, each the same small network (`unet.py`) but the last two:

- dataset: trained on the dataset's pairs, for which nobody painted a pixel.
- experts' pairs: trained on half of the experts' pairs of the same set, scored on the other half, and
  the other way round. For set 2, 25 pairs; for set 1, 150.
- real pictures: 4,000 real pictures with masks by the network of the experts' half of set 2: the mark
  that a perfect generator with such masks would reach. The dataset passes if its share of the mark on
  set 2 is at least 0.97 for nucleus, 0.93 for cytoplasm and 0.97 for the whole cell; else the exit
  code is 1.
- factory train: the package's own network and training, on the dataset.
- colours: three clusters of each picture's colours, the darkest is the nucleus. No training.

Last, the share of the nucleus in the cell, on real pictures without masks, against the experts' "high".
Networks are kept in `--work`: a stopped run continues.
"""

import argparse
import csv
import io
import resource
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from expert_cells import NUM_CLASSES, SIDE
from jaxtyping import Float64
from PIL import Image
from real_cells import BAR, NUM_REAL, read_dataset
from scipy.cluster.vq import kmeans2
from scipy.stats import rankdata
from torch.nn import functional
from unet import Pairs, UNet, predict, train_unet

import factory
from factory.downstream.evaluation import open_evaluation
from factory.downstream.model_file import open_model
from factory.downstream.package import NetworkFacts, write_network
from factory.downstream.part_counts import count_picture
from factory.downstream.pictures import LabelledPicture, open_pictures
from factory.downstream.predict import predict as predict_picture
from factory.downstream.score_settings import ScoreSettings
from factory.downstream.settings import NetworkSettings
from factory.downstream.training import NetworkTraining
from factory.pack.archives import read_archive
from factory.run.worker import configure_process
from factory.segment.clean import Cleaner
from factory.spec.clean import CleanSpec
from factory.train_generator.images import load_images

ROOT = Path(__file__).parents[2]
CLASSES = ("background", "cytoplasm", "nucleus")
PARTS = ("nucleus", "cytoplasm", "whole")
SETS = {"set 2": "dataset2_300px", "set 1": "dataset1_120px"}
SETTINGS = ScoreSettings(
    unions={"whole": ("nucleus", "cytoplasm")},
    reference_names=CLASSES,
    keep="central",
    fill_holes=True,
)
CENTRAL = Cleaner(CleanSpec(keep="central", fill_holes=True), (1, 2), NUM_CLASSES)
TRAIN_STEPS = 400
NUM_RATIOS = 1500
DATASET, EXPERTS, REAL, OWN, COLOURS = (
    "dataset", "experts' pairs", "real pictures", "factory train", "colours"
)  # fmt: skip

Scores = Float64[np.ndarray, "n p"]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where things lie."""

    cells: Path
    work: Path
    seed: int

    @property
    def archive(self) -> Path:
        return self.cells / "zheng_dev.tar"

    def train(self, pool: ProcessPoolExecutor, sets: list[Pairs]) -> "list[Future[None]]":
        """Train networks of these pairs in the pool's processes."""
        return [pool.submit(_train, pairs, self.seed, self.work) for pairs in sets]

    def trained(self, sets: list[Pairs]) -> list[UNet]:
        """The networks of these pairs, which were trained before."""
        return [train_unet(pairs, NUM_CLASSES, self.seed, self.work) for pairs in sets]

    def export(self, net: UNet, name: str) -> Path:
        """Write a network as `factory train` does; its input is RGB / 64 - 2."""
        folder = self.work / "nets" / name
        folder.mkdir(parents=True, exist_ok=True)
        std = 64 / 255
        facts = NetworkFacts(CLASSES, (2 * std,) * 3, (std,) * 3, SIDE, "")
        write_network(net, facts, folder)
        return folder

    def score(self, net: Path, under: str) -> Scores:
        """IoU of every picture and part."""
        found = open_evaluation(net, self.archive, under=under, settings=SETTINGS).run()
        rows = [[row.iou[part] for part in PARTS] for row in found.by_picture]
        return np.array(rows, dtype=np.float64)

    def crossed(self, nets: list[Path], under: str) -> Scores:
        """The score of each picture by the network that did not see its half: the first saw the even."""
        first, second = (self.score(net, under) for net in nets)
        first[0::2] = second[0::2]
        return first


def _train(pairs: Pairs, seed: int, work: Path) -> None:
    configure_process()
    train_unet(pairs, NUM_CLASSES, seed, work)


def expert_halves(bench: Bench, under: str) -> list[Pairs]:
    """Every second pair from the first and from the second on, at 64 px."""
    pictures = open_pictures(bench.archive, under)
    images, masks = [], []
    for place in range(len(pictures.keys)):
        one = pictures.read(place)
        planes = torch.from_numpy(one.image.copy()).permute(2, 0, 1)[None].float()
        classes = functional.one_hot(torch.from_numpy(one.mask.astype(np.int64)), NUM_CLASSES)
        shares = classes.permute(2, 0, 1)[None].float()
        images.append(functional.interpolate(planes, (SIDE, SIDE), mode="area")[0].round().byte())
        shares = functional.interpolate(shares, (SIDE, SIDE), mode="area")
        masks.append(shares[0].argmax(dim=0).byte())
    pairs = Pairs(torch.stack(images), torch.stack(masks))
    return [pairs[which::2] for which in (0, 1)]


def train_own(dataset: str, folder: Path, seed: int) -> None:
    """What `factory train` makes of the dataset."""
    configure_process()
    folder.mkdir(parents=True, exist_ok=True)
    settings = NetworkSettings(steps=TRAIN_STEPS, seed=seed)
    training = NetworkTraining(factory.open_dataset(dataset), None, folder, settings)
    training.run(threading.Event(), lambda *_: None)


def by_colours(bench: Bench, under: str) -> Scores:
    """Three clusters of each picture's colours at 120 px, by their brightness."""
    pictures = open_pictures(bench.archive, under)
    rows = []
    for place in range(len(pictures.keys)):
        one: LabelledPicture = pictures.read(place)
        small = np.asarray(Image.fromarray(one.image).resize((120, 120), Image.Resampling.BOX))
        centres, _ = kmeans2(small.reshape(-1, 3).astype(float), 3, minit="++", seed=0)
        order = np.argsort(-centres[:, 1])  # stains absorb green most
        distance = ((one.image[:, :, None].astype(float) - centres[order]) ** 2).sum(axis=3)
        answer = CENTRAL.clean_parts(distance.argmin(axis=2).astype(np.uint8))
        counts = count_picture(one.key, answer, one.mask, [(2,), (1,), (1, 2)], 3)
        rows.append(counts.ious())
    return np.stack(rows)


def auc_of_ratio(bench: Bench, nets: list[Path]) -> float:
    """How well the nucleus's share of the cell tells the experts' "high" from the others."""
    with (bench.cells / "pbc_attr_v1_test.csv").open() as file:
        said = {
            Path(row["img_name"]).stem: row["nuclear_cytoplasmic_ratio"] == "high"
            for row in islice(csv.DictReader(file), NUM_RATIOS)
        }
    models = [open_model(net) for net in nets]
    ratios, high = [], []
    for member in read_archive(bench.cells / "pbc_wbc5_10298_128px.tar"):
        stem = Path(member.name).stem
        if stem not in said:
            continue
        image = np.asarray(Image.open(io.BytesIO(member.read())).convert("RGB"))
        odds = torch.stack([predict_picture(model, image, "whole") for model in models]).mean(dim=0)
        names = models[0].facts.classes
        table = np.array([CLASSES.index(n) if n in CLASSES else 0 for n in names], dtype=np.uint8)
        mask = CENTRAL.clean_parts(table[odds.argmax(dim=0).numpy()])
        ratios.append((mask == 2).sum() / max(1, (mask > 0).sum()))
        high.append(said[stem])
    is_high = np.array(high)
    ranks = rankdata(ratios)[is_high]
    above = ranks.sum() - len(ranks) * (len(ranks) + 1) / 2
    return float(above / (len(ranks) * (~is_high).sum()))


def table(title: str, rows: dict[str, Scores]) -> None:
    """Mean IoU with its interval over the pictures."""
    print(f"\n{title:<16}" + "".join(f"{part:>24}" for part in PARTS))
    for name, found in rows.items():
        picks = np.random.default_rng(0).integers(0, len(found), (2000, len(found)))
        low, high = np.quantile(np.nanmean(found[picks], axis=1), [0.025, 0.975], axis=0)
        means = np.nanmean(found, axis=0)
        cells = [f"{m:.3f} [{a:.3f}, {b:.3f}]" for m, a, b in zip(means, low, high, strict=True)]
        print(f"{name:<16}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


def judge(mine: Scores, mark: Scores) -> bool:
    """Print the dataset's share of the mark; True if it passes."""
    picks = np.random.default_rng(0).integers(0, len(mine), (2000, len(mine)))
    shares = np.nanmean(mine, axis=0) / np.nanmean(mark, axis=0)
    spread = np.nanmean(mine[picks], axis=1) / np.nanmean(mark[picks], axis=1)
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    print()
    for place, (part, least) in enumerate(BAR.items()):
        verdict = "passes" if shares[place] >= least else "FAILS"
        interval = f"[{low[place]:.3f}, {high[place]:.3f}]"
        print(f"share of the mark, {part:<10}{shares[place]:.3f} {interval}, bar {least} {verdict}")
    return bool((shares >= list(BAR.values())).all())


def make_dataset(work: Path) -> str:
    """Make the shipped job's dataset."""
    job = factory.load_job(ROOT / "jobs/blood_cells.yaml")
    output = job.output.model_copy(update={"uri": str(work / "blood_cells")})
    factory.run_job(job.model_copy(update={"output": output}), progress=False)
    return output.uri


def train_all(bench: Bench, dataset: str, done: Callable[[str], None]) -> list[Path]:
    """Train everything, two networks at a time; their files, that of `factory train` last."""
    sets = [read_dataset(dataset)]
    for under in SETS.values():
        sets += expert_halves(bench, under)
    own = bench.work / "nets" / "own"
    pixels = load_images(str(bench.cells / "pbc_wbc5_10298_128px.tar"), SIDE).pixels
    rows = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:NUM_REAL]
    real = pixels[rows]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        teachers = bench.train(pool, sets[1:3])
        others = [pool.submit(train_own, dataset, own, bench.seed)]
        others += bench.train(pool, [sets[0], *sets[3:]])
        for teacher in teachers:
            teacher.result()
        done("the teachers")
        for teacher in bench.trained(sets[1:3]):
            sets.append(Pairs(real, predict(teacher, real).argmax(dim=1).byte()))
        for other in (*others, *bench.train(pool, sets[-2:])):
            other.result()
    names = ["dataset", "experts2a", "experts2b", "experts1a", "experts1b", "real_a", "real_b"]
    nets = bench.trained(sets)
    return [*(bench.export(net, n) for net, n in zip(nets, names, strict=True)), own]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("out/worth"))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    start = time.monotonic()

    def done(step: str) -> None:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = sum(found.ru_utime + found.ru_stime for found in map(resource.getrusage, kinds))
        wall = (time.monotonic() - start) / 60
        print(f"{wall:.1f} min, {used / 60:.1f} min of a processor: {step}", flush=True)

    configure_process()
    bench = Bench(asked.cells, asked.work, asked.seed)
    bench.work.mkdir(parents=True, exist_ok=True)
    dataset = make_dataset(bench.work)
    done("the dataset")
    files = train_all(bench, dataset, done)
    done("all networks")
    found: dict[str, dict[str, Scores]] = {}
    for place, (name, under) in enumerate(SETS.items()):
        experts = files[1 + 2 * place : 3 + 2 * place]
        found[name] = {
            DATASET: bench.score(files[0], under),
            EXPERTS: bench.crossed(experts, under),
            REAL: bench.crossed(files[5:7], under),
            OWN: bench.score(files[7], under),
            COLOURS: by_colours(bench, under),
        }
        table(f"{name}, IoU", found[name])
    passes = judge(found["set 2"][DATASET], found["set 2"][REAL])
    print(f"\nnucleus's share of the cell, {NUM_RATIOS:,} pictures: AUC of the experts' \"high\"")
    for title, some in ((DATASET, files[:1]), (EXPERTS, files[1:3]), (OWN, files[7:])):
        print(f"{title:<16}{auc_of_ratio(bench, some):.3f}", flush=True)
    done("all")
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main())
