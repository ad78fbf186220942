import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, it } from 'vitest'

import { drawingOf, hueOf, initialOf } from './drawings'

const LISTS = resolve(import.meta.dirname, '../../../blocklists')
const read = (file: string) => readFileSync(resolve(LISTS, file), 'utf8')

describe('drawingOf', () => {
  it('has a drawing for every group and every kind of the catalogue', () => {
    const groups = new Set([...read('services.yaml').matchAll(/^ {4}group: (\w+)$/gm)].map((found) => found[1] as string))
    const kinds = [...read('categories.yaml').matchAll(/^ {2}(\w+):$/gm)].map((found) => found[1] as string)
    expect(groups.size).toBeGreaterThan(5)
    expect(kinds.length).toBeGreaterThan(20)
    const plain = drawingOf('nobody has drawn this')
    expect([...groups, ...kinds].filter((id) => drawingOf(id) === plain)).toEqual([])
  })
})

describe('tiles', () => {
  it('have a steady colour and a letter', () => {
    expect(hueOf('youtube')).toBe(hueOf('youtube'))
    expect(new Set(['youtube', 'tiktok', 'netflix', 'roblox', 'discord'].map(hueOf)).size).toBe(5)
    expect([initialOf('youtube'), initialOf('4chan'), initialOf(' «вк»'), initialOf('...')]).toEqual(['Y', '4', 'В', '?'])
  })
})
