"""Why an objective adds nothing to the ablation's figures: what it asks, beside what is true.

    python -m benchmarks.ablation_reasons [--seed 0] [--json FILE]

Of runs of benchmarks/ablation.py, which are made where they are not yet, three things are asked.

* Masked clips of the tests: how often the recipe's network tells which clip was hidden, with the
  sentence and without it, and how often whoever copies does, who takes the clip that is most like
  the mean of those of the example that can be seen. Candidates are those of the objective.
* Pairs that matching and the cascade judge as mismatched in training: in how many of them do the
  words name verb and object of what the clips show? Of the matched ones, for comparison.
* Retrieval of the tests: R@5 by the joint space, with its best ordered anew by the matching head,
  and as expected where they are ordered by chance.

`ratio` is that of right clips with the sentence over those without. The corpus is drawn in 2D by
one renderer: nothing here says anything about real cooking video.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from benchmarks import ablation, alternate, kitchen_runs
from videobert_jax import loading, schema
from videobert_jax.cli import failures
from videobert_jax.data import index
from videobert_jax.files import storage
from videobert_jax.models import heads
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import cascade, masked_video, matching, passes
from videobert_jax.run_config import RunConfig
from videobert_jax.tasks import labels, report, words
from videobert_jax.text.tokenizer import Tokenizer
from videobert_jax.training import inputs, run_record

HARD, CASCADE, MATCHING = "hard_negatives", "cascade", "matching"
MASKS = 5  # draws of the clips that are hidden
BLOCKS = 30  # of training, whose mismatches are looked at
_SHOWN = ("verb", "object")


@dataclasses.dataclass(frozen=True)
class Trained:
    """The network of a run, and blocks as its training had them."""

    bundle: ModelBundle
    config: RunConfig

    @classmethod
    def of(cls, folder: pathlib.Path) -> "Trained":
        config = run_record.run_config(storage.path(str(folder)))
        return cls(loading.load_bundle(str(folder)), config)

    def apply(self, method: str, *given: Any) -> Any:
        return passes.apply(
            VideoBert(self.bundle.config), self.bundle.variables, None, method, *given
        )

    def opened(self, split: str, seed: int, **masking: Any) -> "Opened":
        """Examples of a split in the place of the run's pairs, alone; masking: its settings."""
        data = self.config.data
        source = next(s for s in data.sources if s.regime == "text_video")
        data = dataclasses.replace(
            data,
            sources=(dataclasses.replace(source, split=split),),
            masking=dataclasses.replace(data.masking, **masking),
        )
        run = dataclasses.replace(self.config, data=data, seed=seed)
        sources = inputs.open_sources(run)
        return Opened(
            sources, inputs.block_builder(run, sources, Tokenizer(self.bundle.tokenizer_model))
        )


@dataclasses.dataclass(frozen=True)
class Opened:
    sources: inputs.Sources
    builder: Any

    @property
    def split(self) -> index.Split:
        return self.sources.splits[0]

    def blocks(self, count: int) -> Iterator[schema.Batch]:
        for number in range(count):
            yield jax.tree.map(jnp.asarray, self.builder.build(number).batch)


