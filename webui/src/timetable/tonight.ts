/** What the hours without internet say for now, by the clock on the home's wall. */

import type { Profile } from '../lib/schema'
import { dayAfter } from './exceptions'
import { DAY, lengthOf } from './week'

/** Whether hours without internet run at a moment or begin within some minutes. `day` is a date, `time` as in 21:05. */
export function isOfflineWithin(
  profile: Pick<Profile, 'offline' | 'exceptions'>,
  day: string,
  time: string,
  minutes: number,
): boolean {
  const now = Number(time.slice(0, 2)) * 60 + Number(time.slice(3))
  return [-1, 0, 1].some((shift) => {
    const date = dayAfter(day, shift)
    const weekday = (new Date(`${date}T00:00:00Z`).getUTCDay() + 6) % 7
    const own = profile.exceptions.filter((exception) => exception.day === date)
    const windows = own.length
      ? own.flatMap((exception) => exception.windows)
      : profile.offline.filter((window) => window.days.includes(weekday))
    return windows.some((window) => {
      const start = window.start + shift * DAY
      return start <= now + minutes && now < start + lengthOf(window)
    })
  })
}
