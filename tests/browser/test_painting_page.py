"""The painting page as a person uses it: strokes on a canvas and keys, in a real browser."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml
from painted import linear_section
from playwright.sync_api import expect
from small_job import small_document
from small_painting import NAMES, TOKEN, paint_exactly, saved, serving, toy_masks, toy_pictures
from typer.testing import CliRunner

from factory.cli.app import app
from factory.data import IGNORE
from factory.label.painting.superpixels import find_superpixels
from factory.pack.image import decode_image, encode_mask

SIDE = 32
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture
def folder(tmp_path):
    return toy_pictures(tmp_path)


@pytest.fixture
def address(folder, visits):
    with serving(folder) as address:
        yield address
        visits.close()


@pytest.fixture
def page(visits, address):
    return ready(visits.open(address, viewport=DESKTOP))


def ready(page, name=NAMES[0]):
    expect(page.locator("body")).to_have_attribute("data-ready", "yes")
    shows(page, name)
    return page


def shows(page, name):
    expect(page.locator("#canvas")).to_have_attribute("data-name", name)


def spot(page, x, y):
    """Where on the screen a place of the whole picture is, in pixels of the picture."""
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


def click(page, x, y):
    page.mouse.click(*spot(page, x, y))


def keys(page, *pressed):
    for key in pressed:
        page.keyboard.press(key)


def thin(page):
    """The smallest brush, by its key."""
    keys(page, "[", "[", "[", "[")
    expect(page.locator("#width-px")).to_have_text("1 px")


def is_saved(page, name=NAMES[0]):
    expect(page.locator("#saved")).to_have_text(f"saved in masks/{name}.png")


def outline(page, key, low=8, high=20):
    """A closed square of one pixel's width."""
    keys(page, "b", key)
    corners = [(low, low), (high, low), (high, high), (low, high), (low, low)]
    drag(page, *((x + 0.5, y + 0.5) for x, y in corners))


def open_mask():
    return np.full((SIDE, SIDE), IGNORE, dtype=np.uint8)


def test_a_stroke_is_saved_as_its_class_and_the_rest_as_not_painted(page, folder):
    thin(page)
    keys(page, "2")
    drag(page, (4.5, 6.5), (11.5, 6.5))
    is_saved(page)
    wanted = open_mask()
    wanted[6, 4:12] = 1
    assert np.array_equal(saved(folder, NAMES[0]), wanted)
    expect(page.locator("#progress")).to_have_text("1 of 5 painted")


def test_a_wide_brush_paints_a_disc(page, folder):
    keys(page, "1", "]", "]")
    expect(page.locator("#width-px")).to_have_text("5 px")
    click(page, 16.5, 16.5)
    is_saved(page)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc = np.hypot(rows - 16, columns - 16) <= 2.4
    assert np.array_equal(saved(folder, NAMES[0]) == 0, disc)


def test_an_outline_is_filled_and_what_lies_around_it(page, folder):
    thin(page)
    outline(page, "3")
    keys(page, "f", "3")
    click(page, 14.5, 14.5)
    keys(page, "1")  # the tool stays: another class fills as well
    click(page, 2.5, 2.5)
    is_saved(page)
    wanted = np.zeros((SIDE, SIDE))
    wanted[8:21, 8:21] = 2
    assert np.array_equal(saved(folder, NAMES[0]), wanted)


def test_a_fill_does_not_slip_through_a_diagonal_line(page, folder):
    thin(page)
    keys(page, "2")
    drag(page, (0.1, 0.1), (31.9, 31.9))
    keys(page, "f", "1")
    click(page, 20.5, 5.5)
    is_saved(page)
    found = saved(folder, NAMES[0])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    assert (found[columns > rows + 1] == 0).all()
    assert (found[rows > columns + 1] == IGNORE).all()


def test_erased_pixels_are_open_again(page, folder):
    thin(page)
    outline(page, "2")
    keys(page, "e")
    drag(page, (8.5, 8.5), (20.5, 8.5))
    expect(page.locator("#saved")).to_have_class("")
    is_saved(page)
    found = saved(folder, NAMES[0])
    assert (found[8] == IGNORE).all()
    assert (found[9:21, 8] == 1).all()


