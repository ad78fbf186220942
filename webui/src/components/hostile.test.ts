// What devices, sites and children chose is shown as text: no element comes out of it.
import { flushSync, mount, unmount, type Component } from 'svelte'
import { afterEach, beforeEach, expect, it } from 'vitest'

import { use, useTimezone } from '../lib/i18n.svelte'
import type { Alert, Card, ChildRequest, Request } from '../lib/schema'
import en from '../locale/en'
import child from '../locale/child.en'
import MyRequests from '../child/MyRequests.svelte'
import AlertLine from './AlertLine.svelte'
import BlockedSites from './BlockedSites.svelte'
import ChildCard from './ChildCard.svelte'
import RequestLine from './RequestLine.svelte'

const MARKUP = '<img src=x onerror=alert(1)><script>alert(2)</script>'
const HOSTILE = `${MARKUP}\u202e`
const NOW = 1_795_000_000

const card: Card = {
  profile: 'ana', name: HOSTILE, age_band: '7-9', filtered: true, state: 'offline', of: HOSTILE, until: NOW + 60,
  next: { kind: 'offline', at: NOW + 600, of: HOSTILE },
  allowances: [{ of: '', used_today: 1, limit_today: 2, used_week: 1, limit_week: null, left: 1 }],
  devices: [{ id: 'tablet', name: HOSTILE, online: true }], blocked_today: 1, last_seen: NOW,
} // prettier-ignore
const alert: Alert = {
  id: HOSTILE, kind: 'bypass', priority: 'high', day: '2026-11-22', profile: HOSTILE, device: HOSTILE, device_name: HOSTILE,
  mac: '', of: HOSTILE, times: 2, first: NOW, last: NOW + 60, action: { kind: 'open-profile', target: HOSTILE },
} // prettier-ignore
const request: Request = {
  id: 1, profile: 'ana', profile_name: HOSTILE, device: 'tablet', device_name: HOSTILE, kind: 'site', minutes: null,
  site: HOSTILE, message: HOSTILE, asked: NOW, state: 'open', answered: null, answered_by: '', granted_minutes: null,
  granted_until: null, note: HOSTILE, why: `schedule:${HOSTILE}`,
} // prettier-ignore
const mine: ChildRequest = {
  id: 1, kind: 'site', minutes: null, site: HOSTILE, asked: NOW, state: 'refused', granted_minutes: null, note: HOSTILE,
  answered_by: HOSTILE,
} // prettier-ignore
const site = { name: HOSTILE, tag: HOSTILE, reason: 'category', times: 1, last: NOW, device: '' }

const CASES: [string, Component<never>, object][] = [
  ['a card', ChildCard as Component<never>, { card, now: NOW, counted: true, control: true, onchanged: async () => {} }],
  ['an alert', AlertLine as Component<never>, { alert }],
  ['an open request', RequestLine as Component<never>, { request, now: NOW, onanswered: async () => {} }],
  [
    'an answered request',
    RequestLine as Component<never>,
    { request: { ...request, state: 'refused', answered: NOW, answered_by: HOSTILE }, now: NOW, onanswered: async () => {} },
  ],
  ['stopped sites', BlockedSites as Component<never>, { sites: [site], profile: HOSTILE, household: null }],
  ["a child's requests", MyRequests as Component<never>, { requests: [mine], now: NOW }],
]

let made: ReturnType<typeof mount> | undefined

beforeEach(() => {
  use('en', { ...en, ...child })
  useTimezone('UTC')
})
afterEach(() => made && unmount(made))

it.each(CASES)('%s', (_, part, props) => {
  made = mount(part, { target: document.body, props: props as never })
  flushSync()
  expect(document.body.querySelector('img, script')).toBeNull()
  expect(document.body.textContent).toContain(MARKUP)
  // A mark that turns the direction stands only where it is isolated.
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.textContent?.includes('\u202e')) expect(node.parentElement?.closest('.hostile'), node.textContent).not.toBeNull()
  }
  for (const link of document.body.querySelectorAll('a')) expect(link.getAttribute('href')).toMatch(/^\/[^/]/)
})
