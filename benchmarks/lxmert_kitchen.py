"""The embedded corpus as LXMERT reads it, and LXMERT of Hugging Face in the size of our network.

The examples of a step, their pieces and which of them are hidden are those of our own config, by
our own data pipeline, in rows of one example each. Clip features are normalised as in our network.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax import configuration, schema
from videobert_jax.configuration import RunConfig
from videobert_jax.data import index
from videobert_jax.data.block import BlockBuilder
from videobert_jax.files import atomic, extras
from videobert_jax.tasks import rows
from videobert_jax.text.tokenizer import Tokenizer
from videobert_jax.training import inputs
from videobert_jax.training.head_lists import HeadLists

EXTRA = "parity"
IGNORED = -100  # target that PyTorch's cross-entropy leaves out
MISMATCHED = 0.5  # of the pairs; LXMERT (Tan and Bansal 2019), section 3.1
Arrays = dict[str, np.ndarray]  # by the names that Hugging Face has for them


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What a config trains on, with one example a row."""

    run: RunConfig
    dataset: index.Dataset
    tokenizer: Tokenizer
    builder: BlockBuilder
    lists: HeadLists

    @classmethod
    def open(
        cls, config: str, data: pathlib.Path, tokenizer: pathlib.Path, settings: Mapping[str, Any]
    ) -> "Corpus":
        """The dataset `data` under a config with other `settings`. tokenizer: its file; made of
        the captions as our network's where it is not yet.

        Raises ConfigError, DatasetError, InputError.
        """
        found = configuration.load_file(config)
        for key, value in {"data.path": data, "data.examples_per_row": 1, **settings}.items():
            configuration.apply_override(found, key, str(value))
        run = configuration.parse(found)
        sources = inputs.open_sources(run)
        if not tokenizer.is_file():
            tokenizer.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(tokenizer, inputs.new_tokenizer(run, sources, None))
        read = Tokenizer(tokenizer.read_bytes())
        builder = inputs.block_builder(run, sources, read)
        lists = HeadLists.of_run(run, sources.splits, None)
        return cls(run, sources.main, read, builder, lists)

    @property
    def longest_video(self) -> int:
        """Clips that positions are told by."""
        return self.run.model.video.max_length

    def clips(self, features: np.ndarray, shown: np.ndarray) -> Arrays:
        """Clips `[n, v, c]`, those `shown` `[n, v]` before the others, cut to the longest row. A
        row without any has one of zeros: LXMERT reads no text alone."""
        longest = max(1, int(shown.sum(axis=1).max()))
        features, shown = features[:, :longest], shown[:, :longest]
        statistics = self.dataset.statistics
        if statistics is None:
            raise index.DatasetError(
                f"{self.dataset.path} has no input statistics; prepare one with a training split."
            )
        values = (features.astype(np.float32) - statistics.mean) / statistics.scale
        seen = shown.copy()
        seen[:, 0] = True
        return {
            "visual_feats": np.where(shown[..., None], values, 0).astype(np.float32),
            "visual_pos": positions(shown, self.longest_video),
            "visual_attention_mask": seen.astype(np.float32),
        }

    def texts(self, texts: Sequence[Sequence[int]]) -> Arrays:
        """Piece ids with [CLS] and [SEP], padded to the longest."""
        ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
        mask = np.zeros(ids.shape, np.float32)
        for row, pieces in enumerate(texts):
            ids[row, : len(pieces)], mask[row, : len(pieces)] = pieces, 1
        return {"input_ids": ids, "attention_mask": mask}

    def sentences(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of texts with [CLS] and [SEP], cut as our network's."""
        data, model = self.run.data, self.run.model
        room = min(data.text_length, model.text.max_length) - 2
        cls, sep = self.tokenizer.cls_id, self.tokenizer.sep_id
        return [[cls, *pieces[:room], sep] for pieces in self.tokenizer.encode(texts)]

    @property
    def no_text(self) -> list[int]:
        """What stands for a text where there is none."""
        return [self.tokenizer.cls_id, self.tokenizer.sep_id]

    def read(self, split: index.Split, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(clips float16 `[n, v, c]`, which of them there are) of examples in the order of `ids`,
        cut as our network's."""
        builder = rows.clips_builder(self.tokenizer, self.run.data, split, ids)
        built = [builder.build(k).batch for k in range(builder.num_blocks)]
        features, segments = (
            np.concatenate([getattr(block, name) for block in built])[: len(ids)]
            for name in ("video_features", "video_segment_ids")
        )
        return features, segments > 0

    def of_block(self, block: schema.Batch) -> Arrays:
        """Rows of a block as LXMERT reads them; [CLS] and [SEP] where one has no text."""
        present = block.text_segment_ids > 0
        length = max(2, int(present.sum(axis=1).max()))
        ids, mask = block.text_ids[:, :length].astype(np.int64), present[:, :length].copy()
        empty = ~mask.any(axis=1)
        ids[empty, :2], mask[empty, :2] = self.no_text, True
        return {
            "input_ids": ids,
            "attention_mask": mask.astype(np.float32),
            **self.clips(block.video_features, block.video_segment_ids > 0),
        }


def positions(shown: np.ndarray, longest: int) -> np.ndarray:
    """LXMERT's four coordinates of every clip, float32 `[n, v, 4]`: where it begins and ends, by
    the longest video and by the clips of its row."""
    place = np.arange(shown.shape[1])[None, :, None] + np.array([0, 1])
    counts = np.maximum(shown.sum(axis=1), 1)[:, None, None]
    found = np.concatenate([np.repeat(place / longest, len(shown), 0), place / counts], axis=2)
    return np.where(shown[..., None], found, 0).astype(np.float32)


def pretraining_rows(corpus: Corpus, k: int) -> Arrays:
    """Block `k` with the targets of LXMERT's objectives: hidden pieces, features of hidden clips
    (which are zeros in the input), and whether the text is the clips' own. Of transcripts without
    clips the first alone."""
    block = corpus.builder.build(k).batch
    arrays = corpus.of_block(block)
    labels = np.full(arrays["input_ids"].shape, IGNORED, np.int64)
    at, slot = np.nonzero(block.text_slot_weights > 0)
    labels[at, block.text_slots[at, slot]] = block.text_targets[at, slot]
    if (block.video_segment_ids == 0).all():
        return arrays | {"labels": labels}
    features = arrays["visual_feats"]
    hidden = block.video_masked[:, : features.shape[1]]
    arrays["visual_feats"] = np.where(hidden[..., None], np.float32(0), features)
    texts, mismatched = _mismatched(corpus, k, block, arrays)
    return mismatched | {
        "labels": labels[texts],
        "features": features,
        "feature_weights": hidden.astype(np.float32),
    }


def matching_rows(corpus: Corpus, k: int) -> Arrays:
    """Block `k` of steps, and whether the text is the clips' own."""
    block = corpus.builder.build(k).batch
    return _mismatched(corpus, k, block, corpus.of_block(block))[1]


def _mismatched(
    corpus: Corpus, k: int, block: schema.Batch, arrays: Arrays
) -> tuple[np.ndarray, Arrays]:
    """(whose text each row of block `k` reads, the rows with these and whether it is their own)."""
    texts, matched = _partners(block, np.random.default_rng([corpus.run.seed, k]))
    read = {name: arrays[name][texts] for name in ("input_ids", "attention_mask")}
    return texts, arrays | read | {"matched_label": matched.astype(np.int64)}


def _partners(block: schema.Batch, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(whose text each row reads, whether it is its own): one in `MISMATCHED` that of another
    video which says something else, where the block has one."""
    videos, hashes = block.video_ids[:, 0], block.caption_hashes[:, 0]
    other = (videos[:, None] != videos) & (hashes[:, None] != hashes)
    texts = np.arange(len(videos))
    for row in np.flatnonzero((random.random(len(videos)) < MISMATCHED) & other.any(axis=1)):
        texts[row] = random.choice(np.flatnonzero(other[row]))
    return texts, texts == np.arange(len(videos))


def answering_rows(corpus: Corpus, k: int) -> Arrays:
    """Block `k` of questions with the numbers of their answers."""
    block = corpus.builder.build(k).batch
    answers = block.answers[:, 0].astype(np.int64)
    told = np.where(answers == schema.NO_ANSWER, IGNORED, answers)
    return corpus.of_block(block) | {"labels": told}


def segmentation_rows(corpus: Corpus, k: int) -> Arrays:
    """Block `k` of whole videos with the number of each clip's label, background behind them."""
    block = corpus.builder.build(k).batch
    arrays = corpus.of_block(block)
    labels = block.clip_labels[:, : arrays["visual_feats"].shape[1]].astype(np.int64)
    return arrays | {"labels": np.where(labels == schema.NO_LABEL, IGNORED, labels)}


def network_config(corpus: Corpus) -> Any:
    """LXMERT's config with the widths, layers and dropout of the run's network."""
    lxmert: Any = extras.require("transformers.models.lxmert.modeling_lxmert", EXTRA)
    model = corpus.run.model
    return lxmert.LxmertConfig(
        vocab_size=corpus.tokenizer.size,
        hidden_size=model.embed_dim,
        num_attention_heads=model.num_heads,
        intermediate_size=model.feed_forward_dim,
        l_layers=model.text.num_layers,
        r_layers=model.video.num_layers,
        x_layers=model.cross.num_layers,
        max_position_embeddings=model.text.max_length,
        visual_feat_dim=corpus.dataset.contract.dim,
        hidden_dropout_prob=model.dropout_rate,
        attention_probs_dropout_prob=model.attention_dropout_rate,
        num_qa_labels=len(corpus.lists.answers) or 1,
        task_qa=False,
        visual_obj_loss=False,
        visual_attr_loss=False,
    )
