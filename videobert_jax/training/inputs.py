"""What a run is trained on, opened and checked: datasets, tokenizer, contract, blocks."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.experimental import multihost_utils

from videobert_jax import configuration
from videobert_jax.configuration import RunConfig
from videobert_jax.data import alignment, index, left_out, local_copy, neighbours
from videobert_jax.data.block import BlockBuilder, BlockSettings, Source
from videobert_jax.data.clip_labels import LabelList
from videobert_jax.data.config import SourceConfig
from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import atomic, digests, storage
from videobert_jax.models.bundle import HEADS, ModelBundle
from videobert_jax.models.config import ModelConfig
from videobert_jax.schema import FeatureContract, InputStatistics
from videobert_jax.text import content_words, word_pieces
from videobert_jax.text import tokenizer as tokenizers
from videobert_jax.training import initialization, run_record
from videobert_jax.training.head_lists import HeadLists, InputError
from videobert_jax.video import visual_words
from videobert_jax.video.visual_words import VisualWords
from videobert_jax.weights.bert import Bert

_TOKENIZER_TEXTS = 1_000_000  # captions, evenly spaced; sentencepiece holds them in memory
_CHUNK = 10_000  # captions read at a time


@dataclasses.dataclass(frozen=True)
class Sources:
    """The datasets and splits of data.sources, in its order. transcripts: those that give the texts
    in place of captions. main: the first dataset whose clip features are used, or the first."""

    datasets: list[index.Dataset]
    splits: list[index.Split]
    transcripts: list[index.Split | None]
    main: index.Dataset


@dataclasses.dataclass(frozen=True)
class RunInputs:
    """All that the loop needs to know of the data; a builder for each stage of the run."""

    builders: tuple[BlockBuilder, ...]
    tokenizer: tokenizers.Tokenizer
    contract: FeatureContract
    statistics: InputStatistics | None
    visual_words: VisualWords | None
    model: ModelConfig
    trained_on: dict[str, Any]
    answers: tuple[str, ...]
    clip_labels: tuple[str, ...]
    names: tuple[str, ...]


def open_inputs(
    run: RunConfig,
    workdir: storage.Path,
    initial: ModelBundle | None,
    bert: Bert | None,
    *,
    begins: bool,
    left: Sequence[LeftOut] = (),
) -> RunInputs:
    """Inputs of a run; stores its tokenizer in the workdir where it has none yet.

    `begins`: it continues no checkpoint, which would hold the visual words; `initial` and `bert`
    are what init.checkpoint and init.bert then give it. `left`: batches that are left out.

    The first source with clip features gives contract and input statistics; the others must have
    been made in the same way. Raises DatasetError, ContractMismatch, ConfigError, InputError,
    ContentWordsError, NeighboursError, AlignmentError, InitializationError, VisualWordsError.
    """
    sources = open_sources(run)
    main = sources.main
    lists = (
        HeadLists.of_run(run, sources.splits, initial)
        if begins
        else _recorded(workdir, main.contract)
    )
    words = _visual_words(run, main.contract) if begins else None  # before pieces are learnt
    tokenizer = (
        _begun_tokenizer(run, workdir, sources, initial, bert)
        if begins
        else tokenizers.Tokenizer(run_record.read(workdir).tokenizer_model)
    )
    model = configuration.resolve_model(
        run, vocabulary_size=tokenizer.size, feature_dim=main.contract.dim
    )
    builders = _builders(run, sources, tokenizer, lists, left)
    return RunInputs(
        builders=builders,
        tokenizer=tokenizer,
        contract=main.contract,
        statistics=main.statistics,
        visual_words=words,
        model=model,
        trained_on=_since(workdir, _trained_on(run, sources, initial, bert), begins),
        answers=lists.answers,
        clip_labels=lists.clip_labels,
        names=_names(run, sources, builders[0]),
    )


def _recorded(workdir: storage.Path, contract: FeatureContract) -> HeadLists:
    """What the heads tell. Raises ContractMismatch where the features are made in another way than
    those that the run goes on from: there is no setting to let that through."""
    record = run_record.read(workdir)
    contract.verify_against(record.contract, found="the dataset", expected=f"the run in {workdir}")
    return HeadLists(record.answers, record.clip_labels)


def _names(run: RunConfig, sources: Sources, builder: BlockBuilder) -> tuple[str, ...]:
    """What each source is, in a few words."""
    names = []
    for dataset, split, source, built in zip(
        sources.datasets, sources.splits, run.data.sources, builder.sources, strict=True
    ):
        whole = f" of {len(split)}" if built.alignment is not None else ""
        said = [f"{built.num_examples}{whole} examples", source.regime]
        said += [f"texts of {source.transcripts}"] if source.transcripts else []
        said += ["near videos together"] if source.neighbours else []
        said += ["aligned"] if source.alignment else []
        names.append(f"{dataset.name}/{split.name} ({', '.join(said)})")
    return tuple(names)


def open_sources(run: RunConfig) -> Sources:
    """The run's datasets, opened. Raises DatasetError, InputError."""
    sources = run.data.sources
    paths = [*map(_path_of(run), sources)]
    datasets = {path: index.open_dataset(path) for path in dict.fromkeys(paths)}
    opened = [datasets[path] for path in paths]
    splits = [dataset.split(source.split) for dataset, source in zip(opened, sources, strict=True)]
    transcripts = [
        dataset.split(source.transcripts) if source.transcripts else None
        for dataset, source in zip(opened, sources, strict=True)
    ]
    with_video = [i for i, source in enumerate(sources) if source.regime != "text_only"]
    return Sources(opened, splits, transcripts, opened[with_video[0] if with_video else 0])


