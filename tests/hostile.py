"""Files that must be refused: each with the words its refusal has to say. Built here, stored nowhere."""

# ruff: noqa: E501 - one case per line reads best

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import assemble as a


@dataclass(frozen=True)
class Hostile:
    """One file and what its refusal says."""

    data: Callable[[], bytes]
    words: str


def _fixed(data: bytes, words: str) -> Hostile:
    return Hostile(lambda: data, words)


class _Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call  # type: ignore[return-value]


def runs_command(canary: Path, protocol: int) -> bytes:
    """A pickle that makes `canary` if it is loaded by Python."""
    return pickle.dumps(_Runs(os.system, f"touch {canary}"), protocol=protocol)


def attacks(canary: Path) -> dict[str, Hostile]:
    """Files that would run something, or that hide a request to."""
    shell = a.call(a.name("os", "system"), a.text(f"touch {canary}"))
    posix = r"posix\.system', a hostile request, at byte \d+"
    os_words = r"os\.system', a hostile request, at byte \d+"
    files = {
        f"os.system, protocol {number}": (runs_command(canary, number), posix)
        for number in (0, 1, 2, 3, 4, 5)
    }
    files |= {
        "eval": (pickle.dumps(_Runs(eval, "1+1")), r"builtins\.eval', a hostile"),
        "getattr": (pickle.dumps(_Runs(getattr, 1, "real")), r"builtins\.getattr', a hostile"),
        "subprocess": (a.whole(a.name("subprocess", "Popen")), r"subprocess\.Popen', a hostile"),
        "importlib": (a.whole(a.name("importlib", "import_module")), r"importlib.*hostile"),
        "runpy": (a.whole(a.name("runpy", "_run_code")), r"runpy.*hostile.*at byte 2"),
        "dotted name": (
            a.whole(a.text("torch.storage") + a.text("_load_from_bytes.__globals__") + b"\x93", 4),
            r"_load_from_bytes\.__globals__' at byte",
        ),
        "dotted tolerated name": (
            a.whole(a.text("training.loss") + a.text("os.system") + b"\x93", 4),
            r"training\.loss\.os\.system' at byte",
        ),
        "torch.load": (a.whole(a.call(a.name("torch", "load"), a.text("x"))), r"'torch\.load' at"),
        "torch.hub": (a.whole(a.call(a.name("torch.hub", "load"), a.text("x"))), r"'torch\.hub\.load' at"),
        "numpy.fromfile": (a.whole(a.call(a.name("numpy", "fromfile"), a.text("x"))), r"'numpy\.fromfile' at"),
        "global from a number": (a.whole(a.number(1) + a.number(2) + b"\x93"), r"the global '2\.1'|global"),
        "INST": (b"\x80\x02(" + a.text("x") + b"ios\nsystem\n.", r"opcode INST at byte \d+"),
        "OBJ": (a.whole(b"(" + a.name("collections", "OrderedDict") + b"o"), r"opcode OBJ at byte \d+"),
        "EXT1": (a.whole(b"\x82\x01"), r"opcode EXT1 at byte 2"),
        "EXT2": (a.whole(b"\x83\x01\x00"), r"opcode EXT2 at byte 2"),
        "EXT4": (a.whole(b"\x84\x01\x00\x00\x00"), r"opcode EXT4 at byte 2"),
        "PERSID": (a.whole(b"Psomething\n"), r"opcode PERSID at byte 2"),
        "BINPERSID": (a.whole(a.storage_id("0", 4) + b"Q"), r"opcode BINPERSID at byte \d+"),
        "NEWOBJ_EX": (a.whole(a.name("argparse", "Namespace") + b")}\x92"), r"opcode NEWOBJ_EX at"),
        "LONG4": (a.whole(b"\x8b\xff\xff\xff\x7f"), r"opcode LONG4 at byte 2"),
        "DUP": (a.whole(b"]2"), r"opcode DUP at byte 3"),
        "protocol 0 string": (b"(S'touch'\nios\nsystem\n.", r"opcode STRING at byte 1"),
        "NEWOBJ of type": (a.whole(a.name("builtins", "type") + b")\x81"), r"builtins\.type', a hostile"),
        "NEWOBJ of a function": (
            a.whole(a.name("torch._utils", "_rebuild_parameter") + b")\x81"), r"NEWOBJ of .*_rebuild_parameter.* at byte",
        ),
        "NEWOBJ with arguments": (
            a.whole(a.name("argparse", "Namespace") + a.tuple_of(a.number(1)) + b"\x81"), r"NEWOBJ of .*Namespace.* at byte",
        ),
        "BUILD on a class": (
            a.whole(a.name("collections", "OrderedDict") + a.mapping(x=a.number(1)) + b"b"), r"BUILD on .*OrderedDict.* at byte",
        ),
        "BUILD on a list": (a.whole(b"]}b"), r"BUILD on 'list' at byte 4"),
        "REDUCE of a text": (a.whole(a.text("os.system") + b")R"), r"REDUCE of something .* at byte"),
        "call of a storage type": (a.whole(a.name("torch", "FloatStorage") + b")R"), r"a call of torch\.FloatStorage at byte"),
        "record of version 7": (a.network(x=a.call(
            a.name("torch_utils.persistence", "_reconstruct_persistent_obj"),
            a.mapping(type=a.text("class"), version=a.number(7), module_src=a.text(""),
                      class_name=a.text("G"), state=b"}"))), r"class record of version 6 at byte"),
        "nested in the object of a blob": (
            a.network(x=a.load_storage(a.storage_blob(body=shell))),
            os_words + r" of the storage blob at byte \d+",
        ),
        "nested in the header of a blob": (
            a.network(x=a.load_storage(a.MAGIC + a.whole(shell))),
            os_words + r" of the storage blob at byte \d+",
        ),
        "a pickle instead of a blob": (
            a.network(x=a.load_storage(a.whole(shell))), os_words + r" of the storage blob",
        ),
        "a blob in a blob": (
            a.network(x=a.load_storage(a.storage_blob(body=a.load_storage(a.storage_blob())))),
            r"torch\.storage\._load_from_bytes at byte \d+ of the storage blob",
        ),
        "blob in a torch zip": (a.torch_zip(a.load_storage(a.storage_blob())), r"_load_from_bytes at byte .* of .*data\.pkl"),
        "in a torch zip": (a.torch_zip(shell), os_words + r" of .*data\.pkl.* in the zip"),
        "in a legacy file": (a.torch_stream(shell), os_words),
        "in the keys of a legacy file": (
            a.MAGIC + a.whole(b"M\xe9\x03") + a.SYSTEM_INFO + a.whole(b"}") + a.whole(shell), os_words,
        ),
        "behind the end": (a.whole(b"}") + a.whole(shell), r"bytes behind the end of the pickle at byte 4"),
        "latin1 of a codec": (
            a.whole(a.call(a.name("_codecs", "encode"), a.text("x"), a.text("rot13"))), r"_codecs\.encode .* at byte",
        ),
        "object array": (_object_array(), r"the NumPy type 'O8' at byte \d+"),
        "structured array": (
            a.whole(a.call(a.name("numpy", "dtype"), a.text("V8"), b"\x89", b"\x88")), r"the NumPy type 'V8'",
        ),
        "opaque module in the generator": (
            a.whole(a.mapping(G_ema=a.record(a.mapping(_modules=a.mapping(
                synthesis=a.name("training.networks", "Evil") + b")\x81"))))),
            r"module 'synthesis' is 'training\.networks\.Evil'",
        ),
    }  # fmt: skip
    return {key: _fixed(data, words) for key, (data, words) in files.items()}


