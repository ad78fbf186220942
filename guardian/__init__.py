"""Guardian: a parental-control filter for home gateways.

The floors are drawn in `docs/architecture.md`; imports go down only (`tests/test_architecture.py`).
"""

__version__ = "0.1.0"
