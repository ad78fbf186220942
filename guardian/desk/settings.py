"""`DIR/desk.yaml`: what a desk is called, its test name, and where hints go. `guardian hotline init` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from guardian.blocklist.feed_base import SuffixRules, parse_suffix_rules
from guardian.config.text import read_file_name
from guardian.config.values import PushConfig
from guardian.errors import ConfigError, DeskError, ListError, Problem
from guardian.typed_yaml import Locate, decode, read_text

FILE = "desk.yaml"
_LONGEST = 300  # as guardian.feed.Line


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """The settings of a desk. File names are relative to its folder."""

    name: str  # of the hotline, as routers show it
    test_name: str = ""  # a listed name that everybody may look up
    suffixes: str = field(default="", metadata={"read": read_file_name})  # "" = of the package publicsuffixlist
    online_password: str = field(default="online/password", metadata={"read": read_file_name})
    push: PushConfig = field(default_factory=PushConfig)


def load_settings(folder: Path) -> DeskSettings:
    """Return a desk's settings. Raises ConfigError with the line, DeskError when this is no desk."""
    path = folder / FILE
    if not path.exists():
        raise DeskError(f"{folder}: this is no desk; 'guardian hotline init DIR' makes one")
    return decode(read_text(str(path)), str(path), DeskSettings, _check)


def _check(settings: DeskSettings, locate: Locate) -> list[Problem]:
    problems = [
        Problem(locate(key), f"'{key}' must be one line of at most {_LONGEST} characters")
        for key, text in (("name", settings.name), ("test_name", settings.test_name))
        if len(text) > _LONGEST or not text.isprintable()
    ]
    push = settings.push
    problems += [
        Problem(locate("push", given), f"'{given}' needs '{missing}' beside it")
        for given, missing in (("certificate", "key"), ("key", "certificate"), ("user", "password"))
        if getattr(push, given) and not getattr(push, missing)
    ]
    return problems


def write_settings(name: str, test_name: str) -> str:
    """Return the text of a new desk's settings. Raises DeskError for a name that can't stand in it."""
    if not name.strip() or not name.isprintable():
        raise DeskError("the hotline's name must be one line of text")
    lines = {"name": name, "test_name": test_name}
    text = "".join(f"{key}: {_quote(value)}\n" for key, value in lines.items())
    text += (
        "online_password: online/password  # better a file outside this folder, which only cron can read\n"
        "# suffixes: public_suffix_list.dat  # a newer copy from publicsuffix.org; holds from the next base on\n"
        "# push:\n"
        "#   broker: mqtts://push.example:8883\n"
        "#   topic: guardian/feed\n"
        "#   user: desk\n"
        "#   password: online/push-password\n"
    )
    try:
        decode(text, FILE, DeskSettings, _check)
    except ConfigError as error:
        raise DeskError(str(error)) from None
    return text


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def load_suffix_rules(folder: Path, settings: DeskSettings) -> SuffixRules:
    """Return the public suffixes that the next base holds. Raises DeskError with the file and what to do."""
    if settings.suffixes:
        path = folder / settings.suffixes
    else:
        import publicsuffixlist

        path = Path(publicsuffixlist.PSLFILE)
    try:
        return parse_suffix_rules(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeskError(f"{path}: {error.strerror}; 'suffixes' in {FILE} says which file to take") from None
    except (ListError, UnicodeDecodeError) as error:
        raise DeskError(f"{path}: {error}") from None
