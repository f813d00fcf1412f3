"""The session and the server of the page of edits: what they run, tell, refuse and write."""

import http.client
import json
import socket
import threading
import time
from dataclasses import fields, replace
from urllib.parse import urlsplit

import numpy as np
import pytest
from small_editing import KEY, QUICK, TOKEN, serving, toy_dataset, toy_session

from factory.care import editing
from factory.care.edit import EditableSample, EditSettings, edit_sample, write_pair
from factory.care.editing.page import live_page, make_facts, public_files
from factory.care.editing.server import serve
from factory.care.editing.session import EditSession
from factory.data import IGNORE
from factory.errors import JobError
from factory.pack.image import decode_image, decode_mask

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("editing"))


@pytest.fixture
def session(dataset, tmp_path):
    return toy_session(dataset, tmp_path / "pair")


def ring(mask):
    """The square larger by a pixel on each side."""
    square = mask == 1
    sides = [np.roll(square, step, axis=axis) for step in (1, -1) for axis in (0, 1)]
    around = np.logical_or.reduce(sides) & ~square
    return np.where(around, 1, IGNORE).astype(np.uint8)


def wait(session):
    while session.progress.state == "running":
        time.sleep(0.01)
    return session.progress


def test_a_session_edits_as_the_function_does_and_tells_how_far_it_is(session, dataset):
    painted = ring(session.sample.mask)
    assert session.progress.state == "idle"
    assert session.start(painted, QUICK) == 1
    progress = wait(session)
    assert (progress.run, progress.state, progress.done, progress.steps) == (1, "done", 20, 20)
    pair = edit_sample(dataset, KEY, painted, settings=QUICK, trust_plugins=True)
    found = session.result(1)
    assert np.array_equal(found.pair.edited, pair.edited)
    assert found.pair.facts() == pair.facts()
    assert progress.iou <= pair.layout_iou[1] + 1e-6
    assert session.result(2) is None


def test_one_edit_runs_at_a_time_and_a_stopped_one_has_no_result(session):
    painted = ring(session.sample.mask)
    assert session.start(painted, replace(QUICK, steps=10_000)) == 1
    assert session.start(painted, QUICK) is None
    session.stop()
    assert session.progress.state == "stopped"
    assert session.result(1) is None
    assert session.start(painted, QUICK) == 2
    assert wait(session).state == "done"


def test_what_an_edit_fails_with_is_told_and_the_next_one_runs(session):
    class Broken(EditableSample):
        def edit(self, *_):
            raise JobError("edit: no")

    parts = {one.name: getattr(session.sample, one.name) for one in fields(EditableSample)}
    broken = EditSession(Broken(**parts), QUICK, session.folder)
    for run in (1, 2):
        assert broken.start(ring(session.sample.mask), QUICK) == run
        progress = wait(broken)
        assert (progress.state, progress.problem) == ("failed", "edit: no")


def test_a_pair_is_saved_with_what_was_painted(session):
    painted = ring(session.sample.mask)
    session.start(painted, QUICK)
    wait(session)
    assert session.save(9) is None
    files = session.save(1)
    assert [file.name for file in files] == [
        *(f"{KEY}.{name}" for name in ("image.png", "edited.png", "mask.png", "edited_mask.png")),
        *(f"{KEY}.json", f"{KEY}.png"),
    ]
    assert np.array_equal(decode_mask(files[-1].read_bytes()), painted)
    assert files[-1].parent == session.folder / "masks"
    assert np.array_equal(decode_image(files[0].read_bytes()), session.sample.image)
    assert not list(session.folder.rglob(".*"))


def test_two_pages_that_save_at_once_leave_the_files_of_one_edit(session, monkeypatch):
    for run, steps in ((1, 20), (2, 1)):
        painted = ring(session.sample.mask)
        painted[0, 0] = run  # so that what was painted tells the two apart
        assert session.start(painted, replace(QUICK, steps=steps)) == run
        wait(session)
    has_written = threading.Event()
    second = threading.Thread(target=session.save, args=(2,))

    def interrupted(pair, folder):
        files = write_pair(pair, folder)
        if not has_written.is_set():
            has_written.set()
            second.start()
            second.join(timeout=0.3)  # it must not come in between
        return files

    monkeypatch.setattr(editing.session, "write_pair", interrupted)
    session.save(1)
    second.join()
    facts = json.loads((session.folder / f"{KEY}.json").read_text())
    painted = decode_mask((session.folder / "masks" / f"{KEY}.png").read_bytes())
    assert facts["forwards"] == {1: 22, 2: 3}[painted[0, 0]]


