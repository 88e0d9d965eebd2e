"""Figures of any number of examples on any number of devices are those of one example at a time."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import conftest
from tests.tasks.test_captioning import SETTINGS
from videobert_jax.data import index
from videobert_jax.data.reader import ClipReader
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.tasks import (
    captioning,
    encoding,
    fill_mask,
    fits,
    retrieval,
    rows,
    words,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.metrics import caption_pairs, caption_scores
from videobert_jax.text import templates

ROWS = 4  # of a device at a time, so that few examples are many batches
TEXT, SHORTLIST = 32, 6
TEMPLATE = "now {verb} the {object}"
FORMS = {"verb": conftest.VERBS, "object": conftest.OBJECTS}


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> index.Dataset:
    return conftest.write_dataset(tmp_path_factory.mktemp("many") / "many", test_videos=20)


class Alone:
    """What the network says of one text and the clips of one example, each pair by itself."""

    def __init__(self, bundle, split: index.Split):
        self.model = PretrainedModel(bundle)
        self.tokenizer, self.split = self.model.tokenizer, split
        self.texts = split.texts(range(len(split)))
        self.labels = {
            kind: [split.labels[kind].names[i] for i in split.labels[kind].ids.tolist()]
            for kind in FORMS
        }
        network = VideoBert(bundle.config)

        @jax.jit
        def judged(variables, ids, segments, features, shown):
            apply = lambda method, *inputs: network.apply(variables, *inputs, method=method)  # noqa: E731
            clips = shown * jnp.ones(features.shape[:2], jnp.int32)
            places = jnp.arange(TEXT)[None], jnp.arange(features.shape[1])[None]
            text = apply("encode_text", ids, segments, places[0])
            video = apply("encode_video", features, clips, places[1], clips < 0)
            fused, clips_fused = apply("fuse", text, segments, video, clips)
            pooled = apply("pool", fused, segments, clips_fused, clips, 1)
            return {
                "text": apply("text_embeddings", text, segments, 1)[0, 0],
                "video": apply("video_embeddings", video, clips, 1)[0, 0],
                "matching": apply("matching_logits", pooled)[0, 0],
                "pieces": jax.nn.log_softmax(apply("piece_logits", fused)[0]),
            }

        self._judged, self._known = functools.partial(judged, bundle.variables), {}

    def features(self, example: int) -> np.ndarray:
        split, count = self.split, int(self.split.clip_count[example])
        out = np.zeros((count, split.contract.dim), np.float16)
        numbers = (0, split.video[example], split.first_clip[example], count)
        ClipReader(split, 1).read_into(out, *(np.array([n], np.int64) for n in numbers))
        return out.astype(np.float32)

    def __call__(self, pieces: tuple[int, ...], example: int, shown: bool = True) -> dict:
        """pieces: of the text, without [CLS] and [SEP]. shown: whether the clips are."""
        if (pieces, example, shown) not in self._known:
            ids, segments = np.zeros((2, 1, TEXT), np.int32)
            whole = [self.tokenizer.cls_id, *pieces, self.tokenizer.sep_id]
            ids[0, : len(whole)], segments[0, : len(whole)] = whole, 1
            found = self._judged(ids, segments, self.features(example)[None], int(shown))
            self._known[pieces, example, shown] = jax.device_get(found)
        return self._known[pieces, example, shown]

    def caption(self, number: int) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode([self.texts[number]])[0])

    def best(self, kind: str, blank: templates.Blank, example: int, shown: bool = True) -> str:
        """The label of which all forms together are the likeliest in the blank."""
        scores = {
            label: [self._tried(form, blank, example, shown) for form in forms]
            for label, forms in FORMS[kind].items()
        }
        return max(scores, key=lambda label: np.logaddexp.reduce(scores[label]))

    def _tried(self, form: str, blank: templates.Blank, example: int, shown: bool) -> float:
        """Mean log-probability of the form's pieces in as many masks; a text is cut at its end."""
        (pieces,) = self.tokenizer.encode([form])
        text = (*blank.before, *[self.tokenizer.mask_id] * len(pieces), *blank.after)[: TEXT - 2]
        at = 1 + len(blank.before) + np.arange(len(pieces))
        return float(self(text, example, shown)["pieces"][at, pieces].mean())


@pytest.fixture(scope="module")
def alone(bundle, many) -> Alone:
    return Alone(bundle, many.split("test"))


