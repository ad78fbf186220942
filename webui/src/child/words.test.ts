import { beforeEach, describe, expect, it } from 'vitest'

import { ApiError } from '../lib/api'
import { use, useTimezone, type Language } from '../lib/i18n.svelte'
import type { Allowance, ChildPage } from '../lib/schema'
import en from '../locale/child.en'
import ro from '../locale/child.ro'
import ru from '../locale/child.ru'
import { learnNames } from '../words/names.svelte'
import { tellKinds } from './kinds'
import { explainKindly, tellNext, tellNow } from './words'

const ALL = { en, ro, ru }
const NOW = Date.parse('2026-11-22T20:00:00Z') / 1000
const used: Allowance = { of: '', used_today: 60, limit_today: 60, used_week: 60, limit_week: 600, left: 0 }
const STATES: ChildPage['state'][] = ['online', 'away', 'asleep', 'offline', 'paused', 'used-up', 'no-clock']
const page = (state: ChildPage['state'], of = '', until: number | null = null, allowances: Allowance[] = []) => ({
  state, of, until, allowances, now: NOW,
}) // prettier-ignore

beforeEach(() => {
  use('en', en)
  useTimezone('UTC')
})

describe('tellNow', () => {
  it.each<[ReturnType<typeof page>, string]>([
    [page('online'), 'The internet is open.'],
    [page('away'), 'The internet is open.'], // who reads it is online
    [page('asleep', 'bedtime', NOW + 11 * 3600), 'The internet sleeps until 07:00. Good night!'],
    [page('offline', 'homework', NOW + 1800), 'It is homework time. The internet waits for you until 20:30.'],
    [page('offline', 'Piano', NOW + 1800), 'The internet rests until 20:30 (Piano).'],
    [page('paused'), 'Your parents paused the internet until a parent switches it on again.'],
    [page('no-clock'), 'This box does not know yet what time it is. Usually that takes a minute.'],
    [page('used-up', '', null, [used]), 'Your minutes of today are over. New ones come tomorrow.'],
    [page('used-up', '', null, [{ ...used, used_week: 600 }]), 'Your minutes of this week are over. New ones come on Monday.'],
  ])('%o', (now, words) => expect(tellNow(now)).toBe(words))

  it.each(Object.keys(ALL) as Language[])('has all words in %s', (language) => {
    use(language, ALL[language])
    for (const state of STATES) {
      for (const of of ['', 'homework', 'x']) expect(tellNow(page(state, of, NOW + 60, [used]))).not.toMatch(/child\.|words\.|\{/)
    }
  })
})

describe('tellNext', () => {
  it('tells what comes, but not twice when the rest ends', () => {
    const at = NOW + 3600
    expect(tellNext({ now: NOW, until: null, next: { kind: 'offline', at, of: 'bedtime' } })).toBe('Next: bedtime at 21:00')
    expect(tellNext({ now: NOW, until: null, next: { kind: 'offline', at, of: '' } })).toBe('Next: a rest without internet at 21:00')
    expect(tellNext({ now: NOW, until: at, next: { kind: 'online', at, of: '' } })).toBe('')
    expect(tellNext({ now: NOW, until: null, next: { kind: 'online', at, of: '' } })).toBe('The internet is back at 21:00')
    expect(tellNext({ now: NOW, until: null, next: null })).toBe('')
  })
})

describe('explainKindly', () => {
  it.each(['already-open', 'by-law', 'unknown-device', 'full', 'throttled', 'not-valid', 'offline'])('has words for %s', (code) => {
    const words = explainKindly(new ApiError(400, code, 'english detail'))
    expect(words).not.toBe(explainKindly(new ApiError(500, 'bug', '')))
    expect(words).not.toMatch(/child\.|english/)
  })

  it('has some for everything else', () => {
    expect(explainKindly(new TypeError('x'))).toBe('That did not work. Try again in a moment.')
  })
})

describe('tellKinds', () => {
  it('names what a child may read, and gathers the rest', () => {
    learnNames({ 'category:games': { en: 'Games', ro: 'Jocuri', ru: 'Игры' } })
    expect(tellKinds(['adult', 'games', 'self_harm', 'malware'])).toEqual([
      'Games',
      'Things only for grown-ups',
      'Things that trick people or harm devices',
    ])
    expect(tellKinds([])).toEqual([])
  })
})
