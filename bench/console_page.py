"""The console's home page in Chromium: what comes over the wire, and when a parent can use it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLOWDOWN, LOADS = 6, 9
WAIT_MILLISECONDS = 30_000
SETTLE_MILLISECONDS = 1500  # what comes that late still counts
START_MILLISECONDS = 2000  # a new window loads pages of Chromium's own, on the same two cores
# Milliseconds from the begin of the navigation until the first child's card is in the page, painted, and the page's
# thread is free for a tap.
NOTE_USABLE = """
new MutationObserver((changes, observer) => {
  if (!document.querySelector('article.card h2')) return
  observer.disconnect()
  requestAnimationFrame(() => setTimeout(() => console.debug('usable', performance.now())))
}).observe(document, { childList: true, subtree: true })
"""


class Load(NamedTuple):
    """One load: milliseconds until it could be used, those of the CPU by then in the page's thread, bytes by path."""

    usable: float
    cpu: float
    sizes: list[tuple[str, float]]


def measure_page(address: str, cookie: str) -> dict[str, float]:
    """Return bytes and times of the first load of `address` for the owner of `cookie` (`name=value`).

    Nothing when playwright or Chromium is not there.
    """
    if not importlib.util.find_spec("playwright") or not Path(CHROMIUM).exists():
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            plain = [_load(browser, address, cookie, 1) for _ in range(LOADS)]
            slow = [_load(browser, address, cookie, SLOWDOWN) for _ in range(LOADS)]
        finally:
            browser.close()
    pages = [size for path, size in plain[0].sizes if not path.startswith("/api/")]
    return {
        "first_load_bytes": sum(pages),
        "first_load_files": len(pages),
        "first_load_api_bytes": sum(size for _, size in plain[0].sizes) - sum(pages),
        "page_cpu_ms": round(median(load.cpu for load in plain)),
        "usable_ms": round(median(load.usable for load in plain)),
        f"usable_ms_{SLOWDOWN}x": round(median(load.usable for load in slow)),
        f"usable_worst_ms_{SLOWDOWN}x": round(max(load.usable for load in slow)),
    }


def _load(browser: Browser, address: str, cookie: str, slowdown: int) -> Load:
    """Load the page with an empty cache."""
    sizes: dict[str, float] = {}
    paths: dict[str, str] = {}

    def note_request(event: dict[str, Any]) -> None:
        paths[event["requestId"]] = "/" + event["request"]["url"].removeprefix(address)

    def note_end(event: dict[str, Any]) -> None:
        sizes[event["requestId"]] = event["encodedDataLength"]

    name, _, value = cookie.partition("=")
    context = browser.new_context(viewport={"width": 390, "height": 844})
    try:
        context.add_cookies([{"name": name, "value": value, "url": address}])
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", note_request)
        session.on("Network.loadingFinished", note_end)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
        page.add_init_script(NOTE_USABLE)
        page.wait_for_timeout(START_MILLISECONDS)
        with page.expect_console_message(
            lambda message: message.text.startswith("usable "), timeout=WAIT_MILLISECONDS
        ) as told:
            page.goto(address)
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        page.wait_for_timeout(SETTLE_MILLISECONDS)
    finally:
        context.close()
    usable = float(told.value.text.removeprefix("usable "))
    return Load(usable, metrics["TaskDuration"] * 1000, [(paths[key], size) for key, size in sizes.items()])
