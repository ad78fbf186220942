/** Lines of the journal as sentences: "Tata: Ana, 30 minutes more". Details come from the box, names are hostile text. */

import { nameOf, tagOfUse } from '../words/names.svelte'
import { until } from '../words/times'
import { has, t } from './i18n.svelte'
import type { Change } from './schema'

// Parts of a profile or of the household, as the box names them; others are told as "settings".
const HOURS = new Set(['offline', 'exceptions'])
const MINUTES = new Set(['minutes', 'minutes_for', 'bonuses'])
const SITES = new Set(['rules', 'allow_list_only'])

function groupOf(part: string): string {
  if (HOURS.has(part)) return 'hours'
  if (MINUTES.has(part)) return 'minutes'
  if (SITES.has(part)) return 'rules'
  return has(`journal.part_${part}`) ? part : 'other'
}

/** `hours, apps` of `offline exceptions services`. */
export function tellParts(parts: string): string {
  const groups = new Set(parts.split(' ').filter(Boolean).map(groupOf))
  return [...groups].map((group) => t(`journal.part_${group}`)).join(', ')
}

/** What was done, without who and when. Unknown kinds (of a newer box, or of the command line) keep their English text. */
export function tellChange(change: Change): string {
  const { kind, details, text } = change
  const key = chooseKey(change)
  if (!kind || !has(key)) return text
  const values: Record<string, string | number> = { ...details }
  values.who = String(details.profile ?? details.device ?? '')
  if (typeof details.until === 'number') values.until = until(details.until, change.at)
  if (typeof details.minutes === 'number') values.count = details.minutes
  if (typeof details.of === 'string') values.of = nameOf(tagOfUse(details.of))
  if (typeof details.parts === 'string') values.parts = tellParts(details.parts)
  return t(key, values)
}

/** The text of a kind may have a form of its own for a site, with a moment, for a service. */
function chooseKey({ kind, details }: Change): string {
  const key = `journal.${kind}`
  if (details.site && has(`${key}_site`)) return `${key}_site`
  if (typeof details.until === 'number' && has(`${key}_until`)) return `${key}_until`
  if (details.of && has(`${key}_of`)) return `${key}_of`
  return key
}
