"""The dashboard in a real browser: what a person sees, on a desk and on a phone."""

import json
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from fault.lab import Lab
from playwright.sync_api import expect
from small_job import make_small

from factory.dataset.quarantine import ShardFailure
from factory.derive.key_list import read_key_list
from factory.serve.app import make_app
from factory.serve.folder import make_folder_app
from factory.serve.roots import FolderRoot
from factory.serve.view import DatasetView
from factory.store import open_store
from factory.web.server import bind, serve_beside

PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A dataset with targets, served: its view and its address."""
    folder = tmp_path_factory.mktemp("dashboard")
    make_small(
        folder,
        {"dataset.coverage": {"min_samples": {"1": 15, "3": 5000}, "budget": 60}},
    )
    view = DatasetView(open_store(str(folder / "out")))
    opened = bind("127.0.0.1", 0)
    serve_beside(make_app(view, token=""), opened)
    return view, f"http://127.0.0.1:{opened.getsockname()[1]}/"


def test_the_page_shows_progress_targets_classes_and_pictures(site, visits, screenshot):
    page = visits.open(site[1])
    expect(page.locator("#name")).to_have_text("tiny")
    expect(page.locator("#state")).to_have_text("complete")
    expect(page.locator("#numbers")).to_contain_text(re.compile(r"pairs\d+ of \d+"))
    targets = page.locator("#targets .row")
    expect(targets).to_have_count(2)
    expect(targets.nth(0)).to_contain_text("met")
    expect(targets.nth(1)).to_contain_text("budget spent: 60 of 60 images")
    expect(page.locator("#classes .row")).to_have_count(4)
    expect(page.locator("#quality figure")).to_have_count(3)
    expect(page.locator("#map rect.committed").first).to_be_attached()
    tiles = page.locator("#gallery img")
    expect(tiles).to_have_count(12)
    tiles.first.scroll_into_view_if_needed()
    expect(page.locator("#gallery img").first).not_to_have_js_property("naturalWidth", 0)
    screenshot(page, "desk")


def test_nothing_is_asked_of_any_other_host(site, visits):
    page = visits.open(site[1])
    expect(page.locator("#gallery img")).to_have_count(12)
    assert visits.requests
    assert [url for url in visits.requests if not url.startswith(site[1])] == []


def test_a_pick_shows_other_samples_and_says_which_is_on(site, visits):
    page = visits.open(site[1])
    expect(page.locator("#gallery a").first).to_be_visible()
    before = page.locator("#gallery").get_attribute("data-keys")
    page.get_by_role("button", name="least confident").click()
    expect(page.locator("#gallery")).not_to_have_attribute("data-keys", before)
    expect(page.get_by_role("button", name="least confident")).to_have_attribute(
        "aria-pressed", "true"
    )
    confidences = [float(t.split()[-1]) for t in page.locator("#gallery a").all_inner_texts()]
    assert confidences == sorted(confidences)


def test_a_sample_s_page_has_its_facts_and_the_command_to_replay_it(site, visits, screenshot):
    page = visits.open(site[1])
    page.locator("#gallery a").first.click()
    expect(page.locator("#replay")).to_contain_text(re.compile(r"factory replay \S+ \d{9}$"))
    expect(page.locator("#sample table")).to_contain_text("latent cell")
    assert page.evaluate("[...document.images].every((image) => image.alt)")
    for picture in page.locator("#sample img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    screenshot(page, "sample")
    page.get_by_role("link", name="overview").click()
    expect(page.locator("#overview")).to_be_visible()


def test_an_edited_sample_is_shown_before_and_after(tmp_path, visits, screenshot):
    edit = {"change": "grow", "of": "square", "by_px": 2, "steps": 5, "learning_rate": 0.1}
    head = {"kind": "toy_head:make_toy_head"}
    make_small(tmp_path, {"dataset.segmenter": head, "dataset.edit": edit})
    opened = bind("127.0.0.1", 0)
    serve_beside(make_app(DatasetView(open_store(str(tmp_path / "out"))), token=""), opened)
    address = f"http://127.0.0.1:{opened.getsockname()[1]}/"
    page = visits.open(address)
    expect(page.locator("#gallery img").first).to_have_attribute(
        "alt", re.compile("before its edit and after")
    )
    screenshot(page, "edited-gallery")
    page.goto(f"{address}#sample/000000003")
    names = ["image", "edited", "overlay", "edited overlay", "mask", "edited mask"]
    expect(page.locator("#sample figcaption")).to_have_text(names)
    for image in page.locator("#sample img").all():
        expect(image).to_have_js_property("naturalWidth", 32)
    screenshot(page, "edited-sample")
    visits.close()


def test_a_sample_that_is_not_there_is_told_in_words(site, visits):
    page = visits.open(f"{site[1]}#sample/999999999")
    expect(page.locator("#trouble")).to_have_text("no committed shard holds sample 999999999")
    assert visits.complaints.pop().startswith("Failed to load resource")


def test_all_samples_are_shown_by_filter_a_page_at_a_time(site, visits, screenshot):
    page = visits.open(site[1])
    page.get_by_role("button", name="all, by filter").click()
    first = keys_of(page, 24)
    assert first == [f"{i:09d}" for i in range(24)]
    page.get_by_role("button", name="next page").click()
    expect(page.locator("#page-note")).to_contain_text("page 2: ")
    assert keys_of(page)[0] == "000000024"
    page.get_by_role("button", name="previous page").click()
    expect(page.locator("#page-note")).to_contain_text("page 1: ")
    assert keys_of(page, 24) == first
    expect(page.get_by_role("button", name="previous page")).to_be_disabled()
    page.locator("#filter [name=order]").select_option("last key first")
    page.locator("#filter [name=mask_class]").select_option(label="cluster_02")
    page.locator("#filter [name=min_area]").fill("5")
    page.locator("#filter [name=from_key]").fill("30")
    page.get_by_role("button", name="search").click()
    expect(page.locator("#gallery a").first).not_to_contain_text("000000000")
    assert keys_of(page)[0] <= "000000030"
    assert keys_of(page) == sorted(keys_of(page), reverse=True)
    screenshot(page, "filter")


def keys_of(page, number=None):
    if number is not None:
        expect(page.locator("#gallery a")).to_have_count(number)
    return [text.split()[0] for text in page.locator("#gallery a").all_inner_texts()]


def test_arrows_go_from_sample_to_sample_and_escape_back(site, visits):
    page = visits.open(site[1])
    page.get_by_role("button", name="all, by filter").click()
    keys_of(page, 24)
    page.locator("#gallery a").nth(23).click()
    title = page.locator("#sample h2").first
    expect(title).to_have_text("Sample 000000023")
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Sample 000000024")  # on the next page of the gallery
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("Sample 000000023")
    page.goto(f"{site[1]}#sample/000000000")
    expect(title).to_have_text("Sample 000000000")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#sample-note")).to_have_text("this is the first one")
    page.keyboard.press("Escape")
    expect(page.locator("#overview")).to_be_visible()


def test_samples_marked_as_bad_stay_in_the_browser_and_leave_as_a_list(site, visits, screenshot):
    page = visits.open(site[1])
    page.get_by_role("button", name="all, by filter").click()
    keys_of(page, 24)
    page.locator("#gallery a").nth(2).click()
    page.get_by_role("button", name="mark as bad").click()
    expect(page.locator("#sample-bad")).to_have_text("marked as bad")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sample h2").first).to_have_text("Sample 000000003")
    page.keyboard.press("b")
    page.keyboard.press("Escape")
    expect(page.locator("#gallery a.bad")).to_have_count(2)
    page.reload()
    expect(page.locator("#bad-count")).to_contain_text("2 marked as bad")
    with page.expect_download() as caught:
        page.get_by_role("button", name="download bad.txt").click()
    keys = read_key_list(Path(caught.value.path()))
    assert keys.indices == {2, 3}
    assert keys.dataset_id == site[0].snapshot().plan.dataset_id
    screenshot(page, "bad")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="clear").click()
    expect(page.locator("#bad")).to_be_hidden()


def test_plots_say_what_their_axes_are(site, visits):
    page = visits.open(site[1])
    plots = page.locator("#pace figure, #quality figure")
    expect(plots).to_have_count(6)
    for plot in plots.all():
        expect(plot.locator(".top")).to_have_text(re.compile(r"^0 to \S+ \S+"))
        expect(plot.locator(".xs span")).to_have_count(3)
    expect(page.locator("#pace figure rect").first).to_be_attached()
    expect(page.locator("#workers .row")).to_have_count(1)
    page.get_by_role("button", name="all runs").click()
    expect(page.get_by_role("button", name="all runs")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#pace figure")).to_have_count(3)


def test_the_job_and_what_failed_are_shown_as_text_never_as_markup(site, visits, screenshot):
    view, address = site
    reason = "<img src=x onerror=alert(1)> no memory at https://me:secret@host/a.pt"
    path = "attempts/0000/000001-1.json"
    failure = ShardFailure(
        dataset_id="0" * 16, name="x", round_index=0, shard_index=1, attempt=1, reason=reason,
        run_id="r", failed_at="2026-11-29T12:00:00+00:00",
    )  # fmt: skip
    view.store.create(path, failure.model_dump_json().encode())
    try:
        # An answer stands for a second, and the page of a finished dataset asks once.
        while not json.load(urlopen(f"{address}v1/failures"))["total"]:
            time.sleep(0.1)
        page = visits.open(address)
        expect(page.locator("#failures")).to_contain_text("<img src=x onerror=alert(1)> no memory")
        expect(page.locator("#failures")).not_to_contain_text("secret")
        page.get_by_text("The settings that").click()
        expect(page.locator("#job")).to_contain_text("samples_per_shard: 5")
        screenshot(page, "job")
    finally:
        view.store.remove(path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(site, visits, screenshot, scheme):
    page = visits.open(site[1], **PHONE, color_scheme=scheme, has_touch=True)
    expect(page.locator("#gallery img")).to_have_count(12)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = page.evaluate(
        """[...document.querySelectorAll('button, .row, dd, h2')]
           .filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)"""
    )
    assert cut == []
    ground, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in (ground, ink)]
    assert (lightness[0] > lightness[1]) == (scheme == "light")
    assert abs(lightness[0] - lightness[1]) > 150
    screenshot(page, f"phone-{scheme}")


def test_the_page_works_from_the_keyboard(site, visits):
    page = visits.open(site[1])
    expect(page.locator("#gallery a").first).to_be_visible()
    page.locator("#picks button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#picks button").nth(1)).to_have_attribute("aria-pressed", "true")
    page.evaluate("refresh()")
    expect(page.locator("#picks button").nth(1)).to_be_focused()  # news do not take it away
    page.locator("#gallery a").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#replay")).to_be_visible()


def test_the_page_follows_what_happens_without_being_reloaded(site, visits):
    view, address = site
    page = visits.open(address)
    expect(page.locator("#state")).to_have_text("complete")
    view.set_in_flight([0])
    expect(page.locator("#state")).to_have_text("running")
    view.set_in_flight([])
    expect(page.locator("#state")).to_have_text("complete")


def test_the_page_goes_on_when_a_hung_or_killed_service_is_back(tmp_path, visits):
    make_small(tmp_path)
    with serving(tmp_path, port=0) as (service, port):
        page = visits.open(f"http://127.0.0.1:{port}/")
        expect(page.locator("#numbers")).to_contain_text("13 of 13")
        service.send_signal(signal.SIGSTOP)  # its connections stay open, and nothing comes
        says_that_it_is_away(page)
        service.send_signal(signal.SIGCONT)
        expect(page.locator("#trouble")).to_be_hidden(timeout=60_000)
        service.kill()
        says_that_it_is_away(page)
    with serving(tmp_path, port=port):
        expect(page.locator("#trouble")).to_be_hidden(timeout=60_000)
        expect(page.locator("#numbers")).to_contain_text("13 of 13")
        page.close()
    visits.complaints.clear()


def says_that_it_is_away(page):
    away = "the service does not answer; trying again"
    expect(page.locator("#trouble")).to_have_text(away, timeout=60_000)


@contextmanager
def serving(folder, port):
    """`factory serve` of the dataset in `folder/out`, in a process of its own, and its port."""
    words = ["serve", str(folder / "out"), "--port", str(port)]
    with Lab(folder).start(*words, PYTHONUNBUFFERED="1") as service:
        try:
            yield service, int(re.findall(r":(\d+)/", service.stdout.readline())[0])
        finally:
            service.kill()


def test_a_folder_of_datasets_lists_them_with_links_to_each(tmp_path, visits, screenshot):
    make_small(tmp_path)
    (tmp_path / "out").rename(tmp_path / "<b>one")
    (tmp_path / "bad/plan").mkdir(parents=True)
    (tmp_path / "bad/plan/round-0000.json").write_text("{}")
    opened = bind("127.0.0.1", 0)
    serve_beside(make_folder_app(FolderRoot(tmp_path), token=""), opened)
    page = visits.open(f"http://127.0.0.1:{opened.getsockname()[1]}/", **PHONE)
    rows = page.locator("#datasets .row")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("<b>one")
    expect(rows.nth(0)).to_contain_text("tiny: complete, 13 of 13 pairs")
    expect(rows.nth(1)).to_contain_text("round-0000.json")
    expect(page.locator("#page-note")).to_have_text("1 to 2 of 2")
    screenshot(page, "datasets")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="one").click()
    expect(page.locator("#state")).to_have_text("complete")
    expect(page.locator("#gallery img")).to_have_count(12)
    page.get_by_role("link", name="all datasets").click()
    expect(rows).to_have_count(2)
    visits.complaints[:] = [c for c in visits.complaints if "503" not in c]
