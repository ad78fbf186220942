import { beforeEach, describe, expect, it, vi } from 'vitest'

import { use, useTimezone, type Language } from '../lib/i18n.svelte'
import type { HotlineFeed } from '../lib/schema'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { tellFeed, tellProblem } from './feed'

const ALL = { en, ro, ru }
const NOW = Date.parse('2026-11-22T14:05:00Z') / 1000
const DAY = 86_400
const fine: HotlineFeed = {
  state: 'ok', name: 'Hotline of Tests', checked: NOW - 60, succeeded: NOW - 60, age: 60, expires: NOW + DAY, problem: '',
  needs_update: false, lists: [{ id: 'list-a', entries: 5012, created: NOW - DAY }],
} // prettier-ignore
const old: HotlineFeed = { ...fine, state: 'stale', succeeded: NOW - 9 * DAY, age: 9 * DAY, problem: 'offline' }
const CODES = ['offline', 'too-slow', 'not-signed', 'rollback', 'expired', 'clock', 'disk', 'damaged', 'growth', 'too-large', 'missing']

beforeEach(() => {
  vi.useFakeTimers({ now: NOW * 1000 })
  useTimezone('UTC')
  return () => vi.useRealTimers()
})

describe.each(Object.keys(ALL) as Language[])('%s', (language) => {
  beforeEach(() => use(language, ALL[language]))

  it.each(CODES)('has words for %s', (problem) => {
    const told = tellProblem({ ...fine, problem })
    expect(told).toMatch(/\.$/)
    expect(told).not.toMatch(/state\.|\{/)
  })

  it('says the hour at which all was well, and how old it is when it is old', () => {
    expect(tellFeed(fine).join()).toContain('14:04')
    expect(tellFeed(old).join()).toMatch(/\b9 .*14:05/)
    for (const feed of [fine, old]) expect(tellFeed(feed).join()).not.toMatch(/state\.|\{/)
  })
})

describe('the list', () => {
  beforeEach(() => use('en', en))

  it('is up to date', () => {
    expect(tellFeed(fine)).toEqual(['up to date, checked today, 14:04'])
    expect(tellProblem(fine)).toBe('')
  })

  it('is not said to be up to date while the box cannot look', () => {
    expect(tellFeed({ ...fine, problem: 'offline' })).toEqual(['last checked in full: today, 14:04'])
  })

  it('is old', () => {
    expect(tellFeed(old)).toEqual(['9 days old, last checked in full: 13 Nov, 14:05'])
    expect(tellFeed({ ...old, age: DAY, succeeded: NOW - DAY })).toEqual(['1 day old, last checked in full: yesterday, 14:05'])
    expect(tellFeed({ ...old, age: 3600, succeeded: NOW - 3600, problem: 'expired' })).toEqual([
      'last checked in full: today, 13:05',
    ])
  })

  it('was refused, and the one before stays', () => {
    expect(tellFeed({ ...fine, state: 'refused', problem: 'not-signed' })).toEqual([
      'What came last was not taken. The list before stays in force.',
      'last checked in full: today, 14:04',
    ])
    expect(tellFeed({ ...fine, state: 'refused', succeeded: null, age: null })).toHaveLength(1)
  })

  it('never came', () => {
    const never: HotlineFeed = { ...fine, state: 'never', succeeded: null, age: null, lists: [], problem: 'constructor' }
    expect(tellFeed(never)).toEqual(['not on the box yet'])
    expect(tellProblem(never)).toContain('tell your provider')
  })
})
