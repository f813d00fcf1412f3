"""Layout of a merge tree: positions and default colours of its nodes."""

from dataclasses import dataclass

from factory.segment.palette import colour_at
from factory.segment.tree.hierarchy import Hierarchy


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """One node of the tree with its position."""

    id: int
    """Its number in the tree."""
    x: float
    """Horizontal position, 0 to 1; a parent is centred above its children."""
    born: int
    """The largest number of classes of a flat cut that contains this node."""
    size: int
    """Number of fitting pixels."""
    children: tuple[int, int] | None
    """Its children, the larger one first; None for a leaf."""
    colour: str
    """`#rrggbb`. The larger child keeps its parent's colour: one more class changes one colour only."""


def place_nodes(tree: Hierarchy) -> list[PlacedNode]:
    """Place all nodes, so that no two lines of the drawing cross; returns them by number."""
    sizes = [int(size) for size in tree.sizes.tolist()]
    pairs = [_by_size(tree.children(node), sizes) for node in range(tree.num_nodes)]
    roots = sorted(tree.flat_cut(2), key=lambda node: (-sizes[node], node))
    x = _across(roots, pairs, tree.num_leaves)
    tones = _tones(roots, pairs)
    return [
        PlacedNode(
            id=node,
            x=x[node],
            born=min(tree.num_leaves, 2 * tree.num_leaves - 1 - node),
            size=sizes[node],
            children=pairs[node],
            colour=hex_colour(colour_at(tones[node])),
        )
        for node in range(tree.num_nodes)
    ]


def hex_colour(colour: tuple[int, int, int]) -> str:
    """RGB, 0 to 255, as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _by_size(pair: tuple[int, int] | None, sizes: list[int]) -> tuple[int, int] | None:
    if pair is None or sizes[pair[0]] >= sizes[pair[1]]:
        return pair
    return pair[1], pair[0]


def _across(
    roots: list[int], pairs: list[tuple[int, int] | None], num_leaves: int
) -> dict[int, float]:
    todo, order = list(reversed(roots)), []
    while todo:
        node = todo.pop()
        order.append(node)
        todo += reversed(pairs[node] or ())
    leaves = [node for node in order if pairs[node] is None]
    x = {node: (place + 0.5) / num_leaves for place, node in enumerate(leaves)}
    for node in sorted(node for node in order if pairs[node] is not None):
        first, second = pairs[node] or (node, node)
        x[node] = (x[first] + x[second]) / 2
    return x


def _tones(roots: list[int], pairs: list[tuple[int, int] | None]) -> dict[int, int]:
    """The palette index of each node: 0 and 1 for the roots, a new one at each split."""
    tones = dict(zip(roots, range(len(roots)), strict=True))
    for node in range(len(pairs) - 1, -1, -1):  # a node is younger than its children
        pair = pairs[node]
        if pair is not None:
            tones[pair[0]], tones[pair[1]] = tones[node], len(set(tones.values()))
    return tones
