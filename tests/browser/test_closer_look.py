"""The closer look at a class, and the review of names, in a real browser."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect
from small_label import serving, small_material
from test_label_page import name_of, ready, shown

from factory.label.closer import CloserLook
from factory.label.page import kept_page
from factory.label.server import NAMER
from factory.segment.tree.labels_file import encode_labels_file, read_labels_file
from factory.segment.tree.mixture import parts_of
from factory.segment.tree.suggest import suggest_cuts
from factory.spec.labels import LabelsSpec

NAMES = ("ground", "disc", "core", "rim")
DESK = {"width": 1280, "height": 900}


@pytest.fixture
def labels(tmp_path):
    return tmp_path / "labels.yaml"


@pytest.fixture
def page(visits, labels):
    with serving(labels) as address:
        yield ready(visits.open(address, viewport=DESK))
        visits.close()


def cut_of(count):
    tree = small_material().tree
    return tree.by_size(tree.flat_cut(count))


def is_shown(page):
    expect(page.locator("#closer")).to_have_attribute("data-state", "shown")


def look_at(page, node):
    page.locator(f'#classes li[data-key="{node}"] .share').click()
    page.keyboard.press("v")
    is_shown(page)


def an_inner_node():
    """A node of the suggested cut that has children and pixels, and its position."""
    tree = small_material().tree
    cut = cut_of(suggest_cuts(tree).num_classes)
    return next((node, at) for at, node in enumerate(cut) if node >= tree.num_leaves)


def test_a_closer_look_says_where_a_class_lies_how_large_it_is_and_what_its_parts_are(
    page, screenshot
):
    node, at = an_inner_node()
    look_at(page, node)
    cut = [[one] for one in cut_of(suggest_cuts(small_material().tree).num_classes)]
    figures = small_material().survey.measure(cut)[at]
    expect(page.locator("#closer-name")).to_have_text(f"cluster_{node}")
    share = re.escape(f"{100 * figures.share:.0f}")
    images = re.escape(f"{100 * figures.images:.0f}")
    expect(page.locator("#closer-facts")).to_have_text(
        re.compile(rf"^{share}(\.\d)? % of the pixels · in {images} % of 24 pictures$")
    )
    first, second = parts_of(small_material().tree, [node])
    expect(page.locator("#closer-parts button")).to_have_text(
        [f"1: node {first}", f"2: node {second}"]
    )
    rows = page.locator(".enlarged")
    indices = [int(row.get_attribute("data-index")) for row in rows.all()]
    assert indices == [*figures.typical, *figures.doubtful]
    expect(page.locator("#closer-pictures h3").first).to_have_text("most typical pictures")
    place = page.locator("#closer-map").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    red = np.array(place).reshape(32, 32, 4)[..., 0]
    wanted = figures.place.numpy()
    assert np.corrcoef(red.ravel(), wanted.ravel())[0, 1] > 0.8
    screenshot(page, "closer")


def test_pictures_are_enlarged_fourfold_and_show_parts_and_changes_at_their_pixels(page):
    node, at = an_inner_node()
    look_at(page, node)
    cut = [[one] for one in cut_of(suggest_cuts(small_material().tree).num_classes)]
    row = page.locator(".enlarged").first
    look = CloserLook(small_material().renderer)
    index = int(row.get_attribute("data-index"))
    image, (inside, parts) = look.image(index), look.masks(index, cut, at)
    side = len(image)
    picture, _, coloured, changed = (pixels_of(canvas) for canvas in row.locator("canvas").all())
    assert picture.shape == (4 * side, 4 * side, 3)
    assert np.array_equal(picture, image.repeat(4, 0).repeat(4, 1))
    # At the middle of an enlarged pixel no line is drawn.
    middle = coloured[2::4, 2::4]
    yellow, blue = (middle[..., 0] > middle[..., 2]), (middle[..., 2] > middle[..., 0])
    assert np.array_equal(yellow, parts == 1)
    assert np.array_equal(blue, parts == 2)
    smaller = 1 + int((parts == 2).sum() <= (parts == 1).sum())
    magenta = (changed[2::4, 2::4] - np.array([255, 0, 200])) ** 2
    becomes = (inside == 1) & (parts == smaller)
    assert np.array_equal(magenta.sum(axis=2) < 8000, becomes)
    assert f"{becomes.sum()} px become" in row.locator("figcaption").nth(3).inner_text()
    page.keyboard.press("+")
    assert pixels_of(row.locator("canvas").first).shape[0] == 6 * side
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert pixels_of(row.locator("canvas").first).shape[0] == 2 * side


def pixels_of(canvas):
    data = canvas.evaluate(
        "c => [c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    return np.array(data[1:]).reshape(-1, data[0], 4)[..., :3]


def test_one_goes_through_classes_and_down_to_leaves_by_keyboard_alone(page):
    tree = small_material().tree
    node, _ = an_inner_node()
    look_at(page, node)
    first = parts_of(tree, [node])[0]
    page.keyboard.press("1")
    expect(page.locator("#closer-node")).to_have_text(f"node {first}")
    expect(page.locator("#closer-name")).to_have_text(f"part {first} of cluster_{node}")
    is_shown(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#closer-node")).to_have_text(f"node {node}")
    seen = {page.locator("#closer-node").inner_text()}
    for _ in range(2):
        page.keyboard.press("ArrowDown")
        is_shown(page)
        seen.add(page.locator("#closer-node").inner_text())
    assert seen == {f"node {one}" for one in cut_of(3)}
    while page.locator("#closer-node").inner_text() != f"node {node}":
        page.keyboard.press("ArrowUp")
    page.keyboard.press("s")
    expect(page.locator("#closer")).to_be_hidden()
    shown(page, 4)
    page.keyboard.press("v")
    expect(page.locator("#closer")).to_be_hidden()  # nothing is chosen: the class is no more
    page.keyboard.press("ArrowDown")
    page.keyboard.press("v")
    is_shown(page)
    page.keyboard.press("Escape")
    expect(page.locator("#closer")).to_be_hidden()
    expect(page.locator("#classes li.chosen")).to_have_count(1)


def test_a_report_looks_closer_at_a_class_as_the_page_does(visits, labels, tmp_path, screenshot):
    """The same figures, pictures and parts; a part apart is for the page alone."""
    report = tmp_path / "report.html"
    report.write_bytes(kept_page(small_material()))
    node, _ = an_inner_node()
    seen = {}
    with serving(labels) as address:
        for name, where in (("page", address), ("report", report.as_uri())):
            page = ready(visits.open(where, viewport=DESK))
            look_at(page, node)
            expect(page.locator(".enlarged canvas").first).to_be_visible()
            seen[name] = (
                page.locator("#closer").inner_text(),
                [pixels_of(canvas).tobytes() for canvas in page.locator("#closer canvas").all()],
            )
        screenshot(page, "report-closer")
        visits.close()
    assert len(seen["report"][1]) > 8
    assert seen["report"][1] == seen["page"][1]
    words = [text.replace("Split\n", "") for text, _ in seen.values()]
    assert words[0] == words[1]
    assert all(url.startswith(("file:", "data:", "http://127.0.0.1:")) for url in visits.requests)


def test_a_report_marks_mixed_classes_goes_to_no_part_and_says_where_it_has_no_closer_look(
    visits, tmp_path, monkeypatch
):
    monkeypatch.setattr("factory.label.kept._MOST_CLASSES", 3)
    monkeypatch.setattr("factory.label.kept._MOST_SUGGESTED", 1)
    report = tmp_path / "report.html"
    report.write_bytes(
        kept_page(small_material()).replace(b'"is_foreign": false', b'"is_foreign": true')
    )
    page = ready(visits.open(report.as_uri(), viewport=DESK))
    node, _ = an_inner_node()
    expect(page.locator("#classes .warning:visible").first).to_be_visible()
    look_at(page, node)
    expect(page.locator("#closer-warnings li").first).to_contain_text("⚠ mixes: ")
    expect(page.locator("#closer-parts button").first).to_be_disabled()
    expect(page.locator("#closer-split")).to_be_hidden()
    page.keyboard.press("1")
    expect(page.locator("#closer-node")).to_have_text(f"node {node}")
    page.keyboard.press("ArrowDown")
    is_shown(page)
    expect(page.locator("#closer-node")).not_to_have_text(f"node {node}")


def test_a_hostile_name_stays_text_in_the_closer_look(page):
    node, _ = an_inner_node()
    hostile = "<img src=x onerror=document.title='owned'>"
    page.locator(f'#classes li[data-key="{node}"] input[type=text]').fill(hostile)
    page.keyboard.press("Escape")
    look_at(page, node)
    expect(page.locator("#closer-name")).to_have_text(hostile)
    page.keyboard.press("2")
    is_shown(page)
    assert page.locator("#closer header img").count() == 0
    assert "owned" not in page.title()


def test_a_class_with_a_part_of_another_is_marked_and_the_part_is_named(visits, labels, screenshot):
    """Two parts of the tree are exchanged between classes, as by somebody who looked away."""
    labels.write_bytes(encode_labels_file(mixed_up()))
    with serving(labels) as address:
        page = ready(visits.open(address, viewport=DESK), 4)
        warned = page.locator("#classes li", has=page.locator(".warning:visible"))
        expect(warned.first).to_be_visible()
        warned.first.locator(".warning").click()
        is_shown(page)
        expect(page.locator("#closer-warnings li").first).to_contain_text("⚠ mixes: ")
        expect(page.locator("#closer-parts .problem").first).to_be_visible()
        screenshot(page, "mixed")
        visits.close()


def mixed_up():
    """Names for four nodes: the class that holds a foreign part is found by trying all pairs."""
    survey, nodes = small_material().survey, cut_of(4)
    for one in range(4):
        for other in range(one):
            rest = [node for at, node in enumerate(nodes) if at not in {one, other}]
            groups = [[nodes[one], nodes[other]], *([node] for node in rest)]
            if any(part.is_foreign for found in survey.measure(groups) for part in found.parts):
                return named(groups)
    raise AssertionError("no two of these nodes are unlike")


def named(groups):
    return LabelsSpec.model_validate(
        {
            "tree": small_material().tree.digest(),
            "labels": [
                {"name": name, "colour": f"#{at}0{at}0{at}0", "nodes": nodes}
                for at, (name, nodes) in enumerate(zip(NAMES, groups, strict=False))
            ],
        }
    )


@pytest.fixture
def reviewed(visits, labels):
    first, *others = [[node] for node in cut_of(4)]
    labels.write_bytes(encode_labels_file(named([first + others.pop(), *others])))
    with serving(labels, reviewer="anna") as address:
        yield ready(visits.open(address, viewport=DESK), 4)
        visits.close()


def test_a_reviewer_confirms_and_disputes_every_node_by_keyboard(
    reviewed, labels, visits, screenshot
):
    page = reviewed
    nodes = [node for label in read_labels_file(labels).labels for node in label.nodes]
    is_shown(page)
    expect(page.locator("#given")).to_have_text(f"node {nodes[0]} is named ground")
    expect(page.locator("#closer-name")).to_have_text(f"{nodes[0]}: ground?")
    page.keyboard.press("y")
    expect(page.locator("#given")).to_have_text(f"node {nodes[1]} is named ground")
    page.keyboard.press("d")
    page.keyboard.type("disc")
    page.keyboard.press("Enter")
    expect(page.locator("#reviewed")).to_have_text("3 of 4 · 2 looked at, 1 disputed")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#said")).to_have_text("you said disc")
    is_shown(page)
    screenshot(page, "review")
    found = [
        (one.who, one.node, one.verdict, one.proposed) for one in read_labels_file(labels).reviews
    ]
    assert found == [
        ("anna", nodes[0], "confirmed", None),
        ("anna", nodes[1], "disputed", "disc"),
    ]
    page.keyboard.press("Escape")
    expect(name_of(page, 0)).to_be_disabled()
    expect(page.locator("#save")).to_be_hidden()


def test_a_name_that_is_none_is_refused_and_nothing_is_written(reviewed, labels, visits):
    before = labels.read_bytes()
    is_shown(reviewed)
    reviewed.keyboard.press("d")
    reviewed.keyboard.type("<b>")
    reviewed.keyboard.press("Enter")
    expect(reviewed.locator("#review-news")).to_contain_text("Not saved: ")
    expect(reviewed.locator("#review-news")).to_contain_text("a name is words of letters")
    assert labels.read_bytes() == before
    assert "422" in visits.complaints.pop()


@pytest.fixture
def disputed(reviewed, labels, visits):
    """The page of whoever names, after anna has said that the second node is a disc."""
    is_shown(reviewed)
    reviewed.keyboard.press("y")
    expect(reviewed.locator("#reviewed")).to_contain_text("1 looked at")
    reviewed.keyboard.press("d")
    reviewed.keyboard.type("disc")
    reviewed.keyboard.press("Enter")
    expect(reviewed.locator("#reviewed")).to_contain_text("2 looked at")
    with serving(labels) as address:
        yield ready(visits.open(address, viewport=DESK), 4)
        visits.close()


def test_a_disputed_name_is_shown_to_whoever_names_and_can_be_taken(disputed, labels, screenshot):
    node = read_labels_file(labels).labels[0].nodes[1]
    line = disputed.locator("#disputes li")
    expect(line).to_contain_text(f": node {node} is disc, not ground")
    screenshot(disputed, "disputed")
    line.get_by_role("button", name="Look").click()
    expect(disputed.locator("#closer-name")).to_have_text(f"part {node} of ground")
    disputed.keyboard.press("Escape")
    line.get_by_role("button", name="Take disc").click()
    disputed.keyboard.press("Control+s")
    expect(disputed.locator("#news")).to_contain_text("Saved 3 classes")
    expect(disputed.locator("#disputes li")).to_have_count(0)
    found = read_labels_file(labels)
    names = {node: label.name for label in found.labels for node in label.nodes}
    assert names[node] == "disc"
    assert len(found.reviews) == 2, "what was said stays in the file"
    assert found.find_disputes() == []


def test_a_disputed_name_can_be_kept_and_the_file_says_so(disputed, labels):
    disputed.locator("#disputes").get_by_role("button", name="Keep ground").click()
    expect(disputed.locator("#disputes li")).to_have_count(0)
    last = read_labels_file(labels).reviews[-1]
    assert (last.who, last.verdict, last.proposed) == (NAMER, "kept", None)
    disputed.keyboard.press("Control+s")
    expect(disputed.locator("#news")).to_contain_text("Saved")


def test_there_is_nothing_to_review_without_names(visits, labels):
    with serving(labels, reviewer="anna") as address:
        page = visits.open(address, viewport=DESK)
        expect(page.locator("#news")).to_contain_text("There are no names to review yet")
        visits.close()
