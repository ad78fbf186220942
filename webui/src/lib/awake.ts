/** "30 minutes longer": the hours without internet are lifted for tonight, and the way back. */

import { get, post, put } from './api'
import type { AwakeCall, Done, Household, Profile } from './schema'

/** `until` is when the hours go on, in epoch seconds; `undo` makes them as they were. */
export type Longer = { until: number; undo: () => Promise<void> }

async function read(id: string): Promise<{ revision: number; profile: Profile }> {
  const household = await get<Household>('/household')
  const profile = household.profiles.find((each) => each.id === id)
  if (!profile) throw new Error(`there is no profile ${id}`)
  return { revision: household.revision, profile }
}

/** Let a profile stay online longer, with the minutes that it needs for that. Throws ApiError. */
export async function stayUp(id: string, minutes: number): Promise<Longer> {
  const before = (await read(id)).profile
  const done = await post<Done>(`/profiles/${encodeURIComponent(id)}/awake`, { minutes, bonus: true } satisfies AwakeCall)
  if (done.until === null) throw new Error('the box has not said until when')
  const undo = async () => {
    const { revision, profile } = await read(id) // what was changed meanwhile stays
    const back = { ...profile, exceptions: before.exceptions, bonuses: before.bonuses }
    await put<Profile>(`/profiles/${encodeURIComponent(id)}`, back, { revision })
  }
  return { until: done.until, undo }
}
