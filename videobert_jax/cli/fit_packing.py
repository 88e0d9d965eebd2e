"""`videobert fit-packing --dataset DIR --config=FILE [--config.KEY=VALUE ...]`: how many examples a
row, and how long rows.

Packs blocks of the run as training would, from the lengths of texts and clip runs alone, with every
number of examples a row that divides a block. Of each it finds the shortest rows that cut no more
than --most_cut, and prints the settings under which a step has the least work an example: slots
well filled, in rows not so long that attention over them costs more than that saves.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videobert_jax.configuration import RunConfig
    from videobert_jax.data.packing_fit import Candidate, Lengths
    from videobert_jax.text.tokenizer import Tokenizer
    from videobert_jax.training.inputs import Sources

HELP = "fit examples a row and the length of rows to a dataset"
TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="a file of configs/")
    parser.add_argument("--dataset", help="a prepared dataset; default: data.path of the config")
    parser.add_argument(
        "--split", help="this split alone, with text and video; default: data.sources of the config"
    )
    parser.add_argument(
        "--tokenizer",
        type=pathlib.Path,
        help="tokenizer.model of a run or export; default: one made of the captions, as a run does",
    )
    parser.add_argument(
        "--blocks", type=int, default=128, help="blocks of the run to pack; default 128"
    )
    parser.add_argument(
        "--multiple", type=int, default=8, help="of which lengths are; default 8, on TPU 128"
    )
    parser.add_argument(
        "--most_cut",
        type=float,
        default=0.01,
        help="share of the pieces, and of the clips, that may be cut off; default 0.01",
    )
    parser.add_argument(
        "--examples", help="numbers of examples a row to try, joined by commas; default: all"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(arguments: argparse.Namespace) -> int:
    """0 when settings are found. Raises ConfigError, DatasetError, PackingError, InputError."""
    from videobert_jax import configuration
    from videobert_jax.data import packing_fit
    from videobert_jax.training import inputs

    if min(arguments.blocks, arguments.multiple) < 1 or not 0 <= arguments.most_cut < 1:
        raise packing_fit.PackingError(
            f"--blocks={arguments.blocks} --multiple={arguments.multiple} --most_cut="
            f"{arguments.most_cut}: expected one block and a multiple of one at least, and a share "
            "from 0 to below 1"
        )
    config = configuration.load_file(arguments.config)
    for key, text in arguments.settings:
        configuration.apply_override(config, key, text)
    parsed = configuration.parse(_unpacked(config, arguments.dataset, arguments.split))
    numbers = _numbers(arguments.examples, parsed)
    sources = inputs.open_sources(parsed)
    tokenizer = _tokenizer(arguments.tokenizer, parsed, sources)
    builder = inputs.block_builder(_without_lists(parsed), sources, tokenizer)
    lengths = packing_fit.measure(builder, arguments.blocks)
    candidates = []
    for examples in numbers:
        fitted = packing_fit.fit(
            lengths,
            examples,
            multiple=arguments.multiple,
            most_cut=arguments.most_cut,
            embed_dim=parsed.model.embed_dim,
        )
        if _fits(fitted, parsed):
            candidates.append(fitted)
    if not candidates:
        raise packing_fit.PackingError(
            f"rows of {numbers[0]} examples that cut no more than {arguments.most_cut:.1%} are "
            f"longer than model.text.max_length={parsed.model.text.max_length} or "
            f"model.video.max_length={parsed.model.video.max_length}; raise these, or --most_cut"
        )
    chosen = packing_fit.choose(candidates)
    if arguments.json:
        print(json.dumps(_record(candidates, chosen)))
    else:
        _report(lengths, candidates, chosen)
    return 0


def _unpacked(config: Any, dataset: str | None, split: str | None) -> Any:
    """The settings with the data that are asked for, and rows that contradict nothing."""
    if dataset is not None:
        config.data.path = dataset
    if split is not None:
        source = next(iter(config.data.sources.values())).copy_and_resolve_references()
        source.update(
            path="",
            split=split,
            weight=1.0,
            regime="text_video",
            neighbours="",
            alignment="",
            transcripts="",
        )
        config.data.sources = type(config)({"main": source})
    config.stages = ()  # rows are the run's, and a stage may name a source that is left out
    config.data.examples_per_row = 1
    config.data.text_length = config.model.text.max_length
    config.data.video_length = config.model.video.max_length
    if config.data.target_length:
        config.data.target_length = config.model.text.max_length
    return config


def _without_lists(run: "RunConfig") -> "RunConfig":
    """The run without what heads tell: it has no length, and the data may have none of it."""
    return dataclasses.replace(
        run,
        model=dataclasses.replace(run.model, answers=0, clip_labels=0),
        data=dataclasses.replace(run.data, clip_labels=""),
    )


def _numbers(asked: str | None, run: "RunConfig") -> list[int]:
    """Examples a row that make whole rows of a block, and whole chunks of its rows; ascending."""
    from videobert_jax.data.packing_fit import PackingError

    size, objectives = run.data.block_size, run.objectives
    chunks = math.lcm(
        objectives.contrastive.chunks,
        objectives.token_contrastive.chunks,
        objectives.captioning.chunks,
    )
    possible = [n for n in range(1, size + 1) if size % n == 0 and size // n % chunks == 0]
    if asked is None:
        return possible
    try:
        numbers = sorted({int(number) for number in asked.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not set(numbers) <= set(possible):
        raise PackingError(
            f"--examples={asked}: a block of data.block_size={size} examples makes whole rows, and "
            f"{chunks} equal parts of them (objectives.*.chunks), of "
            f"{', '.join(map(str, possible))} examples; say some of these"
        )
    return numbers


def _tokenizer(path: pathlib.Path | None, run: "RunConfig", sources: "Sources") -> "Tokenizer":
    from videobert_jax.data.packing_fit import PackingError
    from videobert_jax.text import word_pieces
    from videobert_jax.text.tokenizer import Tokenizer
    from videobert_jax.training import inputs

    if path is not None:
        if not path.is_file():
            raise PackingError(
                f"--tokenizer={path}: there is no such file; expected the tokenizer.model of a run "
                "or export"
            )
        return Tokenizer.from_file(path)
    if run.init.checkpoint:
        raise PackingError(
            f"init.checkpoint={run.init.checkpoint} may bring its own tokenizer; say which one "
            "with --tokenizer=DIR/tokenizer.model"
        )
    vocabulary = word_pieces.read_published(run.init.bert).vocabulary if run.init.bert else None
    print("making a tokenizer of the captions ...", file=sys.stderr, flush=True)
    return Tokenizer(inputs.new_tokenizer(run, sources, vocabulary))


def _fits(candidate: "Candidate", run: "RunConfig") -> bool:
    """Whether the model has as many positions as the rows."""
    most = {"video": run.model.video.max_length}
    return all(
        side.capacity <= most.get(name, run.model.text.max_length)
        for name, side in candidate.sides.items()
    )


def _overrides(chosen: "Candidate") -> dict[str, int]:
    lengths = {f"data.{name}_length": side.capacity for name, side in chosen.sides.items()}
    return {"data.examples_per_row": chosen.examples, **lengths}


def _record(candidates: "list[Candidate]", chosen: "Candidate") -> dict[str, object]:
    return {
        "settings": _overrides(chosen),
        "candidates": [
            {**dataclasses.asdict(candidate), "filled": candidate.filled}
            for candidate in candidates
        ],
    }


def _report(lengths: "Lengths", candidates: "list[Candidate]", chosen: "Candidate") -> None:
    blocks, size = lengths.text.shape
    print(f"{blocks} blocks of {size} examples")
    for side, of_side in lengths.sides.items():
        print(f"  {side}: {of_side.mean():.1f} slots an example, {of_side.max()} at most")
    print("  work: slots an example, each with its share of dense attention over its row")
    head = "  ".join(f"{f'{side}_length':>13}  filled    cut" for side in lengths.sides)
    print(f"examples  {head}  all filled    work")
    for candidate in candidates:
        sides = "  ".join(
            f"{side.capacity:>13} {side.filled:>7.1%} {side.cut:>6.2%}"
            for side in candidate.sides.values()
        )
        mark = "  <-" if candidate == chosen else ""
        all_sides = f"{candidate.filled:>10.1%}  {candidate.work:>6.1f}"
        print(f"{candidate.examples:>8}  {sides}  {all_sides}{mark}")
    print(" ".join(f"--config.{name}={value}" for name, value in _overrides(chosen).items()))
