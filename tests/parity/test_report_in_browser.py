"""The page of results as Chromium shows it (PySide6's WebEngine, of requirements-parity.txt)."""

import pytest

from tests.parity import browsers
from tests.report_page import results
from videobert_jax.files import storage
from videobert_jax.report_page import page
from videobert_jax.tasks import report

WIDTHS = (1160, 760, 340)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(records by file, what the browser says of their page)."""
    pytest.importorskip("PIL")
    folder = tmp_path_factory.mktemp("page")
    names = "abcdefghijklmnopqr"
    pairs = [
        (f"{x}-labelled thing", f"{names[n // 2]}-labelled thing") for n, x in enumerate(names)
    ]
    long = "an_unusually_long_name_of_a_system_" * 5
    paths = [
        results.retrieval(folder / "a.json", range(1, 25), video="kitchen", found=[3] * 24),
        results.retrieval(folder / "b.json", range(24, 0, -1), name=long),
        results.classified(folder / "c.json", pairs, texts="x" * 400),
    ]
    output = page.write([storage.path(str(path)) for path in paths], storage.path(str(folder)))
    found = browsers.run("browser.py", output, folder / "page.png", *WIDTHS)
    assert (folder / "page.png").stat().st_size > 20_000
    return paths, found


def test_all_figures_of_all_records_are_shown(made):
    paths, found = made
    for record in map(report.read, paths):
        for name, value in record["metrics"].items():
            rows = [row for row in found["rows"] if row[0] == name]
            shown = report.figure(name, value)
            baselines = [report.figure(name, of[name]) for of in record["baselines"].values()]
            assert any(row[1] == shown and row[3:] == baselines for row in rows), name


def test_nothing_is_asked_for_and_the_console_is_silent(made):
    _, found = made
    assert found["console"] == []
    # the page itself, and the pictures that it holds
    assert [address for address in found["requests"] if not address.startswith("data:")] == [
        address for address in found["requests"][:1] if address.startswith("file:")
    ]


def test_nothing_overflows_on_wide_and_narrow_screens(made):
    _, found = made
    for width in WIDTHS:
        document, window, rightmost = found["widths"][str(width)]
        assert window == width and document <= width and rightmost <= width


def test_pictures_drawings_and_bars_have_their_sizes(made):
    _, found = made
    assert len(found["pictures"]) >= 12 and all(found["pictures"])
    assert len(found["drawings"]) >= 3 and min(found["drawings"]) > 100
    assert found["fills"]
    for share, said in found["fills"]:
        assert share == pytest.approx(float(said.removesuffix("%")) / 100, abs=0.01)
