"""Check of a data set: every image is read once; what is missing, unreadable or doubled is named."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.datasets.base import DataSet, Labels, NoAnnotation, count_note, duplicates, sets
from magiqa.errors import UnreadableImage, UserError, some
from magiqa.images.decode import FORMATS, LIMITS, Limits, open_image, read_image
from magiqa.progress import progress_bar

WINDOW = 224


@dataclass(frozen=True)
class CheckReport:
    """The state of a data set's folder.

    Args:
        facts: (name, text) in the order to show. problems: what keeps ``magiqa evaluate`` from running as is, or from
            running on the published set. warnings: what a user must know of a set that can be used.
    """

    facts: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Tell that nothing stands against evaluating on this set."""
        return not self.problems


def check(dataset: Labels | DataSet, *, progress: bool = True, limits: Limits = LIMITS) -> CheckReport:
    """Read the labels and fully decode every image.

    Args:
        dataset: labels, or a reader to load them with. progress: a bar on stderr. limits: of an image's pixels.

    Raises:
        UserError: the annotation cannot be read (no root, no file, wrong columns, no number as MOS).
    """
    labels = dataset if isinstance(dataset, Labels) else dataset.load()
    resize = getattr(dataset, "resize", None)
    table = labels.table
    names = {path: name for path, name in zip(table["path"], table["image"], strict=True) if path}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda path: _digest(path, limits), names)
        bar = progress_bar(results, total=len(names), desc="check", unit="image", shown=progress)
        digests = dict(zip(names, bar, strict=True))
    good = {path: result for path, result in digests.items() if not isinstance(result, UnreadableImage)}
    sizes = {path: size for path, (_, size) in good.items()}
    same: dict[str, list[str]] = {}
    for path, (digest, _) in good.items():
        same.setdefault(digest, []).append(names[path])
    missing = table.loc[table["path"] == "", "image"].tolist()
    unreadable = [str(e) for e in digests.values() if isinstance(e, UnreadableImage)]
    twins = ["=".join(several) for several in same.values() if len(several) > 1]
    small = [names[p] for p, s in sizes.items() if (resize.size if resize else min(s)) < WINDOW]
    readable = int(table["path"].isin(list(good)).sum())  # rows, of which several may share a file
    counts = f"{readable} good, {len(missing)} missing, {len(table) - readable - len(missing)} unreadable"
    problems = {
        f"{count_note(labels)}: complete or replace the annotation file": count_note(labels),
        f"{len(missing)} images are missing: {some(missing)}": missing,
        f"{len(unreadable)} images cannot be read: {some(unreadable, '; ')}": unreadable,
    }
    twice = duplicates(table["image"])
    warnings = {
        f"{len(twins)} images are there under more than one name: {some(twins)}": twins,
        f"{len(twice)} images are annotated more than once: {some(twice)}": twice,
        f"{len(small)} images have a side under {WINDOW} and need views.small=upscale where views have windows of that "
        f"size: {some(small)}": small,
    }
    return CheckReport(
        facts=_facts(labels, resize, list(sizes.values()), counts, limits),
        problems=tuple(text for text, names in problems.items() if names),
        warnings=(*labels.warnings, *(text for text, names in warnings.items() if names)),
    )


def render(report: CheckReport) -> str:
    """Return the report as text: facts, warnings, problems, the verdict."""
    lines = [
        *report.facts,
        *(("warning", w) for w in report.warnings),
        *(("PROBLEM", p) for p in report.problems),
    ]
    width = max(len(name) for name, _ in lines)
    text = [f"{name:<{width}}  {words}" for name, words in lines]
    return "\n".join([*text, "usable" if report.usable else "NOT usable as it is"])


def recognize(folder: str) -> list[tuple[str, str]]:
    """Return the known sets that a folder may be: name, and what is there or what is missing.

    A set counts if its annotation is there, or if the folder is called as the set unpacks.
    """
    ranked = []
    for name, reader in sets(on_disk=True).items():
        rank = (0, 0)
        try:
            labels = reader(folder).load()
            present, count = int((labels.table["path"] != "").sum()), len(labels.table)
            rank = present, -abs(count - (labels.expected or count))
            text = f"{count} of {labels.expected} images annotated, {present} there; {labels.layout}"
        except NoAnnotation as error:
            if Path(folder).expanduser().name.lower() != reader.folder.lower():
                continue
            text = f"by the folder's name; {error}"
        except UserError as error:
            text = f"perhaps; {error}"
        ranked.append((rank, name, f"{reader.title}: {text}"))
    return [(name, text) for _, name, text in sorted(ranked, reverse=True)]


def _digest(path: str, limits: Limits) -> tuple[str, tuple[int, int]] | UnreadableImage:
    """Return sha256 and (width, height) of an image that decodes fully, else the reason why not."""
    try:
        data = read_image(path)
        return hashlib.sha256(data).hexdigest(), open_image(data, path, limits).size
    except UnreadableImage as error:
        return error


def _facts(
    labels: Labels, resize: Any, sizes: Sequence[tuple[int, int]], counts: str, limits: Limits
) -> tuple[tuple[str, str], ...]:
    table, y = labels.table, labels.table[labels.label].to_numpy(float)
    direction = (
        "higher = better"
        if labels.higher_is_better
        else "lower = better as distributed, negated by the reader"
    )
    annotated = f"{labels.annotated} annotated" + (
        f" of {labels.expected} expected" if labels.expected else ""
    )
    subset = f"; {len(table)} of them looked at (every={labels.every})" if labels.every > 1 else ""
    facts = {
        "data set": " ".join(filter(None, [labels.name, labels.variant])),
        "layout": labels.layout,
        "images": f"{annotated}{subset}; {counts}",
        "label": f"{labels.label} {y.min():.4g} to {y.max():.4g}, {len(np.unique(y))} different values; {direction}",
        "groups": "",
        "clusters": f"{table[labels.cluster].nunique()} x {labels.cluster}" if labels.cluster else "",
        "sizes": _sizes(sizes),
        "read here": f"{', '.join(FORMATS.values())}; up to {limits.pixels:,} pixels",
        "resize": f"{resize.mode} {resize.size} {resize.filter}" if resize is not None else "",
    }
    if "group" in table:
        groups = table["group"].value_counts(sort=False)
        facts["groups"] = f"{len(groups)}: " + ", ".join(f"{group} {n}" for group, n in groups.items())
    notes = [("note", note) for note in labels.notes if note != count_note(labels)]
    page = [("get it from", labels.page)] if labels.page else []
    return (*((name, text) for name, text in facts.items() if text), *notes, *page)


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    if not sizes:
        return "no image was read"
    counts = Counter(sizes)
    (width, height), common = counts.most_common(1)[0]
    rest = f" ({common} of {len(sizes)}; {len(counts)} sizes)" if len(counts) > 1 else ""
    return f"{width}x{height}{rest}; shortest side {min(map(min, sizes))}, longest {max(map(max, sizes))}"
