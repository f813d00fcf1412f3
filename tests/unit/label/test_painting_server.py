"""The server of the painting page: its token, its rules, and what it writes."""

import http.client
import io
import json
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image
from small_painting import (
    NAMES,
    TOKEN,
    paint_exactly,
    saved,
    serving,
    toy_masks,
    toy_material,
    toy_pictures,
)

from factory.data import IGNORE
from factory.errors import JobError
from factory.label.painting.server import serve
from factory.pack.image import decode_image, encode_mask


@pytest.fixture
def folder(tmp_path):
    return toy_pictures(tmp_path)


@pytest.fixture
def ask(folder):
    with serving(folder) as address:
        place = urlsplit(address).netloc

        def ask(path, method="GET", body=None, token=TOKEN):
            connection = http.client.HTTPConnection(place, timeout=60)
            known = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path.format(token=TOKEN), body, known)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer.status, data, answer.headers

        yield ask


def error_of(answer):
    return json.loads(answer[1])["error"]


def test_the_address_opens_the_page_and_forbids_everything_from_elsewhere(ask):
    status, body, headers = ask("/?token={token}", token="")
    assert status == 200
    assert b"$" not in body
    rule = headers["Content-Security-Policy"]
    assert rule.startswith("default-src 'none'; script-src 'self' 'nonce-")


@pytest.mark.parametrize(
    "path",
    [
        "/facts",
        f"/picture?name={NAMES[0]}",
        f"/small?name={NAMES[0]}",
        f"/mask?name={NAMES[0]}",
        f"/superpixels?name={NAMES[0]}&size=fine",
        f"/suggestion?name={NAMES[0]}",
        "/next",
    ],
)
def test_nothing_is_told_without_the_token(ask, path):
    assert ask(path, token="")[0] == ask(path, token="wrong")[0] == 401
    assert ask(path)[0] in {200, 204}


def test_nothing_is_written_without_the_token(ask, folder):
    path = f"/mask?name={NAMES[0]}&seen="
    assert ask(path, "PUT", bytes(32 * 32), token="wrong")[0] == 401
    assert not (folder / "masks").exists()


@pytest.mark.parametrize(
    "name", ["", "000999", "../pictures", "../../job", f"{NAMES[0]}.png", "a" * 300]
)
@pytest.mark.parametrize("path", ["picture", "small", "mask", "suggestion", "superpixels"])
def test_only_the_folder_s_pictures_are_told_of(ask, path, name):
    answer = ask(f"/{path}?name={quote(name, safe='')}&size=fine")
    assert answer[0] == 404
    assert "is no picture here" in error_of(answer)


@pytest.mark.parametrize("path", ["/assets/../server.py", "/assets/paint.html", "/assets/tree.js"])
def test_no_other_file_is_given_out(ask, path):
    assert ask(path)[0] == 404


def test_facts_name_the_classes_and_the_pictures(ask, folder):
    facts = json.loads(ask("/facts")[1])
    assert facts["side"] == 32
    assert [one["name"] for one in facts["pictures"]] == list(NAMES)
    assert len({one["colour"] for one in facts["classes"]}) == len(facts["classes"])
    assert [one["painted_px"] for one in facts["pictures"]] == [0] * 5


def test_pictures_are_the_folder_s_and_small_ones_no_larger(ask, folder):
    found = decode_image(ask(f"/picture?name={NAMES[0]}")[1])
    file = folder / "pictures" / f"{NAMES[0]}.png"
    assert np.array_equal(found, decode_image(file.read_bytes()))
    small = Image.open(io.BytesIO(ask(f"/small?name={NAMES[0]}")[1]))
    assert small.size == (32, 32)


