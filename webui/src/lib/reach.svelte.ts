/** Whether the box answers. `api.ts` notes how each call went; the page asks again by itself until it does. */

const state = $state({ answers: true, returns: 0 })

export const answers = () => state.answers
/** How often the box has come back: pages that want to ask anew then may watch it. */
export const returns = () => state.returns

export function noteAnswer(): void {
  if (!state.answers) state.returns += 1
  state.answers = true
}

export function noteSilence(): void {
  state.answers = false
}
