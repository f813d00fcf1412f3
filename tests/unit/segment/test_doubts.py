from dataclasses import replace

import pytest
import torch
from trees import a_tree, tree_file

from factory.segment.methods import find_doubts
from factory.segment.segmenter_file import decode_segmenter
from factory.segment.tree.doubts import doubts_of_cut
from factory.segment.tree.evidence import Evidence
from factory.segment.tree.hierarchy import read_hierarchy
from factory.segment.tree.mixture import mask_shares
from factory.segment.tree.suggest import suggest_cuts
from factory.spec import KlishSpec
from factory.spec.labels import LabelsSpec


def lopsided(images=None):
    """Leaf 0 holds 950 of 1,000 pixels; leaf 4 is in one image of 200, unless told otherwise."""
    sizes = torch.tensor([950, 20, 15, 10, 5, 15, 35, 965])
    tree = replace(a_tree(), sizes=sizes)
    if images is None:
        images = torch.ones(5, 200, dtype=torch.bool)
        images[4, 1:] = False
    evidence = Evidence(torch.ones(3), torch.tensor([0.5, 0.9, 0.9, 1.0]), images)
    return replace(tree, evidence=evidence)


def test_a_class_of_nearly_all_pixels_is_said_with_what_to_do():
    assert doubts_of_cut(lopsided(), 4) == [
        "of 4 classes, cluster_0 (node 0) holds 95.0% of the pixels: cut finer, or fit on other `layers`"
    ]
    published = replace(lopsided(), evidence=None)
    assert doubts_of_cut(published, 3)[0].endswith(
        "cut finer, or fit on other `layers` or with `merging: robust`"
    )


def test_a_class_in_almost_no_image_is_said_with_what_to_do():
    assert doubts_of_cut(lopsided(), 5)[1:] == [
        "of 5 classes, cluster_4 (node 4) is in 0.5% of the images: cut coarser, or raise "
        "fit.num_images to see whether it is a part or a chance"
    ]
    assert len(doubts_of_cut(replace(lopsided(), evidence=None), 5)) == 1


def test_a_class_that_is_not_found_again_in_other_images_is_said_with_what_to_do():
    tree = lopsided(torch.ones(5, 200, dtype=torch.bool))
    stability = torch.tensor([1, 1, 1, 1, 1, 0.9, 0.41, 0.7])
    flickering = replace(tree, evidence=replace(tree.evidence, stability=stability))
    assert doubts_of_cut(flickering, 3)[-1] == (
        "of 3 classes, cluster_6 (node 6) flickers: node 6 is found again by 41% (mean Jaccard index) "
        "when the images are drawn anew: cut coarser or finer there, or raise fit.num_images"
    )
    assert not [line for line in doubts_of_cut(flickering, 5) if "flickers" in line]
    again = read_hierarchy(decode_segmenter(with_evidence(flickering), source="t")[0])
    assert torch.equal(again.evidence.stability, stability)


def mixed(*, foreign, own, to_other):
    """At so many pixels leaf 4 of node 5 is best, and next is leaf 0, or leaf 3; at others leaf 3."""
    ranks = torch.full((foreign + own, 8), 8, dtype=torch.uint8)
    ranks[:foreign, 4], ranks[:to_other, 0], ranks[to_other:foreign, 3] = 0, 1, 1
    ranks[foreign:, 3], ranks[foreign:, 4] = 0, 1
    tree = lopsided(torch.ones(5, 200, dtype=torch.bool))
    return replace(tree, evidence=replace(tree.evidence, ranks=ranks))


def test_a_class_that_mixes_what_its_parts_separate_is_said_with_what_to_do():
    tree = mixed(foreign=100, own=150, to_other=80)
    assert doubts_of_cut(tree, 3)[-1] == (
        "of 3 classes, cluster_5 (node 5) mixes: 4, a part of node 5, has 40% of its pixels and is "
        "nearer to cluster_0, where 80% of them would go if it were not split off: see its pictures "
        "on the page of `factory label`, and split it off if it is something else"
    )
    assert not [line for line in doubts_of_cut(tree, 5) if "mixes" in line], "there it is split off"
    again = read_hierarchy(decode_segmenter(with_evidence(tree), source="t")[0])
    assert torch.equal(again.evidence.ranks, tree.evidence.ranks)
    assert doubts_of_cut(again, 3) == doubts_of_cut(tree, 3)


