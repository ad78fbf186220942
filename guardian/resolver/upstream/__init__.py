"""Asking upstreams: plain DNS, DNS over TLS, DNS over HTTPS.

Words:
* an *upstream* is a server that resolves for us (RFC 9499: a recursive resolver or forwarder);
* a *group* is upstreams that stand for each other: the general ones, or those of one forwarded domain;
* a *search* is the way of one question through its group; it makes one or more *tries*, one server each;
* an *exchange* is one query and its reply over one transport;
* a *dialog* is what is spoken on a connection, as bytes in, bytes out: length-prefixed frames or HTTP/2;
* a *good* reply settles the question (NOERROR, NXDOMAIN, ...); SERVFAIL, REFUSED, NOTIMP and FORMERR do not, and
  another server may still do so;
* an upstream is *down* after failures in a row; it is *probed* with a real question, which nobody waits for.
"""

from guardian.resolver.upstream.group import Answer, UpstreamStatus
from guardian.resolver.upstream.pool import MOST_RUNNING, Upstreams

__all__ = ["MOST_RUNNING", "Answer", "UpstreamStatus", "Upstreams"]
