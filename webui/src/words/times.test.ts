import { beforeEach, describe, expect, it } from 'vitest'

import { localDay, use, useTimezone } from '../lib/i18n.svelte'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { at, nextMidnight, until } from './times'

const epoch = (text: string) => Date.parse(text) / 1000
const NOW = epoch('2026-11-22T20:00:00Z') // 22:00 in Chișinău

beforeEach(() => {
  use('en', en)
  useTimezone('Europe/Chisinau')
})

describe('until', () => {
  it('says the hour alone while it is clear which day is meant', () => {
    expect(until(NOW + 3600, NOW)).toBe('until 23:00')
    expect(until(NOW + 9 * 3600, NOW)).toBe('until 07:00')
  })

  it('names the day when it is further away', () => {
    expect(until(NOW + 25 * 3600, NOW)).toBe('until tomorrow, 23:00')
    expect(until(NOW + 49 * 3600, NOW)).toBe('until 24 Nov, 23:00')
  })

  it('knows a pause without an end', () => {
    expect(until(null, NOW)).toBe('until a parent switches it on again')
  })

  it('is a phrase in Romanian and Russian as well', () => {
    use('ro', ro)
    expect(until(NOW + 9 * 3600, NOW)).toBe('până la 07:00')
    use('ru', ru)
    expect(until(NOW + 25 * 3600, NOW)).toBe('до завтра, до 23:00')
  })
})

describe('at', () => {
  it('names tomorrow, because "07:00" alone may be either', () => {
    expect(at(NOW + 1800, NOW)).toBe('at 22:30')
    expect(at(NOW + 9 * 3600, NOW)).toBe('tomorrow at 07:00')
    expect(at(NOW + 60 * 3600, NOW)).toBe('on 25 Nov at 10:00')
  })
})

describe('nextMidnight', () => {
  it.each([
    ['an ordinary day', 'Europe/Chisinau', '2026-11-22T20:00:00Z', '2026-11-22T22:00:00Z'],
    ['the long day of autumn', 'Europe/Chisinau', '2026-10-24T22:00:00Z', '2026-10-25T22:00:00Z'],
    ['the short day of spring', 'Europe/Chisinau', '2027-03-27T23:00:00Z', '2027-03-28T21:00:00Z'],
    ['a zone whose midnight does not happen', 'America/Santiago', '2026-09-05T20:00:00Z', '2026-09-06T04:00:00Z'],
    ['a moment before it', 'UTC', '2026-11-22T23:59:59Z', '2026-11-23T00:00:00Z'],
  ])('%s', (_, zone, now, expected) => {
    useTimezone(zone)
    expect(nextMidnight(epoch(now))).toBe(epoch(expected))
  })

  it('is the first second of another date, whatever the moment', () => {
    useTimezone('America/St_Johns')
    for (let now = epoch('2026-10-30T00:00:00Z'); now < epoch('2026-11-04T00:00:00Z'); now += 4999) {
      const midnight = nextMidnight(now)
      expect(midnight).toBeGreaterThan(now)
      expect(localDay(midnight - 1)).toBe(localDay(now))
      expect(localDay(midnight)).not.toBe(localDay(now))
    }
  })
})
