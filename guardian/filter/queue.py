"""One NFQUEUE: packets come from the kernel, a judge says what becomes of each, verdicts go back in batches.

Pure Python over AF_NETLINK. `Queue.open()` binds; an event loop feeds it: `loop.add_reader(queue.fileno(),
queue.on_readable)`. Every packet that arrives gets a verdict. Codec: linux/netfilter/nfnetlink_queue.h.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

from guardian.errors import FormError, GuardianError
from guardian.filter import marks
from guardian.wire.netlink import (
    ATTRIBUTE,
    HEADER,
    NETFILTER,
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    NetlinkMessage,
    pack_attribute,
    pack_message,
    read_error,
    split_attributes,
    split_messages,
)

log = logging.getLogger(__name__)

Judge = Callable[[bytes, bytes | None, int], int]

MAX_KINDS: Final = 64  # of errors, each logged once
PACKETS_PER_WAKE: Final = 64  # then the event loop gets its turn
VERDICTS_PER_SEND: Final = 16  # the first packet of a batch waits for the judging of the rest

_SUBSYSTEM = 3 << 8  # NFNL_SUBSYS_QUEUE
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_CMD_BIND, _CMD_UNBIND = 1, 2
_COPY_PACKET = 2
_FAIL_OPEN, _GSO = 0x1, 0x4
_NFQA_PACKET_HDR, _NFQA_VERDICT_HDR, _NFQA_MARK, _NFQA_TIMESTAMP = 1, 2, 3, 4
_NFQA_IFINDEX_INDEV, _NFQA_IFINDEX_OUTDEV, _NFQA_HWADDR, _NFQA_PAYLOAD, _NFQA_SKB_INFO = 5, 6, 9, 10, 14
_NF_DROP, _NF_ACCEPT = 0, 1
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_MEMINFO = struct.Struct("=9I")  # SK_MEMINFO_*: the last is the number of messages that found no room

_MESSAGE_BYTES = 128 * 1024  # a payload of at most 65,531 bytes and its attributes
_BACKLOG_BYTES = 8 * 1024 * 1024
_PROC = "/proc/thread-self/net/netfilter/nfnetlink_queue"


def _foreign(*values: int) -> int:
    """Return an attribute's header, which is in the machine's order, as a number read in network order."""
    return int.from_bytes(ATTRIBUTE.pack(*values), "big")


# A forwarded packet as the kernel always writes it: header, packet id, both interfaces, mark, MAC; what follows varies.
_FORWARDED = struct.Struct(">4x H 10x 4x I 4s 4x I 4x I 4x I I I H 2x 6s 2x I")
_FORWARDED_AT = _FORWARDED.unpack_from
_FORWARDED_END = 72
_PACKET_TYPE = int.from_bytes(struct.pack("=H", _PACKET), "big")
_HEAD_ID = _foreign(11, _NFQA_PACKET_HDR)
_HEAD_IN = _foreign(8, _NFQA_IFINDEX_INDEV)
_HEAD_OUT = _foreign(8, _NFQA_IFINDEX_OUTDEV)
_HEAD_MARK = _foreign(8, _NFQA_MARK)
_HEAD_MAC = _foreign(16, _NFQA_HWADDR)
_HEAD_TIME = _foreign(20, _NFQA_TIMESTAMP)  # while any program (of NTP for one) asks for packets' times
_HEAD_INFO = _foreign(8, _NFQA_SKB_INFO)
_ATTRIBUTE_AT = ATTRIBUTE.unpack_from
_NUMBER_AT = struct.Struct(">I").unpack_from

_VERDICT_FORM = struct.Struct(">28s 4s 4s I")  # up to the verdict; packet id; header of the mark; mark


class Packet(NamedTuple):
    """One packet that waits for its verdict."""

    id: bytes  # as the kernel wrote it
    payload: bytes  # from the IP header on; a GSO packet has up to 64 KB, and checksums may not be there yet
    mac: bytes | None
    mark: int


class QueueStatus(NamedTuple):
    """What has happened since the queue was opened, and the kernel's own figures (0 where /proc is not readable)."""

    packets: int  # judged
    dropped: int  # of these, by the judge or for an error
    errors: int  # the judge failed, or a message made no sense
    lost: int  # found no room in our socket
    waiting: int  # in the kernel, for a verdict
    kernel_dropped: int  # the queue was full
    user_dropped: int  # could not be handed to us


