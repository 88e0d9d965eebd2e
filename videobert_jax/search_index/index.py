"""Search: the moments of indexed videos that fit a sentence, or a vector, best first."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from videobert_jax.inference.model import PretrainedModel
from videobert_jax.loading import LoadError
from videobert_jax.search_index import manifest as manifests
from videobert_jax.search_index import moments, vectors
from videobert_jax.search_index.errors import SearchIndexError
from videobert_jax.search_index.manifest import EXACT, File, Manifest
from videobert_jax.search_index.moments import MERGED, Hit

_CANDIDATES = 4  # windows that are fetched for each answer wanted, before they are merged

Queries = str | Sequence[str] | np.ndarray


class Index:
    """An open index; `Index.open` gives one. What it says stays true while another process
    changes the folder: the files that it read are kept until it is gone."""

    def __init__(
        self, folder: pathlib.Path, manifest: Manifest, index: Any, model: PretrainedModel | None
    ):
        self.folder, self.manifest = folder, manifest
        self._index, self._model = index, model
        self._by_number = {file.number: file for file in manifest.files}
        self._starts = np.cumsum([0, *(file.windows for file in manifest.files)])

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike,
        model: PretrainedModel | None = None,
        *,
        verify: bool = True,
    ) -> "Index":
        """The index of a folder, mapped: it takes memory for what queries touch.

        model: what made it, for queries of text; None loads it when it is first needed, from where
        it was then. verify: compares the digest of the vectors' file, which reads
        it once; else its size alone. Raises SearchIndexError where there is no index, where it is
        damaged, of another version, has nothing in it, or was made by another model.
        """
        folder = pathlib.Path(folder)
        found = manifests.read(folder)
        if model is not None:
            found.require_maker(model, folder)
        if found.vectors is None:
            raise SearchIndexError(
                f"{folder} has no segments yet; index videos into it with `videobert index VIDEOS "
                f"--checkpoint=CHECKPOINT --output={folder}`."
            )
        try:
            index = vectors.read(folder / found.vectors.file, found.vectors, verify=verify)
        except SearchIndexError:
            if manifests.read(folder).vectors == found.vectors:
                raise
            return cls.open(folder, model, verify=verify)  # changed between the two reads
        return cls(folder, found, index, model)

    def with_model(self, model: PretrainedModel) -> "Index":
        """The same index, with the model for queries of text. Raises SearchIndexError where
        another one made it."""
        self.manifest.require_maker(model, self.folder)
        return Index(self.folder, self.manifest, self._index, model)

    @property
    def num_segments(self) -> int:
        """Windows of all files."""
        return self.manifest.num_windows

    def search(
        self,
        queries: Queries,
        top_k: int = 10,
        *,
        merge: float | int = MERGED,
        probes: int | None = None,
        truncate: bool = False,
    ) -> list[list[Hit]]:
        """Of each query the `top_k` best moments, best first; fewer where there are no more.

        queries: a text, texts, or vectors [d] or [b, d] of the index's model. Windows overlap, so
        that a moment is found more than once: of two windows of a file of which the shorter shares
        more than `merge` of its seconds with the other only the better one is told (1: all are).
        probes: lists that an approximate index reads, default those that were measured when it was
        built; more find more. truncate: cuts a text that is too long. Raises SearchIndexError on
        vectors of another dimension, a text without a known word and settings out of range,
        InputError as `encode_text` does.
        """
        if top_k < 1 or not 0 <= merge <= 1:
            raise SearchIndexError(
                f"top_k={top_k}, merge={merge}; expected 1 answer or more, and a share of 0 to 1."
            )
        self._set_probes(probes)
        return [self._moments(row, top_k, merge) for row in self._vectors(queries, truncate)]

    def _set_probes(self, probes: int | None) -> None:
        found = self.manifest.vectors
        if found is None or found.kind == EXACT:
            if probes is not None:
                raise SearchIndexError(f"probes={probes}: an exact index reads all; leave it out.")
            return
        wanted = found.probes if probes is None else probes
        if not 1 <= wanted <= found.lists:
            raise SearchIndexError(f"probes={wanted}; expected 1 to {found.lists}, all lists.")
        self._index.nprobe = wanted

    def _vectors(self, queries: Queries, truncate: bool) -> Float[np.ndarray, "b d"]:
        dim = self.manifest.maker.dim
        if isinstance(queries, np.ndarray):
            rows = np.atleast_2d(queries).astype(np.float32)
            if rows.ndim != 2 or rows.shape[1] != dim or not np.isfinite(rows).all():
                raise SearchIndexError(
                    f"queries of the shape {list(queries.shape)}; expected finite vectors [{dim}] "
                    f"or [b, {dim}], as {self.manifest.maker} gives them."
                )
            return rows
        texts = [queries] if isinstance(queries, str) else list(queries)
        tokenizer = self._loaded().tokenizer
        for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
            # Letters of another script are their bytes, which no training text taught.
            known = [i for i in ids if i >= tokenizer.first_regular_id]
            if ids and not tokenizer.decode(known).strip():
                raise SearchIndexError(
                    f"{text!r:.80} has no word or letter that the model knows; give a sentence in "
                    "the language that it was trained in."
                )
        return self._loaded().encode_text(texts, truncate=truncate)

    def _loaded(self) -> PretrainedModel:
        if self._model is None:
            checkpoint = self.manifest.maker.checkpoint
            if not checkpoint:
                raise SearchIndexError(
                    f"{self.folder} was made by {self.manifest.maker}, of which it is not told "
                    "where it is; give it: Index.open(folder, model)."
                )
            try:
                loaded = PretrainedModel.from_pretrained(checkpoint)
            except LoadError as error:
                raise SearchIndexError(
                    f"{self.folder} was made by {self.manifest.maker}, which is not where it was "
                    f"({error}); give it: Index.open(folder, model)."
                ) from error
            self.manifest.require_maker(loaded, self.folder)
            self._model = loaded
        return self._model

    def _moments(self, query: Float[np.ndarray, " d"], top_k: int, merge: float | int) -> list[Hit]:
        """Answers to one query: more and more windows are fetched until enough moments are told."""
        total = self.manifest.num_windows
        wanted = min(_CANDIDATES * top_k, total)
        while True:
            scores, labels = self._index.search(query[None], wanted)
            found = int((labels[0] >= 0).sum())
            told = self._hits(scores[0, :found], labels[0, :found])
            hits = moments.distinct(told, top_k, merge)
            # An approximate index that has no more in the lists it reads gives fewer than asked.
            if len(hits) == top_k or found < wanted or wanted == total:
                return hits
            wanted = min(_CANDIDATES * wanted, total)

    def _hits(self, scores: np.ndarray, labels: np.ndarray) -> Iterator[Hit]:
        """Windows that faiss found, best first; equal scores in the files' order."""
        maker = self.manifest.maker
        for place in np.lexsort((labels, -scores)):
            file, window = self._place(int(labels[place]))
            start, end = self.manifest.windows.seconds(window, file.clips, maker.contract)
            yield Hit(file.path, start, end, float(scores[place]))

    def _place(self, label: int) -> tuple[File, int]:
        """(file, number of the window in it) of what faiss calls a vector."""
        found = self.manifest.vectors
        if found is not None and found.kind == EXACT:  # rows in the files' order
            place = int(np.searchsorted(self._starts, label, side="right")) - 1
            return self.manifest.files[place], label - int(self._starts[place])
        window = label & ((1 << vectors.WINDOW_BITS) - 1)
        return self._by_number[label >> vectors.WINDOW_BITS], window
