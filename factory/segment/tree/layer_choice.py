"""The layers that `auto` chose for a tree by their content, in words."""

from collections.abc import Mapping, Sequence

_PREFIX = "content_of_"


def as_figures(scores: Mapping[str, float]) -> dict[str, int | float]:
    """The content of each layer that there was to choose from, as figures of a fit (`fitted_on`)."""
    return {_PREFIX + name: round(score, 4) for name, score in scores.items()}


def describe_choice(layers: Sequence[str], fitted_on: Mapping[str, int | float]) -> str:
    """Which layers were chosen and which left out, with their content; empty if there was no choice."""
    scores = {
        name.removeprefix(_PREFIX): score
        for name, score in fitted_on.items()
        if name.startswith(_PREFIX)
    }
    if not scores:
        return ""
    words = {name: f"{name} {score:z.2f}" for name, score in scores.items()}
    text = "layers by content: " + ", ".join(words[name] for name in layers)
    left_out = [word for name, word in words.items() if name not in layers]
    return f"{text}; left out: {', '.join(left_out)}" if left_out else text
