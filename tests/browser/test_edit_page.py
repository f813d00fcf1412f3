"""The page of edits as a person uses it: a change is painted, applied, compared and saved."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from small_editing import KEY, QUICK, TOKEN, serving, toy_dataset, toy_session

import factory
from factory.care.edit import EditSettings, edit_sample
from factory.data import IGNORE
from factory.pack.image import decode_image, decode_mask

SIDE = 32
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
DONE = re.compile(r"^[0-9]+ % of what was painted has its class now")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return toy_dataset(tmp_path_factory.mktemp("edits"))


@pytest.fixture
def before(dataset):
    return factory.open_dataset(dataset)[KEY]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pair"


@pytest.fixture
def session(dataset, folder):
    return toy_session(dataset, folder)


@pytest.fixture
def address(session, visits):
    with serving(session) as address:
        yield address
        visits.close()


@pytest.fixture
def page(visits, address):
    return ready(visits.open(address, viewport=DESKTOP))


def ready(page):
    expect(page.locator("body")).to_have_attribute("data-ready", "yes")
    expect(page.locator("#name")).to_have_text(f"edit {KEY}")
    return page


def spot(page, x, y):
    """Where on the screen a place of the whole picture is, in pixels of the picture."""
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    zoom = min(box["width"], box["height"]) / SIDE
    left = box["x"] + (box["width"] - SIDE * zoom) / 2
    top = box["y"] + (box["height"] - SIDE * zoom) / 2
    return left + x * zoom, top + y * zoom


def drag(page, *places):
    page.mouse.move(*spot(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*spot(page, *place), steps=4)
    page.mouse.up()


def keys(page, *pressed):
    for key in pressed:
        page.keyboard.press(key)


def thin(page):
    """The smallest brush, by its key."""
    keys(page, "[", "[", "[", "[")
    expect(page.locator("#width-px")).to_have_text("1 px")


def box_of(mask):
    """The pixels around the square: left, top, right and bottom."""
    rows, columns = np.nonzero(mask == 1)
    return columns.min() - 1, rows.min() - 1, columns.max() + 1, rows.max() + 1


def paint_around(page, mask):
    """A stroke of one pixel's width around the square, which makes it larger; what it painted."""
    left, top, right, bottom = box_of(mask)
    thin(page)
    keys(page, "2")
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    drag(page, *((x + 0.5, y + 0.5) for x, y in corners))
    painted = np.full((SIDE, SIDE), IGNORE, dtype=np.uint8)
    painted[[top, bottom], left : right + 1] = 1
    painted[top : bottom + 1, [left, right]] = 1
    return painted


def is_done(page):
    # The first search of a process warms everything up, which takes seconds on a busy machine.
    expect(page.locator("#figures")).to_have_text(DONE, timeout=60_000)
    return page.locator("#result").get_attribute("data-run")


