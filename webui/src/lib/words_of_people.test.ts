import { beforeEach, describe, expect, it } from 'vitest'

import en from '../locale/en'
import ro from '../locale/ro'
import ru from '../locale/ru'
import { learnNames } from '../words/names.svelte'
import { tidyClaimCode } from './claim_code'
import { suggestName } from './device_name'
import { use, useTimezone } from './i18n.svelte'
import { tellChange, tellParts } from './journal'
import { browserLanguage } from './language'
import type { Change } from './schema'
import { judgePassword } from './strength'

describe('the claim code', () => {
  it.each(['abcdefghjk', 'ABCDE-FGHJK', ' abcde fghjk ', 'abcde–fghjk', 'Abc de.fgh-jk'])('%s', (typed) =>
    expect(tidyClaimCode(typed)).toBe('ABCDE-FGHJK'),
  )
  it('of another length stays as it was typed', () => expect(tidyClaimCode(' Label-1234-ab ')).toBe('Label-1234-ab'))
})

describe('a device', () => {
  const named = (hostname: string, maker = '') => suggestName({ hostname, maker })
  it('is called as it calls itself', () => {
    expect(named('Anas-iPad.lan')).toBe('Anas iPad')
    expect(named('ana_tablet')).toBe('ana tablet')
    expect(named('pixel-8')).toBe('pixel 8')
    expect(named('телефон-Ани')).toBe('телефон Ани')
  })
  it('is called by its maker when a machine made its name', () => {
    expect(named('android-3f9c21ab77d0', 'Samsung')).toBe('Android')
    expect(named('DESKTOP-8H2K1QX', 'Intel')).toBe('Intel')
    expect(named('iPhone')).toBe('iPhone')
    expect(named('localhost', 'Xiaomi')).toBe('Xiaomi')
    expect(named('', '')).toBe('')
  })
  it('cannot steer the page by its name', () => {
    expect(named('evil\u202egpj.lan')).toBe('evilgpj')
    expect(named('a\u0000b\u2028c\u200b')).toBe('abc')
    expect([...named('x'.repeat(255))].length).toBe(60)
    expect([...named('😀'.repeat(255))].length).toBe(60)
    expect(named('<script>alert(1)</script>')).toBe('<script>alert(1)</script>') // text, shown as text
  })
})

describe('a password', () => {
  it.each([
    ['', 'short'], ['1234567', 'short'], ['12345678', 'weak'], ['password123', 'weak'], ['Parola2026', 'weak'],
    ['aaaaaaaaaaaaaaaa', 'weak'], ['qwertyuiop', 'weak'], ['Mamamama1', 'weak'], ['tulip-Fox7', 'good'], ['lampmoons', 'fair'],
    ['doua pisici pe gard', 'good'], ['две кошки на заборе', 'good'],
  ])('%s is %s', (password, strength) => expect(judgePassword(password, ['Mama'])).toBe(strength))
})

describe('the language', () => {
  it.each([
    [['ro-MD', 'en'], 'ro'], [['mo', 'ru'], 'ro'], [['uk-UA', 'ru-RU'], 'ru'], [['de', 'en-GB'], 'en'], [['de', 'fr'], null], [[], null],
  ])('of %s is %s', (wishes, language) => expect(browserLanguage(wishes)).toBe(language))
})

describe('the journal', () => {
  const line = (kind: string, details: Change['details'], text = 'English'): Change => ({
    id: 1, at: Date.parse('2026-11-22T18:14:00Z') / 1000, who: 'Tata', kind, details, text,
  })
  beforeEach(() => {
    use('en', en)
    useTimezone('Europe/Chisinau')
  })

  it('tells a change in the language of the page', () => {
    expect(tellChange(line('bonus', { profile: 'Ana', minutes: 30 }))).toBe('30 minutes more for Ana')
    expect(tellChange(line('bonus', { profile: 'Ana', minutes: 1 }))).toBe('1 minute more for Ana')
    const until = Date.parse('2026-11-22T19:05:00Z') / 1000
    expect(tellChange(line('pause', { profile: 'Ana', until }))).toBe('pause for Ana until 21:05')
    expect(tellChange(line('pause', { device: 'Tablet' }))).toBe('pause for Tablet')
    expect(tellChange(line('request-granted', { profile: 'Ana', kind: 'site', site: 'a.example' }))).toBe('yes to Ana: a.example')
    use('ru', ru)
    expect(tellChange(line('bonus', { profile: 'Ana', minutes: 22 }))).toBe('ещё 22 минуты: Ana')
  })

  it('tells until when somebody stays up', () => {
    const later = { profile: 'Ana', minutes: 30, until: Date.parse('2026-11-22T22:15:00Z') / 1000 }
    expect(tellChange(line('awake', later))).toBe('Ana: 30 minutes longer, online until 00:15')
    expect(tellChange(line('request-granted', later))).toBe('yes to Ana: 30 minutes more, online until 00:15')
    expect(tellChange(line('request-granted', { profile: 'Ana', minutes: 30 }))).toBe('yes to Ana: 30 minutes more')
    expect(tellChange(line('request-granted', { profile: 'Ana', site: 'a.example', until: later.until }))).toBe('yes to Ana: a.example')
  })

  it.each([
    ['account-made', 'Bunica may sign in now', 'Bunica se poate conecta acum', 'Bunica: вход разрешён'],
    ['account-changed', 'sign-in of Bunica: role, password', 'contul Bunica: rolul, parola', 'учётная запись Bunica: роль, пароль'],
    ['account-removed', 'Bunica may no longer sign in', 'Bunica nu se mai poate conecta', 'Bunica: вход больше не разрешён'],
    ['token-made', 'key for the program Bunica made', 'cheie creată pentru programul Bunica', 'создан ключ для программы Bunica'],
    ['token-removed', 'key of the program Bunica removed', 'cheia programului Bunica a fost ștearsă', 'удалён ключ программы Bunica'],
    ['channel-added', 'messages go to Bunica now', 'mesajele ajung acum la Bunica', 'новый канал сообщений: Bunica'],
    ['channel-removed', 'messages no longer go to Bunica', 'mesajele nu mai ajung la Bunica', 'канал сообщений удалён: Bunica'],
    ['console-changed', 'settings of this page: role, password', 'setările acestei pagini: rolul, parola', 'настройки этой страницы: роль, пароль'],
  ])('tells of people, programs and messages: %s', (kind, english, romanian, russian) => {
    const change = line(kind, { name: 'Bunica', parts: 'role password' })
    expect(tellChange(change)).toBe(english)
    use('ro', ro)
    expect(tellChange(change)).toBe(romanian)
    use('ru', ru)
    expect(tellChange(change)).toBe(russian)
  })

  it('names services', () => {
    learnNames({ 'service:youtube': { en: 'YouTube', ro: 'YouTube', ru: 'YouTube' } })
    expect(tellChange(line('bonus', { profile: 'Ana', minutes: 15, of: 'youtube' }))).toBe('15 minutes more of YouTube for Ana')
  })

  it('gathers parts, and none is nameless', () => {
    expect(tellParts('offline exceptions services')).toBe('hours, apps')
    expect(tellParts('something_new rules')).toBe('settings, sites')
  })

  it('keeps the words of a kind that it does not know, and of none', () => {
    expect(tellChange(line('sent-to-mars', {}))).toBe('English')
    expect(tellChange(line('', {}, 'first household'))).toBe('first household')
  })

  it('does not read a name as a pattern', () => {
    expect(tellChange(line('profile-made', { profile: '{until} <b>' }))).toBe('added {until} <b>')
  })
})
