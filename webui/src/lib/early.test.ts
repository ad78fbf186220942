import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { askEarly, getFirst } from './early'

const calls: string[] = []

beforeEach(() => {
  calls.length = 0
  vi.stubGlobal('fetch', (address: URL) => {
    calls.push(address.pathname)
    if (address.pathname.endsWith('/lost')) return Promise.reject(new TypeError('no network'))
    return Promise.resolve(new Response(JSON.stringify({ n: calls.length })))
  })
})
afterEach(() => {
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

function hint(path: string) {
  vi.spyOn(performance, 'getEntriesByName').mockImplementation((name) =>
    name.endsWith(`/api/v1${path}`) ? [{} as PerformanceEntry] : [],
  )
}

it('asks once for what the server hinted at, and gives it once', async () => {
  hint('/home')
  await askEarly('/home')
  expect(await getFirst('/home')).toEqual({ n: 1 })
  expect(calls).toHaveLength(1)
  expect(await getFirst('/home')).toEqual({ n: 2 })
})

it('asks for nothing without a hint: who is not signed in would only be refused', async () => {
  hint('/other')
  await askEarly('/home')
  expect(calls).toHaveLength(0)
  expect(await getFirst('/home')).toEqual({ n: 1 })
})

it('tells who takes it that it failed, and nobody else', async () => {
  vi.spyOn(console, 'info').mockImplementation(() => {})
  hint('/lost')
  await askEarly('/lost')
  await expect(getFirst('/lost')).rejects.toMatchObject({ code: 'offline' })
})
