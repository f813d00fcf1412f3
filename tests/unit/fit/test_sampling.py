import numpy as np
import pytest
import torch
from small_job import small_job
from stand_in import META, no_numbers
from torch.nn import functional

from factory.data import LatentBatch
from factory.errors import JobError
from factory.fit.pixels.part import Part
from factory.fit.pixels.sampling import (
    FIRST_FITTING_INDEX,
    NUM_PARTS,
    Sampling,
    choose_layers,
    fitting_batch,
    pixel_centres,
    read_places,
)
from factory.generate.base import GeneratorFacts, LayerShape, load_generator
from factory.spec import GeneratorSpec

CPU = torch.device("cpu")


def facts(**layers):
    shapes = {name: LayerShape(c, side, side) for name, (c, side) in layers.items()}
    return GeneratorFacts(64, 0, (), shapes)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_reading_at_pixel_centres_equals_the_upsampled_map(size):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, size, size)
    side = 16
    line = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([x, y], dim=-1).view(-1, 2)
    read = torch.stack([read_places(m, places).T.view(3, side, side) for m in maps])
    whole = functional.interpolate(maps, (side, side), mode="bilinear", align_corners=True)
    assert (read - whole).abs().max() < 1e-5


@pytest.mark.parametrize("size", [4, 8, 16])
def test_read_by_half_pixels_the_pixels_are_those_of_the_map_enlarged_by_half_pixels(size):
    torch.manual_seed(0)
    maps = torch.randn(1, 3, size, size)
    side = 16
    anywhere = torch.rand(4000, 2) * 2 - 1
    centres = pixel_centres(anywhere, side)
    assert (centres - anywhere).abs().max() <= 1 / side
    wide = functional.interpolate(maps, (side, side), mode="bilinear", align_corners=False)[0]
    columns, rows = ((centres + 1) * side / 2 - 0.5).T
    assert len(torch.unique(columns)) == len(torch.unique(rows)) == side
    assert torch.equal(columns, columns.round()), "no place lies between pixels"
    read = read_places(maps[0], centres, "half_pixel")
    assert (read - wide[:, rows.long(), columns.long()].T).abs().max() < 1e-5
    assert (read - read_places(maps[0], centres)).abs().max() > 0.1 or size == side


def test_auto_takes_the_last_map_of_each_resolution_from_coarse_to_fine():
    offered = facts(a0=(8, 4), a1=(8, 4), b0=(8, 8), b1=(9, 8), c0=(7, 16))
    assert choose_layers("auto", offered) == ("a1", "b1", "c0")


def test_auto_drops_the_coarsest_maps_until_a_thousand_channels_are_left():
    offered = facts(a=(512, 4), b=(512, 8), c=(256, 16), d=(128, 32), e=(104, 64))
    assert choose_layers("auto", offered) == ("b", "c", "d", "e")
    wider = facts(a=(512, 4), b=(513, 8), c=(256, 16), d=(128, 32), e=(104, 64))
    assert choose_layers("auto", wider) == ("c", "d", "e")


def test_auto_keeps_the_finest_map_however_wide_it_is():
    assert choose_layers("auto", facts(a=(10, 4), b=(2000, 8))) == ("b",)


def test_named_layers_come_in_the_generator_s_order():
    assert choose_layers(["c", "a"], facts(a=(1, 4), b=(1, 8), c=(1, 16))) == ("a", "c")


@pytest.mark.parametrize(("wanted", "found"), [(["a", "z"], "'z'"), ([], "an empty list")])
def test_a_layer_that_is_not_offered_is_told_with_those_that_are(wanted, found):
    with pytest.raises(JobError) as caught:
        choose_layers(wanted, facts(a=(1, 4), b=(1, 8)))
    assert str(caught.value) == (
        f"dataset.segmenter.layers: found {found}; allowed: auto, or some of a, b"
    )


@pytest.fixture(scope="module")
def generator():
    return load_generator(GeneratorSpec(kind="shapes"), None, device=CPU)


