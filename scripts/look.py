"""Look at a report's page as readers do: pictures at two widths, light, dark and printed, and what axe-core finds.

    npm install axe-core        anywhere; nothing else of it is needed
    python scripts/look.py results/demo/report/report.html --axe node_modules/axe-core/axe.min.js --out shots

Needs Debian's chromium and chromium-driver. Writes a picture for each 2,400 pixels of the page (its first ones),
`print.pdf`, and `found.json`: at each width and color scheme what lies over the edge and what axe finds, and the
console's errors. The exit code is 1 if anything does.
"""

import argparse
import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from chromium import Browser

WIDTHS = (1400, 390)
SCHEMES = ("light", "dark")
STEP = 2400  # pixels of the page a picture

OVER = """
const over = [];
document.querySelectorAll("body *").forEach((e) => {
  const box = e.getBoundingClientRect();
  const scrolls = e.closest(".scroll") || getComputedStyle(e).position === "fixed";
  if (box.width && box.right > arguments[0] + 1 && !scrolls) over.push(`${e.tagName} ends at ${box.right}`);
});
return over.slice(0, 10);
"""

AXE = """
return axe.run({resultTypes: ["violations"]}).then((found) => found.violations.map(
  (v) => `${v.impact}: ${v.id}, ${v.nodes.length} times, first ${v.nodes[0].html.slice(0, 150)}`));
"""


def at(browser: Browser, width: int, scheme: str, out: Path, axe: str, most: int) -> dict[str, Any]:
    """Picture the page with all of its parts open, and list what is wrong with it."""

    def do(command: str, **options: Any) -> Any:
        return browser.call("POST", "/goog/cdp/execute", {"cmd": command, "params": options})

    do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    do("Emulation.setDeviceMetricsOverride", **size)
    browser.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.settle()
    height = browser.js("return document.documentElement.scrollHeight")
    for k, y in enumerate(range(0, min(height, STEP * most), STEP)):
        clip = {"x": 0, "y": y, "width": width, "height": min(STEP, height - y), "scale": 1}
        shot = do("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        (out / f"{scheme}-{width}-{k:02d}.png").write_bytes(base64.b64decode(shot["data"]))
    found = {"height": height, "over the edge": browser.js(OVER, width)}
    if axe:
        browser.js(axe + ";0")
        found["axe"] = browser.js(AXE)
    return found


def main() -> int:
    """Take the pictures, write and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of axe-core")
    parser.add_argument(
        "--most", type=int, default=8, help="pictures of each kind: a long page takes seconds for each"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    axe = options.axe.read_text(encoding="utf-8") if options.axe else ""
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            browser.open(options.page.resolve().as_uri())
            found: dict[str, Any] = {
                f"{width} pixels, {scheme}": at(browser, width, scheme, options.out, axe, options.most)
                for scheme in SCHEMES
                for width in WIDTHS
            }
            command = {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}}
            browser.call("POST", "/goog/cdp/execute", command)
            command = {"cmd": "Page.printToPDF", "params": {"printBackground": True}}
            printed = browser.call("POST", "/goog/cdp/execute", command)
            (options.out / "print.pdf").write_bytes(base64.b64decode(printed["data"]))
            found["console"] = [e["message"] for e in browser.log("browser") if e["level"] == "SEVERE"]
        finally:
            browser.close()
    (options.out / "found.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    wrong = [
        v
        for part in found.values()
        if isinstance(part, dict)
        for v in (*part["over the edge"], *part.get("axe", []))
    ]
    return 1 if wrong or found["console"] else 0


if __name__ == "__main__":
    sys.exit(main())
