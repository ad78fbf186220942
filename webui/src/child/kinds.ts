/** Closed kinds of sites in words that a child of eight may read. */

import { t } from '../lib/i18n.svelte'
import { nameOf } from '../words/names.svelte'

const GROWN_UP = new Set(['adult', 'gambling', 'dating', 'drugs', 'violence', 'weapons', 'self_harm'])
const HARM = new Set([
  'hacking', 'phishing', 'malware', 'cryptojacking', 'stalkerware', 'tracking', 'warez', 'filehosting', 'shorteners',
  'redirectors', 'search_unsafe', 'vpn', 'doh',
])

/** The names of the kinds: those that need no names in front of a child are two groups, which come last. */
export function tellKinds(categories: string[]): string[] {
  const named = categories.filter((one) => !GROWN_UP.has(one) && !HARM.has(one)).map((one) => nameOf(`category:${one}`))
  if (categories.some((one) => GROWN_UP.has(one))) named.push(t('child.kind_grown_up'))
  if (categories.some((one) => HARM.has(one))) named.push(t('child.kind_harm'))
  return named
}
