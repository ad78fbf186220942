import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { follow, go, holdWhile, match, path, query } from './router.svelte'

vi.stubGlobal('scrollTo', () => {})
beforeEach(() => go('/start'))
afterEach(() => history.replaceState(null, '', '/'))

const settled = () => new Promise((done) => addEventListener('popstate', () => setTimeout(done), { once: true }))

describe('match', () => {
  it.each([
    ['/', '/', {}],
    ['/devices', '/devices', {}],
    ['/devices', '/devices/', {}],
    ['/profiles/:id', '/profiles/ana', { id: 'ana' }],
    ['/profiles/:id/:tab', '/profiles/ana/hours', { id: 'ana', tab: 'hours' }],
    ['/profiles/:id', '/profiles/%D0%B0%D0%BD%D1%8F', { id: 'аня' }],
  ])('%s fits %s', (pattern, at, parts) => expect(match(pattern, at)).toEqual(parts))

  it.each([
    ['/', '/devices'],
    ['/devices', '/'],
    ['/devices', '/devices/x'],
    ['/profiles/:id', '/profiles'],
    ['/profiles/:id', '/profiles/'],
    ['/profiles/:id', '/profiles/%E0%A4%A'], // not a text
    ['/profiles/:id/activity', '/profiles/ana/hours'],
  ])('%s does not fit %s', (pattern, at) => expect(match(pattern, at)).toBeNull())
})

describe('go', () => {
  it('keeps path and query, and the browser goes back', async () => {
    go('/devices?mac=02:00:5e:10:00:01')
    expect(path()).toBe('/devices')
    expect(query().get('mac')).toBe('02:00:5e:10:00:01')
    go('/devices?mac=2')
    expect(query().get('mac')).toBe('2')
    history.back()
    await settled()
    expect(query().get('mac')).toBe('02:00:5e:10:00:01')
  })

  it('replaces without a trace', async () => {
    go('/one')
    go('/two', { replace: true })
    history.back()
    await settled()
    expect(path()).toBe('/start')
  })
})

describe('holdWhile', () => {
  it('asks before unsaved changes are left, also by the browser, and never after the end', async () => {
    go('/profiles/ana')
    let unsaved = true
    const ask = vi.fn(() => false)
    const end = holdWhile(() => unsaved, ask)
    go('/devices')
    expect(path()).toBe('/profiles/ana')
    history.back()
    await settled()
    expect([path(), location.pathname]).toEqual(['/profiles/ana', '/profiles/ana'])
    expect(ask).toHaveBeenCalledTimes(2)
    unsaved = false
    go('/devices')
    expect(path()).toBe('/devices')
    unsaved = true
    end()
    go('/alerts')
    expect(path()).toBe('/alerts')
    expect(ask).toHaveBeenCalledTimes(2)
  })
})

describe('follow', () => {
  function click(href: string, more: MouseEventInit = {}): MouseEvent {
    const link = document.createElement('a')
    link.href = href
    document.body.append(link)
    link.addEventListener('click', follow)
    // jsdom cannot load another page: whether ours stepped in is what counts.
    const event = new MouseEvent('click', { bubbles: true, cancelable: true, button: 0, ...more })
    link.addEventListener('click', (last) => setTimeout(() => last.preventDefault()))
    link.dispatchEvent(event)
    link.remove()
    return event
  }

  it('goes within the console', () => {
    expect(click('/alerts?x=1').defaultPrevented).toBe(true)
    expect([path(), query().get('x')]).toEqual(['/alerts', '1'])
  })

  it.each([['with ctrl', { ctrlKey: true }], ['with the middle button', { button: 1 }], ['with shift', { shiftKey: true }]])(
    'leaves a click %s alone',
    (_, more) => {
      click('/alerts', more)
      expect(path()).toBe('/start')
    },
  )

  it('leaves other sites alone', () => {
    click('https://siguronline.md/')
    expect(path()).toBe('/start')
  })
})
