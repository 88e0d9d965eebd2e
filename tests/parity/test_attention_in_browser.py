"""The page of attention by clicks and keys in Chromium (PySide6's WebEngine, of
requirements-parity.txt)."""

import numpy as np
import pytest

from tests.inference import attention_pages
from tests.parity import browsers
from videobert_jax.inference import attention_page


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(page, what the browser says of it)."""
    pytest.importorskip("PIL")
    folder = tmp_path_factory.mktemp("attention")
    page = attention_pages.make()
    (folder / "page.html").write_text(attention_page.build(page))
    found = browsers.run("attention_browser.py", folder / "page.html", folder)
    assert (folder / "word.png").stat().st_size > 20_000
    return page, found


def found_map(page, place: int, layer: int | None, head: int | None):
    return next(of for of in page.lines[place].maps if (of.layer, of.head) == (layer, head))


def percents(shares: np.ndarray) -> list[str]:
    return [f"{share:.0f} %" for share in np.floor(100 * shares.round(4) + 0.5)]


def test_a_click_on_a_word_lights_the_clips_that_it_reads(made):
    page, found = made
    first, word = found["first"], found["word"]
    assert not any(of["lit"] for of in first["clips"] + first["words"]) and not first["told"]
    shares = found_map(page, 0, 1, 2).text_reads_video[1]
    assert [of["lit"] for of in word["clips"]] == (shares.round(4) > 1 / 5).tolist()
    assert 0 < sum(of["lit"] for of in word["clips"]) < 5
    assert [of["percent"] for of in word["clips"]] == percents(shares)
    assert word["clips"][2]["title"] == f"cut reads 0:03.0: {100 * shares[2]:.1f} %"
    assert [of["kept"] for of in word["words"]] == [False, True, False, False, False]
    colours = [of["colour"] for of in word["clips"]]
    deepest = max(colours, key=lambda colour: float(colour.split(",")[-1].strip(" )") or 0))
    assert colours.index(deepest) == shares.argmax()
    assert word["told"].startswith(f"cut reads most: 0:0{1.5 * shares.argmax():.1f}")
    assert word["marked"] == [5, 0]


def test_a_click_on_a_clip_lights_the_words_that_it_reads(made):
    page, found = made
    shares = found_map(page, 0, 1, 2).video_reads_text[2]
    assert [of["percent"] for of in found["clip"]["words"]] == percents(shares)
    assert [of["lit"] for of in found["clip"]["words"]] == (shares.round(4) > 1 / 5).tolist()
    assert [of["kept"] for of in found["clip"]["clips"]] == [False, False, True, False, False]
    assert found["clip"]["marked"] == [0, 5]


def test_keys_move_and_let_go(made):
    page, found = made
    moved = found["next_word"]
    assert [of["focused"] for of in moved["words"]] == [False, False, True, False, False]
    shares = found_map(page, 0, 1, 2).text_reads_video[2]
    assert [of["percent"] for of in moved["clips"]] == percents(shares)
    assert not any(of["kept"] or of["lit"] for of in found["let_go"]["words"])
    assert not any(of["lit"] for of in found["let_go"]["clips"])


def test_layers_and_lines_are_chosen_and_what_was_kept_stays(made):
    page, found = made
    rollout, line = found["rollout"], found["line"]
    assert "rolled out" in rollout["about"] and "rolled out" not in found["first"]["about"]
    shares = found_map(page, 0, None, None).video_reads_text[2]
    assert [of["percent"] for of in rollout["words"]] == percents(shares)
    assert [of["kept"] for of in rollout["clips"]] == [False, False, True, False, False]
    assert [of["name"] for of in line["words"]] == ["[CLS]", *attention_pages.HOSTILE, "[SEP]"]
    assert len(line["clips"]) == 16 and not any(of["kept"] for of in line["clips"])
    weights = found_map(page, 1, None, None).text_reads_video
    assert line["titles"][16 + 3] == (
        f"{attention_pages.HOSTILE[0]} reads 0:12.0: {100 * weights[1, 3]:.1f} %"
    )


def test_nothing_is_asked_for_run_or_wider_than_the_window(made):
    _, found = made
    assert found["console"] == [] and found["alerts"] == 0
    asked = [address for address in found["requests"] if not address.startswith("data:")]
    assert len(asked) == 1 and asked[0].startswith("file:")
    assert found["width"] <= 1160
