"""A real browser for the tests of pages: Chromium as Debian packages it, driven by Playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Skips where there is none, unless FACTORY_BROWSER=required says that there must be one.

    Not kept for longer than a module: Playwright's event loop would be that of all later tests.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        reason = "needs Chromium: apt-get install chromium"
        if os.environ.get("FACTORY_BROWSER") == "required":
            pytest.fail(f"{reason} (FACTORY_BROWSER=required)")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


class Visits:
    """Pages that a test opened, with what they complained about and where they reached."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(self, address: str, **settings: Any) -> Page:
        context = self._browser.new_context(**settings)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(address)
        return page

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def close(self) -> None:
        """Close all pages so far: before their server ends, or they complain that it is gone."""
        while self._contexts:
            self._contexts.pop().close()


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Opens pages. The test fails if one of them leaves a complaint that it did not take."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.complaints == []


@pytest.fixture
def screenshot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Page, str], None]:
    """Keeps pictures of pages in $FACTORY_SCREENSHOTS, for people to look at."""
    folder = Path(os.environ.get("FACTORY_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=str(folder / f"{name}.png"), full_page=True)

    return keep
