import { describe, expect, it } from 'vitest'

import { listRests } from './day'

const window = (start: number, end: number, label = 'bedtime') => ({ days: [], start, end, label })

describe('listRests', () => {
  it('is in the order of the day, to its end at most', () => {
    expect(listRests([window(1260, 420), window(0, 420), window(900, 960, 'homework')])).toEqual([
      { start: 0, end: 420, label: 'bedtime' },
      { start: 900, end: 960, label: 'homework' },
      { start: 1260, end: 1440, label: 'bedtime' },
    ])
  })

  it('joins what touches and is called the same', () => {
    expect(listRests([window(0, 300), window(300, 420), window(200, 360)])).toEqual([{ start: 0, end: 420, label: 'bedtime' }])
    expect(listRests([window(0, 300), window(300, 420, 'homework')])).toHaveLength(2)
  })

  it('covers the same minutes as the windows', () => {
    let seed = 7
    const next = (below: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below
    for (let round = 0; round < 300; round += 1) {
      const windows = Array.from({ length: next(6) }, () => window(next(1440), next(1441), ['bedtime', 'homework'][next(2)]))
      const rests = listRests(windows)
      for (let minute = 0; minute < 1440; minute += 41) {
        for (const label of ['bedtime', 'homework']) {
          const wanted = windows.some(
            (one) => one.label === label && one.start <= minute && (minute < one.end || one.end <= one.start),
          )
          expect(rests.some((one) => one.label === label && one.start <= minute && minute < one.end)).toBe(wanted)
        }
      }
      for (const rest of rests) expect(rest.start).toBeLessThan(rest.end)
    }
  })
})
