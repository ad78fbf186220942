"""The Update Framework's client comes without its own downloader, and whoever wants that one still gets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sync_loads_no_second_http_client() -> None:
    loaded = run("import sys, guardian.hotline.trust, guardian.hotline.feed_fetcher; print(*sys.modules)").split()
    assert "tuf.ngclient" in loaded
    assert not {name.split(".")[0] for name in loaded} & {"urllib3", "requests"}


def test_who_asks_for_the_downloader_by_its_name_gets_the_real_one() -> None:
    script = """
import guardian.hotline.tuf_client
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher
print(Urllib3Fetcher.__module__, callable(Urllib3Fetcher().fetch))
"""
    assert run(script) == "tuf.ngclient.urllib3_fetcher True\n"


def test_what_was_loaded_before_is_left_alone() -> None:
    script = """
import tuf.ngclient
import guardian.hotline.tuf_client as ours
print(ours.Updater is tuf.ngclient.Updater, callable(tuf.ngclient.Urllib3Fetcher().fetch))
"""
    assert run(script) == "True True\n"


def test_an_updater_without_a_fetcher_gets_the_real_downloader_still() -> None:
    """The desk's tests read a feed with it, in the process where the router's client was loaded first."""
    script = """
import guardian.hotline.tuf_client
import tuf.ngclient
from tuf.ngclient.updater import Urllib3Fetcher
made = Urllib3Fetcher(app_user_agent="test")
print(type(made).__module__, isinstance(made, tuf.ngclient.FetcherInterface))
"""
    assert run(script) == "tuf.ngclient.urllib3_fetcher True\n"


def test_a_router_without_urllib3_says_what_is_missing() -> None:
    script = """
import sys
sys.modules["urllib3"] = None
from guardian.hotline.tuf_client import Updater
try:
    Updater("/nonexistent", "http://localhost/", bootstrap=b"{}")
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run(script) == "urllib3\n"
