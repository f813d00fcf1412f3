from pathlib import Path

import pytest

from factory.generate.base import GeneratorFacts
from factory.segment.methods import import_part
from factory.spec import METHODS, Method, MethodSettings
from factory.spec.segmenters import settings_class


@pytest.mark.parametrize("kind", METHODS)
def test_every_target_of_the_table_is_there_and_its_settings_are_those_it_names(kind):
    method = METHODS[kind]
    targets = [method.settings, method.segmenter, method.fitter, method.cost, method.finish]
    assert all(import_part(kind, target) for target in targets if target)
    own = settings_class(kind)
    assert issubclass(own, MethodSettings)
    assert method.named_settings() <= own.model_fields.keys()
    assert own.model_fields["kind"].default == kind
    assert set(method.needs) <= set(GeneratorFacts.__dataclass_fields__)


CALLED_LINEAR = {
    "factory/generate/biggan/ajbrock_network.py",
    "factory/checkpoint/families/stylegan2.py",
}
"""Files in which `linear` is a layer or an activation of a network."""

CALLED_ALPHA = {
    "factory/make/to_host.py",
    "factory/derive/joined.py",
    "factory/pack/contents.py",
    "factory/dataset/samples.py",
    "factory/dataset/torch_dataset.py",
    "factory/spec/job.py",
}
"""Files in which `alpha` is what a sample or an encoding stores."""


def test_no_method_of_ours_is_named_outside_its_own_files_and_the_table():
    root = Path(__file__).parents[3]
    named = {
        path.relative_to(root).as_posix()
        for path in (root / "factory").rglob("*.py")
        for kind in METHODS
        if f'"{kind}"' in path.read_text(encoding="utf-8")
    }
    own = {settings_class(kind).__module__.replace(".", "/") + ".py" for kind in METHODS}
    assert named - CALLED_LINEAR - CALLED_ALPHA == {"factory/spec/methods.py", *own}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"after_fit": ("x",)}, "a method without a fitter has no use for after_fit"),
        ({"cost": "a:b"}, "a method without a fitter has no use for cost"),
        ({"fitter": "a:b", "has_tree": True}, "needs a setting for a fitted_file"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Method(segmenter="a:b", **fields)
