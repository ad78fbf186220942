/** Who is signed in. */

import { get, remove, setCsrf, setSignedOutHandler } from './api'
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

export async function signOut(): Promise<void> {
  await remove('/session')
  forget()
}

function forget(): void {
  state.session = null
  setCsrf('')
}

/** Ask what there is: whether the box is claimed, and whether a session is still open. */
export async function loadSession(): Promise<void> {
  setSignedOutHandler(forget)
  state.start = await get<Start>('/start')
  if (!state.start.claimed) return
  try {
    signIn(await get<Session>('/session'))
  } catch {
    forget()
  }
}
