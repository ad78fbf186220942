"""The data model for bbfdm: it maps what the health object of a real gateway has, and nothing else.

bbfdm reads a mapping's `key` as `ubus_get_value` of its json_plugin.c does: names between dots, and an array counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.gateway.product import Running, running

ISP = Path(__file__).parents[3] / "deploy" / "isp"
MODEL = json.loads((ISP / "tr181" / "guardian.json").read_text())
SCHEMA = json.loads((ISP / "health.schema.json").read_text())
ROOT = "Device.{BBF_VENDOR_PREFIX}Guardian."
LONGEST_KEY = 127  # of its buffer
UNMAPPED = {"feed.serials"}  # its keys are those of each feed: no model can name them
KINDS = {"boolean": bool, "int": int, "unsignedInt": int, "string": str}


class Leaf(NamedTuple):
    path: str
    shape: dict[str, Any]

    @property
    def key(self) -> str:
        (mapping,) = self.shape["mapping"]
        return str(mapping["ubus"]["key"])


def list_leaves(path: str, shape: dict[str, Any]) -> Iterator[Leaf]:
    assert shape["type"] == "object" and shape["protocols"] == ["cwmp", "usp"]
    assert shape["access"] is False and shape["array"] is False
    for name, value in shape.items():
        if name.endswith("."):
            assert name.startswith(path) and re.fullmatch(r"[A-Z][A-Za-z]+\.", name.removeprefix(path))
            yield from list_leaves(name, value)
        elif isinstance(value, dict):
            assert re.fullmatch(r"[A-Z][A-Za-z]+", name)
            yield Leaf(f"{path}{name}", value)


LEAVES = list(list_leaves(ROOT, MODEL[ROOT]))


def find(answer: Any, key: str) -> Any:
    """Return what bbfdm would: `a.b` of the answer, an array's length."""
    for part in key.removesuffix(".@Count").split("."):
        answer = answer[part]
    return len(answer) if isinstance(answer, list) else answer


def list_fields(shape: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, field in shape["properties"].items():
        if "properties" in field:
            yield from list_fields(field, f"{before}{name}.")
        else:
            yield f"{before}{name}"


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with running(tmp_path_factory.mktemp("tr181"), {"upstreams": {"servers": ["127.0.0.1:1"]}}) as gateway:
        made: dict[str, Any] = json.loads(gateway.run("status", "--health").stdout)
    assert made["running"]
    return made


def test_every_path_is_in_a_real_answer(health: dict[str, Any], tmp_path: Path) -> None:
    for leaf in LEAVES:
        value = find(health, leaf.key)
        assert type(value) is KINDS[leaf.shape["type"]], (leaf.path, value)
        assert leaf.shape["type"] != "unsignedInt" or value >= 0
    down = json.loads(Running(tmp_path, {}).run("status", "--health").stdout)
    assert not down["running"]
    for leaf in LEAVES:  # the same paths are there when nothing runs
        assert type(find(down, leaf.key)) is KINDS[leaf.shape["type"]], leaf.path


def test_all_of_it_is_mapped_and_nothing_else() -> None:
    mapped = [leaf.key.removesuffix(".@Count") for leaf in LEAVES]
    assert len(mapped) == len(set(mapped)) and len({leaf.path for leaf in LEAVES}) == len(LEAVES)
    assert set(mapped) | UNMAPPED == set(list_fields(SCHEMA))


def test_it_only_reads_and_asks_one_method() -> None:
    """bbfdm keeps an answer for one transaction: all of the model costs one call."""
    for leaf in LEAVES:
        assert set(leaf.shape) == {"type", "read", "write", "protocols", "datatype", "mapping"}
        assert leaf.shape["read"] is True and leaf.shape["write"] is False
        (mapping,) = leaf.shape["mapping"]
        asked = {key: mapping["ubus"][key] for key in ("object", "method", "args")}
        assert (mapping["type"], asked) == ("ubus", {"object": "guardian", "method": "health", "args": {}})
        assert len(leaf.key) <= LONGEST_KEY and leaf.shape["datatype"] == leaf.shape["type"]
    assert MODEL["json_plugin_version"] == 2 and set(MODEL) == {"json_plugin_version", ROOT}
    assert MODEL[ROOT]["dependency"] == "ubus:guardian->health"


def test_counters_and_versions_only() -> None:
    words = "|".join(("Name", "Device", "Profile", "Child", "Host", "MAC", "Address", "Blocked", "Quer", "Histories"))
    assert [leaf.path for leaf in LEAVES if re.search(words, leaf.path.rpartition(".")[2])] == []
