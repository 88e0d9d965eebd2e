"""Figures of captions beside statements of one example at a time, and what is refused."""

import collections
import itertools
import json
import math
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import caption_meteor, caption_pairs, caption_scores, meteor
from videobert_jax.tasks.metrics.caption_tokens import tokenize
from videobert_jax.tasks.metrics.statistic import Statistic

WORDS = "cut stir the a onion pan".split()
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join)
EXAMPLES = st.tuples(SENTENCES | st.just("!"), st.lists(SENTENCES, min_size=1, max_size=3))


def grams(sentence: str, order: int) -> collections.Counter:
    words = sentence.split()
    return collections.Counter(zip(*(words[start:] for start in range(order)), strict=False))


def matches(candidate: str, references: list[str], order: int) -> int:
    """Clipped counts (Papineni et al. 2002, section 2.1)."""
    return sum(
        min(count, max(grams(of, order)[gram] for of in references))
        for gram, count in grams(candidate, order).items()
    )


def bleu(examples: list[tuple[str, list[str]]], order: int) -> float:
    """Of a corpus, with the constants of the field's program."""
    product, length, closest = 1.0, 0, 0
    for n in range(1, order + 1):
        met = sum(matches(candidate, of, n) for candidate, of in examples)
        shown = sum(sum(grams(candidate, n).values()) for candidate, _ in examples)
        product *= (met + 1e-15) / (shown + 1e-9)
    for candidate, of in examples:
        size = len(candidate.split())
        length += size
        closest += min((abs(len(r.split()) - size), len(r.split())) for r in of)[1]
    ratio = (length + 1e-15) / (closest + 1e-9)
    return product ** (1 / order) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0)


