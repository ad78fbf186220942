// @vitest-environment jsdom
/** A provider may give its boxes fewer languages: nothing else can be chosen, and nothing else is spoken. */

import { flushSync, mount, unmount } from 'svelte'
import { afterEach, beforeEach, expect, it } from 'vitest'

import { LANGUAGES, offeredLanguages, offerLanguages, use } from '../lib/i18n.svelte'
import { browserLanguage, rememberedLanguage, rememberLanguage } from '../lib/language'
import { default as ru } from '../locale/ru'
import LanguageChoice from './LanguageChoice.svelte'

let made: Record<string, unknown> | undefined

beforeEach(() => use('ru', ru))
afterEach(() => {
  if (made) void unmount(made)
  made = undefined
  offerLanguages(LANGUAGES)
  localStorage.clear()
})

const choices = () => [...document.querySelectorAll('option')].map((option) => option.value)

it('shows what is offered, in the order of the provider', () => {
  made = mount(LanguageChoice, { target: document.body })
  expect(choices()).toEqual(['ro', 'ru', 'en'])
  offerLanguages(['ru', 'ro'])
  flushSync()
  expect(choices()).toEqual(['ru', 'ro'])
})

it('forgets a wish that is not offered', () => {
  rememberLanguage('en')
  expect(rememberedLanguage()).toBe('en')
  expect(browserLanguage(['en-GB', 'ru'])).toBe('en')
  offerLanguages(['ru', 'ro'])
  expect(rememberedLanguage()).toBeNull()
  expect(browserLanguage(['en-GB', 'ru'])).toBe('ru')
  offerLanguages([])
  expect(offeredLanguages()).toEqual(['ru', 'ro'])
})

it('keeps a language that was set before', () => {
  offerLanguages(['ro'])
  expect(offeredLanguages('ru')).toEqual(['ro', 'ru'])
  expect(offeredLanguages('ro')).toEqual(['ro'])
  expect(offeredLanguages('')).toEqual(['ro'])
})
