"""`python browser.py PAGE.html SCREENSHOT.png WIDTH...`: what a browser makes of a page."""

import sys

from qt_browser import Browser, QtCore, QtTest

READ = """({
  rows: [...document.querySelectorAll("tr")].map(row => [...row.cells].map(c => c.innerText)),
  pictures: [...document.images].map(i => i.complete && i.naturalWidth > 0 && i.clientWidth > 0),
  drawings: [...document.querySelectorAll("svg")].map(d => d.getBoundingClientRect().height),
  fills: [...document.querySelectorAll(".fill")].map(f =>
    [f.getBoundingClientRect().width / f.parentNode.getBoundingClientRect().width, f.style.width]),
  background: getComputedStyle(document.body).backgroundColor,
})"""
WIDTHS = """[document.documentElement.scrollWidth, window.innerWidth,
  Math.max(...[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll"))
    .map(e => e.getBoundingClientRect().right))]"""


def main(path: str, screenshot: str, widths: list[int]) -> None:
    browser = Browser(width=widths[0], height=1200)
    browser.page.load(QtCore.QUrl.fromLocalFile(path))
    read = "location.protocol === 'file:' && document.readyState === 'complete'"
    browser.until(read, "the page")
    found, measured = browser.ask(READ), {}
    for width in widths:
        browser.view.resize(width, 1200)
        QtTest.QTest.qWait(400)
        measured[width] = browser.ask(WIDTHS)
        if width == widths[0]:
            browser.view.grab().save(screenshot)
    browser.end({**found, "widths": measured})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], list(map(int, sys.argv[3:])))
