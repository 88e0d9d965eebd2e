"""Captions written by a trained decoder: by beam search, or drawn from the likely pieces.

Shapes are fixed: one program a shape and setting, with a key and value cache
(`models.next_piece`). A beam of k beginnings grows by a piece a step. One that [SEP] ends, among
the k best continuations, is kept apart, and others grow on in its place; a row is done when k are
kept. So one beam is greedy search. Captions are compared by their log-probability over the length
penalty of Wu et al. 2016 (arXiv:1609.08144), section 7, equation 14.

Letters: b rows, k beams, u places, w pieces, m places of the memory.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.models import next_piece
from videobert_jax.models.decoder import END
from videobert_jax.models.next_piece import NOTHING, CachedDecoder, WritingRules, Written
from videobert_jax.models.videobert import VideoBert

BEAMS, LENGTH_PENALTY, TEMPERATURE = 4, 1.0, 1.0  # where nothing else is said
_PAD = schema.SPECIAL_PIECES.index("[PAD]")
Side = tuple[Array, Array]  # a tower's outputs [b, n, d], segment ids [b, n]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings(WritingRules):
    """How captions are searched.

    beams: 1 is greedy. length_penalty: 0 compares log-probabilities as they are, more favours
    longer captions. Raises ValueError.
    """

    beams: int
    length_penalty: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beams < 1 or self.length_penalty < 0:
            raise ValueError(
                f"beams={self.beams} and length_penalty={self.length_penalty}; expected 1 or more, "
                "and 0 or more."
            )
        if self.num_pieces < len(schema.SPECIAL_PIECES) + self.beams:
            raise ValueError(f"beams={self.beams}: more than the {self.num_pieces} pieces allow.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings(WritingRules):
    """How captions are drawn: nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751).

    top_p: a piece is drawn from the fewest likeliest ones that have this probability together, as
    section 3.1 says; equally likely ones are in together. temperature: what logits are divided by
    before. Raises ValueError.
    """

    top_p: float
    temperature: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.top_p <= 1 or not self.temperature > 0:
            raise ValueError(
                f"top_p={self.top_p} and temperature={self.temperature}; expected more than 0, the "
                "first at most 1."
            )


def settings(
    *,
    beams: int | None,
    length_penalty: float | None,
    top_p: float | None,
    temperature: float | None,
    **rules: Any,
) -> SearchSettings | SamplingSettings:
    """Sampling where there is a top_p, else beam search; rules: the fields of `WritingRules`.

    None of the first is BEAMS and LENGTH_PENALTY, of a temperature TEMPERATURE. Raises ValueError
    on those of the other way to write, and on values that there are none of.
    """
    of_search = {"beams": beams, "length_penalty": length_penalty}
    strange = of_search if top_p is not None else {"temperature": temperature}
    if given := [f"{name}={value}" for name, value in strange.items() if value is not None]:
        raise ValueError(
            f"{', '.join(given)} with top_p={top_p}: beams and length_penalty are of beam search, "
            "temperature is of sampling, which top_p asks for; leave one of them out."
        )
    if top_p is not None:
        warmth = TEMPERATURE if temperature is None else temperature
        return SamplingSettings(top_p=top_p, temperature=warmth, **rules)
    return SearchSettings(
        beams=BEAMS if beams is None else beams,
        length_penalty=LENGTH_PENALTY if length_penalty is None else length_penalty,
        **rules,
    )


class Draws(NamedTuple):
    """What decides drawn captions: `seed`, and a number for each row, so that a caption depends on
    its own row's alone."""

    seed: Any  # uint32
    numbers: Any  # int32 [b]


class Captions(NamedTuple):
    """Captions of every row, best first; those that found no end in max_pieces come last.

    ids [b, k, u] int32: pieces, [SEP] where a caption ends, [PAD] behind it. scores [b, k] float32:
    log-probability over length penalty, below -1e8 where there are fewer.
    """

    ids: Any
    scores: Any


