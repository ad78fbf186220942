"""The settings file -> Config: YAML or UCI, with the provider's file over it, and the places of files."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import NamedTuple

from guardian.config.checks import check_config
from guardian.config.provisioning import find_provisioning, lay_over, load_provisioning
from guardian.config.text import Upstream
from guardian.config.uci import is_uci
from guardian.config.uci_tree import compose_uci, name_setting
from guardian.config.values import Config
from guardian.errors import Problem
from guardian.typed_yaml import Locate, compose, decode_node, name_key, read_text

DEFAULT_PATH = "/etc/guardian/guardian.yaml"
UCI_FOLDER = "/etc/config"  # all files in there are UCI, an empty one as well


def find_config(path: str | None = None) -> str:
    """Return the path of the settings file: `path`, else $GUARDIAN_CONFIG, else /etc/guardian/guardian.yaml."""
    return path or os.environ.get("GUARDIAN_CONFIG") or DEFAULT_PATH


class Settings(NamedTuple):
    """What a settings file says, and where it says it."""

    config: Config
    locate: Locate
    notes: tuple[Problem, ...]  # what the file says and the provider's file says otherwise: that one holds


def load_config(path: str) -> Config:
    """Return the settings in the file at `path`, YAML or UCI. Raises ConfigError with every problem.

    Relative paths in the file start at the file's own folder; those of the result are absolute.
    """
    return load_settings(path).config


def load_settings(path: str) -> Settings:
    """Return the settings in the file at `path` with their places. Raises ConfigError with every problem."""
    return parse_settings(read_text(path), path)


def parse_config(text: str, path: str) -> Config:
    """Return the settings that `text` says, as if it were the file at `path`. Raises ConfigError."""
    return parse_settings(text, path).config


def parse_settings(text: str, path: str) -> Settings:
    """Return what `text` says, as if it were the file at `path`. Raises ConfigError with every problem."""
    name, found = name_key, list[Problem]()
    if is_uci(text) or _is_place_of_uci(path):
        root, found = compose_uci(text, path, Config)
        name = name_setting
    else:
        root = compose(text, path)
    notes: list[Problem] = []
    provisioning = find_provisioning(root, path)
    if provisioning:
        notes = lay_over(root, load_provisioning(provisioning))
    config, locate = decode_node(root, path, Config, check_config, found, name)
    if not locate.is_given("language"):
        config = replace(config, language=config.languages[0])
    placed = place_files(config, os.path.dirname(os.path.abspath(path)))
    return Settings(replace(placed, provisioning=provisioning), locate, tuple(notes))


def _is_place_of_uci(path: str) -> bool:
    return os.path.dirname(os.path.abspath(path)) == UCI_FOLDER


def place_files(config: Config, folder: str) -> Config:
    """Return `config` with its paths absolute: relative ones start at `folder`, missing ones in the state directory."""

    def place(path: str, default: str = "") -> str:
        return os.path.normpath(os.path.join(folder, path)) if path else default

    def place_upstreams(upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        return tuple(replace(upstream, ca_file=place(upstream.ca_file)) for upstream in upstreams)

    state = place(config.state)
    lists = config.lists
    return replace(
        config,
        state=state,
        household=place(config.household),
        upstreams=replace(
            config.upstreams,
            servers=place_upstreams(config.upstreams.servers),
            bootstrap=place_upstreams(config.upstreams.bootstrap),
        ),
        forward=tuple(replace(forward, upstreams=place_upstreams(forward.upstreams)) for forward in config.forward),
        local=replace(config.local, leases=tuple(place(lease) for lease in config.local.leases)),
        lists=replace(
            lists,
            image=place(lists.image, f"{state}/lists/guardian.image"),
            sources=place(lists.sources),
            mandatory=tuple(replace(entry, file=place(entry.file)) for entry in lists.mandatory),
        ),
        history=replace(
            config.history,
            path=place(config.history.path, f"{state}/history.db"),
            snapshot=place(config.history.snapshot),
        ),
        control=replace(config.control, socket=place(config.control.socket, f"{state}/control.sock")),
        web=replace(
            config.web,
            claim_code=place(config.web.claim_code),
            tls=replace(config.web.tls, certificate=place(config.web.tls.certificate), key=place(config.web.tls.key)),
        ),
        hotline=replace(
            config.hotline,
            root=place(config.hotline.root),
            push=replace(
                config.hotline.push,
                password=place(config.hotline.push.password),
                ca=place(config.hotline.push.ca),
                certificate=place(config.hotline.push.certificate),
                key=place(config.hotline.push.key),
            ),
        ),
    )
