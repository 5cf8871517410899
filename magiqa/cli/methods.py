"""List the published methods, and whether their weights are here.

magiqa methods

method=NAME sets a method's backbone, prompts, views, magnitude and fusion.
Weights that a method's authors trained are looked for in MAGIQA_WEIGHTS, or in
the folder weights; backbone.checkpoint=FILE, prompts.context=FILE and
prompts.features=FILE name others. OpenAI's weights come from the hub.

Example:
  magiqa methods
"""

from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "evaluate on ratings"


def run(arguments: Arguments) -> int:
    """List; nothing is fetched."""
    import pandas as pd

    from magiqa.backbones.weights import find_weights
    from magiqa.method.presets import presets
    from magiqa.report.console import screen
    from magiqa.report.table import frame_table

    if arguments.typed:
        raise UserError(f"methods: {arguments.typed[0]} is not understood; it takes no words")
    rows, facts = [], []
    for name, preset in presets().items():
        method = arguments.configs.job([f"method={name}"]).method
        try:
            find_weights(method.backbone, method.prompts, offline=True)
            here = "yes"
        except UserError:
            here = "no"
        rows.append(
            {"method=": name, "title": preset.title, "backbone": method.backbone.name, "weights here": here}
        )
        about = {"paper": preset.paper, "code": preset.code, "licence": preset.licence}
        about |= {"weights": preset.weights or "OpenAI's CLIP, from the hub", "differs": preset.differs}
        facts += ["", f"{preset.title} (method={name})", *(f"  {key}: {text}" for key, text in about.items())]
    print(screen([], [frame_table(pd.DataFrame(rows), {column: column for column in rows[0]}), *facts]))
    return 0
