/** Dates with hours of their own: saved day by day, shown and edited as ranges (school holidays). */

import type { DayException, Window } from '../lib/schema'

/** Days in a row with the same hours and note. */
export type Range = { from: string; to: string; windows: Window[]; note: string }

export const MOST_DAYS = 120 // of one range
const MILLISECONDS = 86_400_000

/** The date some days later: `2026-11-22`. */
export function dayAfter(day: string, days = 1): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * MILLISECONDS).toISOString().slice(0, 10)
}

/** How many days from one date to another, both counted; below 1 when `to` is before `from`. */
export function countDays(from: string, to: string): number {
  return Math.round((Date.parse(`${to}T00:00:00Z`) - Date.parse(`${from}T00:00:00Z`)) / MILLISECONDS) + 1
}

/** The exceptions from `today` on as ranges, the earliest first. Past ones are not shown (and stay where they are). */
export function toRanges(exceptions: DayException[], today: string): Range[] {
  const ranges: Range[] = []
  const coming = exceptions.filter((exception) => exception.day >= today).sort((a, b) => a.day.localeCompare(b.day))
  for (const { day, windows, note } of coming) {
    const last = ranges.at(-1)
    const goesOn =
      last && last.note === note && dayAfter(last.to) === day && JSON.stringify(last.windows) === JSON.stringify(windows)
    if (goesOn) last.to = day
    else ranges.push({ from: day, to: day, windows, note })
  }
  return ranges
}

/** The exceptions without the days of a range. */
export function withoutRange(exceptions: DayException[], range: Pick<Range, 'from' | 'to'>): DayException[] {
  return exceptions.filter(({ day }) => day < range.from || day > range.to)
}

/** The exceptions with a range, which takes the place of what its days had. */
export function withRange(exceptions: DayException[], range: Range): DayException[] {
  const added: DayException[] = []
  for (let day = range.from; day <= range.to; day = dayAfter(day)) {
    added.push({ day, windows: range.windows.map((window) => ({ ...window, days: [] })), note: range.note })
  }
  return [...withoutRange(exceptions, range), ...added].sort((a, b) => a.day.localeCompare(b.day))
}
