/** What happens while the page is open: server-sent events, one connection for all who listen. */

type What = 'household' | 'requests' | 'alerts' | 'devices'
export type LiveEvent = { event: 'change' | 'decision' | 'attempt' | 'device' | 'request'; data: Record<string, unknown> }

const EVENTS = ['change', 'decision', 'attempt', 'device', 'request'] as const
const EVERYTHING: What[] = ['household', 'requests', 'alerts', 'devices']
const FIRST_WAIT = 2_000
const LONGEST_WAIT = 60_000

const listeners = new Set<(event: LiveEvent) => void>()
let source: EventSource | null = null
let again: ReturnType<typeof setTimeout> | undefined
let wait = FIRST_WAIT
let missed = false

/**
 * Call `listener` for each event until the returned function is called. After the connection was lost and is back, there
 * is a `change` of everything: nobody knows what happened meanwhile.
 */
export function listen(listener: (event: LiveEvent) => void): () => void {
  listeners.add(listener)
  if (!source && again === undefined) open()
  return () => {
    listeners.delete(listener)
    if (listeners.size === 0) close()
  }
}

function open(): void {
  again = undefined
  const opened = new EventSource('/api/v1/events')
  source = opened
  opened.onopen = () => {
    wait = FIRST_WAIT
    if (!missed) return
    missed = false
    for (const what of EVERYTHING) tell({ event: 'change', data: { what } })
  }
  opened.onerror = () => {
    missed = true
    // The browser reconnects by itself unless the answer was an error, such as 503 while the box starts.
    if (opened.readyState !== EventSource.CLOSED) return
    source = null
    again = setTimeout(open, wait)
    wait = Math.min(wait * 2, LONGEST_WAIT)
  }
  for (const event of EVENTS) {
    opened.addEventListener(event, (message) => {
      tell({ event, data: JSON.parse((message as MessageEvent<string>).data) as Record<string, unknown> })
    })
  }
}

function tell(event: LiveEvent): void {
  for (const listener of [...listeners]) listener(event)
}

function close(): void {
  source?.close()
  source = null
  clearTimeout(again)
  again = undefined
  wait = FIRST_WAIT
  missed = false
}
