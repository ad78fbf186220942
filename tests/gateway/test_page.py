"""What the block page knows: the policy in force for the device that asks, also by what a cached answer led to."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest

from tests.gateway.product import ADULT, CHILD, GROUNDED, NEWCOMER, Running, Upstream, run_tool, running, wait_for
from tests.web.product import console


def fetch(gateway: Running, host: str, source: str = CHILD, *more: str) -> tuple[int, str]:
    """The status and the whole answer to a GET with this Host."""
    url = f"http://127.0.0.1:{gateway.page_port}/"
    words = ["-s", "-i", "-m", "10", "--interface", source, "-H", f"Host: {host}", *more, url]
    answer = run_tool("curl", *words)
    return int(answer.split()[1]), answer


@pytest.mark.parametrize(
    ("host", "source", "status"),
    [
        ("category-adult.guardian.test", CHILD, 403),
        ("category-adult.guardian.test", ADULT, 503),  # not blocked for this device: open again
        ("blocked.example", CHILD, 403),
        ("www.tiktok.com", CHILD, 403),
        ("www.open.example", GROUNDED, 403),
        ("www.open.example", NEWCOMER, 403),
        ("www.open.example", CHILD, 503),
        ("mandatory.guardian.test", ADULT, 451),
        ("telefonulcopilului.md", GROUNDED, 503),
        ("guardian.home.arpa", CHILD, 200),
        ("guardian", CHILD, 200),
        ("127.0.0.1", GROUNDED, 200),
    ],
)
def test_who_sees_what(home: Running, host: str, source: str, status: int) -> None:
    code, answer = fetch(home, host, source)
    assert code == status
    if status == 451:
        assert "guardian.test" not in answer
    elif status == 403:
        assert "116" in answer and "<script" not in answer


def test_reasons_in_words(home: Running) -> None:
    assert "TikTok" in fetch(home, "www.tiktok.com")[1]
    assert "ornogr" in fetch(home, "category-adult.guardian.test")[1]
    assert "Ana" in fetch(home, "guardian.home.arpa")[1]


def test_a_cloaked_name_is_explained_by_what_its_answer_led_to(home: Running) -> None:
    home.control("flush")
    assert fetch(home, "cloaked.open.example")[0] == 503  # nobody has asked yet: nothing is known of it
    home.ask("cloaked.open.example")
    assert fetch(home, "cloaked.open.example")[0] == 403
    home.ask("illegal.open.example", source=ADULT)
    code, answer = fetch(home, "illegal.open.example", ADULT)
    assert code == 451 and "illegal.open.example" not in answer


@pytest.mark.parametrize(
    "host", ["", "..", "x" * 300, "a b", "<script>", "%00", "[::1", "a." * 130, "-", "_", "ä.example"]
)
def test_hosts_that_are_none(home: Running, host: str) -> None:
    code, answer = fetch(home, host)
    assert code in (200, 400, 503) and "<script>" not in answer


def test_it_follows_a_reload(upstream: Upstream, tmp_path: Path) -> None:
    with running(tmp_path, {"upstreams": {"servers": [f"127.0.0.1:{upstream.port}"]}}) as gateway:
        assert fetch(gateway, "blocked.example")[0] == 403
        gateway.household = copy.deepcopy(gateway.household)
        gateway.household["profiles"]["ana"] |= {"block": ["www.open.example"], "name": "Ana-Maria", "language": "ru"}
        gateway.settings["block"]["support"] = "Ring 0800 12345"
        gateway.write()
        gateway.control("reload")
        assert fetch(gateway, "blocked.example")[0] == 503
        code, answer = fetch(gateway, "www.open.example")
        assert code == 403 and 'lang="ru"' in answer
        assert "0800 12345" in fetch(gateway, "guardian.home.arpa")[1] + answer
        assert "Ana-Maria" in fetch(gateway, "guardian.home.arpa")[1]
        gateway.control("pause", id="matei", until=time.time() + 3600)
        assert fetch(gateway, "www.open.example", "127.0.0.4")[0] == 403


LANGUAGES = {
    "en": ("Ask my parents", "My rules and my time", "Report something that scared me"),
    "ro": ("Cere-le părinților", "Regulile mele și timpul meu", "Vreau să spun ce m-a speriat"),
    "ru": ("Попросить родителей", "Мои правила и моё время", "Рассказать о том, что меня напугало"),
}


def test_the_ways_to_a_running_console_and_none_without_it(tmp_path: Path) -> None:
    """A real `guardian web` beside the gateway: it comes, it goes, it comes back."""
    with console(tmp_path, claimed=False) as served:
        base = f"http://guardian.home.arpa:{served.web_port}"
        for language, words in LANGUAGES.items():
            wish = ("-H", f"Accept-Language: {language}")
            code, answer = fetch(served, "blocked.example", CHILD, *wish)
            assert code == 403
            for text, link in zip(words, ("ask?site=blocked.example", "me", "me#report"), strict=True):
                assert text in answer and f'href="{base}/{link}"' in answer
            assert f'href="{base}/ask?time=1"' in fetch(served, "www.open.example", GROUNDED, *wish)[1]
            code, law = fetch(served, "mandatory.guardian.test", CHILD, *wish)
            assert code == 451 and base not in law
        unnamed = fetch(served, "www.open.example", NEWCOMER)[1]
        assert "/ask" not in unnamed and f'href="{base}/me"' in unnamed
        code, answer = fetch(served, "guardian.home.arpa", ADULT)
        assert code == 302 and f"\nLocation: {base}/\n" in answer
        assert served.child().get("!/me").status_code in (200, 503)  # 503: its pages are not built here
        served.stop_web()
        wait_for(lambda: fetch(served, "guardian.home.arpa", ADULT)[0] == 200, 15, 0.5)
        assert base not in fetch(served, "blocked.example")[1]
        served.start_web()
        wait_for(lambda: fetch(served, "guardian.home.arpa", ADULT)[0] == 302, 15, 0.5)


def test_an_encrypted_console_has_another_scheme(tmp_path: Path) -> None:
    with console(tmp_path, claimed=False, settings={"web": {"tls": {"enabled": True}}}) as served:
        code, answer = fetch(served, "guardian.home.arpa", ADULT)
        assert code == 302 and f"Location: https://guardian.home.arpa:{served.web_port}/" in answer
        assert fetch(served, "blocked.example")[0] == 403
        assert "Traceback" not in served.web_log()