def parse_packet(payload: bytes) -> Packet:
    """Return the packet of an NFQNL_MSG_PACKET payload. Raises FormError."""
    packet_id, content, mac, mark = b"", b"", None, 0
    for kind, value in split_attributes(payload, NETFILTER.size):
        if kind == _NFQA_PACKET_HDR:
            packet_id = value[:4]
        elif kind == _NFQA_PAYLOAD:
            content = value
        elif kind == _NFQA_MARK:
            mark = int.from_bytes(value, "big") & 0xFFFFFFFF
        elif kind == _NFQA_HWADDR and value[:2] == b"\0\x06" and len(value) >= 10:
            mac = value[4:10]
    if len(packet_id) != 4:
        raise FormError("a queued packet has no id")
    return Packet(packet_id, content, mac, mark)


def read_forwarded(data: memoryview, size: int) -> Packet | None:
    """Return the packet of a datagram of `size` bytes that has the usual form, else None. One copy, of the payload."""
    if size < _FORWARDED_END + 4:
        return None
    kind, at_id, packet_id, at_in, at_out, at_mark, mark, at_mac, mac_bytes, mac, following = _FORWARDED.unpack_from(
        data
    )
    if (
        at_mark != _HEAD_MARK
        or at_mac != _HEAD_MAC
        or mac_bytes != 6
        or at_id != _HEAD_ID
        or at_in != _HEAD_IN
        or at_out != _HEAD_OUT
        or kind != _PACKET_TYPE
    ):
        return None
    start = _FORWARDED_END
    if following == _HEAD_TIME:
        start += 20
        if size < start + 4:
            return None
        (following,) = _NUMBER_AT(data, start)
    if following == _HEAD_INFO:
        start += 8
        if size < start + 4:
            return None
    length, attribute = _ATTRIBUTE_AT(data, start)
    end = start + length
    if attribute != _NFQA_PAYLOAD or length < 4 or not end <= size < end + 4:
        return None
    return Packet(packet_id, bytes(data[start + 4 : end]), mac, mark)


class Verdicts:
    """Writes verdict messages for one queue."""

    def __init__(self, number: int) -> None:
        head = HEADER.pack(40, _VERDICT, NLM_F_REQUEST, 0, 0) + NETFILTER.pack(0, 0, number)
        head += ATTRIBUTE.pack(12, _NFQA_VERDICT_HDR)
        self._accept = head + _NF_ACCEPT.to_bytes(4, "big")
        self._drop = HEADER.pack(32, *HEADER.unpack_from(head)[1:]) + head[HEADER.size :] + _NF_DROP.to_bytes(4, "big")
        self._mark = ATTRIBUTE.pack(8, _NFQA_MARK)

    def accept(self, packet_id: bytes, mark: int) -> bytes:
        """Return NF_ACCEPT with a packet mark."""
        return _VERDICT_FORM.pack(self._accept, packet_id, self._mark, mark)

    def drop(self, packet_id: bytes) -> bytes:
        """Return NF_DROP."""
        return self._drop + packet_id


