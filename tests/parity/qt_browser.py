"""A page in a window of Qt's WebEngine, which is Chromium, without a display, for scripts that look
at one: each is a process of its own, as Qt has its own loop."""

import json
import os
import pathlib
import sys
from typing import NoReturn

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

    def __init__(self, file: str = "", width: int = WIDTH, height: int = HEIGHT):
        self.application = QtWidgets.QApplication(sys.argv[:1])
        self.requests: list[str] = []
        self.profile = QtWebEngineCore.QWebEngineProfile()
        self.interceptor = Requests(self.requests)
        self.profile.setUrlRequestInterceptor(self.interceptor)
        self.page = Page(self.profile)
        self.page.console, self.page.file, self.page.accepted = [], file, []
        self.view = QtWebEngineWidgets.QWebEngineView()
        self.view.setPage(self.page)
        self.view.resize(width, height)
        self.view.show()

    def ask(self, script: str):
        loop, answers = QtCore.QEventLoop(), []
        self.page.runJavaScript(
            f"JSON.stringify({script})", lambda answer: (answers.append(answer), loop.quit())
        )
        QtCore.QTimer.singleShot(30_000, loop.quit)
        loop.exec()
        return json.loads(answers[0]) if answers and answers[0] else None

    def end(self, found: dict) -> NoReturn:
        """Prints what was found, with the requests and what the console said, and ends the process
        without Qt's own taking down, which may wait."""
        told = {**found, "requests": self.requests, "console": self.page.console}
        print(json.dumps(told), flush=True)
        self.application.quit()
        os._exit(0)

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
