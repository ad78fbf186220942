import { expect, it } from 'vitest'

import { join } from './catalogue'

it('is all texts of its parts, and changes none of them', () => {
  const common = { 'common.save': 'Save' }
  const minutes = { 'words.minutes': { one: '{count} minute', other: '{count} minutes' } }
  expect(join(common, minutes)).toEqual({ 'common.save': 'Save', 'words.minutes': minutes['words.minutes'] })
  expect(Object.keys(common)).toEqual(['common.save'])
  expect(join()).toEqual({})
})
