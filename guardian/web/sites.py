"""Sites as people write or paste them."""

from __future__ import annotations

import re

from guardian.blocklist.lines import PUBLIC_SUFFIX
from guardian.errors import TextError
from guardian.names import format_name
from guardian.policy.rules import parse_pattern

_LINK = re.compile(r"[a-z][a-z0-9+.-]{0,30}://\S+", re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_PUBLIC_SUFFIX = re.compile(PUBLIC_SUFFIX.decode())
# Where anybody may have a site below a name of their own choice, or reach any other site through one. Who says yes to
# the place does not mean all that strangers put there. Not complete, and need not be: a parent still says yes or no.
SHARED_PLACES = frozenset(
    """
    altervista.org amazonaws.com appspot.com azurewebsites.net blogspot.com cloudfront.net deno.dev duckdns.org
    firebaseapp.com fly.dev github.io gitlab.io glitch.me googleusercontent.com herokuapp.com livejournal.com
    neocities.org netlify.app ngrok.app ngrok.io ngrok-free.app onrender.com pages.dev r2.dev railway.app repl.co
    replit.app replit.dev run.app surge.sh translate.goog trycloudflare.com tumblr.com ucoz.com ucoz.net ucoz.ru
    vercel.app web.app weebly.com wixsite.com wordpress.com workers.dev
    """.split()  # noqa: SIM905 - forty lines otherwise
)


def is_public_suffix(site: str) -> bool:
    """Tell whether a name is one that registries sell names below, such as `co.uk` or `com.md`: no site of its own."""
    return _PUBLIC_SUFFIX.fullmatch(site) is not None


def read_site(text: str) -> bytes:
    """Return the wire name of a site in a text that a person pasted: a name, a link, or a sentence with a link.

    Takes any case, international names, ports, paths, a final dot, and the signs of a rule (`=`, `*.`). Raises
    TextError with words for people.
    """
    text = _INVISIBLE.sub("", text).strip()
    link = _LINK.search(text)
    host = link[0].partition("://")[2] if link else text.removeprefix("//")
    host = re.split(r"[/?#\\\s]", host, maxsplit=1)[0].rpartition("@")[2]
    if host.startswith("[") or host.count(":") > 1:
        raise TextError("this is an address made of numbers; write the name of a site, like example.com")
    host = host.partition(":")[0].removeprefix("=").removeprefix("*.").rstrip(".,;!)\"'»”").lstrip("(\"'«„“")
    pattern = parse_pattern(host)
    if pattern.glob is not None or "." not in pattern.text:
        raise TextError(f"'{host[:80]}' is not the whole name of a site, like example.com")
    return pattern.base


def show_site(name: bytes) -> str:
    """Return a wire name as people read it: A-labels become letters where they are well made."""
    return ".".join(_show_label(label) for label in format_name(name).split("."))


def _show_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    import idna

    try:
        return idna.decode(label)
    except (idna.IDNAError, UnicodeError):  # nobody can own such a name, but somebody may paste it
        return label
