import numpy as np
import pytest
from small_label import small_material

from factory.label.model_review import review_nodes
from factory.spec.labels import LabelsSpec


@pytest.fixture
def labels():
    """Four nodes, the first two of one class."""
    tree = small_material().tree
    first, second, third, fourth = tree.by_size(tree.flat_cut(4))
    return LabelsSpec.model_validate(
        {
            "tree": tree.digest(),
            "labels": [
                {"name": "ground", "colour": "#000000", "nodes": [first, second]},
                {"name": "disc", "colour": "#ff0000", "nodes": [third]},
                {"name": "core", "colour": "#00ff00", "nodes": [fourth]},
            ],
        }
    )


def sees(labels, swapped=None):
    """A network that sees the masks of the labels' nodes, one class each, but for those swapped."""
    nodes = [node for label in labels.labels for node in label.nodes]
    masks = small_material().gallery.masks(nodes)
    by_image = {image.tobytes(): at for at, image in enumerate(small_material().gallery.images)}
    table = np.array([0, 0, 1, 2], np.uint8)
    for node, class_id in (swapped or {}).items():
        table[nodes.index(node)] = class_id
    return lambda _, image: table[masks[by_image[image.tobytes()]]]


def test_a_network_that_sees_what_was_named_confirms_every_node(labels):
    found = review_nodes(
        small_material().renderer, labels, sees(labels), [["ground"], ["disc"], ["core"]], 20
    )
    assert [one.verdict().verdict for one in found] == ["confirmed"] * 4
    assert [one.share for one in found] == [1.0] * 4


def test_a_node_that_it_sees_as_another_class_is_disputed_with_that_name(labels):
    node = labels.labels[0].nodes[1]
    names = [["ground"], ["disc"], ["core"]]
    found = review_nodes(small_material().renderer, labels, sees(labels, {node: 1}), names, 20)
    verdicts = {one.node: one.verdict() for one in found}
    assert verdicts.pop(node).model_dump() == {
        "node": node,
        "given": "ground",
        "verdict": "disputed",
        "proposed": "disc",
    }
    assert {verdict.verdict for verdict in verdicts.values()} == {"confirmed"}


def test_ids_of_one_name_count_together_and_a_node_without_pixels_gets_no_verdict(labels):
    names = [["disc"], ["disc"], ["ground"]]

    def predict(_, image):
        stripes = np.array([0, 1, 2, 2], np.uint8)
        return np.tile(stripes, (len(image), len(image) // 4))

    found = review_nodes(small_material().renderer, labels, predict, names, 8)
    assert {one.seen for one in found} <= {"disc", "ground", ""}
    nobody = review_nodes(
        small_material().renderer, labels, lambda _, image: np.full(image.shape[:2], 255), names, 2
    )
    assert [one.verdict() for one in nobody] == [None] * 4


def test_what_a_network_does_not_tell_apart_is_confirmed_by_either_name(labels):
    names = [["ground", "core"], ["disc"]]
    ground, core = (labels.labels[at].nodes[0] for at in (0, 2))
    predict = sees(labels, {core: 0})
    found = {
        one.node: one.seen
        for one in review_nodes(small_material().renderer, labels, predict, names, 20)
    }
    assert (found[ground], found[core]) == ("ground", "core")
    disc = labels.labels[1].nodes[0]
    predict = sees(labels, {core: 0, disc: 0})
    found = {
        one.node: one.seen
        for one in review_nodes(small_material().renderer, labels, predict, names, 20)
    }
    assert found[disc] == "ground", "the first of the names is proposed"
