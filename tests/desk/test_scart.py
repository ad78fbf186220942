"""What leaves for SCART: read back the way SCART's own importer reads it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.desk.report_store import QueuedReport, list_reports
from guardian.desk.scart import write_json, write_scart, write_url
from guardian.errors import DeskError
from tests.desk.reports import HOUR, filled

BASE = QueuedReport(7, "id", HOUR, HOUR, "other", "", "", "", "ro", "MD", "open", "", "", None, False)


def read_as_scart(text: str) -> list[list[str]]:
    """Lines as `Inputs_import.php` reads them: split at line ends, tags stripped, cells split at `;`; no quotes."""
    rows = []
    for row in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        assert "<" not in row  # strip_tags would cut from here
        if row.strip():
            rows.append(row.split(";"))
    return rows


def test_a_line_has_six_cells_in_the_order_of_scart(tmp_path: Path) -> None:
    store = filled(
        tmp_path, {"url": "https://bad.example/a?x=1;y=2", "found_via": "http://search.example/q", "note": "x;y"}
    )
    made = write_scart(list_reports(store), "ana@hotline.example", "analyst", "forum")
    assert read_as_scart(made.text) == [
        [
            "https://bad.example/a?x=1%3By=2",
            "http://search.example/q",
            "ana@hotline.example",
            "guardian-1",
            "analyst",
            "forum",
        ]
    ]
    assert (made.lines, made.without_url) == (1, ())


def test_words_of_strangers_do_not_leave(tmp_path: Path) -> None:
    store = filled(tmp_path, {"note": "zebra-1", "found_via": "zebra-2", "contact": "zebra-3"})
    assert "zebra" not in write_scart(list_reports(store)).text
    assert "zebra-3" not in write_json(list_reports(store))


def test_reports_without_an_address_are_told(tmp_path: Path) -> None:
    store = filled(tmp_path, {"url": "", "note": "somebody wrote to me"}, {})
    made = write_scart(list_reports(store))
    assert (made.lines, made.without_url) == (1, (1,))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("bad.example", "http://bad.example/"),
        ("bad.example/x", "http://bad.example/x"),
        ("HTTPS://Bad.Example/X", "https://bad.example/X"),
        ("https://bad.example:8443/x#y", "https://bad.example:8443/x#y"),
        ("https://bücher.example/ș?ț", "https://xn--bcher-kva.example/%C8%99?%C8%9B"),
        ('https://bad.example/"<b>;x', "https://bad.example/%22%3Cb%3E%3Bx"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
        ("https://192.0.2.1/x", "https://192.0.2.1/x"),
        ("https://\u2603\u2603..example/", ""),
        ("", ""),
        ("=cmd|'/c calc'!A1", ""),
        ("ftp://x.example/", ""),
    ],
)
def test_addresses_are_written_so_that_scart_takes_them(text: str, written: str) -> None:
    assert write_url(text) == written


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.booleans())
def test_no_text_breaks_out_of_its_cell(url: str, found_via: str, with_scheme: bool) -> None:
    report = BASE._replace(url=f"https://x.example/{url}" if with_scheme else url, found_via=f"http://{found_via}")
    made = write_scart([report])
    assert made.text.isascii()
    rows = read_as_scart(made.text)
    assert len(rows) == made.lines <= 1
    for cells in rows:
        assert len(cells) == 6
        assert urlsplit(cells[0]).scheme in ("http", "https")
        assert not any(cell[:1] in ("=", "+", "-", "@", "\t", '"') for cell in cells)
        assert cells == next(csv.reader([made.text.rstrip("\r\n")], delimiter=";"))  # spreadsheets read the same


@pytest.mark.parametrize(
    "options",
    [{"worker": "=HYPERLINK(1)"}, {"worker": "a;b@x.example"}, {"source": "a;b"}, {"type_": "-1"}, {"source": ""}],
)
def test_options_that_scart_could_not_read_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(DeskError, match="SCART"):
        write_scart([], **options)


def test_json_has_all_but_the_contact(tmp_path: Path) -> None:
    store = filled(tmp_path, {"note": 'ce "am" văzut', "contact": "me@example.org"})
    (found,) = json.loads(write_json(list_reports(store)))
    assert found["note"] == 'ce "am" văzut'
    assert found["received"] == "2026-11-22T01:00:00Z"
    assert found["closed"] is None
    assert "contact" not in found
