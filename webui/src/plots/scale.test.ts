import { describe, expect, it } from 'vitest'

import { byHourOfDay, countTicks, minuteTicks, stackUse } from './scale'

describe('ticks', () => {
  it('of minutes are at steps that people use', () => {
    expect(minuteTicks(0)).toEqual([0, 5])
    expect(minuteTicks(18)).toEqual([0, 5, 10, 15, 20])
    expect(minuteTicks(86)).toEqual([0, 30, 60, 90])
    expect(minuteTicks(200)).toEqual([0, 60, 120, 180, 240])
    expect(minuteTicks(1440)).toEqual([0, 480, 960, 1440])
  })

  it('of counts are whole', () => {
    expect(countTicks(0)).toEqual([0, 1])
    expect(countTicks(3)).toEqual([0, 1, 2, 3])
    expect(countTicks(34)).toEqual([0, 10, 20, 30, 40])
    expect(countTicks(874)).toEqual([0, 500, 1000])
  })

  it('cover the most, in at most five', () => {
    for (let most = 0; most <= 1440; most += 1) {
      for (const ticks of [minuteTicks(most), countTicks(most * 50)]) {
        expect(ticks[0]).toBe(0)
        expect(ticks.length).toBeGreaterThanOrEqual(2)
        expect(ticks.length).toBeLessThanOrEqual(5)
      }
      expect(minuteTicks(most).at(-1)).toBeGreaterThanOrEqual(most)
      expect(countTicks(most * 50).at(-1)).toBeGreaterThanOrEqual(most * 50)
    }
  })
})

const day = (name: string, minutes: number, by: Record<string, number> = {}) => ({
  day: name,
  minutes,
  by: Object.entries(by).map(([of, value]) => ({ of, minutes: value })),
})

describe('stackUse', () => {
  it('names the most used of the whole span, the rest is one', () => {
    const days = [day('a', 60, { x: 30, y: 10, z: 5 }), day('b', 50, { y: 40 })]
    expect(stackUse(days, 2)).toEqual([
      { of: 'y', minutes: 50, days: [10, 40] },
      { of: 'x', minutes: 30, days: [30, 0] },
      { of: '', minutes: 30, days: [20, 10] },
    ])
  })

  it('has no rest where apps ran at the same time', () => {
    expect(stackUse([day('a', 30, { x: 30, y: 20 })], 5).map((one) => one.of)).toEqual(['x', 'y'])
  })

  it('is one plain series where it is not known what the time was for', () => {
    expect(stackUse([day('a', 30), day('b', 0)], 5)).toEqual([{ of: '', minutes: 30, days: [30, 0] }])
  })

  it('loses no minute of a day', () => {
    const days = [day('a', 61.5, { x: 20.25, y: 1, z: 3, u: 4 }), day('b', 7, { u: 7 })]
    for (const top of [1, 2, 5]) {
      days.forEach((one, index) => {
        expect(stackUse(days, top).reduce((sum, series) => sum + (series.days[index] ?? 0), 0)).toBeCloseTo(one.minutes)
      })
    }
  })
})

describe('byHourOfDay', () => {
  it('adds the days up', () => {
    const hours = [3600, 3600 * 25, 7200].map((hour) => ({ hour, allowed: 2, blocked: 1 }))
    const added = byHourOfDay(hours, (at) => Math.floor(at / 3600) % 24)
    expect(added).toHaveLength(24)
    expect(added[1]).toEqual({ hour: 1, allowed: 4, blocked: 2 })
    expect(added[2]).toEqual({ hour: 2, allowed: 2, blocked: 1 })
    expect(added[3]).toEqual({ hour: 3, allowed: 0, blocked: 0 })
  })
})
