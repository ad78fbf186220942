import { expect, it } from 'vitest'

import { endOfDay } from './clock'

const iso = (seconds: number) => new Date(seconds * 1000).toISOString()

it('ends a day at the midnight of its zone', () => {
  expect(iso(endOfDay('Europe/Chisinau', '2026-11-22'))).toBe('2026-11-22T22:00:00.000Z')
  expect(iso(endOfDay('Europe/Chisinau', '2026-07-01'))).toBe('2026-07-01T21:00:00.000Z')
  expect(iso(endOfDay('UTC', '2026-12-31'))).toBe('2027-01-01T00:00:00.000Z')
  expect(iso(endOfDay('Pacific/Kiritimati', '2026-11-22'))).toBe('2026-11-22T10:00:00.000Z')
  expect(iso(endOfDay('America/New_York', '2026-11-22'))).toBe('2026-11-23T05:00:00.000Z')
})

it('knows the days on which the clock changes', () => {
  expect(iso(endOfDay('Europe/Berlin', '2026-03-29'))).toBe('2026-03-29T22:00:00.000Z')
  expect(iso(endOfDay('Europe/Berlin', '2026-10-25'))).toBe('2026-10-25T23:00:00.000Z')
  expect(iso(endOfDay('Europe/Berlin', '2026-10-24'))).toBe('2026-10-24T22:00:00.000Z')
})

it('takes the clock of the phone for a zone that no browser knows', () => {
  expect(endOfDay('EET-2EEST,M3.5.0/3,M10.5.0/4', '2026-11-22')).toBe(new Date(2026, 10, 23).getTime() / 1000)
})
