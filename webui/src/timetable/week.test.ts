import { describe, expect, it } from 'vitest'

import type { Window } from '../lib/schema'
import { copyDay, DAY, lengthOf, paint, readTime, runsOf, toBlocks, toSpans, toWindows, WEEK, windowsOf } from './week'

const LABELS = ['bedtime', 'homework', 'Chess'] as const

/** Numbers that look random and are the same in every run (mulberry32). */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

function someWindows(next: (below: number) => number): Window[] {
  return Array.from({ length: next(6) }, () => ({
    days: [0, 1, 2, 3, 4, 5, 6].filter(() => next(3) === 0),
    start: next(DAY),
    end: next(DAY + 1),
    label: LABELS[next(LABELS.length)] as string,
  })).filter((window) => window.days.length > 0)
}

/** The labels that hold at each minute of the week, minute by minute: slow, and written another way than the code. */
function minutesOf(windows: Window[]): string[] {
  const held = Array.from({ length: WEEK }, () => new Set<string>())
  for (const window of windows) {
    for (const day of window.days) {
      let minute = window.start
      do {
        held[(day * DAY + minute) % WEEK]?.add(window.label)
        minute += 1
      } while (minute % DAY !== window.end % DAY)
    }
  }
  return held.map((labels) => [...labels].sort().join('+'))
}

function expectValid(windows: Window[]): void {
  for (const window of windows) {
    expect(window.days.length).toBeGreaterThan(0)
    expect(new Set(window.days).size).toBe(window.days.length)
    expect(window.start).toBeGreaterThanOrEqual(0)
    expect(window.start).toBeLessThan(DAY)
    expect(window.end).toBeGreaterThanOrEqual(0)
    expect(window.end).toBeLessThanOrEqual(DAY)
  }
}

const SEEDS = Array.from({ length: 150 }, (_, seed) => seed)

describe('windows and spans', () => {
  it('mean the same minutes there and back', () => {
    for (const seed of SEEDS) {
      const windows = someWindows(numbers(seed))
      const back = toWindows(toSpans(windows))
      expectValid(back)
      expect(minutesOf(back)).toEqual(minutesOf(windows))
    }
  })

  it('keep one window for the nights of the week', () => {
    const nights: Window[] = [{ days: [0, 1, 2, 3, 6], start: 1290, end: 420, label: 'bedtime' }]
    expect(toWindows(toSpans(nights))).toEqual(nights)
  })
})

describe('paint', () => {
  it('sets the minutes of the stroke, and no other', () => {
    for (const seed of SEEDS) {
      const next = numbers(seed + 1000)
      const windows = someWindows(next)
      const before = minutesOf(windows)
      const from = next(48) * 30
      const stroke = { days: [next(7), next(7)], from, to: from + (1 + next(48 - from / 30)) * 30 }
      const label = next(3) === 0 ? null : (LABELS[next(LABELS.length)] as string)
      const painted = paint(windows, stroke, label)
      expectValid(painted)
      const after = minutesOf(painted)
      const covered = (minute: number) =>
        stroke.days.includes(Math.floor(minute / DAY)) && minute % DAY >= stroke.from && minute % DAY < stroke.to
      expect(after).toEqual(before.map((held, minute) => (covered(minute) ? (label ?? '') : held)))
    }
  })

  it('joins an evening and the next morning to one night', () => {
    let windows = paint([], { days: [6, 0], from: 1260, to: 1440 }, 'bedtime')
    windows = paint(windows, { days: [0, 1], from: 0, to: 420 }, 'bedtime')
    expect(windows).toEqual([{ days: [0, 6], start: 1260, end: 420, label: 'bedtime' }])
  })

  it('keeps minutes that stand in no half hour', () => {
    const windows: Window[] = [{ days: [2], start: 1270, end: 437, label: 'bedtime' }]
    expect(paint(windows, { days: [3], from: 60, to: 120 }, null)).toEqual([
      { days: [2], start: 1270, end: 60, label: 'bedtime' },
      { days: [3], start: 120, end: 437, label: 'bedtime' },
    ])
  })

  it('holds a whole week, day by day', () => {
    const all = paint([], { days: [0, 1, 2, 3, 4, 5, 6], from: 0, to: DAY }, 'bedtime')
    expect(all).toEqual([{ days: [0, 1, 2, 3, 4, 5, 6], start: 0, end: DAY, label: 'bedtime' }])
    expect(paint(all, { days: [0, 1, 2, 3, 4, 5, 6], from: 0, to: DAY }, null)).toEqual([])
  })

  it('does nothing with an empty stroke', () => {
    const windows = someWindows(numbers(7))
    expect(paint(windows, { days: [1], from: 60, to: 60 }, 'bedtime')).toBe(windows)
  })
})

