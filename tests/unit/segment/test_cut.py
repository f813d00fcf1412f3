import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trees import LAYERS, a_tree, tree_file

from factory.errors import JobError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.generate.batch import ImageBatch
from factory.manifest.labels import DatasetLabels, MaskClass
from factory.segment.base import Mergeable, finish_segmenter
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import decode_segmenter, weight_name
from factory.segment.tree.coarser import find_coarser
from factory.segment.tree.head import TreeHead
from factory.segment.tree.hierarchy import Hierarchy, read_hierarchy
from factory.segment.tree.suggest import suggest_cuts
from factory.spec import KlishSpec, KMeansSpec
from unit.segment.test_labels_file import named

CPU = torch.device("cpu")
SIDE = 16
FACTS = GeneratorFacts(SIDE, 0, (), {n: LayerShape(c, s, s) for n, (c, s) in LAYERS.items()})


def klish(**settings):
    return KlishSpec(kind="klish", **settings)


def cut(**settings):
    """Tensors and facts of the small tree's cut."""
    return decode_segmenter(
        finish_segmenter(tree_file(), klish(**settings), source="f"), source="f"
    )


def head(folder, tree=None, **settings):
    spec = klish(**settings)
    path = folder / "head"
    path.write_bytes(finish_segmenter(tree_file(tree), spec, source="f"))
    return TreeHead(spec, path, FACTS, CPU)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    maps = {name: torch.randn(3, c, s, s) for name, (c, s) in LAYERS.items()}
    return ImageBatch(torch.zeros(3, SIDE, SIDE, 3, dtype=torch.uint8), maps)


@pytest.mark.parametrize(
    ("settings", "nodes", "scale"),
    [
        ({"cut": 5}, [[0], [1], [2], [3], [4]], 1.0),
        ({"cut": 4}, [[0], [1], [2], [5]], 1.2),
        ({"cut": 3}, [[6], [0], [5]], 1.5),
        ({"cut": 2}, [[7], [6]], 2.0),
        ({"cut": [4, 3, 6, 0]}, [[6], [0], [3], [4]], 1.2),
        ({"labels": named([5], [6, 0])}, [[5], [6, 0]], 2.0),
        ({"labels": named([2], [1], [7])}, [[2], [1], [7]], 1.5),
    ],
)
def test_a_cut_is_a_choice_of_nodes(settings, nodes, scale):
    tensors, facts = cut(**settings)
    assert facts.nodes == nodes
    assert facts.margin_scale == pytest.approx(scale)
    rows = [node for group in nodes for node in group]
    planes = torch.cat([*(tensors[weight_name(n)] for n in LAYERS), tensors["bias"][:, None]], 1)
    assert torch.equal(planes, a_tree().planes[rows])


def test_the_suggestion_is_the_cut_unless_one_is_given():
    assert len(cut()[1].nodes) == suggest_cuts(a_tree()).num_classes
    assert cut()[1] == cut(cut="auto")[1] != cut(cut=2)[1]


def test_names_and_colours_go_into_the_file_and_other_classes_are_numbered():
    assert [(c.id, c.name, c.colour) for c in cut(labels=named([7], [6]))[1].labels] == [
        (0, "ground", (0, 0, 0)),
        (1, "left eye", (0, 0, 1)),
    ]
    assert cut(cut=3)[1].labels == list(unnamed_labels(3))


def test_the_tree_stays_in_the_file_so_that_it_can_be_cut_again():
    coarse = finish_segmenter(tree_file(), klish(cut=2), source="f")
    assert read_hierarchy(decode_segmenter(coarse, source="f")[0]).digest() == a_tree().digest()
    again = finish_segmenter(coarse, klish(cut=4), source="f")
    assert again == finish_segmenter(tree_file(), klish(cut=4), source="f")


def test_a_method_without_a_tree_is_finished_when_it_is_fitted():
    assert finish_segmenter(b"as it is", KMeansSpec(kind="kmeans"), source="f") == b"as it is"


