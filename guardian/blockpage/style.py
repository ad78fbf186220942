"""The look of the pages: one inline style sheet, allowed by its hash, and small drawings. No script, no request."""

from __future__ import annotations

import hashlib
from base64 import b64encode

STYLE = """
:root{color-scheme:light dark;--page:#eef2f7;--card:#fff;--ink:#1b2733;--soft:#4a5a6a;--line:#d5dde6;--tint:#e3edfb;
--link:#0b57a4;--mark:#0b57a4}
@media(prefers-color-scheme:dark){:root{--page:#10161d;--card:#1a222c;--ink:#e8eef5;--soft:#b3c0ce;--line:#33404e;
--tint:#22324a;--link:#8fc1ff;--mark:#8fc1ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:1.0625rem/1.55 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:36rem;margin:0 auto;padding:1rem}
article{background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:1.75rem 1.5rem 1.5rem}
svg{display:block;width:4rem;height:4rem;margin:0 auto .75rem;color:var(--mark)}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem;text-align:center;text-wrap:balance;overflow-wrap:break-word}
h2{font-size:1.1rem;line-height:1.3;margin:1.5rem 0 .25rem}
p{margin:.25rem 0 .5rem}
.why{font-size:1.15rem;text-align:center;text-wrap:balance}
.host{text-align:center;margin:0 0 .75rem}
.host bdi{display:inline-block;max-width:100%;max-height:6rem;overflow:auto;background:var(--tint);border-radius:.5rem;
padding:.2rem .7rem;font-family:ui-monospace,monospace;font-size:.95rem}
.soft{color:var(--soft)}
.center{text-align:center}
ul{list-style:none;margin:.5rem 0 0;padding:0}
li{border-top:1px solid var(--line);padding:.6rem 0}
li b{display:block}
a{color:var(--link);text-underline-offset:.15em}
.ask{display:block;padding:.75rem 1rem;border-radius:.75rem;background:var(--mark);color:var(--card);font-weight:700;
text-align:center;text-decoration:none}
.go{display:inline-block;padding:.6rem 0}
.tel{display:inline-block;font-size:1.25rem;font-weight:700;margin-right:.75rem;white-space:nowrap}
small{display:block;font-size:.95rem;color:var(--soft)}
dt{font-weight:700;margin-top:.75rem}
dd{margin:0}
footer{padding:1rem 1.5rem;color:var(--soft);font-size:.95rem;text-align:center}
@media(max-width:24rem){main{padding:.5rem}article{padding:1.25rem 1rem 1rem}h1{font-size:1.4rem}}
@media(min-width:48rem){main{padding-top:2.5rem}}
@media print{body{background:#fff}article{border:0}}
"""

STYLE_SOURCE = "'sha256-" + b64encode(hashlib.sha256(STYLE.encode()).digest()).decode() + "'"

SECURITY_POLICY = (
    f"default-src 'none'; style-src {STYLE_SOURCE}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_SHIELD = '<path d="M24 5 40 11v12c0 10-6.5 17-16 21C14.5 40 8 33 8 23V11z"/>'

# Paths in a field of 48 x 48, drawn in the text's colour.
DRAWINGS = {
    "closed": _SHIELD + '<rect x="17" y="22" width="14" height="11" rx="2"/><path d="M20 22v-4a4 4 0 0 1 8 0v4"/>',
    "bedtime": '<path d="M38 29A16 16 0 1 1 20 9a13 13 0 0 0 18 20z"/><path d="M31 9h7l-7 8h7"/>',
    "homework": '<path d="M24 13c-4-3-10-4-17-4v27c7 0 13 1 17 4 4-3 10-4 17-4V9c-7 0-13 1-17 4zv27"/>',
    "pause": '<circle cx="24" cy="24" r="18"/><path d="M19 17v14M29 17v14"/>',
    "minutes": '<circle cx="24" cy="24" r="18"/><path d="M24 13v11l7 5"/>',
    "open": _SHIELD + '<path d="m16 24 6 6 11-12"/>',
    "home": '<path d="M7 23 24 8l17 15M12 19v21h24V19"/><path d="m18 29 5 5 8-9"/>',
    "law": '<path d="M24 8v32M14 40h20M10 14h28M10 14 5 27h10zM38 14l-5 13h10z"/>',
}


def draw(name: str) -> str:
    """Return the SVG of a drawing; it says nothing that the text does not."""
    return (
        '<svg viewBox="0 0 48 48" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="3" '
        f'stroke-linecap="round" stroke-linejoin="round">{DRAWINGS[name]}</svg>'
    )
