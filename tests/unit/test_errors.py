import pickle
import subprocess
import sys

import pytest

from factory import errors
from factory.errors import FactoryError

TREE = {
    "FactoryError": ("Exception", 1),
    "JobError": ("FactoryError", 2),
    "WeightsError": ("JobError", 2),
    "PluginError": ("FactoryError", 3),
    "ShardError": ("FactoryError", 4),
    "RetryableError": ("ShardError", 4),
    "PreemptedError": ("RetryableError", 4),
    "IncompleteError": ("FactoryError", 5),
    "StoreError": ("FactoryError", 6),
    "UnreachableError": ("StoreError", 6),
    "DamageError": ("FactoryError", 7),
    "Interrupted": ("FactoryError", 75),
}
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FactoryError)
}


def test_the_tree_of_errors_and_its_exit_codes_are_the_documented_ones():
    found = {name: (kind.__base__.__name__, kind.exit_code) for name, kind in KINDS.items()}
    assert found == TREE


@pytest.mark.parametrize("name", TREE)
def test_the_module_s_drawing_shows_every_error_with_its_exit_code(name):
    drawn = [line.split() for line in errors.__doc__.splitlines()]
    codes = [words[words.index(name) + 1] for words in drawn if name in words]
    assert codes == [str(TREE[name][1])]


def test_every_error_crosses_a_process_boundary_with_its_type_and_text():
    code = (
        "import pickle, sys\nfrom factory import errors\n"
        "made = [getattr(errors, n)(f'{n}: two\\nlines, \\u00e4') for n in sys.argv[1:]]\n"
        "sys.stdout.buffer.write(pickle.dumps(made))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, *TREE], capture_output=True, check=True, timeout=60
    )
    arrived = pickle.loads(finished.stdout)
    assert [type(error) for error in arrived] == [KINDS[name] for name in TREE]
    assert [str(error) for error in arrived] == [f"{name}: two\nlines, ä" for name in TREE]
