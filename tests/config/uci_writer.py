"""Settings as UCI, written by the manual and without the product's own mapping."""

from __future__ import annotations

from typing import Any


def write_uci(tree: dict[str, Any]) -> str:
    """A tree of settings, as guardian.yaml has it, in UCI."""
    lines: list[str] = []

    def put(type_: str, values: dict[str, Any]) -> None:
        name = " 'main'" if type_ == "guardian" else ""
        lines.append(f"\nconfig {type_}{name}")
        later = []
        for key, value in values.items():
            if isinstance(value, dict):
                later.append((f"{type_}_{key}", value))
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                later += [(key, entry) for entry in value]
            elif isinstance(value, list):
                lines.extend(f"\tlist {key} {quote(entry)}" for entry in value)
                if not value:
                    lines.append(f"\toption {key} 'none'")
            else:
                lines.append(f"\toption {key} {quote(value)}")
        for inner, entry in later:
            put(inner, entry)

    top = {key: value for key, value in tree.items() if not isinstance(value, dict) and key != "forward"}
    put("guardian", top)
    for key, value in tree.items():
        if isinstance(value, dict):
            put(key, value)
    for entry in tree.get("forward", ()):
        put("forward", entry)
    return "package guardian\n" + "\n".join(lines) + "\n"


def quote(value: Any) -> str:
    text = {True: "1", False: "0"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "'\\''") + "'"
