"""Listings that lack what is there: told in one line, and never taken for what a dataset holds.

A listing decides which shards are committed. One that lags behind its store, or hides files, makes a
finished dataset look empty; views written from it would replace good ones with empty ones.
"""

from collections.abc import Callable, Collection

from factory.errors import StoreError
from factory.manifest.paths import RECEIPTS
from factory.store import Store


def check_listing(
    store: Store, unlisted: Collection[str], list_again: Callable[[], Collection[str]]
) -> None:
    """Require that receipts which a listing lacks are gone, such as those that `repair` removed.

    Args:
        store: The dataset's store.
        unlisted: Names of receipts that were committed and were not listed.
        list_again: Lists the names of all receipts; called only if one of `unlisted` can be read, which
            another driver may have committed since the listing.

    Raises:
        StoreError: If one of them can be read and is not listed.
    """
    if all(store.size_of(name) is None for name in sorted(unlisted)):
        return
    missing = sorted(set(unlisted) - set(list_again()))
    there = next((name for name in missing if store.size_of(name) is not None), None)
    if there is not None:
        raise StoreError(
            where=store.uri,
            found=f"the listing of {RECEIPTS}/ lacks {len(missing):,} receipts of committed shards, "
            f"though {there} can be read",
            allowed="nothing that is derived from the listing was changed: manifest, card and snapshots "
            "are the old ones",
            remedy="if listings of this store lag, run the job again later; else look what hides the "
            "files: a cache in front of the store, permissions, a folder that is a link",
        )
