/** Moments by the household's clock, whatever zone the phone is in. */

/** How many seconds a zone is ahead of UTC at a moment; a zone that the browser does not know counts as the browser's own. */
function offsetAt(zone: string, seconds: number): number {
  let format: Intl.DateTimeFormat
  const options: Intl.DateTimeFormatOptions = {
    year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23',
  }
  try {
    format = new Intl.DateTimeFormat('en-US', { ...options, timeZone: zone })
  } catch {
    format = new Intl.DateTimeFormat('en-US', options) // a POSIX zone, such as EET-2
  }
  const parts = Object.fromEntries(format.formatToParts(seconds * 1000).map((part) => [part.type, Number(part.value)]))
  const wall = Date.UTC(parts.year!, parts.month! - 1, parts.day, parts.hour, parts.minute, parts.second)
  return wall / 1000 - Math.floor(seconds)
}

/** The epoch seconds at which a local date ends: the next midnight of the zone. */
export function endOfDay(zone: string, day: string): number {
  const wall = Date.parse(`${day}T00:00:00Z`) / 1000 + 86_400
  const guess = wall - offsetAt(zone, wall)
  return wall - offsetAt(zone, guess)
}
