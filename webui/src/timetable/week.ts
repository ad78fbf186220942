/**
 * The week as windows (what is saved) and as spans (what a brush paints on). Nothing is ever rounded: a brush adds or
 * takes away minutes, so the exact times that stand in no half hour stay as they are.
 */

import type { Window } from '../lib/schema'

export const DAY = 1440
export const WEEK = 7 * DAY
export const DAYS = [0, 1, 2, 3, 4, 5, 6] as const

/** Minutes of the week from Monday 00:00; `start` is 0..10079, `end` up to a day later, so it may pass Sunday midnight. */
export type Span = { start: number; end: number; label: string }
/** The part of a window that lies on one day: `from` and `to` are minutes of that day, `window` is its place. */
export type Block = { day: number; from: number; to: number; label: string; window: number; begins: boolean; ends: boolean }
/** What a brush covers: some days, and the same minutes of each. */
export type Stroke = { days: number[]; from: number; to: number }

/** How long a window lasts, 1..1440 minutes. */
export function lengthOf(window: Pick<Window, 'start' | 'end'>): number {
  return window.end > window.start ? window.end - window.start : window.end + DAY - window.start
}

/** The window of a start and a length, on these days. */
export function makeWindow(days: number[], start: number, length: number, label: string): Window {
  const end = start + length
  return { days, start, end: end > DAY ? end - DAY : end, label }
}

/** Windows as spans, one for each day on which they start. */
export function toSpans(windows: Window[]): Span[] {
  return windows.flatMap((window) =>
    window.days.map((day) => {
      const start = day * DAY + window.start
      return { start, end: start + lengthOf(window), label: window.label }
    }),
  )
}

/** Spans as windows: those with the same times and label become one window of several days. */
export function toWindows(spans: Span[]): Window[] {
  const found = new Map<string, Window>()
  for (const span of spans) {
    const day = Math.floor(span.start / DAY)
    const start = span.start % DAY
    const key = `${start} ${span.end - span.start} ${span.label}`
    const window = found.get(key)
    if (!window) found.set(key, makeWindow([day], start, span.end - span.start, span.label))
    else if (!window.days.includes(day)) window.days.push(day)
  }
  for (const window of found.values()) window.days.sort((a, b) => a - b)
  return [...found.values()]
}

function normal(start: number, end: number, label: string): Span {
  const turns = Math.floor(start / WEEK) * WEEK
  return { start: start - turns, end: end - turns, label }
}

/** What is left of a span without the minutes from..to of the week, whichever week's copy of them it meets. */
function cut(span: Span, from: number, to: number): Span[] {
  let parts = [span]
  for (const turn of [-WEEK, 0, WEEK]) {
    const first = from + turn
    const last = to + turn
    parts = parts.flatMap((part) => {
      if (last <= part.start || part.end <= first) return [part]
      const left: Span[] = []
      if (part.start < first) left.push({ ...part, end: first })
      if (last < part.end) left.push({ ...part, start: last })
      return left
    })
  }
  return parts.map((part) => normal(part.start, part.end, part.label))
}

/** Join a new span with those of its label that it touches, as long as one window can hold it (a day). */
function join(spans: Span[], added: Span): Span[] {
  const rest = [...spans]
  let grown = added
  for (;;) {
    const room = DAY - (grown.end - grown.start)
    const fits = (span: Span) => span.label === grown.label && span.end - span.start <= room
    const after = rest.findIndex((span) => fits(span) && span.start === grown.end % WEEK)
    if (after >= 0) {
      const [next] = rest.splice(after, 1) as [Span]
      grown = { ...grown, end: grown.end + next.end - next.start }
      continue
    }
    const before = rest.findIndex((span) => fits(span) && span.end % WEEK === grown.start)
    if (before < 0) return [...rest, grown]
    const [previous] = rest.splice(before, 1) as [Span]
    grown = { ...grown, start: previous.start, end: previous.end + grown.end - grown.start }
  }
}

/** The windows after a stroke with a label; `null` takes away. The minutes of the stroke get this label only. */
export function paint(windows: Window[], stroke: Stroke, label: string | null): Window[] {
  if (stroke.to <= stroke.from) return windows
  let spans = toSpans(windows)
  for (const day of stroke.days) {
    const from = day * DAY + stroke.from
    const to = day * DAY + stroke.to
    spans = spans.flatMap((span) => cut(span, from, to))
    if (label !== null) spans = join(spans, { start: from, end: to, label })
  }
  return toWindows(spans)
}

/** The windows with those that start on `from` copied to other days, in place of what started there. */
export function copyDay(windows: Window[], from: number, to: number[]): Window[] {
  const targets = to.filter((day) => day !== from)
  const spans = toSpans(windows)
  const kept = spans.filter((span) => !targets.includes(Math.floor(span.start / DAY)))
  const copied = spans
    .filter((span) => Math.floor(span.start / DAY) === from)
    .flatMap((span) => targets.map((day) => normal(span.start + (day - from) * DAY, span.end + (day - from) * DAY, span.label)))
  return toWindows([...kept, ...copied])
}

/** What to draw: each window cut at midnight, so that a night shows on both of its days. */
export function toBlocks(windows: Window[]): Block[] {
  return windows.flatMap((window, index) =>
    window.days.flatMap((day) => {
      const end = window.start + lengthOf(window)
      const today: Block = {
        day,
        from: window.start,
        to: Math.min(end, DAY),
        label: window.label,
        window: index,
        begins: true,
        ends: end <= DAY,
      }
      if (end <= DAY) return [today]
      return [today, { ...today, day: (day + 1) % 7, from: 0, to: end - DAY, begins: false, ends: true }]
    }),
  )
}

/** The windows that start on a day, as a date's own hours have them: without days. */
export function windowsOf(windows: Window[], day: number): Window[] {
  return windows.filter((window) => window.days.includes(day)).map((window) => ({ ...window, days: [] }))
}

/** Days in runs, a run may pass Sunday: [6, 0, 1] is one run from 6 to 1. */
export function runsOf(days: number[]): { first: number; last: number; count: number }[] {
  const there = new Set(days)
  if (there.size === 7) return [{ first: 0, last: 6, count: 7 }]
  const runs = []
  for (const day of DAYS) {
    if (!there.has(day) || there.has((day + 6) % 7)) continue
    let count = 1
    while (there.has((day + count) % 7)) count += 1
    runs.push({ first: day, last: (day + count - 1) % 7, count })
  }
  return runs
}

/** Minutes after midnight of what a person typed: 21:30, 2130, 9.5 is refused; null when it is no time. 24:00 = 1440. */
export function readTime(text: string, withMidnight = false): number | null {
  const found = /^\s*(\d{1,2})(?:\s*[:.,h -]\s*(\d{2})|(\d{2}))?\s*$/.exec(text)
  if (!found) return null
  const minutes = Number(found[1]) * 60 + Number(found[2] ?? found[3] ?? 0)
  if (Number(found[2] ?? found[3] ?? 0) > 59) return null
  return minutes < DAY || (withMidnight && minutes === DAY) ? minutes : null
}