def test_ignore_is_a_colour_and_is_never_class_0(page, folder):
    thin(page)
    keys(page, "f", "1")
    click(page, 5.5, 5.5)
    keys(page, "b", "0")
    drag(page, (4.5, 6.5), (11.5, 6.5))
    expect(page.locator("#saved")).to_have_class("")
    is_saved(page)
    found = saved(folder, NAMES[0])
    assert (found[6, 4:12] == IGNORE).all()
    assert (found != IGNORE).sum() == SIDE * SIDE - 8
    expect(page.locator("#colours .share").last).to_have_text("0.8 %")


def test_undo_and_redo_are_saved_too(page, folder):
    thin(page)
    keys(page, "2")
    drag(page, (4.5, 6.5), (11.5, 6.5))
    is_saved(page)
    first = saved(folder, NAMES[0])
    drag(page, (4.5, 9.5), (11.5, 9.5))
    is_saved(page)
    keys(page, "Control+z")
    is_saved(page)
    assert np.array_equal(saved(folder, NAMES[0]), first)
    keys(page, "Control+z")
    expect(page.locator("#saved")).to_have_text("nothing painted, no file")
    assert not (folder / "masks" / f"{NAMES[0]}.png").exists()
    expect(page.locator("#undo")).to_be_disabled()
    page.locator("#redo").click()
    page.locator("#redo").click()
    expect(page.locator("#redo")).to_be_disabled()
    is_saved(page)
    assert (saved(folder, NAMES[0]) == 1).sum() == 16


def test_enlarged_and_moved_a_stroke_paints_what_is_under_it(page, folder):
    thin(page)
    page.mouse.move(*spot(page, 8, 8))
    page.mouse.wheel(0, -600)  # e^1.5 times as large; the place under the pointer stays
    x, y = spot(page, 8, 8)
    pixel = (spot(page, 1, 0)[0] - spot(page, 0, 0)[0]) * np.exp(1.5)
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(x + 2 * pixel, y + pixel)
    page.mouse.up()
    page.keyboard.up(" ")
    keys(page, "2")
    page.mouse.click(x + 0.5 * pixel, y + 0.5 * pixel)
    is_saved(page)
    assert np.argwhere(saved(folder, NAMES[0]) == 1).tolist() == [[7, 6]]
    keys(page, "w")
    click(page, 20.5, 21.5)
    expect(page.locator("#colours .share").nth(1)).to_have_text("0.2 %")
    is_saved(page)
    assert saved(folder, NAMES[0])[21, 20] == 1


def test_with_snap_a_touch_paints_a_whole_superpixel(page, folder, screenshot):
    with page.expect_response(re.compile("superpixels")):
        keys(page, "s")
    expect(page.locator("#canvas")).to_have_attribute("data-snap", "fine")
    thin(page)
    keys(page, "2")
    click(page, 16.5, 16.5)
    is_saved(page)
    screenshot(page, "painting-superpixels")
    picture = decode_image((folder / "pictures" / f"{NAMES[0]}.png").read_bytes())
    regions = find_superpixels(picture, 3)
    assert np.array_equal(saved(folder, NAMES[0]) == 1, regions == regions[16, 16])


def test_pictures_are_chosen_in_the_list_and_by_keys(page, folder):
    thin(page)
    click(page, 3.5, 3.5)
    page.locator(f'#thumbs button[data-name="{NAMES[3]}"]').click()
    shows(page, NAMES[3])
    assert (saved(folder, NAMES[0]) == 0).sum() == 1  # saved before the other was opened
    keys(page, "p")
    shows(page, NAMES[2])
    keys(page, "n")
    shows(page, NAMES[1])  # the first that is not painted
    page.locator(f'#thumbs button[data-name="{NAMES[0]}"]').click()
    shows(page, NAMES[0])
    expect(page.locator("#colours .share").first).to_have_text("0.1 %")


def suggested(page, name):
    shows(page, name)
    canvas = page.locator("#canvas")  # the fit takes half a second, on an idle machine
    expect(canvas).to_have_attribute("data-suggested", "true", timeout=30_000)


