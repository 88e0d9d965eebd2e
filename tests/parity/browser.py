"""`python browser.py PAGE.html SCREENSHOT.png WIDTH...`: what a browser makes of a page, as JSON.

Qt's WebEngine, which is Chromium, without a display. A process of its own: it has its own loop.
"""

import json
import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"  # which root needs; the page is our own
os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--disable-gpu"

from PySide6 import QtCore, QtWebEngineCore, QtWebEngineWidgets, QtWidgets  # noqa: E402

READ = """JSON.stringify({
  rows: [...document.querySelectorAll("tr")].map(row => [...row.cells].map(c => c.innerText)),
  pictures: [...document.images].map(i => i.complete && i.naturalWidth > 0 && i.clientWidth > 0),
  drawings: [...document.querySelectorAll("svg")].map(d => d.getBoundingClientRect().height),
  fills: [...document.querySelectorAll(".fill")].map(f =>
    [f.getBoundingClientRect().width / f.parentNode.getBoundingClientRect().width, f.style.width]),
  background: getComputedStyle(document.body).backgroundColor,
})"""
WIDTHS = """JSON.stringify([document.documentElement.scrollWidth, window.innerWidth,
  Math.max(...[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll"))
    .map(e => e.getBoundingClientRect().right))])"""


class Requests(QtWebEngineCore.QWebEngineUrlRequestInterceptor):
    """Notes every address that is asked for."""

    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def interceptRequest(self, info):  # noqa: N802 - Qt's name
        self.found.append(info.requestUrl().toString()[:60])


class Page(QtWebEngineCore.QWebEnginePage):
    """Notes what the console says."""

    console: list[str]

    def javaScriptConsoleMessage(self, level, message, line, source):  # noqa: N802
        self.console.append(message)


def main(path: str, screenshot: str, widths: list[int]) -> None:
    application = QtWidgets.QApplication(sys.argv[:1])
    requests: list[str] = []
    profile = QtWebEngineCore.QWebEngineProfile()
    interceptor = Requests(requests)
    profile.setUrlRequestInterceptor(interceptor)
    page = Page(profile)
    page.console = []
    view = QtWebEngineWidgets.QWebEngineView()
    view.setPage(page)

    def wait(signal_or_ms):
        loop = QtCore.QEventLoop()
        QtCore.QTimer.singleShot(30_000, loop.quit)
        if isinstance(signal_or_ms, int):
            QtCore.QTimer.singleShot(signal_or_ms, loop.quit)
        else:
            signal_or_ms.connect(loop.quit)
        loop.exec()

    def ask(script: str):
        loop, answers = QtCore.QEventLoop(), []
        page.runJavaScript(script, lambda answer: (answers.append(answer), loop.quit()))
        QtCore.QTimer.singleShot(30_000, loop.quit)
        loop.exec()
        return json.loads(answers[0])

    view.resize(widths[0], 1200)
    view.show()
    page.load(QtCore.QUrl.fromLocalFile(path))
    wait(page.loadFinished)
    found = ask(READ)
    measured = {}
    for width in widths:
        view.resize(width, 1200)
        wait(400)
        measured[width] = ask(WIDTHS)
        if width == widths[0]:
            view.grab().save(screenshot)
    print(
        json.dumps({**found, "widths": measured, "requests": requests, "console": page.console}),
        flush=True,
    )
    view.setPage(None)
    application.quit()
    os._exit(0)  # without Qt's own taking down, which may wait


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], list(map(int, sys.argv[3:])))
