"""Questions as examples: the corpus' own, with candidates of which one is right."""

import collections
import dataclasses

import pytest

from videobert_jax.kitchen import assets, ground_truth, palette, question_dataset


@pytest.fixture(scope="module")
def shipped():
    """The first video of each split, and what else ships."""
    found = assets.load()
    first = {video.split: video for video in reversed(found.videos)}
    return dataclasses.replace(found, videos=tuple(first.values()))


def test_every_question_is_an_example_with_its_answer(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "load", lambda: shipped)
    prepared = question_dataset.prepare(tmp_path / "kitchen_qa")
    assert set(prepared.splits) == {video.split for video in shipped.videos}
    for video in shipped.videos:
        split = prepared.splits[video.split]
        asked = ground_truth.questions(video.steps, video.seconds, palette.OBJECTS)
        assert split.videos == [video.name] and len(split) == len(asked)
        assert split.texts(range(len(split))) == [question.question for question in asked]
        labels = split.labels["answer"]
        assert [labels.names[n] for n in labels.ids.tolist()] == [q.answer for q in asked]
        (entry,) = prepared.annotations(video.split)
        for row, question in zip(entry["questions"], asked, strict=True):
            assert {**row, **dataclasses.asdict(question)} == row
        whole = [question.kind in ("next", "before", "count", "exists") for question in asked]
        counts = split.clip_count[:].tolist()
        of_whole = {counts[i] for i, is_whole in enumerate(whole) if is_whole}
        of_steps = {counts[i] for i, is_whole in enumerate(whole) if not is_whole}
        assert min(of_whole) >= len(video.features) - 1 and min(of_steps) >= 1
        assert max(of_steps) < 6


def test_candidates_are_drawn_among_the_answers_of_their_kind(shipped):
    places, kinds = collections.Counter(), {}
    for video in shipped.videos:
        rows = question_dataset.questions(video)
        assert rows == question_dataset.questions(video)
        for row in rows:
            kinds.setdefault(row["kind"], set()).update(row.get("candidates", ()))
            if "candidates" in row:
                assert len(set(row["candidates"])) == len(row["candidates"]) == 5
                assert row["candidates"][row["correct"]] == row["answer"]
                places[row["correct"]] += 1
    assert set(places) == set(range(5))
    assert kinds["verb"] <= set(palette.VERBS) and kinds["object"] <= set(palette.OBJECTS)
    assert kinds["container"] == set(palette.CONTAINERS) and "rolling pin" in kinds["tool"]
    assert not kinds["exists"] and not kinds["next"] and not kinds["count"]
