/** Why a site is closed, in a few words for a parent. */

import { t } from '../lib/i18n.svelte'
import { nameOf } from './names.svelte'
import { tellLabel } from './state'

/** Words for what the policy says: `category:games`, `rule:block example.com`, `schedule:bedtime`; "" = it is open. */
export function tellWhy(why: string): string {
  if (!why) return t('requests.why_open')
  const colon = why.indexOf(':')
  const reason = colon < 0 ? why : why.slice(0, colon)
  const of = colon < 0 ? '' : why.slice(colon + 1)
  switch (reason) {
    case 'category':
    case 'service':
      return t('requests.why_kind', { name: nameOf(why) })
    case 'schedule':
      return t('requests.why_schedule', { label: tellLabel(of) })
    case 'rule':
      return t('requests.why_rule')
    case 'pause':
      return t('requests.why_pause')
    case 'clock':
      return t('requests.why_clock')
    case 'minutes':
      return t('requests.why_minutes')
    case 'bypass':
      return t('requests.why_bypass')
    case 'allow-list-only':
      return t('requests.why_allow_list')
    default:
      return t('requests.why_other')
  }
}
