"""The style sheet asks for nothing and the policy allows it alone; colours have contrast."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from guardian.blockpage.style import DRAWINGS, SECURITY_POLICY, STYLE, draw


def test_policy_allows_this_style_and_nothing_else() -> None:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in SECURITY_POLICY
    assert SECURITY_POLICY.startswith("default-src 'none';")
    assert not re.search(r"url\(|@import|expression|<", STYLE)


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(char * 2 for char in colour)
    channels = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(("front", "back"), [("ink", "card"), ("soft", "card"), ("link", "card"), ("ink", "tint")])
def test_text_is_readable_in_light_and_dark(scheme: int, front: str, back: str) -> None:
    colours = [dict(re.findall(r"--(\w+):#([0-9a-f]+)", block)) for block in re.findall(r":root\{([^}]*)\}", STYLE)]
    bright, dim = sorted((luminance(colours[scheme][name]) for name in (front, back)), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 7  # WCAG 2.2, level AAA


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_drawings_are_only_lines(name: str) -> None:
    assert set(re.findall(r"<(\w+)", draw(name))) <= {"svg", "path", "rect", "circle"}
    assert 'aria-hidden="true"' in draw(name)
