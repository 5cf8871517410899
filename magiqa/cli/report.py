"""Tables, figures and one HTML page of runs, ablations and experiments.

magiqa report DIR... out=DIR [thumbnails=false] [bundle=FILE [KEY=VALUE]]

DIR is a folder that evaluate, ablate or experiment wrote, or a folder of such. bundle=FILE evaluates a bundle first.
Writes report.html (self-contained), tables/ (CSV, Markdown, LaTeX) and figures/.

  magiqa report results/runs/sweep out=report
"""

from pathlib import Path

from magiqa.cli.given import Given
from magiqa.errors import UserError


def run(given: Given) -> int:
    """Write a report; all that was typed is checked before anything is evaluated."""
    own = [o for o in given.overrides if o.startswith(("out=", "thumbnails="))]
    keys = Given(given.command, tuple(own)).keys(("out", "thumbnails"))
    bundles = [o for o in given.overrides if o.startswith("bundle=")]
    rest = [o for o in given.overrides if o not in own and o not in bundles]
    thumbnails = given.truth(keys, "thumbnails", True)
    if rest and not bundles:
        raise UserError(f"report: {rest[0]} is not understood; it takes out=, thumbnails= and bundle=")
    if not keys.get("out"):
        raise UserError("report: out is not set: add out=DIR")
    folders = [Path(w).expanduser() for w in given.words]
    if not folders and not bundles:
        raise UserError("report: give folders written by magiqa evaluate or magiqa ablate, or bundle=FILE")
    from magiqa.report.report import report

    out = Path(keys["out"]).expanduser()
    for i, bundle in enumerate(bundles):
        from magiqa.studies.evaluate import evaluate

        folders.append(out / "runs" / f"bundle-{i}")
        evaluate(given.configs.job([*rest, bundle, f"out={folders[-1]}"]))
    written = report(folders, out, thumbnails=thumbnails)
    print(f"{out}/: report.html, tables/, figures/ ({len(written)} files)")
    return 0
