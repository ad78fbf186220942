import { beforeEach, describe, expect, it } from 'vitest'

import { clock, duration, has, language, locale, localDay, moment, shortDay, t, timeOfDay, use, useTimezone, weekday } from './i18n.svelte'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'

const ALL = { en, ro, ru }
const at = (text: string) => Date.parse(text) / 1000

beforeEach(() => {
  use('en', en)
  useTimezone('Europe/Chisinau')
})

describe('t', () => {
  it('puts values in, once, and leaves what is not given', () => {
    use('en', { a: '{x} and {y}', b: 'plain' })
    expect(t('a', { x: '{y}', y: 2 })).toBe('{y} and 2')
    expect(t('a', { x: 1 })).toBe('1 and {y}')
    expect(t('b', { x: 1 })).toBe('plain')
  })

  it('does not let a name turn the sentence around', () => {
    use('en', { a: 'Rules for {x}: on' })
    expect(t('a', { x: 'a\u202etfel' })).toBe('Rules for atfel: on')
    expect(t('a', { x: '\u2069\u2067b' })).toBe('Rules for b: on')
    expect(t('a', { x: 'שרה' })).toBe('Rules for \u2068שרה\u2069: on')
    expect(t('a', { x: '<b>Ana</b>' })).toBe('Rules for <b>Ana</b>: on')
  })

  it('takes nothing from the prototype of values', () => {
    use('en', { a: '{toString}' })
    expect(t('a', Object.create(null) as Record<string, string>)).toBe('{toString}')
    expect(t('a')).toBe('{toString}')
  })

  it('shows the key of a text that is not there', () => {
    expect(t('no.such')).toBe('no.such')
    expect(has('no.such')).toBe(false)
    expect(has('common.save')).toBe(true)
  })

  it.each([
    ['en', 1, 'one'], ['en', 0, 'other'], ['en', 2, 'other'], ['en', 21, 'other'],
    ['ro', 1, 'one'], ['ro', 0, 'few'], ['ro', 2, 'few'], ['ro', 19, 'few'], ['ro', 20, 'other'], ['ro', 101, 'few'],
    ['ru', 1, 'one'], ['ru', 21, 'one'], ['ru', 2, 'few'], ['ru', 24, 'few'], ['ru', 5, 'many'], ['ru', 11, 'many'],
    ['ru', 0, 'many'], ['ru', 112, 'many'],
  ] as const)('chooses the plural form of %s for %d', (chosen, count, form) => {
    use(chosen, { a: { one: 'one', few: 'few', many: 'many', other: 'other' } })
    expect(t('a', { count })).toBe(form)
  })

  it('has every form that its language needs, for all counts and texts', () => {
    for (const [chosen, texts] of Object.entries(ALL)) {
      use(chosen as keyof typeof ALL, texts)
      for (const [key, text] of Object.entries(texts)) {
        if (typeof text === 'string') continue
        for (let count = 0; count < 130; count++) {
          expect(t(key, { count }), `${chosen} ${key} ${count}`).not.toBe(key)
        }
      }
    }
  })
})

describe('moments', () => {
  it('are told by the clock of the home, 24 hours', () => {
    expect(clock(at('2026-11-22T22:30:00Z'))).toBe('00:30')
    expect(localDay(at('2026-11-22T22:30:00Z'))).toBe('2026-11-23')
    expect(clock(at('2026-07-01T10:05:00Z'))).toBe('13:05') // summer time
  })

  it('name today, yesterday and tomorrow', () => {
    const now = at('2026-11-22T20:00:00Z')
    expect(moment(at('2026-11-22T19:05:00Z'), now)).toBe('today, 21:05')
    expect(moment(at('2026-11-22T22:00:00Z'), now)).toBe('tomorrow, 00:00')
    expect(moment(at('2026-11-21T21:59:00Z'), now)).toBe('yesterday, 23:59')
    expect(moment(at('2026-11-25T05:00:00Z'), now)).toBe('Wednesday, 07:00')
    expect(moment(at('2026-10-01T04:00:00Z'), now)).toBe('1 Oct, 07:00')
  })

  it('have the day before the month, in English too', () => {
    expect(shortDay('2026-11-22')).toMatch(/^Sun,? 22 Nov$/)
    expect(locale()).toBe('en-GB')
    expect(language()).toBe('en')
    use('ro', ro)
    expect(locale()).toBe('ro')
  })

  it('fall back to the browser for a zone that it does not know', () => {
    useTimezone('EET-2EEST,M3.5.0/3,M10.5.0/4')
    expect(clock(0)).toMatch(/^\d\d:\d\d$/)
  })
})

describe('words for times', () => {
  it('writes minutes of a day and durations', () => {
    expect([timeOfDay(0), timeOfDay(445), timeOfDay(1440)]).toEqual(['00:00', '07:25', '24:00'])
    expect([duration(0), duration(59.9), duration(60), duration(80), duration(-3)]).toEqual([
      '0 min', '59 min', '1 h', '1 h 20 min', '0 min',
    ])
  })

  it('begins the week on Monday, in the language of the page', () => {
    expect(weekday(0)).toBe('Monday')
    use('ru', ru)
    expect(weekday(6)).toBe('воскресенье')
    use('ro', ro)
    expect(weekday(0)).toBe('luni')
    expect(shortDay('2026-11-22')).toContain('nov')
    expect(language()).toBe('ro')
    expect(document.documentElement.lang).toBe('ro')
  })
})
