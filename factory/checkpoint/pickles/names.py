"""The allow-list of globals in a checkpoint: interpreted ones and tolerated ones.

A pair (module, name) must match exactly; a name with a dot matches nothing.
"""

import re
import sys
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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_UNTYPED: Final = ("torch.storage", "UntypedStorage")
"""Bytes; the tensors that view them carry their element type themselves."""

_KNOWN: Final = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Kind.PERSISTENT_OBJECT,
    ("collections", "OrderedDict"): Kind.ORDERED_DICT,
    ("builtins", "set"): Kind.SET,
    ("__builtin__", "set"): Kind.SET,
    ("_codecs", "encode"): Kind.ENCODE,
    ("torch", "Size"): Kind.SIZE,
    ("torch._utils", "_rebuild_parameter"): Kind.PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): Kind.PARAMETER,
    ("torch._utils", "_rebuild_tensor_v2"): Kind.TENSOR,
    ("torch._utils", "_rebuild_tensor_v3"): Kind.TYPED_TENSOR,
    ("torch.storage", "_load_from_bytes"): Kind.STORAGE_BYTES,
    ("numpy.core.multiarray", "scalar"): Kind.NUMPY_SCALAR,
    ("numpy._core.multiarray", "scalar"): Kind.NUMPY_SCALAR,
    ("numpy.core.multiarray", "_reconstruct"): Kind.NUMPY_ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): Kind.NUMPY_ARRAY,
    ("numpy.core.numeric", "_frombuffer"): Kind.NUMPY_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): Kind.NUMPY_BUFFER,
    ("numpy", "ndarray"): Kind.NUMPY_TYPE,
    ("numpy", "dtype"): Kind.DTYPE,
    ("dill._dill", "_create_array"): Kind.DILL_ARRAY,
    ("dnnlib.util", "EasyDict"): Kind.INSTANCE,
    ("dnnlib.tflib.network", "Network"): Kind.INSTANCE,
    ("tfutil", "Network"): Kind.INSTANCE,
    ("torch.nn.modules.sparse", "Embedding"): Kind.INSTANCE,
    ("argparse", "Namespace"): Kind.INSTANCE,
    **{("torch", name): Kind.STORAGE_TYPE for name in _STORAGES},
    _UNTYPED: Kind.STORAGE_TYPE,
}

_BUILT_IN_TYPES: Final = (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "range",
    "long", "slice", "str", "tuple", "xrange",
)  # fmt: skip

_TOLERATED_PAIRS: Final = {
    ("functools", "partial"),
    *(("collections", name) for name in ("ChainMap", "Counter", "defaultdict", "deque")),
    *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(
        ("pathlib", f"{pure}{system}Path")
        for pure in ("", "Pure")
        for system in ("Posix", "Windows")
    ),
    *((module, name) for module in ("builtins", "__builtin__") for name in _BUILT_IN_TYPES),
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("random", "Random"),
    ("types", "SimpleNamespace"),
    ("typing", "Any"),
    ("uuid", "UUID"),
    ("torch", "device"),
    ("torch.serialization", "_get_layout"),
    *(("torch._utils", f"_rebuild_{kind}") for kind in ("sparse_tensor", "qtensor")),
    *(
        ("torch", name)
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype | torch.qscheme)
    ),
    *(
        ("numpy.random._pickle", f"__{kind}_ctor")
        for kind in ("randomstate", "generator", "bit_generator")
    ),
    ("numpy.random._mt19937", "MT19937"),
    ("numpy.random._pcg64", "PCG64"),
    ("numpy.random.bit_generator", "SeedSequence"),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
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
    "pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities.", "torchmetrics.",
    "omegaconf.", "ml_collections.", "yacs.", "easydict.", "munch.", "addict.", "attrdict.", "box.",
)  # fmt: skip
"""Libraries whose settings and training state lie beside many generators."""
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
    if kind is Kind.STORAGE_TYPE:
        return Token(module, name, kind, _STORAGES.get(name, torch.uint8))
    if kind is not None:
        return Token(module, name, kind)
    if strict or not _MODULE_NAME.fullmatch(module) or not _NAME.fullmatch(name):
        return None
    if (module, name) in _TOLERATED_PAIRS or f"{module}.".startswith(_TOLERATED_PACKAGES):
        dtype = getattr(torch, name, None) if module == "torch" else None
        return Token(module, name, Kind.OPAQUE, dtype if isinstance(dtype, torch.dtype) else None)
    return None


def is_hostile(module: str) -> bool:
    """Whether naming `module` indicates an attack rather than an unknown format."""
    return module.split(".", maxsplit=1)[0] in HOSTILE_MODULES


def is_own_class(module: str, name: str) -> bool:
    """Whether this reads as a class of the program that wrote the file: `config.TrainConfig`.

    Nothing of it is needed or loaded; it only decides what the refusal advises.
    """
    top = module.split(".", maxsplit=1)[0]
    foreign = top not in sys.stdlib_module_names and top not in ("torch", "numpy", "dill")
    named = _MODULE_NAME.fullmatch(module) and _NAME.fullmatch(name)
    return bool(named) and foreign and not is_hostile(module) and name.lstrip("_")[:1].isupper()