def check_retrieval(context: EvaluationContext, alone: Alone, count: int) -> None:
    result = retrieval.evaluate(context, shortlist=SHORTLIST)
    own = [alone(alone.caption(n), n) for n in range(count)]
    sides = {"text_to_video": ("text", "video"), "video_to_text": ("video", "text")}
    for name, (asked, found) in sides.items():
        places, reranked = [], []
        for query in range(count):
            cosines = [float(own[query][asked] @ own[other][found]) for other in range(count)]
            places.append(1 + sum(cosine > cosines[query] for cosine in cosines))
            order = sorted(range(count), key=lambda other: -cosines[other])[:SHORTLIST]  # noqa: B023
            reranked.append(places[-1])
            if query in order:
                pairs = {o: (query, o) if asked == "text" else (o, query) for o in order}
                logits = {o: alone(alone.caption(t), v)["matching"] for o, (t, v) in pairs.items()}
                reranked[-1] = 1 + sum(logit > logits[query] for logit in logits.values())
        for prefix, ranks in (("", places), ("reranked_", reranked)):
            assert [line[f"{prefix}{name}_rank"] for line in result.examples] == ranks
            for at in (1, 5, 10, 50):
                recall = sum(rank <= at for rank in ranks) / count
                assert result.metrics[f"{prefix}{name}_R{at}"] == pytest.approx(recall, abs=1e-6)
            assert result.metrics[f"{prefix}{name}_mean_rank"] == pytest.approx(sum(ranks) / count)


def check_zero_shot(context: EvaluationContext, alone: Alone, count: int) -> None:
    result = zero_shot_classification.evaluate(context, template_texts=[TEMPLATE])
    for kind in FORMS:
        blank = templates.blank(TEMPLATE, kind, alone.tokenizer)
        best = [alone.best(kind, blank, n) for n in range(count)]
        assert [line[kind]["best"][0] for line in result.examples] == best
        right = sum(map(str.__eq__, best, alone.labels[kind])) / count
        assert result.metrics[f"{kind}_top1"] == pytest.approx(right, abs=1e-6)


def check_fill_mask(context: EvaluationContext, alone: Alone, count: int) -> None:
    result = fill_mask.evaluate(context)
    for kind, forms in FORMS.items():
        right = {True: 0, False: 0}
        for number in range(count):
            label = alone.labels[kind][number]
            (places,) = (
                at for name, _, at in words.find_forms(alone.texts[number], forms) if name == label
            )
            blank = templates.hide(alone.texts[number], places, alone.tokenizer)
            for shown in right:
                right[shown] += alone.best(kind, blank, number, shown) == label
        for shown, condition in ((True, "with_video"), (False, "without_video")):
            accuracy = result.metrics[f"{kind}_accuracy_{condition}"]
            assert accuracy == pytest.approx(right[shown] / count, abs=1e-6)


def check_captions(context: EvaluationContext, alone: Alone, count: int) -> None:
    result = captioning.evaluate(context, SETTINGS)
    written = [alone.model.caption(alone.features(n), num_beams=2)[0] for n in range(count)]
    assert [line["caption"] for line in result.examples] == written
    references = [[text] for text in alone.texts[:count]]
    pairs = caption_pairs.pair(enumerate(written), enumerate(references), wordless_candidates=True)
    expected = caption_scores.score(pairs).summary()
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)


CHECKS: tuple[Callable[[EvaluationContext, Alone, int], None], ...] = (
    check_retrieval,
    check_zero_shot,
    check_fill_mask,
    check_captions,
)


@pytest.mark.long  # a minute each
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_figures_are_those_of_one_example_at_a_time(bundle, many, alone, monkeypatch, devices):
    for module in (rows, encoding, fits):
        monkeypatch.setattr(module, "ROWS", ROWS)
    mesh = meshes.create_mesh(meshes.MeshConfig(devices, 1, 1), jax.devices()[:devices])
    runner, batch = encoding.ModelRunner(bundle, mesh=mesh), ROWS * devices
    programs, compiled = [], captioning._compiled
    compiled.cache_clear()  # another test may have written other lengths by the same program
    monkeypatch.setattr(
        captioning, "_compiled", lambda *of: programs.append(compiled(*of)) or programs[-1]
    )
    for count in dict.fromkeys((1, batch + 1, 3 * batch + 1)):
        context = EvaluationContext(bundle, many, many.split("test"), 0, limit=count)
        vars(context).update(runner=runner)
        for check in CHECKS:
            check(context, alone, count)
    assert len(programs) == 3
    assert programs[-1]._cache_size() == 1  # one length of texts, one program for all counts
