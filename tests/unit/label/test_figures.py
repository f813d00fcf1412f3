from dataclasses import replace

import torch
from small_label import small_material

from factory.label.figures import describe_classes
from factory.segment.tree.evidence import Evidence


def test_what_the_fit_measured_is_told_of_each_node_of_a_class():
    material = small_material()
    tree = material.tree
    stability = torch.linspace(0.2, 1, tree.num_nodes)
    images = torch.ones(tree.num_leaves, 8, dtype=torch.bool)
    evidence = Evidence(
        torch.ones(tree.num_leaves - 2), torch.ones(tree.num_leaves - 1), images, stability
    )
    measured = replace(material, tree=replace(tree, evidence=evidence))
    first, second, *others = tree.flat_cut(4)
    classes = [[first, second], *([node] for node in others)]
    found = describe_classes(measured, classes)["classes"]
    assert found[0]["stability"] == stability[[first, second]].tolist()
    flickering = [node for node in tree.flat_cut(4) if stability[node] < 0.6]
    told = [line for one in found for line in one["doubts"]]
    assert [line.partition(" is found")[0] for line in told] == [
        f"flickers: node {node}" for node in flickering
    ]
    assert flickering
    assert describe_classes(material, classes)["classes"][0]["stability"] is None
