import base64
import http.client
import io
import json
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image
from small_label import TOKEN, serving, small_material

from factory.errors import JobError
from factory.label.gallery import draw_gallery
from factory.label.server import serve
from factory.segment.tree.labels_file import read_labels_file
from factory.segment.tree.suggest import suggest_cuts


@pytest.fixture
def labels(tmp_path):
    return tmp_path / "labels.yaml"


@pytest.fixture
def ask(labels):
    with serving(labels) as address:
        parts = urlsplit(address)

        def ask(path, method="GET", body=None, headers=None, token=TOKEN):
            connection = http.client.HTTPConnection(parts.netloc, timeout=20)
            known = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path.format(token=TOKEN), body, known | (headers or {}))
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer.status, data, answer.headers

        yield ask


def a_cut(count=3, **changes):
    tree = small_material().tree
    names = [
        {"name": f"class {node}", "colour": "#102030", "nodes": [node]}
        for node in tree.flat_cut(count)
    ]
    return json.dumps({"tree": tree.digest(), "labels": names, "seen": ""} | changes)


def refused(answer):
    """The words of a refusal."""
    return json.loads(answer)["error"]


def test_the_address_opens_the_page_and_forbids_everything_from_elsewhere(ask):
    status, body, headers = ask("/?token={token}", token="")
    assert status == 200
    assert b"<!doctype html>" in body
    rule = headers["Content-Security-Policy"]
    assert rule.startswith("default-src 'none'; script-src 'self' 'nonce-")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/facts",
        "/masks?cut=20,21",
        "/samples?from=20",
        "/classes?of=20,21",
        "/closer?of=20,21&at=0&index=0",
        "/labels",
        "/none",
    ],
)
def test_nothing_is_told_without_the_token(ask, path):
    assert ask(path, token="")[0] == ask(path, token="wrong")[0] == 401


def test_nothing_is_written_without_the_token(ask, labels):
    assert ask("/labels", "PUT", a_cut(), token="wrong")[0] == 401
    assert not labels.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/assets/../server.py",
        "/assets/..%2fserver.py",
        "/assets/%2e%2e/server.py",
        "/assets//etc/passwd",
        "/assets/",
        "/assets/page.html",
        "/../labels.yaml",
    ],
)
def test_no_other_file_is_given_out(ask, path):
    assert ask(path)[0] == 404


def test_scripts_and_style_are_given_out_with_their_types(ask):
    assert ask("/assets/main.js", token="")[2]["Content-Type"].startswith("text/javascript")
    assert ask("/assets/page.css", token="")[2]["Content-Type"].startswith("text/css")


def test_facts_describe_the_tree(ask):
    facts = json.loads(ask("/facts")[1])
    tree = small_material().tree
    assert facts["tree"] == tree.digest()
    assert [node["id"] for node in facts["nodes"]] == list(range(tree.num_nodes))
    assert facts["suggested"] == suggest_cuts(tree).num_classes
    assert facts["cuts"][0] == {
        "k": 2,
        "iou": None,
        "ecos": None,
        "agreement": None,
        "doubts": [],
    }
    last = facts["cuts"][-1]
    assert last["k"] == tree.num_leaves
    assert [last["iou"], last["ecos"]] == tree.history[0, 2:].tolist()
    assert len(facts["images"]) == 20


def test_masks_of_a_cut_are_those_of_the_gallery(ask):
    material = small_material()
    cut = material.tree.flat_cut(5)
    status, body, _ = ask(f"/masks?cut={','.join(map(str, cut))}")
    assert status == 200
    assert body == material.gallery.masks(cut).tobytes()
    assert len(np.unique(np.frombuffer(body, np.uint8))) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ("", "cut: give at most 255 node numbers with commas between them"),
        ("1,x", "cut: give at most 255 node numbers with commas between them"),
        ("-1,2", "cut: give at most 255 node numbers with commas between them"),
        ("²,3", "cut: give at most 255 node numbers with commas between them"),
        (",".join(["1"] * 256), "cut: give at most 255 node numbers with commas between them"),
        ("999999", "cut: give at most 255 node numbers with commas between them"),
        ("99", "found node 99; this tree has nodes 0 to 21"),
        ("20", "every cluster needs a class"),
        ("20,21,0", "both hold cluster"),
    ],
)
def test_cuts_that_are_none_are_refused(ask, cut, words):
    status, body, _ = ask(f"/masks?cut={quote(cut)}")
    assert status == 400
    assert words in refused(body)


