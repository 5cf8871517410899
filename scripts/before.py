"""An older commit's encoding, for ``scripts/benchmark.py --before DIR``, in a process of its own.

    python scripts/before.py DIR

DIR is a checkout, of which ``scripts/benchmark.py`` is used. A line of JSON in, one out: {"model": ..., "paths": [...]}
first; {"engine": "torch fp32", "batch": 5} builds an engine: its largest error, or why there is none; {"raw": "torch
fp32"} and {"end": "torch fp32"} encode ready batches, or the files: how many views.
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def load(tree: Path) -> Any:
    """The checkout's benchmark, with its own magiqa."""
    sys.path[0] = str(tree / "scripts")
    sys.path.insert(0, str(tree))
    import benchmark

    import magiqa

    if not Path(str(magiqa.__file__)).is_relative_to(tree):
        sys.exit(f"{magiqa.__file__} is not of {tree}")
    benchmark.torch.set_num_threads(benchmark.threads())
    return benchmark


class Engines:
    """A model's engines, and the image files that they are to encode."""

    def __init__(self, old: Any, model: str, paths: list[str]) -> None:
        self.old, self.paths = old, paths
        spec = old.Backbone("demo") if model == "demo" else old.Backbone(model, untrained=0)
        self.weights = old.load_weights(spec)
        self.visual = old.build_model(spec, self.weights).visual
        self.runs: dict[tuple[str, str], Callable[[], int]] = {}

    def build(self, name: str, batch: int) -> dict[str, Any]:
        """An engine with both that it is asked for."""
        old = self.old
        try:
            engine = old.build(
                self.visual, old.resolve(*name.split(), "cpu"), batch_size=batch, view_size=old.SIZE
            )
        except old.UserError as error:
            return {"error": str(error)}
        batches = [old.probe_views(batch, old.SIZE)] * (max(2, 40 // batch) * engine.streams)
        pool = ThreadPoolExecutor(engine.streams)
        self.runs["raw", name] = lambda: sum(map(len, pool.map(engine, batches)))
        self.runs["end", name] = lambda: old.end_to_end(engine, self.paths, self.weights, old.threads())[0]
        return {"max_error": engine.max_error}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is for the eye
    old = load(Path(sys.argv[1]).resolve())
    engines = Engines(old, **json.loads(sys.stdin.readline()))
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        if "engine" in asked:
            answer = engines.build(asked["engine"], asked["batch"])
        else:
            (run,) = asked.items()
            answer = {"views": engines.runs[run]()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
