"""The commands of a paper's folder: typed again they make the same jobs, on whatever machine."""

import os
import re
import subprocess

import pytest
import tiny

from magiqa.report.reproduce_script import Places, command, script

RUN = {
    "command": "evaluate",
    "name": "koniq-demo-0123abcd",
    "choices": {"dataset": "koniq_test", "backbone": "demo"},
    "changed": {"fusion.alpha": 2.5, "dataset.every": 10},
    "dataset": {"root": "/home/someone/koniq"},
}


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("evaluate", ["dataset=koniq_test", "dataset.root=/x y", "seed=3", "views.kinds=[windows]"]),
        ("evaluate", ['prompts.pairs=[["It\'s {good}, \\"so\\".","Bad [photo] \\\\."]]', "fit=official"]),
        (
            "evaluate",
            ["dataset=folder", "dataset.root=/x", "dataset.annotation=/y/a b.csv", "dataset.split='1e5'"],
        ),
        (
            "evaluate",
            ["dataset=folder", "dataset.root=/x", "dataset.annotation=a b.csv", "dataset.mos_column='a, b'"],
        ),
        ("evaluate", ["backbone=open_clip", "backbone.name='local-dir:/my/clip'", "backbone.untrained=3"]),
        ("evaluate", ["backbone=rn50", "backbone.checkpoint=/weights/RN50.pt", "pooling=median"]),
        ("evaluate", ["dataset=spaq", "dataset.root=/x", "dataset.resize=null"]),
        (
            "experiment",
            ["experiment=bias", "experiment.lams=[1,0.5]", "fusion.alpha=2"],
        ),
        ("experiment", ["experiment=raters", "experiment.ratings=21"]),
        ("evaluate", ["magnitude=whitened", "magnitude.statistics_from=/my images"]),
        ("experiment", ["experiment=magnitude", "experiment.statistics_from=/my images"]),
        ("ablate", ["ablation=lambda", "ablation.axes={magnitude.lam:{step:0.5}}", "+ablation.score=q_mag"]),
        (
            "ablate",
            ["ablation=fusion", 'ablation.variants=[{name:"a: b",fusion:fixed},{name:c,fusion:adaptive}]'],
        ),
    ],
)
@pytest.mark.slow
def test_a_command_typed_again_makes_the_same_job(name, overrides):
    job = tiny.configs().job(overrides)
    record = {
        "command": name,
        "name": job.name,
        "choices": job.choices,
        "changed": job.changed,
        "study": job.study,
    }
    record |= {"config": job.config, "dataset": {"root": str(job.source.dataset.root)}}
    places = Places()
    line = command(record, "o", {}, places)
    values = dict(places.paths)
    assert not any(path in line for path in values.values())
    shell = ["sh", "-c", f"for word in {line}; do printf '%s\\0' \"$word\"; done"]
    words = subprocess.check_output(shell, env={**os.environ, **values}, text=True).split("\0")[:-1]
    assert words[:2] == ["magiqa", name] and words[-1] == "out=o"
    again = tiny.configs().job(words[2:])
    assert again.name == job.name and again.method == job.method and again.statistics == job.statistics
    assert (again.ablation, again.experiment, again.study) == (job.ablation, job.experiment, job.study)
    assert again.source.dataset == job.source.dataset


def test_a_script_names_no_path_of_this_machine_and_asks_for_what_it_needs(tmp_path):
    csv = tmp_path / "my metric.csv"
    sources = [{"source": str(tmp_path / "a")}, {"source": str(csv)}]
    compared = {
        "command": "compare",
        "name": "x",
        "methods": sources,
        "score": "q",
        "equivalence": 0.02,
        "seed": 0,
    }
    other = {**RUN, "dataset": {"root": "/elsewhere"}, "choices": {**RUN["choices"], "prompts": "mine"}}
    made = {tmp_path / "a": RUN, tmp_path / "b": other, tmp_path / "c": compared}
    text = script(made, ["statistics=krcc"], [csv])
    assert str(tmp_path) not in text and "/home" not in text and "/elsewhere" not in text
    lines = text.splitlines()
    asked = [line for line in lines if line.startswith(": ")]
    assert [line[5:].partition(":")[0] for line in asked] == ["KONIQ_ROOT", "KONIQ_ROOT_2", "MY_METRIC_CSV"]
    assert "# prompts=mine is not magiqa's own: its file is ./conf/prompts/mine.yaml" in lines
    first, second = "reproduced/1-koniq-demo", "reproduced/2-koniq-demo"
    assert f'magiqa compare {first} "$MY_METRIC_CSV" score=q equivalence=0.02 out=reproduced/3-x' in lines
    assert lines[-1] == (
        f'magiqa paper {first} {second} reproduced/3-x "$MY_METRIC_CSV" statistics=krcc out=reproduced/paper'
    )
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    path = {"PATH": os.environ["PATH"]}
    unset = subprocess.run(["sh"], input=text, text=True, capture_output=True, env=path)
    assert unset.returncode != 0 and "KONIQ_ROOT: the folder of the data set koniq" in unset.stderr


