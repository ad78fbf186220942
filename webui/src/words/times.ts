/** Moments in sentences: `until 07:00`, `at 21:30`. */

import { clock, locale, localDay, t } from '../lib/i18n.svelte'

const DAY = 86_400
const SOON = 20 * 3_600 // within these seconds a time of day says enough: at 22:00, "until 07:00" is tomorrow's

function shortDate(day: string): string {
  const written = new Intl.DateTimeFormat(locale(), { timeZone: 'UTC', day: 'numeric', month: 'short' })
  return written.format(Date.parse(`${day}T12:00:00Z`))
}

function daysAhead(at: number, now: number): number {
  return Math.round((Date.parse(localDay(at)) - Date.parse(localDay(now))) / 1000 / DAY)
}

/** `until 07:00`, `until tomorrow, 07:00`, `until 24 Nov, 07:00`; null = `until a parent switches it on again`. */
export function until(at: number | null, now: number): string {
  if (at === null) return t('words.until_open')
  const time = clock(at)
  if (at - now < SOON || daysAhead(at, now) === 0) return t('words.until_time', { time })
  if (daysAhead(at, now) === 1) return t('words.until_tomorrow', { time })
  return t('words.until_date', { date: shortDate(localDay(at)), time })
}

/** `at 21:30`, `tomorrow at 07:00`, `on 24 Nov at 07:00`. */
export function at(moment: number, now: number): string {
  const time = clock(moment)
  const days = daysAhead(moment, now)
  if (days === 0) return t('words.at_time', { time })
  if (days === 1) return t('words.at_tomorrow', { time })
  return t('words.at_date', { date: shortDate(localDay(moment)), time })
}

/** The first moment of the next local day, in epoch seconds: what "today" ends at, summer time and all. */
export function nextMidnight(now: number): number {
  const today = localDay(now)
  let [low, high] = [Math.floor(now), Math.floor(now) + 50 * 3_600]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (localDay(middle) > today) high = middle
    else low = middle
  }
  return high
}