def _visual_words(run: RunConfig, contract: FeatureContract) -> VisualWords | None:
    """The words that data.visual_words names. Raises VisualWordsError, ContractMismatch, and
    InputError where the tree is not the model's."""
    if not run.data.visual_words:
        return None
    words = visual_words.load(run.data.visual_words)
    words.contract.verify_against(contract, found=run.data.visual_words, expected="the dataset")
    tree = run.model.visual_words
    if (words.branching, words.depth) != (tree.branching, tree.depth):
        raise InputError(
            f"data.visual_words={run.data.visual_words} has {words.branching} branches, "
            f"{words.depth} levels deep, but model.visual_words says {tree.branching} and "
            f"{tree.depth}; set --config.model.visual_words.branching={words.branching} "
            f"--config.model.visual_words.depth={words.depth}."
        )
    return words


def _builders(
    run: RunConfig,
    sources: Sources,
    tokenizer: tokenizers.Tokenizer,
    lists: HeadLists,
    left: Sequence[LeftOut] = (),
) -> tuple[BlockBuilder, ...]:
    """Blocks of each stage, whose sources go on where the stage before left them."""
    weighted, words = _weighted(run, sources), _content_words(run, tokenizer)
    builders: list[BlockBuilder] = []
    given: Sequence[int] = ()
    first_step = 0
    for stage in run.in_stages().values():
        of_stage = [
            source._replace(weight=settings.weight)
            for source, settings in zip(weighted, stage.data.sources, strict=True)
        ]
        builders.append(_builder(stage, sources, of_stage, tokenizer, words, given, lists))
        end = first_step + stage.training.num_steps
        own = left_out.of_stage(left, first_step, end)
        batches = left_out.given_before(own, first_step, end)
        given = builders[-1].blocks_given(batches * stage.data.blocks_per_batch)
        first_step = end
    return tuple(builders)


def block_builder(
    run: RunConfig, sources: Sources, tokenizer: tokenizers.Tokenizer
) -> BlockBuilder:
    """Blocks of a run without stages.

    Raises ContentWordsError, ContractMismatch, NeighboursError, AlignmentError, InputError.
    """
    lists = HeadLists.of_run(run, sources.splits, None)
    (builder,) = _builders(run, sources, tokenizer, lists)
    return builder


def _weighted(run: RunConfig, sources: Sources) -> list[Source]:
    return [
        Source(
            split,
            source.regime,
            source.weight,
            neighbours.load(source.neighbours) if source.neighbours else None,
            source.neighbour_videos,
            transcripts,
            alignment.load(source.alignment) if source.alignment else None,
        )
        for split, transcripts, source in zip(
            sources.splits, sources.transcripts, run.data.sources, strict=True
        )
    ]


def _content_words(
    run: RunConfig, tokenizer: tokenizers.Tokenizer
) -> content_words.WordWeights | None:
    path = run.data.content_words
    return content_words.WordWeights(content_words.load(path), tokenizer) if path else None


def _builder(
    run: RunConfig,
    sources: Sources,
    weighted: Sequence[Source],
    tokenizer: tokenizers.Tokenizer,
    words: content_words.WordWeights | None,
    first_blocks: Sequence[int],
    lists: HeadLists,
) -> BlockBuilder:
    told, names = lists.answers, lists.clip_labels
    label_list = LabelList(run.data.clip_labels, names) if names else None
    dim = sources.main.contract.dim
    try:
        settings = BlockSettings.from_config(run.data, run.seed, dim, answered=bool(told))
        return BlockBuilder(weighted, tokenizer, settings, words, first_blocks, told, label_list)
    except ValueError as error:
        if type(error) is not ValueError:
            raise  # says by itself what it is
        raise InputError(str(error)) from error


def _path_of(run: RunConfig):
    def path_of(source: SourceConfig) -> str:
        if not (source.path or run.data.path):
            raise InputError(
                "data.path is empty: say --config.data.path=DIR, a folder written by "
                "`videobert prepare NAME --output DIR`."
            )
        return local_copy.dataset_path(run.data, source)

    return path_of


