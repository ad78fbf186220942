/** What is read once for a page, and what is done by a button: both may fail, and say so. */

/** Something that is asked of the box. Make it while a component is set up and call `read`. */
export class Loaded<T> {
  value = $state.raw<T | null>(null)
  error = $state.raw<unknown>(null)
  #ask: () => Promise<T>

  constructor(ask: () => Promise<T>) {
    this.#ask = ask
    void this.read()
  }

  /** Ask again. What was there stays until the answer comes. */
  async read(): Promise<void> {
    try {
      this.value = await this.#ask()
      this.error = null
    } catch (error) {
      this.error = error
    }
  }
}

/** One action of a person: `busy` while it runs, then `error` or nothing. */
export class Action {
  busy = $state(false)
  error = $state.raw<unknown>(null)

  /** Run it unless it runs already; returns whether it went well. */
  async run(action: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false
    this.busy = true
    this.error = null
    try {
      await action()
      return true
    } catch (error) {
      this.error = error
      return false
    } finally {
      this.busy = false
    }
  }
}
