"""The report's page in a real, headless Chromium, driven over WebDriver's plain HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, DRIVER, Browser
from runs import NASTY, write_ablation, write_run

from magiqa.report.report import report

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("report")
    first = write_run(base / "first", images=base / "images")
    second = write_run(
        base / "second", images=base / "images", noise=2.0, seed=5, choices={"fusion": "product"}, groups=12
    )
    grid = write_ablation(base / "grid", points=21)
    report([first, second, grid], base / "out")
    return base / "out" / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.log("browser"), browser.log("performance")
    browser.open(page.as_uri())
    assert browser.js("return document.documentElement.dataset.ready") == "true"
    return browser


def column(browser: Browser, table: str, k: int) -> list[str]:
    rows = "[...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
    return browser.js(f"return {rows}.map(row => row.cells[arguments[1]].dataset.v)", table, k)


def test_a_header_sorts_by_pointer_and_by_keyboard(opened: Browser) -> None:
    before = [float(v) for v in column(opened, "table-agreement", 1)]
    header = "#table-agreement thead tr:last-child th:nth-child(2)"
    head = f"return document.querySelector('{header}').getAttribute('aria-sort')"
    opened.click(f"{header} button")
    assert [float(v) for v in column(opened, "table-agreement", 1)] == sorted(before, reverse=True) != before
    assert opened.js(head) == "descending"
    opened.press("\ue007")  # enter, on the button that the click focused
    assert opened.js(head) == "ascending"
    assert [float(v) for v in column(opened, "table-agreement", 1)] == sorted(before)
    opened.press("\ue007")
    assert opened.js(head) == "none"
    assert [float(v) for v in column(opened, "table-agreement", 1)] == before


def test_the_gallery_opens_with_images_in_both_directions(opened: Browser) -> None:
    gallery = "[data-run='0'] details.images"
    loaded = "return [...document.querySelectorAll(`${arguments[0]} img`)].map(i => i.naturalWidth)"
    assert set(opened.js(loaded, gallery)) == {0}
    opened.click(f"{gallery} > summary")
    images = "[...document.querySelectorAll(`${arguments[0]} img`)]"
    decoded = f"{images}.map(i => {{ i.loading = 'eager'; return i.decode(); }})"
    opened.js(f"return Promise.all({decoded})", gallery)
    widths = opened.js(loaded, gallery)
    assert len(widths) == 72 and set(widths) == {48}
    titles = opened.js(
        "return [...document.querySelectorAll(`${arguments[0]} h4`)].map(h => h.textContent)", gallery
    )
    assert titles[:2] == ["Overrated by the predicted score", "Underrated by the predicted score"]


def test_names_are_shown_as_they_are(opened: Browser) -> None:
    assert (
        opened.js("return JSON.parse(document.getElementById('data').textContent).runs[0].names[0]") == NASTY
    )
    assert opened.js("return document.querySelectorAll('main script, main b script').length") == 0
    text = opened.js("return document.querySelector(\"[data-run='0'] .legend button\").textContent")
    assert text == "gen_0 <&$>"


def test_no_console_error_and_nothing_loaded(opened: Browser) -> None:
    opened.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    opened.hover("[data-run='0'] canvas", 0, 0)
    opened.js("return new Promise(r => setTimeout(r, 300))")
    assert [entry["message"] for entry in opened.log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in opened.log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [opened.call("GET", "/url")]


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_and_wide_tables_scroll_inside(opened: Browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    opened.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
    try:
        opened.settle()
        assert opened.js("return document.documentElement.scrollWidth") <= width
        first = (
            "const s = document.querySelector('#table-agreement').closest('.scroll'); s.scrollLeft = 9999;"
        )
        held = (
            "return s.querySelector('tbody th').getBoundingClientRect().left - s.getBoundingClientRect().left"
        )
        assert abs(opened.js(f"{first} {held}")) < 2
    finally:
        opened.call(
            "POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}}
        )
