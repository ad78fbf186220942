/** A profile's settings, its changes and the answers of `explain` in words. */

import { has, language, moment, t } from '../lib/i18n.svelte'
import type { Answer, Catalogue, Profile, ServiceRule } from '../lib/schema'
import { sayLabel, sayMinutes, sayWindows } from '../timetable/words'
import type { Difference } from './changes'
import { readPattern } from './site'

export const GROUP = 'group:'

export function sayService(catalogue: Catalogue, id: string): string {
  return catalogue.services.find((service) => service.id === id)?.name ?? id
}

export function sayGroup(catalogue: Catalogue, id: string): string {
  return catalogue.groups.find((group) => group.id === id)?.names[language()] ?? id
}

export function sayCategory(catalogue: Catalogue, id: string): string {
  return catalogue.categories.find((category) => category.id === id)?.names[language()] ?? id
}

/** What minutes are counted for: all use, an app, a group of apps. */
export function sayOf(catalogue: Catalogue, of: string): string {
  if (!of) return t('profile.minutes.all')
  return of.startsWith(GROUP) ? t('profile.minutes.group', { name: sayGroup(catalogue, of.slice(GROUP.length)) }) : sayService(catalogue, of)
}

export function sayBand(band: string): string {
  return band ? t(`age.${band}`) : t('profile.age.adult')
}

export type ServiceState = 'kind' | 'allow' | 'block' | 'hours'

/** What a profile says of an app: as its kind says, allowed, blocked, at certain hours. */
export function stateOf(rule: ServiceRule | undefined): ServiceState {
  if (!rule) return 'kind'
  return rule.hours.length ? 'hours' : rule.action
}

/** One change of a draft, `Gambling: blocked`. */
export function sayDifference(change: Difference, after: Profile, catalogue: Catalogue): string {
  const { part, how, of } = change
  switch (part) {
    case 'categories':
      return t(how === 'added' ? 'profile.change.blocked' : 'profile.change.opened', { name: sayCategory(catalogue, of) })
    case 'services': {
      const rule = after.services.find((each) => each.service === of)
      return `${sayService(catalogue, of)}: ${t(`profile.state.${stateOf(rule)}`)}${rule?.hours.length ? ` (${sayWindows(rule.hours)})` : ''}`
    }
    case 'rules': {
      const [action = '', pattern = ''] = of.split(' ')
      return t(`profile.change.rule_${how === 'removed' ? 'removed' : action}`, { pattern: readPattern(pattern) })
    }
    case 'minutes':
      return `${t('profile.tab.minutes')}: ${sayMinutes(after.minutes)}`
    case 'minutes_for': {
      const limit = after.minutes_for.find((each) => each.of === of)
      return `${sayOf(catalogue, of)}: ${limit ? sayMinutes(limit.minutes) : t('profile.minutes.no_limit')}`
    }
    case 'offline':
      return `${t('profile.tab.hours')}: ${sayWindows(after.offline) || t('profile.hours.none')}`
    case 'exceptions':
      return t('profile.exceptions.title')
    case 'name':
      return `${t('profile.name')}: ${of}`
    case 'age_band':
      return `${t('profile.age.label')}: ${sayBand(of)}`
    case 'language':
      return `${t('profile.language')}: ${of ? t(`profile.language_${of}`) : t('profile.language_any')}`
    case 'visibility':
      return `${t('profile.visibility.title')}: ${t(`profile.visibility.${of}`)}`
    case 'youtube':
      return `YouTube: ${t(`profile.youtube.${of}`)}`
    case 'strictness':
      return `${t('profile.strictness.title')}: ${t(`profile.strictness.${of}`)}`
    case 'safe_search':
      return `${t('profile.safe_search')}: ${t(of === 'true' ? 'profile.on' : 'profile.off')}`
    case 'bypass_protection':
      return `${t('profile.bypass')}: ${t(of === 'true' ? 'profile.on' : 'profile.off')}`
    default: // filtered
      return t(of === 'true' ? 'profile.filtered_on' : 'profile.filtered_off')
  }
}

/** Whether a reason is about the clock, not about the site: then the same is asked once more without it. */
export function isOfTheClock(reason: string): boolean {
  return reason === 'pause' || reason === 'clock' || reason === 'schedule' || reason === 'minutes'
}

/** Why a site is open or blocked, in one sentence without the site's name. */
export function sayReason(answer: Answer, catalogue: Catalogue): string {
  const of = answer.of.replace(/^(?:category|service|schedule|rule|minutes|bypass):/, '')
  const opens = answer.action !== 'block'
  switch (answer.reason) {
    case 'schedule':
      return t('profile.why.schedule', { label: sayLabel(of) })
    case 'minutes': {
      const known = of.startsWith(GROUP) || catalogue.services.some((service) => service.id === of)
      return known ? t('profile.why.minutes_of', { name: sayOf(catalogue, of) }) : t('profile.why.minutes')
    }
    case 'rule':
      return t(opens ? 'profile.why.rule_allow' : 'profile.why.rule_block', { pattern: readPattern(of.replace(/^(?:allow|block) /, '')) })
    case 'service':
      return t(opens ? 'profile.why.service_allow' : 'profile.why.service_block', { name: sayService(catalogue, of) })
    case 'category':
      return t('profile.why.category', { name: sayCategory(catalogue, of) })
    case 'allow-list-only':
      return t(opens ? 'profile.why.good_list' : 'profile.why.only_allowed')
    default: {
      const key = `profile.why.${answer.reason}`
      return has(key) ? t(key) : answer.sentence
    }
  }
}

/** `until tomorrow, 07:00`; "" when no clock changes it. */
export function sayUntil(answer: Answer): string {
  return answer.until === null ? '' : t('profile.until', { time: moment(answer.until) })
}

/** Lines on what an age band sets: bedtime, minutes, what parents see. */
export function sayPreset(preset: Profile): string[] {
  const nights = preset.offline.map((window) => `${sayWindows([window])}`)
  return [
    preset.offline.length ? t('profile.preset.bedtime', { hours: nights.join('; ') }) : t('profile.preset.no_bedtime'),
    `${t('profile.tab.minutes')}: ${sayMinutes(preset.minutes)}`,
    t(`profile.preset.sees_${preset.visibility}`),
  ]
}

