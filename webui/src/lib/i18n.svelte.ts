/** Texts in the language of the page, and how moments, days and minutes are written. 24 h clock everywhere. */

export const LANGUAGES = ['ro', 'ru', 'en'] as const
export type Language = (typeof LANGUAGES)[number]
/** A text, or its plural forms by CLDR category (`one`, `few`, `many`, `other`), chosen by the value `count`. */
export type Text = string | Partial<Record<Intl.LDMLPluralRule, string>>
export type Catalogue = Record<string, Text>
export type Values = Record<string, string | number>

// Replaced as a whole (`raw`): to watch each of a thousand texts costs a slow phone more than to show them.
let spoken = $state.raw<{ language: Language; texts: Catalogue }>({ language: 'en', texts: {} })
// What the box offers: a provider may give its boxes fewer languages.
let offered = $state.raw<readonly Language[]>(LANGUAGES)
let timezone = $state.raw<string | undefined>()

/** The languages that may be chosen, the provider's first choice first; `kept` is one that is set already. */
export function offeredLanguages(kept: Language | '' = ''): readonly Language[] {
  return kept && !offered.includes(kept) ? [...offered, kept] : offered
}

export function offerLanguages(languages: readonly Language[]): void {
  if (languages.length) offered = languages
}

export function language(): Language {
  return spoken.language
}

/** The language as Intl takes it: English days are written as in Europe, `22 Nov` and not `Nov 22`. */
export function locale(): string {
  return spoken.language === 'en' ? 'en-GB' : spoken.language
}

export function use(chosen: Language, texts: Catalogue): void {
  spoken = { language: chosen, texts }
  document.documentElement.lang = chosen
}

/** The household's time zone: a phone abroad shows the home's clock. A POSIX zone falls back to the browser's. */
export function useTimezone(zone: string): void {
  try {
    wallClock(zone)
    timezone = zone
  } catch {
    timezone = undefined
  }
}

// Signs that turn the direction of what follows: a name with one of them must not turn the sentence around it.
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u

const [ISOLATE, END] = [0x2068, 0x2069].map((code) => String.fromCharCode(code)) as [string, string]

/** A value as it may stand in a sentence: names are hostile text. */
export function tame(value: string | number): string {
  const text = String(value).replace(TURNING, '')
  return RIGHT_TO_LEFT.test(text) ? ISOLATE + text + END : text
}

/** The text of a key with its values put in: plain text, for {text} in markup only, never for {@html}. */
export function t(key: string, values: Values = {}): string {
  if (!has(key)) return key
  const found = spoken.texts[key] as Text
  const text =
    typeof found === 'string'
      ? found
      : (found[pluralRules(spoken.language).select(Number(values.count))] ?? found.other ?? key)
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (Object.hasOwn(values, name) ? tame(values[name]!) : whole))
}

export function has(key: string): boolean {
  return Object.hasOwn(spoken.texts, key)
}

// To make one of these takes a slow phone milliseconds, and a page needs the same few again and again.
const formatters = new Map<string, Intl.DateTimeFormat>()
const rules = new Map<Language, Intl.PluralRules>()

/** Raises RangeError for a time zone that the browser does not know. */
function formatter(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify([locale, options])
  const found = formatters.get(key) ?? new Intl.DateTimeFormat(locale, options)
  formatters.set(key, found)
  return found
}

function pluralRules(chosen: Language): Intl.PluralRules {
  const found = rules.get(chosen) ?? new Intl.PluralRules(chosen)
  rules.set(chosen, found)
  return found
}

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return formatter(locale(), { timeZone: timezone, ...options })
}

/** Writes `2026-11-22, 21:05`, the same in every language: one for dates and hours. Raises RangeError as `formatter`. */
function wallClock(zone: string | undefined): Intl.DateTimeFormat {
  return formatter('en-CA', { timeZone: zone, dateStyle: 'short', timeStyle: 'short', hourCycle: 'h23' })
}

/** The local date and hour of epoch seconds. */
function onTheWall(moment: number): [string, string] {
  return wallClock(timezone).format(moment * 1000).split(', ') as [string, string]
}

/** `21:05` of epoch seconds. */
export function clock(moment: number): string {
  return onTheWall(moment)[1]
}

/** `21:05` of minutes after midnight. */
export function timeOfDay(minutes: number): string {
  return `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`
}

/** The local date of epoch seconds, `2026-11-22`. */
export function localDay(moment: number): string {
  return onTheWall(moment)[0]
}

/** `Sat, 22 Nov` of a date `2026-11-22`. */
export function shortDay(day: string): string {
  const written = formatter(locale(), { timeZone: 'UTC', weekday: 'short', day: 'numeric', month: 'short' })
  return written.format(Date.parse(`${day}T12:00:00Z`))
}

/** The name of a weekday, 0 = Monday. */
export function weekday(day: number, width: 'long' | 'short' | 'narrow' = 'long'): string {
  return formatter(locale(), { timeZone: 'UTC', weekday: width }).format(Date.UTC(2024, 0, 1 + day, 12))
}

/** `today, 21:05`, `tomorrow, 07:00`, `Monday, 07:00`, `22 Nov, 07:00`. */
export function moment(at: number, now: number = Date.now() / 1000): string {
  const days = (Date.parse(localDay(at)) - Date.parse(localDay(now))) / 86_400_000
  const time = clock(at)
  if (days === 0) return t('common.today_at', { time })
  if (days === 1) return t('common.tomorrow_at', { time })
  if (days === -1) return t('common.yesterday_at', { time })
  if (days > 1 && days < 7) return `${format({ weekday: 'long' }).format(at * 1000)}, ${time}`
  return `${format({ day: 'numeric', month: 'short' }).format(at * 1000)}, ${time}`
}

/** `1 h 20 min`, `45 min`, `0 min`; parts of a minute are dropped. */
export function duration(minutes: number): string {
  const whole = Math.max(0, Math.floor(minutes))
  const hours = Math.floor(whole / 60)
  if (hours === 0) return t('common.minutes_short', { count: whole })
  if (whole % 60 === 0) return t('common.hours_short', { count: hours })
  return t('common.hours_minutes_short', { hours, minutes: whole % 60 })
}
