"""First visit, sign-in, accounts and tokens on a running console; guessing, theft, fixation, escapes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardian.store.settings import load_household
from guardian.web.security import COOKIE
from guardian.web.throttle import ALL_TRIES, FREE_TRIES
from tests.gateway.product import ADULT, CHILD, HOUSEHOLD
from tests.web.product import HELPER, HELPER_PASSWORD, PARENT, PASSWORD, Browser, Served, console

SECRET = "a secret that must not be told"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    """A box out of the carton: no household, nobody has claimed it."""
    with console(tmp_path, {}, claimed=False, gateway=False) as running:
        yield running


@pytest.fixture(scope="module")
def unclaimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same for tests that leave it so."""
    with console(tmp_path_factory.mktemp("unclaimed"), {}, claimed=False, gateway=False) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A claimed box of this test alone, for tests that leave something behind."""
    with console(tmp_path, gateway=False) as running:
        yield running


def claim_body(served: Served, **more: Any) -> dict[str, Any]:
    made = {"claim_code": served.claim_code(), "name": PARENT, "password": PASSWORD}
    return made | {"language": "ro", "timezone": "Europe/Chisinau"} | more


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# The first visit


def test_the_first_visit(fresh: Served) -> None:
    browser = fresh.anonymous()
    assert browser.get("/start").json()["claimed"] is False
    path = fresh.folder / "state" / "claim-code"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code = fresh.claim_code()
    answer = browser.post("/claim", claim_body(fresh, claim_code=f" {code.lower().replace('-', ' ')} "))
    assert answer.status_code == 201
    session = answer.json()
    assert session["account"]["name"] == PARENT and "accounts" in session["scopes"]
    assert not path.exists(), "the code has been used"
    start = browser.get("/start").json()
    assert (start["claimed"], start["language"], start["timezone"]) == (True, "ro", "Europe/Chisinau")
    assert load_household(str(fresh.folder / "state" / "settings.db")) is None, "nothing is set up by it"
    assert browser.get("/household").status_code == 200
    assert code not in fresh.web_log() and PASSWORD not in fresh.web_log()


def test_what_was_chosen_holds_for_the_first_child(fresh: Served) -> None:
    browser = fresh.anonymous()
    browser.csrf = browser.post("/claim", claim_body(fresh)).json()["csrf"]
    assert browser.post("/profiles", {"name": "Ana", "age_band": "7-9"}).status_code == 201
    household = browser.get("/household").json()
    assert (household["timezone"], household["language"]) == ("Europe/Chisinau", "ro")


def test_it_can_be_claimed_once(fresh: Served) -> None:
    body = claim_body(fresh)
    assert fresh.anonymous().post("/claim", body).status_code == 201
    assert code_of(fresh.anonymous().post("/claim", body)) == (409, "claimed")
    assert code_of(fresh.anonymous().post("/claim", body | {"claim_code": "AAAAA-AAAAA"})) == (409, "claimed")


def test_two_at_once_do_not_both_claim(fresh: Served) -> None:
    body = claim_body(fresh)
    browsers = [fresh.anonymous(f"127.0.1.{number}") for number in range(1, 7)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda browser: browser.post("/claim", body).status_code, browsers))
    assert answers.count(201) == 1 and set(answers) <= {201, 409, 503}


def test_a_wrong_code_claims_nothing_and_is_throttled(fresh: Served) -> None:
    body = claim_body(fresh, claim_code="AAAAA-AAAAA")
    browser = fresh.anonymous()
    for _ in range(FREE_TRIES):
        assert code_of(browser.post("/claim", body)) == (403, "wrong-code")
    refused = browser.post("/claim", claim_body(fresh))
    assert code_of(refused) == (429, "throttled") and int(refused.headers["retry-after"]) >= 1
    assert refused.json()["retry_after"] == int(refused.headers["retry-after"])
    assert browser.get("/start").json()["claimed"] is False
    assert fresh.anonymous("127.0.1.1").post("/claim", claim_body(fresh)).status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "short"},
        {"password": "x" * 201},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"timezone": ""},
        {"language": "xx"},
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 61},
        {"name": "a\u202eb"},
        {"name": "a\x00b"},
        {"role": "parent"},
    ],
)
def test_a_claim_that_cannot_be_used(unclaimed: Served, wrong: dict[str, str]) -> None:
    answer = unclaimed.anonymous().post("/claim", claim_body(unclaimed) | wrong)
    assert code_of(answer) == (422, "not-valid")
    assert unclaimed.anonymous().get("/start").json()["claimed"] is False


def test_a_claim_for_a_household_that_is_there(tmp_path: Path) -> None:
    """`guardian run` has imported a file: what the parent chooses holds, and the journal says so."""
    with console(tmp_path, claimed=False) as served:
        assert served.run("household", "import", str(served.folder / "home.yaml")).returncode == 0
        browser = served.anonymous()
        browser.csrf = browser.post("/claim", claim_body(served)).json()["csrf"]
        household = browser.get("/household").json()
        assert (household["timezone"], household["language"]) == ("Europe/Chisinau", "ro")
        assert len(household["profiles"]) == len(HOUSEHOLD["profiles"])
        newest = browser.get("/changes").json()["changes"][0]
        assert (newest["who"], newest["kind"]) == (PARENT, "household-changed")


def test_a_code_on_a_label(tmp_path: Path) -> None:
    label = tmp_path / "label"
    label.write_text("7KQ4-MXZP-22\n")
    with console(tmp_path, {}, {"web": {"claim_code": str(label)}}, claimed=False, gateway=False) as served:
        assert not (tmp_path / "state" / "claim-code").exists()
        browser = served.anonymous()
        assert code_of(browser.post("/claim", claim_body(served, claim_code="7KQ4-MXZP-23"))) == (403, "wrong-code")
        assert browser.post("/claim", claim_body(served, claim_code="7kq4 mxzp 22")).status_code == 201
        assert label.exists()


# Sign-in and sessions


def cookie_of(answer: httpx.Response) -> Any:
    jar: SimpleCookie = SimpleCookie()
    for field in answer.headers.get_list("set-cookie"):
        jar.load(field)
    return jar[COOKIE]


def test_the_cookie(served: Served) -> None:
    answer = served.anonymous().post("/session", {"name": "  mama ", "password": PASSWORD})
    cookie = cookie_of(answer)
    assert answer.status_code == 201 and len(cookie.value) >= 43
    assert cookie["httponly"] is True and cookie["samesite"].lower() == "strict" and cookie["path"] == "/"
    assert int(cookie["max-age"]) == 30 * 86400 and not cookie["domain"] and not cookie["secure"]
    assert cookie.value not in answer.text, "scripts never see it"


def test_wrong_names_and_passwords_look_the_same(own: Served) -> None:
    answers = [
        own.anonymous(f"127.0.1.{number}").post("/session", {"name": name, "password": password})
        for number, (name, password) in enumerate(
            [("Mama", "wrong"), ("Nobody", PASSWORD), ("", ""), ("Mama", ""), ("Mama", PASSWORD + " ")], start=1
        )
    ]
    assert len({answer.content for answer in answers}) == 1
    assert code_of(answers[0]) == (401, "wrong-password") and "set-cookie" not in answers[0].headers


def test_the_time_tells_nothing_of_names(own: Served) -> None:
    def measure(name: str, first: int) -> float:
        took = []
        for number in range(first, first + 7):
            browser = own.anonymous(f"127.0.2.{number}")
            began = time.perf_counter()
            assert browser.post("/session", {"name": name, "password": "wrong one"}).status_code == 401
            took.append(time.perf_counter() - began)
        return sorted(took)[3]

    known, unknown = measure("Mama", 1), measure("Nobody here", 20)
    assert 0.5 < known / unknown < 2


def test_sign_in_makes_a_new_session_each_time(served: Served) -> None:
    """Fixation: a cookie that somebody has planted does not become a session; an old session of this browser ends."""
    browser = served.anonymous()
    planted = "A" * 43
    browser.http.cookies.set(COOKIE, planted, domain="127.0.0.1", path="/")
    answer = browser.sign_in(PARENT, PASSWORD)
    first = cookie_of(answer).value
    assert first != planted
    assert served.anonymous(headers={"Cookie": f"{COOKIE}={planted}"}).get("/session").status_code == 401
    browser.http.cookies.clear()
    browser.http.cookies.set(COOKIE, first, domain="127.0.0.1", path="/")
    second = cookie_of(browser.sign_in(PARENT, PASSWORD)).value
    assert second != first
    assert served.anonymous(headers={"Cookie": f"{COOKIE}={first}"}).get("/session").status_code == 401
    assert served.anonymous(headers={"Cookie": f"{COOKIE}={second}"}).get("/session").status_code == 200


def test_sign_out_ends_the_session_everywhere(served: Served) -> None:
    browser = served.signed_in()
    stolen = {"Cookie": f"{COOKIE}={browser.http.cookies[COOKIE]}"}
    assert served.anonymous(headers=stolen).get("/session").status_code == 200
    answer = browser.delete("/session")
    assert answer.status_code == 204 and cookie_of(answer).value == "" and cookie_of(answer)["max-age"] == "0"
    assert served.anonymous(headers=stolen).get("/session").status_code == 401
    assert served.get("/session").status_code == 200, "others stay"


def test_a_session_is_renewed_while_it_is_used(own: Served) -> None:
    with own.store.writing() as connection:
        connection.execute("UPDATE sessions SET used = used - 86400 * 29")
    answer = own.get("/session")
    assert answer.status_code == 200 and int(cookie_of(answer)["max-age"]) == 30 * 86400
    assert "set-cookie" not in own.get("/session").headers
    with own.store.writing() as connection:
        connection.execute("UPDATE sessions SET used = used - 86400 * 31")
    assert own.get("/session").status_code == 401


def test_guessing_from_one_device(own: Served) -> None:
    browser = own.anonymous("127.0.1.1")
    codes = [browser.post("/session", {"name": PARENT, "password": f"guess {n}"}).status_code for n in range(40)]
    assert codes[:FREE_TRIES] == [401] * FREE_TRIES and codes[FREE_TRIES:].count(401) <= 2
    right = browser.post("/session", {"name": PARENT, "password": PASSWORD})
    assert code_of(right) == (429, "throttled"), "the right one waits as well"
    assert own.signed_in(source="127.0.1.2"), "other devices do not"


def test_guessing_from_one_device_at_once(own: Served) -> None:
    def guess(number: int) -> int:
        return own.anonymous("127.0.1.1").post("/session", {"name": PARENT, "password": f"guess {number}"}).status_code

    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(guess, range(40)))
    assert codes.count(401) <= FREE_TRIES + 1 and set(codes) <= {401, 429, 503}


def test_guessing_from_many_devices(own: Served) -> None:
    """One device has as many IPv6 addresses as it likes; here they are of 127/8."""
    codes = []
    for number in range(ALL_TRIES + 15):
        browser = own.anonymous(f"127.3.{number // 200}.{number % 200 + 1}")
        codes.append(browser.post("/session", {"name": PARENT, "password": f"guess {number}"}).status_code)
    assert codes[:ALL_TRIES] == [401] * ALL_TRIES and codes[ALL_TRIES:] == [429] * 15
    assert own.get("/session").status_code == 200, "who is signed in does not notice"
    own.signed_in(source="127.0.0.1")  # nor where somebody has signed in before (the claim counts: it is a sign-in)


def test_a_flood_of_guesses_does_not_lock_out_a_parent_s_device(tmp_path: Path) -> None:
    """A child's laptop keeps the throttle of all sources shut; the parents' other phone, which never signed in, is
    known by its name. It may not guess faster for that, whatever address it takes.
    """
    with console(tmp_path, HOUSEHOLD) as served:
        for number in range(ALL_TRIES + 5):
            browser = served.anonymous(f"127.3.0.{number + 1}")
            last = browser.post("/session", {"name": PARENT, "password": f"guess {number}"}).status_code
        assert last == 429
        served.signed_in(source=ADULT)
        codes = []
        for number in range(FREE_TRIES + 3):
            browser = served.anonymous((ADULT, "127.0.0.1")[number % 2])  # two addresses of one device
            codes.append(browser.post("/session", {"name": PARENT, "password": "wrong"}).status_code)
        assert codes == [401] * FREE_TRIES + [429] * 3


def test_a_flood_of_guesses_does_not_keep_who_is_signed_in_from_confirming(own: Served) -> None:
    thief = {"current_password": "guess", "password": "the thief's own"}
    mine = f"/accounts/{own.get('/session').json()['account']['id']}"
    for number in range(ALL_TRIES + 5):
        own.anonymous(f"127.3.0.{number + 1}").post("/session", {"name": PARENT, "password": "guess"})
    other = {"current_password": PASSWORD, "password": "quite another one"}
    assert own.patch(mine, other).status_code == 200
    codes = [own.patch(mine, thief).status_code for _ in range(FREE_TRIES + 2)]
    assert codes == [403] * FREE_TRIES + [429] * 2, "a stolen session guesses no faster"


def test_passwords_are_in_no_log(own: Served) -> None:
    own.settings["log_level"] = "debug"
    own.write()
    own.stop_web()
    own.start_web()
    own.anonymous().post("/session", {"name": SECRET, "password": SECRET})
    own.anonymous().get("/session", params={"password": SECRET})
    own.anonymous().get(f"!/{SECRET}?x={SECRET}")
    own.anonymous().get(f"/profiles/{SECRET}/activity", headers={"Authorization": f"Bearer {SECRET}"})
    own.post(f"/profiles/{SECRET}/pause", {"action": "pause"})
    own.signed_in()
    token = own.post("/tokens", {"name": "App", "scopes": ["read"]}).json()["secret"]
    own.anonymous(headers={"Authorization": f"Bearer {token}"}).get("/household")
    log = own.web_log()
    assert "event=call method=GET" in log, "there is something to look at"
    cookie = own.parent.http.cookies[COOKIE]
    for secret in (SECRET, SECRET.replace(" ", "%20"), PASSWORD, token, cookie, own.parent.csrf):
        assert secret not in log
    for name in ("console.db", "settings.db"):
        path = own.folder / "state" / name
        raw = path.read_bytes() if path.exists() else b""
        for secret in (PASSWORD, token, cookie):
            assert secret.encode() not in raw


# Accounts


def test_accounts(own: Served) -> None:
    made = own.post("/accounts", {"name": " Tata ", "role": "parent", "password": "another password"})
    assert made.status_code == 201 and made.json()["name"] == "Tata" and made.json()["last_login"] is None
    assert code_of(own.post("/accounts", {"name": "TATA", "role": "helper", "password": PASSWORD})) == (409, "exists")
    assert [each["name"] for each in own.get("/accounts").json()] == [PARENT, "Tata"]
    tata = own.signed_in("tata", "another password")
    assert code_of(tata.patch("/accounts/1", {"name": "tata"})) == (409, "exists")
    assert tata.patch("/accounts/1", {"name": "Mami"}).json()["name"] == "Mami"
    assert tata.delete("/accounts/1").status_code == 204
    assert own.get("/session").status_code == 401, "her sessions have ended"
    assert code_of(tata.delete("/accounts/2")) == (409, "last-parent")
    for path in ("/accounts/1", "/accounts/99", "/accounts/x", "/accounts/-1", f"/accounts/{10**30}", "/accounts/1.0"):
        assert code_of(tata.delete(path)) == (404, "not-found")


def test_a_password_is_changed_with_the_old_one(own: Served) -> None:
    other = own.signed_in()
    change = {"password": "a better password"}
    assert code_of(own.patch("/accounts/1", change)) == (403, "wrong-password")
    assert code_of(own.patch("/accounts/1", change | {"current_password": "x"})) == (403, "wrong-password")
    assert other.get("/session").status_code == 200
    assert own.patch("/accounts/1", change | {"current_password": PASSWORD}).status_code == 200
    assert own.get("/session").status_code == 200, "this session stays"
    assert other.get("/session").status_code == 401, "all others end"
    assert own.anonymous().sign_in(PARENT, PASSWORD).status_code == 401
    assert own.anonymous().sign_in(PARENT, "a better password").status_code == 201


def test_the_old_password_is_not_to_be_guessed_there(own: Served) -> None:
    """Somebody has found an open page: they must not try out passwords in it."""
    answers = [own.patch("/accounts/1", {"password": PASSWORD, "current_password": f"x{n}"}) for n in range(8)]
    assert [answer.status_code for answer in answers] == [403] * FREE_TRIES + [429] * (8 - FREE_TRIES)


def test_a_helper_changes_only_themselves(own: Served) -> None:
    helper = own.helper()
    me = helper.get("/session").json()["account"]["id"]
    assert helper.patch(f"/accounts/{me}", {"name": "Bunicuța"}).json()["name"] == "Bunicuța"
    new = {"password": "my very own one", "current_password": HELPER_PASSWORD}
    assert helper.patch(f"/accounts/{me}", new).status_code == 200
    for account, body in (
        (1, {"name": "Taken over"}),
        (1, {"password": "taken over now", "current_password": "my very own one"}),
        (me, {"role": "parent", "current_password": "my very own one"}),
        (99, {"name": "Nobody"}),
    ):
        assert code_of(helper.patch(f"/accounts/{account}", body)) == (403, "not-allowed")
    assert own.get("/session").json()["account"]["name"] == PARENT


def test_a_role_takes_effect_at_once(own: Served) -> None:
    assert own.post("/accounts", {"name": "Tata", "role": "parent", "password": "another password"}).status_code == 201
    tata = own.signed_in("Tata", "another password")
    assert tata.get("/household").status_code == 200
    change = {"role": "helper", "current_password": PASSWORD}
    assert own.patch("/accounts/2", change).json()["role"] == "helper"
    assert code_of(tata.get("/household")) == (403, "not-allowed")
    assert code_of(own.patch("/accounts/1", change)) == (409, "last-parent")
    assert code_of(own.patch("/accounts/2", {"role": "parent"})) == (403, "wrong-password")


def test_the_journal_tells_who_may_sign_in(own: Served) -> None:
    served, before = own, own.get("/household").json()
    made = served.post("/accounts", {"name": "Tata", "role": "helper", "password": PASSWORD}).json()
    same = {"name": "Tata", "role": "helper", "current_password": PASSWORD}
    assert served.patch(f"/accounts/{made['id']}", same).status_code == 200  # changes nothing
    more = {"name": "Tati", "role": "parent", "password": "another battery", "current_password": PASSWORD}
    assert served.patch(f"/accounts/{made['id']}", more).status_code == 200
    assert served.patch(f"/accounts/{made['id']}", {"role": "helper"}).status_code == 403  # without the password
    assert served.delete(f"/accounts/{made['id']}").status_code == 204
    assert served.delete(f"/accounts/{made['id']}").status_code == 404
    token = served.post("/tokens", {"name": "App <b>", "scopes": ["read"]}).json()
    assert served.delete(f"/tokens/{token['token']['id']}").status_code == 204
    assert served.delete(f"/tokens/{token['token']['id']}").status_code == 404
    answer = served.get("/changes")
    told = [(line["who"], line["kind"], line["details"]) for line in answer.json()["changes"] if line["who"] == PARENT]
    assert told[:5] == [
        (PARENT, "token-removed", {"name": "App <b>"}),
        (PARENT, "token-made", {"name": "App <b>"}),
        (PARENT, "account-removed", {"name": "Tati"}),
        (PARENT, "account-changed", {"name": "Tata", "parts": "name role password"}),
        (PARENT, "account-made", {"name": "Tata", "role": "helper"}),
    ]
    assert token["secret"] not in answer.text and "battery" not in answer.text
    after = served.get("/household").json()
    assert after.pop("revision") > before.pop("revision") and after == before


def test_hostile_names_stay_text(own: Served) -> None:
    name = '<script>alert("x")</script>'
    made = own.post("/accounts", {"name": name, "role": "helper", "password": "another password"})
    assert made.status_code == 201 and made.json()["name"] == name
    assert made.headers["content-type"] == "application/json" and made.headers["x-content-type-options"] == "nosniff"
    assert own.signed_in(name, "another password").get("/session").json()["account"]["name"] == name
    for bad in ("a\u202eb", "a\nb\x00", "\u200b", "x" * 61, ""):
        answer = own.post("/accounts", {"name": bad, "role": "helper", "password": "another password"})
        assert answer.status_code == 422, repr(bad)


# Tokens


def test_tokens(own: Served) -> None:
    made = own.post("/tokens", {"name": "ISP app", "scopes": ["status", "status", "read"]}).json()
    assert made["secret"].startswith("gdn_") and made["token"]["scopes"] == ["status", "read"]
    listed = own.get("/tokens")
    assert made["secret"] not in listed.text and [token["name"] for token in listed.json()] == ["ISP app"]
    app = own.anonymous(headers={"Authorization": f"bearer {made['secret']}"})
    assert app.get("/household").status_code == 200 and app.get("/status").status_code == 200
    assert code_of(app.post("/profiles", {"name": "Ana", "age_band": "7-9"})) == (403, "not-allowed")
    assert own.get("/tokens").json()[0]["last_used"] is not None
    assert own.delete(f"/tokens/{made['token']['id']}").status_code == 204
    assert code_of(app.get("/household")) == (401, "not-signed-in")
    assert code_of(own.delete(f"/tokens/{made['token']['id']}")) == (404, "not-found")


def test_a_program_needs_no_token_of_the_page(own: Served) -> None:
    """No browser sends it by itself, so nobody can make a browser send it."""
    app = own.token("control")
    assert app.post("/profiles/ana/pause", {"action": "pause", "minutes": 5}).status_code == 200


def test_a_childs_device_may_hold_a_token_of_the_parents(served: Served) -> None:
    """A token is a parent's own decision; it has no password that could be guessed there."""
    secret = served.post("/tokens", {"name": "Lamp", "scopes": ["status"]}).json()["secret"]
    lamp: Browser = served.anonymous(CHILD, {"Authorization": f"Bearer {secret}"})
    assert lamp.get("/status").status_code == 200


def test_the_helper_of_the_fixture_is_one(served: Served) -> None:
    helper = served.helper()
    assert helper.get("/session").json()["scopes"] == ["requests"]
    assert helper.get("/session").json()["account"]["name"] == HELPER
    assert os.path.exists(served.store.path)
