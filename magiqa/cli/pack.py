"""A run in one file, a bundle: features, labels, text embeddings and records, without images or weights.

magiqa pack RUN [out=FILE] [dataset.root=DIR] [cache_dir=DIR] [backbone.checkpoint=FILE]

The root, cache and checkpoint are those that RUN's record names, unless typed; they are printed first, and such a cache
is only read. A bundle holds the features of one backbone and one set of views: evaluate, ablate, experiment and report
rerun from it all that needs no others.

  magiqa pack results/runs/mine out=mine.safetensors
"""

from pathlib import Path

from magiqa.cli.given import Given
from magiqa.cli.recorded import as_recorded
from magiqa.cli.sweep import out_of
from magiqa.errors import UserError


def run(given: Given) -> int:
    """Pack."""
    from magiqa.package import conf_dir
    from magiqa.studies.pack import pack

    words = given.words
    if len(words) != 1:
        raise UserError("pack: give one run's folder: magiqa pack RUN [out=FILE]")
    folder = Path(words[0]).expanduser()
    job = given.configs.recorded(folder, [o for o in given.overrides if not o.startswith("out=")]).having(
        out=str(folder)
    )
    options = sorted(f.stem for f in (conf_dir() / "prompts").glob("*.yaml"))
    sets = [given.configs.job([f"prompts={option}"]).method.prompts for option in options]
    with as_recorded([(folder, job)], given.overrides):
        path = pack(folder, job, sets, out_of(given))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; no images, no weights")
    return 0
