/** The texts of the child's page. Each language is a chunk of its own. */

import { use, type Catalogue, type Language } from '../lib/i18n.svelte'

const CATALOGUES: Record<Language, () => Promise<{ default: Catalogue }>> = {
  ro: () => import('../locale/child.ro'),
  ru: () => import('../locale/child.ru'),
  en: () => import('../locale/child.en'),
}

/** Speak a language from now on. */
export async function speakToChild(language: Language): Promise<void> {
  use(language, (await CATALOGUES[language]()).default)
}