class Queue:
    """The program's end of one NFQUEUE. Not for use by several threads."""

    def __init__(self, number: int, judge: Judge) -> None:
        self.number = number
        self._judge = judge
        self._verdicts = Verdicts(number)
        self._endpoint: socket.socket | None = None
        self._buffer = memoryview(bytearray(_MESSAGE_BYTES))
        self._unsent: list[bytes] = []
        self._packets = self._dropped = self._errors = 0
        self._told: set[str] = set()

    @classmethod
    def open(cls, number: int, judge: Judge, *, length: int = 1024, fail_open: bool = False) -> Queue:
        """Bind to queue `number` (0-65535) and return it.

        `judge(payload, mac, packet_mark)` returns marks.DROP, or the bits of marks.PACKET_MASK to accept with.
        `length` is how many packets may wait in the kernel; beyond it they are dropped, or pass with `fail_open`.
        Raises GuardianError that says what to do.
        """
        queue = cls(number, judge)
        try:
            queue._endpoint = _open_endpoint()
            queue._bind(length, fail_open)
        except OSError as error:
            queue.close()
            raise GuardianError(explain(number, error.errno or 0)) from error
        return queue

    def close(self) -> None:
        """Unbind; the kernel drops the packets that wait. May be called twice."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            unbind = pack_attribute(_CFG_CMD, bytes((_CMD_UNBIND, 0, 0, 0)))
            with endpoint:
                try:
                    endpoint.send(pack_message(_CONFIG, NLM_F_REQUEST, 0, NETFILTER.pack(0, 0, self.number) + unbind))
                except OSError as error:  # closing the socket unbinds too
                    log.debug("event=queue-unbind-failed queue=%d error=%s", self.number, error)

    def fileno(self) -> int:
        """Return the descriptor to watch for reading. Raises OSError after `close`."""
        return self._open_socket().fileno()

    def on_readable(self) -> None:
        """Judge the packets that wait, at most PACKETS_PER_WAKE, and send their verdicts."""
        receive = self._open_socket().recv_into
        buffer, judge, accept, drop = self._buffer, self._judge, self._verdicts.accept, self._verdicts.drop
        unsent = self._unsent
        for _ in range(PACKETS_PER_WAKE):
            try:
                size = receive(buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue  # counted by the kernel: `lost`
            packet = read_forwarded(buffer, size) or self._read_other(buffer[:size])
            if packet is None:
                continue
            packet_id, payload, mac, mark = packet
            try:
                verdict = judge(payload, mac, mark)
                if verdict < 0:
                    self._dropped += 1
                    unsent.append(drop(packet_id))
                    buffer[:size] = bytes(size)  # what comes next may be shorter, and leave a listed name behind
                else:
                    if verdict in (marks.REFUSED, marks.ANSWERED):
                        buffer[:size] = bytes(size)
                    unsent.append(accept(packet_id, mark & ~marks.PACKET_MASK | verdict & marks.PACKET_MASK))
            except Exception as error:  # noqa: BLE001 - told below, without the words of the exception
                self._errors += 1
                self._dropped += 1
                unsent.append(drop(packet_id))
                if self._is_new(f"judge {type(error).__name__}"):
                    # Where it failed and how, not with what words: a name may be among them.
                    where = "".join(traceback.format_tb(error.__traceback__))
                    kind = type(error).__name__
                    log.error("event=judge-failed queue=%d verdict=drop exception=%s\n%s", self.number, kind, where)
            self._packets += 1
            if len(unsent) >= VERDICTS_PER_SEND:
                self._send()
            if self._endpoint is None:  # the judge closed us
                return
        self._send()

    def status(self) -> QueueStatus:
        """Return the counters. Reads one small file."""
        lost = 0
        if self._endpoint is not None:
            lost = _MEMINFO.unpack(self._endpoint.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8]
        kernel = _read_proc(self.number)
        waiting, kernel_dropped, user_dropped = (kernel[2], kernel[5], kernel[6]) if len(kernel) >= 7 else (0, 0, 0)
        return QueueStatus(self._packets, self._dropped, self._errors, lost, waiting, kernel_dropped, user_dropped)

    def _open_socket(self) -> socket.socket:
        if self._endpoint is None:
            raise OSError(errno.EBADF, f"queue {self.number} is closed")
        return self._endpoint

    def _bind(self, length: int, fail_open: bool) -> None:
        """Bind in two steps: without a copy mode no packet comes, so the first answer is the acknowledgement."""
        endpoint = self._open_socket()
        head = NETFILTER.pack(0, 0, self.number)
        endpoint.send(pack_message(_CONFIG, NLM_F_REQUEST | NLM_F_ACK, 1, head + _build_bind(length, fail_open)))
        (answer,) = split_messages(endpoint.recv(4096))
        code = read_error(answer.payload) if answer.type == NLMSG_ERROR else errno.EPROTO
        if code:
            raise OSError(code, os.strerror(code))
        copy = pack_attribute(_CFG_PARAMS, struct.pack(">IB", 0xFFFF, _COPY_PACKET))
        endpoint.send(pack_message(_CONFIG, NLM_F_REQUEST, 2, head + copy))

    def _send(self) -> None:
        """Send what is decided. The kernel takes it at once; what it can't take now goes with the next batch."""
        if not self._unsent or self._endpoint is None:
            return
        try:
            self._endpoint.send(b"".join(self._unsent))
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN):
                raise
            self._errors += 1
            return
        self._unsent.clear()

    def _read_other(self, data: memoryview) -> Packet | None:
        """Return the packet of a datagram of any form; None for a message that is no packet, or makes no sense."""
        try:
            for message in split_messages(data):  # the kernel sends one a datagram
                if message.type == _PACKET:
                    return parse_packet(message.payload)
                if message.type == NLMSG_ERROR:
                    self._take_error(message)
        except FormError as error:
            self._errors += 1
            if self._is_new(str(error)):
                log.warning("event=queue-message-unreadable queue=%d error=%s", self.number, error)
        return None

    def _take_error(self, message: NetlinkMessage) -> None:
        """A verdict was refused. ENOENT: its packet is gone, with the interface that it came from."""
        code = read_error(message.payload)
        if code in (0, errno.ENOENT):
            return
        self._errors += 1
        if self._is_new(f"verdict {code}"):
            log.warning("event=verdict-refused queue=%d error=%s", self.number, os.strerror(code))

    def _is_new(self, kind: str) -> bool:
        """Tell whether an error of this kind was not logged yet: a broken judge fails for every packet."""
        if kind in self._told or len(self._told) >= MAX_KINDS:
            return False
        self._told.add(kind)
        return True


