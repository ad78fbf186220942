/** Names that people or devices chose, for places where they cannot have an element of their own. */

// Marks that turn the direction of the text after them: harmless in an element with class "hostile", not in a sentence.
const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** The name without marks that would turn the words around it: for toasts, titles and labels. */
export function plain(name: string): string {
  return name.replace(DIRECTIONS, '')
}
