/** Which page stands at which address, and who may see it. */

import { match } from './router.svelte'

export type PageName =
  | 'Setup' | 'Login' | 'Home' | 'Profile' | 'Activity' | 'Devices' | 'Alerts' | 'Requests' | 'Settings' | 'NotFound'
export type NavName = 'home' | 'requests' | 'alerts' | 'devices' | 'settings'

type Route = { pattern: string; name: PageName; title: string; nav: NavName; helpers?: boolean; key?: string }

// The first that fits. `key`: the part whose change makes another page (a profile), not another tab of it.
const ROUTES: Route[] = [
  { pattern: '/', name: 'Home', title: 'nav.home', nav: 'home' },
  { pattern: '/requests', name: 'Requests', title: 'nav.requests', nav: 'requests', helpers: true },
  { pattern: '/alerts', name: 'Alerts', title: 'nav.alerts', nav: 'alerts' },
  { pattern: '/devices', name: 'Devices', title: 'nav.devices', nav: 'devices' },
  { pattern: '/settings', name: 'Settings', title: 'nav.settings', nav: 'settings', helpers: true },
  { pattern: '/settings/:part', name: 'Settings', title: 'nav.settings', nav: 'settings', helpers: true, key: 'part' },
  { pattern: '/profiles/:id/activity', name: 'Activity', title: 'nav.home', nav: 'home', key: 'id' },
  { pattern: '/profiles/:id', name: 'Profile', title: 'nav.home', nav: 'home', key: 'id' },
  { pattern: '/profiles/:id/:tab', name: 'Profile', title: 'nav.home', nav: 'home', key: 'id' },
]

export type Chosen = {
  name: PageName
  params: Record<string, string>
  key: string // another key is another page: it is made anew and takes the focus
  title: string // key of a text, "" = the page's own
  framed: boolean // with the navigation around it
  nav: NavName | null
  instead: string // where the address should lead, "" = where it is
}

export type Person = { claimed: boolean; signedIn: boolean; parent: boolean }

/** The page for an address and a person. Who is not signed in gets the sign-in, at whatever address. */
export function choosePage(path: string, person: Person): Chosen {
  const bare = { params: {}, key: '', framed: false, nav: null, instead: '' }
  const setup = { ...bare, name: 'Setup', title: 'setup.title' } as const
  if (!person.claimed) return { ...setup, instead: path === '/setup' ? '' : '/setup' }
  if (!person.signedIn) return { ...bare, name: 'Login', title: 'session.title', instead: path === '/setup' ? '/login' : '' }
  if (path === '/setup' && person.parent) return setup
  const home = person.parent ? '/' : '/requests'
  if (path === '/login' || path === '/setup' || (path === '/' && !person.parent)) return choose(home, person, home)
  return choose(path, person, '')
}

function choose(path: string, person: Person, instead: string): Chosen {
  for (const route of ROUTES) {
    const params = match(route.pattern, path)
    if (!params || !(person.parent || route.helpers)) continue
    const key = route.key ? (params[route.key] ?? '') : ''
    return { name: route.name, params, key, title: route.title, framed: true, nav: route.nav, instead }
  }
  return { name: 'NotFound', params: {}, key: path, title: 'notfound.title', framed: true, nav: null, instead: '' }
}
