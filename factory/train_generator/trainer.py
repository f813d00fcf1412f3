"""The training loop: labelled pictures become a generator.

Steps alternate with saves of the whole state. A training may be interrupted at any moment, by a signal
or a crash, and resumes from the last save when it is run again.
"""

import dataclasses
import json
import re
import threading
import time
from pathlib import Path

import torch

from factory.errors import Interrupted, JobError
from factory.generate.device import prepare_device
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import find_weights, read_weights
from factory.log import log_event
from factory.spec import GeneratorSpec
from factory.store.local import LocalStore
from factory.train_generator import discriminator, generator
from factory.train_generator.divergence import RecentLosses, check_finite
from factory.train_generator.generator import Tensors, network_of
from factory.train_generator.images import LEAST_PICTURES, load_images
from factory.train_generator.judge import Judge, train_judge
from factory.train_generator.optimiser import Adam
from factory.train_generator.samples import Scores, mean_scores, score_samples, write_weights
from factory.train_generator.sheets import draw_comparison, draw_sheets
from factory.train_generator.spec import TrainSpec
from factory.train_generator.state import STATE_NAME, State, encode_state, load_state, save_state
from factory.train_generator.step import Step, draw_batch, step_rng

WEIGHTS_NAME, BEST_NAME, SCORES_NAME = "weights.safetensors", "best.safetensors", "scores.jsonl"

_SHEET_SEED, _SCORE_SEED = 1, 2


