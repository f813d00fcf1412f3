import pytest
from botocore.exceptions import ClientError
from s3_server import SECRET, Fault, refusal

from factory.store import open_store
from factory.store.s3 import S3Store
from factory.store.s3_calls import S3Calls

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.mark.parametrize("kind", ["500", "refuse", "cut"])
def test_reading_listing_and_replacing_outlive_what_may_pass(store, middle, kind):
    store.create("d/a", b"one")
    middle.faults = [
        Fault("GET", "/d/a", kind),
        Fault("GET", "list-type=2", kind),
        Fault("PUT", "/d/a", kind),
    ]
    assert store.read("d/a") == b"one"
    assert store.names("d") == ["d/a"]
    store.replace("d/a", b"two")
    assert store.read("d/a") == b"two"
    assert all(fault.seen for fault in middle.faults)


@pytest.mark.slow
def test_a_server_that_stays_broken_is_told_after_eight_tries(store, middle):
    middle.faults = [Fault("GET", "", "503", times=100)]
    text = refusal(lambda: store.read("a"))
    assert text == (
        f"{store.uri}/a: the server answers 503 Injected, 8 times; look at server and network, "
        "then run the command again: everything committed is kept"
    )
    assert middle.faults[0].seen == 8
    middle.faults = [Fault("GET", "", "refuse", times=100)]
    assert f"{store.uri}/a: no answer (connection closed), 8 times; look at" in refusal(
        lambda: store.read("a")
    )


@pytest.mark.slow
def test_a_server_nobody_has_heard_of_is_given_up_soon_and_one_that_is_known_is_waited_for(
    middle, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    unknown = S3Store("s3://bucket/x", first_wait_s=0.01)
    known = S3Store("s3://bucket/x", first_wait_s=0.01, is_known=True)
    assert ", 3 times; " in refusal(lambda: unknown.read("a"))
    assert ", 8 times; " in refusal(lambda: known.read("a"))


@pytest.mark.slow
def test_a_missing_bucket_is_told_at_the_first_look(middle):
    store = S3Store("s3://nowhere/x")
    wanted = (
        "s3://nowhere/x/plan: the server answers 404 NoSuchBucket; make the bucket, or correct "
        "output.uri"
    )
    assert refusal(lambda: store.read("plan")) == wanted
    assert "NoSuchBucket" in refusal(lambda: store.names(""))
    assert "NoSuchBucket" in refusal(lambda: store.create("a", b""))


def test_missing_credentials_are_told(middle, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert refusal(lambda: S3Store("s3://bucket/x").read("a")) == (
        "s3://bucket/x/a: no answer (no credentials); give valid credentials (AWS_PROFILE, or "
        "AWS_ACCESS_KEY_ID and its secret)"
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("AWS_PROFILE", "nobody", "profile not found"),
        ("AWS_ENDPOINT_URL", f"user:{SECRET}@127.0.0.1:1", "the endpoint is no address"),
    ],
)
def test_wrong_settings_of_this_machine_are_told(middle, monkeypatch, name, value, reason):
    monkeypatch.setenv(name, value)
    text = refusal(lambda: S3Store("s3://bucket/x"))
    assert text.startswith(f"s3://bucket/x: S3 is set up wrongly here ({reason});")
    assert text.endswith("AWS_ENDPOINT_URL (http://host:port), AWS_PROFILE and AWS_DEFAULT_REGION")


def test_secrets_in_an_address_stay_out_of_errors(middle, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://an-id:{SECRET}@127.0.0.1:1")
    store = S3Store("s3://bucket/x", first_wait_s=0.01)
    assert "no answer (endpoint connection), 3 times" in refusal(lambda: store.read("a"))


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix"])
def test_an_address_without_a_bucket_is_refused(uri):
    assert refusal(lambda: open_store(uri)) == (
        f"output.uri: found {uri!r}; give s3://bucket/prefix"
    )


@pytest.mark.parametrize(
    "uri", ["s3://my bucket/x", "s3://Eimer!/x", "s3://eimer:1/x", "s3://übel"]
)
def test_what_is_no_bucket_s_name_is_refused_before_a_request(uri):
    assert refusal(lambda: S3Calls(uri, first_wait_s=1.0, is_known=False)) == (
        f"output.uri: found {uri!r}; a bucket's name has letters, digits, dots, dashes and underscores; "
        "give s3://bucket/prefix"
    )


def test_an_answer_of_another_kind_of_server_points_at_the_endpoint():
    calls = S3Calls("s3://bucket/x", first_wait_s=1.0, is_known=True)
    assert refusal(lambda: calls.with_retries("a", failing(404, "404"))) == (
        "s3://bucket/x/a: the server answers 404; look at AWS_ENDPOINT_URL: S3 would say what is missing"
    )
    assert "allow this identity" in refusal(lambda: calls.with_retries("a", failing(403, "403")))


def failing(status, code):
    """An attempt that the server refuses."""

    def attempt():
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "PutObject")

    return attempt


def test_pauses_double_and_no_two_workers_make_the_same_ones(monkeypatch):
    pauses = []
    monkeypatch.setattr("factory.store.s3_calls.time.sleep", pauses.append)
    calls = S3Calls("s3://bucket/x", first_wait_s=1.0, is_known=True)
    for _ in range(20):
        refusal(lambda: calls.with_retries("a", failing(503, "SlowDown")))
    assert len(pauses) == 20 * 7
    for number in range(7):
        same = pauses[number::7]
        assert all(2**number / 2 <= pause <= 2**number for pause in same), (
            "1, 2, 4 ... 64 s at most"
        )
        assert len({round(pause, 6) for pause in same}) > 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "InvalidArgument")]
)
def test_what_will_not_pass_is_told_at_once(monkeypatch, status, code):
    monkeypatch.setattr("factory.store.s3_calls.time.sleep", lambda _: pytest.fail("it waited"))
    calls = S3Calls("s3://bucket/x", first_wait_s=1.0, is_known=True)
    text = refusal(lambda: calls.with_retries("a", failing(status, code)))
    assert text.startswith(f"s3://bucket/x/a: the server answers {status} {code}; ")
