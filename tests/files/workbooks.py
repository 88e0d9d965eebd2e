"""Small .xlsx workbooks: cells of text as spreadsheets write them, numbers as they are."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def parts(sheets: Mapping[str, Sequence[Sequence[str | int]]]) -> dict[str, str]:
    """Members of a workbook's archive; None in a row is an empty cell."""
    strings: list[str] = []
    made = {}
    names, relations = "", ""
    for number, (name, rows) in enumerate(sheets.items(), start=1):
        names += f'<sheet name={quoteattr(name)} sheetId="{number}" r:id="rId{number}"/>'
        relations += f'<Relationship Id="rId{number}" Target="worksheets/sheet{number}.xml"/>'
        lines = "".join(_row(place, row, strings) for place, row in enumerate(rows, start=1))
        made[f"xl/worksheets/sheet{number}.xml"] = (
            f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData></worksheet>'
        )
    texts = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
    made["xl/sharedStrings.xml"] = f'{_HEAD}<sst xmlns="{_MAIN}">{texts}</sst>'
    made["xl/_rels/workbook.xml.rels"] = (
        f'{_HEAD}<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>'
    )
    made["xl/workbook.xml"] = (
        f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{names}</sheets></workbook>'
    )
    return made


def xlsx(made: Mapping[str, str]) -> bytes:
    """The archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in made.items():
            archive.writestr(name, text)
    return file.getvalue()


def _row(place: int, row: Sequence[str | int | None], strings: list[str]) -> str:
    cells = ""
    for column, value in zip("ABCDEFGH", row, strict=False):
        if isinstance(value, str):
            cells += f'<c r="{column}{place}" t="s"><v>{len(strings)}</v></c>'
            strings.append(value)
        elif value is not None:
            cells += f'<c r="{column}{place}"><v>{value}</v></c>'
    return f'<row r="{place}">{cells}</row>'