class Training:
    """A training and its output folder."""

    def __init__(self, spec: TrainSpec) -> None:
        """Read the pictures, then resume from the saved state or initialise a new one.

        Raises:
            JobError: If the pictures, the initial weights or the device are unsuitable.
            StoreError: If the folder holds another training, or a state that cannot be read.
        """
        self.spec = spec
        self.device = _device(spec.run.device)
        self.at = Numerics(self.device, getattr(torch, spec.schedule.precision))
        self.folder = Path(spec.output).expanduser()
        self.images = load_images(spec.images.uri, spec.network.resolution)
        if len(self.images.labels) < LEAST_PICTURES:
            raise JobError(
                f"images.uri: {len(self.images.labels)} pictures found in {spec.images.uri}; at least "
                f"{LEAST_PICTURES} are needed, because every tenth is held out to judge by"
            )
        log_event("pictures_read", pictures=len(self.images.labels),
                  classes=",".join(self.images.class_names) or "none")  # fmt: skip
        path = self.folder / STATE_NAME
        self.state = load_state(path, self.device) if path.exists() else self._initial_state()
        self._check_state(path)
        self._shown = self.images.at(self.state.resolution)
        self._losses = RecentLosses(self.folder, self.device)

    def run(self, stop: threading.Event) -> Scores:
        """Train until `schedule.num_images` pictures were shown; returns the last scores.

        Raises:
            Interrupted: If `stop` was set; the state is saved.
        """
        state, run = self.state, self.spec.run
        if not state.scores:
            self._judge()
            save_state(state, self.folder)
        before, start = state.num_images, time.monotonic()
        while state.num_images < self.spec.schedule.num_images:
            if stop.is_set():
                self._losses.check()
                save_state(state, self.folder)
                raise Interrupted(
                    f"{self.folder}: stopped after {state.num_images} pictures; run it again to resume"
                )
            self._step()
            if _passed(state, run.judge_every_images, self.spec.schedule.batch_size):
                self._judge()
            if _passed(state, run.save_every_images, self.spec.schedule.batch_size):
                losses = self._losses.check()
                save_state(state, self.folder)
                rate = (state.num_images - before) / (time.monotonic() - start)
                log_event(
                    "training",
                    images=state.num_images,
                    images_per_s=rate,
                    augment_p=state.adaptation.p,
                    loss_of_discriminator=losses["discriminator"],
                    loss_of_generator=losses.get("generator", 0.0),
                )
        if state.scores[-1]["images"] != state.num_images:
            self._judge()
        self._losses.check()
        save_state(state, self.folder)
        last = state.scores[-1]
        return Scores(last["kid"], last["precision"], last["recall"], last["fidelity"])

    def open_weights(self, uri: str) -> Network:
        """Load another generator of the same classes, for scoring and for sheets.

        Raises:
            JobError: If it has other classes or another resolution.
        """
        names, side = self.images.class_names, self.spec.network.resolution
        kwargs, tensors = _weights(uri, side, names, where="weights")
        return network_of(self._to_device(tensors), kwargs, Numerics(self.device, torch.float32))

    def score(self, network: Network, repeat: int = 0) -> dict[str, Scores]:
        """Score a generator; returns the scores by class.

        Repeat 0 is the training's own; each other has its own judge, samples and real pictures.
        """
        judge = self.state.judge if repeat == 0 else self._new_judge(repeat)
        count = self.spec.run.num_judged
        return score_samples(network, self.images, judge, count, _SCORE_SEED + repeat)

    def compare(self, network: Network) -> bytes:
        """Draw a sheet (PNG): for each class real pictures and samples."""
        return draw_comparison(network, self.images, _SHEET_SEED)

    def _step(self) -> None:
        state, schedule = self.state, self.spec.schedule
        rng = step_rng(schedule.seed, state.num_steps)
        while state.resolution < resolution_at(self.spec, state.num_images):
            self._grow(2 * state.resolution, rng)
        symmetry = self.spec.images.symmetry
        batch = draw_batch(self._shown, schedule.batch_size, symmetry, rng, self.device)
        losses = Step(state, schedule, batch, rng, self.at).take()
        self._losses.add(state.num_images, losses)

    def _grow(self, resolution: int, rng: torch.Generator) -> None:
        state = self.state
        state.generator = self._to_device(
            generator.grow(state.generator, state.kwargs, resolution, rng)
        )
        for name in state.generator.keys() - state.ema.keys():
            state.ema[name] = state.generator[name].clone()
        widths = generator.widths(state.generator)
        state.discriminator = self._to_device(
            discriminator.grow(state.discriminator, widths, resolution, rng)
        )
        known = state.discriminator_steps.moments.keys()
        state.discriminator_steps.forget(known - state.discriminator.keys())
        state.resolution = resolution
        state.warm_up_until = state.num_images + self.spec.schedule.warm_up_images
        self._shown = self.images.at(resolution)
        log_event("grown", resolution=resolution, images=state.num_images)

    def _judge(self) -> None:
        """Score the EMA weights, draw sheets, and write the weights files."""
        state = self.state
        self._losses.check()
        network = network_of(state.ema, state.kwargs, Numerics(self.device, torch.float32))
        scores = mean_scores(self.score(network))
        check_finite(dataclasses.asdict(scores), state.num_images, self.folder, "score ")
        row = {"images": state.num_images, "resolution": state.resolution}
        state.scores.append(row | dataclasses.asdict(scores))
        log_event("scored", images=state.num_images, **dataclasses.asdict(scores))
        store = LocalStore(str(self.folder))
        sheets = draw_sheets(network, self.images, _SHEET_SEED)
        for class_id, (name, sheet) in enumerate(sheets.items()):
            plain = name if re.fullmatch(r"\w[\w. -]*", name) else f"class_{class_id}"  # say, ../x
            store.replace(f"sheets/{plain}-{state.num_images:09d}.png", sheet)
        lines = "".join(json.dumps(row) + "\n" for row in state.scores)
        store.replace(SCORES_NAME, lines.encode())
        write_weights(state, self.spec.images, self.folder / WEIGHTS_NAME)
        # Scores of lower resolutions do not compete: an enlarged 16 px image is no substitute for
        # one of full size, however good its score.
        rivals = [row["kid"] for row in state.scores if row["resolution"] == state.resolution]
        if scores.kid <= min(rivals):
            write_weights(state, self.spec.images, self.folder / BEST_NAME)

    def _initial_state(self) -> State:
        spec, names = self.spec, self.images.class_names
        rng = step_rng(spec.schedule.seed, 2**62)  # a step number that training never reaches
        kwargs, tensors = generator.kwargs_of(spec.network, len(names)), None
        if spec.network.initial:
            kwargs, tensors = _weights(
                spec.network.initial, spec.network.resolution, names, where="network.initial"
            )
        resolution = resolution_at(spec, 0)
        tensors = tensors or generator.initial_tensors(kwargs, resolution, rng)
        widths = generator.widths(tensors)
        if widths[4] % discriminator.NUM_STATISTICS:
            raise JobError(
                f"network.initial: {spec.network.initial} has {widths[4]} feature maps at 4 px; the "
                f"discriminator needs a multiple of {discriminator.NUM_STATISTICS}; take other weights"
            )
        return State(
            kwargs=kwargs,
            class_names=names,
            resolution=resolution,
            generator=self._to_device(tensors),
            ema=self._to_device({name: tensor.clone() for name, tensor in tensors.items()}),
            discriminator=self._to_device(discriminator.initial_tensors(widths, len(names), rng)),
            generator_steps=Adam(),
            discriminator_steps=Adam(),
            judge=self._new_judge(0),
            warm_up_until=spec.schedule.warm_up_images if spec.network.initial else 0,
        )

    def _new_judge(self, repeat: int) -> Judge:
        rng = step_rng(self.spec.schedule.seed, 2**62 + 1 + repeat)  # nor does it reach these
        return train_judge(self.images, rng, self.device)

    def _check_state(self, path: Path) -> None:
        state, names, network = self.state, self.images.class_names, self.spec.network
        if (state.class_names, state.kwargs["img_resolution"]) != (names, network.resolution):
            raise JobError(
                f"output: {path} is a training of {state.kwargs['img_resolution']} px and the classes "
                f"{', '.join(state.class_names) or 'none'}, the job has {network.resolution} "
                f"px and {', '.join(names) or 'none'}; choose another folder"
            )
        ours = state.kwargs if network.initial else generator.kwargs_of(network, len(names))
        if ours != state.kwargs:
            raise JobError(
                f"output: {path} is a training of a network of other widths than the job's; choose "
                "another folder, or set network as it was"
            )

    def _to_device(self, tensors: Tensors) -> Tensors:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}


