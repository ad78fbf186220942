import { describe, expect, it } from 'vitest'

import { choosePage } from './pages'

const PARENT = { claimed: true, signedIn: true, parent: true }
const HELPER = { claimed: true, signedIn: true, parent: false }
const NOBODY = { claimed: true, signedIn: false, parent: false }
const FRESH = { claimed: false, signedIn: false, parent: false }

describe('choosePage', () => {
  it.each([
    ['/', 'Home'], ['/requests', 'Requests'], ['/alerts', 'Alerts'], ['/devices', 'Devices'], ['/settings', 'Settings'],
    ['/settings/journal', 'Settings'], ['/profiles/ana', 'Profile'], ['/profiles/ana/hours', 'Profile'],
    ['/profiles/ana/activity', 'Activity'], ['/profiles/new', 'Profile'], ['/setup', 'Setup'], ['/nowhere', 'NotFound'],
    ['/profiles', 'NotFound'], ['/settings/a/b', 'NotFound'],
  ])('a parent at %s sees %s', (path, name) => expect(choosePage(path, PARENT)).toMatchObject({ name, instead: '' }))

  it('a new box leads everybody to the first visit', () => {
    for (const path of ['/', '/login', '/profiles/ana']) {
      expect(choosePage(path, FRESH)).toMatchObject({ name: 'Setup', instead: '/setup', framed: false })
    }
    expect(choosePage('/setup', FRESH).instead).toBe('')
  })

  it('who is not signed in sees the sign-in where they are, and comes back there', () => {
    expect(choosePage('/profiles/ana', NOBODY)).toMatchObject({ name: 'Login', instead: '', framed: false })
    expect(choosePage('/setup', NOBODY)).toMatchObject({ name: 'Login', instead: '/login' })
    expect(choosePage('/login', PARENT)).toMatchObject({ name: 'Home', instead: '/' })
  })

  it('a helper sees requests and the own account, nothing else', () => {
    for (const path of ['/', '/login', '/setup']) {
      expect(choosePage(path, HELPER)).toMatchObject({ name: 'Requests', instead: '/requests' })
    }
    for (const path of ['/alerts', '/devices', '/profiles/ana', '/profiles/ana/activity']) {
      expect(choosePage(path, HELPER).name).toBe('NotFound')
    }
    expect(choosePage('/settings/me', HELPER).name).toBe('Settings')
  })

  it('another tab is the same page, another child is not', () => {
    const key = (path: string) => choosePage(path, PARENT).key
    expect(key('/profiles/ana/hours')).toBe(key('/profiles/ana'))
    expect(key('/profiles/ion')).not.toBe(key('/profiles/ana'))
    expect(key('/settings/journal')).not.toBe(key('/settings/backup'))
  })
})
