"""Rival magnitude cues equal their sources' formulas, and runs carry the statistics of the reference images."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tiny

from magiqa.cli.main import main
from magiqa.errors import UserError
from magiqa.method import rivals
from magiqa.method.rivals import Reference, Rival
from magiqa.runs.record import Clock
from magiqa.scoring.score import score_all
from magiqa.studies.evaluate import evaluate
from magiqa.studies.pack import pack

RNG = np.random.default_rng(3)
POOL = RNG.normal(size=(400, 12)) @ RNG.normal(size=(12, 12)) + 2.0  # features of reference images
F = RNG.normal(size=(7, 12)) + 1.0


def measured(features=POOL, images=50):
    return Reference.of(images, lambda: np.array_split(features, 3))


def test_w_clip_by_its_authors_formula():
    # w = (f - μ) W with W = V Λ^(-1/2); log-likelihood = -(D log 2π + |w|²) / 2
    mu, own = POOL.mean(axis=0), np.cov(POOL.T, bias=True)
    values, vectors = np.linalg.eigh(own)
    w = (F - mu) @ (vectors @ np.diag(values**-0.5))
    expected = [-0.5 * (12 * np.log(2 * np.pi) + x @ x) for x in w]
    assert measured().cue("whitened", F) == pytest.approx(expected, abs=1e-6)


def test_conformity_is_the_cosine_to_the_mean():
    mu = POOL.mean(axis=0)
    expected = [f @ mu / np.sqrt((f @ f) * (mu @ mu)) for f in F]
    assert measured().cue("conformity", F) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("views", [400, 9])  # fewer views than numbers of a feature are enough
def test_mahalanobis_uses_ledoit_and_wolfs_covariance(views):
    x = POOL[:views] - POOL[:views].mean(axis=0)
    own, size = x.T @ x / views, 12
    sphere = np.trace(own) / size * np.eye(size)
    apart = np.sum((own - sphere) ** 2)
    noise = sum(np.sum((np.outer(row, row) - own) ** 2) for row in x) / views**2
    weight = min(noise, apart) / apart
    shrunk = weight * sphere + (1 - weight) * own
    expected = [np.sqrt(d @ np.linalg.inv(shrunk) @ d) for d in F - POOL[:views].mean(axis=0)]
    reference = measured(POOL[:views])
    assert reference.shrinkage == pytest.approx(weight, abs=1e-12)
    assert reference.cue("mahalanobis", F) == pytest.approx(expected, abs=1e-6)


def test_shape_cues():
    share = np.abs(F) / np.abs(F).sum(axis=1, keepdims=True)
    assert rivals.entropy(F) == pytest.approx(-(share * np.log(share)).sum(axis=1))
    assert rivals.participation(F) == pytest.approx(1 / np.square(share).sum(axis=1))
    assert rivals.participation(np.ones((1, 8))) == pytest.approx([8])
    assert rivals.entropy(np.eye(8)) == pytest.approx(np.zeros(8))


@pytest.mark.parametrize(("kind", "sign"), [("whitened", 1), ("conformity", 1), ("mahalanobis", -1)])
def test_a_cue_is_scaled_by_median_and_mad_of_the_reference(kind, sign):
    reference = measured()
    pool = reference.cue(kind, POOL)
    mad = 1.4826 * np.median(np.abs(pool - np.median(pool)))
    z = sign * (reference.cue(kind, F) - np.median(pool)) / mad
    assert Rival(kind).of(reference)(F) == pytest.approx((1 + z / (1 + np.abs(z))) / 2, abs=1e-5)
    again = Reference.from_arrays(*reference.arrays())
    assert np.array_equal(Rival(kind).of(again)(F), Rival(kind).of(reference)(F))


def test_reference_images_that_do_not_vary_are_refused():
    with pytest.raises(
        UserError, match=r"magnitude=whitened: the 9 views of 50 reference images.*magnitude.statistics_from"
    ):
        Rival("whitened").of(measured(POOL[:9]))
    with pytest.raises(UserError, match=r"magnitude=conformity: .* median deviation of 0.*statistics_from"):
        Rival("conformity").of(measured(np.vstack([POOL[:1]] * 9 + [POOL[:3]])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny.make(tmp_path_factory.mktemp("rivals"))
    tiny.pristine(made)
    return made


def rival(folder, kind, *more):
    return tiny.job(folder, f"magnitude={kind}", f"magnitude.statistics_from={folder / 'pristine'}", *more)


@pytest.mark.slow
def test_a_run_and_its_bundle_carry_the_statistics_and_no_path(folder, tmp_path):
    job = rival(folder, "mahalanobis", f"out={tmp_path / 'run'}")
    _, record = evaluate(job, progress=False)
    about = record["reference"]
    assert (about["images"], set(about["scales"])) == (30, {"whitened", "conformity", "mahalanobis"})
    bundle = pack(tmp_path / "run", job)
    assert str(folder / "pristine").encode() not in bundle.read_bytes()
    again = tiny.configs().job([f"bundle={bundle}", f"out={tmp_path / 'again'}", "figures=false"])
    _, second = evaluate(again, progress=False)
    assert second["reference"] == about
    one, two = (pd.read_csv(tmp_path / name / "scores.csv") for name in ("run", "again"))
    assert two["q_mag"].to_numpy() == pytest.approx(one["q_mag"].to_numpy(), abs=1e-12)
    assert one["q_mag"].between(0, 1).all()
    own = ("magnitude=whitened", f"magnitude.statistics_from={folder / 'set'}")
    with pytest.raises(UserError, match=r"statistics of its own .* leave out magnitude.statistics_from="):
        evaluate(tiny.configs().job([f"bundle={bundle}", *own, "figures=false"]), progress=False)
    evaluate(tiny.job(folder, f"out={tmp_path / 'plain'}"), progress=False)
    plain = pack(tmp_path / "plain", tiny.job(folder))
    with pytest.raises(UserError, match="holds no statistics of reference images"):
        evaluate(again.having(bundle=str(plain)), progress=False)


@pytest.mark.slow
def test_reference_images_are_checked(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for reference, message in (
        (tmp_path / "none", r"statistics_from=.*none: magnitude=whitened needs a folder"),
        (tmp_path / "empty", r"statistics_from=.*empty: holds no images"),
        (folder / "set", "24 of its images are evaluated too"),
    ):
        job = rival(folder, "whitened", f"magnitude.statistics_from={reference}", f"out={tmp_path / 'o'}")
        with pytest.raises(UserError, match=message):
            evaluate(job, progress=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.nan),
        ("covariance", np.nan),
        ("covariance", -1.0),
        ("numbers", np.nan),
        ("numbers", np.inf),
    ],
)
def test_statistics_that_no_images_give_are_not_sound(name, value):
    arrays = dict(zip(("mean", "covariance", "numbers"), measured().arrays(), strict=True))
    assert Reference.from_arrays(**arrays).sound
    arrays[name] = arrays[name] * value
    assert not Reference.from_arrays(**arrays).sound


@pytest.mark.slow
def test_reference_images_are_encoded_by_the_same_tower_as_the_data_set(folder, tmp_path):
    keys = ["backbone.positional_embedding=interpolate_tokens", "views.kinds=[whole]", "batch_size=1"]
    caches = [f"cache_dir={tmp_path / name}" for name in "ab"]
    evaluate(tiny.job(folder, *keys, caches[1], f"out={tmp_path / 'before'}"), progress=False)
    scales = []
    for cache in caches:
        job = rival(folder, "mahalanobis", *keys, cache, f"out={tmp_path / 'o'}")
        scales.append(evaluate(job, progress=False)[1]["reference"]["scales"]["mahalanobis"])
    assert scales[0] == pytest.approx(scales[1], rel=1e-4)


@pytest.mark.slow
def test_a_variants_statistics_are_of_its_own_views(folder, tmp_path):
    jobs = [rival(folder, "conformity", f"views.kinds=[{kinds}]") for kinds in ("windows,global", "windows")]
    _, both = score_all(jobs, Clock(), "q_mag", progress=False)
    _, alone = score_all(jobs[1:], Clock(), "q_mag", progress=False)
    assert np.array_equal(both[1], alone[0])


@pytest.mark.slow
def test_reference_images_that_are_left_out_are_said_and_pack_refuses_others(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "made")
    pristine, run = tmp_path / "made" / "pristine", tmp_path / "run"
    (pristine / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad.png"):
        evaluate(rival(tmp_path / "made", "mahalanobis", f"out={run}"), progress=False)
    _, record = evaluate(
        rival(tmp_path / "made", "mahalanobis", f"out={run}", "on_error=skip"), progress=False
    )
    assert (record["reference"]["images"], record["reference"]["skipped"]) == (30, 1)
    assert "1 of 31 reference images left out (on_error=skip)" in record["warnings"]
    command = ["pack", str(run), f"cache_dir={tmp_path / 'made' / 'cache'}", tiny.named(tmp_path / "made")]
    assert main(command) == 0
    assert f"magnitude.statistics_from={pristine}: as " in capsys.readouterr().out
    next((pristine / "more").glob("*.png")).unlink()
    assert main(command) == 2
    assert "reference images changed since this run" in capsys.readouterr().err
