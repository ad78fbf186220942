import { describe, expect, it } from 'vitest'

import type { DeviceState, Profile, Sighting } from '../lib/schema'
import { callNewcomer, groupByOwner, makersOf } from './order'

function sighting(parts: Partial<Sighting> = {}): Sighting {
  return { mac: '02:00:5e:10:00:01', random: true, maker: '', hostname: '', addresses: [], first_seen: 0, last_seen: 0, online: false, ...parts }
}
function named(name: string, profile: string, online = false, sightings: Sighting[] = []): DeviceState {
  return { device: { id: name, name, profile, macs: [], addresses: [], pause: null }, sightings, online, last_seen: null, this: false }
}
const profile = (id: string, filtered = true) => ({ id, name: id, filtered }) as Profile

describe('groupByOwner', () => {
  it('puts children first, and who is online first', () => {
    const devices = [named('tv', 'adults'), named('b', 'ana'), named('a', 'ana'), named('z', 'ana', true), named('x', 'gone')]
    const { owned, lost } = groupByOwner(devices, [profile('adults', false), profile('ion'), profile('ana')])
    expect(owned.map((group) => [group.profile.id, group.devices.map((state) => state.device.name)])).toEqual([
      ['ana', ['z', 'a', 'b']],
      ['adults', ['tv']],
    ])
    expect(lost.map((state) => state.device.name)).toEqual(['x'])
  })
})

it('calls a newcomer by what is known', () => {
  const of = (parts: Partial<Sighting>) => callNewcomer({ sighting: sighting(parts), this: false, twin: '' })
  expect(of({ hostname: 'tv', maker: 'LG' })).toBe('tv')
  expect(of({ maker: 'LG' })).toBe('LG')
  expect(of({})).toBe('02:00:5e:10:00:01')
  expect(of({ mac: '', addresses: ['192.168.1.7'] })).toBe('192.168.1.7')
})

it('names each maker once', () => {
  expect(makersOf(named('a', 'b', true, [sighting({ maker: 'LG' }), sighting(), sighting({ maker: 'LG' })]))).toEqual(['LG'])
})
