"""Score many runs on one data set; load the features that they share only once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from magiqa.errors import UserError
from magiqa.features.images import Features
from magiqa.features.source import prepare
from magiqa.method.rivals import Rival
from magiqa.runs.config import RunConfig
from magiqa.runs.provenance import Clock
from magiqa.scoring.score import score_many

Source = tuple[RunConfig, list[int]]


def _alone(kinds: tuple[str, ...]) -> bool:
    """Return whether views of these kinds are never upscaled."""
    return kinds in (("whole",), ("center_crop",))


def _part_of(job: RunConfig, source: RunConfig) -> bool:
    """Return whether the features of a source include those of a job."""
    return (
        (job.method.backbone, job.source, job.machine)
        == (source.method.backbone, source.source, source.machine)
        and replace(job.method.views, kinds=source.method.views.kinds) == source.method.views
        and set(job.method.views.kinds) <= set(source.method.views.kinds)
        # statistics of reference images are of a job's own views
        and not (isinstance(job.method.magnitude, Rival) and job.method.views != source.method.views)
        and (
            job.method.views.small == "error"
            or _alone(job.method.views.kinds) == _alone(source.method.views.kinds)
        )
    )


def sources(jobs: Sequence[RunConfig]) -> list[Source]:
    """Return the jobs that must be encoded, each with the positions of the jobs that use its features."""
    out: list[Source] = []
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].method.views.kinds)):
        users = next((users for source, users in out if _part_of(jobs[i], source)), None)
        if users is None:
            users = []
            out.append((jobs[i], users))
        users.append(i)
    return out


def same_images(first: Features, other: Features) -> None:
    """Check that two sets of features are of the same images, as a paired difference needs.

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
    """Return the features of the first job and the scores (M, N) of all jobs on one data set.

    Jobs that differ in prompts, magnitude, fusion or pooling share their features.
    """
    first: Features | None = None
    parts: dict[int, np.ndarray] = {}
    for source, users in sources(jobs):
        features = prepare(source, clock, progress=progress)
        if first is not None:
            same_images(first, features)
        with clock.stage("score"):
            scores = score_many(features, [jobs[i].method for i in users], (score,))[score]
        parts.update(zip(users, scores, strict=True))
        if first is None or 0 in users:
            first = features
    assert first is not None
    return first, np.stack([parts[i] for i in range(len(jobs))])
