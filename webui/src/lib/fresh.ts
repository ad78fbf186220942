/** Keeps what a page shows true: asks again on events, every so often, and when the page is looked at again. */

import { listen, type LiveEvent } from './live'

const SOON = 300 // several events in a row are one question

type Options = {
  seconds?: number
  /** Which events are worth a question; none without it. */
  on?: (event: LiveEvent) => boolean
}

/** Call `load` now and then until the returned function is called. `load` shows its own errors. */
export function keepFresh(load: () => Promise<void>, { seconds = 30, on }: Options = {}): () => void {
  let soon: ReturnType<typeof setTimeout> | undefined
  const visible = () => document.visibilityState === 'visible'
  const ask = () => {
    if (visible()) void load()
  }
  const stop = on
    ? listen((event) => {
        if (!on(event)) return
        clearTimeout(soon)
        soon = setTimeout(ask, SOON)
      })
    : () => {}
  const timer = setInterval(ask, seconds * 1000)
  document.addEventListener('visibilitychange', ask)
  void load()
  return () => {
    stop()
    clearInterval(timer)
    clearTimeout(soon)
    document.removeEventListener('visibilitychange', ask)
  }
}
