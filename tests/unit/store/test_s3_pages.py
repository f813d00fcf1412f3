from datetime import UTC, datetime
from io import BytesIO

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.parsers import create_parser
from urllib3 import HTTPResponse

from factory.store.s3_calls import S3Calls
from factory.store.s3_pages import objects_of, parse_page

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
    return create_parser("rest-xml").parse(response, shape) | extra, bool(extra)


def test_a_page_is_parsed_as_botocore_parses_it():
    found, is_ours = parsed(WHOLE, ours=True)
    assert is_ours
    assert objects_of(found) == objects_of(parsed(WHOLE, ours=False)[0])
    assert objects_of(found).keys == ["a.json", "a & b%20c", "odd's/"]
    assert objects_of(found).sizes == [0, 1, 2]
    assert objects_of(found).times[2] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found["NextContinuationToken"] == "t"
    assert found["CommonPrefixes"] == [{"Prefix": "data/"}]


@pytest.mark.parametrize(
    "page",
    [
        PAGE.format(""),
        WHOLE.replace("<Size>1</Size>", ""),
        WHOLE.replace("<Size>1</Size>", "<Size>many</Size>"),
        WHOLE.replace("2026-01-02T", "yesterday, "),
        WHOLE.replace("</Contents><Contents>", "</Contents><Delimiter>/</Delimiter><Contents>", 1),
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


@pytest.fixture
def client_of(monkeypatch):
    """Makes a client whose listings are answered with a page."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION"):
        monkeypatch.setenv(f"AWS_{name}", "x")

    def make(page, *, ours=True):
        def answer(request, **_):
            raw = HTTPResponse(body=BytesIO(page.encode()), preload_content=False, status=200)
            return AWSResponse(request.url, 200, {}, raw)

        client = boto3.Session().client("s3")
        if ours:
            client = S3Calls("s3://bucket", first_wait_s=0.0, is_known=True).client
        client.meta.events.register("before-send.s3", answer)
        return client

    return make


def test_botocore_never_sees_the_objects_of_a_page(client_of):
    """Its look for errors in a page parses all of it, which takes longer than all the rest."""
    client, seen = client_of(WHOLE), []
    client.meta.events.register_first(
        "before-parse.s3.*", lambda response_dict, **_: seen.append(response_dict["body"])
    )
    assert len(objects_of(client.list_objects_v2(Bucket="bucket")).keys) == len(KEYS)
    assert len(seen) == 1
    assert b"Contents" not in seen[0]
    assert b"CommonPrefixes" in seen[0]


@pytest.mark.parametrize("encoding", ["", "<EncodingType>url</EncodingType>"])
def test_keys_are_decoded_as_botocore_decodes_them(client_of, encoding):
    page = WHOLE.replace("<IsTruncated>", f"{encoding}<IsTruncated>").replace("odd", "o+%C3%A9%2Bd")
    found, expected = (
        objects_of(client_of(page, ours=ours).list_objects_v2(Bucket="bucket"))
        for ours in (True, False)
    )
    assert found == expected
    assert (found.keys[1] == "a & b c") == bool(encoding)
