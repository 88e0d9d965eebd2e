"""`python attention_browser.py PAGE.html FOLDER`: a page of attention by clicks and keys, as JSON.

Screenshots of what is shown go to the folder.
"""

import pathlib
import sys

from qt_browser import Browser, QtCore, QtTest, settled

READ = """(side => [...document.querySelectorAll(side)].map(e => ({
    lit: e.classList.contains("lit"), percent: e.querySelector(".percent").innerText,
    title: e.title,
    kept: e.getAttribute("aria-pressed") === "true", focused: e === document.activeElement,
    colour: getComputedStyle(e, "::before").backgroundColor, name: e.firstChild.innerText})))"""
LIT = f"""{{clips: {READ}(".clip"), words: {READ}(".spoken"),
  told: document.querySelector("[role=status]").innerText,
  marked: [...document.querySelectorAll(".map")].map(map => map.querySelectorAll(".marked").length),
  titles: [...document.querySelectorAll(".map tbody td")].map(e => e.title),
  about: document.querySelector("#about").innerText}}"""


def main(page: str, folder: str) -> None:
    browser = Browser()
    browser.page.load(QtCore.QUrl.fromLocalFile(page))
    browser.until("document.querySelectorAll('.map td').length", "the maps")
    found: dict = {"first": browser.ask(LIT)}

    def press(key: QtCore.Qt.Key) -> dict:
        QtTest.QTest.keyClick(browser.view.focusProxy() or browser.view, key)
        QtTest.QTest.qWait(300)
        return browser.ask(LIT)

    def choose(name: str, value: str) -> dict:
        browser.ask(
            f"(e => {{e.value = {value!r}; e.dispatchEvent(new Event('change')); return 1}})"
            f"(document.querySelector('#{name}'))"
        )
        return browser.ask(LIT)

    browser.click(".spoken:nth-child(2)")
    browser.until("document.querySelector('.spoken[aria-pressed=true]') !== null", "a kept word")
    found["word"] = browser.ask(LIT)
    settled(browser, pathlib.Path(folder) / "word.png")
    found["next_word"] = press(QtCore.Qt.Key.Key_Right)
    found["let_go"] = press(QtCore.Qt.Key.Key_Escape)
    browser.click(".clips li:nth-child(3) .clip")
    browser.until("document.querySelector('.clip[aria-pressed=true]') !== null", "a kept clip")
    found["clip"] = browser.ask(LIT)
    settled(browser, pathlib.Path(folder) / "clip.png")
    found["rollout"] = choose("layer", "rollout")
    found["line"] = choose("line", "1")
    found["width"] = browser.ask("document.documentElement.scrollWidth")
    found["alerts"] = browser.ask("window.alerted || 0")
    settled(browser, pathlib.Path(folder) / "line.png")
    browser.end(found)


if __name__ == "__main__":
    main(*sys.argv[1:3])
