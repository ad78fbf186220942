import { describe, expect, it } from 'vitest'

import { inWay, limits, wayOf } from './amounts'

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
