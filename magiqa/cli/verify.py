"""Whether a bundle is what it claims: labels, weights, prompts, and the features of some images encoded anew.

magiqa verify BUNDLE dataset.root=DIR [backbone.checkpoint=FILE] [seed=N] [KEY=VALUE]

Paths of the bundle itself are never used. Which images are drawn differs each time, unless seed=N says.

  magiqa verify mine.safetensors dataset.root=~/koniq10k
"""

import sys

from magiqa.cli.given import Given
from magiqa.errors import UserError


def run(given: Given) -> int:
    """Verify; exit code 2 where the bundle is not what it claims."""
    from magiqa.studies.verify import verify

    words = given.words
    if len(words) != 1:
        raise UserError(
            "verify: give one bundle: magiqa verify FILE dataset.root=DIR [backbone.checkpoint=FILE]"
        )
    typed_seed = Given(given.command, tuple(o for o in given.overrides if o.startswith("seed="))).keys(
        ("seed",)
    )
    seed = given.whole(typed_seed, "seed", 0) if typed_seed else None
    rest = [o for o in given.overrides if not o.startswith("seed=")]
    job = given.configs.job([f"bundle={words[0]}", *rest])
    typed = [o.partition("=")[0] for o in rest]
    places = {
        "dataset.root": getattr(job.source.dataset, "root", None),
        "backbone.checkpoint": job.method.backbone.checkpoint,
        "backbone.name": job.method.backbone.name if ":" in job.method.backbone.name else None,
    }
    for key, theirs in places.items():  # a bundle's own paths are never used
        if theirs and key not in typed and not (key == "dataset.root" and job.choices["dataset"] == "sample"):
            raise UserError(
                f"verify: add {key}=PATH, where it lies on this machine (the bundle has {theirs})"
            )
    problems, done = verify(words[0], job, seed=seed)
    print(
        f"{words[0]}: {done['labels']} labels compared; {done['images']} images encoded anew (seed={done['seed']}), "
        f"largest difference {done['largest_difference']:.2g} of {done['tolerance']:g} allowed"
    )
    for problem in problems:
        print(problem, file=sys.stderr)
    print("this bundle is NOT what it claims" if problems else "this bundle is what it claims")
    return 2 if problems else 0
