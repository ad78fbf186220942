import { readFileSync } from 'node:fs'

import { beforeEach, describe, expect, it } from 'vitest'

import { use, type Language } from '../lib/i18n.svelte'
import type { Alert } from '../lib/schema'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { tellAdvice, tellAlert } from './alerts'
import { learnNames } from './names.svelte'

const ALL = { en, ro, ru }
const KINDS: Alert['kind'][] = ['bypass', 'new-device', 'burst', 'lists-stale', 'feed-stale', 'gateway-down', 'history-off', 'helpline-blocked', 'storage', 'software-old']
const alert: Alert = {
  id: 'x', kind: 'bypass', priority: 'low', day: '2026-11-22', profile: 'ana', device: 'tablet', device_name: 'Tablet', mac: '',
  of: 'vpn', times: 3, first: 1, last: 2, action: { kind: 'ask', target: '' },
} // prettier-ignore

/** The ways around the filter that `guardian alerts` has words for. */
function listWays(): string[] {
  const source = readFileSync('../guardian/cli/alerts.py', 'utf8')
  const table = /^_WORDS = \{$([^}]*)^\}$/m.exec(source)?.[1] ?? ''
  return [...table.matchAll(/^ {4}"([a-z-]+)":/gm)].map((found) => found[1] ?? '').filter((kind) => kind !== 'unknown-device')
}

beforeEach(() => use('en', en))

describe.each(Object.keys(ALL) as Language[])('%s', (language) => {
  beforeEach(() => use(language, ALL[language]))

  it('has words of its own for every way around the filter', () => {
    const ways = listWays()
    expect(ways).toContain('vpn')
    expect(ways.length).toBeGreaterThanOrEqual(14)
    const told = ways.map((of) => tellAlert({ ...alert, of }))
    expect(new Set(told.map((one) => one.about)).size).toBe(ways.length)
    for (const one of told) expect(`${one.title} ${one.about}`).not.toMatch(/alerts\./)
  })

  it.each(KINDS)('has words for %s', (kind) => {
    const told = tellAlert({ ...alert, kind, of: kind === 'bypass' ? 'vpn' : 'gambling' })
    expect(`${told.title} ${told.about}`).not.toMatch(/alerts\.|\{/)
  })

  it.each(['refused', 'offline', 'clock', 'behind', 'constructor', ''])('tells of a feed that is %j what to do', (of) => {
    const stale: Alert = { ...alert, kind: 'feed-stale', of, action: { kind: 'check', target: '' } }
    const { title, about } = tellAlert(stale)
    expect(`${title} ${about} ${tellAdvice(stale)}`).not.toMatch(/alerts\.|\{/)
    expect(tellAdvice(stale) === tellAdvice({ ...stale, of: 'behind' })).toBe(['behind', 'constructor', ''].includes(of))
  })

  it.each(['full', 'read-only', 'settings'])('tells of a box that cannot save (%s) what to do', (of) => {
    const storage: Alert = { ...alert, kind: 'storage', of, action: { kind: 'check', target: '' } }
    const { title, about } = tellAlert(storage)
    expect(`${title} ${about} ${tellAdvice(storage)}`).not.toMatch(/alerts\.|\{/)
    expect(title).not.toBe(tellAlert({ ...storage, of: of === 'full' ? 'settings' : 'full' }).title)
  })

  it.each(['ask', 'update-lists', 'check'])('has advice for %s', (action) => {
    for (const kind of KINDS) {
      expect(tellAdvice({ ...alert, kind, action: { kind: action, target: '' } })).not.toMatch(/^$|alerts\./)
    }
  })
})

describe('words', () => {
  it('of a way that nobody knows yet are general ones', () => {
    expect(tellAlert({ ...alert, of: 'teleport' }).title).toBe('Another way around the rules')
    expect(tellAlert({ ...alert, of: 'constructor' }).title).toBe('Another way around the rules')
  })

  it('name the kind of sites of a burst', () => {
    learnNames({ 'category:gambling': { en: 'Gambling', ro: 'Jocuri de noroc', ru: 'Азартные игры' } })
    expect(tellAlert({ ...alert, kind: 'burst', of: 'gambling' }).title).toBe('Many tries: Gambling')
    expect(tellAlert({ ...alert, kind: 'burst', of: 'category:gambling' }).title).toBe('Many tries: Gambling')
  })

  it('of advice are gentle where a child may be hurting', () => {
    const burst: Alert = { ...alert, kind: 'burst', of: 'self_harm' }
    expect(tellAdvice(burst)).toContain('Do not punish')
    expect(tellAdvice({ ...burst, of: 'gambling' })).not.toContain('Do not punish')
  })

  it('are no advice where there is something to do', () => {
    expect(tellAdvice({ ...alert, action: { kind: 'be-strict', target: 'ana' } })).toBe('')
  })
})
