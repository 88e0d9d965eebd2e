"""Retrieval figures recomputed from the encodings by sorting, and what re-ranking may change."""

import dataclasses

import numpy as np
import pytest

from tests.tasks.conftest import OBJECTS, VERBS, write_dataset
from videobert_jax.tasks import labels, retrieval, token_states
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.token_states import TokenStates


@pytest.fixture(scope="module")
def result(context):
    return retrieval.evaluate(context, shortlist=6)


def test_figures_are_those_of_sorting_the_cosines(context, result):
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    for name, scores in (("text_to_video", text @ video.T), ("video_to_text", video @ text.T)):
        order = np.argsort(-scores, axis=1)
        places = np.array([row.tolist().index(i) + 1 for i, row in enumerate(order)])
        for at in (1, 5, 10, 50):
            assert result.metrics[f"{name}_R{at}"] == pytest.approx(np.mean(places <= at))
        assert result.metrics[f"{name}_median_rank"] == np.median(places)
        assert result.metrics[f"{name}_mean_rank"] == pytest.approx(np.mean(places))
        assert [line[f"{name}_rank"] for line in result.examples] == places.tolist()
        assert [line["found"][name] for line in result.examples] == order[:, 0].tolist()


def test_reranking_reorders_the_shortlist_by_the_matching_head(context, result):
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    changed = 0
    for name, scores in (("text_to_video", text @ video.T), ("video_to_text", video @ text.T)):
        for query, line in enumerate(result.examples):
            best = np.argsort(-scores[query])[:6]
            if query not in best:
                assert line[f"reranked_{name}_rank"] == line[f"{name}_rank"]
                continue
            sides = (np.full(6, query), best)
            texts, videos = sides if name == "text_to_video" else sides[::-1]
            logits = context.runner.matching_scores(context.encodings, texts, videos)
            place = 1 + best[np.argsort(-logits)].tolist().index(query)
            assert line[f"reranked_{name}_rank"] == place
            changed += place != line[f"{name}_rank"]
    assert changed, "an untrained matching head must reorder something for this test to say a thing"


