"""Score a trained network on labelled pictures: real ones, or those that a dataset holds back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from factory.arguments import check_arguments
from factory.data import IGNORE
from factory.downstream.intervals import Figure, draw_weights, figure_of
from factory.downstream.model_file import Model, open_model
from factory.downstream.model_scores import ModelScores, PictureScore
from factory.downstream.part_counts import PictureCounts, Tally, count_picture
from factory.downstream.pictures import (
    OPTION,
    LabelledPicture,
    Pictures,
    find_pictures,
)
from factory.downstream.predict import predict
from factory.downstream.saliency import ForegroundCurve, highest_f, make_curve
from factory.downstream.score_settings import ScoreSettings
from factory.downstream.scored_classes import ScoredClasses, find_classes, match_classes
from factory.errors import JobError
from factory.evaluate.contingency import count_pair, gather, in_second_half
from factory.evaluate.matching import match_greedy
from factory.evaluate.metrics import UNASSIGNED
from factory.segment.clean import Cleaner
from factory.spec.clean import CleanSpec

_AS_IT_IS = ScoreSettings()

OnPicture = Callable[[int, int], None]
"""Called with the pictures done, and all that are scored."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A picture with the network's answer."""

    picture: LabelledPicture
    """The picture, its mask in the scored classes."""
    answer: UInt8[np.ndarray, "h w"]
    """The answer, in the scored classes; 255 = none of them."""
    foreground: Float[np.ndarray, "h w"]
    """Probability that a pixel is not background, before any clean-up."""