def refusal(data, **settings):
    with pytest.raises(JobError) as caught:
        finish_segmenter(data, klish(**settings), source="cells.safetensors")
    return str(caught.value)


def test_a_cut_that_the_tree_does_not_have_is_refused():
    assert refusal(tree_file(), cut=6) == (
        "dataset.segmenter.cut: found 6; this tree has 2 to 5 classes"
    )
    assert refusal(tree_file(), cut=[7, 5, 6]).startswith(
        "dataset.segmenter.cut: nodes 7 and 5 both hold cluster 3;"
    )
    assert "cluster 1 lies below none" in refusal(tree_file(), cut=[7, 2])
    assert "run `factory label` again" in refusal(
        tree_file(), labels=named([7], [6], tree="a" * 16)
    )


def logits_of(segmenter, batch):
    return segmenter.logits(batch).numpy()


def test_a_class_claims_a_pixel_with_the_best_score_of_its_nodes(tmp_path, batch):
    fine = head(tmp_path, cut=[5, 6, 0])
    rows = {node: logits_of(fine, batch)[row] for row, node in enumerate((6, 0, 5))}
    grouped = head(tmp_path, labels=named([5], [6, 0]))
    scores = np.stack([rows[5], np.maximum(rows[6], rows[0])])
    found = grouped.segment(batch)
    assert np.array_equal(found.masks.numpy(), scores.argmax(axis=0))
    margin = np.abs(scores[0] - scores[1])
    assert np.allclose(found.confidence_by_px.numpy(), margin / (margin + 2.0), atol=1e-6)
    assert np.allclose(found.confidence.numpy(), (margin / (margin + 2.0)).mean((1, 2)), atol=1e-6)
    both = (fine.segment(batch).masks != 2).numpy()
    assert np.array_equal(found.masks.numpy() == 1, both), "a group is the union of its classes"


def test_a_pixel_that_no_plane_claims_is_255_and_has_no_confidence(tmp_path, batch):
    tree = a_tree()
    tree.planes[:, -1] -= 1
    plain, strict = (head(tmp_path, tree, cut=5, ignore_unclaimed=v) for v in (False, True))
    unclaimed = logits_of(plain, batch).max(axis=0) < 0
    assert 0.01 < unclaimed.mean() < 0.5
    before, found = plain.segment(batch), strict.segment(batch)
    masks = found.masks.numpy()
    assert np.array_equal(masks == 255, unclaimed)
    assert np.array_equal(masks[~unclaimed], before.masks.numpy()[~unclaimed])
    by_px = found.confidence_by_px.numpy()
    assert not by_px[unclaimed].any()
    assert np.array_equal(by_px[~unclaimed], before.confidence_by_px.numpy()[~unclaimed])
    for index in range(3):
        mean = before.confidence_by_px.numpy()[index][~unclaimed[index]].mean()
        assert float(found.confidence[index]) == pytest.approx(mean, abs=1e-6)
    counts = found.class_px.numpy()
    assert np.array_equal(counts.sum(axis=1), (~unclaimed).sum(axis=(1, 2)))


def test_of_a_group_the_best_node_claims(tmp_path, batch):
    tree = a_tree()
    tree.planes[:, -1] -= 1
    fine = head(tmp_path, tree, cut=5, ignore_unclaimed=True).segment(batch).masks
    labels = named([0, 1, 2], [3, 4], tree=tree.digest())
    grouped = head(tmp_path, tree, labels=labels, ignore_unclaimed=True)
    assert torch.equal(grouped.segment(batch).masks == 255, fine == 255)


def test_a_mask_of_which_nothing_is_claimed_has_confidence_0(tmp_path, batch):
    tree = a_tree()
    planes = torch.zeros_like(tree.planes)
    planes[:, -1] = -1.0 - torch.arange(8) / 8
    nowhere = Hierarchy(planes, tree.sizes, tree.history, tree.margins)
    found = head(tmp_path, nowhere, cut=3, ignore_unclaimed=True).segment(batch)
    assert (found.masks == 255).all()
    assert not found.confidence.any()
    assert not found.class_px.any()


