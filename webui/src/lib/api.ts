/** Calls of the console's API. Types come from its OpenAPI document: `schema.d.ts` (npm run types). */

import { noteAnswer, noteSilence } from './reach.svelte'
import type { FieldProblem, Problem } from './schema'

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly problems: FieldProblem[] = [],
    readonly retryAfter: number | null = null,
  ) {
    super(detail)
  }
}

/** The token that every change carries (CSRF); set when somebody signs in. */
let csrf = ''
/** Called when the server says that nobody is signed in any more. */
let onSignedOut: () => void = () => {}

export function setCsrf(token: string): void {
  csrf = token
}

export function setSignedOutHandler(handler: () => void): void {
  onSignedOut = handler
}

type Query = Record<string, string | number | boolean | undefined>
type Options = { query?: Query; revision?: number; signal?: AbortSignal; text?: boolean }

async function call<T>(method: string, path: string, body: unknown, options: Options): Promise<T> {
  const address = new URL(`/api/v1${path}`, location.origin)
  for (const [key, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined) address.searchParams.set(key, String(value))
  }
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (method !== 'GET') headers['X-CSRF-Token'] = csrf
  if (options.revision !== undefined) headers['If-Match'] = `"${options.revision}"`
  let payload: string | undefined
  if (typeof body === 'string' && options.text) {
    headers['Content-Type'] = 'application/yaml'
    payload = body
  } else if (body !== undefined) {
    headers['Content-Type'] = 'application/json'
    payload = JSON.stringify(body)
  }
  let response: Response
  try {
    response = await fetch(address, { method, headers, body: payload, signal: options.signal, credentials: 'same-origin' })
  } catch (error) {
    if (options.signal?.aborted) throw error
    noteSilence()
    throw new ApiError(0, 'offline', 'the box does not answer')
  }
  noteAnswer()
  if (!response.ok) {
    const problem = (await response.json().catch(() => null)) as Problem | null
    if (response.status === 401) onSignedOut()
    throw new ApiError(
      response.status,
      problem?.code ?? 'unknown',
      problem?.detail || problem?.title || response.statusText,
      problem?.problems ?? [],
      problem?.retry_after ?? null,
    )
  }
  if (response.status === 204) return undefined as T
  return (options.text && method === 'GET' ? response.text() : response.json()) as Promise<T>
}

export const get = <T>(path: string, options: Options = {}) => call<T>('GET', path, undefined, options)
export const post = <T>(path: string, body?: unknown, options: Options = {}) => call<T>('POST', path, body, options)
export const put = <T>(path: string, body?: unknown, options: Options = {}) => call<T>('PUT', path, body, options)
export const patch = <T>(path: string, body?: unknown, options: Options = {}) => call<T>('PATCH', path, body, options)
export const remove = <T>(path: string, options: Options = {}) => call<T>('DELETE', path, undefined, options)