def test_a_mask_is_saved_with_what_it_replaces(ask, folder):
    mask = toy_masks(folder)[NAMES[0]].copy()
    mask[:4] = IGNORE
    answer = ask(f"/mask?name={NAMES[0]}&seen=", "PUT", mask.tobytes())
    assert answer[0] == 200
    assert np.array_equal(saved(folder, NAMES[0]), mask)
    status, body, headers = ask(f"/mask?name={NAMES[0]}")
    assert (status, body) == (200, mask.tobytes())
    assert headers["seen"] == json.loads(answer[1])["seen"]
    again = ask(f"/mask?name={NAMES[0]}&seen=", "PUT", mask.tobytes())
    assert (again[0], error_of(again)) == (
        409,
        f"{NAMES[0]}: its mask changed since this page read it",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", f"{NAMES[0]}: found 0 bytes; a mask here has 32 x 32"),
        (bytes(1023), f"{NAMES[0]}: found 1023 bytes; a mask here has 32 x 32"),
        (bytes([77]) * 1024, f"{NAMES[0]}: holds ids of no class"),
    ],
)
def test_a_body_that_is_no_mask_is_refused(ask, folder, body, words):
    answer = ask(f"/mask?name={NAMES[0]}&seen=", "PUT", body)
    assert answer[0] == 422
    assert words in error_of(answer)
    assert not (folder / "masks").exists()


def test_more_bytes_than_a_mask_has_are_not_read(ask):
    answer = ask(f"/mask?name={NAMES[0]}&seen=", "PUT", bytes(1025))
    assert (answer[0], error_of(answer)) == (413, "a body has at most 1024 bytes here")


def test_a_mask_on_disk_that_cannot_be_read_is_told(ask, folder):
    (folder / "masks").mkdir()
    (folder / "masks" / f"{NAMES[0]}.png").write_bytes(encode_mask(np.zeros((9, 9), np.uint8)))
    answer = ask(f"/mask?name={NAMES[0]}")
    assert answer[0] == 422
    assert "is 9 x 9 px; its picture is 32 x 32" in error_of(answer)


def test_superpixels_come_in_two_sizes(ask):
    counts = []
    for size in ("fine", "coarse"):
        body = ask(f"/superpixels?name={NAMES[0]}&size={size}")[1]
        counts.append(int(np.frombuffer(body, "<u2").max()))
        assert len(body) == 2 * 32 * 32
    assert counts[0] > counts[1]
    answer = ask(f"/superpixels?name={NAMES[0]}&size=huge")
    assert (answer[0], error_of(answer)) == (400, "size: give fine or coarse")


def test_three_painted_pictures_suggest_masks_for_the_others(folder):
    paint_exactly(folder, NAMES[:3])
    with serving(folder) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        known = {"Authorization": f"Bearer {TOKEN}"}
        connection.request("GET", f"/suggestion?name={NAMES[4]}", headers=known)
        found = np.frombuffer(connection.getresponse().read(), np.uint8).reshape(32, 32)
        assert (found == toy_masks(folder)[NAMES[4]]).mean() > 0.97
        connection.request("GET", "/next", headers=known)
        assert sorted(json.loads(connection.getresponse().read())["order"]) == list(NAMES[3:])
        connection.close()


def test_a_picture_that_is_gone_is_told(ask, folder):
    (folder / "pictures" / f"{NAMES[0]}.png").unlink()
    answer = ask(f"/picture?name={NAMES[0]}")
    assert answer[0] == 404
    assert "cannot be read (No such file or directory)" in error_of(answer)


def test_a_port_that_is_taken_is_said(folder):
    with serving(folder) as address:
        port = urlsplit(address).port
        with pytest.raises(JobError, match=f"--port: cannot listen on 127.0.0.1 port {port}"):
            serve(toy_material(folder), port=port, on_address=print)


@pytest.mark.parametrize("path", ["/small?name={name}", "/superpixels?size=fine&name={name}"])
def test_a_picture_that_is_none_any_more_is_told(ask, folder, path):
    file = folder / "pictures" / f"{NAMES[0]}.png"
    file.write_bytes(b"half a pict")
    answer = ask(path.replace("{name}", NAMES[0]))
    assert (answer[0], error_of(answer)) == (
        422,
        f"{file}: not a whole image (no PNG, WebP or JPEG)",
    )
    file.write_bytes(encode_mask(np.zeros((9, 9), np.uint8)))
    answer = ask(path.replace("{name}", NAMES[0]))
    assert answer[0] == 422
    assert "has 9 rows; it is not the one that was written" in error_of(answer)
