from datetime import UTC, datetime
from io import BytesIO

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.parsers import create_parser
from urllib3 import HTTPResponse

from factory.store.s3_calls import S3Calls
from factory.store.s3_pages import parse_page

ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    "<ETag>&quot;x&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
PAGE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
    "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>{}"
    "<CommonPrefixes><Prefix>data/</Prefix></CommonPrefixes></ListBucketResult>"
)
KEYS = ("a.json", "a &amp; b%20c", "odd&#x27;s/")
WHOLE = PAGE.format("".join(ENTRY.format(key=key, size=n) for n, key in enumerate(KEYS)))


def parsed(page, *, ours):
    client = boto3.client(
        "s3",
        region_name="x",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(),
    )
    shape = client.meta.service_model.operation_model("ListObjectsV2").output_shape
    response = {"body": page.encode(), "headers": {}, "status_code": 200}
    extra = {}
    if ours:
        parse_page(response_dict=response, customized_response_dict=extra, operation_model=None)
    answer = create_parser("rest-xml").parse(response, shape) | extra
    fields = ("Key", "Size", "LastModified")
    answer["Contents"] = [{f: e.get(f) for f in fields} for e in answer.get("Contents", ())]
    return answer, bool(extra)


def test_a_page_is_parsed_as_botocore_parses_it():
    found, is_ours = parsed(WHOLE, ours=True)
    assert is_ours
    assert found == parsed(WHOLE, ours=False)[0]
    assert [entry["Key"] for entry in found["Contents"]] == ["a.json", "a & b%20c", "odd's/"]
    assert found["Contents"][2]["LastModified"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found["NextContinuationToken"] == "t"
    assert found["CommonPrefixes"] == [{"Prefix": "data/"}]


@pytest.mark.parametrize(
    "page",
    [
        PAGE.format(""),
        WHOLE.replace("<Size>1</Size>", ""),
        WHOLE.replace("<Size>1</Size>", "<Size>many</Size>"),
        WHOLE.replace("2026-01-02T", "yesterday, "),
        WHOLE.replace("Contents>", "s3:Contents>").replace("xmlns=", "xmlns:s3='x' xmlns="),
    ],
)
def test_a_page_of_another_form_is_left_to_botocore(page):
    extra, response = {}, {"body": page.encode(), "headers": {}, "status_code": 200}
    parse_page(response_dict=response, customized_response_dict=extra)
    assert (extra, response["body"]) == ({}, page.encode())


def test_an_error_is_left_to_botocore():
    extra, response = {}, {"body": WHOLE.encode(), "headers": {}, "status_code": 503}
    parse_page(response_dict=response, customized_response_dict=extra)
    assert (extra, response["body"]) == ({}, WHOLE.encode())


def test_botocore_never_sees_the_objects_of_a_page(monkeypatch):
    """Its look for errors in a page parses all of it, which takes longer than all the rest."""
    for name, value in {
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
        "DEFAULT_REGION": "x",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = S3Calls("s3://bucket", first_wait_s=0.0, is_known=True).client
    seen = []

    def answer(request, **_):
        raw = HTTPResponse(body=BytesIO(WHOLE.encode()), preload_content=False, status=200)
        return AWSResponse(request.url, 200, {}, raw)

    def look(response_dict, **_):
        seen.append(response_dict["body"])

    client.meta.events.register("before-send.s3", answer)
    client.meta.events.register_first("before-parse.s3.*", look)
    assert len(client.list_objects_v2(Bucket="bucket")["Contents"]) == len(KEYS)
    assert len(seen) == 1
    assert b"Contents" not in seen[0]
    assert b"CommonPrefixes" in seen[0]
