"""A profile made from an age preset."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

from guardian.policy.model import Preset, Profile
from guardian.policy.presets import profile_from_preset


def test_everything_that_a_preset_sets_is_in_the_profile(parts: SimpleNamespace) -> None:
    preset = parts.catalogue.presets["10-12"]
    profile = profile_from_preset(preset, "ana", "Ana")
    assert {field.name for field in fields(Preset)} <= {field.name for field in fields(Profile)}
    assert {f.name: getattr(profile, f.name) for f in fields(Preset)} == {
        f.name: getattr(preset, f.name) for f in fields(Preset)
    }
    assert (profile.id, profile.name, profile.filtered, profile.paused_until) == ("ana", "Ana", True, 0.0)