def test_after_three_pictures_the_next_is_suggested_and_saved_when_it_is_accepted(
    visits, folder, screenshot
):
    paint_exactly(folder, NAMES[:3])
    with serving(folder) as address:
        page = ready(visits.open(address, viewport=DESKTOP), NAMES[3])
        suggested(page, NAMES[3])
        screenshot(page, "painting-suggested")
        expect(page.locator("#news")).to_contain_text("Hatched: suggested")
        assert not (folder / "masks" / f"{NAMES[3]}.png").exists()
        thin(page)
        keys(page, "2")
        drag(page, (2.5, 2.5), (9.5, 2.5))  # a correction, which alone is saved
        is_saved(page, NAMES[3])
        assert (saved(folder, NAMES[3]) != IGNORE).sum() == 8
        keys(page, "0")
        drag(page, (2.5, 4.5), (9.5, 4.5))
        keys(page, "Enter")
        expect(page.locator("#accept")).to_be_disabled()
        expect(page.locator("#saved")).to_have_class("")
        is_saved(page, NAMES[3])
        found, truth = saved(folder, NAMES[3]), toy_masks(folder)[NAMES[3]].copy()
        assert (found[4, 2:10] == IGNORE).all()
        truth[2, 2:10], truth[4, 2:10] = 1, IGNORE
        assert (found == truth).mean() > 0.97
        keys(page, "n")
        suggested(page, NAMES[4])
        visits.close()


def hint_of(page, name):
    """What the page's server suggests."""
    found = page.evaluate(
        "async ([name, token]) => [...new Uint8Array(await (await fetch(`/suggestion?name=${name}`, "
        "{ headers: { Authorization: `Bearer ${token}` } })).arrayBuffer())]",
        [name, TOKEN],
    )
    return np.array(found).reshape(SIDE, SIDE)


def test_a_suggested_region_is_taken_or_filled_by_a_click_and_the_rest_discarded(visits, folder):
    paint_exactly(folder, NAMES[:3])
    with serving(folder) as address:
        page = ready(visits.open(address, viewport=DESKTOP), NAMES[3])
        suggested(page, NAMES[3])
        hint = hint_of(page, NAMES[3])
        keys(page, "t")
        click(page, 0.5, 0.5)
        is_saved(page, NAMES[3])
        found = saved(folder, NAMES[3])
        taken = found != IGNORE
        assert taken[0, 0]
        assert 10 < taken.sum() < SIDE * SIDE
        assert (found[taken] == hint[0, 0]).all()
        assert (hint[taken] == hint[0, 0]).all()
        row, column = np.argwhere(~taken & (hint != hint[0, 0]))[0]
        wanted = int(hint[row, column] == 0)
        keys(page, "f", str(wanted + 1))
        click(page, column + 0.5, row + 0.5)
        keys(page, "Escape")
        expect(page.locator("#accept")).to_be_disabled()
        expect(page.locator("#saved")).to_have_class("")
        is_saved(page, NAMES[3])
        assert saved(folder, NAMES[3])[row, column] == wanted
        visits.close()


@pytest.fixture
def takes_refusals(visits):
    """A refused request is a complaint of the browser as well: those tests ask for one."""
    yield
    visits.complaints = [one for one in visits.complaints if "409 (Conflict)" not in one]


@pytest.mark.usefixtures("takes_refusals")
def test_a_mask_that_changed_on_disk_is_not_overwritten_unasked(page, folder):
    thin(page)
    keys(page, "2")
    click(page, 3.5, 3.5)
    is_saved(page)
    theirs = np.full((SIDE, SIDE), 2, np.uint8)
    file = folder / "masks" / f"{NAMES[0]}.png"
    file.write_bytes(encode_mask(theirs))
    click(page, 6.5, 6.5)
    expect(page.locator("#conflict")).to_be_visible()
    assert np.array_equal(saved(folder, NAMES[0]), theirs)
    page.locator("#theirs").click()
    expect(page.locator("#colours .share").nth(2)).to_have_text("100.0 %")
    file.write_bytes(encode_mask(np.full((SIDE, SIDE), 0, np.uint8)))
    keys(page, "2")
    click(page, 6.5, 6.5)
    expect(page.locator("#conflict")).to_be_visible()
    page.locator("#mine").click()
    is_saved(page)
    theirs[6, 6] = 1
    assert np.array_equal(saved(folder, NAMES[0]), theirs)


