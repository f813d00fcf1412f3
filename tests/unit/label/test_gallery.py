import numpy as np
import pytest
import torch
from small_label import fitted_tree, label_job, small_material
from trees import tree_file

from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.batch import ImageBatch
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import LocalWeights
from factory.label.gallery import _mask_side, draw_gallery
from factory.label.material import make_material
from factory.label.render import Renderer
from factory.segment.base import finish_segmenter, load_segmenter
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter, read_segmenter
from factory.segment.tree.hierarchy import PLANES_NAME

CPU = torch.device("cpu")


def with_corners(corners):
    tensors, facts = decode_segmenter(fitted_tree(), source="test")
    return encode_segmenter(tensors, facts.model_copy(update={"corners": corners}))


@pytest.mark.parametrize("corners", ["aligned", "half_pixel"])
@pytest.mark.parametrize("count", [2, 4, 12])
def test_masks_are_those_that_the_dataset_will_have(tmp_path, count, corners):
    job = label_job(tmp_path)
    fitted = with_corners(corners)
    spec = job.dataset.segmenter.model_copy(update={"cut": count})
    file = tmp_path / "cut.safetensors"
    file.write_bytes(finish_segmenter(fitted, spec, source="test"))
    generator = load_generator(job.dataset.generator, None, device=CPU)
    segmenter = load_segmenter(spec, file, generator.facts, CPU)
    sampler = LatentSampler(generator, job.dataset.latents, job.dataset.generator)
    batch = generator.generate(sampler.draw([3]), segmenter.layers)
    wanted = segmenter.segment(batch).masks[0].numpy()
    material = make_material(job, LocalWeights(None, ""), fitted, device=CPU)
    tree = material.tree
    found = material.gallery.masks(tree.by_size(tree.flat_cut(count)))[3]
    assert found.shape == wanted.shape
    assert (found == wanted).mean() > 0.999
    assert np.array_equal(material.gallery.images[3], batch.images[0].numpy())


def test_how_maps_are_enlarged_changes_masks(tmp_path):
    """Else the comparison above would compare nothing."""
    cut = small_material().tree.flat_cut(12)
    aligned, half = (
        make_material(
            label_job(tmp_path), LocalWeights(None, ""), with_corners(corners), device=CPU
        ).gallery.masks(cut)
        for corners in ("aligned", "half_pixel")
    )
    assert (aligned != half).any()


class LargeShapes:
    """The toy generator, its pixels repeated to 512 px."""

    def __init__(self, small):
        self._small = small
        self.facts = type(small.facts)(**{**_fields(small.facts), "resolution": 512})

    def draw_z(self, rng):
        return self._small.draw_z(rng)

    def generate(self, latents, layers):
        batch = self._small.generate(latents, layers)
        times = 512 // batch.images.shape[1]
        images = batch.images.repeat_interleave(times, 1).repeat_interleave(times, 2)
        return ImageBatch(images, batch.features)


def _fields(facts):
    return {name: getattr(facts, name) for name in type(facts).__dataclass_fields__}


@pytest.mark.slow
def test_large_images_are_shown_at_256_px_with_masks_of_their_own_pixels(tmp_path):
    job = label_job(tmp_path)
    generator = LargeShapes(load_generator(job.dataset.generator, None, device=CPU))
    file = tmp_path / "tree.safetensors"
    file.write_bytes(fitted_tree())
    tree = small_material().tree
    facts = read_segmenter(file)[1]
    gallery = draw_gallery(Renderer(generator, job.dataset, tree, facts))
    assert gallery.images.shape == (20, 256, 256, 3)
    assert gallery.scores.shape == (22, 20, 256, 256)


def test_scores_are_kept_within_half_a_gib():
    assert _mask_side(256, 40) == 256
    assert _mask_side(256, 198) == 128
    assert _mask_side(64, 508) == 64
    for num_nodes in (22, 198, 508):
        assert num_nodes * 20 * _mask_side(256, num_nodes) ** 2 * 4 <= 2**29


def test_a_segmenter_without_a_tree_cannot_be_named(tmp_path):
    tensors, facts = decode_segmenter(tree_file(), source="test")
    tensors = {k: v for k, v in tensors.items() if k != PLANES_NAME}
    with pytest.raises(
        JobError, match="segmenter 'klish': holds no merge tree, only 5 classes; name"
    ):
        make_material(
            label_job(tmp_path),
            LocalWeights(None, ""),
            encode_segmenter(tensors, facts),
            device=CPU,
        )
