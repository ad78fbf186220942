import { describe, expect, it } from 'vitest'

import type { Rule } from '../lib/schema'
import { canBeAllowed, withAllowed } from './rules'

const rule = (action: Rule['action'], pattern: string, expires: number | null = null): Rule => ({ action, pattern, expires, note: '' })

describe('withAllowed', () => {
  const other = rule('block', 'other.example')

  it('adds a rule and keeps the others', () => {
    expect(withAllowed([other], 'a.example', null, 'n')).toEqual([
      other,
      { action: 'allow', pattern: 'a.example', expires: null, note: 'n' },
    ])
  })

  it('for a while: a rule that closes the site stays, because it holds again afterwards', () => {
    const closed = rule('block', 'a.example')
    expect(withAllowed([closed, other], 'a.example', 100, '')).toEqual([closed, other, rule('allow', 'a.example', 100)])
  })

  it('for good: it takes the place of the rule that closes the site', () => {
    expect(withAllowed([rule('block', 'a.example'), other], 'a.example', null, '')).toEqual([other, rule('allow', 'a.example')])
  })

  it('is not there twice', () => {
    const once = withAllowed([other], 'a.example', 100, '')
    expect(withAllowed(once, 'a.example', 200, '')).toEqual([other, rule('allow', 'a.example', 200)])
    expect(once).toHaveLength(2) // what was given is as it was
  })
})

describe('canBeAllowed', () => {
  it.each(['rule', 'bypass', 'service', 'category', 'allow-list-only'])('%s: yes', (reason) => expect(canBeAllowed(reason)).toBe(true))
  it.each(['pause', 'schedule', 'minutes', 'mandatory', 'helpline', 'rebinding', ''])('%s: no', (reason) =>
    expect(canBeAllowed(reason)).toBe(false),
  )
})
