/** Minutes left in words and as a share. */

import { duration, t } from '../lib/i18n.svelte'
import type { Allowance } from '../lib/schema'

export type Left = {
  limited: boolean
  minutes: number // left, whole
  share: number // of the limit that binds, 0..1; 1 without a limit
  words: string // "40 of 120 minutes left"
}

const FEW = 10

/** What is left of an allowance. The week's limit speaks when it ends before the day's. */
export function tellLeft(allowance: Allowance): Left {
  const { used_today, limit_today, used_week, limit_week, left } = allowance
  if (left === null || (limit_today === null && limit_week === null)) {
    return { limited: false, minutes: 0, share: 1, words: t('words.used_today', { time: duration(used_today) }) }
  }
  const minutes = Math.max(0, Math.floor(left + 1e-6)) // 59.9 are 59, sums of parts of minutes are not exact
  const byDay = limit_today !== null && (limit_week === null || limit_today - used_today <= limit_week - used_week)
  const limit = byDay ? limit_today : (limit_week ?? 0)
  const share = limit > 0 ? Math.min(1, left / limit) : 0
  if (limit === 0) return { limited: true, minutes: 0, share: 0, words: t(byDay ? 'words.none_today' : 'words.none_week') }
  const words = t(byDay ? 'words.left_today' : 'words.left_week', { count: limit, left: minutes })
  return { limited: true, minutes, share, words }
}

/** Whether so few minutes are left that it is worth a warning colour. */
export function isShort(left: Left): boolean {
  return left.limited && left.minutes < FEW
}
