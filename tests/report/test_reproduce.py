"""The script of the commands behind results: whoever wrote their records, it runs those commands and nothing else."""

import re
import subprocess

import pytest

from magiqa.report.reproduce import script

HOSTILE = [
    {"choices": {"dataset": "koniq; touch hacked"}},
    {"choices": {"dataset": "koniq", "prompts": "$(touch hacked)"}},
    {"choices": {"dataset": "../../hydra/launcher"}},
    {"name": "x\ntouch hacked\n", "command": "probe"},
    {"magiqa": "0.1\ntouch hacked"},
    {"name": "../../../x"},
    {"changed": {"fusion.alpha; touch hacked": 1}},
    {"changed": {"fusion._target_": "os.system"}},
    {"changed": {"hydra.run.dir": "x"}},
    {"changed": {"trust": "os.system"}},
    {"changed": {"dataset.resize": {"_target_": "os.system"}}},
    {"changed": {"dataset.split": "{_target_:os.system}"}},
    {"changed": {"dataset.split": "'; touch hacked; '"}},
    {"changed": {"dataset.split": "`touch hacked`"}},
    {"command": "ablate", "ablation": {"name": "lambda; touch hacked"}},
]


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_a_record_cannot_have_the_script_run_anything_else(tmp_path, change):
    run = {"command": "evaluate", "name": "koniq", "choices": {"dataset": "koniq"}, "dataset": {"root": "/x"}}
    text = script({tmp_path / "a": {**run, **change}}, "")
    (tmp_path / "reproduce.sh").write_text(text)
    (tmp_path / "magiqa").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$HERE/words"\n')
    (tmp_path / "magiqa").chmod(0o755)
    roots = dict.fromkeys(re.findall(r"(\w+_ROOT):", text), "here")
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HERE": str(tmp_path), **roots}
    subprocess.run(["sh", "reproduce.sh"], cwd=tmp_path, env=path, check=True, timeout=60)
    assert {p.name for p in tmp_path.iterdir()} == {"magiqa", "reproduce.sh", "words"}
    words = (tmp_path / "words").read_text().splitlines()
    assert not [w for w in words if w.startswith(("trust=", "hydra")) or ".." in w]
    assert not [
        w for w in words if "_target_" in w and not w.startswith("dataset.split='")
    ]  # text, quoted for Hydra