def common(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """Length of the longest common subsequence, by its definition."""
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + common(first[1:], second[1:])
    return max(common(first[1:], second), common(first, second[1:]))


def rouge_l(candidate: str, references: list[str]) -> float:
    words = tuple(candidate.split(" "))
    of = [tuple(reference.split()) for reference in references]
    precision = max(common(words, reference) / len(words) for reference in of)
    recall = max(common(words, reference) / len(reference) for reference in of)
    if not precision or not recall:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def cider(
    candidate: str, references: list[str], corpus: list[list[str]], *, clipped: bool
) -> float:
    """Vedantam et al. 2015, equations 1 to 3, and of CIDEr-D the clipping and the penalty."""
    total = 0.0
    for order in range(1, 5):

        def weights(sentence: str, order: int = order) -> dict[tuple, float]:
            return {
                gram: count
                * math.log(
                    len(corpus)
                    / max(1, sum(any(gram in grams(r, order) for r in of) for of in corpus))
                )
                for gram, count in grams(sentence, order).items()
            }

        for reference in references:
            ours, theirs = weights(candidate), weights(reference)
            product = sum(
                (min(ours.get(gram, 0.0), value) if clipped else ours.get(gram, 0.0)) * value
                for gram, value in theirs.items()
            )
            norms = math.sqrt(sum(v**2 for v in ours.values()) * sum(v**2 for v in theirs.values()))
            gap = len(candidate.split()) - len(reference.split()) if clipped else 0
            if norms:
                total += product / norms * math.exp(-(gap**2) / 72)
    return 10 * total / len(references) / 4


@settings(deadline=None, max_examples=25)
@given(st.lists(EXAMPLES, min_size=1, max_size=6))
def test_figures_equal_statements_of_one_example_at_a_time(examples):
    pairs = caption_pairs.pair(
        enumerate(text for text, _ in examples),
        enumerate(of for _, of in examples),
        wordless_candidates=True,
    )
    scores = caption_scores.score(pairs)
    told = [(text.replace("!", ""), of) for text, of in examples]
    corpus = [of for _, of in told]
    expected = {
        **{f"BLEU_{n}": [bleu([one], n) for one in told] for n in range(1, 5)},
        "ROUGE_L": [rouge_l(*one) for one in told],
        "CIDEr": [cider(*one, corpus, clipped=False) for one in told],
        "CIDEr_D": [cider(*one, corpus, clipped=True) for one in told],
    }
    summary = scores.summary()
    for name, values in expected.items():
        np.testing.assert_allclose(scores.examples[name], values, atol=1e-9, err_msg=name)
        mean = f"{name}_macro" if name.startswith("BLEU") else name
        assert summary[mean] == pytest.approx(np.mean(values))
    for n in range(1, 5):
        assert summary[f"BLEU_{n}"] == pytest.approx(bleu(told, n))
    assert set(summary) == {*expected, *(f"BLEU_{n}_macro" for n in range(1, 5))}


def test_of_two_equally_near_references_the_shorter_sets_the_length():
    references = ["cut onion", "cut the onion on a board"]
    pairs = caption_pairs.pair([(0, "cut the onion board")], [(0, references)])
    assert caption_scores.score(pairs).summary()["BLEU_1"] == pytest.approx(1.0)  # no penalty


def test_the_right_caption_has_the_best_figures_and_others_do_not():
    references = [["cut the onion on a board"], ["stir the soup slowly"], ["pour oil in the pan"]]
    right = caption_pairs.pair(enumerate(of[0] for of in references), enumerate(references))
    best = caption_scores.score(right).summary()
    assert best["BLEU_4"] == pytest.approx(1.0) and best["ROUGE_L"] == pytest.approx(1.0)
    assert best["CIDEr"] == pytest.approx(10.0) and best["CIDEr_D"] == pytest.approx(10.0)
    other = caption_pairs.pair(
        enumerate(references[place - 1][0] for place in range(3)), enumerate(references)
    )
    worse = caption_scores.score(other).summary()
    assert all(worse[name] < best[name] / 2 for name in ("BLEU_4", "ROUGE_L", "CIDEr", "CIDEr_D"))


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Don't cut the Onions!", "do n't cut the onions"),
        ("It’s the dogs' bowl, isn't it?", "it 's the dogs bowl is n't it"),
        ("Add 1 1/2 cups (350°F) of all-purpose flour...", None),
        ("salt & pepper, e.g. 5 oz. at 5 p.m.", "salt & pepper e.g. 5 oz at 5 p.m."),
        ("you cannot, 'cause it's rock 'n' roll", "you can not 'cause it 's rock 'n' roll"),
        ("$5, £3, 5¢ and ½ cup 😀", "$ 5 # 3 5 cents and 1/2 cup"),
        ("“smart” 'single' — dash - [x]", "smart single dash -lsb- x -rsb-"),
        ("... !", ""),
        ("", ""),
    ],
)
def test_words_are_the_penn_treebanks(caption: str, words: str | None):
    if words is None:  # a fraction is one word, and so is a hyphenated one
        words = "add 1\xa01/2 cups -lrb- 350 ° f -rrb- of all-purpose flour"
    assert tokenize(caption) == words


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([(1, "a")], [(1, ["a"]), (1, ["b"])], "1 ids come more than once among the references .1"),
        ([(1, "a"), (1, "b")], [(1, ["a"])], "more than once among the candidates .1.*best one"),
        ([], [(1, ["a"])], "no candidate for 1 examples; expected one caption for each"),
        ([(1, "a")], [(1, ["a"]), (2, ["b"])], "1 ids of references have no candidate .2."),
        (
            [(1, "a"), ("x", "b")],
            [(1, ["a"])],
            "1 ids of candidates have no references .'x'.*split",
        ),
        ([(1, "a"), (2, "b")], [(1, ["a"]), (2, [])], "1 ids have an empty list of references .2."),
        ([(1, "a")], [(1, ["a", "!"])], "1 ids have a reference without a word .1."),
        ([(1, "...")], [(1, ["a"])], "1 candidates hold no word .1.; expected none: predict"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_remedy(candidates, references, message):
    with pytest.raises(EvaluationError, match=message):
        caption_pairs.pair(candidates, references)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_corpus_bleu_is_drawn_and_swapped_as_captions_are(order):
    """By its definition over captions written down as often as they are drawn, or given to the
    other system."""
    random = np.random.default_rng(order)

    def sentence() -> str:
        return " ".join(random.choice(WORDS, size=random.integers(2, 8)))

    references = [[sentence() for _ in range(1 + n % 2)] for n in range(10)]
    copied = [of[0] if n % 3 else sentence() for n, of in enumerate(references)]
    systems = [copied, [sentence() if n % 2 else of[-1] for n, of in enumerate(references)]]
    stated = caption_scores.statistics()[f"BLEU_{order}"]
    read = []
    for captions in systems:
        scores = caption_scores.score(
            caption_pairs.pair(enumerate(captions), enumerate(references))
        )
        values, rows = stated.read([json.loads(json.dumps(scores.line(n))) for n in range(10)])
        assert rows.tolist() == list(range(10))
        expected = bleu(list(zip(captions, references, strict=True)), order)
        assert scores.summary()[f"BLEU_{order}"] == pytest.approx(expected)
        assert stated.of(values[None], np.ones(10)) == pytest.approx([expected])
        read.append(values)
    drawn = random.multinomial(10, np.full(10, 0.1), 5)
    for captions, values in zip(systems, read, strict=True):
        of_draws = stated.of_draws(values, np.ones(10), drawn.astype(float))
        for times, found in zip(drawn.tolist(), of_draws.tolist(), strict=True):
            pairs = zip(captions, references, times, strict=True)
            repeated = [(said, of) for said, of, count in pairs for _ in range(count)]
            assert found == pytest.approx(bleu(repeated, order))
    groups = [f"video {n // 2}" for n in range(10)]
    differences = []
    for swaps in itertools.product([False, True], repeat=5):
        chosen = [systems[int(swap)][n] for n in range(10) for swap in [swaps[n // 2]]]
        others = [systems[int(not swap)][n] for n in range(10) for swap in [swaps[n // 2]]]
        one, other = (
            bleu(list(zip(captions, references, strict=True)), order)
            for captions in (chosen, others)
        )
        differences.append(abs(one - other))
    expected = np.mean(np.array(differences) >= differences[0] - 1e-9)
    assert 0 < expected <= 1 and differences[0] > 0
    assert stated.p_value(*read, np.ones(10), groups, seed=0) == pytest.approx(expected)


def of_alignments(told: list[list[float]]) -> float:
    """METEOR 1.5 (Denkowski and Lavie 2014, section 3) of what its program counted of captions."""
    total = [sum(of[place] for of in told) for place in range(20)]
    runs = sum(0 if of[20] == 1 and of[21:] == of[:2] else of[20] for of in told)
    matched = sum(of[21] + of[22] for of in told) / 2
    sides = []
    for side in (0, 1):
        met = sum(
            weight * (0.75 * total[4 * stage + side] + 0.25 * total[4 * stage + 2 + side])
            for stage, weight in enumerate((1.0, 0.6, 0.8, 0.6), 1)
        )
        words = 0.75 * (total[side] - total[2 + side]) + 0.25 * total[2 + side]
        sides.append(met / words if words else 0.0)
    precision, recall = sides
    if not precision or not recall:
        return 0.0
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    return mean * (1 - 0.6 * (runs / matched) ** 0.2)


def alignments(seed: int, size: int) -> list[list[float]]:
    """What METEOR's program may say of captions: every third is its reference, one has no word."""
    random = np.random.default_rng(seed)
    told = []
    for number in range(size):
        content = random.integers(1, 4, 2)
        by_stage = [random.multinomial(random.integers(content.min() + 1), [0.25] * 4).tolist()]
        by_stage.append([of if number % 2 else max(of - 1, 0) for of in by_stage[0]])
        function = random.integers(0, 3, 2)
        if number % 3 == 0:
            content[1], function[1] = content[0], function[0]
            by_stage = [[int(content[0]), 0, 0, 0]] * 2
        met = int(function.min())
        stages = [[by_stage[0][n], by_stage[1][n], *[met if n == 0 else 0] * 2] for n in range(4)]
        words = [sum(by_stage[side]) + met for side in (0, 1)]
        runs = 1 if number % 3 == 0 else int(random.integers(0, max(words) + 1))
        lengths = [int(content[side] + function[side]) for side in (0, 1)]
        told.append([*lengths, *function.tolist(), *sum(stages, []), runs, *words])
    told[-1] = [0, 3, 0, 1, *[0] * 19]
    return [[float(number) for number in of] for of in told]


def test_corpus_meteor_is_drawn_and_swapped_as_captions_are():
    """By its definition over captions counted as often as they are drawn, or given to the other
    system."""
    systems = [alignments(seed, 10) for seed in (5, 2)]
    told = of_alignments(systems[0])
    assert 0.1 < told < 0.9
    stated, read = Statistic.of_sums("METEOR", "METEOR_counts"), []
    for system in systems:
        counts = meteor.counts([" ".join(map(str, of)) for of in system])
        for of, own in zip(system, counts, strict=True):
            assert meteor.of_sums(own[None].astype(float))[0] == pytest.approx(of_alignments([of]))
        found = caption_meteor.Meteor(0.0, np.zeros(10), counts, None)
        values, _ = stated.read([json.loads(json.dumps(found.line(n))) for n in range(10)])
        assert found.statistics()["METEOR"] == stated
        read.append(values)
    assert stated.of(read[0][None], np.ones(10)) == pytest.approx([told])
    drawn = np.random.default_rng(2).multinomial(10, np.full(10, 0.1), 5)
    for system, values in zip(systems, read, strict=True):
        of_draws = stated.of_draws(values, np.ones(10), drawn.astype(float)).tolist()
        for times, of_draw in zip(drawn.tolist(), of_draws, strict=True):
            repeated = [of for of, n in zip(system, times, strict=True) for _ in range(n)]
            assert of_draw == pytest.approx(of_alignments(repeated))
    differences = []
    for swaps in itertools.product([False, True], repeat=5):
        sides = [[systems[n ^ swaps[i // 2]][i] for i in range(10)] for n in (0, 1)]
        differences.append(abs(of_alignments(sides[0]) - of_alignments(sides[1])))
    expected = np.mean(np.array(differences) >= differences[0] - 1e-9)
    groups = [f"video {n // 2}" for n in range(10)]
    assert 0 < expected < 1
    assert stated.p_value(*read, np.ones(10), groups, seed=0) == pytest.approx(expected)


def test_lines_of_another_meteor_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="'1.0 2.0'; expected 23 counts of METEOR 1.5"):
        meteor.counts(["0.0 " * 23, "1.0 2.0"])

    class Program:
        """One whose figure does not follow from its counts."""

        lock = threading.Lock()
        lines = [" ".join(map(str, of)) for of in alignments(0, 1)]

        def compute_score(self, references, candidates):
            self.lines.append("0.0 " * 23)
            return 0.5, [0.5]

    monkeypatch.setattr(caption_meteor, "_program", Program)
    (found,) = caption_meteor.score([caption_pairs.pair([(1, "a")], [(1, ["a"])])])
    assert found.value is None and "it says 0.5, and its counts 0.0; expected MET" in found.reason
    assert not found.line(0) and not found.statistics()


def test_candidates_are_put_in_the_order_of_the_references():
    pairs = caption_pairs.pair([(2, "b"), (1, "a")], [(1, ["a", "c"]), (2, ["b"])])
    assert pairs.ids == (1, 2) and pairs.candidates == ("a", "b")
    assert pairs.groups.tolist() == [0, 0, 1]


def test_meteor_without_java_or_pycocoevalcap_says_why_there_is_none(monkeypatch, tmp_path):
    pairs = caption_pairs.pair([(1, "a")], [(1, ["a"])])
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = caption_meteor.score([pairs])
    assert found.value is None and "no `java` on the PATH" in found.reason
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 3\n")
    java.chmod(0o755)
    monkeypatch.setitem(sys.modules, "pycocoevalcap.meteor.meteor", None)
    (found,) = caption_meteor.score([pairs])
    assert found.value is None and "pip install it" in found.reason
