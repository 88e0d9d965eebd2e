"""`videobert align --dataset DIR --output FILE.safetensors`: which lines of a transcript say what
is seen, and over which clips.

A line takes the clips of the scene that it is said over (video/scenes.py); lines without a word
that clips tell (video/seen_words.py) are left out. No label is read. A run takes the file by
`data.sources.NAME.alignment=FILE`, and FILE@DIGEST, as it is printed, alone; the dataset stays as
it is.
"""

import argparse
import pathlib
from typing import TYPE_CHECKING

from videobert_jax.cli import output_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from videobert_jax.data.index import Split
    from videobert_jax.schema import InputStatistics
    from videobert_jax.video.seen_words import SeenWord

HELP = "find the lines of a transcript that say what is seen, and their scenes"
SCENE_PRICE, LEAST_AREA = 1.2, 0.8
_SAMPLE_VIDEOS = 1000  # that say how far clips of a video lie apart
_CHUNK = 10_000  # lines read at a time
_READS = 64  # calls for records under way at a time
_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", type=pathlib.Path, required=True, help="a prepared dataset")
    parser.add_argument("--split", default="train", help="whose lines; default train")
    parser.add_argument(
        "--output", type=output_file.path, required=True, help=".safetensors file to write"
    )
    parser.add_argument(
        "--scene-price",
        type=float,
        default=SCENE_PRICE,
        help="of a scene, in mean squared distances of a clip to the mean of its video: the lower, "
        f"the shorter are scenes; default {SCENE_PRICE}",
    )
    parser.add_argument(
        "--least-area",
        type=float,
        default=LEAST_AREA,
        help="a word is seen where clips tell it with this area under the ROC curve at least (0.5 "
        f"is chance); 0 keeps every line; default {LEAST_AREA}",
    )
    parser.add_argument(
        "--lines",
        type=int,
        default=50_000,
        help="that seen words are measured on at most, evenly spaced; default 50000",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the alignment is written. Raises AlignmentError, DatasetError."""
    import numpy as np

    from videobert_jax.data import alignment, index

    price, area = arguments.scene_price, arguments.least_area
    if not (price > 0 and 0 <= area <= 1 and arguments.lines >= 1):
        raise alignment.AlignmentError(
            f"--scene-price={price} --least-area={area} --lines={arguments.lines}: expected a "
            "price above 0, an area from 0 to 1, one line or more"
        )
    dataset = index.open_dataset(arguments.dataset)
    split = dataset.split(arguments.split)
    statistics = dataset.statistics
    if statistics is None or not (split.clip_count > 0).any():
        raise alignment.AlignmentError(
            f"{arguments.dataset}: split {split.name!r} has no clips that lines are said over; "
            "choose another with --split"
        )
    if not split.contract.stride_seconds > 0:
        raise alignment.AlignmentError(
            f"{arguments.dataset}: stride_seconds={split.contract.stride_seconds} in its contract, "
            "so that clips have no times to compare with those of lines; expected seconds from one "
            "clip to the next"
        )
    scenes, first_clip, clip_count = _scenes(statistics, split, price)
    shown = np.flatnonzero(clip_count > 0)
    told = _seen(split, shown, (first_clip, clip_count), arguments.lines) if area else {}
    seen = {word: of for word, of in told.items() if of.is_seen(area)}
    kept = shown[_says_any(split, shown, set(seen))] if area else shown
    if not len(kept):
        raise alignment.AlignmentError(
            f"{arguments.dataset}: split {split.name!r}: 0 examples kept, none says a word that "
            f"clips tell with an area of {area} or more; lower --least-area (0 keeps every line)"
        )
    about = {
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "scene_price": price,
        "least_area": area,
        "seen_words": sorted(seen),
    }
    named = alignment.write(arguments.output, split, kept, first_clip, clip_count, about)
    moved = (first_clip != split.first_clip) | (clip_count != split.clip_count)
    print(f"{scenes:,} scenes in {len(split.videos):,} videos of {dataset.name}/{split.name}")
    if area:
        _report(seen)
    print(f"{len(kept):,} of {len(split):,} lines kept, {moved[kept].sum():,} with other clips")
    print(f"{arguments.output} written; a run takes it, and no other, by")
    print(f"  --config.data.sources.NAME.alignment={named}")
    return 0


def _report(seen: "dict[str, SeenWord]") -> None:
    best = sorted(seen, key=lambda word: (-seen[word].area, word))[:_SHOWN]
    listed = ", ".join(f"{word} {seen[word].area:.2f}" for word in best)
    print(f"{len(seen):,} words are seen; the surest, by their areas: {listed or 'none'}")


def _scenes(
    statistics: "InputStatistics", split: "Split", price: float
) -> "tuple[int, np.ndarray, np.ndarray]":
    """(number of scenes, first clip and number of clips of each line). Lines over no scene, and
    those of damaged videos, keep what they have."""
    import numpy as np

    from videobert_jax.data import alignment
    from videobert_jax.files.progress import Progress
    from videobert_jax.video import scenes

    first_clip, clip_count = np.array(split.first_clip), np.array(split.clip_count)
    videos = np.flatnonzero(split.num_clips > 0)
    price *= _scatter(statistics, split, videos)
    order = np.argsort(split.video, kind="stable")
    lines_before = np.searchsorted(split.video[order], np.arange(len(split.videos) + 1))
    number, progress = 0, Progress("videos", len(videos), "scenes")
    for video, clips in _standardised(statistics, split, videos):
        firsts = scenes.first_clips(clips, price)
        number += len(firsts)
        for line in order[lines_before[video] : lines_before[video + 1]]:
            times = float(split.start[line]), float(split.end[line])
            run = alignment.of_scenes(*times, firsts, len(clips), split.contract)
            if run is not None:
                first_clip[line], clip_count[line] = run
        progress.step()
    return number, first_clip, clip_count


def _scatter(statistics: "InputStatistics", split: "Split", videos: "np.ndarray") -> float:
    """How far a clip lies from the mean of its video, squared: the mean over a sample of videos."""
    import numpy as np

    from videobert_jax.video import scenes

    sample = videos[:: -(-len(videos) // _SAMPLE_VIDEOS)]
    clips, total = 0, 0.0
    for _, of_video in _standardised(statistics, split, sample):
        clips, total = clips + len(of_video), total + scenes.scatter(of_video) * len(of_video)
    return total / max(clips, 1) or float(np.finfo(np.float32).tiny)


def _standardised(
    statistics: "InputStatistics", split: "Split", videos: "np.ndarray"
) -> "Iterator[tuple[int, np.ndarray]]":
    """(number, clips) of each undamaged video, as the dataset's statistics standardise them."""
    import numpy as np

    from videobert_jax.data import clip_stream

    for part in clip_stream.whole_videos(split, videos, parallel_reads=_READS):
        for i in np.flatnonzero(~part.damaged):
            clips = part.features[part.starts[i] : part.starts[i + 1]].astype(np.float32)
            yield int(part.videos[i]), (clips - statistics.mean) / statistics.scale


def _seen(
    split: "Split", shown: "np.ndarray", runs: "tuple[np.ndarray, np.ndarray]", most: int
) -> "dict[str, SeenWord]":
    """What is known of the words of these lines, or of so many of them. runs: their clips."""
    import numpy as np

    from videobert_jax.data import alignment
    from videobert_jax.data.reader import ClipReader
    from videobert_jax.tasks import words
    from videobert_jax.video import seen_words

    sample = shown[:: -(-len(shown) // most)]
    first_clip, clip_count = runs
    reader = ClipReader(split, _READS)
    means = np.zeros((len(sample), split.contract.dim), np.float32)
    for start in range(0, len(sample), _CHUNK):
        ids = sample[start : start + _CHUNK]
        videos, firsts, counts = (
            of[ids].astype(np.int64) for of in (split.video, first_clip, clip_count)
        )
        begins = np.cumsum(counts) - counts
        clips = np.zeros((int(counts.sum()), split.contract.dim), np.float16)
        reader.read_into(clips, begins, videos, firsts, counts)
        sums = np.add.reduceat(clips.astype(np.float32), begins)
        means[start : start + len(ids)] = sums / counts[:, None]
    said = [set(words.words_of(text)) for text in split.texts(sample)]
    try:
        return seen_words.measure(means, said, split.video[sample])
    except ValueError as error:
        raise alignment.AlignmentError(
            f"{split.path}: split {split.name!r}: {error}; --least-area=0 keeps every line"
        ) from error


def _says_any(split: "Split", lines: "np.ndarray", chosen: set[str]) -> "np.ndarray":
    """Whether each line says any of these words."""
    import numpy as np

    from videobert_jax.tasks import words

    found = np.zeros(len(lines), np.bool_)
    for start in range(0, len(lines), _CHUNK):
        texts = split.texts(lines[start : start + _CHUNK])
        found[start : start + len(texts)] = [
            not chosen.isdisjoint(words.words_of(text)) for text in texts
        ]
    return found