def resolution_at(spec: TrainSpec, num_images: int) -> int:
    """The resolution to train after `num_images` pictures."""
    start = spec.schedule.start_resolution or spec.network.resolution
    doublings = num_images // spec.schedule.images_per_resolution
    return min(start << min(doublings, 16), spec.network.resolution)


def _passed(state: State, every: int, batch_size: int) -> bool:
    return state.num_images // every > (state.num_images - batch_size) // every


def _device(wanted: str) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise JobError("run.device: found 'cuda', but there is no GPU here; use 'cpu' or 'auto'")
    return prepare_device(torch.device("cuda" if has_gpu and wanted != "cpu" else "cpu"))


def _weights(
    uri: str, resolution: int, names: tuple[str, ...], *, where: str
) -> tuple[dict[str, object], Tensors]:
    """Load settings and tensors of a StyleGAN2 of this resolution and these classes.

    Raises:
        JobError: If resolution, classes or channels differ.
    """
    weights = find_weights(GeneratorSpec(kind="stylegan2", weights=uri))
    assert weights.path is not None
    content = read_weights(weights.path)
    tensors = content.tensors.take_all()
    network = network_of(tensors, content.kwargs, Numerics(torch.device("cpu"), torch.float32))
    found = (network.resolution, network.mapping.c_dim)
    if found != (resolution, len(names)):
        raise JobError(
            f"{where}: {uri} makes {found[0]} px pictures of {found[1]} classes, the job has "
            f"{resolution} px and {len(names)}; take other weights"
        )
    num_channels = len(tensors[f"synthesis.b{resolution}.torgb.weight"])
    if num_channels != 3:
        raise JobError(
            f"{where}: {uri} makes pictures of {num_channels} channels; 3 are needed (RGB); take other "
            "weights"
        )
    return content.kwargs, tensors


def pack_state(spec: TrainSpec) -> tuple[int, bytes]:
    """Pack the state of the training `spec`: number of pictures shown, and content of the small file.

    Raises:
        StoreError: If there is none.
    """
    state = load_state(Path(spec.output).expanduser() / STATE_NAME, torch.device("cpu"))
    return state.num_images, encode_state(state, packed=True)
