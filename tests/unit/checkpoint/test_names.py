"""The allow-list of globals: a pair matches exactly, or it is refused."""

import pytest
import torch

from factory.checkpoint.pickles.names import find_token, is_hostile, is_own_class
from factory.checkpoint.pickles.nodes import Kind


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("torch_utils.persistence", "_reconstruct_persistent_obj", Kind.PERSISTENT_OBJECT),
        ("collections", "OrderedDict", Kind.ORDERED_DICT),
        ("numpy._core.multiarray", "_reconstruct", Kind.NUMPY_ARRAY),
        ("argparse", "Namespace", Kind.INSTANCE),
    ],
)
def test_what_is_interpreted_is_so_in_either_mode(module, name, kind):
    assert find_token(module, name, strict=False).kind is kind
    assert find_token(module, name, strict=True).kind is kind


def test_a_storage_type_knows_its_elements():
    assert find_token("torch", "HalfStorage", strict=True).dtype is torch.float16
    assert find_token("torch.storage", "UntypedStorage", strict=True).dtype is torch.uint8


@pytest.mark.parametrize(
    ("module", "name"),
    [("torch.optim.adam", "Adam"), ("omegaconf.dictconfig", "DictConfig"), ("builtins", "slice"),
     ("pathlib", "PosixPath"), ("torch", "float16"), ("timm.models.vit", "ViT")],
)  # fmt: skip
def test_what_lies_beside_generators_is_tolerated_but_not_in_strict_mode(module, name):
    assert find_token(module, name, strict=False).kind is Kind.OPAQUE
    assert find_token(module, name, strict=True) is None


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch.optim.adam", "Adam.__init__"),
        ("torch.optim.adam", "os\nsystem"),
        ("torch.optim..adam", "Adam"),
        ("torch.optimizers", "Adam"),
        ("timm", ""),
        ("tïmm.x", "A"),
    ],
)
def test_anything_else_is_unknown_however_near_it_lies(module, name):
    assert find_token(module, name, strict=False) is None


def test_a_type_of_elements_is_kept_by_name_and_as_the_type():
    assert find_token("torch", "float8_e5m2", strict=False).dtype is torch.float8_e5m2
    assert find_token("torch", "device", strict=False).dtype is None


def test_a_module_is_hostile_by_its_first_name():
    assert [name for name in ("os", "os.path", "posix", "ost", "torch.os") if is_hostile(name)] == [
        "os", "os.path", "posix",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name", "own"),
    [
        ("config", "TrainConfig", True),
        ("my.code", "_Config", True),
        ("my.code", "make_config", False),
        ("os", "Popen", False),
        ("json", "Encoder", False),
        ("torch.hub", "Loader", False),
        ("my code", "Config", False),
    ],
)
def test_a_class_of_the_program_that_wrote_the_file_is_told_from_others(module, name, own):
    assert is_own_class(module, name) is own
