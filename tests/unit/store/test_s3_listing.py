import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from factory.store.s3 import S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.mark.slow
def test_names_and_strangers_are_found_on_every_page(store, middle):
    server = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # it runs in this process
    root = store.uri.removeprefix("s3://bucket/")
    names = [f"receipts/{i:04d}.json" for i in range(1005)]
    for key in [*(f"{root}/{name}" for name in names), f"{root}/", f"{root}/receipts/"]:
        server.put_object("bucket", key, b"")
    server.put_object("bucket", f"{root}/_probe/x", b"")
    server.put_object("bucket", f"{root}2/x", b"")
    assert store.names("receipts") == names
    assert middle.count("GET", "list-type=2") == 2, "a page holds a thousand"
    assert store.find_foreign_entry(["receipts"]) is None
    assert store.find_foreign_entry([]) == "receipts"
    assert S3Store("s3://bucket").find_foreign_entry([]) is not None
    assert S3Store("s3://bucket/").uri == "s3://bucket"
