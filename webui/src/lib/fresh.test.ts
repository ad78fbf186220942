import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { keepFresh } from './fresh'

let visibility: DocumentVisibilityState = 'visible'
let asked = 0
const load = async () => {
  asked += 1
}

beforeEach(() => {
  vi.useFakeTimers()
  visibility = 'visible'
  asked = 0
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => visibility })
})
afterEach(() => vi.useRealTimers())

describe('keepFresh', () => {
  it('asks at once, then every so often, until it is ended', () => {
    const stop = keepFresh(load, { seconds: 10 })
    expect(asked).toBe(1)
    vi.advanceTimersByTime(30_000)
    expect(asked).toBe(4)
    stop()
    vi.advanceTimersByTime(60_000)
    document.dispatchEvent(new Event('visibilitychange'))
    expect(asked).toBe(4)
  })

  it('leaves the box alone while nobody looks, and asks when somebody does again', () => {
    const stop = keepFresh(load, { seconds: 10 })
    visibility = 'hidden'
    document.dispatchEvent(new Event('visibilitychange'))
    vi.advanceTimersByTime(60_000)
    expect(asked).toBe(1)
    visibility = 'visible'
    document.dispatchEvent(new Event('visibilitychange'))
    expect(asked).toBe(2)
    stop()
  })
})