def test_other_samples_are_drawn_when_they_are_asked_for_with_masks_of_their_own(ask):
    renderer = small_material().renderer
    status, body, _ = ask("/samples?from=33")
    images = json.loads(body)["images"]
    assert (status, len(images)) == (200, 20)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(images[7].partition(",")[2]))))
    assert np.array_equal(image, renderer.render(40, 16)[0])
    cut = small_material().tree.flat_cut(4)
    wanted = draw_gallery(renderer, 33).masks(cut).tobytes()
    assert ask(f"/masks?cut={','.join(map(str, cut))}&from=33")[1] == wanted
    assert ask(f"/masks?cut={','.join(map(str, cut))}&from=0")[1] != wanted


@pytest.mark.parametrize("first", ["-1", "99981", "1e3", "", "٣", "100000000000", "20,40"])
def test_a_number_that_no_samples_begin_with_is_refused(ask, first):
    for path in (f"/samples?from={quote(first)}", f"/masks?cut=20,21&from={quote(first)}"):
        status, body, _ = ask(path)
        assert status == 400
        assert "from: give a number" in refused(body) or "cut" in refused(body)


def test_saving_writes_the_file_and_says_what_it_has_seen(ask, labels):
    nothing = {"labels": None, "seen": "", "problem": "", "reviews": [], "disputes": []}
    assert json.loads(ask("/labels")[1]) == nothing
    status, body, _ = ask("/labels", "PUT", a_cut())
    assert status == 200
    found = read_labels_file(labels)
    assert [label.nodes for label in found.labels] == [
        [n] for n in small_material().tree.flat_cut(3)
    ]
    again = json.loads(ask("/labels")[1])
    assert again["seen"] == json.loads(body)["seen"]
    assert again["labels"] == found.model_dump(mode="json")["labels"]


def test_a_change_on_disk_is_not_overwritten(ask, labels):
    labels.write_text("# mine\n")
    status, body, _ = ask("/labels", "PUT", a_cut())
    assert (status, refused(body)) == (409, f"{labels}: changed since this page read it")
    assert labels.read_text() == "# mine\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "body: invalid JSON"),
        ("[]", "body: input should be an object"),
        (a_cut(tree="0" * 16), "these names are for another fit"),
        (a_cut(labels=[]), "labels: list should have at least 2 items"),
        (a_cut(more=1), "more: extra inputs are not permitted"),
        (a_cut().replace("class 20", "class\\n20"), "a name is words of letters"),
        (a_cut().replace("[20]", "[21]"), "a cluster has one class"),
        (a_cut().replace("#102030", "red"), 'write a colour as "#rrggbb"'),
    ],
)
def test_labels_that_break_a_rule_are_refused(ask, labels, body, words):
    status, answer, _ = ask("/labels", "PUT", body)
    assert status == 422
    assert words in refused(answer)
    assert not labels.exists()


def test_other_methods_are_refused(ask):
    for method in ("POST", "DELETE", "PATCH"):
        assert ask("/labels", method, "{}")[0] == 405
        assert ask("/facts", method, "{}")[0] == 405


def test_a_port_that_is_taken_is_said(labels):
    with serving(labels) as address:
        port = urlsplit(address).port
        with pytest.raises(JobError) as caught:
            serve(small_material(), labels, port=port, on_address=print)
    assert str(caught.value) == (
        f"--port: cannot listen on 127.0.0.1 port {port} (Address already in use); choose another "
        "port, or 0 for any free one"
    )


def test_a_labels_file_that_cannot_be_read_is_said_before_anything_is_served(tmp_path):
    with pytest.raises(JobError, match=r"cannot read \(Is a directory\); give another path"):
        serve(small_material(), tmp_path, port=0, on_address=print)


