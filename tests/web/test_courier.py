"""The courier as it runs: a process of its own, a real HTTP server outside, real Apprise."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from guardian.web.courier import FILE_OPTIONS, LOCAL_SERVICES, is_intake_address, is_usable_address
from tests.gateway.product import environment, free_port
from tests.web.outside import outside


def send_out(order: dict[str, Any], **more: str) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "guardian.web.courier"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**more),
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done


def make_letter(address: str, number: int = 1, body: str = "It works.") -> dict[str, Any]:
    return {"id": number, "address": address, "title": "Guardian: 1 request", "body": body}


def test_a_report_arrives_as_it_is() -> None:
    with outside() as hotline:
        results, done = send_out(
            {"task": "report", "address": f"http://127.0.0.1:{hotline.port}/intake?v=1", "body": '{"a": "\\u0219"}'}
        )
    assert results == [{"status": 201}]
    assert (done.returncode, done.stderr) == (0, "")
    (taken,) = hotline.taken
    assert taken.path == "/intake?v=1"
    assert taken.body == b'{"a": "\\u0219"}'
    assert taken.headers["content-type"] == "application/json"
    assert not {"cookie", "authorization", "referer", "accept-language"} & set(taken.headers)


def test_a_redirect_is_not_followed() -> None:
    with outside() as elsewhere, outside() as hotline:
        hotline.status, hotline.headers = 307, {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        results, _ = send_out({"task": "report", "address": f"http://127.0.0.1:{hotline.port}/", "body": "{}"})
        assert results == [{"status": 307}]
        assert elsewhere.taken == []


def test_https_needs_a_certificate_that_the_machine_trusts(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    with outside(context) as hotline:
        order = {"task": "report", "address": f"https://127.0.0.1:{hotline.port}/", "body": "{}"}
        assert send_out(order)[0] == [{"error": "not-reached"}]
        assert hotline.taken == []
        assert send_out(order, SSL_CERT_FILE=str(root))[0] == [{"status": 201}]


def test_nobody_there_is_told() -> None:
    order = {"task": "report", "address": f"http://127.0.0.1:{free_port()}/", "body": "{}"}
    assert send_out(order)[0] == [{"error": "not-reached"}]


@pytest.mark.parametrize("behave", ["drip", "hang"])
def test_a_slow_hotline_ends_with_the_time(behave: str) -> None:
    with outside() as hotline:
        hotline.behave = behave
        begin = time.monotonic()
        address = f"http://127.0.0.1:{hotline.port}/"
        results, done = send_out({"task": "report", "address": address, "body": "{}", "seconds": 2})
        assert time.monotonic() - begin < 6
    assert (results, done.returncode, done.stderr) == ([], -14, "")  # SIGALRM: its time was over


def test_an_endless_answer_is_not_read() -> None:
    with outside() as hotline:
        hotline.behave = "flood"
        results, _ = send_out({"task": "report", "address": f"http://127.0.0.1:{hotline.port}/", "body": "{}"})
        assert results == [{"status": 201}]
        assert hotline.flooded < 20_000_000  # what the kernel's buffers took


@pytest.mark.parametrize(
    ("address", "usable"),
    [
        ("https://hotline.example/reports", True),
        ("https://hotline.example:8443/r?x=1", True),
        ("http://127.0.0.1:8000/", True),
        ("http://[::1]:8000/", True),
        ("http://localhost/", True),
        ("http://hotline.example/", False),
        ("http://192.168.1.1/", False),
        ("http://127.0.0.1.example/", False),
        ("https://user:word@hotline.example/", False),
        ("https://hotline.example:99999/", False),
        ("https://[::1/", False),
        ("https:///reports", False),
        ("https://hotline.example/a\r\nX: 1", False),
        ("ftp://hotline.example/", False),
        ("hotline.example", False),
        ("", False),
    ],
)
def test_where_reports_may_go(address: str, usable: bool) -> None:
    assert is_intake_address(address) is usable


def test_an_address_of_no_use_sends_nothing() -> None:
    assert send_out({"task": "report", "address": "http://hotline.example/", "body": "{}"})[0] == [
        {"error": "not-usable"}
    ]


def test_apprise_names_the_service_of_an_address() -> None:
    assert send_out({"task": "check", "address": "ntfys://ntfy.example/family"})[0] == [{"service": "ntfys"}]
    assert send_out({"task": "check", "address": "nonsense://x/y"})[0] == [{"error": "not-usable"}]
    assert send_out({"task": "check", "address": "tgram://too-short"})[0] == [{"error": "not-usable"}]


def test_a_letter_arrives() -> None:
    with outside() as friend:
        friend.status = 200
        results, done = send_out({"task": "deliver", "letters": [make_letter(f"json://127.0.0.1:{friend.port}/tata")]})
    assert (results, done.returncode) == ([{"id": 1, "error": ""}], 0)
    (taken,) = friend.taken
    assert taken.path == "/tata"
    assert (taken.json()["title"], taken.json()["message"]) == ("Guardian: 1 request", "It works.")


def test_one_channel_that_hangs_does_not_hold_the_others() -> None:
    with outside() as friend, outside() as silent:
        friend.status, silent.behave = 200, "hang"
        letters = [
            make_letter(f"json://127.0.0.1:{silent.port}/?rto=60", 1),
            make_letter(f"json://127.0.0.1:{friend.port}/", 2),
        ]
        results, done = send_out({"task": "deliver", "letters": letters, "seconds": 4})
    assert results == [{"id": 2, "error": ""}]
    assert done.returncode == -14
    assert len(friend.taken) == 1


def test_how_it_failed_is_told_in_a_word_without_secrets() -> None:
    secret = "s3cret-w0rd"
    with outside() as friend:
        friend.status = 403
        letters = [
            make_letter(f"json://mama:{secret}@127.0.0.1:{friend.port}/{secret}", 1),
            make_letter(f"json://mama:{secret}@127.0.0.1:{free_port()}/", 2),
            make_letter(f"nonsense://{secret}/", 3),
            make_letter("syslog://", 4),
        ]
        results, done = send_out({"task": "deliver", "letters": letters})
    assert {result["id"]: result["error"] for result in results} == {
        1: "refused:403",
        2: "not-reached",
        3: "not-usable",
        4: "not-usable",
    }
    assert secret not in done.stdout + done.stderr


def test_hostile_text_stays_text() -> None:
    body = "<script>alert(1)</script> \u202e ${x} {{y}} %s \x00 \ud83d\ude00 " + "a" * 255
    with outside() as friend:
        friend.status = 200
        letter = make_letter(f"json://127.0.0.1:{friend.port}/", body=body)
        assert send_out({"task": "deliver", "letters": [letter]})[0] == [{"id": 1, "error": ""}]
    assert "<script>alert(1)</script>" in friend.taken[0].json()["message"]


@pytest.mark.parametrize("name", sorted(FILE_OPTIONS))
def test_options_that_read_our_files_are_refused(name: str) -> None:
    assert not is_usable_address(f"discord://a/b?{name}=/etc/passwd")
    assert not is_usable_address(f"discord://a/b?x=1&%74emplate=/etc/passwd&{name.upper()}=/etc/passwd")


def test_apprise_itself_can_read_no_file_of_ours(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret of the box")
    script = f"""
from guardian.web import courier
courier.FILE_OPTIONS = frozenset()
print(courier.check("tgram://123456789:abcdefg_hijklmnop/12345/?template={secret}"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment(), timeout=60
    )
    assert done.stdout.strip() == "{'error': 'not-usable'}"


@pytest.mark.parametrize("service", sorted(LOCAL_SERVICES))
def test_services_of_the_machine_itself_are_refused(service: str) -> None:
    assert not is_usable_address(f"{service}://")
    assert not is_usable_address(f"{service.upper()}://x")


@pytest.mark.parametrize("address", ["", "ntfy", "ntfy:topic", "ntfy://a b", "ntfy://a\nb", "json://[::1", "://x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert not is_usable_address(address)


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    assert is_usable_address(text) in (True, False)
    assert is_intake_address(text) in (True, False)