describe('copyDay', () => {
  it('makes the other days start the same windows, and leaves the rest', () => {
    for (const seed of SEEDS) {
      const next = numbers(seed + 2000)
      const windows = toWindows(toSpans(someWindows(next)))
      const from = next(7)
      const to = [0, 1, 2, 3, 4, 5, 6].filter(() => next(2) === 0)
      const copied = copyDay(windows, from, to)
      expectValid(copied)
      const sorted = (all: Window[], day: number) =>
        windowsOf(all, day)
          .map((window) => JSON.stringify([window.start, lengthOf(window), window.label]))
          .sort()
      for (let day = 0; day < 7; day += 1) {
        expect(sorted(copied, day)).toEqual(sorted(windows, to.includes(day) ? from : day))
      }
    }
  })
})

describe('toBlocks', () => {
  it('draws every minute of every window once', () => {
    for (const seed of SEEDS) {
      const windows = someWindows(numbers(seed + 3000))
      const total = windows.reduce((sum, window) => sum + window.days.length * lengthOf(window), 0)
      const blocks = toBlocks(windows)
      expect(blocks.reduce((sum, block) => sum + block.to - block.from, 0)).toBe(total)
      const drawn = Array.from({ length: WEEK }, () => new Set<string>())
      for (const block of blocks) {
        for (let minute = block.from; minute < block.to; minute += 1) drawn[block.day * DAY + minute]?.add(block.label)
      }
      expect(drawn.map((labels) => [...labels].sort().join('+'))).toEqual(minutesOf(windows))
    }
  })

  it('shows the night of Sunday on Monday morning', () => {
    const blocks = toBlocks([{ days: [6], start: 1260, end: 420, label: 'bedtime' }])
    expect(blocks.map(({ day, from, to, begins, ends }) => [day, from, to, begins, ends])).toEqual([
      [6, 1260, 1440, true, false],
      [0, 0, 420, false, true],
    ])
  })
})

describe('runsOf', () => {
  it('finds runs, over Sunday too', () => {
    expect(runsOf([6, 0, 1, 2, 3])).toEqual([{ first: 6, last: 3, count: 5 }])
    expect(runsOf([4, 0, 2, 5])).toEqual([
      { first: 0, last: 0, count: 1 },
      { first: 2, last: 2, count: 1 },
      { first: 4, last: 5, count: 2 },
    ])
    expect(runsOf([0, 1, 2, 3, 4, 5, 6])).toEqual([{ first: 0, last: 6, count: 7 }])
    expect(runsOf([])).toEqual([])
  })
})

describe('readTime', () => {
  it('reads what people type', () => {
    expect(['21:30', '2130', '9.30', ' 7 ', '07 05', '21h15', '930', '0:00'].map((text) => readTime(text))).toEqual([
      1290, 1290, 570, 420, 425, 1275, 570, 0,
    ])
  })

  it('refuses what is no time', () => {
    for (const text of ['', '25:00', '24:00', '12:60', '1:2:3', 'noon', '-1', '9.5', '99999']) expect(readTime(text)).toBeNull()
    expect(readTime('24:00', true)).toBe(DAY)
    expect(readTime('24:01', true)).toBeNull()
  })
})
