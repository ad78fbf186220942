/** A profile as it is saved, and the draft that a parent makes of it. */

import { ApiError, get, post, put, remove } from '../lib/api'
import { stayUp, type Longer } from '../lib/awake'
import type { BonusCall, Catalogue, Done, FieldProblem, Household, PauseCall, Profile } from '../lib/schema'
import { listDifferences, rebase, same, tabOf, type Difference, type Tab } from './changes'

export class Editor {
  readonly id: string
  household = $state.raw<Household | null>(null)
  catalogue = $state.raw<Catalogue | null>(null)
  /** As the box has it. */
  saved = $state.raw<Profile | null>(null)
  /** As the parent wants it; null until it is loaded. */
  draft = $state<Profile | null>(null)
  /** What somebody else has saved while this draft was made; the parent says what shall hold. */
  theirs = $state.raw<Profile | null>(null)
  /** There is no such profile (any more). */
  missing = $state(false)
  error = $state.raw<unknown>(null)
  problems = $state.raw<FieldProblem[]>([])
  busy = $state(false)
  differences = $derived<Difference[]>(this.saved && this.draft ? listDifferences(this.saved, $state.snapshot(this.draft)) : [])
  #revision = 0

  constructor(id: string) {
    this.id = id
  }

  get dirty(): boolean {
    return this.differences.length > 0
  }

  /** Read the household anew. A draft with changes stays; when somebody has changed the same profile, `theirs` is set. */
  async load(): Promise<void> {
    if (this.busy) return
    try {
      const [household, catalogue] = await Promise.all([get<Household>('/household'), this.catalogue ?? get<Catalogue>('/catalogue')])
      this.catalogue = catalogue
      this.#take(household)
      if (this.error instanceof ApiError && this.error.code === 'offline') this.error = null
    } catch (error) {
      this.error = error
    }
  }

  #take(household: Household): void {
    if (household.revision < this.#revision) return // an answer that was overtaken
    const found = household.profiles.find((profile) => profile.id === this.id) ?? null
    this.household = household
    this.missing = found === null
    if (!found) return
    if (this.saved && this.draft && !this.theirs && same(this.saved, found)) {
      this.#revision = household.revision
      return
    }
    if (!this.saved || !this.draft || !this.dirty) this.#adopt(found, structuredClone(found))
    else if (listDifferences(this.saved, found).length === 0) {
      this.#adopt(found, rebase($state.snapshot(this.draft), this.saved, found)) // a pause, a bonus, another profile
    } else {
      this.theirs = found
      return
    }
    this.#revision = household.revision
  }

  #adopt(saved: Profile, draft: Profile): void {
    this.saved = saved
    this.draft = draft
    this.theirs = null
  }

  /** Save the draft. False: it could not be saved, and the editor says why (`error`, `problems` or `theirs`). */
  async save(): Promise<boolean> {
    if (!this.draft || this.busy) return false
    const sent = $state.snapshot(this.draft)
    this.busy = true
    this.error = null
    this.problems = []
    try {
      const saved = await put<Profile>(`/profiles/${this.id}`, sent, { revision: this.#revision })
      this.#adopt(saved, structuredClone(saved))
    } catch (error) {
      if (error instanceof ApiError && error.code === 'conflict') return await this.#meet(error)
      this.error = error
      if (error instanceof ApiError) this.problems = error.problems
      return false
    } finally {
      this.busy = false
    }
    await this.load()
    return true
  }

  /** Somebody has saved meanwhile: where it was something else, save again, else let the parent choose. */
  async #meet(conflict: ApiError): Promise<boolean> {
    const before = this.#revision
    this.busy = false
    await this.load()
    if (this.theirs || this.error || this.missing) return false
    if (this.#revision !== before && this.dirty) return await this.save()
    this.error = conflict
    return false
  }

  /** Put the draft's changes on top of what somebody else has saved. */
  keepMine(): void {
    if (!this.theirs || !this.saved || !this.draft || !this.household) return
    this.#adopt(this.theirs, rebase($state.snapshot(this.draft), this.saved, this.theirs))
    this.#revision = this.household.revision
  }

  /** Give the draft up: the newest state holds. */
  discard(): void {
    const newest = this.theirs ?? this.saved
    if (newest) this.#adopt(newest, structuredClone(newest))
    if (this.household) this.#revision = this.household.revision
    this.problems = []
    this.error = null
  }

  /** Pause, bedtime now or resume: at once, whatever the draft holds. */
  async pause(call: PauseCall): Promise<void> {
    await post<Done>(`/profiles/${this.id}/pause`, call)
    await this.load()
  }

  /** Give minutes on top for today, at once. */
  async give(call: BonusCall): Promise<void> {
    await post<Done>(`/profiles/${this.id}/bonus`, call)
    await this.load()
  }

  /** Lift the hours without internet for some minutes of tonight, at once. */
  async longer(minutes: number): Promise<Longer> {
    const done = await stayUp(this.id, minutes)
    await this.#follow()
    return {
      until: done.until,
      undo: async () => {
        await done.undo()
        await this.#follow()
      },
    }
  }

  /** Take over what this page itself has changed behind the draft: it is nobody else's change to choose about. */
  async #follow(): Promise<void> {
    const met = this.theirs !== null
    await this.load()
    if (!met) this.keepMine()
  }

  /** Remove the profile. Raises ApiError `in-use` while devices have it. */
  async remove(): Promise<void> {
    await remove(`/profiles/${this.id}`)
    this.draft = this.saved ? structuredClone(this.saved) : null
  }

  /** What the server objected to on a tab. */
  problemsOn(tab: Tab): FieldProblem[] {
    return this.problems.filter((problem) => tabOf(problem.where) === tab)
  }
}
