/** Which language the page speaks: what the person chose here, else the home's, at the first visit the browser's wish. */

import { offeredLanguages, use, type Catalogue, type Language } from './i18n.svelte'

const REMEMBERED = 'guardian.language' // chosen by the person
const SPOKEN = 'guardian.spoken' // whoever chose it

// Each language is a chunk of its own: only one of them is loaded.
const CATALOGUES: Record<Language, () => Promise<{ default: Catalogue }>> = {
  ro: () => import('../locale/ro'),
  ru: () => import('../locale/ru'),
  en: () => import('../locale/en'),
}

export const LANGUAGE_NAMES: Record<Language, string> = { ro: 'Română', ru: 'Русский', en: 'English' }

function isLanguage(word: string | null): word is Language {
  return (offeredLanguages() as readonly (string | null)[]).includes(word)
}

/** The language that was chosen in this browser, or null. */
export function rememberedLanguage(): Language | null {
  const word = localStorage.getItem(REMEMBERED)
  return isLanguage(word) ? word : null
}

/** Keep a language for this browser. */
export function rememberLanguage(language: Language): void {
  localStorage.setItem(REMEMBERED, language)
}

/** The first language of the browser that the page speaks, or null. `mo` is what old phones call Romanian. */
export function browserLanguage(wishes: readonly string[] = navigator.languages): Language | null {
  for (const wish of wishes) {
    const word = wish.toLowerCase().split('-')[0] ?? ''
    const known = word === 'mo' ? 'ro' : word
    if (isLanguage(known)) return known
  }
  return null
}

/** Begin to load the language that this browser spoke last, before anybody has said which it will be. */
export function warmUp(): void {
  const last = localStorage.getItem(SPOKEN)
  if (isLanguage(last)) CATALOGUES[last]().catch((error: unknown) => console.info('not loaded early', error))
}

/** Speak a language from now on; `remember` keeps it for this browser. */
export async function speak(language: Language, { remember = false } = {}): Promise<void> {
  if (remember) rememberLanguage(language)
  use(language, (await CATALOGUES[language]()).default)
  localStorage.setItem(SPOKEN, language)
}
