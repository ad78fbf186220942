/** How many requests and alerts wait: the numbers at the navigation. */

import { get } from './api'
import { listen } from './live'
import type { Home, Requests } from './schema'
import { may } from './session.svelte'

const EVERY = 60_000 // alerts also come without an event, such as stale lists
const SOON = 1_000 // several events in a row are one question, and the home page asks the same a little sooner

const state = $state({ requests: 0, alerts: 0 })

export const openRequests = () => state.requests
export const openAlerts = () => state.alerts

let noted = -Infinity

/** Take the numbers of a home that a page has just read: then nobody asks twice. */
export function noteHome(home: Home): void {
  noted = performance.now()
  state.requests = home.open_requests
  state.alerts = home.alerts.length + home.more_alerts
}

async function read(): Promise<void> {
  if (performance.now() - noted < SOON) return
  if (may('read')) noteHome(await get<Home>('/home'))
  else if (may('requests')) {
    const { requests } = await get<Requests>('/requests')
    state.requests = requests.filter((request) => request.state === 'open').length
  }
}

/** Keep the numbers true until the returned function is called. A number that cannot be read stays as it was. */
export function watchBadges(): () => void {
  let soon: ReturnType<typeof setTimeout> | undefined
  const ask = () => {
    read().catch((error: unknown) => console.warn('badges', error))
  }
  const stop = listen(({ event, data }) => {
    if (event !== 'request' && !(event === 'change' && data.what !== 'devices')) return
    clearTimeout(soon)
    soon = setTimeout(ask, SOON)
  })
  const timer = setInterval(() => document.visibilityState === 'visible' && ask(), EVERY)
  soon = setTimeout(ask, SOON) // the page itself comes first
  return () => {
    stop()
    clearInterval(timer)
    clearTimeout(soon)
    state.requests = 0
    state.alerts = 0
  }
}
