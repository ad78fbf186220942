/** The address of the page as state. Pages are paths (`/profiles/ana/hours`); the server gives index.html for all. */

const state = $state({ path: location.pathname })

addEventListener('popstate', () => {
  state.path = location.pathname
})

export function path(): string {
  return state.path
}

/** Go to another page of the console. */
export function go(to: string, { replace = false } = {}): void {
  if (to === location.pathname) return
  history[replace ? 'replaceState' : 'pushState'](null, '', to)
  state.path = location.pathname
  scrollTo(0, 0)
}

/** The parts of a path that a pattern like `/profiles/:id/:tab` names, or null when it does not fit. */
export function match(pattern: string, at: string = state.path): Record<string, string> | null {
  const wanted = pattern.split('/')
  const given = at.replace(/\/+$/, '').split('/')
  if (at === '/') given.length = 2
  if (wanted.length !== given.length) return null
  const parts: Record<string, string> = {}
  for (const [index, word] of wanted.entries()) {
    const part = given[index] ?? ''
    if (word.startsWith(':')) parts[word.slice(1)] = decodeURIComponent(part)
    else if (word !== part) return null
  }
  return parts
}

/** For `<a href=... onclick={follow}>`: same page, no reload; keys and middle clicks keep their meaning. */
export function follow(event: MouseEvent): void {
  const link = (event.currentTarget as HTMLElement).closest('a')
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
  if (link.origin !== location.origin) return
  event.preventDefault()
  go(link.pathname)
}
