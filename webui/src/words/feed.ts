/** The hotline's list in words: how it stands, and why it is not newer. */

import { moment, t } from '../lib/i18n.svelte'
import type { HotlineFeed } from '../lib/schema'

const DAY = 86_400
/** Which sentence tells of a problem, by the box's codes; all others are told alike. */
const WHY: Record<string, string> = {
  offline: 'offline', 'too-slow': 'offline', 'not-signed': 'unsigned', rollback: 'unsigned', expired: 'expired', clock: 'clock',
  disk: 'disk',
} // prettier-ignore

function tellLast(feed: HotlineFeed): string {
  return feed.succeeded ? t('state.feed_last', { time: moment(feed.succeeded) }) : ''
}

/** How the list stands, a line each. */
export function tellFeed(feed: HotlineFeed): string[] {
  const days = Math.floor((feed.age ?? 0) / DAY)
  const lines: string[] = []
  if (feed.state === 'never') lines.push(t('state.feed_never'))
  else if (feed.state === 'refused') lines.push(t('state.feed_refused'), tellLast(feed))
  else if (feed.state === 'stale' && days > 0 && feed.succeeded) {
    lines.push(t('state.feed_old', { count: days, time: moment(feed.succeeded) }))
  } else if (feed.state === 'ok' && !feed.problem && feed.succeeded) {
    lines.push(t('state.feed_ok', { time: moment(feed.succeeded) }))
  } else lines.push(tellLast(feed))
  return lines.filter((line) => line !== '')
}

/** Why the list is not newer; "" when it is the newest, or nobody knows. */
export function tellProblem(feed: HotlineFeed): string {
  if (!feed.problem) return ''
  return t(`state.feed_${Object.hasOwn(WHY, feed.problem) ? WHY[feed.problem] : 'other'}`)
}
