"""`python demo_browser.py ADDRESS FILM.mp4 FOLDER`: the demo page used by clicks, as JSON.

Pictures of it are put into the folder: page.png, and upload.png behind the upload of the film. Qt's
WebEngine, which is Chromium, without a display. A process of its own: it has its own loop.
"""

import json
import os
import pathlib
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"  # which root needs; the page is our own
os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--disable-gpu"

from PySide6 import QtCore, QtTest, QtWebEngineCore, QtWebEngineWidgets, QtWidgets  # noqa: E402

WIDTH, HEIGHT = 1160, 2000


class Requests(QtWebEngineCore.QWebEngineUrlRequestInterceptor):
    """Notes every address that is asked for."""

    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def interceptRequest(self, info):  # noqa: N802 - Qt's name
        self.found.append(info.requestUrl().toString()[:80])


class Page(QtWebEngineCore.QWebEnginePage):
    """Notes what the console says, and chooses the one `file` whenever one is asked for."""

    console: list[str]
    file: str
    accepted: list[str]

    def chooseFiles(self, mode, before, types):  # noqa: N802
        self.accepted = list(types)
        return [self.file]

    def javaScriptConsoleMessage(self, level, message, line, source):  # noqa: N802
        self.console.append(message)


class Browser:
    """The page in a window."""

    def __init__(self, file: str = ""):
        self.requests: list[str] = []
        self.profile = QtWebEngineCore.QWebEngineProfile()
        self.interceptor = Requests(self.requests)
        self.profile.setUrlRequestInterceptor(self.interceptor)
        self.page = Page(self.profile)
        self.page.console, self.page.file, self.page.accepted = [], file, []
        self.view = QtWebEngineWidgets.QWebEngineView()
        self.view.setPage(self.page)
        self.view.resize(WIDTH, HEIGHT)
        self.view.show()

    def ask(self, script: str):
        loop, answers = QtCore.QEventLoop(), []
        self.page.runJavaScript(
            f"JSON.stringify({script})", lambda answer: (answers.append(answer), loop.quit())
        )
        QtCore.QTimer.singleShot(30_000, loop.quit)
        loop.exec()
        return json.loads(answers[0]) if answers and answers[0] else None

    def until(self, script: str, what: str):
        """Waits for a truth; gives it. Ends where it does not come in a minute."""
        for _ in range(300):
            if found := self.ask(script):
                return found
            QtTest.QTest.qWait(200)
        print(self.ask("document.body.innerText"), self.page.console, file=sys.stderr)
        sys.exit(f"waited in vain for {what}")

    def click(self, selector: str):
        """A click of the mouse where an element lies."""
        self.ask(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        x, y = self.ask(f"[{box}.x + {box}.width / 2, {box}.y + {box}.height / 2]")
        target = self.view.focusProxy() or self.view
        QtTest.QTest.mouseClick(
            target, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(round(x), round(y))
        )

    def type(self, selector: str, text: str):
        """Text in the place of what a field holds, key by key."""
        self.ask(f"[document.querySelector({selector!r}).focus()]")
        self.ask(f"[document.querySelector({selector!r}).select()]")
        QtTest.QTest.keyClicks(self.view.focusProxy() or self.view, text)
        self.until(
            f"document.querySelector({selector!r}).value === {text!r}", f"{text} in the field"
        )


def settled(browser: Browser, screenshot: pathlib.Path) -> None:
    """A picture of the page from its begin."""
    browser.ask("window.scrollTo(0, 0)")
    QtTest.QTest.qWait(500)
    browser.view.grab().save(os.fspath(screenshot))


def main(address: str, film: str, folder: str) -> None:
    application = QtWidgets.QApplication(sys.argv[:1])
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
    print(
        json.dumps({**found, "requests": browser.requests, "console": browser.page.console}),
        flush=True,
    )
    application.quit()
    os._exit(0)  # without Qt's own taking down, which may wait


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
