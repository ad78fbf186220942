/** Why tries were stopped, as a short name for lists and plots. */

import { has, t } from '../lib/i18n.svelte'
import { nameOf } from './names.svelte'

/** The name of the category or service, else the reason in a few words; "stopped" where only counts are kept. */
export function tellReason({ tag, reason }: { tag: string; reason: string }): string {
  if ((reason === 'category' || reason === 'service') && tag.includes(':')) return nameOf(tag)
  const key = `activity.why_${reason.replaceAll('-', '_')}`
  return has(key) ? t(key) : t('activity.why_')
}
