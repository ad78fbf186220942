/** Minutes of the days of a week: how a limit is set, and changed from one way to another. */

import type { Minutes } from '../lib/schema'

const DAY = 1440 // minutes

export type Way = 'same' | 'weekend' | 'each'

/** How the days are told apart: all alike, working days and the weekend, or each. */
export function wayOf(days: number[]): Way {
  if (new Set(days).size <= 1) return 'same'
  return new Set(days.slice(0, 5)).size === 1 && days[5] === days[6] ? 'weekend' : 'each'
}

/** The days told in another way; what there is not room for gives way to Monday's or Saturday's. */
export function inWay(days: number[], way: Way): number[] {
  const monday = days[0] ?? 0
  const saturday = days[5] ?? monday
  if (way === 'same') return Array<number>(7).fill(monday)
  if (way === 'weekend') return [...Array<number>(5).fill(monday), saturday, saturday]
  return days.length === 7 ? [...days] : Array<number>(7).fill(monday)
}

/** Tell whether minutes limit a weekday (0 = Monday), by the day or by its week. */
export function limitsDay({ days, week }: Minutes, weekday: number): boolean {
  return week !== null || (days[weekday] ?? DAY) < DAY
}

/** Tell whether minutes limit anything. */
export function limits(minutes: Minutes): boolean {
  return minutes.days.length > 0 || minutes.week !== null
}
