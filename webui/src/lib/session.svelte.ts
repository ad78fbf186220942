/** Who is signed in. */

import { ApiError, get, remove, setCsrf, setSignedOutHandler } from './api'
import { offerLanguages } from './i18n.svelte'
import type { Session, Start } from './schema'

const state = $state<{ start: Start | null; session: Session | null }>({ start: null, session: null })

type Scope = Session['scopes'][number]

export const start = () => state.start
export const session = () => state.session

export function may(scope: Scope): boolean {
  return state.session?.scopes.includes(scope) ?? false
}

export function signIn(session: Session): void {
  state.session = session
  setCsrf(session.csrf)
}

/** The box has its first parent now. */
export function noteClaimed(): void {
  if (state.start) state.start = { ...state.start, claimed: true }
}

export async function signOut(): Promise<void> {
  try {
    await remove('/session')
  } catch (error) {
    if (!isSignedOut(error)) throw error
  }
  forget()
}

export function forget(): void {
  state.session = null
  setCsrf('')
}

function isSignedOut(error: unknown): boolean {
  return error instanceof ApiError && error.status === 401
}

async function findSession(): Promise<Session | null> {
  try {
    return await get<Session>('/session')
  } catch (error) {
    // 403: a child's device, where nobody may sign in.
    if (isSignedOut(error) || (error instanceof ApiError && error.status === 403)) return null
    throw error
  }
}

/** Ask what there is: whether the box is claimed, and whether a session is still open. Raises ApiError. */
export async function loadSession(): Promise<void> {
  setSignedOutHandler(forget)
  // Both at once: each answer is a walk to the box and back.
  const [start, session] = await Promise.all([get<Start>('/start'), findSession()])
  if (session) signIn(session)
  else forget()
  offerLanguages(start.languages)
  state.start = start
}
