"""A pickled network is walked as a tree of modules; names of tensors are those of its state dict."""

import hashlib

import pytest
import torch

from factory.checkpoint.pickles.modules import source_digest, walk_modules
from factory.checkpoint.pickles.nodes import (
    Kind,
    OpaqueObject,
    PersistentObject,
    PickledObject,
    PickledSet,
    Storage,
    TensorView,
    Token,
)
from factory.checkpoint.pickles.source import Budget
from factory.errors import WeightsError


def tensor(value):
    data = memoryview(torch.full((2,), float(value)).numpy().tobytes())
    return TensorView(Storage(torch.float32, 2, "0", data), 0, (2,), (1,), "at byte 0")


def module(name="Layer", source="# source", **state):
    return PersistentObject(name, source, state)


def walk(root):
    return walk_modules(root, Budget("x.pkl", 2**20))


def test_tensors_get_the_names_of_a_state_dict_in_the_order_of_the_tree():
    layer = module(_parameters={"weight": tensor(1), "bias": None}, _buffers={"mean": tensor(2)})
    root = module("Generator", _modules={"b4": module(_modules={"conv": layer, "none": None})})
    tree = walk(root)
    assert list(tree.modules) == ["", "b4", "b4.conv"]
    assert (tree.root.class_name, tree.module("b4.conv").class_name) == ("Generator", "Layer")
    found = {name: value.tolist() for name, value in tree.tensors.items()}
    assert found == {"b4.conv.weight": [1, 1], "b4.conv.mean": [2, 2]}


def test_buffers_that_no_state_dict_has_are_left_out():
    unsaved = PickledSet(["grid"])
    tree = walk(module(_buffers={"grid": tensor(1), "w": tensor(2)},
                       _non_persistent_buffers_set=unsaved))  # fmt: skip
    assert list(tree.tensors) == ["w"]


def test_an_attribute_is_read_before_the_argument_of_that_name():
    made = module(_init_kwargs={"z_dim": 64, "w_dim": 32}, z_dim=128)
    root = walk(made).root
    assert (root.get("z_dim"), root.get("w_dim"), root.get("absent")) == (128, 32, None)
    assert (root.has("w_dim"), root.has("absent")) == (True, False)
    assert root.init_kwargs == {"z_dim": 64, "w_dim": 32}


def test_distinct_sources_are_counted_and_the_first_is_hashed():
    root = module(source="# é", _modules={"a": module(), "b": module()})
    assert walk(root).sources == {"# é", "# source"}
    assert source_digest(root) == (hashlib.sha256("# é".encode()).hexdigest(), 4)


def test_a_layer_of_a_known_class_without_source_is_walked_too():
    embedding = PickledObject(
        Token("torch.nn.modules.sparse", "Embedding", Kind.INSTANCE),
        state={"_parameters": {"weight": tensor(3)}},
    )
    tree = walk(module(_modules={"embed": embedding}))
    assert tree.module("embed").class_name == "Embedding"
    assert list(tree.tensors) == ["embed.weight"]


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(WeightsError, match="the network has no module 'mapping'"):
        walk(module()).module("mapping")


def test_a_part_that_is_not_interpreted_is_refused():
    opaque = OpaqueObject(Token("timm.models", "ViT", Kind.OPAQUE), ())
    with pytest.raises(WeightsError, match=r"'a' is 'timm\.models\.ViT', which is not interpreted"):
        walk(module(_modules={"a": opaque}))


def test_a_module_that_contains_itself_ends_the_walk():
    root = module()
    root.state["_modules"] = {"again": root}
    with pytest.raises(WeightsError, match="occurs twice"):
        walk(root)


@pytest.mark.parametrize("key", ["a.b", "", 3, "n" * 513])
def test_names_that_would_be_ambiguous_are_refused(key):
    with pytest.raises(WeightsError, match="a part of module '' is named"):
        walk(module(_parameters={key: tensor(1)}))


def test_a_tensor_that_is_none_or_is_there_twice_is_refused():
    with pytest.raises(WeightsError, match="tensor 'w' is a str"):
        walk(module(_parameters={"w": "text"}))
    with pytest.raises(WeightsError, match="tensor 'w' is a TensorView"):
        walk(module(_parameters={"w": tensor(1)}, _buffers={"w": tensor(2)}))
