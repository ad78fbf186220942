from __future__ import annotations

import errno
import resource
import socket
from typing import Any

import pytest

from guardian.errors import UpstreamError
from guardian.resolver.upstream.failure import ShortageError, explain


def test_the_words_are_the_systems_and_shortages_are_ours() -> None:
    refused = explain(ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"))
    assert str(refused) == "Connection refused"
    assert not isinstance(refused, ShortageError)
    assert isinstance(explain(OSError(errno.EMFILE, "x")), ShortageError)
    assert str(explain(OSError("odd"))) == "odd"


def test_without_file_descriptors_queries_fail_and_the_server_is_not_blamed(run: Any, opened: Any, net: Any) -> None:
    async def main() -> None:
        async with net.UdpServer(lambda query, _: [net.make_answer(query)]) as server, opened(server.upstream) as ups:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as probe:
                highest = probe.fileno()
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            try:
                for _ in range(5):
                    with pytest.raises(UpstreamError, match="Too many open files"):
                        await ups.resolve(net.make_question("www.test"))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert ups.status()[0].healthy
            assert (await ups.resolve(net.make_question("www.test"))).source == server.upstream.label

    run(main())