def explain(number: int, code: int) -> str:
    """Return what to do when binding to a queue fails with an errno."""
    holder = _read_proc(number)
    if holder or code == errno.EBUSY:
        other = f" (netlink port {holder[1]})" if len(holder) > 1 else ""
        return f"NFQUEUE {number} is held by another program{other}: stop it, or set another queue number"
    if code == errno.EPERM:
        return f"NFQUEUE {number} cannot be opened: run with the capability CAP_NET_ADMIN"
    if code in (errno.EINVAL, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
        return "the kernel has no NFQUEUE: load the module nfnetlink_queue (on OpenWrt: kmod-nfnetlink-queue)"
    return f"NFQUEUE {number} cannot be opened: {os.strerror(code)}"


def _build_bind(length: int, fail_open: bool) -> bytes:
    flags = _GSO | (_FAIL_OPEN if fail_open else 0)
    return b"".join(
        (
            pack_attribute(_CFG_CMD, bytes((_CMD_BIND, 0, 0, 0))),
            pack_attribute(_CFG_QUEUE_MAXLEN, length.to_bytes(4, "big")),
            pack_attribute(_CFG_MASK, (_GSO | _FAIL_OPEN).to_bytes(4, "big")),
            pack_attribute(_CFG_FLAGS, flags.to_bytes(4, "big")),
        )
    )


def _open_endpoint() -> socket.socket:
    endpoint = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        endpoint.setblocking(False)
        try:
            endpoint.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BACKLOG_BYTES)
        except PermissionError:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BACKLOG_BYTES)
        # Without this the kernel stops sending after one loss until the socket is empty.
        endpoint.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        endpoint.bind((0, 0))
        endpoint.connect((0, 0))  # from now on only the kernel is heard
    except OSError:
        endpoint.close()
        raise
    return endpoint


def _read_proc(number: int) -> list[int]:
    """Return the kernel's line of a queue: number, port, waiting, mode, range, dropped, user dropped, id, 1; or []."""
    try:
        with open(_PROC) as lines:
            for line in lines:
                fields = [int(word) for word in line.split()]
                if fields and fields[0] == number:
                    return fields
    except (OSError, ValueError):  # not there, or not for us to read
        return []
    return []
