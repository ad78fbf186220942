"""What a file's own text may do in a message about it: nothing."""

from __future__ import annotations

import pytest

from guardian.config import parse_config
from guardian.errors import ConfigError, GuardianError, Problem, UpstreamError


def test_a_message_steers_no_terminal() -> None:
    """YAML can write any character; a message quotes it, and a terminal shows the message."""
    with pytest.raises(ConfigError) as caught:
        parse_config('upstreams: {servers: [9.9.9.9]}\nblock: {ttl: "\\e[2J\\u202e"}\n', "/x/guardian.yaml")
    (problem,) = caught.value.problems
    assert problem.where == "/x/guardian.yaml:2"
    assert "'\\u001b[2J\\u202e'" in problem.message
    assert str(caught.value).isprintable()


def test_problems_are_lines_in_their_order() -> None:
    error = ConfigError(Problem(f"file:{n}", "wrong: ё") for n in (1, 2))
    assert str(error) == "file:1: wrong: ё\nfile:2: wrong: ё"
    assert isinstance(error, GuardianError)


def test_an_upstreams_failure_has_a_code_for_the_client() -> None:
    assert UpstreamError().code == 22
    assert UpstreamError("refused", 23).code == 23
