/** What the child's page says: what is now, and why something did not work. */

import { ApiError } from '../lib/api'
import { has, t } from '../lib/i18n.svelte'
import type { Allowance, ChildPage } from '../lib/schema'
import { tellLabel } from '../words/state'
import { at, until } from '../words/times'

type Now = Pick<ChildPage, 'state' | 'of' | 'until' | 'now' | 'allowances'>

/** What is now, in one sentence. Who reads this page is online, even where the box has not noticed it yet. */
export function tellNow(page: Now): string {
  const end = until(page.until, page.now)
  switch (page.state) {
    case 'asleep':
      return t('child.now_asleep', { until: end })
    case 'offline':
      if (page.of === 'homework') return t('child.now_homework', { until: end })
      return page.of
        ? t('child.now_offline_label', { until: end, label: tellLabel(page.of) })
        : t('child.now_offline', { until: end })
    case 'paused':
      return t('child.now_paused', { until: end })
    case 'used-up':
      return t(endsTheWeek(page.allowances) ? 'child.now_used_up_week' : 'child.now_used_up')
    case 'no-clock':
      return t('child.now_no_clock')
    default:
      return t('child.now_open')
  }
}

function endsTheWeek(allowances: Allowance[]): boolean {
  const all = allowances.find((one) => one.of === '')
  return all?.limit_week != null && all.used_week >= all.limit_week
}

/** What comes next, or ""; the end of what is now was told already. */
export function tellNext(page: Pick<ChildPage, 'next' | 'now' | 'until'>): string {
  if (!page.next || (page.next.kind === 'online' && page.next.at === page.until)) return ''
  const when = at(page.next.at, page.now)
  if (page.next.kind === 'online') return t('child.next_online', { at: when })
  return page.next.of
    ? t('child.next_offline', { label: tellLabel(page.next.of), at: when })
    : t('child.next_offline_plain', { at: when })
}

/** Why a call did not work, kindly. */
export function explainKindly(error: unknown): string {
  const key = error instanceof ApiError ? `child.error_${error.code}` : ''
  return t(has(key) ? key : 'child.error_other')
}