def test_old_results_make_room_for_new_ones(session):
    painted = ring(session.sample.mask)
    for _ in range(18):
        session.start(painted, replace(QUICK, steps=1))
        wait(session)
    kept = [run for run in range(1, 19) if session.result(run)]
    assert kept == list(range(3, 19))


@pytest.fixture
def ask(session):
    with serving(session) as address:
        place = urlsplit(address).netloc

        def ask(path, method="GET", body=None, token=TOKEN):
            connection = http.client.HTTPConnection(place, timeout=60)
            known = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path.format(token=TOKEN), body, known)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer.status, data

        yield ask


GETS = ("/facts", "/picture", "/mask", "/superpixels?size=fine", "/progress")
PUTS = ("/edit?steps=1&rate=0.1", "/stop", "/save?run=1")


def test_nothing_is_told_or_done_without_the_token(ask, session):
    for path in GETS:
        assert ask(path, token="")[0] == ask(path, token="wrong")[0] == 401
        assert ask(path)[0] == 200
    body = ring(session.sample.mask).tobytes()
    for path in PUTS:
        assert ask(path, "PUT", body, token="")[0] == 401
    assert session.progress.run == 0
    assert not session.folder.exists()
    assert ask("/?token={token}", token="")[0] == 200


def test_an_edit_over_http_gives_its_pair_and_saves_it(ask, session):
    body = ring(session.sample.mask).tobytes()
    status, data = ask("/edit?steps=7&rate=0.1", "PUT", body)
    assert (status, json.loads(data)) == (200, {"run": 1})
    wait(session)
    told = json.loads(ask("/progress")[1])
    assert (told["state"], told["steps"], told["facts"]["forwards"]) == ("done", 7, 9)
    found = session.result(1).pair
    assert np.array_equal(decode_image(ask("/edited?run=1")[1]), found.edited)
    assert ask("/edited_mask?run=1")[1] == found.edited_mask.tobytes()
    status, data = ask("/save?run=1", "PUT")
    assert status == 200
    assert len(json.loads(data)["files"]) == 6


def open_mask():
    return np.full((32, 32), IGNORE, np.uint8)


def refusals(mask):
    """What cannot be asked: method, path, body, status and the words of its line."""
    body = ring(mask).tobytes()
    edit = "/edit?steps=5&rate=0.1"
    return [
        ("PUT", edit, body[:-1], 422, "found 1023 bytes; a mask here has 32 x 32"),
        ("PUT", edit, open_mask().tobytes(), 422, "has no painted pixel"),
        ("PUT", edit, np.full((32, 32), 9, np.uint8).tobytes(), 422, "found class 9"),
        ("PUT", edit, mask.tobytes(), 422, "changes nothing: sample"),
        ("PUT", "/edit?steps=0&rate=0.1", body, 422, "steps: found 0"),
        ("PUT", "/edit?steps=5&rate=0", body, 422, "learning_rate: found 0"),
        ("PUT", "/edit?steps=5&rate=nan", body, 400, "give a whole number and a decimal one"),
        ("PUT", "/edit?rate=0.1", body, 400, "give a whole number and a decimal one"),
        ("PUT", "/save?run=4", None, 404, "its result is gone; apply the edit again"),
        ("GET", "/edited?run=x", None, 400, "give the number of an edit"),
        ("GET", "/edited_mask?run=1", None, 404, "its result is gone"),
        ("GET", "/superpixels?size=huge", None, 400, "size: give fine or coarse"),
        ("PUT", edit, b"x" * 2000, 413, ""),
    ]


def test_what_cannot_be_done_is_told_in_a_line(ask, session):
    for method, path, body, status, words in refusals(session.sample.mask):
        found, data = ask(path, method, body)
        assert (found, words in json.loads(data)["error"]) == (status, True), (path, data)
    assert session.progress.run == 0


def test_a_port_that_is_taken_is_told_and_no_thread_is_left(session):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(JobError, match="cannot listen"),
    ):
        serve(session, port=taken.getsockname()[1], on_address=lambda _: None)
    assert session.progress.state == "idle"


def test_the_page_names_all_its_scripts_once_and_knows_the_sample(session):
    files = public_files()
    names = [file.name for file in files]
    assert len(set(names)) == len(names)
    text = live_page("n").decode()
    scripts = {name for name in names if name.endswith(".js")}
    assert all(f'"/assets/{name}"' in text for name in scripts)
    assert "$" not in text
    facts = make_facts(session)
    assert (facts["key"], facts["side"], facts["steps"]) == (KEY, 32, 20)
    assert [one["name"] for one in facts["classes"]] == ["ground", "square", "disc", "core"]
    assert EditSettings().steps == 50
