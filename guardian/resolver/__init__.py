"""The policy-implementing resolver (RFC 9499): listens, decides, answers, caches, asks upstreams.

The way of a query: `listen` -> `handle` (parse, local names, policy, cache) -> `answer` -> sent. A miss goes to
`resolve`, which asks `upstream` once for all who wait, fills `cache`, and lets `handle` speak again.
A *ready answer* is what a raw packet gets without any of that, for as long as it stays right.
"""
