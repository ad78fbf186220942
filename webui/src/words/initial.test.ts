import { expect, it } from 'vitest'

import { initialOf } from './initial'

it.each([
  ['Ana', 'A'],
  ['ștefan', 'Ș'],
  ['яна', 'Я'],
  ['7', '7'],
  ['s\u0326tefan', 'S\u0326'],
  ['и\u0306ван', 'И\u0306'],
  ['1\ufe0f\u20e3 one', '1\ufe0f\u20e3'],
  ['🇲🇩 Andrei', '🇲🇩'],
  ['👨‍👩‍👧 all', '👨‍👩‍👧'],
  ['', ''],
])('is the first letter of %s', (name, letter) => {
  expect(initialOf(name)).toBe(letter)
})

it('says the same as a segmenter for all European letters', () => {
  const segmenter = new Intl.Segmenter()
  for (let code = 0x21; code < 0x600; code += 1) {
    for (const behind of ['', 'a', '\u0301', '\u0483', '\u200d', '\ufe0f']) {
      const name = String.fromCodePoint(code) + behind
      const first = [...segmenter.segment(name)][0]!.segment
      expect(initialOf(name), code.toString(16)).toBe(first.toLocaleUpperCase())
    }
  }
})
