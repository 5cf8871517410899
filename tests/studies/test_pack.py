"""A bundle reruns a run byte for byte, and verify finds what is wrong with one."""

import json
import shutil
import struct

import numpy as np
import pytest
import tiny
from bundles import altered

from magiqa.cli import main as cli
from magiqa.errors import UserError
from magiqa.features import images as hashing
from magiqa.features.bundle import open_bundle
from magiqa.studies.evaluate import evaluate
from magiqa.studies.pack import pack
from magiqa.studies.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny.make(tmp_path_factory.mktemp("bundled"))
    evaluate(tiny.job(made, f"out={made / 'run'}"), progress=False)
    return made


@pytest.fixture(scope="module")
def bundle(folder):
    assert cli.main(["pack", str(folder / "run"), f"cache_dir={folder / 'cache'}", tiny.named(folder)]) == 0
    return folder / "run" / "bundle.safetensors"


def from_bundle(bundle, *more):
    return tiny.configs().job([f"bundle={bundle}", "figures=false", *more])


def verified(bundle, folder, **options):
    job = from_bundle(
        bundle, f"dataset.root={folder / 'set'}", f"backbone.name='local-dir:{folder / 'clip'}'"
    )
    return verify(bundle, job, progress=False, **options)


def test_tables_are_the_same_bytes_in_another_folder(folder, bundle, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "theirs.safetensors"
    elsewhere.parent.mkdir()
    shutil.copy(bundle, elsewhere)
    args = [
        f"bundle={elsewhere}",
        f"out={tmp_path / 'out'}",
        "figures=false",
        f"cache_dir={tmp_path / 'none'}",
    ]
    assert cli.main(["evaluate", *args]) == 0
    for name in ("scores.csv", "agreement.csv", "groups.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "run" / name).read_bytes()
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["backbone"]["label"] == "untrained, seed 0"
    assert record["bundle"]["code_sha256"] == open_bundle(bundle).header.code_sha256
    assert not (tmp_path / "none").exists()


def test_the_same_run_packs_to_the_same_bytes_and_tells_no_path(folder, bundle, tmp_path):
    again = pack(
        folder / "run",
        tiny.configs().recorded(folder / "run", [tiny.named(folder)]),
        _packaged(),
        tmp_path / "again.safetensors",
    )
    assert again.read_bytes() == bundle.read_bytes()
    assert str(folder).encode() not in bundle.read_bytes().replace(
        b"local-dir:" + str(folder / "clip").encode(), b""
    )


def _packaged():
    names = ("clipiqa", "clipiqa_attributes", "high_low_quality", "maclip", "zeniqa")
    return [tiny.configs().job([f"prompts={name}"]).method.prompts for name in names]


def test_other_tools_read_it(bundle):
    from safetensors.numpy import load_file

    tensors = load_file(bundle)
    assert set(tensors) == {"features", "counts", "controls", "text", "logit_scale"}
    assert len(tensors["features"]) == tensors["counts"].sum()
    assert len(tensors["counts"]) == tiny.N


def test_overrides_go_on_top_of_the_bundles_own_config(bundle):
    job = from_bundle(bundle, "fusion.alpha=3", "prompts=clipiqa")
    assert (job.method.fusion.alpha, job.method.fusion.base_mag, job.method.prompts.name) == (
        3.0,
        0.6,
        "clipiqa",
    )
    assert (job.method.views.window, job.choices["dataset"]) == (64, "folder")


def test_ablations_run_from_it(folder, bundle, tmp_path, capsys):
    assert (
        cli.main(["ablate", "ablation=pairs", f"bundle={bundle}", f"out={tmp_path}/a", "figures=false"]) == 0
    )
    args = tiny.overrides(folder, "ablation=pairs", f"out={tmp_path}/b")
    assert cli.main(["ablate", *args]) == 0
    a, b = (np.genfromtxt(tmp_path / d / "ablation.csv", delimiter=",", skip_header=1) for d in "ab")
    np.testing.assert_allclose(a, b, atol=5e-6)  # a pair encoded in another batch of texts
    own = [
        "views.window=64",
        "views.stride=32",
    ]  # an option named anew stands as packaged, but for what is typed
    assert cli.main(["ablate", "ablation=views", f"bundle={bundle}", f"out={tmp_path}/c", *own]) == 2
    assert "holds features of views.kinds=['windows', 'global'], not ['whole']" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["views.stride=16"],
            r"^bundle=.*: holds features of views.stride=32, not 16; other features need the images",
        ),
        (
            ["backbone.untrained=1"],
            r"^bundle=.*: holds features of backbone.untrained=0, not 1; other features need",
        ),
        (["dataset.every=2"], r"^bundle=.*: holds the data set set with its labels; leave out dataset=$"),
        (["precision=bf16"], r"^bundle=.*: holds features of precision=fp32, not bf16; other features need"),
    ],
)
def test_features_that_it_does_not_hold(bundle, more, message, tmp_path):
    with pytest.raises(UserError, match=message):
        evaluate(from_bundle(bundle, f"out={tmp_path}", *more), progress=False)


