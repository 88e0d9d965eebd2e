"""Options of evaluation that only one task has, and what numbers may be."""

import argparse

from videobert_jax.models import generation
from videobert_jax.objectives.config import CAPTIONING_INPUTS
from videobert_jax.tasks import (
    action_segmentation,
    captioning,
    cosines,
    label_scorings,
    multiple_choice,
    retrieval,
    step_localization,
)
from videobert_jax.tasks.errors import EvaluationError


def require_counts(arguments: argparse.Namespace) -> None:
    """Raises EvaluationError on numbers of eval.py that count nothing."""
    for name, least in (("limit", 1), ("seed", 0), ("shortlist", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise EvaluationError(f"--{name}={value}: expected {least} or more")


def add_retrieval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shortlist",
        type=int,
        default=retrieval.SHORTLIST,
        help="candidates that retrieval re-ranks by the fused network; 0: none",
    )
    parser.add_argument(
        "--normalization",
        choices=retrieval.NORMALIZATIONS,
        default=retrieval.NO_NORMALIZATION,
        help="of retrieval: dual_softmax weighs candidates by their share over all queries, which "
        "no search of one query can",
    )
    parser.add_argument(
        "--rank-by",
        choices=tuple(cosines.RANKED_BY),
        default=cosines.TOWERS,
        help="of retrieval: by the towers, by the words that a clip's caption is expected to have "
        "(networks with the bag-of-words head), or by both",
    )
    parser.add_argument(
        "--direction",
        choices=retrieval.DIRECTIONS,
        help="with --predictions=FILE.npy of ranks: what was looked for by what",
    )


def add_zero_shot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        help="cloze with {verb}, {object} or another kind of label, or two [MASK]; repeat it for "
        "an ensemble; 'dataset' takes the dataset's own. Default: the paper's, and the dataset's "
        "for kinds that it lacks",
    )
    parser.add_argument(
        "--scoring",
        choices=label_scorings.SCORINGS,
        default=label_scorings.CLOZE,
        help="of zero-shot labels: by cloze, by sentences in the joint space, by the words that "
        "the caption is expected to have (networks with that head), by two of them (both: cloze "
        "and joint space; towers: joint space and words; words_first: words and a tenth of the "
        "joint space's) or by all; the record has every way's figures",
    )
    parser.add_argument(
        "--calibration",
        choices=label_scorings.CALIBRATIONS,
        default=label_scorings.NO_CALIBRATION,
        help="prior: of scores by cloze, subtract those without the video",
    )


def add_captioning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inputs",
        choices=CAPTIONING_INPUTS,
        help="what captions are told from; default: what objectives.captioning.inputs was in "
        "training, or where an older export does not say it, both if the run's first source has "
        "transcripts, else video",
    )
    parser.add_argument(
        "--transcripts",
        metavar="SPLIT",
        help="split of the dataset with what is said; default: that of the run's first source",
    )
    parser.add_argument(
        "--beams", type=int, help=f"of captions; 1 is greedy search; default: {generation.BEAMS}"
    )
    parser.add_argument(
        "--length-penalty",
        type=float,
        help="0 compares captions by probability alone, more favours longer ones; default: "
        f"{generation.LENGTH_PENALTY:g}",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        help="draw captions by --seed, each piece from the likeliest ones that have this "
        "probability together (nucleus sampling), in place of beam search",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        help=f"with --top-p: what logits are divided by; default: {generation.TEMPERATURE:g}",
    )
    parser.add_argument(
        "--no-repeat-ngram",
        type=int,
        default=0,
        help="so many pieces in a row come once in a caption; 0: any number of times",
    )
    parser.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        help="logits of pieces that a caption has already are divided by it (CTRL); 1: none",
    )


def add_whole_videos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clip-neighbours",
        type=int,
        default=0,
        help="of whole videos: clips on either side that each clip is encoded with",
    )
    parser.add_argument(
        "--other-videos",
        type=int,
        help="of step localisation: in a row of how many others a video is looked for; default: "
        f"{step_localization.OTHER_VIDEOS} where each video is a task of its own, else none",
    )

    parser.add_argument(
        "--segmentation",
        choices=action_segmentation.SCORINGS,
        help="of action segmentation: by the head of objectives.segmentation, default where there "
        "is one, or by sentences in the joint space",
    )
    parser.add_argument(
        "--label-kind",
        help="of action segmentation: which labels are told; default: the head's, else "
        f"{action_segmentation.STEP}, else the first kind there is",
    )
    parser.add_argument(
        "--label-sentence",
        help="of action segmentation: how a label is said, with {kind} and perhaps other slots; "
        "default: the paper's template, the dataset's, or the label alone",
    )
    parser.add_argument(
        "--background-threshold",
        type=float,
        help="of action segmentation: the cosine below which a clip is background; default: the "
        "best on the training split",
    )


def add_multiple_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--choose-by",
        choices=multiple_choice.CHOOSERS,
        help="of questions with candidates: by the cosine of the towers, by the matching head, or "
        "by the product of their probabilities; default: both, or the one that was trained; the "
        "record has every trained way's figures",
    )


def localization_settings(arguments: argparse.Namespace) -> step_localization.Settings:
    """Those of the command line."""
    return step_localization.Settings(arguments.clip_neighbours, arguments.other_videos)


def segmentation_settings(arguments: argparse.Namespace) -> action_segmentation.Settings:
    """Those of the command line."""
    return action_segmentation.Settings(
        scoring=arguments.segmentation,
        kind=arguments.label_kind,
        template=arguments.label_sentence,
        threshold=arguments.background_threshold,
        neighbours=arguments.clip_neighbours,
    )


def captioning_settings(arguments: argparse.Namespace) -> captioning.Settings:
    """Those of the command line."""
    names = (
        "beams",
        "length_penalty",
        "top_p",
        "temperature",
        "no_repeat_ngram",
        "repetition_penalty",
    )
    writing = {name: getattr(arguments, name) for name in names}
    return captioning.Settings(arguments.inputs, arguments.transcripts, writing)