def tables(*nodes):
    return {c.num_classes: c.class_of for c in find_coarser(a_tree(), nodes)}


def test_a_fine_cut_has_a_table_for_each_flat_cut_above_it():
    assert tables([0], [1], [2], [3], [4]) == {
        2: [0, 1, 1, 0, 0],
        3: [1, 0, 0, 2, 2],
        4: [0, 1, 2, 3, 3],
    }
    assert tables([7], [6]) == {}


def test_classes_that_a_flat_cut_would_split_have_no_table_for_it():
    assert tables([7], [1], [2]) == {2: [0, 1, 1]}
    assert tables([5], [6, 0]) == {}
    assert tables([0], [5, 6]) == {}


def test_the_head_offers_the_tables_of_its_classes(tmp_path):
    segmenter = head(tmp_path, cut=5)
    assert isinstance(segmenter, Mergeable)
    assert [coarse.num_classes for coarse in segmenter.coarser] == [2, 3, 4]


def meaning(coarser=(), num_classes=5):
    return DatasetLabels(
        labels=list(unnamed_labels(num_classes)),
        coarser=list(coarser),
        generator_classes=[],
        attribution="",
        license="",
    )


def test_a_table_maps_every_mask_value():
    found = meaning(find_coarser(a_tree(), [[0], [1], [2], [3], [4]])).table(3)
    assert found.dtype == np.uint8
    assert found[:5].tolist() == [1, 0, 0, 2, 2]
    assert (found[5:] == 255).all()
    assert meaning().table(5)[:6].tolist() == [0, 1, 2, 3, 4, 255]


def test_a_table_that_is_not_offered_is_refused_with_those_that_are():
    with pytest.raises(JobError) as caught:
        meaning(find_coarser(a_tree(), [[7], [1], [2]]), 3).table(4)
    assert str(caught.value) == "num_classes: found 4; these masks can be read with 2, 3"


def test_labels_of_255_classes_leave_255_alone():
    table = meaning(num_classes=255).table(255)
    assert table.tolist() == list(range(256))


@st.composite
def trees(draw):
    """A merge tree of any shape."""
    num_leaves = draw(st.integers(2, 12))
    alive, history = list(range(num_leaves)), []
    sizes = draw(st.lists(st.integers(1, 99), min_size=num_leaves, max_size=num_leaves))
    while len(alive) > 2:
        first = alive.pop(draw(st.integers(0, len(alive) - 1)))
        second = alive.pop(draw(st.integers(0, len(alive) - 1)))
        history.append([first, second, 0.5, 0.5])
        sizes.append(sizes[first] + sizes[second])
        alive.append(num_leaves + len(history) - 1)
    merges = torch.tensor(history, dtype=torch.float32).view(-1, 4)
    planes = torch.arange(6.0).repeat(len(sizes), 1)
    return Hierarchy(planes, torch.tensor(sizes), merges, torch.ones(num_leaves - 1))


@pytest.mark.slow
@given(trees(), st.data())
def test_a_table_leads_every_leaf_to_the_class_that_the_coarse_cut_gives_it(tree, data):
    count = data.draw(st.integers(2, tree.num_leaves))
    nodes = [[node] for node in tree.by_size(tree.flat_cut(count))]
    offered = find_coarser(tree, nodes)
    assert [coarse.num_classes for coarse in offered] == list(range(2, count))
    for coarse in offered:
        target = tree.by_size(tree.flat_cut(coarse.num_classes))
        for class_id, (node,) in enumerate(nodes):
            assert tree.leaves(node) <= tree.leaves(target[coarse.class_of[class_id]])


def test_a_label_table_without_tables_is_read_as_before():
    text = meaning().model_dump_json(exclude={"coarser"})
    assert DatasetLabels.model_validate_json(text).coarser == []
    assert isinstance(meaning().labels[0], MaskClass)
