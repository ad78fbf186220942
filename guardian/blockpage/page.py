"""The pages as HTML: no script, no form, no request to anywhere, one inline style sheet. Pure: facts in, bytes out.

All text passes `escape`; a host is shown only after `request.parse_request` found it to be a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from guardian.blockpage.facts import BlockInfo, DeviceInfo, LegalNotice, PageSettings
from guardian.blockpage.request import is_address
from guardian.blockpage.style import STYLE, draw
from guardian.blockpage.words import say
from guardian.messages import Messages
from guardian.policy.model import HelpKind, Helpline, Reason

MAX_HELPLINES = 3  # a child reads three; more is a wall

# A rule of the parents cannot open what these close.
_NOT_FOR_PARENTS = (Reason.REBINDING, Reason.SAFE_SEARCH)

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


def escape(text: str) -> str:
    """Return text that is safe in HTML and in a quoted attribute; control and direction characters are taken out."""
    return "".join(char for char in text if char.isprintable()).translate(_ESCAPES)


class Pages:
    """Renders the pages in one language after another. Immutable."""

    def __init__(self, messages: Messages, settings: PageSettings) -> None:
        self._messages = messages
        self._settings = settings

    def blocked(self, language: str, host: str, info: BlockInfo, console: str = "") -> bytes:
        """Return the page of a name that the family's rules block. `console` is the console's URL, "" without one."""
        words = say(self._messages, language, info, self._settings)
        parts = [*_head(words.title, words.why, words.drawing, host if words.site else "")]
        if words.site:
            parts.append(f'<p class="soft center">{self._text(language, "comfort")}</p>')
        parts += [self._title(language, "ask.title")]
        question = _question(host, info) if words.site else "time=1"
        if console and info.is_named and question:
            parts += self._paragraphs(language, ("ask.here",))
            parts.append(
                f'<p><a class="ask" href="{escape(console)}/ask?{question}">{self._text(language, "ask.link")}'
            )
            parts.append("</a></p>")
            parts += self._paragraphs(language, ("ask.mistake",) if words.site else ())
        else:
            parts += self._paragraphs(language, ("ask.parents", "ask.mistake") if words.site else ("ask.wait",))
        if console:
            parts.append(self._way(language, f"{console}/me", "me.link"))
        parts += self._talk(language)
        parts += self._reports(language, console=console)
        return self._document(language, words.title, parts)

    def _way(self, language: str, url: str, key: str) -> str:
        return f'<p><a class="go" href="{escape(url)}">{self._text(language, key)}</a></p>'

    def mandatory(self, language: str, info: BlockInfo) -> bytes:
        """Return the page of a name that the law blocks: who, by which law, how to object, help. No name."""
        legal = info.legal
        kind = "voluntary" if legal.is_voluntary else "mandatory"
        title = self._messages.get(language, f"title.{kind}")
        why = (self._messages.get(language, f"why.{kind}"), legal.message.get(language) or legal.message.get("en", ""))
        parts = [*_head(title, tuple(filter(None, why)), "law", "")]
        parts.append(f'<p class="soft center">{self._text(language, "law.privacy")}</p><dl>')
        authority = legal.authority.get(language) or legal.authority.get("en", "")
        facts = {
            "authority": escape(authority) or self._text(language, "law.authority.unknown"),
            "ground": self._say_ground(language, legal),
            "appeal": _say_appeal(legal.appeal) or self._text(language, "law.appeal.unknown"),
        }
        parts += [f"<dt>{self._text(language, f'law.{key}')}</dt><dd>{fact}</dd>" for key, fact in facts.items()]
        parts.append("</dl>")
        parts += self._reports(language, MAX_HELPLINES)
        parts += self._talk(language)
        parts += self._help(language, (HelpKind.BEHAVIOUR,), "help.behaviour", None)
        return self._document(language, title, parts)

    def _say_ground(self, language: str, legal: LegalNotice) -> str:
        """By which law or order, as HTML: what kind it is, and its number."""
        kind = self._text(language, f"law.basis.{legal.basis}") if legal.basis else ""
        return ", ".join(filter(None, (kind, escape(legal.ground)))) or self._text(language, "law.ground.unknown")

    def open_again(self, language: str, host: str) -> bytes:
        """Return the page of a name that is not blocked (any more)."""
        title = self._messages.get(language, "title.open")
        parts = [*_head(title, (self._messages.get(language, "why.open"),), "open", host)]
        parts.append(f'<p class="center"><a href="">{self._text(language, "ask.reload")}</a></p>')
        return self._document(language, title, parts)

    def home(self, language: str, device: DeviceInfo | None) -> bytes:
        """Return the gateway's own page."""
        title = self._messages.get(language, "title.home")
        parts = [*_head(title, (self._messages.get(language, "home.lead"),), "home", "")]
        parts += [self._title(language, "home.device"), f"<p>{escape(self._say_device(language, device))}</p>"]
        parts += [self._title(language, "home.try")]
        parts += self._paragraphs(language, ("home.try.open", "home.try.closed", "home.try.console"))
        parts += self._talk(language)
        parts += self._reports(language)
        return self._document(language, title, parts)

    def error(self, language: str) -> bytes:
        """Return the page of a request that cannot be read."""
        title = self._messages.get(language, "title.error")
        parts = [*_head(title, (self._messages.get(language, "why.error"),), "pause", "")]
        return self._document(language, title, parts)

    def _say_device(self, language: str, device: DeviceInfo | None) -> str:
        if device is None:
            return self._messages.get(language, "home.unknown")
        if not device.filtered:
            return self._messages.get(language, "home.unfiltered")
        if not device.profile:
            return self._messages.get(language, "home.filtered.new")
        return self._messages.get(language, "home.filtered", profile=device.profile)

    def _text(self, language: str, key: str, **values: str | int) -> str:
        return escape(self._messages.get(language, key, **values))

    def _title(self, language: str, key: str) -> str:
        return f"<h2>{self._text(language, key)}</h2>"

    def _paragraphs(self, language: str, keys: Iterable[str]) -> list[str]:
        return [f"<p>{self._text(language, key)}</p>" for key in keys]

    def _helplines(self, kinds: tuple[HelpKind, ...], most: int) -> list[Helpline]:
        """Those of the country and of everywhere, the country's own first; of all countries when it is not known."""
        country = self._settings.country
        lines = [line for line in self._settings.helplines if line.kind in kinds]
        fitting = [line for line in lines if not country or line.country in (country, "")]
        return sorted(fitting, key=lambda line: not line.country)[:most]

    def _help(
        self, language: str, kinds: tuple[HelpKind, ...], title: str, lead: str | None, most: int = MAX_HELPLINES
    ) -> list[str]:
        lines = self._helplines(kinds, most)
        if not lines:
            return []
        parts = [self._title(language, title)]
        if lead is not None:
            parts.append(f'<p class="soft">{self._text(language, lead)}</p>')
        return [*parts, "<ul>", *(_helpline(language, line) for line in lines), "</ul>"]

    def _talk(self, language: str) -> list[str]:
        return self._help(language, (HelpKind.CHILD, HelpKind.EMERGENCY), "help.title", "help.line")

    def _reports(self, language: str, most: int = 1, console: str = "") -> list[str]:
        lines = self._help(language, (HelpKind.REPORT,), "report.title", "report.line", most)
        if not console:
            return lines
        title, *lines = lines or [self._title(language, "report.title")]
        return [title, self._way(language, f"{console}/me#report", "report.link"), *lines]

    def _document(self, language: str, title: str, parts: list[str]) -> bytes:
        footer = [self._text(language, "home.version", version=self._settings.version)]
        if self._settings.support:
            footer.insert(0, self._text(language, "support.line", contact=self._settings.support))
        return (
            f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
            f"<main><article>{''.join(parts)}</article>"
            f"<footer>{'<br>'.join(footer)}</footer></main></body></html>\n"
        ).encode()


