"""Is a data set complete and usable? Every image is read once; what is missing, unreadable or there twice is named."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from magiqa.datasets.base import Labels, count_note
from magiqa.errors import UnreadableImage
from magiqa.images.decode import FORMATS, LIMITS, Limits, open_image, read_image
from magiqa.progress import progress_bar

WINDOW = 224
SHOWN = 5


class Reader(Protocol):
    """A data set's config object."""

    def load(self) -> Labels:
        """Read the labels."""


@dataclass(frozen=True)
class CheckReport:
    """What a data set's folder holds.

    Args:
        facts: (name, text) in the order to show. problems: what keeps ``magiqa evaluate`` from running as is, or from
            running on the published set. warnings: what a user must know of a set that can be used.
        missing, small: image names. unreadable: name and reason. twins: names of files with the same content.
    """

    facts: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    twins: tuple[tuple[str, ...], ...]
    small: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing stands against evaluating on this set."""
        return not self.problems


def check(
    dataset: Labels | Reader,
    *,
    progress: bool = True,
    workers: int | None = None,
    limits: Limits = LIMITS,
) -> CheckReport:
    """Read the labels and fully decode every image.

    Args:
        dataset: labels, or a reader to load them with. progress: a bar on stderr, in a log a line now and then.
        workers: threads.
        limits: of an image's pixels.

    Raises:
        UserError: the annotation cannot be read at all (no root, no file, wrong columns, no number as MOS).
    """
    labels = dataset if isinstance(dataset, Labels) else dataset.load()
    resize = None if isinstance(dataset, Labels) else getattr(dataset, "resize", None)
    table = labels.table
    name_of = {p: n for p, n in zip(table["path"], table["image"], strict=True) if p}
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        bar = progress_bar(
            pool.map(lambda path: _look(path, limits), name_of),
            total=len(name_of),
            desc="check",
            unit="image",
            shown=progress,
        )
        looked = dict(zip(name_of, bar, strict=True))

    missing = tuple(table.loc[table["path"] == "", "image"])
    unreadable = tuple((name_of[p], str(r)) for p, r in looked.items() if isinstance(r, UnreadableImage))
    good = {p: r for p, r in looked.items() if not isinstance(r, UnreadableImage)}
    same: dict[str, list[str]] = {}
    for path, (digest, _) in good.items():
        same.setdefault(digest, []).append(name_of[path])
    twins = tuple(tuple(names) for names in same.values() if len(names) > 1)
    sizes = {p: _resized(size, resize) for p, (_, size) in good.items()}
    small = tuple(name_of[p] for p, size in sizes.items() if min(size) < WINDOW)

    problems, warnings = [], []
    count = count_note(labels)
    if count:
        problems.append(f"{count}: complete or replace the annotation file")
    if missing:
        problems.append(f"{len(missing)} images are missing: {_some(missing)}")
    if unreadable:
        problems.append(
            f"{len(unreadable)} images cannot be read: {_some([why for _, why in unreadable], '; ')}"
        )
    if twins:
        pairs = ["=".join(names) for names in twins]
        warnings.append(f"{len(twins)} images are there under more than one name: {_some(pairs)}")
    twice = list(dict.fromkeys(table.loc[table["image"].duplicated(), "image"]))
    if twice:
        warnings.append(f"{len(twice)} images are annotated more than once: {_some(twice)}")
    if small:
        warnings.append(
            f"{len(small)} images have a side under {WINDOW} and need views.small=upscale where views have windows of "
            f"that size: {_some(small)}"
        )
    notes = [("note", note) for note in labels.notes if note != count]
    return CheckReport(
        facts=(
            ("data set", " ".join(filter(None, [labels.name, labels.variant]))),
            ("layout", labels.layout),
            ("images", _counts(labels, int(table["path"].isin(list(good)).sum()), len(missing))),
            ("label", _label(labels)),
            *((("groups", _groups(labels)),) if "group" in table else ()),
            *(
                (("clusters", f"{table[labels.cluster].nunique()} x {labels.cluster}"),)
                if labels.cluster
                else ()
            ),
            ("sizes", _sizes([size for _, size in good.values()])),
            ("read here", f"{', '.join(FORMATS.values())}; up to {limits.pixels:,} pixels"),
            *((("resize", f"{resize.mode} {resize.size} {resize.filter}"),) if resize is not None else ()),
            *notes,
            *((("get it from", labels.page),) if labels.page else ()),
        ),
        problems=tuple(problems),
        warnings=tuple(warnings),
        missing=missing,
        unreadable=unreadable,
        twins=twins,
        small=small,
    )


def render(report: CheckReport) -> str:
    """The report as text: facts, then warnings and problems, then the verdict."""
    width = max(len(name) for name, _ in report.facts)
    lines = [f"{name:<{width}}  {text}" for name, text in report.facts]
    lines += [f"{'warning':<{width}}  {text}" for text in report.warnings]
    lines += [f"{'PROBLEM':<{width}}  {text}" for text in report.problems]
    return "\n".join([*lines, "usable" if report.usable else "NOT usable as it is"])


def _look(path: str, limits: Limits) -> tuple[str, tuple[int, int]] | UnreadableImage:
    """sha256 and (width, height) of an image that decodes fully, else the reason why not."""
    try:
        data = read_image(path)
        return hashlib.sha256(data).hexdigest(), open_image(data, path, limits).size
    except UnreadableImage as error:
        return error


def _resized(size: tuple[int, int], resize: Any) -> tuple[int, int]:
    """A size after the data set's own resize; only its short side is exact."""
    return size if resize is None else (resize.size, resize.size)


def _some(items: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more


def _counts(labels: Labels, good: int, missing: int) -> str:
    n = len(labels.table)
    annotated = labels.annotated if labels.annotated is not None else n
    text = f"{annotated} annotated" + (
        f" of {labels.expected} expected" if labels.expected is not None else ""
    )
    text += f"; {n} of them looked at (every={labels.every})" if labels.every > 1 else ""
    return f"{text}; {good} good, {missing} missing, {n - good - missing} unreadable"


def _label(labels: Labels) -> str:
    y = labels.table[labels.label].to_numpy(float)
    direction = (
        "higher = better"
        if labels.higher_is_better
        else "lower = better as distributed, negated by the reader"
    )
    return f"{labels.label} {y.min():.4g} to {y.max():.4g}, {len(np.unique(y))} different values; {direction}"


def _groups(labels: Labels) -> str:
    counts = labels.table["group"].value_counts(sort=False)
    return f"{len(counts)}: " + ", ".join(f"{group} {n}" for group, n in counts.items())


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    if not sizes:
        return "no image was read"
    counts: dict[tuple[int, int], int] = {}
    for size in sizes:
        counts[size] = counts.get(size, 0) + 1
    common = max(counts, key=lambda s: counts[s])
    rest = f" ({counts[common]} of {len(sizes)}; {len(counts)} sizes)" if len(counts) > 1 else ""
    return (
        f"{common[0]}x{common[1]}{rest}; shortest side {min(map(min, sizes))}, longest {max(map(max, sizes))}"
    )
