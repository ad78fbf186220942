/** The parts of the settings, in the order of the page, and who may see them. */

import type { IconName } from '../components/Icon.svelte'

export type PartName =
  | 'me' | 'people' | 'home' | 'messages' | 'journal' | 'backup' | 'programs' | 'report' | 'state' | 'about' | 'reset'
export type Part = { name: PartName; icon: IconName; helpers?: boolean }

export const GROUPS: { name: string; parts: Part[] }[] = [
  {
    name: 'family',
    parts: [
      { name: 'me', icon: 'child', helpers: true },
      { name: 'people', icon: 'people' },
      { name: 'home', icon: 'globe' },
      { name: 'messages', icon: 'letter' },
    ],
  },
  {
    name: 'records',
    parts: [
      { name: 'journal', icon: 'book' },
      { name: 'backup', icon: 'save' },
    ],
  },
  { name: 'help', parts: [{ name: 'report', icon: 'flag', helpers: true }] },
  {
    name: 'box',
    parts: [
      { name: 'state', icon: 'pulse' },
      { name: 'programs', icon: 'key' },
      { name: 'about', icon: 'info', helpers: true },
      { name: 'reset', icon: 'bin' },
    ],
  },
]
