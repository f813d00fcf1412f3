"""Storage of datasets with atomic and exclusive writes: a local folder or S3. Protocol: `base.py`."""

from factory.errors import StoreError
from factory.store.addresses import local_path, split_address
from factory.store.base import Store, StoredFile
from factory.store.local import LocalStore

__all__ = ["LocalStore", "Store", "StoredFile", "open_store"]


_COPY_BY = {"gs": "gcloud storage rsync -r", "az": "azcopy sync"}
"""Buckets in which no dataset is made, `docs/s3.md` says why, and what copies one there."""


def open_store(uri: str, *, single_writer: bool = False, is_known: bool = False) -> Store:
    """Open the store at `uri`: a local folder (a path or `file://`), or `s3://bucket/prefix`.

    Args:
        uri: Location of the dataset.
        single_writer: There are no concurrent writers, so that a store without exclusive creation is
            accepted.
        is_known: The server has answered before, on another machine: retry for longer.

    Raises:
        StoreError: If it is no such address, or S3 is misconfigured on this machine, or has no client.
    """
    try:
        scheme, rest = split_address(uri)
        folder = local_path(uri)
    except ValueError as error:
        raise StoreError(where="output.uri", found=str(error)) from error
    if folder is not None:
        return LocalStore(str(folder), single_writer=single_writer)
    if scheme == "s3":
        try:
            from factory.store.s3 import S3Store  # the AWS client is slow to import
        except ModuleNotFoundError as error:  # reading a local folder does without it
            raise StoreError(
                where="output.uri",
                found=f"found {uri}, but boto3 is not installed here",
                remedy="pip install boto3",
            ) from error
        return S3Store(f"s3://{rest}", single_writer=single_writer, is_known=is_known)
    with_what = f" with `{_COPY_BY[scheme]}`" if scheme in _COPY_BY else ""
    raise StoreError(
        where="output.uri",
        found=f"found {uri!r}",
        allowed="a dataset lies in a local folder (a path or file://) or in a bucket "
        "(s3://bucket/prefix)",
        remedy=f"give one of these and copy it elsewhere afterwards{with_what}",
    )
