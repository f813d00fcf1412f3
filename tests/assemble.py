"""Pickles written opcode by opcode, for files that no honest program would write."""

import io
import struct
import zipfile

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
SYSTEM_INFO = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def blob(data: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """BININT, or LONG1 for what does not fit."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *args: bytes) -> bytes:
    """REDUCE of `function` with a tuple of `args`."""
    return function + b"(" + b"".join(args) + b"tR"


def mapping(**entries: bytes) -> bytes:
    """A dict."""
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def tuple_of(*members: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(members) + b"t"


def whole(body: bytes, protocol: int = 2) -> bytes:
    """PROTO, `body`, STOP."""
    return b"\x80" + bytes([protocol]) + body + b"."


def torch_stream(body: bytes, *storages: tuple[str, int, bytes]) -> bytes:
    """A legacy torch stream: `storages` are (key, announced count, bytes)."""
    keys = b"](" + b"".join(text(key) for key, _, _ in storages) + b"e"
    data = b"".join(struct.pack("<q", count) + raw for _, count, raw in storages)
    header = MAGIC + whole(b"M\xe9\x03") + SYSTEM_INFO
    return header + whole(body) + whole(keys) + data


def storage_id(key: str, count: int, kind: str = "FloatStorage") -> bytes:
    """The persistent id of a storage, without BINPERSID."""
    return tuple_of(text("storage"), name("torch", kind), text(key), text("cpu"), number(count))


def storage_blob(count: int = 4, body: bytes | None = None) -> bytes:
    """One storage of `count` zeros as NVIDIA's pickles nest it."""
    body = storage_id("0", count) + b"Q" if body is None else body
    return torch_stream(body, ("0", count, b"\0" * 4 * count))


def load_storage(data: bytes) -> bytes:
    """The call that nests a storage."""
    return call(name("torch.storage", "_load_from_bytes"), blob(data))


def tensor(storage: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    """A tensor over `storage`."""
    hooks = call(name("collections", "OrderedDict"))
    function = name("torch._utils", "_rebuild_tensor_v2")
    return call(function, storage, offset, size, stride, b"\x89", hooks)


def plain_tensor() -> bytes:
    """Four zeros, nested as in NVIDIA's pickles."""
    return tensor(load_storage(storage_blob()), number(0), tuple_of(number(4)), tuple_of(number(1)))


def record(state: bytes, class_name: str = "Generator") -> bytes:
    """A persistent class record."""
    meta = mapping(type=text("class"), version=number(6), module_src=text("# source"),
                   class_name=text(class_name), state=state)  # fmt: skip
    return call(name("torch_utils.persistence", "_reconstruct_persistent_obj"), meta)


def network(**parameters: bytes) -> bytes:
    """A whole NVIDIA pickle whose generator has these parameters."""
    return whole(mapping(G_ema=record(mapping(_parameters=mapping(**parameters)))))


def zip_file(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of `entries`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for entry, data in entries.items():
            archive.writestr(zipfile.ZipInfo(entry), data, compress_type=method)
    return buffer.getvalue()


def torch_zip(
    body: bytes, storages: dict[str, bytes] | None = None, prefix: str = "archive"
) -> bytes:
    """A torch zip whose data.pkl is `body` between PROTO and STOP."""
    entries = {f"{prefix}/data.pkl": whole(body), f"{prefix}/byteorder": b"little"}
    entries |= {f"{prefix}/data/{key}": data for key, data in (storages or {}).items()}
    return zip_file(entries | {f"{prefix}/version": b"3\n"})
