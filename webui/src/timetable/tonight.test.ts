import { expect, it } from 'vitest'

import type { DayException, Window } from '../lib/schema'
import { isOfflineWithin, isOnlineToday, weekdayOf } from './tonight'

const window = (days: number[], start: number, end: number): Window => ({ days, start, end, label: 'bedtime' })
const MONDAY = '2026-11-23'
const night = [window([0], 21 * 60, 7 * 60)] // Monday's only

function at(day: string, time: string, exceptions: DayException[] = [], offline = night): boolean {
  return isOfflineWithin({ offline, exceptions }, day, time, 30)
}

it.each([
  [MONDAY, '20:29', false], [MONDAY, '20:30', true], [MONDAY, '21:00', true], [MONDAY, '23:59', true],
  ['2026-11-24', '00:00', true], ['2026-11-24', '06:59', true], ['2026-11-24', '07:00', false],
  ['2026-11-24', '21:00', false], [MONDAY, '06:59', false], ['2026-11-30', '21:00', true],
])('%s at %s: %s', (day, time, offline) => expect(at(day, time)).toBe(offline))

it('sees the night that begins tomorrow', () => {
  const early = [window([1], 10, 7 * 60)]
  expect(at(MONDAY, '23:39', [], early)).toBe(false)
  expect(at(MONDAY, '23:40', [], early)).toBe(true)
})

it('sees a whole day, and what has no hours', () => {
  const always = [window([0, 1, 2, 3, 4, 5, 6], 0, 1440)]
  for (const time of ['00:00', '12:00', '23:59']) expect(at(MONDAY, time, [], always)).toBe(true)
  expect(at(MONDAY, '21:00', [], [])).toBe(false)
})

it('sees a date with hours of its own', () => {
  const free = { day: MONDAY, windows: [], note: '' }
  expect(at(MONDAY, '21:30', [free])).toBe(false)
  expect(at('2026-11-24', '01:00', [free])).toBe(false)
  const late = { day: MONDAY, windows: [window([], 22 * 60, 8 * 60)], note: '' }
  expect(at(MONDAY, '21:15', [late])).toBe(false)
  expect(at('2026-11-24', '07:30', [late])).toBe(true)
})

it.each([
  [MONDAY, '20:59', true], [MONDAY, '21:00', false], [MONDAY, '23:59', false], ['2026-11-24', '00:00', true], ['2026-11-24', '06:59', true],
])('%s at %s, something of the day is left: %s', (day, time, left) =>
  expect(isOnlineToday({ offline: night, exceptions: [] }, day, time)).toBe(left),
)

it('sees the minutes between hours that follow each other, and none between those that touch', () => {
  const homework = window([0], 15 * 60, 17 * 60)
  const today = (start: number) => isOnlineToday({ offline: [homework, window([0], start, 7 * 60)], exceptions: [] }, MONDAY, '15:30')
  expect([today(17 * 60 + 1), today(17 * 60), today(16 * 60)]).toEqual([true, false, false])
  const free = { day: MONDAY, windows: [], note: '' }
  expect(isOnlineToday({ offline: night, exceptions: [free] }, MONDAY, '22:00')).toBe(true)
})

it('begins the week on Monday', () => expect([weekdayOf(MONDAY), weekdayOf('2026-11-29')]).toEqual([0, 6]))
