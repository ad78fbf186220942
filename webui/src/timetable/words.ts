/** Days, hours and minutes as people say them. */

import { duration, t, timeOfDay, weekday } from '../lib/i18n.svelte'
import type { Minutes, Window } from '../lib/schema'
import { lengthOf, runsOf } from './week'

export const BEDTIME = 'bedtime'
export const HOMEWORK = 'homework'
export const HOURS = 'hours' // of a service: when it is open
const KNOWN = [BEDTIME, HOMEWORK, HOURS]

/** What a window is called; a parent's own word is shown as it is. */
export function sayLabel(label: string): string {
  return KNOWN.includes(label) ? t(`profile.label.${label}`) : label
}

/** `every day`, `Sun–Thu`, `Mon, Wed`. */
export function sayDays(days: number[]): string {
  if (new Set(days).size === 7) return t('profile.days.each')
  const short = (day: number) => weekday(day, 'short')
  return runsOf(days)
    .map(({ first, last, count }) => {
      if (count === 1) return short(first)
      return count === 2 ? `${short(first)}, ${short(last)}` : `${short(first)}–${short(last)}`
    })
    .join(', ')
}

/** `21:30–07:00`; `all day` for a whole one. */
export function sayHours(window: Pick<Window, 'start' | 'end'>): string {
  if (window.start === 0 && lengthOf(window) === 1440) return t('profile.days.all_day')
  return `${timeOfDay(window.start)}–${timeOfDay(window.end)}`
}

/** `Sun–Thu 21:30–07:00, Fri, Sat 22:30–07:30`. */
export function sayWindows(windows: Window[]): string {
  return windows.map((window) => `${window.days.length ? `${sayDays(window.days)} ` : ''}${sayHours(window)}`).join(', ')
}

/** `2 h each day`, `Mon–Fri 2 h, Sat, Sun 3 h; 10 h a week`, `no limit`. */
export function sayMinutes({ days, week }: Minutes = { days: [], week: null }): string {
  const parts: string[] = []
  if (days.length === 7) {
    if (new Set(days).size === 1) parts.push(t('profile.minutes.each_day', { time: duration(days[0] ?? 0) }))
    else {
      const runs: { days: number[]; minutes: number }[] = []
      for (const [day, minutes] of days.entries()) {
        const last = runs.at(-1)
        if (last?.minutes === minutes) last.days.push(day)
        else runs.push({ days: [day], minutes })
      }
      parts.push(runs.map((run) => `${sayDays(run.days)} ${duration(run.minutes)}`).join(', '))
    }
  }
  if (week !== null) parts.push(t('profile.minutes.a_week', { time: duration(week) }))
  return parts.length ? parts.join('; ') : t('profile.minutes.no_limit')
}
