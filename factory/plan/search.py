"""Whether samples for a coverage target are searched or chosen: what is cheaper, as measured so far.

Both ways are counted in images for each sample that counts. What rejection takes follows from the
receipts of all rounds without a search; what a search takes, from those of the rounds with one. Before
there are any, a small round is searched, if rejection costs more than a search that never fails.
"""

import math
from dataclasses import dataclass

from factory.data import TargetSearch
from factory.plan.targets import Target, TargetProgress

SEARCH_IMAGES = TargetSearch(layouts=(0,)).images_each
"""Images of the budget that the search for one sample takes."""

_TRIED = 8
"""Samples of the first round that is searched for a target."""


@dataclass(frozen=True, slots=True)
class SearchSize:
    """The size of a round that searches."""

    num_samples: int
    """Samples to keep."""
    num_indices: int
    """Samples to search."""
    least_indices: int
    """Samples to search in each shard, so that none is likely to come out empty."""


def choose_way(by_rejection: float | None, by_search: float | None) -> str:
    """The cheaper of two costs for each sample that counts; None stands for a way that gives none."""
    if by_search is None:
        return "rejection"
    return "search" if by_rejection is not None and by_search < by_rejection else "rejection"


def cost_of_search(num_searched: int, num_hits: int) -> float | None:
    """Images for each sample that counts, of samples that were searched; None if none does."""
    return SEARCH_IMAGES * num_searched / num_hits if num_hits else None


def size_search(
    progress: TargetProgress, target: Target, short: int, hits: int, made: int
) -> SearchSize | None:
    """The size of a round that searches; None where choosing samples is cheaper, or nothing can be paid.

    Args:
        progress: Progress of all targets.
        target: A class of the masks.
        short: Missing samples, at least 1.
        hits: Images without a search that count for the target.
        made: Images that were made for these.
    """
    if not hits:
        return None  # no sample has the layout that a search needs
    # In doubt samples are chosen, which are as the generator draws them: a number varies by its root.
    by_rejection = made / (hits + math.sqrt(hits))
    least = progress.least_images(target)
    affordable = progress.left // SEARCH_IMAGES
    covered = progress.by_search.get(target.name)
    tried = covered.num_made if covered else 0
    found = target.count(covered) if covered else 0
    cost = cost_of_search(tried, found) if tried else float(SEARCH_IMAGES)
    if affordable < least or choose_way(by_rejection, cost) == "rejection":
        return None
    if not tried:
        num_indices = min(affordable, max(_TRIED, least))
        if num_indices * SEARCH_IMAGES >= short * by_rejection:
            return None  # rejection ends before the trial does
        return SearchSize(min(short, num_indices), num_indices, least)
    success = found / tried
    num_indices = math.ceil((short + math.sqrt(short) * (1 - success)) / success)
    num_indices = min(affordable, max(num_indices, least))
    return SearchSize(min(short, num_indices), num_indices, least)
