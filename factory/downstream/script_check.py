"""Look through a TorchScript file before it is loaded: it is a program, and may be anyone's.

Its pickles are read by PyTorch's own reader, which makes nothing but tensors and modules of the file.
What is left is its code: it can write files, and can ask to run when it is loaded. So the code is parsed
here, and only arithmetic on tensors is let through.
"""

import ast
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from factory.errors import PluginError

_MOST_CODE_BYTES = 2**24
_MOST_GROWTH, _SMALL = 50, 2**26
_NAMES = """
    _convolution abs adaptive_avg_pool2d add add_ addmm amax arange argmax avg_pool2d baddbmm batch_norm
    bmm broadcast_tensors cat channel_shuffle chunk clamp clamp_ clone constant_pad_nd contiguous conv1d
    conv2d conv_transpose2d detach div div_ dropout dropout_ einsum elu elu_ eq erf exp expand expand_as
    feature_dropout flatten floor_divide full ge gelu getitem group_norm gt hardsigmoid hardsigmoid_
    hardswish hardswish_ hardtanh hardtanh_ index_select instance_norm layer_norm le leaky_relu
    leaky_relu_ len linear log log_softmax lt masked_fill matmul max max_pool2d maximum mean min minimum
    mul mul_ narrow ne neg new_zeros numel ones ones_like pad permute pixel_shuffle pixel_unshuffle pow
    prelu reciprocal reflection_pad2d relu relu6 relu6_ relu_ replication_pad2d reshape rsqrt rsub
    scaled_dot_product_attention select sigmoid sigmoid_ silu silu_ size slice softmax softplus split
    split_with_sizes sqrt squeeze stack std sub sub_ sum t tanh tanh_ tensor threshold_ to transpose
    type_as unbind unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_nearest2d view where zeros
    zeros_like _softmax format __isnot__ __is__ append
    """
_OPERATIONS = frozenset(_NAMES.split())
"""Functions of `torch` that a network may call: none of them knows files, processes or networks."""
_WORDS = {"annotate", "getattr", "int", "float", "bool", "unchecked_cast", "range", "uninitialized"}
_PRIMITIVES = {"NumToTensor", "RaiseException", "min", "max", "device", "dtype"}
_REFUSED = (ast.While, ast.Import, ast.ImportFrom, ast.Lambda, ast.Global)


def check_script(path: Path) -> None:
    """Require that a TorchScript file has a bounded size, and code that computes and does nothing else.

    Raises:
        PluginError: If it is not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_size(path, sum(entry.file_size for entry in entries))
            code = [e for e in entries if e.filename.endswith(".py")]
            if sum(entry.file_size for entry in code) > _MOST_CODE_BYTES:
                raise _refusal(path, "more code than any network has")
            trees = [ast.parse(archive.read(entry)) for entry in code]
        if not trees:
            raise _refusal(path, "no code")
        found = next(_others(trees), None)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PluginError(
            where=str(path), found="not TorchScript", allowed="model.pt or model.onnx"
        ) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError, RuntimeError) as error:
        raise _refusal(path, "code that cannot be read") from error
    if found is not None:
        raise _refusal(path, f"code that calls {found}")


def _check_size(path: Path, unpacked: int) -> None:
    if unpacked > max(_SMALL, _MOST_GROWTH * path.stat().st_size):
        raise _refusal(path, f"{unpacked:,} bytes when it is unpacked")


def _others(trees: list[ast.Module]) -> Iterator[str]:
    """What the code calls beside arithmetic and its own functions."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        if isinstance(node, _REFUSED):
            yield type(node).__name__.lower()
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if not _is_allowed(node.func, name, own):
                yield name[:80]


def _is_allowed(called: ast.expr, name: str, own: set[str]) -> bool:
    root, _, last = name.rpartition(".")
    if isinstance(called, ast.Name):
        return name in _WORDS
    if root == "torch":
        return last in _OPERATIONS
    if root == "ops.prim":
        return last in _PRIMITIVES
    return not root.startswith(("torch.", "ops")) and last in own


def _refusal(path: Path, found: str) -> PluginError:
    return PluginError(
        where=str(path),
        found=found,
        allowed="a network that only computes",
        remedy="export it as ONNX, or trace it with torch.jit.trace",
    )