def masked_clips(trained: Trained, split: str) -> dict[str, Float[np.ndarray, " n"]]:
    """Side -> 1 where it tells the hidden clip, of every hidden clip of MASKS draws."""
    size = trained.config.data.block_size
    judge = jax.jit(functools.partial(_right_clips, trained))
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(MASKS):
        # Whole sentences, and clips of every example hidden.
        masking = {"video_examples": 1.0, "text_examples": 0.0, "whole_pairs": False}
        opened = trained.opened(split, seed, **masking)
        for block in opened.blocks(len(opened.split) // size):
            right, counts = judge(block)
            for side, values in right.items():
                found.setdefault(side, []).append(np.asarray(values)[np.asarray(counts)])
    return {side: np.concatenate(parts).astype(float) for side, parts in found.items()}


def _right_clips(
    trained: Trained, block: schema.Batch
) -> tuple[dict[str, Bool[Array, " s"]], Bool[Array, " s"]]:
    """(side -> whether it is right at each slot of the block, slots that count: their clip is
    hidden, and another of its example is not)."""
    text = trained.apply(
        "encode_text", block.text_ids, block.text_segment_ids, block.text_positions
    )
    clips = (block.video_segment_ids, block.video_positions, block.video_masked)
    video = trained.apply("encode_video", block.video_features, *clips)
    targets = _flat(trained.apply("video_targets", block.video_features))
    distance = trained.config.objectives.twin_clip_distance
    positive, others = masked_video.candidates(block, distance)

    def is_right(scores: Float[Array, "s p"]) -> Bool[Array, " s"]:
        best = jnp.where(positive | others, scores, -jnp.inf).argmax(1)
        return jnp.take_along_axis(positive, best[:, None], axis=1)[:, 0]

    right = {}
    for side, length in (("with the sentence", None), ("without it", 0)):
        read = (text[:, :length], block.text_segment_ids[:, :length])
        _, fused = trained.apply("fuse", *read, video, block.video_segment_ids)
        slots = heads.gather_slots(fused, block.video_slots)
        right[side] = is_right(_flat(trained.apply("video_predictions", slots)) @ targets.T)
    scaling = trained.bundle.variables["constants"]["video_embedding"]
    features = (block.video_features - scaling["mean"][None, None]) / scaling["scale"][None, None]
    means, seen = seen_means(features, block)
    right["by copying"] = is_right(_flat(means) @ _flat(heads.unit_norm(features)).T)
    return right, ((block.video_slot_weights > 0) & (seen > 0)).reshape(-1)


def seen_means(
    features: Float[Array, "r v c"], block: schema.Batch
) -> tuple[Float[Array, "r m c"], Int[Array, "r m"]]:
    """(mean of the clips of its example that are not hidden, their number) of each slot."""
    segments = block.video_segment_ids
    of_slots = jnp.take_along_axis(segments, block.video_slots, axis=1)
    seen = (segments != schema.NO_SEGMENT) & ~block.video_masked
    beside = (of_slots[:, :, None] == segments[:, None]) & seen[:, None]
    counts = beside.sum(-1)
    sums = jnp.einsum("rmv,rvc->rmc", beside.astype(features.dtype), features)
    return sums / jnp.maximum(counts, 1)[..., None], counts


def _flat(values: Float[Array, "r n c"]) -> Float[Array, "p c"]:
    return values.reshape(-1, values.shape[-1])


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the examples of a split say, and what their clips show.

    says: kind of label -> bool [n, labels]. shows: kind -> int [n], of the step that most of the
    clips are of, or -1.
    """

    says: dict[str, np.ndarray]
    shows: dict[str, np.ndarray]

    @classmethod
    def of(cls, dataset: index.Dataset, split: index.Split, steps: index.Split) -> "Truth":
        """steps: the exact steps of the videos of `split`."""
        shown = shown_steps(split, steps)
        texts = split.texts(np.arange(len(split)))
        says, shows = {}, {}
        for kind in _SHOWN:
            of_kind, names = labels.forms(dataset, kind), steps.labels[kind].names
            found = [{name for name, *_ in words.find_forms(text, of_kind)} for text in texts]
            says[kind] = np.array([[name in said for name in names] for said in found])
            shows[kind] = np.where(shown >= 0, steps.labels[kind].ids[shown], schema.NO_LABEL)
        return cls(says, shows)

    def fits(self, texts: Int[np.ndarray, " n"], clips: Int[np.ndarray, " n"]) -> np.ndarray:
        """Whether the words of an example name verb and object of the clips of another."""
        of_kinds = [self.says[kind][texts, self.shows[kind][clips]] for kind in _SHOWN]
        return np.all(of_kinds, axis=0) & (self.shows["verb"][clips] != schema.NO_LABEL)


def shown_steps(split: index.Split, steps: index.Split) -> Int[np.ndarray, " n"]:
    """The step that each example of `split` has most clips of, -1 where it has none of any."""
    numbers = {name: number for number, name in enumerate(steps.videos)}
    found = np.full(len(split), schema.NO_LABEL)
    for example, video in enumerate(split.video):
        of_video = np.flatnonzero(steps.video == numbers[split.videos[video]])
        first = np.maximum(steps.first_clip[of_video], split.first_clip[example])
        ends = (split.first_clip + split.clip_count)[example]
        shared = np.minimum((steps.first_clip + steps.clip_count)[of_video], ends) - first
        if shared.max() > 0:
            found[example] = of_video[shared.argmax()]
    return found


def fitting_pairs(trained: Trained, name: str) -> dict[str, Any]:
    """{"matched", "mismatched": share of the pairs that fit, "pairs": judged mismatches} of
    BLOCKS blocks of training; name: of the ablation, which says how mismatches are chosen."""
    opened = trained.opened("train", trained.config.seed)
    dataset = opened.sources.main
    truth = Truth.of(dataset, opened.split, dataset.split("train_steps"))
    choose = jax.jit(functools.partial(_chosen, trained, name))
    matched: list[np.ndarray] = []
    mismatched: list[np.ndarray] = []
    for number, block in enumerate(opened.blocks(BLOCKS)):
        ids, judged = map(np.asarray, choose(block, jax.random.key(number)))
        own, paired = np.asarray(block.example_ids), np.asarray(block.pair_weights) > 0
        matched.append(truth.fits(own[paired], own[paired]))
        texts = np.broadcast_to(own, ids.shape)
        mismatched.append(truth.fits(texts[judged > 0], ids[judged > 0]))
    shares = {"matched": matched, "mismatched": mismatched}
    found = {side: float(np.concatenate(parts).mean()) for side, parts in shares.items()}
    return {**found, "pairs": sum(map(len, mismatched))}


def _chosen(
    trained: Trained, name: str, block: schema.Batch, key: Array
) -> tuple[Int[Array, "k r e"], Float[Array, "k r e"]]:
    """(example whose clips each text meets, weight of the pair), k times."""
    settings = trained.config.objectives
    distance = settings.twin_clip_distance
    encoded = passes.encode(VideoBert(trained.bundle.config), trained.bundle.variables, block, key)
    sides = (encoded.text_embeddings, encoded.video_embeddings)
    if name == CASCADE:
        met = cascade.hardest(*sides, block, settings.cascade.negatives, distance)
    else:
        scale = trained.apply("contrastive_scale")
        one = (
            matching.draw_hard(key, *sides, scale, block, distance)
            if name == HARD
            else matching.draw_uniform(key, *block.example_ids.shape)
        )
        met = jax.tree.map(lambda values: values[None], one)

    def judged(one: matching.Mismatch) -> tuple[Array, Array]:
        ids = matching.mismatched_examples(one, block.example_ids)
        return ids, matching.mismatched_weights(one, block, distance)

    return jax.vmap(judged)(met)


def reranking(folder: pathlib.Path) -> dict[str, float]:
    """R@5 of text to video over the examples of all tests, three ways."""
    found: dict[str, list[float]] = {"joint space": [], "matching": [], "by chance": []}
    for split in kitchen_runs.TESTS:
        shortlist = kitchen_runs.record(folder, "retrieval", split)["shortlist"]
        for line in kitchen_runs.lines(folder, "retrieval", split):
            rank = line["text_to_video_rank"]
            found["joint space"].append(rank <= 5)
            found["matching"].append(line["reranked_text_to_video_rank"] <= 5)
            found["by chance"].append(5 / shortlist if rank <= shortlist else 0.0)
    return {way: float(np.mean(values)) for way, values in found.items()}


def _table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    parts = []
    for name, rows in figures.items():
        columns = list(next(iter(rows.values())))
        lines: list[Sequence[str]] = [(name.replace("_", " "), *columns)]
        for row, values in rows.items():
            told = [f"{v:.1%}" if isinstance(v, float) else str(v) for v in values.values()]
            lines.append((row, *told))
        parts.append(report.aligned(lines))
    return "\n\n".join(parts)


def run(arguments: argparse.Namespace) -> int:
    jax.config.update("jax_platforms", "cpu")
    chosen = [
        ablation.Ablation(ablation.RECIPE, {}),
        *ablation.named(f"{MATCHING},{HARD},{CASCADE}"),
    ]
    folders = {
        of.name: ablation.trained(of, arguments.seed, arguments.dataset, arguments.workdir)
        for of in chosen
    }
    networks = {name: Trained.of(folder) for name, folder in folders.items() if name != MATCHING}
    clips = {split: masked_clips(networks[ablation.RECIPE], split) for split in kitchen_runs.TESTS}
    figures = {
        "masked_clips": {
            split: {side: float(right.mean()) for side, right in of.items()}
            for split, of in clips.items()
        },
        "fitting_pairs": {name: fitting_pairs(of, name) for name, of in networks.items()},
        "retrieval_R5": {name: reranking(folder) for name, folder in folders.items()},
    }
    print(_table(figures))
    every = {
        side: np.concatenate([of[side] for of in clips.values()])
        for side in ("with the sentence", "without it")
    }
    record = {
        "benchmark": "ablation_reasons",
        "ratio": float(every["with the sentence"].mean() / every["without it"].mean()),
        "figures": {**figures, "hidden_clips": len(every["without it"]), "seed": arguments.seed},
        "notes": "drawn in 2D by one renderer; says nothing about real cooking video",
        **alternate.circumstances(["flax"]),
    }
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the runs")
    parser.add_argument("--dataset", type=pathlib.Path, default=kitchen_runs.DATASET)
    parser.add_argument("--workdir", type=pathlib.Path, default=ablation.RUNS)
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
