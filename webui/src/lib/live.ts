/** What happens while the page is open: server-sent events. The browser reconnects by itself. */

export type LiveEvent = { event: 'change' | 'decision' | 'attempt' | 'device' | 'request'; data: Record<string, unknown> }

/** Call `listener` for each event until the returned function is called. */
export function listen(listener: (event: LiveEvent) => void): () => void {
  const source = new EventSource('/api/v1/events')
  for (const event of ['change', 'decision', 'attempt', 'device', 'request'] as const) {
    source.addEventListener(event, (message) => {
      listener({ event, data: JSON.parse((message as MessageEvent<string>).data) as Record<string, unknown> })
    })
  }
  return () => source.close()
}
