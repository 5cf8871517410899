"""The report's page in a real, headless Chromium: a script in a copy of it acts, and tells what it sees."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from runs import NASTY, write_ablation, write_run

from magiqa.report.report import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.long, pytest.mark.skipif(not CHROMIUM, reason="needs chromium")]

HEAD = """<script>
  const errors = [];
  addEventListener("error", (event) => errors.push(event.message));
  addEventListener("securitypolicyviolation", (event) => errors.push(event.blockedURI));
</script>"""
ACTS = """<script>addEventListener("load", async () => {
  const all = (css) => [...document.querySelectorAll(css)];
  const head = all("#table-agreement thead tr:last-child th")[1];
  const column = () => all("#table-agreement tbody tr").map((row) => Number(row.cells[1].dataset.v));
  const seen = { errors, names: JSON.parse(document.getElementById("data").textContent).runs[0].names };
  seen.sorted = [[head.ariaSort, column()]];
  for (let k = 0; k < 3; k += 1) {
    head.querySelector("button").click();
    seen.sorted.push([head.ariaSort, column()]);
  }
  seen.legend = all("[data-run='0'] .legend button")[0].textContent;
  seen.scripts = all("main script").length;
  seen.unopened = all("[data-run='0'] details.images img").map((image) => image.naturalWidth);
  all("details").forEach((details) => { details.open = true; });
  const images = all("[data-run='0'] details.images img");
  images.forEach((image) => { image.loading = "eager"; });
  while (!images.every((image) => image.naturalWidth)) await new Promise((done) => setTimeout(done, 50));
  seen.widths = images.map((image) => image.naturalWidth);
  seen.titles = all("[data-run='0'] details.images h4").map((title) => title.textContent);
  const canvas = all("[data-run='0'] canvas")[0], box = canvas.getBoundingClientRect();
  const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  canvas.dispatchEvent(new PointerEvent("pointermove", at));
  seen.page = document.documentElement.scrollWidth;
  const scroll = head.closest(".scroll");
  scroll.scrollLeft = 9999;
  const first = scroll.querySelector("tbody th").getBoundingClientRect();
  seen.first = first.left - scroll.getBoundingClientRect().left;
  seen.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  seen.loaded = seen.loaded.filter((name) => !name.startsWith("data:"));
  parent.postMessage(seen, "*");
});</script>"""
FRAME = """<iframe src="{page}" width="{width}" height="900"></iframe>
<script>addEventListener("message", (event) => {{ document.body.textContent = JSON.stringify(event.data); }});</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("report")
    first = write_run(base / "first", images=base / "images")
    second = write_run(
        base / "second", images=base / "images", noise=2.0, seed=5, choices={"fusion": "product"}, groups=12
    )
    report([first, second, write_ablation(base / "grid", points=21)], base / "out")
    text = (base / "out" / "report.html").read_text()
    (base / "acts.html").write_text(
        text.replace("<head>", f"<head>{HEAD}").replace("</body>", f"{ACTS}</body>")
    )
    return base / "acts.html"


def look(page: Path, width: int) -> dict[str, Any]:
    """Return what the page's script tells in a frame of a width."""
    outer = page.with_name(f"{width}.html")
    outer.write_text(FRAME.format(page=page.name, width=width))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += [
        "--window-size=1500,1000",
        "--virtual-time-budget=20000",
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    command = [str(CHROMIUM), *options, "--dump-dom", outer.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r"<body>(.*)</body>", dom, re.S)[1]))


@pytest.mark.parametrize("width", [1400, 390])
def test_tables_sort_the_gallery_opens_and_nothing_is_loaded_or_over_the_edge(page: Path, width: int) -> None:
    seen = look(page, width)
    (_, before), (down, falling), (up, rising), (back, after) = seen["sorted"]
    assert (down, up, back) == ("descending", "ascending", "none")
    assert rising == sorted(before) != before and falling == rising[::-1] and after == before
    assert set(seen["unopened"]) == {0} and len(seen["widths"]) == 72 and set(seen["widths"]) == {48}
    titles = ["Overrated by the predicted score", "Underrated by the predicted score"]
    assert seen["titles"][:2] == titles
    assert seen["names"][0] == NASTY and seen["legend"] == "gen_0 <&$>" and seen["scripts"] == 0
    assert seen["errors"] == [] and seen["loaded"] == []
    assert seen["page"] <= width and abs(seen["first"]) < 2
