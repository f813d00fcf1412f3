import numpy as np
import pytest
from small_label import small_material
from trees import a_tree

from factory.label.layout import place_nodes


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