def test_what_another_tool_painted_is_shown_and_kept(visits, folder):
    mask = toy_masks(folder)[NAMES[0]]
    (folder / f"{NAMES[0]}.png").write_bytes(encode_mask(mask))
    with serving(folder) as address:
        page = ready(visits.open(address, viewport=DESKTOP), NAMES[1])
        page.locator(f'#thumbs button[data-name="{NAMES[0]}"]').click()
        shows(page, NAMES[0])
        words = f"painted in {NAMES[0]}.png; remove that file"
        expect(page.locator("#news")).to_contain_text(words)
        share = f"{100 * (mask == 0).mean():.1f} %"
        expect(page.locator("#colours .share").first).to_have_text(share)
        click(page, 5, 5)
        expect(page.locator("#undo")).to_be_disabled()
        visits.close()
    assert not (folder / "masks").exists()


def test_two_fingers_enlarge_and_paint_nothing(visits, address, folder, screenshot):
    phone = {"width": 390, "height": 844}
    page = ready(visits.open(address, viewport=phone, has_touch=True, device_scale_factor=2))
    screenshot(page, "painting-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    x, y = spot(page, 16, 16)
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *places):
        points = [{"x": x + dx, "y": y + dy, "id": at} for at, (dx, dy) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (-20, 0))
    fingers("touchMove", (-30, 0))  # a stroke, until the second finger comes
    fingers("touchStart", (-30, 0), (30, 0))
    for step in range(1, 7):
        fingers("touchMove", (-30 - 10 * step, 0), (30 + 10 * step, 0))
    fingers("touchEnd")
    expect(page.locator("#undo")).to_be_disabled()
    keys(page, "[", "[", "2")
    page.touchscreen.tap(x + 45, y + 5)  # 45 px are 4 pixels of a whole picture, fewer of this
    is_saved(page)
    ((row, column),) = np.argwhere(saved(folder, NAMES[0]) == 1)
    assert row == 16
    assert column in {16, 17}


def test_in_the_dark_and_without_anything_from_elsewhere(visits, address, screenshot):
    page = ready(visits.open(address, viewport=DESKTOP, color_scheme="dark"))
    screenshot(page, "painting-dark")
    keys(page, "?")
    expect(page.locator("#keys")).to_be_visible()
    screenshot(page, "painting-keys")
    keys(page, "Escape")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ground))) < 150
    own = address.partition("?")[0]
    assert all(url.startswith((own, "data:", "blob:")) for url in visits.requests)


@pytest.mark.slow
def test_from_the_command_to_a_dataset(tmp_path, monkeypatch, visits):
    monkeypatch.chdir(tmp_path)
    section = dict(linear_section(tmp_path / "unused"), annotations="painted")
    document = small_document(tmp_path, {"dataset.segmenter": section})
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    sampled = CliRunner().invoke(app, ["sample", "job.yaml", "--n", "3", "--pool", "8"])
    assert sampled.exit_code == 0, sampled.output
    process = subprocess.Popen(
        [sys.executable, "-m", "factory", "paint", "job.yaml", "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
    )
    address = process.stdout.readline().strip()
    words = "masks are saved to painted/masks as you paint; Ctrl+C ends\n"
    assert process.stdout.readline() == words
    page = visits.open(address, viewport=DESKTOP)
    expect(page.locator("body")).to_have_attribute("data-ready", "yes")
    name = page.locator("#canvas").get_attribute("data-name")
    for place in range(len(section["classes"])):
        keys(page, "b", str(place + 1))
        drag(page, (4, 4 + 6 * place), (28, 4 + 6 * place))
    is_saved(page, name)
    visits.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()
    result = CliRunner().invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 0, result.output
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert [one["name"] for one in labels["labels"]] == section["classes"]


def test_a_job_of_another_kind_says_which_kind_is_painted(tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(small_document(tmp_path)))
    result = CliRunner().invoke(app, ["paint", str(tmp_path / "job.yaml")])
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {tmp_path}/job.yaml: dataset.segmenter: found kind 'kmeans'; pictures are painted for "
        "kind: linear with `annotations` and `classes`\n"
    )


def test_a_job_without_pictures_says_how_they_are_made(tmp_path):
    section = linear_section(tmp_path / "painted")
    document = small_document(tmp_path, {"dataset.segmenter": section})
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    result = CliRunner().invoke(app, ["paint", str(tmp_path / "job.yaml")])
    assert result.exit_code == 2
    assert "make the folder with `factory sample`" in result.stderr
    assert "Traceback" not in result.stderr
