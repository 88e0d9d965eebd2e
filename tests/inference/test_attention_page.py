"""The page holds every figure, needs nothing else, and what captions say stays text in it."""

import base64
import dataclasses
import hashlib
import html.parser
import io
import json

import numpy as np
import pytest

from tests.inference import attention_pages
from videobert_jax.inference import attention_page


class Parsed(html.parser.HTMLParser):
    """Tags with their attributes, in order, and the text inside each kind of element."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def handle_comment(self, data):
        self.comments.append(data)

    def inside(self, tag: str) -> list[str]:
        return [text for of, text in self.texts if of == tag and text.strip()]


@pytest.fixture(scope="module")
def made() -> tuple[attention_page.Page, Parsed]:
    page = attention_pages.make(framed=False)
    return page, Parsed(attention_page.build(page))


def test_every_map_of_every_line_is_in_its_data(made):
    page, parsed = made
    data = json.loads(parsed.inside("script")[0])
    assert data["chosen"] == {"line": 0, "layer": 1, "head": 2}
    for line, told in zip(page.lines, data["lines"], strict=True):
        assert (told["number"], told["text"], told["times"]) == (line.number, line.text, line.times)
        for of, found in zip(line.maps, told["maps"], strict=True):
            assert (found["layer"], found["head"]) == (of.layer, of.head)
            assert found["words"] == [word.text for word in of.words]
            for name in ("text_reads_video", "video_reads_text"):
                np.testing.assert_allclose(found[name], getattr(of, name), atol=5.1e-5)


def test_hostile_text_is_text(made):
    page, parsed = made
    harmless = dataclasses.replace(page, title="a", subtitle="b", caption="c", lines=page.lines[:1])
    assert parsed.tags[5:] == Parsed(attention_page.build(harmless)).tags[5:]  # the head has hashes
    assert [tag for tag, _ in parsed.tags].count("script") == 2 and not parsed.comments
    assert parsed.inside("title") == [page.title]
    shown = "".join(parsed.inside("p"))
    assert page.subtitle in shown and page.caption in shown


def test_it_asks_for_nothing_and_runs_its_own_program_alone(made):
    _, parsed = made
    for _, attributes in parsed.tags:
        assert not {"src", "href", "style", "srcset"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    (policy,) = (
        str(attributes["content"])
        for _, attributes in parsed.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        digest = hashlib.sha256(parsed.inside(tag)[-1].encode()).digest()
        assert rules[rule] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_frames_travel_inside_by_the_number_of_their_clip():
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    page = attention_pages.make()
    data = json.loads(Parsed(attention_page.build(page)).inside("script")[0])
    assert data["frames"].keys() == {str(clip) for line in page.lines for clip in line.clips}
    for clip in (0, 20):
        kind, _, encoded = data["frames"][str(clip)].partition(",")
        assert kind == "data:image/jpeg;base64"
        drawn = np.asarray(image.open(io.BytesIO(base64.b64decode(encoded))))
        assert np.abs(drawn.mean((0, 1)) - page.frames[clip][0, 0]).max() < 4