def test_shares_are_those_of_masks_where_the_fit_ranked_the_nodes():
    """Clusters say 95 %; of 1,000 pixels, masks give 300 to node 0 and 700 to node 5."""
    tree = lopsided(torch.ones(5, 200, dtype=torch.bool))
    ranks = torch.full((1000, 8), 7, dtype=torch.uint8)
    ranks[:300, 0], ranks[300:, 5], ranks[300:, 0] = 0, 0, 1
    told = replace(tree, evidence=replace(tree.evidence, ranks=ranks))
    assert mask_shares(told, [[0], [6], [5]]) == pytest.approx([0.3, 0, 0.7])
    assert mask_shares(told, [[0, 5], [6]]) == [1, 0]
    assert mask_shares(tree, [[0], [6], [5]]) == [0.95, 0.035, 0.015]
    (line,) = [line for line in doubts_of_cut(told, 3) if "of the pixels" in line]
    assert "cluster_6 (node 6) holds none of the pixels that were looked at" in line
    ranks[: len(ranks) // 20 * 19, 5], ranks[:, 0] = 0, 1
    lines = [line for line in doubts_of_cut(told, 3) if "of the pixels" in line]
    for node, share in ((0, "none"), (5, "100.0%"), (6, "none")):
        assert any(f"cluster_{node} (node {node}) holds {share} of" in line for line in lines)


@pytest.mark.parametrize(
    "pixels",
    [
        {"foreign": 100, "own": 150, "to_other": 50},
        {"foreign": 49, "own": 60, "to_other": 49},
        {"foreign": 60, "own": 1300, "to_other": 60},
        {"foreign": 100, "own": 99, "to_other": 100},
    ],
    ids=["half of a part stays", "too few to say", "a small part", "nearly all of a class"],
)
def test_of_these_a_class_is_not_said_to_be_mixed(pixels):
    assert not [line for line in doubts_of_cut(mixed(**pixels), 3) if "mixes" in line]


def test_classes_without_names_are_called_what_the_dataset_calls_them():
    doubts = find_doubts(KlishSpec(cut=[0, 3, 4, 6]), with_evidence(lopsided()))
    assert [line.partition(" holds")[0] for line in doubts][:1] == [
        "of 4 classes, cluster_00 (node 0)"
    ]


def test_a_good_cut_is_not_doubted():
    assert doubts_of_cut(a_tree(), 4) == []


def test_named_classes_are_doubted_by_their_names_and_as_a_whole():
    tree = lopsided()
    labels = LabelsSpec.model_validate(
        {
            "tree": tree.digest(),
            "labels": [
                {"name": "ground", "colour": "#102030", "nodes": [0, 3]},
                {"name": "rest", "colour": "#A0B0C0", "nodes": [4, 6]},
            ],
        }
    )
    found = find_doubts(KlishSpec(labels=labels), with_evidence(tree))
    assert [line.split(":")[0] for line in found] == [
        "of 2 classes, ground (node 0, 3) holds 96.0% of the pixels"
    ]


def with_evidence(tree):
    from safetensors.torch import load

    from factory.segment.segmenter_file import encode_segmenter

    data = tree_file(tree)
    _, facts = decode_segmenter(data, source="t")
    return encode_segmenter(load(data) | tree.evidence.tensors(), facts)


def test_evidence_is_read_back_from_the_file():
    tree = lopsided()
    again = read_hierarchy(decode_segmenter(with_evidence(tree), source="t")[0]).evidence
    for name, tensor in tree.evidence.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
    assert read_hierarchy(decode_segmenter(tree_file(), source="t")[0]).evidence is None


def test_cuts_that_are_doubtful_shaky_or_uneven_are_suggested_last():
    images = torch.ones(5, 200, dtype=torch.bool)
    tree = replace(a_tree(), evidence=Evidence(torch.ones(3), torch.ones(4), images))
    plain = suggest_cuts(a_tree())
    best = plain.num_classes
    assert suggest_cuts(tree).num_classes == best
    agreement = torch.ones(4)
    agreement[best - 2] = 0.1
    shaky = replace(tree, evidence=replace(tree.evidence, agreement=agreement))
    assert dict(suggest_cuts(shaky).ranked)[best] < 0.11 * dict(suggest_cuts(tree).ranked)[best]
    assert suggest_cuts(shaky).num_classes != best
    count = suggest_cuts(lopsided()).ranked[-1][0]
    assert doubts_of_cut(lopsided(), count)
