import { expect, it } from 'vitest'

import { fold } from './find'

it('folds case and marks', () => {
  expect(fold('  Întâlniri ȘȚ ')).toBe('intalniri st')
  expect(fold('Ёж')).toBe('еж')
  expect(fold('Disney+')).toBe('disney+')
})
