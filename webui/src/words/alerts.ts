/** Alerts in words. */

import { has, t } from '../lib/i18n.svelte'
import type { Alert } from '../lib/schema'
import { start } from '../lib/session.svelte'
import { nameOf } from './names.svelte'

/** Ways around the filter that have words of their own, as `guardian alerts` knows them. */
const BYPASS_KINDS = new Set([
  'doh', 'dot', 'dns', 'dns-first', 'vpn', 'proxy', 'tor', 'relay', 'canary', 'ech', 'unreadable', 'conflict', 'safe-search',
])

/** What is wrong with the hotline's feed, by what a parent can do. */
const FEED_CAUSES = new Set(['refused', 'offline', 'clock', 'behind'])

function feedKey(alert: Alert): string {
  return `feed-stale_${FEED_CAUSES.has(alert.of) ? alert.of : 'behind'}`
}

/** Why the box cannot save or read what was set. */
const STORAGE_CAUSES = new Set(['full', 'read-only', 'settings'])

function storageKey(alert: Alert): string {
  return `storage_${STORAGE_CAUSES.has(alert.of) ? alert.of : 'read-only'}`
}

function kindOf(alert: Alert): string {
  return BYPASS_KINDS.has(alert.of) ? alert.of : 'other'
}

function tagOf(alert: Alert): string {
  return alert.of.includes(':') ? alert.of : `category:${alert.of}`
}

/** What happened, and what it means. */
export function tellAlert(alert: Alert): { title: string; about: string } {
  if (alert.kind === 'bypass') {
    const kind = kindOf(alert)
    return { title: t(`alerts.kind_${kind}`), about: t(`alerts.kind_${kind}_about`) }
  }
  if (alert.kind === 'feed-stale') {
    return { title: t(`alerts.${feedKey(alert)}`), about: t(`alerts.${feedKey(alert)}_about`) }
  }
  if (alert.kind === 'storage') {
    return { title: t(`alerts.${storageKey(alert)}`), about: t(`alerts.${storageKey(alert)}_about`) }
  }
  return { title: t(`alerts.${alert.kind}`, { name: nameOf(tagOf(alert)) }), about: t(`alerts.${alert.kind}_about`) }
}

/** What a parent can do, for actions that are advice; "" for those that lead somewhere or change something. */
export function tellAdvice(alert: Alert): string {
  switch (alert.action.kind) {
    case 'ask':
      if (alert.kind !== 'burst') return t('alerts.ask_text')
      return t(tagOf(alert) === 'category:self_harm' ? 'alerts.ask_self_harm' : 'alerts.ask_burst')
    case 'update-lists':
      return t('alerts.update_text')
    case 'check': {
      if (alert.kind === 'feed-stale' || alert.kind === 'software-old') {
        const support = start()?.support
        const advice = alert.kind === 'feed-stale' ? feedKey(alert) : alert.kind
        return t(`alerts.check_${advice}`) + (support ? ` ${t('session.support', { support })}` : '')
      }
      const key = alert.of === 'settings' ? `alerts.check_${storageKey(alert)}` : `alerts.check_${alert.kind}`
      return t(has(key) ? key : 'alerts.check_other')
    }
    default:
      return ''
  }
}
