"""What a page's answer tells a browser to fetch early: what its script will ask for, and nothing it may not have."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from guardian.store import accounts
from guardian.web.access import ROLE_SCOPES
from guardian.web.hints import MANIFEST, Built, list_hints, read_manifest
from guardian.web.pages import STATIC
from guardian.web.security import COOKIE
from tests.web.product import PASSWORD, Served

PARENT, HELPER = ROLE_SCOPES["parent"], ROLE_SCOPES["helper"]
BUILT = {
    "index.html": Built("assets/index-1.js", ("assets/index-1.css",), ("_shared-2.js",)),
    "_shared-2.js": Built("assets/shared-2.js", ("assets/shared-2.css",)),
    "src/pages/Home.svelte": Built("assets/Home-3.js", ("assets/Home-3.css",), ("_shared-2.js", "_words-4.js")),
    "_words-4.js": Built("assets/words-4.js", (), ("_words-4.js", "index.html")),  # a circle is no trap
    "src/pages/Alerts.svelte": Built("assets/Alerts-5.js"),
    "src/pages/Activity.svelte": Built("assets/Activity-6.js"),
    "src/pages/Profile.svelte": Built("assets/Profile-7.js"),
    "src/locale/ro.ts": Built("assets/ro-8.js"),
}


def hints_of(path: str, language: str = "ro", scopes: frozenset[str] = PARENT) -> list[str]:
    return list_hints(BUILT, path, language, scopes).split(", ")


def test_the_first_page_of_a_parent() -> None:
    fetch = "rel=preload; as=fetch; crossorigin"
    assert hints_of("/") == [
        f"</api/v1/start>; {fetch}",
        f"</api/v1/session>; {fetch}",
        f"</api/v1/home>; {fetch}",
        "</assets/ro-8.js>; rel=modulepreload",
        "</assets/Home-3.js>; rel=modulepreload",
        "</assets/Home-3.css>; rel=preload; as=style; crossorigin",
        "</assets/words-4.js>; rel=modulepreload",
    ]


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/alerts", "Alerts-5"),
        ("/profiles/ana", "Profile-7"),
        ("/profiles/ana/hours", "Profile-7"),
        ("/profiles/ana/activity", "Activity-6"),
        ("/devices", None),  # not among the built ones
        ("/nothing/such", None),
    ],
)
def test_other_pages_come_without_the_home(path: str, file: str | None) -> None:
    found = " ".join(hints_of(path))
    assert "/api/v1/home" not in found and "Home-3" not in found and "/api/v1/session" in found
    assert ("assets/" in found.replace("ro-8", "").replace("assets/.js", "")) == (file is not None)
    assert file is None or file in found


def test_a_helper_is_told_of_nothing_that_is_refused() -> None:
    found = " ".join(hints_of("/", scopes=HELPER))
    assert "/api/v1/home" not in found and "Home-3" not in found and "ro-8" in found


def test_a_build_without_a_manifest(tmp_path: Path) -> None:
    assert read_manifest(str(tmp_path)) == {}
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(msgspec.MsgspecError):
        read_manifest(str(tmp_path))


def test_what_the_real_build_has() -> None:
    built = read_manifest(STATIC)
    for path in ("/", "/requests", "/alerts", "/devices", "/settings", "/profiles/ana", "/profiles/ana/activity"):
        for language in ("en", "ro", "ru"):
            files = [part.split(">")[0].strip("<, /") for part in list_hints(built, path, language, PARENT).split(", ")]
            assets = [file for file in files if file.startswith("assets/")]
            assert any(Path(file).name.startswith(language) for file in assets), (path, language)
            assert len(assets) > 1, f"{path}: its page is not among the hints"
            assert all((Path(STATIC) / file).is_file() for file in assets)


def test_who_gets_hints(served: Served) -> None:
    assert "/api/v1/home" in served.get("!/").headers["link"]
    assert "/api/v1/home" not in served.helper().get("!/").headers["link"]
    assert "link" not in served.anonymous().get("!/").headers
    served.store.set_option("login_from_children", "yes")
    try:
        child = served.child()
        assert child.sign_in("Mama", PASSWORD).status_code == 201
        assert "link" in child.get("!/").headers
    finally:
        served.store.set_option("login_from_children", "no")
    assert "link" not in child.get("!/login").headers, "its calls would all be refused"


def test_a_page_does_not_prolong_a_session(served: Served) -> None:
    """Its answer sets no cookie: a session that lived on while its cookie ends would be of use to thieves only."""
    browser = served.signed_in()
    key = accounts.hash_secret(browser.http.cookies[COOKIE])
    with served.store.reading() as connection:
        connection.execute("UPDATE sessions SET used = used - 7200 WHERE hash = ?", (key,))

    def read_used() -> float:
        with served.store.reading() as connection:
            return float(connection.execute("SELECT used FROM sessions WHERE hash = ?", (key,)).fetchone()[0])

    before = read_used()
    assert browser.get("!/").status_code == 200 and read_used() == before
    assert "set-cookie" in browser.get("/session").headers and read_used() > before


def test_the_home_names_what_its_cards_show(served: Served) -> None:
    home = served.get("/home").json()
    named = set(home["names"])
    shown = {f"service:{each['of']}" for card in home["cards"] for each in card["allowances"] if each["of"]}
    assert {tag for tag in shown if ":group:" not in tag} <= named, json.dumps(home["cards"])[:500]
    assert all(set(texts) == {"en", "ro", "ru"} and all(texts.values()) for texts in home["names"].values())
