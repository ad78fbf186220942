import { flushSync, mount, unmount } from 'svelte'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { use, useTimezone, type Catalogue, type Language } from '../lib/i18n.svelte'
import type { Alert, Alerts as Answer } from '../lib/schema'
import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import Alerts from './Alerts.svelte'

const alert: Alert = {
  id: 'a', kind: 'bypass', priority: 'high', day: '2026-11-22', profile: 'ana', device: 'tablet', device_name: 'Tablet', mac: '',
  of: 'vpn', times: 2, first: 1_795_000_000, last: 1_795_000_060, action: { kind: 'ask', target: 'vpn' },
} // prettier-ignore
let answer: Answer
let made: ReturnType<typeof mount> | undefined

/** The box is not here: what it answers is given; nothing happens meanwhile. */
class Silence extends EventTarget {
  close() {}
}

beforeEach(() => {
  useTimezone('UTC')
  vi.stubGlobal('EventSource', Silence)
  vi.stubGlobal('fetch', async (url: string | URL | Request) =>
    String(url).includes('/alerts')
      ? Response.json(answer)
      : Response.json({ services: [], groups: [], categories: [], presets: [], timezones: [] }),
  )
})
afterEach(() => {
  if (made) void unmount(made)
  made = undefined
  document.body.replaceChildren()
  vi.unstubAllGlobals()
})

async function show(language: Language, texts: Catalogue): Promise<string> {
  use(language, texts)
  made = mount(Alerts, { target: document.body })
  await vi.waitFor(() => {
    flushSync()
    expect(document.body.textContent).toContain(texts[answer.alerts.length ? 'alerts.dismissed_hint' : 'alerts.none'] as string)
  })
  return document.body.textContent ?? ''
}

it.each([
  ['en', en, 1, 'And 1 more alert, no more important than these.'],
  ['en', en, 40, 'And 40 more alerts, no more important than these.'],
  ['ro', ro, 1, 'Și încă 1 alertă, nu mai importantă decât acestea.'],
  ['ro', ro, 3, 'Și încă 3 alerte, nu mai importante decât acestea.'],
  ['ro', ro, 40, 'Și încă 40 de alerte, nu mai importante decât acestea.'],
  ['ru', ru, 21, 'И ещё 21 событие, не важнее этих.'],
  ['ru', ru, 3, 'И ещё 3 события, не важнее этих.'],
  ['ru', ru, 40, 'И ещё 40 событий, не важнее этих.'],
] as const)('tells how many alerts the box has left out: %s', async (language, texts, more, words) => {
  answer = { alerts: [alert], more }
  expect(await show(language, texts)).toContain(words)
})

it('says nothing of more where there are none', async () => {
  answer = { alerts: [alert], more: 0 }
  expect(await show('en', en)).not.toContain('more alert')
})