ELSEWHERE = (
    "cache_dir", "out", "bundle", "trust", "launcher.slurm_setup", "dataset.root", "dataset.annotation",
    "dataset.outside_root", "dataset.split_file", "backbone.checkpoint", "roots.koniq",
)  # fmt: skip
LED_AWAY = ("hf-hub:attacker/evil", "local-dir:/x")

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
    {"choices": {"dataset": "koniq", "prompts": "x\ntouch hacked"}},
    {"changed": {"backbone.label": "${oc.env:SECRET}"}},
    {"changed": {"prompts.pairs": [["a", "${oc.env:SECRET}"]]}},
    {"command": "ablate", "study": {"ablation": "lambda", "ablation.score": "${oc.env:SECRET}"}},
    {"command": "ablate", "study": {"ablation": "lambda", "ablation.axes": {"out": ["/x"]}}},
    {"command": "ablate", "study": {"ablation": "lambda", "+ablation.axes": {"dataset.root": ["/x"]}}},
    {"command": "ablate", "study": {"ablation": "x", "ablation.axes": {"backbone.name": ["hf-hub:a/b"]}}},
    {"command": "ablate", "study": {"ablation": "lambda", "+out": "/x"}},
    *({"changed": {f"{plus}{key}": "/x"}} for plus in ("", "+") for key in ELSEWHERE),
    {"config": {"dataset": {"annotation": "../../x.csv"}}},
    {"config": {"dataset": {"split_file": "/x"}}},
    {"config": {"dataset": {"annotation": "${oc.env:SECRET}"}}},
    *({"changed": {"backbone.name": n}, "config": {"backbone": {"name": n}}} for n in LED_AWAY),
    {"command": "compare", "score": "q; touch hacked", "methods": [{"source": "/x.csv"}]},
    {"command": "compare", "score": "q\ntouch hacked", "methods": [{"source": "/x.csv"}]},
    {"command": "compare", "score": "${oc.env:SECRET}", "methods": [{"source": "/x.csv"}]},
    {
        "command": "ablate -m",
        "parts": [{"name": "", "choices": {"dataset": "koniq", "prompts": "x; touch hacked"}}],
    },
]


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_a_record_cannot_have_the_script_run_anything_else(tmp_path, change):
    run = {"command": "evaluate", "name": "koniq", "dataset": {"root": "/x"}}
    run["choices"] = {"dataset": "koniq", "backbone": "open_clip"}
    text = script({tmp_path / "a": {**run, **change}}, [], [tmp_path / "2024 musiq.csv"])
    (tmp_path / "reproduce.sh").write_text(text)
    (tmp_path / "magiqa").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$HERE/words"\n')
    (tmp_path / "magiqa").chmod(0o755)
    roots = dict.fromkeys(re.findall(r"(\w+_(?:ROOT|CSV|ANNOTATION|NAME|SPLIT_FILE)):", text), "here")
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HERE": str(tmp_path), **roots}
    subprocess.run(["sh", "reproduce.sh"], cwd=tmp_path, env=path, check=True, timeout=60)
    assert {p.name for p in tmp_path.iterdir()} == {"magiqa", "reproduce.sh", "words"}
    words = (tmp_path / "words").read_text().splitlines()
    keys = {w.lstrip("+").partition("=")[0] for w in words if "=" in w}
    asked = {"out", "dataset.root", "dataset.annotation", "dataset.split_file"}
    assert not keys & ({*ELSEWHERE, "hydra"} - asked)
    assert all(w.startswith("out=reproduced/") for w in words if w.lstrip("+").startswith("out="))
    assert not [w for w in words if ".." in w or "${" in w or "/x" in w or "attacker" in w]
    # text, quoted for Hydra
    assert not [w for w in words if "_target_" in w and not w.startswith("dataset.split='")]
