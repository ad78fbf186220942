"""The lab's fixtures, for all tests here."""

from tests.netns.lab.fixtures import lab, pytest_runtest_makereport, seen, world

__all__ = ["lab", "pytest_runtest_makereport", "seen", "world"]
