import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import a_tree

from factory.errors import JobError
from factory.segment.tree.labels_file import (
    check_labels,
    class_labels,
    encode_labels_file,
    read_labels_file,
)
from factory.spec.labels import LabelsSpec


def named(*nodes, tree=None):
    names = ("ground", "left eye", "rim/edge", "d", "e")
    labels = [
        {"name": name, "colour": f"#0000{position:02x}", "nodes": list(group)}
        for position, (name, group) in enumerate(zip(names, nodes, strict=False))
    ]
    return LabelsSpec(tree=tree or a_tree().digest(), labels=labels)


WORDS = st.text("abcXYZ019_-+./()é背", min_size=1, max_size=8).filter(lambda t: not t.isdecimal())
NAMES = st.lists(
    st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=2, max_size=6, unique=True
)


@pytest.mark.slow
@given(NAMES, st.integers(0, 2**64 - 1), st.integers(0, 2**24 - 1))
def test_what_is_written_is_read_back_unchanged(tmp_path_factory, names, tree, colour):
    labels = LabelsSpec(
        tree=f"{tree:016x}",
        labels=[
            {"name": name, "colour": f"#{colour:06x}", "nodes": [position, 100 + position]}
            for position, name in enumerate(names)
        ],
    )
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"
    path.write_bytes(encode_labels_file(labels))
    assert read_labels_file(path) == labels


def test_a_file_has_a_line_for_each_class():
    assert encode_labels_file(named([7], [1, 2], tree="1234567890123456")).decode() == (
        "# Names of clusters. A label's position is its mask value, from 0.\n"
        "tree: '1234567890123456'\n"
        "labels:\n"
        "- {name: ground, colour: '#000000', nodes: [7]}\n"
        "- {name: left eye, colour: '#000001', nodes: [1, 2]}\n"
    )


def test_positions_are_ids_and_colours_become_numbers():
    first, second = class_labels(named([7], [6]))
    assert (first.id, first.name, first.colour) == (0, "ground", (0, 0, 0))
    assert (second.id, second.name, second.colour) == (1, "left eye", (0, 0, 1))


@pytest.mark.parametrize("nodes", [([7], [6]), ([0, 6], [5]), ([0], [1, 2], [3], [4])])
def test_labels_that_hold_every_cluster_once_are_good(nodes):
    check_labels(named(*nodes), a_tree())


def refusal(labels):
    with pytest.raises(JobError) as caught:
        check_labels(labels, a_tree(), source="labels.yaml")
    return str(caught.value)


def test_labels_of_another_tree_are_refused():
    assert refusal(named([7], [6], tree="0" * 16)) == (
        f"labels.yaml.tree: found 0000000000000000, the merge tree here is {a_tree().digest()}: "
        "these names are for another fit; run `factory label` again"
    )


def test_all_problems_with_nodes_are_told_at_once():
    assert refusal(named([7, 9], [3, 1])).splitlines() == [
        "labels.yaml: 3 problems",
        "  labels.0.nodes: found node 9; this tree has nodes 0 to 7",
        "  labels.1.nodes: node 3 of 'left eye' holds cluster 3, which 'ground' holds already; a "
        "cluster has one class",
        "  labels: no class holds cluster 2; every cluster needs one",
    ]


def test_a_node_named_twice_in_one_class_is_refused_too():
    assert "node 7 of 'ground' holds cluster 0" in refusal(named([7, 7], [6]))


def refused_file(tmp_path, text):
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(JobError) as caught:
        read_labels_file(path)
    return str(caught.value).replace(str(tmp_path), "").splitlines()


def test_all_mistakes_in_a_file_are_told_at_once(tmp_path):
    lines = refused_file(
        tmp_path,
        "tree: abc\nlabels:\n"
        "- {name: a, colour: red, nodes: [0], node: 1}\n"
        "- {name: 'x|y', colour: '#123456', nodes: []}\n",
    )
    assert lines == [
        "/labels.yaml: 5 problems",
        "  tree: string should match pattern '^[0-9a-f]{16}$' (got 'abc')",
        '  labels.0.colour: write a colour as "#rrggbb", in quotes, because # begins a YAML comment '
        "(got 'red')",
        "  labels.0.node: unknown key; did you mean 'nodes'?",
        "  labels.1.name: a name is words of letters, digits and _ - + . / ( ), with one space "
        "between them, and not only digits (got 'x|y')",
        "  labels.1.nodes: list should have at least 1 item after validation, not 0 (got [])",
    ]


def test_a_colour_without_quotes_is_a_comment_and_says_so(tmp_path):
    lines = refused_file(
        tmp_path,
        f"tree: {'a' * 16}\nlabels:\n- name: a\n  colour: #123456\n  nodes: [0]\n"
        "- {name: b, colour: '#123456', nodes: [1]}\n",
    )
    assert lines[1].endswith("in quotes, because # begins a YAML comment (got None)")


@pytest.mark.parametrize("name", ["", " a", "a ", "a  b", "7", "a\nb", "a:b", "<b>"])
def test_names_that_would_break_a_table_or_look_like_ids_are_refused(name):
    with pytest.raises(ValueError, match="a name is words of letters"):
        LabelsSpec(tree="0" * 16, labels=[{"name": name, "colour": "#123456", "nodes": [0]}] * 2)


def test_two_classes_of_one_name_are_refused(tmp_path):
    label = "- {name: b, colour: '#123456', nodes: [1]}\n"
    lines = refused_file(tmp_path, f"tree: {'a' * 16}\nlabels:\n{label}{label}")
    assert lines[1].startswith("  labels: two classes are named 'b' (got [")


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    assert refused_file(tmp_path, "- a\n") == [
        "/labels.yaml: found a list; a labels file is a mapping with tree, labels"
    ]
