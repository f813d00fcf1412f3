"""The label page as a person uses it, mostly by keyboard, in a real browser."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect
from small_label import serving, small_material

from factory.label.gallery import draw_gallery
from factory.label.layout import place_nodes
from factory.label.page import kept_page
from factory.segment.tree.labels_file import check_labels, read_labels_file
from factory.segment.tree.suggest import suggest_cuts


@pytest.fixture
def labels(tmp_path):
    return tmp_path / "labels.yaml"


@pytest.fixture
def address(labels, visits):
    with serving(labels) as address:
        yield address
        visits.close()


@pytest.fixture
def page(visits, address):
    page = visits.open(address, viewport={"width": 1280, "height": 900})
    return ready(page)


def ready(page, classes=None):
    expect(page.locator("body")).to_have_attribute("data-ready", "yes")
    shown(page, classes or suggest_cuts(small_material().tree).num_classes)
    return page


def shown(page, num_nodes):
    expect(page.locator("#pictures")).to_have_attribute("data-cut", str(num_nodes))


def name_of(page, place):
    return page.locator("#classes input[type=text]").nth(place)


def names(page):
    return [
        name.input_value() or name.get_attribute("placeholder")
        for name in page.locator("#classes input[type=text]").all()
    ]


def saved(labels):
    found = read_labels_file(labels)
    check_labels(found, small_material().tree)
    return {label.name: (label.colour, label.nodes) for label in found.labels}


def test_it_opens_at_the_suggested_cut_with_everything_to_see(page):
    tree = small_material().tree
    assert suggest_cuts(tree).num_classes == 3
    expect(page.locator("#count")).to_have_text("3 classes")
    iou, alike = tree.history[tree.num_leaves - 3, 2:].tolist()
    words = f"★ suggested · worst cluster IoU {iou:.3f} · likeness {alike:.3f}"
    expect(page.locator("#quality")).to_have_text(words)
    expect(page.locator("#pictures figure")).to_have_count(20)
    expect(page.locator("#tree .branch")).to_have_count(3)
    expect(page.locator("#saved")).to_contain_text("nothing saved yet; Save writes")
    assert page.title() == "tiny: names for clusters"


def test_the_slider_moves_by_keyboard_and_masks_follow(page):
    tree, gallery = small_material().tree, small_material().gallery
    page.locator("#slider").focus()
    for count in (4, 5, 6):
        page.keyboard.press("ArrowRight")
        shown(page, count)
    expect(page.locator("#count")).to_have_text("6 classes")
    cut = tree.by_size(tree.flat_cut(6))
    shares = np.bincount(gallery.masks(cut).ravel(), minlength=6) / gallery.masks(cut).size
    wanted = [f"{100 * share:.1f} %" for share in shares]
    assert page.locator("#classes .share").all_inner_texts() == wanted
    page.keyboard.press("Home")
    shown(page, 2)
    expect(page.locator("#quality")).to_have_text("nothing is left to merge")
    page.keyboard.press("End")
    shown(page, tree.num_leaves)


def test_the_canvas_shows_the_mask_of_the_cut(page):
    tree, gallery = small_material().tree, small_material().gallery
    page.locator("#opacity").evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')) }")
    pixels = (
        page.locator("canvas")
        .nth(7)
        .evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    )
    side = gallery.scores.shape[-1]
    found = np.array(pixels).reshape(side, side, 4)
    colours = {page_colour(page, place): place for place in range(3)}
    ids = [[colours[tuple(px[:3])] for px in row] for row in found.tolist()]
    assert np.array_equal(ids, gallery.masks(tree.by_size(tree.flat_cut(3)))[7])


def page_colour(page, place):
    value = page.locator("#classes input[type=color]").nth(place).input_value()
    return tuple(bytes.fromhex(value[1:]))


def test_a_click_on_a_picture_highlights_the_cluster_everywhere(page):
    tree, gallery = small_material().tree, small_material().gallery
    mask = gallery.masks(tree.by_size(tree.flat_cut(3)))[4]
    row, column = (int(place[0]) for place in np.nonzero(mask == 1))
    box = page.locator("figure").nth(4).bounding_box()
    pixel = box["width"] / mask.shape[0]
    page.mouse.click(box["x"] + (column + 0.5) * pixel, box["y"] + (row + 0.5) * pixel)
    page.mouse.move(0, 0)
    chosen = page.locator("#classes li.chosen")
    expect(chosen.locator(".id")).to_have_text("1")
    key = chosen.get_attribute("data-key")
    expect(page.locator("#tree .branch[aria-selected=true]")).to_have_attribute("data-key", key)
    expect(page.locator("#tree .branch.dim")).to_have_count(2)
    alphas = (
        page.locator("canvas")
        .nth(4)
        .evaluate(
            "c => [...new Set(new Uint32Array(c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data.buffer))].length"
        )
    )
    assert alphas <= 3  # the class, its border, and one veil over all others
    page.keyboard.press("Escape")
    expect(page.locator("#tree .branch.dim")).to_have_count(0)


def test_pointing_at_the_tree_or_the_list_highlights_too(page):
    page.locator("#tree .branch").nth(1).hover()
    expect(page.locator("#classes li.highlighted")).to_have_count(1)
    expect(page.locator("#tree .branch.dim")).to_have_count(2)
    page.locator("#classes li").nth(2).hover()
    key = page.locator("#classes li").nth(2).get_attribute("data-key")
    expect(page.locator("#tree .branch:not(.dim)")).to_have_attribute("data-key", key)


def name_and_join(page):
    """Five clusters, two of them named, the last two joined, a colour chosen."""
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    shown(page, 5)
    name_of(page, 0).focus()
    page.keyboard.type("ground")
    page.keyboard.press("Enter")
    page.keyboard.type("large square ")
    page.keyboard.press("Escape")
    expect(page.locator("#join")).to_be_disabled()
    page.locator("#classes input[type=checkbox]").nth(3).check()
    page.locator("#classes input[type=checkbox]").nth(4).check()
    page.keyboard.press("j")
    expect(page.locator("#count")).to_have_text("4 classes from 5 clusters")
    page.locator("#classes input[type=color]").nth(0).fill("#123456")


def test_what_is_unsaved_is_said_until_it_is_saved(page, labels):
    name_and_join(page)
    expect(page.locator("#saved")).to_have_text(
        "● not saved: 4 classes instead of 3; named ground, large square"
    )
    assert page.title() == "● tiny: names for clusters"
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_contain_text("Saved 4 classes at ")
    expect(page.locator("#saved")).to_have_text(f"saved in {labels}")
    assert page.title() == "tiny: names for clusters"
    page.locator("#classes input[type=color]").nth(1).fill("#654321")
    expect(page.locator("#saved")).to_have_text("● not saved: coloured large square")


def test_names_groups_and_colours_are_saved_and_come_back(
    page, labels, visits, address, screenshot
):
    name_and_join(page)
    screenshot(page, "named")
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_contain_text("Saved 4 classes at ")
    tree = small_material().tree
    order = tree.by_size(tree.flat_cut(5))
    found = saved(labels)
    assert found["ground"] == ("#123456", [order[0]])
    assert found["large square"][1] == [order[1]]
    joined = next(nodes for _, nodes in found.values() if len(nodes) == 2)
    assert joined == sorted(order[3:])
    again = ready(visits.open(address), 5)
    assert names(again) == names(page)
    expect(again.locator("#count")).to_have_text("4 classes from 5 clusters")
    expect(again.locator("#saved")).to_have_text(f"saved in {labels}")
    assert page_colour(again, 0) == (0x12, 0x34, 0x56)


def test_names_stay_when_the_slider_moves_away_and_back(page):
    name_of(page, 0).fill("alpha")
    name_of(page, 1).fill("beta")
    page.locator("#slider").focus()
    page.keyboard.press("End")
    shown(page, small_material().tree.num_leaves)
    assert "alpha" not in names(page)
    page.keyboard.press("Home")
    shown(page, 2)
    page.keyboard.press("ArrowRight")
    shown(page, 3)
    assert names(page)[:2] == ["alpha", "beta"]


def test_a_merged_cluster_is_called_after_its_parts(page):
    tree = small_material().tree
    root = next(node for node in tree.flat_cut(2) if node not in tree.flat_cut(3))
    parts = tree.by_size(tree.children(root))
    for place, node in enumerate(parts):
        page.locator(f'#classes li[data-key="{node}"] input[type=text]').fill(f"part {place}")
    page.keyboard.press("Escape")
    page.locator("#slider").focus()
    page.keyboard.press("ArrowLeft")
    shown(page, 2)
    merged = page.locator(f'#classes li[data-key="{root}"] input[type=text]')
    expect(merged).to_have_attribute("placeholder", "part 0 + part 1")
    expect(merged).to_have_value("")


def test_a_branch_is_split_and_merged_again_by_keyboard_alone(page):
    tree = small_material().tree
    branch = page.locator('#tree .branch[tabindex="0"]')
    branch.focus()
    inner = next(node for node in tree.flat_cut(3) if node >= tree.num_leaves)
    while page.evaluate("document.activeElement.dataset.key") != str(inner):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    shown(page, 4)
    keys = page.locator("#classes li").evaluate_all("all => all.map(e => Number(e.dataset.key))")
    assert set(keys) == {*tree.flat_cut(3), *tree.children(inner)} - {inner}
    page.keyboard.press("Control+z")
    shown(page, 3)
    page.keyboard.press("Control+y")
    shown(page, 4)
    page.locator(f'#classes li[data-key="{tree.children(inner)[0]}"] .share').click()
    page.keyboard.press("m")
    shown(page, 3)
    assert page.locator("#classes li").count() == 3


def test_a_cut_by_branch_says_so_and_the_slider_leaves_it(page):
    tree = small_material().tree
    split = next(
        n for n in tree.flat_cut(3) if n >= tree.num_leaves and n not in split_nodes(tree, 4)
    )
    page.locator(f'#classes li[data-key="{split}"] .share').click()
    page.keyboard.press("s")
    shown(page, 4)
    expect(page.locator("#quality")).to_have_text(
        "Cut by branch; the slider goes back to whole cuts."
    )
    page.keyboard.press("]")
    shown(page, 5)
    expect(page.locator("#quality")).to_contain_text("worst cluster IoU")


def split_nodes(tree, count):
    """The node that the flat cut at `count` has divided and the one before has not."""
    return set(tree.flat_cut(count - 1)) - set(tree.flat_cut(count))


def test_undo_takes_a_name_back_even_while_it_is_typed(page):
    name_of(page, 0).focus()
    page.keyboard.type("oops")
    page.keyboard.press("Control+z")
    expect(name_of(page, 0)).to_have_value("")
    expect(page.locator("#saved")).to_contain_text("nothing saved yet")
    expect(page.locator("#undo")).to_be_disabled()


def test_classes_with_one_name_are_pointed_out_and_not_saved(page, labels, visits):
    name_of(page, 0).fill("same")
    name_of(page, 1).fill("same")
    expect(page.locator("#twins")).to_have_text(
        "Two classes are called same: join them, or rename one."
    )
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_have_text("Not saved: labels: two classes are named 'same'")
    assert not labels.exists()
    assert "422" in visits.complaints.pop()


def test_leaving_with_unsaved_names_asks_first(page):
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    name_of(page, 0).fill("unsaved")
    page.close(run_before_unload=True)
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]


def conflict(page, labels, visits):
    name_of(page, 0).fill("mine")
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_contain_text("Saved")
    labels.write_text(labels.read_text().replace("mine", "theirs"))
    name_of(page, 1).fill("more of mine")
    page.keyboard.press("Control+s")
    expect(page.locator("#conflict")).to_be_visible()
    assert "theirs" in labels.read_text()
    assert "409" in visits.complaints.pop()


def test_a_change_on_disk_is_shown_and_theirs_can_be_loaded(page, labels, visits, screenshot):
    conflict(page, labels, visits)
    screenshot(page, "conflict")
    page.locator("#theirs").click()
    expect(name_of(page, 0)).to_have_value("theirs")
    expect(name_of(page, 1)).to_have_value("")
    expect(page.locator("#saved")).to_have_text(f"saved in {labels}")


def test_a_change_on_disk_can_be_overwritten(page, labels, visits):
    conflict(page, labels, visits)
    page.locator("#mine").click()
    expect(page.locator("#saved")).to_have_text(f"saved in {labels}")
    assert {"mine", "more of mine"} < saved(labels).keys()


def test_a_wrong_token_opens_nothing(address, visits):
    page = visits.open(re.sub("token=.*", "token=wrong", address))
    assert "a token is needed" in page.locator("body").inner_text()
    page.context.close()  # the browser asks for an icon too, whenever it likes
    assert all("401" in complaint for complaint in visits.complaints)
    visits.complaints.clear()


def test_a_server_that_is_gone_is_said(visits, labels):
    with serving(labels) as address:
        page = ready(visits.open(address))
        expect(page.locator("#classes")).to_have_attribute("data-figures", "24")
    name_of(page, 0).fill("lost?")
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_have_text(
        "Not saved: no answer: is `factory label` still running?"
    )
    expect(page.locator("#saved")).to_contain_text("● not saved")
    assert "ERR_CONNECTION_REFUSED" in visits.complaints.pop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_the_light_and_in_the_dark(visits, address, scheme, screenshot):
    page = visits.open(address, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(part) for part in re.findall(r"\d+", ground)])
    assert brightness > 200 if scheme == "light" else brightness < 60
    screenshot(page, f"phone-{scheme}")


def test_every_key_in_the_help_is_one_that_works(page):
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#classes li.chosen .id")).to_have_text("0")
    page.keyboard.press("x")
    expect(page.locator("#classes input[type=checkbox]").nth(0)).to_be_checked()
    page.keyboard.press("o")
    expect(page.locator("#opacity")).to_have_value("0")
    page.keyboard.press("Enter")
    expect(name_of(page, 0)).to_be_focused()


def test_a_key_right_after_a_dialog_closes_is_not_lost(page):
    """Until the browser next draws, the focus stays on the closed dialog's button."""
    target = page.evaluate(
        """() => {
        const keys = document.getElementById("keys");
        keys.showModal();
        keys.close();
        const target = document.activeElement;
        target.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
        return target.tagName;
    }"""
    )
    assert target == "BUTTON"
    expect(page.locator("#classes li.chosen .id")).to_have_text("0")


