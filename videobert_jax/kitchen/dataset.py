"""The embedded cooking corpus: real I3D features of drawn, narrated recipe videos.

Splits: train (lines of noisy transcripts with the times of the words), train_steps (the same
videos' exact steps with labels, for supervised baselines alone), validation and test (exact steps
of other videos), test_unseen_backgrounds (on worktops of other materials), test_unseen_pairs (of
verbs with objects that no other split has together), test_frozen (the test's clips without motion:
each repeats its middle frame), transcripts (words of further recipes, text alone). Labels: verb,
object, container; annotations: steps in order, captions in one form, boundaries, questions and
answers. Drawn in 2D by one renderer and narrated by templates: figures measured here say nothing
about real cooking video.
"""

import pathlib
from collections.abc import Sequence

from videobert_jax.data import index, writer
from videobert_jax.kitchen import assets, corpus, ground_truth, palette, vocabulary
from videobert_jax.kitchen.assets import VideoRecord
from videobert_jax.kitchen.narration import Cue

HELP = "the embedded corpus of drawn, narrated cooking videos (no source needed)"
NAME = "kitchen"


def prepare(output: pathlib.Path) -> index.Dataset:
    """Dataset of the shipped assets, written to `output`.

    Raises AssetsError where they are damaged, DatasetError where `output` holds something else.
    """
    shipped = assets.load()
    told = metadata(notes=__doc__ or "")
    out = writer.DatasetWriter(output, NAME, shipped.contract, metadata=told)
    for video in shipped.videos:
        exact = video.split
        if exact == corpus.TRAIN:
            out.add_video(exact, video.name, video.features, _spoken(video.cues))
            exact = "train_steps"
        truth = ground_truth.annotations(video.name, video.steps, video.seconds, palette.OBJECTS)
        out.add_video(exact, video.name, video.features, segments(video), annotation=truth)
        if video.frozen is not None:
            out.add_video(f"{video.split}_frozen", video.name, video.frozen, segments(video))
    for name, cues in shipped.transcripts.items():
        out.add_video("transcripts", name, None, _spoken(cues))
    return out.finish()


def metadata(*, notes: str) -> dict[str, object]:
    """What is said of a dataset of the corpus' clips; `notes`: of its splits."""
    return {
        "regime": "text_video",
        "templates": [vocabulary.TEMPLATE, vocabulary.CONTAINER_TEMPLATE],
        "label_surface_forms": {
            "verb": vocabulary.VERB_FORMS,
            "object": vocabulary.OBJECT_FORMS,
            "container": vocabulary.CONTAINER_FORMS,
        },
        "notes": notes.strip(),
    }


def _spoken(cues: Sequence[Cue]) -> list[writer.Segment]:
    return [writer.Segment(cue.start, cue.end, cue.text) for cue in cues]


def segments(video: VideoRecord, texts: Sequence[str] | None = None) -> list[writer.Segment]:
    """The video's exact steps with their labels; texts: their captions, None for the sentences."""
    told = [step.sentence for step in video.steps] if texts is None else texts
    return [
        writer.Segment(
            step.start,
            step.end,
            text,
            labels={"verb": step.verb, "object": step.object, "container": step.container},
        )
        for step, text in zip(video.steps, told, strict=True)
    ]
