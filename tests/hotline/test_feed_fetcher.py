"""What `tuf.ngclient` gets from the network: its own kinds of errors, and nothing beyond its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from guardian.hotline.download import Limits
from guardian.hotline.feed_fetcher import FeedFetcher, FetchFailed, KnownCopy
from guardian.hotline.feed_state import OFFLINE, TOO_LARGE, TOO_SLOW
from tests.hotline.feed_maker import PATIENCE

NOTHING = KnownCopy("", "", b"")


@pytest.fixture
def fetch(web: Any) -> Iterator[Callable[..., FeedFetcher]]:
    """Return a maker of fetchers; all are closed at the end."""
    made = []

    def make(limits: Limits = PATIENCE, known: KnownCopy = NOTHING) -> FeedFetcher:
        made.append(FeedFetcher(limits, known))
        return made[-1]

    yield make
    for fetcher in made:
        with fetcher:
            pass


def test_a_file_comes_whole_and_is_counted(web: Any, fetch: Callable[..., FeedFetcher]) -> None:
    web.pages["/a"] = lambda exchange: exchange.answer(b"x" * 1000, Date="Tue, 01 Sep 2026 00:00:00 GMT")
    fetcher = fetch()
    assert fetcher.download_bytes(f"{web.url}/a", 1000) == b"x" * 1000
    assert fetcher.received == 1000 and fetcher.server_time == 1788220800.0 and fetcher.etag == ""


def test_a_file_may_not_be_longer_than_signed(web: Any, fetch: Callable[..., FeedFetcher]) -> None:
    web.pages["/a"] = lambda exchange: exchange.answer(b"x" * 1001)
    with pytest.raises(DownloadLengthMismatchError):
        fetch().download_bytes(f"{web.url}/a", 1000)
    web.pages["/a"] = lambda exchange: exchange.answer(b"x" * 10_000)
    with pytest.raises(FetchFailed) as caught:
        fetch().download_bytes(f"{web.url}/a", 1000)
    assert caught.value.code == TOO_LARGE


def test_a_status_is_told_as_tuf_wants_it(web: Any, fetch: Callable[..., FeedFetcher]) -> None:
    """The end of a chain of roots is a 404."""
    web.pages["/403"] = lambda exchange: exchange.answer(b"no", "403 Forbidden")
    for path, status in (("/404", 404), ("/403", 403)):
        with pytest.raises(DownloadHTTPError) as caught:
            fetch().download_bytes(f"{web.url}{path}", 1000)
        assert caught.value.status_code == status


def test_failures_have_codes(web: Any, fetch: Callable[..., FeedFetcher]) -> None:
    web.pages["/silent"] = lambda exchange: exchange.stop.wait()
    web.pages["/page"] = lambda exchange: exchange.answer(b"<html>", Content_Type="text/html")
    for path, code in (("/silent", TOO_SLOW), ("/page", OFFLINE)):
        with pytest.raises(DownloadError) as caught:
            fetch(Limits(size=0, read=0.2)).download_bytes(f"{web.url}{path}", 1000)
        assert isinstance(caught.value, FetchFailed) and caught.value.code == code


def test_a_known_copy_is_not_sent_again(web: Any, fetch: Callable[..., FeedFetcher]) -> None:
    def page(exchange: Any) -> None:
        if exchange.headers.get("if-none-match") == '"v1"':
            exchange.answer(b"", "304 Not Modified")
        else:
            exchange.answer(b"new", ETag='"v2"')

    web.pages["/t"] = web.pages["/other"] = page
    known = KnownCopy(f"{web.url}/t", '"v1"', b"old")
    fetcher = fetch(known=known)
    assert fetcher.download_bytes(f"{web.url}/t", 1000) == b"old" and fetcher.etag == '"v1"'
    assert fetcher.download_bytes(f"{web.url}/other", 1000) == b"new", "the copy is of one file only"
    for stale in (known._replace(etag='"v0"'), known._replace(data=b"")):
        fetcher = fetch(known=stale)
        assert fetcher.download_bytes(f"{web.url}/t", 1000) == b"new" and fetcher.etag == '"v2"'


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Sep 2026 00:00:00 GMT", "Tue, 01 Sep 99999 00:00:00 GMT"])
def test_a_server_without_a_clock(date: str, web: Any, fetch: Callable[..., FeedFetcher]) -> None:
    web.pages["/a"] = lambda exchange: exchange.answer(b"x", Date=date)
    fetcher = fetch()
    assert fetcher.download_bytes(f"{web.url}/a", 1000) == b"x" and fetcher.server_time == 0.0
