"""Names and colours under which classes are painted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from factory.data import IGNORE
from factory.errors import did_you_mean, sentence
from factory.manifest.labels import MaskClass
from factory.segment.palette import colour_at
from factory.spec.linear import IGNORE_NAME, PaintedClass

UNPAINTED: tuple[int, int, int] = (0, 0, 0)
"""The colour that tools leave where nothing is painted. It means a class only if one has it."""

_MOST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class PaintedClasses:
    """The classes of a job, as painters name and colour them."""

    ids: Mapping[str, int]
    """Mask value by name; `ignore` is 255."""
    colours: Mapping[tuple[int, int, int], int]
    """Mask value by colour; black is 255 unless a class is black."""
    num_classes: int
    """Number of classes."""

    def id_of(self, name: object) -> int:
        """The mask value of a name.

        Raises:
            ValueError: If no class has it.
        """
        if isinstance(name, str) and name in self.ids:
            return self.ids[name]
        written = str(name)[:_MOST_SHOWN]
        known = f"the job's classes are {self.named()}"
        hint = did_you_mean(written, self.ids)
        raise ValueError(sentence("", f"paints {written!r}", known, hint))

    def named(self) -> str:
        """All names, for errors."""
        return ", ".join(self.ids)

    def coloured(self) -> str:
        """All colours with their names, for errors."""
        names = {class_id: name for name, class_id in self.ids.items()}
        return ", ".join(
            f"#{red:02x}{green:02x}{blue:02x} = {names[class_id]}"
            for (red, green, blue), class_id in self.colours.items()
        )


def make_labels(classes: Sequence[PaintedClass]) -> tuple[MaskClass, ...]:
    """The label table of a job's classes; a class without a colour gets a free one."""
    taken = {_rgb(one.colour) for one in classes if one.colour}
    labels = []
    for place, one in enumerate(classes):
        if one.colour:
            colour = _rgb(one.colour)
        else:
            free = (colour_at(place + turn * len(classes)) for turn in count())
            colour = next(found for found in free if found not in taken)
            taken.add(colour)
        labels.append(MaskClass(id=place, name=one.name, colour=colour))
    return tuple(labels)


def make_classes(labels: Sequence[MaskClass]) -> PaintedClasses:
    """Names and colours of a label table, and those of what is not painted."""
    ids = {label.name: label.id for label in labels} | {IGNORE_NAME: IGNORE}
    colours = {UNPAINTED: IGNORE} | {label.colour: label.id for label in labels}
    return PaintedClasses(ids, colours, len(labels))


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