def sampled(generator, dataset, sampling):
    """The vectors of every part, and the images that each step of each part came to."""
    parts = [Part(index, generator, dataset, CPU) for index in range(NUM_PARTS)]
    counts = [[part.sample(sampling, step) for step in range(3)] for part in parts]
    return [part.spread(10**9) for part in parts], counts


def toy_sampling(num_images, pixels_per_image=10, layers=("s8", "s32"), widths=(12, 8)):
    return Sampling(layers, widths, num_images, pixels_per_image, 0)


@pytest.mark.parametrize(("num_images", "batch_size"), [(8, 4), (5, 4), (2, 8), (70, 2)])
def test_as_many_pixels_come_as_were_asked_for(tmp_path, generator, num_images, batch_size):
    dataset = small_job(tmp_path, {"dataset.batch_size": batch_size}).dataset
    sampling = toy_sampling(num_images)
    vectors, counts = sampled(generator, dataset, sampling)
    whole = torch.cat(vectors)
    assert whole.shape == (num_images * 10, 20) == (sampling.num_pixels, sampling.num_channels)
    assert whole.dtype == torch.float32
    assert sum(map(sum, counts)) == num_images
    assert [len(rows) for rows in vectors] == [sum(steps) * 10 for steps in counts]
    blocks = sampling.split(whole[:3])
    assert {name: block.shape for name, block in blocks.items()} == {"s8": (3, 12), "s32": (3, 8)}
    assert torch.equal(torch.cat(list(blocks.values()), dim=1), whole[:3])


def test_parts_hold_whole_batches_and_leave_none_out():
    sampling = toy_sampling(150)
    dealt = [sampling.batches(part, 4) for part in range(NUM_PARTS)]
    assert [batch for part in dealt for batch in part] == list(range(38))
    assert {len(part) for part in dealt} == {2, 3}


def test_the_first_images_give_the_same_pixels_however_many_follow(tmp_path, generator):
    dataset = small_job(tmp_path).dataset
    few, many = (
        torch.cat(sampled(generator, dataset, toy_sampling(n, 6, ("s16",), (12,)))[0])
        for n in (4, 12)
    )
    assert torch.equal(few, many[: len(few)])


def test_another_sampling_starts_anew(tmp_path, generator):
    dataset = small_job(tmp_path).dataset
    part = Part(NUM_PARTS - 1, generator, dataset, CPU)
    part.sample(toy_sampling(8), 0)
    first = part.spread(10**9)
    part.sample(Sampling(("s8",), (12,), 8, 3, 1), 0)
    assert part.spread(10**9).shape == (2 * 3, 12), "the last batch has two images of eight"
    part.sample(toy_sampling(8), 0)
    assert torch.equal(part.spread(10**9), first)


def test_every_answer_is_computed_on_the_part_s_device(tmp_path, monkeypatch):
    spec = GeneratorSpec(kind="shapes")
    part = Part(0, load_generator(spec, None, device=META), small_job(tmp_path).dataset, META)
    centres, planes, columns = torch.randn(4, 20), torch.randn(4, 21), torch.arange(4)
    with no_numbers(monkeypatch):
        part.sample(toy_sampling(8), 0)
        answers = [part.assign(centres), *part.hold(planes), *part.lloyd(centres)]
        part.join(0, 1)
        answers += [*part.hold_one(1, planes[0]), *part.hinge(columns, planes)]
        answers += [*part.curve(columns, planes), part.leads(columns, 5), part.spread(5)]
    assert {answer.device for answer in answers} == {META}


def test_a_dataset_is_never_fitted_on_its_own_samples(tmp_path, generator):
    dataset = small_job(tmp_path).dataset
    batches = [fitting_batch(generator, dataset, 0, index) for index in range(2)]
    assert all(isinstance(batch, LatentBatch) for batch in batches)
    indices = np.concatenate([batch.indices for batch in batches])
    assert indices.tolist() == list(range(FIRST_FITTING_INDEX, FIRST_FITTING_INDEX + 6))
    assert FIRST_FITTING_INDEX > 10**9 * 100
