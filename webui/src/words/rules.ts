/** Changes of a profile that a page other than the profile's own makes: allow a site, be strict. */

import { get, post, put } from '../lib/api'
import type { Answer, Household, Profile, Rule } from '../lib/schema'

/** Reasons that a rule of a parent can answer. Pause, hours, minutes and laws are not among them. */
const ANSWERABLE = new Set(['rule', 'bypass', 'service', 'category', 'allow-list-only'])

export function canBeAllowed(reason: string): boolean {
  return ANSWERABLE.has(reason)
}

/**
 * The rules with one more that opens a site until `expires` (null = for good). An older rule that opens the same site
 * goes; one that closes it stays when this is for a while only, because it holds again afterwards.
 */
export function withAllowed(rules: Rule[], pattern: string, expires: number | null, note: string): Rule[] {
  const rest = rules.filter((rule) => rule.pattern !== pattern || (rule.action === 'block' && expires !== null))
  return [...rest, { action: 'allow', pattern, expires, note }]
}

async function changeProfile(id: string, change: (profile: Profile) => Profile): Promise<void> {
  const household = await get<Household>('/household')
  const profile = household.profiles.find((one) => one.id === id)
  if (!profile) throw new Error(`no profile ${id}`)
  await put<Profile>(`/profiles/${encodeURIComponent(id)}`, change(profile), { revision: household.revision })
}

/** Open a site for a profile, and return what happens to it now: something else may still close it. */
export async function allowSite(profile: string, name: string, expires: number | null, note: string): Promise<Answer> {
  const path = `/profiles/${encodeURIComponent(profile)}/explain`
  const { pattern } = await post<Answer>(path, { name })
  await changeProfile(profile, (old) => ({ ...old, rules: withAllowed(old.rules, pattern, expires, note) }))
  return post<Answer>(path, { name })
}

/** Let the devices of a profile reach only what Guardian has named to them. */
export function beStrict(profile: string): Promise<void> {
  return changeProfile(profile, (old) => ({ ...old, strict: true }))
}