class _Search(NamedTuple):
    """`kept` captions have ended; `growing` ones have not, and are sorted by `sums`."""

    growing: Written
    sums: Float[Array, "b k"]  # log-probabilities
    kept: Int[Array, "b k u"]
    scores: Float[Array, "b k"]
    done: Bool[Array, " b"]


def captions(
    model: VideoBert,
    variables: Any,
    text: Side | None,
    video: Side | None,
    settings: SearchSettings | SamplingSettings,
    draws: Draws,
) -> Int[Array, "b u"]:
    """Piece ids of a caption of every row, the best or a drawn one, told from what the towers give:
    outputs `[b, n, d]` and segment ids `[b, n]`. A side that is None has no length, as in training;
    raises ValueError where both are."""
    given = text or video
    if given is None:
        raise ValueError("neither text nor video; expected one of them, or both.")
    nothing = given[0][:, :0], given[1][:, :0]
    text, video = text or nothing, video or nothing
    fused: Any = model.apply(variables, *text, *video, method="fuse")
    memory = jnp.concatenate(fused, axis=1)
    of_memory = jnp.concatenate([text[1], video[1]], axis=1) != schema.NO_SEGMENT
    decoder = CachedDecoder(model, variables, memory, of_memory)
    if isinstance(settings, SamplingSettings):
        return sample(decoder, of_memory.any(1), settings, draws)
    return search(decoder, of_memory.any(1), settings).ids[:, 0]


def search(
    decoder: CachedDecoder, present: Bool[Array, " b"], settings: SearchSettings
) -> Captions:
    """The best captions of each row; a row that is not `present` gets none."""
    beams = settings.beams
    growing = decoder.nothing(beams, settings.max_pieces)
    nothing = jnp.full((len(present), beams), NOTHING)
    first = _Search(
        growing=growing,
        sums=nothing.at[:, 0].set(0.0),  # all beginnings are the same: one counts
        kept=growing.ids,
        scores=nothing,
        done=~present,
    )

    def step(found: _Search) -> _Search:
        logits, growing = decoder.logits(found.growing)
        return _grown(found._replace(growing=growing), logits, settings)

    def goes_on(found: _Search) -> Bool[Array, ""]:
        return (found.growing.length < settings.max_pieces) & ~found.done.all()

    return _best(jax.lax.while_loop(goes_on, step, first), settings)


def _grown(found: _Search, logits: Float[Array, "b k w"], settings: SearchSettings) -> _Search:
    """The search with every beginning a piece longer."""
    rows, beams, num_pieces = logits.shape
    written, length = found.growing, found.growing.length
    logits = next_piece.with_repetition_penalty(logits, written, settings)
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)  # of the forbidden ones too
    logits = jnp.where(next_piece.allowed(written, settings, num_pieces), logits, NOTHING)
    # The best 2 k of all are among the best 2 k of each beginning; at most k of them end, so k
    # grow on.
    most = min(2 * beams, num_pieces)
    logits, pieces = jax.lax.top_k(logits, most)
    sums = found.sums[:, :, None] + jnp.where(logits > NOTHING / 10, logits - total, NOTHING)
    sums, chosen = jax.lax.top_k(sums.reshape(rows, -1), 2 * beams)
    parents = chosen // most
    pieces = jnp.take_along_axis(pieces.reshape(rows, -1), chosen, axis=1)
    ids = jnp.take_along_axis(written.ids, parents[:, :, None], axis=1)
    ids = ids.at[:, :, length].set(pieces)

    ends = pieces == END
    scores = _scores(sums, length + 1, settings)
    ended = jnp.where(ends[:, :beams] & ~found.done[:, None], scores[:, :beams], NOTHING)
    all_scores = jnp.concatenate([found.scores, ended], axis=1)
    all_kept = jnp.concatenate([found.kept, ids[:, :beams]], axis=1)
    best, order = jax.lax.top_k(all_scores, beams)

    growing = jnp.argsort(ends, axis=1, stable=True)[:, :beams]
    parents = jnp.take_along_axis(parents, growing, axis=1)
    return _Search(
        growing=written._replace(
            length=length + 1,
            ids=jnp.take_along_axis(ids, growing[:, :, None], axis=1),
            lineage=jnp.take_along_axis(written.lineage, parents[:, :, None], axis=1),
        ),
        sums=jnp.take_along_axis(sums, growing, axis=1),
        kept=jnp.take_along_axis(all_kept, order[:, :, None], axis=1),
        scores=best,
        done=found.done | (best[:, -1] > NOTHING / 10),
    )


