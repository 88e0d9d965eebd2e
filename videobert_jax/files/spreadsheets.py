"""Cells of .xlsx workbooks (ECMA-376, part 1, SpreadsheetML), as text.

A workbook is a zip archive of XML, and may be hostile in both ways. Its archive is read as any
other (archives.py); its XML is refused where it declares a document type, which no workbook has:
without one there are no entities, neither ones that grow nor ones that name other files. What is
wanted of a workbook here is the text of its cells, a few dozen lines: openpyxl, which also reads
styles, formulas and charts, would be a dependency that itself recommends another one against such
XML.
"""

import os
import posixpath
import xml.etree.ElementTree as ElementTree

from videobert_jax.files import archives
from videobert_jax.files.errors import ArrayFileError, reading

MAX_BYTES = 4 << 20  # of XML, unpacked; COIN's taxonomy has 0.2 MiB
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REFERENCE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_WORKBOOK, _STRINGS = "xl/workbook.xml", "xl/sharedStrings.xml"
_RELATIONS = "xl/_rels/workbook.xml.rels"

Row = dict[str, str]  # column ("A", "B", ..) -> text of the cell; empty cells are left out


def read_xlsx(path: str | os.PathLike) -> dict[str, list[Row]]:
    """Rows of every sheet by its name, in order. Numbers are the digits that are stored, formulas
    the values that were last computed.

    Raises ArrayFileError where the file is no workbook, damaged, or unpacks to more than 4 MiB.
    """
    with reading(str(path), "an .xlsx workbook"), archives.Archive(path) as archive:
        parts = [name for name in archive.names if name.startswith("xl/")]
        archive.check_bound(parts, MAX_BYTES)
        strings = []
        if _STRINGS in parts:
            strings = [_text(entry) for entry in _parse(archive, _STRINGS).iter(f"{_MAIN}si")]
        targets = {
            relation.attrib["Id"]: posixpath.normpath(
                posixpath.join("/xl", relation.attrib["Target"])
            )
            for relation in _parse(archive, _RELATIONS)
        }
        sheets = {}
        for sheet in _parse(archive, _WORKBOOK).iter(f"{_MAIN}sheet"):
            part = targets[sheet.attrib[_REFERENCE]].removeprefix("/")
            sheets[sheet.attrib["name"]] = _rows(_parse(archive, part), strings)
        return sheets


class _NoDocumentType(ElementTree.TreeBuilder):
    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        raise ArrayFileError(f"XML of the document type {name!r:.40}, which no workbook declares")


def _parse(archive: archives.Archive, name: str) -> ElementTree.Element:
    size = archive.size(name)
    if size > MAX_BYTES:
        raise ArrayFileError(f"{name} has {size} bytes, expected {MAX_BYTES} at most")
    with archive.open(name) as file:
        content = archives.read_all(file, size).tobytes()
    parser = ElementTree.XMLParser(target=_NoDocumentType())
    parser.feed(content)
    return parser.close()


def _rows(sheet: ElementTree.Element, strings: list[str]) -> list[Row]:
    rows = []
    for row in sheet.iter(f"{_MAIN}row"):
        cells = {}
        for cell in row.iter(f"{_MAIN}c"):
            column = cell.attrib["r"].rstrip("0123456789")
            if text := _cell(cell, strings):
                cells[column] = text
        rows.append(cells)
    return rows


def _cell(cell: ElementTree.Element, strings: list[str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _text(cell)
    value = cell.findtext(f"{_MAIN}v", "")
    if kind != "s":
        return value
    place = int(value)
    if not 0 <= place < len(strings):
        raise ArrayFileError(f"cell {cell.attrib['r']:.20}: text {place} of {len(strings)}")
    return strings[place]


def _text(entry: ElementTree.Element) -> str:
    """Of a string's runs, one behind another; how it is pronounced (rPh) is no part of it."""
    runs = [entry, *entry.iter(f"{_MAIN}is"), *entry.iter(f"{_MAIN}r")]
    return "".join(part.text or "" for run in runs for part in run.findall(f"{_MAIN}t"))
