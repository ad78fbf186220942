import { beforeEach, describe, expect, it } from 'vitest'

import { use } from '../lib/i18n.svelte'
import en from '../locale/en'
import ru from '../locale/ru'
import { learnCatalogue, nameOf, tagOfUse } from './names.svelte'
import { plain } from './plain'
import { tellReason } from './reasons'
import { tellWhy } from './why'

const games = { en: 'Games', ro: 'Jocuri', ru: 'Игры' }

beforeEach(() => {
  use('en', en)
  learnCatalogue({
    services: [{ id: 'youtube', name: 'YouTube', group: 'video' }],
    groups: [{ id: 'games', names: games }],
    categories: [{ id: 'games', names: games, about: games }],
    presets: [],
    timezones: [],
  })
})

describe('nameOf', () => {
  it('is in the language of the page, also after it has changed', () => {
    expect(nameOf('category:games')).toBe('Games')
    use('ru', ru)
    expect(nameOf('category:games')).toBe('Игры')
    expect(nameOf(tagOfUse('youtube'))).toBe('YouTube')
    expect(nameOf(tagOfUse('group:games'))).toBe('Игры')
  })

  it('falls back to the id', () => {
    expect(nameOf('service:some_new_app')).toBe('some new app')
    expect(nameOf('constructor')).toBe('constructor')
  })
})

describe('tellWhy', () => {
  it.each([
    ['category:games', 'Games is closed for this child'],
    ['schedule:bedtime', 'hours without internet (bedtime)'],
    ['schedule:Grandma <b>', 'hours without internet (Grandma <b>)'],
    ['rule:block example.com', 'your rule'],
    ['pause', 'it is paused'],
    ['minutes:60', 'the minutes are used up'],
    ['', 'nothing, it is open now'],
    ['something-new', 'the rules of the home'],
  ])('%s', (why, words) => expect(tellWhy(why)).toBe(words))
})

describe('tellReason', () => {
  it.each([
    [{ tag: 'category:games', reason: 'category' }, 'Games'],
    [{ tag: 'schedule:bedtime', reason: 'schedule' }, 'Hours without internet'],
    [{ tag: '', reason: 'allow-list-only' }, 'Not among the sites you picked'],
    [{ tag: '', reason: '' }, 'Stopped'],
    [{ tag: 'x', reason: 'never-heard-of' }, 'Stopped'],
  ])('%o', (kind, words) => expect(tellReason(kind)).toBe(words))
})

describe('plain', () => {
  it('takes marks out that would turn the words around a name', () => {
    expect(plain('Matei \u202eevil\u2066!')).toBe('Matei evil!')
    expect(plain('שלום <b>')).toBe('שלום <b>')
  })
})
