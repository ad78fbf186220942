/** A first name for a device that nobody has named, out of what it says of itself. */

import type { Sighting } from './schema'

const LONGEST = 60
// Made up by the system, not by people: android-3f9c21ab77d0, DESKTOP-8H2K1QX, localhost.
const MACHINE_MADE = /^(android|desktop|laptop|host|localhost|unknown|null|espressif|esp|win)?[-_ ]?[0-9a-z]*\d[0-9a-z]{5,}$|^(localhost|unknown|null|android|iphone|ipad)$/i

/**
 * A name such as `Ana's iPad` of `Anas-iPad.lan`, or the maker, or "". Host names are hostile text: signs that steer
 * the writing or cannot be seen are dropped, and it is cut at 60 letters.
 */
export function suggestName(sighting: Pick<Sighting, 'hostname' | 'maker'>): string {
  const plain = sighting.hostname.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '').split('.')[0] ?? ''
  const words = plain.replace(/[-_\s]+/g, ' ').trim()
  if (words && !MACHINE_MADE.test(plain.trim())) return cut(words)
  const known = /^(iphone|ipad|android)/i.exec(plain)?.[0]
  if (known) return { iphone: 'iPhone', ipad: 'iPad', android: 'Android' }[known.toLowerCase()] ?? known
  return cut(sighting.maker.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '').trim())
}

function cut(text: string): string {
  return [...text].slice(0, LONGEST).join('').trim()
}
