/** Seconds until something may be tried again, counting down. Make it while a component is set up. */

import { ApiError } from './api'

export class Countdown {
  #until = $state(0)
  #now = $state(0)

  constructor() {
    $effect(() => {
      if (this.#until <= this.#now) return
      const timer = setTimeout(() => (this.#now = performance.now()), 250)
      return () => clearTimeout(timer)
    })
  }

  /** Whole seconds that are left, 0 = go ahead. */
  get seconds(): number {
    return Math.max(0, Math.ceil((this.#until - this.#now) / 1000))
  }

  /** Begin to count when an error says "later"; returns whether it does. */
  take(error: unknown): boolean {
    if (!(error instanceof ApiError) || error.status !== 429 || !error.retryAfter) return false
    this.#now = performance.now()
    this.#until = this.#now + error.retryAfter * 1000
    return true
  }
}
