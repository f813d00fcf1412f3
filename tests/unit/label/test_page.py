"""What the label page shows: the tree's drawing, and masks of any cut."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_label import fitted_tree, label_job, small_material
from trees import a_tree, tree_file

from factory.errors import JobError
from factory.generate.base import load_generator
from factory.generate.batch import ImageBatch
from factory.generate.latents import LatentSampler
from factory.generate.weights.find import LocalWeights
from factory.label.gallery import Gallery, _mask_side, draw_gallery
from factory.label.layout import place_nodes
from factory.label.material import LabelMaterial, make_material
from factory.label.page import kept_page, make_facts
from factory.label.picture import draw_picture
from factory.segment.base import finish_segmenter, load_segmenter
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter, read_segmenter
from factory.segment.tree.hierarchy import PLANES_NAME, Hierarchy

CPU = torch.device("cpu")


def test_parents_stand_over_the_middle_of_their_children_and_no_lines_cross():
    nodes = place_nodes(small_material().tree)
    for node in nodes:
        if node.children:
            assert node.x == sum(nodes[child].x for child in node.children) / 2
    spans = [sorted(leaf_places(nodes, node.id)) for node in nodes]
    step = 1 / small_material().tree.num_leaves
    for span in spans:
        assert np.allclose(np.diff(span), step)
    assert sorted(node.x for node in nodes if not node.children)[0] == pytest.approx(step / 2)


def leaf_places(nodes, node):
    if not nodes[node].children:
        return [nodes[node].x]
    return [x for child in nodes[node].children for x in leaf_places(nodes, child)]


def test_the_larger_child_is_left_and_nodes_know_when_they_came():
    nodes = place_nodes(a_tree())
    assert nodes[7].children == (0, 5)
    assert nodes[5].children == (3, 4)
    assert [node.born for node in nodes] == [5, 5, 5, 5, 5, 4, 3, 2]


def test_a_node_is_in_the_flat_cuts_between_its_birth_and_its_parents():
    tree = small_material().tree
    nodes = place_nodes(tree)
    parents = {child: node.born for node in nodes for child in node.children or ()}
    for count in range(2, tree.num_leaves + 1):
        alive = [n.id for n in nodes if parents.get(n.id, 1) < count <= n.born]
        assert tuple(alive) == tree.flat_cut(count)


def test_colours_of_a_cut_differ_and_one_more_class_changes_one():
    tree = small_material().tree
    nodes = place_nodes(tree)
    before = set()
    for count in range(2, tree.num_leaves + 1):
        colours = {nodes[node].colour for node in tree.flat_cut(count)}
        assert len(colours) == count
        assert before < colours
        before = colours


@pytest.mark.parametrize("count", [2, 4, 12])
def test_masks_are_those_that_the_dataset_will_have(tmp_path, count):
    job = label_job(tmp_path)
    spec = job.dataset.segmenter.model_copy(update={"cut": count})
    file = tmp_path / "cut.safetensors"
    file.write_bytes(finish_segmenter(fitted_tree(), spec, source="test"))
    generator = load_generator(job.dataset.generator, None, device=CPU)
    segmenter = load_segmenter(spec, file, generator.facts, CPU)
    sampler = LatentSampler(generator, job.dataset.latents, job.dataset.generator)
    batch = generator.generate(sampler.draw([3]), segmenter.layers)
    wanted = segmenter.segment(batch).masks[0].numpy()
    tree = small_material().tree
    found = small_material().gallery.masks(tree.by_size(tree.flat_cut(count)))[3]
    assert found.shape == wanted.shape
    assert (found == wanted).mean() > 0.999
    assert np.array_equal(small_material().gallery.images[3], batch.images[0].numpy())


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


def test_large_images_are_shown_at_256_px_with_masks_of_their_own_pixels(tmp_path):
    job = label_job(tmp_path)
    generator = LargeShapes(load_generator(job.dataset.generator, None, device=CPU))
    file = tmp_path / "tree.safetensors"
    file.write_bytes(fitted_tree())
    tree = small_material().tree
    gallery = draw_gallery(generator, job.dataset, tree, read_segmenter(file)[1].layers)
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


def test_the_picture_shows_the_tree_and_four_cuts_of_eight_samples():
    picture = Image.open(io.BytesIO(draw_picture(small_material())))
    assert picture.format == "PNG"
    assert picture.width == 8 * 136 + 8
    pixels = np.asarray(picture.convert("RGB"))
    nodes = place_nodes(small_material().tree)
    cut = small_material().tree.flat_cut(small_material().tree.suggest().num_classes)
    for node in cut:
        colour = list(bytes.fromhex(nodes[node].colour[1:]))
        assert (pixels[30:280] == colour).all(axis=2).sum() > 100


def test_a_tree_of_two_clusters_is_shown_as_well():
    tree, gallery = small_material().tree, small_material().gallery
    pair = Hierarchy(tree.planes[:2], tree.sizes[:2], tree.history[:0], tree.margins[:1])
    material = LabelMaterial("two", pair, Gallery(gallery.images, gallery.scores[:2]))
    assert make_facts(material)["cuts"] == [{"k": 2, "iou": None, "ecos": None}]
    assert Image.open(io.BytesIO(draw_picture(material))).width == 1096


def test_the_kept_page_names_no_address():
    text = kept_page(small_material()).decode()
    assert "$" not in re.sub(r"\$\{", "", text.split('id="facts"')[0])
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
    assert sorted(map(int, facts["masks"])) == list(range(2, 13))


def test_a_name_cannot_end_the_script_it_stands_in():
    text = kept_page(replace(small_material(), name="</script><b>")).decode()
    assert "</script><b>" not in text
