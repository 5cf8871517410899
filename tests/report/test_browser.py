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


def test_text_sorts_with_numbers_in_their_order(opened: Browser) -> None:
    opened.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    opened.click("#table-groups_first thead tr:last-child th:nth-child(1) button")
    names = column(opened, "table-groups_first", 0)
    assert [int(name.split("_")[1].split()[0]) for name in names] == list(range(3))


def test_hovering_a_point_shows_name_mos_and_cues(opened: Browser) -> None:
    canvas = "[data-run='0'] canvas[data-score='q']"
    opened.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", canvas)
    opened.settle()  # the scroll's own event hides what is shown
    # the middle of the canvas may hold no point: go where the page has drawn one, as a user does by eye
    spot = opened.js(
        """const c = document.querySelector(arguments[0]), g = c.getContext('2d'), r = devicePixelRatio;
        const d = g.getImageData(0, 0, c.width, c.height).data;
        for (let y = Math.round(30 * r); y < c.height - 60 * r; y++)
          for (let x = Math.round(80 * r); x < c.width - 20 * r; x++) {
            const rgb = d.slice(4 * (y * c.width + x), 4 * (y * c.width + x) + 3);
            if (Math.max(...rgb) - Math.min(...rgb) > 90)
              return [x / r - c.clientWidth / 2, y / r - c.clientHeight / 2];
          }""",
        canvas,
    )
    opened.hover(canvas, round(spot[0]), round(spot[1]))
    tip = opened.js("const t = document.getElementById('tip'); return t.hidden ? null : t.innerText")
    assert tip is not None and ".png" in tip
    for word in ("MOS", "Similarity cue", "Magnitude cue", "Predicted score", "group", "gen_"):
        assert word in tip
    opened.hover("h1", 0, 0)
    assert opened.js("return document.getElementById('tip').hidden") is True


def test_arrow_keys_step_through_the_points(opened: Browser) -> None:
    opened.js("document.querySelector(\"[data-run='0'] canvas[data-score='q_mag']\").focus()")
    opened.settle()
    seen = []
    for key in ("\ue014", "\ue014", "\ue010", "\ue011"):  # right, right, end, home
        opened.press(key)
        seen.append(opened.js("return document.querySelector('#tip b').textContent"))
    assert len(set(seen[:3])) == 3 and seen[3] == seen[0]


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


def test_a_group_can_be_singled_out(opened: Browser) -> None:
    picture = "return document.querySelector(\"[data-run='%d'] canvas\").toDataURL()"
    for run, act in (
        (0, "document.querySelector(\"[data-run='0'] .legend button\").click()"),
        (
            1,
            "const s = document.querySelector(\"[data-run='1'] select\");"
            "s.value = '3'; s.dispatchEvent(new Event('change'))",
        ),
    ):
        before = opened.js(picture % run)
        opened.js(act)
        assert opened.js(picture % run) != before


def test_no_console_error_and_nothing_loaded(opened: Browser) -> None:
    opened.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    opened.hover("[data-run='0'] canvas", 0, 0)
    opened.js("return new Promise(r => setTimeout(r, 300))")
    assert [entry["message"] for entry in opened.log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in opened.log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [opened.call("GET", "/url")]


def test_dark_and_light_have_their_own_colors(opened: Browser) -> None:
    found = set()
    for scheme in ("light", "dark"):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": feature})
        found.add(opened.js("return getComputedStyle(document.body).backgroundColor"))
    assert len(found) == 2


def test_rows_are_filtered_by_all_words_typed(opened: Browser) -> None:
    opened.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    field = "document.querySelector('#table-ablations').closest('figure').querySelector('input')"
    opened.js(f"const i = {field}; i.value = 'REFERENCE'; i.dispatchEvent(new Event('input'))")
    rows = "[...document.querySelectorAll('#table-ablations tbody tr')].filter(r => !r.hidden)"
    shown = opened.js(f"return {rows}.map(r => r.cells[0].textContent)")
    assert len(shown) == 1 and "0.50 (reference)" in shown[0]
    assert opened.js(f"return {field}.nextSibling.textContent").startswith("1 of 2")


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
