/** The texts of the child's page. Each language is a chunk of its own. */

import { use, type Catalogue, type Language } from '../lib/i18n.svelte'
import { browserLanguage, rememberedLanguage } from '../lib/language'
import type { ChildPage } from '../lib/schema'

const CATALOGUES: Record<Language, () => Promise<{ default: Catalogue }>> = {
  ro: () => import('../locale/child.ro'),
  ru: () => import('../locale/child.ru'),
  en: () => import('../locale/child.en'),
}

/** The language that somebody chose here, else the profile's, else the browser's, else the home's: one that is offered. */
export function chooseLanguage(page: Pick<ChildPage, 'language' | 'home_language'> | null): Language {
  return rememberedLanguage() ?? (page?.language || browserLanguage() || page?.home_language || 'en')
}

/** Speak a language from now on. */
export async function speakToChild(language: Language): Promise<void> {
  use(language, (await CATALOGUES[language]()).default)
}
