/** The address of the page as state. Pages are paths (`/profiles/ana/hours`); the server gives index.html for all. */

const state = $state({ path: location.pathname, search: location.search })
let shown = location.href
let mayLeave: (to: string) => boolean = () => true

addEventListener('popstate', () => {
  if (!mayLeave(location.pathname)) {
    history.pushState(null, '', shown) // the browser has moved already: move back
    return
  }
  read()
})

addEventListener('beforeunload', (event) => {
  if (unsaved()) event.preventDefault()
})

let unsaved: () => boolean = () => false

function read(): void {
  shown = location.href
  state.path = location.pathname
  state.search = location.search
}

export function path(): string {
  return state.path
}

/** What follows the question mark: `query().get('mac')`. */
export function query(): URLSearchParams {
  return new URLSearchParams(state.search)
}

/** Go to another page of the console: `/devices`, `/devices?mac=...`. */
export function go(to: string, { replace = false } = {}): void {
  const target = new URL(to, location.href)
  if (target.href === location.href) return
  const turns = target.pathname !== location.pathname
  if (turns && !mayLeave(target.pathname)) return
  history[replace ? 'replaceState' : 'pushState'](null, '', target)
  read()
  if (turns) scrollTo(0, 0)
}

/**
 * Ask before a page with unsaved changes is left: `isUnsaved` tells whether there are some, `ask` whether to go to a path
 * all the same. Returns what ends it (call it when the page goes away).
 */
export function holdWhile(isUnsaved: () => boolean, ask: (to: string) => boolean): () => void {
  unsaved = isUnsaved
  mayLeave = (to) => !isUnsaved() || ask(to)
  return () => {
    unsaved = () => false
    mayLeave = () => true
  }
}

/** The parts of a path that a pattern like `/profiles/:id/:tab` names, or null when it does not fit. */
export function match(pattern: string, at: string = state.path): Record<string, string> | null {
  const wanted = pattern.split('/')
  const given = at === '/' ? ['', ''] : at.replace(/\/+$/, '').split('/')
  if (wanted.length !== given.length) return null
  const parts: Record<string, string> = {}
  for (const [index, word] of wanted.entries()) {
    const part = given[index] ?? ''
    if (word.startsWith(':')) {
      const value = decode(part)
      if (!value) return null
      parts[word.slice(1)] = value
    } else if (word !== part) return null
  }
  return parts
}

/** A part of an address as text; null when somebody has typed nonsense such as `%E0%A4%A`. */
function decode(part: string): string | null {
  try {
    return decodeURIComponent(part)
  } catch (error) {
    if (error instanceof URIError) return null
    throw error
  }
}

/** For `<a href=... onclick={follow}>`: same page, no reload; keys and middle clicks keep their meaning. */
export function follow(event: MouseEvent): void {
  const link = (event.currentTarget as HTMLElement).closest('a')
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
  if (link.origin !== location.origin) return
  event.preventDefault()
  go(link.pathname + link.search)
}
