"""The allow-list of globals in a checkpoint: interpreted ones and tolerated ones.

A pair (module, name) must match exactly; a name with a dot matches nothing.
"""

import re
from typing import Final

import torch

from factory.checkpoint.pickles.nodes import Kind, Token

HOSTILE_MODULES: Final = frozenset(
    {
        "os", "posix", "nt", "subprocess", "sys", "builtins", "__builtin__", "importlib", "ctypes",
        "_ctypes", "socket", "_socket", "runpy", "shutil", "pty", "code", "codeop", "webbrowser",
        "pickle", "_pickle", "cPickle", "marshal", "types", "operator", "_operator", "commands",
        "multiprocessing", "_posixsubprocess", "imp", "pkgutil", "pip", "asyncio", "timeit",
        "cProfile", "profile", "pdb", "bdb", "signal", "threading", "_thread", "tempfile", "io",
        "_io", "urllib", "http", "requests",
    }
)  # fmt: skip
"""Top-level modules that weights never need: naming one is an attack or a mistake."""

_STORAGES: Final = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_KNOWN: Final = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Kind.PERSISTENT_OBJECT,
    ("collections", "OrderedDict"): Kind.ORDERED_DICT,
    ("builtins", "set"): Kind.SET,
    ("__builtin__", "set"): Kind.SET,
    ("_codecs", "encode"): Kind.ENCODE,
    ("torch", "Size"): Kind.SIZE,
    ("torch._utils", "_rebuild_parameter"): Kind.PARAMETER,
    ("torch._utils", "_rebuild_tensor_v2"): Kind.TENSOR,
    ("torch.storage", "_load_from_bytes"): Kind.STORAGE_BYTES,
    ("numpy.core.multiarray", "scalar"): Kind.NUMPY_SCALAR,
    ("numpy._core.multiarray", "scalar"): Kind.NUMPY_SCALAR,
    ("numpy.core.multiarray", "_reconstruct"): Kind.NUMPY_ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): Kind.NUMPY_ARRAY,
    ("numpy", "ndarray"): Kind.NUMPY_TYPE,
    ("numpy", "dtype"): Kind.DTYPE,
    ("dill._dill", "_create_array"): Kind.DILL_ARRAY,
    ("dnnlib.util", "EasyDict"): Kind.INSTANCE,
    ("dnnlib.tflib.network", "Network"): Kind.INSTANCE,
    ("tfutil", "Network"): Kind.INSTANCE,
    ("torch.nn.modules.sparse", "Embedding"): Kind.INSTANCE,
    ("argparse", "Namespace"): Kind.INSTANCE,
    **{("torch", name): Kind.STORAGE_TYPE for name in _STORAGES},
}

_TOLERATED_PAIRS: Final = {
    ("functools", "partial"),
    ("collections", "defaultdict"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("torch", "device"),
    *(("torch", str(dtype).removeprefix("torch.")) for dtype in _STORAGES.values()),
    *(
        ("dill._dill", name)
        for name in (
            "_load_type",
            "_create_type",
            "_create_function",
            "_create_code",
            "_create_cell",
        )
    ),
}
_TOLERATED_PACKAGES: Final = (
    "torch.nn.modules.", "torch.optim.", "timm.", "pg_modules.", "training.", "dnnlib.",
)  # fmt: skip
_MODULE_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def find_token(module: str, name: str, *, strict: bool) -> Token | None:
    """Look up a global in the allow-list; None if it is not allowed.

    Args:
        module: Module name as written in the file.
        name: Attribute name as written in the file.
        strict: Also reject tolerated globals.
    """
    kind = _KNOWN.get((module, name))
    if kind is not None:
        return Token(module, name, kind, _STORAGES.get(name) if module == "torch" else None)
    if strict or not _MODULE_NAME.fullmatch(module) or not _NAME.fullmatch(name):
        return None
    if (module, name) in _TOLERATED_PAIRS or f"{module}.".startswith(_TOLERATED_PACKAGES):
        return Token(module, name, Kind.OPAQUE)
    return None


def is_hostile(module: str) -> bool:
    """Whether naming `module` indicates an attack rather than an unknown format."""
    return module.split(".", maxsplit=1)[0] in HOSTILE_MODULES
