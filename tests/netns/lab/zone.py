"""The DNS of the lab's internet: one zone file of everything, told over UDP, TCP, TLS and HTTPS alike."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.netns.lab import plan

TTL = 300
WHOAMI = "whoami.example"  # its TXT record is the address of the server that answered
_SOA = "ns.example. host.example. 1 3600 600 86400 60"


class Zone:
    """Answers questions from `plan.dns_records`; CNAMEs are followed, and `any.example` stands for all below it."""

    def __init__(self) -> None:
        self._records: dict[str, list[tuple[str, str]]] = {}
        for name, kind, rdata in plan.dns_records():
            self._records.setdefault(name, []).append((kind, rdata))

    def answer(self, wire: bytes, server: str) -> tuple[str, str, bytes] | None:
        """Return (QNAME, type, response) for a query that came to the address `server`, None for what is no query."""
        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        if query.flags & dns.flags.QR:
            return None
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query, recursion_available=True)
        self._fill(response, name, kind, server)
        return name, kind, response.to_wire(max_size=65535)

    def addresses(self, name: str) -> list[str]:
        """The addresses of a name, IPv4 first."""
        return [rdata for kind, rdata in self._find(name, "") or () if kind in ("A", "AAAA")]

    def _find(self, name: str, server: str) -> list[tuple[str, str]] | None:
        if name == WHOAMI:
            return [("TXT", f'"{server}"')]
        return self._records["any.example"] if name.endswith(".any.example") else self._records.get(name)

    def _fill(self, response: dns.message.Message, name: str, kind: str, server: str) -> None:
        records = self._find(name, server)
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        for type_, rdata in records or ():
            if type_ in ("CNAME", kind):
                response.answer.append(_rrset(name, type_, rdata))
            if type_ == "CNAME" and kind != "CNAME":
                self._fill(response, rdata.rstrip("."), kind, server)
        if not response.answer:
            response.authority.append(_rrset("example", "SOA", _SOA))


def _rrset(name: str, kind: str, rdata: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(f"{name}.", TTL, dns.rdataclass.IN, dns.rdatatype.from_text(kind), rdata)
