import { beforeEach, describe, expect, it } from 'vitest'

import { use, useTimezone, type Catalogue as Texts, type Language } from '../lib/i18n.svelte'
import type { Answer, Catalogue, Profile } from '../lib/schema'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { listDifferences } from './changes'
import { sayBand, sayDifference, sayOf, sayPreset, sayReason, sayUntil, stateOf } from './words'

const LANGUAGES: [Language, Texts][] = [['en', en], ['ro', ro], ['ru', ru]]
const three = (en: string, ro: string, ru: string) => ({ en, ro, ru })
const CATALOGUE: Catalogue = {
  services: [{ id: 'tiktok', name: 'TikTok', group: 'social' }],
  groups: [{ id: 'social', names: three('Social networks', 'Rețele sociale', 'Соцсети') }],
  categories: [{ id: 'gambling', names: three('Gambling', 'Jocuri de noroc', 'Азартные игры'), about: three('', '', '') }],
  presets: [],
  timezones: [],
}
const PROFILE: Profile = {
  id: 'ana', name: 'Ana', age_band: '10-12', filtered: true, pause: null, offline: [], exceptions: [],
  minutes: { days: [], week: null }, minutes_for: [], bonuses: [], rules: [], services: [], categories: [],
  allow_list_only: false, safe_search: true, youtube: 'strict', bypass_protection: true, strict: false,
  visibility: 'names', language: '',
}
const REASONS = [
  'helpline', 'mandatory', 'pause', 'schedule', 'minutes', 'rule', 'bypass', 'service', 'category', 'allow-list-only',
  'safe-search', 'rebinding', 'default',
]

function answer(parts: Partial<Answer>): Answer {
  return {
    name: 'a.example', pattern: 'a.example', action: 'block', reason: 'default', of: '', until: null, sentence: 'UNTRANSLATED',
    services: [], categories: [], ...parts,
  }
}

beforeEach(() => {
  use('en', en)
  useTimezone('UTC')
})

describe('answers', () => {
  it('have words for every reason of the policy, in every language', () => {
    for (const [language, texts] of LANGUAGES) {
      use(language, texts)
      for (const reason of REASONS) {
        for (const action of ['allow', 'block', 'rewrite'] as const) {
          const words = sayReason(answer({ reason, action, of: 'x' }), CATALOGUE)
          expect(words, `${language} ${reason}`).not.toMatch(/profile\.|UNTRANSLATED|\{\w+\}/)
          expect(words.length).toBeGreaterThan(5)
        }
      }
    }
  })

  it('name what it is about, with or without its prefix', () => {
    expect(sayReason(answer({ reason: 'category', of: 'category:gambling' }), CATALOGUE)).toBe('Its kind is blocked: Gambling.')
    expect(sayReason(answer({ reason: 'category', of: 'gambling' }), CATALOGUE)).toBe('Its kind is blocked: Gambling.')
    expect(sayReason(answer({ reason: 'service', of: 'tiktok', action: 'allow' }), CATALOGUE)).toBe('TikTok is allowed.')
    expect(sayReason(answer({ reason: 'schedule', of: 'bedtime' }), CATALOGUE)).toBe('No internet at this hour: Bedtime.')
    expect(sayReason(answer({ reason: 'rule', of: 'rule:block =xn--e1afmkfd.xn--p1ai' }), CATALOGUE)).toBe('Your rule blocks it: пример.рф.')
    expect(sayReason(answer({ reason: 'minutes', of: 'group:social' }), CATALOGUE)).toContain('Social networks')
    expect(sayReason(answer({ reason: 'minutes', of: '90' }), CATALOGUE)).toBe('The minutes are used up.')
  })

  it('keep the English sentence for a reason that is new', () => {
    expect(sayReason(answer({ reason: 'moonlight' }), CATALOGUE)).toBe('UNTRANSLATED')
  })

  it('tell until when', () => {
    expect(sayUntil(answer({ until: null }))).toBe('')
    expect(sayUntil(answer({ until: 4_000_000_000 }))).toMatch(/^Until .*\d\d:\d\d\.$/)
  })
})

describe('differences', () => {
  const after: Profile = {
    ...PROFILE, name: 'Anna', age_band: '', filtered: false, safe_search: false, youtube: 'off', bypass_protection: false,
    strict: true, visibility: 'counts', language: 'ru', categories: ['gambling'],
    offline: [{ days: [0], start: 1290, end: 420, label: 'bedtime' }],
    exceptions: [{ day: '2026-12-24', windows: [], note: '' }],
    minutes: { days: [], week: 600 },
    minutes_for: [{ of: 'group:social', minutes: { days: [], week: 60 } }],
    rules: [{ action: 'block', pattern: '=xn--e1afmkfd.xn--p1ai', expires: null, note: '' }],
    services: [{ service: 'tiktok', action: 'block', hours: [{ days: [5, 6], start: 960, end: 1080, label: 'hours' }] }],
  }

  it('have words both ways, in every language', () => {
    for (const [language, texts] of LANGUAGES) {
      use(language, texts)
      for (const [from, to] of [[PROFILE, after], [after, PROFILE]] as const) {
        const words = listDifferences(from, to).map((change) => sayDifference(change, to, CATALOGUE))
        expect(words.length).toBe(16)
        for (const line of words) expect(line, language).not.toMatch(/profile\.|\{\w+\}|undefined|\bnull\b/)
      }
    }
  })

  it('say what it is', () => {
    const words = listDifferences(PROFILE, after).map((change) => sayDifference(change, after, CATALOGUE))
    expect(words).toContain('Gambling: blocked')
    expect(words).toContain('TikTok: Some hours (Sat, Sun 16:00–18:00)')
    expect(words).toContain('Site blocked: пример.рф')
    expect(words).toContain('Social networks (whole group): 1 h a week')
  })
})

describe('names', () => {
  it('of what minutes are counted for', () => {
    expect(sayOf(CATALOGUE, '')).toBe('All internet use')
    expect(sayOf(CATALOGUE, 'tiktok')).toBe('TikTok')
    expect(sayOf(CATALOGUE, 'gone')).toBe('gone')
  })

  it('of the states of an app', () => {
    expect(stateOf(undefined)).toBe('kind')
    expect(stateOf({ service: 'x', action: 'allow', hours: [] })).toBe('allow')
    expect(stateOf({ service: 'x', action: 'block', hours: [{ days: [0], start: 0, end: 60, label: 'hours' }] })).toBe('hours')
  })

  it('of ages, the same as everywhere', () => {
    for (const [language, texts] of LANGUAGES) {
      use(language, texts)
      for (const band of ['0-6', '7-9', '10-12', '13-15', '16-17']) expect(sayBand(band)).toBe(texts[`age.${band}`])
    }
    expect(sayBand('10-12')).toBe('10–12 лет')
    expect(sayBand('')).toBe('Взрослый')
  })

  it('of what an age sets', () => {
    expect(sayPreset(PROFILE)).toEqual(['No bedtime', 'Minutes: no limit', 'Parents see names of sites'])
  })
})