def of(classes):
    return ",".join(".".join(map(str, nodes)) for nodes in classes)


def test_figures_of_classes_are_those_of_the_survey_with_what_speaks_against_them(ask):
    first, second, *others = [[node] for node in small_material().tree.flat_cut(5)]
    classes = [first + second, *others]
    found = json.loads(ask(f"/classes?of={of(classes)}")[1])
    assert (found["num_samples"], found["num_wanted"], found["grid"]) == (24, 24, 32)
    figures = small_material().survey.measure(classes)
    for told, one in zip(found["classes"], figures, strict=True):
        assert (told["share"], told["images"]) == (one.share, one.images)
        assert (told["typical"], told["doubtful"]) == (one.typical, one.doubtful)
        place = np.frombuffer(base64.b64decode(told["place"]), np.uint8).reshape(32, 32)
        assert np.abs(place / 255 - one.place.numpy()).max() <= 0.5 / 255 + 1e-6
        assert [part["node"] for part in told["parts"]] == [part.node for part in one.parts]
        assert (told["doubts"], told["stability"]) == ([], None)


def test_a_closer_look_is_the_picture_at_full_size_with_both_masks(ask):
    classes = [[node] for node in small_material().tree.flat_cut(4)]
    found = json.loads(ask(f"/closer?of={of(classes)}&at=2&index=3")[1])
    image = Image.open(io.BytesIO(base64.b64decode(found["image"].partition(",")[2])))
    assert np.array_equal(np.asarray(image), small_material().gallery.images[3])
    inside = np.frombuffer(base64.b64decode(found["inside"]), np.uint8)
    mask = small_material().gallery.masks([node for (node,) in classes])[3]
    assert np.array_equal(inside.reshape(mask.shape), mask == 2)
    assert len(base64.b64decode(found["parts"])) == found["side"] ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/classes", "of: give classes with commas between them"),
        ("/classes?of=20..21", "of: give classes with commas between them"),
        ("/classes?of=20.21,0", "both hold cluster"),
        ("/classes?of=20", "every cluster needs a class"),
        ("/classes?of=99", "this tree has nodes 0 to 21"),
        ("/closer?of=20,21&at=2&index=0", "at: give a number from 0 to 1"),
        ("/closer?of=20,21&at=0&index=24", "index: give a number from 0 to 23"),
        ("/closer?of=20,21&at=-1&index=0", "at: give a number from 0 to 1"),
        ("/closer?of=20,21&at=0", "index: give a number from 0 to 23"),
    ],
)
def test_classes_and_samples_that_are_none_are_refused(ask, path, words):
    status, body, _ = ask(path)
    assert status == 400
    assert words in refused(body)


def verdicts(seen, **changes):
    words = {"node": 20, "given": "class 20", "verdict": "confirmed"} | changes
    return json.dumps({"verdicts": [words], "seen": seen})


def test_a_reviewer_adds_verdicts_and_changes_no_names(labels):
    with serving(labels) as address:
        seen = json.loads(put(address, "/labels", a_cut(2))[1])["seen"]
    before = read_labels_file(labels)
    with serving(labels, reviewer="anna") as address:
        status, body = put(address, "/labels", a_cut(2, seen=seen))
        assert (status, refused(body)) == (
            403,
            "labels: a reviewer's page changes no names; it disputes them",
        )
        disputed = verdicts(seen, verdict="disputed", proposed="hole")
        status, body = put(address, "/reviews", disputed)
        assert status == 200
        assert put(address, "/reviews", disputed)[0] == 409, "the file has changed since"
        seen = json.loads(body)["seen"]
        for wrong in (verdicts(seen, given="other"), verdicts(seen, verdict="disputed"), "{"):
            assert put(address, "/reviews", wrong)[0] == 422
    found = read_labels_file(labels)
    assert found.labels == before.labels
    assert [(one.who, one.proposed) for one in found.reviews] == [("anna", "hole")]


def put(address, path, body):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request("PUT", path, body, {"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data