@pytest.mark.long
def test_states_that_are_too_many_to_keep_are_made_again_for_some_pairs_at_a_time(
    bundle, dataset, context, result, monkeypatch
):
    monkeypatch.setattr(token_states, "KEPT_BYTES", 0)
    shape = context.encodings.text.shape[1:], context.encodings.video.shape[1:]
    of_pair = sum(4 * length * dim for length, dim in shape)
    monkeypatch.setattr(token_states, "GROUP_BYTES", 10 * of_pair)
    other = EvaluationContext(bundle, dataset, context.split, 0)
    vars(other).update(runner=context.runner, fits=context.fits)
    made = []
    original = TokenStates.__getitem__

    def noted(states, rows):
        found = original(states, rows)
        made.append((len(found), bool((found == kept(states)[rows]).all())))
        return found

    def kept(states):
        own = context.encodings
        return own.text if states is other.encodings.text else own.video

    monkeypatch.setattr(TokenStates, "__getitem__", noted)
    again = retrieval.evaluate(other, shortlist=6)
    assert again.metrics == result.metrics and again.examples == result.examples
    assert len(made) == 2 * 2 * (30 * 6 // 10) and max(count for count, _ in made) <= 10
    assert all(same for _, same in made)


def test_linear_baseline_learns_what_the_untrained_network_cannot(result):
    ridge, chance = result.baselines["supervised_ridge"], result.baselines["chance"]
    assert ridge["text_to_video_R10"] > 2 * chance["text_to_video_R10"]
    assert chance["text_to_video_R1"] == pytest.approx(1 / 30)
    assert set(chance) == set(ridge) == set(result.metrics)


def test_cut_examples_and_repeated_captions_are_counted(bundle, dataset, result):
    assert result.details["num_duplicate_captions"] == 0
    assert result.truncation == {"video_examples_cut": 0, "text_examples_cut": 0}
    short = dataclasses.replace(
        bundle, data=dataclasses.replace(bundle.data, text_length=16, video_length=2)
    )
    split = dataset.split("test")
    cut = retrieval.evaluate(EvaluationContext(short, dataset, split, 0), shortlist=0).truncation
    assert cut["video_examples_cut"] == (split.clip_count > 2).sum() > 0
    assert cut["text_examples_cut"] == 30


def test_same_action_ranks_are_those_of_the_first_caption_or_clip_with_the_labels(context, result):
    split = context.split
    actions = [
        tuple(split.labels[kind].names[split.labels[kind].ids[i]] for kind in ("verb", "object"))
        for i in range(len(split))  # not "size", which the dataset declares no forms of
    ]
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    other = 0
    for name, scores in (("text_to_video", text @ video.T), ("video_to_text", video @ text.T)):
        for query, line in enumerate(result.examples):
            order = np.argsort(-scores[query]).tolist()
            first = next(c for c in order if actions[c] == actions[query])
            assert line[f"{name}_same_action_rank"] == 1 + order.index(first)
            other += first != query
        ranks = [line[f"{name}_same_action_rank"] for line in result.examples]
        assert result.metrics[f"{name}_same_action_R5"] == np.mean(np.array(ranks) <= 5)
    assert other, "another clip of the same action must come first somewhere"
    drawn = np.random.default_rng(0).random((400, 30)).argsort(axis=1).argsort(axis=1)
    first = [drawn[:, [c for c in range(30) if actions[c] == of]].min(axis=1) + 1 for of in actions]
    chance = result.baselines["chance"]
    assert chance["text_to_video_same_action_R5"] == pytest.approx(
        np.mean(np.array(first) <= 5), abs=0.02
    )


def test_label_oracle_is_the_mean_over_orders_of_what_fits_the_caption(context, result):
    texts = context.split.texts(range(len(context.split)))
    said = [tuple(text.split(",")[0].split("now ")[1].split(" the ")) for text in texts]
    random, hits = np.random.default_rng(0), []
    for query, action in enumerate(said):  # a verb and an object's form: "stir", "onions"
        fitting = [example for example, other in enumerate(said) if other == action]
        places = [random.permutation(fitting).tolist().index(query) + 1 for _ in range(400)]
        hits.append(np.mean(np.array(places) <= 1))
    oracle = result.baselines["label_oracle"]
    assert oracle["text_to_video_R1"] == pytest.approx(np.mean(hits), abs=0.02)
    assert oracle["text_to_video_R1"] < 1


def test_a_caption_fits_any_label_of_a_kind_that_it_does_not_name(tmp_path):
    forms = {"verb": VERBS, "object": OBJECTS}
    silent = {"size": {"small": ["small"], "large": ["large"]}}
    fits = []
    for name, declared in (("without", forms), ("with", {**forms, **silent})):
        made = write_dataset(tmp_path / name, metadata={"label_surface_forms": declared})
        split = made.split("test")
        fits.append(labels.num_fitting(made, split, np.arange(len(split))))
    assert 1 <= fits[0].min() < fits[0].max() < len(split)
    np.testing.assert_array_equal(*fits)


def test_captions_that_say_another_label_fit_their_own_example_all_the_same(context):
    split, names = context.split, {"verb": sorted(VERBS), "object": sorted(OBJECTS)}
    ids = np.arange(len(split))
    verbs = split.labels["verb"]
    moved = dataclasses.replace(verbs, ids=np.roll(verbs.ids, 1))
    for of, wrong in (
        (split, False),
        (dataclasses.replace(split, labels={**split.labels, "verb": moved}), True),
    ):
        has = [
            tuple(of.labels[kind].names[of.labels[kind].ids[one]] for kind in names)
            for one in ids.tolist()
        ]
        said = [
            tuple(split.labels[kind].names[split.labels[kind].ids[one]] for kind in names)
            for one in ids.tolist()
        ]
        expected = [
            sum(has[other] == said[one] or other == one for other in ids.tolist())
            for one in ids.tolist()
        ]
        assert any(a != b for a, b in zip(has, said, strict=True)) == wrong
        assert labels.num_fitting(context.dataset, of, ids).tolist() == expected


def test_dual_softmax_is_the_formula_over_the_whole_matrix(context, result):
    found = retrieval.evaluate(context, shortlist=4, normalization="dual_softmax")
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    cosines = text.astype(np.float64) @ video.astype(np.float64).T
    changed = 0
    for name, scores in (("text_to_video", cosines), ("video_to_text", cosines.T)):
        weights = np.exp(100 * scores) / np.exp(100 * scores).sum(axis=0, keepdims=True)
        order = np.argsort(-scores * weights, axis=1)
        places = [row.tolist().index(i) + 1 for i, row in enumerate(order)]
        assert [line[f"{name}_rank"] for line in found.examples] == places
        changed += places != [line[f"{name}_rank"] for line in result.examples]
    assert changed and "Dual softmax (scale 100)" in found.protocol
    assert found.protocol != result.protocol  # so that the two are never compared
    ridge = "supervised_ridge"
    assert found.baselines[ridge] != result.baselines[ridge]
    with pytest.raises(ValueError, match="'softmax' is none of none, dual_softmax"):
        retrieval.evaluate(context, shortlist=0, normalization="softmax")


def test_every_baseline_has_its_ranks_in_the_lines(result):
    ranks = np.array(
        [line["baselines"]["supervised_ridge"]["text_to_video_rank"] for line in result.examples]
    )
    assert np.mean(ranks <= 5) == result.baselines["supervised_ridge"]["text_to_video_R5"]


def test_one_ridge_learns_from_what_the_network_was_trained_on(bundle, tmp_path, result):
    assert "narration_ridge" not in result.baselines  # the only other split is that of the network
    dataset = write_dataset(tmp_path / "steps", steps=True)

    def evaluate(split: str):
        entry = {**bundle.trained_on["datasets"][0], "split": split}
        sources = tuple(dataclasses.replace(s, split=split) for s in bundle.data.sources)
        trained = dataclasses.replace(
            bundle,
            data=dataclasses.replace(bundle.data, sources=sources),
            trained_on={**bundle.trained_on, "datasets": [entry]},
        )
        context = EvaluationContext(trained, dataset, dataset.split("test"), 0)
        return retrieval.evaluate(context, shortlist=0)

    both = evaluate("train")
    texts = {name: [n for n in both.notes if n.startswith(f"{name}:")] for name in both.baselines}
    assert "40 examples of split 'train_steps'" in texts["supervised_ridge"][0]
    assert "60 examples of split 'train'" in texts["narration_ridge"][0]
    assert both.baselines["narration_ridge"] != both.baselines["supervised_ridge"]
    assert set(both.examples[0]["baselines"]) == {"supervised_ridge", "narration_ridge"}
    assert "narration_ridge" not in evaluate("train_steps").baselines


def test_a_split_without_all_labels_has_no_same_action_figures(context):
    unlabelled = dataclasses.replace(context.split, labels={})
    got = retrieval.evaluate(dataclasses.replace(context, split=unlabelled), shortlist=0)
    assert not [name for name in got.metrics if "same_action" in name]


def test_absent_examples_of_a_protocol_are_misses_beside_those_that_are_there(bundle, tmp_path):
    for metadata, absent in (({"protocols": {"test": "synthetic_30"}}, 5), ({"notes": "none"}, 0)):
        dataset = write_dataset(tmp_path / str(absent), absent=True, metadata=metadata)
        context = EvaluationContext(bundle, dataset, dataset.split("test"), 0)
        found = retrieval.evaluate(context, shortlist=0)
        assert len(found.absent) == 5 and len(found.expected) == 25
        assert found.protocol.startswith("synthetic_30. clip-level, 25 queries") == bool(absent)
        names = {name for name in found.metrics if name.endswith("_of_all")}
        if not absent:
            assert not names
            continue
        ranks = np.array([line["text_to_video_rank"] for line in found.examples])
        for at in (1, 5, 10, 50):
            assert found.metrics[f"text_to_video_R{at}_of_all"] == pytest.approx(
                (ranks <= at).sum() / 30
            )
        assert len(names) == 16 and any(
            "the 5 examples without clips as misses" in n for n in found.notes
        )


@pytest.mark.parametrize("rank_by", ["words", "both"])
def test_captions_are_ranked_by_the_words_they_are_expected_to_have(context, rank_by):
    tokenizer, split = context.runner.tokenizer, context.split
    size = context.encodings.piece_presence.shape[1]
    presence = np.random.default_rng(0).normal(0.1, 0.2, (30, size)).astype(np.float32)
    told = dataclasses.replace(context)
    encodings = dataclasses.replace(context.encodings, piece_presence=presence)
    vars(told).update(runner=context.runner, fits=context.fits, encodings=encodings)
    found = retrieval.evaluate(told, shortlist=0, rank_by=rank_by)

    pieces = [set(of) for of in tokenizer.encode(split.texts(context.ids.tolist()))]
    length = np.mean([len(of) for of in pieces])
    share = dict(enumerate(tokenizer.frequencies))

    def rarity(piece):  # a caption has `length` pieces, each drawn by its share
        return -np.log(min(1.0, max(1e-3, 1.0 - (1.0 - share.get(piece, 0.0)) ** length)))

    cosines = np.zeros((30, 30))
    weights = np.array([rarity(piece) for piece in range(size)])
    expected = [np.maximum(of, 0.0) * weights for of in presence]
    for row, own in enumerate(pieces):
        norm = sum(rarity(piece) ** 2 for piece in own) ** 0.5
        for column, of in enumerate(expected):
            dot = sum(rarity(piece) * of[piece] for piece in own)
            cosines[row, column] = dot / norm / np.linalg.norm(of)
    if rank_by == "both":
        towers = context.encodings.text_embeddings @ context.encodings.video_embeddings.T
        cosines = (cosines + towers) / 2
    for name, scores in (("text_to_video", cosines), ("video_to_text", cosines.T)):
        lead = scores - np.diag(scores)[:, None]
        alike = np.abs(lead) < 1e-6  # captions of the same pieces
        places = (lead >= 1e-6).sum(axis=1) + (alike.sum(axis=1) + 1) / 2
        assert [line[f"{name}_rank"] for line in found.examples] == places.tolist()
    assert found.details["rank_by"] == rank_by
    plain = retrieval.evaluate(context, shortlist=0)
    assert plain.details["rank_by"] == "towers" and plain.metrics != found.metrics


def test_words_need_their_head(context):
    told = dataclasses.replace(context)
    encodings = dataclasses.replace(context.encodings, piece_presence=None)
    vars(told).update(runner=context.runner, fits=context.fits, encodings=encodings)
    for rank_by in ("words", "both"):
        with pytest.raises(EvaluationError, match=f"'{rank_by}' needs .* bag-of-words head"):
            retrieval.evaluate(told, rank_by=rank_by)
    with pytest.raises(EvaluationError, match="'eyes' is none of towers, words, both"):
        retrieval.evaluate(context, rank_by="eyes")