def pixels_of(page, name):
    """The colours in one of the pictures of the result."""
    url = page.evaluate("id => document.getElementById(id).toDataURL('image/png')", name)
    with Image.open(io.BytesIO(b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def in_colours(mask, labels):
    table = np.full((256, 3), 128, np.uint8)
    for label in labels:
        table[label.id] = label.colour
    return table[mask]


def test_a_painted_change_is_applied_shown_and_saved(page, dataset, before, folder, screenshot):
    labels = factory.open_dataset(dataset).labels
    assert np.array_equal(pixels_of(page, "before"), before.image)
    assert np.array_equal(pixels_of(page, "before-mask"), in_colours(before.mask, labels))
    expect(page.locator("#apply")).to_be_disabled()
    painted = paint_around(page, before.mask)
    wanted = np.where(painted == IGNORE, before.mask, painted)
    assert np.array_equal(pixels_of(page, "wanted"), in_colours(wanted, labels))
    page.locator("#apply").click()
    assert is_done(page) == "1"
    pair = edit_sample(
        dataset,
        KEY,
        painted,
        settings=QUICK,
        trust_plugins=True,
    )
    assert (pair.edited_mask != pair.mask).sum() > 20
    assert np.array_equal(pixels_of(page, "after"), pair.edited)
    assert np.array_equal(pixels_of(page, "after-mask"), in_colours(pair.edited_mask, labels))
    expect(page.locator("#saved")).to_have_text("not saved yet")
    assert not folder.exists()
    page.locator("#save").click()
    expect(page.locator("#saved")).to_have_text(f"saved in {folder}")
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    assert np.array_equal(decode_image(files[f"{KEY}.image.png"]), before.image)
    assert np.array_equal(decode_image(files[f"{KEY}.edited.png"]), pair.edited)
    assert np.array_equal(decode_mask(files[f"{KEY}.edited_mask.png"]), pair.edited_mask)
    assert np.array_equal(decode_mask((folder / "masks" / f"{KEY}.png").read_bytes()), painted)
    assert json.loads(files[f"{KEY}.json"]) == pair.facts()
    screenshot(page, "edit-desktop")


def test_the_keyboard_does_everything_but_the_stroke(page, before, folder):
    paint_around(page, before.mask)
    keys(page, "Enter")
    is_done(page)
    keys(page, "Control+s")
    expect(page.locator("#saved")).to_have_text(f"saved in {folder}")
    keys(page, "c")
    expect(page.locator("#hatch")).to_have_attribute("aria-pressed", "false")
    keys(page, "?")
    expect(page.locator("#keys")).to_be_visible()
    keys(page, "Escape")
    expect(page.locator("#keys")).not_to_be_visible()


def test_undo_takes_the_paint_back_and_redo_brings_its_result(page, before):
    paint_around(page, before.mask)
    keys(page, "Enter")
    run = is_done(page)
    after = pixels_of(page, "after")
    keys(page, "Control+z")
    expect(page.locator("#figures")).to_have_text("The paint has changed since: apply it again.")
    expect(page.locator("#apply")).to_be_disabled()
    expect(page.locator("#save")).to_be_disabled()
    keys(page, "Control+y")
    assert is_done(page) == run
    assert np.array_equal(pixels_of(page, "after"), after)


def test_a_fill_gives_a_whole_region_another_class_and_erasing_takes_it_back(page, before, dataset):
    labels = factory.open_dataset(dataset).labels
    rows, columns = np.nonzero(before.mask == 1)
    middle = (columns[len(columns) // 2] + 0.5, rows[len(rows) // 2] + 0.5)
    keys(page, "f", "1")
    page.mouse.click(*spot(page, *middle))
    wanted = pixels_of(page, "wanted")
    assert (wanted == labels[1].colour).all(axis=2).sum() < 0.5 * len(rows)
    keys(page, "0")
    page.mouse.click(*spot(page, *middle))
    expect(page.locator("#apply")).to_be_disabled()
    assert not np.array_equal(pixels_of(page, "wanted"), wanted)


def test_an_edit_shows_how_far_it_is_and_can_be_stopped(page, before, session):
    page.locator("#steps").fill("200")
    paint_around(page, before.mask)
    keys(page, "Enter")
    expect(page.locator("#news")).to_have_text(
        re.compile(r"^Step [0-9]+ of 200; IoU with the wanted")
    )
    expect(page.locator("#apply")).to_be_disabled()
    keys(page, "Escape")
    expect(page.locator("#news")).to_have_text("Stopped.")
    expect(page.locator("#apply")).to_be_enabled()
    assert session.progress.state == "stopped"
    assert session.progress.done < 200


def test_an_edit_that_another_page_has_started_is_told_in_a_line(page, visits, before, session):
    painted = paint_around(page, before.mask)
    session.start(painted, EditSettings(steps=2000))
    keys(page, "Enter")
    expect(page.locator("#news")).to_have_text("another edit is running; stop it, or wait for it")
    expect(page.locator("#news")).to_have_class("problem")
    visits.complaints.clear()  # the browser notes the status 409


def test_a_folder_that_cannot_be_written_is_told_and_the_result_stays(page, before, folder, visits):
    folder.write_text("a file")
    paint_around(page, before.mask)
    keys(page, "Enter")
    is_done(page)
    keys(page, "Control+s")
    expect(page.locator("#news")).to_have_text(re.compile("cannot write"))
    expect(page.locator("#saved")).to_have_text("not saved yet")
    visits.complaints.clear()


def test_a_phone_paints_with_a_finger_and_sees_the_result(visits, address, before, screenshot):
    page = ready(
        visits.open(address, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    )
    left, top, right, bottom = box_of(before.mask)
    page.locator("#colours button").nth(1).tap()
    for column in (left, right):
        for row in range(top, bottom + 1, 2):
            page.touchscreen.tap(*spot(page, column + 0.5, row + 0.5))
    page.locator("#apply").tap()
    is_done(page)
    expect(page.locator("#after")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    screenshot(page, "edit-phone")


def test_the_page_is_dark_where_the_system_is(visits, address, before, screenshot):
    page = ready(visits.open(address, viewport=DESKTOP, color_scheme="dark"))
    paint_around(page, before.mask)
    keys(page, "Enter")
    is_done(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"[0-9]+", ground))) < 150
    screenshot(page, "edit-dark")


def test_the_page_reaches_only_its_own_server(page, visits, address, before):
    paint_around(page, before.mask)
    keys(page, "Enter")
    is_done(page)
    own = address.partition("?")[0]
    assert all(request.startswith(own) for request in visits.requests if request != "data:,")
    assert not any(TOKEN in request for request in visits.requests[1:])


@pytest.mark.slow
def test_the_command_opens_the_page_and_ends_with_its_signal(dataset, tmp_path, visits):
    words = [*("edit", str(dataset), KEY, "--page", "--no-open", "--trust-plugins")]
    with subprocess.Popen(
        [sys.executable, "-m", "factory", *words, "-o", str(tmp_path / "pair")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as started:
        ready(visits.open(started.stdout.readline().strip(), viewport=DESKTOP))
        visits.close()
        started.send_signal(signal.SIGINT)
        told = started.stdout.read()
    assert started.returncode == 0
    assert "pairs are saved to" in told
