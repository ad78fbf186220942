import { describe, expect, it } from 'vitest'

import type { DayException, Window } from '../lib/schema'
import { countDays, dayAfter, toRanges, withoutRange, withRange } from './exceptions'

const NIGHT: Window = { days: [], start: 1380, end: 540, label: 'bedtime' }

function day(day: string, windows: Window[] = [], note = ''): DayException {
  return { day, windows, note }
}

describe('days', () => {
  it('go over months, years and the change of the clock', () => {
    expect(dayAfter('2026-12-31')).toBe('2027-01-01')
    expect(dayAfter('2028-02-28')).toBe('2028-02-29')
    expect(dayAfter('2026-10-24', 2)).toBe('2026-10-26')
    expect(countDays('2026-12-22', '2027-01-07')).toBe(17)
    expect(countDays('2026-12-22', '2026-12-22')).toBe(1)
    expect(countDays('2026-12-22', '2026-12-20')).toBe(-1)
  })
})

describe('ranges', () => {
  const holidays = withRange([], { from: '2026-12-22', to: '2027-01-07', windows: [NIGHT], note: 'Holidays' })

  it('are saved day by day and shown as one', () => {
    expect(holidays).toHaveLength(17)
    expect(toRanges(holidays, '2026-11-22')).toEqual([
      { from: '2026-12-22', to: '2027-01-07', windows: [NIGHT], note: 'Holidays' },
    ])
  })

  it('end where hours, note or the row of days change', () => {
    const mixed = [day('2026-12-03'), day('2026-12-01'), day('2026-12-02', [NIGHT]), day('2026-12-04', [], 'Trip'), day('2026-12-06', [], 'Trip')]
    expect(toRanges(mixed, '2026-12-01').map(({ from, to }) => [from, to])).toEqual([
      ['2026-12-01', '2026-12-01'],
      ['2026-12-02', '2026-12-02'],
      ['2026-12-03', '2026-12-03'],
      ['2026-12-04', '2026-12-04'],
      ['2026-12-06', '2026-12-06'],
    ])
  })

  it('hide what is past and keep it', () => {
    const shown = toRanges(holidays, '2027-01-05')
    expect(shown.map(({ from, to }) => [from, to])).toEqual([['2027-01-05', '2027-01-07']])
    expect(withoutRange(holidays, shown[0] as { from: string; to: string })).toHaveLength(14)
  })

  it('take the place of what their days had', () => {
    const party = withRange(holidays, { from: '2026-12-31', to: '2026-12-31', windows: [], note: 'Party' })
    expect(party).toHaveLength(17)
    expect(toRanges(party, '2026-11-22').map(({ from, to, note }) => [from, to, note])).toEqual([
      ['2026-12-22', '2026-12-30', 'Holidays'],
      ['2026-12-31', '2026-12-31', 'Party'],
      ['2027-01-01', '2027-01-07', 'Holidays'],
    ])
  })

  it('keep no weekdays in the windows', () => {
    const [made] = withRange([], { from: '2026-12-31', to: '2026-12-31', windows: [{ ...NIGHT, days: [1, 2] }], note: '' })
    expect(made?.windows).toEqual([NIGHT])
  })
})
