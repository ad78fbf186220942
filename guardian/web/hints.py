"""What a browser may fetch together with a page, before the page's script asks for it.

A slow phone needs half a second until its script runs and asks the box; by then all of this can be there. A hint is a
field of the answer (`Link`), and only advice: a page that gets none works all the same, a moment later.
"""

from __future__ import annotations

import os

import msgspec

from guardian.web.routing import PREFIX

MANIFEST = "manifest.json"  # written by the build: which files each source became
_ENTRY = "index.html"  # names its own files itself
# By the first word of an address; webui/src/lib/pages.ts has the whole truth.
_PAGES = {
    "": "Home", "requests": "Requests", "alerts": "Alerts", "devices": "Devices", "settings": "Settings",
    "profiles": "Profile",
}  # fmt: skip
_FIRST_CALLS, _HOME_CALL = ("/start", "/session"), "/home"


class Built(msgspec.Struct, frozen=True):
    """What one source became: its file, its styles, and the sources (or shared parts) that it cannot do without."""

    file: str
    css: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


def read_manifest(folder: str) -> dict[str, Built]:
    """Return what each source became; nothing where the build wrote no list. Raises OSError and MsgspecError."""
    try:
        with open(os.path.join(folder, MANIFEST), "rb") as file:
            return msgspec.json.decode(file.read(), type=dict[str, Built])
    except FileNotFoundError:
        return {}


def list_hints(built: dict[str, Built], path: str, language: str, scopes: frozenset[str]) -> str:
    """Return the field `Link` for the console's page at `path`, for a person with these scopes who is signed in."""
    calls, sources = list(_FIRST_CALLS), [f"src/locale/{language}.ts"]
    words = path.strip("/").split("/")
    page = "Activity" if words[0] == "profiles" and words[-1] == "activity" else _PAGES.get(words[0])
    if "read" in scopes and page:
        sources.append(f"src/pages/{page}.svelte")
        calls += [_HOME_CALL] if page == "Home" else []
    # As the page's script asks, else the browser asks twice: `fetch`, styles and modules are all `crossorigin`.
    hints = [f"<{PREFIX}{call}>; rel=preload; as=fetch; crossorigin" for call in calls]
    there = _list_files(built, [_ENTRY])
    for file in _list_files(built, sources):
        if file not in there:
            kind = "preload; as=style; crossorigin" if file.endswith(".css") else "modulepreload"
            hints.append(f"</{file}>; rel={kind}")
    return ", ".join(hints)


def _list_files(built: dict[str, Built], sources: list[str]) -> list[str]:
    """The files of these sources and of all that they import, each once."""
    files, waiting, seen = [], list(reversed(sources)), set(sources)
    while waiting:
        found = built.get(waiting.pop())
        if found is None:
            continue
        files += [found.file, *found.css]
        waiting += [other for other in found.imports if other not in seen]
        seen.update(found.imports)
    return list(dict.fromkeys(files))
