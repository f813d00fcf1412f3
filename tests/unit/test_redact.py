"""No secret of an address, and nothing a terminal obeys, gets into what people are shown."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.errors import FactoryError, JobError, StoreError
from factory.log import log_event, start_log
from factory.redact import printable, redact, redact_values, shown

WORDS = st.text(alphabet="abcXYZ019-_.~%", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("get https://h:8080/a.pt?X-Amz-Signature=SECRET; again", "get https://h:8080/a.pt; again"),
        ("found 'https://h/x?sig=SECRET'", "found 'https://h/x'"),
        ("(https://h/a?k=SECRET)", "(https://h/a)"),
        ("https://SECRET@h", "https://h"),
        ("https://u:SECRET@h/x#SECRET", "https://h/x"),
        ("https://u:SECRET@w@h/x", "https://h/x"),
        ("https://u:SEC/RET@h/x?y", "https://h/x"),
        ("https://u:SECRET", "https://u"),
        ("https:/u:SECRET@h/x", "https:/h/x"),
        ("http://[::1]:80/x?SECRET", "http://[::1]:80/x"),
        ("s3://KEY:SECRET@bucket/p?e=https://a:SECRET@c/", "s3://bucket/p"),
        ("ray://u:SECRET@head:10001", "ray://head:10001"),
        ("proxy me:SECRET@proxy:3128 refuses", "proxy proxy:3128 refuses"),
        ("URL can't hold ' '. '/x?sig=SECRET&b=SECRET' (found", "URL can't hold ' '. '/x' (found"),
        ("{'weights': 'https://h/a?k=SECRET', 'b': 1}", "{'weights': 'https://h/a', 'b': 1}"),
        ("https://u:SEC RET@h/a", "https://h/a"),
        ("https://u:SECRET@h,https://u:SECRET@g", "https://h,https://g"),
        ("//u:SECRET@h/a", "//h/a"),
        ("https://h/a;jsessionid=SECRET/b", "https://h/a/b"),
        ("the query ?token=SECRET is", "the query  is"),
        ("get https://h/a%3Ftoken=SECRET now", "get https://h/a now"),
        ("at https%3A%2F%2Fh%2Fa%3fk%3DSECRET", "at https%3A%2F%2Fh%2Fa"),
    ],
)
def test_secrets_of_addresses_are_left_out(text, left):
    assert redact(text) == left
    assert redact(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "https://host/path/file.pt; try again",
        "https://h/@scope/pkg@1.0",
        "/tmp/a@b/c?d",
        "https://h/what%3F.pt",
        "why? a = b",
        "shard 1: 3:00 x@y",
        "AWS_ENDPOINT_URL (http://host:port), AWS_PROFILE",
        "dataset.oversample: found 3; at most 2",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert shown(text) == text


@given(WORDS, WORDS, WORDS)
def test_no_query_or_password_survives_whatever_it_is_made_of(user, password, value):
    text = f"error: cannot get https://{user}QQ:{password}QQ@host/x?key={value}QQ&{value}QQ, sorry"
    assert "QQ" not in redact(text)
    assert redact(text) == "error: cannot get https://host/x, sorry"


def test_what_a_terminal_would_obey_is_written_out():
    assert printable("a\x1b[2Jb\x9bc\x07\r") == r"a\x1b[2Jb\x9bc\x07\r"
    assert printable("\u202eabc\u2066\ud800") == r"\u202eabc\u2066\ud800"
    assert printable("two\nlines\tand é 漢") == "two\nlines\tand é 漢"


def test_plain_values_are_redacted_all_the_way_down():
    value = {"a": ["https://u:p@h/x?y=z", 3, None], "b": {"c": ("s3://b/k?v",)}}
    assert redact_values(value) == {"a": ["https://h/x", 3, None], "b": {"c": ["s3://b/k"]}}


@pytest.mark.parametrize("kind", [FactoryError, JobError, StoreError])
def test_every_error_of_ours_is_fit_to_be_shown(kind):
    error = kind("x: cannot read https://me:SECRET@h/f?s=SECRET; try\x1b[31m again\nand more")
    assert str(error) == "x: cannot read https://h/f; try\\x1b[31m again\nand more"
    assert error.args == (str(error),)


def test_log_lines_show_no_secret_and_are_one_line_each(capsys):
    start_log()
    try:
        log_event("tried", address="https://h/x?s=SECRET", name="a\x1b[2J\nb", level=logging.ERROR)
        line = capsys.readouterr().err
    finally:
        logging.getLogger("factory").handlers.clear()
        logging.getLogger("factory").propagate = True
    assert "SECRET" not in line
    assert "https://h/x" in line
    assert "\x1b" not in line
    assert line.count("\n") == 1


def test_json_for_scripts_is_redacted_value_by_value(capsys):
    from factory.cli.shared import print_json, say

    print_json({"uri": "https://u:p@h/x?k=SECRET", "n": [1]})
    assert json.loads(capsys.readouterr().out) == {"uri": "https://h/x", "n": [1]}
    say("name \x1b]0;owned\x07 https://h/x?k=SECRET")
    assert capsys.readouterr().out == "name \\x1b]0;owned\\x07 https://h/x\n"
