"""The push hint of a release: a short MQTT 5 message, retained, that something new may be there. docs/feed.md."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from guardian.config.values import PushConfig
from guardian.errors import DeskError
from guardian.feed import Hint, encode

_SECONDS = 20.0  # for all of it


def send_hint(folder: Path, push: PushConfig, hint: Hint) -> None:
    """Send a hint and wait until the broker has it. Raises DeskError; without it routers look some hours later."""
    if push.broker is None:
        raise DeskError("no broker is set: 'push' in desk.yaml names one")
    import aiomqtt

    try:
        asyncio.run(asyncio.wait_for(_send(folder, push, hint), _SECONDS))
    except TimeoutError:
        raise DeskError(f"{push.broker}: no answer within {_SECONDS:.0f} s; the hint can be sent again: hint") from None
    except (aiomqtt.MqttError, OSError, ssl.SSLError) as error:
        raise DeskError(f"{push.broker}: {error}; the hint can be sent again: hint") from None


async def _send(folder: Path, push: PushConfig, hint: Hint) -> None:
    import aiomqtt

    assert push.broker is not None
    context = None
    if push.broker.tls:
        context = ssl.create_default_context(cafile=str(folder / push.ca) if push.ca else None)
        if push.certificate:
            context.load_cert_chain(folder / push.certificate, folder / push.key)
    password = (folder / push.password).read_text(encoding="utf-8").strip() if push.password else None
    client = aiomqtt.Client(
        push.broker.host,
        push.broker.port,
        username=push.user or None,
        password=password,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context,
        timeout=_SECONDS,
    )
    async with client:
        await client.publish(push.topic, encode(hint), qos=1, retain=True)