def _begun_tokenizer(
    run: RunConfig,
    workdir: storage.Path,
    sources: Sources,
    initial: ModelBundle | None,
    bert: Bert | None,
) -> tokenizers.Tokenizer:
    """The workdir's tokenizer; else that of init.bert; else that of init.checkpoint, where its text
    parts are taken over; else one trained on the captions. The record of an earlier start, which
    may have been killed while it wrote that, is not asked: none of its steps was saved."""
    path = workdir / run_record.TOKENIZER_FILE
    if jax.process_index() == 0 and not path.is_file():
        if bert is not None:
            model = new_tokenizer(run, sources, bert.vocabulary)
        elif initial is not None and initialization.takes_text(
            run.init.modules, sorted(initial.variables["params"])
        ):
            model = initial.tokenizer_model
        else:
            model = new_tokenizer(run, sources, None)
        atomic.write_bytes(path, model)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the tokenizer is there")
    return tokenizers.Tokenizer(path.read_bytes())


def new_tokenizer(
    run: RunConfig, sources: Sources, vocabulary: word_pieces.Vocabulary | None
) -> bytes:
    """Model of the tokenizer that a run makes of its captions and transcripts, of a published
    BERT's `vocabulary` where there is one. Raises TokenizerError."""
    with_text = [
        split
        for split, source in zip(sources.splits, run.data.sources, strict=True)
        if source.regime != "video_only"
    ]
    with_text += [split for split in sources.transcripts if split is not None]
    if vocabulary is not None:
        return word_pieces.model_of(vocabulary, _captions(with_text))
    return tokenizers.train(_captions(with_text), run.data.vocabulary_size)


def _captions(splits: list[index.Split]) -> Iterator[str]:
    stride = max(1, -(-sum(map(len, splits)) // _TOKENIZER_TEXTS))
    for split in splits:
        ids = range(0, len(split), stride)
        for start in range(0, len(ids), _CHUNK):
            yield from split.texts(ids[start : start + _CHUNK])


def _since(workdir: storage.Path, trained_on: dict[str, Any], begins: bool) -> dict[str, Any]:
    """With what the workdir's earlier starts were trained on, where there are any."""
    if begins or not (workdir / run_record.RUN_FILE).is_file():
        return trained_on
    return run_record.trained_since(run_record.read_json(workdir / run_record.RUN_FILE), trained_on)


def _trained_on(
    run: RunConfig,
    sources: Sources,
    initial: ModelBundle | None,
    bert: Bert | None,
) -> dict[str, Any]:
    """What the parameters will have seen, that of `initial` included: evaluation must know. What a
    published BERT has seen nobody's files say; it is named by its digest."""
    entries = [
        {
            "name": dataset.name,
            "path": str(dataset.path),
            "digest": dataset.digest,
            "split": split.name,
            "video_names_digest": digests.sha256_json(sorted(split.videos)),
        }
        for splits in (sources.splits, sources.transcripts)
        for dataset, split in zip(sources.datasets, splits, strict=True)
        if split is not None
    ]
    names = {name for split in sources.splits for name in split.videos}
    heads = run.taught_heads
    initialized_from: dict[str, Any] = {}
    if bert is not None:
        initialized_from["bert"] = {"name": bert.name, "sha256": bert.sha256}
        heads |= HEADS & set(bert.params)
    if initial is not None:
        initialized_from |= {"name": initial.name, "step": initial.step, "digest": initial.digest}
        entries = [*initial.trained_on["datasets"], *entries]
        names |= set(initial.trained_on["video_names"])
        taken = initialization.top_level_names(
            run.init.modules, sorted(initial.variables["params"])
        )
        heads |= (HEADS & set(taken)) - initial.untrained_heads
    return {
        "datasets": entries,
        "video_names": sorted(names),
        "heads": sorted(heads),
        "initialized_from": initialized_from or None,
    }


def require_initial(run: RunConfig, inputs: RunInputs, bundle: ModelBundle) -> None:
    """Raises where init.checkpoint does not go with the run's tokenizer or features."""
    available = sorted(bundle.variables["params"])
    initialization.require_compatible(
        bundle,
        initialization.top_level_names(run.init.modules, available),
        run.model,
        tokenizer_digest=inputs.tokenizer.digest,
        bundle_tokenizer_digest=digests.sha256_bytes(bundle.tokenizer_model),
        contract=inputs.contract,
    )


def require_bert(inputs: RunInputs, bert: Bert) -> None:
    """Raises InitializationError where the workdir's tokenizer is not that of init.bert."""
    if inputs.tokenizer.pieces != bert.vocabulary.pieces:
        raise initialization.InitializationError(
            f"init.bert {bert.name} has {len(bert.vocabulary.pieces)} pieces, this workdir's "
            f"tokenizer {inputs.tokenizer.size} others: its piece ids would mean other words. Use "
            "a new --workdir, which takes the tokenizer over."
        )