def _object_array() -> bytes:
    dtype = a.call(a.name("numpy", "dtype"), a.text("O8"), b"\x89", b"\x88")
    made = a.call(a.name("numpy.core.multiarray", "_reconstruct"), a.name("numpy", "ndarray"),
                  a.tuple_of(a.number(0)), a.blob(b"b"))  # fmt: skip
    return a.whole(
        made + a.tuple_of(a.number(1), a.tuple_of(a.number(1)), dtype, b"\x89", b"]") + b"b"
    )


def bad_geometries() -> dict[str, Hostile]:
    """Tensors that do not lie inside their storage of four elements."""
    one, four = a.number(1), a.number(4)
    cases = {
        "negative size": (a.number(0), (a.number(-1),), (one,)),
        "negative offset": (a.number(-1), (one,), (one,)),
        "negative stride": (a.number(3), (four,), (a.number(-1),)),
        "offset behind the end": (four, (one,), (one,)),
        "size behind the end": (a.number(0), (a.number(5),), (one,)),
        "stride behind the end": (a.number(0), (a.number(2),), (four,)),
        "stride of zero over many": (a.number(0), (a.number(2**40),), (a.number(0),)),
        "more sizes than strides": (a.number(0), (one, one), (one,)),
        "nine dimensions": (a.number(0), (one,) * 9, (one,) * 9),
        "a boolean as size": (a.number(0), (b"\x88",), (one,)),
        "empty and absurd": (a.number(0), (a.number(0), *(a.number(2**40),) * 6), (one,) * 7),
    }
    storage = a.load_storage(a.storage_blob())
    files = {
        key: a.network(x=a.tensor(storage, offset, a.tuple_of(*size), a.tuple_of(*stride)))
        for key, (offset, size, stride) in cases.items()
    }
    words = r"a tensor with .* at byte \d+; a tensor lies inside its storage"
    return {key: _fixed(data, words) for key, data in files.items()}


