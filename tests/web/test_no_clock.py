"""The console while the gateway does not know the time: it says so, and shows no date of 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from guardian.clock import RELEASED
from tests.gateway.product import ROOT, assert_clean, wait_for
from tests.gateway.test_clock import HOUSEHOLD, LIBRARY, FakedClock
from tests.web.product import Served

pytestmark = pytest.mark.skipif(not LIBRARY, reason="needs libfaketime (Debian: faketime)")


def test_the_home_page_and_the_childs_page_say_it(tmp_path: Path) -> None:
    served = Served(tmp_path, {"upstreams": {"servers": ["127.0.0.1:1"]}}, HOUSEHOLD)
    served.start()  # first by the true time: parents sign in
    served.start_web()
    try:
        served.parent = served.claim()
        assert served.get("/home").json()["gateway"]["clock"] == "set"
        served.stop()
        clock = FakedClock(tmp_path)
        served.prefix = (
            "env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={clock.path}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", f"PYTHONPATH={ROOT}",
        )  # fmt: skip
        served.start()
        wait_for(lambda: served.get("/home").json()["gateway"]["clock"] == "waiting", seconds=20)
        home = served.get("/home").json()
        assert home["now"] > RELEASED
        assert abs(home["now"] - datetime.now(UTC).timestamp()) < 3600  # by what was written down a moment ago
        assert home["gateway"]["now"] == home["now"] and home["now"] - 60 < home["gateway"]["started"] <= home["now"]
        states = {card["profile"]: card["state"] for card in home["cards"]}
        assert states["ana"] == "no-clock"
        assert states["matei"] != "no-clock"
        page = served.child().get("/child").json()
        assert page["state"] == "no-clock"
        clock.come()
        wait_for(lambda: served.get("/home").json()["gateway"]["clock"] == "set", seconds=20)
        states = {card["profile"]: card["state"] for card in served.get("/home").json()["cards"]}
        assert states["ana"] in ("away", "online", "asleep")
    finally:
        served.close()
        served.stop_web()
        served.stop()
    assert_clean(served.web_log())
    assert_clean(served.log())
