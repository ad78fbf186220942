import { flushSync, mount, unmount } from 'svelte'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { use, useTimezone } from '../lib/i18n.svelte'
import type { GatewayState, HotlineFeed } from '../lib/schema'
import en from '../locale/en'
import BoxState from './BoxState.svelte'

const NOW = Date.now() / 1000
const feed: HotlineFeed = {
  state: 'ok', name: 'Hotline <b>of Tests</b>', checked: NOW - 60, succeeded: NOW - 60, age: 60, expires: NOW + 86_400,
  problem: '', needs_update: false, lists: [
    { id: 'list-a', entries: 5000, created: NOW - 9000 }, { id: 'list-b', entries: 12, created: NOW - 8000 },
  ],
} // prettier-ignore
let answer: GatewayState
let made: ReturnType<typeof mount> | undefined
const sources: EventTarget[] = []

class Source extends EventTarget {
  constructor() {
    super()
    sources.push(this)
  }
  close() {}
}

beforeEach(() => {
  useTimezone('UTC')
  use('en', en)
  answer = {
    now: NOW, running: true, version: '0.1.0', started: NOW - 9000, flow_filter: true, names: 2000, lists_created: NOW - 9000,
    lists_error: '', mandatory_today: 0, feed, provider_lists: [], clock: 'set',
  } // prettier-ignore
  vi.stubGlobal('EventSource', Source)
  vi.stubGlobal('fetch', async () => Response.json(answer))
})
afterEach(() => {
  if (made) void unmount(made)
  made = undefined
  document.body.replaceChildren()
  sources.length = 0
  vi.unstubAllGlobals()
})

async function shows(words: string): Promise<void> {
  await vi.waitFor(() => {
    flushSync()
    expect(document.body.textContent).toContain(words)
  })
}

it("shows the hotline's list, and what becomes of it when the box tells", async () => {
  made = mount(BoxState, { target: document.body })
  await shows('up to date, checked')
  await shows('5,012 entries')
  await shows('Hotline <b>of Tests</b>')
  expect(document.querySelector('b')).toBeNull()
  answer = { ...answer, feed: { ...feed, state: 'refused', problem: 'not-signed', needs_update: true } }
  const told = (what: string) => sources[0]!.dispatchEvent(new MessageEvent('change', { data: JSON.stringify({ what }) }))
  told('devices')
  flushSync()
  expect(document.body.textContent).toContain('up to date')
  told('alerts')
  await shows('What came last was not taken. The list before stays in force.')
  await shows('not signed by the right people')
  await shows('newer Guardian')
  expect(document.body.textContent).not.toContain('up to date')
})

it("names the provider's lists, which nobody can switch off here", async () => {
  answer = { ...answer, provider_lists: ['national', '<i>law'] }
  made = mount(BoxState, { target: document.body })
  await shows('From your provider')
  await shows('national, <i>law: closed in every home. This cannot be switched off here.')
  expect(document.querySelector('i')).toBeNull()
})

it('says nothing of a provider who gives no list', async () => {
  made = mount(BoxState, { target: document.body })
  await shows('Your home is protected')
  expect(document.body.textContent).not.toContain('provider')
})

it('says nothing of a hotline where there is no feed', async () => {
  answer = { ...answer, feed: null }
  made = mount(BoxState, { target: document.body })
  await shows('Your home is protected')
  expect(document.body.textContent).not.toContain('hotline')
})

it('says that the box does not know the time, as long as it does not', async () => {
  answer = { ...answer, clock: 'waiting' }
  made = mount(BoxState, { target: document.body })
  await shows('The box does not know the time yet')
})

it('says by which time it goes when none comes', async () => {
  answer = { ...answer, clock: 'by-memory', now: Date.parse('2026-11-20T20:15:00Z') / 1000 }
  made = mount(BoxState, { target: document.body })
  await shows('The time does not come')
  await shows('20:15')
})
