"""A small dataset whose clips tell verb and object apart, and a network without training."""

import dataclasses
import pathlib
from collections.abc import Iterator

import flax.linen as nn
import jax
import numpy as np
import pytest

from configs import tiny
from videobert_jax import configuration, schema
from videobert_jax.data import index, writer
from videobert_jax.models import bundle as bundles
from videobert_jax.models import videobert
from videobert_jax.models.config import RAW
from videobert_jax.tasks import mlp, token_states
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.token_states import TokenStates
from videobert_jax.text import tokenizer as tokenizers

VERBS = {"chop": ["chop", "chopping"], "stir": ["stir", "stirring"], "pour": ["pour", "pouring"]}
OBJECTS = {
    "onion": ["onion", "onions"],
    "oil": ["oil"],
    "spring_onion": ["spring onion", "spring onions"],
    "soup": ["soup"],
}
DIM = 16
CONTRACT = schema.FeatureContract(
    backbone="synthetic",
    weights_sha256="unknown",
    layer="none",
    dim=DIM,
    fps=16.0,
    frames_per_clip=16,
    stride_seconds=1.0,
    crop="none",
    normalised=False,
    dtype="float16",
)


def write_dataset(
    path: pathlib.Path,
    *,
    damaged: bool = False,
    absent: bool = False,
    steps: bool = False,
    test_videos: int = 6,
    metadata: dict | None = None,
) -> index.Dataset:
    """Splits of 12, test_videos and 4 videos, each of five labelled steps of two or three clips.

    Steps are in a "size", of which captions say nothing. `steps`: 8 videos more as train_steps.
    `damaged`, `absent`: a test video has NaN in a clip, or no clips.
    """
    random = np.random.default_rng(0)
    out = writer.DatasetWriter(
        path,
        "synthetic",
        CONTRACT,
        metadata=metadata or {"label_surface_forms": {"verb": VERBS, "object": OBJECTS}},
    )
    directions = {name: random.normal(size=DIM) for name in (*VERBS, *OBJECTS)}
    counts = {
        "train": 12,
        "test": test_videos,
        "validation": 4,
        **({"train_steps": 8} if steps else {}),
    }
    for split, count in counts.items():
        for video in range(count):
            clips, segments = [], []
            for step in range(5):
                verb = list(VERBS)[random.integers(len(VERBS))]
                name = list(OBJECTS)[random.integers(len(OBJECTS))]
                first, length = len(clips), int(random.integers(2, 4))
                clips += [directions[verb] + directions[name]] * length
                form = OBJECTS[name][-1]
                segments.append(
                    writer.Segment(
                        start=float(first),
                        end=float(first + length),
                        text=f"now {verb} the {form}, {step} {video}.",
                        labels={
                            "verb": verb,
                            "object": name,
                            "size": "small" if step < 3 else "large",
                        },
                        clips=(first, length),
                    )
                )
            features = np.array(clips) + random.normal(size=(len(clips), DIM)) * 0.3
            features = features.astype(np.float16)
            if damaged and split == "test" and video == 2:
                features[0, 3] = np.nan
            if absent and split == "test" and video == 2:
                features = None
                segments = [dataclasses.replace(s, clips=None) for s in segments]
            out.add_video(split, f"{split}_{video}", features, segments)
    return out.finish()


@pytest.fixture(scope="module", autouse=True)
def short_training() -> Iterator[None]:
    """The nonlinear baseline is trained a fifth as long: clips tell their labels apart at once, and
    it would be half of the time of an evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlp, "ROUNDS", 4)
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> index.Dataset:
    return write_dataset(tmp_path_factory.mktemp("tasks") / "synthetic")


@pytest.fixture(scope="session")
def bundle(dataset) -> bundles.ModelBundle:
    run = configuration.parse(tiny.get_config())
    train = dataset.split("train")
    model_bytes = tokenizers.train(train.texts(range(len(train))), 320)
    tokenizer = tokenizers.Tokenizer(model_bytes)
    config = configuration.resolve_model(run, vocabulary_size=tokenizer.size, feature_dim=DIM)
    shape = schema.RowShape(1, 8, 4, 1, 1, DIM, 0, 1, 0, 0)
    variables = jax.jit(videobert.VideoBert(config).init)(
        jax.random.key(0), schema.zero_block(shape, 1)
    )
    variables = jax.tree.map(np.asarray, jax.device_get(nn.unbox(variables)))
    # larger than at birth, so that what is compared differs by more than rounding
    variables["params"] = jax.tree.map(lambda x: 2.0 * x, variables["params"])
    return bundles.ModelBundle(
        config=config,
        data=dataclasses.replace(run.data, path=str(dataset.path), text_length=32),
        variables=variables,
        tokenizer_model=model_bytes,
        contract=CONTRACT,
        answers=(),
        clip_labels=(),
        trained_on={
            "datasets": [
                {
                    "name": "synthetic",
                    "path": str(dataset.path),
                    "digest": dataset.digest,
                    "split": "train",
                    "video_names_digest": "",
                }
            ],
            "video_names": list(train.videos),
        },
        step=7,
        digest="0" * 64,
        weights=RAW,
        name="tiny",
        captioning_inputs=None,
    )


@pytest.fixture
def no_java(monkeypatch, tmp_path) -> None:
    """No METEOR, which takes a program in Java some seconds."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def made_again(monkeypatch, context) -> tuple[EvaluationContext, list[int]]:
    """(the context with states of clips that are not kept but made for 10 rows at a time, for how
    many rows they are made)."""
    other, bytes_of_row = context.on(context.split), 4 * context.encodings.video[0].size
    monkeypatch.setattr(token_states, "KEPT_BYTES", 0)
    monkeypatch.setattr(token_states, "GROUP_BYTES", 10 * bytes_of_row)
    counts: list[int] = []
    original = TokenStates.__getitem__

    def noted(states, rows):
        counts.append(len(rows))
        return original(states, rows)

    monkeypatch.setattr(TokenStates, "__getitem__", noted)
    return other, counts


@pytest.fixture(scope="session")
def context(bundle, dataset) -> EvaluationContext:
    return EvaluationContext(bundle, dataset, dataset.split("test"), 0)
