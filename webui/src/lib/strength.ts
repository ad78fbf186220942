/** How hard a password is to guess, in words: a hint while typing, never a hurdle beyond the eight letters. */

export const LEAST_LENGTH = 8
export type Strength = 'short' | 'weak' | 'fair' | 'good'

// What people take first, here and elsewhere; compared without case, also as a part.
const COMMON = [
  'password', 'parola', 'пароль', 'qwerty', 'йцукен', 'asdf', '1234', '4321', '0000', '1111', 'abcd', 'letmein',
  'admin', 'guardian', 'welcome', 'iloveyou', 'teiubesc', 'familia', 'семья', 'moldova', 'chisinau',
]

/** `about` are words that others know: the person's name. */
export function judgePassword(password: string, about: string[] = []): Strength {
  const length = [...password].length
  if (length < LEAST_LENGTH) return 'short'
  let rest = password.toLowerCase()
  for (const word of [...COMMON, ...about.map((word) => word.trim().toLowerCase()).filter((word) => word.length >= 3)]) {
    rest = rest.replaceAll(word, '*')
  }
  const left = [...rest].length // what remains when easy words count as one letter
  const different = new Set(rest).size
  if (left < 7 || different < 5) return 'weak'
  const kinds = [/\p{Ll}/u, /\p{Lu}/u, /\p{N}/u, /[^\p{L}\p{N}]/u].filter((kind) => kind.test(password)).length
  return left >= 14 || (left >= 10 && kinds >= 3) ? 'good' : 'fair'
}
