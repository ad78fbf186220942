/** Devices in the order in which people look for them, and what they are called. */

import type { DeviceState, Profile, UnnamedDevice } from '../lib/schema'

export type Owned = { profile: Profile; devices: DeviceState[] }

/** Named devices by owner: children and other filtered profiles first, as in the household; nobody's come last. */
export function groupByOwner(devices: DeviceState[], profiles: Profile[]): { owned: Owned[]; lost: DeviceState[] } {
  const sorted = [...profiles.filter((profile) => profile.filtered), ...profiles.filter((profile) => !profile.filtered)]
  const owned = sorted
    .map((profile) => ({
      profile,
      devices: devices
        .filter((state) => state.device.profile === profile.id)
        .sort((a, b) => Number(b.online) - Number(a.online) || a.device.name.localeCompare(b.device.name)),
    }))
    .filter((group) => group.devices.length)
  const known = new Set(profiles.map((profile) => profile.id))
  return { owned, lost: devices.filter((state) => !known.has(state.device.profile)) }
}

/** What a newcomer is called until somebody names it: its own name, its maker, or its MAC. */
export function callNewcomer(device: UnnamedDevice): string {
  const { hostname, maker, mac, addresses } = device.sighting
  return hostname || maker || mac || addresses[0] || '?'
}

/** Who made a named device, as its sightings tell. */
export function makersOf(state: DeviceState): string[] {
  return [...new Set(state.sightings.map((sighting) => sighting.maker).filter((maker) => maker))]
}
