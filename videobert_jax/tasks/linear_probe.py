"""Linear probes: what a linear map tells of labels from the features of a network left as it is.

Three features of an example's clips, no text being read: their embedding in the joint space, the
mean of the video tower's states, and that of the cross-modal encoder's. Each goes into the ridge
regression that the mean clip feature goes into as a baseline (`supervised`), fitted to the same
examples: what differs is what the network makes of the clips.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Split
from videobert_jax.tasks import (
    baselines,
    frozen_features,
    labels,
    supervised,
    trained_heads,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import UnfitSplit
from videobert_jax.tasks.metrics import classification, ranking
from videobert_jax.tasks.report import TaskResult

NAME = "linear_probe"
FEATURES = frozen_features.NAMES


def evaluate(context: EvaluationContext) -> TaskResult:
    """Top-1 and top-5 of each kind of label by each of FEATURES.

    Raises UnfitSplit where the split has no labels, or no other split has them of two videos.
    """
    fitted = _fitted_split(context)
    kinds = [_kind(context, fitted, name) for name in labels.kinds(context.dataset, context.split)]
    probed = [kind for kind in kinds if len(np.unique(fitted.video[kind.fit_ids])) > 1]
    if not probed:
        raise UnfitSplit(
            f"{context.dataset.path}: split {fitted.name!r}, which linear probes are fitted to, "
            f"has {', '.join(kind.name for kind in kinds)} of fewer than two videos; prepare more "
            "of it."
        )
    for kind in probed:
        context.expect(kind.ids, f"clips and a label of kind {kind.name!r}")
    expected = np.unique(np.concatenate([kind.ids for kind in probed]))
    probes = _probes(context, fitted, probed, expected)
    peers, notes = _peers(context, kinds)
    if trained_heads.JOINT in context.bundle.untrained_heads:
        notes.append("joint_embedding is of a head that was never trained")
    return TaskResult(
        task=NAME,
        expected=expected,
        protocol=_protocol(fitted, probed),
        averaging=classification.AVERAGING,
        truncation={},
        metrics=_figures({kind: _ranks(of) for kind, of in probes.items()}),
        baselines=_baselines(probed, peers),
        examples=_lines(context, expected, probed, probes, peers),
        setting_if_seen=NAME,
        setting_if_unseen=NAME,
        details={
            "labels": {kind.name: kind.forms for kind in probed},
            "penalties": {
                kind: {name: probe.penalty for name, probe in of.items()}
                for kind, of in probes.items()
            },
        },
        notes=notes,
        statistics={
            metric: of
            for kind in probes
            for name in FEATURES
            for metric, of in classification.statistics(
                f"{kind}_{name}", kind, "rank_by", name
            ).items()
        },
        absent=np.unique(np.concatenate([kind.absent for kind in probed])),
    )


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of labels: examples with clips that have it, and their first labels, int64 [n]; those
    under evaluation, with all that are `right`, [n, k], and those of the other split that probes
    are fitted to. absent: ids of those under evaluation that have no clips."""

    name: str
    forms: labels.Forms
    ids: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    absent: np.ndarray
    fit_ids: np.ndarray
    fit_labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Probe:
    """What a linear map tells of a kind: ranks of the right labels [n], numbers of the likeliest
    ones [n, 5], best first, and the penalty that was chosen."""

    ranks: np.ndarray
    best: np.ndarray
    penalty: float


Ranks = Mapping[str, Mapping[str, np.ndarray]]  # kind -> features or baseline -> [n]
Probes = Mapping[str, Mapping[str, _Probe]]  # kind -> features -> probe


def _fitted_split(context: EvaluationContext) -> Split:
    """The split that probes are fitted to. Raises UnfitSplit where nothing can be."""
    split, found = context.split, context.fit_split
    if not labels.kinds(context.dataset, split):
        raise UnfitSplit(
            f"{context.dataset.path}: split {split.name!r} has no labels; linear probes need a "
            "dataset with labels."
        )
    if found is None:
        raise UnfitSplit(
            f"{context.dataset.path} has no other split than {split.name!r} to fit linear probes "
            "to; prepare a split train."
        )
    return found


def _kind(context: EvaluationContext, fitted: Split, name: str) -> _Kind:
    forms = labels.forms(context.dataset, name)
    known = labels.ids_of(context.split, name, forms)[context.ids]
    ids, absent = context.by_clips(context.ids[known >= 0])
    fit_known = labels.ids_of(fitted, name, forms)
    fit_ids, _ = context.fits.features(fitted)  # what the baselines are fitted to
    fit_ids = fit_ids[fit_known[fit_ids] >= 0]
    right = labels.right(context.dataset, context.split, name, ids)
    return _Kind(name, forms, ids, known[ids], right, absent, fit_ids, fit_known[fit_ids])