def test_the_page_asks_nobody_but_its_server(page, visits, address):
    host = address.split("?")[0]
    assert all(url.startswith((host, "data:")) for url in visits.requests)


def test_the_report_opens_from_a_file_and_asks_nobody(visits, tmp_path, screenshot):
    file = tmp_path / "report.html"
    file.write_bytes(kept_page(small_material()))
    page = ready(visits.open(file.as_uri(), viewport={"width": 1280, "height": 900}))
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    shown(page, 4)
    expect(page.locator("#count")).to_have_text("4 classes")
    page.locator("#classes .share").nth(0).click()
    expect(page.locator("#tree .branch.dim")).to_have_count(3)
    expect(page.locator("#save")).to_be_hidden()
    expect(name_of(page, 0)).to_be_disabled()
    page.keyboard.press("s")
    expect(page.locator("#count")).to_have_text("4 classes")
    assert all(url.startswith(("file:", "data:")) for url in visits.requests)
    screenshot(page, "report")


RANDOM_EDITS = """
async ({ nodes, seed, steps }) => {
  const naming = await import("label/naming");
  const { Tree } = await import("label/tree");
  const tree = new Tree(nodes);
  let word = seed;
  const random = (below) => {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    return Math.floor((word / 2 ** 32) * below);
  };
  let state = naming.freshState(tree, 3);
  const found = [];
  for (let step = 0; step < steps; step += 1) {
    const keys = naming.classesOf(tree, state).map(({ key }) => key);
    const key = keys[random(keys.length)];
    const other = keys[random(keys.length)];
    const edits = [
      () => naming.slide(tree, state, 2 + random(tree.numLeaves - 1)),
      () => naming.split(tree, state, key),
      () => naming.close(tree, state, key),
      () => naming.join(tree, state, [key, other]),
      () => naming.rename(state, key, ` word${step} `),
      () => naming.recolour(state, key, "#00ff0" + random(10)),
    ];
    const before = JSON.stringify(state);
    const next = edits[random(edits.length)]();
    if (JSON.stringify(state) !== before) throw new Error("an edit changed the state it was given");
    state = next;
    const labels = naming.toLabels(tree, state);
    const again = naming.toLabels(tree, naming.fromLabels(tree, labels));
    found.push({ cut: state.cut, labels, again });
  }
  return found;
}
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_any_edits_every_cluster_has_one_class_and_saving_loses_nothing(page, seed):
    tree = small_material().tree
    nodes = [
        {"id": n.id, "born": n.born, "size": n.size, "colour": n.colour, "x": n.x}
        | {"children": n.children and list(n.children)}
        for n in place_nodes(tree)
    ]
    states = page.evaluate(RANDOM_EDITS, {"nodes": nodes, "seed": seed, "steps": 150})
    assert len({len(state["labels"]) for state in states}) > 4
    for state in states:
        tree.check_cut(state["cut"])
        tree.check_cut([node for label in state["labels"] for node in label["nodes"]])
        assert state["again"] == state["labels"]


def test_other_samples_are_drawn_on_demand_and_named_like_the_first(page):
    first = page.locator("#pictures img").first
    before = first.get_attribute("src")
    expect(page.locator("#range")).to_have_text("samples 0 to 19")
    expect(page.locator("#earlier")).to_be_disabled()
    page.locator("#later").click()
    expect(page.locator("#range")).to_have_text("samples 20 to 39")
    expect(first).to_have_attribute("alt", "sample 20")
    assert first.get_attribute("src") != before
    page.keyboard.press("]")  # a cut of these samples
    shown(page, 4)
    gallery = draw_gallery(small_material().renderer, 20)
    masks = gallery.masks(small_material().tree.by_size(small_material().tree.flat_cut(4)))
    shares = [f"{100 * (masks == at).mean():.1f} %" for at in range(4)]
    expect(page.locator("#classes .share")).to_have_text(shares)
    page.keyboard.press("PageUp")
    expect(page.locator("#range")).to_have_text("samples 0 to 19")
    assert first.get_attribute("src") == before
    page.keyboard.press("PageUp")
    expect(page.locator("#range")).to_have_text("samples 0 to 19")


def test_pictures_grow_in_place(page):
    width = lambda: page.locator("#pictures figure").first.bounding_box()["width"]  # noqa: E731
    small = width()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert width() > 2 * small
    expect(page.locator("#enlarged")).to_have_value("3")
    for _ in range(9):
        page.keyboard.press("-")
    assert abs(width() - small) < 1
