"""Check a bundle against your own images, labels and weights.

magiqa verify BUNDLE dataset.root=DIR [backbone.checkpoint=FILE] [KEY=VALUE]

The command compares every label, the weights, every prompt's embedding, and
the features of some images that it encodes anew. Paths of the bundle itself are
never used. The images are drawn at random, unless seed=N is typed.

Example:
  magiqa verify mine.safetensors dataset.root=~/koniq10k

More: docs/studies.md
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from magiqa.checked import Checked, Least
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "publish"


@dataclass(frozen=True)
class VerifyKeys(Checked):
    """The keys of this command."""

    seed: Annotated[int, Least(0)] | None = None


def run(arguments: Arguments) -> int:
    """Verify; exit code 2 if the bundle is not what it claims."""
    from magiqa.studies.verify import verify

    words = arguments.words
    if len(words) != 1:
        raise UserError(
            "verify: give one bundle: magiqa verify FILE dataset.root=DIR [backbone.checkpoint=FILE]"
        )
    keys, overrides = arguments.split(VerifyKeys)
    job = arguments.configs.job([f"bundle={words[0]}", *overrides])
    typed = [o.partition("=")[0] for o in overrides]
    name = job.method.backbone.name
    places = {
        "dataset.root": getattr(job.source.dataset, "root", None),
        "backbone.checkpoint": job.method.backbone.checkpoint,
        "backbone.name": name if ":" in name else None,
    }
    for key, theirs in places.items():  # a bundle's own paths are never used
        if theirs and key not in typed and not (key == "dataset.root" and job.choices["dataset"] == "sample"):
            raise UserError(
                f"verify: add {key}=PATH, where it lies on this machine (the bundle has {theirs})"
            )
    problems, done = verify(words[0], job, seed=keys.seed)
    print(
        f"{words[0]}: {done['labels']} labels compared; {done['images']} images encoded anew (seed={done['seed']}), "
        f"largest difference {done['largest_difference']:.2g} of {done['tolerance']:g} allowed"
    )
    for problem in problems:
        print(problem, file=sys.stderr)
    print("this bundle is NOT what it claims" if problems else "this bundle is what it claims")
    return 2 if problems else 0