def _scores(
    sums: Float[Array, "b k"], length: Int[Array, ""], settings: SearchSettings
) -> Float[Array, "b k"]:
    """Log-probabilities over the length penalty, ((5 + length) / 6) to its power."""
    penalty = ((5.0 + length) / 6.0) ** settings.length_penalty
    return jnp.where(sums > NOTHING / 10, sums / penalty, NOTHING)


def _best(found: _Search, settings: SearchSettings) -> Captions:
    """The k best of kept and growing captions, those that have ended first."""
    unended = _scores(found.sums, found.growing.length, settings)
    unended = jnp.where(found.done[:, None], NOTHING, unended)
    scores = jnp.concatenate([found.scores, unended], axis=1)
    ids = jnp.concatenate([found.kept, found.growing.ids], axis=1)
    ended = jnp.arange(scores.shape[1])[None] < settings.beams
    ended = ended & (scores > NOTHING / 10)
    order = jnp.lexsort((-scores, ~ended), axis=1)[:, : settings.beams]
    return Captions(
        jnp.take_along_axis(ids, order[:, :, None], axis=1),
        jnp.take_along_axis(scores, order, axis=1),
    )


def sample(
    decoder: CachedDecoder,
    present: Bool[Array, " b"],
    settings: SamplingSettings,
    draws: Draws,
) -> Int[Array, "b u"]:
    """A drawn caption of each row; a row that is not `present` gets none."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(draws.seed), draws.numbers)

    def step(found: tuple[Written, Array]) -> tuple[Written, Array]:
        written, done = found
        logits, written = decoder.logits(written)
        logits = next_piece.with_repetition_penalty(logits, written, settings)
        may_follow = next_piece.allowed(written, settings, logits.shape[-1])
        logits = jnp.where(may_follow, logits, -jnp.inf)[:, 0] / settings.temperature
        of_place = jax.vmap(jax.random.fold_in, (0, None))(keys, written.length)
        pieces = jax.vmap(jax.random.categorical)(of_place, nucleus(logits, settings.top_p))
        pieces = jnp.where(done, _PAD, pieces)
        ids = written.ids.at[:, 0, written.length].set(pieces)
        grown = written._replace(length=written.length + 1, ids=ids)
        return grown, done | (pieces == END)

    def goes_on(found: tuple[Written, Array]) -> Bool[Array, ""]:
        written, done = found
        return (written.length < settings.max_pieces) & ~done.all()

    first = decoder.nothing(1, settings.max_pieces), ~present
    return jax.lax.while_loop(goes_on, step, first)[0].ids[:, 0]


def nucleus(logits: Float[Array, "b w"], top_p: float) -> Float[Array, "b w"]:
    """Logits of the fewest likeliest pieces that have `top_p` of the probability, others -inf;
    equally likely pieces are in together."""
    probabilities = jax.nn.softmax(logits)
    likeliest = -jnp.sort(-probabilities, axis=-1)
    before = jnp.cumsum(likeliest, axis=-1) - likeliest
    least = jnp.min(likeliest, axis=-1, where=before < top_p, initial=1.0, keepdims=True)
    return jnp.where(probabilities >= least, logits, -jnp.inf)
