"""Benches: `bench/NAME.py [--quick] [--json]`. Not part of the wheel, and nothing in the test suite times anything."""
