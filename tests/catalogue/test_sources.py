"""The lists that `guardian sync` may fetch: the packaged ones are complete, and mistakes have their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.catalogue import SourceAction, load_sources
from guardian.errors import ConfigError
from guardian.policy.model import Catalogue

WANTED = {
    "adult", "gambling", "dating", "drugs", "phishing", "malware", "ads", "tracking", "games", "ai", "warez",
    "search_unsafe",
}  # fmt: skip


def test_sources_are_complete(catalogue: Catalogue) -> None:
    sources = load_sources()
    assert len(sources) >= 40
    known = set(catalogue.tagged)
    for source_id, source in sources.items():
        assert source.url.startswith("https://") and source.licence, source_id
        assert set(source.tags) <= known, source_id
        assert not source.url.startswith(("https://cdn.jsdelivr.net", "https://unpkg.com", "https://registry."))
    fetched = {tag for s in sources.values() if s.enabled and s.action is SourceAction.LIST for tag in s.tags}
    assert {f"category:{name}" for name in WANTED} <= fetched
    assert len({source.url for source in sources.values()}) == len(sources)
    of_addresses = [source for source in sources.values() if source.format == "addresses"]
    assert {tag for source in of_addresses for tag in source.tags} >= {"bypass:tor", "bypass:vpn", "bypass:proxy"}
    assert any(source.enabled and source.tags == ("bypass:tor",) for source in of_addresses)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("tags: categry:adult", "not a tag"),
        ("tags: adult", "not a tag"),
        ('url: ""', "'url' is empty"),
        ("limit: 5G", "not a size"),
        ("action: blok", "none of"),
        ("lisence: MIT", "did you mean 'licence'"),
        ("format: addresses", "one tag, of the kind bypass:NAME"),
        ('format: addresses\n    tags: "bypass:tor bypass:vpn"', "one tag, of the kind bypass:NAME"),
        ("format: addresses\n    tags: bypass:tor\n    action: exempt", "cannot exempt"),
    ],
)
def test_a_mistake_in_sources_is_reported(tmp_path: Path, field: str, expected: str) -> None:
    path = tmp_path / "sources.yaml"
    source = {"url": "https://example.org/list", "tags": "category:adult"}
    mistake = dict(line.strip().split(": ", 1) for line in field.splitlines())
    lines = [f"    {name}: {text}\n" for name, text in (source | mistake).items()]
    path.write_text("sources:\n  mine:\n" + "".join(lines))
    with pytest.raises(ConfigError) as caught:
        load_sources(str(path))
    assert expected in caught.value.problems[0].message
    assert caught.value.problems[0].where.startswith(f"{path}:")


def test_a_source_id_is_safe_as_a_file_name(tmp_path: Path) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text('sources:\n  "../../etc/passwd":\n    url: https://example.org/list\n    tags: category:adult\n')
    with pytest.raises(ConfigError, match="not an id"):
        load_sources(str(path))
