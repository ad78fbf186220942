import { flushSync, mount, unmount } from 'svelte'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

import { shortDay, use, useTimezone } from '../lib/i18n.svelte'
import en from '../locale/en'
import { learnNames } from '../words/names.svelte'
import UseByDay from './UseByDay.svelte'

const HOSTILE = '<img src=x onerror=alert(1)>'
const days = Array.from({ length: 7 }, (_, index) => ({
  day: `2026-11-${16 + index}`,
  minutes: 10 * (index + 1),
  by: [{ of: 'evil', minutes: 5 * (index + 1) }],
}))

// jsdom lays nothing out, so there is nothing to observe: the drawing is left out, and the rest is what is tested.
globalThis.ResizeObserver ??= class {
  observe() {}
  unobserve() {}
  disconnect() {}
}

let made: ReturnType<typeof mount>

beforeEach(() => {
  use('en', en)
  useTimezone('UTC')
  learnNames({ 'service:evil': { en: HOSTILE, ro: HOSTILE, ru: HOSTILE } })
  made = mount(UseByDay, { target: document.body, props: { days } })
  flushSync()
})
afterEach(() => unmount(made))

const slider = () => document.querySelector<HTMLElement>('[role=slider]')!
function press(key: string) {
  slider().dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))
  flushSync()
}

describe('a plot of days', () => {
  it('begins at the last day and says it in words', () => {
    expect(slider().getAttribute('aria-valuenow')).toBe('6')
    expect(slider().getAttribute('aria-valuetext')).toBe(`${shortDay('2026-11-22')}: 1 h 10 min · ${HOSTILE} 35 min · Everything else 35 min`)
  })

  it('is used with the keyboard and stays within its days', () => {
    press('ArrowLeft')
    expect(slider().getAttribute('aria-valuetext')).toMatch(/^Sat,? 21 Nov: 1 h/)
    press('Home')
    press('ArrowLeft')
    expect(slider().getAttribute('aria-valuenow')).toBe('0')
    press('End')
    press('ArrowRight')
    expect(slider().getAttribute('aria-valuenow')).toBe('6')
    press('x')
    expect(slider().getAttribute('aria-valuenow')).toBe('6')
  })

  it('has a table with every number', () => {
    const rows = [...document.querySelectorAll('table tbody tr')].map((row) =>
      [...row.children].map((cell) => cell.textContent),
    )
    expect(rows).toHaveLength(7)
    expect(rows[2]).toEqual([shortDay('2026-11-18'), '30 min', '15 min', '15 min'])
  })

  it('shows names as text', () => {
    expect(document.querySelector('img')).toBeNull()
    expect(document.body.textContent).toContain(HOSTILE)
  })
})
