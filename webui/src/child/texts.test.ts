import { afterEach, expect, it, vi } from 'vitest'

import { LANGUAGES, offerLanguages } from '../lib/i18n.svelte'
import { rememberLanguage } from '../lib/language'
import { chooseLanguage } from './texts'

const page = { language: '', home_language: 'ru' } as const

afterEach(() => {
  offerLanguages(LANGUAGES)
  localStorage.clear()
  vi.unstubAllGlobals()
})

function wish(...languages: string[]): void {
  vi.stubGlobal('navigator', { languages })
}

it("speaks the browser's language, or the profile's where parents set one", () => {
  wish('en-US')
  expect(chooseLanguage(page)).toBe('en')
  expect(chooseLanguage({ ...page, language: 'ro' })).toBe('ro')
  expect(chooseLanguage(null)).toBe('en')
})

it("speaks the home's language where the browser wishes none that is offered", () => {
  wish('en-US')
  offerLanguages(['ru', 'ro'])
  expect(chooseLanguage(page)).toBe('ru')
  wish('de', 'fr')
  offerLanguages(LANGUAGES)
  expect(chooseLanguage(page)).toBe('ru')
})

it('forgets a choice that the provider took back', () => {
  wish('ro')
  rememberLanguage('en')
  expect(chooseLanguage(page)).toBe('en')
  offerLanguages(['ru', 'ro'])
  expect(chooseLanguage(page)).toBe('ro')
})
