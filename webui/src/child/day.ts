/** The rests of today on a bar of the day, in minutes after midnight. Pure. */

import type { Window } from '../lib/schema'

export const DAY = 1440

export type Rest = { start: number; end: number; label: string } // start < end, within the day

/** Today's windows as rests in order; a window past midnight ends with the day, equal ones that touch are one. */
export function listRests(today: Window[]): Rest[] {
  const rests = today
    .map(({ start, end, label = 'bedtime' }) => ({ start, end: end <= start ? DAY : end, label }))
    .sort((a, b) => a.start - b.start || a.end - b.end)
  const joined: Rest[] = []
  for (const rest of rests) {
    const same = joined.findLast((one) => one.label === rest.label)
    if (same && rest.start <= same.end) same.end = Math.max(same.end, rest.end)
    else joined.push(rest)
  }
  return joined
}
