import { describe, expect, it } from 'vitest'

import type { Profile } from '../lib/schema'
import { applyPreset, listDifferences, rebase, same, tabOf } from './changes'

function profile(parts: Partial<Profile> = {}): Profile {
  return {
    id: 'ana',
    name: 'Ana',
    age_band: '10-12',
    filtered: true,
    pause: null,
    offline: [{ days: [0, 1], start: 1290, end: 420, label: 'bedtime' }],
    exceptions: [],
    minutes: { days: [120, 120, 120, 120, 150, 180, 180], week: null },
    minutes_for: [],
    bonuses: [],
    rules: [{ action: 'allow', pattern: 'good.example', expires: null, note: '' }],
    services: [{ service: 'tiktok', action: 'block', hours: [] }],
    categories: ['adult', 'gambling'],
    allow_list_only: false,
    safe_search: true,
    youtube: 'strict',
    bypass_protection: true,
    strict: false,
    visibility: 'names',
    language: '',
    ...parts,
  }
}

describe('listDifferences', () => {
  it('finds nothing in the same', () => {
    expect(listDifferences(profile(), structuredClone(profile()))).toEqual([])
  })

  it('names each change once, where it is edited', () => {
    const after = profile({
      name: 'Anna',
      categories: ['adult', 'drugs'],
      services: [
        { service: 'tiktok', action: 'block', hours: [{ days: [0], start: 960, end: 1080, label: 'hours' }] },
        { service: 'youtube', action: 'allow', hours: [] },
      ],
      rules: [],
      allow_list_only: true,
      minutes: { days: [], week: 600 },
    })
    expect(listDifferences(profile(), after).map(({ tab, part, how, of }) => `${tab}: ${part} ${how} ${of}`)).toEqual([
      'overview: name set Anna',
      'apps: services changed tiktok',
      'apps: services added youtube',
      'kinds: categories added drugs',
      'kinds: categories removed gambling',
      'rules: rules removed allow good.example',
      'minutes: minutes changed ',
      'more: strictness set only',
    ])
  })

  it('does not count what the server sets by itself', () => {
    const after = profile({ pause: { until: null }, bonuses: [{ day: '2026-11-22', minutes: 30, of: '' }] })
    expect(listDifferences(profile(), after)).toEqual([])
  })

  it('sees every part that a draft can change', () => {
    const other: Partial<Profile> = {
      name: 'x', age_band: '', filtered: false, offline: [], exceptions: [{ day: '2026-12-24', windows: [], note: '' }],
      minutes: { days: [], week: null }, minutes_for: [{ of: 'youtube', minutes: { days: [], week: 60 } }], rules: [],
      services: [], categories: [], allow_list_only: true, safe_search: false, youtube: 'off', bypass_protection: false,
      strict: true, visibility: 'counts', language: 'ru',
    }
    for (const key of Object.keys(profile()) as (keyof Profile)[]) {
      if (['id', 'pause', 'bonuses'].includes(key)) continue
      expect(key in other, key).toBe(true)
      expect(listDifferences(profile(), profile({ [key]: other[key] })).length, key).toBeGreaterThan(0)
    }
  })
})

describe('applyPreset', () => {
  it('sets what an age sets, and keeps what parents wrote', () => {
    const mine = profile({
      minutes_for: [{ of: 'youtube', minutes: { days: [], week: 60 } }],
      exceptions: [{ day: '2026-12-24', windows: [], note: 'Eve' }],
      language: 'ru',
    })
    const preset = profile({ id: 'preset', name: 'preset', age_band: '16-17', categories: ['adult'], rules: [], services: [], offline: [] })
    const made = applyPreset(mine, preset)
    expect(made).toEqual({ ...mine, age_band: '16-17', categories: ['adult'], services: [], offline: [] })
    made.categories.push('games')
    expect(preset.categories).toEqual(['adult'])
  })
})

describe('rebase', () => {
  const before = profile()

  it('keeps the draft where it was changed, and takes the rest from the other', () => {
    const draft = profile({ categories: ['adult', 'games'], youtube: 'off' })
    const theirs = profile({ name: 'Anna', pause: { until: null }, categories: ['adult', 'gambling', 'drugs'], youtube: 'moderate' })
    expect(rebase(draft, before, theirs)).toEqual({ ...theirs, categories: ['adult', 'drugs', 'games'], youtube: 'off' })
  })

  it('merges lists entry by entry', () => {
    const rule = (pattern: string, note = '') => ({ action: 'block' as const, pattern, expires: null, note })
    const old = profile({ rules: [rule('a.example'), rule('b.example'), rule('c.example')] })
    const draft = profile({ rules: [rule('a.example', 'mine'), rule('c.example'), rule('d.example')] }) // b removed, d added
    const theirs = profile({ rules: [rule('b.example', 'theirs'), rule('c.example', 'theirs'), rule('e.example')] }) // a removed
    expect(rebase(draft, old, theirs).rules).toEqual([
      rule('c.example', 'theirs'), rule('e.example'), rule('a.example', 'mine'), rule('d.example'),
    ])
  })

  it('has no other differences than the draft had', () => {
    const draft = profile({ services: [{ service: 'kick', action: 'allow', hours: [] }], minutes: { days: [], week: 60 } })
    const theirs = profile({ categories: [], services: [...before.services, { service: 'x', action: 'block', hours: [] }] })
    expect(listDifferences(theirs, rebase(draft, before, theirs))).toEqual(listDifferences(before, draft))
  })

  it('takes the strictness as a whole', () => {
    const draft = profile({ strict: true })
    expect(rebase(draft, before, profile({ allow_list_only: true }))).toMatchObject({ strict: true, allow_list_only: false })
  })

  it('is the other one when nothing was changed', () => {
    const theirs = profile({ youtube: 'off', bonuses: [{ day: '2026-11-22', minutes: 30, of: '' }] })
    expect(rebase(profile(), before, theirs)).toEqual(theirs)
  })
})

describe('same', () => {
  it('looks at values, not at the order of keys', () => {
    expect(same({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 })).toBe(true)
    expect(same({ a: 1 }, { a: 1, b: undefined })).toBe(false)
    expect(same([1, 2], { 0: 1, 1: 2 })).toBe(false)
    expect(same(null, {})).toBe(false)
  })
})

describe('tabOf', () => {
  it('finds the place of a problem', () => {
    expect(['offline[2].start', 'profile.rules[0].pattern', 'minutes.week', 'services[1].service', 'nothing', ''].map(tabOf)).toEqual([
      'hours', 'rules', 'minutes', 'apps', null, null,
    ])
  })
})
