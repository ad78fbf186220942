import { describe, expect, it } from 'vitest'

import { inWay, limits, limitsDay, wayOf } from './amounts'

const WEEK = [60, 60, 60, 60, 90, 120, 120]

describe('ways to tell days', () => {
  it('are found', () => {
    expect(wayOf([60, 60, 60, 60, 60, 60, 60])).toBe('same')
    expect(wayOf([60, 60, 60, 60, 60, 90, 90])).toBe('weekend')
    expect(wayOf(WEEK)).toBe('each')
    expect(wayOf([60, 60, 60, 60, 60, 90, 60])).toBe('each')
    expect(wayOf([])).toBe('same')
  })

  it('turn into each other', () => {
    expect(inWay(WEEK, 'weekend')).toEqual([60, 60, 60, 60, 60, 120, 120])
    expect(inWay(WEEK, 'same')).toEqual([60, 60, 60, 60, 60, 60, 60])
    expect(inWay(WEEK, 'each')).toEqual(WEEK)
    for (const way of ['same', 'weekend', 'each'] as const) expect(inWay([], way)).toEqual([0, 0, 0, 0, 0, 0, 0])
  })
})

it('knows a limit', () => {
  expect(limits({ days: [], week: null })).toBe(false)
  expect(limits({ days: [], week: 0 })).toBe(true)
  expect(limits({ days: WEEK, week: null })).toBe(true)
})

it('knows a limit of today', () => {
  const weekend = { days: [60, 60, 60, 60, 60, 1440, 1440], week: null }
  expect([limitsDay(weekend, 4), limitsDay(weekend, 5)]).toEqual([true, false])
  expect(limitsDay({ ...weekend, week: 600 }, 5)).toBe(true)
  expect(limitsDay({ days: [], week: null }, 0)).toBe(false)
  expect(limitsDay({ days: [0, 0, 0, 0, 0, 0, 0], week: null }, 6)).toBe(true)
})
