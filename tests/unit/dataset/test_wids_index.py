import io
import json

import pytest

from factory.dataset.wids_index import IndexWriter


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", ["cells", 'odd "] name'])
def test_it_writes_what_json_writes_of_all_at_once(count, name):
    writer = IndexWriter(name, io.BytesIO())
    for number in range(count):
        writer.add(f"data/train/{name}-{number:06d}.tar", number, 512 * number)
    shards = [
        {"url": f"../data/train/{name}-{n:06d}.tar", "nsamples": n, "filesize": 512 * n}
        for n in range(count)
    ]
    document = {"wids_version": 1, "name": name, "shardlist": shards}
    assert writer.finish().getvalue() == (json.dumps(document, indent=1) + "\n").encode()