class Evaluation:
    """A network, pictures, and how the one is scored on the other."""

    def __init__(self, model: Model, pictures: Pictures, settings: ScoreSettings) -> None:
        """Match the network's classes with those of the pictures.

        Raises:
            JobError: If the classes do not fit each other, or there are too few pictures.
            PluginError: If the network fails.
        """
        self.model, self.settings, self._pictures = model, settings, pictures
        self.classes = find_classes(pictures.classes, settings)
        self._cleaner = _make_cleaner(self.classes, settings)
        places = range(len(pictures.keys))[: settings.limit]
        names = model.facts.classes
        table = match_classes(names, pictures.classes, self.classes, settings)
        self._matched_on: list[int] = []
        self._scored = list(places)
        if table is None:
            halves: tuple[list[int], list[int]] = ([], [])
            for place in places:
                halves[in_second_half(pictures.keys[place])].append(place)
            self._matched_on, self._scored = halves
            table = self._match_greedily()
        self._table = table

    @property
    def matching(self) -> dict[str, str]:
        """The class that each class of the network counts as."""
        names = self.classes.names
        return {n: names[self._table[k]] for k, n in enumerate(self.model.facts.classes)}

    def run(self, on_picture: OnPicture | None = None) -> ModelScores:
        """Score all pictures.

        Raises:
            JobError: If a picture cannot be read, its mask has classes without a name, or no mask has a
                class.
            PluginError: If the network fails.
        """
        rows: list[PictureCounts] = []
        curves: list[ForegroundCurve] = []
        parts = list(self.classes.parts.values())
        for done, place in enumerate(self._scored, start=1):
            one = self.answer(place)
            key, truth = one.picture.key, one.picture.mask
            rows.append(count_picture(key, one.answer, truth, parts, self.settings.trimap_px))
            if self.settings.protocol == "melas2022":
                curves.append(make_curve(one.foreground, truth))
            if on_picture is not None:
                on_picture(done, len(self._scored))
        if not any(row.num_px for row in rows):
            raise JobError(
                where=f"{OPTION}: {self._pictures.name}",
                found="no pixel of any mask has a class",
                allowed="values other than 255, which is left out",
            )
        return self._report(rows, curves)

    def answer(self, place: int) -> Answered:
        """The network's answer to one picture.

        Raises:
            JobError: If the picture cannot be read, or its mask has classes without a name.
            PluginError: If the network fails.
        """
        picture = self._read(place)
        odds = predict(self.model, picture.image, self.settings.view).numpy()
        answer = self._table[odds.argmax(axis=0)]
        if self._cleaner is not None:
            answer = self._cleaner.clean_parts(answer)
        grounds = [k for k in range(len(odds)) if self._table[k] == self.classes.background]
        foreground = np.clip(1 - odds[grounds].sum(axis=0), 0, 1)
        return Answered(picture, answer, foreground.astype(np.float32))

    def extremes(self, scores: ModelScores, count: int) -> tuple[list[Answered], list[Answered]]:
        """Answers to the pictures with the best and the worst mean IoU of parts, worst first."""
        ground = self.classes.names[self.classes.background]
        means = []
        for place, row in zip(self._scored, scores.by_picture, strict=True):
            known = [v for name, v in row.iou.items() if name != ground and v is not None]
            if known:
                means.append((sum(known) / len(known), place))
        order = [place for _, place in sorted(means)]
        worst = order[: min(count, (len(order) + 1) // 2)]
        best = order[len(worst) :][-count:][::-1]
        return [self.answer(place) for place in best], [self.answer(place) for place in worst]

    def _read(self, place: int) -> LabelledPicture:
        found = self._pictures.read(place)
        values = np.unique(found.mask)
        stranger = next((v for v in values if self.classes.num_values <= v < IGNORE), None)
        if stranger is not None:
            raise JobError(
                where=f"{OPTION}: {self._pictures.name}: {found.key}",
                found=f"its mask has the value {stranger}",
                allowed=f"names for 0 to {self.classes.num_values - 1}, and 255 = ignore",
                remedy="name every value with --reference-names",
            )
        return LabelledPicture(found.key, found.image, self.classes.of_truth[found.mask])

    def _match_greedily(self) -> UInt8[np.ndarray, " 256"]:
        """Match as KLiSH does, on one half of the pictures; the others are scored."""
        if not self._matched_on or not self._scored:
            raise JobError(
                where="--protocol klish2023",
                found=f"{len(self._matched_on) + len(self._scored)} pictures",
                allowed="enough to match classes on one half and to score the other",
                remedy="use more pictures, or --map",
            )
        pairs = []
        for place in self._matched_on:
            picture = self._read(place)
            odds = predict(self.model, picture.image, self.settings.view).numpy()
            ids = odds.argmax(axis=0).astype(np.uint8)
            pairs.append(count_pair(picture.key, picture.mask, ids))
        num_classes = len(self.model.facts.classes)
        found = match_greedy(gather(pairs), len(self.classes.names), num_classes)
        table = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
        table[:num_classes] = np.where(found == UNASSIGNED, self.classes.background, found)
        return table

    def _report(
        self, rows: Sequence[PictureCounts], curves: Sequence[ForegroundCurve]
    ) -> ModelScores:
        weights = draw_weights(len(rows), seed=self.settings.seed)
        tally = Tally(rows, self.classes, weights)
        names = list(self.classes.parts)
        figures = _protocol_figures(self.settings.protocol, tally)
        if curves:
            figures["max_f"] = figure_of(highest_f(curves, weights))
        return ModelScores(
            model=self.model.path.name,
            dataset_id=self.model.facts.dataset_id,
            pictures=self._pictures.name,
            num_pictures=len(rows),
            num_matched_on=len(self._matched_on),
            protocol=self.settings.protocol,
            view=self.settings.view,
            keep=self.settings.keep,
            fill_holes=self.settings.fill_holes,
            trimap_px=self.settings.trimap_px,
            matching=self.matching,
            parts=tally.parts(),
            miou=tally.miou(is_global=False, background=True),
            miou_global=tally.miou(is_global=True, background=True),
            miou_foreground=tally.miou(is_global=False, background=False),
            miou_foreground_global=tally.miou(is_global=True, background=False),
            accuracy=tally.accuracy,
            figures=figures,
            by_picture=tuple(_picture_score(row, names) for row in rows),
        )


@check_arguments
def evaluate_model(
    model: str | Path,
    on: str | Path,
    *,
    under: str = "",
    split: str = "",
    settings: ScoreSettings = _AS_IT_IS,
) -> ModelScores:
    """Score the network in a file on labelled pictures.

    Args:
        model: `model.pt` or `model.onnx` that `factory train` wrote, or their folder.
        on: A folder or tar of pictures with masks, or a dataset.
        under: Of a folder or a tar, what lies in this folder of it.
        split: Of a dataset; empty = `test`, else `val`, else all that it has.
        settings: How it is scored.

    Raises:
        JobError: If there are no pictures, one cannot be used, or the classes do not fit.
        PluginError: If the file is no network that can be used.
        StoreError: If a dataset cannot be read.
        DamageError: If a shard of it is damaged.
    """
    return open_evaluation(model, on, under=under, split=split, settings=settings).run()


def open_evaluation(
    model: str | Path,
    on: str | Path,
    *,
    under: str = "",
    split: str = "",
    settings: ScoreSettings = _AS_IT_IS,
) -> Evaluation:
    """Open a network and pictures; the arguments and errors are those of `evaluate_model`."""
    with _paths_that_can_be_read("model"):
        opened = open_model(Path(model))
    with _paths_that_can_be_read("on"):
        pictures = find_pictures(str(on), under, split)
    return Evaluation(opened, pictures, settings)


@contextmanager
def _paths_that_can_be_read(name: str) -> Iterator[None]:
    """Tell what the system says of a path that no file can have, or that nobody may read."""
    try:
        yield
    except OSError as error:
        raise JobError(where=name, found=f"cannot be read ({error.strerror})") from error


def _make_cleaner(classes: ScoredClasses, settings: ScoreSettings) -> Cleaner | None:
    if settings.keep == "all" and not settings.fill_holes:
        return None
    spec = CleanSpec(keep=settings.keep, fill_holes=settings.fill_holes)
    return Cleaner(spec, classes.objects, len(classes.names))


def _protocol_figures(protocol: str, tally: Tally) -> dict[str, Figure]:
    """The figures that a paper reports, under the names it has for them."""
    parts = {part.name: part for part in tally.parts()}
    if protocol == "feng2023":
        return {
            "foreground": parts["foreground"].iou_global,
            "background": parts["background"].iou_global,
            "mean": tally.miou(is_global=True, background=True),
            "trimap_foreground": parts["foreground"].trimap_global,
            "trimap_background": parts["background"].trimap_global,
            "trimap_mean": tally.miou(is_global=True, background=True, trimap=True),
        }
    if protocol == "melas2022":
        return {"accuracy": tally.accuracy, "iou": parts["foreground"].iou}
    if protocol == "klish2023":
        return {"miou": tally.miou(is_global=False, background=False)}
    return {}


def _picture_score(row: PictureCounts, names: Sequence[str]) -> PictureScore:
    ious = row.ious()
    return PictureScore(
        key=row.key,
        iou={
            name: None if np.isnan(value) else round(float(value), 6)
            for name, value in zip(names, ious, strict=True)
        },
    )
