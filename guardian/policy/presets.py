"""Profiles from age presets."""

from __future__ import annotations

from guardian.policy.model import Preset, Profile


def profile_from_preset(preset: Preset, id: str, name: str) -> Profile:
    """Return a new filtered profile with everything that the preset of an age band sets."""
    return Profile(
        id=id,
        name=name,
        age_band=preset.age_band,
        schedule=preset.schedule,
        minutes=preset.minutes,
        services=preset.services,
        categories=preset.categories,
        allow_list_only=preset.allow_list_only,
        safe_search=preset.safe_search,
        bypass_protection=preset.bypass_protection,
        visibility=preset.visibility,
    )
