import { beforeEach, describe, expect, it } from 'vitest'

import { use } from '../lib/i18n.svelte'
import type { Allowance } from '../lib/schema'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { isShort, tellLeft } from './allowance'

const NONE: Allowance = { of: '', used_today: 0, limit_today: null, used_week: 0, limit_week: null, left: null }

beforeEach(() => use('en', en))

describe('tellLeft', () => {
  it('tells what is left of the day', () => {
    const left = tellLeft({ ...NONE, used_today: 80, limit_today: 120, left: 40 })
    expect(left).toMatchObject({ limited: true, minutes: 40, words: '40 of 120 minutes left' })
    expect(left.share).toBeCloseTo(1 / 3)
    expect(isShort(left)).toBe(false)
  })

  it('rounds down, so that nobody is promised a minute that is not there', () => {
    expect(tellLeft({ ...NONE, used_today: 80.1, limit_today: 120, left: 39.9 }).minutes).toBe(39)
    expect(tellLeft({ ...NONE, used_today: 80, limit_today: 120, left: 39.9999999 }).minutes).toBe(40)
  })

  it('tells of the week when it ends first', () => {
    const left = tellLeft({ ...NONE, used_today: 0, limit_today: 120, used_week: 590, limit_week: 600, left: 10 })
    expect(left.words).toBe('10 of 600 minutes left this week')
    expect(tellLeft({ ...NONE, used_week: 10, limit_week: 600, left: 590 }).words).toBe('590 of 600 minutes left this week')
  })

  it('knows days without minutes, and never goes below zero', () => {
    expect(tellLeft({ ...NONE, limit_today: 0, left: 0 })).toMatchObject({ share: 0, minutes: 0, words: 'No minutes today' })
    expect(tellLeft({ ...NONE, limit_week: 0, left: 0 }).words).toBe('No minutes this week')
    expect(tellLeft({ ...NONE, used_today: 130, limit_today: 120, left: 0 })).toMatchObject({ minutes: 0, share: 0 })
  })

  it('says the use where there is no limit, and that is never short', () => {
    const left = tellLeft({ ...NONE, used_today: 95 })
    expect(left).toMatchObject({ limited: false, words: '1 h 35 min today' })
    expect(isShort(left)).toBe(false)
  })

  it('has the right plural forms', () => {
    const of = (limit: number) => tellLeft({ ...NONE, limit_today: limit, left: 1 }).words
    expect(of(1)).toBe('1 of 1 minute left')
    use('ro', ro)
    expect([of(1), of(2), of(20)]).toEqual(['Timp rămas: 1 din 1 minut', 'Timp rămas: 1 din 2 minute', 'Timp rămas: 1 din 20 de minute'])
    use('ru', ru)
    expect([of(1), of(21), of(22)]).toEqual(['Осталось 1 из 1 минуты', 'Осталось 1 из 21 минуты', 'Осталось 1 из 22 минут'])
  })
})
