/** Finding by a few typed letters. */

/** A text without case and marks, so that `gratar` finds `Grătar`, and `еж` finds `Ёж`. */
export function fold(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase().replaceAll('ё', 'е').trim()
}