def bad_storages() -> dict[str, Hostile]:
    """Storages whose numbers do not agree."""
    files = {
        "announced longer": (
            a.torch_stream(a.storage_id("0", 4) + b"Q", ("0", 8, b"\0" * 32)), r"8 elements, announced as 4",
        ),
        "cut off": (a.torch_stream(a.storage_id("0", 4) + b"Q", ("0", 4, b"\0" * 8)), r"4 elements, cut off,"),
        "bytes left": (a.torch_stream(a.storage_id("0", 4) + b"Q", ("0", 4, b"\0" * 20)), r"4 bytes behind"),
        "huge": (a.torch_stream(a.storage_id("0", 2**47) + b"Q", ("0", 2**47, b"")), r"cut off"),
        "not listed": (a.torch_stream(a.storage_id("0", 4) + b"Q"), r"a list of storages that is not"),
        "two types": (
            a.torch_stream(
                a.tuple_of(a.storage_id("0", 4) + b"Q", a.storage_id("0", 4, "HalfStorage") + b"Q"),
                ("0", 4, b"\0" * 16),
            ),
            r"two types or sizes",
        ),
    }  # fmt: skip
    made = {
        key: (data, words + r".* at byte \d+ of the storage blob at byte")
        for key, (data, words) in files.items()
    }
    return {
        key: _fixed(a.network(x=a.load_storage(data)), words) for key, (data, words) in made.items()
    }


def bad_zips() -> dict[str, Hostile]:
    """Zips that torch does not write."""
    tensor = a.tensor(
        a.storage_id("0", 4) + b"Q", a.number(0), a.tuple_of(a.number(4)), a.tuple_of(a.number(1))
    )
    body = a.mapping(x=tensor)
    good = a.torch_zip(body, {"0": b"\0" * 16})
    pickled = a.whole(body)
    files = {
        "traversal": (a.zip_file({"archive/data.pkl": pickled, "archive/../../etc/x": b""}), r"entry 'archive/\.\./"),
        "absolute": (a.zip_file({"archive/data.pkl": pickled, "/etc/passwd": b""}), r"entry '/etc/passwd'"),
        "drive": (a.zip_file({"archive/data.pkl": pickled, "C:/x": b""}), r"entry 'C:/x'"),
        "outside the prefix": (a.zip_file({"archive/data.pkl": pickled, "other/x": b""}), r"entry 'other/x'"),
        "no pickle": (a.zip_file({"archive/x": b""}), r"a zip with 0 files"),
        "two pickles": (a.zip_file({"a/data.pkl": pickled, "b/data.pkl": pickled}), r"a zip with 2 files"),
        "deflated pickle": (a.zip_file({"archive/data.pkl": pickled * 9}, zipfile.ZIP_DEFLATED), r"compressed with method 8"),
        "deflate bomb": (a.zip_file({"archive/data.pkl": b"\0" * (64 << 20)}, zipfile.ZIP_DEFLATED), r"compressed with method 8"),
        "missing storage": (a.torch_zip(body), r"storage '0' of 4 elements with no entry at byte .*data\.pkl"),
        "short storage": (a.torch_zip(body, {"0": b"\0" * 12}), r"with 12 bytes at byte"),
        "big-endian": (a.zip_file({"archive/data.pkl": pickled, "archive/byteorder": b"big"}), r"byte order 'big'"),
        "cut off": (good[:-40], r"without its directory"),
        "beheaded": (good[:4] + good[60:], r"at byte \d+"),
        "size beyond the file": (_with_large_entry(good), r"cut off|compressed|at byte"),
    }  # fmt: skip
    return {key: _fixed(data, words) for key, (data, words) in files.items()}


