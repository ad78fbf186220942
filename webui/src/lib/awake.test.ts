// @vitest-environment node
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest'

import { stayUp } from './awake'

type Seen = { method: string; path: string; match?: string; body: unknown }
let seen: Seen[] = []
let answers: Record<string, [number, unknown]> = {}
const tonight = { day: '2026-11-23', windows: [], note: '' }
const holiday = { day: '2026-12-24', windows: [], note: '' }
const profile = (parts: object) => ({ id: 'ana', name: 'Ana', exceptions: [holiday], bonuses: [], rules: [], ...parts })

const server = createServer((request, response) => {
  let body = ''
  request.on('data', (part) => (body += part))
  request.on('end', () => {
    const path = (request.url ?? '').replace('/api/v1', '')
    seen.push({ method: request.method ?? '', path, match: request.headers['if-match'], body: body ? JSON.parse(body) : null })
    const [status, value] = answers[`${request.method} ${path}`] ?? [404, { code: 'not-found' }]
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))
  })
})

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
  answers = {
    'GET /household': [200, { revision: 7, profiles: [profile({})] }],
    'POST /profiles/ana/awake': [200, { revision: 8, until: 1_795_000_000 }],
    'PUT /profiles/ana': [200, {}],
  }
})

it('goes back to the hours and minutes as they were', async () => {
  const done = await stayUp('ana', 30)
  expect(done.until).toBe(1_795_000_000)
  expect(seen.at(-1)?.body).toEqual({ minutes: 30, bonus: true })
  // Meanwhile somebody else has changed something: that stays.
  const given = [{ day: '2026-11-23', minutes: 30, of: '' }]
  const rules = [{ action: 'block', pattern: 'x.example', expires: null, note: '' }]
  answers['GET /household'] = [200, { revision: 9, profiles: [profile({ exceptions: [tonight, holiday], bonuses: given, rules })] }]
  await done.undo()
  const sent = profile({ rules })
  expect(seen.at(-1)).toEqual({ method: 'PUT', path: '/profiles/ana', match: '"9"', body: sent })
})

it('tells why it cannot be', async () => {
  answers['POST /profiles/ana/awake'] = [409, { status: 409, code: 'paused', title: 'paused' }]
  await expect(stayUp('ana', 30)).rejects.toMatchObject({ code: 'paused' })
  await expect(stayUp('ion', 30)).rejects.toThrow('no profile')
  expect(seen.filter(({ method }) => method === 'PUT')).toEqual([])
})
