"""Fill the feature cache and nothing else.

magiqa encode [GROUP=OPTION] [KEY=VALUE]
magiqa encode -m backbone=rn50,vit_b_32 dataset=koniq

part=I/N encodes the I-th of N parts of the set: jobs on a cluster fill one cache side by side. What was encoded before
a stop stays; the same command goes on from there.

  magiqa encode dataset=koniq dataset.root=~/koniq10k backbone=rn50 part=3/8
"""

from magiqa.cli.given import Given
from magiqa.config.sweep import sweep_jobs


def run(given: Given) -> int:
    """Encode one job, or those of ``-m``: all are checked before the first begins."""
    every = sweep_jobs(given.typed) if given.multirun else [given.typed]
    jobs = [given.configs.job(overrides) for overrides in every]
    from magiqa.features.source import prepare
    from magiqa.runs.record import Clock

    for job in jobs:
        clock = Clock()
        features = prepare(job, clock)
        record = features.record
        engine = " ".join(str(record["engine"][k]) for k in ("engine", "precision", "device"))
        print(
            f"{record['dataset']['name']}: {len(features.images)} images, {record['views']['count']} views, "
            f"{record['cache']['views_encoded']} of them new; {engine}; {features.cache.folder}"
        )
        for one in features.skipped:
            print(f"left out: {one['reason']}")
        for warning in clock.warnings:
            print(f"warning: {warning}")
    return 0