def _with_large_entry(data: bytes) -> bytes:
    at = data.find(b"PK\1\2")
    return data[: at + 20] + struct.pack("<2L", 2**31, 2**31) + data[at + 28 :]


def bad_safetensors() -> dict[str, Hostile]:
    """Safetensors whose header and data do not agree."""

    def file(header: object, data: bytes = b"\0" * 16, claim: int | None = None) -> bytes:
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(encoded) if claim is None else claim) + encoded + data

    def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    broken = r"a broken safetensors header \(.*\) at byte 8"
    files = {
        "huge header": (file({}, claim=1 << 40), r"header of 1099511627776 bytes at byte 0"),
        "header beyond the file": (
            file({"a": entry(0, 16, [4])}, claim=4096),
            r"cut off, at byte 0",
        ),
        "not JSON": (file(b"{" + b"x" * 30), broken),
        "deep JSON": (file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), broken),
        "overlap": (file({"a": entry(0, 16, [4]), "b": entry(8, 16, [2])}), broken),
        "hole": (file({"a": entry(0, 4, [1]), "b": entry(8, 16, [2])}), broken),
        "shape of another size": (file({"a": entry(0, 16, [5])}), broken),
        "offsets beyond the data": (file({"a": entry(0, 64, [16])}), broken),
        "negative shape": (file({"a": entry(0, 16, [-4])}), broken),
        "overflowing shape": (file({"a": entry(0, 16, [2**62, 2**62])}), broken),
        "unknown type": (file({"a": entry(0, 16, [4], "OBJECT")}), broken),
        "bytes left": (file({"a": entry(0, 8, [2])}), broken),
        "not a network": (file({"a": entry(0, 16, [4])}), r"tensors of no known family"),
    }
    return {key: _fixed(data, words) for key, (data, words) in files.items()}


def failed_downloads() -> dict[str, Hostile]:
    """What people have instead of the file."""
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    files = {
        "empty": (b"", r"an empty file"),
        "HTML": (b"\n <!DOCTYPE html><html></html>", r"an HTML or XML page"),
        "git-LFS": (lfs, r"a git-LFS pointer"),
        "gzip": (b"\x1f\x8b\x08" + b"\0" * 20, r"a packed archive"),
        "noise": (bytes(range(64, 90)), r"an unknown format"),
        "one byte": (b"\x80", r"a broken file"),
        "only the magic of a pickle": (
            b"\x80\x04",
            r"the end of the data, without a STOP, at byte 2",
        ),
        "only the magic of torch": (a.MAGIC[:9], r"needs 10 bytes where 5 are left at byte 2"),
        "only the magic of a zip": (b"PK\3\4", r"without its directory"),
    }
    return {key: _fixed(data, words) for key, (data, words) in files.items()}


