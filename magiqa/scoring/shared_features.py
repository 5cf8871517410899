"""Scores of many runs on one data set, whatever differs in them: features that they share are had once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from magiqa.backbones.alike import alike
from magiqa.errors import UserError
from magiqa.features.features import Features
from magiqa.features.source import encoded_together, prepare_together
from magiqa.runs.config import RunConfig
from magiqa.runs.provenance import Clock
from magiqa.scoring.score import score_many

# a job whose features must be had, and the positions of those that use them
Source = tuple[RunConfig, list[int]]


def _alone(kinds: tuple[str, ...]) -> bool:
    """Whether such views alone are cut from an image that is not upscaled, where others are."""
    return kinds in (("whole",), ("center_crop",))


def _part_of(job: RunConfig, source: RunConfig) -> bool:
    """Whether a job's features are among those of another."""
    return (
        (job.method.backbone, job.source, job.machine)
        == (source.method.backbone, source.source, source.machine)
        and replace(job.method.views, kinds=source.method.views.kinds) == source.method.views
        and set(job.method.views.kinds) <= set(source.method.views.kinds)
        and (
            job.method.views.small == "error"
            or _alone(job.method.views.kinds) == _alone(source.method.views.kinds)
        )
    )


def sources(jobs: Sequence[RunConfig]) -> list[Source]:
    """The jobs whose features must be had, and the positions of those that use each."""
    out: list[Source] = []
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].method.views.kinds)):
        users = next((users for source, users in out if _part_of(jobs[i], source)), None)
        if users is None:
            users = []
            out.append((jobs[i], users))
        users.append(i)
    return out


def together(needed: Sequence[Source]) -> list[list[Source]]:
    """Sources in groups that one pass over the images encodes: all windows of a group once."""
    groups: list[list[Source]] = []
    for one in needed:
        group = next((g for g in groups if encoded_together(g[0][0], one[0])), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(one)
    return groups


def _same_features(group: Sequence[RunConfig]) -> list[str]:
    """What to tell of backbones that are spelled in several ways and give the same features."""
    first = group[0].method
    ways = list(dict.fromkeys(job.method.backbone for job in group))
    if len(ways) == 1:
        return []
    reasons = dict.fromkeys(alike(first.backbone, way, first.views.window) for way in ways[1:])
    spelled = ", ".join(way.positional_embedding for way in ways)
    return [
        f"backbone.positional_embedding={spelled}: the same features, encoded once ({'; '.join(reasons)})"
    ]


def same_images(first: Features, other: Features) -> None:
    """Refuse features whose images differ: a paired difference needs the same ones.

    Raises:
        UserError: they do.
    """
    if first.images != other.images:
        raise UserError(
            f"dataset {first.labels.name}: variants kept {len(first.images)} and {len(other.images)} images, a paired "
            "difference needs the same ones; mend or remove the unreadable images"
        )


def score_all(
    jobs: Sequence[RunConfig], clock: Clock, score: str = "q", *, progress: bool = True
) -> tuple[Features, np.ndarray]:
    """Scores (M, N) of jobs on one data set, whatever differs in them; features of the first job's source.

    Encodes only what no other job's features hold.
    """
    matrix: np.ndarray | None = None
    kept: Features | None = None
    for group in together(sources(jobs)):
        clock.warnings += _same_features([source for source, _ in group])
        every = prepare_together([source for source, _ in group], clock, progress=progress)
        for features, (_, users) in zip(every, group, strict=True):
            if kept is not None:
                same_images(kept, features)
            with clock.stage("score"):
                part = score_many(features, [jobs[i].method for i in users], (score,))[score]
            if matrix is None:
                matrix = np.empty((len(jobs), part.shape[1]))
            matrix[users] = part
            kept = features if kept is None or 0 in users else kept
    assert matrix is not None and kept is not None
    return kept, matrix
