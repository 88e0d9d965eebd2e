"""Workbooks: the text of their cells, and what is refused of hostile ones."""

import pytest

from tests.files import workbooks
from videobert_jax.files import spreadsheets
from videobert_jax.files.errors import ArrayFileError

SHEETS = {
    "first": [["Name", "Number"], ["cut & peel", 7], [None, 0.5]],
    "the second": [["é"]],
}


def read(tmp_path, parts):
    path = tmp_path / "book.xlsx"
    path.write_bytes(workbooks.xlsx(parts))
    return spreadsheets.read_xlsx(path)


def test_cells_are_text_by_sheet_row_and_column(tmp_path):
    assert read(tmp_path, workbooks.parts(SHEETS)) == {
        "first": [{"A": "Name", "B": "Number"}, {"A": "cut & peel", "B": "7"}, {"B": "0.5"}],
        "the second": [{"A": "é"}],
    }


def test_text_is_read_however_it_is_written(tmp_path):
    parts = workbooks.parts({"s": [["plain", "joined"], [1, 2, 3]]})
    strings, sheet = "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"
    runs = "<r><t>jo</t></r><r><t>ined</t></r><rPh><t>spoken</t></rPh>"
    parts[strings] = parts[strings].replace("<t>joined</t>", runs)
    inline = "<t>in </t><r><t>line</t></r>"
    cells = {
        '<c r="A2"><v>1</v></c>': f'<c r="A2" t="inlineStr"><is>{inline}</is></c>',
        '<c r="B2"><v>2</v></c>': '<c r="B2" t="str"><f>A1</f><v>computed</v></c>',
        '<c r="C2"><v>3</v></c>': '<c r="C2" s="4"/>',
    }
    for before, after in cells.items():
        assert before in parts[sheet]
        parts[sheet] = parts[sheet].replace(before, after)
    first, second = read(tmp_path, parts)["s"]
    assert first == {"A": "plain", "B": "joined"}
    assert second == {"A": "in line", "B": "computed"}


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
FILE = '<!DOCTYPE x SYSTEM "/etc/hostname">'


@pytest.mark.parametrize(
    ("member", "before", "after", "message"),
    [
        ("xl/sharedStrings.xml", "<sst", f"{BOMB}<sst", "document type 'x'"),
        ("xl/workbook.xml", "<workbook", f"{FILE}<workbook", "document type 'x'"),
        ("xl/worksheets/sheet1.xml", "<v>0</v>", "<v>99</v>", "cell A1: text 99 of 4"),
        ("xl/worksheets/sheet1.xml", "<v>0</v>", "<v>-1</v>", "cell A1: text -1 of 4"),
        ("xl/worksheets/sheet1.xml", "</row>", "", "ParseError"),
        ("xl/_rels/workbook.xml.rels", "worksheets/", "../../", "no member"),
        ("xl/_rels/workbook.xml.rels", "rId1", "rId9", "KeyError"),
        ("xl/worksheets/sheet1.xml", "<row", " " * (5 << 20) + "<row", "unpacks from"),
    ],
)
def test_hostile_and_damaged_workbooks_are_refused(tmp_path, member, before, after, message):
    parts = workbooks.parts(SHEETS)
    assert before in parts[member]
    parts[member] = parts[member].replace(before, after)
    with pytest.raises(ArrayFileError, match=message) as refused:
        read(tmp_path, parts)
    assert str(refused.value).startswith(str(tmp_path / "book.xlsx"))


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"PK\x03\x04", b"Targets,Domains\n"):
        (tmp_path / "book.xlsx").write_bytes(content)
        with pytest.raises(ArrayFileError, match="an .xlsx workbook"):
            spreadsheets.read_xlsx(tmp_path / "book.xlsx")
    with pytest.raises(ArrayFileError, match="no member 'xl/_rels"):
        read(tmp_path, {"word/document.xml": "<a/>"})
