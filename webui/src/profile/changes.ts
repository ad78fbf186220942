/** What a draft changes, and what becomes of it when somebody else has saved meanwhile. */

import type { Profile, Rule, ServiceRule } from '../lib/schema'

export const TABS = ['overview', 'apps', 'kinds', 'rules', 'hours', 'minutes', 'more'] as const
export type Tab = (typeof TABS)[number]
type Key = keyof Profile

/** One change. `of` tells which category, service, rule or value; `how` what becomes of it. */
export type Difference = { tab: Tab; part: string; how: 'set' | 'added' | 'removed' | 'changed'; of: string }
export type Strictness = 'standard' | 'strict' | 'only'

/** Where each part is edited. What the server sets by itself (pause, bonuses) is in no draft. */
const TAB_OF: Record<Exclude<Key, 'id' | 'pause' | 'bonuses'>, Tab> = {
  name: 'overview',
  age_band: 'overview',
  visibility: 'overview',
  language: 'overview',
  services: 'apps',
  categories: 'kinds',
  rules: 'rules',
  offline: 'hours',
  exceptions: 'hours',
  minutes: 'minutes',
  minutes_for: 'minutes',
  filtered: 'more',
  safe_search: 'more',
  youtube: 'more',
  allow_list_only: 'more',
  strict: 'more',
  bypass_protection: 'more',
}
const VALUES = ['name', 'age_band', 'visibility', 'language', 'safe_search', 'youtube', 'bypass_protection', 'filtered'] as const
/** What an age band sets: all but the names, the parents' own rules, exceptions, bonuses and the limits of single apps. */
const OF_A_PRESET = [
  'age_band', 'filtered', 'categories', 'services', 'offline', 'minutes', 'safe_search', 'youtube', 'allow_list_only',
  'bypass_protection', 'strict', 'visibility',
] as const satisfies Key[]

/** Tell whether two values of JSON are the same, whatever the order of the keys. */
export function same(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one) !== Array.isArray(other)) return false
  const keys = Object.keys(one)
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => key in other && same((one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key]))
  )
}

export function strictnessOf(profile: Pick<Profile, 'strict' | 'allow_list_only'>): Strictness {
  return profile.allow_list_only ? 'only' : profile.strict ? 'strict' : 'standard'
}

function listed<T>(tab: Tab, part: string, before: T[], after: T[], keyOf: (value: T) => string): Difference[] {
  const old = new Map(before.map((value) => [keyOf(value), value]))
  const now = new Map(after.map((value) => [keyOf(value), value]))
  const found: Difference[] = []
  for (const [of, value] of now) {
    if (!old.has(of)) found.push({ tab, part, how: 'added', of })
    else if (!same(old.get(of), value)) found.push({ tab, part, how: 'changed', of })
  }
  for (const of of old.keys()) if (!now.has(of)) found.push({ tab, part, how: 'removed', of })
  return found
}

/** How a rule is known: `block =example.com`. */
export const ruleKey = (rule: Rule) => `${rule.action} ${rule.pattern}`

/** What is other in `after`, in the order of the tabs. */
export function listDifferences(before: Profile, after: Profile): Difference[] {
  const found: Difference[] = []
  for (const part of VALUES) {
    if (before[part] !== after[part]) found.push({ tab: TAB_OF[part], part, how: 'set', of: String(after[part]) })
  }
  if (strictnessOf(before) !== strictnessOf(after) || (after.allow_list_only && before.strict !== after.strict)) {
    found.push({ tab: 'more', part: 'strictness', how: 'set', of: strictnessOf(after) })
  }
  found.push(...listed('apps', 'services', before.services, after.services, (rule: ServiceRule) => rule.service))
  found.push(...listed('kinds', 'categories', before.categories, after.categories, (category) => category))
  found.push(...listed('rules', 'rules', before.rules, after.rules, ruleKey))
  found.push(...listed('minutes', 'minutes_for', before.minutes_for, after.minutes_for, (limit) => limit.of))
  for (const part of ['offline', 'exceptions', 'minutes'] as const) {
    if (!same(before[part], after[part])) found.push({ tab: TAB_OF[part], part, how: 'changed', of: '' })
  }
  return found.sort((a, b) => TABS.indexOf(a.tab) - TABS.indexOf(b.tab))
}

/** The profile with all that an age band sets; what parents have written themselves stays. */
export function applyPreset(profile: Profile, preset: Profile): Profile {
  const made = { ...profile }
  for (const key of OF_A_PRESET) Object.assign(made, { [key]: structuredClone(preset[key]) })
  return made
}

/** The list of somebody else with what the draft has added, changed and removed. */
function mergeList<T>(draft: T[], before: T[], now: T[], keyOf: (value: T) => string): T[] {
  const old = new Map(before.map((value) => [keyOf(value), value]))
  const mine = new Map(draft.map((value) => [keyOf(value), value]))
  const touched = (key: string) => !same(old.get(key), mine.get(key))
  const merged = now.flatMap((value) => {
    const key = keyOf(value)
    const own = mine.get(key)
    return !touched(key) ? [value] : own === undefined ? [] : [own]
  })
  const there = new Set(now.map(keyOf))
  return [...merged, ...draft.filter((value) => touched(keyOf(value)) && !there.has(keyOf(value)))]
}

/** The draft on top of what somebody else has saved: what the draft has changed stays as in the draft, nothing else. */
export function rebase(draft: Profile, before: Profile, now: Profile): Profile {
  const merged = { ...now }
  for (const key of Object.keys(TAB_OF) as Key[]) {
    if (!same(draft[key], before[key])) Object.assign(merged, { [key]: draft[key] })
  }
  merged.categories = mergeList(draft.categories, before.categories, now.categories, (category) => category)
  merged.services = mergeList(draft.services, before.services, now.services, (rule) => rule.service)
  merged.rules = mergeList(draft.rules, before.rules, now.rules, ruleKey)
  merged.minutes_for = mergeList(draft.minutes_for, before.minutes_for, now.minutes_for, (limit) => limit.of)
  merged.exceptions = mergeList(draft.exceptions, before.exceptions, now.exceptions, (exception) => exception.day)
  // These two are one choice of the page.
  if (strictnessOf(draft) !== strictnessOf(before)) {
    merged.strict = draft.strict
    merged.allow_list_only = draft.allow_list_only
  }
  return merged
}

/** Where the field stands that the server speaks of: `offline[2].start`, `profile.rules[0].pattern`; null = nowhere. */
export function tabOf(where: string): Tab | null {
  const key = /^(?:draft\.|profile\.)?([a-z_]+)/.exec(where)?.[1] ?? ''
  return key in TAB_OF ? TAB_OF[key as keyof typeof TAB_OF] : null
}
