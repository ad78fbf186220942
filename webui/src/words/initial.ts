// European letters and digits, with nothing behind them that belongs to them (accents, keycaps, joiners).
const PLAIN = /^[!-\u02ff\u0370-\u0482\u048a-\u0588](?![\u0300-\u036f\u0483-\u0489\u200d\u20d0-\u20ff\ufe00-\ufe0f])/

/** The first letter of a name, large, as people count letters: with its accents, and a flag as one. */
export function initialOf(name: string): string {
  const plain = PLAIN.exec(name)
  if (plain) return plain[0].toLocaleUpperCase()
  // To make a segmenter takes a slow phone a tenth of a second: only for the names that need one.
  for (const { segment } of new Intl.Segmenter().segment(name)) return segment.toLocaleUpperCase()
  return ''
}
