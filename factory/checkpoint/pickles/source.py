"""Byte streams, limits on the cost of reading them, and the wording of every rejection."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from factory.errors import WeightsError

MIB = 1 << 20
MAX_OPCODES = 5_000_000
MAX_NODES = 500_000
MAX_MARKS = 200
MAX_DEPTH = 200
MAX_STRING_BYTES = 16 * MIB
MAX_TEXT_BYTES = 128 * MIB
MAX_TENSORS = 50_000
MAX_WALK = 1_000_000
TENSOR_SLACK_BYTES = MIB
"""Tied tensors may be counted twice, so the tensors of a file may exceed its size by this much."""

GET_AGAIN = "get the file again"
DISTRUST = "do not load it with any other program; get the weights from a source you trust"
SAVE_ALONE = "save the generator alone: torch.save(generator.state_dict(), 'generator.pt')"


def shown(text: object, limit: int = 80) -> str:
    """Quote untrusted `text` as one short printable line."""
    line = ascii(text if len(text) <= limit else text[:limit]) if isinstance(text, str) else None
    if line is None:
        line = ascii(text)
    return line if len(line) <= limit + 2 else line[:limit] + "..."


def refusal(file: str, found: str, allowed: str, remedy: str) -> WeightsError:
    """Build the error for a rejected file: finding (with position), allowed, remedy."""
    return WeightsError(f"{file}: {found}; {allowed}; {remedy}")


def refuse(file: str, found: str, allowed: str, remedy: str) -> NoReturn:
    """Reject `file`.

    Raises:
        WeightsError: Always.
    """
    raise refusal(file, found, allowed, remedy)


@dataclass(slots=True)
class Budget:
    """Limits shared by all streams of one file, nested ones included."""

    file: str
    tensor_bytes: int
    opcodes: int = MAX_OPCODES
    nodes: int = MAX_NODES
    text_bytes: int = MAX_TEXT_BYTES
    tensors: int = MAX_TENSORS
    walk: int = MAX_WALK

    def spend_steps(self, count: int, where: str) -> None:
        """Count the traversal of `count` already parsed entries against the limit."""
        self.walk -= count
        if self.walk < 0:
            refuse(
                self.file,
                f"{where} repeats the same objects until they are more than {MAX_WALK}",
                "a checkpoint names each of its parts once",
                DISTRUST,
            )

    def spend_tensor(self, size_bytes: int, where: str) -> None:
        """Count one tensor that is about to be copied out of the file against the limit."""
        self.tensors -= 1
        self.tensor_bytes -= size_bytes
        if self.tensors < 0 or self.tensor_bytes < 0:
            refuse(
                self.file,
                f"{where} brings the tensors to more bytes than the file has, or to more than "
                f"{MAX_TENSORS}",
                "tensors may together be as large as the file",
                DISTRUST,
            )


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes with the name of their file and their position in it, for errors."""

    view: memoryview
    file: str
    inside: str = ""
    """What byte 0 of `view` is counted in, such as ` of data.pkl`; empty for the file itself."""
    nested: bool = field(default=False)
    """Whether this is a stream inside a stream; no deeper nesting is allowed."""

    @classmethod
    def of_bytes(cls, data: bytes | memoryview, path: Path) -> "Stream":
        """All of a file."""
        return cls(memoryview(data), str(path))

    def at(self, offset: int) -> str:
        """`at byte N`, followed by `inside`."""
        return f"at byte {offset}{self.inside}"

    def refusal(self, found: str, offset: int, allowed: str, remedy: str) -> WeightsError:
        """The error that rejects `found` at `offset`."""
        return refusal(self.file, f"{found} {self.at(offset)}", allowed, remedy)

    def refuse(self, found: str, offset: int, allowed: str, remedy: str) -> NoReturn:
        """Reject the file because of `found` at `offset`.

        Raises:
            WeightsError: Always.
        """
        raise self.refusal(found, offset, allowed, remedy)
