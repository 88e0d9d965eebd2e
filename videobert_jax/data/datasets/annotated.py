"""Published annotations and features of videos, brought together in one dataset.

A dataset of the field is read by a module of its own into a `Corpus`; what is the same for all is
here: which videos may be trained on, what is done about absent features, and what of both a result
must say.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from videobert_jax.data import index, video_ids, writer
from videobert_jax.data.importers import FeatureSource
from videobert_jax.data.segments import Segment

_NAMED = 20  # videos that a message lists


@dataclasses.dataclass(frozen=True)
class AnnotatedVideo:
    """A video by canonical id; `annotation` is ground truth beyond its segments."""

    name: str
    segments: tuple[Segment, ...]
    annotation: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class StreamedVideos:
    """Videos that are read anew whenever they are gone through: one is in memory at a time.

    read: gives them; names: of those that there are.
    """

    read: Callable[[], Iterable[AnnotatedVideo]]
    names: frozenset[str]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[AnnotatedVideo]:
        return (video for video in self.read() if video.name in self.names)


@dataclasses.dataclass
class Corpus:
    """Videos of a dataset: its `name`, `notes` on its making, and `splits`, videos by the name of
    their split. `protocols`: evaluation split -> name of its protocol. `failures`: what was
    left out, each with "video" and "reason". `surface_forms`: kind of label -> name -> how it is
    said, where something says so for all labels. `task_steps`: task -> its steps in order, labels
    of the kind "step", where its videos need not show all of them."""

    name: str
    notes: str
    splits: dict[str, list[AnnotatedVideo] | StreamedVideos]
    protocols: dict[str, str]
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    surface_forms: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)
    task_steps: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def ids(self, split: str) -> set[str]:
        """Names of a split's videos."""
        videos = self.splits[split]
        if isinstance(videos, StreamedVideos):
            return set(videos.names)
        return {video.name for video in videos}

    def add(self, split: str, video: AnnotatedVideo) -> None:
        """Appends a video to a split that is a list. Raises TypeError where it is streamed."""
        videos = self.splits.setdefault(split, [])
        if isinstance(videos, StreamedVideos):
            raise TypeError(f"{split} is streamed; {video.name} cannot be added")
        videos.append(video)

    def leave_out(self, split: str, names: Collection[str]) -> None:
        """Takes the videos of these names out of a split."""
        videos = self.splits[split]
        if isinstance(videos, StreamedVideos):
            self.splits[split] = StreamedVideos(videos.read, videos.names - frozenset(names))
        else:
            self.splits[split] = [video for video in videos if video.name not in names]

    def drop(self, video: str, reason: str) -> None:
        """Says that a video is left out, for what reason, in `failures`."""
        self.failures.append({"video": video, "reason": reason})


@dataclasses.dataclass(frozen=True)
class Choices:
    """evaluation_ids: videos that no training split may have, beside the corpus' own evaluation
    splits. keep_overlap: leave them in, for whoever evaluates on nothing of it. allow_missing:
    build without the videos whose features are absent. asked: option -> what was given, to tell
    the dataset from others that would be made at the same place."""

    evaluation_ids: Collection[str] = ()
    keep_overlap: bool = False
    allow_missing: bool = False
    asked: Mapping[str, str] = dataclasses.field(default_factory=dict)


def segments_of(
    corpus: Corpus, video: str, rows: Collection[Mapping[str, Any]], duration: float | None = None
) -> tuple[Segment, ...]:
    """Segments of rows with "start", "end", "text" and maybe "labels", in the order given.

    Those that cannot be are left out and told in `corpus.failures`: times that are no numbers,
    negative, turned round or behind the video's end, and texts that are empty or none.
    """
    kept = []
    for number, row in enumerate(rows):
        try:
            start, end = float(row["start"]), float(row["end"])
        except (OverflowError, TypeError, ValueError):
            corpus.drop(
                video, f"segment {number}: times {row['start']!r:.40} to {row['end']!r:.40}"
            )
            continue
        if not 0 <= start <= end < float("inf"):
            corpus.drop(video, f"segment {number}: from {start} to {end} s")
        elif duration is not None and start >= duration:
            corpus.drop(video, f"segment {number}: begins at {start} s of {duration} s")
        elif not isinstance(row["text"], str) or not row["text"].strip():
            corpus.drop(video, f"segment {number}: no text")
        else:
            kept.append(Segment(start, end, row["text"].strip(), row.get("labels", {})))
    return tuple(kept)


