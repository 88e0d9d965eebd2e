"""`videobert demonstrate --checkpoint WORKDIR|EXPORT`: VideoBERT's two demonstrations.

Text to video: of the sentences of a video, the visual words that the network tells with no clip
shown. Future prediction: of each step, with no text, the words of the clips that follow. Words are
shown as the clips of --clips that are nearest to them (Sun et al. 2019, figures 1 and 2). Also how
often the nearest clip has the labels of the sentence, or of what truly follows, over the whole
split, beside clips drawn by chance.
"""

import argparse
import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from videobert_jax.files import extras

if TYPE_CHECKING:
    import numpy as np

    from videobert_jax.data.index import Split
    from videobert_jax.inference.demonstration import Clips, Question
    from videobert_jax.inference.demonstration_picture import Row

HELP = "draw what a network with visual words sees in sentences, and what it expects next (PNG)"
ROWS = 6  # of either demonstration
CLIPS_OF_WORD = 2


class DemonstrationError(ValueError):
    """Nothing that can be shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", required=True, help="WORKDIR, WORKDIR@STEP or the folder of an export"
    )
    parser.add_argument("--dataset", help="prepared dataset; default: the one trained on")
    parser.add_argument("--split", default="test", help="whose sentences and steps; default test")
    parser.add_argument(
        "--clips", default="train_steps", help="split whose clips words are shown as"
    )
    parser.add_argument("--video", help="the one that is drawn; default: the split's first")
    parser.add_argument("--output", type=pathlib.Path, help="PNG; default: no picture")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the figures to")
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the figures, and draws. Raises DemonstrationError, EvaluationError, InputError,
    DatasetError, ContractMismatch, MissingExtra."""
    from videobert_jax import loading, schema
    from videobert_jax.cli import evaluate
    from videobert_jax.data import index, local_copy
    from videobert_jax.files import atomic
    from videobert_jax.inference import demonstration
    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.training import hardware

    devices = hardware.start(arguments.platform)
    bundle = loading.load_bundle(arguments.checkpoint)
    words = demonstration.tree(bundle)
    given = arguments.dataset
    path = local_copy.opened_path(given) if given else evaluate.own_dataset(bundle)
    dataset = index.open_dataset(path)
    dataset.contract.verify_against(
        bundle.contract, found=f"dataset {dataset.path}", expected=f"checkpoint {bundle.name}"
    )
    split, pool = dataset.split(arguments.split), dataset.split(arguments.clips)
    if not split.labels or not split.labels.keys() <= pool.labels.keys():
        raise DemonstrationError(
            f"{dataset.path}: split {split.name!r} has labels of {', '.join(split.labels) or 'no'} "
            f"kinds and {pool.name!r} of {', '.join(pool.labels) or 'none'}; both need the same "
            "kinds, to tell what is right: choose others with --split and --clips."
        )
    if arguments.output is not None and dataset.name not in schema.EMBEDDED:
        raise DemonstrationError(
            f"--output draws clips of the kitchen alone; {dataset.name} is features without "
            "pictures: leave --output out for the figures."
        )
    asked = _questions(split)
    print(devices)
    model = PretrainedModel(bundle)
    shown = _Shown(clips_of(pool), pool)
    nearest = demonstration.nearest_clips(words, shown.clips)
    record, told = {}, {}
    for name, questions in asked.items():
        present = [len(of) > 0 for of in nearest]
        told[name] = demonstration.told_words(model, [q.asked for q in questions], present)
        of = demonstration.agreement([q.asked for q in questions], told[name], nearest, shown.clips)
        record[name] = of
        print(f"{name}: {said(of)}")
    if arguments.json is not None:
        atomic.write_json(arguments.json, record)
        print(f"-> {arguments.json}")
    if arguments.output is not None:
        png = _draw(arguments, model, split, shown, nearest, asked, told, record)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(arguments.output, png)
        print(f"-> {arguments.output}")
    return 0


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A question, and where it is: its example, and the first of the clips that are told."""

    asked: "Question"
    example: int
    first_told: int


@dataclasses.dataclass(frozen=True)
class _Shown:
    clips: "Clips"
    split: "Split"


def said(agreement: dict[str, dict[str, float]]) -> str:
    """The figures in a line."""
    parts = [
        f"{kind} {100 * of['nearest_clip']:.1f} % (by chance {100 * of['chance']:.1f} %)"
        for kind, of in agreement.items()
    ]
    count = next(iter(agreement.values()))["num_questions"]
    return f"of {count:.0f} questions the nearest clip has the right {', '.join(parts)}"


def clips_of(split: "Split") -> "Clips":
    """The clips of the labelled examples of a split.

    Raises DemonstrationError where there is none, EvaluationError on damaged features.
    """
    import numpy as np

    from videobert_jax.data import packing
    from videobert_jax.inference.demonstration import Clips

    if not split.clip_count.any():
        raise DemonstrationError(
            f"split {split.name!r} has no example with clips to show words as; choose another with "
            "--clips."
        )
    features = _features(split)
    owners, places = packing.spread(split.clip_count.astype(np.int64))
    videos = split.video[owners].astype(np.int64)
    numbers = (split.first_clip[owners] + places).astype(np.int64)
    starts = np.cumsum(split.num_clips) - split.num_clips
    names = {kind: np.array([*of.names, ""])[of.ids] for kind, of in split.labels.items()}
    return Clips(
        features[starts[videos] + numbers],
        videos,
        numbers,
        {kind: of[owners] for kind, of in names.items()},
    )


def _features(split: "Split") -> "np.ndarray":
    """All clips of a split, float32, video after video."""
    import numpy as np

    from videobert_jax.tasks import whole_videos

    videos = np.flatnonzero(split.num_clips > 0).tolist()
    parts = [of.features for of in whole_videos.read(split, videos, parallel_reads=1)]
    return np.concatenate(parts).astype(np.float32)


def _labels(split: "Split", example: int) -> dict[str, str]:
    found = {kind: int(of.ids[example]) for kind, of in split.labels.items()}
    return {kind: split.labels[kind].names[of] for kind, of in found.items() if of >= 0}


def _questions(split: "Split") -> dict[str, list[_Asked]]:
    """Questions of each demonstration that a split has some of; says which one it has none of.

    Raises DemonstrationError where it has none at all.
    """
    found = {"text_to_video": _sentences(split), "future_prediction": _futures(split)}
    needs = {
        "text_to_video": "an example with a caption, clips and a label",
        "future_prediction": "two steps with clips in a row, the second one labelled",
    }
    without = [
        f"{name}: split {split.name!r} has no {needs[name]}" for name in found if not found[name]
    ]
    if len(without) == len(found):
        raise DemonstrationError(f"{'; '.join(without)}; choose another with --split.")
    for reason in without:
        print(f"{reason}; left out")
    return {name: questions for name, questions in found.items() if questions}


def _sentences(split: "Split") -> list[_Asked]:
    """The captions of labelled examples, of which no clip is shown."""
    import numpy as np

    from videobert_jax.inference.demonstration import Question

    none = np.zeros((0, split.contract.dim), np.float32)
    texts = split.texts(range(len(split)))
    return [
        _Asked(
            Question(texts[example], none, int(split.clip_count[example]), labels),
            example,
            int(split.first_clip[example]),
        )
        for example in range(len(split))
        if texts[example] and split.clip_count[example] and (labels := _labels(split, example))
    ]


def _futures(split: "Split") -> list[_Asked]:
    """The clips of every step, and the labels of the one that follows in its video."""
    from videobert_jax.inference.demonstration import NEXT_CLIPS, Question

    if not split.clip_count.any():
        return []
    features = _features(split)
    starts = split.num_clips.cumsum() - split.num_clips
    found = []
    for example in range(len(split) - 1):
        after, video = example + 1, int(split.video[example])
        counts = split.clip_count[example], split.clip_count[after]
        labels = _labels(split, after)
        if video != split.video[after] or not min(counts) or not labels:
            continue
        first = int(starts[video] + split.first_clip[example])
        shown = features[first : first + int(counts[0])]
        asked = Question("", shown, min(NEXT_CLIPS, int(counts[1])), labels)
        found.append(_Asked(asked, example, int(split.first_clip[after])))
    return found


def _draw(
    arguments: argparse.Namespace,
    model: Any,
    split: "Split",
    shown: _Shown,
    nearest: "list[np.ndarray]",
    asked: dict[str, list[_Asked]],
    told: "dict[str, np.ndarray]",
    record: dict[str, dict[str, dict[str, float]]],
) -> bytes:
    extras.require("PIL", "kitchen")
    from videobert_jax.inference import demonstration_picture

    name = arguments.video or split.videos[0]
    if name not in split.videos:
        raise DemonstrationError(
            f"--video={name}: split {split.name!r} has {len(split.videos)} videos, such as "
            f"{split.videos[0]}."
        )
    video = split.videos.index(name)
    words = [f"word {place + 1}" for place in range(next(iter(told.values())).shape[1])]
    headings = {
        "text_to_video": ["what was filmed", *words],
        "future_prediction": ["what is shown", "what follows", *words],
    }
    titles = {
        "text_to_video": "Text to video: the likeliest visual words of a sentence",
        "future_prediction": "Future prediction: the likeliest visual words of the next clips",
    }
    sections = []
    for key, questions in asked.items():
        own = [n for n, q in enumerate(questions) if split.video[q.example] == video][:ROWS]
        if not own:
            print(f"{key}: no question is about {name}; not drawn")
            continue
        rows = [_row(split, questions[n], told[key][n], nearest, shown) for n in own]
        about = f"{said(record[key]).capitalize()}."
        sections.append(demonstration_picture.Section(titles[key], about, headings[key], rows))
    if not sections:
        raise DemonstrationError(f"--video={name}: no question is about it; name another one.")
    bundle = model.bundle
    subtitle = (
        f"\u201c{bundle.name}\u201d, step {bundle.step}, parameters {bundle.digest[:8]}; words are "
        f"shown as their nearest clips of {shown.split.name}; the videos are drawn by one renderer"
    )
    return demonstration_picture.draw(f"Visual words of {name}", subtitle, sections)


def _row(
    split: "Split",
    question: _Asked,
    words: "np.ndarray",
    nearest: "list[np.ndarray]",
    shown: _Shown,
) -> "Row":
    from videobert_jax.inference.demonstration_picture import Row, Told
    from videobert_jax.kitchen.word_sheet import middle_frame

    name, asked = split.videos[int(split.video[question.example])], question.asked

    def own(first: int, count: int) -> "list[np.ndarray]":
        places = range(first, first + min(count, CLIPS_OF_WORD))
        return [middle_frame(name, clip, split.contract) for clip in places]

    def told(clip: int) -> Told:
        same = [shown.clips.labels[kind][clip] == of for kind, of in asked.labels.items()]
        agrees = "all" if all(same) else "some" if any(same) else "none"
        video = shown.split.videos[int(shown.clips.videos[clip])]
        frame = middle_frame(video, int(shown.clips.numbers[clip]), shown.split.contract)
        return Told(frame, agrees)

    groups = [own(question.first_told, asked.hidden)]
    text = asked.text or f"next: {' '.join(asked.labels.values())}"
    if not asked.text:
        first = int(split.first_clip[question.example])
        groups = [own(first, int(split.clip_count[question.example])), *groups]
    return Row(text, groups, [[told(int(c)) for c in nearest[w][:CLIPS_OF_WORD]] for w in words])