def bombs() -> dict[str, Hostile]:
    """Small files that would take hours or all memory. They are built only when asked for."""
    ordered, many = a.name("collections", "OrderedDict"), 300_000
    return {
        "text of 4 GiB": Hostile(lambda: a.whole(b"X\xff\xff\xff\xffabc"), r"a text of 4294967295 bytes"),
        "bytes of 2^62": Hostile(
            lambda: a.whole(b"\x8e" + struct.pack("<Q", 2**62)), r"needs 4611686018427387904 bytes"),
        "frame of 2^63": Hostile(
            lambda: a.whole(b"\x95" + struct.pack("<Q", 2**63), 4), r"a frame of 9223372036854775808 bytes"),
        "two million tuples deep": Hostile(
            lambda: a.whole(b")" + b"\x85" * 2_000_000), r"nested too deep at byte \d+"),
        "deep through the memo": Hostile(_deep_through_memo, r"nested too deep"),
        "many marks": Hostile(lambda: a.whole(b"(" * 100_000), r"mark number 201"),
        "six million opcodes": Hostile(
            lambda: a.whole(b"(" + b"K\x01" * 6_000_000 + b"t"), r"opcode number 5000001"),
        "a million dicts": Hostile(
            lambda: a.whole(b"(" + b"}" * 1_000_000 + b"t"), r"object number 500001"),
        "a million empty bytes": Hostile(
            lambda: a.whole(b"(" + b"C\0" * 1_000_000 + b"t"), r"object number 500001"),
        "a million memo entries": Hostile(
            lambda: a.whole(b"N" + b"\x94" * 1_000_000), r"memo entry number 500001"),
        "one list made a dict again and again": Hostile(
            lambda: a.whole(
                b"](" + (a.text("k") + a.number(1) + b"\x86") * 100_000 + b"eq\0("
                + (ordered + b"h\0\x85R") * 100_000 + b"t"), r"repeats the same objects"),
        "one text encoded again and again": Hostile(
            lambda: a.whole(
                a.text("x" * 10_000_000) + b"q\0" + a.text("latin1") + b"q\1("
                + (a.name("_codecs", "encode") + b"h\0h\1\x86R") * 100_000 + b"t"), r"_codecs\.encode"),
        "keys that collide": Hostile(
            lambda: a.whole(b"}(" + b"".join(
                a.number(key * (2**61 - 1)) + b"N" for key in range(100_000)) + b"u"), r"as keys|as a key"),
        "a list that multiplies": Hostile(lambda: _multiplying(8, 10), r"repeats the same objects"),
        "modules that double": Hostile(lambda: _doubling_modules(30), r"occurs twice"),
        "one tensor under many names": Hostile(lambda: _many_names(many), r"more bytes than the file has"),
        "one empty tensor under many names": Hostile(
            lambda: _many_names(100_000, size=0), r"more than 50000|repeats"),
        "one blob parsed again and again": Hostile(_blob_again, r"opcode number 5000001|object number"),
        "an entry for everything": Hostile(
            lambda: a.zip_file({f"archive/{n}": b"" for n in range(120_000)}), r"zip directory of 120"),
    }  # fmt: skip


def _deep_through_memo() -> bytes:
    wrap = b"".join(
        b"]j" + struct.pack("<I", n) + b"ar" + struct.pack("<I", n + 1) for n in range(300)
    )
    return a.whole(b"](]r\0\0\0\0" + wrap + b"e")


def _multiplying(levels: int, width: int) -> bytes:
    """Lists that hold the list before `width` times, as a setting of a network."""
    grow = b"".join(
        b"](" + (b"h" + bytes([level])) * width + b"eq" + bytes([level + 1])
        for level in range(levels)
    )
    settings = a.mapping(z_dim=b"](" + b"]q\0" + grow + b"e")
    modules = a.mapping(mapping=_module("fc0", "weight"), synthesis=_module("b4", "const"))
    return a.whole(a.mapping(G_ema=a.record(a.mapping(_init_kwargs=settings, _modules=modules))))


def _module(child: str, parameter: str) -> bytes:
    inner = a.record(a.mapping(_parameters=a.mapping(**{parameter: a.plain_tensor()})))
    return a.record(a.mapping(_modules=a.mapping(**{child: inner})))


def _doubling_modules(levels: int) -> bytes:
    """Modules that hold the module before under two names, built from the innermost outwards."""
    body = a.record(b"}") + b"q\0"
    for level in range(levels):
        get = b"h" + bytes([level])
        body += a.record(a.mapping(_modules=a.mapping(a=get, b=get))) + b"q" + bytes([level + 1])
    return a.whole(a.mapping(helpers=b"](" + body + b"e", G_ema=b"h" + bytes([levels])))


def _many_names(count: int, size: int = 4) -> bytes:
    view = a.tensor(a.load_storage(a.storage_blob(25_000)), a.number(0),
                    a.tuple_of(a.number(25_000 if size else 0)), a.tuple_of(a.number(1)))  # fmt: skip
    names = b"".join(a.text(f"n{n}") + b"h\xfe" for n in range(count))
    parameters = b"}(" + a.text("first") + view + b"q\xfe" + names + b"u"
    return a.whole(a.mapping(G_ema=a.record(a.mapping(_parameters=parameters))))


def _blob_again() -> bytes:
    load = a.name("torch.storage", "_load_from_bytes")
    return a.whole(a.blob(a.storage_blob()) + b"q\0(" + (load + b"h\0\x85R") * 300_000 + b"t")
