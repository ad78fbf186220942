/** Numbers behind the plots: axes, stacks, hours of the day. Pure. */

import type { DayOfUse, HourOfTries } from '../lib/schema'

const MINUTE_STEPS = [5, 10, 15, 30, 60, 120, 240, 480]
const MOST_MINUTES = 1440
const TICKS = 4

/** Ticks of an axis of minutes from 0: at most five, at steps that people use for time; the last covers `most`. */
export function minuteTicks(most: number): number[] {
  const step = MINUTE_STEPS.find((one) => one * TICKS >= most) ?? MOST_MINUTES / TICKS
  const count = Math.max(1, Math.ceil(most / step))
  return Array.from({ length: count + 1 }, (_, index) => index * step)
}

/** Ticks of an axis of counts from 0: at most five, whole numbers at 1, 2 or 5 times a power of ten. */
export function countTicks(most: number): number[] {
  let power = 1
  for (;;) {
    for (const factor of [1, 2, 5]) {
      const step = factor * power
      if (step * TICKS >= most) {
        const count = Math.max(1, Math.ceil(most / step))
        return Array.from({ length: count + 1 }, (_, index) => index * step)
      }
    }
    power *= 10
  }
}

export type Series = { of: string; minutes: number; days: number[] } // "" = everything else

/** Use by what it was of: the `top` of the whole span, then all the rest as one (left out when there is none). */
export function stackUse(days: DayOfUse[], top: number): Series[] {
  const totals = new Map<string, number>()
  for (const day of days) for (const use of day.by) totals.set(use.of, (totals.get(use.of) ?? 0) + use.minutes)
  const named = [...totals].filter(([, minutes]) => minutes > 0).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))
  const series = named.slice(0, top).map(([of, minutes]) => ({
    of,
    minutes,
    days: days.map((day) => day.by.find((use) => use.of === of)?.minutes ?? 0),
  }))
  // Two apps at once count for both, so the parts may be more than the whole: then there is no rest.
  const rest = days.map((day, index) => Math.max(0, day.minutes - series.reduce((sum, one) => sum + (one.days[index] ?? 0), 0)))
  const restMinutes = rest.reduce((sum, minutes) => sum + minutes, 0)
  return restMinutes >= 0.5 || series.length === 0 ? [...series, { of: '', minutes: restMinutes, days: rest }] : series
}

export type Hour = { hour: number; allowed: number; blocked: number }

/** Tries by hour of the local day, 24 of them, over all days. `hourOf` gives the local hour of a moment. */
export function byHourOfDay(hours: HourOfTries[], hourOf: (moment: number) => number): Hour[] {
  const day = Array.from({ length: 24 }, (_, hour) => ({ hour, allowed: 0, blocked: 0 }))
  for (const one of hours) {
    const slot = day[hourOf(one.hour)]
    if (!slot) continue
    slot.allowed += one.allowed
    slot.blocked += one.blocked
  }
  return day
}
