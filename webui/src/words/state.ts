/** What a child's state is called, drawn with and coloured like. */

import { has, t } from '../lib/i18n.svelte'
import type { IconName } from '../components/Icon.svelte'
import type { Card } from '../lib/schema'
import { until } from './times'

export type Tone = 'good' | 'soft' | 'night' | 'warn'
export type Told = { icon: IconName; tone: Tone; words: string }

/** The label of a window: `bedtime` and `homework` are translated, a parent's own word stands as it is. */
export function tellLabel(label: string): string {
  const key = `words.label_${label}`
  return has(key) ? t(key) : label
}

/** A state in a few words: `Asleep until 07:00`. */
export function tellState(card: Pick<Card, 'state' | 'of' | 'until'>, now: number): Told {
  switch (card.state) {
    case 'online':
      return { icon: 'globe', tone: 'good', words: t('home.online') }
    case 'away':
      return { icon: 'device', tone: 'soft', words: t('home.away') }
    case 'asleep':
      return { icon: 'moon', tone: 'night', words: t('home.asleep', { until: until(card.until, now) }) }
    case 'offline': {
      const values = { until: until(card.until, now), label: tellLabel(card.of) }
      return { icon: 'clock', tone: 'warn', words: t(card.of ? 'home.offline_label' : 'home.offline', values) }
    }
    case 'paused':
      return { icon: 'pause', tone: 'warn', words: t('home.paused', { until: until(card.until, now) }) }
    case 'used-up':
      return { icon: 'clock', tone: 'warn', words: t('home.used_up') }
    case 'no-clock':
      return { icon: 'clock', tone: 'warn', words: t('home.no_clock') }
  }
}
