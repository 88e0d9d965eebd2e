"""`python demo_browser.py ADDRESS FILM.mp4 FOLDER`: the demo page used by clicks, as JSON.

Pictures of it are put into the folder: page.png, and upload.png behind the upload of the film.
"""

import pathlib
import sys

from qt_browser import Browser, QtCore, QtTest, settled


def main(address: str, film: str, folder: str) -> None:
    browser = Browser(film)
    browser.page.load(QtCore.QUrl(address))
    browser.until("document.querySelectorAll('#films option').length", "the films")
    browser.type("#search-text", "stir the egg")
    browser.click("#search-form button")
    browser.until("document.querySelectorAll('#hits button').length", "answers")
    browser.until("document.querySelector('#video').readyState >= 1", "the film")
    found: dict = {"first": browser.ask(VIDEO)}
    browser.click("#hits li:nth-child(2) button")
    second = "document.querySelector('#hits li:nth-child(2) button').className === 'chosen'"
    browser.until(second, "the second answer")
    QtTest.QTest.qWait(1500)
    found["second"] = browser.ask(VIDEO)
    browser.type("#blanks-text", "cut the [MASK]")
    browser.click("#blanks-form button")
    browser.until("document.querySelectorAll('#blanks-found .word').length", "words")
    words = "[...document.querySelectorAll('#blanks-found .word b')].map(e => e.innerText)"
    found["words"] = browser.ask(words)
    for name, made in (
        ("captions", "#captions-found td"),
        ("steps", ".cells .found"),
        ("attention", ".map td"),
    ):
        browser.click(f"#{name}-form button")
        browser.until(f"document.querySelectorAll('{made}').length", name)
        found[name] = browser.ask(f"document.querySelectorAll('{made}').length")
    QtTest.QTest.qWait(1500)
    found["width"] = browser.ask("document.documentElement.scrollWidth")
    settled(browser, pathlib.Path(folder) / "page.png")
    found |= uploaded(browser)
    settled(browser, pathlib.Path(folder) / "upload.png")
    found["foreign"] = warned(browser)
    browser.end(found)


def uploaded(browser: Browser) -> dict:
    """What is shown of a film that is uploaded by a click, with its captions."""
    browser.click("label[for=upload]")
    browser.until(f"{said('upload')}.includes('is read')", "the upload")
    browser.until("document.querySelectorAll('#captions-found td').length === 0", "a new film")
    browser.click("#captions-form button")
    browser.until("document.querySelectorAll('#captions-found td').length", "captions of it")
    return {
        "accepted": browser.page.accepted,
        "chosen": browser.ask("document.querySelector('#films').value"),
        "told": browser.ask(
            "[...document.querySelectorAll('#captions-found td')].map(e => e.innerText)"
        ),
        "h264": browser.ask("document.createElement('video').canPlayType(" + H264 + ")"),
        "film_said": browser.until(
            f"!{said('film')}.includes('drawn') && {said('film')}", "the film"
        ),
        "upload_video": browser.ask(VIDEO),
    }


def warned(browser: Browser) -> str:
    """What is said to a sentence in another script, which no key types."""
    browser.ask("(document.querySelector('#search-text').value = '包丁解牛')")
    browser.click("#search-form button")
    return browser.until(f"{said('search')}.includes('包丁解牛') && {said('search')}", "a warning")


def said(name: str) -> str:
    return f"document.querySelector('#{name}-said').innerText"


H264 = "'video/mp4; codecs=\"avc1.42E01E\"'"
VIDEO = """{start: Number(document.querySelector("#video").dataset.start),
  time: document.querySelector("#video").currentTime,
  source: document.querySelector("#video").currentSrc,
  ready: document.querySelector("#video").readyState,
  hits: [...document.querySelectorAll("#hits button")].map(button => button.innerText)}"""


if __name__ == "__main__":
    main(*sys.argv[1:])
