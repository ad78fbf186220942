import { beforeEach, describe, expect, it } from 'vitest'

import { use, useTimezone, type Catalogue, type Language } from '../lib/i18n.svelte'
import type { Card } from '../lib/schema'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { tellLabel, tellState } from './state'

const NOW = Date.parse('2026-11-22T20:00:00Z') / 1000
const STATES: Card['state'][] = ['online', 'away', 'asleep', 'offline', 'paused', 'used-up', 'no-clock']

beforeEach(() => {
  use('en', en)
  useTimezone('UTC')
})

describe('tellState', () => {
  it.each<[Card['state'], string, number | null, string]>([
    ['online', '', null, 'Online'],
    ['asleep', 'bedtime', NOW + 11 * 3600, 'Bedtime until 07:00'],
    ['offline', 'homework', NOW + 3600, 'No internet until 21:00 (homework)'],
    ['offline', 'Piano', NOW + 3600, 'No internet until 21:00 (Piano)'],
    ['offline', '', NOW + 3600, 'No internet until 21:00'],
    ['paused', '', null, 'Paused until a parent switches it on again'],
    ['used-up', '', null, 'Minutes used up'],
    ['no-clock', '', null, 'Waits for the time'],
  ])('%s %s', (state, of, until, words) => {
    expect(tellState({ state, of, until }, NOW).words).toBe(words)
  })

  it.each<[Language, Catalogue]>([
    ['en', en],
    ['ro', ro],
    ['ru', ru],
  ])('%s: each state has its own words', (language, texts) => {
    use(language, texts)
    const words = STATES.map((state) => tellState({ state, of: '', until: null }, NOW).words)
    expect(new Set(words).size).toBe(STATES.length)
    for (const one of words) expect(one).not.toMatch(/home\.|words\.|\{/)
  })
})

describe('tellLabel', () => {
  it("leaves a parent's own word as it is", () => {
    expect(tellLabel('bedtime')).toBe('bedtime')
    expect(tellLabel('<script>')).toBe('<script>')
    use('ro', ro)
    expect(tellLabel('bedtime')).toBe('ora de somn')
  })
})
