import { beforeEach, describe, expect, it } from 'vitest'

import { use } from '../lib/i18n.svelte'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { sayDays, sayHours, sayLabel, sayMinutes, sayWindows } from './words'

beforeEach(() => use('en', en))

describe('in words', () => {
  it('days', () => {
    expect(sayDays([0, 1, 2, 3, 4, 5, 6])).toBe('every day')
    expect(sayDays([6, 0, 1, 2, 3])).toBe('Sun–Thu')
    expect(sayDays([4, 5])).toBe('Fri, Sat')
    expect(sayDays([0, 2])).toBe('Mon, Wed')
    use('ro', ro)
    expect(sayDays([0, 1, 2, 3, 4])).toBe('lun.–vin.')
    use('ru', ru)
    expect(sayDays([0, 1, 2, 3, 4])).toBe('пн–пт')
  })

  it('hours', () => {
    expect(sayHours({ start: 1290, end: 420 })).toBe('21:30–07:00')
    expect(sayHours({ start: 0, end: 1440 })).toBe('all day')
    expect(sayHours({ start: 0, end: 0 })).toBe('all day')
    expect(sayHours({ start: 600, end: 1440 })).toBe('10:00–24:00')
  })

  it('windows', () => {
    const night = { days: [6, 0, 1, 2, 3], start: 1290, end: 420, label: 'bedtime' }
    expect(sayWindows([night, { ...night, days: [4, 5], start: 1350 }])).toBe('Sun–Thu 21:30–07:00, Fri, Sat 22:30–07:00')
    expect(sayWindows([{ ...night, days: [] }])).toBe('21:30–07:00')
    expect(sayWindows([])).toBe('')
  })

  it('labels: ours are translated, parents’ own stay', () => {
    expect(sayLabel('bedtime')).toBe('Bedtime')
    expect(sayLabel('<b>Chess</b>')).toBe('<b>Chess</b>')
  })

  it('minutes', () => {
    expect(sayMinutes({ days: [120, 120, 120, 120, 150, 180, 180], week: null })).toBe('Mon–Thu 2 h, Fri 2 h 30 min, Sat, Sun 3 h')
    expect(sayMinutes({ days: [60, 60, 60, 60, 60, 60, 60], week: 300 })).toBe('1 h each day; 5 h a week')
    expect(sayMinutes({ days: [], week: null })).toBe('no limit')
    expect(sayMinutes(undefined)).toBe('no limit')
  })
})