def _probes(
    context: EvaluationContext, fitted: Split, kinds: Sequence[_Kind], ids: Int[np.ndarray, " n"]
) -> dict[str, dict[str, _Probe]]:
    """A probe of each kind and features, fitted to the one split, asked of `ids` of the other."""
    fit_ids = np.unique(np.concatenate([kind.fit_ids for kind in kinds]))
    inputs = frozen_features.of_examples(context.runner, fitted, fit_ids)
    asked = frozen_features.of_examples(context.runner, context.split, ids)
    found: dict[str, dict[str, _Probe]] = {}
    for kind in kinds:
        rows, fit_rows = np.searchsorted(ids, kind.ids), np.searchsorted(fit_ids, kind.fit_ids)
        videos, count = fitted.video[kind.fit_ids], len(kind.forms)
        found[kind.name] = {}
        for name in FEATURES:
            ridge = baselines.fit_classifier(
                inputs[name][fit_rows], kind.fit_labels, count, videos, seed=context.seed
            )
            scores = ridge.predict(asked[name][rows])
            found[kind.name][name] = _Probe(
                ranking.first_ranks(scores, kind.right),
                ranking.shortlist(scores, max(classification.TOP)),
                ridge.penalty,
            )
    return found


def _peers(
    context: EvaluationContext, kinds: Sequence[_Kind]
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """({kind: {baseline on the mean clip feature: ranks}}, notes)."""
    found, notes = {}, []
    for kind in kinds:
        found[kind.name], note = supervised.classify(context, kind.name, kind.ids)
        notes.append(note)
    return found, notes


def _protocol(fitted: Split, kinds: Sequence[_Kind]) -> str:
    counts = ", ".join(f"{len(kind.forms)} {kind.name}s" for kind in kinds)
    examples = ", ".join(f"{len(kind.fit_ids)} with a {kind.name}" for kind in kinds)
    return (
        f"declared lists ({counts}); one-hot ridge regression on standardised features of the "
        f"frozen network, fitted to split {fitted.name!r} ({examples}), penalty by top-1 on "
        "held-out videos of it; clips alone: joint_embedding, mean of the states of video_tower, "
        "mean of the video states of cross_modal with no text to read"
        f"{labels.several([kind.right for kind in kinds])}"
    )


def _ranks(of_kind: Mapping[str, _Probe]) -> dict[str, np.ndarray]:
    return {name: probe.ranks for name, probe in of_kind.items()}


def _figures(ranks: Ranks) -> dict[str, float]:
    """{kind}_{features}_top1 and top5, of the ranks by each features."""
    return {
        metric: value
        for kind, of in ranks.items()
        for name, values in of.items()
        for metric, value in classification.from_ranks(values, f"{kind}_{name}").items()
    }


def _baselines(
    kinds: Sequence[_Kind], peers: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, float]]:
    """Chance and what sees the mean clip feature alone, beside every figure of the kind."""
    chance = {
        metric: value
        for kind in kinds
        for name in FEATURES
        for metric, value in labels.chance(kind.right, f"{kind.name}_{name}").items()
    }
    names = dict.fromkeys(name for of in peers.values() for name in of)
    return {
        "chance": chance,
        **{
            peer: _figures(
                {kind: dict.fromkeys(FEATURES, of[peer]) for kind, of in peers.items() if of}
            )
            for peer in names
        },
    }


def _lines(
    context: EvaluationContext,
    expected: Int[np.ndarray, " n"],
    kinds: Sequence[_Kind],
    probes: Probes,
    peers: Mapping[str, Mapping[str, np.ndarray]],
) -> list[dict[str, Any]]:
    """A line an example: of each kind its label, ranks and best labels by each features."""
    lines: dict[int, dict[str, Any]] = {
        example: {**context.line(example), "baselines": {}} for example in expected.tolist()
    }
    for kind in kinds:
        names, of = list(kind.forms), probes[kind.name]
        for row, example in enumerate(kind.ids.tolist()):
            lines[example][kind.name] = {
                **labels.line(names, int(kind.labels[row]), kind.right[row]),
                "rank_by": {name: float(probe.ranks[row]) for name, probe in of.items()},
                "best_by": {
                    name: [names[label] for label in probe.best[row].tolist()]
                    for name, probe in of.items()
                },
            }
            for peer, ranks in peers[kind.name].items():
                of_peer = lines[example]["baselines"].setdefault(peer, {})
                of_peer[f"{kind.name}_rank"] = float(ranks[row])
    return list(lines.values())