# DatasetWriter or what takes its place, called (output, name, contract, metadata=, num_videos=).
NewWriter = Callable[..., Any]


def write(
    corpus: Corpus,
    source: FeatureSource,
    output: pathlib.Path | str,
    choices: Choices,
    new_writer: NewWriter = writer.DatasetWriter,
) -> index.Dataset | None:
    """The dataset at `output`, with `failures.jsonl` where something was left out; None where
    that is a URL, which can be written and not opened.

    Raises DatasetError where features are missing and `allow_missing` was not said. With it,
    examples of evaluation splits stay, without clips, and results count them; videos of training
    splits are left out. Damaged features are treated alike, but a training video keeps its name.
    """
    removed = _remove_overlap(corpus, choices)
    missing = {split: sorted(corpus.ids(split) - set(source.videos)) for split in corpus.splits}
    if not choices.allow_missing:
        _require_all(corpus, missing)
    out = new_writer(
        output,
        corpus.name,
        source.contract,
        metadata={
            "regime": "text_video",
            "notes": corpus.notes,
            "protocols": corpus.protocols,
            "asserted_contract": list(source.asserted),
            "overlap_removed": removed,
            "overlap_kept": choices.keep_overlap,
            index.ASKED: dict(choices.asked),
        }
        | ({"label_surface_forms": corpus.surface_forms} if corpus.surface_forms else {})
        | ({"task_steps": corpus.task_steps} if corpus.task_steps else {}),
        num_videos={split: len(videos) for split, videos in corpus.splits.items()},
    )
    for split, videos in corpus.splits.items():
        for video in videos:
            _add(out, corpus, split, video, source)
    return out.finish(corpus.failures)


def _remove_overlap(corpus: Corpus, choices: Choices) -> dict[str, list[str]]:
    """Training split -> the videos taken out of it because something is evaluated on them."""
    held_out = {video_ids.canonical(name) for name in choices.evaluation_ids}
    for split in corpus.protocols:
        held_out |= corpus.ids(split)
    removed = {}
    for split in corpus.splits:
        shared = sorted(corpus.ids(split) & held_out) if split not in corpus.protocols else []
        if not shared:
            continue
        if choices.keep_overlap:
            _say(f"{split}: {len(shared)} videos of evaluation splits are kept: --keep-overlap")
            continue
        removed[split] = shared
        corpus.leave_out(split, held_out)
        listed = ", ".join(shared[:_NAMED]) + (" ..." if len(shared) > _NAMED else "")
        _say(f"{split}: {len(shared)} videos of evaluation splits are left out: {listed}")
    return removed


def _require_all(corpus: Corpus, missing: Mapping[str, list[str]]) -> None:
    if not any(missing.values()):
        return
    parts = [
        f"{split}: {len(names)} of {len(corpus.splits[split])} videos ({', '.join(names[:_NAMED])}"
        + (", ..." if len(names) > _NAMED else "")
        + ")"
        for split, names in missing.items()
        if names
    ]
    raise index.DatasetError(
        f"no features of {'; '.join(parts)}. Fetch them, or say --allow-missing: results then "
        "carry how many examples there should be and how many there were"
    )


def _add(
    out: Any,
    corpus: Corpus,
    split: str,
    video: AnnotatedVideo,
    source: FeatureSource,
) -> None:
    features = None
    is_evaluated = split in corpus.protocols
    if video.name in source.videos:
        features = functools.partial(source.features, video.name)
    else:
        corpus.drop(video.name, f"{split}: no features")
        if not is_evaluated:
            return
    annotation = video.annotation
    out.add_video(
        split,
        video.name,
        features,
        video.segments,
        annotation=None if annotation is None else {"video": video.name, **annotation},
        damaged="keep" if is_evaluated else "empty",
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