def _head(title: str, why: tuple[str, ...], drawing: str, host: str) -> Iterable[str]:
    yield draw(drawing)
    yield f"<h1>{escape(title)}</h1>"
    if host:
        yield f'<p class="host"><bdi dir="ltr">{escape(host)}</bdi></p>'
    yield f'<p class="why">{escape(" ".join(why))}</p>'


def _question(host: str, info: BlockInfo) -> str:
    """The query with which the console asks for a site; "" where there is nothing that parents could open."""
    return "" if info.reason in _NOT_FOR_PARENTS or is_address(host) else f"site={quote(host, safe='')}"


def _helpline(language: str, line: Helpline) -> str:
    name = line.names.get(language) or line.names["en"]
    about = line.about.get(language) or line.about.get("en", "")
    parts = [f"<b>{escape(name)}</b>"]
    if line.phone:
        digits = "".join(char for char in line.phone if char.isascii() and (char.isdigit() or char == "+"))
        parts.append(f'<a class="tel" href="tel:{digits}">{escape(line.phone)}</a>')
    if line.url.startswith("https://"):
        parts.append(_link(line.url, line.url.removeprefix("https://").removeprefix("www.").rstrip("/")))
    if about:
        parts.append(f"<small>{escape(about)}</small>")
    return f"<li>{''.join(parts)}</li>"


def _say_appeal(appeal: str) -> str:
    """Where to complain, as HTML: a link, or a mail address as text; "" for anything else."""
    if appeal.startswith("https://"):
        return _link(appeal, appeal)
    return escape(appeal) if "@" in appeal and ":" not in appeal else ""


def _link(url: str, text: str) -> str:
    return f'<a href="{escape(url)}" rel="noopener noreferrer">{escape(text)}</a>'
