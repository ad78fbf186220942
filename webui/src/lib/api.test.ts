// @vitest-environment node
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'

import { ApiError, get, patch, post, remove, setCsrf, setSignedOutHandler } from './api'
import { answers, returns } from './reach.svelte'

type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: string }
let seen: Seen[] = []
let answer: (response: ServerResponse) => void = () => {}

const server = createServer((request, response) => {
  let body = ''
  request.on('data', (part) => (body += part))
  request.on('end', () => {
    seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body })
    answer(response)
  })
})

function reply(status: number, body: unknown, headers: Record<string, string> = {}) {
  answer = (response) => {
    response.writeHead(status, { 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*', ...headers })
    response.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body))
  }
}

beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  vi.stubGlobal('location', { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
})
afterAll(() => {
  vi.unstubAllGlobals()
  server.close()
})
beforeEach(() => {
  seen = []
  setCsrf('')
  setSignedOutHandler(() => {})
})

describe('a call', () => {
  it('sends query, revision, CSRF token and JSON', async () => {
    setCsrf('secret')
    reply(200, { ok: true })
    expect(await get('/changes', { query: { limit: 5, before: undefined } })).toEqual({ ok: true })
    await patch('/household', { language: 'ro' }, { revision: 7 })
    const [first, second] = seen
    expect(first?.url).toBe('/api/v1/changes?limit=5')
    expect(first?.headers['x-csrf-token']).toBeUndefined() // only changes carry it
    expect(second?.headers).toMatchObject({ 'x-csrf-token': 'secret', 'if-match': '"7"', 'content-type': 'application/json' })
    expect(JSON.parse(second?.body ?? '')).toEqual({ language: 'ro' })
  })

  it('reads and sends text as it is', async () => {
    reply(200, 'timezone: UTC\n', { 'Content-Type': 'application/yaml' })
    expect(await get('/backup', { text: true })).toBe('timezone: UTC\n')
    reply(200, { revision: 1 })
    await post('/restore', 'a: 1\n', { text: true })
    expect(seen[1]).toMatchObject({ body: 'a: 1\n', headers: { 'content-type': 'application/yaml' } })
  })

  it('takes an answer without content', async () => {
    reply(204, undefined)
    expect(await remove('/session')).toBeUndefined()
    await post('/channels/1/test')
    expect(seen[1]?.body).toBe('')
  })

  it('makes an error of a problem', async () => {
    reply(422, { status: 422, code: 'not-valid', title: 'no', detail: '', problems: [{ where: 'offline[2].start', message: 'x' }] })
    const error = await get('/home').catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ApiError)
    expect(error).toMatchObject({ status: 422, code: 'not-valid', message: 'no', problems: [{ where: 'offline[2].start' }] })
    reply(429, { status: 429, code: 'throttled', title: 'x', retry_after: 8 })
    expect(await post('/session', {}).catch((reason: unknown) => reason)).toMatchObject({ retryAfter: 8 })
  })

  it('survives an error that is no problem document', async () => {
    reply(502, '<html>', { 'Content-Type': 'text/html' })
    expect(await get('/home').catch((reason: unknown) => reason)).toMatchObject({ status: 502, code: 'unknown' })
  })

  it('tells when nobody is signed in any more', async () => {
    const told = vi.fn()
    setSignedOutHandler(told)
    reply(401, { status: 401, code: 'not-signed-in', title: 'x' })
    await expect(get('/home')).rejects.toBeInstanceOf(ApiError)
    expect(told).toHaveBeenCalledOnce()
  })

  it('notes silence and the return', async () => {
    const before = returns()
    answer = (response) => response.destroy()
    expect(await get('/home').catch((reason: unknown) => reason)).toMatchObject({ status: 0, code: 'offline' })
    expect(answers()).toBe(false)
    reply(200, {})
    await get('/home')
    expect([answers(), returns()]).toEqual([true, before + 1])
  })

  it('passes on that it was given up', async () => {
    const controller = new AbortController()
    answer = () => controller.abort()
    const error = await get('/home', { signal: controller.signal }).catch((reason: unknown) => reason)
    expect((error as Error).name).toBe('AbortError')
    expect(answers()).toBe(true)
  })
})
