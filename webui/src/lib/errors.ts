/** Errors of calls in words for people. */

import { ApiError } from './api'
import { has, t } from './i18n.svelte'

export function explain(error: unknown): string {
  if (!(error instanceof ApiError)) return t('error.unknown')
  if (error.code === 'throttled') return t('error.throttled', { count: error.retryAfter ?? 60 })
  if (error.code === 'wrong-password' && error.status === 403) return t('error.wrong-own-password') // not the sign-in
  const key = `error.${error.code}`
  const words = has(key) ? t(key) : t('error.unknown')
  const details = error.problems.map((problem) => problem.message)
  if (error.code === 'not-valid' && details.length === 0 && error.message) details.push(error.message)
  return [words, ...details].join(' ')
}
