/** What categories, services and groups are called, by tag (`category:games`, `service:youtube`, `group:video`). */

import { get } from '../lib/api'
import { language } from '../lib/i18n.svelte'
import type { Catalogue, Text } from '../lib/schema'

let known = $state.raw<Record<string, Text>>({})
let asked: Promise<void> | null = null

/** Learn names that came with an answer. */
export function learnNames(names: Record<string, Text>): void {
  known = { ...known, ...names }
}

/** Ask once what there is to choose from (scope `read`); a failure is told, and the next call asks again. */
export function loadNames(): Promise<void> {
  asked ??= get<Catalogue>('/catalogue')
    .then(learnCatalogue)
    .catch((error: unknown) => {
      asked = null
      throw error
    })
  return asked
}

export function learnCatalogue(catalogue: Catalogue): void {
  const names: Record<string, Text> = {}
  for (const { id, names: text } of catalogue.categories) names[`category:${id}`] = text
  for (const { id, names: text } of catalogue.groups) names[`group:${id}`] = text
  for (const { id, name } of catalogue.services) names[`service:${id}`] = { en: name, ro: name, ru: name }
  learnNames(names)
}

/** The name of a tag in the page's language; one that nobody has named yet is shown by its id. */
export function nameOf(tag: string): string {
  const found = Object.hasOwn(known, tag) ? known[tag] : undefined
  return found ? found[language()] : tag.slice(tag.indexOf(':') + 1).replaceAll('_', ' ')
}

/** The tag of what minutes are counted of: `youtube` or `group:games`. */
export function tagOfUse(of: string): string {
  return of.startsWith('group:') ? of : `service:${of}`
}
