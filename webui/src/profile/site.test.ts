import { describe, expect, it } from 'vitest'

import { patternOf, reachOf, readPattern, sampleOf, tidySite } from './site'

describe('tidySite', () => {
  it('finds the name in what people paste', () => {
    const pasted = [
      'https://www.Example.com/page?x=1#y', 'example.com', ' Example.COM. ', '//example.com:8443/', 'http://user:pw@example.com/a@b',
      'пример.рф/путь', '=Example.com', '*.example.com', 'ads*.example.com/', 'example.com\\x', '', '   ', 'https://', '=',
    ]
    expect(pasted.map(tidySite)).toEqual([
      'example.com', 'example.com', 'example.com', 'example.com', 'example.com',
      'пример.рф', '=example.com', '*.example.com', 'ads*.example.com', 'example.com', '', '', '', '',
    ])
  })
})

it('keeps a www where it is the name', () => {
  expect(['www.com', '=www.example.com', 'www.example.co.uk', '*.www.example.com'].map(tidySite)).toEqual([
    'www.com', '=www.example.com', 'example.co.uk', '*.www.example.com',
  ])
})

describe('patternOf', () => {
  it('adds the reach, unless it is written', () => {
    expect(patternOf('a.example', 'below')).toBe('a.example')
    expect(patternOf('a.example', 'exact')).toBe('=a.example')
    expect(patternOf('a.example', 'pattern')).toBe('*.a.example')
    expect(patternOf('=a.example', 'pattern')).toBe('=a.example')
    expect(patternOf('ads*.example', 'exact')).toBe('ads*.example')
    expect(patternOf('', 'exact')).toBe('')
  })

  it('is read back', () => {
    for (const reach of ['below', 'exact', 'pattern'] as const) expect(reachOf(patternOf('a.example', reach))).toBe(reach)
  })
})

describe('sampleOf', () => {
  it('names a site that is covered', () => {
    expect(['a.example', '=a.example', '*.a.example', 'ads*.a.example', '*ads*', 'a.*.example'].map(sampleOf)).toEqual([
      'a.example', 'a.example', 'www.a.example', 'ads1.a.example', '', '',
    ])
  })
})

describe('readPattern', () => {
  it('shows the letters of a country', () => {
    const coded = ['=xn--e1afmkfd.xn--p1ai', 'xn--bcher-kva.example', '*.xn--80ak6aa92e.com', 'plain.example', 'xn--n3h.example', 'xn--mgbh0fb.example']
    expect(coded.map(readPattern)).toEqual(['пример.рф', 'bücher.example', '*.аррӏе.com', 'plain.example', '☃.example', 'مثال.example'])
  })

  it('agrees with the browser about what it wrote itself', () => {
    for (const name of ['școală.example', 'дети.рф', 'kinderschutz-für-alle.example', 'ελλάδα.example', '日本語.example', 'ñ.example']) {
      expect(readPattern(new URL(`http://${name}`).hostname)).toBe(name)
    }
  })

  it('leaves alone what is not of the kind', () => {
    for (const name of ['xn--.example', 'xn--!!!.example', 'xn--99999999999999.example', 'xn--a_b.example']) {
      expect(readPattern(name).endsWith('.example')).toBe(true)
    }
    expect(readPattern('xn--99999999999999')).toBe('xn--99999999999999')
    expect(readPattern('xn--!!!')).toBe('xn--!!!')
  })
})
