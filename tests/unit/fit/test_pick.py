import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import exact_masks, linear_section
from small_job import small_document, small_job
from typer.testing import CliRunner

from factory.cli.app import app
from factory.errors import JobError
from factory.fit.annotations.pictures_file import read_pictures_file
from factory.fit.annotations.sample import sample_pictures
from factory.fit.pick import Choice, pick_numbers, spread_out
from factory.fit.pixels.sampling import fitting_latents
from factory.fit.progress import Progress
from factory.generate.base import load_generator
from factory.generate.weights.find import find_weights
from factory.pack.image import decode_image, encode_mask

CPU = torch.device("cpu")
CELLS = {"kind": "stylegan2", "weights": "shipped:blood_cells"}


def quiet():
    return Progress(lambda *_: None)


def toy(folder, **overrides):
    dataset = small_job(folder, overrides).dataset
    weights = find_weights(dataset.generator)
    return dataset, weights, load_generator(dataset.generator, weights.path, device=CPU)


def pick(folder, how, count=4, pool_size=40, seed=0, **overrides):
    dataset, _, generator = toy(folder, **overrides)
    with torch.inference_mode():
        choice = Choice(pick=how, count=count, pool_size=pool_size, seed=seed)
        return pick_numbers(generator, dataset, choice, quiet())


def test_the_first_is_the_most_ordinary_and_each_next_the_least_like_those_before():
    vectors = torch.tensor([[0.0], [1.0], [2.0], [9.0], [-4.0]])
    assert spread_out(vectors, 4) == [2, 3, 4, 0]


def test_equal_images_are_chosen_once_each():
    assert sorted(spread_out(torch.zeros(3, 2), 3)) == [0, 1, 2]


@pytest.mark.parametrize("how", ["diverse", "random"])
def test_the_same_pictures_are_chosen_again_and_more_only_add_to_them(how, tmp_path):
    few, more = pick(tmp_path, how), pick(tmp_path, how, count=7)
    assert few == more[:4]
    assert len(set(more)) == 7
    assert few != pick(tmp_path, how, seed=1)


def test_diverse_pictures_cover_the_pool_better_than_random_ones(tmp_path):
    dataset, _, _ = toy(tmp_path)
    masks = exact_masks(dataset, range(40))
    sizes = np.stack([(masks == k).mean(axis=(1, 2)) for k in range(4)], axis=1)

    def farthest(numbers):
        return np.linalg.norm(sizes[:, None] - sizes[None, numbers], axis=2).min(axis=1).max()

    assert farthest(pick(tmp_path, "diverse", 6)) < farthest(pick(tmp_path, "random", 6))


def test_by_class_takes_as_many_of_each_class_of_the_generator(tmp_path):
    chosen = pick(tmp_path, "by-class", count=10, **{"dataset.generator": CELLS})
    dataset, _, cells = toy(tmp_path, **{"dataset.generator": CELLS})
    labels = fitting_latents(cells, dataset, 0, chosen).class_labels
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert set(labels[:5].tolist()) == set(range(5))


def test_what_cannot_be_chosen_is_told(tmp_path):
    with pytest.raises(JobError, match="--n: found 41, of a pool of 40 images"):
        pick(tmp_path, "random", count=41)
    with pytest.raises(JobError, match="'by-class', but this generator has no classes"):
        pick(tmp_path, "by-class")


def test_pictures_are_fitting_images_and_the_manifest_says_which(tmp_path):
    dataset, weights, generator = toy(tmp_path)
    choice = Choice(pick="diverse", count=4, pool_size=20, seed=5)
    given = generator, dataset, weights.sha256, tmp_path / "p", choice, quiet()
    content = sample_pictures(*given)
    assert content == read_pictures_file(tmp_path / "p")
    numbers = [one.number for one in content.pictures]
    images = generator.generate(fitting_latents(generator, dataset, 5, numbers), ()).images
    for one, image in zip(content.pictures, images.numpy(), strict=True):
        file = tmp_path / "p" / "pictures" / f"{one.name}.png"
        assert np.array_equal(decode_image(file.read_bytes()), image)
    with pytest.raises(JobError, match="holds pictures already, and what is painted on them"):
        sample_pictures(*given)


def factory(folder, *arguments):
    """The command line in that folder, with a cache of its own."""
    with contextlib.chdir(folder):
        return CliRunner().invoke(app, arguments, env={"XDG_CACHE_HOME": str(folder / "cache")})


@pytest.mark.slow
def test_pictures_are_sampled_painted_and_become_a_dataset(tmp_path):
    section = linear_section(Path("painted"), classes=["ground", "square", "disc", "core"])
    document = small_document(tmp_path, {"dataset.segmenter": section})
    (tmp_path / "job.yaml").write_text(json.dumps(document))
    done = factory(tmp_path, "sample", "job.yaml", "--n", "4", "--pool", "24")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "wrote 4 pictures to painted/pictures: diverse of 24 images"
    assert "  #000000 = ignore" in lines
    assert "factory paint" in done.stdout
    words = ("sample", "job.yaml", "--n", "4", "--pool", "24", "-o", "others", "--json")
    found = json.loads(factory(tmp_path, *words).stdout)
    names = sorted(path.stem for path in (tmp_path / "others/pictures").iterdir())
    assert sorted(found.pop("pictures")) == names
    assert found == {"output": "others", "pick": "diverse", "pool": 24}
    early = factory(tmp_path, "run", "job.yaml")
    assert early.exit_code == 2
    assert early.stderr.splitlines()[-1].startswith(
        "error: painted: none of its 4 pictures is painted"
    )
    content = read_pictures_file(tmp_path / "painted")
    (tmp_path / "painted" / "masks").mkdir()
    numbers = [one.number for one in content.pictures]
    masks = exact_masks(small_job(tmp_path).dataset, numbers)
    for one, mask in zip(content.pictures, masks, strict=True):
        (tmp_path / "painted" / "masks" / f"{one.name}.png").write_bytes(encode_mask(mask))
    plan = factory(tmp_path, "plan", "--json", "job.yaml")
    assert plan.exit_code == 0, plan.stderr
    assert json.loads(plan.stdout)["warnings"] == []
    done = factory(tmp_path, "run", "job.yaml")
    assert done.exit_code == 0, done.stderr
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert [label["name"] for label in labels["labels"]] == ["ground", "square", "disc", "core"]
    assert factory(tmp_path, "verify", "--deep", "--regenerate", "2", "out").exit_code == 0