def test_prompts_that_it_does_not_hold(bundle, tmp_path):
    job = from_bundle(bundle, f"out={tmp_path}", "prompts.pairs=[[a lion,a lamb]]")
    with pytest.raises(
        UserError, match=r"holds no embedding of the prompt 'a lion', which would need the weights"
    ):
        evaluate(job, progress=False)


def test_a_damaged_file(bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[-3] ^= 1
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(
        UserError, match=r"^bundle=.*: its contents do not match its checksum; fetch it again"
    ):
        evaluate(from_bundle(tmp_path / "b", f"out={tmp_path}/o"), progress=False)
    (tmp_path / "c").write_bytes(data[:500])
    with pytest.raises(
        UserError, match=r"^bundle=.*: no bundle, or cut short; fetch it again or run magiqa pack anew$"
    ):
        from_bundle(tmp_path / "c")
    with pytest.raises(UserError, match=r"^bundle=.*: no such file; give one that magiqa pack wrote$"):
        from_bundle(tmp_path / "nothing")


def test_pack_refuses_what_is_no_run(tmp_path, capsys):
    assert cli.main(["pack", str(tmp_path)]) == 2
    assert (
        "no run's folder; give one that holds the record.json of magiqa evaluate" in capsys.readouterr().err
    )


def test_pack_refuses_a_run_whose_labels_changed(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    record = json.loads((run / "record.json").read_text())
    record["dataset"]["fingerprint"] = "0" * 64
    (run / "record.json").write_text(json.dumps(record))
    with pytest.raises(
        UserError, match=r": the labels changed since this run; run magiqa evaluate again with out="
    ):
        pack(run, tiny.configs().recorded(run, [tiny.named(folder)]))


def test_pack_refuses_a_run_whose_images_changed(tmp_path):
    made = tiny.make(tmp_path / "made")
    run = tmp_path / "run"
    evaluate(tiny.job(made, f"out={run}"), progress=False)
    assert pack(run, tiny.configs().recorded(run, [tiny.named(made)])).is_file()
    shutil.copy(made / "set" / "05.png", made / "set" / "00.png")
    with pytest.raises(
        UserError,
        match=r": images, or which were left out, changed since this run; run magiqa evaluate again",
    ):
        pack(run, tiny.configs().recorded(run, [tiny.named(made)]))


def test_pack_and_verify_read_every_image(folder, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "RACY_NS", 0)
    evaluate(tiny.job(folder, f"out={tmp_path / 'run'}"), progress=False)  # every hash is remembered now
    read, of_file = [], hashing.read_image
    monkeypatch.setattr(hashing, "read_image", lambda path: read.append(path) or of_file(path))
    evaluate(tiny.job(folder, f"out={tmp_path / 'run'}"), progress=False)
    assert read == []
    pack(
        folder / "run",
        tiny.configs().recorded(folder / "run", [tiny.named(folder)]),
        _packaged(),
        tmp_path / "again.safetensors",
    )
    assert len(read) == tiny.N
    assert verified(bundle, folder, seed=1)[0] == [] and len(read) == 2 * tiny.N


def test_an_honest_bundle_holds(folder, bundle, capsys):
    problems, done = verified(bundle, folder, seed=1)
    assert problems == []
    assert (done["labels"], done["images"]) == (tiny.N, tiny.N)
    assert done["largest_difference"] < 1e-5
    args = [f"dataset.root={folder / 'set'}", f"backbone.name='local-dir:{folder / 'clip'}'"]
    assert cli.main(["verify", str(bundle), *args]) == 0
    assert "this bundle is what it claims" in capsys.readouterr().out


@pytest.mark.long
def test_one_changed_feature_is_found_when_its_image_is_drawn(folder, bundle, tmp_path):
    def change(arrays, meta):
        arrays["features"][arrays["counts"][:7].sum() + 2, 5] += 0.01 * np.abs(arrays["features"]).max()

    wrong = altered(bundle, tmp_path / "wrong", change)
    found = {seed: verified(wrong, folder, seed=seed, sampled=12)[0] for seed in range(8)}
    caught = [p for p in found.values() if p]
    assert 0 < len(caught) < 8  # half of the images are drawn each time
    for problems in caught:
        assert len(problems) == 1
        assert problems[0].startswith("07.png: the features of view 2 differ by 0.01")


def test_a_wrong_label_is_always_found(folder, bundle, tmp_path):
    def change(arrays, meta):
        meta["table"]["mos"][1][4] += 1e-9

    wrong = altered(bundle, tmp_path / "wrong", change)
    problems, _ = verified(wrong, folder, sampled=1)
    assert any(p.startswith("labels: mos differs for 1 of 24 images (first 04.png: ") for p in problems)

    def other_column(arrays, meta):
        meta["table"]["group"][1][0] = "g9"

    problems, _ = verified(altered(bundle, tmp_path / "group", other_column), folder, sampled=1)
    assert [p.partition(" (")[0] for p in problems] == ["labels: group differs for 1 of 24 images"]


def test_other_weights_and_images_are_found(folder, bundle, tmp_path):
    def change(arrays, meta):
        meta["record"]["backbone"]["weights_sha256"] = "f" * 64
        meta["images"][:2] = meta["images"][1::-1]

    problems, _ = verified(altered(bundle, tmp_path / "wrong", change), folder)
    assert any(p.startswith("weights: weights_sha256 is ") for p in problems)
    assert any(p.startswith("00.png: the image file is another one (sha256 ") for p in problems)


def test_wrong_prompts_scale_and_claims_are_always_found(folder, bundle, tmp_path):
    def check(name, change):
        return verified(altered(bundle, tmp_path / name, change), folder, sampled=1)[0]

    def text(arrays, meta):
        arrays["text"][2] *= -1

    def scale(arrays, meta):
        arrays["logit_scale"] *= 7

    def weights(arrays, meta):
        meta["record"]["backbone"] |= {"kind": "published", "label": None}

    def cluster(arrays, meta):
        meta["labels"]["higher_is_better"] = False

    header = open_bundle(bundle).header
    assert check("text", text) == [f"prompts: the embedding of {header.texts[2]} differs"]
    assert len(check("scale", scale)) == len(header.texts)
    assert check("weights", weights) == [
        "weights: kind is untrained here, published in the bundle",
        "weights: label is untrained, seed 0 here, None in the bundle",
    ]
    assert check("cluster", cluster) == ["labels: higher_is_better is True here, False in the bundle"]


def test_a_run_that_left_an_image_out(folder, tmp_path, capsys):
    shutil.copytree(folder / "set", tmp_path / "set")
    broken = tmp_path / "set" / "05.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    where = [f"dataset.root={tmp_path / 'set'}", "on_error=skip"]
    evaluate(tiny.job(folder, *where, f"out={tmp_path / 'run'}"), progress=False)
    assert cli.main(["pack", str(tmp_path / "run"), f"cache_dir={folder / 'cache'}", tiny.named(folder)]) == 0
    bundle = tmp_path / "run" / "bundle.safetensors"
    assert str(tmp_path).encode() not in bundle.read_bytes()
    assert [one.image for one in open_bundle(bundle).header.skipped] == ["05.png"]
    job = from_bundle(bundle, where[0], f"backbone.name='local-dir:{folder / 'clip'}'")
    problems, done = verify(bundle, job, progress=False)
    assert problems == [] and done["labels"] == tiny.N - 1
    broken.write_bytes(whole)
    (problem,) = verify(bundle, job, progress=False)[0]
    assert problem.startswith("05.png: left out of the bundle (05.png: ") and problem.endswith(
        "but readable here"
    )


def test_the_header_states_its_length(bundle):
    data = bundle.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])["features"]["dtype"] == "F32"


def test_a_bundle_of_the_first_format_still_reads(folder, bundle, tmp_path):
    def older(arrays, meta):
        texts = meta.pop("texts")[:10]  # the run's own five pairs
        meta |= {"format": 1, "pairs": [texts[i : i + 2] for i in range(0, 10, 2)]}
        arrays["text"] = arrays["text"].reshape(-1, arrays["text"].shape[-1])[:10].reshape(5, 2, -1)

    old = altered(bundle, tmp_path / "old", older)
    evaluate(from_bundle(old, f"out={tmp_path / 'out'}"), progress=False)
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (folder / "run" / "scores.csv").read_bytes()
