"""A picture of every page: `python -m tests.long.screens FOLDER`; two minutes, to be looked at.

Makes two small datasets, serves everything that has a page, and opens each in Chromium: on a desk
(1280 px), on a phone (390 px), and dark on both. It fails where a page is wider than its window or
complains; whether it reads well is for whoever looks at the pictures.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

import small_editing  # noqa: E402
import small_label  # noqa: E402
import small_painting  # noqa: E402
from browser.conftest import _FLAGS, _NAMES  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from factory.dataset.quarantine import Attempts  # noqa: E402
from factory.job import run_job  # noqa: E402
from factory.label.page import kept_page  # noqa: E402
from factory.serve.app import make_app  # noqa: E402
from factory.serve.folder import make_folder_app  # noqa: E402
from factory.serve.roots import FolderRoot  # noqa: E402
from factory.serve.view import DatasetView  # noqa: E402
from factory.spec.read import check_job, load_job  # noqa: E402
from factory.store import open_store  # noqa: E402
from factory.web.server import bind, serve_beside  # noqa: E402

Act = Callable[[Page], None]
WINDOWS = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    "desk-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone-dark": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "color_scheme": "dark",
    },
}


def main() -> None:
    """Make, serve, open, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="Pages whose names contain this.")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    complaints = []
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screens-")))
        pages = {
            n: page
            for n, page in stack.enter_context(every_page(scratch)).items()
            if options.only in n
        }
        playwright = stack.enter_context(sync_playwright())
        program = next(filter(None, map(shutil.which, _NAMES)))
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        for name, (address, act) in pages.items():
            for window, settings in WINDOWS.items():
                context = browser.new_context(**settings)
                page = context.new_page()
                page.on("pageerror", lambda error, at=name: complaints.append(f"{at}: {error}"))
                page.goto(address)
                act(page)
                show_all(page)
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if wide > 0:
                    complaints.append(f"{name} on {window}: {wide} px wider than the window")
                page.screenshot(path=options.folder / f"{name}-{window}.png", full_page=True)
                context.close()
        browser.close()
    print(f"{len(pages) * len(WINDOWS)} pictures in {options.folder}")
    sys.exit("\n".join(complaints))


@contextlib.contextmanager
def every_page(scratch: Path) -> Iterator[dict[str, tuple[str, Act]]]:
    """Serve everything: the address of each page, and what to do there before the picture."""
    os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
    make_datasets(scratch / "all")
    dataset = serve(make_app(DatasetView(open_store(str(scratch / "all/blood_cells"))), token=""))
    folder = serve(make_folder_app(FolderRoot(scratch / "all"), token=""))
    (scratch / "report.html").write_bytes(kept_page(small_label.small_material()))
    site = make_site(scratch / "site")
    edited = small_editing.toy_dataset(scratch / "edited")
    session = small_editing.toy_session(edited, scratch)
    with (
        small_label.serving(scratch / "labels.yaml") as label,
        small_editing.serving(session) as edit,
        small_painting.serving(small_painting.toy_pictures(scratch)) as paint,
    ):
        yield {
            "datasets": (folder, wait_for("#datasets .row")),
            "dataset": (dataset, wait_for("#gallery img")),
            "job": (dataset, click("#job-section summary")),
            "samples": (dataset, search),
            "sample": (f"{dataset}#sample/000000005", wait_for("#sample img")),
            "api": (f"{dataset}docs", wait_for("table")),
            "label": (label, wait_for("#pictures[data-cut]")),
            "label-closer": (label, look_closer),
            "label-keys": (label, click("#help")),
            "report": (f"file://{scratch}/report.html", wait_for("#pictures[data-cut]")),
            "edit": (edit, wait_for("canvas")),
            "paint": (paint, wait_for("canvas")),
            "site": (f"file://{site}/index.html", wait_for("h1")),
            "site-settings": (f"file://{site}/reference/settings/index.html", wait_for("h1")),
            "site-methods": (f"file://{site}/methods/index.html", wait_for("h1")),
        }


def make_datasets(folder: Path) -> None:
    """A dataset of cells, unfinished, with failures; and a toy one."""
    changes = {
        "dataset.num_samples": 160,
        "dataset.samples_per_shard": 16,
        "run.executor": "inline",
        "output.uri": str(folder / "blood_cells"),
    }
    run_job(load_job(ROOT / "jobs/blood_cells.yaml", changes), progress=False)
    store = open_store(str(folder / "blood_cells"))
    tasks = DatasetView(store).snapshot().plan.tasks()
    for index in (7, 9):
        name = f"{tasks[index].shard_index:06d}"
        for path in store.names("receipts"):
            if name in path:
                store.remove(path)
    attempts = Attempts(store, "a-run")
    attempts.note(tasks[7], "CUDA out of memory. Tried to allocate 2.00 GiB")
    attempts.give_up(tasks[9], "ShardError: sample 000000150 holds numbers that are not finite")
    toy = {
        "name": "smoke",
        "dataset": {
            "num_samples": 40,
            "samples_per_shard": 8,
            "generator": {"kind": "shapes"},
            "segmenter": {"kind": "kmeans", "num_clusters": 4},
        },
        "run": {"executor": "inline"},
        "output": {"uri": str(folder / "smoke")},
    }
    run_job(check_job(toy, source="smoke"), progress=False)


def make_site(folder: Path) -> Path:
    """Build the documentation as a site."""
    config = ROOT / "deploy/site/mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(config), "-d", str(folder)]
    paths = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, env=paths, check=True)
    return folder


def serve(app: Any) -> str:
    """Serve on a free port until this process ends; the address."""
    opened = bind("127.0.0.1", 0)
    serve_beside(app, opened)
    return f"http://127.0.0.1:{opened.getsockname()[1]}/"


def show_all(page: Page) -> None:
    """Scroll to the end and back: pictures load when they come into view."""
    for at in range(0, page.evaluate("document.body.scrollHeight"), 600):
        page.evaluate("at => scrollTo(0, at)", at)
        page.wait_for_timeout(40)
    page.evaluate("scrollTo(0, 0)")
    # Not `wait_for_function`: the page itself would have to evaluate the text, which its policy forbids.
    while not page.evaluate("[...document.images].every((image) => image.complete)"):
        page.wait_for_timeout(50)
    page.wait_for_timeout(200)


def wait_for(selector: str) -> Act:
    """Wait until something is there."""
    return lambda page: page.locator(selector).first.wait_for()


def click(selector: str) -> Act:
    """Click on something."""
    return lambda page: page.locator(selector).first.click()


def search(page: Page) -> None:
    """Open the filters of the gallery and use them."""
    page.get_by_role("button", name="all, by filter").click()
    page.locator("#filter").wait_for()
    page.locator("#filter button").click()
    page.locator("#gallery img").nth(3).scroll_into_view_if_needed()


def look_closer(page: Page) -> None:
    """Choose a class of the label page and look closer at it."""
    page.locator("#pictures[data-cut]").wait_for()
    page.locator("#classes .share").nth(1).click()
    page.locator("#look").click()
    page.locator("#closer[data-state=shown]").wait_for(timeout=60_000)


if __name__ == "__main__":
    main()
