/** What a parent types as a site: an address from a browser, a name, a pattern. The box checks it; here it is only tidied. */

export type Reach = 'below' | 'exact' | 'pattern'

/**
 * The name in an address: `https://www.Example.com/page?x` is `example.com`, for who means a site means it without the
 * www too. Stars and a leading = stay, and what follows a = stays as it is.
 */
export function tidySite(text: string): string {
  const exact = text.trim().startsWith('=') ? '=' : ''
  const bare = text
    .trim()
    .replace(/^=/, '')
    .replace(/^[a-z][a-z0-9+.-]*:\/\//i, '')
    .replace(/^\/\//, '')
    .replace(/[/?#\\].*$/s, '')
    .replace(/^.*@/s, '')
    .replace(/:\d*$/, '')
    .replace(/\.+$/, '')
    .trim()
    .toLowerCase()
  const site = exact ? bare : bare.replace(/^www\.(?=[^.]+\.)/, '')
  return site && exact + site
}

/** How far a pattern reaches: the site and all below it, exactly this name, or names with a star. */
export function reachOf(pattern: string): Reach {
  return pattern.startsWith('=') ? 'exact' : pattern.includes('*') ? 'pattern' : 'below'
}

/** The pattern for a tidied text, with the reach that was chosen; a text that says it itself stays. */
export function patternOf(site: string, reach: Reach): string {
  if (!site || reachOf(site) !== 'below') return site
  return reach === 'exact' ? `=${site}` : reach === 'pattern' ? `*.${site}` : site
}

/** A name that the pattern covers, to ask what would happen to it; "" when only the box could tell one. */
export function sampleOf(pattern: string): string {
  if (pattern.startsWith('=')) return pattern.slice(1)
  if (!pattern.includes('*')) return pattern
  const [first = '', ...rest] = pattern.split('.')
  if (rest.length === 0 || rest.some((label) => label.includes('*'))) return ''
  return [first === '*' ? 'www' : first.replaceAll('*', '1'), ...rest].join('.')
}

const [BASE, T_MIN, T_MAX, SKEW, DAMP, INITIAL_BIAS, INITIAL_N] = [36, 1, 26, 38, 700, 72, 128] // RFC 3492

/** One label of a name as people read it: `xn--e1afmkfd` is `пример`. What cannot be read stays as it is. */
function readLabel(label: string): string {
  if (!label.startsWith('xn--')) return label
  const coded = label.slice(4)
  const split = coded.lastIndexOf('-')
  const points = [...coded.slice(0, Math.max(split, 0))].map((char) => char.codePointAt(0) ?? 0)
  let [n, bias, index, place] = [INITIAL_N, INITIAL_BIAS, 0, split + 1]
  while (place < coded.length) {
    const before = index
    for (let weight = 1, k = BASE; ; k += BASE) {
      const digit = 'abcdefghijklmnopqrstuvwxyz0123456789'.indexOf(coded[place] ?? '?')
      if (digit < 0) return label
      place += 1
      index += digit * weight
      const threshold = Math.min(Math.max(k - bias, T_MIN), T_MAX)
      if (digit < threshold) break
      weight *= BASE - threshold
      if (weight > 0x10ffff * BASE) return label
    }
    const count = points.length + 1
    let delta = Math.floor((index - before) / (before === 0 ? DAMP : 2))
    delta += Math.floor(delta / count)
    let k = 0
    for (; delta > ((BASE - T_MIN) * T_MAX) / 2; k += BASE) delta = Math.floor(delta / (BASE - T_MIN))
    bias = k + Math.floor(((BASE - T_MIN + 1) * delta) / (delta + SKEW))
    n += Math.floor(index / count)
    index %= count
    if (n > 0x10ffff || (n >= 0xd800 && n < 0xe000)) return label
    points.splice(index, 0, n)
    index += 1
  }
  return String.fromCodePoint(...points)
}

/** A pattern as people read it, with the letters of its country: for show only, the box is told the pattern itself. */
export function readPattern(pattern: string): string {
  return pattern
    .replace(/^=/, '')
    .split('.')
    .map(readLabel)
    .join('.')
}
