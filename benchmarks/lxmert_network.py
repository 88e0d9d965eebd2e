"""What a trained LXMERT says of pairs of texts and clips, each read once by the layers of its own.

Only the cross-modality layers read pairs, so that every text may be compared with every clip.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import lxmert_runs
from benchmarks.lxmert_kitchen import Corpus
from videobert_jax.files.progress import Progress

_PAIRS = 256  # that are read at a time


@dataclasses.dataclass(frozen=True)
class Read:
    """States of texts or clips after the layers of their side: tensors `[n, t, d]` and mask
    `[n, t]`, 1 where there is something."""

    states: Any
    mask: Any

    def __len__(self) -> int:
        return len(self.states)

    def of(self, rows: np.ndarray) -> tuple[Any, Any]:
        """(states, `_hidden`) of these rows, cut to the longest."""
        mask = self.mask[rows]
        longest = int(mask.sum(dim=1).max())
        return self.states[rows, :longest], _hidden(mask[:, :longest])

    def means(self) -> np.ndarray:
        """Mean state of each row, float32 `[n, d]`."""
        weights = self.mask[..., None]
        return ((self.states * weights).sum(dim=1) / weights.sum(dim=1)).numpy()


def _hidden(mask: Any) -> Any:
    """What is added to scores of attention, as `LxmertModel` has it, of a mask `[n, t]`."""
    return (1.0 - mask[:, None, None]) * lxmert_runs.torch().finfo(mask.dtype).min


class Network:
    """A trained network, which is left as it is. label: what is said of its progress."""

    def __init__(self, corpus: Corpus, network: Any, label: str = ""):
        self._torch = lxmert_runs.torch()
        self._corpus, self._network, self._label = corpus, network.eval(), label
        self._lxmert = network.lxmert

    def texts(self, pieces: Sequence[Sequence[int]]) -> Read:
        """Texts, piece ids with [CLS] and [SEP]."""
        batch = lxmert_runs.tensors(self._corpus.texts(pieces))
        ids, kinds = batch["input_ids"], self._torch.zeros_like(batch["input_ids"])
        return self._read(
            lambda rows: self._lxmert.embeddings(ids[rows], kinds[rows]),
            self._lxmert.encoder.layer,
            batch["attention_mask"],
        )

    def clips(self, features: np.ndarray, shown: np.ndarray) -> Read:
        """Rows of clips `[n, v, c]`, those that are `shown` before the others."""
        batch = lxmert_runs.tensors(self._corpus.clips(features, shown))
        seen, places = batch["visual_feats"], batch["visual_pos"]
        return self._read(
            lambda rows: self._lxmert.encoder.visn_fc(seen[rows], places[rows]),
            self._lxmert.encoder.r_layers,
            batch["visual_attention_mask"],
        )

    def _read(self, embed: Callable[[Any], Any], layers: Any, mask: Any) -> Read:
        """What the layers of one side make of its rows."""
        parts = []
        with self._torch.inference_mode():
            for rows in self._torch.arange(len(mask)).split(_PAIRS):
                states = embed(rows)
                for layer in layers:
                    states = layer(states, _hidden(mask[rows]))[0]
                parts.append(states)
            return Read(self._torch.cat(parts), mask)

    def _pairs(
        self, texts: Read, clips: Read, text_rows: np.ndarray, clip_rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Yields (places, states of texts, states of clips), after the layers of pairs."""
        progress = Progress("pairs", len(text_rows), self._label)
        with self._torch.inference_mode():
            for first in range(0, len(text_rows), _PAIRS):
                places = np.arange(first, min(first + _PAIRS, len(text_rows)))
                language, no_piece = texts.of(text_rows[places])
                vision, no_clip = clips.of(clip_rows[places])
                for layer in self._lxmert.encoder.x_layers:
                    language, vision = layer(language, no_piece, vision, no_clip)
                yield places, language, vision
                progress.step(len(places))

    def matching(
        self, texts: Read, clips: Read, text_rows: np.ndarray, clip_rows: np.ndarray
    ) -> np.ndarray:
        """Log of the odds that each pair belongs together, float32 `[n]`."""
        out = np.zeros(len(text_rows), np.float32)
        for places, language, _ in self._pairs(texts, clips, text_rows, clip_rows):
            logits = self._network.cls.seq_relationship(self._lxmert.pooler(language))
            out[places] = (logits[:, 1] - logits[:, 0]).numpy()
        return out

    def answers(
        self, texts: Read, clips: Read, text_rows: np.ndarray, clip_rows: np.ndarray
    ) -> np.ndarray:
        """Logits of the answers, float32 `[n, a]`."""
        return np.concatenate(
            [
                self._network.answer_head(self._lxmert.pooler(language)).numpy()
                for _, language, _ in self._pairs(texts, clips, text_rows, clip_rows)
            ]
        )

    def words(
        self, text: Sequence[int], places: np.ndarray, clips: Read, clip_rows: np.ndarray
    ) -> np.ndarray:
        """Log-probabilities of the pieces at `places` of one text beside each of these clips,
        float32 `[n, k, w]`."""
        rows = np.zeros(len(clip_rows), np.int64)
        return np.concatenate(
            [
                self._network.cls.predictions(language[:, places]).log_softmax(dim=-1).numpy()
                for _, language, _ in self._pairs(self.texts([text]), clips, rows, clip_rows)
            ]
        )

    def clip_labels(self, clips: Read) -> np.ndarray:
        """Number of the likeliest label of every clip of every row, without text, `[n, v]`."""
        out = np.zeros(clips.mask.shape, np.int64)
        nothing = self.texts([self._corpus.no_text])
        rows = np.arange(len(clips))
        for places, _, vision in self._pairs(nothing, clips, np.zeros_like(rows), rows):
            told = self._network["head"](vision).argmax(dim=-1).numpy()
            out[places, : told.shape[1]] = told
        return out
