"""The page out of the box: over the corpus that ships, and where there is no network."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests import bundles
from tests.demo import pages
from videobert_jax.demo import films
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.kitchen import assets


@pytest.fixture(scope="module")
def shipped():
    return assets.load()


@pytest.fixture(scope="module")
def model(tiny_run, shipped):
    """A tiny network for the features that ship, as if trained on their training split."""
    names = [video.name for video in shipped.videos if video.split == "train"]
    made = bundles.tiny(tiny_run, feature_dim=shipped.contract.dim)
    return PretrainedModel(
        dataclasses.replace(
            made,
            contract=shipped.contract,
            trained_on={**made.trained_on, "video_names": names},
        )
    )


@pytest.mark.long
def test_the_films_are_those_that_ship_and_were_not_trained_on(model, shipped):
    found = films.kitchen(model)
    left = {video.name: video for video in shipped.videos if video.split != "train"}
    assert list(found) == list(left) and 0 < len(left) < len(shipped.videos)
    for name, entry in found.items():
        np.testing.assert_array_equal(entry.features, left[name].features)
        assert entry.steps == tuple(step.sentence for step in left[name].steps)
    assert any(entry.steps for entry in found.values())
    with pages.served(model, shown=found) as page:
        about = json.loads(page.request("GET", "/about")[2])
        assert [film["name"] for film in about["films"]] == list(left)
        lasts = {film["name"]: film["seconds"] for film in about["films"]}
        for name, video in left.items():
            assert abs(lasts[name] - video.seconds) < 2 * shipped.contract.stride_seconds
        hits = page.ask("/search", text="crack the egg into the bowl")[1]["hits"]
        assert len(hits) == 8 and {hit["film"] for hit in hits} <= set(left)
        pytest.importorskip("PIL", reason="Pillow is not installed")
        hit = hits[0]
        status, _, still = page.request("GET", f"/stills/{hit['film']}/{hit['start']:.1f}")
        assert status == 200 and still[:2] == b"\xff\xd8" and len(still) > 2000


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux'")
def test_it_starts_and_answers_without_a_network(model, shipped, tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"]).returncode:
        pytest.skip("this machine makes no network namespace")
    model.save_pretrained(tmp_path / "export")
    program = pathlib.Path(__file__).with_name("offline.py")
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, str(program), str(tmp_path / "export")],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == ["lo"] and found["code"] == 0
    count = sum(video.split != "train" for video in shipped.videos)
    assert len(found["about"]["films"]) == count and len(found["hits"]) == 8
