"""The network side of `tuf.ngclient`: bytes of a feed's server within limits that hold for the whole update.

The stock fetchers have a gap timeout only; here one deadline covers everything, a least rate each file, and a size each
answer before its bytes are read.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NamedTuple

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from guardian.errors import ListError
from guardian.hotline.download import (
    NOTHING_KNOWN,
    Connections,
    Deadline,
    Limits,
    StatusError,
    TooLargeError,
    TooSlowError,
    Validators,
    open_url,
)
from guardian.hotline.feed_state import OFFLINE, TOO_LARGE, TOO_SLOW
from guardian.hotline.tuf_client import FetcherInterface

log = logging.getLogger(__name__)

FEED_LIMITS = Limits(size=0, total=240.0, read=20.0)  # the size is each file's own


class FetchFailed(DownloadError):  # noqa: N818 - an error of tuf's family, told apart by its code
    """A download did not come. `code` is one of feed_state's words."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class KnownCopy(NamedTuple):
    """A file that is here already, and what its server said of its version."""

    url: str
    etag: str
    data: bytes


class FeedFetcher(FetcherInterface):
    """Fetches the files of one update; to be used in a `with`, which ends all connections.

    `etag` is what the server said of the known copy's URL, `server_time` its clock in epoch seconds (0.0 = unknown, and
    nobody signs it), `received` the bytes of all answers.
    """

    def __init__(self, limits: Limits, known: KnownCopy) -> None:
        self._limits = limits
        self._known = known
        self._deadline = Deadline(limits.total)
        self._connections = Connections()
        self._size = 0
        self.etag = ""
        self.server_time = 0.0
        self.received = 0

    def __enter__(self) -> FeedFetcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connections.close()
        self._deadline.cancel()

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[io.BytesIO]:
        """Yield a file's bytes as a file. Raises DownloadError, of which FetchFailed tells why."""
        self._size = max_length
        file = io.BytesIO()
        for chunk in self.fetch(url):
            file.write(chunk)
            if file.tell() > max_length:
                raise DownloadLengthMismatchError(f"{url}: more than {max_length} bytes")
        file.seek(0)
        yield file

    def _fetch(self, url: str) -> Iterator[bytes]:
        known = self._known if url == self._known.url else None
        validators = Validators(known.etag) if known and known.data else NOTHING_KNOWN
        # On the wire a packed answer may be a little longer than its content.
        limits = replace(self._limits, size=self._size + self._size // 1000 + 1024)
        try:
            with open_url(url, limits, self._deadline, validators, self._connections) as answer:
                self.server_time = _read_date(answer.date) or self.server_time
                if known and not answer.changed:
                    self.etag = known.etag
                    yield known.data
                    return
                for chunk in answer.chunks:
                    self.received += len(chunk)
                    yield chunk
                if known:
                    self.etag = answer.validators.etag
        except StatusError as error:
            raise DownloadHTTPError(str(error), error.status) from None
        except TooLargeError as error:
            raise FetchFailed(str(error), TOO_LARGE) from None
        except TooSlowError as error:
            raise FetchFailed(str(error), TOO_SLOW) from None
        except ListError as error:
            raise FetchFailed(str(error), OFFLINE) from None


def _read_date(text: str) -> float:
    """Return the time of a Date header (RFC 9110, 6.6.1), 0.0 when there is none that makes sense."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else 0.0
    except (ValueError, OverflowError) as error:
        log.debug("event=date_ignored why=%s", error)
        return 0.0
