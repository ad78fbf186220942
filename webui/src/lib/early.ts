/**
 * Answers that are on their way before anybody asks: the server names them with the page (guardian/web/hints.py), and
 * the browser fetches them while it still reads the scripts.
 */

import { get } from './api'

const asked = new Map<string, Promise<unknown>>()

/** Take an answer that the browser was told to fetch; nothing without such a hint. Never rejects; ends with the answer. */
export async function askEarly(path: string): Promise<void> {
  if (performance.getEntriesByName(`${location.origin}/api/v1${path}`).length === 0) return
  const answer = get<unknown>(path)
  asked.set(path, answer)
  await answer.catch((error: unknown) => console.info('not asked early', error)) // who takes it tells
}

/** The early answer, once; else ask now. Raises ApiError. */
export function getFirst<T>(path: string): Promise<T> {
  const early = asked.get(path) as Promise<T> | undefined
  asked.delete(path)
  return early ?? get<T>(path)
}
