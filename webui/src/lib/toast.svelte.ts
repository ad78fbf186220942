/** A short word after something was done, with a way back where there is one. */

type Toast = { text: string; undo?: () => void }

const state = $state<{ toast: Toast | null }>({ toast: null })
let timer: ReturnType<typeof setTimeout> | undefined

export const toast = () => state.toast

export function say(text: string, undo?: () => void): void {
  clearTimeout(timer)
  state.toast = { text, undo }
  timer = setTimeout(dismiss, undo ? 8000 : 4000)
}

export function dismiss(): void {
  clearTimeout(timer)
  state.toast = null
}
