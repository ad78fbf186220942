/** What the hours without internet say for now, by the clock on the home's wall. */

import type { Profile } from '../lib/schema'
import { dayAfter } from './exceptions'
import { DAY, lengthOf } from './week'

type Hours = Pick<Profile, 'offline' | 'exceptions'>

function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3))
}

/** Start and end of the hours without internet around a date, in minutes after its midnight. */
function hoursAround({ offline, exceptions }: Hours, day: string): [number, number][] {
  return [-1, 0, 1].flatMap((shift) => {
    const date = dayAfter(day, shift)
    const weekday = weekdayOf(date)
    const own = exceptions.filter((exception) => exception.day === date)
    const windows = own.length
      ? own.flatMap((exception) => exception.windows)
      : offline.filter((window) => window.days.includes(weekday))
    return windows.map((window): [number, number] => {
      const start = window.start + shift * DAY
      return [start, start + lengthOf(window)]
    })
  })
}

/** The weekday of a date, 0 = Monday. */
export function weekdayOf(day: string): number {
  return (new Date(`${day}T00:00:00Z`).getUTCDay() + 6) % 7
}

/** Whether hours without internet run at a moment or begin within some minutes. `day` is a date, `time` as in 21:05. */
export function isOfflineWithin(profile: Hours, day: string, time: string, minutes: number): boolean {
  const now = minutesOf(time)
  return hoursAround(profile, day).some(([start, end]) => start <= now + minutes && now < end)
}

/** Whether the hours without internet leave anything of today, so that more minutes for today can be used. */
export function isOnlineToday(profile: Hours, day: string, time: string): boolean {
  const now = minutesOf(time)
  const hours = hoursAround(profile, day)
  const moments = [now, ...hours.map(([, end]) => end).filter((end) => end > now && end < DAY)]
  return moments.some((moment) => !hours.some(([start, end]) => start <= moment && moment < end))
}
